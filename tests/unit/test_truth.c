/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/truth.h"

#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"
#include "tests/lib/test.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/wait.h>

static int open_file(int flags)
{
	int fd = open(test_file("disk", 4096), flags | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void set_lock(int fd, int cmd, short type, long start, long len)
{
	struct flock lock = { .l_type = type, .l_start = start, .l_len = len };

	assert_int_equal(fcntl(fd, cmd, &lock), 0);
}

static void ofd(int fd, short type, long start, long len)
{
	set_lock(fd, F_OFD_SETLK, type, start, len);
}

/* Every way to ask must say the same. */
static void expect(int fd, long byte, short type)
{
	struct flock lock = { .l_type = F_UNLCK, .l_start = byte, .l_len = 1 };
	short held = -1, by_fdinfo = -1;

	assert_int_equal(truth_held(fd, byte, &held), 0);
	assert_int_equal(held, type);
	assert_int_equal(truth_by_fdinfo(fd, byte, &by_fdinfo), 0);
	assert_int_equal(by_fdinfo, type);
	if (truth_by_getlk_works()) {
		assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
		assert_int_equal(lock.l_type, type);
	}
}

static void a_fresh_description_holds_nothing(void **state)
{
	int fd = open_file(O_RDWR);

	(void)state;
	expect(fd, 0, F_UNLCK);
	close(fd);
}

static void exclusive_and_shared_are_told_apart(void **state)
{
	int fd = open_file(O_RDWR), ro = open_file(O_RDONLY);

	(void)state;
	ofd(fd, F_WRLCK, 0, 1);
	expect(fd, 0, F_WRLCK);
	ofd(fd, F_RDLCK, 0, 1);
	expect(fd, 0, F_RDLCK);
	ofd(ro, F_RDLCK, 0, 1);
	expect(ro, 0, F_RDLCK);
	ofd(fd, F_UNLCK, 0, 1);
	expect(fd, 0, F_UNLCK);
	expect(ro, 0, F_RDLCK);
	close(fd);
	close(ro);
}

static void only_the_asked_byte_counts(void **state)
{
	int fd = open_file(O_RDWR);

	(void)state;
	ofd(fd, F_WRLCK, 2, 1);
	expect(fd, 0, F_UNLCK);
	expect(fd, 1, F_UNLCK);
	expect(fd, 2, F_WRLCK);
	expect(fd, 3, F_UNLCK);
	ofd(fd, F_RDLCK, 0, 1);
	expect(fd, 0, F_RDLCK);
	expect(fd, 2, F_WRLCK);
	close(fd);
}

static void a_range_over_the_byte_counts(void **state)
{
	int fd = open_file(O_RDWR);

	(void)state;
	ofd(fd, F_WRLCK, 5, 10);
	expect(fd, 4, F_UNLCK);
	expect(fd, 5, F_WRLCK);
	expect(fd, 14, F_WRLCK);
	expect(fd, 15, F_UNLCK);
	ofd(fd, F_RDLCK, 100, 0);
	expect(fd, 99, F_UNLCK);
	expect(fd, 1L << 40, F_RDLCK);
	close(fd);
}

static void many_ranges_are_all_seen(void **state)
{
	int fd = open_file(O_RDWR);

	(void)state;
	for (long i = 0; i < 300; i++)
		ofd(fd, i % 2 ? F_RDLCK : F_WRLCK, i * 3, 1);
	for (long i = 0; i < 300; i += 23) {
		expect(fd, i * 3, i % 2 ? F_RDLCK : F_WRLCK);
		expect(fd, i * 3 + 1, F_UNLCK);
	}
	close(fd);
}

static void another_description_of_the_file_does_not_count(void **state)
{
	int fd = open_file(O_RDWR), other = open_file(O_RDWR);

	(void)state;
	ofd(other, F_WRLCK, 0, 1);
	expect(fd, 0, F_UNLCK);
	expect(other, 0, F_WRLCK);
	ofd(other, F_RDLCK, 0, 1);
	ofd(fd, F_RDLCK, 0, 1);
	ofd(other, F_UNLCK, 0, 1);
	expect(fd, 0, F_RDLCK);
	expect(other, 0, F_UNLCK);
	close(fd);
	close(other);
}

static void a_duplicate_is_the_same_description(void **state)
{
	int fd = open_file(O_RDWR);
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	(void)state;
	ofd(fd, F_WRLCK, 0, 1);
	expect(copy, 0, F_WRLCK);
	close(fd);
	expect(copy, 0, F_WRLCK);
	ofd(copy, F_UNLCK, 0, 1);
	expect(copy, 0, F_UNLCK);
	close(copy);
}

union fd_message {
	struct cmsghdr head;
	char buf[CMSG_SPACE(sizeof(int))];
};

static void send_fd(int sock, int fd)
{
	union fd_message control = {};
	struct iovec iov = { .iov_base = &fd, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };

	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	assert_int_equal(sendmsg(sock, &msg, 0), 1);
}

static int receive_fd(int sock, int flags)
{
	union fd_message control = {};
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	int fd;

	assert_int_equal(recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC), 1);
	memcpy(&fd, CMSG_DATA(&control.head), sizeof(fd));
	return fd;
}

static void a_received_duplicate_is_the_same_description(void **state)
{
	int sv[2], fd = open_file(O_RDWR), peeked, received;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				    sv),
			 0);
	ofd(fd, F_WRLCK, 0, 1);
	send_fd(sv[0], fd);
	close(fd);
	peeked = receive_fd(sv[1], MSG_PEEK);
	expect(peeked, 0, F_WRLCK);
	received = receive_fd(sv[1], 0);
	expect(received, 0, F_WRLCK);
	ofd(peeked, F_UNLCK, 0, 1);
	expect(received, 0, F_UNLCK);
	close(peeked);
	close(received);
	close(sv[0]);
	close(sv[1]);
}

