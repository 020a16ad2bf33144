/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/txn_states.h"
#include "tests/lib/test.h"

#include "core/base/err.h"
#include "core/lease/items.h"

#include <errno.h>
#include <string.h>

/*
 * The two drawings, written down a second time as matrices: an edge that
 * appears in a table by mistake, or is lost, fails here.
 */
/* clang-format off */
static const char *const phase_matrix[_TXN_PHASE_N] = {
	/* to:                   PLAN OPEN LOCK INQ PAUSE YIELD WAIT REST VERI
	 *                       SHED PARK UNDO HELD REFUSED FAILED */
	[TXN_PHASE_PLAN] =      ".x.........x...",
	[TXN_PHASE_OPENING] =   "..x........x...",
	[TXN_PHASE_LOCKING] =   "..xx....x..x...",
	[TXN_PHASE_INQUIRING] = "..x.xx..x..x...",
	[TXN_PHASE_PAUSING] =   "..x........x...",
	[TXN_PHASE_YIELDING] =  ".x....xx...x...",
	[TXN_PHASE_WAITING] =   "..x..x.....x...",
	[TXN_PHASE_RESTING] =   ".x.........x...",
	[TXN_PHASE_VERIFYING] = ".........xxx...",
	[TXN_PHASE_SHEDDING] =  ".x........xx...",
	[TXN_PHASE_PARKING] =   "...........xx..",
	[TXN_PHASE_UNDOING] =   ".............xx",
	[TXN_PHASE_HELD] =      "...............",
	[TXN_PHASE_REFUSED] =   "...............",
	[TXN_PHASE_FAILED] =    "...............",
};

static const char *const item_matrix[_TXN_ITEM_N] = {
	/* to:                  NEW OPENING OPEN LOCKING BUSY LOCKED VERIFIED
	 *                      HELD ALREADY CLOSING FAILED UNDONE */
	[TXN_ITEM_NEW] =      ".x.........x",
	[TXN_ITEM_OPENING] =  "..x......xx.",
	[TXN_ITEM_OPEN] =     "...x.....x..",
	[TXN_ITEM_LOCKING] =  "....xx...x..",
	[TXN_ITEM_BUSY] =     "..xx.....x..",
	[TXN_ITEM_LOCKED] =   "..x...x..x..",
	[TXN_ITEM_VERIFIED] = "..x....x.x..",
	[TXN_ITEM_HELD] =     "............",
	[TXN_ITEM_ALREADY] =  "...........x",
	[TXN_ITEM_CLOSING] =  "x.......x.xx",
	[TXN_ITEM_FAILED] =   "............",
	[TXN_ITEM_UNDONE] =   "............",
};

/* clang-format on */

static void every_move_between_phases_is_as_drawn(void **state)
{
	(void)state;
	bug_set_fatal(false);
	for (uint8_t from = 0; from < _TXN_PHASE_N; from++) {
		for (uint8_t to = 0; to < _TXN_PHASE_N; to++) {
			bool may = phase_matrix[from][to] == 'x';
			struct sm sm;

			sm_init(&sm, txn_phase_states, _TXN_PHASE_N, from);
			assert_int_equal(sm_move(&sm, to),
					 may ? 0 : -ENOTRECOVERABLE);
			assert_int_equal(sm.state, may ? to : from);
		}
	}
	bug_set_fatal(true);
}

static void one_item(struct items *items, enum txn_item_state state)
{
	*items = (struct items){ .allowed = UINT32_MAX };
	assert_int_equal(items_add(items, "disk", RES_EXCLUSIVE), 0);
	items->slots[0].item.state = state;
	items->count[TXN_ITEM_NEW]--;
	items->count[state]++;
}

static void every_move_of_an_item_is_as_drawn(void **state)
{
	(void)state;
	bug_set_fatal(false);
	for (uint32_t from = 0; from < _TXN_ITEM_N; from++) {
		for (uint32_t to = 0; to < _TXN_ITEM_N; to++) {
			bool may = item_matrix[from][to] == 'x';
			struct items items;

			one_item(&items, (enum txn_item_state)from);
			items_move(&items, &items.slots[0],
				   (enum txn_item_state)to);
			assert_int_equal(items.broken, !may);
			assert_int_equal(items.slots[0].item.state,
					 may ? to : from);
			assert_int_equal(items_present(&items),
					 STATE_BIT(may ? to : from));
			items_done(&items);
		}
	}
	bug_set_fatal(true);
}

