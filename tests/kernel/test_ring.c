/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the engine relies on in io_uring, and what it must never do with it. */
#include "tests/kernel/kernel.h"

#include <dirent.h>
#include <liburing.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12) /* Linux 6.0 */
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13) /* Linux 6.1 */
#endif
#define ERESTARTSYS 512 /* the kernel's own; it should not be seen */
#define DEFER (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

static struct io_uring_sqe *sqe_get(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	assert_non_null(sqe);
	return sqe;
}

/* The next completion; what it was of in @ret_data. At most 20 s. */
static int complete(struct io_uring *ring, uint64_t *ret_data)
{
	struct __kernel_timespec limit = { .tv_sec = 20 };
	struct io_uring_cqe *cqe;
	int res;

	assert_true(io_uring_submit(ring) >= 0);
	assert_int_equal(io_uring_wait_cqe_timeout(ring, &cqe, &limit), 0);
	res = cqe->res;
	if (ret_data)
		*ret_data = cqe->user_data;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

static int ring_open(struct io_uring *ring, int at, const char *path, int flags)
{
	io_uring_prep_openat(sqe_get(ring), at, path, flags | O_CLOEXEC, 0600);
	return complete(ring, NULL);
}

static unsigned count_workers(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	unsigned n = 0;

	while ((task = readdir(tasks))) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
			 task->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		n += fgets(name, sizeof(name), f) &&
		     !strncmp(name, "iou-wrk", 7);
		fclose(f);
	}
	closedir(tasks);
	return n;
}

static void opens_are_relative_and_close_on_exec(void **state)
{
	int dir = open(test_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	struct io_uring ring;

	(void)state;
	test_file("a", 0);
	assert_int_equal(io_uring_queue_init(8, &ring, 0), 0);
	fd = ring_open(&ring, dir, "a", O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(lock_byte(fd, F_WRLCK, 0), 0);
	close(fd);
	assert_int_equal(ring_open(&ring, dir, "none", O_RDWR), -ENOENT);
	io_uring_queue_exit(&ring);
	close(dir);
}

static void openat2_takes_the_resolve_flags(void **state)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC,
				.resolve = RESOLVE_NO_SYMLINKS };
	int dir = open(test_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct io_uring ring;

	(void)state;
	test_file("a", 0);
	symlinkat("a", dir, "soft");
	assert_int_equal(io_uring_queue_init(8, &ring, 0), 0);
	io_uring_prep_openat2(sqe_get(&ring), dir, "soft", &how);
	assert_int_equal(complete(&ring, NULL), -ELOOP);
	io_uring_queue_exit(&ring);
	unlinkat(dir, "soft", 0);
	close(dir);
}

/* In a process of its own, since workers stay for a while. */
static int open_warm_then_stat(int sock, void *arg)
{
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	struct statx stx;

	(void)sock;
	CHILD_CHECK(io_uring_queue_init(8, &ring, 0) == 0);
	io_uring_prep_openat(io_uring_get_sqe(&ring), AT_FDCWD, arg,
			     O_RDWR | O_CLOEXEC, 0);
	CHILD_CHECK(io_uring_submit_and_wait(&ring, 1) == 1);
	CHILD_CHECK(io_uring_peek_cqe(&ring, &cqe) == 0 && cqe->res >= 0);
	CHILD_CHECK(count_workers() == 0);
	io_uring_prep_statx(io_uring_get_sqe(&ring), cqe->res, "",
			    AT_EMPTY_PATH, STATX_INO, &stx);
	io_uring_cqe_seen(&ring, cqe);
	CHILD_CHECK(io_uring_submit_and_wait(&ring, 1) == 1);
	CHILD_CHECK(count_workers() > 0);
	return 0;
}

/* Why stats are system calls: each would cost a thread's wake-up. */
static void a_warm_open_is_inline_and_a_stat_is_not(void **state)
{
	const char *path = test_file("a", 0);

	(void)state;
	close(file_open(path, O_RDWR));
	assert_int_equal(child_run(open_warm_then_stat, (void *)path), 0);
}

static void a_ring_close_frees_the_lock_with_its_completion(void **state)
{
	const char *path;
	struct io_uring ring;

	(void)state;
	assert_int_equal(io_uring_queue_init(8, &ring, 0), 0);
	for (int i = 0; i < 20; i++) {
		int fd = file_locked("a", &path);

		io_uring_prep_close(sqe_get(&ring), fd);
		assert_int_equal(complete(&ring, NULL), 0);
		assert_true(test_lockable(path, F_WRLCK));
	}
	io_uring_queue_exit(&ring);
}

/* Why no lock's descriptor is ever registered. */
static void a_registered_file_keeps_its_lock_beyond_close(void **state)
{
	const char *path;
	int fd = file_locked("a", &path);
	struct io_uring ring;

	(void)state;
	assert_int_equal(io_uring_queue_init(8, &ring, 0), 0);
	assert_int_equal(io_uring_register_files(&ring, &fd, 1), 0);
	close(fd);
	assert_false(test_lockable(path, F_WRLCK));
	assert_int_equal(io_uring_unregister_files(&ring), 0);
	assert_true(test_becomes_free(path, 20000));
	io_uring_queue_exit(&ring);
}

static int register_and_wait(int sock, void *arg)
{
	struct io_uring ring;

	CHILD_CHECK(io_uring_queue_init(8, &ring, 0) == 0);
	CHILD_CHECK(io_uring_register_files(&ring, arg, 1) == 0);
	turn_give(sock);
	pause();
	return 0;
}

/*
 * A VMM may do so by itself. The lock then outlives its process by a while:
 * why a refusal is preceded by a short grace.
 */
static void a_dead_process_registered_files_are_freed_in_the_end(void **state)
{
	struct child child;
	const char *path;
	int fd = file_locked("a", &path);

	(void)state;
	child_start(&child, register_and_wait, &fd);
	turn_take(child.sock);
	close(fd);
	assert_int_equal(child_kill(&child), 128 + SIGKILL);
	assert_true(test_becomes_free(path, 20000));
}

static void an_unregistered_ring_does_not_delay_the_locks_of_the_dead(
	void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		struct child child;
		const char *path;
		int none = open("/dev/null", O_RDWR | O_CLOEXEC);
		int fd = file_locked("a", &path);

		child_start(&child, register_and_wait, &none);
		turn_take(child.sock);
		close(none);
		close(fd);
		kill(child.pid, SIGKILL);
		child_await_zombie(&child);
		assert_true(test_lockable(path, F_WRLCK));
		child_wait(&child);
	}
}

