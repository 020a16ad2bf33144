/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/resource.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * What a guest is to a disk, as the bytes say that its descriptor holds. No
 * other state of a migration exists, so nothing is lost when a manager is
 * killed: whoever looks next sees it.
 *
 *                  byte  0   2   3   4
 *    ROLE_OWNER          W   .   .   .    may write
 *    ROLE_PREPARED       R   -   W   W    may write; a destination may come
 *    ROLE_LEFT           R   -   -   W    the source: writes no more, may yet
 *                                         come back
 *    ROLE_INCOMING       R   W   -   -    the destination: does not write yet
 *    ROLE_ARRIVED        R   W   W   -    may write; the source is still there
 *    ROLE_NONE           -   -   -   -
 *
 *    source        OWNER <--> PREPARED <--> LEFT           (prepare, out; back:
 *                                                           cancel)
 *    destination   NONE <--> INCOMING --> ARRIVED --> OWNER      (incoming, in)
 *
 * Why this is safe at every instant, whoever is killed:
 *
 * - Never may two write at once. Byte 3 has one holder, and W on byte 0
 *   excludes every R on it.
 * - A third party gets nothing while one of the two sides lives. An exclusive
 *   lock of byte 0, virtlockd's too, is refused by R as well as by W. A shared
 *   one goes with R, so whoever wants that tests bytes 2 to 4 afterwards; each
 *   role but OWNER, with which R does not go, holds one of them.
 *   (virtlockd's shared locks do not look: they get in beside a writer while
 *   the two sides share byte 0. Its exclusive ones never do.)
 * - A hand-over is taken back without a gap for the same reason: the source
 *   never lets go of byte 0 before its guest ends.
 *
 * The design names byte 2 alone, tested by every acquirer. That test is a
 * system call for each disk: 500 images took 1.14 of a bare loop's time with
 * it, 0.93 without. And with byte 0 free in the gap, a disk was anybody's once
 * the destination had died, though its source lived.
 */
enum role {
	ROLE_NONE,
	ROLE_OWNER,
	ROLE_PREPARED,
	ROLE_LEFT,
	ROLE_INCOMING,
	ROLE_ARRIVED,
	_ROLE_N,
};

enum held_byte {
	HELD_NOTHING,
	HELD_READ,
	HELD_WRITE,
};

/* What a descriptor holds, as far as this guest's lock goes. */
struct held_bytes {
	enum held_byte owner;
	bool successor, writer, predecessor;
};

/**
 * handover_role() - the role that these bytes make
 * @mode:	of the lease; a shared one is OWNER with R and takes part in no
 *		hand-over
 *
 * Between two locks, and after a kill there, a description holds what is in no
 * row above. It counts as the row that it came from, or, without byte 0, as the
 * one that it cannot come back from.
 */
enum role handover_role(enum res_mode mode, const struct held_bytes *held);

/* May the guest use the disk, as its lease's mode says? */
static inline bool role_holds(enum role role)
{
	return role == ROLE_OWNER || role == ROLE_PREPARED ||
	       role == ROLE_ARRIVED;
}

/* Static strings; "?" for a number that is no such thing. */
const char *role_name(enum role role);
