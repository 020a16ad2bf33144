/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/txn.h"
#include "tests/lib/test.h"

#include "core/base/util.h"
#include "tests/unit/txn_fake.h"

#include <errno.h>

/* What a transaction means. How it is stepped: test_txn_steps.c. */

static void check_item(const struct fake *fake, size_t i,
		       enum txn_item_state state, int error, uint32_t same_as)
{
	const struct txn_item *item = txn_item(fake->txn, i);

	assert_string_equal(txn_item_state_name(item->state),
			    txn_item_state_name(state));
	assert_int_equal(item->error, error);
	assert_int_equal(item->same_as, same_as);
}

static void three_free_disks_are_locked_verified_and_parked(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE);
	fake_add(&fake, RES_SHARED);
	fake_add(&fake, RES_EXCLUSIVE);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	assert_int_equal(fake.parked, 3);
	assert_int_equal(fake.steps, 4);
	assert_int_equal(fake.did[TXN_DO_CLOSE], 0);
	assert_int_equal(fake.did[TXN_DO_RECALL], 0);
	assert_int_equal(txn_error(fake.txn), 0);
	for (size_t i = 0; i < 3; i++) {
		check_item(&fake, i, TXN_ITEM_HELD, 0, UINT32_MAX);
		assert_int_equal(txn_item(fake.txn, i)->type, RES_TYPE_FILE);
		assert_int_equal(txn_item(fake.txn, i)->id.ino, 1000 + i);
	}
	fake_done(&fake);
}

static void a_guest_without_disks_is_parked_empty(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake_begin(&fake);
	assert_int_equal(fake.n_acts, 1);
	assert_int_equal(fake.acts[0].what, TXN_DO_PARK);
	assert_int_equal(fake.acts[0].item, 0);
	fake_step(&fake);
	assert_int_equal(fake.n_acts, 0);
	assert_int_equal(txn_outcome(fake.txn), TXN_HELD);
	fake_done(&fake);
}

static void every_open_error_is_told_and_nothing_is_locked(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE);
	fake_add(&fake, RES_EXCLUSIVE)->open = -ENOENT;
	fake_add(&fake, RES_EXCLUSIVE);
	fake_add(&fake, RES_SHARED)->open = -EACCES;
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	check_item(&fake, 0, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_FAILED, -ENOENT, UINT32_MAX);
	check_item(&fake, 2, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	check_item(&fake, 3, TXN_ITEM_FAILED, -EACCES, UINT32_MAX);
	assert_int_equal(fake.did[TXN_DO_LOCK], 0);
	assert_int_equal(fake.did[TXN_DO_CLOSE], 2);
	assert_int_equal(txn_error(fake.txn), 0);
	fake_done(&fake);
}

static void what_is_no_disk_is_refused(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE)->not_a_file = _RES_TYPE_NONE + 1;
	fake_add(&fake, RES_EXCLUSIVE);
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	check_item(&fake, 0, TXN_ITEM_FAILED, -EOPNOTSUPP, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	assert_int_equal(fake.did[TXN_DO_LOCK], 0);
	fake_done(&fake);
}

static void files_devices_and_leases_can_be_locked(void **state)
{
	static const enum res_type types[] = { RES_TYPE_FILE, RES_TYPE_BLOCK,
					       RES_TYPE_LEASE };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct fake fake;

		fake_init(&fake, false, 300);
		fake_add(&fake, RES_EXCLUSIVE)->not_a_file = types[i] + 1;
		assert_int_equal(fake_run(&fake), TXN_HELD);
		check_item(&fake, 0, TXN_ITEM_HELD, 0, UINT32_MAX);
		fake_done(&fake);
	}
}

static void a_lease_file_is_locked_like_a_disk(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE)->not_a_file = RES_TYPE_LEASE + 1;
	fake_add(&fake, RES_EXCLUSIVE);
	fake.plan[0].ino = fake.plan[1].ino = 5;
	assert_int_equal(fake_run(&fake), TXN_HELD);
	check_item(&fake, 0, TXN_ITEM_HELD, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_ALREADY, 0, 0);
	assert_int_equal(txn_item(fake.txn, 0)->type, RES_TYPE_LEASE);
	fake_done(&fake);
}

