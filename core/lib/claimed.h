/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/take.h"

/* The kernel refused to open this item, a device, since somebody has claimed
   it: add whoever can be found to the refusals, and set @lives if one of them
   is known to live. Return: 0 or negative errno. */
int claimed_blame(struct take *take, uint32_t item, bool *lives);
