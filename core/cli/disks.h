/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "include/guestlock.h"

#include <stdbool.h>
#include <stddef.h>

/* Disks named on the command line or in a file; owns the paths. */
struct disks {
	struct glk_disk *items;
	size_t n, cap;
};

void disks_done(struct disks *disks);

/* @path as it is, no comma is special. Return: 0 or -ENOMEM. */
int disks_add_path(struct disks *disks, const char *path, size_t len,
		   unsigned flags);

/**
 * disks_add_spec() - PATH[,shared][,readonly][,claim][,lease]
 * @ret_why:	what is wrong with it, static
 *
 * A comma in PATH is doubled, by QEMU's convention.
 *
 * Return: 0, -EINVAL with @ret_why, -ENOMEM.
 */
int disks_add_spec(struct disks *disks, const char *spec, const char **ret_why);

/**
 * disks_add_list() - one path a record, each to be locked exclusively
 * @data:	@len bytes
 * @delimiter:	'\n' or '\0'; the last record may lack it
 * @ret_record:	number of the record that is wrong, from 1; 0: the whole
 * @ret_why:	what is wrong with it, static
 *
 * Paths are taken byte for byte: no trimming, no comment, no comma.
 *
 * Return: 0, -EINVAL with @ret_record and @ret_why, -ENOMEM.
 */
int disks_add_list(struct disks *disks, const char *data, size_t len,
		   char delimiter, size_t *ret_record, const char **ret_why);

/* The whole of @path, "-" for stdin. To be freed. Return: 0, -EFBIG for more
   than 64 MiB, or negative errno of open(2) and read(2). */
int disks_read_file(const char *path, char **ret_data, size_t *ret_len);
