/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Leases (F_SETLEASE) as a question: does anybody else have this file open? A
 * write lease is granted only if nobody does.
 */
#include "tests/kernel/kernel.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

static int lease(int fd, int type)
{
	return fcntl(fd, F_SETLEASE, type) ? -errno : 0;
}

/* The answer of the question; leaves nothing behind. */
static int ask(int fd)
{
	int r = lease(fd, F_WRLCK);

	if (!r)
		assert_int_equal(lease(fd, F_UNLCK), 0);
	assert_int_equal(fcntl(fd, F_GETLEASE), F_UNLCK);
	return r;
}

static void every_other_open_file_is_seen(void **state)
{
	const char *path = test_file("open", 4096);
	static const int flags[] = { O_RDONLY, O_WRONLY, O_RDWR };
	int fd = file_open(path, O_RDWR), pair[2], other;
	void *map;

	(void)state;
	assert_int_equal(ask(fd), 0);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		other = file_open(path, flags[i]);
		assert_int_equal(ask(fd), -EAGAIN);
		close(other);
		assert_int_equal(ask(fd), 0);
	}

	other = file_open(path, O_RDONLY);
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	close(other);
	assert_int_equal(ask(fd), -EAGAIN);
	munmap(map, 4096);

	pair_open(SOCK_SEQPACKET, pair);
	other = file_open(path, O_RDONLY);
	fd_send(pair[0], other);
	close(other);
	assert_int_equal(ask(fd), -EAGAIN);
	close(fd_receive(pair[1], 0));
	assert_int_equal(ask(fd), 0);

	close(pair[0]);
	close(pair[1]);
	close(fd);
}

static void what_is_no_other_open_file_is_not_seen(void **state)
{
	const char *path = test_file("quiet", 4096);
	int fd = file_open(path, O_RDWR), other;

	(void)state;
	other = file_open(path, O_PATH);
	assert_int_equal(ask(fd), 0);
	close(other);
	other = dup(fd);
	assert_int_equal(ask(fd), 0);
	close(other);
	assert_int_equal(lock_byte(fd, F_WRLCK, 0), 0);
	assert_int_equal(ask(fd), 0);
	close(fd);
}

static int ask_as_nobody(int sock, void *arg)
{
	int fd;

	(void)sock;
	child_become_nobody();
	fd = open(arg, O_RDWR | O_CLOEXEC);
	CHILD_CHECK(fd >= 0);
	return lease(fd, F_WRLCK) == -EACCES ? 0 : 1;
}

static void only_the_owner_may_ask(void **state)
{
	const char *path = test_file("others", 0);

	(void)state;
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(chmod(test_dir(), 0755), 0);
	assert_int_equal(child_run(ask_as_nobody, (void *)path), 0);
}

static volatile int signals;

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

/* Whoever owns the file gets its signals, even when he has ended. */
static void *own(void *arg)
{
	struct f_owner_ex owner = { F_OWNER_TID, gettid() };

	return fcntl(*(int *)arg, F_SETOWN_EX, &owner) ? arg : NULL;
}

static int open_until_told(int sock, void *arg)
{
	char c;

	turn_give(sock);
	while (recv(sock, &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0) {
		int fd = open(arg, O_RDWR | O_CLOEXEC);

		CHILD_CHECK(fd >= 0);
		close(fd);
	}
	return 0;
}

/* Is a lease broken now? @fd has it. */
static bool breaks(int fd)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (fcntl(fd, F_GETLEASE) != F_WRLCK)
			return true;
	} while (now.tv_sec < start.tv_sec + 20);
	return false;
}

/* Give @fd a lease and let it be broken. Return: how many signals came. */
static int broken(int fd, const char *path)
{
	struct child child;
	int r;

	signals = 0;
	child_start(&child, open_until_told, (void *)path);
	turn_take(child.sock);
	do {
		r = lease(fd, F_WRLCK);
	} while (r == -EAGAIN);
	assert_int_equal(r, 0);
	assert_true(breaks(fd));
	assert_int_equal(lease(fd, F_UNLCK), 0);
	turn_give(child.sock);
	assert_int_equal(child_wait(&child), 0);
	return signals;
}

static void who_breaks_a_lease_signals_its_owner_unless_he_has_ended(
	void **state)
{
	struct sigaction action = { .sa_handler = on_signal }, old;
	const char *path = test_file("broken", 0);
	int fd = file_open(path, O_RDWR);
	pthread_t thread;
	void *failed;

	(void)state;
	assert_int_equal(sigaction(SIGIO, &action, &old), 0);
	assert_int_equal(broken(fd, path), 1);

	assert_int_equal(pthread_create(&thread, NULL, own, &fd), 0);
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
	assert_int_equal(broken(fd, path), 0);

	/* Taking a lease makes its taker the owner only if there is none. */
	assert_int_equal(fcntl(fd, F_SETOWN, 0), 0);
	assert_int_equal(broken(fd, path), 1);
	sigaction(SIGIO, &old, NULL);
	close(fd);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_other_open_file_is_seen),
	cmocka_unit_test(what_is_no_other_open_file_is_not_seen),
	cmocka_unit_test(only_the_owner_may_ask),
	cmocka_unit_test(
		who_breaks_a_lease_signals_its_owner_unless_he_has_ended),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT)