static void one_file_named_twice_is_one_lease_of_the_first(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	fake_add(&fake, RES_SHARED)->ino = 6;
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	fake_add(&fake, RES_SHARED)->ino = 6;
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	assert_int_equal(fake_run(&fake), TXN_HELD);
	check_item(&fake, 0, TXN_ITEM_HELD, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_HELD, 0, UINT32_MAX);
	check_item(&fake, 2, TXN_ITEM_ALREADY, 0, 0);
	check_item(&fake, 3, TXN_ITEM_ALREADY, 0, 1);
	check_item(&fake, 4, TXN_ITEM_ALREADY, 0, 0);
	assert_int_equal(fake.did[TXN_DO_LOCK], 2);
	assert_int_equal(fake.did[TXN_DO_CLOSE], 3);
	assert_int_equal(fake.parked, 2);
	fake_done(&fake);
}

static void the_first_is_the_lowest_index_in_whatever_order_opens_end(
	void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake.backwards = true;
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	assert_int_equal(fake_run(&fake), TXN_HELD);
	check_item(&fake, 0, TXN_ITEM_HELD, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_ALREADY, 0, 0);
	fake_done(&fake);
}

static void one_inode_number_on_two_devices_is_two_files(void **state)
{
	const struct txn_act *acts;
	struct txn_event e[2] = {};
	struct fake fake;
	size_t n;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE);
	fake_add(&fake, RES_EXCLUSIVE);
	fake_begin(&fake);
	for (uint32_t i = 0; i < 2; i++) {
		e[i] = (struct txn_event){ .what = TXN_DO_OPEN,
					   .item = i,
					   .type = RES_TYPE_FILE,
					   .id = { i, 7 } };
	}
	assert_int_equal(txn_step(fake.txn, e, 2, &acts, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(acts[1].what, TXN_DO_LOCK);
	fake_done(&fake);
}

static void one_file_in_two_modes_fails_the_later_one(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE)->ino = 4;
	fake_add(&fake, RES_SHARED)->ino = 5;
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	fake_add(&fake, RES_SHARED)->ino = 5;
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	check_item(&fake, 0, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	check_item(&fake, 2, TXN_ITEM_FAILED, -EEXIST, 1);
	check_item(&fake, 3, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	assert_int_equal(fake.did[TXN_DO_LOCK], 0);
	fake_done(&fake);
}

static void a_living_holder_refuses_all_and_every_conflict_is_told(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE);
	fake_add(&fake, RES_EXCLUSIVE)->busy = FOREVER;
	fake_add(&fake, RES_SHARED)->busy = FOREVER;
	fake_add(&fake, RES_EXCLUSIVE);
	assert_int_equal(fake_run(&fake), TXN_REFUSED);
	check_item(&fake, 0, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_FAILED, -EBUSY, UINT32_MAX);
	check_item(&fake, 2, TXN_ITEM_FAILED, -EBUSY, UINT32_MAX);
	check_item(&fake, 3, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	assert_int_equal(fake.asked[1][TXN_DO_INQUIRE], 1);
	assert_int_equal(fake.asked[2][TXN_DO_INQUIRE], 1);
	assert_int_equal(fake.did[TXN_DO_PAUSE], 0);
	assert_int_equal(fake.did[TXN_DO_CLOSE], 4);
	assert_int_equal(txn_error(fake.txn), 0);
	fake_done(&fake);
}

static void a_living_holder_spares_the_wait_for_a_fading_one(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, false, 300);
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->busy = 1;
	plan->holder = TXN_HOLDER_FADING;
	fake_add(&fake, RES_EXCLUSIVE)->busy = FOREVER;
	assert_int_equal(fake_run(&fake), TXN_REFUSED);
	check_item(&fake, 0, TXN_ITEM_FAILED, -EBUSY, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_FAILED, -EBUSY, UINT32_MAX);
	assert_int_equal(fake.did[TXN_DO_PAUSE], 0);
	fake_done(&fake);
}

static void a_fading_holder_is_waited_for_and_only_its_disk_retried(
	void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE);
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->busy = 4;
	plan->holder = TXN_HOLDER_FADING;
	assert_int_equal(fake_run(&fake), TXN_HELD);
	assert_int_equal(fake.asked[0][TXN_DO_LOCK], 1);
	assert_int_equal(fake.asked[1][TXN_DO_LOCK], 5);
	assert_int_equal(fake.did[TXN_DO_PAUSE], 4);
	assert_int_equal(fake.paused_ms, 1 + 2 + 4 + 8);
	fake_done(&fake);
}

