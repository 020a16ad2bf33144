/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/vpd.h"

#include <stdint.h>

#define LV_UUID_SIZE 39 /* with the NUL */

/* What a block device is on every host, by what the kernel shows in sysfs.
   @root: "/sys", or a test's. */

/**
 * devname_lv() - the UUID of a logical volume, as lvs prints it
 * @ret_uuid:	LV_UUID_SIZE bytes
 *
 * Return: 0, or -ENODATA if the device is no such volume, or a hidden part of
 * one, or if sysfs does not say.
 */
int devname_lv(const char *root, uint32_t major, uint32_t minor,
	       char *ret_uuid);

/**
 * devname_wwid() - what udev's scsi_id prints
 * @ret_wwid:	WWID_SIZE bytes
 *
 * A partition is its disk, and what device-mapper hands SCSI commands through
 * to one disk is that disk. Return: 0, -ENODATA if there is none, or negative
 * errno.
 */
int devname_wwid(const char *root, uint32_t major, uint32_t minor,
		 char *ret_wwid);
