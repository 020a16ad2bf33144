/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/answer.h"

#include <errno.h>

/*
 * The events of a step are looked at twice: first whether all of them together
 * answer exactly what was asked, so that a driver's mistake changes nothing,
 * then one by one. A mark with the step's number on each item finds the second
 * answer to one question without a list.
 */

static bool holder_fits(enum txn_do what, enum txn_holder holder)
{
	switch (holder) {
	case TXN_HOLDER_SELF:
	case TXN_HOLDER_SELF_OTHER_MODE:
		return true;
	case TXN_HOLDER_LIVE:
	case TXN_HOLDER_FADING:
		return what == TXN_DO_INQUIRE;
	case TXN_HOLDER_NONE:
		return what == TXN_DO_RECALL;
	}
	return false;
}

static bool event_makes_sense(const struct txn_event *event)
{
	switch (event->what) {
	case TXN_DO_LOCK:
		return event->res <= 0 || event->res == TXN_BUSY;
	case TXN_DO_WAIT:
		return event->res <= 0 || event->res == TXN_BUSY ||
		       event->res == TXN_AGAIN || event->res == TXN_LATE;
	case TXN_DO_REST:
		return event->res <= 0 || event->res == TXN_LATE;
	case TXN_DO_VERIFY:
		return event->res <= 0 || event->res == TXN_REPLACED;
	case TXN_DO_INQUIRE:
	case TXN_DO_RECALL:
		return event->res < 0 ||
		       (!event->res && holder_fits(event->what, event->holder));
	default:
		return event->res <= 0;
	}
}

static bool is_for_all(enum txn_do what)
{
	return what == TXN_DO_PAUSE || what == TXN_DO_REST ||
	       what == TXN_DO_PARK;
}

/* Does it answer an act that no event of this step has answered yet? */
static bool event_is_wanted(struct txn *txn, const struct txn_event *event)
{
	uint32_t *seen;

	if (is_for_all(event->what)) {
		if (event->item || event->what != txn->asked)
			return false;
		seen = &txn->asked_seen;
	} else {
		struct slot *slot;

		if (event->item >= txn->items.n)
			return false;
		slot = &txn->items.slots[event->item];
		if (!event->what || event->what != (enum txn_do)slot->asked)
			return false;
		seen = &slot->seen;
	}
	if (*seen == txn->step)
		return false;
	*seen = txn->step;
	return event_makes_sense(event);
}

bool answers_fit(struct txn *txn, const struct txn_event *events, size_t n)
{
	if (n != txn->n_acts)
		return false;
	txn->step++;
	for (size_t i = 0; i < n; i++)
		if (!event_is_wanted(txn, &events[i]))
			return false;
	return true;
}

static void take_open(struct items *items, struct slot *slot,
		      const struct txn_event *event)
{
	slot->item.type = event->type;
	slot->item.id = event->id;
	items_move(items, slot, TXN_ITEM_OPEN);
	if (!event->type)
		items_fail(items, slot, -EOPNOTSUPP);
}

static void take_holder(struct items *items, struct slot *slot,
			const struct txn_event *event)
{
	slot->recalled = slot->item.state == TXN_ITEM_LOCKED;
	switch (event->holder) {
	case TXN_HOLDER_LIVE:
		items_fail(items, slot, -EBUSY);
		break;
	case TXN_HOLDER_SELF:
		items_spare(items, slot, UINT32_MAX);
		break;
	case TXN_HOLDER_SELF_OTHER_MODE:
		items_fail(items, slot, -EEXIST);
		break;
	case TXN_HOLDER_FADING:
	case TXN_HOLDER_NONE:
		break;
	}
}

static void take_verify(struct txn *txn, struct slot *slot, int res)
{
	if (res == TXN_REPLACED && txn->reopens < TXN_REOPENS)
		items_reopen(&txn->items, slot);
	else if (res == TXN_REPLACED)
		items_fail(&txn->items, slot, -ESTALE);
	else if (!slot_is_spare(slot))
		items_move(&txn->items, slot, TXN_ITEM_VERIFIED);
}

static void take_all(struct txn *txn, const struct txn_event *event)
{
	txn->asked = _TXN_DO_NONE;
	if (event->res == TXN_LATE)
		txn->late = true;
	else
		txn->error = event->res;
	if (event->what == TXN_DO_PAUSE)
		txn->paused_ms += txn->delay_ms;
}

/* Files that were replaced while somebody else had them do not count. */
static void take_wait(struct txn *txn, struct slot *slot, int res)
{
	txn->rest = res == TXN_BUSY;
	txn->late = res == TXN_LATE;
	if (res) {
		items_reopen(&txn->items, slot);
		return;
	}
	txn->first = UINT32_MAX;
	txn->delay_ms = 0;
	txn->reopens = 0;
	items_move(&txn->items, slot, TXN_ITEM_LOCKED);
}

static void take_item(struct txn *txn, struct slot *slot,
		      const struct txn_event *event)
{
	struct items *items = &txn->items;

	slot->asked = _TXN_DO_NONE;
	if (event->what == TXN_DO_CLOSE)
		items_closed(items, slot);
	else if (event->res < 0)
		items_fail(items, slot, event->res);
	else if (event->what == TXN_DO_OPEN)
		take_open(items, slot, event);
	else if (event->what == TXN_DO_LOCK)
		items_move(items, slot,
			   event->res ? TXN_ITEM_BUSY : TXN_ITEM_LOCKED);
	else if (event->what == TXN_DO_WAIT)
		take_wait(txn, slot, event->res);
	else if (event->what == TXN_DO_UNLOCK)
		items_unlocked(items, slot);
	else if (event->what == TXN_DO_VERIFY)
		take_verify(txn, slot, event->res);
	else
		take_holder(items, slot, event);
}

void answer_take(struct txn *txn, const struct txn_event *event)
{
	if (is_for_all(event->what))
		take_all(txn, event);
	else
		take_item(txn, &txn->items.slots[event->item], event);
}
