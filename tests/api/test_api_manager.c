/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/test.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <guestlock.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/*
 * As test_api.c, for the calls of guestlock/manager.h: each is made, and its
 * effect looked for in the kernel.
 */
#define IMAGE_SIZE (1 << 20)

static const char *own_uuid(unsigned which)
{
	static char uuids[8][37];

	snprintf(uuids[which], sizeof(uuids[which]),
		 "6ba7b810-9dad-41d1-81b%x-%012x", which, (unsigned)getpid());
	return uuids[which];
}

static struct glk_driver *load(const char *name)
{
	struct glk_driver *driver = NULL;

	assert_int_equal(glk_driver_load(name, &driver), 0);
	assert_string_equal(glk_driver_name(driver), name);
	return driver;
}

static struct glk_manager *new_manager(struct glk_driver *driver, int mode,
				       unsigned which)
{
	struct glk_manager *manager = NULL;

	assert_int_equal(glk_manager_new(driver, GLK_OBJECT_DOMAIN, mode,
					 &manager),
			 0);
	glk_manager_set_timeout(manager, 20000);
	assert_int_equal(glk_manager_set(manager, "uuid", own_uuid(which)), 0);
	assert_int_equal(glk_manager_set(manager, "name", "managed"), 0);
	assert_int_equal(glk_manager_set(manager, "id", "7"), 0);
	assert_string_equal(glk_manager_state(manager), "new");
	return manager;
}

static int add(struct glk_manager *manager, const char *path, unsigned flags)
{
	struct glk_resource resource = { GLK_RESOURCE_DISK, path, flags };

	return glk_manager_register(manager, &resource, 1);
}

static int plug(struct glk_manager *manager, const char *path)
{
	struct glk_resource resource = { GLK_RESOURCE_DISK, path, 0 };

	return glk_manager_acquire_resources(manager, &resource, 1);
}

static int unplug(struct glk_manager *manager, const char *path)
{
	struct glk_resource resource = { GLK_RESOURCE_DISK, path, 0 };

	return glk_manager_release_resources(manager, &resource, 1);
}

