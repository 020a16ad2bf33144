/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What another user can do, and what bounds an unprivileged one. */
#include "tests/kernel/kernel.h"

#include <linux/sockios.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void pair_close(int pair[2])
{
	fd_close(pair[0]);
	fd_close(pair[1]);
}

static void limit_files(rlim_t n)
{
	struct rlimit limit = { .rlim_cur = n, .rlim_max = n };

	CHILD_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* How many descriptors can be sent one by one before ETOOMANYREFS. */
static int count_sends(int sock)
{
	int n = 0, sent;

	while ((sent = fds_send(sock, "x", 1, &sock, 1)) > 0)
		n++;
	CHILD_CHECK(sent == -ETOOMANYREFS);
	return n;
}

static int hit_the_limit(int sock, void *arg)
{
	struct fds_got got;
	int pair[2], more[2];

	(void)sock;
	(void)arg;
	CHILD_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	CHILD_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, more) == 0);
	limit_files(64);
	child_become_nobody();
	CHILD_CHECK(count_sends(pair[0]) == 65);
	/* It is the user's, not the socket's. */
	CHILD_CHECK(fds_send(more[0], "x", 1, more, 1) == -ETOOMANYREFS);
	CHILD_CHECK(fds_send(more[0], "x", 1, NULL, 0) == 1);
	/* Received is not in flight; a peek takes nothing out. */
	fds_receive(pair[1], MSG_PEEK, &got);
	fds_got_close(&got);
	CHILD_CHECK(fds_send(more[0], "x", 1, more, 1) == -ETOOMANYREFS);
	fds_receive(pair[1], 0, &got);
	fds_got_close(&got);
	CHILD_CHECK(fds_send(more[0], "x", 1, more, 1) == 1);
	CHILD_CHECK(fds_send(more[0], "x", 1, more, 1) == -ETOOMANYREFS);
	return 0;
}

static void rlimit_nofile_bounds_a_users_descriptors_in_flight(void **state)
{
	(void)state;
	assert_int_equal(child_run(hit_the_limit, NULL), 0);
}

static int overshoot(int sock, void *arg)
{
	int pair[2], fds[SCM_MAX_FD_COUNT];

	(void)sock;
	(void)arg;
	CHILD_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = pair[0];
	limit_files(64);
	child_become_nobody();
	/* Only what is in flight before the message counts. */
	CHILD_CHECK(fds_send(pair[0], "x", 1, fds, ARRAY_SIZE(fds)) == 1);
	CHILD_CHECK(fds_send(pair[0], "x", 1, fds, 1) == -ETOOMANYREFS);
	return 0;
}

static void one_message_may_overshoot_the_limit(void **state)
{
	(void)state;
	assert_int_equal(child_run(overshoot, NULL), 0);
}

static int fill_as_nobody(int sock, void *arg)
{
	(void)arg;
	limit_files(64);
	child_become_nobody();
	CHILD_CHECK(count_sends(sock) == 65);
	turn_take(sock);
	return 0;
}

static int can_send(int sock, void *arg)
{
	int sent;

	(void)arg;
	limit_files(64);
	child_become_nobody();
	sent = fds_send(sock, "x", 1, &sock, 1);
	return sent < 0 ? -sent : 0;
}

/* Each guest's own user: the account is the sender's, also when it is dead. */
static void in_flight_counts_for_the_user_who_sent(void **state)
{
	struct child sender;
	struct fds_got got;
	int n = 0;

	(void)state;
	child_start(&sender, fill_as_nobody, NULL);
	for (int i = 0; i < 20000 && n < 65; i++) {
		assert_int_equal(ioctl(sender.sock, SIOCINQ, &n), 0);
		usleep(1000);
	}
	kill(sender.pid, SIGKILL);
	child_await_zombie(&sender);
	assert_int_equal(child_run(can_send, NULL), ETOOMANYREFS);
	do {
		fds_receive(sender.sock, 0, &got);
		fds_got_close(&got);
	} while (got.len > 0);
	assert_int_equal(child_run(can_send, NULL), 0);
	assert_int_equal(child_wait(&sender), 128 + SIGKILL);
}

static void root_is_not_bounded(void **state)
{
	struct rlimit old, tight;
	int pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	for (int i = 0; i < 200; i++)
		fd_send(pair[0], pair[0]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	pair_close(pair);
}

/* A capsule that nobody made, handed to us. */
static int make_as_nobody(int sock, void *arg)
{
	int pair[2];

	(void)arg;
	child_become_nobody();
	CHILD_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	CHILD_CHECK(fds_send(sock, "x", 1, &pair[1], 1) == 1);
	turn_take(sock);
	return 0;
}

static void a_sockets_owner_and_peer_are_who_made_it(void **state)
{
	struct child maker;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct stat st;
	int fd;

	(void)state;
	child_start(&maker, make_as_nobody, NULL);
	turn_await(maker.sock);
	fd = fd_receive(maker.sock, 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_uid, nobody());
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len),
			 0);
	assert_int_equal(cred.uid, nobody());
	assert_int_equal(cred.pid, maker.pid);
	close(fd);
	turn_give(maker.sock);
	assert_int_equal(child_wait(&maker), 0);
}

