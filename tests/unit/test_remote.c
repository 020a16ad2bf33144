/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/slowfs.h"
#include "tests/unit/engine_ops.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Operations on a file system that answers late, or not at all. */

#define MANY 200

static struct slowfs *fs;
static struct slowfs_knobs *knobs;
static struct op ops[MANY];
static char paths[MANY][300]; /* by disk */

static struct op remote(struct op op)
{
	op.flags |= OP_REMOTE;
	return op;
}

static struct op remote_open(unsigned i)
{
	snprintf(paths[i], sizeof(paths[i]), "%s", slowfs_path(fs, i));
	return remote(op_open(AT_FDCWD, paths[i], O_RDWR));
}

/* Waits for the lock to be free: its server may learn of a close late. */
static bool becomes_free(unsigned i)
{
	return test_becomes_free(slowfs_path(fs, i), LATE_MS);
}

/* Cancels, or else calms the file system, once @count has come to @value. */
struct watcher {
	pthread_t thread;
	struct engine *engine;
	_Atomic unsigned *count;
	unsigned value;
	bool seen;
};

static void *watch(void *arg)
{
	struct watcher *w = arg;

	w->seen = slowfs_await(w->count, w->value);
	if (w->engine)
		engine_cancel(w->engine);
	else
		slowfs_calm(fs);
	return NULL;
}

static void run_watched(struct engine *engine, size_t n, struct watcher w)
{
	assert_int_equal(pthread_create(&w.thread, NULL, watch, &w), 0);
	run(engine, ops, n);
	assert_int_equal(pthread_join(w.thread, NULL), 0);
	assert_true(w.seen);
}

static void cancel_when(struct engine *engine, size_t n,
			_Atomic unsigned *count, unsigned value)
{
	run_watched(engine, n,
		    (struct watcher){
			    .engine = engine, .count = count, .value = value });
}

static void calm_when(struct engine *engine, size_t n, _Atomic unsigned *count,
		      unsigned value)
{
	run_watched(engine, n,
		    (struct watcher){ .count = count, .value = value });
}

/* Nobody waits there any more. */
static bool await_quiet(void)
{
	uint64_t deadline = deadline_in_ms(LATE_MS);

	while (knobs->waiting && clock_now() < deadline)
		usleep(1000);
	return knobs->waiting == 0;
}

