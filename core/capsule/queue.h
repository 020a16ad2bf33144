/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/capsule/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * A socket pair as a queue that can be read without consuming. Messages go in
 * at end A and are looked at through end B. Knows nothing of leases.
 */
#define QUEUE_FDS_MAX MESSAGE_FDS_MAX
#define QUEUE_PAYLOAD_MAX (16 * 1024) /* longer ones are cut short */
#define QUEUE_MESSAGES_MAX 65536      /* what is behind them is not seen */

/* Expected outcomes, beside 0 and negative errno. */
enum {
	_QUEUE_E_SUCCESS,
	QUEUE_E_FULL,	  /* the send buffer */
	QUEUE_E_INFLIGHT, /* RLIMIT_NOFILE bounds descriptors in flight */
	QUEUE_E_GONE,	  /* the other end is closed */
	QUEUE_E_BUSY,	  /* no undisturbed look until the deadline */
	QUEUE_E_NOFILE,	  /* our own descriptor table */
};

/* Nothing can be sent from B to A. Return: 0, QUEUE_E_NOFILE, or -errno. */
int queue_new(int *ret_a, int *ret_b);

/*
 * Half of the send buffer that we can have is a reserve for compaction, which
 * must add before it may take away. Let it use the reserve, or not any more.
 */
void queue_use_reserve(int a, bool on);

/**
 * queue_send() - append one message, or nothing
 * @fds:	at most QUEUE_FDS_MAX; stay the caller's
 *
 * Return: 0, QUEUE_E_FULL, _INFLIGHT, _GONE, or negative errno.
 */
int queue_send(int a, const struct iovec *iov, size_t n_iov, const int *fds,
	       size_t n_fds);

struct queue_message {
	size_t size;	  /* as it was sent */
	uint8_t *payload; /* the first QUEUE_PAYLOAD_MAX bytes of it */
	int *fds;	  /* duplicates, owned by the view */
	unsigned n_fds;
	bool partial; /* some descriptors were withheld from us */
};

struct queue_view {
	struct queue_message *messages;
	size_t n;
	size_t n_fds;
};

#define QUEUE_VIEW_NULL ((struct queue_view){})

struct queue_look {
	uint64_t deadline;
	size_t max_fds; /* more are QUEUE_E_NOFILE */
	bool exclusive; /* we have the mutex */
};

/**
 * queue_view() - everything in the queue, consuming nothing
 * @ret_view:	to be freed with queue_view_done()
 *
 * A snapshot: what was sent before the call is in it, what is sent meanwhile
 * may be. Other readers disturb us, since they move the same peek offset; that
 * is noticed and the look repeated until the deadline.
 *
 * Return: 0, QUEUE_E_BUSY, _NOFILE, or negative errno.
 */
int queue_view(int b, const struct queue_look *look,
	       struct queue_view *ret_view);

void queue_view_done(struct queue_view *view);

/*
 * The first message alone, whatever the peek offset. It may be another one if
 * somebody is looking at the queue just now. @ret_view has no or one message.
 * Return: 0, QUEUE_E_NOFILE, or negative errno.
 */
int queue_first(int b, struct queue_view *ret_view);

/**
 * queue_consume() - remove messages that were seen
 * @messages:	the first of the queue, in their order
 *
 * Looks at each before it takes it, and takes nothing else. Call it with the
 * mutex held. Their descriptors are dropped by the kernel.
 *
 * Return: 0, QUEUE_E_BUSY (some are still there), or negative errno.
 */
int queue_consume(int b, const struct queue_message *messages, size_t n,
		  uint64_t deadline);
