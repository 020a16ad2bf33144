/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/mounts.h"

/* The files of an overlay's layers that one of its files is made of. Owned;
   NULL if there is none, or none that can be reached from here. */
struct overlay_twins {
	char *upper, *lower;
};

/**
 * overlay_twins() - find a file in the layers
 * @place:	an overlay's, by mounts_find(@path)
 * @path:	absolute, without links
 *
 * Asks the layers' file systems. Return: 0 or -ENOMEM.
 */
int overlay_twins(const struct mount_place *place, const char *path,
		  struct overlay_twins *ret_twins);

void overlay_twins_done(struct overlay_twins *twins);
