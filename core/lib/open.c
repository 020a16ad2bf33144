/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/take.h"

#include "core/base/clock.h"
#include "core/base/feature.h"
#include "core/base/util.h"
#include "core/capsule/device.h"
#include "core/lib/claimed.h"
#include "core/lib/own.h"
#include "core/lib/where.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

/*
 * Opening the disks of a batch. Those that share a directory are opened
 * relative to it; place.c says what that is good for.
 *
 * An open may wait for a server without end, and so must be done by a worker if
 * it leads to one. That is known by the mount table where no link is on the
 * way. So on a host that has remote file systems, links are refused at first;
 * and what is refused is located (where.h), and then opened once more. The same
 * second round is for what leads out of an armed place, and for hosts whose
 * sandbox knows no openat2(2).
 *
 * Thousands of files fall out of the processor's cache between open and stat,
 * so they are taken a piece at a time, unless they are to overlap on workers.
 *
 * What somebody has claimed cannot be opened to be claimed. If it is the guest
 * itself, it is opened without, and found to be held already. If it is another
 * who will not end in a moment, and there is time to wait, it is tried again
 * and again, and all other claims of the piece are given up meanwhile: nobody
 * shall wait for those. Not with a lock in hand.
 *
 * An open with O_NONBLOCK that would break somebody's lease (F_SETLEASE) is
 * -EAGAIN, and has told the holder to give it up. Then a worker waits for that.
 */

#define RESERVE_FROM 64 /* disks */
#define PIECE 256
#define CLAIM_PAUSE_MS 5
#define CLAIM_LOOKS 20 /* waiting for a claim, until its owner is sought anew */
#define RESOLVE_INSIDE (RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)

static bool any_remote(const struct take *t)
{
	return mounts_any_remote(t->context->mounts);
}

static int open_place(struct take *t, struct place *place, const char *dir)
{
	struct where where;
	struct op op = {
		.kind = OP_OPEN,
		.flags = where_flags(t->context, dir),
		.fd = AT_FDCWD,
		.open = { .path = dir, .flags = O_PATH | O_DIRECTORY },
	};
	int r;

	place->kind.remote = op.flags;
	if (place->users < 2)
		return 0;
	r = engine_run(t->context->engine, &op, 1, t->context->deadline);
	if (r || op.res == -ECANCELED)
		return r ? r : op.res;
	if (op.res < 0)
		return 0;
	place->fd = op.res;
	if (any_remote(t) && !where_fd(t->context, place->fd, dir, &where))
		place->kind = where.kind;
	place_arm(place);
	return 0;
}

/* The directories that enough disks share; or at least where they are. */
static int open_places(struct take *t)
{
	_cleanup_(freep) char *text = NULL;
	int r = 0;

	for (uint32_t i = 0; i < t->places.n && !r; i++) {
		struct place *place = &t->places.v[i];

		if (!place->len || (place->users < 2 && !any_remote(t)))
			continue;
		freep(&text);
		text = strndup(place->dir, place->len);
		if (!text)
			return -ENOMEM;
		r = open_place(t, place, text);
	}
	return r;
}

static uint32_t resolve_from_place(struct take *t, const struct place *place)
{
	if (place->armed)
		return RESOLVE_INSIDE;
	return any_remote(t) && !place->kind.remote ? RESOLVE_INSIDE : 0;
}

/* The shared mode, too, makes a lease file that is not there. Where a link
   leads, no file is made, and none would be removed. */
static int open_flags(const struct txn_item *item, const struct take_slot *slot)
{
	int flags = item->mode == RES_SHARED ? O_RDONLY : O_RDWR;

	if (slot->type == RES_TYPE_LEASE)
		flags |= O_CREAT | O_NOFOLLOW;
	if (slot->claim && !slot->has_claim)
		flags |= O_EXCL;
	return flags | O_NOCTTY | (slot->patient ? 0 : O_NONBLOCK);
}

