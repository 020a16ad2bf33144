/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The receive queue of a socket pair: how it is walked, and how it fills. */
#include "tests/kernel/kernel.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

static void peek_off_set(int sock, int offset)
{
	assert_int_equal(setsockopt(sock, SOL_SOCKET, SO_PEEK_OFF, &offset,
				    sizeof(offset)),
			 0);
}

static int peek_off_get(int sock)
{
	socklen_t len = sizeof(int);
	int offset;

	assert_int_equal(getsockopt(sock, SOL_SOCKET, SO_PEEK_OFF, &offset,
				    &len),
			 0);
	return offset;
}

static void send_text(int sock, const char *text)
{
	int len = (int)strlen(text);

	assert_int_equal(fds_send(sock, text, strlen(text), &sock, 1), len);
}

static void assert_next(int sock, int flags, const char *text)
{
	struct fds_got got;

	fds_receive(sock, flags, &got);
	fds_got_close(&got);
	assert_int_equal(got.len, strlen(text));
	assert_memory_equal(got.data, text, strlen(text));
}

static void assert_end(int sock, int flags)
{
	struct fds_got got;

	fds_receive(sock, flags, &got);
	assert_int_equal(got.len, -EAGAIN);
}

/* A queue of three messages of different lengths. */
static void queue_three(int pair[2])
{
	pair_open(SOCK_SEQPACKET, pair);
	send_text(pair[0], "one");
	send_text(pair[0], "three");
	send_text(pair[0], "seventh");
}

static void pair_close(int pair[2])
{
	fd_close(pair[0]);
	fd_close(pair[1]);
}

static void without_peek_off_every_peek_sees_the_first(void **state)
{
	int pair[2];

	(void)state;
	queue_three(pair);
	assert_int_equal(peek_off_get(pair[1]), -1);
	assert_next(pair[1], MSG_PEEK, "one");
	assert_next(pair[1], MSG_PEEK, "one");
	pair_close(pair);
}

static void peek_off_walks_message_by_message(void **state)
{
	int pair[2];

	(void)state;
	queue_three(pair);
	peek_off_set(pair[1], 0);
	assert_next(pair[1], MSG_PEEK, "one");
	assert_int_equal(peek_off_get(pair[1]), 3);
	assert_next(pair[1], MSG_PEEK, "three");
	assert_int_equal(peek_off_get(pair[1]), 8);
	assert_next(pair[1], MSG_PEEK, "seventh");
	assert_end(pair[1], MSG_PEEK);
	assert_int_equal(peek_off_get(pair[1]), 15);
	send_text(pair[0], "late");
	assert_next(pair[1], MSG_PEEK, "late");
	pair_close(pair);
}

/* So an offset is also a name for a message, and a restart costs nothing. */
static void peek_off_can_start_at_any_message(void **state)
{
	int pair[2];

	(void)state;
	queue_three(pair);
	peek_off_set(pair[1], 8);
	assert_next(pair[1], MSG_PEEK, "seventh");
	peek_off_set(pair[1], 0);
	assert_next(pair[1], MSG_PEEK, "one");
	peek_off_set(pair[1], 4); /* within "three" */
	assert_next(pair[1], MSG_PEEK, "hree");
	assert_next(pair[1], MSG_PEEK, "seventh");
	pair_close(pair);
}

