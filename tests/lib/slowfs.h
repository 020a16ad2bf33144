/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tests/lib/slowfs_server.h"

/*
 * A file system as slow as one wants, with locks that are its server's own
 * business: 1000 empty files, disk0 to disk999, served by a process of its own
 * by means of FUSE. Mounted in a mount namespace that this program enters, so
 * nothing stays behind however it ends. Needs root and /dev/fuse:
 * TEST_NEEDS_FUSE. For benchmarks, too.
 */
struct slowfs;

/* @dir is made. Whatever fails ends the program. */
struct slowfs *slowfs_start(const char *dir);
struct slowfs *slowfs_stop(struct slowfs *fs);

struct slowfs_knobs *slowfs_knobs(struct slowfs *fs);

/* Lets go of all that hangs, and back to no delay. */
void slowfs_calm(struct slowfs *fs);

/* The server forgets every lock. Return: false if it did not within 10 s. */
bool slowfs_lose_locks(struct slowfs *fs);

/* Of the mount itself; static until slowfs_stop(). */
const char *slowfs_dir(struct slowfs *fs);

/* DIR/disk@i, in a static ring of 16. */
const char *slowfs_path(struct slowfs *fs, unsigned i);

/* Wait until @count is @value or more, at most 10 s. */
bool slowfs_await(_Atomic unsigned *count, unsigned value);
