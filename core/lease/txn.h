/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/resource.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A transaction takes a set of leases for one guest, all or none. It is pure:
 * it is stepped by events and answers with acts, and somebody else (core/lib,
 * or a fake in tests/sim) performs them. It never reads a clock and makes no
 * system call.
 *
 * The driver's loop: txn_begin() gives the first acts. Perform all of them, in
 * any order or all at once, and feed exactly one event per act to the next
 * txn_step(). When a step gives no acts, the transaction has ended and
 * txn_outcome() tells how. Acts of one kind stand together, by item.
 */
struct txn;

enum txn_do {
	_TXN_DO_NONE,
	TXN_DO_OPEN,	/* open the path for the mode; tell type and id; an
			   error leaves nothing open */
	TXN_DO_LOCK,	/* take byte 0; if shared, then test that nobody hands
			   the disk over, else drop it and say TXN_BUSY. (Or
			   claim it, for the destination of a migration.) */
	TXN_DO_VERIFY,	/* does the path still name what the item has open? */
	TXN_DO_INQUIRE, /* who holds it? an enum txn_holder */
	TXN_DO_RECALL,	/* does this guest hold it already? txn_holder */
	TXN_DO_PAUSE,	/* come back after delay_ms; item is 0 */
	TXN_DO_UNLOCK,	/* drop the lock, keep the file open */
	TXN_DO_WAIT,	/* LOCK, but wait for it as long as there is time, and
			   no more than a while at once. Unless it is granted
			   the descriptor is used up, and closed next: a lock
			   that comes too late must be nobody's */
	TXN_DO_REST,	/* come back after delay_ms, which counts as waiting;
			   nothing is locked meanwhile; item is 0 */
	TXN_DO_PARK,	/* park every TXN_ITEM_VERIFIED item, or with an error
			   none; there may be none; item is 0 */
	TXN_DO_CLOSE,	/* close the item's descriptor, if it has one; its lock,
			   if any, was taken by this transaction and goes with
			   it */
};

struct txn_act {
	enum txn_do what;
	uint32_t item;
	uint32_t delay_ms;
};

/* How an act ended, beside 0 (done) and negative errno (unexpected). */
enum {
	TXN_BUSY = 1,	  /* LOCK: somebody else has it, or hands it over;
			     WAIT: but there is no lock that could be waited
			     for, so try again later */
	TXN_REPLACED = 2, /* VERIFY: the path names another inode by now */
	TXN_AGAIN = 3,	  /* WAIT: not granted for a while: look anew */
	TXN_LATE = 4,	  /* WAIT, REST: the time for waiting is over */
};

enum txn_holder {
	TXN_HOLDER_LIVE,   /* a living guest, process or host: refuse */
	TXN_HOLDER_FADING, /* nobody found, or dying: worth a grace retry */
	TXN_HOLDER_SELF,   /* this guest holds it, in the wanted mode */
	TXN_HOLDER_SELF_OTHER_MODE,
	TXN_HOLDER_NONE, /* RECALL only: not held by this guest */
};

struct txn_event {
	enum txn_do what; /* the act that this answers */
	uint32_t item;
	int res;		/* 0, TXN_*, or negative errno */
	enum txn_holder holder; /* INQUIRE, RECALL */
	enum res_type type;	/* OPEN; _RES_TYPE_NONE is not lockable */
	struct res_id id;	/* OPEN */
};

/*
 *                           .-----------------+-----------.
 *                           v                 |           |
 *  NEW --> OPENING --> OPEN --> LOCKING --> LOCKED --> VERIFIED --> HELD
 *   ^       |  |       |  ^      |  |^        |           |
 *   |       |  |       |  |      |  v|        |           |
 *   |       |  |       |  `------|-BUSY       |           |
 *   |       |  |       |         |  |         |           |
 *   |       |  `-------+---------+--+---------+-----------'
 *   |       |                    v
 *   |       |                 CLOSING ----> ALREADY ----> UNDONE
 *   |       v                  | | |                        ^
 *   |     FAILED <-------------' | `------------------------'
 *   `----------------------------'
 *
 * Beside that NEW becomes UNDONE if nothing was begun. CLOSING ends in NEW if
 * the file was replaced, or waited for in vain, and is opened again. BUSY
 * becomes OPEN if it is this guest that has the lock: like a duplicate it is
 * then verified without a lock of its own, and closed; or if another item is
 * waited for first. So does what is LOCKED or VERIFIED, when it must not be
 * held meanwhile. What is waited for is LOCKING.
 */
