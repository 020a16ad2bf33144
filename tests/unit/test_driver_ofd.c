/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/managed.h"
#include "tests/unit/lib_kit.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <stdio.h>
#include <string.h>

/* The drivers "ofd" and "vm" with real processes; an independent prober looks
   at the locks. */

#define PATIENCE_MS 10000

static const char *disk, *other;

static struct glk_manager *new_on(const char *path, int mode, unsigned uuid)
{
	struct glk_manager *manager =
		managed_new("ofd", mode, guest_uuid(uuid));

	assert_int_equal(managed_register(manager, path, 0), 0);
	return manager;
}

/* A guest that runs, and whose manager is gone. */
static pid_t run_on(const char *path, unsigned uuid)
{
	struct glk_manager *manager = new_on(path, GLK_MANAGER_START, uuid);
	pid_t pid;

	assert_int_equal(glk_manager_set(manager, "epoch", "3"), 0);
	assert_int_equal(glk_manager_acquire(manager), 0);
	pid = managed_start(manager);
	assert_int_equal(glk_manager_started(manager, pid), 0);
	glk_manager_free(manager);
	assert_held(path);
	return pid;
}

static int setup(void **state)
{
	(void)state;
	disk = kit_file("disk", 0);
	other = kit_file("other", 0);
	return 0;
}

static int clean(void **state)
{
	(void)state;
	assert_true(test_becomes_free(disk, PATIENCE_MS));
	assert_true(test_becomes_free(other, PATIENCE_MS));
	return 0;
}

static void locks_live_as_long_as_the_guest_and_not_as_the_manager(void **state)
{
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 1);
	pid_t pid, child = 0;

	(void)state;
	assert_free(disk);
	assert_int_equal(glk_manager_acquire(m), 0);
	assert_held(disk);
	pid = managed_start(m);
	assert_int_equal(glk_manager_started(m, pid), 0);
	assert_string_equal(glk_manager_state(m), "running");
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(child, pid);
	glk_manager_free(m);
	assert_held(disk);
	process_end(pid);
	assert_true(test_becomes_free(disk, PATIENCE_MS));
}

static void what_no_process_was_given_ends_with_the_manager(void **state)
{
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 2);

	(void)state;
	assert_int_equal(glk_manager_acquire(m), 0);
	assert_held(disk);
	assert_int_equal(glk_manager_started(m, 0x7ffffff0), -ESRCH);
	managed_says(m, "no process");
	assert_held(disk);
	glk_manager_free(m);
	assert_free(disk);
}

static int live(void *arg)
{
	(void)arg;
	guest_live();
	return 0;
}

static void nobody_has_inherited_before_somebody_keeps_the_capsule(void **state)
{
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 3);
	pid_t bystander, pid, child = 0;

	(void)state;
	assert_int_equal(glk_manager_acquire(m), 0);
	assert_int_equal(glk_manager_child(m, &child), -ENODATA);
	managed_says(m, "no process has inherited");
	bystander = process_start(live, NULL);
	assert_int_equal(glk_manager_child(m, &child), -ENODATA);
	assert_string_equal(glk_manager_state(m), "held");
	process_end(bystander);
	assert_held(disk);
	pid = managed_start(m);
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(child, pid);
	assert_string_equal(glk_manager_state(m), "running");
	process_end(pid);
	assert_true(test_becomes_free(disk, PATIENCE_MS));
	assert_int_equal(glk_manager_child(m, &child), -ESRCH);
	glk_manager_free(m);
}

static void a_refusal_names_the_guest_that_holds_the_disk(void **state)
{
	pid_t pid = run_on(disk, 4);
	struct glk_manager *m = new_on(other, GLK_MANAGER_START, 5);
	const struct glk_conflict *conflicts = NULL;

	(void)state;
	assert_int_equal(managed_register(m, disk, GLK_DISK_SHARED), 0);
	assert_int_equal(glk_manager_acquire(m), -EBUSY);
	assert_int_equal(glk_manager_conflicts(m, &conflicts), 1);
	assert_int_equal(conflicts[0].pid, pid);
	assert_string_equal(conflicts[0].uuid, guest_uuid(4));
	assert_string_equal(glk_manager_state(m), "new");
	assert_free(other);
	process_end(pid);
	assert_true(test_becomes_free(disk, PATIENCE_MS));
	assert_int_equal(glk_manager_acquire(m), 0);
	assert_held(other);
	glk_manager_free(m);
}