static void pauses_grow_to_50_ms_and_add_up_to_the_grace_time(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, false, 300);
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->busy = FOREVER;
	plan->holder = TXN_HOLDER_FADING;
	assert_int_equal(fake_run(&fake), TXN_REFUSED);
	check_item(&fake, 0, TXN_ITEM_FAILED, -EBUSY, UINT32_MAX);
	assert_int_equal(fake.paused_ms, 300);
	assert_int_equal(fake.longest_pause_ms, 50);
	assert_int_equal(fake.did[TXN_DO_PAUSE], 11);
	assert_int_equal(fake.did[TXN_DO_LOCK], 12);
	fake_done(&fake);
}

static void without_grace_a_fading_holder_refuses_at_once(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, false, 0);
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->busy = 1;
	plan->holder = TXN_HOLDER_FADING;
	assert_int_equal(fake_run(&fake), TXN_REFUSED);
	assert_int_equal(fake.did[TXN_DO_PAUSE], 0);
	fake_done(&fake);
}

static void a_failed_pause_fails_the_transaction(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, false, 300);
	fake.pause = -ECANCELED;
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->busy = 1;
	plan->holder = TXN_HOLDER_FADING;
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	assert_int_equal(txn_error(fake.txn), -ECANCELED);
	check_item(&fake, 0, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	fake_done(&fake);
}

static void what_the_guest_holds_in_the_wanted_mode_is_fine(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, true, 300);
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->busy = FOREVER;
	plan->holder = TXN_HOLDER_SELF;
	fake_add(&fake, RES_EXCLUSIVE);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	check_item(&fake, 0, TXN_ITEM_ALREADY, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_HELD, 0, UINT32_MAX);
	assert_int_equal(fake.asked[0][TXN_DO_CLOSE], 1);
	assert_int_equal(fake.asked[1][TXN_DO_RECALL], 0);
	assert_int_equal(fake.parked, 1);
	fake_done(&fake);
}

static void what_the_guest_holds_in_another_mode_is_an_error(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, true, 300);
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->busy = FOREVER;
	plan->holder = TXN_HOLDER_SELF_OTHER_MODE;
	fake_add(&fake, RES_EXCLUSIVE);
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	check_item(&fake, 0, TXN_ITEM_FAILED, -EEXIST, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	fake_done(&fake);
}

static void a_running_guest_is_asked_for_each_shared_disk_it_may_have(
	void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, true, 300);
	fake_add(&fake, RES_SHARED)->recall_holder = TXN_HOLDER_SELF;
	fake_add(&fake, RES_SHARED)->recall_holder = TXN_HOLDER_NONE;
	fake_add(&fake, RES_EXCLUSIVE);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	check_item(&fake, 0, TXN_ITEM_ALREADY, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_HELD, 0, UINT32_MAX);
	check_item(&fake, 2, TXN_ITEM_HELD, 0, UINT32_MAX);
	assert_int_equal(fake.did[TXN_DO_RECALL], 2);
	assert_int_equal(fake.parked, 2);
	fake_done(&fake);
}

static void a_shared_disk_that_was_fading_is_recalled_after_its_lock(
	void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, true, 300);
	plan = fake_add(&fake, RES_SHARED);
	plan->busy = 2;
	plan->holder = TXN_HOLDER_FADING;
	plan->recall_holder = TXN_HOLDER_SELF_OTHER_MODE;
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	check_item(&fake, 0, TXN_ITEM_FAILED, -EEXIST, UINT32_MAX);
	assert_int_equal(fake.did[TXN_DO_RECALL], 1);
	fake_done(&fake);
}

static void a_failed_lock_still_lets_every_conflict_be_told(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE)->lock = -ENOLCK;
	fake_add(&fake, RES_EXCLUSIVE)->busy = FOREVER;
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->busy = 1;
	plan->holder = TXN_HOLDER_FADING;
	fake_add(&fake, RES_EXCLUSIVE);
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	check_item(&fake, 0, TXN_ITEM_FAILED, -ENOLCK, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_FAILED, -EBUSY, UINT32_MAX);
	check_item(&fake, 2, TXN_ITEM_FAILED, -EBUSY, UINT32_MAX);
	check_item(&fake, 3, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	assert_int_equal(fake.did[TXN_DO_INQUIRE], 2);
	assert_int_equal(fake.did[TXN_DO_PAUSE], 0);
	fake_done(&fake);
}

