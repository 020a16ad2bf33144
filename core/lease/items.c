/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/items.h"

#include "core/base/err.h"
#include "core/base/util.h"
#include "core/lease/txn_states.h"

#include <string.h>

/*
 * Two thousand disks pass through here while a guest waits, so an item has no
 * state machine object of its own: all share one table, and the invariants are
 * counters. A move costs two array accesses and three tests.
 *
 * Duplicates are found with one open-addressing table of indices, at most half
 * full, filled anew for each round of opens: first with what is locked already
 * (only if a file is opened again), then with what is merely open. What was a
 * duplicate then is judged anew: the other one may have let go of its lock, and
 * of two files each other's duplicate nobody would lock any.
 */
#define FREE_ENTRY UINT32_MAX
#define FIRST_CAP 8 /* of a size that malloc(3) has at hand */

void items_done(struct items *items)
{
	free(items->slots);
	free(items->table);
	*items = (struct items){};
}

int items_add(struct items *items, const char *path, enum res_mode mode)
{
	if (items->n == items->cap) {
		size_t cap = items->cap ? 2 * items->cap : FIRST_CAP;
		struct slot *slots;

		if (cap > UINT32_MAX / 4)
			return -ENOMEM;
		slots = reallocarray(items->slots, cap, sizeof(*slots));
		if (!slots)
			return -ENOMEM;
		items->slots = slots;
		items->cap = cap;
	}
	items->slots[items->n++] = (struct slot){
		.item = {
			.path = path,
			.mode = mode,
			.state = TXN_ITEM_NEW,
			.same_as = UINT32_MAX,
		},
		.goal = TXN_ITEM_UNDONE,
	};
	items->count[TXN_ITEM_NEW]++;
	return 0;
}

int items_seal(struct items *items)
{
	size_t size = 1;

	while (size < 2 * items->n)
		size *= 2;
	items->table = malloc(size * sizeof(*items->table));
	if (!items->table)
		return -ENOMEM;
	items->table_size = size;
	return 0;
}

void items_move(struct items *items, struct slot *slot, enum txn_item_state to)
{
	enum txn_item_state from = slot->item.state;

	if (!(txn_item_states[from].next & items->allowed & STATE_BIT(to)) ||
	    !items->count[from]) {
		items->broken = true;
		bug_report(__FILE__, __LINE__, txn_item_states[from].name);
		return;
	}
	items->count[from]--;
	items->count[to]++;
	slot->item.state = to;
}

uint32_t items_present(const struct items *items)
{
	uint32_t present = 0;

	for (uint32_t state = 0; state < _TXN_ITEM_N; state++)
		if (items->count[state])
			present |= STATE_BIT(state);
	return present;
}

void items_fail(struct items *items, struct slot *slot, int error)
{
	bool opened = slot->item.state != TXN_ITEM_OPENING;

	slot->item.error = error;
	if (error != -EEXIST)
		slot->item.same_as = UINT32_MAX;
	slot->goal = TXN_ITEM_FAILED;
	items->n_failed++;
	items->n_hard += error != -EBUSY;
	items_move(items, slot, opened ? TXN_ITEM_CLOSING : TXN_ITEM_FAILED);
}

void items_spare(struct items *items, struct slot *slot, uint32_t same_as)
{
	slot->goal = TXN_ITEM_ALREADY;
	slot->item.same_as = same_as;
	if (slot->item.state == TXN_ITEM_BUSY)
		items_move(items, slot, TXN_ITEM_OPEN);
}

uint32_t items_first_busy(const struct items *items)
{
	uint32_t first = UINT32_MAX;

	for (uint32_t i = 0; i < items->n; i++) {
		const struct txn_item *item = &items->slots[i].item;

		if (item->state == TXN_ITEM_BUSY &&
		    (first == UINT32_MAX ||
		     res_id_before(item->id, items->slots[first].item.id)))
			first = i;
	}
	return first;
}

void items_wait_for(struct items *items, uint32_t first)
{
	for (uint32_t i = 0; i < items->n; i++)
		if (i != first && items->slots[i].item.state == TXN_ITEM_BUSY)
			items_move(items, &items->slots[i], TXN_ITEM_OPEN);
}

static bool slot_is_locked(const struct slot *slot)
{
	return slot->item.state == TXN_ITEM_LOCKED ||
	       slot->item.state == TXN_ITEM_VERIFIED;
}

bool items_locked_before(const struct items *items, uint32_t first)
{
	struct res_id id = items->slots[first].item.id;

	for (size_t i = 0; i < items->n; i++)
		if (slot_is_locked(&items->slots[i]) &&
		    !res_id_before(items->slots[i].item.id, id))
			return false;
	return true;
}

