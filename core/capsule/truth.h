/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/**
 * truth_held() - does this open file description hold its lock
 * @fd:		a descriptor, or a duplicate of one from anywhere
 * @byte:	the byte to look at
 *
 * Asks the kernel with F_OFD_GETLK and F_UNLCK (Linux 6.6), else reads the
 * "lock:" lines of /proc/self/fdinfo/FD, which the kernel filters to this very
 * description (show_fd_locks() in fs/locks.c).
 *
 * Return: F_WRLCK, F_RDLCK or F_UNLCK (not held) in @ret_type, and 0; or
 * negative errno.
 */
int truth_held(int fd, long byte, short *ret_type);
