/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding sockets by name: what sock_diag tells, and to whom. */
#include "tests/kernel/kernel.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <sched.h>
#include <sys/un.h>

#define TCP_ESTABLISHED 1 /* include/net/tcp_states.h */

/* One socket in the dump. */
struct found {
	bool present;
	uint32_t ino, peer;
	int type, state;
	int64_t uid; /* -1 if the kernel does not say */
	char name[108];
	size_t name_len;
};

static void dump_request(int nl)
{
	struct {
		struct nlmsghdr head;
		struct unix_diag_req req;
	} msg = {
		.head = { .nlmsg_len = sizeof(msg),
			  .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.req = { .sdiag_family = AF_UNIX,
			 .udiag_states = ~0U,
			 .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER |
				       UDIAG_SHOW_UID },
	};

	assert_int_equal(send(nl, &msg, sizeof(msg), 0), sizeof(msg));
}

static void found_parse(const struct nlmsghdr *head, struct found *ret_found)
{
	const struct unix_diag_msg *diag = NLMSG_DATA(head);
	int len = (int)NLMSG_PAYLOAD(head, sizeof(*diag));
	const struct rtattr *attr = (const void *)(diag + 1);

	*ret_found = (struct found){ .present = true,
				     .ino = diag->udiag_ino,
				     .type = diag->udiag_type,
				     .state = diag->udiag_state,
				     .uid = -1 };
	for (; RTA_OK(attr, len); attr = RTA_NEXT(attr, len)) {
		size_t n = RTA_PAYLOAD(attr);
		uint32_t value = 0;

		memcpy(&value, RTA_DATA(attr), MIN(n, sizeof(value)));
		if (attr->rta_type == UNIX_DIAG_PEER)
			ret_found->peer = value;
		if (attr->rta_type == UNIX_DIAG_UID)
			ret_found->uid = value;
		if (attr->rta_type == UNIX_DIAG_NAME && n < 108) {
			memcpy(ret_found->name, RTA_DATA(attr), n);
			ret_found->name_len = n;
		}
	}
}

/* Dump all and look for one inode. No assertion: a child calls it too. */
static int find(int nl, uint32_t ino, struct found *ret_found)
{
	static char buf[65536];

	ret_found->present = false;
	for (;;) {
		ssize_t got = recv(nl, buf, sizeof(buf), 0);
		struct nlmsghdr *head = (void *)buf;
		unsigned len = (unsigned)got;

		if (got <= 0)
			return -errno;
		for (; NLMSG_OK(head, len); head = NLMSG_NEXT(head, len)) {
			struct found found;

			if (head->nlmsg_type == NLMSG_DONE)
				return 0;
			if (head->nlmsg_type == NLMSG_ERROR)
				return ((int *)NLMSG_DATA(head))[0];
			found_parse(head, &found);
			if (found.ino == ino)
				*ret_found = found;
		}
	}
}

static int look_up(uint32_t ino, struct found *ret_found)
{
	_cleanup_(fd_closep) int nl =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (nl < 0)
		return -errno;
	dump_request(nl);
	return find(nl, ino, ret_found);
}

static uint32_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint32_t)st.st_ino;
}

static size_t bind_abstract(int sock, const char *text)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	size_t len = 1 + (size_t)snprintf(name.sun_path + 1, 100, "%s/%d", text,
					  getpid());

	assert_int_equal(bind(sock, (struct sockaddr *)&name,
			      (socklen_t)(sizeof(sa_family_t) + len)),
			 0);
	return len;
}

static void pair_close(int pair[2])
{
	fd_close(pair[0]);
	fd_close(pair[1]);
}

static void a_dump_shows_name_inode_peer_type_and_owner(void **state)
{
	struct found found;
	size_t len;
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	len = bind_abstract(pair[1], "guestlock-test/diag");
	assert_int_equal(look_up(inode_of(pair[1]), &found), 0);
	assert_true(found.present);
	assert_int_equal(found.peer, inode_of(pair[0]));
	assert_int_equal(found.type, SOCK_SEQPACKET);
	assert_int_equal(found.state, TCP_ESTABLISHED);
	assert_int_equal(found.name_len, len);
	assert_int_equal(found.name[0], '\0');
	assert_memory_equal(found.name + 1, "guestlock-test/diag/", 20);
	/* Linux 5.3 on. */
	assert_int_equal(found.uid, 0);
	pair_close(pair);
}