struct poster {
	int target;
	int res;
};

static void *post_to(void *arg)
{
	struct poster *poster = arg;
	struct io_uring_cqe *cqe;
	struct io_uring ring;

	poster->res = io_uring_queue_init(4, &ring, 0);
	if (poster->res)
		return NULL;
	io_uring_prep_msg_ring(io_uring_get_sqe(&ring), poster->target, 42,
			       4711, 0);
	io_uring_submit_and_wait(&ring, 1);
	poster->res = io_uring_wait_cqe(&ring, &cqe);
	if (!poster->res)
		poster->res = cqe->res;
	io_uring_queue_exit(&ring);
	return NULL;
}

static void assert_msg_ring_reaches(unsigned flags)
{
	struct poster poster = {};
	struct io_uring ring;
	pthread_t thread;
	uint64_t data;

	assert_int_equal(io_uring_queue_init(8, &ring, flags), 0);
	poster.target = ring.ring_fd;
	assert_int_equal(pthread_create(&thread, NULL, post_to, &poster), 0);
	assert_int_equal(complete(&ring, &data), 42);
	assert_int_equal(data, 4711);
	pthread_join(thread, NULL);
	assert_int_equal(poster.res, 0);
	io_uring_queue_exit(&ring);
}

/* How a lock worker hands its result in: it wakes a waiting owner. */
static void another_threads_message_completes_a_wait(void **state)
{
	struct io_uring ring;
	int res = io_uring_queue_init(8, &ring, DEFER);

	(void)state;
	assert_msg_ring_reaches(0);
	printf("DEFER_TASKRUN: %s\n", res ? "unknown" : "known");
	if (res) {
		assert_int_equal(res, -EINVAL);
		return;
	}
	io_uring_queue_exit(&ring);
	assert_msg_ring_reaches(DEFER);
}

static void *submit_a_nop(void *arg)
{
	io_uring_prep_nop(io_uring_get_sqe(arg));
	return (void *)(intptr_t)io_uring_submit(arg);
}