static void an_inquiry_that_fails_is_that_items_error(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, true, 300);
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->busy = FOREVER;
	plan->inquire = -EPERM;
	fake_add(&fake, RES_SHARED)->recall = -EMFILE;
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	check_item(&fake, 0, TXN_ITEM_FAILED, -EPERM, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_FAILED, -EMFILE, UINT32_MAX);
	fake_done(&fake);
}

static void a_replaced_file_is_opened_and_locked_again(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE);
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->replaced = 8;
	plan->next_ino = 77;
	assert_int_equal(fake_run(&fake), TXN_HELD);
	assert_int_equal(txn_item(fake.txn, 1)->id.ino, 77);
	assert_int_equal(fake.asked[0][TXN_DO_OPEN], 1);
	assert_int_equal(fake.asked[0][TXN_DO_VERIFY], 1);
	assert_int_equal(fake.asked[1][TXN_DO_OPEN], 9);
	assert_int_equal(fake.asked[1][TXN_DO_LOCK], 9);
	assert_int_equal(fake.asked[1][TXN_DO_CLOSE], 8);
	fake_done(&fake);
}

static void a_file_that_is_replaced_again_and_again_is_stale(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE);
	fake_add(&fake, RES_EXCLUSIVE)->replaced = FOREVER;
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	check_item(&fake, 0, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_FAILED, -ESTALE, UINT32_MAX);
	assert_int_equal(fake.asked[1][TXN_DO_OPEN], 9);
	fake_done(&fake);
}

static void a_file_replaced_by_another_disk_of_the_batch_is_merged(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, false, 300);
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->replaced = 1;
	plan->next_ino = 5;
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	assert_int_equal(fake_run(&fake), TXN_HELD);
	check_item(&fake, 0, TXN_ITEM_ALREADY, 0, 1);
	check_item(&fake, 1, TXN_ITEM_HELD, 0, UINT32_MAX);
	fake_done(&fake);
}

static void a_duplicate_whose_own_path_was_replaced_is_locked_itself(
	void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->ino = 5;
	plan->replaced = 1;
	plan->next_ino = 6;
	assert_int_equal(fake_run(&fake), TXN_HELD);
	check_item(&fake, 0, TXN_ITEM_HELD, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_HELD, 0, UINT32_MAX);
	assert_int_equal(txn_item(fake.txn, 1)->id.ino, 6);
	fake_done(&fake);
}

static void a_duplicate_of_a_replaced_file_is_locked_itself(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, false, 300);
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->ino = 5;
	plan->replaced = 1;
	plan->next_ino = 6;
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	assert_int_equal(fake_run(&fake), TXN_HELD);
	check_item(&fake, 0, TXN_ITEM_HELD, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_HELD, 0, UINT32_MAX);
	assert_int_equal(txn_item(fake.txn, 0)->id.ino, 6);
	assert_int_equal(txn_item(fake.txn, 1)->id.ino, 5);
	fake_done(&fake);
}

static void a_path_that_left_the_guests_own_disk_is_locked_itself(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, true, 300);
	plan = fake_add(&fake, RES_EXCLUSIVE);
	plan->busy = 1;
	plan->holder = TXN_HOLDER_SELF;
	plan->replaced = 1;
	plan->next_ino = 6;
	assert_int_equal(fake_run(&fake), TXN_HELD);
	check_item(&fake, 0, TXN_ITEM_HELD, 0, UINT32_MAX);
	assert_int_equal(fake.parked, 1);
	fake_done(&fake);
}

static void a_replaced_shared_file_is_recalled_again(void **state)
{
	struct fake fake;
	struct fake_plan *plan;

	(void)state;
	fake_init(&fake, true, 300);
	plan = fake_add(&fake, RES_SHARED);
	plan->replaced = 1;
	plan->next_ino = 6;
	assert_int_equal(fake_run(&fake), TXN_HELD);
	assert_int_equal(fake.did[TXN_DO_RECALL], 2);
	fake_done(&fake);
}

