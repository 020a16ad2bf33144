/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/txn.h"

#include "core/base/err.h"
#include "core/base/util.h"
#include "core/lease/answer.h"

/*
 * A transaction goes in rounds. A phase asks the same thing about every item
 * that needs it; when all answers are in, each moves its item, and the phase's
 * after_*() looks at the counters and names the next phase. A phase with
 * nothing to ask is passed through at once. So every conflict and every error
 * of a kind is known before anything is given up, and the number of rounds does
 * not depend on the number of items.
 *
 * Why no round is lost and none is repeated for ever:
 * - LOCKING, INQUIRING, PAUSING come round only while the pauses add up to less
 *   than the grace time, and each is longer than the one before, up to 50 ms.
 * - OPENING comes round only for files that were replaced between open and
 *   lock, TXN_REOPENS times. What is verified stays locked, and is not asked
 *   about again.
 * - Waiting comes round until the driver says that its time is over.
 * - UNDOING leads out only.
 *
 * Items that need no lock of their own, because they are the same file as
 * another item or because the guest has the lease, stay open until VERIFYING
 * has found that their path still names that file. Otherwise they would be
 * called held although nobody holds what the path names by then.
 *
 * Who waits. There is one order of all disks (res_id_before()), and whoever
 * waits for a disk holds none that comes after it. So of all who wait, the one
 * whose disk comes last waits for nobody who waits himself, and they cannot
 * stand in each other's way for ever. First everything is tried without
 * waiting, in any order, since who tries does not wait. Then the first of the
 * busy items is waited for: what comes after it is unlocked, and tried again
 * once it is had. Nobody else is asked about meanwhile but our own guest, which
 * may have it. What was waited for in vain is opened anew, so a file that
 * somebody has put in its place is found, and no other item is tried until this
 * one is free. Where there is no lock to wait for, nothing at all is held, and
 * it is tried again after ever longer rests. When the time is over, one last
 * round of the ordinary kind tells who holds what.
 *
 * Everything is allocated by txn_begin(), so that nothing can fail for lack of
 * memory once something has been taken.
 */
#define PAUSE_MAX_MS 50

int txn_new(const struct txn_config *config, struct txn **ret_txn)
{
	struct txn *txn = zalloc(1, sizeof(*txn));

	if (!txn)
		return -ENOMEM;
	txn->config = *config;
	txn->first = UINT32_MAX;
	sm_init(&txn->phase, txn_phase_states, _TXN_PHASE_N, TXN_PHASE_PLAN);
	txn->items.allowed = txn_phase_rules[TXN_PHASE_PLAN].items;
	*ret_txn = txn;
	return 0;
}

struct txn *txn_free(struct txn *txn)
{
	if (!txn)
		return NULL;
	items_done(&txn->items);
	free(txn->acts);
	free(txn);
	return NULL;
}

int txn_add(struct txn *txn, const char *path, enum res_mode mode)
{
	if (txn->phase.state != TXN_PHASE_PLAN)
		return -EALREADY;
	return items_add(&txn->items, path, mode);
}

static bool txn_ended(const struct txn *txn)
{
	return txn_outcome(txn) != TXN_RUNNING;
}

static bool txn_has_failed(const struct txn *txn)
{
	return txn->error || txn->items.n_failed;
}

/* Take the phase on, if it holds what its rule says. */
static int txn_enter(struct txn *txn, enum txn_phase phase)
{
	const struct txn_phase_rule *rule = &txn_phase_rules[phase];
	int r;

	BUG_RETURN(items_present(&txn->items) & ~rule->items, -ENOTRECOVERABLE);
	BUG_RETURN(rule->clean == txn_has_failed(txn) &&
			   phase != TXN_PHASE_INQUIRING,
		   -ENOTRECOVERABLE);
	BUG_RETURN(phase == TXN_PHASE_WAITING &&
			   !items_locked_before(&txn->items, txn->first),
		   -ENOTRECOVERABLE);
	r = sm_move(&txn->phase, phase);
	if (r)
		return r;
	txn->items.allowed = rule->items;
	if (phase == TXN_PHASE_UNDOING)
		items_undo(&txn->items);
	return 0;
}

