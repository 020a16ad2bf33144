/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/take.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/lib/lease_file.h"
#include "core/lib/lock_dir.h"
#include "core/lib/look.h"
#include "core/lib/openers.h"
#include "core/lib/own.h"
#include "core/lib/qemu.h"

#include <fcntl.h>
#include <string.h>

/*
 * One function an act. All acts of a kind go to the engine as one batch; an
 * item's descriptors live in its slot.
 */

#define SEARCH_MS 2000 /* for the holders of refused disks */

struct txn_event *take_event(struct take *t, const struct txn_act *act)
{
	struct txn_event *e = &t->events[t->n_events++];

	*e = (struct txn_event){ .what = act->what, .item = act->item };
	return e;
}

int take_run(struct take *t, size_t n)
{
	int r;

	if (!n)
		return 0;
	r = engine_run(t->context->engine, t->ops, n, t->context->deadline);
	/* A cancel ends one run only, and means the whole transaction. */
	for (size_t i = 0; i < n && !r; i++)
		if (t->ops[i].res == -ECANCELED)
			r = -ECANCELED;
	return r;
}

/* What its place leads to now may be elsewhere: open it by its whole path. */
static void note_replaced(struct take *t, struct txn_event *e)
{
	struct take_slot *slot = &t->slots[e->item];

	e->res = TXN_REPLACED;
	slot->alone = true;
	slot->located = false;
}

bool take_place_answers(const struct take *t, uint32_t item)
{
	const struct take_slot *slot = &t->slots[item];

	return !slot->alone && t->places.v[slot->place].armed;
}

void take_prepare_look(const struct take *t, uint32_t item, struct op *op)
{
	*op = (struct op){ .kind = OP_STAT_PATH,
			   .flags = take_flags(&t->slots[item]),
			   .fd = AT_FDCWD,
			   .stat = { .path = txn_item(t->txn, item)->path } };
}

static bool leads_there(const struct take *t, uint32_t item,
			const struct op *look)
{
	struct res_id named = { look->stat.out.dev, look->stat.out.ino };

	return res_id_equal(named, take_point(t, item, 0).file);
}

void take_note_look(struct take *t, uint32_t item, const struct op *look)
{
	t->slots[item].named =
		!look->res && leads_there(t, item, look) ? t->step : 0;
}

/* Since its lock, if that was in this step or in the one before. */
static bool was_named(const struct take *t, uint32_t item)
{
	const struct take_slot *slot = &t->slots[item];

	return slot->named && slot->named + 1 >= t->step;
}

/* Verify one by one those whose place cannot answer for them, if that was not
   done just now. */
static int verify_alone(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t k = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		uint32_t item = acts[i].item;

		if (was_named(t, item) || take_place_answers(t, item))
			continue;
		t->op_items[k] = (uint32_t)(t->n_events - n + i);
		take_prepare_look(t, item, &t->ops[k++]);
	}
	r = take_run(t, k);
	for (size_t i = 0; i < k && !r; i++) {
		struct txn_event *e = &t->events[t->op_items[i]];
		const struct op *op = &t->ops[i];

		if (op->res == -ENOENT ||
		    (!op->res && !leads_there(t, e->item, op)))
			note_replaced(t, e);
		else
			e->res = op->res;
	}
	return r;
}

/* Is it another's of this call, or the guest's already, without a claim? */
static bool is_unclaimed(const struct take *t, uint32_t i)
{
	uint32_t other = txn_item(t->txn, i)->same_as;

	return !t->slots[i].has_claim &&
	       (other == UINT32_MAX || !t->slots[other].claim);
}

/* What the guest had claimed when it was opened, but has given back by now, is
   opened anew. */
static void verify_claim(struct take *t, struct txn_event *e)
{
	bool locked = txn_item(t->txn, e->item)->state == TXN_ITEM_LOCKED;
	struct take_slot *slot = &t->slots[e->item];

	if (!slot->claim || e->res)
		return;
	if (locked && slot->has_claim) {
		note_replaced(t, e);
	} else if (!locked && is_unclaimed(t, e->item)) {
		slot->unclaimed = true;
		e->res = -EEXIST;
	}
}

static int do_verify(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t first = t->n_events;
	int r;

	for (uint32_t i = 0; i < t->places.n; i++) {
		struct place *place = &t->places.v[i];

		place->armed = place->armed && place_unchanged(place);
	}
	for (size_t i = 0; i < n; i++)
		take_event(t, &acts[i]);
	r = verify_alone(t, acts, n);
	if (!r)
		r = take_verify_points(t, first, n);
	for (size_t i = first; i < first + n && !r; i++)
		verify_claim(t, &t->events[i]);
	if (!r)
		r = openers_check(t, first, n);
	/* That may have taken seconds. */
	if (!r && t->context->policy.exclusive_open != GLK_OPEN_IGNORE)
		r = take_verify_points(t, first, n);
	return r;
}

