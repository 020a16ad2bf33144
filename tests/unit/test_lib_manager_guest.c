/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/manager_fake.h"

#include <pthread.h>

/* From a guest that is held to one that has ended. */

static void a_guest_is_given_to_its_process(void **state)
{
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_START, MANAGER_HELD);
	pid_t pid = 0;

	(void)state;
	assert_int_equal(glk_manager_inherit(manager), 0);
	fake.result[FAKE_INHERIT] = -EBADF;
	assert_int_equal(glk_manager_inherit(manager), -EBADF);
	fake_says("inherit inherit");
	assert_int_equal(glk_manager_started(manager, 0), -EINVAL);
	assert_int_equal(glk_manager_started(manager, -1), -EINVAL);
	fake_says("");
	fake.result[FAKE_STARTED] = -ESRCH;
	assert_int_equal(glk_manager_started(manager, 12), -ESRCH);
	fake_is(manager, "held");
	fake.result[FAKE_STARTED] = 0;
	assert_int_equal(glk_manager_started(manager, 12), 0);
	fake_is(manager, "running");
	fake_says("started(12) started(12)");
	assert_int_equal(glk_manager_child(manager, &pid), 0);
	assert_int_equal(pid, FAKE_PID);
	fake.result[FAKE_CHILD] = -ESRCH;
	pid = 1;
	assert_int_equal(glk_manager_child(manager, &pid), -ESRCH);
	assert_int_equal(pid, 1);
	fake_is(manager, "running");
	glk_manager_free(manager);
}

static void a_process_that_has_inherited_is_found_without_being_told(
	void **state)
{
	static const struct {
		int mode;
		enum manager_state from;
		const char *to;
	} cases[] = {
		{ GLK_MANAGER_START, MANAGER_HELD, "running" },
		{ GLK_MANAGER_MIGRATE, MANAGER_CLAIMED, "incoming" },
		{ GLK_MANAGER_MIGRATE, MANAGER_HELD, "running" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct glk_manager *manager =
			fake_manager_in(cases[i].mode, cases[i].from);
		pid_t pid = 0;

		fake.result[FAKE_CHILD] = -ENODATA;
		assert_int_equal(glk_manager_child(manager, &pid), -ENODATA);
		assert_int_equal(manager_state(&manager->sm), cases[i].from);
		fake.result[FAKE_CHILD] = 0;
		assert_int_equal(glk_manager_child(manager, &pid), 0);
		assert_int_equal(pid, FAKE_PID);
		fake_is(manager, cases[i].to);
		glk_manager_free(manager);
	}
}

static void the_path_of_a_supervisor_settles_nothing(void **state)
{
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_START, MANAGER_NEW);
	const char *path = NULL, *again = NULL;

	(void)state;
	fake.result[FAKE_SUPERVISOR] = -EMFILE;
	assert_int_equal(glk_manager_supervisor_path(manager, &path), -EMFILE);
	assert_null(path);
	fake.result[FAKE_SUPERVISOR] = 0;
	assert_int_equal(glk_manager_supervisor_path(manager, &path), 0);
	assert_string_equal(path, "/fake/run");
	fake_says("open supervisor() open supervisor()");
	fake_is(manager, "new");
	assert_int_equal(fake.n_open, 0);
	fake_set(manager, "name", "later");
	assert_int_equal(glk_manager_supervisor_path(manager, &again), 0);
	assert_ptr_equal(path, again);
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_string_equal(path, "/fake/run");
	glk_manager_free(manager);
}

