/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "uring/op.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct pool;

enum worker_state {
	WORKER_IDLE,
	WORKER_BUSY,
	WORKER_WAITING,	  /* for a lock: may be cancelled */
	WORKER_CANCELLED, /* its thread ends */
	WORKER_COMMITTED, /* has its result; closes its own descriptor */
};

struct worker {
	struct pool *pool;
	struct worker *prev, *next;
	struct worker *next_idle;
	pthread_t thread;
	pthread_cond_t wake; /* from its sleep, or a wait that polls */
	enum worker_state state;
	bool asleep;	    /* in pool->idle */
	bool detached;	    /* frees itself */
	bool leaving;	    /* counts in pool->n_leaving */
	struct op *op;	    /* the caller's; NULL: idle, or abandoned */
	atomic_bool orphan; /* abandoned; changes with the pool's lock */
	atomic_bool looks;  /* at a path: no more use for what was lent */
	struct op mine[OP_ERRAND_MAX]; /* with descriptor and path of our own */
	size_t n;		       /* of those */
	int fd;			       /* duplicate of the caller's, or -1 */
	short held; /* what the description had locked before */
	struct flock wait;
	union {
		char path[PATH_MAX];
		char data[OP_DATA_MAX];
	};
};

/* Start one more. pool->lock is held, and dropped meanwhile. 0 or -ENOMEM. */
int worker_start_locked(struct pool *pool);

/* The one that fell asleep last, or NULL. pool->lock is held; the condition is
   yet to be signalled, with the lock or without. */
struct worker *worker_rouse_locked(struct pool *pool);

/* Stop waiting for a lock and drop it. pool->lock is held. */
void worker_cancel_locked(struct worker *worker);

/* Of one that was abandoned: take what it was lent and has no more use for.
   pool->lock is held. Return: the descriptor, or -1. */
int worker_take_lent_locked(struct worker *worker);

void worker_unlink(struct worker *worker);
struct worker *worker_free(struct worker *worker);

static inline bool worker_opens_locally(const struct op *op)
{
	return op->kind == OP_OPEN && !(op->flags & OP_REMOTE);
}

/* Works on the caller's own descriptor, and keeps it if it is abandoned. */
static inline bool worker_is_lent(const struct op *op)
{
	return (op->kind == OP_LOCK || op->kind == OP_QUERY) &&
	       (op->flags & OP_LEND);
}
