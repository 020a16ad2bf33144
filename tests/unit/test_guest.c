/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/guest.h"
#include "tests/lib/test.h"

#include "core/base/err.h"

#include <errno.h>

/* *_CHANGING: with a change under way. */
enum column {
	NEW,
	TAKING,
	HELD,
	RUNNING,
	GONE,
	HELD_CHANGING,
	RUNNING_CHANGING,
	GONE_CHANGING,
	N_COLUMNS,
	BUG = N_COLUMNS,
};

static void drive(struct guest_sm *guest, bool self, enum column column)
{
	static const enum guest_event paths[N_COLUMNS][6] = {
		[TAKING] = { GUEST_EVENT_ACQUIRE, _GUEST_EVENT_N },
		[HELD] = { GUEST_EVENT_ACQUIRE, GUEST_EVENT_TAKEN,
			   _GUEST_EVENT_N },
		[RUNNING] = { GUEST_EVENT_ADOPT, _GUEST_EVENT_N },
		[GONE] = { GUEST_EVENT_ACQUIRE, GUEST_EVENT_TAKEN,
			   GUEST_EVENT_VANISHED, _GUEST_EVENT_N },
		[HELD_CHANGING] = { GUEST_EVENT_ACQUIRE, GUEST_EVENT_TAKEN,
				    GUEST_EVENT_CHANGE_BEGIN, _GUEST_EVENT_N },
		[RUNNING_CHANGING] = { GUEST_EVENT_ADOPT,
				       GUEST_EVENT_CHANGE_BEGIN,
				       _GUEST_EVENT_N },
		[GONE_CHANGING] = { GUEST_EVENT_ACQUIRE, GUEST_EVENT_TAKEN,
				    GUEST_EVENT_CHANGE_BEGIN,
				    GUEST_EVENT_VANISHED, _GUEST_EVENT_N },
	};

	guest_init(guest, self);
	if (column == NEW)
		return;
	for (size_t i = 0; paths[column][i] != _GUEST_EVENT_N; i++)
		assert_int_equal(guest_move(guest, paths[column][i]), 0);
}

static enum column column_of(const struct guest_sm *guest)
{
	if (!guest->changing)
		return (enum column)guest_state(guest);
	return (enum column)(guest_state(guest) - GUEST_HELD + HELD_CHANGING);
}

/* clang-format off */
static const int call_matrix[_GUEST_CALL_N][N_COLUMNS] = {
	[GUEST_CALL_ADD] = { 0, -EALREADY, -EALREADY, -EALREADY, -EALREADY,
		-EALREADY, -EALREADY, -EALREADY },
	[GUEST_CALL_ACQUIRE] = { 0, -EALREADY, -EALREADY, -EALREADY, -EALREADY,
		-EALREADY, -EALREADY, -EALREADY },
	[GUEST_CALL_FD] = { -ENODATA, -ENODATA, 0, -ENODATA, -ENODATA,
		0, -ENODATA, -ENODATA },
	[GUEST_CALL_HAND_OVER] = { -ENODATA, -ENODATA, 0, -ENODATA, -ENODATA,
		-EINPROGRESS, -ENODATA, -ENODATA },
	[GUEST_CALL_ATTACH] = { -ENODATA, -ENODATA, 0, 0, -ESRCH,
		-EINPROGRESS, -EINPROGRESS, -ESRCH },
	[GUEST_CALL_DETACH] = { -ENODATA, -ENODATA, 0, 0, -ESRCH,
		-EINPROGRESS, -EINPROGRESS, -ESRCH },
	[GUEST_CALL_INFO] = { -ENODATA, -ENODATA, 0, 0, -ESRCH,
		0, 0, -ESRCH },
	[GUEST_CALL_PREPARE] = { -ENODATA, -ENODATA, 0, 0, -ESRCH,
		-EINPROGRESS, -EINPROGRESS, -ESRCH },
	[GUEST_CALL_OUT] = { -ENODATA, -ENODATA, 0, 0, -ESRCH,
		-EINPROGRESS, -EINPROGRESS, -ESRCH },
	[GUEST_CALL_IN] = { -ENODATA, -ENODATA, 0, 0, -ESRCH,
		-EINPROGRESS, -EINPROGRESS, -ESRCH },
	[GUEST_CALL_CANCEL] = { -ENODATA, -ENODATA, 0, 0, -ESRCH,
		-EINPROGRESS, -EINPROGRESS, -ESRCH },
	[GUEST_CALL_WAIT] = { -ENODATA, -ENODATA, -ENODATA, 0, 0,
		-ENODATA, -EINPROGRESS, -EINPROGRESS },
};

static const enum column event_matrix[_GUEST_EVENT_N][N_COLUMNS] = {
	[GUEST_EVENT_ACQUIRE] = { TAKING, BUG, BUG, BUG, BUG, BUG, BUG, BUG },
	[GUEST_EVENT_REFUSED] = { BUG, NEW, BUG, BUG, BUG, BUG, BUG, BUG },
	[GUEST_EVENT_TAKEN] = { BUG, HELD, BUG, BUG, BUG, BUG, BUG, BUG },
	[GUEST_EVENT_HANDED_OVER] = { BUG, BUG, RUNNING, BUG, BUG,
		BUG, BUG, BUG },
	[GUEST_EVENT_ADOPT] = { RUNNING, BUG, BUG, BUG, BUG, BUG, BUG, BUG },
	[GUEST_EVENT_CHANGE_BEGIN] = { BUG, BUG, HELD_CHANGING,
		RUNNING_CHANGING, BUG, BUG, BUG, BUG },
	[GUEST_EVENT_CHANGE_END] = { BUG, BUG, BUG, BUG, BUG,
		HELD, RUNNING, GONE },
	[GUEST_EVENT_VANISHED] = { BUG, BUG, GONE, GONE, BUG,
		GONE_CHANGING, GONE_CHANGING, BUG },
};
/* clang-format on */

