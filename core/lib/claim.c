/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/qemu.h"

#include <fcntl.h>

/*
 * How the destination of a migration takes a disk that its source still uses
 * (core/lease/handover.h). Byte 2 comes first, so that there is one destination
 * at most, and so that whoever wants the disk shared finds it; then byte 0 is
 * shared with the source. That is refused as long as the source has not
 * prepared itself.
 *
 * Who shares byte 0 with us is the source, if somebody has byte 4. If nobody
 * has, the source has ended; or there never was one, and a guest that merely
 * shares the disk must not find a writer beside it. So byte 0 must be had whole
 * for a moment. Somebody who comes to share it later sees byte 2. Then a QEMU
 * that has the disk open is nobody's whom we know, either.
 */

/* Indices into the events of the disks that are still being worked at. */
struct claim {
	struct take *t;
	uint32_t *at; /* the take's op_items */
	size_t n;
	unsigned point;
};

static int run(struct claim *c, enum op_kind kind, const struct op_lock *lock)
{
	struct take *t = c->t;

	for (size_t i = 0; i < c->n; i++) {
		const struct take_point point =
			take_point(t, t->events[c->at[i]].item, c->point);

		t->ops[i] = (struct op){
			.kind = (uint8_t)kind,
			.flags = point.remote ? OP_REMOTE : 0,
			.fd = point.fd,
			.lock = *lock,
		};
	}
	return take_run(t, c->n);
}

/* Those that it was refused for drop out. */
static int lock(struct claim *c, short type, long byte)
{
	const struct op_lock what = { .type = type, .start = byte, .len = 1 };
	size_t n = 0;
	int r = run(c, OP_LOCK, &what);

	for (size_t i = 0; i < c->n && !r; i++) {
		struct txn_event *e = &c->t->events[c->at[i]];

		e->res = take_judge(&c->t->ops[i]);
		if (e->res)
			c->t->slots[e->item].blamed = (uint8_t)c->point;
		else
			c->at[n++] = c->at[i];
	}
	c->n = n;
	return r;
}

/* Those that have a source drop out: they are claimed. */
static int look_for_source(struct claim *c)
{
	const struct op_lock what = { .type = F_WRLCK,
				      .start = LOCK_BYTE_PREDECESSOR,
				      .len = 1 };
	size_t n = 0;
	int r = run(c, OP_QUERY, &what);

	for (size_t i = 0; i < c->n && !r; i++) {
		const struct op *op = &c->t->ops[i];

		c->t->events[c->at[i]].res = op->res;
		if (op->res)
			c->t->slots[c->t->events[c->at[i]].item].blamed =
				(uint8_t)c->point;
		c->t->slots[c->t->events[c->at[i]].item].has_source =
			op->lock.type != F_UNLCK;
		if (!op->res && op->lock.type == F_UNLCK)
			c->at[n++] = c->at[i];
	}
	c->n = n;
	return r;
}

/* The source's QEMU is not in the way, and these have no source. */
static int look_for_qemu(struct claim *c)
{
	const struct op_lock what = { .type = F_WRLCK,
				      .start = QEMU_BYTES_START,
				      .len = QEMU_BYTES_LEN };
	int r = run(c, OP_QUERY, &what);

	for (size_t i = 0; i < c->n && !r; i++) {
		struct txn_event *e = &c->t->events[c->at[i]];

		e->res = c->t->ops[i].res;
		c->t->slots[e->item].qemu = c->t->ops[i].lock.type != F_UNLCK;
	}
	return r;
}

int take_claim(struct take *t, size_t first, size_t n, unsigned point)
{
	struct claim c = { .t = t, .at = t->op_items, .point = point };
	int r;

	for (size_t i = first; i < first + n; i++) {
		const struct txn_event *e = &t->events[i];

		if (!e->res && take_claims(t, e->item) &&
		    point < take_n_points(&t->slots[e->item]))
			c.at[c.n++] = (uint32_t)i;
	}
	r = lock(&c, F_WRLCK, LOCK_BYTE_SUCCESSOR);
	if (!r)
		r = lock(&c, F_RDLCK, LOCK_BYTE_OWNER);
	if (!r)
		r = look_for_source(&c);
	if (!r)
		r = lock(&c, F_WRLCK, LOCK_BYTE_OWNER);
	if (!r)
		r = lock(&c, F_RDLCK, LOCK_BYTE_OWNER);
	return r || point ? r : look_for_qemu(&c);
}
