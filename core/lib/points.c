/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lock_dir.h"

#include "core/base/util.h"
#include "core/capsule/device.h"
#include "core/lib/device.h"
#include "core/lib/lease_file.h"
#include "core/lib/lost.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * Lock points of a disk beside the disk itself: files that are made when they
 * are not there, and removed when nobody needs them, by the rules of
 * lease_file.c, if they are not a device's (device.c). They are opened when it
 * is known what the disk is, so after it; all second points in one batch, then
 * all third ones.
 */

static struct take_more *more_of(struct take_slot *slot)
{
	if (!slot->more) {
		slot->more = zalloc(1, sizeof(*slot->more));
		if (slot->more)
			slot->more->rival.fd = -1;
	}
	return slot->more;
}

int take_point_add(struct take_slot *slot, const struct op_stat *st, char *path,
		   bool remote)
{
	struct take_more *more = more_of(slot);

	if (!more || more->n_points == ARRAY_SIZE(more->points)) {
		free(path);
		return more ? -ENOSPC : -ENOMEM;
	}
	more->file = (struct res_id){ st->dev, st->ino };
	more->points[more->n_points++] = (struct take_point){
		.fd = -1,
		.remote = remote,
		.path = path,
	};
	return 0;
}

static void rival_done(struct take_rival *rival)
{
	if (rival->fd >= 0)
		fd_close(rival->fd);
	free(rival->how);
	*rival = (struct take_rival){ .fd = -1 };
}

void take_clear_rival(struct take_slot *slot)
{
	if (slot->more)
		rival_done(&slot->more->rival);
}

int take_set_rival(struct take *t, struct txn_event *e,
		   struct take_rival *rival)
{
	struct take_slot *slot = &t->slots[e->item];
	bool fresh = !slot->more;
	struct take_more *more = more_of(slot);

	if (!more) {
		rival_done(rival);
		return -ENOMEM;
	}
	if (fresh)
		more->file = txn_item(t->txn, e->item)->id;
	rival_done(&more->rival);
	more->rival = *rival;
	e->res = TXN_BUSY;
	return 0;
}

void take_points_free(struct take_slot *slot)
{
	struct take_more *more = slot->more;

	slot->blamed = 0;
	if (!more)
		return;
	for (unsigned i = 0; i < more->n_points; i++) {
		fd_close(more->points[i].fd);
		free(more->points[i].path);
	}
	rival_done(&more->rival);
	free(more->trouble);
	free(more);
	slot->more = NULL;
}

/* The file that excludes all others from a device is its first further point.
 */
static int add_device_point(struct take *t, struct take_slot *slot,
			    const struct op_stat *st)
{
	uint64_t rdev = makedev(st->rdev_major, st->rdev_minor);
	char *path = device_lock_path(t->context, device_id(slot->fd, rdev));
	int r;

	if (!t->host_dir_made) {
		device_make_dir(t->context);
		t->host_dir_made = true;
	}
	r = path ? take_point_add(slot, st, path, false) : -ENOMEM;
	if (!r)
		slot->more->points[slot->more->n_points - 1].stays = true;
	return r;
}

int take_points_of(struct take *t, uint32_t item, const struct op_stat *st)
{
	struct take_slot *slot = &t->slots[item];
	int r = S_ISBLK(st->mode) ? add_device_point(t, slot, st) : 0;

	return r ? r : lock_dir_points(t, item, st);
}

/* Some of the events of a step, and one point of each. */
struct some {
	struct take *t;
	size_t first, n; /* events */
	unsigned point;
	int (*take_answer)(struct take_point *point, const struct op *op);
};

static struct take_point *point_of(const struct some *some, size_t event)
{
	const struct txn_event *e = &some->t->events[event];
	const struct take_slot *slot = &some->t->slots[e->item];

	if (e->res || some->point >= take_n_points(slot))
		return NULL;
	return &slot->more->points[some->point - 1];
}

/* Run @what on each of them; its path is the point's. */
static int run(const struct some *some, const struct op *what)
{
	struct take *t = some->t;
	size_t k = 0;
	int r;

	for (size_t i = some->first; i < some->first + some->n; i++) {
		const struct take_point *point = point_of(some, i);
		struct op *op = &t->ops[k];

		if (!point)
			continue;
		*op = *what;
		op->flags |= point->remote ? OP_REMOTE : 0;
		if (what->kind == OP_STAT)
			op->fd = point->fd;
		else if (what->kind == OP_STAT_PATH)
			op->stat.path = point->path;
		else
			op->open.path = point->path;
		if (what->kind == OP_OPEN)
			op->open.flags |= take_is_shared(t, t->events[i].item)
						  ? O_RDONLY
						  : O_RDWR;
		k++;
	}
	r = take_run(t, k);
	k = 0;
	for (size_t i = some->first; i < some->first + some->n && !r; i++) {
		struct take_point *point = point_of(some, i);
		struct txn_event *e = &t->events[i];

		if (!point)
			continue;
		e->res = some->take_answer(point, &t->ops[k++]);
		if (e->res)
			t->slots[e->item].blamed = (uint8_t)some->point;
	}
	return r;
}

