/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/manager.h"
#include "tests/lib/test.h"

#include "core/base/err.h"
#include "core/base/util.h"

/* Columns are states, in the order of their enum. */
#define BUG _MANAGER_STATE_N
#define N _MANAGER_STATE_N

#define OK 0
#define NIL MANAGER_E_IDLE
#define LATE (-EALREADY)
#define NONE (-ENODATA)
#define BUSY (-EINPROGRESS)
#define GONE (-ESRCH)
#define CANT (-EOPNOTSUPP)
#define NEVER (-ENOTRECOVERABLE) /* no manager of this mode is in that state */

/* clang-format off */
/* NEW HELD CLAIMED SUPERVISED RUNNING PREPARED LEFT INCOMING CANCELLED ENDED */
static const int answers[_MODE_N][_MANAGER_CALL_N][N] = {
[MODE_START] = {
	[MANAGER_CALL_SET] = { OK, LATE, NEVER, LATE,
		LATE, LATE, LATE, NEVER, NEVER, LATE },
	[MANAGER_CALL_REGISTER] = { OK, LATE, NEVER, LATE,
		LATE, LATE, LATE, NEVER, NEVER, LATE },
	[MANAGER_CALL_ACQUIRE] = { OK, LATE, NEVER, LATE,
		LATE, LATE, LATE, NEVER, NEVER, LATE },
	[MANAGER_CALL_INHERIT] = { NONE, OK, NEVER, NONE,
		NONE, NONE, NONE, NEVER, NEVER, NONE },
	[MANAGER_CALL_STARTED] = { NONE, OK, NEVER, OK,
		NONE, NONE, NONE, NEVER, NEVER, NONE },
	[MANAGER_CALL_CHILD] = { NONE, OK, NEVER, OK,
		OK, OK, OK, NEVER, NEVER, GONE },
	[MANAGER_CALL_SUPERVISOR] = { OK, LATE, NEVER, OK,
		LATE, LATE, LATE, NEVER, NEVER, LATE },
	[MANAGER_CALL_PLUG] = { NONE, OK, NEVER, NONE,
		OK, BUSY, BUSY, NEVER, NEVER, GONE },
	[MANAGER_CALL_UNPLUG] = { NONE, OK, NEVER, NONE,
		OK, BUSY, BUSY, NEVER, NEVER, GONE },
	[MANAGER_CALL_PREPARE] = { NONE, NONE, NEVER, NONE,
		OK, OK, NONE, NEVER, NEVER, NONE },
	[MANAGER_CALL_OUT] = { NONE, NONE, NEVER, NONE,
		NONE, OK, OK, NEVER, NEVER, NONE },
	[MANAGER_CALL_OUT_CANCEL] = { NIL, NIL, NEVER, NIL,
		OK, OK, OK, NEVER, NEVER, NIL },
	[MANAGER_CALL_IN] = { NONE, NONE, NEVER, NONE,
		NONE, NONE, NONE, NEVER, NEVER, NONE },
	[MANAGER_CALL_IN_CANCEL] = { NONE, NONE, NEVER, NONE,
		NONE, NONE, NONE, NEVER, NEVER, NONE },
	[MANAGER_CALL_SHUTDOWN] = { NONE, OK, NEVER, OK,
		OK, OK, OK, NEVER, NEVER, NIL },
},
[MODE_ATTACH] = {
	[MANAGER_CALL_SET] = { OK, NEVER, NEVER, NEVER,
		LATE, LATE, LATE, LATE, LATE, LATE },
	[MANAGER_CALL_REGISTER] = { OK, NEVER, NEVER, NEVER,
		LATE, LATE, LATE, LATE, LATE, LATE },
	[MANAGER_CALL_ACQUIRE] = { OK, NEVER, NEVER, NEVER,
		LATE, LATE, LATE, LATE, LATE, LATE },
	[MANAGER_CALL_INHERIT] = { NONE, NEVER, NEVER, NEVER,
		NONE, NONE, NONE, NONE, NONE, NONE },
	[MANAGER_CALL_STARTED] = { NONE, NEVER, NEVER, NEVER,
		NONE, NONE, NONE, NONE, NONE, NONE },
	[MANAGER_CALL_CHILD] = { OK, NEVER, NEVER, NEVER,
		OK, OK, OK, OK, OK, GONE },
	[MANAGER_CALL_SUPERVISOR] = { CANT, NEVER, NEVER, NEVER,
		CANT, CANT, CANT, CANT, CANT, CANT },
	[MANAGER_CALL_PLUG] = { NONE, NEVER, NEVER, NEVER,
		OK, BUSY, BUSY, BUSY, NONE, GONE },
	[MANAGER_CALL_UNPLUG] = { NONE, NEVER, NEVER, NEVER,
		OK, BUSY, BUSY, BUSY, NONE, GONE },
	[MANAGER_CALL_PREPARE] = { NONE, NEVER, NEVER, NEVER,
		OK, OK, NONE, NONE, NONE, NONE },
	[MANAGER_CALL_OUT] = { NONE, NEVER, NEVER, NEVER,
		NONE, OK, OK, NONE, NONE, NONE },
	[MANAGER_CALL_OUT_CANCEL] = { NONE, NEVER, NEVER, NEVER,
		OK, OK, OK, NONE, NONE, NIL },
	[MANAGER_CALL_IN] = { NONE, NEVER, NEVER, NEVER,
		OK, NONE, NONE, OK, NONE, NONE },
	[MANAGER_CALL_IN_CANCEL] = { NONE, NEVER, NEVER, NEVER,
		NONE, NONE, NONE, OK, NIL, NONE },
	[MANAGER_CALL_SHUTDOWN] = { NONE, NEVER, NEVER, NEVER,
		OK, OK, OK, OK, OK, NIL },
},
[MODE_MIGRATE] = {
	[MANAGER_CALL_SET] = { OK, LATE, LATE, LATE,
		LATE, LATE, LATE, LATE, LATE, LATE },
	[MANAGER_CALL_REGISTER] = { OK, LATE, LATE, LATE,
		LATE, LATE, LATE, LATE, LATE, LATE },
	[MANAGER_CALL_ACQUIRE] = { OK, LATE, LATE, LATE,
		LATE, LATE, LATE, LATE, LATE, LATE },
	[MANAGER_CALL_INHERIT] = { NONE, OK, OK, NONE,
		NONE, NONE, NONE, NONE, NONE, NONE },
	[MANAGER_CALL_STARTED] = { NONE, OK, OK, OK,
		NONE, NONE, NONE, NONE, NONE, NONE },
	[MANAGER_CALL_CHILD] = { NONE, OK, OK, OK,
		OK, OK, OK, OK, OK, GONE },
	[MANAGER_CALL_SUPERVISOR] = { OK, LATE, LATE, OK,
		LATE, LATE, LATE, LATE, LATE, LATE },
	[MANAGER_CALL_PLUG] = { NONE, OK, BUSY, NONE,
		OK, BUSY, BUSY, BUSY, NONE, GONE },
	[MANAGER_CALL_UNPLUG] = { NONE, OK, BUSY, NONE,
		OK, BUSY, BUSY, BUSY, NONE, GONE },
	[MANAGER_CALL_PREPARE] = { NONE, NONE, NONE, NONE,
		OK, OK, NONE, NONE, NONE, NONE },
	[MANAGER_CALL_OUT] = { NONE, NONE, NONE, NONE,
		NONE, OK, OK, NONE, NONE, NONE },
	[MANAGER_CALL_OUT_CANCEL] = { NONE, NIL, NONE, NONE,
		OK, OK, OK, NONE, NONE, NIL },
	[MANAGER_CALL_IN] = { NONE, OK, OK, OK,
		OK, NONE, NONE, OK, NONE, NONE },
	[MANAGER_CALL_IN_CANCEL] = { NONE, LATE, OK, OK,
		LATE, NONE, NONE, OK, NIL, NONE },
	[MANAGER_CALL_SHUTDOWN] = { NONE, OK, OK, OK,
		OK, OK, OK, OK, OK, NIL },
},
};

