/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/holders.h"
#include "core/lib/lib.h"
#include "core/lib/place.h"

/* What the driver keeps for each item of a transaction. */
struct take_slot {
	int fd;
	enum res_type type; /* wanted */
	uint32_t place;
	const char *base; /* relative to the place, or the whole path */
	bool remote;
	bool alone;   /* opened and verified by its whole path */
	bool located; /* where its links lead is known: remote says it */
	bool patient; /* somebody has a lease on it (F_SETLEASE): wait */
};

/* The guest's own leases, sorted by id: for idempotence. */
struct take_mine {
	struct res_id id;
	enum res_mode mode;
};

struct take {
	struct glk_guest *guest;
	struct glk_context *context;
	struct txn *txn;
	size_t n;
	struct take_slot *slots; /* these five are the context's scratch */
	struct op *ops;		 /* two for each item */
	uint32_t *op_items;	 /* scratch: what an op or an ask belongs to */
	int *fds;		 /* scratch: descriptors to close */
	struct txn_event *events;
	size_t n_events;
	struct places places;
	bool places_opened;
	bool incoming; /* exclusive disks are claimed, see claim.c */
	struct take_mine *mine;
	size_t n_mine;
	bool mine_known;
	struct conflict_list refused; /* of the last inquiry */
	uint32_t *refused_items;
	size_t cap_refused;
	uint64_t search_until; /* of all inquiries */
	int park_error; /* CAPSULE_E_* or negative errno of the last park */
};

static inline uint8_t take_flags(const struct take_slot *slot)
{
	return slot->remote ? OP_REMOTE : 0;
}

/* Of a lock. */
static inline int take_judge(const struct op *lock)
{
	return lock->res == -EAGAIN || lock->res == -EACCES ? TXN_BUSY
							    : lock->res;
}

/* acts.c: the event that answers an act. */
struct txn_event *take_event(struct take *take, const struct txn_act *act);

/* acts.c: run the first @n ops. Return: as engine_run(). */
int take_run(struct take *take, size_t n);

/* claim.c: the LOCK acts of exclusive disks of a migration's destination.
   Return: as take_perform(). */
int take_claim(struct take *take, const struct txn_act *acts, size_t n);

/* open.c: perform the OPEN acts of a step. Return: as take_perform(). */
int take_open(struct take *take, const struct txn_act *acts, size_t n);

/* acts.c: perform all acts of one step, leaving an event for each. Return: 0,
   or negative errno after which the transaction must be aborted. */
int take_perform(struct take *take, const struct txn_act *acts, size_t n);

/* acts.c: the CLOSE acts of an abort; needs no memory. */
void take_close(struct take *take, const struct txn_act *acts, size_t n);

/* acts.c: close the descriptors of some items. @items may be op_items. */
void take_close_items(struct take *take, const uint32_t *items, size_t n);
