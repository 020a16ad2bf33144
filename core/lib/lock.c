/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lost.h"
#include "core/lib/qemu.h"
#include "core/lib/relatives.h"
#include "core/lib/take.h"

#include <fcntl.h>

/*
 * Locking in rounds: first the disks themselves, all in one batch, then the
 * second lock point of those that have one, and so on. A disk that is refused
 * takes no part in later rounds, and gives up what it has got in those before.
 * Plain images have one point, so for them there is one round.
 *
 * A lock and the questions behind it (does nobody hand the disk over? has no
 * QEMU got it open?) stand in one batch, which the engine runs in order. Where
 * they are round trips they are one errand of a worker, and so is the look
 * whether the path still leads there, which is then not needed later: it only
 * has to come after the lock. So most of these round trips are made while other
 * disks wait for their locks, and no thread is woken for each.
 *
 * What is not a lock but must be looked at once the disk is locked comes last
 * (take_look_around()). Both of two that exclude each other in such a way lock
 * first and look then, so at least one of them sees the other.
 */

struct round {
	struct take *t;
	size_t first, n; /* events */
	unsigned point;
	/* What need not be looked for, if it has not been seen. */
	bool any_remote; /* among the points of this round */
	bool any_failed; /* of what was locked or asked here */
	bool any_qemu;
};

/* Still going well, with such a point, and not claimed in another way? */
static bool takes_part(const struct round *round, const struct txn_event *e)
{
	const struct take *t = round->t;

	return !e->res && round->point < take_n_points(&t->slots[e->item]) &&
	       !take_claims(t, e->item);
}

static void prepare(const struct round *round, uint32_t item, struct op *op,
		    enum op_kind kind)
{
	const struct take *t = round->t;
	const struct take_point point = take_point(t, item, round->point);

	*op = (struct op){
		.kind = (uint8_t)kind,
		.flags = point.remote ? OP_REMOTE : 0,
		.fd = point.fd,
		.lock = { .type = take_is_shared(t, item) ? F_RDLCK : F_WRLCK,
			  .start = LOCK_BYTE_OWNER,
			  .len = 1 },
	};
}

/* What is asked about a point that has just been locked. */
enum question {
	ASK_HANDOVER, /* does nobody hand it over? */
	ASK_QEMU,     /* has no QEMU got it open? */
	ASK_N,
};

/* Readers are in the way of who wants the disk alone. */
static void prepare_question(const struct round *round, uint32_t item,
			     struct op *op, enum question question)
{
	bool shared = take_is_shared(round->t, item);

	prepare(round, item, op, OP_QUERY);
	if (question == ASK_HANDOVER) {
		op->lock.start = LOCK_HANDOVER_START;
		op->lock.len = LOCK_HANDOVER_LEN;
	} else {
		op->lock.type = F_WRLCK;
		op->lock.start = QEMU_BYTES_START + shared;
		op->lock.len = QEMU_BYTES_LEN - shared;
	}
}

/* A destination shares its disks with its source's QEMU. */
static bool asks(const struct round *round, uint32_t item,
		 enum question question)
{
	const struct take *t = round->t;

	if (question == ASK_HANDOVER)
		return take_is_shared(t, item);
	return !round->point && !t->incoming &&
	       t->slots[item].type != RES_TYPE_LEASE;
}

static bool is_remote(const struct round *round, uint32_t item)
{
	return take_point(round->t, item, round->point).remote;
}

/* Who has found a QEMU asks more when everything is locked. */
static int judge_question(struct round *round, uint32_t item,
			  const struct op *query, enum question question)
{
	bool taken = query->lock.type != F_UNLCK;

	if (query->res)
		return query->res;
	if (question == ASK_HANDOVER)
		return taken ? TXN_BUSY : 0;
	round->t->slots[item].qemu = taken;
	round->any_qemu |= taken;
	return 0;
}

static void note(struct round *round, struct txn_event *e, int res)
{
	e->res = res;
	if (res)
		round->t->slots[e->item].blamed = (uint8_t)round->point;
	round->any_failed |= res < 0;
}