/* However this program ends, its guests do so with it. */
static pid_t fork_guest(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* A guest process that has exec'ed and inherited. */
static pid_t start(struct glk_manager *manager)
{
	int ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork_guest();
	if (pid == 0) {
		if (glk_manager_inherit(manager) < 0)
			_exit(1);
		execl("/bin/sleep", "sleep", "300", NULL);
		_exit(2);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	assert_int_equal(glk_manager_started(manager, pid), 0);
	return pid;
}

static void reap(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	reap(pid);
}

/* Acquired and running, with one disk. */
static struct glk_manager *run(struct glk_driver *driver, unsigned which,
			       const char *disk, pid_t *ret_pid)
{
	struct glk_manager *manager =
		new_manager(driver, GLK_MANAGER_START, which);

	assert_int_equal(add(manager, disk, 0), 0);
	assert_int_equal(glk_manager_acquire(manager), 0);
	*ret_pid = start(manager);
	return manager;
}

static void test_drivers_are_had_by_name(void **state)
{
	const char *const names[] = { "ofd", "vm", "nop" };
	struct glk_driver *driver = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		glk_driver_unload(load(names[i]));
	assert_int_equal(glk_driver_load("", &driver), -EINVAL);
	assert_int_equal(glk_driver_load("no-such-driver", &driver), -ENOENT);
	assert_non_null(strstr(glk_driver_message(), "no-such-driver"));
	assert_int_equal(glk_driver_load("/etc/passwd", &driver), -ELIBBAD);
	assert_non_null(strstr(glk_driver_message(), "/etc/passwd"));
	assert_null(driver);
	glk_driver_unload(NULL);
	glk_manager_free(NULL);
}

static void test_a_guest_has_its_disks_from_acquire_to_its_end(void **state)
{
	struct glk_driver *driver = load("ofd");
	const char *disk = test_file("life", IMAGE_SIZE);
	struct glk_manager *manager = new_manager(driver, GLK_MANAGER_START, 0);
	pid_t pid, child = -1;

	(void)state;
	assert_int_equal(add(manager, disk, 0), 0);
	assert_true(test_lockable(disk, F_WRLCK));
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_string_equal(glk_manager_state(manager), "held");
	assert_false(test_lockable(disk, F_RDLCK));
	assert_int_equal(glk_manager_child(manager, &child), -ENODATA);

	pid = start(manager);
	assert_string_equal(glk_manager_state(manager), "running");
	assert_int_equal(glk_manager_child(manager, &child), 0);
	assert_int_equal(child, pid);
	glk_manager_set_timeout(manager, 0);
	assert_int_equal(glk_manager_shutdown(manager), -ETIME);
	assert_false(test_lockable(disk, F_RDLCK));

	glk_manager_set_timeout(manager, 20000);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(glk_manager_shutdown(manager), 0);
	assert_string_equal(glk_manager_state(manager), "ended");
	assert_true(test_lockable(disk, F_WRLCK));
	reap(pid);
	glk_manager_free(manager);
	glk_driver_unload(driver);
}

static void test_free_releases_what_no_process_was_given(void **state)
{
	struct glk_driver *driver = load("ofd");
	const char *disk = test_file("free", IMAGE_SIZE);
	struct glk_manager *manager = new_manager(driver, GLK_MANAGER_START, 0);
	pid_t pid;

	(void)state;
	assert_int_equal(add(manager, disk, 0), 0);
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_false(test_lockable(disk, F_RDLCK));
	glk_manager_free(manager);
	assert_true(test_becomes_free(disk, 5000));

	manager = run(driver, 0, disk, &pid);
	glk_manager_free(manager);
	glk_driver_unload(driver);
	assert_false(test_lockable(disk, F_RDLCK));
	end(pid);
	assert_true(test_becomes_free(disk, 5000));
}

static void test_disks_are_plugged_and_unplugged(void **state)
{
	struct glk_driver *driver = load("ofd");
	const char *disk = test_file("boot", IMAGE_SIZE);
	const char *more = test_file("more", IMAGE_SIZE);
	struct glk_manager *manager;
	pid_t pid;

	(void)state;
	manager = run(driver, 0, disk, &pid);
	assert_int_equal(plug(manager, more), 0);
	assert_false(test_lockable(more, F_RDLCK));
	assert_int_equal(unplug(manager, disk), 0);
	assert_true(test_lockable(disk, F_WRLCK));
	assert_false(test_lockable(more, F_RDLCK));
	assert_int_equal(unplug(manager, disk), 0);
	end(pid);
	assert_true(test_becomes_free(more, 5000));
	assert_int_equal(plug(manager, more), -ESRCH);
	glk_manager_free(manager);
	glk_driver_unload(driver);
}

static void test_a_policy_says_how_disks_are_taken(void **state)
{
	struct glk_policy policy = { .exclusive_open = 3 };
	struct glk_driver *driver = load("ofd");
	const char *disk = test_file("open", IMAGE_SIZE);
	const struct glk_conflict *conflicts = NULL;
	struct glk_manager *manager;
	char byte = 0;
	int told[2];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(told), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (open(disk, O_RDONLY) < 0 || write(told[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(told[1]);
	assert_int_equal(read(told[0], &byte, 1), 1);
	close(told[0]);
	manager = new_manager(driver, GLK_MANAGER_START, 2);
	assert_int_equal(add(manager, disk, 0), 0);
	assert_int_equal(glk_manager_set_policy(manager, &policy), -EINVAL);
	policy.exclusive_open = GLK_OPEN_WARN;
	assert_int_equal(glk_manager_set_policy(manager, &policy), 0);
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_int_equal(glk_manager_conflicts(manager, &conflicts), 1);
	assert_string_equal(conflicts[0].how, "has it open");
	end(pid);
	glk_manager_free(manager);
	glk_driver_unload(driver);
}

static void test_a_refusal_names_the_holder(void **state)
{
	struct glk_driver *driver = load("ofd");
	const char *disk = test_file("held", IMAGE_SIZE);
	const char *beside = test_file("beside", IMAGE_SIZE);
	const struct glk_conflict *conflicts = NULL;
	struct glk_manager *manager, *other;
	pid_t pid;

	(void)state;
	manager = run(driver, 0, disk, &pid);
	other = new_manager(driver, GLK_MANAGER_START, 1);
	assert_int_equal(add(other, beside, 0), 0);
	assert_int_equal(add(other, disk, GLK_DISK_SHARED), 0);
	assert_int_equal(glk_manager_acquire(other), -EBUSY);
	assert_string_equal(glk_manager_state(other), "new");
	assert_true(test_lockable(beside, F_WRLCK));
	assert_int_equal(glk_manager_conflicts(other, &conflicts), 1);
	assert_string_equal(conflicts[0].path, disk);
	assert_string_equal(conflicts[0].uuid, own_uuid(0));
	assert_int_equal(conflicts[0].pid, pid);
	assert_non_null(strstr(glk_manager_message(other), "managed"));

	end(pid);
	assert_true(test_becomes_free(disk, 5000));
	assert_int_equal(glk_manager_acquire(other), 0);
	assert_false(test_lockable(disk, F_WRLCK));
	glk_manager_free(other);
	glk_manager_free(manager);
	glk_driver_unload(driver);
}

static void test_a_guest_is_found_again_with_its_drift(void **state)
{
	struct glk_driver *driver = load("ofd");
	const char *disk = test_file("found", IMAGE_SIZE);
	const char *missing = test_file("missing", IMAGE_SIZE);
	const struct glk_drift *drift = NULL;
	struct glk_manager *manager;
	pid_t pid, child = -1;

	(void)state;
	glk_manager_free(run(driver, 0, disk, &pid));
	manager = new_manager(driver, GLK_MANAGER_ATTACH, 0);
	assert_int_equal(add(manager, disk, 0), 0);
	assert_int_equal(add(manager, missing, 0), 0);
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_string_equal(glk_manager_state(manager), "running");
	assert_int_equal(glk_manager_child(manager, &child), 0);
	assert_int_equal(child, pid);
	assert_int_equal(glk_manager_drift(manager, &drift), 1);
	assert_int_equal(drift[0].kind, GLK_DRIFT_MISSING);
	assert_string_equal(drift[0].path, missing);
	assert_true(test_lockable(missing, F_WRLCK));
	glk_manager_free(manager);
	assert_false(test_lockable(disk, F_RDLCK));

	end(pid);
	assert_true(test_becomes_free(disk, 5000));
	manager = new_manager(driver, GLK_MANAGER_ATTACH, 0);
	assert_int_equal(glk_manager_child(manager, &child), -ESRCH);
	glk_manager_free(manager);
	glk_driver_unload(driver);
}

/* Path, arguments, and a guest that lives for a while. */
static pid_t run_supervisor(struct glk_manager *manager)
{
	const char *path = NULL;
	char *const *given = NULL;
	char *argv[64] = { 0 };
	int n = 0;
	pid_t pid;

	assert_int_equal(glk_manager_supervisor_path(manager, &path), 0);
	assert_int_equal(glk_manager_supervisor_args(manager, &given, &n), 0);
	assert_true(n > 0 && n < 60);
	assert_null(given[n]);
	argv[0] = (char *)path;
	memcpy(argv + 1, given, (size_t)n * sizeof(*argv));
	argv[n + 1] = (char *)"/bin/sleep";
	argv[n + 2] = (char *)"300";
	pid = fork_guest();
	if (pid == 0) {
		execv(path, argv);
		_exit(2);
	}
	return pid;
}

static void test_a_supervisor_takes_the_disks_and_becomes_the_guest(
	void **state)
{
	struct glk_driver *driver = load("ofd");
	const char *disk = test_file("supervised", IMAGE_SIZE);
	struct glk_manager *manager = new_manager(driver, GLK_MANAGER_START, 0);
	pid_t pid, child = -1;

	(void)state;
	assert_int_equal(add(manager, disk, 0), 0);
	pid = run_supervisor(manager);
	assert_string_equal(glk_manager_state(manager), "supervised");
	assert_int_equal(glk_manager_child(manager, &child), 0);
	assert_int_equal(child, pid);
	assert_string_equal(glk_manager_state(manager), "running");
	assert_false(test_lockable(disk, F_RDLCK));
	end(pid);
	assert_int_equal(glk_manager_shutdown(manager), 0);
	assert_true(test_lockable(disk, F_WRLCK));
	glk_manager_free(manager);
	glk_driver_unload(driver);
}

/* Both sides of a migration, in one process. */
struct sides {
	struct glk_driver *driver;
	const char *disk;
	struct glk_manager *source, *target;
	pid_t source_pid, target_pid;
};

static struct sides sides_new(const char *disk)
{
	struct sides s = { .driver = load("ofd"), .disk = disk };

	s.source = run(s.driver, 0, disk, &s.source_pid);
	assert_int_equal(glk_manager_prepare_migrate(s.source, "localhost"), 0);
	assert_string_equal(glk_manager_state(s.source), "prepared");
	assert_false(test_lockable(disk, F_WRLCK));

	s.target = new_manager(s.driver, GLK_MANAGER_MIGRATE, 0);
	assert_int_equal(glk_manager_set(s.target, "epoch", "1"), 0);
	assert_int_equal(add(s.target, disk, 0), 0);
	assert_int_equal(glk_manager_acquire(s.target), 0);
	assert_string_equal(glk_manager_state(s.target), "claimed");
	s.target_pid = start(s.target);
	assert_string_equal(glk_manager_state(s.target), "incoming");
	return s;
}

static void sides_free(struct sides *s)
{
	glk_manager_free(s->source);
	glk_manager_free(s->target);
	glk_driver_unload(s->driver);
}

static void test_a_guest_is_handed_over(void **state)
{
	struct sides s = sides_new(test_file("migrated", IMAGE_SIZE));
	pid_t child = -1;

	(void)state;
	assert_int_equal(glk_manager_complete_out(s.source, 0), 0);
	assert_string_equal(glk_manager_state(s.source), "left");
	assert_false(test_lockable(s.disk, F_WRLCK));
	assert_int_equal(glk_manager_complete_in(s.target, 0), 0);
	assert_string_equal(glk_manager_state(s.target), "running");

	end(s.source_pid);
	assert_int_equal(glk_manager_shutdown(s.source), 0);
	assert_false(test_lockable(s.disk, F_WRLCK));
	assert_int_equal(glk_manager_child(s.target, &child), 0);
	assert_int_equal(child, s.target_pid);
	end(s.target_pid);
	assert_int_equal(glk_manager_shutdown(s.target), 0);
	assert_true(test_lockable(s.disk, F_WRLCK));
	sides_free(&s);
}

static void test_a_hand_over_is_taken_back(void **state)
{
	struct sides s = sides_new(test_file("cancelled", IMAGE_SIZE));

	(void)state;
	assert_int_equal(glk_manager_complete_out(s.source, 0), 0);
	assert_int_equal(glk_manager_complete_in(s.target, GLK_MIGRATE_CANCEL),
			 0);
	assert_string_equal(glk_manager_state(s.target), "cancelled");
	assert_int_equal(glk_manager_complete_out(s.source, GLK_MIGRATE_CANCEL),
			 0);
	assert_string_equal(glk_manager_state(s.source), "running");
	assert_false(test_lockable(s.disk, F_RDLCK));
	end(s.target_pid);
	assert_int_equal(glk_manager_shutdown(s.target), 0);
	assert_false(test_lockable(s.disk, F_RDLCK));
	end(s.source_pid);
	assert_true(test_becomes_free(s.disk, 5000));
	sides_free(&s);
}

static void test_cancel_stops_the_next_call(void **state)
{
	struct glk_driver *driver = load("ofd");
	const char *disk = test_file("cancel", IMAGE_SIZE);
	struct glk_manager *manager = new_manager(driver, GLK_MANAGER_START, 0);

	(void)state;
	assert_int_equal(add(manager, disk, 0), 0);
	glk_manager_cancel(manager);
	assert_int_equal(glk_manager_acquire(manager), -ECANCELED);
	assert_true(test_lockable(disk, F_WRLCK));
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_false(test_lockable(disk, F_RDLCK));
	glk_manager_free(manager);
	glk_driver_unload(driver);
}

static void test_one_lease_stands_for_a_guest_of_the_driver_vm(void **state)
{
	struct glk_driver *driver = load("vm");
	const char *disk = test_file("ignored", IMAGE_SIZE);
	struct glk_manager *manager = new_manager(driver, GLK_MANAGER_START, 0);
	char lease[512];

	(void)state;
	assert_int_equal(mkdir(test_file("vms", -1), 0700), 0);
	snprintf(lease, sizeof(lease), "%s/%s", test_file("vms", -1),
		 own_uuid(0));
	assert_int_equal(glk_manager_set(manager, "lockspace",
					 test_file("vms", -1)),
			 0);
	assert_int_equal(add(manager, disk, 0), 0);
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_true(test_lockable(disk, F_WRLCK));
	assert_false(test_lockable(lease, F_RDLCK));
	assert_int_equal(glk_manager_shutdown(manager), 0);
	glk_manager_free(manager);
	glk_driver_unload(driver);
}

static void test_nonsense_changes_nothing(void **state)
{
	struct glk_driver *driver = load("ofd");
	const char *disk = test_file("nonsense", IMAGE_SIZE);
	struct glk_resource unknown = { 7, disk, 0 };
	struct glk_manager *manager = NULL;
	pid_t pid = -1;

	(void)state;
	assert_int_equal(glk_manager_new(driver, 9, GLK_MANAGER_START,
					 &manager),
			 -EINVAL);
	assert_null(manager);
	assert_int_equal(glk_manager_new(driver, GLK_OBJECT_START_DOMAIN,
					 GLK_MANAGER_START, &manager),
			 0);
	assert_int_equal(add(manager, disk, 0), 0);
	assert_int_equal(glk_manager_acquire(manager), -EDESTADDRREQ);
	assert_int_equal(glk_manager_set(manager, "uuid", "no-uuid"), -EINVAL);
	assert_int_equal(glk_manager_set(manager, "colour", "red"), -EINVAL);
	assert_non_null(strstr(glk_manager_message(manager), "colour"));
	assert_int_equal(glk_manager_register(manager, &unknown, 1), -EINVAL);
	assert_int_equal(add(manager, "", 0), -EINVAL);
	assert_int_equal(glk_manager_child(manager, &pid), -ENODATA);
	assert_int_equal(glk_manager_inherit(manager), -ENODATA);
	assert_int_equal(glk_manager_started(manager, getpid()), -ENODATA);
	assert_int_equal(plug(manager, disk), -ENODATA);
	assert_int_equal(unplug(manager, disk), -ENODATA);
	assert_int_equal(glk_manager_prepare_migrate(manager, "x"), -ENODATA);
	assert_int_equal(glk_manager_complete_out(manager, 0), -ENODATA);
	assert_int_equal(glk_manager_complete_in(manager, 0), -ENODATA);
	assert_int_equal(glk_manager_complete_in(manager, 1u << 31), -EINVAL);
	assert_string_equal(glk_manager_state(manager), "new");
	assert_true(test_lockable(disk, F_WRLCK));

	assert_int_equal(glk_manager_set(manager, "uuid", own_uuid(0)), 0);
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_int_equal(glk_manager_acquire(manager), -EALREADY);
	assert_int_equal(glk_manager_set(manager, "name", "late"), -EALREADY);
	assert_int_equal(add(manager, disk, 0), -EALREADY);
	glk_manager_free(manager);
	glk_driver_unload(driver);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_drivers_are_had_by_name),
	cmocka_unit_test(test_a_guest_has_its_disks_from_acquire_to_its_end),
	cmocka_unit_test(test_free_releases_what_no_process_was_given),
	cmocka_unit_test(test_disks_are_plugged_and_unplugged),
	cmocka_unit_test(test_a_policy_says_how_disks_are_taken),
	cmocka_unit_test(test_a_refusal_names_the_holder),
	cmocka_unit_test(test_a_guest_is_found_again_with_its_drift),
	cmocka_unit_test(
		test_a_supervisor_takes_the_disks_and_becomes_the_guest),
	cmocka_unit_test(test_a_guest_is_handed_over),
	cmocka_unit_test(test_a_hand_over_is_taken_back),
	cmocka_unit_test(test_cancel_stops_the_next_call),
	cmocka_unit_test(test_one_lease_stands_for_a_guest_of_the_driver_vm),
	cmocka_unit_test(test_nonsense_changes_nothing),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
