/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/take.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/lib/own.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>

/*
 * One function an act. All acts of a kind go to the engine as one batch; an
 * item's descriptor lives in its slot. A lock and the test of the successor's
 * byte stand in one batch where locks are local, which the engine runs in
 * order; where they are a round trip they are two batches, each overlapping.
 */

#define SEARCH_MS 2000	/* for the holders of refused disks */
#define RESERVE_FROM 64 /* disks */
#define RESOLVE_INSIDE (RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)

static struct txn_event *event_add(struct take *t, const struct txn_act *act)
{
	struct txn_event *e = &t->events[t->n_events++];

	*e = (struct txn_event){ .what = act->what, .item = act->item };
	return e;
}

static int run(struct take *t, size_t n)
{
	if (!n)
		return 0;
	return engine_run(t->context->engine, t->ops, n, t->context->deadline);
}

static uint8_t remote_flag(const struct take_slot *slot)
{
	return slot->remote ? OP_REMOTE : 0;
}

/* Open the directories that enough disks share, and take their stamps. */
static int open_places(struct take *t)
{
	_cleanup_(freep) char *text = NULL;
	bool any_remote = mounts_any_remote(t->context->mounts);
	int r = 0;

	for (uint32_t i = 0; i < t->places.n && !r; i++) {
		struct place *place = &t->places.v[i];
		struct op op = { .kind = OP_OPEN, .fd = AT_FDCWD };

		if (!place->len || (place->users < 2 && !any_remote))
			continue;
		freep(&text);
		text = strndup(place->dir, place->len);
		if (!text)
			return -ENOMEM;
		if (any_remote)
			mounts_by_path(t->context->mounts, text, &place->kind);
		if (place->users < 2)
			continue;
		op.flags = place->kind.remote ? OP_REMOTE : 0;
		op.open.path = text;
		op.open.flags = O_PATH | O_DIRECTORY;
		r = engine_run(t->context->engine, &op, 1,
			       t->context->deadline);
		if (!r && op.res == -ECANCELED)
			r = op.res;
		if (!r && op.res >= 0) {
			place->fd = op.res;
			place_arm(place);
		}
	}
	return r;
}

static void prepare_open(struct take *t, uint32_t item, struct op *op)
{
	const struct txn_item *it = txn_item(t->txn, item);
	struct take_slot *slot = &t->slots[item];
	const struct place *place = &t->places.v[slot->place];
	bool alone = slot->alone || place->fd < 0;

	slot->remote = place->kind.remote;
	*op = (struct op){
		.kind = OP_OPEN,
		.flags = remote_flag(slot),
		.fd = alone ? AT_FDCWD : place->fd,
		.open = {
			.path = alone ? it->path : slot->base,
			.flags = it->mode == RES_SHARED ? O_RDONLY : O_RDWR,
			.resolve = alone || !place->armed ? 0 : RESOLVE_INSIDE,
		},
	};
	op->open.flags |= O_NONBLOCK | O_NOCTTY;
}

/* What a place cannot answer for is opened once more, by its whole path. */
static int open_leavers(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t k = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		struct op *op = &t->ops[i];

		t->slots[acts[i].item].fd = op->res;
		if (!op->open.resolve ||
		    (op->res != -ELOOP && op->res != -EXDEV))
			continue;
		t->slots[acts[i].item].alone = true;
		t->op_items[k++] = acts[i].item;
	}
	for (size_t i = 0; i < k; i++)
		prepare_open(t, t->op_items[i], &t->ops[i]);
	r = run(t, k);
	for (size_t i = 0; i < k; i++)
		t->slots[t->op_items[i]].fd = t->ops[i].res;
	return r;
}

static void judge_type(struct txn_event *e, const struct op *op)
{
	const struct op_stat *st = &op->stat.out;

	e->res = op->res;
	e->id = (struct res_id){ st->dev, st->ino };
	if (S_ISREG(st->mode))
		e->type = RES_TYPE_FILE;
	else if (S_ISBLK(st->mode))
		e->type = RES_TYPE_BLOCK;
	else if (!e->res && S_ISDIR(st->mode))
		e->res = -EISDIR;
}

/* The mount table knows more than the text of the path did. */
static void note_kind(struct take *t, uint32_t item, uint64_t dev)
{
	struct take_slot *slot = &t->slots[item];
	struct mount_kind kind;

	if (!mounts_any_remote(t->context->mounts))
		return;
	mounts_by_dev(t->context->mounts, dev, txn_item(t->txn, item)->path,
		      &kind);
	slot->remote |= kind.remote;
}