ON_EACH(every_operation_works_remotely)
{
	int dir = must_open(slowfs_dir(fs), O_PATH | O_DIRECTORY);
	struct op op;
	struct stat st;
	int fd, other = must_open(slowfs_path(fs, 1), O_RDWR);

	fd = run_one(engine, remote(op_open(dir, "disk1", O_RDWR)));
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	op = remote(op_fd(OP_STAT, fd));
	run(engine, &op, 1);
	assert_int_equal(op.res, 0);
	assert_int_equal(op.stat.out.ino, st.st_ino);
	assert_int_equal(op.stat.out.dev, st.st_dev);
	op = remote(op_fd(OP_STAT_PATH, dir));
	op.stat.path = "disk1";
	run(engine, &op, 1);
	assert_int_equal(op.res, 0);
	assert_string_equal(op.stat.path, "disk1");
	assert_int_equal(op.stat.out.ino, st.st_ino);
	assert_int_equal(run_one(engine,
				 remote(op_lock(OP_LOCK, fd, F_WRLCK, 0))),
			 0);
	assert_int_equal(run_one(engine,
				 remote(op_lock(OP_LOCK, other, F_RDLCK, 0))),
			 -EAGAIN);
	op = remote(op_lock(OP_QUERY, other, F_RDLCK, 0));
	run(engine, &op, 1);
	assert_int_equal(op.res, 0);
	assert_int_equal(op.lock.type, F_WRLCK);
	assert_int_equal(run_one(engine,
				 remote(op_lock(OP_UNLOCK, fd, F_WRLCK, 0))),
			 0);
	assert_true(test_lockable(slowfs_path(fs, 1), F_WRLCK));
	assert_int_equal(run_one(engine, remote(op_fd(OP_CLOSE, fd))), 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	close(other);
	close(dir);
}

/* Without asking the server, which would not answer. */
ON_EACH(an_open_can_tell_what_it_has_opened)
{
	struct stat st;

	ops[0] = remote_open(14);
	ops[1] = remote(op_open(AT_FDCWD, slowfs_dir(fs), O_RDONLY));
	ops[2] = remote_open(15);
	ops[0].flags |= OP_IDENTIFY;
	ops[1].flags |= OP_IDENTIFY;
	knobs->hang_stat = true;
	run(engine, ops, 3);
	knobs->hang_stat = false;
	assert_int_equal(fstat(ops[0].res, &st), 0);
	assert_int_equal(ops[0].open.out.dev, st.st_dev);
	assert_int_equal(ops[0].open.out.ino, st.st_ino);
	assert_true(S_ISREG(ops[0].open.out.mode));
	assert_true(S_ISDIR(ops[1].open.out.mode));
	assert_int_equal(ops[2].open.out.mode, 0);
	for (int i = 0; i < 3; i++)
		close(ops[i].res);
}

/* On any file: what is marked as remote is a worker's. */
ON_EACH(a_worker_reads_and_writes_a_copy)
{
	static char big[OP_DATA_MAX + 1];
	int fd = must_open(test_file("written", 0), O_RDWR);
	struct op op = remote(op_write(fd, big, sizeof(big) - 1, 1));
	struct stat st;
	char c;

	memset(big, 'x', sizeof(big));
	run(engine, &op, 1);
	assert_int_equal(op.res, 0);
	assert_ptr_equal(op.data.from, big);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, sizeof(big));
	op = remote(op_read(fd, &c, 1, OP_DATA_MAX));
	run(engine, &op, 1);
	assert_int_equal(op.res, 1);
	assert_ptr_equal(op.data.to, &c);
	assert_int_equal(c, 'x');
	assert_int_equal(run_one(engine,
				 remote(op_write(fd, big, sizeof(big), 0))),
			 -EINVAL);
	assert_int_equal(run_one(engine,
				 remote(op_read(fd, big, sizeof(big), 0))),
			 -EINVAL);
	assert_int_equal(run_one(engine, remote(op_read(fd, big, 9, 5000))), 0);
	assert_int_equal(run_one(engine, remote(op_write(-1, big, 1, 0))),
			 -EBADF);
	assert_int_equal(run_until(engine, remote(op_write(fd, "y", 1, 0)), 0),
			 -ETIME);
	close(fd);
}

ON_EACH(remote_errors_are_each_their_own)
{
	char *long_path = malloc(5000);
	struct op bad[] = {
		remote(op_open(AT_FDCWD, slowfs_path(fs, 1000), O_RDWR)),
		remote(op_open(AT_FDCWD, slowfs_dir(fs), O_RDWR)),
		remote(op_open(-7, "disk1", O_RDWR)),
		remote(op_open(AT_FDCWD, long_path, O_RDWR)),
		remote(op_fd(OP_STAT, -1)),
		remote(op_fd(OP_CLOSE, 19999)),
		remote(op_open(-7, slowfs_path(fs, 1), O_RDWR)),
	};

	memset(long_path, 'x', 4999);
	long_path[4999] = '\0';
	run(engine, bad, ARRAY_SIZE(bad));
	assert_int_equal(bad[0].res, -ENOENT);
	assert_int_equal(bad[1].res, -EISDIR);
	assert_int_equal(bad[2].res, -EBADF);
	assert_int_equal(bad[3].res, -ENAMETOOLONG);
	assert_int_equal(bad[4].res, -EBADF);
	assert_int_equal(bad[5].res, -EBADF);
	assert_true(bad[6].res >= 0); /* absolute: needs no directory */
	close(bad[6].res);
	free(long_path);
}

static void open_many(struct engine *engine, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ops[i] = remote_open(i);
	run(engine, ops, n);
	for (unsigned i = 0; i < n; i++)
		assert_true(ops[i].res >= 0);
}

static void close_many(struct engine *engine, unsigned n)
{
	int fds[MANY];

	for (unsigned i = 0; i < n; i++)
		fds[i] = ops[i].res;
	engine_close_many(engine, fds, n);
}

