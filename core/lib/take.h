/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/holders.h"
#include "core/lib/lib.h"
#include "core/lib/place.h"

/* A file that is locked beside the disk itself. */
struct take_point {
	int fd; /* -1: not open */
	bool remote;
	bool signs;	    /* says who has it: see lock_dir.c */
	bool stays;	    /* when it is released: see device.c */
	bool settled;	    /* lost_is_settled(), when it was opened */
	struct res_id file; /* what is open */
	char *path;
};

/* Who is in the way of a disk, if not by a lock on one of its points. */
struct take_rival {
	int fd; /* whose bytes are asked; owned; or -1 */
	bool remote;
	struct res_id file; /* of fd */
	struct res_id id;   /* the resource, as a capsule calls it */
	char *how;	    /* for the conflict; owned */
};

/* Only for disks that have further points, or a rival. */
struct take_more {
	struct res_id file; /* the inode behind the slot's own descriptor */
	struct take_point points[CAPSULE_POINTS_MAX - 1];
	uint8_t n_points;
	bool was_other; /* a lock file of its number may stay: device_tidy() */
	struct take_rival rival; /* how: NULL if there is none */
	char *trouble; /* what failed, for a message, if no point did */
};

/* What the driver keeps for each item of a transaction. Its points are counted
   from 0, which is the disk itself. */
struct take_slot {
	int fd;
	enum res_type type; /* wanted */
	uint32_t place;
	const char *base; /* relative to the place, or the whole path */
	bool remote;
	bool claim;	 /* open it with O_EXCL */
	bool has_claim;	 /* but the guest has claimed it, so it was not */
	bool unclaimed;	 /* failed: it is held or wanted without a claim */
	bool alone;	 /* opened and verified by its whole path */
	bool located;	 /* where its links lead is known: remote says it */
	bool patient;	 /* somebody has a lease on it (F_SETLEASE): wait */
	bool qemu;	 /* a QEMU has it open, and not as we want */
	bool has_source; /* claimed from the source of a migration */
	uint32_t named;	 /* the step in which its path led to it, locked */
	uint8_t blamed;	 /* the point that was last refused, or that failed */
	struct op_stat seen;	/* what is open; mode 0: ask */
	struct take_more *more; /* or NULL; kept until it is opened again */
};

/* The guest's own leases, sorted by id: for idempotence. */
struct take_mine {
	struct res_id id;
	enum res_mode mode;
};

/* A lock directory that was looked at. */
struct take_lock_dir {
	const char *path; /* the policy's */
	bool remote;
};

struct take {
	struct glk_guest *guest;
	struct glk_context *context;
	struct txn *txn;
	size_t n;
	struct take_slot *slots; /* these six are the context's scratch */
	struct op *ops;		 /* OP_ERRAND_MAX for each item */
	struct capsule_parcel *parcels; /* scratch: what is parked */
	uint32_t *op_items; /* scratch: what an op or an ask belongs to */
	int *fds;	    /* scratch: descriptors to close */
	struct txn_event *events;
	size_t n_events;
	struct places places;
	int opened_before; /* plain_take()'s, for the one disk; or -1 */
	bool places_opened;
	uint32_t step; /* of the transaction, from 1 on */
	bool host_dir_made;
	bool incoming; /* exclusive disks are claimed, see claim.c */
	struct take_mine *mine;
	size_t n_mine;
	bool mine_known;
	struct conflict_list refused; /* of the last inquiry */
	uint32_t *refused_items;
	bool opened; /* they are openers, and hold no lock */
	size_t cap_refused;
	struct conflict_list warnings; /* who else has a disk open */
	uint64_t search_until;	       /* of all inquiries */
	struct mount_kind weak; /* the first that the policy finds too weak */
	uint64_t wait_left;	/* ns, of the policy's time */
	uint64_t wait_slice;	/* ns; 0: none has been used up yet */
	uint64_t wait_spent;	/* ns, for one item */
	uint32_t wait_item;
	bool wait_told; /* somebody was told of that */
	struct take_lock_dir lock_dirs[3];
	size_t n_lock_dirs;
	int park_error;	 /* CAPSULE_E_* or negative errno of the last park */
	uint32_t astray; /* -ESTALE: the device whose lock file was deleted */
};

static inline uint8_t take_flags(const struct take_slot *slot)
{
	return slot->remote ? OP_REMOTE : 0;
}

static inline bool take_is_shared(const struct take *t, uint32_t item)
{
	return txn_item(t->txn, item)->mode == RES_SHARED;
}

static inline unsigned take_n_points(const struct take_slot *slot)
{
	return slot->more ? 1U + slot->more->n_points : 1;
}

/* @point is one of take_n_points(). */
static inline struct take_point take_point(const struct take *t, uint32_t item,
					   unsigned point)
{
	const struct take_slot *slot = &t->slots[item];

	if (point)
		return slot->more->points[point - 1];
	return (struct take_point){
		.fd = slot->fd,
		.remote = slot->remote,
		.file = slot->more ? slot->more->file
				   : txn_item(t->txn, item)->id,
	};
}

