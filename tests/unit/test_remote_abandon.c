/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/slowfs.h"
#include "tests/unit/engine_ops.h"

/* What abandoned operations leave behind, where little can be had. */

static struct slowfs *fs;
static struct slowfs_knobs *knobs;

static struct op remote(struct op op)
{
	op.flags |= OP_REMOTE;
	return op;
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

	assert_int_equal(pthread_create(&thread, NULL, watch, &w), 0);
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

static int calm(void **state)
{
	(void)state;
	slowfs_calm(fs);
	return 0;
}

#define TEST(_name) cmocka_unit_test_setup_teardown(_name, calm, calm)

static const struct CMUnitTest tests[] = {
	TEST(a_look_that_hangs_keeps_no_lock),
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
