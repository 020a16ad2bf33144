/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Block devices as sysfs(5) describes them. @root is "/sys", or a test's copy.
 * Nothing is opened but sysfs's own files, so no device is touched. Of what
 * sysfs does not have, as in a container without it, nothing is known.
 */

#define SYSFS_NAME_MAX 64

/* The kernel's name of a device, "sda1". Return: false if it is not known. */
bool sysfs_name(const char *root, uint64_t rdev, char ret_name[SYSFS_NAME_MAX]);

/* Of the disk, for a partition too. Return: 0 if it is not known. */
uint64_t sysfs_diskseq(const char *root, uint64_t rdev);

/**
 * sysfs_attr() - one attribute of a device, as "dm/uuid"
 * @ret_text:	without the newline at its end
 *
 * Return: its length, or negative errno: -ENOENT, or -ENOBUFS if it is longer.
 */
int sysfs_attr(const char *root, uint64_t rdev, const char *attr,
	       char *ret_text, size_t size);

enum sysfs_relation {
	SYSFS_PARTITION, /* a part of the device */
	SYSFS_WHOLE,	 /* it is a part of that */
	SYSFS_ABOVE,	 /* built on it, or on a part of it */
	SYSFS_BELOW,	 /* it is built on that */
	SYSFS_ITSELF,	 /* by another sequence number; of no list */
};

/* Another device that has blocks of this one, or whose blocks this one has. */
struct sysfs_relative {
	enum sysfs_relation relation;
	uint64_t rdev, diskseq;
	char name[SYSFS_NAME_MAX];
};

struct sysfs_relatives {
	struct sysfs_relative *v;
	size_t n, cap;
};

/**
 * sysfs_relatives() - all of them, near and far
 * @ret:	to be freed with sysfs_relatives_done()
 *
 * A sibling, another part of the same disk, is none: they share no block.
 *
 * Return: 0, with none where there is no sysfs at all; -ENOENT if it does not
 * know the device; -E2BIG if there are too many; other negative errno if it
 * could not be looked at.
 */
int sysfs_relatives(const char *root, uint64_t rdev,
		    struct sysfs_relatives *ret);
void sysfs_relatives_done(struct sysfs_relatives *relatives);
