/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/ring.h"

#include "tests/unit/engine_ops.h"

#include <signal.h>

#define MANY (2 * RING_ENTRIES + 7)

static struct op ops[MANY];

static struct ring *new_ring(void)
{
	struct ring *ring = NULL;
	const char *why = NULL;

	assert_int_equal(ring_new(&ring, &why), 0);
	assert_non_null(ring);
	assert_null(why);
	return ring;
}

/* Kernel threads that work for this process. */
static unsigned count_kernel_workers(void)
{
	return count_tasks("iou-wrk");
}

static void the_best_flags_are_used(void **state)
{
	struct ring *ring = new_ring();

	(void)state;
	if (!strcmp(ring->flags, "defer-taskrun"))
		assert_true(feature_allowed(FEATURE_DEFER_TASKRUN));
	else if (!strcmp(ring->flags, "coop-taskrun"))
		assert_true(feature_allowed(FEATURE_COOP_TASKRUN));
	else
		assert_string_equal(ring->flags, "plain");
	ring_free(ring);
}

/*
 * A rename anywhere on the host makes the kernel give up a cached walk: that
 * answer is right, too, but not always.
 */
static void run_opens(struct ring *ring, size_t n)
{
	assert_int_equal(ring_run_opens(ring, ops, n), 0);
	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < TRIES && ops[i].res == -EAGAIN; k++)
			assert_int_equal(ring_run_opens(ring, &ops[i], 1), 0);
}

static void more_opens_than_entries_are_all_answered(void **state)
{
	const char *path = test_file("f", 0);
	struct ring *ring = new_ring();

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		ops[i] = op_open(AT_FDCWD, i % 3 ? path : "/absent", O_RDWR);
	run_opens(ring, MANY);
	for (size_t i = 0; i < MANY; i++) {
		if (i % 3) {
			assert_true(ops[i].res >= 0);
			close(ops[i].res);
		} else {
			assert_true(ops[i].res == -ENOENT ||
				    ops[i].res == -EAGAIN);
		}
	}
	ring_free(ring);
}

/*
 * What ring.c builds on: with RESOLVE_CACHED an open is answered while it is
 * submitted, by -EAGAIN if need be, and never given to a kernel thread. The
 * paths here are one that no cache helps with, and a file that is leased.
 */
static void an_open_that_would_wait_is_refused_and_leaves_nothing(void **state)
{
	const char *leased = test_file("leased", 0);
	struct ring *ring = new_ring();
	int fd = must_open(leased, O_RDWR);
	char magic[40];

	(void)state;
	snprintf(magic, sizeof(magic), "/proc/self/fd/%d", fd);
	signal(SIGIO, SIG_IGN);
	assert_int_equal(fcntl(fd, F_SETLEASE, F_WRLCK), 0);
	for (size_t i = 0; i < MANY; i++)
		ops[i] = op_open(AT_FDCWD, i % 2 ? magic : leased, O_RDWR);
	assert_int_equal(ring_run_opens(ring, ops, MANY), 0);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(ops[i].res, -EAGAIN);
	fcntl(fd, F_SETLEASE, F_UNLCK);
	assert_int_equal(count_kernel_workers(), 0);
	assert_int_equal(ring_wait(ring, NSEC_PER_MSEC), -ETIME);
	close(fd);
	ring_free(ring);
}

static void a_prepare_that_fails_stops_no_other(void **state)
{
	const char *path = test_file("f", 0);
	char *too_long = malloc(PATH_MAX + 1);
	struct ring *ring = new_ring();

	(void)state;
	memset(too_long, '/', PATH_MAX);
	too_long[PATH_MAX] = '\0';
	for (size_t i = 0; i < 9; i++)
		ops[i] = op_open(AT_FDCWD, i % 2 ? too_long : path, O_RDWR);
	run_opens(ring, 9);
	for (size_t i = 0; i < 9; i++) {
		if (i % 2) {
			assert_int_equal(ops[i].res, -ENAMETOOLONG);
		} else {
			assert_true(ops[i].res >= 0);
			close(ops[i].res);
		}
	}
	free(too_long);
	ring_free(ring);
}

static void *is_mine(void *ring)
{
	return ring_is_mine(ring) ? ring : NULL;
}

static void a_single_issuers_ring_is_its_makers(void **state)
{
	struct ring *ring = new_ring();
	pthread_t thread;
	void *theirs;

	(void)state;
	assert_true(ring_is_mine(ring));
	assert_int_equal(pthread_create(&thread, NULL, is_mine, ring), 0);
	pthread_join(thread, &theirs);
	assert_int_equal(theirs == NULL, !strcmp(ring->flags, "defer-taskrun"));
	ring_free(ring);
}

static void nothing_stays_open(void **state)
{
	unsigned before = test_open_fds();
	struct ring *ring = new_ring();

	(void)state;
	assert_int_equal(test_open_fds(), before + 1);
	assert_int_equal(fcntl(ring->uring.ring_fd, F_GETFD), FD_CLOEXEC);
	assert_null(ring_free(ring));
	assert_int_equal(test_open_fds(), before);
	assert_null(ring_free(NULL));
}

static void a_ring_that_is_forbidden_is_refused_with_a_reason(void **state)
{
	struct ring *ring = NULL;
	const char *why = NULL;

	(void)state;
	assert_int_equal(ring_new(&ring, &why), -EOPNOTSUPP);
	assert_non_null(why);
	assert_null(ring);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_best_flags_are_used),
	cmocka_unit_test(more_opens_than_entries_are_all_answered),
	cmocka_unit_test(an_open_that_would_wait_is_refused_and_leaves_nothing),
	cmocka_unit_test(a_prepare_that_fails_stops_no_other),
	cmocka_unit_test(a_single_issuers_ring_is_its_makers),
	cmocka_unit_test(nothing_stays_open),
};

static const struct CMUnitTest forbidden[] = {
	cmocka_unit_test(a_ring_that_is_forbidden_is_refused_with_a_reason),
};

int main(void)
{
	if (!feature_allowed(FEATURE_URING))
		return test_run(__FILE__, forbidden, ARRAY_SIZE(forbidden), 0);
	return test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_URING);
}
