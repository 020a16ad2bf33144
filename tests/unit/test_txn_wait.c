/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/txn.h"
#include "tests/lib/test.h"

#include "core/base/util.h"
#include "tests/unit/txn_fake.h"

#include <errno.h>

/*
 * A transaction that waits. The fake driver checks at each WAIT that nothing is
 * locked that comes after what is waited for, and at each REST that nothing is.
 */

static struct fake_plan *add(struct fake *fake, uint64_t ino, unsigned busy)
{
	struct fake_plan *plan = fake_add(fake, RES_EXCLUSIVE);

	plan->ino = ino;
	plan->busy = busy;
	return plan;
}

static void check_locks(const struct fake *fake, size_t i, unsigned unlocks,
			unsigned locks, unsigned waits)
{
	assert_int_equal(fake->asked[i][TXN_DO_UNLOCK], unlocks);
	assert_int_equal(fake->asked[i][TXN_DO_LOCK], locks);
	assert_int_equal(fake->asked[i][TXN_DO_WAIT], waits);
}

static void what_is_free_is_taken_without_a_wait(void **state)
{
	struct fake fake;

	(void)state;
	fake_init_waiting(&fake, false);
	add(&fake, 2, 0);
	add(&fake, 1, 0);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	assert_int_equal(fake.steps, 4);
	assert_int_equal(fake.did[TXN_DO_WAIT], 0);
	assert_int_equal(fake.did[TXN_DO_UNLOCK], 0);
	fake_done(&fake);
}

static void what_comes_after_a_busy_disk_is_given_back_meanwhile(void **state)
{
	struct fake fake;

	(void)state;
	fake_init_waiting(&fake, false);
	add(&fake, 9, 0);
	add(&fake, 5, FOREVER);
	add(&fake, 1, 0);
	add(&fake, 7, 0);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	check_locks(&fake, 0, 1, 2, 0);
	check_locks(&fake, 1, 0, 1, 1);
	check_locks(&fake, 2, 0, 1, 0);
	check_locks(&fake, 3, 1, 2, 0);
	assert_int_equal(fake.parked, 4);
	assert_int_equal(fake.did[TXN_DO_CLOSE], 0);
	assert_int_equal(fake.did[TXN_DO_INQUIRE], 0);
	fake_done(&fake);
}

static void busy_disks_are_waited_for_in_their_order(void **state)
{
	struct fake fake;

	(void)state;
	fake_init_waiting(&fake, false);
	add(&fake, 30, FOREVER);
	add(&fake, 10, FOREVER);
	add(&fake, 20, FOREVER);
	fake_run_to(&fake, TXN_DO_WAIT);
	for (size_t i = 0; i < 3; i++) {
		static const uint32_t order[] = { 1, 2, 0 };

		while (fake.acts[0].what != TXN_DO_WAIT)
			fake_step(&fake);
		assert_int_equal(fake.n_acts, 1);
		assert_int_equal(fake.acts[0].item, order[i]);
		fake_step(&fake);
	}
	while (fake.n_acts)
		fake_step(&fake);
	assert_int_equal(txn_outcome(fake.txn), TXN_HELD);
	assert_int_equal(fake.did[TXN_DO_WAIT], 3);
	assert_int_equal(fake.did[TXN_DO_UNLOCK], 0);
	fake_done(&fake);
}

/* Of two hosts that share files, each has device numbers of its own. */
static void the_order_is_by_inode_number_and_then_by_device(void **state)
{
	struct res_id a = { 9, 1 }, b = { 1, 2 }, c = { 2, 2 };

	(void)state;
	assert_true(res_id_before(a, b));
	assert_true(res_id_before(b, c));
	assert_false(res_id_before(b, a));
	assert_false(res_id_before(c, b));
	assert_false(res_id_before(a, a));
}

/* Somebody takes a later disk while an earlier one is waited for. */
static void a_disk_that_becomes_busy_meanwhile_is_waited_for_next(void **state)
{
	struct fake fake;

	(void)state;
	fake_init_waiting(&fake, false);
	add(&fake, 1, FOREVER);
	add(&fake, 2, 0);
	add(&fake, 3, 0);
	fake_run_to(&fake, TXN_DO_WAIT);
	fake.plan[1].busy = 1;
	while (fake.n_acts)
		fake_step(&fake);
	assert_int_equal(txn_outcome(fake.txn), TXN_HELD);
	check_locks(&fake, 0, 0, 1, 1);
	check_locks(&fake, 1, 1, 2, 1);
	check_locks(&fake, 2, 2, 3, 0);
	fake_done(&fake);
}