static void an_unnamed_socket_has_no_name(void **state)
{
	struct found found;
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(look_up(inode_of(pair[0]), &found), 0);
	assert_true(found.present);
	assert_int_equal(found.name_len, 0);
	pair_close(pair);
}

static void a_socket_in_flight_is_shown_too(void **state)
{
	struct found found;
	uint32_t ino;
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	ino = inode_of(pair[0]);
	fd_send(pair[0], pair[0]);
	close(pair[0]);
	assert_int_equal(look_up(ino, &found), 0);
	assert_true(found.present);
	assert_int_equal(found.peer, inode_of(pair[1]));
	close(pair[1]);
	assert_int_equal(look_up(ino, &found), 0);
	assert_false(found.present);
}

/* B has no peer any more once the last copy of A is closed. */
static void a_socket_without_its_peer_shows_none(void **state)
{
	struct found found;
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	close(pair[0]);
	assert_int_equal(look_up(inode_of(pair[1]), &found), 0);
	assert_true(found.present);
	assert_int_equal(found.peer, 0);
	close(pair[1]);
}

static int look_as_nobody(int sock, void *arg)
{
	struct found found;

	(void)sock;
	child_become_nobody();
	CHILD_CHECK(look_up(*(uint32_t *)arg, &found) == 0);
	CHILD_CHECK(found.present && found.name_len > 0);
	CHILD_CHECK(found.uid == 0);
	return 0;
}

static void everybody_may_dump(void **state)
{
	uint32_t ino;
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	bind_abstract(pair[1], "guestlock-test/nobody");
	ino = inode_of(pair[1]);
	assert_int_equal(child_run(look_as_nobody, &ino), 0);
	pair_close(pair);
}

static int look_from_another_namespace(int sock, void *arg)
{
	struct found found;

	(void)sock;
	CHILD_CHECK(unshare(CLONE_NEWNET) == 0);
	CHILD_CHECK(look_up(*(uint32_t *)arg, &found) == 0);
	return found.present;
}

static void another_network_namespace_is_another_world(void **state)
{
	uint32_t ino;
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	bind_abstract(pair[1], "guestlock-test/netns");
	ino = inode_of(pair[1]);
	assert_int_equal(child_run(look_from_another_namespace, &ino), 0);
	pair_close(pair);
}

static int be_in_another_namespace(int sock, void *arg)
{
	int pair[2];

	(void)arg;
	CHILD_CHECK(unshare(CLONE_NEWNET) == 0);
	CHILD_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	bind_abstract(pair[1], "guestlock-test/far");
	turn_give(sock);
	turn_take(sock);
	return 0;
}

static bool is_listed(pid_t pid, const char *text)
{
	char path[64], line[512];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/net/unix", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		found |= strstr(line, text) != NULL;
	fclose(f);
	return found;
}

static void proc_shows_the_sockets_of_a_process_in_another_one(void **state)
{
	struct child child;

	(void)state;
	child_start(&child, be_in_another_namespace, NULL);
	turn_take(child.sock);
	assert_true(is_listed(child.pid, "@guestlock-test/far/"));
	assert_false(is_listed(getpid(), "@guestlock-test/far/"));
	turn_give(child.sock);
	assert_int_equal(child_wait(&child), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_dump_shows_name_inode_peer_type_and_owner),
	cmocka_unit_test(an_unnamed_socket_has_no_name),
	cmocka_unit_test(a_socket_in_flight_is_shown_too),
	cmocka_unit_test(a_socket_without_its_peer_shows_none),
	cmocka_unit_test(everybody_may_dump),
	cmocka_unit_test(another_network_namespace_is_another_world),
	cmocka_unit_test(proc_shows_the_sockets_of_a_process_in_another_one),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT)
