/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Abstract names, and who the kernel says made a socket. */
#include "tests/kernel/kernel.h"

#include <sys/un.h>

static const char name_text[] = "\0guestlock-test/kernel/name";

static void pair_close(int pair[2])
{
	fd_close(pair[0]);
	fd_close(pair[1]);
}

static socklen_t name_make(struct sockaddr_un *ret_name, const char *suffix)
{
	size_t len = sizeof(name_text) - 1;

	ret_name->sun_family = AF_UNIX;
	memcpy(ret_name->sun_path, name_text, len);
	len += (size_t)snprintf(ret_name->sun_path + len, 64, "/%d/%s",
				getpid(), suffix);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

static int name_bind(int sock, const char *suffix)
{
	struct sockaddr_un name;
	socklen_t len = name_make(&name, suffix);

	return bind(sock, (struct sockaddr *)&name, len) ? -errno : 0;
}

static void assert_named(int sock, const char *suffix)
{
	struct sockaddr_un expected, name;
	socklen_t expected_len = name_make(&expected, suffix);
	socklen_t len = sizeof(name);

	assert_int_equal(getsockname(sock, (struct sockaddr *)&name, &len), 0);
	assert_int_equal(len, expected_len);
	assert_memory_equal(name.sun_path, expected.sun_path,
			    len - offsetof(struct sockaddr_un, sun_path));
}

static void one_end_of_a_pair_can_be_named_once(void **state)
{
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(name_bind(pair[1], "a"), 0);
	assert_int_equal(name_bind(pair[1], "a"), -EINVAL);
	assert_int_equal(name_bind(pair[1], "b"), -EINVAL);
	assert_named(pair[1], "a");
	/* The pair goes on working. */
	assert_int_equal(fds_send(pair[0], "x", 1, NULL, 0), 1);
	pair_close(pair);
}

static void a_duplicate_tells_the_name_and_cannot_change_it(void **state)
{
	int pair[2], copy;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(name_bind(pair[1], "a"), 0);
	copy = dup(pair[1]);
	assert_named(copy, "a");
	assert_int_equal(name_bind(copy, "b"), -EINVAL);
	close(copy);
	pair_close(pair);
}

static void a_name_is_taken_as_long_as_its_socket_lives(void **state)
{
	int pair[2], other[2], carrier[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	pair_open(SOCK_SEQPACKET, other);
	pair_open(SOCK_SEQPACKET, carrier);
	assert_int_equal(name_bind(pair[1], "a"), 0);
	assert_int_equal(name_bind(other[1], "a"), -EADDRINUSE);
	fd_send(carrier[0], pair[1]);
	pair_close(pair);
	assert_int_equal(name_bind(other[1], "a"), -EADDRINUSE);
	pair_close(carrier);
	assert_int_equal(name_bind(other[1], "a"), 0);
	pair_close(other);
}

/* The sender's address tells which end wrote: guests may write into A too. */
static void a_message_bears_the_name_of_the_socket_that_sent_it(void **state)
{
	struct sockaddr_un name;
	struct msghdr msg = { .msg_name = &name, .msg_namelen = sizeof(name) };
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(name_bind(pair[1], "a"), 0);
	assert_int_equal(fds_send(pair[0], "x", 1, NULL, 0), 1);
	assert_int_equal(fds_send(pair[1], "y", 1, NULL, 0), 1);
	assert_int_equal(recvmsg(pair[1], &msg, 0), 0);
	assert_int_equal(msg.msg_namelen, 0);
	msg.msg_namelen = sizeof(name);
	assert_int_equal(recvmsg(pair[0], &msg, 0), 0);
	assert_true(msg.msg_namelen > 3 && name.sun_path[0] == '\0');
	pair_close(pair);
}

static void the_peer_of_a_pair_is_its_maker(void **state)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct stat st;
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(getsockopt(pair[i], SOL_SOCKET, SO_PEERCRED,
					    &cred, &len),
				 0);
		assert_int_equal(cred.pid, getpid());
		assert_int_equal(cred.uid, geteuid());
		assert_int_equal(fstat(pair[i], &st), 0);
		assert_int_equal(st.st_uid, geteuid());
		assert_true(S_ISSOCK(st.st_mode));
	}
	pair_close(pair);
}

static int is_maker_my_parent(int sock, void *arg)
{
	int *pair = arg;
	struct ucred cred;
	socklen_t len = sizeof(cred);

	(void)sock;
	CHILD_CHECK(getsockopt(pair[1], SOL_SOCKET, SO_PEERCRED, &cred, &len) ==
		    0);
	CHILD_CHECK(cred.pid == getppid());
	return 0;
}

static void inheriting_does_not_change_the_maker(void **state)
{
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(child_run(is_maker_my_parent, pair), 0);
	pair_close(pair);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(one_end_of_a_pair_can_be_named_once),
	cmocka_unit_test(a_duplicate_tells_the_name_and_cannot_change_it),
	cmocka_unit_test(a_name_is_taken_as_long_as_its_socket_lives),
	cmocka_unit_test(a_message_bears_the_name_of_the_socket_that_sent_it),
	cmocka_unit_test(the_peer_of_a_pair_is_its_maker),
	cmocka_unit_test(inheriting_does_not_change_the_maker),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
