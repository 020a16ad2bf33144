/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/base/sm.h"

#include <stdbool.h>

/*
 * The state of one guest object of the API. Pure: the owner asks guest_may()
 * at the start of a call and reports what happened with guest_move().
 *
 *            ACQUIRE           TAKEN            HANDED_OVER
 *     NEW ------------> TAKING ------> HELD ----------------> RUNNING
 *      |  <------------                  |                     ^   |
 *      |      REFUSED                    | VANISHED            |   | VANISHED
 *      |                                 `-------> GONE <------+---'
 *      `-------------------------------------------------------'
 *                               ADOPT
 *
 * Attach, detach and the steps of a migration are no states of their own:
 * CHANGE_BEGIN in HELD or RUNNING sets a mark and CHANGE_END takes it away; the
 * guest may vanish in between. How far a migration has come is a matter of each
 * lease, see handover.h.
 * With the holder SELF the guest stays HELD: there is nobody to hand it to.
 */
enum guest_state {
	GUEST_NEW,     /* disks may be named; nothing is taken */
	GUEST_TAKING,  /* the first transaction runs */
	GUEST_HELD,    /* parked in a capsule that is still ours */
	GUEST_RUNNING, /* handed over, or adopted: the capsule is the guest's */
	GUEST_GONE,    /* its capsule is nowhere any more */
	_GUEST_STATE_N,
};

/* What the API may be asked for. */
enum guest_call {
	GUEST_CALL_ADD,
	GUEST_CALL_ACQUIRE,
	GUEST_CALL_FD, /* and glk_guest_inherit() */
	GUEST_CALL_HAND_OVER,
	GUEST_CALL_ATTACH,
	GUEST_CALL_DETACH,
	GUEST_CALL_INFO,
	GUEST_CALL_PREPARE,
	GUEST_CALL_OUT,
	GUEST_CALL_IN,
	GUEST_CALL_CANCEL,
	GUEST_CALL_WAIT, /* for its end */
	_GUEST_CALL_N,
};

/* What happened. */
enum guest_event {
	GUEST_EVENT_ACQUIRE, /* a transaction begins */
	GUEST_EVENT_REFUSED, /* it has failed, and nothing is held */
	GUEST_EVENT_TAKEN,
	GUEST_EVENT_HANDED_OVER,
	GUEST_EVENT_ADOPT,
	GUEST_EVENT_CHANGE_BEGIN, /* attach, detach, migration */
	GUEST_EVENT_CHANGE_END,	  /* however it ended */
	GUEST_EVENT_VANISHED,
	_GUEST_EVENT_N,
};

struct guest_sm {
	struct sm sm;
	bool self; /* this process is the holder */
	bool changing;
};

void guest_init(struct guest_sm *guest, bool self);

static inline enum guest_state guest_state(const struct guest_sm *guest)
{
	return (enum guest_state)guest->sm.state;
}

/**
 * guest_may() - is this call allowed now
 *
 * Return: 0, or the error that include/guestlock.h promises for the call:
 * -EALREADY	too late to name disks or to acquire
 * -ENODATA	there is no capsule yet, or it is not ours any more
 * -ESRCH	the guest is gone
 * -EINPROGRESS	a change of this guest has not ended
 * -EOPNOTSUPP	a guest that this process itself holds has no other process
 */
int guest_may(const struct guest_sm *guest, enum guest_call call);

/**
 * guest_move() - tell what has happened
 *
 * Return: 0, or -ENOTRECOVERABLE for an event that cannot happen in this
 * state: our own bug (core/base/err.h), nothing changes.
 */
int guest_move(struct guest_sm *guest, enum guest_event event);

/* Static strings; "?" for a number that is no such thing. */
const char *guest_state_name(enum guest_state state);
const char *guest_call_name(enum guest_call call);
const char *guest_event_name(enum guest_event event);
