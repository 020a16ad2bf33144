/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <guestlock/driver.h>
#include <guestlock/driver.h>

/*
 * As header.c, with the header for drivers: a table must be possible to write
 * in both languages.
 */
int header_explain(struct glk_context *context);

static int open_guest(const struct glk_driver_guest *guest, void **ret_state)
{
	*ret_state = guest->context;
	return 0;
}

static struct glk_driver_table nothing;

int header_explain(struct glk_context *context)
{
	struct glk_driver_finding finding;

	finding.roles = 1u << GLK_ROLE_OWNER;
	nothing.version = GLK_DRIVER_VERSION;
	nothing.size = sizeof(nothing);
	nothing.name = "nothing";
	nothing.abilities = GLK_CAN_DISKS | GLK_IGNORES_DISKS;
	nothing.open = open_guest;
	return glk_context_explain(context, -1, "%u", finding.roles);
}