static enum txn_phase after_plan(struct txn *txn)
{
	(void)txn;
	return TXN_PHASE_OPENING;
}

static enum txn_phase after_opening(struct txn *txn)
{
	items_merge(&txn->items);
	return txn->items.n_failed ? TXN_PHASE_UNDOING : TXN_PHASE_LOCKING;
}

static bool txn_waits(const struct txn *txn)
{
	return txn->config.wait && !txn->late && !txn->items.n_failed;
}

/* One item has been tried alone: now all others, if it is not busy. */
static bool first_is_settled(const struct txn *txn)
{
	return txn->first != UINT32_MAX && !txn->items.n_failed &&
	       txn->items.slots[txn->first].item.state != TXN_ITEM_BUSY;
}

static enum txn_phase lock_the_others(struct txn *txn)
{
	txn->first = UINT32_MAX;
	return TXN_PHASE_LOCKING;
}

static enum txn_phase after_locking(struct txn *txn)
{
	if (first_is_settled(txn))
		return lock_the_others(txn);
	if (txn->items.count[TXN_ITEM_BUSY] || txn->config.guest_runs)
		return TXN_PHASE_INQUIRING;
	return txn->items.n_failed ? TXN_PHASE_UNDOING : TXN_PHASE_VERIFYING;
}

static void refuse_busy(struct txn *txn)
{
	for (size_t i = 0; i < txn->items.n; i++)
		if (txn->items.slots[i].item.state == TXN_ITEM_BUSY)
			items_fail(&txn->items, &txn->items.slots[i], -EBUSY);
}

static void grow_delay(struct txn *txn)
{
	txn->delay_ms = txn->delay_ms ? 2 * txn->delay_ms : 1;
	txn->delay_ms = MIN(txn->delay_ms, PAUSE_MAX_MS);
}

static enum txn_phase after_inquiring(struct txn *txn)
{
	bool busy = txn->items.count[TXN_ITEM_BUSY] && !txn->items.n_failed;
	uint32_t left = txn->config.grace_ms - txn->paused_ms;

	if (busy && txn_waits(txn)) {
		txn->first = items_first_busy(&txn->items);
		items_wait_for(&txn->items, txn->first);
		return TXN_PHASE_YIELDING;
	}
	if (busy && left) {
		grow_delay(txn);
		txn->delay_ms = MIN(txn->delay_ms, left);
		return TXN_PHASE_PAUSING;
	}
	refuse_busy(txn);
	if (txn->items.n_failed)
		return TXN_PHASE_UNDOING;
	if (txn->config.wait && items_want_lock(&txn->items))
		return lock_the_others(txn);
	return TXN_PHASE_VERIFYING;
}

static enum txn_phase after_pausing(struct txn *txn)
{
	return txn->error ? TXN_PHASE_UNDOING : TXN_PHASE_LOCKING;
}

/* The last round is for all items, and its grace begins anew. */
static enum txn_phase open_anew(struct txn *txn)
{
	txn->rest = false;
	if (txn->late) {
		txn->first = UINT32_MAX;
		txn->delay_ms = 0;
	}
	return TXN_PHASE_OPENING;
}

static enum txn_phase after_yielding(struct txn *txn)
{
	if (txn->items.n_failed)
		return TXN_PHASE_UNDOING;
	if (!txn->items.count[TXN_ITEM_NEW])
		return TXN_PHASE_WAITING;
	if (!txn->rest)
		return open_anew(txn);
	grow_delay(txn);
	return TXN_PHASE_RESTING;
}

static enum txn_phase after_waiting(struct txn *txn)
{
	if (txn->items.n_failed)
		return TXN_PHASE_UNDOING;
	return txn->items.count[TXN_ITEM_CLOSING] ? TXN_PHASE_YIELDING
						  : TXN_PHASE_LOCKING;
}

static enum txn_phase after_resting(struct txn *txn)
{
	return txn->error ? TXN_PHASE_UNDOING : open_anew(txn);
}

static enum txn_phase after_verifying(struct txn *txn)
{
	if (txn->items.n_failed)
		return TXN_PHASE_UNDOING;
	items_shed(&txn->items);
	return txn->items.count[TXN_ITEM_CLOSING] ? TXN_PHASE_SHEDDING
						  : TXN_PHASE_PARKING;
}