/* None is answered before 64 are asked. */
ON_EACH(two_hundred_opens_and_locks_overlap)
{
	int fds[MANY];

	for (unsigned i = 0; i < MANY; i++)
		ops[i] = remote_open(i);
	knobs->max_waiting = 0;
	knobs->hang_open = true;
	calm_when(engine, MANY, &knobs->waiting, 64);
	for (unsigned i = 0; i < MANY; i++) {
		fds[i] = ops[i].res;
		assert_true(fds[i] >= 0);
		ops[i] = remote(op_lock(OP_LOCK, fds[i], F_WRLCK, 0));
	}
	knobs->hang_lock = true;
	calm_when(engine, MANY, &knobs->waiting, 64);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(ops[i].res, 0);
	assert_int_equal(knobs->max_waiting, 64);
	assert_int_equal(workers_started(engine), 64);
	assert_false(test_lockable(slowfs_path(fs, MANY - 1), F_RDLCK));
	engine_close_many(engine, fds, MANY);
	assert_true(becomes_free(MANY - 1));
}

static void workers_(struct engine *engine)
{
	knobs->open_ms = 2;
	knobs->max_waiting = 0;
	open_many(engine, 40);
	assert_in_range(knobs->max_waiting, 1, 3);
	assert_in_range(workers_started(engine), 1, 3);
	close_many(engine, 40);
	slowfs_calm(fs);
}

static void there_are_no_more_workers_than_configured(void **state)
{
	(void)state;
	on_each(workers_, 3);
}

ON_EACH(a_batch_of_local_and_remote_is_done_whole)
{
	int dir = must_open(test_dir(), O_PATH | O_DIRECTORY);

	test_file("local", 0);
	knobs->open_ms = 2;
	for (unsigned i = 0; i < MANY; i++)
		ops[i] = i % 2 ? remote_open(i) : op_open(dir, "local", O_RDWR);
	run(engine, ops, MANY);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(ops[i].res >= 0);
	slowfs_calm(fs);
	close_many(engine, MANY);
	close(dir);
}

ON_EACH(an_abandoned_open_is_closed_when_it_comes)
{
	char *path = strdup(slowfs_path(fs, 5));
	unsigned releases = knobs->releases;

	knobs->hang_open = knobs->deaf = true;
	ops[0] = remote(op_open(AT_FDCWD, path, O_RDWR));
	cancel_when(engine, 1, &knobs->opens, knobs->opens + 1);
	assert_int_equal(ops[0].res, -ECANCELED);
	memset(path, 'x', strlen(path)); /* it is ours again */
	free(path);
	slowfs_calm(fs);
	assert_true(slowfs_await(&knobs->releases, releases + 1));
}

ON_EACH(an_open_that_hangs_times_out)
{
	knobs->hang_open = knobs->deaf = true;
	assert_int_equal(run_until(engine, remote_open(5), SOON_MS), -ETIME);
	slowfs_calm(fs);
}

ON_EACH(what_nobody_got_to_is_never_begun)
{
	unsigned opens = knobs->opens;

	knobs->hang_open = knobs->deaf = true;
	for (unsigned i = 0; i < MANY; i++)
		ops[i] = remote_open(i);
	cancel_when(engine, MANY, &knobs->opens, opens + 64);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(ops[i].res, -ECANCELED);
	slowfs_calm(fs);
	assert_true(await_quiet());
	assert_int_equal(knobs->opens, opens + 64);
}

ON_EACH(workers_that_hang_come_back_to_work)
{
	knobs->hang_open = knobs->deaf = true;
	for (unsigned i = 0; i < MANY; i++)
		ops[i] = remote_open(i);
	cancel_when(engine, MANY, &knobs->opens, knobs->opens + 64);
	/* Local opens have places of their own meanwhile. */
	if (openat2_works()) {
		struct op op = op_open(AT_FDCWD, "/proc/self/fd/1", O_PATH);
		int fd = run_one(engine, op);

		assert_true(fd >= 0);
		close(fd);
		assert_int_equal(workers_started(engine), 65);
	}
	slowfs_calm(fs);
	open_many(engine, MANY);
	assert_in_range(workers_started(engine), 64, 64 + 8);
	close_many(engine, MANY);
}

ON_EACH(after_the_deadline_nothing_remote_is_begun)
{
	unsigned opens = knobs->opens;
	struct op op = remote_open(1);

	assert_int_equal(engine_run(engine, &op, 1, 0), 0);
	assert_int_equal(op.res, -ETIME);
	assert_int_equal(knobs->opens, opens);
	assert_int_equal(workers_started(engine), 0);
}

