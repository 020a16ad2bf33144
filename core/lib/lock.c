/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/relatives.h"
#include "core/lib/take.h"

#include <fcntl.h>

/*
 * Locking in rounds: first the disks themselves, all in one batch, then the
 * second lock point of those that have one, and so on. A disk that is refused
 * takes no part in later rounds, and gives up what it has got in those before.
 * Plain images have one point, so for them there is one round.
 *
 * A shared lock and the test that nobody hands the disk over stand in one batch
 * where locks are local, which the engine runs in order; where they are a round
 * trip they are two batches, each overlapping, since operations on one
 * descriptor must not.
 *
 * What is not a lock but must be looked at once the disk is locked comes last
 * (take_look_around()). Both of two that exclude each other in such a way lock
 * first and look then, so at least one of them sees the other.
 */

struct round {
	struct take *t;
	size_t first, n; /* events */
	unsigned point;
};

/* Still going well, with such a point, and not claimed in another way? */
static bool takes_part(const struct round *round, const struct txn_event *e)
{
	const struct take *t = round->t;

	return !e->res && round->point < take_n_points(&t->slots[e->item]) &&
	       !take_claims(t, e->item);
}

/* @kind: OP_LOCK, or OP_QUERY for the bytes of a hand-over. */
static void prepare(const struct round *round, uint32_t item, struct op *op,
		    enum op_kind kind)
{
	const struct take *t = round->t;
	const struct take_point point = take_point(t, item, round->point);
	bool query = kind == OP_QUERY;

	*op = (struct op){
		.kind = (uint8_t)kind,
		.flags = point.remote ? OP_REMOTE : 0,
		.fd = point.fd,
		.lock = {
			.type = take_is_shared(t, item) ? F_RDLCK : F_WRLCK,
			.start = query ? LOCK_HANDOVER_START : LOCK_BYTE_OWNER,
			.len = query ? LOCK_HANDOVER_LEN : 1,
		},
	};
}

static int judge_query(const struct op *query)
{
	if (query->res)
		return query->res;
	return query->lock.type == F_UNLCK ? 0 : TXN_BUSY;
}

/* Does this point's query follow its lock, or is it run apart, or is there
   none? */
static bool asks(const struct round *round, uint32_t item, bool apart)
{
	const struct take *t = round->t;

	return take_is_shared(t, item) &&
	       take_point(t, item, round->point).remote == apart;
}

static void note(const struct round *round, struct txn_event *e, int res)
{
	e->res = res;
	if (res)
		round->t->slots[e->item].blamed = (uint8_t)round->point;
}

static int query_apart(const struct round *round)
{
	struct take *t = round->t;
	size_t k = 0;
	int r;

	for (size_t i = round->first; i < round->first + round->n; i++) {
		struct txn_event *e = &t->events[i];

		if (!takes_part(round, e) || !asks(round, e->item, true))
			continue;
		t->op_items[k] = (uint32_t)i;
		prepare(round, e->item, &t->ops[k++], OP_QUERY);
	}
	r = take_run(t, k);
	for (size_t i = 0; i < k && !r; i++)
		note(round, &t->events[t->op_items[i]],
		     judge_query(&t->ops[i]));
	return r;
}

/* What was lent to the engine and not given back is not ours to close. */
static void note_lost(const struct round *round)
{
	struct take *t = round->t;
	size_t k = 0;

	for (size_t i = round->first; i < round->first + round->n; i++) {
		const struct txn_event *e = &t->events[i];

		if (!takes_part(round, e))
			continue;
		if (t->ops[k++].fd < 0)
			*take_descriptor(t, e->item, round->point) = -1;
		k += asks(round, e->item, false);
	}
}

static int lock_point(const struct round *round)
{
	struct take *t = round->t;
	size_t end = round->first + round->n, k = 0;
	int r;

	for (size_t i = round->first; i < end; i++) {
		uint32_t item = t->events[i].item;

		if (!takes_part(round, &t->events[i]))
			continue;
		prepare(round, item, &t->ops[k], OP_LOCK);
		if (t->ops[k].flags)
			t->ops[k].flags |= OP_LEND;
		k++;
		if (asks(round, item, false))
			prepare(round, item, &t->ops[k++], OP_QUERY);
	}
	r = take_run(t, k);
	note_lost(round);
	k = 0;
	for (size_t i = round->first; i < end && !r; i++) {
		struct txn_event *e = &t->events[i];
		int res;

		if (!takes_part(round, e))
			continue;
		res = take_judge(&t->ops[k++]);
		if (asks(round, e->item, false)) {
			res = res ? res : judge_query(&t->ops[k]);
			k++;
		}
		note(round, e, res);
	}
	return r ? r : query_apart(round);
}

/* Which of its points may a refused disk have locked? Not the one that was
   refused, if there was no more to it than its lock. */
static bool may_have(const struct take *t, uint32_t item, unsigned point)
{
	const struct take_slot *slot = &t->slots[item];

	if (point >= take_n_points(slot))
		return false;
	if (slot->more && slot->more->rival.how)
		return true;
	return point < slot->blamed ||
	       (point == slot->blamed &&
		(take_is_shared(t, item) || take_claims(t, item)));
}

static int drop_point(const struct round *round)
{
	struct take *t = round->t;
	size_t k = 0;

	for (size_t i = round->first; i < round->first + round->n; i++) {
		const struct txn_event *e = &t->events[i];
		bool claimed = take_claims(t, e->item);

		if (e->res != TXN_BUSY || !may_have(t, e->item, round->point))
			continue;
		prepare(round, e->item, &t->ops[k], OP_UNLOCK);
		t->ops[k].lock.start =
			claimed ? LOCK_ALL_START : LOCK_BYTE_OWNER;
		t->ops[k++].lock.len = claimed ? LOCK_ALL_LEN : 1;
	}
	return take_run(t, k);
}

/* What was refused half-way may be tried again, so it must hold nothing. */
static int drop_refused(struct round *round, unsigned n_points)
{
	int r = 0;

	for (round->point = n_points; round->point-- && !r;)
		r = drop_point(round);
	return r;
}

int take_lock(struct take *t, const struct txn_act *acts, size_t n)
{
	struct round round = { .t = t, .first = t->n_events, .n = n };
	unsigned n_points = 1;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		take_event(t, &acts[i]);
		t->slots[acts[i].item].blamed = 0;
		take_clear_rival(&t->slots[acts[i].item]);
		n_points =
			MAX(n_points, take_n_points(&t->slots[acts[i].item]));
	}
	for (; round.point < n_points && !r; round.point++) {
		r = lock_point(&round);
		if (!r && t->incoming)
			r = take_claim(t, round.first, n, round.point);
	}
	if (!r)
		r = take_look_around(t, round.first, n);
	return r ? r : drop_refused(&round, n_points);
}

int take_look_around(struct take *t, size_t first, size_t n)
{
	int r = 0;

	for (size_t i = first; i < first + n && !r; i++) {
		struct txn_event *e = &t->events[i];

		if (!e->res && res_id_is_device(txn_item(t->txn, e->item)->id))
			r = relatives_look(t, e);
	}
	return r;
}
