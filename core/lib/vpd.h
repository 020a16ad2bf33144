/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define WWID_SIZE 256	   /* with the NUL */
#define VPD_PAGE_SIZE 1024 /* more than is ever looked at */

/* What a SCSI disk has told the kernel; a page that it has not is empty. */
struct vpd_page {
	size_t size;
	uint8_t data[VPD_PAGE_SIZE];
};

struct vpd {
	struct vpd_page inquiry; /* standard INQUIRY data */
	struct vpd_page list;	 /* 0x00 */
	struct vpd_page serial;	 /* 0x80 */
	struct vpd_page ids;	 /* 0x83 */
};

/**
 * vpd_wwid() - the name that udev's scsi_id prints for a disk
 * @ret_wwid:	WWID_SIZE bytes; no "/" and no white space is in it
 *
 * The disk may lie. Return: 0, or -ENODATA if scsi_id would find none.
 */
int vpd_wwid(const struct vpd *vpd, char *ret_wwid);
