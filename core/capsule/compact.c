/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/inside.h"

#include "core/base/util.h"
#include "core/capsule/mutex.h"
#include "core/capsule/pack.h"
#include "core/capsule/reader.h"
#include "core/capsule/stock.h"

#include <string.h>

/*
 * A queue can only be shortened at its head and lengthened at its tail. So it
 * is turned over: a new header and all survivors, packed in full messages, go
 * to the tail, and then exactly the messages that were seen are taken from the
 * head. Whenever we are killed, every survivor is in the queue once or twice,
 * and a header too. Who pushes meanwhile appends behind what we have seen.
 *
 * The work list has the queue's order: after each send, all old messages whose
 * survivors are sent are covered. If the buffer is full or the user has too
 * many descriptors in flight, the covered ones are taken away at once, and
 * then it goes on. The first sends have room in the reserve that
 * queue_use_reserve() keeps from everybody else.
 *
 * What another version wrote is carried along as it is. If a message's
 * descriptors were withheld from us, or one of another version is longer than
 * we can read, we would lose something: then nothing is compacted.
 *
 * A detached disk must not stay open in the queue, or its file system cannot
 * be unmounted: so one dead record is reason enough. Else it takes
 * FRAGMENTS_MAX messages, twice as many as necessary.
 */

#define FRAGMENTS_MAX 64

/* Either records that pack, or one foreign message. */
struct work {
	struct pack_item item;
	size_t outer;
	bool foreign;
};

struct turnover {
	struct capsule *capsule;
	int b;
	uint64_t deadline;
	struct stock *stock;
	struct work *work;
	size_t n_work, n_sent;
	bool header_sent;
	size_t n_consumed;
};

static bool is_worth_it(const struct stock *s)
{
	size_t n_fds = 0, needed;

	if (s->n_spare || s->n_garbled || s->n_headers > 1)
		return true;
	for (size_t i = 0; i < s->n_items; i++)
		n_fds += s->items[i].record.n_fds;
	needed = 1 + s->n_foreign + n_fds / (QUEUE_FDS_MAX - 1) + 1;
	return s->view.n > FRAGMENTS_MAX && s->view.n > 2 * needed;
}

static bool would_lose(const struct stock *s)
{
	for (size_t i = 0; i < s->n_messages; i++)
		if (s->messages[i].kind == STOCK_FOREIGN &&
		    s->messages[i].queued->size > QUEUE_PAYLOAD_MAX)
			return true;
	return s->partial;
}

/* Its copies keep its id, so a copy that a crash left is the same all over. */
static bool is_copy(const struct turnover *t, const struct queue_message *m)
{
	for (size_t i = 0; i < t->n_work; i++) {
		const struct pack_item *item = &t->work[i].item;

		if (t->work[i].foreign && item->size == m->size &&
		    item->n_fds == m->n_fds &&
		    !memcmp(item->raw, m->payload, m->size))
			return true;
	}
	return false;
}

static void add_foreign(struct turnover *t, const struct stock_message *m)
{
	if (is_copy(t, m->queued))
		return;
	t->work[t->n_work++] = (struct work){
		.item = { m->queued->payload, m->queued->size, m->queued->fds,
			  m->queued->n_fds },
		.outer = m->outer,
		.foreign = true,
	};
}

static void add_survivor(struct turnover *t, const struct stock_item *item)
{
	if (item->spare)
		return;
	t->work[t->n_work++] = (struct work){
		.item = { item->record.raw, item->record.raw_size, item->fds,
			  item->record.n_fds },
		.outer = item->outer,
	};
}

/* Merge items and foreign messages, both in the order of the queue. */
static int plan(struct turnover *t)
{
	struct stock *s = t->stock;
	size_t i = 0;

	t->work = reallocarray(NULL, s->n_items + s->n_foreign + 1,
			       sizeof(*t->work));
	if (!t->work)
		return -ENOMEM;
	for (size_t k = 0; k < s->n_messages; k++) {
		if (s->messages[k].kind != STOCK_FOREIGN)
			continue;
		while (i < s->n_items &&
		       s->items[i].outer < s->messages[k].outer)
			add_survivor(t, &s->items[i++]);
		add_foreign(t, &s->messages[k]);
	}
	while (i < s->n_items)
		add_survivor(t, &s->items[i++]);
	return 0;
}

