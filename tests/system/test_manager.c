/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/managed.h"
#include "tests/lib/spoil.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

/*
 * Management processes that are killed with -9 while their guests run, and new
 * ones that find all of them in the kernel; and guests that are started by the
 * real command in front of theirs. Times are printed and never judged here.
 */
#define N_GUESTS 100
#define N_EACH 100
#define NOFILE 20000

static struct disks disks_of(const struct disks *all, size_t guest)
{
	return (struct disks){ all->items + guest * N_EACH, N_EACH };
}

static void register_all(struct glk_manager *manager, const struct disks *disks)
{
	for (size_t i = 0; i < disks->n; i++)
		MUST_EQUAL(managed_register(manager, disks->items[i].path, 0),
			   0);
}

struct daemon {
	const struct disks *all;
	struct channel ready;
};

static int be_daemon(void *arg)
{
	struct daemon *d = arg;

	for (unsigned i = 0; i < N_GUESTS; i++) {
		struct disks disks = disks_of(d->all, i);
		struct glk_manager *manager =
			managed_new("ofd", GLK_MANAGER_START, guest_uuid(i));
		pid_t pid;

		register_all(manager, &disks);
		MUST_EQUAL(glk_manager_acquire(manager), 0);
		pid = managed_start(manager);
		MUST_EQUAL(glk_manager_started(manager, pid), 0);
		/* Half of the managers die with the daemon. */
		if (i & 1)
			glk_manager_free(manager);
	}
	channel_tell(&d->ready, 0);
	guest_live();
	return 0;
}

static void run_daemon_until_killed(const struct disks *all)
{
	struct daemon d = { all, channel_new() };
	pid_t pid = process_start(be_daemon, &d);

	channel_reads(&d.ready);
	assert_int_equal(channel_hear(&d.ready), 0);
	channel_free(&d.ready);
	process_end(pid);
}

static struct glk_manager *attach(const struct disks *all, unsigned i,
				  pid_t *ret_pid, int want)
{
	struct disks disks = disks_of(all, i);
	struct glk_manager *manager =
		managed_new("ofd", GLK_MANAGER_ATTACH, guest_uuid(i));

	register_all(manager, &disks);
	assert_int_equal(glk_manager_child(manager, ret_pid), want);
	assert_string_equal(glk_manager_state(manager), "running");
	return manager;
}

static void attach_all(const struct disks *all, pid_t *pids)
{
	uint64_t start = clock_now(), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	struct glk_manager *managers[N_GUESTS];

	for (unsigned i = 0; i < N_GUESTS; i++)
		managers[i] = attach(all, i, &pids[i], 0);
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	printf("attach to %d guests with %d disks each: %.1f ms, %.1f of the "
	       "processor\n",
	       N_GUESTS, N_EACH, (double)(clock_now() - start) / 1e6,
	       (double)cpu / 1e6);
	for (unsigned i = 0; i < N_GUESTS; i++) {
		assert_int_equal(managed_drift(managers[i], GLK_DRIFT_LOST,
					       NULL),
				 0);
		assert_int_equal(managed_drift(managers[i], GLK_DRIFT_REPLACED,
					       NULL),
				 0);
		assert_int_equal(managed_drift(managers[i], GLK_DRIFT_MISSING,
					       NULL),
				 0);
		assert_false(process_is_gone(pids[i]));
		glk_manager_free(managers[i]);
	}
}

static bool is_capsule(int fd)
{
	struct sockaddr_un name = {};
	socklen_t len = sizeof(name);

	return !getsockname(fd, (struct sockaddr *)&name, &len) &&
	       name.sun_family == AF_UNIX &&
	       !strncmp(name.sun_path + 1, "guestlock/", 10);
}

/* As a broken guest would, with its own end of the capsule. */
static void drop_first_lock(pid_t pid)
{
	_cleanup_(fd_closep) int pidfd = pidfd_open(pid, 0);
	int found = 0;

	assert_true(pidfd >= 0);
	for (int i = 0; i < 1024 && !found; i++) {
		_cleanup_(fd_closep) int fd = pidfd_getfd(pidfd, i, 0);

		if (fd < 0 || !is_capsule(fd))
			continue;
		spoil_first_lock(fd);
		found++;
	}
	assert_int_equal(found, 1);
}