static int stat_opened(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t k = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		struct take_slot *slot = &t->slots[acts[i].item];

		if (slot->fd >= 0)
			t->ops[k++] = (struct op){ .kind = OP_STAT,
						   .flags = remote_flag(slot),
						   .fd = slot->fd };
	}
	r = run(t, k);
	k = 0;
	for (size_t i = 0; i < n && !r; i++) {
		struct take_slot *slot = &t->slots[acts[i].item];
		struct txn_event *e = event_add(t, &acts[i]);

		if (slot->fd >= 0) {
			judge_type(e, &t->ops[k++]);
			note_kind(t, acts[i].item, e->id.dev);
			if (e->res)
				slot->fd = fd_close(slot->fd);
		} else {
			/* A socket has no regular file behind it either. */
			e->res = slot->fd == -ENXIO ? 0 : slot->fd;
		}
	}
	return r;
}

static int do_open(struct take *t, const struct txn_act *acts, size_t n)
{
	int r = 0;

	if (t->n_events == 0 && t->places.n && !t->places_opened) {
		t->places_opened = true;
		r = open_places(t);
		if (!r && t->n >= RESERVE_FROM)
			r = engine_reserve(t->context->engine, t->n);
		if (r)
			return r;
	}
	for (size_t i = 0; i < n; i++)
		prepare_open(t, acts[i].item, &t->ops[i]);
	r = run(t, n);
	if (!r)
		r = open_leavers(t, acts, n);
	return r ? r : stat_opened(t, acts, n);
}

static void prepare_lock(struct take *t, uint32_t item, struct op *op,
			 bool query)
{
	const struct take_slot *slot = &t->slots[item];
	bool shared = txn_item(t->txn, item)->mode == RES_SHARED;

	*op = (struct op){
		.kind = query ? OP_QUERY : OP_LOCK,
		.flags = remote_flag(slot),
		.fd = slot->fd,
		.lock = {
			.type = shared ? F_RDLCK : F_WRLCK,
			.start = query ? LOCK_BYTE_SUCCESSOR : LOCK_BYTE_OWNER,
			.len = 1,
		},
	};
}

static int judge_lock(const struct op *lock, const struct op *query)
{
	if (lock->res == -EAGAIN || lock->res == -EACCES)
		return TXN_BUSY;
	if (lock->res)
		return lock->res;
	if (query->res)
		return query->res;
	return query->lock.type == F_UNLCK ? 0 : TXN_BUSY;
}

/* Locks that were taken although the successor's byte is not free. */
static int drop_locks(struct take *t, const struct txn_act *acts, size_t n,
		      size_t first_event)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		if (t->events[first_event + i].res != TXN_BUSY)
			continue;
		prepare_lock(t, acts[i].item, &t->ops[k], false);
		t->ops[k++].kind = OP_UNLOCK;
	}
	return run(t, k);
}

/*
 * Locks that are local stand in pairs with their queries, so that the kernel
 * finds an inode's locks in the cache. Remote ones are two batches, since
 * operations on one descriptor must not overlap.
 */
static int do_lock(struct take *t, const struct txn_act *acts, size_t n)
{
	struct engine *engine = t->context->engine;
	size_t first = t->n_events, step = 2, query = 1;
	int r;

	for (size_t i = 0; i < n && step == 2; i++)
		if (t->slots[acts[i].item].remote)
			step = 1, query = n;
	for (size_t i = 0; i < n; i++) {
		struct op *op = &t->ops[i * step];

		prepare_lock(t, acts[i].item, op, false);
		prepare_lock(t, acts[i].item, op + query, true);
	}
	r = engine_run(engine, t->ops, n * step, t->context->deadline);
	if (!r && step == 1)
		r = engine_run(engine, t->ops + n, n, t->context->deadline);
	for (size_t i = 0; i < n && !r; i++) {
		const struct op *op = &t->ops[i * step];

		event_add(t, &acts[i])->res = judge_lock(op, op + query);
	}
	return r ? r : drop_locks(t, acts, n, first);
}

/* Verify one by one those whose place cannot answer for them. */
static int verify_alone(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t k = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		const struct take_slot *slot = &t->slots[acts[i].item];
		const char *path = txn_item(t->txn, acts[i].item)->path;

		if (!slot->alone && t->places.v[slot->place].armed)
			continue;
		t->op_items[k] = (uint32_t)(t->n_events - n + i);
		t->ops[k++] = (struct op){ .kind = OP_STAT_PATH,
					   .flags = remote_flag(slot),
					   .fd = AT_FDCWD,
					   .stat = { .path = path } };
	}
	r = run(t, k);
	for (size_t i = 0; i < k && !r; i++) {
		struct txn_event *e = &t->events[t->op_items[i]];
		const struct op *op = &t->ops[i];
		struct res_id id = { op->stat.out.dev, op->stat.out.ino };

		if (op->res == -ENOENT ||
		    (!op->res &&
		     !res_id_equal(id, txn_item(t->txn, e->item)->id)))
			e->res = TXN_REPLACED;
		else
			e->res = op->res;
	}
	return r;
}

static int do_verify(struct take *t, const struct txn_act *acts, size_t n)
{
	for (uint32_t i = 0; i < t->places.n; i++) {
		struct place *place = &t->places.v[i];

		place->armed = place->armed && place_unchanged(place);
	}
	for (size_t i = 0; i < n; i++)
		event_add(t, &acts[i]);
	return verify_alone(t, acts, n);
}

