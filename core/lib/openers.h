/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/take.h"

/**
 * openers_check() - does anybody else have these disks open?
 * @first:	of @n events of the VERIFY acts
 *
 * For exclusive disks that were verified just now, by the policy of the
 * context. An event becomes -EBUSY with a refusal, or the take gets a warning.
 * The guest's own processes do not count, nor does the source of a migration.
 *
 * Return: as take_perform().
 */
int openers_check(struct take *take, size_t first, size_t n);
