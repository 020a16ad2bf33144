/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/take.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/lib/own.h"
#include "core/lib/qemu.h"

#include <fcntl.h>

/*
 * Waiting for a disk that somebody else has (core/lease/txn.h has the rules).
 *
 * The kernel wakes us: a worker of the engine waits in fcntl(2) for the lock of
 * the very point that was refused, and once it is granted the disk is locked as
 * always, with all of its points. There is nothing to wait for
 *
 * - if the bytes of a hand-over are in the way, or a rival, or a QEMU;
 * - for the destination of a migration, which needs its source to prepare;
 * - on a further point that other hosts see, too: they may know the disk by
 *   another identity, and with it have another order to wait in.
 *
 * Then the transaction rests and tries again, with nothing in its hands.
 *
 * Now and then a wait is broken off to look anew: the path may lead to another
 * file by now, or somebody else has attached the disk to this guest. That is
 * not how a lock is noticed, so it is seldom. Where a server decides, each
 * break may cost a thread that does not come back, so it is ever less often.
 *
 * Whoever wants to be told is told between two such waits, so that he does not
 * hear of what is over in a moment.
 *
 * Waiting has a time of its own. The call's deadline is put off by what was
 * waited, so all else still has the whole time limit.
 */

#define SLICE_MS 1000
#define TELL_MS 200   /* after this, tell whoever wants to know */
#define SEARCH_MS 500 /* for its holder */
#define CLAIM_MS 50   /* no kernel tells when a claim ends */

static uint64_t wait_begin(const struct take *t, uint64_t at_most)
{
	return clock_now() + MIN(at_most, t->wait_left);
}

static void wait_end(struct take *t, uint64_t began)
{
	uint64_t spent = clock_now() - began;

	t->wait_left -= MIN(spent, t->wait_left);
	t->wait_spent += spent;
	t->context->deadline += spent;
	own_forget(t);
}

/* The point whose lock can be waited for, or -1. */
static int awaited_point(const struct take *t, uint32_t item)
{
	const struct take_slot *slot = &t->slots[item];

	if (take_claims(t, item) || slot->qemu ||
	    (slot->more && slot->more->rival.how))
		return -1;
	if (slot->blamed && take_point(t, item, slot->blamed).remote)
		return -1;
	return slot->blamed;
}

static int judge_wait(const struct take *t, int res)
{
	switch (res) {
	case -ETIME:
		return t->wait_left ? TXN_AGAIN : TXN_LATE;
	case -EAGAIN: /* a file system that does not let wait */
	case -EACCES:
	case -ENOMEM: /* no thread can be had */
		return TXN_BUSY;
	default:
		return res;
	}
}

static bool wants_telling(const struct take *t)
{
	return t->context->on_wait && !t->wait_told;
}

struct telling {
	struct take *t;
	int mode;
	bool told;
};

static int tell_one(void *arg, const struct holder_answer *answer)
{
	struct telling *telling = arg;
	const struct glk_context *context = telling->t->context;
	struct glk_conflict c = answer->who;
	static const char none[] = "";

	c.mode = telling->mode;
	c.uuid = c.uuid ? c.uuid : none;
	c.name = c.name ? c.name : none;
	c.exe = c.exe ? c.exe : none;
	c.host = c.host ? c.host : none;
	c.how = c.how ? c.how : none;
	telling->told = true;
	context->on_wait(context->on_wait_arg, &c);
	return 0;
}

/* Return: 0, -ECANCELED, or -ENOMEM. */
static int tell(struct take *t, uint32_t item)
{
	struct telling telling = { t, (int)txn_item(t->txn, item)->mode,
				   false };
	struct holder_answer unknown = {};
	uint64_t until = wait_begin(t, SEARCH_MS * NSEC_PER_MSEC);
	uint64_t began = clock_now();
	struct holder_ask ask;
	int r;

	take_ask_about(t, item, &ask);
	if (t->slots[item].qemu)
		r = qemu_holders(t->context, &ask, until, tell_one, &telling);
	else
		r = holders_find(t->context, &ask, 1, until, tell_one,
				 &telling);
	unknown.who.path = txn_item(t->txn, item)->path;
	if (!r && !telling.told)
		tell_one(&telling, &unknown);
	wait_end(t, began);
	t->wait_told = true;
	return r;
}

/* Return: is it time to tell? */
static bool note_item(struct take *t, uint32_t item)
{
	if (!t->wait_spent || t->wait_item != item) {
		t->wait_item = item;
		t->wait_spent = 0;
		t->wait_told = false;
	}
	return wants_telling(t) && t->wait_spent >= TELL_MS * NSEC_PER_MSEC;
}