enum txn_item_state {
	TXN_ITEM_NEW,
	TXN_ITEM_OPENING,
	TXN_ITEM_OPEN,
	TXN_ITEM_LOCKING,
	TXN_ITEM_BUSY, /* the lock is somebody else's */
	TXN_ITEM_LOCKED,
	TXN_ITEM_VERIFIED, /* locked, and the path names the locked inode */
	TXN_ITEM_HELD,	   /* parked: final, success */
	TXN_ITEM_ALREADY,  /* this guest has it, or another item is the same
			      file: final, success, nothing kept open */
	TXN_ITEM_CLOSING,
	TXN_ITEM_FAILED, /* final; error says why */
	TXN_ITEM_UNDONE, /* final; was fine, another item failed */
	_TXN_ITEM_N,
};

struct txn_item {
	const char *path; /* borrowed from the caller of txn_add() */
	enum res_mode mode;
	enum txn_item_state state;
	enum res_type type;
	struct res_id id;
	/*
	 * FAILED: negative errno, with these meanings of our own:
	 * -EBUSY held by another; -EOPNOTSUPP not a lockable type;
	 * -EEXIST this guest has it, or wants it twice, in another mode;
	 * -ESTALE replaced again and again while being locked.
	 */
	int error;
	uint32_t same_as; /* ALREADY or -EEXIST within the batch: that item,
			     else UINT32_MAX */
};

enum txn_outcome {
	TXN_RUNNING,
	TXN_HELD,    /* every item is HELD or ALREADY */
	TXN_REFUSED, /* nothing taken; the only failures are -EBUSY */
	TXN_FAILED,  /* nothing taken; look at the items and txn_error() */
};

struct txn_config {
	bool guest_runs;   /* an adopted guest: shared items need a RECALL */
	uint32_t grace_ms; /* how long a fading holder may take; 0: none */
	bool wait;	   /* for living holders: until a WAIT or REST is
			      answered with TXN_LATE */
};

int txn_new(const struct txn_config *config, struct txn **ret_txn);
struct txn *txn_free(struct txn *txn);

/* @path is borrowed until txn_free(). Return: 0, -EALREADY once it has begun,
   or -ENOMEM. */
int txn_add(struct txn *txn, const char *path, enum res_mode mode);

/**
 * txn_begin() - the first acts
 * @ret_acts:	owned by the transaction, valid until the next step
 *
 * Return: 0, -EALREADY if it has begun, or -ENOMEM.
 */
int txn_begin(struct txn *txn, const struct txn_act **ret_acts,
	      size_t *ret_n_acts);

/**
 * txn_step() - feed the answers, get the next acts
 * @events:	one for each act of the previous step, in any order
 *
 * Return: 0; -EPROTO if the events do not answer the acts (nothing changes:
 * our driver's bug); or -ENOTRECOVERABLE for a bug of our own, after which
 * txn_abort() still works.
 */
int txn_step(struct txn *txn, const struct txn_event *events, size_t n_events,
	     const struct txn_act **ret_acts, size_t *ret_n_acts);

/*
 * Give up: instead of answering the current acts (which the driver has stopped
 * or ignores), get the acts that undo everything taken, to be performed and
 * answered as always. @error becomes txn_error(). Needs no memory. An ended
 * transaction gives no acts. A PARK that was done cannot be ignored: answer it.
 */
void txn_abort(struct txn *txn, int error, const struct txn_act **ret_acts,
	       size_t *ret_n_acts);

enum txn_outcome txn_outcome(const struct txn *txn);

/* The error of PARK, or of txn_abort(); 0 if only items failed. */
int txn_error(const struct txn *txn);

size_t txn_count(const struct txn *txn);
const struct txn_item *txn_item(const struct txn *txn, size_t i);

/* For messages about bugs. Static. */
const char *txn_phase_name(const struct txn *txn);
const char *txn_item_state_name(enum txn_item_state state);