static void prepare_open(struct take *t, uint32_t item, struct op *op)
{
	const struct txn_item *it = txn_item(t->txn, item);
	struct take_slot *slot = &t->slots[item];
	const struct place *place = &t->places.v[slot->place];

	*op = (struct op){
		.kind = OP_OPEN,
		.fd = AT_FDCWD,
		.open = { .path = it->path, .flags = open_flags(it, slot) },
	};
	if (!slot->alone && place->fd >= 0) {
		slot->remote = place->kind.remote;
		op->fd = place->fd;
		op->open.path = slot->base;
		op->open.resolve = resolve_from_place(t, place);
	} else if (!slot->located) {
		slot->remote = place->len ? place->kind.remote
					  : where_flags(t->context, it->path);
		op->open.resolve = any_remote(t) && !slot->remote
					   ? RESOLVE_NO_SYMLINKS
					   : 0;
	}
	op->flags = slot->patient ? OP_REMOTE : take_flags(slot);
	if (op->flags)
		op->flags |= OP_IDENTIFY;
	slot->seen.mode = 0;
}

/* Where do these lead? What cannot be found out is left to the workers. */
static int locate(struct take *t, size_t n)
{
	int r;

	for (size_t i = 0; i < n; i++)
		t->ops[i] = (struct op){
			.kind = OP_OPEN,
			.flags = feature_allowed(FEATURE_OPENAT2) ? 0
								  : OP_REMOTE,
			.fd = AT_FDCWD,
			.open = { .path = txn_item(t->txn, t->op_items[i])
						  ->path,
				  .flags = O_PATH },
		};
	r = take_run(t, n);
	for (size_t i = 0; i < n; i++) {
		struct take_slot *slot = &t->slots[t->op_items[i]];
		int fd = t->ops[i].res;
		struct where where;

		slot->alone = slot->located = slot->remote = true;
		if (fd == -ECANCELED)
			r = fd;
		if (fd >= 0 &&
		    !where_fd(t->context, fd, t->ops[i].open.path, &where))
			slot->remote = where.kind.remote;
		fd_close(fd);
	}
	return r;
}

/* Keep the results, and in op_items those that are to be opened once more.
   Return: how many. */
static size_t take_opened(struct take *t, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		struct take_slot *slot = &t->slots[t->op_items[i]];
		const struct op *op = &t->ops[i];
		bool refused = op->res == -ELOOP || op->res == -EXDEV ||
			       op->res == -ENOSYS || op->res == -EPERM;

		slot->fd = op->res;
		if (op->flags & OP_IDENTIFY)
			slot->seen = op->open.out;
		if (op->res == -EAGAIN && !slot->patient)
			slot->patient = true;
		else if (!refused || !op->open.resolve)
			continue;
		slot->alone = true;
		t->op_items[k++] = t->op_items[i];
	}
	return k;
}

/* Those that somebody has claimed; nothing else cannot be opened for that
   reason. Return: how many, in op_items. */
static size_t find_claimed(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		if (t->slots[acts[i].item].fd == -EBUSY)
			t->op_items[k++] = acts[i].item;
	return k;
}

/* Return: CLAIMED_* of any of them, or negative errno. */
static int blame_claimers(struct take *t, size_t n)
{
	int any = 0;

	conflict_clear(&t->refused);
	for (size_t i = 0; i < n; i++) {
		struct take_slot *slot = &t->slots[t->op_items[i]];
		int r = claimed_blame(t, t->op_items[i]);

		if (r < 0)
			return r;
		if (r == CLAIMED_OWN && slot->has_claim)
			r = CLAIMED_LIVES;
		if (r == CLAIMED_OWN)
			slot->has_claim = true;
		any |= r;
	}
	return any;
}

