/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

#include <string.h>

/*
 * A verb of verbs: `migrate out` is looked up here as `ls` is in main.c, and
 * run in the same way.
 *
 * Where source and destination are on one host, one uuid and one name fit both
 * guests. Each step knows by its roles which of them it is about; only cancel
 * fits either side, and has to be told.
 */
#define ROLE(_role) (1U << GLK_ROLE_##_role)

typedef int (*step_fn)(struct cli *cli, struct glk_guest *guest);

static int print_guest(struct cli *cli, struct glk_guest *guest)
{
	const struct glk_guest_info *info;
	int r;

	if (!cli->options.json)
		return STATUS_OK;
	r = glk_guest_info(guest, &info);
	if (r < 0)
		return cli_fail_context(cli, r);
	return cli_print_json(json_pack("{s:o}", "guest", json_guest(info)));
}

/* With any role, two sides fit more often than not. */
static int fail_select(const struct cli *cli, int err, unsigned roles)
{
	_cleanup_(freep) char *text = NULL;

	if (err != -ENOTUNIQ || roles ||
	    asprintf(&text, "%s, or --side",
		     glk_context_message(cli->context)) < 0)
		return cli_fail_context(cli, err);
	return cli_fail(cli, err, text);
}

static int take_step(struct cli *cli, unsigned roles, step_fn step)
{
	const struct glk_selection selection = {
		.who = cli->options.args[0],
		.roles = roles,
	};
	_cleanup_(glk_guest_freep) struct glk_guest *guest = NULL;
	int r = glk_guest_select(cli->context, &selection, &guest);

	if (r < 0)
		return fail_select(cli, r, roles);
	r = step(cli, guest);
	return r < 0 ? cli_fail_context(cli, r) : print_guest(cli, guest);
}

static int step_prepare(struct cli *cli, struct glk_guest *guest)
{
	return glk_guest_prepare(guest, cli->options.args[1]);
}

static int run_prepare(struct cli *cli)
{
	return take_step(cli, ROLE(OWNER) | ROLE(PREPARED) | ROLE(ARRIVED),
			 step_prepare);
}

static int run_incoming(struct cli *cli)
{
	cli->options.incoming = true;
	return verb_run.run(cli);
}

static int step_out(struct cli *cli, struct glk_guest *guest)
{
	(void)cli;
	return glk_guest_out(guest);
}

static int run_out(struct cli *cli)
{
	return take_step(cli, ROLE(PREPARED) | ROLE(LEFT), step_out);
}

static int step_in(struct cli *cli, struct glk_guest *guest)
{
	int64_t seconds = cli->options.timeout;

	if (seconds >= 0)
		glk_context_set_timeout(cli->context, (unsigned)seconds * 1000);
	return glk_guest_in(guest);
}

static int run_in(struct cli *cli)
{
	return take_step(cli, ROLE(INCOMING) | ROLE(ARRIVED), step_in);
}

static int step_cancel(struct cli *cli, struct glk_guest *guest)
{
	(void)cli;
	return glk_guest_cancel(guest);
}

static int run_cancel(struct cli *cli)
{
	static const unsigned roles[] = {
		[SIDE_ANY] = 0,
		[SIDE_SOURCE] = ROLE(PREPARED) | ROLE(LEFT),
		[SIDE_DESTINATION] = ROLE(INCOMING),
	};

	return take_step(cli, roles[cli->options.side], step_cancel);
}

static const struct verb steps[] = {
	{
		.syntax = {
			.name = "migrate prepare",
			.arguments = "[OPTION]... GUEST URI",
			.options = OPTION_JSON | OPTION_QUIET,
			.min_args = 2,
			.max_args = 2,
		},
		.summary = "On the source: let a destination claim the "
			   "guest's disks",
		.details = "URI is the destination, or its host's name. The "
			   "guest goes on using its disks.",
		.run = run_prepare,
	},
	{
		.syntax = {
			.name = "migrate incoming",
			.arguments = "[OPTION]... [--] COMMAND [ARGUMENT]...",
			.options = OPTIONS_OF_RUN,
			.min_args = 1,
			.max_args = ARGS_MANY,
			.command = true,
		},
		.summary = "On the destination: claim the guest's disks and "
			   "run it",
		.details = "As guestlock run --incoming. COMMAND must not "
			   "write before migrate in.",
		.run = run_incoming,
	},
	{
		.syntax = {
			.name = "migrate out",
			.arguments = "[OPTION]... GUEST",
			.options = OPTION_JSON | OPTION_QUIET,
			.min_args = 1,
			.max_args = 1,
		},
		.summary = "On the source: the guest has stopped, and uses "
			   "its disks no more",
		.run = run_out,
	},
	{
		.syntax = {
			.name = "migrate in",
			.arguments = "[OPTION]... GUEST",
			.options = OPTION_TIMEOUT | OPTION_JSON | OPTION_QUIET,
			.min_args = 1,
			.max_args = 1,
		},
		.summary = "On the destination: own the disks, once the source "
			   "has left",
		.run = run_in,
	},
	{
		.syntax = {
			.name = "migrate cancel",
			.arguments = "[OPTION]... GUEST",
			.options = OPTION_SIDE | OPTION_JSON | OPTION_QUIET,
			.min_args = 1,
			.max_args = 1,
		},
		.summary = "On either side: undo its half of a migration",
		.details = "The source owns its disks again; the destination "
			   "lets go of them.",
		.run = run_cancel,
	},
};

static int run(struct cli *cli)
{
	struct options *o = &cli->options;
	const char *word = o->args[0];

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		if (!strcmp(word, strchr(steps[i].syntax.name, ' ') + 1))
			return cli_run(cli, &steps[i], (int)o->n_args, o->args);
	}
	return cli_fail_options(cli,
				options_complain(o, -EINVAL, "unknown verb ",
						 word, " after migrate"));
}

const struct verb verb_migrate = {
	.syntax = {
		.name = "migrate",
		.arguments = "prepare|incoming|out|in|cancel [OPTION]... "
			     "[ARGUMENT]...",
		.options = OPTION_JSON | OPTION_QUIET,
		.min_args = 1,
		.max_args = ARGS_MANY,
		.command = true,
	},
	.summary = "Hand the disks of a guest over to another process or host",
	.details = "In this order, with the guest stopped before out and "
		   "started after in:\n"
		   "  source:      prepare GUEST URI\n"
		   "  destination: incoming [OPTION]... -- COMMAND...\n"
		   "  source:      out GUEST\n"
		   "  destination: in GUEST\n"
		   "Until in has succeeded, either side may cancel. Each has "
		   "--help.",
	.no_context = true,
	.run = run,
};
