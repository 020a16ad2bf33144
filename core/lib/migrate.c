/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/hand.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/capsule/truth.h"
#include "core/lease/destination.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

/*
 * The steps of a migration: which bytes change, in which order. What they mean,
 * and why no order of two guests' steps lets two of them write, is in
 * core/lease/handover.h.
 *
 * A manager may be killed between any two locks, and another one goes on from
 * what it finds. So each step first looks at the role of every disk, does what
 * is missing, and takes no offence at what is done. Within a step:
 *
 * - prepare takes bytes 4 and 3 of all disks before it shares byte 0 of one.
 *   Killed before that, the disk counts as owned, and what is left on it is
 *   given up by the next step that ends as its owner, or used by the next
 *   prepare. Byte 2, which a guest that came here and was prepared at once may
 *   still have, goes last: without that nobody could claim the disk, and the
 *   next prepare tries again.
 * - out gives up byte 3, disk by disk. Those that have it still are as they
 *   were: out again gives up the rest, cancel takes the others back.
 * - in takes byte 3 of all disks without waiting, or of none; it waits with
 *   nothing in hand. Killed half-way, some have arrived and the guest has not:
 *   in again takes the rest, cancel lets go of all, and the source's cancel is
 *   refused until one of them was called. Then byte 0, then the rest: a disk
 *   whose byte 0 is whole is owned, whatever else is left on it.
 * - cancel of a source takes byte 3 of all disks before it makes byte 0 of one
 *   whole, which gives the rest up, so it may stop anywhere. While the
 *   destination has its share of byte 0, that remains to be done: by the next
 *   step, or never. The guest may use its disks all the same.
 * - cancel of a destination gives up each disk with one unlock, claimed ones
 *   last: as long as one is left, it is known what remains to be done.
 *
 * One manager at a time: two that say opposite things of one guest at once
 * would take each other's bytes away, and two that say the same, too, as soon
 * as one of them undoes what it could not do for all disks. So each step has a
 * turn (capsule_turn()), from before it reads the leases until it has closed
 * them; but not while it waits for the other side.
 */

#define GRACE_STEP_MS 5
#define SLICE_MS 200 /* a guest that died meanwhile keeps its disks so long */
#define LOOK_MS_MAX 4
#define SETTLE_TRIES 150
#define SETTLE_MS_MAX 2

#define OWNER HAND_ROLE(ROLE_OWNER)
#define PREPARED HAND_ROLE(ROLE_PREPARED)
#define LEFT HAND_ROLE(ROLE_LEFT)
#define INCOMING HAND_ROLE(ROLE_INCOMING)
#define ARRIVED HAND_ROLE(ROLE_ARRIVED)
#define NONE HAND_ROLE(ROLE_NONE)
#define SOURCE (OWNER | PREPARED | LEFT | ARRIVED)
#define DESTINATION (INCOMING | ARRIVED | OWNER)

#define SHARING HAND_MARK(0) /* byte 0 is not whole yet, and may become so */
#define WHOLE HAND_MARK(1)   /* it is */
#define AGAIN HAND_MARK(2)   /* has byte 2 as before */
#define UNCLAIMED HAND_MARK(3)
#define AWAITED HAND_MARK(4)

