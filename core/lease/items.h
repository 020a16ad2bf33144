/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/txn.h"

/*
 * The items of one transaction, internal to core/lease: their states, what was
 * asked about each, how many are in each state, and which are the same file.
 */
struct slot {
	struct txn_item item;
	uint8_t asked; /* enum txn_do that is to be answered */
	/*
	 * enum txn_item_state that CLOSING ends in. ALREADY also marks, while
	 * it is open, an item that needs no lock of its own.
	 */
	uint8_t goal;
	bool recalled;
	uint32_t seen; /* in this step of the transaction */
};

struct items {
	struct slot *slots;
	size_t n, cap;
	size_t count[_TXN_ITEM_N];
	size_t n_failed;  /* with an error, closed or not */
	size_t n_hard;	  /* of these, other than -EBUSY */
	uint32_t allowed; /* states, by the phase */
	uint32_t *table;  /* of indices, by id */
	size_t table_size;
	bool broken; /* a forbidden move was tried: our bug */
};

void items_done(struct items *items);

/* Return: 0 or -ENOMEM. */
int items_add(struct items *items, const char *path, enum res_mode mode);

/* Allocate the table for items_merge(). Return: 0 or -ENOMEM. */
int items_seal(struct items *items);

/* A move that the table or the phase forbids marks @items as broken. */
void items_move(struct items *items, struct slot *slot, enum txn_item_state to);

/* The states that some item is in, as a mask. */
uint32_t items_present(const struct items *items);

void items_fail(struct items *items, struct slot *slot, int error);

/* The item needs no lock of its own; @same_as or UINT32_MAX. */
void items_spare(struct items *items, struct slot *slot, uint32_t same_as);

static inline bool slot_is_spare(const struct slot *slot)
{
	return slot->goal == TXN_ITEM_ALREADY;
}

/* The first of the busy items in the order of waiting, or UINT32_MAX. */
uint32_t items_first_busy(const struct items *items);

/* Every other one that is busy is as good as not tried. */
void items_wait_for(struct items *items, uint32_t first);

/* Does every lock that is held come before this item's in that order? */
bool items_locked_before(const struct items *items, uint32_t first);

/* Is any item yet to be locked? */
bool items_want_lock(const struct items *items);

/* An UNLOCK was answered: it is open, and nothing more is known of it. */
void items_unlocked(struct items *items, struct slot *slot);

/* Close it and open it again. */
void items_reopen(struct items *items, struct slot *slot);

/* A CLOSE was answered. */
void items_closed(struct items *items, struct slot *slot);

/*
 * Of open items that are the same file, or the same as an item that is locked,
 * all but the first need no lock; or they fail, if the modes differ.
 */
void items_merge(struct items *items);

/*
 * After verification: a duplicate is as good as the item that it duplicates.
 * Let go of every item that is not needed; but once files are to be opened
 * again, of those alone, since what is locked may yet be given back.
 */
void items_shed(struct items *items);

/* Bring every item to, or on its way to, FAILED or UNDONE. */
void items_undo(struct items *items);