/* Of a lock. */
static inline int take_judge(const struct op *lock)
{
	return lock->res == -EAGAIN || lock->res == -EACCES ? TXN_BUSY
							    : lock->res;
}

/* acts.c: where one of an item's descriptors is kept, or NULL if it is not
   open, or there is no such point. */
int *take_descriptor(const struct take *take, uint32_t item, unsigned point);

/* acts.c: the event that answers an act. */
struct txn_event *take_event(struct take *take, const struct txn_act *act);

/* acts.c: is a look at the item's path not needed? */
bool take_place_answers(const struct take *take, uint32_t item);

/* acts.c: the look at its path, to be taken once it is locked, and its answer,
   which VERIFY relies on if it follows at once. */
void take_prepare_look(const struct take *take, uint32_t item, struct op *op);
void take_note_look(struct take *take, uint32_t item, const struct op *op);

/* acts.c: run the first @n ops. Return: as engine_run(). */
int take_run(struct take *take, size_t n);

/* acts.c: about the point that was refused, or about the rival. */
void take_ask_about(const struct take *take, uint32_t item,
		    struct holder_ask *ret_ask);

/* acts.c: an instant of CLOCK_MONOTONIC. Returns early on a signal. */
void take_sleep_until(uint64_t instant);

/* waiting.c: perform the UNLOCK acts of a step, a WAIT, a REST. Return: as
   take_perform(). */
int take_unlock(struct take *take, const struct txn_act *acts, size_t n);
int take_wait(struct take *take, const struct txn_act *act);
int take_rest(struct take *take, const struct txn_act *act);

/* waiting.c: wait a little for the claim of others, the refused, on a device.
   Return: 0, TXN_LATE, or -ECANCELED. */
int take_wait_claimed(struct take *take, uint32_t item);

/* lock.c: perform the LOCK acts of a step. Return: as take_perform(). */
int take_lock(struct take *take, const struct txn_act *acts, size_t n);

/* lock.c: what only needs a look once all points of a disk are locked: is there
   a rival? For those of the @n events from @first whose res is 0; one that has
   found a rival gives it to take_set_rival(). Return: as take_perform(). */
int take_look_around(struct take *take, size_t first, size_t n);

/* claim.c: is this an exclusive disk of a migration's destination? */
static inline bool take_claims(const struct take *t, uint32_t item)
{
	return t->incoming && !take_is_shared(t, item);
}

/* claim.c: claim one point of those, of the @n events from @first, that have it
   and whose res is 0. Return: as take_perform(). */
int take_claim(struct take *take, size_t first, size_t n, unsigned point);

/*
 * points.c: further points of a disk. Whoever finds that a disk needs one says
 * so in take_points_of(), which is called for each disk that was opened.
 */

/* @st: what was opened. Adds points with take_point_add(). Return: 0; negative
   errno if the disk cannot be locked as it must. */
int take_points_of(struct take *take, uint32_t item, const struct op_stat *st);

/* @path is taken over, whatever happens. Return: 0; -ENOMEM; -ENOSPC if there
   are too many. */
int take_point_add(struct take_slot *slot, const struct op_stat *st, char *path,
		   bool remote);

/* @rival is taken over, whatever happens. The event becomes TXN_BUSY. Return: 0
   or -ENOMEM. */
int take_set_rival(struct take *take, struct txn_event *event,
		   struct take_rival *rival);

void take_clear_rival(struct take_slot *slot);

/* After the OPEN of @n acts, with @st of each that went well: find out their
   points, open them, making those that are not there. Return: as
   take_perform(). */
int take_open_points(struct take *take, size_t first, size_t n);

/* Do their names still lead to what is locked? */
int take_verify_points(struct take *take, size_t first, size_t n);

/* Remove those that are not needed any more, before they are closed. */
void take_remove_points(struct take *take, uint32_t item);

void take_points_free(struct take_slot *slot);

/* acts.c: @who, copied, has the item. Return: 0 or -ENOMEM. */
int take_add_refusal(struct take *take, uint32_t item,
		     const struct glk_conflict *who);

/* open.c: perform the OPEN acts of a step. Return: as take_perform(). */
int take_open(struct take *take, const struct txn_act *acts, size_t n);

/* acts.c: perform all acts of one step, leaving an event for each. Return: 0,
   or negative errno after which the transaction must be aborted. */
int take_perform(struct take *take, const struct txn_act *acts, size_t n);

/* acts.c: the CLOSE acts of an abort; needs no memory. */
void take_close(struct take *take, const struct txn_act *acts, size_t n);

/* acts.c: close the descriptors of some items. @items may be op_items. */
void take_close_items(struct take *take, const uint32_t *items, size_t n);
