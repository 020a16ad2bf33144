/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a guest can do to the sockets that it shares with whoever reads or
 * fills its capsule: options and queues belong to the socket, not to us.
 */
#include "tests/kernel/kernel.h"

#include <linux/filter.h>
#include <sys/un.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76 /* Linux 6.5 */
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif
#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04
#endif

static void pair_close(int pair[2])
{
	fd_close(pair[0]);
	fd_close(pair[1]);
}

static int option_set(int sock, int option, int value)
{
	return setsockopt(sock, SOL_SOCKET, option, &value, sizeof(value))
		       ? -errno
		       : 0;
}

/* Peek and list the types of control messages; close every descriptor. */
static unsigned control_types(int sock)
{
	char byte, control[1024];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	unsigned seen = 0;
	int fd;

	assert_int_equal(recvmsg(sock, &msg, MSG_PEEK | MSG_CMSG_CLOEXEC), 1);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c;
	     c = CMSG_NXTHDR(&msg, c)) {
		assert_int_equal(c->cmsg_level, SOL_SOCKET);
		assert_true(c->cmsg_type < 32);
		seen |= 1U << c->cmsg_type;
		if (c->cmsg_type == SCM_RIGHTS || c->cmsg_type == SCM_PIDFD) {
			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
			assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
			close(fd);
		}
	}
	return seen;
}

/*
 * A reader must leave room for them, and close the descriptor of a pidfd that
 * it never asked for.
 */
static void its_options_add_control_messages_to_our_reads(void **state)
{
	unsigned expected = 1U << SCM_RIGHTS;
	int pair[2], err;
	char byte;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(fds_send(pair[0], "x", 1, pair, 1), 1);
	assert_int_equal(control_types(pair[1]), expected);
	assert_int_equal(option_set(pair[1], SO_PASSCRED, 1), 0);
	expected |= 1U << SCM_CREDENTIALS;
	assert_int_equal(control_types(pair[1]), expected);
	err = option_set(pair[1], SO_PASSPIDFD, 1);
	assert_true(err == 0 || err == -ENOPROTOOPT);
	assert_int_equal(option_set(pair[1], SO_TIMESTAMP, 1), 0);
	expected |= 1U << SCM_TIMESTAMP;
	expected |= err ? 0 : 1U << SCM_PIDFD;
	/* Only what is sent from now on has a known sender. */
	assert_int_equal(read(pair[1], &byte, 1), 1);
	assert_int_equal(fds_send(pair[0], "x", 1, pair, 1), 1);
	assert_int_equal(control_types(pair[1]), expected);
	pair_close(pair);
}

/* Since Linux 6.16 it can refuse to be given any more. */
static void it_can_refuse_descriptors_where_there_is_so_passrights(void **state)
{
	int pair[2], err;
	struct fds_got got;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(fds_send(pair[0], "x", 1, pair, 1), 1);
	err = option_set(pair[1], SO_PASSRIGHTS, 0);
	printf("SO_PASSRIGHTS: %s\n", err ? "unknown" : "known");
	if (err)
		assert_int_equal(err, -ENOPROTOOPT);
	else
		assert_int_equal(fds_send(pair[0], "x", 1, pair, 1), -EPERM);
	fds_receive(pair[1], MSG_PEEK, &got);
	assert_int_equal(got.n, 1);
	fds_got_close(&got);
	pair_close(pair);
}

/* A push that "succeeded" proves nothing unless the queue shows it. */
static void its_filter_swallows_messages_that_seem_sent(void **state)
{
	struct sock_filter nothing[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog program = { ARRAY_SIZE(nothing), nothing };
	const char *path;
	int lock = file_locked("a", &path), pair[2];
	struct fds_got got;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_FILTER,
				    &program, sizeof(program)),
			 0);
	assert_int_equal(fds_send(pair[0], "x", 1, &lock, 1), 1);
	fds_receive(pair[1], MSG_PEEK, &got);
	assert_int_equal(got.len, -EAGAIN);
	close(lock);
	assert_true(test_lockable(path, F_WRLCK));
	pair_close(pair);
}

static void a_filter_can_shorten_the_payload(void **state)
{
	struct sock_filter two[] = { BPF_STMT(BPF_RET | BPF_K, 2) };
	struct sock_fprog program = { ARRAY_SIZE(two), two };
	int pair[2];
	struct fds_got got;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_FILTER,
				    &program, sizeof(program)),
			 0);
	assert_int_equal(fds_send(pair[0], "long", 4, pair, 1), 4);
	fds_receive(pair[1], 0, &got);
	assert_int_equal(got.len, 2);
	assert_int_equal(got.n, 1);
	fds_got_close(&got);
	pair_close(pair);
}

