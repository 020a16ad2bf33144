/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

#include "core/cli/text.h"

#include <string.h>

/*
 * Locks, then becomes the guest: exec keeps the pid, so the guest is found
 * under the pid that the caller has, and no process stays behind to supervise.
 * Until exec nobody but us has the capsule: whatever ends us before, even
 * kill -9, ends all of its leases.
 */
static int lock_disks(struct cli *cli, struct glk_guest **ret_guest)
{
	const struct options *o = &cli->options;
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	_cleanup_(glk_guest_freep) struct glk_guest *guest = NULL;
	int r;

	config.uuid = o->uuid;
	config.name = o->name;
	config.id = o->id;
	config.epoch = o->epoch;
	config.tag = o->tag;
	config.flags = o->incoming ? GLK_GUEST_INCOMING : 0;
	r = glk_guest_new(cli->context, &config, &guest);
	if (r == 0)
		r = glk_guest_add(guest, o->disks.items, o->disks.n);
	if (r == 0)
		r = glk_guest_acquire(guest);
	if (r == 0)
		cli_warn(cli);
	if (r == 0)
		r = glk_guest_inherit(guest);
	if (r == 0)
		*ret_guest = TAKE_PTR(guest);
	return r;
}

/* What we raised or blocked is ours, not the guest's. */
static void restore_process(const struct cli *cli)
{
	setrlimit(RLIMIT_NOFILE, &cli->nofile);
	sigprocmask(SIG_SETMASK, &cli->mask, NULL);
}

static int fail_exec(const struct cli *cli, int err)
{
	cli_fail_at(cli, err, cli->options.args[0]);
	return status_of_exec(err);
}

static int run(struct cli *cli)
{
	char **command = cli->options.args;
	_cleanup_(glk_guest_freep) struct glk_guest *guest = NULL;
	int r = lock_disks(cli, &guest);

	if (r < 0)
		return cli_fail_context(cli, r);
	restore_process(cli);
	execvp(command[0], command);
	r = -errno;
	glk_guest_free(TAKE_PTR(guest));
	return fail_exec(cli, r);
}

const struct verb verb_run = {
	.syntax = {
		.name = "run",
		.arguments = "[OPTION]... [--] COMMAND [ARGUMENT]...",
		.options = OPTIONS_OF_RUN,
		.min_args = 1,
		.max_args = ARGS_MANY,
		.command = true,
	},
	.summary = "Lock the disks of a guest and run it",
	.details = "All disks are locked, or none and COMMAND does not start. "
		   "COMMAND takes the place\nof guestlock, so the exit code is "
		   "COMMAND's; 127 if there is no such command, 126\nif it "
		   "cannot be run. Paths from FILE are locked exclusively and "
		   "taken as they are.",
	.run = run,
};