ON_EACH(an_abandoned_lock_is_dropped_when_it_comes)
{
	int fd = must_open(slowfs_path(fs, 6), O_RDWR);
	unsigned locks = knobs->locks;

	knobs->hang_lock = knobs->deaf = true;
	ops[0] = remote(op_lock(OP_LOCK, fd, F_WRLCK, 0));
	cancel_when(engine, 1, &knobs->locks, locks + 1);
	assert_int_equal(ops[0].res, -ECANCELED);
	slowfs_calm(fs);
	assert_true(slowfs_await(&knobs->locks, locks + 2)); /* the unlock */
	assert_true(becomes_free(6));
	close(fd);
}

ON_EACH(the_callers_descriptor_is_not_touched_any_more)
{
	const char *other = test_file("other", 0);
	int fd = must_open(slowfs_path(fs, 7), O_RDWR), again;

	knobs->hang_lock = knobs->deaf = true;
	ops[0] = remote(op_lock(OP_LOCK, fd, F_WRLCK, 0));
	cancel_when(engine, 1, &knobs->locks, knobs->locks + 1);
	close(fd);
	again = must_open(other, O_RDWR);
	assert_int_equal(again, fd);
	must_lock(again, F_WRLCK, 0);
	slowfs_calm(fs);
	assert_true(becomes_free(7));
	assert_false(test_lockable(other, F_RDLCK));
	close(again);
}

/* Can be stopped where the server listens, and is left alone where not. */
static void give_up_wait(struct engine *engine, bool deaf)
{
	int a = must_open(slowfs_path(fs, 8), O_RDWR);
	int b = must_open(slowfs_path(fs, 8), O_RDWR);
	struct op op = remote(op_lock(OP_LOCK, b, F_WRLCK, 0));

	op.flags |= OP_WAIT;
	knobs->deaf = deaf;
	must_lock(a, F_WRLCK, 0);
	assert_int_equal(run_until(engine, op, SOON_MS), -ETIME);
	if (!deaf && feature_allowed(FEATURE_THREAD_CANCEL))
		assert_true(await_workers(0));
	close(a);
	assert_true(becomes_free(8));
	close(b);
	slowfs_calm(fs);
}

ON_EACH(a_remote_wait_is_stopped)
{
	give_up_wait(engine, false);
}

static struct op lent_lock(int fd)
{
	struct op op = remote(op_lock(OP_LOCK, fd, F_WRLCK, 0));

	op.flags |= OP_LEND;
	return op;
}

ON_EACH(a_descriptor_that_was_lent_is_not_duplicated)
{
	int fd = must_open(slowfs_path(fs, 12), O_RDWR);
	unsigned flushes = knobs->flushes;

	ops[0] = lent_lock(fd);
	run(engine, ops, 1);
	assert_int_equal(ops[0].res, 0);
	assert_int_equal(ops[0].fd, fd);
	ops[0] = remote(op_lock(OP_QUERY, fd, F_WRLCK, 0));
	ops[0].flags |= OP_LEND;
	run(engine, ops, 1);
	assert_int_equal(ops[0].res, 0);
	assert_int_equal(ops[0].fd, fd);
	assert_int_equal(ops[0].lock.type, F_UNLCK);
	assert_int_equal(knobs->flushes, flushes);
	assert_false(test_lockable(slowfs_path(fs, 12), F_RDLCK));
	close(fd);
	assert_true(becomes_free(12));
}

/* One that was never begun is still the caller's. */
ON_EACH(a_descriptor_that_was_lent_and_abandoned_is_the_engines)
{
	unsigned releases = knobs->releases;
	int fds[MANY];

	for (unsigned i = 0; i < MANY; i++) {
		fds[i] = must_open(slowfs_path(fs, 20 + i), O_RDWR);
		ops[i] = lent_lock(fds[i]);
	}
	knobs->hang_lock = knobs->deaf = true;
	cancel_when(engine, MANY, &knobs->locks, knobs->locks + 64);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(ops[i].res, -ECANCELED);
		assert_int_equal(ops[i].fd, i < 64 ? -1 : fds[i]);
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
	}
	slowfs_calm(fs);
	assert_true(slowfs_await(&knobs->releases, releases + 64));
	for (unsigned i = 64; i < MANY; i++)
		close(fds[i]);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(becomes_free(20 + i));
}