/* A payload that does not fit is skipped only as far as it was read. */
static void a_short_peek_advances_by_what_it_read(void **state)
{
	struct iovec iov = { (char[2]){}, 2 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int pair[2];

	(void)state;
	queue_three(pair);
	peek_off_set(pair[1], 3);
	assert_int_equal(recvmsg(pair[1], &msg, MSG_PEEK), 2);
	assert_true(msg.msg_flags & MSG_TRUNC);
	assert_int_equal(peek_off_get(pair[1]), 5);
	assert_next(pair[1], MSG_PEEK, "ree");
	pair_close(pair);
}

static void consuming_moves_peek_off_back(void **state)
{
	int pair[2];

	(void)state;
	queue_three(pair);
	peek_off_set(pair[1], 0);
	assert_next(pair[1], MSG_PEEK, "one");
	assert_next(pair[1], MSG_PEEK, "three");
	assert_next(pair[1], 0, "one");
	assert_int_equal(peek_off_get(pair[1]), 5);
	assert_next(pair[1], MSG_PEEK, "seventh");
	pair_close(pair);
}

static void consuming_always_takes_the_first(void **state)
{
	int pair[2];

	(void)state;
	queue_three(pair);
	peek_off_set(pair[1], 8);
	assert_next(pair[1], 0, "one");
	assert_next(pair[1], 0, "three");
	assert_next(pair[1], 0, "seventh");
	assert_end(pair[1], 0);
	assert_int_equal(peek_off_get(pair[1]), 0);
	pair_close(pair);
}

static int peek_once(int sock, void *arg)
{
	struct fds_got got;

	(void)sock;
	fds_receive(*(int *)arg, MSG_PEEK, &got);
	return got.len;
}

/* Two readers steal messages from each other: hence the mutex on the memfd. */
static void peek_off_is_shared_by_all_duplicates(void **state)
{
	int pair[2], copy;

	(void)state;
	queue_three(pair);
	copy = fcntl(pair[1], F_DUPFD_CLOEXEC, 0);
	peek_off_set(pair[1], 0);
	assert_next(copy, MSG_PEEK, "one");
	assert_int_equal(child_run(peek_once, &pair[1]), strlen("three"));
	assert_next(pair[1], MSG_PEEK, "seventh");
	close(copy);
	pair_close(pair);
}

static void siocinq_is_the_sum_of_the_payloads(void **state)
{
	int pair[2], n = -1;

	(void)state;
	queue_three(pair);
	assert_int_equal(ioctl(pair[1], SIOCINQ, &n), 0);
	assert_int_equal(n, 3 + 5 + 7);
	assert_next(pair[1], 0, "one");
	assert_int_equal(ioctl(pair[1], SIOCINQ, &n), 0);
	assert_int_equal(n, 5 + 7);
	pair_close(pair);
}

static int max_dgram_qlen(void)
{
	FILE *f = fopen("/proc/sys/net/unix/max_dgram_qlen", "re");
	int n;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &n), 1);
	fclose(f);
	return n;
}

static int fill(int sock, const void *data, size_t len)
{
	int n = 0, sent;

	while ((sent = fds_send(sock, data, len, &sock, 1)) > 0)
		n++;
	assert_int_equal(sent, -EAGAIN);
	return n;
}

static void only_the_send_buffer_bounds_the_queue(void **state)
{
	int pair[2], big = 4 << 20, n;
	static char page[4096];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	/* Twice what is asked for, but at most net.core.wmem_max. */
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &big,
				    sizeof(big)),
			 0);
	n = fill(pair[0], "x", 1);
	printf("%d messages of 1 byte, max_dgram_qlen %d\n", n,
	       max_dgram_qlen());
	assert_true(n >= 200);
	assert_true(n > max_dgram_qlen() || max_dgram_qlen() > 200);
	assert_next(pair[1], 0, "x");
	assert_int_equal(fds_send(pair[0], "x", 1, NULL, 0), 1);
	pair_close(pair);

	pair_open(SOCK_SEQPACKET, pair);
	n = fill(pair[0], page, sizeof(page));
	printf("%d messages of 4096 bytes in the default buffer\n", n);
	assert_true(n >= 8);
	pair_close(pair);
}

static void the_bound_is_the_senders_not_the_receivers(void **state)
{
	int pair[2], small = 1, n;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	setsockopt(pair[1], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	n = fill(pair[0], "x", 1);
	pair_close(pair);
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(fill(pair[0], "x", 1), n);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	assert_next(pair[1], 0, "x");
	assert_end(pair[0], 0);
	assert_int_equal(fds_send(pair[0], "x", 1, NULL, 0), -EAGAIN);
	pair_close(pair);
}

static void a_message_larger_than_the_buffer_is_refused(void **state)
{
	int pair[2], small = 8192;
	static char large[65536];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	assert_int_equal(fds_send(pair[0], large, sizeof(large), NULL, 0),
			 -EMSGSIZE);
	assert_end(pair[1], 0);
	pair_close(pair);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(without_peek_off_every_peek_sees_the_first),
	cmocka_unit_test(peek_off_walks_message_by_message),
	cmocka_unit_test(peek_off_can_start_at_any_message),
	cmocka_unit_test(a_short_peek_advances_by_what_it_read),
	cmocka_unit_test(consuming_moves_peek_off_back),
	cmocka_unit_test(consuming_always_takes_the_first),
	cmocka_unit_test(peek_off_is_shared_by_all_duplicates),
	cmocka_unit_test(siocinq_is_the_sum_of_the_payloads),
	cmocka_unit_test(only_the_send_buffer_bounds_the_queue),
	cmocka_unit_test(the_bound_is_the_senders_not_the_receivers),
	cmocka_unit_test(a_message_larger_than_the_buffer_is_refused),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