static void locks_of_other_kinds_do_not_count(void **state)
{
	int posix = open_file(O_RDWR), flocked = open_file(O_RDWR);

	(void)state;
	set_lock(posix, F_SETLK, F_WRLCK, 0, 1);
	expect(posix, 0, F_UNLCK);
	set_lock(posix, F_SETLK, F_UNLCK, 0, 1);
	assert_int_equal(flock(flocked, LOCK_EX), 0);
	expect(flocked, 0, F_UNLCK);
	ofd(flocked, F_RDLCK, 0, 1);
	set_lock(flocked, F_SETLK, F_RDLCK, 0, 10);
	expect(flocked, 0, F_RDLCK);
	expect(flocked, 1, F_UNLCK);
	close(posix);
	close(flocked);
}

static int wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void an_inherited_descriptor_tells_the_same(void **state)
{
	int fd = open_file(O_RDWR);
	pid_t pid;

	(void)state;
	ofd(fd, F_WRLCK, 0, 1);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		short type = -1;
		int r = truth_held(fd, 0, &type);

		_exit(r ? 2 : type == F_WRLCK ? 0 : 1);
	}
	assert_int_equal(wait_for(pid), 0);
	expect(fd, 0, F_WRLCK);
	close(fd);
}

static void bad_questions_are_errors_and_change_nothing(void **state)
{
	int fd = open_file(O_RDWR);
	short type = -7;

	(void)state;
	assert_int_equal(truth_held(fd, -1, &type), -EINVAL);
	close(fd);
	assert_int_equal(truth_held(fd, 0, &type), -EBADF);
	assert_int_equal(truth_by_fdinfo(fd, 0, &type), -EBADF);
	assert_int_equal(truth_held(-1, 0, &type), -EBADF);
	assert_int_equal(type, -7);
}

/* A file system whose locks are not known to be local: fdinfo answers. */
static void a_memfd_is_asked_like_any_file(void **state)
{
	int fd = (int)syscall(SYS_memfd_create, "truth", MFD_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	expect(fd, 0, F_UNLCK);
	ofd(fd, F_WRLCK, 0, 1);
	expect(fd, 0, F_WRLCK);
	close(fd);
}

/* Root may; others may in a user namespace of their own. */
static bool hide_proc(void)
{
	if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return false;
	return !mount("none", "/", "none", MS_REC | MS_PRIVATE, "") &&
	       !mount("none", "/proc", "tmpfs", 0, "");
}

static int ask_without_proc(const char *path, bool by_kernel)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	short type = -1;
	int fd, r;

	if (!hide_proc())
		return 1;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock))
		return 2;
	if (truth_by_fdinfo(fd, 0, &type) != -ENOSYS)
		return 3;
	r = truth_held(fd, 0, &type);
	if (by_kernel)
		return r == 0 && type == F_WRLCK ? 0 : 4;
	return r == -ENOSYS ? 0 : 5;
}

/*
 * Without /proc the kernel is the only one to ask. That the right one of the
 * two answers comes shows which way is taken at all.
 */
static void without_proc_the_kernel_answers_or_nobody(void **state)
{
	const char *path = test_file("disk", 4096);
	bool by_kernel =
		truth_by_getlk_works() && feature_allowed(FEATURE_STATMOUNT) &&
		syscall(SYS_statmount, NULL, NULL, 0, 0) < 0 && errno != ENOSYS;
	pid_t pid;

	(void)state;
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(ask_without_proc(path, by_kernel));
	assert_int_equal(wait_for(pid), 0);
}

static void *ask_often(void *arg)
{
	int *fds = arg;

	for (int i = 0; i < 200; i++) {
		short a = -1, b = -1;

		if (truth_held(fds[0], 0, &a) || truth_held(fds[1], 0, &b) ||
		    a != F_WRLCK || b != F_UNLCK)
			return arg;
	}
	return NULL;
}

static void threads_may_ask_at_once(void **state)
{
	int fds[2] = { open_file(O_RDWR), open_file(O_RDWR) };
	pthread_t threads[4];

	(void)state;
	ofd(fds[0], F_WRLCK, 0, 1);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_often,
						fds),
				 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		void *wrong;

		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
	close(fds[0]);
	close(fds[1]);
}

/* First, so that the threads meet a process that knows nothing yet. */
static const struct CMUnitTest tests[] = {
	cmocka_unit_test(threads_may_ask_at_once),
	cmocka_unit_test(a_fresh_description_holds_nothing),
	cmocka_unit_test(exclusive_and_shared_are_told_apart),
	cmocka_unit_test(only_the_asked_byte_counts),
	cmocka_unit_test(a_range_over_the_byte_counts),
	cmocka_unit_test(many_ranges_are_all_seen),
	cmocka_unit_test(another_description_of_the_file_does_not_count),
	cmocka_unit_test(a_duplicate_is_the_same_description),
	cmocka_unit_test(a_received_duplicate_is_the_same_description),
	cmocka_unit_test(locks_of_other_kinds_do_not_count),
	cmocka_unit_test(an_inherited_descriptor_tells_the_same),
	cmocka_unit_test(bad_questions_are_errors_and_change_nothing),
	cmocka_unit_test(a_memfd_is_asked_like_any_file),
	cmocka_unit_test(without_proc_the_kernel_answers_or_nobody),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