ON_EACH(a_wait_that_was_lent_and_stopped_leaves_nothing)
{
	int a = must_open(slowfs_path(fs, 13), O_RDWR);
	int b = must_open(slowfs_path(fs, 13), O_RDWR);

	must_lock(a, F_WRLCK, 0);
	ops[0] = lent_lock(b);
	ops[0].flags |= OP_WAIT;
	cancel_when(engine, 1, &knobs->locks, knobs->locks + 1);
	assert_int_equal(ops[0].res, -ECANCELED);
	assert_int_equal(ops[0].fd, -1);
	close(a);
	assert_true(becomes_free(13));
}

/* The lock, a question, and a look at the path. Return: how many. */
static size_t errand(struct op *to, int fd, unsigned disk)
{
	snprintf(paths[disk], sizeof(paths[disk]), "%s", slowfs_path(fs, disk));
	to[0] = lent_lock(fd);
	to[1] = remote(op_lock(OP_QUERY, fd, F_WRLCK, 100));
	to[1].flags |= OP_LEND | OP_LINK;
	to[2] = remote((struct op){
		.kind = OP_STAT_PATH,
		.fd = AT_FDCWD,
		.res = INT32_MIN,
		.stat = { .path = paths[disk] },
	});
	to[0].flags |= OP_LINK;
	return 3;
}

ON_EACH(an_errand_is_done_in_order_by_one_worker)
{
	int other = must_open(slowfs_path(fs, 14), O_RDWR);
	int fd = must_open(slowfs_path(fs, 14), O_RDWR);
	unsigned flushes = knobs->flushes, stats = knobs->stats;
	struct stat st;

	must_lock(other, F_WRLCK, 100);
	run(engine, ops, errand(ops, fd, 14));
	for (int i = 0; i < 3; i++)
		assert_int_equal(ops[i].res, 0);
	assert_int_equal(ops[0].fd, fd);
	assert_int_equal(ops[1].lock.type, F_WRLCK);
	assert_int_equal(ops[1].lock.start, 100);
	assert_int_equal(knobs->stats, stats + 1);
	assert_int_equal(knobs->flushes, flushes);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ops[2].stat.out.ino, st.st_ino);
	assert_int_equal(workers_started(engine), 1);
	close(other);
	close(fd);
	assert_true(becomes_free(14));
}

ON_EACH(after_a_failure_an_errand_goes_no_further)
{
	int other = must_open(slowfs_path(fs, 15), O_RDWR);
	int fd = must_open(slowfs_path(fs, 15), O_RDWR);
	unsigned queries, stats = knobs->stats;

	must_lock(other, F_WRLCK, 0);
	queries = knobs->queries;
	run(engine, ops, errand(ops, fd, 15));
	for (int i = 0; i < 3; i++)
		assert_int_equal(ops[i].res, -EAGAIN);
	assert_int_equal(ops[0].fd, fd);
	assert_int_equal(knobs->queries, queries);
	assert_int_equal(knobs->stats, stats);
	close(other);
	close(fd);
	assert_true(becomes_free(15));
}

/* The lock is dropped at once, though the next one would hang. */
ON_EACH(an_errand_that_was_abandoned_goes_no_further)
{
	int fd = must_open(slowfs_path(fs, 16), O_RDWR);
	unsigned stats = knobs->stats;

	knobs->hang_lock = knobs->deaf = true;
	errand(ops, fd, 16);
	cancel_when(engine, 3, &knobs->locks, knobs->locks + 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(ops[i].res, -ECANCELED);
	assert_int_equal(ops[0].fd, -1);
	knobs->hang_stat = true;
	knobs->hang_lock = false;
	assert_true(becomes_free(16));
	assert_int_equal(knobs->stats, stats);
	slowfs_calm(fs);
}

/* What was locked before the look that hangs is given back, too. */
ON_EACH(an_errand_is_abandoned_as_a_whole)
{
	unsigned releases = knobs->releases, stats = knobs->stats;
	int fds[65];

	knobs->hang_stat = knobs->deaf = true;
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = must_open(slowfs_path(fs, 20 + i), O_RDWR);
		errand(&ops[3 * i], fds[i], 20 + i);
	}
	cancel_when(engine, 3 * ARRAY_SIZE(fds), &knobs->stats, stats + 64);
	for (unsigned i = 0; i < 3 * ARRAY_SIZE(fds); i++) {
		assert_int_equal(ops[i].res, -ECANCELED);
		assert_true(i % 3 || (ops[i].fd < 0) == (i / 3 < 64));
	}
	slowfs_calm(fs);
	assert_true(slowfs_await(&knobs->releases, releases + 64));
	close(fds[64]);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		assert_true(becomes_free(20 + i));
}