static void every_call_in_every_state_answers_as_the_header_says(void **state)
{
	struct guest_sm guest;

	(void)state;
	for (int call = 0; call < _GUEST_CALL_N; call++) {
		for (int column = 0; column < N_COLUMNS; column++) {
			drive(&guest, false, (enum column)column);
			assert_int_equal(guest_may(&guest,
						   (enum guest_call)call),
					 call_matrix[call][column]);
			assert_int_equal(column_of(&guest), column);
		}
	}
}

static void every_event_moves_or_is_a_bug_that_changes_nothing(void **state)
{
	(void)state;
	bug_set_fatal(false);
	for (int event = 0; event < _GUEST_EVENT_N; event++) {
		for (int column = 0; column < N_COLUMNS; column++) {
			enum column to = event_matrix[event][column];
			struct guest_sm guest;
			int r;

			drive(&guest, false, (enum column)column);
			r = guest_move(&guest, (enum guest_event)event);
			assert_int_equal(r, to == BUG ? -ENOTRECOVERABLE : 0);
			if (to == BUG)
				to = (enum column)column;
			assert_int_equal(column_of(&guest), to);
		}
	}
	bug_set_fatal(true);
}

static void a_self_held_guest_can_change_but_is_never_handed_over(void **state)
{
	struct guest_sm guest;

	(void)state;
	bug_set_fatal(false);
	drive(&guest, true, HELD);
	assert_int_equal(guest_may(&guest, GUEST_CALL_HAND_OVER), -EOPNOTSUPP);
	assert_int_equal(guest_move(&guest, GUEST_EVENT_HANDED_OVER),
			 -ENOTRECOVERABLE);
	assert_int_equal(guest_state(&guest), GUEST_HELD);
	assert_int_equal(guest_may(&guest, GUEST_CALL_ATTACH), 0);
	assert_int_equal(guest_may(&guest, GUEST_CALL_DETACH), 0);
	assert_int_equal(guest_may(&guest, GUEST_CALL_WAIT), -EOPNOTSUPP);
	assert_int_equal(guest_move(&guest, GUEST_EVENT_CHANGE_BEGIN), 0);
	assert_int_equal(guest_move(&guest, GUEST_EVENT_CHANGE_END), 0);
	drive(&guest, true, GONE);
	assert_int_equal(guest_may(&guest, GUEST_CALL_WAIT), -EOPNOTSUPP);
	assert_int_equal(guest_may(&guest, GUEST_CALL_HAND_OVER), -EOPNOTSUPP);
	drive(&guest, true, NEW);
	assert_int_equal(guest_may(&guest, GUEST_CALL_HAND_OVER), -ENODATA);
	assert_int_equal(guest_may(&guest, GUEST_CALL_WAIT), -ENODATA);
	assert_int_equal(guest_move(&guest, GUEST_EVENT_ADOPT),
			 -ENOTRECOVERABLE);
	bug_set_fatal(true);
}

static void a_refused_guest_may_name_other_disks_and_try_again(void **state)
{
	struct guest_sm guest;

	(void)state;
	drive(&guest, false, TAKING);
	assert_int_equal(guest_move(&guest, GUEST_EVENT_REFUSED), 0);
	assert_int_equal(guest_may(&guest, GUEST_CALL_ADD), 0);
	assert_int_equal(guest_may(&guest, GUEST_CALL_ACQUIRE), 0);
	assert_int_equal(guest_may(&guest, GUEST_CALL_FD), -ENODATA);
}

static void a_number_that_is_no_call_or_event_is_a_bug(void **state)
{
	struct guest_sm guest;

	(void)state;
	bug_set_fatal(false);
	drive(&guest, false, HELD);
	assert_int_equal(guest_may(&guest, _GUEST_CALL_N), -ENOTRECOVERABLE);
	assert_int_equal(guest_move(&guest, _GUEST_EVENT_N), -ENOTRECOVERABLE);
	bug_set_fatal(true);
}

static void every_state_call_and_event_has_a_name(void **state)
{
	(void)state;
	for (int i = 0; i < _GUEST_STATE_N; i++)
		assert_string_not_equal(guest_state_name((enum guest_state)i),
					"?");
	for (int i = 0; i < _GUEST_CALL_N; i++)
		assert_string_not_equal(guest_call_name((enum guest_call)i),
					"?");
	for (int i = 0; i < _GUEST_EVENT_N; i++)
		assert_string_not_equal(guest_event_name((enum guest_event)i),
					"?");
	assert_string_equal(guest_state_name(_GUEST_STATE_N), "?");
	assert_string_equal(guest_call_name(_GUEST_CALL_N), "?");
	assert_string_equal(guest_event_name(_GUEST_EVENT_N), "?");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_call_in_every_state_answers_as_the_header_says),
	cmocka_unit_test(every_event_moves_or_is_a_bug_that_changes_nothing),
	cmocka_unit_test(a_self_held_guest_can_change_but_is_never_handed_over),
	cmocka_unit_test(a_refused_guest_may_name_other_disks_and_try_again),
	cmocka_unit_test(a_number_that_is_no_call_or_event_is_a_bug),
	cmocka_unit_test(every_state_call_and_event_has_a_name),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