/* A single issuer's ring is its thread's: engines do not change threads. */
static void a_single_issuers_ring_refuses_other_threads(void **state)
{
	struct io_uring ring;
	pthread_t thread;
	void *res;

	(void)state;
	if (io_uring_queue_init(8, &ring, DEFER)) {
		assert_int_equal(io_uring_queue_init(8, &ring, DEFER), -EINVAL);
		return;
	}
	assert_int_equal(pthread_create(&thread, NULL, submit_a_nop, &ring), 0);
	pthread_join(thread, &res);
	assert_int_equal((intptr_t)res, -EEXIST);
	io_uring_queue_exit(&ring);
}

/* A file with a lease on it: an open for writing waits until it is broken. */
static const char *file_with_lease(int *ret_fd)
{
	const char *path = test_file("leased", 0);

	signal(SIGIO, SIG_IGN);
	*ret_fd = file_open(path, O_RDONLY);
	assert_int_equal(fcntl(*ret_fd, F_SETLEASE, F_RDLCK), 0);
	return path;
}

static void an_open_that_waits_does_not_hold_up_the_others(void **state)
{
	struct io_uring ring;
	uint64_t data;
	int lease, fd;
	const char *leased = file_with_lease(&lease), *path;

	(void)state;
	path = test_file("a", 0);
	assert_int_equal(io_uring_queue_init(8, &ring, 0), 0);
	for (uint64_t i = 0; i < 2; i++) {
		struct io_uring_sqe *sqe = sqe_get(&ring);

		io_uring_prep_openat(sqe, AT_FDCWD, i ? path : leased,
				     O_RDWR | O_CLOEXEC, 0);
		io_uring_sqe_set_data64(sqe, i);
	}
	fd = complete(&ring, &data);
	assert_true(fd >= 0);
	assert_int_equal(data, 1);
	close(fd);
	assert_int_equal(fcntl(lease, F_SETLEASE, F_UNLCK), 0);
	fd = complete(&ring, &data);
	assert_true(fd >= 0);
	assert_int_equal(data, 0);
	close(fd);
	close(lease);
	io_uring_queue_exit(&ring);
}

/* Its result is an error, but on 6.18 none that userspace has a name for. */
static void an_open_that_waits_can_be_cancelled(void **state)
{
	unsigned open_before;
	struct io_uring ring;
	int lease, opened = 0, cancelled = 0;
	const char *path = file_with_lease(&lease);
	struct io_uring_sqe *sqe;

	(void)state;
	assert_int_equal(io_uring_queue_init(8, &ring, 0), 0);
	open_before = test_open_fds();
	sqe = sqe_get(&ring);
	io_uring_prep_openat(sqe, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
	io_uring_sqe_set_data64(sqe, 1);
	assert_int_equal(io_uring_submit(&ring), 1);
	usleep(20 * 1000); /* let it get into the wait, if it can */
	sqe = sqe_get(&ring);
	io_uring_prep_cancel64(sqe, 1, 0);
	io_uring_sqe_set_data64(sqe, 2);
	for (int i = 0; i < 2; i++) {
		uint64_t data;
		int res = complete(&ring, &data);

		*(data == 1 ? &opened : &cancelled) = res;
	}
	printf("cancel: %d, open: %d\n", cancelled, opened);
	assert_true(cancelled == 0 || cancelled == -EALREADY);
	assert_true(opened == -EINTR || opened == -ECANCELED ||
		    opened == -ERESTARTSYS);
	assert_int_equal(test_open_fds(), open_before);
	close(lease);
	io_uring_queue_exit(&ring);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(opens_are_relative_and_close_on_exec),
	cmocka_unit_test(openat2_takes_the_resolve_flags),
	cmocka_unit_test(a_warm_open_is_inline_and_a_stat_is_not),
	cmocka_unit_test(a_ring_close_frees_the_lock_with_its_completion),
	cmocka_unit_test(a_registered_file_keeps_its_lock_beyond_close),
	cmocka_unit_test(a_dead_process_registered_files_are_freed_in_the_end),
	cmocka_unit_test(
		an_unregistered_ring_does_not_delay_the_locks_of_the_dead),
	cmocka_unit_test(another_threads_message_completes_a_wait),
	cmocka_unit_test(a_single_issuers_ring_refuses_other_threads),
	cmocka_unit_test(an_open_that_waits_does_not_hold_up_the_others),
	cmocka_unit_test(an_open_that_waits_can_be_cancelled),
};

TEST_MAIN(tests, TEST_NEEDS_URING)