ON_EACH(a_remote_wait_that_cannot_be_stopped_is_abandoned)
{
	give_up_wait(engine, true);
}

ON_EACH(a_remote_wait_is_granted)
{
	int a = must_open(slowfs_path(fs, 8), O_RDWR);
	int b = must_open(slowfs_path(fs, 8), O_RDWR);
	struct op op = remote(op_lock(OP_LOCK, b, F_WRLCK, 0));
	pid_t pid;

	op.flags |= OP_WAIT;
	must_lock(a, F_WRLCK, 0);
	pid = fork();
	if (pid == 0) {
		struct flock l = { .l_type = F_UNLCK, .l_len = 1 };

		usleep(20000);
		_exit(fcntl(a, F_OFD_SETLK, &l) ? 1 : 0);
	}
	assert_int_equal(run_one(engine, op), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_false(test_lockable(slowfs_path(fs, 8), F_RDLCK));
	close(a);
	close(b);
	assert_true(becomes_free(8));
}

/* Closing the worker's duplicate asks the server once more. */
ON_EACH(a_result_counts_even_if_the_flush_after_it_hangs)
{
	int fd = must_open(slowfs_path(fs, 9), O_RDWR);

	knobs->hang_flush = knobs->deaf = true;
	ops[0] = remote(op_lock(OP_LOCK, fd, F_WRLCK, 0));
	cancel_when(engine, 1, &knobs->flushes, knobs->flushes + 1);
	assert_int_equal(ops[0].res, 0);
	slowfs_calm(fs);
	assert_false(test_lockable(slowfs_path(fs, 9), F_RDLCK));
	close(fd);
	assert_true(becomes_free(9));
}

ON_EACH(a_close_that_hangs_is_the_engines_own_business)
{
	unsigned releases = knobs->releases;
	int fds[3];

	for (int i = 0; i < 3; i++)
		fds[i] = must_open(slowfs_path(fs, 10), O_RDWR);
	knobs->hang_flush = knobs->deaf = true;
	for (int i = 0; i < 3; i++)
		ops[i] = remote(op_fd(OP_CLOSE, fds[i]));
	cancel_when(engine, 3, &knobs->flushes, knobs->flushes + 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(ops[i].res, -ECANCELED);
	slowfs_calm(fs);
	assert_true(slowfs_await(&knobs->releases, releases + 3));
}

static void closes_(struct engine *engine)
{
	unsigned releases = knobs->releases;
	int fds[3];

	for (int i = 0; i < 3; i++)
		fds[i] = must_open(slowfs_path(fs, 10), O_RDWR);
	knobs->hang_open = knobs->deaf = true;
	ops[0] = remote_open(11);
	for (int i = 0; i < 3; i++)
		ops[1 + i] = remote(op_fd(OP_CLOSE, fds[i]));
	cancel_when(engine, 4, &knobs->opens, knobs->opens + 1);
	for (int i = 0; i < 4; i++)
		assert_int_equal(ops[i].res, -ECANCELED);
	assert_int_equal(fcntl(fds[2], F_GETFD), FD_CLOEXEC);
	slowfs_calm(fs);
	assert_true(slowfs_await(&knobs->releases, releases + 4));
}

static void a_close_that_was_not_begun_is_done_later(void **state)
{
	(void)state;
	on_each(closes_, 1);
}

ON_EACH(after_the_deadline_a_remote_close_is_done_all_the_same)
{
	unsigned releases = knobs->releases;
	struct op op =
		remote(op_fd(OP_CLOSE, must_open(slowfs_path(fs, 10), O_RDWR)));

	assert_int_equal(engine_run(engine, &op, 1, 0), 0);
	assert_true(op.res == 0 || op.res == -ETIME);
	assert_true(slowfs_await(&knobs->releases, releases + 1));
}

ON_EACH(an_engine_with_hung_workers_is_freed_at_once)
{
	struct engine *other =
		engine_of(uring_possible() ? "uring" : "syscall", 0);

	(void)engine;
	knobs->hang_open = knobs->deaf = true;
	for (unsigned i = 0; i < 20; i++)
		ops[i] = remote_open(i);
	cancel_when(other, 20, &knobs->opens, knobs->opens + 20);
	engine_free(other); /* would never return otherwise */
	assert_int_equal(count_workers(), 20);
	slowfs_calm(fs);
	assert_true(await_workers(0));
	assert_true(await_quiet());
}

static void *open_many_elsewhere(void *engine)
{
	open_many(engine, 100);
	close_many(engine, 100);
	return NULL;
}

ON_EACH(workers_serve_whichever_thread_runs_the_engine)
{
	pthread_t thread;

	for (int i = 0; i < 3; i++) {
		open_many_elsewhere(engine);
		assert_int_equal(pthread_create(&thread, NULL,
						open_many_elsewhere, engine),
				 0);
		pthread_join(thread, NULL);
	}
}

ON_EACH(a_full_descriptor_table_fails_only_what_needs_one)
{
	struct rlimit old, low;
	int fd;

	open_many(engine, 2);
	fd = dup(ops[1].res);
	close(fd);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)fd;
	setrlimit(RLIMIT_NOFILE, &low);
	ops[2] = remote(op_lock(OP_LOCK, ops[0].res, F_WRLCK, 0));
	ops[3] = remote(op_fd(OP_CLOSE, ops[1].res));
	run(engine, ops + 2, 1);
	run(engine, ops + 3, 1);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(ops[2].res, -EMFILE);
	assert_int_equal(ops[3].res, 0);
	close(ops[0].res);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_operation_works_remotely),
	cmocka_unit_test(an_open_can_tell_what_it_has_opened),
	cmocka_unit_test(a_worker_reads_and_writes_a_copy),
	cmocka_unit_test(remote_errors_are_each_their_own),
	cmocka_unit_test(there_are_no_more_workers_than_configured),
	cmocka_unit_test(a_batch_of_local_and_remote_is_done_whole),
	cmocka_unit_test(an_abandoned_open_is_closed_when_it_comes),
	cmocka_unit_test(an_open_that_hangs_times_out),
	cmocka_unit_test(what_nobody_got_to_is_never_begun),
	cmocka_unit_test(workers_that_hang_come_back_to_work),
	cmocka_unit_test(after_the_deadline_nothing_remote_is_begun),
	cmocka_unit_test(a_close_that_was_not_begun_is_done_later),
	cmocka_unit_test(
		after_the_deadline_a_remote_close_is_done_all_the_same),
	cmocka_unit_test(an_engine_with_hung_workers_is_freed_at_once),
	cmocka_unit_test(workers_serve_whichever_thread_runs_the_engine),
	cmocka_unit_test(a_full_descriptor_table_fails_only_what_needs_one),
};

