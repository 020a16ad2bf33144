/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/waker.h"

#include "tests/unit/engine_ops.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct waker waker;
static bool done;

static void *wake(void *unused)
{
	(void)unused;
	usleep(5000);
	pthread_mutex_lock(&lock);
	done = true;
	waker_wake(&waker);
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* Return: whether the condition was seen before the deadline. */
static bool wait_for_wake(uint64_t deadline)
{
	bool seen;

	pthread_mutex_lock(&lock);
	while (!done && clock_now() < deadline)
		waker_wait(&waker, &lock, deadline);
	seen = done;
	done = false;
	pthread_mutex_unlock(&lock);
	return seen;
}

static void check(const char *name)
{
	pthread_t thread;

	assert_string_equal(waker_name(&waker), name);
	assert_false(wait_for_wake(deadline_in_ms(5)));
	for (int i = 0; i < 5; i++) {
		assert_int_equal(pthread_create(&thread, NULL, wake, NULL), 0);
		assert_true(wait_for_wake(deadline_in_ms(LATE_MS)));
		pthread_join(thread, NULL);
		assert_false(waker.armed); /* or the next would come late */
		/* Whatever was left in the ring is no wake-up for long. */
		assert_false(wait_for_wake(deadline_in_ms(2)));
	}
	waker_wake(&waker); /* nobody waits: nothing happens */
	assert_false(wait_for_wake(deadline_in_ms(2)));
}

static void without_a_ring_it_is_a_condition(void **state)
{
	(void)state;
	assert_int_equal(waker_init(&waker), 0);
	check("condvar");
	waker_deinit(&waker);
}

static void with_a_ring_it_is_the_ring(void **state)
{
	const char *name =
		feature_allowed(FEATURE_MSG_RING) ? "msg-ring" : "eventfd";
	unsigned before = test_open_fds();
	struct ring *ring = NULL;
	const char *why;

	(void)state;
	if (!uring_possible())
		return;
	assert_int_equal(waker_init(&waker), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ring_new(&ring, &why), 0);
		waker_attach(&waker, ring);
		check(name);
		waker_attach(&waker, ring);
		check(name);
		waker_detach(&waker);
		ring_free(ring);
		check("condvar");
	}
	waker_deinit(&waker);
	assert_int_equal(test_open_fds(), before);
}

/* A new batch must find the bell in order after a wait was given up. */
static void a_wake_after_the_deadline_does_no_harm(void **state)
{
	struct ring *ring = NULL;
	pthread_t thread;
	const char *why;

	(void)state;
	if (!uring_possible())
		return;
	assert_int_equal(waker_init(&waker), 0);
	assert_int_equal(ring_new(&ring, &why), 0);
	waker_attach(&waker, ring);
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(pthread_create(&thread, NULL, wake, NULL), 0);
		wait_for_wake(clock_now() + (4900 + 4 * i) * 1000);
		pthread_join(thread, NULL);
		done = false;
	}
	assert_int_equal(pthread_create(&thread, NULL, wake, NULL), 0);
	assert_true(wait_for_wake(deadline_in_ms(LATE_MS)));
	pthread_join(thread, NULL);
	waker_deinit(&waker);
	ring_free(ring);
}

static void *wait_in_another_thread(void *unused)
{
	(void)unused;
	assert_false(wait_for_wake(deadline_in_ms(20)));
	return NULL;
}

/* The engine does not do that; but a ring may refuse to work at any time. */
static void a_ring_that_refuses_is_done_without(void **state)
{
	struct ring *ring = NULL;
	pthread_t thread;
	const char *why;

	(void)state;
	if (!uring_possible())
		return;
	assert_int_equal(waker_init(&waker), 0);
	assert_int_equal(ring_new(&ring, &why), 0);
	waker_attach(&waker, ring);
	if (ring->issuer) {
		assert_int_equal(pthread_create(&thread, NULL,
						wait_in_another_thread, NULL),
				 0);
		pthread_join(thread, NULL);
		check("condvar");
	}
	waker_deinit(&waker);
	ring_free(ring);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(without_a_ring_it_is_a_condition),
	cmocka_unit_test(with_a_ring_it_is_the_ring),
	cmocka_unit_test(a_wake_after_the_deadline_does_no_harm),
	cmocka_unit_test(a_ring_that_refuses_is_done_without),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