static int open_again(struct take *t, size_t n)
{
	int r;

	for (size_t i = 0; i < n; i++)
		prepare_open(t, t->op_items[i], &t->ops[i]);
	r = take_run(t, n);
	for (size_t i = 0; i < n && !r; i++)
		t->slots[t->op_items[i]].fd = t->ops[i].res;
	return r;
}

static int pause_for_claims(struct take *t)
{
	take_sleep_until(deadline_in_ms(CLAIM_PAUSE_MS));
	return engine_take_cancel(t->context->engine) ? -ECANCELED : 0;
}

static bool may_wait(const struct take *t)
{
	if (!t->wait_left)
		return false;
	for (size_t i = 0; i < t->n; i++) {
		enum txn_item_state state = txn_item(t->txn, i)->state;

		if (state == TXN_ITEM_LOCKED || state == TXN_ITEM_VERIFIED)
			return false;
	}
	return true;
}

/* Give up the claims of these, and what else could not be claimed is to be
   opened with them. Return: how many, in op_items. */
static size_t drop_claims(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		const struct take_slot *slot = &t->slots[acts[i].item];

		if (slot->fd == -EBUSY || (slot->claim && slot->fd >= 0))
			t->op_items[k++] = acts[i].item;
	}
	take_close_items(t, t->op_items, k);
	return k;
}

/* Return: 0 if none is claimed any more, or it is time to look for the owners
   anew, or the time is over; or negative errno. */
static int outwait_claims(struct take *t, const struct txn_act *acts, size_t n)
{
	uint32_t first = t->op_items[0];
	int r = 0;

	for (int i = 0; i < CLAIM_LOOKS && !r; i++) {
		size_t k = drop_claims(t, acts, n);
		int again;

		r = take_wait_claimed(t, first);
		if (r < 0)
			return r;
		again = open_again(t, k);
		if (again)
			return again;
		if (!find_claimed(t, acts, n))
			break;
	}
	return 0;
}

/* A claim ends a little later than the process that had it. */
static int await_claimed(struct take *t, const struct txn_act *acts, size_t n)
{
	uint64_t ms = MIN(GRACE_MS, t->context->timeout_ms);
	uint64_t until = MIN(t->context->deadline, deadline_in_ms(ms));
	size_t k;
	int r = 0;

	while (!r && (k = find_claimed(t, acts, n))) {
		int who = blame_claimers(t, k);

		if (who < 0)
			return who;
		if (who & CLAIMED_OWN) {
			r = open_again(t, k);
		} else if (who & CLAIMED_LIVES || clock_now() >= until) {
			if (who & CLAIMED_HERE || !may_wait(t))
				break;
			r = outwait_claims(t, acts, n);
		} else {
			r = pause_for_claims(t);
			if (!r)
				r = open_again(t, find_claimed(t, acts, n));
		}
	}
	return r;
}

static int open_all(struct take *t, const struct txn_act *acts, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		t->op_items[i] = acts[i].item;
		take_points_free(&t->slots[acts[i].item]);
		t->slots[acts[i].item].blamed = 0;
		t->slots[acts[i].item].has_claim = false;
	}
	if (t->opened_before >= 0) {
		t->slots[acts->item].fd = TAKE_FD(t->opened_before);
		return 0;
	}
	if (!feature_allowed(FEATURE_OPENAT2) && any_remote(t))
		r = locate(t, n);
	while (n && !r) {
		for (size_t i = 0; i < n; i++)
			prepare_open(t, t->op_items[i], &t->ops[i]);
		r = take_run(t, n);
		n = take_opened(t, n);
		if (n && !r && any_remote(t))
			r = locate(t, n);
		for (size_t i = 0; i < n; i++)
			t->slots[t->op_items[i]].located = true;
	}
	return r;
}

