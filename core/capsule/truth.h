/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/**
 * truth_held() - does this open file description hold its lock
 * @fd:		a descriptor, or a duplicate of one from anywhere
 * @byte:	the byte to look at
 *
 * Asks the kernel with F_OFD_GETLK and F_UNLCK (Linux 6.6), else reads the
 * "lock:" lines of /proc/self/fdinfo/FD, which the kernel filters to this very
 * description (show_fd_locks() in fs/locks.c). Any thread.
 *
 * Return: F_WRLCK, F_RDLCK or F_UNLCK (not held) in @ret_type, and 0; -EBADF;
 * -ENOSYS if the kernel cannot answer and /proc is not mounted; -EOPNOTSUPP on
 * FUSE, where a server may keep the locks, if the kernel knows of none of ours
 * and somebody has the byte, perhaps we; or another negative errno. None of the
 * errors means "not held".
 */
int truth_held(int fd, long byte, short *ret_type);

/*
 * What the last descriptor's file system was, for a caller that asks about
 * many: to find the type out costs more than to ask for the lock.
 */
struct truth_fs {
	uint64_t mount, magic;
	uint64_t next; /* STATX_MNT_ID_UNIQUE of the descriptor that is asked
			  next, if the caller knows it, else 0 */
};

#define TRUTH_FS_NULL ((struct truth_fs){})

int truth_held_on(struct truth_fs *fs, int fd, long byte, short *ret_type);

/* The same, by fdinfo alone. For truth_held(), and to test one by the other. */
int truth_by_fdinfo(int fd, long byte, short *ret_type);

/* Does this kernel answer F_OFD_GETLK with F_UNLCK, and may we ask it? */
bool truth_by_getlk_works(void);
