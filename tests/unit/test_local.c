/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/local.h"

#include "tests/unit/engine_ops.h"

#include <linux/openat2.h>
#include <sys/resource.h>

/* A rename anywhere on the host makes the kernel give up a cached walk. */
static int try(const char *path, int flags)
{
	struct op op = op_open(AT_FDCWD, path, flags);

	for (unsigned i = 0; i < TRIES && op.res < 0; i++)
		local_try_open(&op);
	return op.res;
}

static void a_warm_file_is_opened_by_a_try(void **state)
{
	int fd = try(test_file("warm", 0), O_RDWR);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
	close(fd);
}

static void flags_survive_that_nonblock_is_taken_off(void **state)
{
	const int flags = O_WRONLY | O_APPEND | O_NOATIME | O_SYNC;
	int fd = try(test_file("warm", 0), flags);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & ~O_LARGEFILE & ~0100000, flags);
	close(fd);
}

/* A lease makes an open wait for whoever has it; here, for ourselves. */
static void a_try_does_not_wait_for_a_lease(void **state)
{
	const char *path = test_file("leased", 0);
	int fd = must_open(path, O_RDWR);
	struct op op = op_open(AT_FDCWD, path, O_RDWR);

	(void)state;
	signal(SIGIO, SIG_IGN);
	assert_int_equal(fcntl(fd, F_SETLEASE, F_WRLCK), 0);
	if (local_can_try(&op)) {
		local_try_open(&op);
		assert_int_equal(op.res, -EAGAIN);
		assert_true(local_is_cold(&op));
	}
	fcntl(fd, F_SETLEASE, F_UNLCK);
	close(fd);
}

static void what_the_caller_wanted_cached_is_not_cold(void **state)
{
	struct op op = op_open(AT_FDCWD, "", O_RDWR);

	(void)state;
	op.res = -EAGAIN;
	assert_true(local_is_cold(&op));
	op.open.resolve = RESOLVE_CACHED;
	assert_false(local_is_cold(&op));
	op.open.resolve = 0;
	op.res = -ENOENT;
	assert_false(local_is_cold(&op));
}

static void opens_that_create_are_never_tried(void **state)
{
	const char *dir = test_dir();
	struct op op = op_open(AT_FDCWD, dir, O_RDWR | O_CREAT);
	int fd;

	(void)state;
	assert_false(local_can_try(&op));
	op.open.flags = O_RDWR | O_TRUNC;
	assert_false(local_can_try(&op));
	op.open.flags = O_RDONLY | O_DIRECTORY;
	assert_int_equal(local_can_try(&op), openat2_works());
	op.open.flags = O_RDWR | O_TMPFILE;
	assert_false(local_can_try(&op));
	fd = try(dir, O_RDWR | O_TMPFILE);
	assert_true(fd >= 0 || fd == -EOPNOTSUPP);
	fd_close(fd);
}

static void what_a_call_cannot_do_is_said(void **state)
{
	struct op op = op_lock(OP_LOCK, must_open(test_file("warm", 0), 0),
			       F_WRLCK, 0);

	(void)state;
	local_call(&op);
	assert_int_equal(op.res, -EBADF); /* not open for writing */
	op.kind = OP_CLOSE;
	local_call(&op);
	assert_int_equal(op.res, 0);
	local_call(&op);
	assert_int_equal(op.res, -EBADF);
	op.kind = OP_QUERY;
	local_call(&op);
	assert_int_equal(op.res, -EBADF);
	assert_int_equal(op.lock.type, F_WRLCK);
}

static void a_write_is_whole_or_an_error(void **state)
{
	static char big[OP_DATA_MAX + 1];
	int fd = must_open(test_file("written", 0), O_RDWR), pipes[2];
	struct op op = op_write(fd, "abc", 3, 2);
	char buf[8] = "";

	(void)state;
	local_call(&op);
	assert_int_equal(op.res, 0);
	op = op_read(fd, buf, sizeof(buf), 0);
	local_call(&op);
	assert_int_equal(op.res, 5);
	assert_memory_equal(buf, "\0\0abc", 5);
	op = op_write(fd, big, sizeof(big) - 1, 0);
	local_call(&op);
	assert_int_equal(op.res, 0);
	op.data.size++;
	local_call(&op);
	assert_int_equal(op.res, -EINVAL);
	close(fd);
	local_call(&op);
	assert_int_equal(op.res, -EINVAL);
	op.data.size = 1;
	local_call(&op);
	assert_int_equal(op.res, -EBADF);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	op.fd = pipes[1];
	local_call(&op);
	assert_int_equal(op.res, -ESPIPE);
	close(pipes[0]);
	close(pipes[1]);
}

/* A full disk: part of it, then nothing. */
static void a_short_write_is_no_space(void **state)
{
	struct rlimit old, low = { .rlim_cur = 10, .rlim_max = RLIM_INFINITY };
	int fd = must_open(test_file("limited", 0), O_RDWR);
	struct op op = op_write(fd, "0123456789ab", 12, 0);

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	local_call(&op);
	assert_int_equal(op.res, -ENOSPC);
	op.data.offset = 10;
	local_call(&op);
	assert_int_equal(op.res, -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	close(fd);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_warm_file_is_opened_by_a_try),
	cmocka_unit_test(flags_survive_that_nonblock_is_taken_off),
	cmocka_unit_test(a_try_does_not_wait_for_a_lease),
	cmocka_unit_test(what_the_caller_wanted_cached_is_not_cold),
	cmocka_unit_test(opens_that_create_are_never_tried),
	cmocka_unit_test(what_a_call_cannot_do_is_said),
	cmocka_unit_test(a_write_is_whole_or_an_error),
	cmocka_unit_test(a_short_write_is_no_space),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
