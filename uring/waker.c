/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/waker.h"

#include "core/base/clock.h"
#include "core/base/feature.h"
#include "core/base/util.h"

#include <poll.h>
#include <sys/eventfd.h>

/*
 * The thread in engine_run() waits in one place. With a ring that is the ring:
 * a worker posts a completion into it with IORING_OP_MSG_RING, from a small
 * ring that all workers share under the pool's lock, since one for each would
 * cost as much as starting the thread. Where the kernel cannot (it is tried
 * once, with a message to ourselves), the ring polls an eventfd; it polls and
 * does not read, so that no request that may outlive the ring points into our
 * memory. Without a ring it is a condition variable.
 *
 * A batch wakes its waiter once, when its last operation is done, so the kind
 * of bell makes no difference to its time.
 */

#define POST_ENTRIES 2
#define PROBE_NS NSEC_PER_SEC
/* A post can fail for lack of memory: then the waiter looks by itself. */
#define SLICE_NS NSEC_PER_SEC

int waker_init(struct waker *waker)
{
	pthread_condattr_t attr;
	int r;

	*waker = (struct waker){ .eventfd = -1 };
	r = pthread_condattr_init(&attr);
	if (r)
		return -r;
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	r = pthread_cond_init(&waker->cond, &attr);
	pthread_condattr_destroy(&attr);
	return -r;
}

void waker_deinit(struct waker *waker)
{
	waker_detach(waker);
	pthread_cond_destroy(&waker->cond);
}

static int post(struct waker *waker)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&waker->post);
	struct io_uring_cqe *cqe;
	int r;

	if (!sqe)
		return -EBUSY;
	io_uring_prep_msg_ring(sqe, waker->ring->uring.ring_fd, 0, RING_WAKE,
			       0);
	r = io_uring_submit_and_wait(&waker->post, 1);
	if (r < 0)
		return r;
	r = io_uring_peek_cqe(&waker->post, &cqe);
	if (r)
		return r;
	r = cqe->res;
	io_uring_cqe_seen(&waker->post, cqe);
	return r < 0 ? r : 0;
}

static bool post_open(struct waker *waker)
{
	if (!feature_allowed(FEATURE_MSG_RING) ||
	    io_uring_queue_init(POST_ENTRIES, &waker->post, 0))
		return false;
	if (!post(waker) && !ring_wait(waker->ring, PROBE_NS))
		return true;
	io_uring_queue_exit(&waker->post);
	return false;
}

void waker_attach(struct waker *waker, struct ring *ring)
{
	if (waker->ring == ring)
		return;
	waker_detach(waker);
	waker->ring = ring;
	waker->post_open = post_open(waker);
	if (waker->post_open)
		return;
	waker->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (waker->eventfd < 0)
		waker->ring = NULL;
}

void waker_detach(struct waker *waker)
{
	if (waker->post_open)
		io_uring_queue_exit(&waker->post);
	waker->post_open = false;
	waker->eventfd = fd_close(waker->eventfd);
	waker->armed = false;
	waker->ring = NULL;
}

void waker_wake(struct waker *waker)
{
	if (!waker->waiting)
		return;
	if (!waker->ring)
		pthread_cond_signal(&waker->cond);
	else if (waker->post_open)
		post(waker);
	else
		eventfd_write(waker->eventfd, 1);
}

static void wait_cond(struct waker *waker, pthread_mutex_t *lock, uint64_t when)
{
	struct timespec ts = {
		.tv_sec = (time_t)(when / NSEC_PER_SEC),
		.tv_nsec = (long)(when % NSEC_PER_SEC),
	};

	pthread_cond_timedwait(&waker->cond, lock, &ts);
}

static void arm(struct waker *waker)
{
	struct io_uring_sqe *sqe;

	if (waker->post_open || waker->armed)
		return;
	sqe = io_uring_get_sqe(&waker->ring->uring);
	if (!sqe)
		return;
	io_uring_prep_poll_add(sqe, waker->eventfd, POLLIN);
	sqe->user_data = RING_WAKE;
	waker->armed = true;
}

static void wait_ring(struct waker *waker, pthread_mutex_t *lock, uint64_t ns)
{
	eventfd_t count;
	int r;

	arm(waker);
	pthread_mutex_unlock(lock);
	r = ring_wait(waker->ring, ns);
	pthread_mutex_lock(lock);
	if (!waker->post_open && !eventfd_read(waker->eventfd, &count))
		waker->armed = false;
	if (r && r != -ETIME && r != -EINTR)
		waker_detach(waker); /* rather than ask again and again */
}

void waker_wait(struct waker *waker, pthread_mutex_t *lock, uint64_t deadline)
{
	uint64_t now = clock_now();
	uint64_t until = MIN(deadline, now + SLICE_NS);

	if (until <= now)
		return;
	waker->waiting = true;
	if (waker->ring)
		wait_ring(waker, lock, until - now);
	else
		wait_cond(waker, lock, until);
	waker->waiting = false;
}

const char *waker_name(const struct waker *waker)
{
	if (!waker->ring)
		return "condvar";
	return waker->post_open ? "msg-ring" : "eventfd";
}