#define HELD MANAGER_HELD
#define CLMD MANAGER_CLAIMED
#define SUPD MANAGER_SUPERVISED
#define RUN MANAGER_RUNNING
#define PREP MANAGER_PREPARED
#define LEFT MANAGER_LEFT
#define INCO MANAGER_INCOMING
#define CANC MANAGER_CANCELLED
#define END MANAGER_ENDED

static const enum manager_state moves[_MODE_N][_MANAGER_EVENT_N][N] = {
[MODE_START] = {
	[MANAGER_EVENT_ACQUIRED] = { HELD, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_SUPERVISED] = { SUPD, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_STARTED] = { BUG, RUN, BUG, RUN,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_FOUND_RUNNING] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_FOUND_PREPARED] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_FOUND_LEFT] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_FOUND_INCOMING] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_PREPARED] = { BUG, BUG, BUG, BUG,
		PREP, PREP, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_OUT] = { BUG, BUG, BUG, BUG,
		BUG, LEFT, LEFT, BUG, BUG, BUG },
	[MANAGER_EVENT_BACK] = { BUG, BUG, BUG, BUG,
		RUN, RUN, RUN, BUG, BUG, BUG },
	[MANAGER_EVENT_IN] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_CANCELLED] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_ENDED] = { BUG, END, BUG, END,
		END, END, END, BUG, BUG, BUG },
},
[MODE_ATTACH] = {
	[MANAGER_EVENT_ACQUIRED] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_SUPERVISED] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_STARTED] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_FOUND_RUNNING] = { RUN, BUG, BUG, BUG,
		RUN, RUN, RUN, RUN, BUG, BUG },
	[MANAGER_EVENT_FOUND_PREPARED] = { PREP, BUG, BUG, BUG,
		PREP, PREP, PREP, PREP, BUG, BUG },
	[MANAGER_EVENT_FOUND_LEFT] = { LEFT, BUG, BUG, BUG,
		LEFT, LEFT, LEFT, LEFT, BUG, BUG },
	[MANAGER_EVENT_FOUND_INCOMING] = { INCO, BUG, BUG, BUG,
		INCO, INCO, INCO, INCO, BUG, BUG },
	[MANAGER_EVENT_PREPARED] = { BUG, BUG, BUG, BUG,
		PREP, PREP, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_OUT] = { BUG, BUG, BUG, BUG,
		BUG, LEFT, LEFT, BUG, BUG, BUG },
	[MANAGER_EVENT_BACK] = { BUG, BUG, BUG, BUG,
		RUN, RUN, RUN, BUG, BUG, BUG },
	[MANAGER_EVENT_IN] = { BUG, BUG, BUG, BUG,
		RUN, BUG, BUG, RUN, BUG, BUG },
	[MANAGER_EVENT_CANCELLED] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, CANC, BUG, BUG },
	[MANAGER_EVENT_ENDED] = { BUG, BUG, BUG, BUG,
		END, END, END, END, END, BUG },
},
[MODE_MIGRATE] = {
	[MANAGER_EVENT_ACQUIRED] = { CLMD, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_SUPERVISED] = { SUPD, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_STARTED] = { BUG, RUN, INCO, INCO,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_FOUND_RUNNING] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_FOUND_PREPARED] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_FOUND_LEFT] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_FOUND_INCOMING] = { BUG, BUG, BUG, BUG,
		BUG, BUG, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_PREPARED] = { BUG, BUG, BUG, BUG,
		PREP, PREP, BUG, BUG, BUG, BUG },
	[MANAGER_EVENT_OUT] = { BUG, BUG, BUG, BUG,
		BUG, LEFT, LEFT, BUG, BUG, BUG },
	[MANAGER_EVENT_BACK] = { BUG, BUG, BUG, BUG,
		RUN, RUN, RUN, BUG, BUG, BUG },
	[MANAGER_EVENT_IN] = { BUG, HELD, HELD, BUG,
		RUN, BUG, BUG, RUN, BUG, BUG },
	[MANAGER_EVENT_CANCELLED] = { BUG, BUG, CANC, CANC,
		BUG, BUG, BUG, CANC, BUG, BUG },
	[MANAGER_EVENT_ENDED] = { BUG, END, END, END,
		END, END, END, END, END, BUG },
},
};
/* clang-format on */

