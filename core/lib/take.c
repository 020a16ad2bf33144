/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/take.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/lib/lease_file.h"
#include "core/lib/lock_dir.h"
#include "core/lib/plain.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/*
 * Where the pure transaction (core/lease/txn.h) meets the engine and the
 * capsule: perform its acts, feed it the answers, and in the end turn its
 * outcome into one errno, one sentence and a list of conflicts.
 */

static void take_done(struct take *t)
{
	for (size_t i = 0; t->slots && i < t->n; i++) {
		fd_close(t->slots[i].fd);
		take_points_free(&t->slots[i]);
	}
	fd_close(t->opened_before);
	txn_free(t->txn);
	places_done(&t->places);
	conflict_clear(&t->refused);
	conflict_clear(&t->warnings);
	free(t->refused_items);
	free(t->mine);
}

/* One block: for a single disk, allocating is what costs. Only the slots have
   to be zero. */
static int take_alloc(struct take *t)
{
	size_t room = t->n + 1;
	char *at;

	at = context_scratch(t->context, room,
			     OP_ERRAND_MAX * sizeof(*t->ops) +
				     sizeof(*t->events) + sizeof(*t->slots) +
				     sizeof(*t->parcels) +
				     2 * sizeof(*t->op_items) + sizeof(*t->fds),
			     places_size(t->n));
	if (!at)
		return -ENOMEM;
	places_init(&t->places, t->n, at);
	at += places_size(t->n);
	t->ops = (struct op *)at;
	t->events = (struct txn_event *)(t->ops + OP_ERRAND_MAX * room);
	t->slots = (struct take_slot *)(t->events + room);
	t->parcels = (struct capsule_parcel *)(t->slots + room);
	t->op_items = (uint32_t *)(t->parcels + room);
	t->fds = (int *)(t->op_items + 2 * room);
	memset(t->slots, 0, t->n * sizeof(*t->slots));
	for (size_t i = 0; i < t->n; i++)
		t->slots[i].fd = -1;
	return 0;
}

/* @opened is taken over, whatever happens. */
static int take_init(struct take *t, struct glk_guest *guest, size_t n,
		     int opened)
{
	struct txn_config config = {
		.guest_runs = guest_state(&guest->sm) != GUEST_TAKING,
		.grace_ms = MIN(GRACE_MS, guest->context->timeout_ms),
		.wait = guest->context->policy.wait_ms > 0,
	};
	int r;

	*t = (struct take){
		.guest = guest,
		.context = guest->context,
		.opened_before = opened,
		.n = n,
		.wait_left = guest->context->policy.wait_ms * NSEC_PER_MSEC,
		.incoming = guest->incoming &&
			    guest_state(&guest->sm) == GUEST_TAKING,
	};
	r = n > UINT32_MAX / 4 ? -ENOMEM : take_alloc(t);
	return r ? r : txn_new(&config, &t->txn);
}

/* The policy may be to take no read-only disk at all; a lease is no disk. */
static bool is_skipped(const struct glk_context *context,
		       const struct wanted_disk *disk)
{
	return disk->readonly && disk->type != RES_TYPE_LEASE &&
	       context->policy.flags & GLK_POLICY_SKIP_READONLY;
}

static size_t count_taken(const struct glk_context *context,
			  const struct wanted_disk *disks, size_t n)
{
	size_t taken = 0;

	for (size_t i = 0; i < n; i++)
		taken += !is_skipped(context, &disks[i]);
	return taken;
}

static int take_add(struct take *t, const struct wanted_disk *disks)
{
	int r = 0;

	for (size_t i = 0; i < t->n && !r; disks++) {
		struct take_slot *slot = &t->slots[i];

		if (is_skipped(t->context, disks))
			continue;
		slot->place = places_find(&t->places, disks->path, &slot->base);
		slot->type = disks->type;
		slot->claim = disks->claim;
		r = txn_add(t->txn, disks->path, disks->mode);
		i++;
	}
	return r;
}

static int take_drive(struct take *t)
{
	const struct txn_act *acts;
	size_t n;
	int r;

	r = txn_begin(t->txn, &acts, &n);
	while (!r && n) {
		t->n_events = 0;
		r = take_perform(t, acts, n);
		if (!r)
			r = txn_step(t->txn, t->events, t->n_events, &acts, &n);
	}
	if (r) {
		txn_abort(t->txn, r, &acts, &n);
		take_close(t, acts, n);
	}
	return r;
}

