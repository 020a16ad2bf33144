/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "uring/ring.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * How threads wake the one that waits in engine_run(). All but waker_wait() is
 * called with the pool's lock held; waker_wait() drops it while it waits.
 */
struct waker {
	pthread_cond_t cond;
	struct ring *ring; /* the waiting thread's; NULL: the condition */
	struct io_uring post;
	bool post_open; /* msg-ring; else eventfd */
	int eventfd;
	bool armed; /* ring polls eventfd */
	bool waiting;
};

int waker_init(struct waker *waker);
void waker_deinit(struct waker *waker);

/* From now on wake through @ring. On failure: through the condition. */
void waker_attach(struct waker *waker, struct ring *ring);
/* The ring is about to go. */
void waker_detach(struct waker *waker);

void waker_wake(struct waker *waker);

/* Returns when woken, at @deadline, or for no reason. */
void waker_wait(struct waker *waker, pthread_mutex_t *lock, uint64_t deadline);

/* "msg-ring", "eventfd", "condvar" */
const char *waker_name(const struct waker *waker);