static enum txn_phase after_shedding(struct txn *txn)
{
	if (!txn->items.count[TXN_ITEM_NEW])
		return TXN_PHASE_PARKING;
	txn->reopens++;
	return TXN_PHASE_OPENING;
}

static enum txn_phase after_parking(struct txn *txn)
{
	struct items *items = &txn->items;

	if (txn->error)
		return TXN_PHASE_UNDOING;
	for (size_t i = 0; i < items->n; i++)
		if (items->slots[i].item.state == TXN_ITEM_VERIFIED)
			items_move(items, &items->slots[i], TXN_ITEM_HELD);
	return TXN_PHASE_HELD;
}

static enum txn_phase after_undoing(struct txn *txn)
{
	return txn->error || txn->items.n_hard ? TXN_PHASE_FAILED
					       : TXN_PHASE_REFUSED;
}

static enum txn_phase (*const txn_after[_TXN_PHASE_N])(struct txn *txn) = {
	[TXN_PHASE_PLAN] = after_plan,
	[TXN_PHASE_OPENING] = after_opening,
	[TXN_PHASE_LOCKING] = after_locking,
	[TXN_PHASE_INQUIRING] = after_inquiring,
	[TXN_PHASE_PAUSING] = after_pausing,
	[TXN_PHASE_YIELDING] = after_yielding,
	[TXN_PHASE_WAITING] = after_waiting,
	[TXN_PHASE_RESTING] = after_resting,
	[TXN_PHASE_VERIFYING] = after_verifying,
	[TXN_PHASE_SHEDDING] = after_shedding,
	[TXN_PHASE_PARKING] = after_parking,
	[TXN_PHASE_UNDOING] = after_undoing,
};

static enum txn_do open_needs(const struct txn *txn, const struct slot *slot)
{
	if (slot_is_spare(slot))
		return TXN_DO_VERIFY;
	return txn->first == UINT32_MAX || slot == &txn->items.slots[txn->first]
		       ? TXN_DO_LOCK
		       : _TXN_DO_NONE;
}

static enum txn_do busy_needs(const struct txn *txn)
{
	if (txn->phase.state == TXN_PHASE_LOCKING)
		return TXN_DO_LOCK;
	if (txn->phase.state == TXN_PHASE_WAITING)
		return TXN_DO_WAIT;
	if (!txn_waits(txn))
		return TXN_DO_INQUIRE;
	return txn->config.guest_runs ? TXN_DO_RECALL : _TXN_DO_NONE;
}

static enum txn_do locked_needs(const struct txn *txn, const struct slot *slot)
{
	bool recall = txn->config.guest_runs && slot->item.mode == RES_SHARED &&
		      !slot->recalled;

	if (txn->phase.state == TXN_PHASE_YIELDING &&
	    (txn->rest || res_id_before(txn->items.slots[txn->first].item.id,
					slot->item.id)))
		return TXN_DO_UNLOCK;
	if (slot->item.state == TXN_ITEM_VERIFIED)
		return _TXN_DO_NONE;
	return recall ? TXN_DO_RECALL : TXN_DO_VERIFY;
}

/* What the item needs by its state; the phase may not ask for it yet. */
static enum txn_do slot_needs(const struct txn *txn, const struct slot *slot)
{
	switch (slot->item.state) {
	case TXN_ITEM_NEW:
		return TXN_DO_OPEN;
	case TXN_ITEM_OPEN:
		return open_needs(txn, slot);
	case TXN_ITEM_BUSY:
		return busy_needs(txn);
	case TXN_ITEM_LOCKED:
	case TXN_ITEM_VERIFIED:
		return locked_needs(txn, slot);
	case TXN_ITEM_CLOSING:
		return TXN_DO_CLOSE;
	default:
		return _TXN_DO_NONE;
	}
}

static void txn_ask_all(struct txn *txn)
{
	txn->asked = _TXN_DO_NONE;
	if (txn->phase.state == TXN_PHASE_PAUSING)
		txn->asked = TXN_DO_PAUSE;
	else if (txn->phase.state == TXN_PHASE_RESTING)
		txn->asked = TXN_DO_REST;
	else if (txn->phase.state == TXN_PHASE_PARKING)
		txn->asked = TXN_DO_PARK;
	else
		return;
	txn->acts[txn->n_acts++] = (struct txn_act){
		.what = txn->asked,
		.delay_ms = txn->asked == TXN_DO_PARK ? 0 : txn->delay_ms,
	};
}