/* valgrind lets no other thread run while one is in a lock or a close. */
static const struct CMUnitTest lock_tests[] = {
	cmocka_unit_test(a_result_counts_even_if_the_flush_after_it_hangs),
	cmocka_unit_test(a_close_that_hangs_is_the_engines_own_business),
	cmocka_unit_test(two_hundred_opens_and_locks_overlap),
	cmocka_unit_test(an_abandoned_lock_is_dropped_when_it_comes),
	cmocka_unit_test(the_callers_descriptor_is_not_touched_any_more),
	cmocka_unit_test(a_descriptor_that_was_lent_is_not_duplicated),
	cmocka_unit_test(
		a_descriptor_that_was_lent_and_abandoned_is_the_engines),
	cmocka_unit_test(a_wait_that_was_lent_and_stopped_leaves_nothing),
	cmocka_unit_test(an_errand_is_done_in_order_by_one_worker),
	cmocka_unit_test(after_a_failure_an_errand_goes_no_further),
	cmocka_unit_test(an_errand_that_was_abandoned_goes_no_further),
	cmocka_unit_test(an_errand_is_abandoned_as_a_whole),
	cmocka_unit_test(a_remote_wait_is_stopped),
	cmocka_unit_test(a_remote_wait_that_cannot_be_stopped_is_abandoned),
	cmocka_unit_test(a_remote_wait_is_granted),
};

int main(void)
{
	int r;

	spare_valgrind();
	test_require(TEST_NEEDS_FUSE);
	fs = slowfs_start(test_file("slow", -1));
	knobs = slowfs_knobs(fs);
	r = test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_FUSE);
	if (!under_valgrind())
		r |= test_run("locks", lock_tests, ARRAY_SIZE(lock_tests),
			      TEST_NEEDS_FUSE);
	slowfs_stop(fs);
	return r;
}
