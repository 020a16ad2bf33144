/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/take.h"

/* Does the mode of a device's lock file say that nobody was lost? */
bool lost_is_settled(unsigned mode);

/**
 * lost_look() - has somebody a lease on a device, without its lock file?
 * @first:	of @n events of devices that are locked; others are left out
 *
 * One who has gets to be the rival. Return: as take_perform().
 */
int lost_look(struct take *take, size_t first, size_t n);