/* What is special about a lease file, or NULL. */
static const char *lease_text(const struct txn_item *item)
{
	static _Thread_local char text[PATH_MAX + 64];
	size_t len = lease_file_dir(item->path);

	switch (-item->error) {
	case ENOENT:
		snprintf(text, sizeof(text), "there is no directory %.*s",
			 len ? (int)len : 1, len ? item->path : ".");
		return quoted(text);
	case ELOOP:
		return "it is a symbolic link, or behind too many of them";
	case EISDIR:
		return "it is a directory, and no lease";
	case EOPNOTSUPP:
		return item->type == RES_TYPE_LEASE
			       ? NULL
			       : "it is no regular file, and no lease";
	default:
		return NULL;
	}
}

static const char *item_text(const struct txn_item *item)
{
	switch (-item->error) {
	case EOPNOTSUPP:
		if (item->type == RES_TYPE_FILE || item->type == RES_TYPE_LEASE)
			return "its file system does not support locks";
		return "no regular file and no block device";
	case EEXIST:
		return item->same_as == UINT32_MAX
			       ? "the guest holds it already, in another mode"
			       : "wanted both exclusive and shared";
	case ESTALE:
		return "was replaced again and again while it was being "
		       "locked";
	case ETIME:
		return TEXT_TOO_SLOW;
	default:
		return strerror(-item->error);
	}
}

static int report_weak(struct take *t, const char *path, const char *more)
{
	const struct mount_kind *kind = &t->weak;
	int least = t->context->policy.require_scope;

	return context_fail(t->context, -EXDEV,
			    "%s: a lease on it has the scope '%s' (%s%s%s%s), "
			    "and '%s' is required%s",
			    quoted(path), res_scope_name(kind->scope), kind->fs,
			    kind->option ? ", mounted with " : "",
			    kind->option ? kind->option : "",
			    kind->twofold ? ", mounted twice" : "",
			    res_scope_name((enum res_scope)least), more);
}

/* About the lock file of a device. */
static const char *device_text(const struct take_point *point, int error)
{
	static _Thread_local char text[2 * PATH_MAX];

	if (error != -EACCES)
		return lock_dir_text(point->path, error);
	snprintf(text, sizeof(text),
		 "lock file %s: this user may not make or open it",
		 point->path);
	return quoted(text);
}

/* What is special about the lock file that failed, or NULL. */
static const char *point_text(const struct take *t, size_t i)
{
	const struct take_slot *slot = &t->slots[i];
	const struct take_point *point;
	int error = txn_item(t->txn, i)->error;

	if (!slot->blamed || slot->blamed >= take_n_points(slot) ||
	    error == -EBUSY || error == -EEXIST || error == -ESTALE)
		return NULL;
	point = &slot->more->points[slot->blamed - 1];
	return point->signs ? lock_dir_text(point->path, error)
			    : device_text(point, error);
}

/* What can be said beyond the error of the item, or NULL. */
static const char *special_text(const struct take *t, size_t i)
{
	const struct txn_item *item = txn_item(t->txn, i);
	const struct take_slot *slot = &t->slots[i];

	if (item->error == -EINVAL && slot->claim && !slot->more)
		return "only a block device can be claimed";
	if (item->error == -EEXIST && slot->unclaimed)
		return item->same_as == UINT32_MAX
			       ? "the guest holds it already, without a claim"
			       : "wanted both with and without a claim";
	if (slot->more && slot->more->trouble)
		return slot->more->trouble;
	return slot->type == RES_TYPE_LEASE ? lease_text(item)
					    : point_text(t, i);
}

static const struct glk_conflict *refusal_of(const struct take *t, size_t i)
{
	for (size_t c = 0; c < t->refused.n; c++)
		if (t->refused_items[c] == i)
			return &t->refused.items[c];
	return NULL;
}

