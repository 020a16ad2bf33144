/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/capsule/queue.h"

#include <stddef.h>

/* From records and descriptors to messages. Nothing here is read back. */
struct pack_item {
	const void *raw; /* a record */
	size_t size;
	const int *fds;
	unsigned n_fds;
};

/* How many of the first items fit one message. */
size_t pack_fit(const struct pack_item *items, size_t n);

/**
 * pack_send() - append one message of leases
 * @n:		at most what pack_fit() says
 *
 * A long body goes into a sealed memfd, so that paths take no room in the send
 * buffer.
 *
 * Return: as queue_send(), or QUEUE_E_NOFILE.
 */
int pack_send(int a, const struct pack_item *items, size_t n);

/* Append the message that carries end A and the identity. As queue_send(). */
int pack_send_header(int a, int identity);

/**
 * pack_send_bundle() - append any number of leases in one atomic send
 *
 * They go into the queue of a fresh socket pair, which then travels in one
 * message. If it is not sent, nothing of it is in flight any more.
 *
 * Return: as queue_send(), or QUEUE_E_NOFILE.
 */
int pack_send_bundle(int a, const struct pack_item *items, size_t n);