static void a_supervisor_gets_all_that_was_registered(void **state)
{
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_START, MANAGER_NEW);
	char *const *argv = NULL, *const *again = NULL;
	const char *path = NULL;
	pid_t pid = 0;
	int argc = 0;

	(void)state;
	fake.result[FAKE_SUPERVISOR] = -EMFILE;
	assert_int_equal(glk_manager_supervisor_args(manager, &argv, &argc),
			 -EMFILE);
	fake_is(manager, "new");
	fake.result[FAKE_SUPERVISOR] = 0;
	assert_int_equal(glk_manager_supervisor_args(manager, &argv, &argc), 0);
	assert_int_equal(argc, 3);
	assert_string_equal(argv[0], "take");
	assert_string_equal(argv[1], "/a");
	assert_string_equal(argv[2], "/space/b");
	assert_null(argv[3]);
	fake_is(manager, "supervised");
	fake.said[0] = '\0';
	assert_int_equal(glk_manager_supervisor_args(manager, &again, &argc),
			 0);
	assert_ptr_equal(again, argv);
	fake_says("");
	assert_int_equal(glk_manager_supervisor_path(manager, &path), 0);
	assert_string_equal(path, "/fake/run");
	fake.said[0] = '\0';
	fake.again = 5;
	assert_int_equal(glk_manager_child(manager, &pid), 0);
	fake_says("supervised(/a /space/b:lease:shared)");
	assert_int_equal(pid, FAKE_PID);
	fake_is(manager, "running");
	glk_manager_free(manager);
}

static void a_supervisor_is_waited_for_up_to_the_time_limit(void **state)
{
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_MIGRATE, MANAGER_SUPERVISED);
	const struct glk_policy patient = { .wait_ms = 4000000000 };
	pid_t pid = 0;

	(void)state;
	fake.again = UINT32_MAX;
	glk_manager_set_timeout(manager, 30);
	assert_int_equal(glk_manager_child(manager, &pid), -ETIME);
	fake_message(manager, "time limit");
	fake_is(manager, "supervised");
	glk_manager_set_timeout(manager, 0);
	assert_int_equal(glk_manager_child(manager, &pid), -ETIME);
	assert_int_equal(glk_manager_set_policy(manager, &patient), 0);
	fake.again = 5;
	fake.result[FAKE_SUPERVISED] = -ESRCH;
	assert_int_equal(glk_manager_child(manager, &pid), -ESRCH);
	assert_int_equal(manager->context->timeout_ms, 0);
	assert_int_equal(glk_manager_set_policy(manager, NULL), 0);
	glk_manager_set_timeout(manager, 30000);
	assert_int_equal(glk_manager_child(manager, &pid), -ESRCH);
	fake_is(manager, "supervised");
	fake.result[FAKE_SUPERVISED] = 0;
	fake.again = 20;
	assert_int_equal(glk_manager_child(manager, &pid), 0);
	fake_is(manager, "incoming");
	assert_int_equal(manager->context->timeout_ms, 30000);
	glk_manager_free(manager);
}

static void *cancel_soon(void *manager)
{
	usleep(20000);
	glk_manager_cancel(manager);
	return NULL;
}

static void a_wait_can_be_cancelled_by_another_thread(void **state)
{
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_START, MANAGER_SUPERVISED);
	pthread_t thread;
	pid_t pid = 0;

	(void)state;
	glk_manager_set_timeout(manager, 60000);
	fake.again = UINT32_MAX;
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, manager),
			 0);
	assert_int_equal(glk_manager_child(manager, &pid), -ECANCELED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	fake_is(manager, "supervised");
	glk_manager_cancel(manager);
	assert_int_equal(glk_manager_shutdown(manager), -ECANCELED);
	fake.again = 0;
	assert_int_equal(glk_manager_shutdown(manager), 0);
	glk_manager_free(manager);
}

