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
	COUNT_PAUSED,
	COUNT_WAITED, /* locks that were waited for and granted */
	COUNT_AGAIN,  /* waits that were not granted for a while */
	COUNT_RESTED,
	COUNT_YIELDED, /* locks that were given back to wait for another */
	COUNT_LATE,    /* waits that were given up */
	COUNT_STALE,
	COUNT_ABORTED,
	COUNT_FAULTS,
	COUNT_PROTOCOL, /* wrong events that were refused */
	_COUNT_N,
};

/* How transactions wait; by default some do, and for a bounded time. */
struct waiting {
	bool for_ever;	      /* all wait until they have it, for new guests */
	unsigned slice;	      /* ticks until they look anew */
	unsigned rest_one_in; /* a disk cannot be waited for; 0: never */
};

struct actor {
	struct txn *txn; /* NULL: idle */
	struct world *w;
	unsigned *counts; /* enum actor_count */
	struct waiting waiting;
	int id, guest;
	size_t n;
	unsigned path[N_DISKS];
	int desc[N_DISKS];
	uint64_t verified[N_DISKS]; /* the inode that the path named then */
	struct txn_act acts[N_DISKS + 1];
	struct txn_event events[N_DISKS + 1]; /* what 0: not performed yet */
	size_t n_acts, n_done;
	unsigned pause_until, steps;
	unsigned slice_until, wait_until; /* ticks; 0: not begun yet */
	bool parked, waits;
};

/* Is it in a WAIT for a lock that somebody else has? */
bool actor_is_blocked(const struct actor *a);

/* Begin a transaction for a random guest, if one wants it. */
void actor_start(struct actor *a);

/* Perform an act, feed the answers or give up. */
void actor_act(struct actor *a);
