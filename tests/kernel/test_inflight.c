/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks whose descriptors are in flight: what the capsule is made of. */
#include "tests/kernel/kernel.h"

#include <linux/kcmp.h>
#include <signal.h>
#include <sys/resource.h>

static const int types[] = { SOCK_SEQPACKET, SOCK_DGRAM, SOCK_STREAM };

/* A pair with one lock parked in [1]; its only reference is in flight. */
static const char *park(int type, int ret_pair[2])
{
	const char *path;
	int fd = file_locked("parked", &path);

	pair_open(type, ret_pair);
	fd_send(ret_pair[0], fd);
	close(fd);
	return path;
}

static void pair_close(int pair[2])
{
	fd_close(pair[0]);
	fd_close(pair[1]);
}

static void a_lock_lives_while_its_descriptor_is_in_flight(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		int pair[2];
		const char *path = park(types[i], pair);

		assert_false(test_lockable(path, F_WRLCK));
		close(pair[0]);
		assert_false(test_lockable(path, F_WRLCK));
		close(pair[1]);
		assert_true(test_lockable(path, F_WRLCK));
	}
}

static void a_peek_duplicates_and_does_not_consume(void **state)
{
	int pair[2], one, two;
	const char *path = park(SOCK_SEQPACKET, pair);

	(void)state;
	one = fd_receive(pair[1], MSG_PEEK);
	two = fd_receive(pair[1], MSG_PEEK);
	assert_int_equal(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, one,
				 two),
			 0);
	assert_true(fcntl(one, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(lock_byte(one, F_WRLCK, 0), 0);
	close(one);
	close(two);
	assert_false(test_lockable(path, F_WRLCK));
	pair_close(pair);
}

/* How a lease is released in a guest that keeps running. */
static void a_peeked_duplicate_unlocks_what_is_parked(void **state)
{
	int pair[2], fd;
	const char *path = park(SOCK_SEQPACKET, pair);

	(void)state;
	fd = fd_receive(pair[1], MSG_PEEK);
	assert_int_equal(lock_byte(fd, F_UNLCK, 0), 0);
	assert_true(test_lockable(path, F_WRLCK));
	assert_int_equal(lock_byte(fd, F_WRLCK, 0), 0);
	close(fd);
	assert_false(test_lockable(path, F_WRLCK));
	pair_close(pair);
}

static void consuming_the_message_takes_the_lock_out(void **state)
{
	int pair[2], fd;
	const char *path = park(SOCK_SEQPACKET, pair);

	(void)state;
	fd = fd_receive(pair[1], 0);
	assert_false(test_lockable(path, F_WRLCK));
	close(fd);
	assert_true(test_lockable(path, F_WRLCK));
	pair_close(pair);
}

/* A hostile guest may: it loses its own locks only. */
static void reading_without_a_control_buffer_drops_the_locks(void **state)
{
	char buf[64];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int pair[2];
	const char *path = park(SOCK_SEQPACKET, pair);

	(void)state;
	assert_int_equal(recvmsg(pair[1], &msg, MSG_PEEK), sizeof(PAYLOAD));
	assert_true(msg.msg_flags & MSG_CTRUNC);
	assert_false(test_lockable(path, F_WRLCK));
	assert_int_equal(recvmsg(pair[1], &msg, 0), sizeof(PAYLOAD));
	assert_true(test_lockable(path, F_WRLCK));
	pair_close(pair);

	path = park(SOCK_SEQPACKET, pair);
	assert_int_equal(read(pair[1], buf, sizeof(buf)), sizeof(PAYLOAD));
	assert_true(test_lockable(path, F_WRLCK));
	pair_close(pair);
}

static void the_queue_outlives_its_sender(void **state)
{
	int pair[2], fd;
	const char *path = park(SOCK_SEQPACKET, pair);
	struct fds_got got;

	(void)state;
	close(pair[0]);
	fd = fd_receive(pair[1], MSG_PEEK);
	close(fd);
	fd = fd_receive(pair[1], 0);
	fds_receive(pair[1], 0, &got);
	assert_int_equal(got.len, 0);
	assert_false(test_lockable(path, F_WRLCK));
	close(fd);
	close(pair[1]);
}

static int park_and_wait(int sock, void *arg)
{
	int fd = open(arg, O_RDWR | O_CLOEXEC);

	CHILD_CHECK(lock_byte(fd, F_WRLCK, 0) == 0);
	CHILD_CHECK(fds_send(sock, "x", 1, &fd, 1) == 1);
	close(fd);
	turn_take(sock);
	return 0;
}

/* Invariant I2: kill -9 of whoever parked a lock loses nothing. */
static void what_a_killed_sender_parked_stays(void **state)
{
	const char *path = test_file("a", 0);
	struct child child;
	struct fds_got got;

	(void)state;
	child_start(&child, park_and_wait, (void *)path);
	turn_await(child.sock);
	kill(child.pid, SIGKILL);
	child_await_zombie(&child);
	assert_false(test_lockable(path, F_WRLCK));
	fds_receive(child.sock, 0, &got);
	assert_int_equal(got.n, 1);
	assert_int_equal(lock_byte(got.fds[0], F_WRLCK, 0), 0);
	fds_got_close(&got);
	assert_int_equal(child_wait(&child), 128 + SIGKILL);
}

static void a_message_carries_253_descriptors_and_not_254(void **state)
{
	int fds[SCM_MAX_FD_COUNT + 1], pair[2];
	struct fds_got got;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = pair[0];
	assert_int_equal(fds_send(pair[0], "x", 1, fds, SCM_MAX_FD_COUNT + 1),
			 -EINVAL);
	assert_int_equal(fds_send(pair[0], "x", 1, fds, SCM_MAX_FD_COUNT), 1);
	fds_receive(pair[1], 0, &got);
	assert_int_equal(got.n, SCM_MAX_FD_COUNT);
	fds_got_close(&got);
	pair_close(pair);
}

static void a_batch_with_one_bad_descriptor_sends_nothing(void **state)
{
	const char *path;
	int fds[] = { file_locked("a", &path), -1 }, pair[2];
	struct fds_got got;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(fds_send(pair[0], "x", 1, fds, 2), -EBADF);
	fds_receive(pair[1], 0, &got);
	assert_int_equal(got.len, -EAGAIN);
	close(fds[0]);
	assert_true(test_lockable(path, F_WRLCK));
	pair_close(pair);
}

static void an_o_path_descriptor_can_be_parked_too(void **state)
{
	int fd = file_open(test_file("a", 0), O_PATH), pair[2], got;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	fd_send(pair[0], fd);
	got = fd_receive(pair[1], 0);
	assert_true(fcntl(got, F_GETFL) & O_PATH);
	close(got);
	close(fd);
	pair_close(pair);
}

/* Park three locks in one message. */
static void park_three(int pair[2], const char *paths[3])
{
	static const char *const names[] = { "x", "y", "z" };
	int fds[3];

	pair_open(SOCK_SEQPACKET, pair);
	for (int i = 0; i < 3; i++)
		fds[i] = file_locked(names[i], &paths[i]);
	assert_int_equal(fds_send(pair[0], "x", 1, fds, 3), 1);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

static void peek_with_room_for_one(int sock, struct fds_got *ret_got)
{
	struct rlimit old, tight;
	int lowest = fcntl(0, F_DUPFD_CLOEXEC, 0);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = (rlim_t)lowest + 1;
	close(lowest);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	fds_receive(sock, MSG_PEEK, ret_got);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

/* Not EMFILE: whoever lists a capsule must look at MSG_CTRUNC. */
static void a_full_descriptor_table_truncates_a_peek(void **state)
{
	const char *paths[3];
	struct fds_got got;
	int pair[2];

	(void)state;
	park_three(pair, paths);
	peek_with_room_for_one(pair[1], &got);
	assert_int_equal(got.len, 1);
	assert_true(got.flags & MSG_CTRUNC);
	assert_int_equal(got.n, 1);
	fds_got_close(&got);
	fds_receive(pair[1], MSG_PEEK, &got);
	assert_int_equal(got.flags & MSG_CTRUNC, 0);
	assert_int_equal(got.n, 3);
	fds_got_close(&got);
	for (int i = 0; i < 3; i++)
		assert_false(test_lockable(paths[i], F_WRLCK));
	pair_close(pair);
}

static void a_short_payload_buffer_keeps_the_descriptors(void **state)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	int pair[2], fd;
	const char *path = park(SOCK_SEQPACKET, pair);

	(void)state;
	/* With MSG_TRUNC the result is the true length. */
	assert_int_equal(recvmsg(pair[1], &msg, MSG_TRUNC | MSG_CMSG_CLOEXEC),
			 sizeof(PAYLOAD));
	assert_true(msg.msg_flags & MSG_TRUNC);
	assert_int_equal(msg.msg_controllen, CMSG_SPACE(sizeof(int)));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	assert_int_equal(lock_byte(fd, F_WRLCK, 0), 0);
	close(fd);
	assert_true(test_lockable(path, F_WRLCK));
	pair_close(pair);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_lock_lives_while_its_descriptor_is_in_flight),
	cmocka_unit_test(a_peek_duplicates_and_does_not_consume),
	cmocka_unit_test(a_peeked_duplicate_unlocks_what_is_parked),
	cmocka_unit_test(consuming_the_message_takes_the_lock_out),
	cmocka_unit_test(reading_without_a_control_buffer_drops_the_locks),
	cmocka_unit_test(the_queue_outlives_its_sender),
	cmocka_unit_test(what_a_killed_sender_parked_stays),
	cmocka_unit_test(a_message_carries_253_descriptors_and_not_254),
	cmocka_unit_test(a_batch_with_one_bad_descriptor_sends_nothing),
	cmocka_unit_test(an_o_path_descriptor_can_be_parked_too),
	cmocka_unit_test(a_full_descriptor_table_truncates_a_peek),
	cmocka_unit_test(a_short_payload_buffer_keeps_the_descriptors),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
