/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tests/sim/world.h"

/*
 * One process that takes disks for a guest: the real transaction with a driver
 * that performs one act a tick, in random order, with faults, wrong events and
 * aborts.
 */
#define N_DISKS 7

enum actor_count {
	COUNT_HELD,
	COUNT_REFUSED,
	COUNT_FAILED,
	COUNT_PARKED,	/* leases */
	COUNT_SAME,	/* items that are another item's file */
	COUNT_HAD,	/* items that the guest had */
	COUNT_REPLACED, /* verifications that found another file */
	COUNT_WAITED,	/* pauses */
	COUNT_STALE,
	COUNT_ABORTED,
	COUNT_FAULTS,
	COUNT_PROTOCOL, /* wrong events that were refused */
	_COUNT_N,
};

struct actor {
	struct txn *txn; /* NULL: idle */
	struct world *w;
	unsigned *counts; /* enum actor_count */
	int id, guest;
	size_t n;
	unsigned path[N_DISKS];
	int desc[N_DISKS];
	uint64_t verified[N_DISKS]; /* the inode that the path named then */
	struct txn_act acts[N_DISKS + 1];
	struct txn_event events[N_DISKS + 1]; /* what 0: not performed yet */
	size_t n_acts, n_done;
	unsigned pause_until, steps;
	bool parked;
};

/* Begin a transaction for a random guest, if one wants it. */
void actor_start(struct actor *a);

/* Perform an act, feed the answers or give up. */
void actor_act(struct actor *a);
