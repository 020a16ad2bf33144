/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

/*
 * A file system as slow as a test wants, with locks that are its server's own
 * business: a FUSE server of 1000 empty files, disk0 to disk999, in a process
 * of its own. Mounted in a mount namespace that this program enters, so nothing
 * stays behind however it ends. Needs root and /dev/fuse.
 *
 * It speaks the kernel's protocol itself: one loop keeps any number of requests
 * waiting, so 500 slow opens need no thread here.
 */
struct slowfs;

/* May be changed at any time, from any thread; holds from the next request. */
struct slowfs_knobs {
	_Atomic unsigned open_ms, stat_ms, lock_ms;
	/* Answer nothing until this is false again. */
	atomic_bool hang_open, hang_stat, hang_lock, hang_flush;
	atomic_bool hang_unlock;
	/* Do not listen when the kernel wants to interrupt a request. */
	atomic_bool deaf;
	/* What has come in so far, and what waits for an answer now. */
	_Atomic unsigned opens, flushes, releases, locks, waiting, max_waiting;
	_Atomic unsigned unlinks; /* which are refused */
};

/* End the program as skipped if it cannot have one; see test_skip(). */
void slowfs_need(void);

struct slowfs *slowfs_start(const char *name);
struct slowfs *slowfs_stop(struct slowfs *fs);

struct slowfs_knobs *slowfs_knobs(struct slowfs *fs);

/* Lets go of all that hangs, and back to no delay. */
void slowfs_calm(struct slowfs *fs);

/* Of the mount itself; static until slowfs_stop(). */
const char *slowfs_dir(struct slowfs *fs);

/* DIR/disk@i, in a static ring of 16. */
const char *slowfs_path(struct slowfs *fs, unsigned i);

/* Wait until @count is @value or more, at most 10 s. */
bool slowfs_await(_Atomic unsigned *count, unsigned value);
