/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "uring/op.h"
#include "uring/waker.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_WORKERS 64	 /* unless configured */
#define POOL_OPENERS 8	 /* at work on local opens at a time */
#define POOL_LEAVE_MS 20 /* for them to come to an end; see pool.c */

struct worker;

/*
 * The workers and the batch that they work on. One lock guards all of it; no
 * thread makes a call that may hang with the lock held. The engine holds one
 * reference and each worker one.
 */
struct pool {
	pthread_mutex_t lock;
	struct waker waker;
	unsigned refs;
	bool closed;
	_Atomic bool cancelled;

	struct op **queue; /* [head, tail): errands that wait for a worker */
	size_t head, tail, size;
	size_t outstanding; /* in the queue or with a worker */
	size_t n_local;	    /* of those, local opens */

	int *closes; /* left by abandoned batches */
	size_t n_closes, closes_size;

	struct worker *workers;
	struct worker *idle; /* they sleep; the last to come is the first */
	unsigned max_workers;
	unsigned n_workers;
	unsigned n_orphans; /* work on what was abandoned */
	unsigned n_leaving; /* of those, cancelled waits and such */
	unsigned started;
};

int pool_new(unsigned max_workers, struct pool **ret_pool);

/* Leaves hanging workers to themselves; joins the others. Return: NULL. */
struct pool *pool_free(struct pool *pool);

/* Drop a reference, with the lock held; unlocks. */
void pool_unref_locked(struct pool *pool);

/* Make later wake-ups come through @ring; NULL: through a condition. */
void pool_attach(struct pool *pool, struct ring *ring);

/**
 * pool_add() - add operations to the running batch
 * @ops:	touched until pool_finish() has returned, and not after; whole
 *		errands, all of them OP_REMOTE or none
 *
 * Return: 0, or -ENOMEM if there is no worker to be had: nothing changed.
 */
int pool_add(struct pool *pool, struct op *ops, size_t n);

/* Wait for the batch; at @deadline or when cancelled, abandon the rest. */
void pool_finish(struct pool *pool, uint64_t deadline);

/* Any thread. */
void pool_cancel(struct pool *pool);

/* Is a cancel pending? Forgets it. */
bool pool_take_cancel(struct pool *pool);
