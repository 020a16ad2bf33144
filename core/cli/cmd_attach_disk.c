/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

static int add_args(struct cli *cli)
{
	struct options *o = &cli->options;
	int r = 0;

	for (size_t i = 1; i < o->n_args && r == 0; i++)
		r = options_add_disk(o, o->args[i]);
	if (r == 0 && !o->disks.n)
		r = options_complain(o, -EINVAL, "a disk is missing", NULL, "");
	return r;
}

static int run(struct cli *cli)
{
	struct options *o = &cli->options;
	_cleanup_(glk_guest_freep) struct glk_guest *guest = NULL;
	int r = add_args(cli);

	if (r < 0)
		return cli_fail_options(cli, r);
	r = glk_guest_adopt(cli->context, o->args[0], &guest);
	if (r == 0)
		r = glk_guest_attach(guest, o->disks.items, o->disks.n);
	return r < 0 ? cli_fail_context(cli, r) : cli_print_warnings(cli);
}

const struct verb verb_attach_disk = {
	.syntax = {
		.name = "attach-disk",
		.arguments = "[OPTION]... GUEST "
			     "[PATH[,shared][,readonly][,claim][,lease]]...",
		.options = OPTION_DISKS_FROM | OPTION_NUL | OPTION_LEASE |
			   OPTION_LOCKSPACE | OPTIONS_OF_POLICY | OPTION_JSON |
			   OPTION_QUIET,
		.min_args = 1,
		.max_args = ARGS_MANY,
	},
	.summary = "Lock more disks for a running guest",
	.details = "GUEST is a uuid, a name or a pid. All disks are locked, or "
		   "none. A disk that the\nguest holds already is fine. Double "
		   "a comma in PATH; paths from FILE are locked\nexclusively "
		   "and taken as they are.",
	.run = run,
};
