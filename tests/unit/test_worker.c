/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/engine_ops.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/*
 * Waiting locks, and opens that hang on a local file: everything that needs a
 * worker and no remote file system (for that see test_remote.c).
 */

static struct op wait_op(int fd, short type)
{
	struct op op = op_lock(OP_LOCK, fd, type, 0);

	op.flags = OP_WAIT;
	return op;
}

struct later {
	pthread_t thread;
	struct engine *engine; /* to cancel, or NULL */
	int fd;		       /* to unlock, if not -1 */
	unsigned us;
};

static void *do_later(void *arg)
{
	struct later *later = arg;
	struct flock l = { .l_type = F_UNLCK, .l_len = 1 };

	usleep(later->us);
	if (later->engine)
		engine_cancel(later->engine);
	if (later->fd >= 0)
		fcntl(later->fd, F_OFD_SETLK, &l);
	return NULL;
}

static void later_start(struct later *later)
{
	assert_int_equal(pthread_create(&later->thread, NULL, do_later, later),
			 0);
}

static void later_join(struct later *later)
{
	assert_int_equal(pthread_join(later->thread, NULL), 0);
}

ON_EACH(a_free_lock_needs_no_wait_and_no_worker)
{
	const char *path = test_file("free", 0);
	int fd = must_open(path, O_RDWR);

	assert_int_equal(run_one(engine, wait_op(fd, F_WRLCK)), 0);
	assert_false(test_lockable(path, F_RDLCK));
	assert_int_equal(workers_started(engine), 0);
	close(fd);
}

ON_EACH(a_wait_ends_when_the_holder_lets_go)
{
	const char *path = test_file("wait", 0);
	int a = must_open(path, O_RDWR), b = must_open(path, O_RDWR);
	struct later later = { .fd = a, .us = 20000 };

	must_lock(a, F_WRLCK, 0);
	later_start(&later);
	assert_int_equal(run_one(engine, wait_op(b, F_WRLCK)), 0);
	later_join(&later);
	assert_false(test_lockable(path, F_RDLCK));
	close(b);
	assert_true(test_lockable(path, F_WRLCK));
	close(a);
}