static void the_state_follows_from_what_attach_finds(void **state)
{
	static const struct {
		unsigned roles;
		const char *state;
	} cases[] = {
		{ 0, "running" },
		{ 1 << GLK_ROLE_NONE, "running" },
		{ 1 << GLK_ROLE_OWNER, "running" },
		{ 1 << GLK_ROLE_ARRIVED, "running" },
		{ 1 << GLK_ROLE_OWNER | 1 << GLK_ROLE_PREPARED, "prepared" },
		{ 1 << GLK_ROLE_PREPARED | 1 << GLK_ROLE_LEFT, "left" },
		{ 1 << GLK_ROLE_LEFT | 1 << GLK_ROLE_OWNER, "left" },
		{ 1 << GLK_ROLE_INCOMING | 1 << GLK_ROLE_OWNER, "incoming" },
		{ 1 << GLK_ROLE_INCOMING | 1 << GLK_ROLE_ARRIVED, "incoming" },
	};
	struct glk_manager *again =
		fake_manager_in(GLK_MANAGER_ATTACH, MANAGER_RUNNING);
	pid_t pid = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fake.roles = cases[i].roles;
		assert_int_equal(glk_manager_child(again, &pid), 0);
		fake_is(again, cases[i].state);
	}
	glk_manager_free(again);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct glk_manager *manager =
			fake_manager_in(GLK_MANAGER_ATTACH, MANAGER_NEW);

		fake.roles = cases[i].roles;
		assert_int_equal(glk_manager_acquire(manager), 0);
		fake_says("open attach(/a /space/b:lease:shared)");
		fake_is(manager, cases[i].state);
		glk_manager_free(manager);
	}
}

static void drift_is_told_of_the_last_look(void **state)
{
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_ATTACH, MANAGER_NEW);
	const struct glk_drift *drift = NULL;
	pid_t pid = 7;

	(void)state;
	assert_int_equal(glk_manager_drift(manager, &drift), 0);
	fake.drift[0] = (struct glk_drift){ GLK_DRIFT_LOST, "/lost" };
	fake.drift[1] = (struct glk_drift){ GLK_DRIFT_MISSING, "/missing" };
	fake.n_drift = 2;
	fake.result[FAKE_ATTACH] = -ENOLCK;
	assert_int_equal(glk_manager_child(manager, &pid), -ENOLCK);
	assert_int_equal(pid, 7);
	fake_is(manager, "running");
	assert_int_equal(glk_manager_drift(manager, &drift), 2);
	assert_int_equal(drift[0].kind, GLK_DRIFT_LOST);
	assert_string_equal(drift[0].path, "/lost");
	assert_int_equal(drift[1].kind, GLK_DRIFT_MISSING);
	assert_string_equal(drift[1].path, "/missing");
	fake.n_drift = 0;
	fake.result[FAKE_ATTACH] = 0;
	assert_int_equal(glk_manager_child(manager, &pid), 0);
	assert_int_equal(pid, FAKE_PID);
	assert_int_equal(glk_manager_drift(manager, &drift), 0);
	glk_manager_free(manager);
}

static void a_guest_that_is_not_found_can_be_looked_for_again(void **state)
{
	static const int errors[] = { -ESRCH, -ENOTUNIQ, -ESTALE, -EPERM };
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_ATTACH, MANAGER_NEW);
	pid_t pid = 7;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		fake.result[FAKE_ATTACH] = errors[i];
		assert_int_equal(glk_manager_child(manager, &pid), errors[i]);
		assert_int_equal(glk_manager_acquire(manager), errors[i]);
		fake_is(manager, "new");
		assert_int_equal(fake.n_open, 0);
	}
	assert_int_equal(pid, 7);
	fake.result[FAKE_ATTACH] = 0;
	assert_int_equal(glk_manager_acquire(manager), 0);
	fake.result[FAKE_ATTACH] = -ESRCH;
	assert_int_equal(glk_manager_child(manager, &pid), -ESRCH);
	fake_is(manager, "running");
	glk_manager_free(manager);
}