static void a_wait_in_vain_looks_anew_with_the_earlier_locks_in_hand(
	void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init_waiting(&fake, false);
	add(&fake, 1, 0);
	plan = add(&fake, 2, 2);
	plan->waits[0] = TXN_AGAIN;
	add(&fake, 3, 0);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	/* Alone, since whoever waits keeps its hands off what is behind. */
	check_locks(&fake, 0, 0, 1, 0);
	check_locks(&fake, 1, 0, 2, 2);
	check_locks(&fake, 2, 1, 2, 0);
	assert_int_equal(fake.asked[1][TXN_DO_CLOSE], 1);
	assert_int_equal(fake.asked[1][TXN_DO_OPEN], 2);
	assert_int_equal(fake.did[TXN_DO_REST], 0);
	fake_done(&fake);
}

static void a_file_replaced_while_it_was_waited_for_is_found(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init_waiting(&fake, false);
	plan = add(&fake, 5, 1);
	plan->waits[0] = TXN_AGAIN;
	plan->next_ino = 1;
	add(&fake, 3, 0);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	assert_int_equal(txn_item(fake.txn, 0)->id.ino, 1);
	check_locks(&fake, 0, 0, 2, 1);
	check_locks(&fake, 1, 0, 1, 0);
	fake_done(&fake);
}

static void a_file_replaced_by_an_earlier_busy_one_gives_back_more(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init_waiting(&fake, false);
	plan = add(&fake, 5, FOREVER);
	plan->waits[0] = TXN_AGAIN;
	plan->next_ino = 1;
	add(&fake, 3, 0);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	check_locks(&fake, 0, 0, 2, 2);
	check_locks(&fake, 1, 1, 2, 0);
	fake_done(&fake);
}

static void a_file_replaced_by_a_disk_that_is_locked_needs_no_lock(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init_waiting(&fake, false);
	plan = add(&fake, 5, FOREVER);
	plan->waits[0] = TXN_AGAIN;
	plan->next_ino = 3;
	add(&fake, 3, 0);
	add(&fake, 7, 0);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	assert_int_equal(txn_item(fake.txn, 0)->same_as, 1);
	assert_int_equal(txn_item(fake.txn, 0)->state, TXN_ITEM_ALREADY);
	assert_int_equal(fake.parked, 2);
	check_locks(&fake, 2, 1, 2, 0);
	fake_done(&fake);
}

/* However often it happens: each time somebody else had it before. */
static void replaced_after_each_wait_is_not_stale(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init_waiting(&fake, false);
	plan = add(&fake, 5, FOREVER);
	plan->replaced = 30;
	add(&fake, 6, 0);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	assert_int_equal(fake.asked[0][TXN_DO_OPEN], 31);
	fake_done(&fake);
}

/* The second round: one is verified, the other was replaced and is busy. */
static void what_was_verified_is_given_back_and_verified_again(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init_waiting(&fake, false);
	plan = add(&fake, 5, 0);
	plan->replaced = 1;
	plan->next_ino = 4;
	add(&fake, 8, 0);
	add(&fake, 8, 0);
	add(&fake, 2, 0);
	fake_run_to(&fake, TXN_DO_CLOSE);
	fake.plan[0].busy = FOREVER;
	while (fake.n_acts)
		fake_step(&fake);
	assert_int_equal(txn_outcome(fake.txn), TXN_HELD);
	check_locks(&fake, 0, 0, 2, 1);
	check_locks(&fake, 1, 1, 2, 0);
	assert_int_equal(fake.asked[1][TXN_DO_VERIFY], 2);
	assert_int_equal(fake.asked[2][TXN_DO_VERIFY], 2);
	assert_int_equal(fake.asked[3][TXN_DO_VERIFY], 1);
	assert_int_equal(txn_item(fake.txn, 2)->same_as, 1);
	fake_done(&fake);
}

/* A duplicate before the item that it duplicates, as a replacement makes it:
   when that one's lock is given back, one of the two is locked again. */
static void of_two_duplicates_one_is_always_locked(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init_waiting(&fake, false);
	plan = add(&fake, 5, 0);
	plan->replaced = 1;
	plan->next_ino = 8;
	plan = add(&fake, 3, 0);
	plan->replaced = 1;
	plan->next_ino = 4;
	add(&fake, 8, 0);
	fake_run_to(&fake, TXN_DO_CLOSE);
	plan->busy = FOREVER;
	plan->waits[0] = TXN_AGAIN;
	while (fake.n_acts)
		fake_step(&fake);
	assert_int_equal(txn_outcome(fake.txn), TXN_HELD);
	assert_int_equal(fake.parked, 2);
	assert_int_equal(txn_item(fake.txn, 0)->state, TXN_ITEM_HELD);
	assert_int_equal(txn_item(fake.txn, 2)->same_as, 0);
	fake_done(&fake);
}