/* Where its place will not answer for it, and that is a round trip, the disk's
   path is looked at while one is at it. */
static bool looks(const struct round *round, uint32_t item)
{
	return !round->point && is_remote(round, item) &&
	       !take_place_answers(round->t, item);
}

static size_t n_ops(const struct round *round, uint32_t item)
{
	size_t n = 1 + looks(round, item);

	for (unsigned q = 0; q < ASK_N; q++)
		n += asks(round, item, q);
	return n;
}

/* Its lock, its questions behind it, and the look. */
static size_t prepare_item(struct round *round, uint32_t item, struct op *ops)
{
	size_t k = 0;
	bool remote;

	prepare(round, item, &ops[k++], OP_LOCK);
	remote = ops->flags & OP_REMOTE;
	round->any_remote |= remote;
	for (unsigned q = 0; q < ASK_N; q++)
		if (asks(round, item, q))
			prepare_question(round, item, &ops[k++], q);
	for (size_t i = 0; i < k && remote; i++)
		ops[i].flags |= OP_LEND | OP_LINK;
	if (remote && looks(round, item))
		take_prepare_look(round->t, item, &ops[k++]);
	ops[k - 1].flags &= (uint8_t)~OP_LINK;
	return k;
}

/* The answers to the same. */
static size_t judge_item(struct round *round, struct txn_event *e,
			 const struct op *ops)
{
	bool remote = ops->flags & OP_REMOTE;
	int res = take_judge(ops);
	size_t k = 1;

	for (unsigned q = 0; q < ASK_N; q++) {
		if (!asks(round, e->item, q))
			continue;
		if (!res)
			res = judge_question(round, e->item, &ops[k], q);
		k++;
	}
	if (remote && looks(round, e->item))
		take_note_look(round->t, e->item, &ops[k++]);
	note(round, e, res);
	return k;
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
		if (t->ops[k].fd < 0)
			*take_descriptor(t, e->item, round->point) = -1;
		k += n_ops(round, e->item);
	}
}

/* Then all is lost, perhaps since there is no time left to ask more. */
static bool has_failed(const struct round *round)
{
	if (round->any_failed || !round->t->incoming)
		return round->any_failed;
	for (size_t i = round->first; i < round->first + round->n; i++)
		if (round->t->events[i].res < 0)
			return true;
	return false;
}

static int lock_point(struct round *round)
{
	struct take *t = round->t;
	size_t end = round->first + round->n, k = 0;
	int r;

	round->any_remote = false;
	for (size_t i = round->first; i < end; i++)
		if (takes_part(round, &t->events[i]))
			k += prepare_item(round, t->events[i].item, &t->ops[k]);
	r = take_run(t, k);
	if (round->any_remote)
		note_lost(round);
	k = 0;
	for (size_t i = round->first; i < end && !r; i++)
		if (takes_part(round, &t->events[i]))
			k += judge_item(round, &t->events[i], &t->ops[k]);
	return r;
}

/* Which of its points may a refused disk have locked? Not the one that was
   refused, if there was no more to it than its lock. */
static bool may_have(const struct take *t, uint32_t item, unsigned point)
{
	const struct take_slot *slot = &t->slots[item];

	if (point >= take_n_points(slot))
		return false;
	if (slot->qemu || (slot->more && slot->more->rival.how))
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
		bool claimed;

		if (e->res != TXN_BUSY || !may_have(t, e->item, round->point))
			continue;
		claimed = take_claims(t, e->item);
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
		t->slots[acts[i].item].qemu = false;
		n_points =
			MAX(n_points, take_n_points(&t->slots[acts[i].item]));
	}
	for (; round.point < n_points && !r && !has_failed(&round);
	     round.point++) {
		r = lock_point(&round);
		if (!r && t->incoming)
			r = take_claim(t, round.first, n, round.point);
	}
	if (!r && !has_failed(&round) && (round.any_qemu || t->incoming))
		r = qemu_look(t, round.first, n);
	/* A block device always has a second point. */
	if (!r && !has_failed(&round) && n_points > 1)
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
	return r ? r : lost_look(t, first, n);
}
