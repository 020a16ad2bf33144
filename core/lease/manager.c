/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/manager.h"

#include "core/base/err.h"
#include "core/base/util.h"

/*
 * Three tables say everything: which state may follow which, what each call
 * answers in each state and mode, and where each event leads. Nothing leads to
 * NEW, and a cell of the second that was forgotten is 0, no answer at all.
 */
#define BIT(_n) (UINT32_C(1) << (_n))
#define S BIT(MODE_START)
#define A BIT(MODE_ATTACH)
#define M BIT(MODE_MIGRATE)

#define ON(_state) BIT(MANAGER_##_state)
#define ALL_STATES (BIT(_MANAGER_STATE_N) - 1)
#define OF_SOURCE (ON(RUNNING) | ON(PREPARED) | ON(LEFT))

static const struct sm_state manager_states[_MANAGER_STATE_N] = {
	[MANAGER_NEW] = { "new",
			  ALL_STATES & ~(ON(NEW) | ON(CANCELLED) | ON(ENDED)) },
	[MANAGER_HELD] = { "held", ON(RUNNING) | ON(ENDED) },
	[MANAGER_CLAIMED] = { "claimed", ON(INCOMING) | ON(HELD) |
						 ON(CANCELLED) | ON(ENDED) },
	[MANAGER_SUPERVISED] = { "supervised", ON(RUNNING) | ON(INCOMING) |
						       ON(CANCELLED) |
						       ON(ENDED) },
	[MANAGER_RUNNING] = { "running", ON(PREPARED) | ON(LEFT) |
						 ON(INCOMING) | ON(ENDED) },
	[MANAGER_PREPARED] = { "prepared", ON(RUNNING) | ON(LEFT) |
						   ON(INCOMING) | ON(ENDED) },
	[MANAGER_LEFT] = { "left", ON(RUNNING) | ON(PREPARED) | ON(INCOMING) |
					   ON(ENDED) },
	[MANAGER_INCOMING] = { "incoming",
			       OF_SOURCE | ON(CANCELLED) | ON(ENDED) },
	[MANAGER_CANCELLED] = { "cancelled", ON(ENDED) },
	[MANAGER_ENDED] = { "ended", 0 },
};

/* The states that a manager of each mode can be in. */
static const uint32_t states_of[_MODE_N] = {
	[MODE_START] =
		ON(NEW) | ON(HELD) | ON(SUPERVISED) | OF_SOURCE | ON(ENDED),
	[MODE_ATTACH] =
		ON(NEW) | OF_SOURCE | ON(INCOMING) | ON(CANCELLED) | ON(ENDED),
	[MODE_MIGRATE] = ALL_STATES,
};

static const char *const call_names[_MANAGER_CALL_N] = {
	[MANAGER_CALL_SET] = "set a parameter",
	[MANAGER_CALL_REGISTER] = "register a resource",
	[MANAGER_CALL_ACQUIRE] = "acquire",
	[MANAGER_CALL_INHERIT] = "let the leases be inherited",
	[MANAGER_CALL_STARTED] = "give the leases to a process",
	[MANAGER_CALL_CHILD] = "find the guest's process",
	[MANAGER_CALL_SUPERVISOR] = "be supervised",
	[MANAGER_CALL_PLUG] = "acquire a resource",
	[MANAGER_CALL_UNPLUG] = "release a resource",
	[MANAGER_CALL_PREPARE] = "prepare a migration",
	[MANAGER_CALL_OUT] = "complete a migration out",
	[MANAGER_CALL_OUT_CANCEL] = "cancel a migration out",
	[MANAGER_CALL_IN] = "complete a migration in",
	[MANAGER_CALL_IN_CANCEL] = "cancel a migration in",
	[MANAGER_CALL_SHUTDOWN] = "shut down",
};

/* clang-format off */
#define YES 1
#define NIL 2 /* MANAGER_E_IDLE */
#define LATE (-EALREADY)
#define NONE (-ENODATA)
#define BUSY (-EINPROGRESS)
#define GONE (-ESRCH)
#define CANT (-EOPNOTSUPP)