static void judge_type(struct txn_event *e, const struct op_stat *st,
		       const struct take_slot *slot)
{
	if (e->res)
		return;
	e->id = (struct res_id){ st->dev, st->ino };
	if (S_ISREG(st->mode)) {
		e->type = slot->type;
		e->res = slot->claim ? -EINVAL : 0;
	} else if (S_ISBLK(st->mode) && slot->type == RES_TYPE_FILE) {
		e->type = RES_TYPE_BLOCK;
		e->id = device_id(slot->fd,
				  makedev(st->rdev_major, st->rdev_minor));
	} else if (S_ISDIR(st->mode)) {
		e->res = -EISDIR;
	}
}

/* The mount table knows more than the text of the path did. */
static void note_kind(struct take *t, uint32_t item, uint64_t dev)
{
	struct take_slot *slot = &t->slots[item];
	struct mount_kind kind;

	mounts_opened(t->context->mounts, dev);
	if (!any_remote(t) || slot->remote)
		return;
	mounts_by_dev(t->context->mounts, dev, txn_item(t->txn, item)->path,
		      &kind);
	slot->remote = kind.remote;
}

/* Before anything is locked. */
static void refuse_weak(struct take *t, size_t first, size_t n)
{
	int least = t->context->policy.require_scope;

	for (size_t i = first; least && i < first + n; i++) {
		struct txn_event *e = &t->events[i];
		struct mount_kind kind;

		if (e->res || t->slots[e->item].fd < 0)
			continue;
		own_reach(t, e->item, e->id, &kind);
		if ((int)kind.scope >= least)
			continue;
		e->res = -EXDEV;
		if (!t->weak.fs[0])
			t->weak = kind;
	}
}

static void close_failed(struct take *t, size_t first, size_t n)
{
	size_t k = 0;

	for (size_t i = first; i < first + n; i++) {
		const struct txn_event *e = &t->events[i];

		if (!e->res || t->slots[e->item].fd < 0)
			continue;
		take_remove_points(t, e->item);
		t->op_items[k++] = e->item;
	}
	take_close_items(t, t->op_items, k);
}

static int stat_opened(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t first = t->n_events, k = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		struct take_slot *slot = &t->slots[acts[i].item];

		if (slot->fd >= 0 && !slot->seen.mode)
			t->ops[k++] = (struct op){ .kind = OP_STAT,
						   .flags = take_flags(slot),
						   .fd = slot->fd };
	}
	r = take_run(t, k);
	k = 0;
	for (size_t i = 0; i < n && !r; i++) {
		struct take_slot *slot = &t->slots[acts[i].item];
		struct txn_event *e = take_event(t, &acts[i]);

		if (slot->fd >= 0) {
			const struct op *op = NULL;
			const struct op_stat *st = &slot->seen;

			if (!st->mode) {
				op = &t->ops[k++];
				st = &op->stat.out;
				e->res = op->res;
			}
			judge_type(e, st, slot);
			note_kind(t, acts[i].item, st->dev);
			if (!e->res)
				e->res = take_points_of(t, acts[i].item, st);
		} else {
			/* A socket has no regular file behind it either. */
			e->res = slot->fd == -ENXIO ? 0 : slot->fd;
		}
	}
	if (!r)
		r = take_open_points(t, first, n);
	if (!r) {
		refuse_weak(t, first, n);
		close_failed(t, first, n);
	}
	return r;
}

static int open_and_stat(struct take *t, const struct txn_act *acts, size_t n)
{
	int r = open_all(t, acts, n);

	if (!r)
		r = await_claimed(t, acts, n);
	return r ? r : stat_opened(t, acts, n);
}

int take_open(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t piece = any_remote(t) ? n : PIECE;
	int r = 0;

	if (t->places.n && !t->places_opened) {
		t->places_opened = true;
		r = open_places(t);
		if (!r && t->n >= RESERVE_FROM)
			r = engine_reserve(t->context->engine, t->n);
	}
	for (size_t i = 0; i < n && !r; i += piece)
		r = open_and_stat(t, acts + i, MIN(piece, n - i));
	return r;
}