static void a_dropped_lock_is_told(const struct disks *all, pid_t *pids)
{
	const char *path = all->items[3 * N_EACH].path;
	struct glk_manager *manager;
	pid_t pid = -1;

	drop_first_lock(pids[3]);
	assert_true(test_lockable(path, F_WRLCK));
	manager = attach(all, 3, &pid, -ENOLCK);
	assert_int_equal(pid, -1);
	assert_int_equal(managed_drift(manager, GLK_DRIFT_LOST, path), 1);
	assert_int_equal(managed_drift(manager, GLK_DRIFT_LOST, NULL), 1);
	assert_int_equal(managed_drift(manager, GLK_DRIFT_MISSING, NULL), 0);
	glk_manager_free(manager);
}

static void a_replaced_file_is_told(const struct disks *all, pid_t *pids)
{
	const char *path = all->items[4 * N_EACH + 7].path;
	_cleanup_(freep) char *old = NULL;
	struct glk_manager *manager;
	const struct glk_drift *drift = NULL;
	pid_t pid = 0;

	assert_true(asprintf(&old, "%s.old", path) > 0);
	assert_int_equal(rename(path, old), 0);
	assert_int_equal(symlink("/dev/null", path), 0);
	manager = attach(all, 4, &pid, 0);
	assert_int_equal(pid, pids[4]);
	assert_int_equal(managed_drift(manager, GLK_DRIFT_REPLACED, NULL) +
				 managed_drift(manager, GLK_DRIFT_MISSING,
					       path),
			 glk_manager_drift(manager, &drift));
	assert_int_equal(managed_drift(manager, GLK_DRIFT_LOST, NULL), 0);
	assert_true(glk_manager_drift(manager, &drift) > 0);
	glk_manager_free(manager);
	assert_int_equal(rename(old, path), 0);
}

static void test_all_guests_are_found_after_kill_9(void **state)
{
	struct disks all = disks_new("many", (size_t)N_GUESTS * N_EACH);
	struct rlimit limit = { NOFILE, NOFILE };
	pid_t pids[N_GUESTS], again[N_GUESTS];

	(void)state;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	run_daemon_until_killed(&all);
	assert_int_equal(disks_locked(&all), all.n);
	attach_all(&all, pids);
	for (int i = 0; i < 2; i++) {
		attach_all(&all, again);
		assert_memory_equal(pids, again, sizeof(pids));
	}
	a_dropped_lock_is_told(&all, pids);
	a_replaced_file_is_told(&all, pids);
	assert_int_equal(disks_locked(&all), all.n - 1);
	for (unsigned i = 0; i < N_GUESTS; i++)
		process_end(pids[i]);
	assert_true(disks_become_free(&all));
	disks_free(&all);
}

/* Few enough for the command line, and so many that they are not. */
static void test_the_command_takes_all_disks_before_the_guest_runs(void **state)
{
	static const size_t sizes[] = { 1, 100, 101, 1500 };
	struct disks all = disks_new("comma,in the path", 1500);
	struct rlimit limit = { NOFILE, NOFILE };

	(void)state;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct disks disks = { all.items, sizes[i] };
		struct glk_manager *manager =
			managed_new("ofd", GLK_MANAGER_START,
				    guest_uuid(500 + i));
		char *const *argv = NULL;
		pid_t pid, child = 0;
		int argc = 0;

		register_all(manager, &disks);
		assert_int_equal(glk_manager_set(manager, "name", "a b"), 0);
		pid = managed_supervise(manager);
		assert_int_equal(glk_manager_supervisor_args(manager, &argv,
							     &argc),
				 0);
		assert_true(argc < 220);
		assert_int_equal(glk_manager_child(manager, &child), 0);
		assert_int_equal(child, pid);
		assert_int_equal(disks_locked(&all), disks.n);
		assert_string_equal(glk_manager_state(manager), "running");
		process_end(pid);
		assert_int_equal(glk_manager_shutdown(manager), 0);
		assert_int_equal(disks_locked(&all), 0);
		glk_manager_free(manager);
	}
	disks_free(&all);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_all_guests_are_found_after_kill_9),
	cmocka_unit_test(
		test_the_command_takes_all_disks_before_the_guest_runs),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT)