static const struct call_rule {
	enum manager_call call;
	uint32_t modes;
	int answer[_MANAGER_STATE_N];
} call_rules[] = {
	/*			NEW   HELD  CLAIMED SUPERVISED
				RUNNING PREPARED LEFT INCOMING
				CANCELLED ENDED */
	{ MANAGER_CALL_SET, S | A | M, { YES, LATE, LATE, LATE,
				LATE, LATE, LATE, LATE, LATE, LATE } },
	{ MANAGER_CALL_REGISTER, S | A | M, { YES, LATE, LATE, LATE,
				LATE, LATE, LATE, LATE, LATE, LATE } },
	{ MANAGER_CALL_ACQUIRE, S | A | M, { YES, LATE, LATE, LATE,
				LATE, LATE, LATE, LATE, LATE, LATE } },
	{ MANAGER_CALL_INHERIT, S | A | M, { NONE, YES, YES, NONE,
				NONE, NONE, NONE, NONE, NONE, NONE } },
	/* A supervisor's pid: nothing moves before it has become the guest. */
	{ MANAGER_CALL_STARTED, S | A | M, { NONE, YES, YES, YES,
				NONE, NONE, NONE, NONE, NONE, NONE } },
	{ MANAGER_CALL_CHILD, S | M, { NONE, YES, YES, YES,
				YES, YES, YES, YES, YES, GONE } },
	{ MANAGER_CALL_CHILD, A, { YES, YES, YES, YES,
				YES, YES, YES, YES, YES, GONE } },
	{ MANAGER_CALL_SUPERVISOR, S | M, { YES, LATE, LATE, YES,
				LATE, LATE, LATE, LATE, LATE, LATE } },
	{ MANAGER_CALL_SUPERVISOR, A, { CANT, CANT, CANT, CANT,
				CANT, CANT, CANT, CANT, CANT, CANT } },
	{ MANAGER_CALL_PLUG, S | A | M, { NONE, YES, BUSY, NONE,
				YES, BUSY, BUSY, BUSY, NONE, GONE } },
	{ MANAGER_CALL_UNPLUG, S | A | M, { NONE, YES, BUSY, NONE,
				YES, BUSY, BUSY, BUSY, NONE, GONE } },
	{ MANAGER_CALL_PREPARE, S | A | M, { NONE, NONE, NONE, NONE,
				YES, YES, NONE, NONE, NONE, NONE } },
	{ MANAGER_CALL_OUT, S | A | M, { NONE, NONE, NONE, NONE,
				NONE, YES, YES, NONE, NONE, NONE } },
	/* Cancelling nothing is fine; but not, if it is unknown whether there
	   is something, or if it is the other side's call. */
	{ MANAGER_CALL_OUT_CANCEL, S, { NIL, NIL, NONE, NIL,
				YES, YES, YES, NONE, NONE, NIL } },
	{ MANAGER_CALL_OUT_CANCEL, A | M, { NONE, NIL, NONE, NONE,
				YES, YES, YES, NONE, NONE, NIL } },
	{ MANAGER_CALL_IN, S, { NONE, NONE, NONE, NONE,
				NONE, NONE, NONE, NONE, NONE, NONE } },
	{ MANAGER_CALL_IN, A | M, { NONE, YES, YES, YES,
				YES, NONE, NONE, YES, NONE, NONE } },
	{ MANAGER_CALL_IN_CANCEL, S, { NONE, NONE, NONE, NONE,
				NONE, NONE, NONE, NONE, NONE, NONE } },
	{ MANAGER_CALL_IN_CANCEL, A, { NONE, NONE, NONE, NONE,
				NONE, NONE, NONE, YES, NIL, NONE } },
	{ MANAGER_CALL_IN_CANCEL, M, { NONE, LATE, YES, YES,
				LATE, NONE, NONE, YES, NIL, NONE } },
	{ MANAGER_CALL_SHUTDOWN, S | A | M, { NONE, YES, YES, YES,
				YES, YES, YES, YES, YES, NIL } },
};
/* clang-format on */

static const char *const event_names[_MANAGER_EVENT_N] = {
	[MANAGER_EVENT_ACQUIRED] = "acquired",
	[MANAGER_EVENT_SUPERVISED] = "supervised",
	[MANAGER_EVENT_STARTED] = "started",
	[MANAGER_EVENT_FOUND_RUNNING] = "found-running",
	[MANAGER_EVENT_FOUND_PREPARED] = "found-prepared",
	[MANAGER_EVENT_FOUND_LEFT] = "found-left",
	[MANAGER_EVENT_FOUND_INCOMING] = "found-incoming",
	[MANAGER_EVENT_PREPARED] = "prepared",
	[MANAGER_EVENT_OUT] = "out",
	[MANAGER_EVENT_BACK] = "back",
	[MANAGER_EVENT_IN] = "in",
	[MANAGER_EVENT_CANCELLED] = "cancelled",
	[MANAGER_EVENT_ENDED] = "ended",
};

#define FINDABLE (ON(NEW) | OF_SOURCE | ON(INCOMING))