static void a_shutdown_waits_for_the_guest_and_ends_nothing(void **state)
{
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 6);
	pid_t pid;

	(void)state;
	assert_int_equal(glk_manager_acquire(m), 0);
	pid = managed_start(m);
	assert_int_equal(glk_manager_started(m, pid), 0);
	glk_manager_set_timeout(m, 20);
	assert_int_equal(glk_manager_shutdown(m), -ETIME);
	assert_string_equal(glk_manager_state(m), "running");
	assert_held(disk);
	glk_manager_set_timeout(m, 30000);
	process_end(pid);
	assert_int_equal(glk_manager_shutdown(m), 0);
	assert_free(disk);
	assert_string_equal(glk_manager_state(m), "ended");
	glk_manager_free(m);
}

static void a_shutdown_of_what_was_given_to_nobody_releases_it(void **state)
{
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 7);

	(void)state;
	assert_int_equal(glk_manager_acquire(m), 0);
	assert_int_equal(glk_manager_shutdown(m), 0);
	assert_free(disk);
	glk_manager_free(m);
}

static void a_shutdown_does_not_overlook_who_was_not_reported(void **state)
{
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 8);
	pid_t pid;

	(void)state;
	assert_int_equal(glk_manager_acquire(m), 0);
	pid = managed_start(m);
	glk_manager_set_timeout(m, 20);
	assert_int_equal(glk_manager_shutdown(m), -ETIME);
	assert_held(disk);
	glk_manager_set_timeout(m, 30000);
	process_end(pid);
	assert_int_equal(glk_manager_shutdown(m), 0);
	assert_free(disk);
	glk_manager_free(m);
}

static void who_cannot_look_does_not_say_that_nobody_has_inherited(void **state)
{
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 20);
	struct rlimit limit, none;
	pid_t pid, child = 0;

	(void)state;
	assert_int_equal(glk_manager_acquire(m), 0);
	pid = managed_start(m);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ 3, limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(glk_manager_child(m, &child), -EMFILE);
	managed_says(m, "cannot see who has inherited");
	assert_int_equal(glk_manager_shutdown(m), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_string_equal(glk_manager_state(m), "held");
	assert_held(disk);
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(child, pid);
	process_end(pid);
	assert_int_equal(glk_manager_shutdown(m), 0);
	glk_manager_free(m);
}

static int end_at_once(void *arg)
{
	(void)arg;
	return 0;
}

static void a_guest_may_end_before_it_is_reported(void **state)
{
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 21);
	siginfo_t info;
	pid_t pid;

	(void)state;
	assert_int_equal(glk_manager_acquire(m), 0);
	pid = process_start(end_at_once, NULL);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(glk_manager_started(m, pid), 0);
	assert_string_equal(glk_manager_state(m), "running");
	assert_true(test_becomes_free(disk, PATIENCE_MS));
	assert_int_equal(process_wait(pid), 0);
	assert_int_equal(glk_manager_shutdown(m), 0);
	glk_manager_free(m);
}

static void disks_are_plugged_and_unplugged(void **state)
{
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 9);
	pid_t pid;

	(void)state;
	assert_int_equal(glk_manager_acquire(m), 0);
	pid = managed_start(m);
	assert_int_equal(glk_manager_started(m, pid), 0);
	assert_int_equal(managed_plug(m, other), 0);
	assert_held(other);
	assert_int_equal(managed_unplug(m, other), 0);
	assert_free(other);
	assert_int_equal(managed_unplug(m, other), 0);
	assert_held(disk);
	glk_manager_free(m);
	process_end(pid);
}

static struct glk_manager *attach_to(unsigned uuid, int want)
{
	struct glk_manager *m =
		managed_new("ofd", GLK_MANAGER_ATTACH, guest_uuid(uuid));
	pid_t pid = 0;

	assert_int_equal(glk_manager_child(m, &pid), want);
	return m;
}

static void a_guest_is_found_by_another_manager(void **state)
{
	pid_t pid = run_on(disk, 10), child = 0;
	struct glk_manager *m = attach_to(10, 0);

	(void)state;
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(child, pid);
	assert_string_equal(glk_manager_state(m), "running");
	assert_int_equal(managed_plug(m, other), 0);
	assert_held(other);
	process_end(pid);
	assert_int_equal(glk_manager_shutdown(m), 0);
	assert_free(disk);
	assert_free(other);
	glk_manager_free(m);
	glk_manager_free(attach_to(10, -ESRCH));
}

