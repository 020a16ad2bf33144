/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When a queue with locks in it dies: never before its last holder, and then
 * at once. The capsule's queue carries its own sending end, and its messages
 * may be sockets with queues of their own.
 */
#include "tests/kernel/kernel.h"

#include <signal.h>

#define ROUNDS 30

static void pair_close(int pair[2])
{
	fd_close(pair[0]);
	fd_close(pair[1]);
}

/*
 * A socket whose queue holds its own peer and a lock; we keep the socket alone.
 */
static int self_carrying(const char *name, const char **ret_path)
{
	int fds[2], pair[2];

	pair_open(SOCK_SEQPACKET, pair);
	fds[0] = pair[0];
	fds[1] = file_locked(name, ret_path);
	assert_int_equal(fds_send(pair[0], "x", 1, fds, 2), 1);
	close(fds[0]);
	close(fds[1]);
	return pair[1];
}

static void a_queue_may_carry_its_own_sender(void **state)
{
	const char *path;
	int sock = self_carrying("a", &path);
	struct fds_got got;

	(void)state;
	sockets_collect();
	sockets_collect();
	assert_false(test_lockable(path, F_WRLCK));
	/* and through it, more can be pushed */
	fds_receive(sock, MSG_PEEK, &got);
	assert_int_equal(got.n, 2);
	assert_int_equal(fds_send(got.fds[0], "more", 4, NULL, 0), 4);
	fds_got_close(&got);
	sockets_collect();
	assert_false(test_lockable(path, F_WRLCK));
	close(sock);
	assert_true(test_lockable(path, F_WRLCK));
}

static void it_dies_as_soon_as_its_last_descriptor_closes(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		const char *path;
		int sock = self_carrying("a", &path), copy = dup(sock);

		close(sock);
		assert_false(test_lockable(path, F_WRLCK));
		close(copy);
		assert_true(test_lockable(path, F_WRLCK));
	}
}

/* Why end B is never parked in its own queue. */
static void a_queue_that_carries_itself_is_collected(void **state)
{
	const char *path;
	int pair[2], lock = file_locked("a", &path);

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	fd_send(pair[0], lock);
	fd_send(pair[0], pair[1]);
	close(lock);
	sockets_collect();
	assert_false(test_lockable(path, F_WRLCK)); /* still ours */
	pair_close(pair);
	for (int i = 0; i < 200 && !test_lockable(path, F_WRLCK); i++)
		sockets_collect();
	assert_true(test_lockable(path, F_WRLCK));
}

/* A socket whose queue holds locks, as something to be sent. */
static int bundle(const char *name, const char **ret_path)
{
	int pair[2], lock = file_locked(name, ret_path);

	pair_open(SOCK_SEQPACKET, pair);
	fd_send(pair[0], lock);
	close(lock);
	close(pair[0]);
	return pair[1];
}

static void a_bundle_in_flight_keeps_its_locks(void **state)
{
	const char *inner, *outer;
	int sock = self_carrying("outer", &outer), bundled, fd;
	struct fds_got got;

	(void)state;
	fds_receive(sock, MSG_PEEK, &got);
	bundled = bundle("inner", &inner);
	fd_send(got.fds[0], bundled);
	close(bundled);
	fds_got_close(&got);
	sockets_collect();
	sockets_collect();
	assert_false(test_lockable(inner, F_WRLCK));
	assert_int_equal(setsockopt(sock, SOL_SOCKET, SO_PEEK_OFF, &(int){ 1 },
				    sizeof(int)),
			 0);
	bundled = fd_receive(sock, MSG_PEEK);
	fd = fd_receive(bundled, MSG_PEEK);
	assert_int_equal(lock_byte(fd, F_WRLCK, 0), 0);
	close(fd);
	close(bundled);
	sockets_collect();
	assert_false(test_lockable(inner, F_WRLCK));
	close(sock);
	assert_true(test_lockable(inner, F_WRLCK));
	assert_true(test_lockable(outer, F_WRLCK));
}

/* Kernels with the collector of before 6.10 stop at about four levels. */
static void nesting_is_bounded(void **state)
{
	const char *path;
	int sock = bundle("deepest", &path), depth = 0, err = 0;

	(void)state;
	while (!err && depth < 50) {
		int pair[2];

		pair_open(SOCK_SEQPACKET, pair);
		err = fds_send(pair[0], "x", 1, &sock, 1);
		close(pair[0]);
		if (err < 0) {
			close(pair[1]);
			break;
		}
		err = 0;
		close(sock);
		sock = pair[1];
		depth++;
	}
	printf("%d levels of bundles\n", depth);
	assert_true(depth >= 3);
	if (err)
		assert_int_equal(err, -ETOOMANYREFS);
	assert_false(test_lockable(path, F_WRLCK));
	close(sock);
	assert_true(test_lockable(path, F_WRLCK));
}

static int hold(int sock, void *arg)
{
	(void)arg;
	turn_give(sock);
	pause();
	return 0;
}

