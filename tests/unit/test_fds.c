/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/fds.h"

#include "core/base/util.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void open_some(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		assert_true(fds[i] >= 0);
	}
}

static void close_and_check(int *fds, size_t n)
{
	int copy[64];

	assert_true(n <= ARRAY_SIZE(copy));
	for (size_t i = 0; i < n; i++)
		copy[i] = fds[i];
	fds_close_many(fds, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(fds[i], -1);
		assert_false(is_open(copy[i]));
	}
}

static void a_run_is_closed_whole(void **state)
{
	unsigned before = test_open_fds();
	int fds[50];

	(void)state;
	open_some(fds, ARRAY_SIZE(fds));
	close_and_check(fds, ARRAY_SIZE(fds));
	assert_int_equal(test_open_fds(), before);
}

static void numbers_between_ours_stay_open(void **state)
{
	int fds[30], ours[30], others[30];
	size_t n = 0, m = 0;

	(void)state;
	open_some(fds, ARRAY_SIZE(fds));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (i % 5 == 2)
			others[m++] = fds[i];
		else
			ours[n++] = fds[i];
	}
	close_and_check(ours, n);
	for (size_t i = 0; i < m; i++)
		assert_true(is_open(others[i]));
	close_and_check(others, m);
}

static void any_order_will_do(void **state)
{
	int fds[30], turned[30];

	(void)state;
	open_some(fds, ARRAY_SIZE(fds));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		turned[i] = fds[(i * 7) % ARRAY_SIZE(fds)];
	close_and_check(turned, ARRAY_SIZE(turned));
	open_some(fds, 2);
	turned[0] = fds[1], turned[1] = fds[0];
	close_and_check(turned, 2);
}

/* -1 and 0 are consecutive, and 0 is not ours. */
static void what_is_not_there_is_skipped(void **state)
{
	int fds[] = { -1, -1, 0, -1, -1 };

	(void)state;
	fds[2] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close_and_check(fds + 2, 1);
	fds[2] = -1;
	fds_close_many(fds, ARRAY_SIZE(fds));
	assert_true(is_open(1));
	fds_close_many(NULL, 0);
}

static void after_a_hole_number_0_is_closed_like_any_other(void **state)
{
	int saved = fcntl(0, F_DUPFD_CLOEXEC, 10);
	int fds[] = { -1, 0 };

	(void)state;
	close(0);
	assert_int_equal(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
	fds_close_many(fds, 2);
	assert_false(is_open(0));
	if (saved >= 0)
		assert_int_equal(dup2(saved, 0), 0);
	fd_close(saved);
}

/* Of this process's table, as proc(5) tells it. */
static unsigned table_size(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[128];
	unsigned size = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "FDSize: %u", &size) == 1)
			break;
	fclose(f);
	return size;
}

static void room_is_made_once_and_nothing_stays_open(void **state)
{
	unsigned before = test_open_fds();

	(void)state;
	assert_int_equal(fds_reserve(0), 0);
	assert_int_equal(fds_reserve(1), 0);
	assert_int_equal(fds_reserve(900), 0);
	assert_in_range(table_size(), before + 900, 65536);
	assert_int_equal(test_open_fds(), before);
}

static void more_than_the_limit_is_refused(void **state)
{
	unsigned before = test_open_fds();
	struct rlimit old, low;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 100;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(fds_reserve(10), 0);
	assert_int_equal(fds_reserve(100), -EMFILE);
	assert_int_equal(fds_reserve(SIZE_MAX), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(test_open_fds(), before);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_run_is_closed_whole),
	cmocka_unit_test(numbers_between_ours_stay_open),
	cmocka_unit_test(any_order_will_do),
	cmocka_unit_test(what_is_not_there_is_skipped),
	cmocka_unit_test(after_a_hole_number_0_is_closed_like_any_other),
	cmocka_unit_test(room_is_made_once_and_nothing_stays_open),
	cmocka_unit_test(more_than_the_limit_is_refused),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
