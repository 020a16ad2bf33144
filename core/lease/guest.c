/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/guest.h"

#include "core/base/err.h"
#include "core/base/util.h"

/*
 * Three tables say everything: which state may follow which, what each call
 * answers in each state, and what each event does. A new state is a row in the
 * first two and a bit in the third; a new call or event is a column or a row.
 * A cell that was forgotten is 0, and neither allowed nor an errno.
 */
#define BIT(_state) (UINT32_C(1) << (_state))
#define YES 1
#define STAY _GUEST_STATE_N

static const struct sm_state guest_states[_GUEST_STATE_N] = {
	[GUEST_NEW] = { "new", BIT(GUEST_TAKING) | BIT(GUEST_RUNNING) },
	[GUEST_TAKING] = { "taking", BIT(GUEST_NEW) | BIT(GUEST_HELD) },
	[GUEST_HELD] = { "held", BIT(GUEST_RUNNING) | BIT(GUEST_GONE) },
	[GUEST_RUNNING] = { "running", BIT(GUEST_GONE) },
	[GUEST_GONE] = { "gone", 0 },
};

static const struct guest_call_rule {
	const char *name;
	bool settled;  /* not while the guest is being changed */
	bool stranger; /* not if this process is the holder */
	int answer[_GUEST_STATE_N];
} guest_calls[_GUEST_CALL_N] = {
	[GUEST_CALL_ADD] = { "add",
			     false,
			     false,
			     { YES, -EALREADY, -EALREADY, -EALREADY,
			       -EALREADY } },
	[GUEST_CALL_ACQUIRE] = { "acquire",
				 false,
				 false,
				 { YES, -EALREADY, -EALREADY, -EALREADY,
				   -EALREADY } },
	[GUEST_CALL_FD] = { "fd",
			    false,
			    false,
			    { -ENODATA, -ENODATA, YES, -ENODATA, -ENODATA } },
	[GUEST_CALL_HAND_OVER] = { "hand-over",
				   true,
				   true,
				   { -ENODATA, -ENODATA, YES, -ENODATA,
				     -ENODATA } },
	[GUEST_CALL_ATTACH] = { "attach",
				true,
				false,
				{ -ENODATA, -ENODATA, YES, YES, -ESRCH } },
	[GUEST_CALL_DETACH] = { "detach",
				true,
				false,
				{ -ENODATA, -ENODATA, YES, YES, -ESRCH } },
	[GUEST_CALL_INFO] = { "info",
			      false,
			      false,
			      { -ENODATA, -ENODATA, YES, YES, -ESRCH } },
	[GUEST_CALL_PREPARE] = { "prepare",
				 true,
				 false,
				 { -ENODATA, -ENODATA, YES, YES, -ESRCH } },
	[GUEST_CALL_OUT] = { "out",
			     true,
			     false,
			     { -ENODATA, -ENODATA, YES, YES, -ESRCH } },
	[GUEST_CALL_IN] = { "in",
			    true,
			    false,
			    { -ENODATA, -ENODATA, YES, YES, -ESRCH } },
	[GUEST_CALL_CANCEL] = { "cancel",
				true,
				false,
				{ -ENODATA, -ENODATA, YES, YES, -ESRCH } },
	[GUEST_CALL_WAIT] = { "wait",
			      true,
			      true,
			      { -ENODATA, -ENODATA, -ENODATA, YES, YES } },
};

static const struct guest_event_rule {
	const char *name;
	uint32_t from;
	uint8_t to;
	bool changing; /* CHANGE_*: the mark before */
} guest_events[_GUEST_EVENT_N] = {
	[GUEST_EVENT_ACQUIRE] = { "acquire", BIT(GUEST_NEW), GUEST_TAKING },
	[GUEST_EVENT_REFUSED] = { "refused", BIT(GUEST_TAKING), GUEST_NEW },
	[GUEST_EVENT_TAKEN] = { "taken", BIT(GUEST_TAKING), GUEST_HELD },
	[GUEST_EVENT_HANDED_OVER] = { "handed-over", BIT(GUEST_HELD),
				      GUEST_RUNNING },
	[GUEST_EVENT_ADOPT] = { "adopt", BIT(GUEST_NEW), GUEST_RUNNING },
	[GUEST_EVENT_CHANGE_BEGIN] = { "change-begin",
				       BIT(GUEST_HELD) | BIT(GUEST_RUNNING),
				       STAY, false },
	[GUEST_EVENT_CHANGE_END] = { "change-end",
				     BIT(GUEST_HELD) | BIT(GUEST_RUNNING) |
					     BIT(GUEST_GONE),
				     STAY, true },
	[GUEST_EVENT_VANISHED] = { "vanished",
				   BIT(GUEST_HELD) | BIT(GUEST_RUNNING),
				   GUEST_GONE },
};

void guest_init(struct guest_sm *guest, bool self)
{
	*guest = (struct guest_sm){ .self = self };
	sm_init(&guest->sm, guest_states, _GUEST_STATE_N, GUEST_NEW);
}

/* Only what exists can change, and what is ours alone is never handed over. */
static bool guest_invariant(const struct guest_sm *guest)
{
	enum guest_state state = guest_state(guest);

	if (state >= _GUEST_STATE_N)
		return false;
	if (guest->changing && (state == GUEST_NEW || state == GUEST_TAKING))
		return false;
	return !(guest->self && state == GUEST_RUNNING);
}

int guest_may(const struct guest_sm *guest, enum guest_call call)
{
	const struct guest_call_rule *rule;
	int answer;

	BUG_RETURN(call >= _GUEST_CALL_N, -ENOTRECOVERABLE);
	rule = &guest_calls[call];
	answer = rule->answer[guest->sm.state];
	BUG_RETURN(!answer, -ENOTRECOVERABLE);
	if (rule->stranger && guest->self && guest->sm.state >= GUEST_HELD)
		return -EOPNOTSUPP;
	if (answer != YES)
		return answer;
	return rule->settled && guest->changing ? -EINPROGRESS : 0;
}

static bool guest_event_fits(const struct guest_sm *guest,
			     enum guest_event event)
{
	const struct guest_event_rule *rule = &guest_events[event];

	if (!(rule->from & BIT(guest->sm.state)))
		return false;
	if (rule->to == STAY)
		return guest->changing == rule->changing;
	if (rule->to == GUEST_RUNNING && guest->self)
		return false;
	return event != GUEST_EVENT_HANDED_OVER || !guest->changing;
}

int guest_move(struct guest_sm *guest, enum guest_event event)
{
	struct guest_sm next = *guest;
	int r;

	BUG_RETURN(event >= _GUEST_EVENT_N, -ENOTRECOVERABLE);
	BUG_RETURN(!guest_event_fits(guest, event), -ENOTRECOVERABLE);
	if (guest_events[event].to == STAY) {
		next.changing = !next.changing;
	} else {
		r = sm_move(&next.sm, guest_events[event].to);
		if (r)
			return r;
	}
	BUG_RETURN(!guest_invariant(&next), -ENOTRECOVERABLE);
	*guest = next;
	return 0;
}

const char *guest_state_name(enum guest_state state)
{
	return state < _GUEST_STATE_N ? guest_states[state].name : "?";
}

const char *guest_call_name(enum guest_call call)
{
	return call < _GUEST_CALL_N ? guest_calls[call].name : "?";
}

const char *guest_event_name(enum guest_event event)
{
	return event < _GUEST_EVENT_N ? guest_events[event].name : "?";
}