/* One holder of a lock stands for all of them; of openers each is told. */
static int add_conflicts(struct take *t, size_t i)
{
	const struct txn_item *item = txn_item(t->txn, i);
	struct glk_conflict c = { .path = item->path, .mode = (int)item->mode };
	size_t told = 0;
	int r = 0;

	for (size_t k = 0; k < t->refused.n && !r; k++) {
		if (t->refused_items[k] != i || (told && !t->opened))
			continue;
		c = t->refused.items[k];
		c.mode = (int)item->mode;
		r = conflict_add(&t->context->conflicts, &c);
		told++;
	}
	return r || told ? r : conflict_add(&t->context->conflicts, &c);
}

/* The item that the message shall speak of: not a conflict if there is
   anything worse. */
static size_t worst_item(const struct take *t, size_t *ret_failed)
{
	size_t worst = SIZE_MAX;

	*ret_failed = 0;
	for (size_t i = 0; i < t->n; i++) {
		const struct txn_item *item = txn_item(t->txn, i);

		if (item->state != TXN_ITEM_FAILED)
			continue;
		++*ret_failed;
		if (worst == SIZE_MAX ||
		    (txn_item(t->txn, worst)->error == -EBUSY &&
		     item->error != -EBUSY))
			worst = i;
	}
	return worst;
}

static int report_items(struct take *t)
{
	struct glk_conflict unknown = {};
	const struct glk_conflict *refusal;
	const struct txn_item *item;
	const char *text;
	char more[48] = "", held[6000];
	size_t failed, worst = worst_item(t, &failed);
	int r = 0;

	if (worst == SIZE_MAX)
		return -ENOTRECOVERABLE;
	item = txn_item(t->txn, worst);
	if (failed > 1)
		snprintf(more, sizeof(more), " (and %zu more)", failed - 1);
	text = special_text(t, worst);
	if (item->error == -EXDEV && t->weak.fs[0])
		return report_weak(t, item->path, more);
	if (item->error != -EBUSY)
		return context_fail(t->context, item->error, "%s: %s%s",
				    quoted(item->path),
				    text ? text : item_text(item), more);
	for (size_t i = 0; i < t->n && !r; i++)
		if (txn_item(t->txn, i)->error == -EBUSY)
			r = add_conflicts(t, i);
	if (r)
		return r;
	refusal = refusal_of(t, worst);
	conflict_describe(refusal ? refusal : &unknown, held, sizeof(held));
	return context_fail(t->context, -EBUSY, "%s: %s%s", quoted(item->path),
			    held, more);
}

static int park_failed(struct take *t)
{
	static const char what[] = "cannot park the leases";

	/* Blocked until it was too late is as good as full. */
	if (t->park_error == CAPSULE_E_BUSY)
		return context_fail(t->context, -ENOSPC, "%s: %s", what,
				    capsule_strerror(t->park_error));
	if (t->park_error == -ESTALE)
		return context_fail(t->context, -ESTALE,
				    "%s: its lock file was deleted while it "
				    "was being locked",
				    quoted(txn_item(t->txn, t->astray)->path));
	return guest_fail(t->guest, t->park_error, what);
}

static int report_outcome(struct take *t)
{
	int error = txn_error(t->txn);

	if (txn_outcome(t->txn) == TXN_HELD) {
		conflict_clear(&t->context->conflicts);
		t->context->conflicts = t->warnings;
		t->warnings = (struct conflict_list){};
		return 0;
	}
	if (t->park_error)
		return park_failed(t);
	if (error)
		return context_fail(t->context, error, "%s", strerror(-error));
	return report_items(t);
}

static int take_by_transaction(struct glk_guest *guest,
			       const struct wanted_disk *disks, size_t n,
			       int opened)
{
	_cleanup_(take_done) struct take t = {};
	int r;

	r = take_init(&t, guest, count_taken(guest->context, disks, n), opened);
	if (!r)
		r = take_add(&t, disks);
	if (!r)
		r = take_drive(&t);
	return r ? r : report_outcome(&t);
}

int take_disks(struct glk_guest *guest, const struct wanted_disk *disks,
	       size_t n)
{
	int opened = -1;
	int r = n == 1 ? plain_take(guest, disks, &opened) : PLAIN_E_NOT;

	if (r == PLAIN_E_NOT)
		r = take_by_transaction(guest, disks, n, opened);
	if (r && !guest->context->message)
		context_fail(guest->context, r, "%s", strerror(-r));
	return r;
}