static unsigned max_points(const struct take *t, size_t first, size_t n)
{
	unsigned max = 1;

	for (size_t i = first; i < first + n; i++)
		max = MAX(max, take_n_points(&t->slots[t->events[i].item]));
	return max;
}

static int take_fd(struct take_point *point, const struct op *op)
{
	point->fd = op->res;
	return MIN(op->res, 0);
}

static int take_file(struct take_point *point, const struct op *op)
{
	point->file = (struct res_id){ op->stat.out.dev, op->stat.out.ino };
	point->settled = lost_is_settled(op->stat.out.mode);
	if (!op->res && !S_ISREG(op->stat.out.mode))
		return -EINVAL;
	return op->res;
}

static bool is_open_device(const struct take *t, const struct txn_event *e)
{
	return !e->res && res_id_is_device(e->id) && t->slots[e->item].more;
}

static bool is_unsettled(const struct take *t, const struct txn_event *e)
{
	return is_open_device(t, e) && !take_point(t, e->item, 1).settled;
}

static int compare_devices(const void *a, const void *b)
{
	const struct res_id *x = a, *y = b;

	return x->dev < y->dev ? -1 : x->dev > y->dev;
}

/* Those that were just made, or not long ago, have others beside them. */
static int settle_devices(struct take *t, size_t first, size_t n)
{
	_cleanup_(freep) struct res_id *ids = NULL;
	size_t n_ids = 0;

	for (size_t i = first; i < first + n; i++) {
		const struct txn_event *e = &t->events[i];

		if (is_open_device(t, e))
			device_hand_over(take_point(t, e->item, 1).fd,
					 t->slots[e->item].fd);
		if (!is_unsettled(t, e))
			continue;
		if (!ids)
			ids = calloc(n, sizeof(*ids));
		if (!ids)
			return -ENOMEM;
		ids[n_ids++] = e->id;
	}
	if (!n_ids)
		return 0;
	qsort(ids, n_ids, sizeof(*ids), compare_devices);
	if (device_tidy(t->context, ids, n_ids))
		return 0;
	for (size_t i = first; i < first + n; i++)
		if (is_unsettled(t, &t->events[i]))
			t->slots[t->events[i].item].more->was_other = true;
	return 0;
}

int take_open_points(struct take *t, size_t first, size_t n)
{
	static const struct op open = {
		.kind = OP_OPEN,
		.fd = AT_FDCWD,
		.open = { .flags = O_CREAT | O_NOFOLLOW | O_NOCTTY |
				   O_NONBLOCK },
	};
	static const struct op stat = { .kind = OP_STAT };
	struct some some = { .t = t, .first = first, .n = n };
	unsigned max = max_points(t, first, n);
	int r = 0;

	for (some.point = 1; some.point < max && !r; some.point++) {
		some.take_answer = take_fd;
		r = run(&some, &open);
		some.take_answer = take_file;
		if (!r)
			r = run(&some, &stat);
	}
	return r ? r : settle_devices(t, first, n);
}

static int check_name(struct take_point *point, const struct op *op)
{
	const struct res_id named = { op->stat.out.dev, op->stat.out.ino };

	if (op->res == -ENOENT)
		return TXN_REPLACED;
	if (op->res)
		return op->res;
	return res_id_equal(named, point->file) ? 0 : TXN_REPLACED;
}

/* The device may have gone, and another one have its number. */
static void check_device(const struct take *t, struct txn_event *e)
{
	struct res_id id = txn_item(t->txn, e->item)->id;
	uint64_t seq;

	if (e->res || !res_id_is_device(id))
		return;
	seq = sysfs_diskseq(t->context->sysfs, res_id_rdev(id));
	if (seq && seq != id.ino)
		e->res = TXN_REPLACED;
}

int take_verify_points(struct take *t, size_t first, size_t n)
{
	static const struct op look = { .kind = OP_STAT_PATH, .fd = AT_FDCWD };
	struct some some = {
		.t = t, .first = first, .n = n, .take_answer = check_name
	};
	unsigned max = max_points(t, first, n);
	int r = 0;

	for (some.point = 1; some.point < max && !r; some.point++)
		r = run(&some, &look);
	for (size_t i = first; max > 1 && i < first + n && !r; i++)
		check_device(t, &t->events[i]);
	return r;
}

void take_remove_points(struct take *t, uint32_t item)
{
	const struct take_slot *slot = &t->slots[item];

	if (take_is_shared(t, item))
		return;
	for (unsigned i = 1; i < take_n_points(slot); i++) {
		const struct take_point *point = &slot->more->points[i - 1];

		if (point->fd >= 0 && !point->remote && !point->stays)
			lease_file_remove(point->fd, point->path);
	}
}
