/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for an OFD lock: what the engine's lock workers rely on. */
#include "tests/kernel/kernel.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

struct waiter {
	pthread_t thread;
	int fd;
	long byte;
	volatile pid_t tid;
	int res; /* of F_OFD_SETLKW */
};

static void on_signal(int sig)
{
	(void)sig;
}

static void *wait_for_lock(void *arg)
{
	struct waiter *w = arg;
	struct flock lock = { .l_type = F_WRLCK,
			      .l_start = w->byte,
			      .l_len = 1 };

	w->tid = (pid_t)syscall(SYS_gettid);
	w->res = fcntl(w->fd, F_OFD_SETLKW, &lock) ? -errno : 0;
	return NULL;
}

static bool is_asleep(pid_t tid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*d (%*[^)]) %c", &state), 1);
	fclose(f);
	return state == 'S';
}

static void waiter_start(struct waiter *w)
{
	assert_int_equal(pthread_create(&w->thread, NULL, wait_for_lock, w), 0);
	for (int i = 0; i < 20000 && (!w->tid || !is_asleep(w->tid)); i++)
		usleep(1000);
}

static int waiter_join(struct waiter *w)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 20;
	assert_int_equal(pthread_timedjoin_np(w->thread, NULL, &end), 0);
	return w->res;
}

static void a_waiter_gets_it_when_the_holder_unlocks(void **state)
{
	const char *path;
	int holder = file_locked("a", &path);
	struct waiter w = { .fd = file_open(path, O_RDWR) };

	(void)state;
	waiter_start(&w);
	assert_int_equal(lock_byte(holder, F_UNLCK, 0), 0);
	assert_int_equal(waiter_join(&w), 0);
	assert_int_equal(lock_byte(holder, F_WRLCK, 0), -EAGAIN);
	close(w.fd);
	close(holder);
}

static void a_signal_without_sa_restart_ends_the_wait(void **state)
{
	struct sigaction act = { .sa_handler = on_signal };
	const char *path;
	int holder = file_locked("a", &path);
	struct waiter w = { .fd = file_open(path, O_RDWR) };

	(void)state;
	sigaction(SIGUSR1, &act, NULL);
	waiter_start(&w);
	pthread_kill(w.thread, SIGUSR1);
	assert_int_equal(waiter_join(&w), -EINTR);
	close(holder);
	assert_true(test_lockable(path, F_WRLCK));
	close(w.fd);
}

/* So the caller may close the descriptor of an operation that hangs. */
static void a_lock_granted_after_the_last_close_is_dropped(void **state)
{
	const char *path;
	int holder = file_locked("a", &path);
	struct waiter w = { .fd = file_open(path, O_RDWR) };

	(void)state;
	waiter_start(&w);
	close(w.fd);
	assert_int_equal(lock_byte(holder, F_UNLCK, 0), 0);
	assert_int_equal(waiter_join(&w), 0);
	assert_true(test_lockable(path, F_WRLCK));
	close(holder);
}

/* Why waiting needs an order and a deadline: nobody returns EDEADLK. */
static void deadlocks_between_descriptions_are_not_detected(void **state)
{
	struct sigaction act = { .sa_handler = on_signal };
	const char *path;
	struct waiter one = { .fd = file_locked("a", &path), .byte = 2 };
	struct waiter two = { .fd = file_open(path, O_RDWR), .byte = 0 };

	(void)state;
	assert_int_equal(lock_byte(two.fd, F_WRLCK, 2), 0);
	sigaction(SIGUSR1, &act, NULL);
	waiter_start(&one);
	waiter_start(&two);
	assert_true(is_asleep(one.tid));
	pthread_kill(one.thread, SIGUSR1);
	pthread_kill(two.thread, SIGUSR1);
	assert_int_equal(waiter_join(&one), -EINTR);
	assert_int_equal(waiter_join(&two), -EINTR);
	close(one.fd);
	close(two.fd);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_waiter_gets_it_when_the_holder_unlocks),
	cmocka_unit_test(a_signal_without_sa_restart_ends_the_wait),
	cmocka_unit_test(a_lock_granted_after_the_last_close_is_dropped),
	cmocka_unit_test(deadlocks_between_descriptions_are_not_detected),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