static void a_verification_that_fails_is_that_items_error(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	fake_add(&fake, RES_EXCLUSIVE)->verify = -EIO;
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	fake.plan[2].verify = -EACCES;
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	check_item(&fake, 0, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	check_item(&fake, 1, TXN_ITEM_FAILED, -EIO, UINT32_MAX);
	check_item(&fake, 2, TXN_ITEM_FAILED, -EACCES, UINT32_MAX);
	assert_int_equal(fake.did[TXN_DO_PARK], 0);
	fake_done(&fake);
}

static void a_failed_park_closes_everything_and_is_the_error(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake.park = -ENOSPC;
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	fake_add(&fake, RES_EXCLUSIVE)->ino = 5;
	fake_add(&fake, RES_SHARED);
	assert_int_equal(fake_run(&fake), TXN_FAILED);
	assert_int_equal(txn_error(fake.txn), -ENOSPC);
	for (size_t i = 0; i < 3; i++)
		check_item(&fake, i, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	fake_done(&fake);
}

static void an_error_of_close_changes_nothing(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE)->busy = FOREVER;
	fake_add(&fake, RES_EXCLUSIVE)->close = -EIO;
	assert_int_equal(fake_run(&fake), TXN_REFUSED);
	check_item(&fake, 1, TXN_ITEM_UNDONE, 0, UINT32_MAX);
	fake_done(&fake);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(three_free_disks_are_locked_verified_and_parked),
	cmocka_unit_test(a_guest_without_disks_is_parked_empty),
	cmocka_unit_test(every_open_error_is_told_and_nothing_is_locked),
	cmocka_unit_test(what_is_no_disk_is_refused),
	cmocka_unit_test(files_devices_and_leases_can_be_locked),
	cmocka_unit_test(a_lease_file_is_locked_like_a_disk),
	cmocka_unit_test(one_file_named_twice_is_one_lease_of_the_first),
	cmocka_unit_test(
		the_first_is_the_lowest_index_in_whatever_order_opens_end),
	cmocka_unit_test(one_inode_number_on_two_devices_is_two_files),
	cmocka_unit_test(one_file_in_two_modes_fails_the_later_one),
	cmocka_unit_test(
		a_living_holder_refuses_all_and_every_conflict_is_told),
	cmocka_unit_test(a_living_holder_spares_the_wait_for_a_fading_one),
	cmocka_unit_test(
		a_fading_holder_is_waited_for_and_only_its_disk_retried),
	cmocka_unit_test(pauses_grow_to_50_ms_and_add_up_to_the_grace_time),
	cmocka_unit_test(without_grace_a_fading_holder_refuses_at_once),
	cmocka_unit_test(a_failed_pause_fails_the_transaction),
	cmocka_unit_test(what_the_guest_holds_in_the_wanted_mode_is_fine),
	cmocka_unit_test(what_the_guest_holds_in_another_mode_is_an_error),
	cmocka_unit_test(
		a_running_guest_is_asked_for_each_shared_disk_it_may_have),
	cmocka_unit_test(
		a_shared_disk_that_was_fading_is_recalled_after_its_lock),
	cmocka_unit_test(a_failed_lock_still_lets_every_conflict_be_told),
	cmocka_unit_test(an_inquiry_that_fails_is_that_items_error),
	cmocka_unit_test(a_replaced_file_is_opened_and_locked_again),
	cmocka_unit_test(a_file_that_is_replaced_again_and_again_is_stale),
	cmocka_unit_test(
		a_file_replaced_by_another_disk_of_the_batch_is_merged),
	cmocka_unit_test(
		a_duplicate_whose_own_path_was_replaced_is_locked_itself),
	cmocka_unit_test(a_duplicate_of_a_replaced_file_is_locked_itself),
	cmocka_unit_test(a_path_that_left_the_guests_own_disk_is_locked_itself),
	cmocka_unit_test(a_replaced_shared_file_is_recalled_again),
	cmocka_unit_test(a_verification_that_fails_is_that_items_error),
	cmocka_unit_test(a_failed_park_closes_everything_and_is_the_error),
	cmocka_unit_test(an_error_of_close_changes_nothing),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