ON_EACH(a_wait_ends_when_the_holder_dies)
{
	const char *path = test_file("wait", 0);
	int fd = must_open(path, O_RDWR);
	pid_t pid = fork();

	if (pid == 0) {
		struct flock l = { .l_type = F_WRLCK, .l_len = 1 };
		int own = open(path, O_RDWR | O_CLOEXEC);

		close(fd);
		if (fcntl(own, F_OFD_SETLK, &l))
			_exit(1);
		pause();
	}
	while (test_lockable(path, F_WRLCK))
		usleep(1000);
	kill(pid, SIGKILL);
	assert_int_equal(run_one(engine, wait_op(fd, F_WRLCK)), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(fd);
}

ON_EACH(a_wait_that_times_out_leaves_no_lock)
{
	const char *path = test_file("wait", 0);
	int a = must_open(path, O_RDWR), b = must_open(path, O_RDWR);

	must_lock(a, F_WRLCK, 0);
	assert_int_equal(run_until(engine, wait_op(b, F_WRLCK), SOON_MS),
			 -ETIME);
	close(a);
	/* b is open still: a wait that went on would get the lock now. */
	usleep(5000);
	assert_true(test_becomes_free(path, LATE_MS));
	close(b);
}

ON_EACH(without_time_a_wait_is_a_try)
{
	const char *path = test_file("wait", 0);
	int a = must_open(path, O_RDWR), b = must_open(path, O_RDWR);

	must_lock(a, F_RDLCK, 0);
	assert_int_equal(run_until(engine, wait_op(b, F_RDLCK), 0), 0);
	assert_int_equal(run_until(engine, wait_op(b, F_WRLCK), 0), -ETIME);
	assert_int_equal(workers_started(engine), 0);
	close(a);
	close(b);
}

ON_EACH(a_wait_is_cancelled_from_another_thread)
{
	const char *path = test_file("wait", 0);
	int a = must_open(path, O_RDWR), b = must_open(path, O_RDWR);
	struct later later = { .engine = engine, .fd = -1, .us = 20000 };

	must_lock(a, F_WRLCK, 0);
	later_start(&later);
	assert_int_equal(run_one(engine, wait_op(b, F_WRLCK)), -ECANCELED);
	later_join(&later);
	close(a);
	assert_true(test_becomes_free(path, LATE_MS));
	/* The cancel is used up. */
	assert_int_equal(run_one(engine, wait_op(b, F_WRLCK)), 0);
	close(b);
}

ON_EACH(giving_up_an_upgrade_keeps_the_lock_that_was_there)
{
	const char *path = test_file("wait", 0);
	int a = must_open(path, O_RDWR), b = must_open(path, O_RDWR);

	must_lock(a, F_RDLCK, 0);
	must_lock(b, F_RDLCK, 0);
	must_lock(b, F_WRLCK, 1);
	assert_int_equal(run_until(engine, wait_op(b, F_WRLCK), SOON_MS),
			 -ETIME);
	close(a);
	assert_true(test_lockable(path, F_RDLCK));
	assert_false(test_lockable(path, F_WRLCK));
	assert_false(test_byte_lockable(path, 1, F_RDLCK));
	close(b);
}

ON_EACH(the_caller_may_use_the_number_again_at_once)
{
	const char *path = test_file("wait", 0);
	const char *other = test_file("other", 0);
	int a = must_open(path, O_RDWR), b = must_open(path, O_RDWR);
	int again;

	must_lock(a, F_WRLCK, 0);
	assert_int_equal(run_until(engine, wait_op(b, F_WRLCK), SOON_MS),
			 -ETIME);
	close(b);
	again = must_open(other, O_RDWR);
	assert_int_equal(again, b);
	must_lock(again, F_WRLCK, 0);
	close(a);
	assert_true(test_becomes_free(path, LATE_MS));
	assert_false(test_lockable(other, F_RDLCK));
	assert_int_equal(fcntl(again, F_GETFD), FD_CLOEXEC);
	close(again);
}

#define WAITS 100 /* more than there are workers */

ON_EACH(more_waits_than_workers_all_time_out)
{
	static char names[WAITS][16];
	int holders[WAITS];
	struct op ops[WAITS];

	for (int i = 0; i < WAITS; i++) {
		snprintf(names[i], sizeof(names[i]), "many%d", i);
		holders[i] = must_open(test_file(names[i], 0), O_RDWR);
		must_lock(holders[i], F_WRLCK, 0);
		ops[i] = wait_op(must_open(test_file(names[i], 0), O_RDWR),
				 F_WRLCK);
	}
	assert_int_equal(engine_run(engine, ops, WAITS,
				    deadline_in_ms(5 * SOON_MS)),
			 0);
	for (int i = 0; i < WAITS; i++) {
		assert_int_equal(ops[i].res, -ETIME);
		close(holders[i]);
	}
	for (int i = 0; i < WAITS; i++)
		assert_true(test_becomes_free(test_file(names[i], 0), LATE_MS));
	for (int i = 0; i < WAITS; i++)
		close(ops[i].fd);
}

/* The lock is granted at about the time when the wait is given up. */
ON_EACH(a_grant_that_races_with_the_end_is_had_or_dropped)
{
	const char *path = test_file("race", 0);
	int granted = 0;

	for (unsigned i = 0; i < 100; i++) {
		int a = must_open(path, O_RDWR), b = must_open(path, O_RDWR);
		struct later later = { .fd = a, .us = 1500 + i * 10 };
		struct op op = wait_op(b, F_WRLCK);

		must_lock(a, F_WRLCK, 0);
		later_start(&later);
		assert_int_equal(engine_run(engine, &op, 1, deadline_in_ms(2)),
				 0);
		later_join(&later);
		if (op.res == 0) {
			granted++;
			assert_false(test_lockable(path, F_WRLCK));
			close(b);
			assert_true(test_becomes_free(path, LATE_MS));
		} else {
			assert_int_equal(op.res, -ETIME);
			assert_true(test_becomes_free(path, LATE_MS));
			close(b);
		}
		close(a);
	}
	assert_in_range(granted, 0, 100);
}

/* A process that leases @path and gives it up only when killed. */
static pid_t fork_leaser(const char *path)
{
	int ready[2];
	char c = 'n';
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		int fd = open(path, O_RDWR | O_CLOEXEC);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGIO, SIG_IGN);
		if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0)
			c = 'y';
		if (write(ready[1], &c, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

ON_EACH(an_open_that_hangs_is_abandoned_and_closed_when_it_comes)
{
	char *path = strdup(test_file("leased", 0));
	pid_t pid = fork_leaser(path);

	/* Nothing else can be promised otherwise. */
	if (openat2_works()) {
		assert_int_equal(run_until(engine,
					   op_open(AT_FDCWD, path, O_RDWR),
					   SOON_MS),
				 -ETIME);
		assert_true(await_workers(1));
	}
	free(path);
	end(pid);
	/* on_each() sees that worker and descriptor go. */
}

ON_EACH(an_engine_is_freed_although_an_open_hangs)
{
	const char *path = test_file("leased", 0);
	pid_t pid = fork_leaser(path);
	struct engine *other =
		engine_of(uring_possible() ? "uring" : "syscall", 0);

	(void)engine;
	if (openat2_works()) {
		assert_int_equal(run_until(other,
					   op_open(AT_FDCWD, path, O_RDWR),
					   SOON_MS),
				 -ETIME);
		assert_true(await_workers(1));
	}
	engine_free(other);
	end(pid);
}

ON_EACH(a_lease_is_waited_for_without_a_word)
{
	const char *path = test_file("leased", 0);
	pid_t pid = fork_leaser(path);
	pid_t killer = fork();
	int fd;

	if (killer == 0) {
		usleep(20000);
		kill(pid, SIGKILL);
		_exit(0);
	}
	fd = run_one(engine, op_open(AT_FDCWD, path, O_RDWR));
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(waitpid(killer, NULL, 0), killer);
}

/* All but KILL and STOP, and the two that are glibc's own. */
#define BLOCKABLE                                                              \
	(~UINT64_C(0) & ~(UINT64_C(1) << (SIGKILL - 1)) &                      \
	 ~(UINT64_C(1) << (SIGSTOP - 1)) & ~(UINT64_C(3) << 31))

/* What an engine's thread @tid blocks; of another thread, everything. */
static uint64_t blocked_signals(const char *tid)
{
	char path[300], line[256];
	uint64_t mask = BLOCKABLE;
	bool ours = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%s/status", tid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		ours |= !strcmp(line, "Name:\tguestlock-io\n");
		if (ours && !strncmp(line, "SigBlk:", 7))
			mask = strtoull(line + 7, NULL, 16);
	}
	fclose(f);
	return mask & BLOCKABLE;
}

ON_EACH(workers_run_no_handler_of_the_host_and_install_none)
{
	int fd = must_open(test_file("f", 0), O_RDWR);
	struct sigaction before[31], now;
	struct dirent *d;
	char path[40];
	DIR *dir;

	for (int i = 1; i <= 30; i++)
		sigaction(i, NULL, &before[i]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	close(run_one(engine, op_open(AT_FDCWD, path, O_RDWR)));
	assert_int_equal(count_workers(), openat2_works() ? 1 : 0);
	dir = opendir("/proc/self/task");
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			assert_int_equal(blocked_signals(d->d_name), BLOCKABLE);
	closedir(dir);
	for (int i = 1; i <= 30; i++) {
		sigaction(i, NULL, &now);
		assert_ptr_equal(before[i].sa_handler, now.sa_handler);
	}
	close(fd);
}

ON_EACH(a_cancel_reaches_a_worker_whose_host_got_signals)
{
	const char *path = test_file("wait", 0);
	int a = must_open(path, O_RDWR), b = must_open(path, O_RDWR);
	void (*old)(int) = signal(SIGALRM, SIG_IGN);

	must_lock(a, F_WRLCK, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(run_until(engine, wait_op(b, F_WRLCK),
					   SOON_MS),
				 -ETIME);
	signal(SIGALRM, old);
	close(a);
	assert_int_equal(run_one(engine, wait_op(b, F_WRLCK)), 0);
	close(b);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_free_lock_needs_no_wait_and_no_worker),
	cmocka_unit_test(a_wait_ends_when_the_holder_lets_go),
	cmocka_unit_test(a_wait_ends_when_the_holder_dies),
	cmocka_unit_test(a_wait_that_times_out_leaves_no_lock),
	cmocka_unit_test(without_time_a_wait_is_a_try),
	cmocka_unit_test(a_wait_is_cancelled_from_another_thread),
	cmocka_unit_test(giving_up_an_upgrade_keeps_the_lock_that_was_there),
	cmocka_unit_test(the_caller_may_use_the_number_again_at_once),
	cmocka_unit_test(more_waits_than_workers_all_time_out),
	cmocka_unit_test(a_grant_that_races_with_the_end_is_had_or_dropped),
	cmocka_unit_test(
		an_open_that_hangs_is_abandoned_and_closed_when_it_comes),
	cmocka_unit_test(an_engine_is_freed_although_an_open_hangs),
	cmocka_unit_test(a_lease_is_waited_for_without_a_word),
	cmocka_unit_test(workers_run_no_handler_of_the_host_and_install_none),
	cmocka_unit_test(a_cancel_reaches_a_worker_whose_host_got_signals),
};

int main(void)
{
	spare_valgrind();
	return test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_NOTHING);
}
