/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/txn.h"

/*
 * A driver for one transaction that answers each act as planned, and checks
 * with cmocka's assertions that no act is senseless: nothing is locked that is
 * not open, and nothing is left open in the end but what is HELD.
 */
#define FAKE_MAX 16
#define FOREVER 1000000

/* Zero means that all goes well: a file of its own, which nobody has locked. */
struct fake_plan {
	uint64_t ino;		/* 0: 1000 + index */
	uint64_t next_ino;	/* after a replacement; 0: the same */
	int open, lock, verify; /* negative errno */
	int inquire, recall, unlock, close;
	unsigned not_a_file;	       /* OPEN says another enum res_type */
	unsigned busy;		       /* so many LOCKs say TXN_BUSY */
	int waits[4];		       /* what WAITs say; then 0 */
	unsigned replaced;	       /* so many VERIFYs say TXN_REPLACED */
	enum txn_holder holder;	       /* as INQUIRE says */
	enum txn_holder recall_holder; /* as RECALL says; LIVE: NONE */
};

struct fake {
	struct txn *txn;
	struct fake_plan plan[FAKE_MAX];
	int pause, rest, park; /* results */
	bool open[FAKE_MAX], locked[FAKE_MAX];
	unsigned did[TXN_DO_CLOSE + 1]; /* acts of each kind */
	unsigned asked[FAKE_MAX][TXN_DO_CLOSE + 1];
	unsigned steps, paused_ms, last_pause_ms, longest_pause_ms;
	unsigned rested_ms, n_rests;
	unsigned late_after; /* so many RESTs the time is over; 0: never */
	unsigned parked;     /* items, at PARK */
	bool waits;
	bool backwards; /* answer the acts in reverse order */
	const struct txn_act *acts;
	size_t n_acts;
};

void fake_init(struct fake *fake, bool guest_runs, uint32_t grace_ms);
/* For who waits, too. */
void fake_init_waiting(struct fake *fake, bool guest_runs);
void fake_done(struct fake *fake);

/* An item; its plan is to be filled in. Return: fake->plan[its index]. */
struct fake_plan *fake_add(struct fake *fake, enum res_mode mode);

void fake_begin(struct fake *fake);

/* Perform all acts of this step and feed the answers. */
void fake_step(struct fake *fake);

/* Begin, step to the end, check that nothing is left. */
enum txn_outcome fake_run(struct fake *fake);

/* Step until an act of this kind is asked for, and do not answer it. */
void fake_run_to(struct fake *fake, enum txn_do what);

/* Abort, ignoring the acts of this step, and perform the undoing. */
void fake_abort(struct fake *fake, int error);

/* The answer to one act, performed. */
struct txn_event fake_perform(struct fake *fake, const struct txn_act *act);