static const struct op lock_successor = {
	.kind = OP_LOCK,
	.lock = { .type = F_WRLCK, .start = LOCK_BYTE_SUCCESSOR, .len = 1 },
};
static const struct op lock_writer = {
	.kind = OP_LOCK,
	.lock = { .type = F_WRLCK, .start = LOCK_BYTE_WRITER, .len = 1 },
};
static const struct op lock_predecessor = {
	.kind = OP_LOCK,
	.lock = { .type = F_WRLCK, .start = LOCK_BYTE_PREDECESSOR, .len = 1 },
};
static const struct op share_owner = {
	.kind = OP_LOCK,
	.lock = { .type = F_RDLCK, .start = LOCK_BYTE_OWNER, .len = 1 },
};
static const struct op lock_owner = {
	.kind = OP_LOCK,
	.lock = { .type = F_WRLCK, .start = LOCK_BYTE_OWNER, .len = 1 },
};
static const struct op drop_successor = {
	.kind = OP_UNLOCK,
	.lock = { .start = LOCK_BYTE_SUCCESSOR, .len = 1 },
};
static const struct op drop_writer = {
	.kind = OP_UNLOCK,
	.lock = { .start = LOCK_BYTE_WRITER, .len = 1 },
};
static const struct op drop_predecessor = {
	.kind = OP_UNLOCK,
	.lock = { .start = LOCK_BYTE_PREDECESSOR, .len = 1 },
};
static const struct op drop_handover = {
	.kind = OP_UNLOCK,
	.lock = { .start = LOCK_HANDOVER_START, .len = LOCK_HANDOVER_LEN },
};
static const struct op drop_all = {
	.kind = OP_UNLOCK,
	.lock = { .start = LOCK_ALL_START, .len = LOCK_ALL_LEN },
};
static const struct op find_successor = {
	.kind = OP_QUERY,
	.lock = { .type = F_WRLCK, .start = LOCK_BYTE_SUCCESSOR, .len = 1 },
};
static const struct op find_writer = {
	.kind = OP_QUERY,
	.lock = { .type = F_WRLCK, .start = LOCK_BYTE_WRITER, .len = 1 },
};
static const struct op find_other_side = {
	.kind = OP_QUERY,
	.lock = { .type = F_WRLCK,
		  .start = LOCK_HANDOVER_START,
		  .len = LOCK_HANDOVER_LEN },
};

static int fail_at(struct hand *h, uint32_t marks, int error, const char *text)
{
	return context_fail(h->guest->context, error, "%s: %s",
			    quoted(hand_find(h, marks)->lease->path), text);
}

/* A server that keeps the locks itself leaves us in the dark. */
static int fail_none(struct hand *h)
{
	short type;

	if (truth_held(hand_find(h, NONE)->fd, LOCK_BYTE_OWNER, &type) ==
	    -EOPNOTSUPP)
		return fail_at(h, NONE, -EOPNOTSUPP,
			       "its file system does not tell whose a lock is");
	return fail_at(h, NONE, -ENOLCK, "its lock is gone");
}

/* No exclusive lease may be in another role than these. */
static int demand(struct hand *h, uint32_t roles, int error, const char *text)
{
	uint32_t others = h->roles & HAND_EXCLUSIVE & ~roles;

	if (others & NONE)
		return fail_none(h);
	return others ? fail_at(h, others, error, text) : 0;
}

/*
 * Byte 0 becomes whole again where the other side has gone. Somebody who wants
 * the disk shared may just be looking at it: try again, unless there is another
 * side. Where that does not end, the disk is the guest's all the same. Tries
 * are counted, not time: on a busy host who is looking waits for a processor as
 * long as we do.
 */
static void settle(struct hand *h)
{
	int r = HAND_E_BUSY;

	hand_undo(h);
	for (size_t i = 0; i < h->n; i++)
		if (h->points[i].marks & (PREPARED | LEFT | INCOMING | ARRIVED))
			h->points[i].marks |= SHARING;
	for (int i = 0; i < SETTLE_TRIES && r == HAND_E_BUSY; i++) {
		if (i && hand_pause(h, MIN((uint64_t)i, SETTLE_MS_MAX)))
			break;
		r = hand_run(h, SHARING, &lock_owner);
		hand_mark(h, SHARING, true, WHOLE, SHARING);
		if (r)
			hand_run(h, SHARING, &find_other_side);
		hand_mark(h, SHARING, false, 0, SHARING);
		if (!hand_find(h, SHARING))
			break;
	}
	hand_run(h, WHOLE | OWNER, &drop_handover);
}

/*
 * A source that had left takes its disks back. The destination holds byte 3 for
 * a moment each time that it looks for the rest of them.
 */
static int take_back(struct hand *h)
{
	uint64_t end =
		deadline_in_ms(MIN(GRACE_MS, h->guest->context->timeout_ms));
	int r = hand_run(h, LEFT, &lock_writer), paused = 0;

	while (r == HAND_E_BUSY && clock_now() < end && !paused) {
		paused = hand_pause(h, GRACE_STEP_MS);
		if (!paused)
			r = hand_run(h, LEFT, &lock_writer);
	}
	if (paused == -ECANCELED)
		return paused;
	return r ? r : hand_run(h, LEFT, &share_owner);
}

