/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A file that is a lease and no disk: see the essay in lease_file.c. */

/* Does @path end in a name? Not in a slash, "." or "..". */
bool lease_file_is_named(const char *path);

/* The directory part of @path: a length, and 0 for the working directory. */
size_t lease_file_dir(const char *path);

/**
 * lease_file_remove() - remove a lease file, if nobody else can hold it
 * @fd:		of the file, on a local file system; its exclusive lock is taken
 *		for that, and left for the caller to drop
 * @path:	the caller's own, not what a guest has recorded
 *
 * Return: has it been removed? Never an error: a file that stays is harmless.
 */
bool lease_file_remove(int fd, const char *path);
