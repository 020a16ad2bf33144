/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/mutex.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"

#include <stdio.h>

#define BACKOFF_MIN (50 * 1000)
#define BACKOFF_MAX (5 * NSEC_PER_MSEC)

/*
 * Not F_OFD_SETLKW: a guest that keeps the lock would keep us for ever. Not
 * the descriptor that came out of the queue: its description, so its OFD
 * locks, are common to all who peeked it. Where /proc is not mounted there is
 * no way to a description of our own, and the mutex counts as busy: readers
 * then rely on their consistency checks, and nobody compacts.
 *
 * The lock is dropped before the descriptor is closed, since a child forked
 * by another thread may have it open until it calls exec.
 */

int backoff_pause(uint64_t ns, uint64_t deadline)
{
	uint64_t now = clock_now();
	struct timespec ts;

	if (now >= deadline)
		return -ETIME;
	/* The low digits of the clock are random enough to part two. */
	ns = ns / 2 + now % (ns / 2 + 1);
	ns = MIN(ns, deadline - now);
	ts.tv_sec = (time_t)(ns / NSEC_PER_SEC);
	ts.tv_nsec = (long)(ns % NSEC_PER_SEC);
	nanosleep(&ts, NULL);
	return 0;
}

int backoff_wait(unsigned attempt, uint64_t deadline)
{
	uint64_t ns =
		attempt < 7 ? (uint64_t)BACKOFF_MIN << attempt : BACKOFF_MAX;

	return backoff_pause(ns, deadline);
}

int mutex_lock(int identity, enum mutex_byte byte, uint64_t deadline,
	       int *ret_mutex)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };
	_cleanup_(fd_closep) int fd = -1;
	char path[32];

	if (identity < 0)
		return MUTEX_E_BUSY;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", identity);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? -errno
							  : MUTEX_E_BUSY;
	for (unsigned i = 0; fcntl(fd, F_OFD_SETLK, &lock) < 0; i++) {
		if (errno != EAGAIN && errno != EACCES)
			return -errno;
		if (backoff_wait(i, deadline))
			return MUTEX_E_BUSY;
	}
	*ret_mutex = TAKE_FD(fd);
	return 0;
}

int mutex_unlock(int mutex)
{
	struct flock lock = { .l_type = F_UNLCK, .l_len = _MUTEX_BYTE_N };

	if (mutex < 0)
		return -1;
	fcntl(mutex, F_OFD_SETLK, &lock);
	return fd_close(mutex);
}