static void a_phase_forbids_moves_that_the_item_alone_would_allow(void **state)
{
	struct items items;

	(void)state;
	bug_set_fatal(false);
	one_item(&items, TXN_ITEM_OPEN);
	items.allowed = txn_phase_rules[TXN_PHASE_OPENING].items;
	items_move(&items, &items.slots[0], TXN_ITEM_LOCKING);
	assert_true(items.broken);
	assert_int_equal(items.slots[0].item.state, TXN_ITEM_OPEN);
	items_done(&items);
	bug_set_fatal(true);
}

static void counters_that_do_not_fit_the_states_are_found(void **state)
{
	struct items items;

	(void)state;
	bug_set_fatal(false);
	one_item(&items, TXN_ITEM_OPEN);
	items.count[TXN_ITEM_OPEN] = 0;
	items_move(&items, &items.slots[0], TXN_ITEM_LOCKING);
	assert_true(items.broken);
	items_done(&items);
	bug_set_fatal(true);
}

/* What the rules promise, whatever else they say. */
static void the_rules_keep_all_or_nothing(void **state)
{
	uint32_t open = STATE_BIT(TXN_ITEM_OPENING) | STATE_BIT(TXN_ITEM_OPEN) |
			STATE_BIT(TXN_ITEM_LOCKING) | STATE_BIT(TXN_ITEM_BUSY) |
			STATE_BIT(TXN_ITEM_LOCKED) |
			STATE_BIT(TXN_ITEM_VERIFIED) |
			STATE_BIT(TXN_ITEM_CLOSING);
	uint32_t lost = STATE_BIT(TXN_ITEM_FAILED) | STATE_BIT(TXN_ITEM_UNDONE);

	(void)state;
	assert_int_equal(txn_phase_rules[TXN_PHASE_PARKING].items,
			 STATE_BIT(TXN_ITEM_VERIFIED) |
				 STATE_BIT(TXN_ITEM_HELD) |
				 STATE_BIT(TXN_ITEM_ALREADY));
	assert_int_equal(txn_phase_rules[TXN_PHASE_HELD].items & (open | lost),
			 0);
	assert_int_equal(txn_phase_rules[TXN_PHASE_REFUSED].items, lost);
	assert_int_equal(txn_phase_rules[TXN_PHASE_FAILED].items, lost);
	assert_int_equal(txn_phase_rules[TXN_PHASE_RESTING].items,
			 STATE_BIT(TXN_ITEM_NEW) | STATE_BIT(TXN_ITEM_OPEN));
	for (int p = 0; p < TXN_PHASE_PARKING; p++)
		assert_false(txn_phase_rules[p].items &
			     STATE_BIT(TXN_ITEM_HELD));
}

static void every_phase_and_item_state_has_its_own_name(void **state)
{
	(void)state;
	for (int i = 0; i < _TXN_PHASE_N; i++) {
		assert_non_null(txn_phase_states[i].name);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(txn_phase_states[i].name,
						txn_phase_states[j].name);
	}
	for (int i = 0; i < _TXN_ITEM_N; i++) {
		assert_non_null(txn_item_states[i].name);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(txn_item_states[i].name,
						txn_item_states[j].name);
	}
	assert_string_equal(txn_item_state_name(_TXN_ITEM_N), "?");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_move_between_phases_is_as_drawn),
	cmocka_unit_test(every_move_of_an_item_is_as_drawn),
	cmocka_unit_test(a_phase_forbids_moves_that_the_item_alone_would_allow),
	cmocka_unit_test(counters_that_do_not_fit_the_states_are_found),
	cmocka_unit_test(the_rules_keep_all_or_nothing),
	cmocka_unit_test(every_phase_and_item_state_has_its_own_name),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