static int add_refusal(void *arg, const struct holder_answer *answer)
{
	struct take *t = arg;
	struct txn_event *e = &t->events[t->op_items[answer->ask]];

	if (!answer->dying)
		e->holder = TXN_HOLDER_LIVE;
	if (t->refused.n == t->cap_refused) {
		size_t cap = MAX(2 * t->cap_refused, 8);
		void *p = realloc(t->refused_items,
				  cap * sizeof(*t->refused_items));

		if (!p)
			return -ENOMEM;
		t->refused_items = p;
		t->cap_refused = cap;
	}
	t->refused_items[t->refused.n] = e->item;
	return conflict_add(&t->refused, &answer->who);
}

static int do_recall(struct take *t, const struct txn_act *acts, size_t n)
{
	int r = own_load(t);

	for (size_t i = 0; i < n && !r; i++)
		event_add(t, &acts[i])->holder = own_recall(t, acts[i].item);
	return r;
}

/* First our own guest's leases, then whoever else it may be. */
static int do_inquire(struct take *t, const struct txn_act *acts, size_t n)
{
	_cleanup_(freep) struct holder_ask *asks = NULL;
	size_t first = t->n_events, k = 0;
	int r;

	asks = calloc(n, sizeof(*asks));
	if (!asks)
		return -ENOMEM;
	r = do_recall(t, acts, n);
	conflict_clear(&t->refused);
	for (size_t i = 0; i < n && !r; i++) {
		const struct txn_item *item = txn_item(t->txn, acts[i].item);
		struct txn_event *e = &t->events[first + i];

		if (e->holder != TXN_HOLDER_NONE)
			continue;
		e->holder = TXN_HOLDER_FADING;
		t->op_items[k] = (uint32_t)(first + i);
		asks[k++] = (struct holder_ask){
			.id = item->id,
			.path = item->path,
			.mode = item->mode,
			.fd = t->slots[acts[i].item].fd,
			.remote = t->slots[acts[i].item].remote
		};
	}
	return r || !k ? r
		       : holders_find(t->context, asks, k,
				      deadline_in_ms(SEARCH_MS), add_refusal,
				      t);
}

static int do_pause(struct take *t, const struct txn_act *act)
{
	uint64_t now = clock_now(), end = t->context->deadline;
	uint64_t ns = act->delay_ms * NSEC_PER_MSEC;
	struct timespec ts;

	event_add(t, act);
	if (now >= end)
		return 0;
	ns = MIN(ns, end - now);
	ts = (struct timespec){ .tv_sec = (time_t)(ns / NSEC_PER_SEC),
				.tv_nsec = (long)(ns % NSEC_PER_SEC) };
	nanosleep(&ts, NULL);
	return engine_take_cancel(t->context->engine) ? -ECANCELED : 0;
}

static int do_park(struct take *t, const struct txn_act *act)
{
	int r = own_park(t);

	if (r == -ENOMEM)
		return r;
	t->park_error = r;
	event_add(t, act)->res = r > 0 ? -ENOSPC : r;
	return 0;
}

/* Closing a file of a remote file system is a round trip, so those overlap. */
static void close_remote(struct take *t, const uint32_t *items, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		struct take_slot *slot = &t->slots[items[i]];

		if (slot->fd >= 0 && slot->remote)
			t->ops[k++] = (struct op){ .kind = OP_CLOSE,
						   .flags = OP_REMOTE,
						   .fd = TAKE_FD(slot->fd) };
	}
	if (run(t, k))
		for (size_t i = 0; i < k; i++)
			fd_close(t->ops[i].fd);
}

void take_close_items(struct take *t, const uint32_t *items, size_t n)
{
	size_t k = 0;

	close_remote(t, items, n);
	for (size_t i = 0; i < n; i++)
		if (t->slots[items[i]].fd >= 0)
			t->fds[k++] = TAKE_FD(t->slots[items[i]].fd);
	engine_close_many(t->context->engine, t->fds, k);
}

void take_close(struct take *t, const struct txn_act *acts, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		if (acts[i].what == TXN_DO_CLOSE)
			t->op_items[k++] = acts[i].item;
	take_close_items(t, t->op_items, k);
}

static int do_close(struct take *t, const struct txn_act *acts, size_t n)
{
	take_close(t, acts, n);
	for (size_t i = 0; i < n; i++)
		event_add(t, &acts[i]);
	return 0;
}

static int perform_kind(struct take *t, const struct txn_act *acts, size_t n)
{
	switch (acts->what) {
	case TXN_DO_OPEN:
		return do_open(t, acts, n);
	case TXN_DO_LOCK:
		return do_lock(t, acts, n);
	case TXN_DO_VERIFY:
		return do_verify(t, acts, n);
	case TXN_DO_INQUIRE:
		return do_inquire(t, acts, n);
	case TXN_DO_RECALL:
		return do_recall(t, acts, n);
	case TXN_DO_PAUSE:
		return do_pause(t, acts);
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