/* Where a destination was so quick as to claim a disk, that stays prepared. */
static void undo_prepare(struct hand *h)
{
	hand_undo(h);
	hand_run(h, OWNER, &lock_owner);
	hand_mark(h, OWNER, true, WHOLE, 0);
	hand_run(h, WHOLE, &drop_handover);
	hand_run(h, ARRIVED, &lock_successor);
	hand_mark(h, ARRIVED, true, AGAIN, 0);
	hand_run(h, AGAIN, &drop_predecessor);
	hand_run(h, LEFT, &drop_writer);
}

static int do_prepare(struct hand *h)
{
	int r = hand_run(h, SOURCE, &lock_predecessor);

	if (!r)
		r = hand_run(h, SOURCE & ~LEFT, &lock_writer);
	if (!r)
		r = take_back(h);
	if (!r)
		r = hand_run(h, SOURCE, &share_owner);
	if (!r)
		r = hand_run(h, SOURCE, &drop_successor);
	if (!r)
		return 0;
	undo_prepare(h);
	return hand_fail(h, r);
}

/* A lock of this host's alone says nothing to another one. */
static int check_reach(struct hand *h, const char *destination)
{
	char hostname[HOST_NAME_MAX + 1] = "";

	if (gethostname(hostname, sizeof(hostname) - 1))
		hostname[0] = '\0';
	if (destination_is_here(destination, hostname))
		return 0;
	for (size_t i = 0; i < h->n; i++) {
		const struct hand_point *point = &h->points[i];

		if (point->marks & HAND_EXCLUSIVE &&
		    point->lease->scope < RES_SCOPE_SERVER)
			return context_fail(h->guest->context, -EXDEV,
					    "%s: its lock does not reach "
					    "beyond this host, to %s",
					    quoted(point->lease->path),
					    quoted(destination));
	}
	return 0;
}

static int prepare(struct glk_guest *guest, const char *destination)
{
	_cleanup_(hand_done) struct hand h = HAND_NULL;
	int r;

	if (!destination || !*destination)
		return context_fail(guest->context, -EINVAL,
				    "no destination is named");
	r = hand_load(guest, &h);
	if (!r)
		r = demand(&h, SOURCE, -EINPROGRESS,
			   "the guest has not arrived yet");
	if (!r)
		r = check_reach(&h, destination);
	return r ? r : do_prepare(&h);
}

static bool reaches_others(struct hand *h, const struct hand_point *point)
{
	struct mount_kind kind;

	mounts_by_dev(h->guest->context->mounts, point->file.dev, NULL, &kind);
	return kind.scope >= RES_SCOPE_SERVER;
}

/* A destination on another host claims a disk by those of its points that reach
   there, and cannot know of the others. */
static void excuse_local(struct hand *h)
{
	for (size_t i = 0; i < h->n; i++) {
		struct hand_point *point = &h->points[i];
		bool claimed = false;

		if (!(point->marks & UNCLAIMED) || reaches_others(h, point))
			continue;
		for (size_t k = 0; k < h->n && !claimed; k++)
			claimed = h->points[k].lease == point->lease &&
				  h->points[k].marks & (PREPARED | LEFT) &&
				  !(h->points[k].marks & UNCLAIMED) &&
				  reaches_others(h, &h->points[k]);
		if (claimed)
			point->marks &= ~UNCLAIMED;
	}
}

static int leave(struct glk_guest *guest)
{
	_cleanup_(hand_done) struct hand h = HAND_NULL;
	int r;

	r = hand_load(guest, &h);
	if (!r)
		r = demand(&h, PREPARED | LEFT, -ENODATA,
			   "no migration was prepared");
	if (r)
		return r;
	r = hand_run(&h, PREPARED, &find_successor);
	if (r < 0)
		return hand_fail(&h, r);
	hand_mark(&h, PREPARED, true, UNCLAIMED, 0);
	excuse_local(&h);
	if (hand_find(&h, UNCLAIMED))
		return fail_at(&h, UNCLAIMED, -ENOTCONN,
			       "no destination has claimed it");
	r = hand_run(&h, PREPARED | LEFT, &drop_writer);
	if (!r)
		return 0;
	hand_undo(&h);
	hand_run(&h, PREPARED, &lock_writer);
	return hand_fail(&h, r);
}