static void what_is_plugged_is_expected_from_then_on(void **state)
{
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_ATTACH, MANAGER_RUNNING);
	const struct glk_resource a = { GLK_RESOURCE_DISK, "//a", 0 };
	const struct glk_resource bad = { GLK_RESOURCE_DISK, "", 0 };
	pid_t pid = 0;

	(void)state;
	assert_int_equal(glk_manager_acquire_resources(manager, &bad, 1),
			 -EINVAL);
	assert_int_equal(glk_manager_release_resources(manager, &bad, 1),
			 -EINVAL);
	fake.result[FAKE_ADD] = -EBUSY;
	assert_int_equal(glk_manager_acquire_resources(manager, &fake_disk, 1),
			 -EBUSY);
	fake.result[FAKE_ADD] = 0;
	assert_int_equal(glk_manager_acquire_resources(manager, &fake_disk, 1),
			 0);
	fake.result[FAKE_REMOVE] = -ETIME;
	assert_int_equal(glk_manager_release_resources(manager, &a, 1), -ETIME);
	fake_says("add(/disk) add(/disk) remove(//a)");
	assert_int_equal(glk_manager_child(manager, &pid), 0);
	fake_says("attach(/a /space/b:lease:shared /disk)");
	fake.result[FAKE_REMOVE] = 0;
	assert_int_equal(glk_manager_release_resources(manager, &a, 1), 0);
	assert_int_equal(glk_manager_release_resources(manager, NULL, 0), 0);
	assert_int_equal(glk_manager_child(manager, &pid), 0);
	fake_says("remove(//a) attach(/space/b:lease:shared /disk)");
	glk_manager_free(manager);
}

static void a_source_may_come_back_from_every_step(void **state)
{
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_START, MANAGER_RUNNING);

	(void)state;
	assert_int_equal(glk_manager_prepare_migrate(manager, ""), -EINVAL);
	assert_int_equal(glk_manager_prepare_migrate(manager, NULL), -EINVAL);
	fake_says("");
	fake.result[FAKE_PREPARE] = -EXDEV;
	assert_int_equal(glk_manager_prepare_migrate(manager, "x"), -EXDEV);
	fake_is(manager, "running");
	fake.result[FAKE_PREPARE] = 0;
	assert_int_equal(glk_manager_prepare_migrate(manager, "x"), 0);
	assert_int_equal(glk_manager_prepare_migrate(manager, "x"), 0);
	fake_is(manager, "prepared");
	assert_int_equal(glk_manager_complete_out(manager, 2), -EINVAL);
	fake.result[FAKE_OUT] = -ENOTCONN;
	assert_int_equal(glk_manager_complete_out(manager, 0), -ENOTCONN);
	fake_is(manager, "prepared");
	fake.result[FAKE_OUT] = 0;
	assert_int_equal(glk_manager_complete_out(manager, 0), 0);
	assert_int_equal(glk_manager_complete_out(manager, 0), 0);
	fake_is(manager, "left");
	fake.result[FAKE_CANCEL] = -EBUSY;
	assert_int_equal(glk_manager_complete_out(manager, GLK_MIGRATE_CANCEL),
			 -EBUSY);
	fake_is(manager, "left");
	fake.result[FAKE_CANCEL] = 0;
	assert_int_equal(glk_manager_complete_out(manager, GLK_MIGRATE_CANCEL),
			 0);
	fake_is(manager, "running");
	fake_says("prepare(x) prepare(x) prepare(x) out out out cancel cancel");
	glk_manager_free(manager);
}

static void a_destination_waits_for_its_supervisor_before_it_arrives(
	void **state)
{
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_MIGRATE, MANAGER_SUPERVISED);

	(void)state;
	assert_int_equal(glk_manager_complete_in(manager, 2), -EINVAL);
	fake.again = 3;
	fake.result[FAKE_IN] = -ETIME;
	assert_int_equal(glk_manager_complete_in(manager, 0), -ETIME);
	fake_is(manager, "incoming");
	fake.result[FAKE_IN] = 0;
	assert_int_equal(glk_manager_complete_in(manager, 0), 0);
	assert_int_equal(glk_manager_complete_in(manager, 0), 0);
	fake_is(manager, "running");
	fake_says("supervised(/a /space/b:lease:shared) in in in");
	glk_manager_free(manager);
}

