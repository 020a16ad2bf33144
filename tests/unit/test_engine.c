/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/engine_ops.h"

#include <linux/openat2.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MANY 100 /* enough for the ring */
#define BATCH 2000

static struct op ops[2 * BATCH];
static char names[BATCH][16];

/* @n files in the test's directory. Return: a descriptor of that. */
static int make_files(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "f%zu", i);
		if (access(test_file(names[i], -1), F_OK))
			test_file(names[i], 4096);
	}
	return must_open(test_dir(), O_PATH | O_DIRECTORY);
}

static void open_files(struct engine *engine, int dir, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ops[i] = op_open(dir, names[i], O_RDWR);
	run(engine, ops, n);
	for (size_t i = 0; i < n; i++)
		assert_true(ops[i].res >= 0);
}

static void close_files(struct engine *engine, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ops[i] = op_fd(OP_CLOSE, ops[i].res);
	run(engine, ops, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(ops[i].res, 0);
}

/* Bad paths, among good ones if @n is more than there are. */
static void open_bad_paths(struct engine *engine, size_t n)
{
	static char long_name[300], long_path[5000];
	int dir = make_files(MAX(n, 1U));
	const struct {
		const char *path;
		int dir, flags, error;
	} bad[] = {
		{ "absent", dir, O_RDWR, -ENOENT },
		{ "", dir, O_RDWR, -ENOENT },
		{ test_dir(), AT_FDCWD, O_RDWR, -EISDIR },
		{ test_file("loop", -1), AT_FDCWD, O_RDWR, -ELOOP },
		{ long_name, dir, O_RDWR, -ENAMETOOLONG },
		{ long_path, dir, O_RDWR, -ENAMETOOLONG },
		{ "f0/below", dir, O_RDWR, -ENOTDIR },
		{ "f0", -7, O_RDWR, -EBADF },
		{ "f0", dir, O_RDWR | O_DIRECTORY, -ENOTDIR },
	};

	memset(long_name, 'x', sizeof(long_name) - 1);
	memset(long_path, '/', sizeof(long_path) - 1);
	if (symlink("loop", test_file("loop", -1)))
		assert_int_equal(errno, EEXIST);
	n = MAX(n, ARRAY_SIZE(bad));
	for (size_t i = 0; i < n; i++)
		ops[i] = i < ARRAY_SIZE(bad) ? op_open(bad[i].dir, bad[i].path,
						       bad[i].flags)
					     : op_open(dir, names[i], O_RDWR);
	run(engine, ops, n);
	for (size_t i = 0; i < n; i++) {
		if (i < ARRAY_SIZE(bad))
			assert_int_equal(ops[i].res, bad[i].error);
		else
			assert_true(ops[i].res >= 0);
		fd_close(ops[i].res);
	}
	close(dir);
}

ON_EACH(each_bad_path_has_its_own_error)
{
	open_bad_paths(engine, 0);
}

ON_EACH(a_bad_path_spoils_no_other_in_a_long_batch)
{
	open_bad_paths(engine, MANY);
}

ON_EACH(descriptors_are_what_was_asked_for_and_close_on_exec)
{
	static const int flags[] = { O_RDONLY, O_RDWR, O_RDWR | O_NONBLOCK,
				     O_PATH, O_PATH | O_NONBLOCK };
	int dir = make_files(MANY);

	for (size_t i = 0; i < MANY; i++)
		ops[i] = op_open(dir, names[i], flags[i % ARRAY_SIZE(flags)]);
	ops[MANY] = op_open(dir, names[0], O_RDWR);
	run(engine, ops, MANY);
	run(engine, &ops[MANY], 1);
	for (size_t i = 0; i <= MANY; i++) {
		int want = ops[i].open.flags;
		int have = fcntl(ops[i].res, F_GETFL);

		assert_int_equal(fcntl(ops[i].res, F_GETFD), FD_CLOEXEC);
		if (want & O_PATH)
			want = O_PATH;
		assert_int_equal(have & (O_ACCMODE | O_NONBLOCK | O_PATH),
				 want);
	}
	close_files(engine, MANY + 1);
	close(dir);
}

ON_EACH(an_open_may_create)
{
	const char *path = test_file("created", -1);
	struct stat st;
	int fd;

	fd = run_one(engine, op_open(AT_FDCWD, path, O_RDWR | O_CREAT));
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	close(fd);
	assert_int_equal(run_one(engine, op_open(AT_FDCWD, path,
						 O_RDWR | O_CREAT | O_EXCL)),
			 -EEXIST);
	unlink(path);
}

ON_EACH(resolve_flags_reach_the_kernel)
{
	struct op op;
	int dir = make_files(1);

	if (symlink("f0", test_file("link", -1)))
		assert_int_equal(errno, EEXIST);
	op = op_open(dir, "link", O_RDWR);
	op.open.resolve = RESOLVE_NO_SYMLINKS;
	assert_int_equal(run_one(engine, op),
			 openat2_works() ? -ELOOP : -ENOSYS);
	op.open.path = "f0";
	op.res = run_one(engine, op);
	if (openat2_works())
		assert_true(op.res >= 0);
	fd_close(op.res);
	close(dir);
}

static void check_stat(const struct op *op, const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(op->res, 0);
	assert_int_equal(op->stat.out.dev, st.st_dev);
	assert_int_equal(op->stat.out.ino, st.st_ino);
	assert_int_equal(op->stat.out.mode, st.st_mode);
	assert_int_equal(op->stat.out.rdev_major, major(st.st_rdev));
	assert_int_equal(op->stat.out.rdev_minor, minor(st.st_rdev));
}

ON_EACH(a_stat_tells_the_identity)
{
	int dir = make_files(1);
	int fd = must_open("/dev/null", O_RDWR);
	struct op stats[] = {
		op_fd(OP_STAT, fd),
		op_fd(OP_STAT_PATH, dir),
		op_fd(OP_STAT_PATH, dir),
		op_fd(OP_STAT, -1),
	};

	stats[1].stat.path = "f0";
	stats[2].stat.path = "absent";
	run(engine, stats, ARRAY_SIZE(stats));
	check_stat(&stats[0], "/dev/null");
	check_stat(&stats[1], test_file("f0", -1));
	assert_int_equal(stats[2].res, -ENOENT);
	assert_int_equal(stats[3].res, -EBADF);
	close(fd);
	close(dir);
}

ON_EACH(a_lock_is_in_the_kernel_and_a_second_one_is_refused)
{
	const char *path = test_file("locked", 0);
	int a = must_open(path, O_RDWR), b = must_open(path, O_RDWR);
	struct op op;

	assert_int_equal(run_one(engine, op_lock(OP_LOCK, a, F_WRLCK, 0)), 0);
	assert_false(test_lockable(path, F_RDLCK));
	assert_true(test_byte_lockable(path, 1, F_WRLCK));
	assert_int_equal(run_one(engine, op_lock(OP_LOCK, b, F_RDLCK, 0)),
			 -EAGAIN);
	op = op_lock(OP_QUERY, b, F_RDLCK, 0);
	run(engine, &op, 1);
	assert_int_equal(op.res, 0);
	assert_int_equal(op.lock.type, F_WRLCK);
	assert_int_equal(op.lock.pid, -1);
	assert_int_equal(op.lock.start, 0);
	assert_int_equal(op.lock.len, 1);
	assert_int_equal(run_one(engine, op_lock(OP_UNLOCK, a, F_WRLCK, 0)), 0);
	assert_true(test_lockable(path, F_WRLCK));
	op = op_lock(OP_QUERY, b, F_WRLCK, 0);
	run(engine, &op, 1);
	assert_int_equal(op.lock.type, F_UNLCK);
	close(a);
	close(b);
}

ON_EACH(operations_on_one_descriptor_run_in_order)
{
	const char *path = test_file("ordered", 0);
	int a = must_open(path, O_RDWR), b = must_open(path, O_RDWR);
	struct op seq[] = {
		op_lock(OP_LOCK, a, F_WRLCK, 0),
		op_lock(OP_LOCK, b, F_WRLCK, 0),
		op_lock(OP_UNLOCK, a, F_WRLCK, 0),
		op_lock(OP_LOCK, b, F_WRLCK, 0),
		op_lock(OP_QUERY, a, F_RDLCK, 0),
		op_fd(OP_CLOSE, b),
		op_lock(OP_LOCK, a, F_WRLCK, 0),
		op_fd(OP_CLOSE, a),
		op_fd(OP_STAT, a),
	};

	run(engine, seq, ARRAY_SIZE(seq));
	assert_int_equal(seq[0].res, 0);
	assert_int_equal(seq[1].res, -EAGAIN);
	assert_int_equal(seq[3].res, 0);
	assert_int_equal(seq[4].lock.type, F_WRLCK);
	assert_int_equal(seq[6].res, 0);
	assert_int_equal(seq[7].res, 0);
	assert_int_equal(seq[8].res, -EBADF);
	assert_true(test_lockable(path, F_WRLCK));
}

ON_EACH(two_thousand_files_are_opened_locked_and_closed)
{
	unsigned before = test_open_fds();
	int dir = make_files(BATCH);

	assert_int_equal(engine_reserve(engine, BATCH), 0);
	open_files(engine, dir, BATCH);
	for (size_t i = 0; i < BATCH; i++) {
		ops[BATCH + i] = op_lock(OP_LOCK, ops[i].res, F_WRLCK, 0);
		assert_int_equal(ops[i].fd, dir);
	}
	run(engine, ops + BATCH, BATCH);
	for (size_t i = 0; i < BATCH; i++)
		assert_int_equal(ops[BATCH + i].res, 0);
	for (size_t i = 0; i < BATCH; i += 199)
		assert_false(test_lockable(test_file(names[i], -1), F_RDLCK));
	close_files(engine, BATCH);
	/* Whoever reads our fdinfo just now has the file for that long. */
	for (size_t i = 0; i < BATCH; i += 199)
		assert_true(test_becomes_free(test_file(names[i], -1), 1000));
	close(dir);
	assert_int_equal(test_open_fds() - before, 0);
}

ON_EACH(an_unknown_kind_is_refused)
{
	assert_int_equal(run_one(engine, op_fd(99, 0)), -EINVAL);
}

ON_EACH(an_empty_batch_is_done_at_once)
{
	assert_int_equal(engine_run(engine, NULL, 0, 0), 0);
}

static unsigned workers_for_warm(const char *backend, int dir)
{
	struct engine *engine = engine_of(backend, 0);
	unsigned n;

	open_files(engine, dir, MANY);
	close_files(engine, MANY);
	n = openat2_works() ? workers_started(engine) : 0;
	engine_free(engine);
	return n;
}

/* But now and then: a rename on the host makes the kernel distrust its cache.
 */
static void warm_local_work_starts_no_thread(void **state)
{
	static const char *const backends[] = { "syscall", "uring" };
	int dir = make_files(MANY);

	(void)state;
	for (size_t i = 0; i < 1U + uring_possible(); i++) {
		unsigned started = 1;

		for (int k = 0; k < TRIES && started; k++)
			started = workers_for_warm(backends[i], dir);
		assert_int_equal(started, 0);
	}
	close(dir);
}

/* The kernel never finds the target of such a link in its cache. */
ON_EACH(what_is_not_in_the_cache_is_opened_by_a_worker)
{
	int fd = must_open(test_file("f0", 0), O_RDWR);
	char path[40];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = run_one(engine, op_open(AT_FDCWD, path, O_RDWR));
	assert_true(again >= 0);
	assert_int_equal(fcntl(again, F_GETFD), FD_CLOEXEC);
	if (openat2_works())
		assert_int_equal(workers_started(engine), 1);
	for (size_t i = 0; i < MANY; i++)
		ops[i] = op_open(AT_FDCWD, path, O_RDWR);
	run(engine, ops, MANY);
	for (size_t i = 0; i < MANY; i++)
		assert_true(ops[i].res >= 0);
	close_files(engine, MANY);
	close(again);
	close(fd);
}

ON_EACH(after_the_deadline_local_work_is_done_all_the_same)
{
	const char *path = test_file("f0", 0);
	struct op op = op_open(AT_FDCWD, path, O_RDWR);

	assert_int_equal(engine_run(engine, &op, 1, 0), 0);
	assert_true(op.res >= 0);
	assert_int_equal(run_until(engine, op_fd(OP_CLOSE, op.res), 0), 0);
}

ON_EACH(a_cancel_hits_the_next_batch_once)
{
	const char *path = test_file("f0", 0);
	int fd = must_open(path, O_RDWR);
	struct op batch[] = {
		op_lock(OP_LOCK, fd, F_WRLCK, 0),
		op_open(AT_FDCWD, path, O_RDWR),
	};

	engine_cancel(engine);
	run(engine, batch, ARRAY_SIZE(batch));
	assert_int_equal(batch[0].res, -ECANCELED);
	assert_int_equal(batch[1].res, -ECANCELED);
	assert_true(test_lockable(path, F_WRLCK));
	run(engine, batch, 1);
	assert_int_equal(batch[0].res, 0);
	close(fd);
}

ON_EACH(a_cancel_stops_nothing_that_gives_back)
{
	const char *path = test_file("f0", 0);
	int fd = must_open(path, O_RDWR);

	must_lock(fd, F_WRLCK, 0);
	engine_cancel(engine);
	assert_int_equal(run_one(engine, op_lock(OP_UNLOCK, fd, F_WRLCK, 0)),
			 0);
	assert_true(test_lockable(path, F_WRLCK));
	assert_int_equal(run_one(engine, op_fd(OP_CLOSE, fd)), 0);
	/* It is still to come. */
	assert_int_equal(run_one(engine, op_open(AT_FDCWD, path, O_RDWR)),
			 -ECANCELED);
}

ON_EACH(a_cancel_can_be_taken_without_a_batch)
{
	assert_false(engine_take_cancel(engine));
	engine_cancel(engine);
	assert_true(engine_take_cancel(engine));
	assert_false(engine_take_cancel(engine));
}

static void *use_engine(void *arg)
{
	int dir = make_files(MANY);

	open_files(arg, dir, MANY);
	close_files(arg, MANY);
	close(dir);
	return NULL;
}

ON_EACH(an_engine_may_move_between_threads)
{
	pthread_t thread;

	for (int i = 0; i < 3; i++) {
		use_engine(engine);
		assert_int_equal(pthread_create(&thread, NULL, use_engine,
						engine),
				 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
}

ON_EACH(too_many_descriptors_fail_one_by_one)
{
	int dir = make_files(MANY);
	unsigned room = 10;
	struct rlimit old, low;

	run(engine, ops, 0);
	open_files(engine, dir, MANY); /* whatever the engine itself needs */
	close_files(engine, MANY);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)dup(dir) + room;
	close((int)(low.rlim_cur - room));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(engine_reserve(engine, MANY), -EMFILE);
	for (size_t i = 0; i < MANY; i++)
		ops[i] = op_open(dir, names[i], O_RDWR);
	run(engine, ops, MANY);
	setrlimit(RLIMIT_NOFILE, &old);
	for (size_t i = 0; i < MANY; i++) {
		if (ops[i].res >= 0)
			fd_close(ops[i].res);
		else
			assert_int_equal(ops[i].res, -EMFILE);
	}
	assert_int_equal(ops[MANY - 1].res, -EMFILE);
	assert_true(ops[0].res >= 0);
	close(dir);
}

ON_EACH(the_status_fits_the_back_end)
{
	struct engine_status s;

	engine_describe(engine, &s);
	if (!strcmp(s.backend, "uring")) {
		assert_null(s.reason);
		assert_string_not_equal(s.ring_flags, "none");
		assert_string_equal(s.completion,
				    feature_allowed(FEATURE_MSG_RING)
					    ? "msg-ring"
					    : "eventfd");
	} else {
		assert_string_equal(s.backend, "syscall");
		assert_non_null(s.reason);
		assert_string_equal(s.ring_flags, "none");
		assert_string_equal(s.completion, "condvar");
	}
	assert_false(s.lock_opcode && !feature_allowed(FEATURE_OFD_LOCK_OP));
	assert_int_equal(s.workers_started, 0);
}

static void an_unknown_back_end_is_refused(void **state)
{
	struct engine_config config = { .backend = "quantum" };
	struct engine *engine = NULL;
	const char *wish = getenv("GUESTLOCK_ENGINE");
	char *old = wish ? strdup(wish) : NULL;

	(void)state;
	unsetenv("GUESTLOCK_ENGINE");
	assert_int_equal(engine_new(&config, &engine), -EINVAL);
	setenv("GUESTLOCK_ENGINE", "steam", 1);
	assert_int_equal(engine_new(NULL, &engine), -EINVAL);
	assert_null(engine);
	unsetenv("GUESTLOCK_ENGINE");
	if (old)
		setenv("GUESTLOCK_ENGINE", old, 1);
	free(old);
}

static void uring_on_demand_fails_where_it_is_disabled(void **state)
{
	struct engine_config config = { .backend = "uring" };
	struct engine *engine = NULL;
	const char *wish = getenv("GUESTLOCK_ENGINE");

	(void)state;
	if (feature_allowed(FEATURE_URING) || (wish && strcmp(wish, "uring")))
		return;
	assert_int_equal(engine_new(&config, &engine), -EOPNOTSUPP);
	assert_null(engine);
}

static void freeing_nothing_is_fine(void **state)
{
	(void)state;
	assert_null(engine_free(NULL));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(each_bad_path_has_its_own_error),
	cmocka_unit_test(a_bad_path_spoils_no_other_in_a_long_batch),
	cmocka_unit_test(descriptors_are_what_was_asked_for_and_close_on_exec),
	cmocka_unit_test(an_open_may_create),
	cmocka_unit_test(resolve_flags_reach_the_kernel),
	cmocka_unit_test(a_stat_tells_the_identity),
	cmocka_unit_test(a_lock_is_in_the_kernel_and_a_second_one_is_refused),
	cmocka_unit_test(operations_on_one_descriptor_run_in_order),
	cmocka_unit_test(two_thousand_files_are_opened_locked_and_closed),
	cmocka_unit_test(an_unknown_kind_is_refused),
	cmocka_unit_test(an_empty_batch_is_done_at_once),
	cmocka_unit_test(warm_local_work_starts_no_thread),
	cmocka_unit_test(what_is_not_in_the_cache_is_opened_by_a_worker),
	cmocka_unit_test(after_the_deadline_local_work_is_done_all_the_same),
	cmocka_unit_test(a_cancel_hits_the_next_batch_once),
	cmocka_unit_test(a_cancel_stops_nothing_that_gives_back),
	cmocka_unit_test(a_cancel_can_be_taken_without_a_batch),
	cmocka_unit_test(an_engine_may_move_between_threads),
	cmocka_unit_test(too_many_descriptors_fail_one_by_one),
	cmocka_unit_test(the_status_fits_the_back_end),
	cmocka_unit_test(an_unknown_back_end_is_refused),
	cmocka_unit_test(uring_on_demand_fails_where_it_is_disabled),
	cmocka_unit_test(freeing_nothing_is_fine),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
