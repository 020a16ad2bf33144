/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What exec and close do to locks: how a capsule comes to its guest. */
#include "tests/kernel/kernel.h"

#include <signal.h>
#include <sys/resource.h>

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2) /* Linux 5.11 */
#endif
#define ROUNDS 50

/* This program, executed anew with GUESTLOCK_TEST_SOCK, only waits there. */
__attribute__((constructor)) static void be_the_guest(void)
{
	const char *sock = getenv("GUESTLOCK_TEST_SOCK");

	if (!sock)
		return;
	turn_give(atoi(sock));
	turn_take(atoi(sock));
	_exit(0);
}

static int become_the_guest(int sock, void *arg)
{
	char number[16];

	(void)arg;
	snprintf(number, sizeof(number), "%d", sock);
	CHILD_CHECK(setenv("GUESTLOCK_TEST_SOCK", number, 1) == 0);
	CHILD_CHECK(fcntl(sock, F_SETFD, 0) == 0);
	execl("/proc/self/exe", "guest", (char *)NULL);
	CHILD_CHECK(!"exec");
	return 1;
}

static void guest_start(struct child *guest)
{
	child_start(guest, become_the_guest, NULL);
	turn_take(guest->sock);
}

static void guest_end(struct child *guest)
{
	turn_give(guest->sock);
	assert_int_equal(child_wait(guest), 0);
}

static void exec_drops_what_is_close_on_exec(void **state)
{
	const char *kept, *dropped;
	int keep = file_locked("kept", &kept);
	int drop = file_locked("dropped", &dropped);
	struct child guest;

	(void)state;
	assert_int_equal(fcntl(keep, F_SETFD, 0), 0);
	guest_start(&guest);
	close(keep);
	close(drop);
	assert_true(test_lockable(dropped, F_WRLCK));
	assert_false(test_lockable(kept, F_WRLCK));
	guest_end(&guest);
	assert_true(test_lockable(kept, F_WRLCK));
}

/* One inherited descriptor keeps as many locks as the queue holds. */
static void an_inherited_queue_keeps_its_locks_over_exec(void **state)
{
	struct child guest;
	const char *path;
	int lock = file_locked("a", &path), pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	fd_send(pair[0], lock);
	close(lock);
	assert_int_equal(fcntl(pair[1], F_SETFD, 0), 0);
	guest_start(&guest);
	close(pair[0]);
	close(pair[1]);
	assert_false(test_lockable(path, F_WRLCK));
	kill(guest.pid, SIGKILL);
	child_await_zombie(&guest);
	assert_true(test_lockable(path, F_WRLCK));
	child_wait(&guest);
}

/* Which closes nothing that another copy of the table has open. */
static void clearing_close_on_exec_in_the_child_is_the_childs_alone(
	void **state)
{
	struct child child;
	int fd = file_open(test_file("a", 0), O_RDWR);

	(void)state;
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	guest_start(&child); /* clears the flag of its own socket */
	assert_true(fcntl(child.sock, F_GETFD) & FD_CLOEXEC);
	guest_end(&child);
	close(fd);
}

static int close_a_range(int sock, void *arg)
{
	unsigned fd = *(unsigned *)arg;

	CHILD_CHECK(syscall(SYS_close_range, fd, fd, 0) == 0);
	turn_give(sock);
	turn_take(sock);
	return 0;
}

/* Sandboxes and Python's subprocess do this: the guest drops its capsule. */
static void close_range_drops_locks(void **state)
{
	const char *path;
	int fd = file_locked("a", &path);
	struct child child;

	(void)state;
	child_start(&child, close_a_range, &fd);
	turn_take(child.sock);
	assert_false(test_lockable(path, F_WRLCK));
	close(fd);
	assert_true(test_lockable(path, F_WRLCK));
	turn_give(child.sock);
	assert_int_equal(child_wait(&child), 0);
}

static void close_range_does_not_mind_holes(void **state)
{
	int a = file_open("/dev/null", O_RDONLY), b = dup(a), c = dup(a);

	(void)state;
	close(b);
	assert_int_equal(syscall(SYS_close_range, a, c, 0), 0);
	assert_int_equal(fcntl(a, F_GETFD), -1);
	assert_int_equal(fcntl(c, F_GETFD), -1);
}

static void close_range_can_set_close_on_exec(void **state)
{
	int fd = dup(STDIN_FILENO);

	(void)state;
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	if (syscall(SYS_close_range, fd, fd, CLOSE_RANGE_CLOEXEC) == 0)
		assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	else
		assert_int_equal(errno, EINVAL);
	close(fd);
}

static int hold(int sock, void *arg)
{
	(void)arg;
	turn_give(sock);
	pause();
	return 0;
}

/* For plain descriptors; what a ring had registered may linger. */
static void the_killed_free_their_locks_before_they_are_zombies(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		const char *path;
		int fd = file_locked("a", &path);
		struct child child;

		child_start(&child, hold, NULL);
		turn_take(child.sock);
		close(fd);
		assert_false(test_lockable(path, F_WRLCK));
		kill(child.pid, SIGKILL);
		child_await_zombie(&child);
		assert_true(test_lockable(path, F_WRLCK));
		child_wait(&child);
	}
}

static void many_locks_are_all_free_by_then(void **state)
{
	enum { N = 500 };
	struct rlimit limit;
	struct child child;
	int fds[N];
	char name[16];

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = MIN(limit.rlim_max, 2000);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		fds[i] = file_open(test_file(name, 0), O_RDWR);
		assert_int_equal(lock_byte(fds[i], F_WRLCK, 0), 0);
	}
	child_start(&child, hold, NULL);
	turn_take(child.sock);
	for (int i = 0; i < N; i++)
		close(fds[i]);
	kill(child.pid, SIGKILL);
	child_await_zombie(&child);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_true(test_lockable(test_file(name, -1), F_WRLCK));
	}
	child_wait(&child);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(exec_drops_what_is_close_on_exec),
	cmocka_unit_test(an_inherited_queue_keeps_its_locks_over_exec),
	cmocka_unit_test(
		clearing_close_on_exec_in_the_child_is_the_childs_alone),
	cmocka_unit_test(close_range_drops_locks),
	cmocka_unit_test(close_range_does_not_mind_holes),
	cmocka_unit_test(close_range_can_set_close_on_exec),
	cmocka_unit_test(the_killed_free_their_locks_before_they_are_zombies),
	cmocka_unit_test(many_locks_are_all_free_by_then),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
