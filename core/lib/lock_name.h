/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/vpd.h"
#include "include/guestlock.h"
#include "uring/op.h"

#define LOCK_NAMES_MAX 2

struct lock_name {
	const char *dir; /* the policy's */
	char name[WWID_SIZE];
};

/**
 * lock_names() - the files of lock directories that stand for a disk
 * @sysfs:	"/sys", or a test's
 * @path:	absolute
 * @st:		of what it leads to
 * @ret_names:	LOCK_NAMES_MAX
 *
 * Return: how many, or negative errno.
 */
int lock_names(const struct glk_policy *policy, const char *sysfs,
	       const char *path, const struct op_stat *st,
	       struct lock_name *ret_names);