/* A manager in any state, by whatever way. */
static struct manager_sm manager_in(enum manager_mode mode,
				    enum manager_state state)
{
	struct manager_sm manager;

	manager_init(&manager, mode);
	manager.sm.state = (uint8_t)state;
	return manager;
}

/* Is it in this mode's part of the matrix at all? */
static bool is_possible(enum manager_mode mode, enum manager_state state)
{
	return answers[mode][MANAGER_CALL_SET][state] != NEVER;
}

static void every_call_in_every_state_and_mode_answers_as_promised(void **state)
{
	(void)state;
	bug_set_fatal(false);
	for (int mode = 0; mode < _MODE_N; mode++) {
		for (int call = 0; call < _MANAGER_CALL_N; call++) {
			for (int s = 0; s < N; s++) {
				struct manager_sm manager =
					manager_in((enum manager_mode)mode,
						   (enum manager_state)s);
				int r = manager_may(&manager,
						    (enum manager_call)call);

				if (r != answers[mode][call][s])
					print_error(
						"mode %d, %s, in %s\n", mode,
						manager_call_name((
							enum manager_call)call),
						manager_state_name(
							(enum manager_state)s));
				assert_int_equal(r, answers[mode][call][s]);
				assert_int_equal(manager_state(&manager), s);
			}
		}
	}
	bug_set_fatal(true);
}

