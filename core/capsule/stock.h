/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/capsule/queue.h"
#include "core/lease/handover.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything that a queue holds, read and judged, bundles unpacked. */

enum stock_kind {
	STOCK_HEADER,
	STOCK_LEASES,
	STOCK_BUNDLE,
	STOCK_FOREIGN, /* of another version: carried along, never dropped */
	STOCK_GARBAGE,
};

/* One message, of the queue itself or of a bundle in it. */
struct stock_message {
	enum stock_kind kind;
	struct queue_message *queued;
	size_t outer; /* index of the message of the queue it came in */
	void *body;   /* of a memfd, else NULL */
};

enum stock_truth {
	STOCK_DEAD,  /* no descriptor holds any lock of ours */
	STOCK_ALIVE, /* holds something else than recorded, or who knows */
	STOCK_HELD,  /* every descriptor's role is one that may use the disk */
};

struct stock_item {
	struct record record; /* points into the message */
	int *fds;	      /* ditto; -1 where somebody took one */
	size_t outer;
	enum stock_truth truth;
	bool unknown;	/* alive, and for all that can be known it is held */
	enum role role; /* as in capsule_lease; so are the next two */
	enum role roles[CAPSULE_POINTS_MAX];
	struct res_id files[CAPSULE_POINTS_MAX];
	bool duplicate; /* another item has this file, and as truly */
	bool released;	/* dead, and on purpose: no lease any more */
	bool spare;	/* dead, or a duplicate of one that is held */
	bool same_id;
	struct res_id id; /* of fds[0] */
};

struct stock {
	struct queue_view view;	   /* the queue */
	struct queue_view *inners; /* the bundles */
	size_t n_inners;
	struct stock_message *messages; /* ordered by outer */
	size_t n_messages;
	struct stock_item *items; /* ditto */
	size_t n_items;
	size_t n_spare;	  /* items that nobody would miss */
	size_t n_garbled; /* messages and records */
	size_t n_foreign;
	size_t n_headers;
	bool partial; /* some descriptors were withheld from us */
};

#define STOCK_NULL ((struct stock){})

/**
 * stock_load() - read a queue
 * @ret_stock:	to be freed with stock_done()
 *
 * What makes no sense is counted. Waits for nothing but other readers.
 * Return: as queue_view().
 */
int stock_load(int b, const struct queue_look *look, struct stock *ret_stock);

/**
 * stock_judge() - ask the kernel about every lease
 *
 * Items that cannot bear a lock are garbage and taken out.
 * Return: 0 or -ENOMEM.
 */
int stock_judge(struct stock *stock);

void stock_done(struct stock *stock);
