/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/system/seed_migration.h"

/*
 * "4a. On failure", at each step: the source owns everything again, nobody else
 * has had a disk for a moment, and the next attempt succeeds.
 */

#define HELD_BY_ANOTHER 75
#define MOMENT_MS 50

/* 4a1 */
static void fail_on_target(struct migration *m)
{
	assert_int_equal(peer_ask(m->target, ORDER_IN_CANCEL), 1);
	assert_false(process_is_gone(m->target->guest_pid));
	assert_int_equal(peer_ask(m->target, ORDER_KILL), 1);
	assert_int_equal(peer_ask(m->target, ORDER_SHUTDOWN), 1);
	peer_free(m->target);
	m->target = NULL;
}

/* Daemon and guest at once. */
static void crash_target(struct migration *m)
{
	peer_end_guest(m->target);
	assert_true(seed_becomes_unclaimed(&m->guest.disks));
	peer_free(m->target);
	m->target = NULL;
}

/* 4a2, rightly and as printed */
static void fail_on_source(struct migration *m)
{
	assert_int_equal(peer_ask(m->source, ORDER_OUT_CANCEL), 1);
	assert_int_equal(peer_ask(m->source, ORDER_RESUME), 1);
}

static void fail_on_source_as_printed(struct migration *m)
{
	assert_int_equal(peer_ask(m->source, ORDER_IN_CANCEL), 1);
	assert_int_equal(peer_ask(m->source, ORDER_RESUME), 1);
}

/* Its tries would be in the way of a look at the bytes. */
static void assert_source_owns(struct migration *m)
{
	assert_int_equal(third_party_stop(m->party), 0);
	assert_true(seed_owned(&m->guest.disks));
	assert_false(process_is_gone(m->source->guest_pid));
	m->party = third_party_start(&m->guest.disks);
}

/* What is always so after a failure: all is as if nothing had been tried. */
static void finish(struct migration *m)
{
	assert_source_owns(m);
	migration_begin(m);
	peer_tell(m->target, ORDER_IN);
	assert_int_equal(peer_ask(m->source, ORDER_OUT), 1);
	assert_int_equal(peer_hear(m->target), 1);
	migration_end_source(m);
	migration_free(m);
}

static void test_a_destination_that_no_lock_reaches_is_refused(void **state)
{
	struct migration m = migration_new("far");

	(void)state;
	assert_int_equal(peer_ask(m.source, ORDER_PREPARE_FAR), -EXDEV);
	assert_true(seed_owned(&m.guest.disks));
	finish(&m);
}

static void test_failure_after_prepare(void **state)
{
	struct migration m = migration_new("prepared");

	(void)state;
	migration_prepare(&m);
	fail_on_source(&m);
	finish(&m);
}

/* The supervisor says that the disks are another's, and the guest's program is
   never started; the text would kill it now. */
static void test_no_target_starts_unless_the_source_has_prepared(void **state)
{
	struct migration m = migration_new("unprepared");
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	virLockManagerPtr manager =
		seed_manager(plugin, &m.guest, VIR_LOCK_MANAGER_NEW_MIGRATE);
	pid_t supervisor, child = -1;

	(void)state;
	seed_register(manager, &m.guest.disks);
	supervisor = seed_supervise(manager);
	assert_int_equal(process_wait(supervisor), HELD_BY_ANOTHER);
	glk_manager_set_timeout(manager->glk, MOMENT_MS);
	assert_false(virLockManagerGetChild(manager, &child));
	assert_int_equal(manager->error, -ETIME);
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	finish(&m);
}

static void test_failure_after_the_target_has_started(void **state)
{
	struct migration m = migration_new("started");

	(void)state;
	migration_prepare(&m);
	migration_start_target(&m);
	fail_on_target(&m);
	fail_on_source(&m);
	finish(&m);
}

/* It uses its disks at once; that nobody may claim them any more remains to be
   done while somebody has. */
static void test_failure_that_the_source_hears_of_first(void **state)
{
	struct migration m = migration_new("source-first");

	(void)state;
	migration_prepare(&m);
	migration_start_target(&m);
	fail_on_source(&m);
	migration_locked(&m);
	fail_on_target(&m);
	migration_locked(&m);
	fail_on_source(&m);
	finish(&m);
}