static void a_destination_is_cancelled_wherever_it_is(void **state)
{
	static const enum manager_state from[] = {
		MANAGER_CLAIMED,
		MANAGER_SUPERVISED,
		MANAGER_INCOMING,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(from); i++) {
		struct glk_manager *manager =
			fake_manager_in(GLK_MANAGER_MIGRATE, from[i]);

		fake.result[FAKE_CANCEL] = -ETIME;
		assert_int_equal(glk_manager_complete_in(manager,
							 GLK_MIGRATE_CANCEL),
				 -ETIME);
		fake.result[FAKE_CANCEL] = 0;
		assert_int_equal(glk_manager_complete_in(manager,
							 GLK_MIGRATE_CANCEL),
				 0);
		fake_is(manager, "cancelled");
		assert_int_equal(glk_manager_complete_in(manager,
							 GLK_MIGRATE_CANCEL),
				 0);
		assert_int_equal(glk_manager_shutdown(manager), 0);
		fake_is(manager, "ended");
		glk_manager_free(manager);
	}
}

static void a_supervisor_that_has_ended_leaves_nothing_to_cancel(void **state)
{
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_MIGRATE, MANAGER_SUPERVISED);

	(void)state;
	fake.result[FAKE_SUPERVISED] = -EPERM;
	assert_int_equal(glk_manager_complete_in(manager, GLK_MIGRATE_CANCEL),
			 -EPERM);
	fake_is(manager, "supervised");
	fake.result[FAKE_SUPERVISED] = -ESRCH;
	assert_int_equal(glk_manager_complete_in(manager, GLK_MIGRATE_CANCEL),
			 0);
	fake_is(manager, "cancelled");
	glk_manager_free(manager);
}

static void a_shutdown_waits_for_the_end(void **state)
{
	struct glk_manager *manager =
		fake_manager_in(GLK_MANAGER_START, MANAGER_RUNNING);

	(void)state;
	fake.again = UINT32_MAX;
	glk_manager_set_timeout(manager, 20);
	assert_int_equal(glk_manager_shutdown(manager), -ETIME);
	fake_is(manager, "running");
	fake.again = 3;
	glk_manager_set_timeout(manager, 30000);
	fake.result[FAKE_SHUTDOWN] = -EBUSY;
	assert_int_equal(glk_manager_shutdown(manager), -EBUSY);
	fake_is(manager, "running");
	fake.result[FAKE_SHUTDOWN] = 0;
	assert_int_equal(glk_manager_shutdown(manager), 0);
	assert_int_equal(glk_manager_shutdown(manager), 0);
	fake_says("shutdown shutdown");
	fake_is(manager, "ended");
	glk_manager_free(manager);
	assert_int_equal(fake.n_open, 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_guest_is_given_to_its_process),
	cmocka_unit_test(
		a_process_that_has_inherited_is_found_without_being_told),
	cmocka_unit_test(the_path_of_a_supervisor_settles_nothing),
	cmocka_unit_test(a_supervisor_gets_all_that_was_registered),
	cmocka_unit_test(a_supervisor_is_waited_for_up_to_the_time_limit),
	cmocka_unit_test(a_wait_can_be_cancelled_by_another_thread),
	cmocka_unit_test(the_state_follows_from_what_attach_finds),
	cmocka_unit_test(drift_is_told_of_the_last_look),
	cmocka_unit_test(a_guest_that_is_not_found_can_be_looked_for_again),
	cmocka_unit_test(what_is_plugged_is_expected_from_then_on),
	cmocka_unit_test(a_source_may_come_back_from_every_step),
	cmocka_unit_test(
		a_destination_waits_for_its_supervisor_before_it_arrives),
	cmocka_unit_test(a_destination_is_cancelled_wherever_it_is),
	cmocka_unit_test(a_supervisor_that_has_ended_leaves_nothing_to_cancel),
	cmocka_unit_test(a_shutdown_waits_for_the_end),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
