/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/base/sm.h"

#include <stdbool.h>

/*
 * The state of one manager of the API (include/guestlock/manager.h). Pure: the
 * owner asks manager_may() at the start of a call and reports what happened
 * with manager_move().
 *
 *    MODE_START
 *                 SUPERVISED                     STARTED
 *          .---------------------> SUPERVISED ------------.
 *          |                                              v
 *         NEW ---------------------> HELD ------------> RUNNING
 *                  ACQUIRED                  STARTED
 *
 *    MODE_MIGRATE
 *                 SUPERVISED                     STARTED
 *          .---------------------> SUPERVISED ------------.
 *          |                                              v
 *         NEW --------------------> CLAIMED -----------> INCOMING
 *                  ACQUIRED          |   |   STARTED      |    |
 *                                 IN |   |             IN |    |
 *                                    v   | CANCELLED      v    | CANCELLED
 *                                  HELD  |            RUNNING  |
 *                                        '--> CANCELLED <------'
 *
 *    MODE_ATTACH
 *         NEW --- FOUND_* ---> RUNNING, PREPARED, LEFT or INCOMING, and from
 *                              each of these again, as the kernel has it
 *
 *    any mode
 *         RUNNING --- PREPARED ---> PREPARED --- OUT ---> LEFT
 *            ^------- BACK ------------'------------------'
 *
 *         any but NEW --- ENDED ---> ENDED
 *
 * A destination whose process was not told of yet (CLAIMED) may arrive as well:
 * it is HELD then, like a guest that is about to start.
 */
enum manager_state {
	MANAGER_NEW,
	MANAGER_HELD,	    /* the leases live in this process */
	MANAGER_CLAIMED,    /* so do the claims of a destination */
	MANAGER_SUPERVISED, /* a supervisor may be taking them */
	MANAGER_RUNNING,
	MANAGER_PREPARED,
	MANAGER_LEFT,
	MANAGER_INCOMING,
	MANAGER_CANCELLED,
	MANAGER_ENDED,
	_MANAGER_STATE_N,
};

enum manager_mode {
	MODE_START,
	MODE_ATTACH,
	MODE_MIGRATE,
	_MODE_N,
};

/* What the API may be asked for. */
enum manager_call {
	MANAGER_CALL_SET,
	MANAGER_CALL_REGISTER,
	MANAGER_CALL_ACQUIRE,
	MANAGER_CALL_INHERIT,
	MANAGER_CALL_STARTED,
	MANAGER_CALL_CHILD,
	MANAGER_CALL_SUPERVISOR, /* path and arguments */
	MANAGER_CALL_PLUG,
	MANAGER_CALL_UNPLUG,
	MANAGER_CALL_PREPARE,
	MANAGER_CALL_OUT,
	MANAGER_CALL_OUT_CANCEL,
	MANAGER_CALL_IN,
	MANAGER_CALL_IN_CANCEL,
	MANAGER_CALL_SHUTDOWN,
	_MANAGER_CALL_N,
};

/* What happened. */
enum manager_event {
	MANAGER_EVENT_ACQUIRED,
	MANAGER_EVENT_SUPERVISED, /* a supervisor's arguments were given out */
	MANAGER_EVENT_STARTED,	  /* a process has the leases */
	MANAGER_EVENT_FOUND_RUNNING,
	MANAGER_EVENT_FOUND_PREPARED,
	MANAGER_EVENT_FOUND_LEFT,
	MANAGER_EVENT_FOUND_INCOMING,
	MANAGER_EVENT_PREPARED,
	MANAGER_EVENT_OUT,
	MANAGER_EVENT_BACK,
	MANAGER_EVENT_IN,
	MANAGER_EVENT_CANCELLED,
	MANAGER_EVENT_ENDED,
	_MANAGER_EVENT_N,
};

struct manager_sm {
	struct sm sm;
	enum manager_mode mode;
};

void manager_init(struct manager_sm *manager, enum manager_mode mode);

static inline enum manager_state manager_state(const struct manager_sm *manager)
{
	return (enum manager_state)manager->sm.state;
}

enum manager_may_e {
	_MANAGER_E_SUCCESS,
	MANAGER_E_IDLE, /* allowed, and there is nothing to do */
};

/**
 * manager_may() - is this call allowed now
 *
 * Return: 0, MANAGER_E_IDLE, or the error that guestlock/manager.h promises:
 * -EALREADY	too late
 * -ENODATA	there is nothing yet, or no more, that the call is about
 * -EINPROGRESS	not during a migration
 * -EOPNOTSUPP	not in this mode
 * -ESRCH	the guest has ended
 */
int manager_may(const struct manager_sm *manager, enum manager_call call);

/**
 * manager_move() - tell what has happened
 *
 * Return: 0, or -ENOTRECOVERABLE for an event that cannot happen in this state
 * and mode: our own bug (core/base/err.h), nothing changes.
 */
int manager_move(struct manager_sm *manager, enum manager_event event);

/* Static strings; "?" for a number that is no such thing. */
const char *manager_state_name(enum manager_state state);
const char *manager_call_name(enum manager_call call);
const char *manager_event_name(enum manager_event event);