static void where_no_lock_can_be_waited_for_it_rests_with_nothing(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init_waiting(&fake, false);
	add(&fake, 1, 0);
	plan = add(&fake, 2, 3);
	for (size_t i = 0; i < 3; i++)
		plan->waits[i] = TXN_BUSY;
	add(&fake, 3, 0);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	assert_int_equal(fake.did[TXN_DO_REST], 3);
	assert_int_equal(fake.rested_ms, 1 + 2 + 4);
	check_locks(&fake, 0, 1, 2, 0);
	check_locks(&fake, 1, 0, 4, 3);
	check_locks(&fake, 2, 1, 2, 0);
	fake_done(&fake);
}

static void a_rest_that_fails_fails_the_transaction(void **state)
{
	struct fake fake;

	(void)state;
	fake_init_waiting(&fake, false);
	fake.rest = -ECANCELED;
	add(&fake, 1, FOREVER)->waits[0] = TXN_BUSY;
	add(&fake, 2, 0);
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	assert_int_equal(txn_error(fake.txn), -ECANCELED);
	fake_done(&fake);
}

static void check_refused(struct fake *fake)
{
	assert_int_equal(txn_outcome(fake->txn), TXN_REFUSED);
	assert_int_equal(txn_error(fake->txn), 0);
	for (size_t i = 0; i < 3; i++) {
		bool busy = fake->plan[i].busy > 0;

		assert_int_equal(txn_item(fake->txn, i)->error,
				 busy ? -EBUSY : 0);
		assert_int_equal(fake->asked[i][TXN_DO_INQUIRE], busy);
	}
}

/* Also those that nobody waited for. */
static void when_the_time_is_over_every_conflict_is_told(void **state)
{
	struct fake fake;

	(void)state;
	fake_init_waiting(&fake, false);
	add(&fake, 2, FOREVER);
	add(&fake, 1, FOREVER)->waits[0] = TXN_LATE;
	add(&fake, 3, 0);
	assert_int_equal(fake_run(&fake), TXN_REFUSED);
	check_refused(&fake);
	assert_int_equal(fake.did[TXN_DO_WAIT], 1);
	fake_done(&fake);
}

static void when_the_time_for_rests_is_over_every_conflict_is_told(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init_waiting(&fake, false);
	fake.late_after = 2;
	add(&fake, 3, 0);
	plan = add(&fake, 2, FOREVER);
	plan->waits[0] = plan->waits[1] = TXN_BUSY;
	add(&fake, 4, FOREVER);
	assert_int_equal(fake_run(&fake), TXN_REFUSED);
	check_refused(&fake);
	assert_int_equal(fake.did[TXN_DO_REST], 2);
	fake_done(&fake);
}

static void what_is_free_in_the_last_round_is_had(void **state)
{
	struct fake fake;

	(void)state;
	fake_init_waiting(&fake, false);
	add(&fake, 1, 1)->waits[0] = TXN_LATE;
	add(&fake, 2, 0);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	assert_int_equal(fake.did[TXN_DO_INQUIRE], 0);
	fake_done(&fake);
}

static void what_the_guest_holds_is_not_waited_for(void **state)
{
	struct fake fake;

	(void)state;
	fake_init_waiting(&fake, true);
	add(&fake, 1, FOREVER)->recall_holder = TXN_HOLDER_SELF;
	add(&fake, 2, 0);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	assert_int_equal(fake.did[TXN_DO_WAIT], 0);
	assert_int_equal(txn_item(fake.txn, 0)->state, TXN_ITEM_ALREADY);
	fake_done(&fake);

	fake_init_waiting(&fake, true);
	add(&fake, 1, FOREVER)->recall_holder = TXN_HOLDER_SELF_OTHER_MODE;
	add(&fake, 2, FOREVER);
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	assert_int_equal(fake.did[TXN_DO_WAIT], 0);
	assert_int_equal(txn_item(fake.txn, 0)->error, -EEXIST);
	fake_done(&fake);
}

/* Another process attaches it to the same guest. */
static void what_the_guest_gets_meanwhile_is_found_after_a_while(void **state)
{
	struct fake fake;

	(void)state;
	fake_init_waiting(&fake, true);
	add(&fake, 1, FOREVER)->waits[0] = TXN_AGAIN;
	add(&fake, 2, FOREVER);
	fake_run_to(&fake, TXN_DO_WAIT);
	fake.plan[0].recall_holder = TXN_HOLDER_SELF;
	while (fake.n_acts)
		fake_step(&fake);
	assert_int_equal(txn_outcome(fake.txn), TXN_HELD);
	assert_int_equal(txn_item(fake.txn, 0)->state, TXN_ITEM_ALREADY);
	check_locks(&fake, 0, 0, 2, 1);
	check_locks(&fake, 1, 0, 2, 1);
	fake_done(&fake);
}

