/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/held.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/*
 * A lock that is granted after its caller has gone is dropped, but F_UNLCK
 * would also drop what the same description had locked before. So before a lock
 * that may be abandoned, its description's fdinfo is read, which has a line
 *
 *	lock:	1: OFDLCK ADVISORY  WRITE -1 fe:00:5243 0 EOF
 *
 * for each lock of that very description, on every kernel, and never asks a
 * server. (It may say POSIX on NFS, as core/capsule/truth.c explains.)
 * F_OFD_GETLK with F_UNLCK is 20 times faster, but needs Linux 6.6, and a file
 * system with locks of its own answers it with whatever it likes. A file system
 * that keeps no local copy of its locks (FUSE) shows none here.
 *
 * Read without stdio, whose malloc(3) would give each worker an arena.
 */

#define TEXT_MAX 16384 /* 250 locks */

static bool overlaps(const struct op_lock *lock, long long first,
		     long long last)
{
	long long end = lock->len ? lock->start + lock->len - 1 : INT64_MAX;

	return first <= end && last >= lock->start;
}

/* Is it locked, but not by this process? */
static bool is_foreign(int fd, const struct op_lock *lock)
{
	struct flock l = { .l_type = F_WRLCK,
			   .l_start = lock->start,
			   .l_len = lock->len };

	return !fcntl(fd, F_GETLK, &l) && l.l_type != F_UNLCK;
}

static short line_type(const char *line, const struct op_lock *lock, int fd)
{
	long long first, last = INT64_MAX;
	char kind[8], type[8], end[24];

	if (sscanf(line, "lock: %*d: %7s %*s %7s %*d %*x:%*x:%*u %lld %23s",
		   kind, type, &first, end) != 4)
		return F_UNLCK;
	if (strcmp(end, "EOF") && sscanf(end, "%lld", &last) != 1)
		return F_UNLCK;
	if (!overlaps(lock, first, last))
		return F_UNLCK;
	if (strcmp(kind, "OFDLCK") &&
	    (strcmp(kind, "POSIX") || !is_foreign(fd, lock)))
		return F_UNLCK;
	return strcmp(type, "WRITE") ? F_RDLCK : F_WRLCK;
}

/* The whole of /proc/self/fdinfo/@fd, as far as it fits. */
static size_t read_fdinfo(int fd, char *buf, size_t size)
{
	_cleanup_(fd_closep) int info = -1;
	size_t used = 0;
	char path[40];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return 0;
	while (used < size && (n = read(info, buf + used, size - used)) > 0)
		used += (size_t)n;
	return used;
}

short held_type(int fd, const struct op_lock *lock)
{
	short strongest = F_UNLCK;
	char text[TEXT_MAX + 1];
	char *line, *rest = text;

	text[read_fdinfo(fd, text, TEXT_MAX)] = '\0';
	while (strongest != F_WRLCK && (line = strsep(&rest, "\n"))) {
		short type = line_type(line, lock, fd);

		if (type != F_UNLCK)
			strongest = type;
	}
	return strongest;
}
