/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "uring/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The batch engine. One thread at a time uses an engine; engine_cancel() alone
 * may be called from any thread. Creating one starts no thread.
 */
struct engine;

struct engine_config {
	const char *backend;  /* "auto" or NULL, "uring", "syscall" */
	unsigned max_workers; /* 0: 64 */
};

/* What runs here and why; strings are static. For `guestlock doctor`. */
struct engine_status {
	const char *backend;	  /* "uring" or "syscall" */
	const char *reason;	  /* why not uring, or NULL */
	const char *ring_flags;	  /* "defer-taskrun", "coop-taskrun", ... */
	const char *completion;	  /* "msg-ring", "eventfd", "condvar" */
	bool lock_opcode;	  /* IORING_OP_OFD_LOCK in use */
	unsigned workers_started; /* by this engine so far */
};

/**
 * engine_new() - make an engine on the best back end that this host offers
 * @config:	or NULL for the defaults; the environment variable
 *		GUESTLOCK_ENGINE=auto|uring|syscall overrides its backend
 *
 * Return: 0; -EINVAL for an unknown backend name; -EOPNOTSUPP if "uring" was
 * demanded and cannot be had; or negative errno.
 */
int engine_new(const struct engine_config *config, struct engine **ret_engine);

/*
 * Abandons what hangs (see engine_run()), waits for nothing else. A fork()ed
 * child must not use or free its parent's engine. A thread that hangs runs our
 * code when it comes back: a library with an engine in it must not be unloaded
 * (-z nodelete). Return: NULL.
 */
struct engine *engine_free(struct engine *engine);

/**
 * engine_run() - run a batch and wait for all of it
 * @ops:	any mix of operations; each gets its own res
 * @n:		how many
 * @deadline:	CLOCK_MONOTONIC in ns (core/base/clock.h)
 *
 * Operations that name the same descriptor must not stand in one batch, unless
 * they are one errand (OP_LINK), or none of them has OP_REMOTE or OP_WAIT: then
 * those that are not opens run in the order of the array. One operation's
 * failure does not stop those of other errands.
 *
 * Opens overlap on io_uring. OP_REMOTE operations overlap on a bounded pool of
 * workers, and so do OP_WAIT locks, and local opens that the kernel cannot
 * answer from its cache. At the deadline, or on engine_cancel(), whatever of
 * these has not finished gets res -ETIME or -ECANCELED, and the engine takes
 * it over: an open that still succeeds is closed, a lock that is still granted
 * is dropped, but not one that its description had there before, and neither
 * the ops' memory nor their descriptors are touched any more. The caller may
 * close the descriptor of such an operation at once. An OP_WRITE may still
 * reach its file after that; its description, with all locks, lives until then.
 *
 * An OP_CLOSE is never taken back: its descriptor is the engine's, and gets
 * closed, whatever res says. All else that is local is done even if the
 * deadline has passed, since it waits for nobody. An operation that needs a
 * worker where no thread can be started has res -ENOMEM.
 *
 * Return: 0 if every op has a res (look at each), or negative errno if the
 * batch could not be run at all; then every res says what happened to it.
 */
int engine_run(struct engine *engine, struct op *ops, size_t n,
	       uint64_t deadline);

/* Make the running or else the next engine_run() return early. Any thread. */
void engine_cancel(struct engine *engine);

/* Has engine_cancel() ended no engine_run() yet? Forgets it, so that the caller
   can obey in its place. */
bool engine_take_cancel(struct engine *engine);

/*
 * Make room for @n more descriptors in one step: a shared descriptor table
 * that grows by doubling waits for an RCU grace period each time. It never
 * shrinks, so the next batch of that size, if the descriptors of the last one
 * have been closed, has its room already: then nothing is done.
 */
int engine_reserve(struct engine *engine, size_t n);

/*
 * Close many descriptors, contiguous runs in one system call each. Never
 * closes a number that is not in @fds. Entries become -1; -1 is skipped.
 */
void engine_close_many(struct engine *engine, int *fds, size_t n);

void engine_describe(const struct engine *engine,
		     struct engine_status *ret_status);
