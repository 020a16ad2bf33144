/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/fdinfo.h"

#include "core/base/util.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static int parse(const char *line, struct fdinfo_lock *ret_lock)
{
	return fdinfo_parse(line, strlen(line), ret_lock);
}

static void an_ofd_lock_is_read_in_full(void **state)
{
	struct fdinfo_lock lock;

	(void)state;
	assert_int_equal(parse("lock:\t2: OFDLCK ADVISORY  WRITE -1 "
			       "fe:1c:10952887 0 0",
			       &lock),
			 0);
	assert_int_equal(lock.kind, FDINFO_OFD);
	assert_int_equal(lock.type, F_WRLCK);
	assert_int_equal(lock.major, 0xfe);
	assert_int_equal(lock.minor, 0x1c);
	assert_int_equal(lock.ino, 10952887);
	assert_int_equal(lock.start, 0);
	assert_int_equal(lock.end, 0);
}

static void a_posix_lock_to_the_end_is_read_in_full(void **state)
{
	struct fdinfo_lock lock;

	(void)state;
	assert_int_equal(parse("lock:\t1: POSIX  ADVISORY  READ 18241 "
			       "103:00000:18446744073709551615 10 EOF",
			       &lock),
			 0);
	assert_int_equal(lock.kind, FDINFO_POSIX);
	assert_int_equal(lock.type, F_RDLCK);
	assert_int_equal(lock.major, 0x103);
	assert_true(lock.ino == UINT64_MAX);
	assert_int_equal(lock.start, 10);
	assert_true(lock.end == INT64_MAX);
}

static void the_word_of_old_kernels_is_known(void **state)
{
	struct fdinfo_lock lock;

	(void)state;
	assert_int_equal(parse("lock:\t1: OFDLCK MANDATORY READ -1 "
			       "08:01:5 1 1",
			       &lock),
			 0);
	assert_int_equal(lock.type, F_RDLCK);
}

static void other_lines_are_other(void **state)
{
	static const char *const lines[] = {
		"",
		"pos:\t0",
		"lock:",
		"block:\t1: OFDLCK ADVISORY  WRITE -1 08:01:5 0 0",
		"lock:\t1: FLOCK  ADVISORY  WRITE 1 08:01:5 0 EOF",
		"lock:\t1: LEASE  ACTIVE    READ 1 08:01:5 0 EOF",
		"lock:\t1: DELEG  ACTIVE    READ 1 08:01:5 0 EOF",
		"lock:\t1: UNKNOWN UNKNOWN  READ 1 08:01:5 0 EOF",
		"lock:\t1: ACCESS ADVISORY  READ 1 08:01:5 0 EOF",
	};
	struct fdinfo_lock lock;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		assert_int_equal(parse(lines[i], &lock), FDINFO_E_OTHER);
}

static void a_lock_that_makes_no_sense_is_not_no_lock(void **state)
{
	static const char *const lines[] = {
		"lock:\t1: OFDLCK",
		"lock:\tx: OFDLCK ADVISORY  WRITE -1 08:01:5 0 0",
		"lock:\t1: OFDLCK ADVISORY  WRITE -1 08:01:5 0",
		"lock:\t1: OFDLCK ADVISORY  WRITE -1 <none>:0 0 0",
		"lock:\t1: OFDLCK *NOINODE* WRITE -1 08:01:5 0 0",
		"lock:\t1: OFDLCK ADVISORY  UNLCK -1 08:01:5 0 0",
		"lock:\t1: OFDLCK ADVISORY  WRITE -1 08:01:5 0 0 0",
		"lock:\t1: OFDLCK ADVISORY  WRITE -1 08:01:5 -1 0",
		"lock:\t1: OFDLCK ADVISORY  WRITE -1 08:01:5 5 4",
		"lock:\t1: OFDLCK ADVISORY  WRITE -1 08:01:5 0 EOFX",
		"lock:\t1: OFDLCK ADVISORY  WRITE -1 08:01:5 0 0x1",
		"lock:\t1: OFDLCK ADVISORY  WRITE -1 08:01:5 "
		"9223372036854775808 EOF",
		"lock:\t1: OFDLCK ADVISORY  WRITE -1 08:01:5 "
		"0 99999999999999999999999",
	};
	struct fdinfo_lock lock;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		assert_int_equal(parse(lines[i], &lock), -EBADMSG);
}

static void a_range_covers_its_ends(void **state)
{
	struct fdinfo_lock lock = { .start = 2, .end = 4 };

	(void)state;
	assert_false(fdinfo_covers(&lock, 1));
	assert_true(fdinfo_covers(&lock, 2));
	assert_true(fdinfo_covers(&lock, 4));
	assert_false(fdinfo_covers(&lock, 5));
}

struct seen {
	unsigned n, enough;
	uint64_t sum;
};

static bool count(void *arg, const struct fdinfo_lock *lock)
{
	struct seen *seen = arg;

	seen->sum += lock->start;
	return ++seen->n == seen->enough;
}

static int make_file(const char *text, size_t len)
{
	int fd = memfd_create("fdinfo", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* Longer than any buffer, with lines of every length across its ends. */
static void a_long_file_is_read_to_its_end(void **state)
{
	_cleanup_(freep) char *text = NULL;
	struct seen seen = {}, some = { .enough = 7 };
	uint64_t sum = 0;
	size_t len = 0;
	FILE *file = open_memstream(&text, &len);
	int fd;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		fprintf(file, "lock:\t%u: OFDLCK ADVISORY  READ -1 ", i);
		fprintf(file, "08:01:5 %u EOF\n", i * i);
		fprintf(file, "note:\t%*d\n", i % 300 * 9 + 1, 0);
		sum += (uint64_t)i * i;
	}
	fclose(file);
	fd = make_file(text, len);
	assert_int_equal(fdinfo_read(fd, count, &seen), 0);
	assert_int_equal(seen.n, 1000);
	assert_true(seen.sum == sum);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(fdinfo_read(fd, count, &some), 0);
	assert_int_equal(some.n, 7);
	close(fd);
}

static void a_broken_lock_line_fails_the_whole_file(void **state)
{
	static const char text[] =
		"pos:\t0\n"
		"lock:\t1: FLOCK  ADVISORY  WRITE 1 08:01:5 0 EOF\n"
		"lock:\t2: OFDLCK ADVISORY  WRITE -1 08:01\n";
	struct seen seen = {};
	int fd = make_file(text, strlen(text));

	(void)state;
	assert_int_equal(fdinfo_read(fd, count, &seen), -EBADMSG);
	assert_int_equal(seen.n, 0);
	close(fd);
	assert_int_equal(fdinfo_read(-1, count, &seen), -EBADF);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(an_ofd_lock_is_read_in_full),
	cmocka_unit_test(a_posix_lock_to_the_end_is_read_in_full),
	cmocka_unit_test(the_word_of_old_kernels_is_known),
	cmocka_unit_test(other_lines_are_other),
	cmocka_unit_test(a_lock_that_makes_no_sense_is_not_no_lock),
	cmocka_unit_test(a_range_covers_its_ends),
	cmocka_unit_test(a_long_file_is_read_to_its_end),
	cmocka_unit_test(a_broken_lock_line_fails_the_whole_file),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