/* Return: 0, HAND_E_BUSY if the source has not left, or negative errno. */
static int try_arrive(struct hand *h)
{
	int r;

	r = hand_run(h, INCOMING, &share_owner);
	if (r == HAND_E_BUSY) {
		hand_mark(h, INCOMING, false, UNCLAIMED, 0);
		return fail_at(h, UNCLAIMED, -ENOLCK, "its claim is gone");
	}
	if (!r)
		r = hand_run(h, INCOMING, &lock_writer);
	if (!r) {
		settle(h);
		return 0;
	}
	hand_mark(h, INCOMING, false, AWAITED, 0);
	hand_undo(h);
	hand_run(h, INCOMING, &drop_writer);
	return r == HAND_E_BUSY ? r : hand_fail(h, r);
}

/*
 * For one of those that could not be had, and for a while. It is only looked
 * at: to wait for a lock is to take it some time, without its being our turn.
 */
static int await_source(struct hand *h, uint64_t end)
{
	struct hand_point *point = hand_find(h, AWAITED);
	uint64_t ms = 1;
	int r;

	hand_over_turn(h);
	for (size_t i = 0; i < h->n; i++)
		if (&h->points[i] != point)
			h->points[i].marks &= ~AWAITED;
	h->deadline = MIN(end, deadline_in_ms(SLICE_MS));
	do {
		r = hand_run(h, AWAITED, &find_writer);
		if (r != HAND_E_BUSY)
			break;
		r = hand_pause(h, ms);
		ms = MIN(2 * ms, LOOK_MS_MAX);
	} while (!r);
	if (clock_now() >= end)
		return fail_at(h, AWAITED, -ETIME, "the source has not left");
	return r && r != -ETIME ? hand_fail(h, r) : 0;
}

static int arrive(struct glk_guest *guest)
{
	int r;

	do {
		_cleanup_(hand_done) struct hand h = HAND_NULL;
		uint64_t end;

		r = hand_load(guest, &h);
		if (!r)
			r = demand(&h, DESTINATION, -ENODATA,
				   "it has not been claimed");
		if (r)
			return r;
		end = h.deadline;
		r = try_arrive(&h);
		if (r != HAND_E_BUSY)
			return r;
		r = await_source(&h, end);
	} while (!r);
	return r;
}

static int let_go(struct hand *h)
{
	struct glk_guest *guest = h->guest;
	int r = hand_run(h, ~INCOMING, &drop_all);

	if (!r)
		r = hand_run(h, INCOMING, &drop_all);
	if (r)
		return hand_fail(h, r);
	hand_done(h);
	/* As after a detach: the locks are free whether or not this works. */
	capsule_compact(guest->capsule, guest->context->deadline);
	return 0;
}

static int cancel(struct glk_guest *guest)
{
	_cleanup_(hand_done) struct hand h = HAND_NULL;
	int r;

	r = hand_load(guest, &h);
	if (r)
		return r;
	if (h.roles & INCOMING)
		return let_go(&h);
	if (h.roles & ARRIVED && !(h.roles & (PREPARED | LEFT)))
		return fail_at(&h, ARRIVED, -EALREADY, "it has arrived");
	r = take_back(&h);
	if (!r) {
		settle(&h);
		return 0;
	}
	hand_undo(&h);
	hand_run(&h, LEFT, &drop_writer);
	return hand_fail(&h, r);
}

GLK_EXPORT int glk_guest_prepare(struct glk_guest *guest,
				 const char *destination)
{
	int r = change_begin(guest, GUEST_CALL_PREPARE);

	return r ? r : change_end(guest, prepare(guest, destination));
}

GLK_EXPORT int glk_guest_out(struct glk_guest *guest)
{
	int r = change_begin(guest, GUEST_CALL_OUT);

	return r ? r : change_end(guest, leave(guest));
}

GLK_EXPORT int glk_guest_in(struct glk_guest *guest)
{
	int r = change_begin(guest, GUEST_CALL_IN);

	return r ? r : change_end(guest, arrive(guest));
}

GLK_EXPORT int glk_guest_cancel(struct glk_guest *guest)
{
	int r = change_begin(guest, GUEST_CALL_CANCEL);

	return r ? r : change_end(guest, cancel(guest));
}
