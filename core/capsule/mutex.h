/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/*
 * Honest readers of a queue exclude each other with an OFD lock on the
 * identity, taken through an open file description of their own. So do those
 * who migrate the guest, with one on another byte: they read the queue in
 * between. The guest can take both, and keep them for ever.
 */
enum mutex_byte {
	MUTEX_QUEUE,
	MUTEX_TURN, /* of a step of a migration */
	_MUTEX_BYTE_N,
};

/* Expected outcome of mutex_lock(), beside 0 and negative errno. */
enum {
	_MUTEX_E_SUCCESS,
	MUTEX_E_BUSY, /* somebody had it until the deadline, or no /proc */
};

/**
 * mutex_lock() - take a mutex of a capsule
 * @identity:	-1 if it is lost; then the mutex is busy for ever
 * @ret_mutex:	for mutex_unlock()
 *
 * Return: 0, MUTEX_E_BUSY, or negative errno.
 */
int mutex_lock(int identity, enum mutex_byte byte, uint64_t deadline,
	       int *ret_mutex);

/* Return: -1, to be assigned. Does nothing for -1. */
int mutex_unlock(int mutex);

/*
 * Wait for about @ns, with jitter, and never beyond @deadline. Return: 0, or
 * -ETIME at once if that has passed.
 */
int backoff_pause(uint64_t ns, uint64_t deadline);

/* Before the @attempt-th repetition, from 0: 50 µs, doubling up to 5 ms. */
int backoff_wait(unsigned attempt, uint64_t deadline);