static void test_failure_after_the_source_has_paused(void **state)
{
	struct migration m = migration_new("paused");

	(void)state;
	migration_prepare(&m);
	migration_start_target(&m);
	migration_pause(&m);
	fail_on_target(&m);
	fail_on_source_as_printed(&m);
	finish(&m);
}

static void test_failure_of_a_target_that_waits_in_vain(void **state)
{
	struct migration m = migration_new("in-vain");

	(void)state;
	migration_prepare(&m);
	migration_start_target(&m);
	migration_pause(&m);
	assert_int_equal(peer_ask(m.target, ORDER_HURRY), 1);
	assert_int_equal(peer_ask(m.target, ORDER_IN), -ETIME);
	fail_on_target(&m);
	fail_on_source(&m);
	finish(&m);
}

static void test_failure_after_the_source_has_left(void **state)
{
	struct migration m = migration_new("left");

	(void)state;
	migration_prepare(&m);
	migration_start_target(&m);
	migration_pause(&m);
	assert_int_equal(peer_ask(m.source, ORDER_OUT), 1);
	fail_on_target(&m);
	assert_int_equal(disks_locked(&m.guest.disks), MIGRATION_DISKS);
	fail_on_source(&m);
	finish(&m);
}

static void test_the_printed_in_on_the_source_takes_everything_back(
	void **state)
{
	struct migration m = migration_new("left-printed");

	(void)state;
	migration_prepare(&m);
	migration_start_target(&m);
	migration_pause(&m);
	assert_int_equal(peer_ask(m.source, ORDER_OUT), 1);
	fail_on_target(&m);
	fail_on_source_as_printed(&m);
	finish(&m);
}

static void test_a_target_that_dies_leaves_everything_to_the_source(
	void **state)
{
	struct migration m = migration_new("crash");

	(void)state;
	migration_prepare(&m);
	migration_start_target(&m);
	crash_target(&m);
	fail_on_source(&m);
	assert_source_owns(&m);

	migration_prepare(&m);
	migration_start_target(&m);
	migration_pause(&m);
	assert_int_equal(peer_ask(m.source, ORDER_OUT), 1);
	crash_target(&m);
	assert_int_equal(disks_locked(&m.guest.disks), MIGRATION_DISKS);
	fail_on_source(&m);
	finish(&m);
}

static void test_a_source_does_not_leave_for_nobody(void **state)
{
	struct migration m = migration_new("nobody");

	(void)state;
	assert_int_equal(peer_ask(m.source, ORDER_OUT), -ENODATA);
	migration_prepare(&m);
	assert_int_equal(peer_ask(m.source, ORDER_OUT), -ENOTCONN);
	assert_int_equal(disks_locked(&m.guest.disks), MIGRATION_DISKS);
	fail_on_source(&m);
	finish(&m);
}

static void test_failure_is_too_late_once_the_target_has_arrived(void **state)
{
	struct migration m = migration_new("late");

	(void)state;
	migration_prepare(&m);
	migration_start_target(&m);
	migration_pause(&m);
	assert_int_equal(peer_ask(m.source, ORDER_OUT), 1);
	assert_int_equal(peer_ask(m.target, ORDER_IN), 1);
	assert_int_equal(peer_ask(m.source, ORDER_OUT_CANCEL), -EBUSY);
	assert_int_equal(peer_ask(m.target, ORDER_IN_CANCEL), -EALREADY);
	peer_end_guest(m.source);
	migration_free(&m);
}

#define TEST(_f) cmocka_unit_test_teardown(_f, process_end_all)

static const struct CMUnitTest tests[] = {
	TEST(test_a_destination_that_no_lock_reaches_is_refused),
	TEST(test_failure_after_prepare),
	TEST(test_no_target_starts_unless_the_source_has_prepared),
	TEST(test_failure_after_the_target_has_started),
	TEST(test_failure_that_the_source_hears_of_first),
	TEST(test_failure_after_the_source_has_paused),
	TEST(test_failure_of_a_target_that_waits_in_vain),
	TEST(test_failure_after_the_source_has_left),
	TEST(test_the_printed_in_on_the_source_takes_everything_back),
	TEST(test_a_target_that_dies_leaves_everything_to_the_source),
	TEST(test_a_source_does_not_leave_for_nobody),
	TEST(test_failure_is_too_late_once_the_target_has_arrived),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