static void every_event_moves_or_is_a_bug_that_changes_nothing(void **state)
{
	(void)state;
	bug_set_fatal(false);
	for (int mode = 0; mode < _MODE_N; mode++) {
		for (int event = 0; event < _MANAGER_EVENT_N; event++) {
			for (int s = 0; s < N; s++) {
				struct manager_sm manager =
					manager_in((enum manager_mode)mode,
						   (enum manager_state)s);
				enum manager_state to = moves[mode][event][s];
				int r = manager_move(&manager,
						     (enum manager_event)event);

				assert_int_equal(r, to == BUG ? -ENOTRECOVERABLE
							      : 0);
				assert_int_equal(manager_state(&manager),
						 to == BUG
							 ? (enum manager_state)s
							 : to);
			}
		}
	}
	bug_set_fatal(true);
}

/* Which states can a manager of this mode come to, from NEW? */
static uint32_t reachable(enum manager_mode mode)
{
	uint32_t seen = 1, before = 0;

	bug_set_fatal(false);
	while (seen != before) {
		before = seen;
		for (int i = 0; i < N * _MANAGER_EVENT_N; i++) {
			struct manager_sm manager =
				manager_in(mode, (enum manager_state)(i % N));

			if (!(before & 1U << i % N))
				continue;
			manager_move(&manager, (enum manager_event)(i / N));
			seen |= 1U << manager_state(&manager);
		}
	}
	bug_set_fatal(true);
	return seen;
}

static void every_state_of_a_mode_is_reached_and_no_other(void **state)
{
	(void)state;
	for (int mode = 0; mode < _MODE_N; mode++) {
		uint32_t seen = reachable((enum manager_mode)mode);

		for (int s = 0; s < N; s++)
			assert_int_equal(!!(seen & 1U << s),
					 is_possible((enum manager_mode)mode,
						     (enum manager_state)s));
	}
}