/* Return: 0, or as tell(). */
static int begin_item(struct take *t, uint32_t item)
{
	return note_item(t, item) ? tell(t, item) : 0;
}

/* Return: 0 if it is locked, TXN_*, or negative errno of the lock. */
static int wait_for(struct take *t, const struct take_point *point, short type)
{
	uint64_t slice =
		t->wait_slice ? t->wait_slice : SLICE_MS * NSEC_PER_MSEC;
	uint64_t began = clock_now();
	struct op op = {
		.kind = OP_LOCK,
		.flags = OP_WAIT | (point->remote ? OP_REMOTE : 0),
		.fd = point->fd,
		.lock = { .type = type, .start = LOCK_BYTE_OWNER, .len = 1 },
	};
	int r;

	if (wants_telling(t))
		slice = TELL_MS * NSEC_PER_MSEC;
	r = engine_run(t->context->engine, &op, 1, wait_begin(t, slice));
	wait_end(t, began);
	if (point->remote && op.res == -ETIME)
		t->wait_slice = 2 * slice;
	return r ? r : judge_wait(t, op.res);
}

static int unlock_point(struct take *t, const struct txn_act *acts, size_t n,
			size_t first, unsigned point)
{
	size_t k = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		struct take_point p;

		if (point >= take_n_points(&t->slots[acts[i].item]))
			continue;
		p = take_point(t, acts[i].item, point);
		t->op_items[k] = (uint32_t)(first + i);
		t->ops[k++] = (struct op){
			.kind = OP_UNLOCK,
			.flags = p.remote ? OP_REMOTE : 0,
			.fd = p.fd,
			.lock = { .start = LOCK_ALL_START,
				  .len = LOCK_ALL_LEN },
		};
	}
	r = take_run(t, k);
	for (size_t i = 0; i < k && !r; i++)
		if (t->ops[i].res)
			t->events[t->op_items[i]].res = t->ops[i].res;
	return r ? r : (int)MIN(k, 1);
}

/* All points of all these disks, whose events begin at @first. */
static int unlock(struct take *t, const struct txn_act *acts, size_t n,
		  size_t first)
{
	unsigned point = 0;
	int r;

	do {
		r = unlock_point(t, acts, n, first, point++);
	} while (r > 0);
	return r;
}

int take_unlock(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t first = t->n_events;

	for (size_t i = 0; i < n; i++)
		take_event(t, &acts[i]);
	return unlock(t, acts, n, first);
}

/* With the lock that was waited for in hand. What is refused now has no lock
   that it would be refused for, or not this one. */
static int lock_rest(struct take *t, const struct txn_act *act)
{
	size_t first = t->n_events;
	int r = take_lock(t, act, 1);

	if (r || t->events[first].res != TXN_BUSY)
		return r;
	return unlock(t, act, 1, first);
}

int take_wait(struct take *t, const struct txn_act *act)
{
	int point = awaited_point(t, act->item), res = TXN_BUSY;
	int r = begin_item(t, act->item);

	if (r)
		return r;
	if (!t->wait_left) {
		res = TXN_LATE;
	} else if (point >= 0) {
		struct take_point p = take_point(t, act->item, (unsigned)point);

		res = wait_for(t, &p,
			       take_is_shared(t, act->item) ? F_RDLCK
							    : F_WRLCK);
	}
	if (res == -ECANCELED)
		return res;
	if (!res)
		return lock_rest(t, act);
	take_event(t, act)->res = res;
	return 0;
}

int take_rest(struct take *t, const struct txn_act *act)
{
	uint64_t began = clock_now();

	take_sleep_until(wait_begin(t, act->delay_ms * NSEC_PER_MSEC));
	wait_end(t, began);
	take_event(t, act)->res = t->wait_left ? 0 : TXN_LATE;
	return engine_take_cancel(t->context->engine) ? -ECANCELED : 0;
}

static void tell_claim(struct take *t, uint32_t item)
{
	const struct txn_item *it = txn_item(t->txn, item);
	struct telling telling = { t, (int)it->mode, false };
	struct holder_answer answer = { .who.path = it->path };

	for (size_t i = t->refused.n; i-- > 0;)
		if (t->refused_items[i] == item)
			answer.who = t->refused.items[i];
	tell_one(&telling, &answer);
	t->wait_told = true;
}

int take_wait_claimed(struct take *t, uint32_t item)
{
	uint64_t began;

	if (note_item(t, item))
		tell_claim(t, item);
	began = clock_now();
	take_sleep_until(wait_begin(t, CLAIM_MS * NSEC_PER_MSEC));
	wait_end(t, began);
	if (engine_take_cancel(t->context->engine))
		return -ECANCELED;
	return t->wait_left ? 0 : TXN_LATE;
}
