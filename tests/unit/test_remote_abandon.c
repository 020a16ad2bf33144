/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/slowfs.h"
#include "tests/unit/engine_ops.h"

/* What abandoned operations leave behind, where little can be had. */

static struct slowfs *fs;
static struct slowfs_knobs *knobs;

static unsigned threads_left; /* that the engine may start */
static int (*instead)(void);

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*start)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*start)(void *), void *arg)
{
	if (!threads_left)
		return instead ? instead() : EAGAIN;
	threads_left--;
	return __real_pthread_create(thread, attr, start, arg);
}

static atomic_bool hold; /* workers, whenever they have unlocked something */

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	int r = __real_pthread_mutex_unlock(mutex);

	while (hold && gettid() != getpid())
		usleep(100);
	return r;
}

static struct op remote(struct op op)
{
	op.flags |= OP_REMOTE;
	return op;
}

static struct op remote_close(unsigned i)
{
	return remote(op_fd(OP_CLOSE, must_open(slowfs_path(fs, i), O_RDWR)));
}

struct watcher {
	struct engine *engine;
	_Atomic unsigned *count;
	unsigned value;
};

static void *watch(void *arg)
{
	struct watcher *w = arg;

	assert_true(slowfs_await(w->count, w->value));
	engine_cancel(w->engine);
	return NULL;
}

/* Run a batch, and cancel it once there is one more of @count. */
static void cancel_at(struct engine *engine, struct op *ops, size_t n,
		      _Atomic unsigned *count)
{
	struct watcher w = { engine, count, *count + 1 };
	pthread_t thread;

	assert_int_equal(__real_pthread_create(&thread, NULL, watch, &w), 0);
	run(engine, ops, n);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(ops[i].res, -ECANCELED);
}

/* The look needs no lock, and what hangs may be another server. */
ON_EACH(a_look_that_hangs_keeps_no_lock)
{
	int fd = must_open(slowfs_path(fs, 1), O_RDWR);
	unsigned releases = knobs->releases;
	struct op ops[] = {
		remote(op_lock(OP_LOCK, fd, F_WRLCK, 0)),
		remote((struct op){
			.kind = OP_STAT_PATH,
			.fd = AT_FDCWD,
			.stat = { .path = slowfs_path(fs, 1) },
		}),
	};

	ops[0].flags |= OP_LEND | OP_LINK;
	knobs->hang_stat = knobs->deaf = true;
	cancel_at(engine, ops, 2, &knobs->stats);
	assert_int_equal(ops[0].fd, -1);
	assert_true(slowfs_await(&knobs->releases, releases + 1));
	assert_true(test_becomes_free(slowfs_path(fs, 1), LATE_MS));
	assert_true(knobs->hang_stat);
	slowfs_calm(fs);
}

/* Nobody else is there to do it. */
static void stopped_wait_(struct engine *engine)
{
	int a = must_open(slowfs_path(fs, 2), O_RDWR);
	int b = must_open(slowfs_path(fs, 2), O_RDWR);
	unsigned releases = knobs->releases;
	struct op ops[] = { remote(op_lock(OP_LOCK, b, F_WRLCK, 0)),
			    remote_close(3) };

	ops[0].flags |= OP_WAIT;
	knobs->deaf = true;
	must_lock(a, F_WRLCK, 0);
	cancel_at(engine, ops, 2, &knobs->locks);
	close(a);
	close(b);
	assert_true(slowfs_await(&knobs->releases, releases + 3));
	slowfs_calm(fs);
}

static void a_stopped_wait_does_the_closes_that_are_left(void **state)
{
	(void)state;
	on_each(stopped_wait_, 1);
}

static void *close_later(void *arg)
{
	usleep(50000);
	close(*(int *)arg);
	return NULL;
}

