/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#define SLOWFS_FILES 1000
#define SLOWFS_ALL (-1)

/* In memory that is shared with the server. May be changed at any time, from
   any thread; holds from the next request, and for those that wait. */
struct slowfs_knobs {
	_Atomic unsigned open_ms, stat_ms, lock_ms;
	/* Answer nothing until this is false again. */
	atomic_bool hang_open, hang_stat, hang_lock, hang_flush;
	atomic_bool hang_unlock;
	/* An errno that is the answer to every one of them, or 0. */
	atomic_int refuse_open, refuse_lock;
	/* Hang and refuse for this disk only; SLOWFS_ALL for each. */
	atomic_int only;
	/* Forget every lock, as a server does that was started again. Goes back
	   to false once that is done: slowfs_lose_locks(). */
	atomic_bool lose_locks;
	/* Do not listen when the kernel wants to interrupt a request. */
	atomic_bool deaf;
	/* What has come in so far, what waits for an answer now, and how many
	   were without an answer at most. */
	_Atomic unsigned opens, stats, flushes, releases, locks, queries;
	_Atomic unsigned waiting, max_waiting;
	_Atomic unsigned unlinks; /* which are refused */
};

/* Serve the file system that is mounted on @fd, of /dev/fuse, until it is not
   mounted any more; then end the process. */
_Noreturn void slowfs_serve(int fd, struct slowfs_knobs *knobs);