static int try_to_give_away(int sock, void *arg)
{
	int fds[2], memfd;

	(void)sock;
	(void)arg;
	child_become_nobody();
	CHILD_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) == 0);
	CHILD_CHECK(fchown(fds[0], 0, (gid_t)-1) < 0 && errno == EPERM);
	memfd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHILD_CHECK(memfd >= 0);
	CHILD_CHECK(fchown(memfd, 0, (gid_t)-1) < 0 && errno == EPERM);
	return 0;
}

/* So the owner that fstat() and sock_diag tell cannot be forged. */
static void nobody_cannot_make_a_socket_or_memfd_look_like_roots(void **state)
{
	(void)state;
	assert_int_equal(child_run(try_to_give_away, NULL), 0);
}

static int getfd(pid_t pid, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int got = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	int err = errno;

	fd_close(pidfd);
	return got < 0 ? -err : got;
}

static int steal_from(int sock, void *arg)
{
	(void)sock;
	child_become_nobody();
	CHILD_CHECK(getfd(*(pid_t *)arg, 0) == -EPERM);
	return 0;
}

static void nobody_cannot_borrow_a_descriptor_of_root(void **state)
{
	pid_t self = getpid();

	(void)state;
	assert_int_equal(child_run(steal_from, &self), 0);
}

static int hold_as_nobody(int sock, void *arg)
{
	child_become_nobody();
	CHILD_CHECK(prctl(PR_SET_DUMPABLE, *(int *)arg) == 0);
	turn_give(sock);
	turn_take(sock);
	return 0;
}

static int borrow_as_nobody(int sock, void *arg)
{
	int fd;

	(void)sock;
	child_become_nobody();
	fd = getfd(*(pid_t *)arg, 0);
	return fd < 0 ? -fd : 0;
}

static void root_can_borrow_from_anybody(void **state)
{
	int undumpable = 0, fd;
	struct child holder;

	(void)state;
	child_start(&holder, hold_as_nobody, &undumpable);
	turn_take(holder.sock);
	fd = getfd(holder.pid, 0);
	assert_true(fd >= 0);
	close(fd);
	turn_give(holder.sock);
	assert_int_equal(child_wait(&holder), 0);
}

/* A VMM that changed its user or has capabilities is not dumpable. */
static void the_same_user_cannot_borrow_from_the_undumpable(void **state)
{
	int undumpable = 0;
	struct child holder;

	(void)state;
	child_start(&holder, hold_as_nobody, &undumpable);
	turn_take(holder.sock);
	assert_int_equal(child_run(borrow_as_nobody, &holder.pid), EPERM);
	turn_give(holder.sock);
	assert_int_equal(child_wait(&holder), 0);
}

static int yama_scope(void)
{
	FILE *f = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
	int scope = 0;

	if (!f)
		return 0;
	assert_int_equal(fscanf(f, "%d", &scope), 1);
	fclose(f);
	return scope;
}

static void the_same_user_can_borrow_unless_yama_forbids(void **state)
{
	int dumpable = 1, expected = yama_scope() ? EPERM : 0;
	struct child holder;

	(void)state;
	child_start(&holder, hold_as_nobody, &dumpable);
	turn_take(holder.sock);
	assert_int_equal(child_run(borrow_as_nobody, &holder.pid), expected);
	turn_give(holder.sock);
	assert_int_equal(child_wait(&holder), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(rlimit_nofile_bounds_a_users_descriptors_in_flight),
	cmocka_unit_test(one_message_may_overshoot_the_limit),
	cmocka_unit_test(in_flight_counts_for_the_user_who_sent),
	cmocka_unit_test(root_is_not_bounded),
	cmocka_unit_test(a_sockets_owner_and_peer_are_who_made_it),
	cmocka_unit_test(nobody_cannot_make_a_socket_or_memfd_look_like_roots),
	cmocka_unit_test(nobody_cannot_borrow_a_descriptor_of_root),
	cmocka_unit_test(root_can_borrow_from_anybody),
	cmocka_unit_test(the_same_user_cannot_borrow_from_the_undumpable),
	cmocka_unit_test(the_same_user_can_borrow_unless_yama_forbids),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT)
