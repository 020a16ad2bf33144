/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

#include <string.h>

static int add_args(struct cli *cli)
{
	struct options *o = &cli->options;
	int r = 0;

	for (size_t i = 1; i < o->n_args && r == 0; i++) {
		const char *path = o->args[i];

		r = *path ? disks_add_path(&o->disks, path, strlen(path), 0)
			  : options_complain(o, -EINVAL, "disk ", path,
					     ": the path is empty");
	}
	if (r == 0 && !o->disks.n)
		r = options_complain(o, -EINVAL, "a disk is missing", NULL, "");
	return r;
}

static int detach(struct cli *cli, size_t *ret_released)
{
	const struct disks *disks = &cli->options.disks;
	_cleanup_(glk_guest_freep) struct glk_guest *guest = NULL;
	_cleanup_(freep) const char **paths = NULL;
	int r;

	paths = calloc(disks->n, sizeof(*paths));
	if (!paths)
		return -ENOMEM;
	for (size_t i = 0; i < disks->n; i++)
		paths[i] = disks->items[i].path;
	r = glk_guest_adopt(cli->context, cli->options.args[0], &guest);
	if (r == 0)
		r = glk_guest_detach(guest, paths, disks->n, ret_released);
	return r;
}

static void note_rest(const struct cli *cli, size_t released)
{
	const struct disks *disks = &cli->options.disks;
	char text[80];

	if (released >= disks->n)
		return;
	if (disks->n == 1) {
		cli_note(cli, disks->items[0].path, "not held by this guest");
		return;
	}
	snprintf(text, sizeof(text),
		 "%zu of %zu disks were not held by this guest",
		 disks->n - released, disks->n);
	cli_note(cli, NULL, text);
}

static int run(struct cli *cli)
{
	size_t released = 0;
	int r = add_args(cli);

	if (r < 0)
		return cli_fail_options(cli, r);
	r = detach(cli, &released);
	if (r < 0)
		return cli_fail_context(cli, r);
	note_rest(cli, released);
	if (!cli->options.json)
		return STATUS_OK;
	return cli_print_json(
		json_pack("{s:I}", "released", (json_int_t)released));
}

const struct verb verb_detach_disk = {
	.syntax = {
		.name = "detach-disk",
		.arguments = "[OPTION]... GUEST [PATH]...",
		.options = OPTION_DISKS_FROM | OPTION_NUL | OPTION_LEASE |
			   OPTION_LOCKSPACE | OPTIONS_OF_DIRS | OPTION_JSON |
			   OPTION_QUIET,
		.min_args = 1,
		.max_args = ARGS_MANY,
	},
	.summary = "Release disks of a running guest",
	.details = "GUEST is a uuid, a name or a pid. PATH is taken as it is: "
		   "no comma is special.\nA disk that the guest does not hold "
		   "is fine. Take it away from the guest first.",
	.run = run,
};