/* What the drawing in the public header shows, walked as it is drawn. */
static void the_ways_of_the_public_drawing_can_be_gone(void **state)
{
	static const struct {
		enum manager_mode mode;
		enum manager_event events[8];
		enum manager_state ends;
	} ways[] = {
		{ MODE_START,
		  { MANAGER_EVENT_ACQUIRED, MANAGER_EVENT_STARTED,
		    MANAGER_EVENT_PREPARED, MANAGER_EVENT_OUT,
		    MANAGER_EVENT_ENDED, _MANAGER_EVENT_N },
		  MANAGER_ENDED },
		{ MODE_START,
		  { MANAGER_EVENT_SUPERVISED, MANAGER_EVENT_STARTED,
		    MANAGER_EVENT_PREPARED, MANAGER_EVENT_BACK,
		    MANAGER_EVENT_PREPARED, MANAGER_EVENT_OUT,
		    MANAGER_EVENT_BACK, _MANAGER_EVENT_N },
		  MANAGER_RUNNING },
		{ MODE_ATTACH,
		  { MANAGER_EVENT_FOUND_LEFT, MANAGER_EVENT_BACK,
		    _MANAGER_EVENT_N },
		  MANAGER_RUNNING },
		{ MODE_MIGRATE,
		  { MANAGER_EVENT_SUPERVISED, MANAGER_EVENT_STARTED,
		    MANAGER_EVENT_IN, MANAGER_EVENT_PREPARED,
		    _MANAGER_EVENT_N },
		  MANAGER_PREPARED },
		{ MODE_MIGRATE,
		  { MANAGER_EVENT_ACQUIRED, MANAGER_EVENT_STARTED,
		    MANAGER_EVENT_CANCELLED, MANAGER_EVENT_ENDED,
		    _MANAGER_EVENT_N },
		  MANAGER_ENDED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct manager_sm manager;

		manager_init(&manager, ways[i].mode);
		for (size_t k = 0; ways[i].events[k] != _MANAGER_EVENT_N; k++)
			assert_int_equal(manager_move(&manager,
						      ways[i].events[k]),
					 0);
		assert_int_equal(manager_state(&manager), ways[i].ends);
	}
}

static void a_number_that_is_no_mode_call_or_event_is_a_bug(void **state)
{
	struct manager_sm manager = manager_in(MODE_START, MANAGER_RUNNING);
	struct manager_sm no_mode = manager_in(_MODE_N, MANAGER_NEW);
	struct manager_sm no_state = manager_in(MODE_MIGRATE, N);

	(void)state;
	bug_set_fatal(false);
	assert_int_equal(manager_may(&manager, _MANAGER_CALL_N),
			 -ENOTRECOVERABLE);
	assert_int_equal(manager_move(&manager, _MANAGER_EVENT_N),
			 -ENOTRECOVERABLE);
	assert_int_equal(manager_may(&no_mode, MANAGER_CALL_SET),
			 -ENOTRECOVERABLE);
	assert_int_equal(manager_move(&no_mode, MANAGER_EVENT_ACQUIRED),
			 -ENOTRECOVERABLE);
	assert_int_equal(manager_may(&no_state, MANAGER_CALL_SET),
			 -ENOTRECOVERABLE);
	assert_int_equal(manager_move(&no_state, MANAGER_EVENT_ENDED),
			 -ENOTRECOVERABLE);
	bug_set_fatal(true);
}

static void every_state_call_and_event_has_a_name(void **state)
{
	(void)state;
	for (int i = 0; i < N; i++)
		assert_string_not_equal(manager_state_name(
						(enum manager_state)i),
					"?");
	for (int i = 0; i < _MANAGER_CALL_N; i++)
		assert_string_not_equal(manager_call_name((enum manager_call)i),
					"?");
	for (int i = 0; i < _MANAGER_EVENT_N; i++)
		assert_string_not_equal(manager_event_name(
						(enum manager_event)i),
					"?");
	assert_string_equal(manager_state_name(N), "?");
	assert_string_equal(manager_call_name(_MANAGER_CALL_N), "?");
	assert_string_equal(manager_event_name(_MANAGER_EVENT_N), "?");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(
		every_call_in_every_state_and_mode_answers_as_promised),
	cmocka_unit_test(every_event_moves_or_is_a_bug_that_changes_nothing),
	cmocka_unit_test(every_state_of_a_mode_is_reached_and_no_other),
	cmocka_unit_test(the_ways_of_the_public_drawing_can_be_gone),
	cmocka_unit_test(a_number_that_is_no_mode_call_or_event_is_a_bug),
	cmocka_unit_test(every_state_call_and_event_has_a_name),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
