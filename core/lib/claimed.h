/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/take.h"

enum {
	CLAIMED_LIVES = 1 << 0, /* somebody is known to have it, and to live */
	CLAIMED_HERE = 1 << 1,	/* it is another item of this transaction */
	CLAIMED_OWN = 1 << 2,	/* it is the guest itself: no refusal */
};

/* The kernel refused to open this item, a device, since somebody has claimed
   it: add whoever can be found to the refusals. Return: CLAIMED_*, 0 if nobody
   is known, or negative errno. */
int claimed_blame(struct take *take, uint32_t item);