static void a_shared_disk_is_recalled_after_its_wait(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init_waiting(&fake, true);
	plan = fake_add(&fake, RES_SHARED);
	plan->busy = FOREVER;
	fake_run_to(&fake, TXN_DO_WAIT);
	plan->recall_holder = TXN_HOLDER_SELF;
	while (fake.n_acts)
		fake_step(&fake);
	assert_int_equal(txn_outcome(fake.txn), TXN_HELD);
	assert_int_equal(txn_item(fake.txn, 0)->state, TXN_ITEM_ALREADY);
	fake_done(&fake);
}

static void nobody_waits_if_it_cannot_succeed_anyway(void **state)
{
	struct fake fake;

	(void)state;
	fake_init_waiting(&fake, false);
	add(&fake, 1, FOREVER);
	add(&fake, 2, 0)->lock = -ENOLCK;
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	assert_int_equal(fake.did[TXN_DO_WAIT], 0);
	assert_int_equal(txn_item(fake.txn, 0)->error, -EBUSY);
	assert_int_equal(fake.asked[0][TXN_DO_INQUIRE], 1);
	fake_done(&fake);
}

static void an_unlock_or_a_wait_that_fails_is_that_items_error(void **state)
{
	struct fake fake;

	(void)state;
	fake_init_waiting(&fake, false);
	add(&fake, 1, FOREVER);
	add(&fake, 2, 0)->unlock = -EIO;
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	assert_int_equal(fake.did[TXN_DO_WAIT], 0);
	assert_int_equal(txn_item(fake.txn, 1)->error, -EIO);
	fake_done(&fake);

	fake_init_waiting(&fake, false);
	add(&fake, 1, FOREVER)->waits[0] = -ENOLCK;
	add(&fake, 2, 0);
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	assert_int_equal(txn_item(fake.txn, 0)->error, -ENOLCK);
	assert_int_equal(txn_item(fake.txn, 1)->state, TXN_ITEM_UNDONE);
	fake_done(&fake);
}

static void a_file_that_is_gone_after_a_wait_is_an_error(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init_waiting(&fake, false);
	add(&fake, 1, 0);
	plan = add(&fake, 2, FOREVER);
	plan->waits[0] = TXN_AGAIN;
	fake_run_to(&fake, TXN_DO_WAIT);
	plan->open = -ENOENT;
	while (fake.n_acts)
		fake_step(&fake);
	assert_int_equal(txn_outcome(fake.txn), TXN_FAILED);
	assert_int_equal(txn_item(fake.txn, 1)->error, -ENOENT);
	assert_int_equal(txn_item(fake.txn, 0)->state, TXN_ITEM_UNDONE);
	fake_done(&fake);
}

#define TEST(_f) cmocka_unit_test(_f)

static const struct CMUnitTest tests[] = {
	TEST(what_is_free_is_taken_without_a_wait),
	TEST(what_comes_after_a_busy_disk_is_given_back_meanwhile),
	TEST(busy_disks_are_waited_for_in_their_order),
	TEST(the_order_is_by_inode_number_and_then_by_device),
	TEST(a_disk_that_becomes_busy_meanwhile_is_waited_for_next),
	TEST(a_wait_in_vain_looks_anew_with_the_earlier_locks_in_hand),
	TEST(a_file_replaced_while_it_was_waited_for_is_found),
	TEST(a_file_replaced_by_an_earlier_busy_one_gives_back_more),
	TEST(a_file_replaced_by_a_disk_that_is_locked_needs_no_lock),
	TEST(replaced_after_each_wait_is_not_stale),
	TEST(what_was_verified_is_given_back_and_verified_again),
	TEST(of_two_duplicates_one_is_always_locked),
	TEST(where_no_lock_can_be_waited_for_it_rests_with_nothing),
	TEST(a_rest_that_fails_fails_the_transaction),
	TEST(when_the_time_is_over_every_conflict_is_told),
	TEST(when_the_time_for_rests_is_over_every_conflict_is_told),
	TEST(what_is_free_in_the_last_round_is_had),
	TEST(what_the_guest_holds_is_not_waited_for),
	TEST(what_the_guest_gets_meanwhile_is_found_after_a_while),
	TEST(a_shared_disk_is_recalled_after_its_wait),
	TEST(nobody_waits_if_it_cannot_succeed_anyway),
	TEST(an_unlock_or_a_wait_that_fails_is_that_items_error),
	TEST(a_file_that_is_gone_after_a_wait_is_an_error),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
