/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pinning a guest and borrowing a descriptor from it. */
#include "tests/kernel/kernel.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>

#define PF_EXITING 0x4 /* include/linux/sched.h, shown in /proc/PID/stat */

static int pidfd_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

static int borrow(int pidfd, int fd)
{
	int got = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	return got < 0 ? -errno : got;
}

/* Lock arg, say which descriptor it is, and wait. */
static int hold_a_lock(int sock, void *arg)
{
	int fd = open(arg, O_RDWR | O_CLOEXEC);

	CHILD_CHECK(fd >= 0);
	CHILD_CHECK(lock_byte(fd, F_WRLCK, 0) == 0);
	CHILD_CHECK(send(sock, &fd, sizeof(fd), 0) == sizeof(fd));
	turn_take(sock);
	return 0;
}

static int holder_start(struct child *child, const char *path)
{
	int fd;

	child_start(child, hold_a_lock, (void *)path);
	turn_await(child->sock);
	assert_int_equal(recv(child->sock, &fd, sizeof(fd), 0), sizeof(fd));
	return fd;
}

static void a_borrowed_descriptor_is_the_same_description(void **state)
{
	const char *path = test_file("a", 0);
	struct child child;
	int number = holder_start(&child, path);
	int pidfd = pidfd_of(child.pid), fd = borrow(pidfd, number);

	(void)state;
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(lock_byte(fd, F_UNLCK, 0), 0);
	assert_true(test_lockable(path, F_WRLCK));
	assert_int_equal(lock_byte(fd, F_WRLCK, 0), 0);
	assert_int_equal(child_kill(&child), 128 + SIGKILL);
	assert_false(test_lockable(path, F_WRLCK));
	close(fd);
	assert_true(test_lockable(path, F_WRLCK));
	close(pidfd);
}

static void a_bad_number_is_ebadf(void **state)
{
	struct child child;
	int number = holder_start(&child, test_file("a", 0));
	int pidfd = pidfd_of(child.pid);

	(void)state;
	assert_int_equal(borrow(pidfd, number + 1000), -EBADF);
	close(pidfd);
	turn_give(child.sock);
	assert_int_equal(child_wait(&child), 0);
}

static void nothing_can_be_borrowed_from_the_dead(void **state)
{
	struct child child;
	int number = holder_start(&child, test_file("a", 0));
	int pidfd = pidfd_of(child.pid);

	(void)state;
	kill(child.pid, SIGKILL);
	child_await_zombie(&child);
	assert_int_equal(borrow(pidfd, number), -ESRCH);
	child_wait(&child);
	assert_int_equal(borrow(pidfd, number), -ESRCH);
	close(pidfd);
}

static bool has_exited(int pidfd, int timeout)
{
	struct pollfd poller = { .fd = pidfd, .events = POLLIN };

	return poll(&poller, 1, timeout) == 1 && (poller.revents & POLLIN);
}

static void a_pidfd_is_readable_from_the_exit_on(void **state)
{
	const char *path = test_file("a", 0);
	struct child child;
	int pidfd;

	(void)state;
	holder_start(&child, path);
	pidfd = pidfd_of(child.pid);
	assert_false(has_exited(pidfd, 0));
	kill(child.pid, SIGKILL);
	assert_true(has_exited(pidfd, 20000));
	assert_true(test_lockable(path, F_WRLCK));
	child_wait(&child);
	assert_true(has_exited(pidfd, 0));
	close(pidfd);
}

static void a_pidfd_can_be_had_of_a_zombie_and_not_later(void **state)
{
	struct child child;
	int pidfd;

	(void)state;
	holder_start(&child, test_file("a", 0));
	kill(child.pid, SIGKILL);
	child_await_zombie(&child);
	pidfd = pidfd_of(child.pid);
	assert_true(pidfd >= 0);
	assert_true(has_exited(pidfd, 0));
	child_wait(&child);
	assert_int_equal(pidfd_of(child.pid), -ESRCH);
	close(pidfd);
}

struct proc_stat {
	char state;
	unsigned flags;
	unsigned long long start;
};

static void stat_read(pid_t pid, struct proc_stat *ret_stat)
{
	char path[64], text[1024], *p;
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	/* The name may hold anything, also blanks and parentheses. */
	p = strrchr(text, ')');
	assert_non_null(p);
	n = sscanf(p + 1,
		   " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d "
		   "%*d %*d %*d %*d %*d %llu",
		   &ret_stat->state, &ret_stat->flags, &ret_stat->start);
	assert_int_equal(n, 3);
}

/* With the pid it tells a process from a later one with the same number. */
static void the_start_time_is_there_until_the_zombie_is_reaped(void **state)
{
	struct proc_stat alive, dead;
	struct child child;

	(void)state;
	holder_start(&child, test_file("a", 0));
	stat_read(child.pid, &alive);
	assert_int_equal(alive.flags & PF_EXITING, 0);
	assert_true(alive.start > 0);
	kill(child.pid, SIGKILL);
	child_await_zombie(&child);
	stat_read(child.pid, &dead);
	assert_int_equal(dead.state, 'Z');
	assert_true(dead.flags & PF_EXITING);
	assert_true(dead.start == alive.start);
	child_wait(&child);
}

static int be_called_strangely(int sock, void *arg)
{
	(void)arg;
	prctl(PR_SET_NAME, ") Z 1 (");
	turn_give(sock);
	turn_take(sock);
	return 0;
}

static void a_name_cannot_forge_the_other_fields(void **state)
{
	struct proc_stat stat;
	struct child child;

	(void)state;
	child_start(&child, be_called_strangely, NULL);
	turn_take(child.sock);
	stat_read(child.pid, &stat);
	assert_true(stat.state == 'S' || stat.state == 'R');
	assert_int_equal(stat.flags & PF_EXITING, 0);
	turn_give(child.sock);
	assert_int_equal(child_wait(&child), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_borrowed_descriptor_is_the_same_description),
	cmocka_unit_test(a_bad_number_is_ebadf),
	cmocka_unit_test(nothing_can_be_borrowed_from_the_dead),
	cmocka_unit_test(a_pidfd_is_readable_from_the_exit_on),
	cmocka_unit_test(a_pidfd_can_be_had_of_a_zombie_and_not_later),
	cmocka_unit_test(the_start_time_is_there_until_the_zombie_is_reaped),
	cmocka_unit_test(a_name_cannot_forge_the_other_fields),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