/* Invariant I3: before its parent can know of the death, the locks are free. */
static void a_killed_holder_frees_it_before_it_is_a_zombie(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct child guest;
		const char *path;
		int sock = self_carrying("a", &path);

		child_start(&guest, hold, NULL);
		turn_take(guest.sock);
		close(sock);
		assert_false(test_lockable(path, F_WRLCK));
		kill(guest.pid, SIGKILL);
		child_await_zombie(&guest);
		assert_true(test_lockable(path, F_WRLCK));
		assert_int_equal(child_wait(&guest), 128 + SIGKILL);
	}
}

static void bundles_of_a_killed_holder_are_free_too(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct child guest;
		const char *path;
		int pair[2], inner = bundle("a", &path);

		pair_open(SOCK_SEQPACKET, pair);
		fd_send(pair[0], inner);
		fd_send(pair[0], pair[0]);
		close(inner);
		child_start(&guest, hold, NULL);
		turn_take(guest.sock);
		pair_close(pair);
		assert_false(test_lockable(path, F_WRLCK));
		kill(guest.pid, SIGKILL);
		child_await_zombie(&guest);
		assert_true(test_lockable(path, F_WRLCK));
		assert_int_equal(child_wait(&guest), 128 + SIGKILL);
	}
}

static int hold_with_a_heir(int sock, void *arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		while (getppid() != 1)
			usleep(1000);
		turn_give(sock);
		turn_take(sock);
		_exit(0);
	}
	return hold(sock, arg);
}

/* The case that the monitor calls "lingering". */
static void the_holders_child_keeps_it_until_it_dies_too(void **state)
{
	const char *path;
	int sock = self_carrying("a", &path);
	struct child guest;

	(void)state;
	child_start(&guest, hold_with_a_heir, NULL);
	turn_take(guest.sock);
	close(sock);
	kill(guest.pid, SIGKILL);
	child_await_zombie(&guest);
	turn_take(guest.sock); /* the heir lives */
	assert_false(test_lockable(path, F_WRLCK));
	turn_give(guest.sock);
	assert_true(test_becomes_free(path, 20000));
	assert_int_equal(child_wait(&guest), 128 + SIGKILL);
}

/* Somebody who looks keeps it as well, so looking must be short. */
static void a_borrowed_duplicate_keeps_it(void **state)
{
	const char *path;
	int sock = self_carrying("a", &path);
	struct fds_got got;

	(void)state;
	fds_receive(sock, MSG_PEEK, &got);
	close(sock);
	assert_false(test_lockable(path, F_WRLCK));
	fds_got_close(&got);
	assert_true(test_lockable(path, F_WRLCK));
}

static int collect_and_peek(int sock, void *arg)
{
	char byte;

	(void)arg;
	turn_give(sock);
	while (recv(sock, &byte, 1, MSG_DONTWAIT) < 0) {
		int fds[2];

		pair_open(SOCK_SEQPACKET, fds);
		fd_send(fds[0], fds[1]);
		fd_close(fd_receive(fds[1], MSG_PEEK));
		fd_close(fds[1]);
		fd_close(fds[0]); /* starts the collector */
	}
	return 0;
}

/*
 * Kernels before 2026 could take a peeked socket for dead. Not one whose
 * queue is somebody's: that ends every search of the collector.
 */
static void peeks_while_the_collector_runs_lose_nothing(void **state)
{
	const char *inner, *outer;
	int sock = self_carrying("outer", &outer), bundled;
	struct child collector;
	struct fds_got got;

	(void)state;
	fds_receive(sock, MSG_PEEK, &got);
	bundled = bundle("inner", &inner);
	fd_send(got.fds[0], bundled);
	close(bundled);
	fds_got_close(&got);
	child_start(&collector, collect_and_peek, NULL);
	turn_take(collector.sock);
	for (int i = 0; i < 2000; i++) {
		setsockopt(sock, SOL_SOCKET, SO_PEEK_OFF, &(int){ 0 },
			   sizeof(int));
		for (size_t n = 2; n > 0; n--) {
			fds_receive(sock, MSG_PEEK, &got);
			assert_int_equal(got.n, n);
			fds_got_close(&got);
		}
	}
	turn_give(collector.sock);
	assert_int_equal(child_wait(&collector), 0);
	assert_false(test_lockable(inner, F_WRLCK));
	assert_false(test_lockable(outer, F_WRLCK));
	close(sock);
	assert_true(test_lockable(inner, F_WRLCK));
	assert_true(test_lockable(outer, F_WRLCK));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_queue_may_carry_its_own_sender),
	cmocka_unit_test(it_dies_as_soon_as_its_last_descriptor_closes),
	cmocka_unit_test(a_queue_that_carries_itself_is_collected),
	cmocka_unit_test(a_bundle_in_flight_keeps_its_locks),
	cmocka_unit_test(nesting_is_bounded),
	cmocka_unit_test(a_killed_holder_frees_it_before_it_is_a_zombie),
	cmocka_unit_test(bundles_of_a_killed_holder_are_free_too),
	cmocka_unit_test(the_holders_child_keeps_it_until_it_dies_too),
	cmocka_unit_test(a_borrowed_duplicate_keeps_it),
	cmocka_unit_test(peeks_while_the_collector_runs_lose_nothing),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
