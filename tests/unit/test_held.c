/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/held.h"

#include "core/base/compat.h"
#include "core/base/util.h"
#include "tests/lib/test.h"

static int open_file(void)
{
	int fd = open(test_file("held", 0), O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void lock(int fd, int cmd, short type, long start, long len)
{
	struct flock l = { .l_type = type, .l_start = start, .l_len = len };

	assert_int_equal(fcntl(fd, cmd, &l), 0);
}

static short held(int fd, long start, long len)
{
	struct op_lock range = { .start = start, .len = len };

	return held_type(fd, &range);
}

static void a_free_range_is_free(void **state)
{
	int fd = open_file();

	(void)state;
	assert_int_equal(held(fd, 0, 1), F_UNLCK);
	assert_int_equal(held(fd, 0, 0), F_UNLCK);
	close(fd);
}

static void a_lock_is_seen_where_it_lies(void **state)
{
	int fd = open_file();

	(void)state;
	lock(fd, F_OFD_SETLK, F_RDLCK, 10, 5);
	lock(fd, F_OFD_SETLK, F_WRLCK, 20, 1);
	assert_int_equal(held(fd, 9, 1), F_UNLCK);
	assert_int_equal(held(fd, 10, 1), F_RDLCK);
	assert_int_equal(held(fd, 14, 1), F_RDLCK);
	assert_int_equal(held(fd, 15, 5), F_UNLCK);
	assert_int_equal(held(fd, 20, 1), F_WRLCK);
	assert_int_equal(held(fd, 0, 0), F_WRLCK);
	assert_int_equal(held(fd, 0, 11), F_RDLCK);
	lock(fd, F_OFD_SETLK, F_UNLCK, 0, 0);
	assert_int_equal(held(fd, 0, 0), F_UNLCK);
	close(fd);
}

static void a_lock_without_end_is_seen(void **state)
{
	int fd = open_file();

	(void)state;
	lock(fd, F_OFD_SETLK, F_RDLCK, 100, 0);
	assert_int_equal(held(fd, 99, 1), F_UNLCK);
	assert_int_equal(held(fd, INT64_MAX - 1, 1), F_RDLCK);
	close(fd);
}

static void only_the_descriptions_own_locks_count(void **state)
{
	int a = open_file(), b = open_file(), dup_of_a = dup(a);

	(void)state;
	lock(a, F_OFD_SETLK, F_RDLCK, 0, 1);
	lock(b, F_SETLK, F_RDLCK, 1, 1); /* this process's */
	assert_int_equal(held(b, 0, 1), F_UNLCK);
	assert_int_equal(held(b, 1, 1), F_UNLCK);
	assert_int_equal(held(dup_of_a, 0, 1), F_RDLCK);
	close(dup_of_a);
	close(a);
	close(b);
}

static void many_locks_of_one_description_are_all_seen(void **state)
{
	int fd = open_file();

	(void)state;
	for (long i = 0; i < 200; i++)
		lock(fd, F_OFD_SETLK, F_RDLCK, 2 * i, 1);
	for (long i = 0; i < 200; i += 33) {
		assert_int_equal(held(fd, 2 * i, 1), F_RDLCK);
		assert_int_equal(held(fd, 2 * i + 1, 1), F_UNLCK);
	}
	close(fd);
}

static void what_cannot_be_known_is_free(void **state)
{
	(void)state;
	assert_int_equal(held(-1, 0, 1), F_UNLCK);
	assert_int_equal(held(19999, 0, 1), F_UNLCK);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_free_range_is_free),
	cmocka_unit_test(a_lock_is_seen_where_it_lies),
	cmocka_unit_test(a_lock_without_end_is_seen),
	cmocka_unit_test(only_the_descriptions_own_locks_count),
	cmocka_unit_test(many_locks_of_one_description_are_all_seen),
	cmocka_unit_test(what_cannot_be_known_is_free),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