static void a_guest_of_another_pid_or_epoch_is_not_taken(void **state)
{
	static const struct {
		const char *key, *value;
		int error;
		const char *text;
	} cases[] = {
		{ "pid", "1", -ESRCH, "not 1" },
		{ "epoch", "4", -ESTALE, "of epoch 3, not 4" },
		{ "epoch", "3", 0, "" },
	};
	pid_t pid = run_on(disk, 11), child = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct glk_manager *m =
			managed_new("ofd", GLK_MANAGER_ATTACH, guest_uuid(11));

		assert_int_equal(glk_manager_set(m, cases[i].key,
						 cases[i].value),
				 0);
		assert_int_equal(glk_manager_child(m, &child), cases[i].error);
		managed_says(m, cases[i].text);
		assert_string_equal(glk_manager_state(m),
				    cases[i].error ? "new" : "running");
		glk_manager_free(m);
	}
	process_end(pid);
}

static void what_is_missing_or_replaced_is_drift(void **state)
{
	const char *path = kit_file("replaced", 0);
	pid_t pid = run_on(path, 12), child = 0;
	struct glk_manager *m = new_on(other, GLK_MANAGER_ATTACH, 12);

	(void)state;
	assert_int_equal(managed_register(m, path, 0), 0);
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(managed_drift(m, GLK_DRIFT_MISSING, other), 1);
	assert_int_equal(managed_drift(m, GLK_DRIFT_REPLACED, NULL), 0);
	assert_int_equal(unlink(path), 0);
	kit_file("replaced", 0);
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(managed_drift(m, GLK_DRIFT_REPLACED, NULL), 1);
	assert_int_equal(managed_drift(m, GLK_DRIFT_MISSING, other), 1);
	assert_int_equal(managed_drift(m, GLK_DRIFT_LOST, NULL), 0);
	glk_manager_free(m);
	process_end(pid);
}

/* What `guestlock run` does with these arguments, as far as it matters here. */
static int supervise(void *arg)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	char *const *argv = arg;
	struct glk_guest *guest = NULL;

	for (; *argv; argv++) {
		if (!strcmp(*argv, "--uuid"))
			config.uuid = argv[1];
		if (!strcmp(*argv, "--tag"))
			config.tag = strtoull(argv[1], NULL, 16);
	}
	MUST_EQUAL(glk_guest_new(guest_context(), &config, &guest), 0);
	MUST_EQUAL(guest_add(guest, disk, 0), 0);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	guest_become(guest);
}

static void a_supervisor_is_found_by_its_tag(void **state)
{
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 13);
	char *const *argv = NULL;
	/* Another guest of that uuid, which is not the one that was meant. */
	pid_t stray = run_on(other, 13), pid, child = 0;
	int argc = 0;

	(void)state;
	assert_int_equal(glk_manager_supervisor_args(m, &argv, &argc), 0);
	glk_manager_set_timeout(m, 20);
	assert_int_equal(glk_manager_child(m, &child), -ETIME);
	glk_manager_set_timeout(m, 30000);
	pid = process_start(supervise, (void *)argv);
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(child, pid);
	assert_held(disk);
	assert_string_equal(glk_manager_state(m), "running");
	process_end(stray);
	process_end(pid);
	assert_int_equal(glk_manager_shutdown(m), 0);
	glk_manager_free(m);
}

static void a_supervisor_that_has_ended_is_not_waited_for(void **state)
{
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 14);
	pid_t pid = process_start(live, NULL), child = 0;
	char *const *argv = NULL;
	int argc = 0;

	(void)state;
	assert_int_equal(glk_manager_started(m, pid), -ENODATA);
	assert_int_equal(glk_manager_supervisor_args(m, &argv, &argc), 0);
	assert_int_equal(glk_manager_started(m, pid), 0);
	assert_string_equal(glk_manager_state(m), "supervised");
	glk_manager_set_timeout(m, 20);
	assert_int_equal(glk_manager_child(m, &child), -ETIME);
	process_end(pid);
	glk_manager_set_timeout(m, 0);
	assert_int_equal(glk_manager_child(m, &child), -ESRCH);
	managed_says(m, "has ended");
	assert_int_equal(glk_manager_shutdown(m), 0);
	glk_manager_free(m);
}