static void so_lock_filter_forbids_filters_for_good(void **state)
{
	struct sock_filter nothing[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog program = { ARRAY_SIZE(nothing), nothing };
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(option_set(pair[1], SO_LOCK_FILTER, 1), 0);
	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_FILTER,
				    &program, sizeof(program)),
			 -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(option_set(pair[1], SO_LOCK_FILTER, 0), -EPERM);
	pair_close(pair);
}

static void its_shutdown_stops_pushes_and_keeps_the_locks(void **state)
{
	const char *path;
	int lock = file_locked("a", &path), pair[2], fd;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	fd_send(pair[0], lock);
	close(lock);
	assert_int_equal(shutdown(pair[1], SHUT_RDWR), 0);
	assert_int_equal(fds_send(pair[0], "x", 1, NULL, 0), -EPIPE);
	assert_false(test_lockable(path, F_WRLCK));
	fd = fd_receive(pair[1], MSG_PEEK);
	assert_int_equal(lock_byte(fd, F_WRLCK, 0), 0);
	close(fd);
	pair_close(pair);
}

/* It reads like the end of the queue, so a reader must ask SIOCINQ or flags. */
static void an_empty_message_reads_like_the_end(void **state)
{
	int pair[2], on = 0;
	struct fds_got got;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(fds_send(pair[0], "", 0, pair, 1), 0);
	assert_int_equal(fds_send(pair[0], "x", 1, NULL, 0), 1);
	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &on,
				    sizeof(on)),
			 0);
	fds_receive(pair[1], MSG_PEEK, &got);
	assert_int_equal(got.len, 0);
	assert_int_equal(got.n, 1);
	fds_got_close(&got);
	/* Once peeked at it is never seen by a walk again. */
	for (int walk = 0; walk < 2; walk++) {
		assert_int_equal(option_set(pair[1], SO_PEEK_OFF, 0), 0);
		fds_receive(pair[1], MSG_PEEK, &got);
		assert_int_equal(got.len, 1);
	}
	fds_receive(pair[1], 0, &got);
	assert_int_equal(got.len, 0);
	assert_int_equal(got.n, 1);
	fds_got_close(&got);
	pair_close(pair);
}

static void it_can_shrink_the_buffer_of_whoever_sends(void **state)
{
	int pair[2], copy, n = 0;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	fd_send(pair[0], pair[0]);
	copy = fd_receive(pair[1], MSG_PEEK); /* as the guest would */
	assert_int_equal(option_set(copy, SO_SNDBUF, 1), 0);
	while (fds_send(pair[0], "x", 1, NULL, 0) == 1)
		n++;
	assert_in_range(n, 0, 10);
	assert_int_equal(option_set(pair[0], SO_SNDBUF, 200000), 0);
	assert_int_equal(fds_send(pair[0], "x", 1, NULL, 0), 1);
	close(copy);
	pair_close(pair);
}

static void it_cannot_reconnect_or_listen_on_a_pair(void **state)
{
	struct sockaddr_un nobody = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(nobody.sun_family) + 5;
	int pair[2];

	(void)state;
	memcpy(nobody.sun_path, "\0none", 5);
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(listen(pair[1], 1), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(connect(pair[1], (struct sockaddr *)&nobody, len), -1);
	assert_true(errno == EISCONN || errno == ECONNREFUSED ||
		    errno == EINVAL);
	assert_int_equal(fds_send(pair[0], "x", 1, NULL, 0), 1);
	pair_close(pair);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(its_options_add_control_messages_to_our_reads),
	cmocka_unit_test(
		it_can_refuse_descriptors_where_there_is_so_passrights),
	cmocka_unit_test(its_filter_swallows_messages_that_seem_sent),
	cmocka_unit_test(a_filter_can_shorten_the_payload),
	cmocka_unit_test(so_lock_filter_forbids_filters_for_good),
	cmocka_unit_test(its_shutdown_stops_pushes_and_keeps_the_locks),
	cmocka_unit_test(an_empty_message_reads_like_the_end),
	cmocka_unit_test(it_can_shrink_the_buffer_of_whoever_sends),
	cmocka_unit_test(it_cannot_reconnect_or_listen_on_a_pair),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
