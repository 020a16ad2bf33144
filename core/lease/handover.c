/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/handover.h"

#include "core/base/util.h"

/*
 * W on byte 0 is decisive, whatever else is held: a source takes bytes 3 and 4
 * before it shares byte 0, and a destination gives bytes 2 and 3 up after it
 * has byte 0 for itself.
 */
static enum role exclusive_role(const struct held_bytes *held)
{
	if (held->owner == HELD_WRITE)
		return ROLE_OWNER;
	if (held->predecessor)
		return held->writer && held->owner ? ROLE_PREPARED : ROLE_LEFT;
	if (held->writer && held->owner)
		return ROLE_ARRIVED;
	return held->successor ? ROLE_INCOMING : ROLE_NONE;
}

enum role handover_role(enum res_mode mode, const struct held_bytes *held)
{
	if (mode == RES_EXCLUSIVE)
		return exclusive_role(held);
	return held->owner == HELD_READ ? ROLE_OWNER : ROLE_NONE;
}

const char *role_name(enum role role)
{
	static const char *const names[_ROLE_N] = {
		[ROLE_NONE] = "none",	      [ROLE_OWNER] = "owner",
		[ROLE_PREPARED] = "prepared", [ROLE_LEFT] = "left",
		[ROLE_INCOMING] = "incoming", [ROLE_ARRIVED] = "arrived",
	};

	return (unsigned)role < ARRAY_SIZE(names) ? names[role] : "?";
}
