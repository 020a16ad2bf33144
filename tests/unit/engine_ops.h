/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"
#include "tests/lib/test.h"
#include "uring/engine.h"

#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* What the tests of uring/ share. */

#define SOON_MS 30    /* a deadline that is meant to pass */
#define LATE_MS 10000 /* one that is not */
#define TRIES 100     /* of what a rename on the host may disturb */

static inline struct op op_open(int dir, const char *path, int flags)
{
	return (struct op){ .kind = OP_OPEN,
			    .fd = dir,
			    .res = INT32_MIN,
			    .open = { .path = path, .flags = flags } };
}

static inline struct op op_lock(enum op_kind kind, int fd, short type,
				long byte)
{
	return (struct op){ .kind = (uint8_t)kind,
			    .fd = fd,
			    .res = INT32_MIN,
			    .lock = { .type = type, .start = byte, .len = 1 } };
}

static inline struct op op_fd(enum op_kind kind, int fd)
{
	return (struct op){ .kind = (uint8_t)kind, .fd = fd, .res = INT32_MIN };
}

static inline struct op op_write(int fd, const void *from, size_t size,
				 int64_t offset)
{
	return (struct op){ .kind = OP_WRITE,
			    .fd = fd,
			    .res = INT32_MIN,
			    .data = { .from = from,
				      .size = (uint32_t)size,
				      .offset = offset } };
}

static inline struct op op_read(int fd, void *to, size_t size, int64_t offset)
{
	return (struct op){
		.kind = OP_READ,
		.fd = fd,
		.res = INT32_MIN,
		.data = { .to = to, .size = (uint32_t)size, .offset = offset }
	};
}

static inline void run(struct engine *engine, struct op *ops, size_t n)
{
	assert_int_equal(engine_run(engine, ops, n, deadline_in_ms(LATE_MS)),
			 0);
}

/* Run one operation. Return: its result. */
static inline int run_one(struct engine *engine, struct op op)
{
	run(engine, &op, 1);
	return op.res;
}

static inline int run_until(struct engine *engine, struct op op, uint64_t ms)
{
	assert_int_equal(engine_run(engine, &op, 1, deadline_in_ms(ms)), 0);
	return op.res;
}

static inline int must_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static inline void must_lock(int fd, short type, long byte)
{
	struct flock l = { .l_type = type, .l_start = byte, .l_len = 1 };

	assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
}

static inline unsigned workers_started(struct engine *engine)
{
	struct engine_status status;

	engine_describe(engine, &status);
	return status.workers_started;
}

/* Threads of this process whose name begins with @prefix. */
static inline unsigned count_tasks(const char *prefix)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *d;
	unsigned n = 0;

	assert_non_null(dir);
	while ((d = readdir(dir))) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
			 d->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f))
			n += !strncmp(name, prefix, strlen(prefix));
		fclose(f);
	}
	closedir(dir);
	return n;
}

static inline unsigned count_workers(void)
{
	return count_tasks("guestlock-io");
}

static inline bool await_workers(unsigned n)
{
	uint64_t deadline = deadline_in_ms(LATE_MS);

	while (count_workers() != n) {
		if (clock_now() > deadline)
			return false;
		usleep(1000);
	}
	return true;
}

static inline bool await_fds(unsigned n)
{
	uint64_t deadline = deadline_in_ms(LATE_MS);

	while (test_open_fds() != n) {
		if (clock_now() > deadline)
			return false;
		usleep(1000);
	}
	return true;
}

/* valgrind does not know it. */
static inline bool openat2_works(void)
{
	return feature_allowed(FEATURE_OPENAT2) &&
	       (syscall(SYS_openat2, -1, "", NULL, 0) == 0 || errno != ENOSYS);
}

static inline bool under_valgrind(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "vgpreload");
}

/*
 * valgrind lets no other thread run while one waits in fcntl(F_OFD_SETLKW), so
 * that it would wait for ever. To be called before anything else.
 */
static inline void spare_valgrind(void)
{
	if (under_valgrind())
		setenv("GUESTLOCK_DISABLE", "thread-cancel", 1);
}

/* Is there nothing that makes "uring" impossible? */
static inline bool uring_possible(void)
{
	long fd;

	/* The same goes for io_uring_enter(2). */
	if (!feature_allowed(FEATURE_URING) || under_valgrind())
		return false;
	fd = syscall(SYS_io_uring_setup, 0, NULL);
	if (fd >= 0)
		close((int)fd);
	return !(fd < 0 && (errno == ENOSYS || errno == EPERM));
}

static inline struct engine *engine_of(const char *backend, unsigned workers)
{
	struct engine_config config = { .backend = backend,
					.max_workers = workers };
	struct engine *engine = NULL;

	assert_int_equal(engine_new(&config, &engine), 0);
	return engine;
}

/* Run a test on each back end there is, and see that it leaves nothing. */
static inline void on_each(void (*test)(struct engine *), unsigned workers)
{
	static const char *const backends[] = { "syscall", "uring" };

	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		struct engine *engine;
		unsigned before = test_open_fds();

		if (i == 1 && !uring_possible())
			continue;
		engine = engine_of(backends[i], workers);
		test(engine);
		engine_free(engine);
		assert_true(await_workers(0));
		assert_true(await_fds(before));
	}
}

#define ON_EACH(_name)                                                         \
	static void _name##_(struct engine *engine);                           \
	static void _name(void **state)                                        \
	{                                                                      \
		(void)state;                                                   \
		on_each(_name##_, 0);                                          \
	}                                                                      \
	static void _name##_(struct engine *engine)
