/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bench/bench.h"
#include "uring/engine.h"

/*
 * What is left of the library if all but its system calls is taken away: no
 * program that locks disks in this way is faster. Both return ns.
 */

/* Of an acquire: for each disk open (in the ring), stat, lock, the question for
   QEMU's locks, and close; and what parks them. */
uint64_t floor_acquire(struct engine *ring, const struct images *images,
		       size_t n);

/* Of a plug: the same for one disk, the look at the mount table, and the second
   stat, by the path. @pair: sockets; @mounts: of /proc/self/mountinfo. */
uint64_t floor_plug(const char *path, const int pair[2], int mounts);
