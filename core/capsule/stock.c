/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/stock.h"

#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/sealed.h"

#include <string.h>

/*
 * All descriptors stay with the views until the end, also those that nothing
 * refers to: excess ones, and those of garbage. The views bound their number.
 */

struct loading {
	struct stock *stock;
	struct queue_look look;
	uint64_t b_ino;
	size_t outer;
};

/* Room for one more: grows when @n is a power of two. */
static int grow(void *array, size_t n, size_t size)
{
	void *p = *(void **)array;

	if (n & (n - 1))
		return 0;
	p = reallocarray(p, n ? n * 2 : 1, size);
	if (!p)
		return -ENOMEM;
	*(void **)array = p;
	return 0;
}

static int add_message(struct loading *l, enum stock_kind kind,
		       struct queue_message *queued, void *body)
{
	struct stock *s = l->stock;

	if (grow(&s->messages, s->n_messages, sizeof(*s->messages)))
		return -ENOMEM;
	s->messages[s->n_messages++] = (struct stock_message){
		.kind = kind,
		.queued = queued,
		.outer = l->outer,
		.body = body,
	};
	s->n_garbled += kind == STOCK_GARBAGE;
	s->n_foreign += kind == STOCK_FOREIGN;
	s->n_headers += kind == STOCK_HEADER;
	s->partial |= queued->partial;
	return 0;
}

static int add_item(struct loading *l, const struct record *record, int *fds)
{
	struct stock *s = l->stock;

	if (grow(&s->items, s->n_items, sizeof(*s->items)))
		return -ENOMEM;
	s->items[s->n_items++] = (struct stock_item){
		.record = *record,
		.fds = fds,
		.outer = l->outer,
	};
	return 0;
}

static int load_records(struct loading *l, struct queue_message *m,
			struct record_cursor *c)
{
	struct record record;

	for (;;) {
		unsigned fd = c->fd;
		int r = record_next(c, &record);

		if (r == RECORD_E_END)
			break;
		if (r == RECORD_E_GARBLED)
			l->stock->n_garbled++;
		else if (add_item(l, &record, &m->fds[fd]))
			return -ENOMEM;
	}
	l->stock->n_garbled += c->size || c->fd != c->n_fds;
	return 0;
}

static int load_leases(struct loading *l, struct queue_message *m,
		       const struct message *head)
{
	struct record_cursor c = {
		.at = m->payload + MESSAGE_HEAD_SIZE,
		.size = head->body_size,
		.n_records = head->n_records,
		.fd = head->in_memfd,
		.n_fds = m->n_fds,
	};
	void *body = NULL;
	int r;

	if (head->in_memfd) {
		if (!m->n_fds)
			return add_message(l, STOCK_GARBAGE, m, NULL);
		r = sealed_read(m->fds[0], head->body_size, head->body_size,
				&body, &c.size);
		if (r == SEALED_E_BAD)
			return add_message(l, STOCK_GARBAGE, m, NULL);
		if (r)
			return r;
		c.at = body;
	}
	r = add_message(l, STOCK_LEASES, m, body);
	if (r) {
		free(body);
		return r;
	}
	return load_records(l, m, &c);
}

/* A socket of our kind, and not the capsule itself? */
static bool is_bundle(const struct loading *l, const struct queue_message *m)
{
	int domain = 0, type = 0;
	socklen_t len = sizeof(int);
	struct stat st;

	if (m->n_fds != 1)
		return false;
	if (getsockopt(m->fds[0], SOL_SOCKET, SO_DOMAIN, &domain, &len) ||
	    getsockopt(m->fds[0], SOL_SOCKET, SO_TYPE, &type, &len) ||
	    fstat(m->fds[0], &st))
		return false;
	return domain == AF_UNIX && type == SOCK_SEQPACKET &&
	       st.st_ino != l->b_ino;
}

static int load_message(struct loading *l, struct queue_message *m,
			bool in_bundle);

static int load_bundle(struct loading *l, struct queue_message *m)
{
	struct stock *s = l->stock;
	struct queue_look look = l->look;
	struct queue_view *inner;
	int r;

	if (!is_bundle(l, m))
		return add_message(l, STOCK_GARBAGE, m, NULL);
	if (grow(&s->inners, s->n_inners, sizeof(*s->inners)))
		return -ENOMEM;
	inner = &s->inners[s->n_inners];
	r = queue_view(m->fds[0], &look, inner);
	if (r == -ENOMEM || r == QUEUE_E_NOFILE)
		return r;
	if (r)
		return add_message(l, STOCK_GARBAGE, m, NULL);
	s->n_inners++;
	l->look.max_fds -= inner->n_fds;
	r = add_message(l, inner->n ? STOCK_BUNDLE : STOCK_GARBAGE, m, NULL);
	/* Growing s->inners moves the view, but not the messages in it. */
	for (size_t i = 0, n = inner->n; !r && i < n; i++)
		r = load_message(l, &s->inners[s->n_inners - 1].messages[i],
				 true);
	return r;
}

static int load_message(struct loading *l, struct queue_message *m,
			bool in_bundle)
{
	struct message head;
	int r;

	r = message_parse(m->payload, m->size, &head);
	if (r == RECORD_E_FOREIGN)
		return add_message(l, STOCK_FOREIGN, m, NULL);
	if (r || m->size > QUEUE_PAYLOAD_MAX)
		return add_message(l, STOCK_GARBAGE, m, NULL);
	if (head.kind == MESSAGE_LEASES)
		return load_leases(l, m, &head);
	if (in_bundle)
		return add_message(l, STOCK_GARBAGE, m, NULL);
	if (head.kind == MESSAGE_BUNDLE)
		return load_bundle(l, m);
	return add_message(l, STOCK_HEADER, m, NULL);
}

int stock_load(int b, const struct queue_look *look, struct stock *ret_stock)
{
	_cleanup_(stock_done) struct stock stock = STOCK_NULL;
	struct loading l = { .stock = &stock, .look = *look };
	struct stat st;
	int r;

	if (fstat(b, &st) < 0)
		return -errno;
	l.b_ino = st.st_ino;
	r = queue_view(b, look, &stock.view);
	if (r)
		return r;
	l.look.max_fds -= stock.view.n_fds;
	for (l.outer = 0; !r && l.outer < stock.view.n; l.outer++)
		r = load_message(&l, &stock.view.messages[l.outer], false);
	if (r)
		return r;
	*ret_stock = stock;
	stock = STOCK_NULL;
	return 0;
}

void stock_done(struct stock *stock)
{
	for (size_t i = 0; i < stock->n_messages; i++)
		free(stock->messages[i].body);
	free(stock->messages);
	free(stock->items);
	for (size_t i = 0; i < stock->n_inners; i++)
		queue_view_done(&stock->inners[i]);
	free(stock->inners);
	queue_view_done(&stock->view);
	*stock = STOCK_NULL;
}
