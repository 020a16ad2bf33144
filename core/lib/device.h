/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/lib.h"
#include "core/lib/sysfs.h"

/* Lock files of block devices in the host lock directory: device.c. */

/* The lock file of a device, to be freed; NULL for lack of memory. */
char *device_lock_path(const struct glk_context *context, struct res_id id);

/* Of what a path leads to, which is not open: from sysfs, or by opening it if
   that does not know. */
struct res_id device_id_of(const struct glk_context *context, const char *path,
			   uint64_t rdev);

/* Whoever does not find the directory makes it. Failure shows when a file in it
   is opened. */
void device_make_dir(const struct glk_context *context);

/* A lock file is for those who may open the device: owner, group and mode. */
void device_hand_over(int lock_fd, int device_fd);

/* Which device a file of the host lock directory is for, if for any. */
bool device_of_lock_file(const char *name, struct res_id *ret_id);

/* Remove the lock files of other devices that had one of these numbers, where
   nobody has them locked. @ids: sorted. Return: false if any may be left. */
bool device_tidy(const struct glk_context *context, const struct res_id *ids,
		 size_t n);

/* "VERB its partition loop0p1TAIL"; to be freed, or NULL for lack of memory. */
char *device_has(const char *verb, const struct sysfs_relative *relative,
		 const char *tail);

/* "holds its partition loop0p1"; to be freed, or NULL for lack of memory. */
char *device_how(const struct sysfs_relative *relative);
