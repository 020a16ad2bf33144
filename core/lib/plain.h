/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/lib.h"

enum {
	_PLAIN_E_SUCCESS,
	PLAIN_E_NOT, /* nothing was taken */
};

/**
 * plain_take() - the short way for one disk, where all is as it mostly is
 * @ret_opened:	-1; with PLAIN_E_NOT, perhaps what the disk's path leads to, as
 *		take_disks() would open it: it is no local file
 *
 * Return: 0; PLAIN_E_NOT, if take_disks() must look closer; or -ECANCELED.
 */
int plain_take(struct glk_guest *guest, const struct wanted_disk *disk,
	       int *ret_opened);
