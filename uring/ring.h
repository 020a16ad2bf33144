/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "uring/op.h"

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_ENTRIES 256
#define RING_WAKE UINT64_MAX /* user_data of a wake-up */

/* An operation that the ring left alone; see ring_run_opens(). */
#define RING_UNANSWERED INT32_MIN

struct ring {
	struct io_uring uring;
	const char *flags; /* "defer-taskrun", ... */
	pid_t issuer;	   /* the only thread that may submit, or 0: any */
	bool lock_op;
	struct open_how *hows; /* RING_ENTRIES */
};

/**
 * ring_new() - make a ring, with the best flags that the kernel takes
 * @ret_ring:	to be freed with ring_free()
 *
 * Return: 0; -EOPNOTSUPP if this kernel or host does not allow one, @ret_why
 * says so; or negative errno, which may pass.
 */
int ring_new(struct ring **ret_ring, const char **ret_why);
struct ring *ring_free(struct ring *ring);

/* May the calling thread use it? */
bool ring_is_mine(const struct ring *ring);

/**
 * ring_run_opens() - try local opens, none of which waits
 *
 * As local_try_open(). No request stays behind in the ring.
 *
 * Return: 0, or negative errno if the ring failed; then what was not done has
 * res RING_UNANSWERED, and the ring must be freed.
 */
int ring_run_opens(struct ring *ring, struct op *ops, size_t n);

/* The same for locks that do not wait. Only if ring->lock_op. */
int ring_run_locks(struct ring *ring, struct op *ops, size_t n);

/* Wait for a completion, at most @ns, and consume all. 0 or negative errno. */
int ring_wait(struct ring *ring, uint64_t ns);