static void a_policy_is_the_supervisors_too(void **state)
{
	const struct glk_policy policy = { .flags = GLK_POLICY_SKIP_READONLY };
	struct glk_manager *m = new_on(disk, GLK_MANAGER_START, 21);
	const char *iso = kit_file("iso", 0);
	char *const *argv = NULL;
	pid_t pid, child = 0;
	int argc = 0;

	(void)state;
	assert_int_equal(glk_manager_set_policy(m, &policy), 0);
	assert_int_equal(managed_register(m, iso, GLK_DISK_READONLY), 0);
	assert_int_equal(glk_manager_supervisor_args(m, &argv, &argc), 0);
	pid = process_start(supervise, (void *)argv);
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(child, pid);
	assert_held(disk);
	assert_free(iso);
	glk_manager_free(m);

	m = managed_new("ofd", GLK_MANAGER_ATTACH, guest_uuid(21));
	assert_int_equal(managed_register(m, disk, 0), 0);
	assert_int_equal(managed_register(m, iso, GLK_DISK_READONLY), 0);
	assert_int_equal(glk_manager_set_policy(m, &policy), 0);
	assert_int_equal(glk_manager_acquire(m), 0);
	assert_int_equal(managed_drift(m, GLK_DRIFT_MISSING, NULL), 0);
	assert_int_equal(glk_manager_set_policy(m, NULL), 0);
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(managed_drift(m, GLK_DRIFT_MISSING, NULL), 1);
	glk_manager_free(m);
	process_end(pid);
}

static void a_guest_moves_from_one_manager_to_another(void **state)
{
	struct glk_manager *from = new_on(disk, GLK_MANAGER_START, 15), *to;
	pid_t source, destination;

	(void)state;
	to = new_on(disk, GLK_MANAGER_MIGRATE, 15);
	assert_int_equal(glk_manager_acquire(from), 0);
	source = managed_start(from);
	assert_int_equal(glk_manager_started(from, source), 0);
	assert_int_equal(glk_manager_complete_out(from, 0), -ENODATA);
	assert_int_equal(glk_manager_prepare_migrate(from, "localhost"), 0);
	assert_int_equal(glk_manager_complete_out(from, 0), -ENOTCONN);
	assert_int_equal(glk_manager_acquire(to), 0);
	assert_string_equal(glk_manager_state(to), "claimed");
	destination = managed_start(to);
	assert_int_equal(glk_manager_started(to, destination), 0);
	assert_string_equal(glk_manager_state(to), "incoming");
	assert_int_equal(glk_manager_complete_out(from, 0), 0);
	assert_string_equal(glk_manager_state(from), "left");
	assert_int_equal(glk_manager_complete_in(to, 0), 0);
	assert_string_equal(glk_manager_state(to), "running");
	process_end(source);
	assert_held(disk);
	assert_int_equal(glk_manager_complete_in(to, 0), 0);
	assert_int_equal(glk_manager_complete_in(to, GLK_MIGRATE_CANCEL),
			 -EALREADY);
	glk_manager_free(from);
	glk_manager_free(to);
	assert_held(disk);
	process_end(destination);
}

static void both_ends_on_one_host_are_told_apart_by_pid(void **state)
{
	struct glk_manager *to = new_on(disk, GLK_MANAGER_MIGRATE, 16), *found;
	pid_t source = run_on(disk, 16), destination, pid = 0;
	char text[16];

	(void)state;
	found = attach_to(16, 0);
	assert_int_equal(glk_manager_prepare_migrate(found, "localhost"), 0);
	assert_int_equal(glk_manager_acquire(to), 0);
	destination = managed_start(to);
	assert_int_equal(glk_manager_started(to, destination), 0);
	glk_manager_free(found);
	glk_manager_free(to);

	glk_manager_free(attach_to(16, -ENOTUNIQ));
	found = managed_new("ofd", GLK_MANAGER_ATTACH, guest_uuid(16));
	snprintf(text, sizeof(text), "%d", (int)source);
	assert_int_equal(glk_manager_set(found, "pid", text), 0);
	assert_int_equal(glk_manager_child(found, &pid), 0);
	assert_int_equal(pid, source);
	assert_string_equal(glk_manager_state(found), "prepared");
	to = managed_new("ofd", GLK_MANAGER_ATTACH, guest_uuid(16));
	snprintf(text, sizeof(text), "%d", (int)destination);
	assert_int_equal(glk_manager_set(to, "pid", text), 0);
	assert_int_equal(glk_manager_acquire(to), 0);
	assert_string_equal(glk_manager_state(to), "incoming");

	assert_int_equal(glk_manager_complete_in(to, GLK_MIGRATE_CANCEL), 0);
	assert_int_equal(glk_manager_complete_out(found, GLK_MIGRATE_CANCEL),
			 0);
	assert_string_equal(glk_manager_state(found), "running");
	process_end(destination);
	assert_held(disk);
	glk_manager_free(found);
	glk_manager_free(to);
	process_end(source);
}

