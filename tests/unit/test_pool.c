/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/pool.h"

#include "tests/unit/engine_ops.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MANY 300

static struct op ops[MANY];

static struct pool *new_pool(unsigned max)
{
	struct pool *pool = NULL;

	assert_int_equal(pool_new(max, &pool), 0);
	return pool;
}

static struct op remote_open(void)
{
	struct op op = op_open(AT_FDCWD, "/dev/null", O_RDWR);

	op.flags = OP_REMOTE;
	return op;
}

static void a_new_pool_has_no_thread_and_no_descriptor(void **state)
{
	unsigned before = test_open_fds();
	struct pool *pool = new_pool(0);

	(void)state;
	assert_int_equal(pool->max_workers, POOL_WORKERS);
	assert_int_equal(pool->n_workers, 0);
	pool_finish(pool, DEADLINE_NEVER);
	assert_int_equal(test_open_fds(), before);
	assert_null(pool_free(pool));
	assert_null(pool_free(NULL));
}

static void workers_are_started_as_they_are_needed_and_stay(void **state)
{
	struct pool *pool = new_pool(4);

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			ops[i] = remote_open();
			assert_int_equal(pool_add(pool, &ops[i], 1), 0);
		}
		pool_finish(pool, DEADLINE_NEVER);
		for (int i = 0; i < MANY; i++) {
			assert_true(ops[i].res >= 0);
			close(ops[i].res);
		}
		assert_in_range(pool->started, 1, 4);
		assert_int_equal(pool->started, pool->n_workers);
	}
	pool_free(pool);
	assert_true(await_workers(0));
}

static void one_operation_needs_one_worker_however_often(void **state)
{
	struct pool *pool = new_pool(0);

	(void)state;
	for (int i = 0; i < 50; i++) {
		ops[0] = remote_open();
		assert_int_equal(pool_add(pool, &ops[0], 1), 0);
		pool_finish(pool, DEADLINE_NEVER);
		assert_true(ops[0].res >= 0);
		close(ops[0].res);
	}
	assert_int_equal(pool->started, 1);
	pool_free(pool);
}

static void many_are_added_at_once(void **state)
{
	struct pool *pool = new_pool(4);

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++)
			ops[i] = remote_open();
		assert_int_equal(pool_add(pool, ops, MANY / 2), 0);
		assert_int_equal(pool_add(pool, ops + MANY / 2,
					  MANY - MANY / 2),
				 0);
		pool_finish(pool, DEADLINE_NEVER);
		for (int i = 0; i < MANY; i++) {
			assert_true(ops[i].res >= 0);
			close(ops[i].res);
		}
		assert_in_range(pool->started, 1, 4);
	}
	pool_free(pool);
	assert_true(await_workers(0));
}

static void local_opens_use_few_workers(void **state)
{
	struct pool *pool = new_pool(0);

	(void)state;
	for (int i = 0; i < MANY; i++) {
		ops[i] = op_open(AT_FDCWD, "/dev/null", O_RDWR);
		assert_int_equal(pool_add(pool, &ops[i], 1), 0);
	}
	pool_finish(pool, DEADLINE_NEVER);
	for (int i = 0; i < MANY; i++)
		close(ops[i].res);
	assert_in_range(pool->started, 1, POOL_OPENERS);
	pool_free(pool);
}

static void a_cancel_is_taken_once(void **state)
{
	struct pool *pool = new_pool(0);

	(void)state;
	assert_false(pool_take_cancel(pool));
	pool_cancel(pool);
	pool_cancel(pool);
	assert_true(pool_take_cancel(pool));
	assert_false(pool_take_cancel(pool));
	pool_free(pool);
}

static void a_pool_is_freed_with_work_in_it(void **state)
{
	struct pool *pool = new_pool(2);
	unsigned before = test_open_fds();
	char *path = strdup("/dev/null");

	(void)state;
	for (int i = 0; i < MANY; i++) {
		ops[i] = remote_open();
		ops[i].open.path = path;
		assert_int_equal(pool_add(pool, &ops[i], 1), 0);
	}
	pool_finish(pool, 0);
	free(path); /* whatever the workers do */
	pool_free(pool);
	for (int i = 0; i < MANY; i++)
		fd_close(ops[i].res);
	assert_true(await_workers(0));
	assert_int_equal(test_open_fds(), before);
}

/* In a child that may start no thread. Return: its exit code. */
static int without_threads(void)
{
	struct rlimit none = { 0, 0 };
	struct engine *engine = engine_of("auto", 0);
	int fd = must_open("/dev/null", O_RDWR);
	struct op batch[4];
	char magic[40];

	snprintf(magic, sizeof(magic), "/proc/self/fd/%d", fd);
	if (setrlimit(RLIMIT_NPROC, &none) ||
	    (geteuid() == 0 && setresuid(65534, 65534, 65534)))
		return 2;
	prctl(PR_SET_DUMPABLE, 1);
	batch[0] = remote_open();
	batch[1] = op_open(AT_FDCWD, magic, O_RDWR);
	batch[2] = op_fd(OP_CLOSE, fd);
	batch[2].flags = OP_REMOTE;
	batch[3] = op_fd(OP_STAT, 0);
	if (engine_run(engine, batch, 4, deadline_in_ms(LATE_MS)))
		return 3;
	if (batch[0].res != -ENOMEM || batch[1].res < 0 || batch[2].res ||
	    batch[3].res)
		return 4;
	engine_free(engine);
	return 0;
}

static void without_threads_only_what_may_hang_fails(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0)
		_exit(without_threads());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_new_pool_has_no_thread_and_no_descriptor),
	cmocka_unit_test(workers_are_started_as_they_are_needed_and_stay),
	cmocka_unit_test(one_operation_needs_one_worker_however_often),
	cmocka_unit_test(many_are_added_at_once),
	cmocka_unit_test(local_opens_use_few_workers),
	cmocka_unit_test(a_cancel_is_taken_once),
	cmocka_unit_test(a_pool_is_freed_with_work_in_it),
	cmocka_unit_test(without_threads_only_what_may_hang_fails),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