bool items_want_lock(const struct items *items)
{
	for (size_t i = 0; i < items->n; i++)
		if (items->slots[i].item.state == TXN_ITEM_OPEN &&
		    !slot_is_spare(&items->slots[i]))
			return true;
	return false;
}

void items_unlocked(struct items *items, struct slot *slot)
{
	slot->recalled = slot_is_spare(slot);
	items_move(items, slot, TXN_ITEM_OPEN);
}

void items_reopen(struct items *items, struct slot *slot)
{
	slot->goal = TXN_ITEM_NEW;
	items_move(items, slot, TXN_ITEM_CLOSING);
}

void items_closed(struct items *items, struct slot *slot)
{
	items_move(items, slot, (enum txn_item_state)slot->goal);
	if (slot->goal != TXN_ITEM_NEW)
		return;
	slot->goal = TXN_ITEM_UNDONE;
	slot->recalled = false;
	slot->item.type = _RES_TYPE_NONE;
	slot->item.id = (struct res_id){};
	slot->item.same_as = UINT32_MAX;
}

static size_t id_hash(struct res_id id)
{
	uint64_t h = id.ino * UINT64_C(0x9e3779b97f4a7c15);

	h = (h ^ h >> 32 ^ id.dev) * UINT64_C(0xd6e8feb86659fd93);
	return (size_t)(h ^ h >> 32);
}

/* Return: the index of the first item with the id of @i, which may be @i. */
static uint32_t items_first(struct items *items, uint32_t i)
{
	struct res_id id = items->slots[i].item.id;
	size_t mask = items->table_size - 1, at = id_hash(id) & mask;

	while (items->table[at] != FREE_ENTRY) {
		uint32_t found = items->table[at];

		if (res_id_equal(items->slots[found].item.id, id))
			return found;
		at = (at + 1) & mask;
	}
	items->table[at] = i;
	return i;
}

static void items_merge_one(struct items *items, uint32_t i)
{
	struct slot *slot = &items->slots[i];
	uint32_t first = items_first(items, i);

	if (first == i)
		return;
	if (items->slots[first].item.mode == slot->item.mode) {
		items_spare(items, slot, first);
	} else {
		slot->item.same_as = first;
		items_fail(items, slot, -EEXIST);
	}
}

void items_merge(struct items *items)
{
	if (!items->count[TXN_ITEM_OPEN])
		return;
	memset(items->table, 0xff, items->table_size * sizeof(*items->table));
	if (items->count[TXN_ITEM_OPEN] < items->n)
		for (uint32_t i = 0; i < items->n; i++)
			if (slot_is_locked(&items->slots[i]))
				items_first(items, i);
	for (uint32_t i = 0; i < items->n; i++) {
		struct slot *slot = &items->slots[i];

		if (slot->item.state != TXN_ITEM_OPEN)
			continue;
		if (slot->item.same_as != UINT32_MAX) {
			slot->goal = TXN_ITEM_UNDONE;
			slot->item.same_as = UINT32_MAX;
		}
		items_merge_one(items, i);
	}
}

static bool slot_is_replaced(const struct slot *slot)
{
	return slot->item.state == TXN_ITEM_CLOSING &&
	       slot->goal == TXN_ITEM_NEW;
}

void items_shed(struct items *items)
{
	bool all = !items->count[TXN_ITEM_CLOSING];

	for (size_t i = 0; i < items->n; i++) {
		struct slot *slot = &items->slots[i];
		uint32_t same_as = slot->item.same_as;

		if (!slot_is_spare(slot))
			continue;
		if (same_as != UINT32_MAX &&
		    slot_is_replaced(&items->slots[same_as]))
			items_reopen(items, slot);
		else if (all)
			items_move(items, slot, TXN_ITEM_CLOSING);
	}
}

static void items_undo_one(struct items *items, struct slot *slot)
{
	if (slot->goal == TXN_ITEM_FAILED)
		return;
	slot->goal = TXN_ITEM_UNDONE;
	slot->item.same_as = UINT32_MAX;
	switch (slot->item.state) {
	case TXN_ITEM_NEW:
	case TXN_ITEM_ALREADY:
		items_move(items, slot, TXN_ITEM_UNDONE);
		break;
	case TXN_ITEM_CLOSING:
	case TXN_ITEM_UNDONE:
		break;
	default:
		items_move(items, slot, TXN_ITEM_CLOSING);
		break;
	}
}

void items_undo(struct items *items)
{
	for (size_t i = 0; i < items->n; i++)
		items_undo_one(items, &items->slots[i]);
}