int take_add_refusal(struct take *t, uint32_t item,
		     const struct glk_conflict *who)
{
	if (t->refused.n == t->cap_refused) {
		size_t cap = MAX(2 * t->cap_refused, 8);
		void *p = realloc(t->refused_items,
				  cap * sizeof(*t->refused_items));

		if (!p)
			return -ENOMEM;
		t->refused_items = p;
		t->cap_refused = cap;
	}
	t->refused_items[t->refused.n] = item;
	return conflict_add(&t->refused, who);
}

static int add_refusal(void *arg, const struct holder_answer *answer)
{
	struct take *t = arg;
	struct txn_event *e = &t->events[t->op_items[answer->ask]];

	if (!answer->dying)
		e->holder = TXN_HOLDER_LIVE;
	return take_add_refusal(t, e->item, &answer->who);
}

static void recall(struct take *t, const struct txn_act *acts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		take_event(t, &acts[i])->holder = own_recall(t, acts[i].item);
}

static int do_recall(struct take *t, const struct txn_act *acts, size_t n)
{
	int r = own_load(t, t->context->deadline);

	if (r)
		return guest_fail(t->guest, r,
				  "cannot read the guest's leases");
	recall(t, acts, n);
	return 0;
}

/* Has another disk of this call locked the very file of a lock directory? */
static bool is_locked_here(const struct take *t, uint32_t i,
			   const struct take_point *point)
{
	for (uint32_t k = 0; k < t->n && point->signs; k++) {
		if (k == i || txn_item(t->txn, k)->state != TXN_ITEM_LOCKED)
			continue;
		for (unsigned p = 1; p < take_n_points(&t->slots[k]); p++)
			if (res_id_equal(take_point(t, k, p).file, point->file))
				return true;
	}
	return false;
}

void take_ask_about(const struct take *t, uint32_t i, struct holder_ask *ask)
{
	const struct txn_item *item = txn_item(t->txn, i);
	const struct take_slot *slot = &t->slots[i];
	const struct take_point point = take_point(t, i, slot->blamed);

	*ask = (struct holder_ask){
		.id = item->id,
		.file = point.file,
		.path = item->path,
		.mode = item->mode,
		.incoming = t->incoming,
		.fd = point.fd,
		.remote = point.remote,
	};
	if (is_locked_here(t, i, &point))
		ask->how = "holds another disk of this call, which has the "
			   "same lock file";
	if (slot->more && slot->more->rival.how) {
		const struct take_rival *rival = &slot->more->rival;

		ask->id = rival->id;
		ask->file = rival->file;
		ask->how = rival->how;
		ask->fd = rival->fd;
		ask->remote = rival->remote;
	}
}

/* Of those that are not our own guest's: who has them? The indices of the
   events stand in op_items, those of the QEMUs apart. */
static int inquire(struct take *t, size_t first, size_t n)
{
	_cleanup_(freep) struct holder_ask *asks = calloc(n, sizeof(*asks));
	size_t k = 0, n_qemu = 0;
	int r = 0;

	if (!asks)
		return -ENOMEM;
	for (size_t i = first; i < first + n; i++) {
		const struct txn_event *e = &t->events[i];

		if (e->holder != TXN_HOLDER_FADING || t->slots[e->item].qemu)
			continue;
		t->op_items[k] = (uint32_t)i;
		take_ask_about(t, e->item, &asks[k++]);
	}
	if (k)
		r = holders_find(t->context, asks, k, t->search_until,
				 add_refusal, t);
	if (k && !r)
		r = lock_dir_quote(t, asks, k, add_refusal);
	for (size_t i = first; i < first + n; i++)
		if (t->events[i].holder == TXN_HOLDER_FADING &&
		    t->slots[t->events[i].item].qemu)
			t->op_items[n_qemu++] = (uint32_t)i;
	if (n_qemu && !r)
		r = qemu_inquire(t, t->op_items, n_qemu, add_refusal, t);
	return r;
}

/*
 * First our own guest's leases, then whoever else it may be. If ours cannot be
 * read, it is a refusal all the same. All rounds of inquiry share one limit;
 * when it is reached, what was known of the holders stays.
 */
static int do_inquire(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t first = t->n_events;
	int r;

	if (!t->search_until)
		t->search_until = deadline_in_ms(SEARCH_MS);
	own_forget(t);
	r = own_load(t, MIN(t->search_until, look_deadline(t->context)));
	if (r == CAPSULE_E_GONE || r == -ENOMEM)
		return guest_fail(t->guest, r,
				  "cannot read the guest's leases");
	recall(t, acts, n);
	if (clock_now() < t->search_until)
		conflict_clear(&t->refused);
	for (size_t i = 0; i < n; i++)
		if (t->events[first + i].holder == TXN_HOLDER_NONE)
			t->events[first + i].holder = TXN_HOLDER_FADING;
	return inquire(t, first, n);
}