static const struct move_rule {
	enum manager_event event;
	uint32_t modes, from;
	enum manager_state to;
} move_rules[] = {
	{ MANAGER_EVENT_ACQUIRED, S, ON(NEW), MANAGER_HELD },
	{ MANAGER_EVENT_ACQUIRED, M, ON(NEW), MANAGER_CLAIMED },
	{ MANAGER_EVENT_SUPERVISED, S | M, ON(NEW), MANAGER_SUPERVISED },
	{ MANAGER_EVENT_STARTED, S | M, ON(HELD), MANAGER_RUNNING },
	{ MANAGER_EVENT_STARTED, S, ON(SUPERVISED), MANAGER_RUNNING },
	{ MANAGER_EVENT_STARTED, M, ON(CLAIMED) | ON(SUPERVISED),
	  MANAGER_INCOMING },
	{ MANAGER_EVENT_FOUND_RUNNING, A, FINDABLE, MANAGER_RUNNING },
	{ MANAGER_EVENT_FOUND_PREPARED, A, FINDABLE, MANAGER_PREPARED },
	{ MANAGER_EVENT_FOUND_LEFT, A, FINDABLE, MANAGER_LEFT },
	{ MANAGER_EVENT_FOUND_INCOMING, A, FINDABLE, MANAGER_INCOMING },
	{ MANAGER_EVENT_PREPARED, S | A | M, ON(RUNNING) | ON(PREPARED),
	  MANAGER_PREPARED },
	{ MANAGER_EVENT_OUT, S | A | M, ON(PREPARED) | ON(LEFT), MANAGER_LEFT },
	{ MANAGER_EVENT_BACK, S | A | M, OF_SOURCE, MANAGER_RUNNING },
	{ MANAGER_EVENT_IN, M, ON(CLAIMED) | ON(HELD), MANAGER_HELD },
	{ MANAGER_EVENT_IN, A | M, ON(INCOMING) | ON(RUNNING),
	  MANAGER_RUNNING },
	{ MANAGER_EVENT_CANCELLED, M, ON(CLAIMED) | ON(SUPERVISED),
	  MANAGER_CANCELLED },
	{ MANAGER_EVENT_CANCELLED, A | M, ON(INCOMING), MANAGER_CANCELLED },
	{ MANAGER_EVENT_ENDED, S | A | M, ALL_STATES & ~(ON(NEW) | ON(ENDED)),
	  MANAGER_ENDED },
};

void manager_init(struct manager_sm *manager, enum manager_mode mode)
{
	*manager = (struct manager_sm){ .mode = mode };
	sm_init(&manager->sm, manager_states, _MANAGER_STATE_N, MANAGER_NEW);
}

static bool manager_invariant(const struct manager_sm *manager)
{
	return manager->mode < _MODE_N &&
	       manager->sm.state < _MANAGER_STATE_N &&
	       (states_of[manager->mode] & BIT(manager->sm.state));
}

int manager_may(const struct manager_sm *manager, enum manager_call call)
{
	BUG_RETURN(!manager_invariant(manager), -ENOTRECOVERABLE);
	for (size_t i = 0; i < ARRAY_SIZE(call_rules); i++) {
		const struct call_rule *rule = &call_rules[i];
		int answer = rule->answer[manager->sm.state];

		if (rule->call != call || !(rule->modes & BIT(manager->mode)))
			continue;
		BUG_RETURN(!answer, -ENOTRECOVERABLE);
		if (answer < 0)
			return answer;
		return answer == NIL ? MANAGER_E_IDLE : 0;
	}
	BUG_RETURN(true, -ENOTRECOVERABLE);
}

static const struct move_rule *find_move(const struct manager_sm *manager,
					 enum manager_event event)
{
	for (size_t i = 0; i < ARRAY_SIZE(move_rules); i++) {
		const struct move_rule *rule = &move_rules[i];

		if (rule->event == event &&
		    (rule->modes & BIT(manager->mode)) &&
		    (rule->from & BIT(manager->sm.state)))
			return rule;
	}
	return NULL;
}

int manager_move(struct manager_sm *manager, enum manager_event event)
{
	struct manager_sm next = *manager;
	const struct move_rule *rule;
	int r = 0;

	BUG_RETURN(!manager_invariant(manager), -ENOTRECOVERABLE);
	rule = find_move(manager, event);
	BUG_RETURN(!rule, -ENOTRECOVERABLE);
	if (rule->to != manager_state(manager))
		r = sm_move(&next.sm, (uint8_t)rule->to);
	if (r)
		return r;
	BUG_RETURN(!manager_invariant(&next), -ENOTRECOVERABLE);
	*manager = next;
	return 0;
}

const char *manager_state_name(enum manager_state state)
{
	return state < _MANAGER_STATE_N ? manager_states[state].name : "?";
}

const char *manager_call_name(enum manager_call call)
{
	return call < _MANAGER_CALL_N ? call_names[call] : "?";
}

const char *manager_event_name(enum manager_event event)
{
	return event < _MANAGER_EVENT_N ? event_names[event] : "?";
}
