/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/txn_states.h"

#define P(_phase) STATE_BIT(TXN_PHASE_##_phase)
#define I(_state) STATE_BIT(TXN_ITEM_##_state)
#define A(_act) STATE_BIT(TXN_DO_##_act)

const struct sm_state txn_phase_states[_TXN_PHASE_N] = {
	[TXN_PHASE_PLAN] = { "plan", P(OPENING) | P(UNDOING) },
	[TXN_PHASE_OPENING] = { "opening", P(LOCKING) | P(UNDOING) },
	[TXN_PHASE_LOCKING] = { "locking", P(LOCKING) | P(INQUIRING) |
						   P(VERIFYING) | P(UNDOING) },
	[TXN_PHASE_INQUIRING] = { "inquiring",
				  P(LOCKING) | P(PAUSING) | P(YIELDING) |
					  P(VERIFYING) | P(UNDOING) },
	[TXN_PHASE_PAUSING] = { "pausing", P(LOCKING) | P(UNDOING) },
	[TXN_PHASE_YIELDING] = { "yielding", P(OPENING) | P(WAITING) |
						     P(RESTING) | P(UNDOING) },
	[TXN_PHASE_WAITING] = { "waiting",
				P(LOCKING) | P(YIELDING) | P(UNDOING) },
	[TXN_PHASE_RESTING] = { "resting", P(OPENING) | P(UNDOING) },
	[TXN_PHASE_VERIFYING] = { "verifying",
				  P(SHEDDING) | P(PARKING) | P(UNDOING) },
	[TXN_PHASE_SHEDDING] = { "shedding",
				 P(OPENING) | P(PARKING) | P(UNDOING) },
	[TXN_PHASE_PARKING] = { "parking", P(HELD) | P(UNDOING) },
	[TXN_PHASE_UNDOING] = { "undoing", P(REFUSED) | P(FAILED) },
	[TXN_PHASE_HELD] = { "held", 0 },
	[TXN_PHASE_REFUSED] = { "refused", 0 },
	[TXN_PHASE_FAILED] = { "failed", 0 },
};

/*
 * Read a row as: while this phase lasts, no item is in any other state. So
 * nothing is parked before everything is locked and verified, nothing is locked
 * while the transaction rests, and nothing is open after the end. (What is
 * locked while it waits must also come first in the order: see txn_enter().)
 */
const struct txn_phase_rule txn_phase_rules[_TXN_PHASE_N] = {
	[TXN_PHASE_PLAN] = { I(NEW), 0, true },
	[TXN_PHASE_OPENING] = { I(NEW) | I(OPENING) | I(OPEN) | I(CLOSING) |
					I(FAILED) | I(LOCKED) | I(VERIFIED),
				A(OPEN), true },
	[TXN_PHASE_LOCKING] = { I(OPEN) | I(LOCKING) | I(BUSY) | I(LOCKED) |
					I(CLOSING) | I(VERIFIED),
				A(LOCK), true },
	[TXN_PHASE_INQUIRING] = { I(OPEN) | I(BUSY) | I(LOCKED) | I(CLOSING) |
					  I(FAILED) | I(VERIFIED),
				  A(INQUIRE) | A(RECALL) | A(CLOSE), false },
	[TXN_PHASE_PAUSING] = { I(OPEN) | I(BUSY) | I(LOCKED) | I(VERIFIED),
				A(PAUSE), true },
	[TXN_PHASE_YIELDING] = { I(NEW) | I(OPEN) | I(BUSY) | I(LOCKED) |
					 I(CLOSING) | I(VERIFIED),
				 A(UNLOCK) | A(CLOSE), true },
	[TXN_PHASE_WAITING] = { I(OPEN) | I(LOCKING) | I(BUSY) | I(LOCKED) |
					I(CLOSING) | I(VERIFIED),
				A(WAIT), true },
	[TXN_PHASE_RESTING] = { I(NEW) | I(OPEN), A(REST), true },
	[TXN_PHASE_VERIFYING] = { I(OPEN) | I(LOCKED) | I(CLOSING) |
					  I(VERIFIED),
				  A(VERIFY), true },
	[TXN_PHASE_SHEDDING] = { I(NEW) | I(OPEN) | I(LOCKED) | I(CLOSING) |
					 I(VERIFIED) | I(ALREADY),
				 A(CLOSE), true },
	[TXN_PHASE_PARKING] = { I(VERIFIED) | I(HELD) | I(ALREADY), A(PARK),
				true },
	[TXN_PHASE_UNDOING] = { STATE_BIT(_TXN_ITEM_N) - 1, A(CLOSE), false },
	[TXN_PHASE_HELD] = { I(HELD) | I(ALREADY), 0, true, TXN_HELD },
	[TXN_PHASE_REFUSED] = { I(FAILED) | I(UNDONE), 0, false, TXN_REFUSED },
	[TXN_PHASE_FAILED] = { I(FAILED) | I(UNDONE), 0, false, TXN_FAILED },
};

const struct sm_state txn_item_states[_TXN_ITEM_N] = {
	[TXN_ITEM_NEW] = { "new", I(OPENING) | I(UNDONE) },
	[TXN_ITEM_OPENING] = { "opening", I(OPEN) | I(CLOSING) | I(FAILED) },
	[TXN_ITEM_OPEN] = { "open", I(LOCKING) | I(CLOSING) },
	[TXN_ITEM_LOCKING] = { "locking", I(BUSY) | I(LOCKED) | I(CLOSING) },
	[TXN_ITEM_BUSY] = { "busy", I(LOCKING) | I(OPEN) | I(CLOSING) },
	[TXN_ITEM_LOCKED] = { "locked", I(OPEN) | I(VERIFIED) | I(CLOSING) },
	[TXN_ITEM_VERIFIED] = { "verified", I(OPEN) | I(HELD) | I(CLOSING) },
	[TXN_ITEM_HELD] = { "held", 0 },
	[TXN_ITEM_ALREADY] = { "already", I(UNDONE) },
	[TXN_ITEM_CLOSING] = { "closing",
			       I(NEW) | I(ALREADY) | I(FAILED) | I(UNDONE) },
	[TXN_ITEM_FAILED] = { "failed", 0 },
	[TXN_ITEM_UNDONE] = { "undone", 0 },
};

const char *txn_item_state_name(enum txn_item_state state)
{
	return state < _TXN_ITEM_N ? txn_item_states[state].name : "?";
}