void take_sleep_until(uint64_t instant)
{
	struct timespec ts = { .tv_sec = (time_t)(instant / NSEC_PER_SEC),
			       .tv_nsec = (long)(instant % NSEC_PER_SEC) };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static int do_pause(struct take *t, const struct txn_act *act)
{
	take_event(t, act);
	take_sleep_until(
		MIN(deadline_in_ms(act->delay_ms), t->context->deadline));
	return engine_take_cancel(t->context->engine) ? -ECANCELED : 0;
}

static int do_park(struct take *t, const struct txn_act *act)
{
	int r = lock_dir_sign(t);

	if (r)
		return r;
	r = own_park(t);
	if (r == -ENOMEM)
		return r;
	t->park_error = r;
	take_event(t, act)->res = r > 0 ? -ENOSPC : r;
	return 0;
}

int *take_descriptor(const struct take *t, uint32_t item, unsigned point)
{
	struct take_slot *slot = &t->slots[item];
	int *fd;

	if (point >= take_n_points(slot))
		return NULL;
	fd = point ? &slot->more->points[point - 1].fd : &slot->fd;
	return *fd >= 0 ? fd : NULL;
}

/* Closing a file of a remote file system is a round trip, so those overlap. */
static void close_remote(struct take *t, const uint32_t *items, size_t n,
			 unsigned point)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		int *fd = take_descriptor(t, items[i], point);

		if (fd && take_point(t, items[i], point).remote)
			t->ops[k++] = (struct op){ .kind = OP_CLOSE,
						   .flags = OP_REMOTE,
						   .fd = TAKE_FD(*fd) };
	}
	if (take_run(t, k))
		for (size_t i = 0; i < k; i++)
			fd_close(t->ops[i].fd);
}

/* Return: is there one with more points? */
static bool close_point(struct take *t, const uint32_t *items, size_t n,
			unsigned point)
{
	bool more = false;
	size_t k = 0;

	close_remote(t, items, n, point);
	for (size_t i = 0; i < n; i++) {
		int *fd = take_descriptor(t, items[i], point);

		if (fd)
			t->fds[k++] = TAKE_FD(*fd);
		more |= point + 1 < take_n_points(&t->slots[items[i]]);
	}
	engine_close_many(t->context->engine, t->fds, k);
	return more;
}

void take_close_items(struct take *t, const uint32_t *items, size_t n)
{
	unsigned point = 0;

	while (close_point(t, items, n, point))
		point++;
}

/*
 * What is closed here was not parked, and its file was perhaps made for this
 * transaction. If nobody holds it, it is as good as given back. Of a duplicate,
 * or of what the guest has already, the lock is refused.
 */
static void remove_files(struct take *t, uint32_t item)
{
	const struct take_slot *slot = &t->slots[item];

	take_remove_points(t, item);
	if (slot->type == RES_TYPE_LEASE && slot->fd >= 0 && !slot->remote &&
	    !take_is_shared(t, item))
		lease_file_remove(slot->fd, txn_item(t->txn, item)->path);
}

void take_close(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		if (acts[i].what == TXN_DO_CLOSE)
			remove_files(t, acts[i].item);

	for (size_t i = 0; i < n; i++)
		if (acts[i].what == TXN_DO_CLOSE)
			t->op_items[k++] = acts[i].item;
	take_close_items(t, t->op_items, k);
}

static int do_close(struct take *t, const struct txn_act *acts, size_t n)
{
	take_close(t, acts, n);
	for (size_t i = 0; i < n; i++)
		take_event(t, &acts[i]);
	return 0;
}

static int perform_kind(struct take *t, const struct txn_act *acts, size_t n)
{
	switch (acts->what) {
	case TXN_DO_OPEN:
		return take_open(t, acts, n);
	case TXN_DO_LOCK:
		return take_lock(t, acts, n);
	case TXN_DO_VERIFY:
		return do_verify(t, acts, n);
	case TXN_DO_INQUIRE:
		return do_inquire(t, acts, n);
	case TXN_DO_RECALL:
		return do_recall(t, acts, n);
	case TXN_DO_PAUSE:
		return do_pause(t, acts);
	case TXN_DO_UNLOCK:
		return take_unlock(t, acts, n);
	case TXN_DO_WAIT:
		return take_wait(t, acts);
	case TXN_DO_REST:
		return take_rest(t, acts);
	case TXN_DO_PARK:
		return do_park(t, acts);
	case TXN_DO_CLOSE:
		return do_close(t, acts, n);
	default:
		return -ENOTRECOVERABLE;
	}
}

int take_perform(struct take *t, const struct txn_act *acts, size_t n)
{
	int r = 0;

	t->step++;
	while (n && !r) {
		size_t k = 1;

		while (k < n && acts[k].what == acts->what)
			k++;
		r = perform_kind(t, acts, k);
		acts += k;
		n -= k;
	}
	return r;
}