static void vm_takes_one_lease_and_no_disk(void **state)
{
	struct glk_manager *m =
		managed_new("vm", GLK_MANAGER_START, guest_uuid(17));
	struct glk_manager *again =
		managed_new("vm", GLK_MANAGER_START, guest_uuid(17));
	const char *lease = kit_file(guest_uuid(17), -1);
	pid_t pid, child = 0;

	(void)state;
	assert_int_equal(glk_manager_acquire(m), -EINVAL);
	managed_says(m, "lockspace");
	assert_int_equal(glk_manager_set(m, "lockspace", test_dir()), 0);
	assert_int_equal(glk_manager_set(again, "lockspace", test_dir()), 0);
	assert_int_equal(managed_register(m, disk, 0), 0);
	assert_int_equal(glk_manager_acquire(m), 0);
	assert_held(lease);
	assert_free(disk);
	assert_int_equal(glk_manager_acquire(again), -EBUSY);
	glk_manager_free(again);
	pid = managed_start(m);
	assert_int_equal(glk_manager_started(m, pid), 0);
	assert_int_equal(managed_plug(m, other), 0);
	assert_free(other);
	assert_int_equal(managed_unplug(m, other), 0);
	glk_manager_free(m);

	m = managed_new("vm", GLK_MANAGER_ATTACH, guest_uuid(17));
	assert_int_equal(glk_manager_set(m, "lockspace", "/nowhere"), 0);
	assert_int_equal(managed_register(m, disk, 0), 0);
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(child, pid);
	assert_int_equal(managed_drift(m, GLK_DRIFT_MISSING, NULL), 1);
	process_end(pid);
	assert_int_equal(glk_manager_shutdown(m), 0);
	assert_free(lease);
	glk_manager_free(m);
}

static void nop_locks_nothing_and_knows_what_it_was_told(void **state)
{
	struct glk_manager *m =
		managed_new("nop", GLK_MANAGER_START, guest_uuid(18));
	pid_t pid, child = 0;

	(void)state;
	assert_int_equal(managed_register(m, disk, 0), 0);
	assert_int_equal(glk_manager_acquire(m), 0);
	assert_free(disk);
	pid = managed_start(m);
	assert_int_equal(glk_manager_child(m, &child), -ENODATA);
	assert_int_equal(glk_manager_started(m, 0x7ffffff0), -ESRCH);
	assert_int_equal(glk_manager_started(m, pid), 0);
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(child, pid);
	assert_int_equal(managed_plug(m, other), 0);
	assert_free(other);
	assert_int_equal(glk_manager_prepare_migrate(m, "there"), -EOPNOTSUPP);
	managed_says(m, "driver 'nop' does not support migration");
	glk_manager_set_timeout(m, 20);
	assert_int_equal(glk_manager_shutdown(m), -ETIME);
	process_kill(pid);
	glk_manager_set_timeout(m, 30000);
	assert_int_equal(glk_manager_shutdown(m), 0);
	assert_int_equal(process_wait(pid), 128 + 9);
	glk_manager_free(m);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, NULL, clean)

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(
		locks_live_as_long_as_the_guest_and_not_as_the_manager, setup,
		clean),
	TEST(what_no_process_was_given_ends_with_the_manager),
	TEST(nobody_has_inherited_before_somebody_keeps_the_capsule),
	TEST(a_refusal_names_the_guest_that_holds_the_disk),
	TEST(a_shutdown_waits_for_the_guest_and_ends_nothing),
	TEST(a_shutdown_of_what_was_given_to_nobody_releases_it),
	TEST(a_shutdown_does_not_overlook_who_was_not_reported),
	TEST(who_cannot_look_does_not_say_that_nobody_has_inherited),
	TEST(a_guest_may_end_before_it_is_reported),
	TEST(disks_are_plugged_and_unplugged),
	TEST(a_guest_is_found_by_another_manager),
	TEST(a_guest_of_another_pid_or_epoch_is_not_taken),
	TEST(what_is_missing_or_replaced_is_drift),
	TEST(a_supervisor_is_found_by_its_tag),
	TEST(a_supervisor_that_has_ended_is_not_waited_for),
	TEST(a_policy_is_the_supervisors_too),
	TEST(a_guest_moves_from_one_manager_to_another),
	TEST(both_ends_on_one_host_are_told_apart_by_pid),
	TEST(vm_takes_one_lease_and_no_disk),
	TEST(nop_locks_nothing_and_knows_what_it_was_told),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