/* It hangs as long as the lock is held, and its thread ends then. */
static void successor_(struct engine *engine)
{
	int a = must_open(slowfs_path(fs, 6), O_RDWR);
	int b = must_open(slowfs_path(fs, 6), O_RDWR);
	struct op wait = remote(op_lock(OP_LOCK, b, F_WRLCK, 0));
	pthread_t thread;

	wait.flags |= OP_WAIT;
	knobs->deaf = true;
	must_lock(a, F_WRLCK, 0);
	cancel_at(engine, &wait, 1, &knobs->locks);
	assert_int_equal(__real_pthread_create(&thread, NULL, close_later, &a),
			 0);
	assert_int_equal(run_until(engine, remote(op_fd(OP_STAT, b)), LATE_MS),
			 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	close(b);
	slowfs_calm(fs);
}

static void a_stopped_wait_leaves_nothing_queued_behind(void **state)
{
	(void)state;
	on_each(successor_, 1);
}

/* The only worker comes back from its open, does what has just been added, and
   is at the close when there turns out to be no thread. */
static int the_old_one(void)
{
	unsigned flushes = knobs->flushes;

	knobs->only = 5;
	knobs->hang_flush = true;
	knobs->hang_open = false;
	assert_true(slowfs_await(&knobs->flushes, flushes + 2));
	return EAGAIN;
}

ON_EACH(what_was_done_meanwhile_counts_without_a_new_thread)
{
	unsigned releases = knobs->releases;
	struct op ops[] = {
		remote(op_open(AT_FDCWD, slowfs_path(fs, 4), O_RDWR)),
		remote_close(5),
	};

	instead = NULL;
	threads_left = 1;
	knobs->hang_open = knobs->deaf = true;
	cancel_at(engine, ops, 2, &knobs->opens);
	instead = the_old_one;
	assert_int_equal(run_one(engine, remote(op_fd(OP_STAT, 0))), 0);
	threads_left = UINT_MAX;
	assert_int_equal(run_one(engine, remote(op_fd(OP_STAT, 0))), 0);
	slowfs_calm(fs);
	assert_true(slowfs_await(&knobs->releases, releases + 2));
}

/* Between taking it and doing it. */
static void abandon_untouched(struct engine *engine, struct op op)
{
	hold = true;
	assert_int_equal(run_until(engine, op, SOON_MS), -ETIME);
	hold = false;
}

ON_EACH(what_is_abandoned_before_it_is_begun_does_no_harm)
{
	const char *path = test_file("local", 0);
	int fd = must_open(path, O_RDWR), gone = must_open(path, O_RDWR);
	int saved = fcntl(0, F_DUPFD_CLOEXEC, 3);
	unsigned fds;

	assert_int_equal(dup2(fd, 0), 0);
	must_lock(fd, F_WRLCK, 0);
	assert_int_equal(run_one(engine, remote(op_fd(OP_STAT, fd))), 0);
	fds = test_open_fds();
	abandon_untouched(engine, remote(op_open(AT_FDCWD, path, O_RDWR)));
	assert_int_equal(run_one(engine, remote(op_fd(OP_STAT, fd))), 0);
	assert_true(await_fds(fds));
	assert_true(fcntl(0, F_GETFD) >= 0);
	abandon_untouched(engine, remote(op_fd(OP_CLOSE, gone)));
	assert_true(await_fds(fds - 1));
	abandon_untouched(engine, remote(op_lock(OP_LOCK, fd, F_WRLCK, 0)));
	assert_true(await_fds(fds - 1));
	assert_false(test_lockable(path, F_RDLCK));
	if (saved >= 0)
		dup2(saved, 0);
	else
		close(0);
	fd_close(saved);
	close(fd);
}

static int calm(void **state)
{
	(void)state;
	slowfs_calm(fs);
	threads_left = UINT_MAX;
	instead = NULL;
	return 0;
}

#define TEST(_name) cmocka_unit_test_setup_teardown(_name, calm, calm)

static const struct CMUnitTest tests[] = {
	TEST(a_look_that_hangs_keeps_no_lock),
	TEST(a_stopped_wait_does_the_closes_that_are_left),
	TEST(a_stopped_wait_leaves_nothing_queued_behind),
	TEST(what_was_done_meanwhile_counts_without_a_new_thread),
	TEST(what_is_abandoned_before_it_is_begun_does_no_harm),
};

int main(void)
{
	int r;

	test_require(TEST_NEEDS_FUSE);
	fs = slowfs_start(test_file("slow", -1));
	knobs = slowfs_knobs(fs);
	r = test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_FUSE);
	slowfs_stop(fs);
	return r;
}
