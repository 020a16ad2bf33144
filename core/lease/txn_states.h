/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/base/sm.h"
#include "core/lease/txn.h"

#define STATE_BIT(_state) (UINT32_C(1) << (_state))

/*
 * The phases of a transaction, internal to core/lease. (The item's machine is
 * drawn in core/lease/txn.h.)
 *
 *                           .-----------------------------------.
 *                           v                                   |
 *   PLAN -------------> OPENING <----------------.              |
 *                           |                    |              |
 *                           v    all locked      |              |
 *              .------> LOCKING -----------.     |              |
 *              |            | busy         |     |              |
 *              |            v     settled  v     |  replaced    |
 *   PAUSING <--+------ INQUIRING ----> VERIFYING-+---------> SHEDDING
 *      |       |    fading  | held         |     |              |
 *      `-------'            |              v     |              |
 *   HELD <------------------+----------- PARKING-+--------------'
 *                           v                    |
 *           WAITING <--> YIELDING ---------------+
 *              |            |                    |
 *              v            `-----> RESTING -----'
 *           LOCKING
 *
 *   any but the last -- failed --> UNDOING --> REFUSED or FAILED
 *
 * The lower part is for those who wait. LOCKING comes round by itself, and
 * after INQUIRING, when the item that was waited for is settled and the others
 * are yet to be locked.
 */
enum txn_phase {
	TXN_PHASE_PLAN,
	TXN_PHASE_OPENING,
	TXN_PHASE_LOCKING,
	TXN_PHASE_INQUIRING, /* the holders of busy items, and our own guest */
	TXN_PHASE_PAUSING,
	TXN_PHASE_YIELDING, /* giving back what must not be held meanwhile */
	TXN_PHASE_WAITING,
	TXN_PHASE_RESTING, /* instead, where no lock can be waited for */
	TXN_PHASE_VERIFYING,
	TXN_PHASE_SHEDDING, /* closing what is not needed, or was replaced */
	TXN_PHASE_PARKING,
	TXN_PHASE_UNDOING,
	TXN_PHASE_HELD,
	TXN_PHASE_REFUSED,
	TXN_PHASE_FAILED,
	_TXN_PHASE_N,
};

/* The invariant of a phase: what there may be while it lasts. */
struct txn_phase_rule {
	uint32_t items; /* the states that an item may have or get */
	uint32_t acts;	/* what may be asked for */
	bool clean;	/* begins without any failure */
	enum txn_outcome outcome;
};

extern const struct sm_state txn_phase_states[_TXN_PHASE_N];
extern const struct txn_phase_rule txn_phase_rules[_TXN_PHASE_N];
extern const struct sm_state txn_item_states[_TXN_ITEM_N];
