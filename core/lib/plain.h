/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/lib.h"

enum {
	_PLAIN_E_SUCCESS,
	PLAIN_E_NOT, /* nothing was taken, and nothing is left of the try */
};

/**
 * plain_take() - the short way for one disk, where all is as it mostly is
 *
 * Return: 0; PLAIN_E_NOT, if take_disks() must look closer; or -ECANCELED.
 */
int plain_take(struct glk_guest *guest, const struct wanted_disk *disk);