/* How many messages of the old queue have nothing in them that is not sent. */
static size_t count_covered(const struct turnover *t)
{
	const struct stock *s = t->stock;
	size_t n = s->view.n;

	if (t->n_sent < t->n_work)
		n = t->work[t->n_sent].outer;
	for (size_t i = 0; !t->header_sent && i < s->n_messages; i++)
		if (s->messages[i].kind == STOCK_HEADER)
			n = MIN(n, s->messages[i].outer);
	return n;
}

static int consume_covered(struct turnover *t)
{
	size_t n = count_covered(t) - t->n_consumed;
	int r;

	r = queue_consume(t->b, t->stock->view.messages + t->n_consumed, n,
			  t->deadline);
	if (!r)
		t->n_consumed += n;
	return capsule_of_queue(r);
}

/* The next records that make a full message. Return: how many. */
static size_t gather(const struct turnover *t, struct pack_item *items)
{
	size_t n = 0;

	while (n < QUEUE_FDS_MAX && t->n_sent + n < t->n_work &&
	       !t->work[t->n_sent + n].foreign) {
		items[n] = t->work[t->n_sent + n].item;
		n++;
	}
	return pack_fit(items, n);
}

static int send_work(struct turnover *t)
{
	const struct work *w = &t->work[t->n_sent];
	struct pack_item items[QUEUE_FDS_MAX];
	struct iovec iov = { (void *)w->item.raw, w->item.size };
	size_t n = 1;
	int r;

	if (w->foreign) {
		r = queue_send(t->capsule->a, &iov, 1, w->item.fds,
			       w->item.n_fds);
	} else {
		n = gather(t, items);
		r = pack_send(t->capsule->a, items, n);
	}
	if (!r)
		t->n_sent += n;
	return r;
}

static int send_next(struct turnover *t)
{
	int r;

	if (t->header_sent)
		return send_work(t);
	r = pack_send_header(t->capsule->a, t->capsule->identity);
	t->header_sent = !r;
	return r;
}

/* Send; if there is no room, make some of what is covered, and go on. */
static int turn(struct turnover *t)
{
	while (!t->header_sent || t->n_sent < t->n_work) {
		size_t before = t->n_consumed;
		int r = send_next(t);

		if (r == QUEUE_E_FULL || r == QUEUE_E_INFLIGHT) {
			r = consume_covered(t);
			if (!r && t->n_consumed == before)
				return CAPSULE_E_FULL;
		} else {
			r = capsule_of_queue(r);
		}
		if (r)
			return r;
	}
	return consume_covered(t);
}

static int repack(struct capsule *c, int b, uint64_t deadline, bool force)
{
	_cleanup_(stock_done) struct stock stock = STOCK_NULL;
	struct queue_look look = {
		.deadline = deadline,
		.max_fds = capsule_fds_max(),
		.exclusive = true,
	};
	struct turnover t = { c, b, deadline, &stock };
	int r;

	r = capsule_of_queue(stock_load(b, &look, &stock));
	if (!r)
		r = stock_judge(&stock);
	if (r)
		return r;
	if (!force && !is_worth_it(&stock))
		return 0;
	if (would_lose(&stock))
		return -EPERM;
	r = plan(&t);
	if (!r) {
		queue_use_reserve(c->a, true);
		r = turn(&t);
		queue_use_reserve(c->a, false);
	}
	free(t.work);
	return r;
}

int capsule_repack(struct capsule *c, uint64_t deadline, bool force)
{
	struct loan loan;
	int mutex = -1, r;

	if (c->a < 0)
		return CAPSULE_E_FORGED;
	r = capsule_borrow(c, &loan);
	if (r)
		return r;
	r = capsule_mutex(c, deadline, &mutex);
	if (!r)
		r = repack(c, loan.b, deadline, force);
	mutex_unlock(mutex);
	capsule_give_back(c, &loan);
	return r;
}

int capsule_compact(struct capsule *c, uint64_t deadline)
{
	return capsule_repack(c, deadline, false);
}
