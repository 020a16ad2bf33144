/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/lib.h"

/*
 * What a path leads to, found out without waiting for a server longer than the
 * call's time limit, and without opening the file: a device that is opened may
 * do something. (A block device of which sysfs knows nothing is opened.)
 */
struct where {
	struct res_id id;
	struct res_id file; /* device and inode, of a device's node too */
	uint32_t mode;	    /* as stat(2) st_mode */
	struct mount_kind kind;
};

/**
 * where_path() - follow a path and its links
 *
 * Return: 0, -ETIME, -ECANCELED, or as open(2).
 */
int where_path(struct glk_context *context, const char *path,
	       struct where *ret_where);

/* Return: 0 for a file or a block device; -EISDIR or -EOPNOTSUPP. */
int where_refuse(const struct where *where);

/* The same for a descriptor. @path: how it was found, for a device. */
int where_fd(struct glk_context *context, int fd, const char *path,
	     struct where *ret_where);

/**
 * where_open() - open a file or block device to ask about its locks
 * @ret_where:	of what was opened
 *
 * Return: descriptor, to be closed with where_close(); -EISDIR; -EOPNOTSUPP for
 * what is neither, which is not opened then; or as where_path().
 */
int where_open(struct glk_context *context, const char *path,
	       struct where *ret_where);

/* Closing a file of a server is a question to it, too. */
void where_close(struct glk_context *context, int fd, bool remote);

/*
 * Flags of an operation that finds the last component of @path where it is,
 * without links on the way: those are followed by where_path() alone.
 */
uint8_t where_flags(struct glk_context *context, const char *path);