static void slot_ask(struct txn *txn, uint32_t i, enum txn_do what)
{
	struct slot *slot = &txn->items.slots[i];

	slot->asked = (uint8_t)what;
	if (what == TXN_DO_OPEN)
		items_move(&txn->items, slot, TXN_ITEM_OPENING);
	else if (what == TXN_DO_LOCK || what == TXN_DO_WAIT)
		items_move(&txn->items, slot, TXN_ITEM_LOCKING);
	txn->acts[txn->n_acts++] = (struct txn_act){ .what = what, .item = i };
}

/* One pass for each kind of act, so that those of a kind stand together. */
static void txn_ask(struct txn *txn)
{
	uint32_t acts = txn_phase_rules[txn->phase.state].acts;

	txn->n_acts = 0;
	txn_ask_all(txn);
	for (enum txn_do what = TXN_DO_OPEN; what <= TXN_DO_CLOSE; what++) {
		if (!(acts & STATE_BIT(what)))
			continue;
		for (uint32_t i = 0; i < txn->items.n; i++)
			if (slot_needs(txn, &txn->items.slots[i]) == what)
				slot_ask(txn, i, what);
	}
}

static int txn_advance(struct txn *txn, const struct txn_act **ret_acts,
		       size_t *ret_n_acts)
{
	txn->n_acts = 0;
	while (!txn->n_acts && !txn_ended(txn)) {
		int r = txn_enter(txn, txn_after[txn->phase.state](txn));

		if (r)
			return r;
		txn_ask(txn);
	}
	BUG_RETURN(txn->items.broken, -ENOTRECOVERABLE);
	*ret_acts = txn->acts;
	*ret_n_acts = txn->n_acts;
	return 0;
}

int txn_begin(struct txn *txn, const struct txn_act **ret_acts,
	      size_t *ret_n_acts)
{
	int r;

	if (txn->phase.state != TXN_PHASE_PLAN)
		return -EALREADY;
	free(txn->acts);
	txn->acts = zalloc(txn->items.n + 1, sizeof(*txn->acts));
	if (!txn->acts)
		return -ENOMEM;
	r = items_seal(&txn->items);
	if (r)
		return r;
	return txn_advance(txn, ret_acts, ret_n_acts);
}

int txn_step(struct txn *txn, const struct txn_event *events, size_t n_events,
	     const struct txn_act **ret_acts, size_t *ret_n_acts)
{
	if (txn->phase.state == TXN_PHASE_PLAN)
		return -EPROTO;
	if (!answers_fit(txn, events, n_events))
		return -EPROTO;
	for (size_t i = 0; i < n_events; i++)
		answer_take(txn, &events[i]);
	return txn_advance(txn, ret_acts, ret_n_acts);
}

void txn_abort(struct txn *txn, int error, const struct txn_act **ret_acts,
	       size_t *ret_n_acts)
{
	*ret_acts = txn->acts;
	*ret_n_acts = 0;
	if (txn_ended(txn))
		return;
	txn->error = error < 0 ? error : -ECANCELED;
	txn->items.broken = false;
	if (txn->phase.state != TXN_PHASE_UNDOING &&
	    txn_enter(txn, TXN_PHASE_UNDOING))
		return;
	txn_ask(txn);
	if (!txn->n_acts)
		txn_enter(txn, TXN_PHASE_FAILED);
	*ret_n_acts = txn->n_acts;
}

enum txn_outcome txn_outcome(const struct txn *txn)
{
	return txn_phase_rules[txn->phase.state].outcome;
}

int txn_error(const struct txn *txn)
{
	return txn->error;
}

size_t txn_count(const struct txn *txn)
{
	return txn->items.n;
}

const struct txn_item *txn_item(const struct txn *txn, size_t i)
{
	return &txn->items.slots[i].item;
}

const char *txn_phase_name(const struct txn *txn)
{
	return sm_name(&txn->phase);
}
