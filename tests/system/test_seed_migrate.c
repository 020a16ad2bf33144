/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/system/seed_migration.h"

/*
 * "During migration", as the text has it, with source and target in processes
 * of their own. The test is the layer above them: it tells each what to do, and
 * looks at the disks between the steps, while a third party tries to take them.
 *
 * 4b1 comes before 4b2 in the text: the target waits for the source.
 */

static void test_a_guest_migrates_in_the_texts_order(void **state)
{
	struct migration m = migration_new("order");

	(void)state;
	migration_begin(&m);
	peer_tell(m.target, ORDER_IN);
	migration_locked(&m);
	peer_tell(m.source, ORDER_OUT);
	assert_int_equal(peer_hear(m.source), 1);
	assert_int_equal(peer_hear(m.target), 1);
	migration_end_source(&m);
	migration_free(&m);
}

static void test_a_guest_migrates_if_the_source_leaves_first(void **state)
{
	struct migration m = migration_new("first");

	(void)state;
	migration_begin(&m);
	assert_int_equal(peer_ask(m.source, ORDER_OUT), 1);
	migration_locked(&m);
	assert_int_equal(peer_ask(m.target, ORDER_IN), 1);
	migration_end_source(&m);
	migration_free(&m);
}

static void test_the_printed_in_on_the_source_lets_it_leave(void **state)
{
	struct migration m = migration_new("printed-in");

	(void)state;
	migration_begin(&m);
	peer_tell(m.target, ORDER_IN);
	peer_tell(m.source, ORDER_IN);
	assert_int_equal(peer_hear(m.source), 1);
	assert_int_equal(peer_hear(m.target), 1);
	migration_end_source(&m);
	migration_free(&m);
}

static void test_each_step_may_be_repeated(void **state)
{
	struct migration m = migration_new("repeated");

	(void)state;
	migration_begin(&m);
	assert_int_equal(peer_ask(m.source, ORDER_PREPARE), 1);
	assert_int_equal(peer_ask(m.source, ORDER_OUT), 1);
	assert_int_equal(peer_ask(m.source, ORDER_OUT), 1);
	assert_int_equal(peer_ask(m.target, ORDER_IN), 1);
	assert_int_equal(peer_ask(m.target, ORDER_IN), 1);
	migration_end_source(&m);
	migration_free(&m);
}

/* A new daemon in place of one that was killed with -9. */
static void restart(struct peer **peer)
{
	struct peer *old = *peer, *young = peer_new(&old->guest);

	young->guest_pid = old->guest_pid;
	peer_free(old);
	assert_int_equal(peer_ask(young, ORDER_FIND), young->guest_pid);
	*peer = young;
}

static void test_both_daemons_may_be_restarted_at_every_step(void **state)
{
	struct migration m = migration_new("restarted");

	(void)state;
	assert_int_equal(peer_ask(m.source, ORDER_PREPARE), 1);
	restart(&m.source);
	m.target = peer_new(&m.guest);
	assert_true(peer_ask(m.target, ORDER_START_TARGET) > 0);
	restart(&m.target);
	restart(&m.source);
	migration_locked(&m);
	assert_int_equal(peer_ask(m.source, ORDER_OUT), 1);
	restart(&m.source);
	restart(&m.target);
	migration_locked(&m);
	assert_int_equal(peer_ask(m.target, ORDER_IN), 1);
	restart(&m.source);
	restart(&m.target);
	migration_end_source(&m);
	migration_free(&m);
}

static void test_a_guest_migrates_there_and_back(void **state)
{
	struct migration m = migration_new("back");
	struct peer *here = m.source;

	(void)state;
	migration_begin(&m);
	assert_int_equal(peer_ask(m.source, ORDER_OUT), 1);
	assert_int_equal(peer_ask(m.target, ORDER_IN), 1);
	migration_end_source(&m);

	m.source = m.target;
	migration_begin(&m);
	peer_tell(m.target, ORDER_IN);
	assert_int_equal(peer_ask(m.source, ORDER_IN), 1);
	assert_int_equal(peer_hear(m.target), 1);
	migration_end_source(&m);
	peer_free(here);
	migration_free(&m);
}

static void test_a_source_that_ends_by_itself_has_left(void **state)
{
	struct migration m = migration_new("ended");

	(void)state;
	migration_begin(&m);
	peer_tell(m.target, ORDER_IN);
	migration_locked(&m);
	peer_end_guest(m.source);
	assert_int_equal(peer_hear(m.target), 1);
	migration_locked(&m);
	assert_true(seed_owned(&m.guest.disks));
	migration_free(&m);
}

#define TEST(_f) cmocka_unit_test_teardown(_f, process_end_all)

static const struct CMUnitTest tests[] = {
	TEST(test_a_guest_migrates_in_the_texts_order),
	TEST(test_a_guest_migrates_if_the_source_leaves_first),
	TEST(test_the_printed_in_on_the_source_lets_it_leave),
	TEST(test_each_step_may_be_repeated),
	TEST(test_both_daemons_may_be_restarted_at_every_step),
	TEST(test_a_guest_migrates_there_and_back),
	TEST(test_a_source_that_ends_by_itself_has_left),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
