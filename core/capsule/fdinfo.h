/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The "lock:" lines of /proc/PID/fdinfo/FD. The kernel prints those locks of
 * the file that were taken through this open file description (flock, OFD), or
 * through it and by this process (POSIX): show_fd_locks() in fs/locks.c.
 */
enum fdinfo_kind {
	FDINFO_OFD,
	FDINFO_POSIX,
};

struct fdinfo_lock {
	enum fdinfo_kind kind;
	short type;	       /* F_RDLCK or F_WRLCK */
	unsigned major, minor; /* of the superblock, not always st_dev */
	uint64_t ino;	       /* i_ino, not always st_ino */
	uint64_t start, end;   /* inclusive; INT64_MAX for "EOF" */
};

/* Expected outcomes of fdinfo_parse(), beside 0 and negative errno. */
enum {
	_FDINFO_E_SUCCESS,
	FDINFO_E_OTHER, /* no lock line, or one of flock(2), a lease, … */
};

/**
 * fdinfo_parse() - read one line, without its newline
 *
 * Return: 0, FDINFO_E_OTHER, or -EBADMSG if it is a byte-range lock's line and
 * makes no sense: that must not pass for "no lock".
 */
int fdinfo_parse(const char *line, size_t len, struct fdinfo_lock *ret_lock);

static inline bool fdinfo_covers(const struct fdinfo_lock *lock, long byte)
{
	return lock->start <= (uint64_t)byte && lock->end >= (uint64_t)byte;
}

/**
 * fdinfo_read() - every byte-range lock in a file
 * @fd:		an open fdinfo file, at its start
 * @found:	a true return ends it
 *
 * Return: 0 or negative errno.
 */
int fdinfo_read(int fd,
		bool (*found)(void *arg, const struct fdinfo_lock *lock),
		void *arg);
