/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/handover.h"
#include "core/lib/lib.h"

/*
 * The leases of one guest for the time of one step of a migration, and
 * operations on a byte of many of them at once. See migrate.c.
 */

/* What a point is: 1 << its enum role if the lease is exclusive, as it was when
   the leases were read; and marks that a step puts on it. */
#define HAND_ROLE(_role) (UINT32_C(1) << (_role))
#define HAND_EXCLUSIVE (HAND_ROLE(_ROLE_N) - 1)
#define HAND_SHARED (UINT32_C(1) << 16) /* of a shared lease, in any role */
#define HAND_MARK(_i) (UINT32_C(1) << (17 + (_i)))

/* A descriptor of a lease. A step treats each like a disk of its own, so one
   that was killed between two points of a disk is gone on with like one that
   was killed between two disks. */
struct hand_point {
	const struct capsule_lease *lease;
	int fd;
	struct res_id file;
	uint8_t flags; /* OP_REMOTE, or 0 */
	uint32_t marks;
	int res;   /* of the last run that it was part of */
	int error; /* likewise, of the last before hand_undo() */
};

/* Beside 0 and negative errno. */
enum {
	_HAND_E_SUCCESS,
	HAND_E_BUSY, /* somebody else has it */
};

struct hand {
	struct glk_guest *guest;
	struct capsule_contents contents;
	struct hand_point *points;
	size_t n;
	uint32_t roles; /* that occur */
	int turn;	/* nobody else's step goes on meanwhile; -1: none */
	struct op *ops;
	uint32_t *op_points;
	uint64_t deadline;
	bool undoing; /* no failure counts */
};

#define HAND_NULL ((struct hand){ .turn = -1 })

/* Wait for our turn and read the leases. Return: 0, or negative errno with a
   message. */
int hand_load(struct glk_guest *guest, struct hand *ret_hand);
void hand_done(struct hand *hand);

/* It is others' turn: from now on no byte may be changed. */
void hand_over_turn(struct hand *hand);

/**
 * hand_run() - one operation on a byte of all points with one of these marks
 * @what:	OP_LOCK, OP_UNLOCK, or OP_QUERY for whether somebody else is in
 *		the way of such a lock
 *
 * Return: 0; HAND_E_BUSY if all that failed were refused; else the negative
 * errno of one, or of the whole run. Each point's res tells more.
 */
int hand_run(struct hand *hand, uint32_t marks, const struct op *what);

/* Put and take away marks of those with one of @marks whose last run went well,
   or that did not. */
void hand_mark(struct hand *hand, uint32_t marks, bool well, uint32_t set,
	       uint32_t clear);

/* The first with one of @marks, or NULL. */
struct hand_point *hand_find(const struct hand *hand, uint32_t marks);

/* Failures do not count any more, and all the time of the call may be used. */
void hand_undo(struct hand *hand);

/* Wait for up to @ms. Return: 0; -ETIME at the deadline; -ECANCELED. */
int hand_pause(struct hand *hand, uint64_t ms);

/* Message, conflicts and errno for what hand_run() returned. Return: errno. */
int hand_fail(struct hand *hand, int e);
