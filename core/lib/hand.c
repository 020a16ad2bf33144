/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/hand.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/lib/holders.h"

#include <fcntl.h>
#include <string.h>

/*
 * Every operation goes through duplicates of the parked descriptors, so it is
 * the guest's own lock that changes. As long as they are open they keep the
 * leases of a guest that dies meanwhile: nobody may sleep with them for long.
 *
 * Where a lock is a round trip, a part of the call's time is kept for undoing
 * what was done when the rest is over. Elsewhere that takes no time.
 */

#define UNDO_MS 500
#define SEARCH_MS 2000 /* for the holders of refused disks */

static uint8_t flags_of(struct glk_context *context,
			const struct capsule_lease *lease, unsigned point)
{
	struct mount_kind kind = {};

	if (mounts_any_remote(context->mounts))
		mounts_by_dev(context->mounts, lease->files[point].dev, NULL,
			      &kind);
	return kind.remote ? OP_REMOTE : 0;
}

static void add_points(struct hand *h, const struct capsule_lease *lease)
{
	for (unsigned i = 0; i < lease->n_fds; i++) {
		uint32_t marks = lease->mode == RES_SHARED
					 ? HAND_SHARED
					 : HAND_ROLE(lease->roles[i]);

		h->points[h->n++] = (struct hand_point){
			.lease = lease,
			.fd = lease->fds[i],
			.file = lease->files[i],
			.flags = flags_of(h->guest->context, lease, i),
			.marks = marks,
		};
		h->roles |= marks;
	}
}

static int alloc_points(struct hand *h)
{
	size_t n = CAPSULE_POINTS_MAX * h->contents.n_leases + 1;

	h->points = calloc(n, sizeof(*h->points));
	h->ops = calloc(n, sizeof(*h->ops));
	h->op_points = calloc(n, sizeof(*h->op_points));
	return h->points && h->ops && h->op_points ? 0 : -ENOMEM;
}

static uint64_t time_to_undo(const struct hand *h)
{
	uint64_t ms = MIN(UNDO_MS, h->guest->context->timeout_ms / 4);

	for (size_t i = 0; i < h->n; i++)
		if (h->points[i].flags & OP_REMOTE)
			return ms * NSEC_PER_MSEC;
	return 0;
}

static int wait_for_turn(struct glk_guest *guest, int *ret_turn)
{
	int r = capsule_turn(guest->capsule, guest->context->deadline,
			     ret_turn);

	if (r == CAPSULE_E_BUSY)
		return context_fail(guest->context, -ETIME,
				    "somebody else is migrating the guest");
	return r ? guest_fail(guest, r, "cannot migrate the guest") : 0;
}

int hand_load(struct glk_guest *guest, struct hand *ret_hand)
{
	_cleanup_(hand_done) struct hand h = HAND_NULL;
	uint64_t deadline = guest->context->deadline;
	int r;

	h.guest = guest;
	r = wait_for_turn(guest, &h.turn);
	if (r)
		return r;
	r = guest_list(guest, deadline, &h.contents);
	if (r)
		return guest_fail(guest, r, "cannot read the guest's leases");
	if (alloc_points(&h))
		return context_no_memory(guest->context);
	for (size_t i = 0; i < h.contents.n_leases; i++)
		add_points(&h, &h.contents.leases[i]);
	h.deadline = deadline - time_to_undo(&h);
	*ret_hand = h;
	h = HAND_NULL;
	return 0;
}

void hand_over_turn(struct hand *h)
{
	h->turn = capsule_turn_over(h->turn);
}

/* The turn ends last, when nothing of the guest's is open here any more. */
void hand_done(struct hand *h)
{
	capsule_contents_done(&h->contents);
	free(h->points);
	free(h->ops);
	free(h->op_points);
	hand_over_turn(h);
	*h = HAND_NULL;
}

static int judge(const struct op *op)
{
	if (op->kind == OP_LOCK && (op->res == -EAGAIN || op->res == -EACCES))
		return HAND_E_BUSY;
	if (op->kind == OP_QUERY && !op->res && op->lock.type != F_UNLCK)
		return HAND_E_BUSY;
	return op->res;
}

static int worse(int a, int b)
{
	if (a == -ECANCELED || b == -ECANCELED)
		return -ECANCELED;
	return a < 0 || !b ? a : b;
}

int hand_run(struct hand *h, uint32_t marks, const struct op *what)
{
	struct engine *engine = h->guest->context->engine;
	size_t n = 0;
	int r;

	for (size_t i = 0; i < h->n; i++) {
		if (!(h->points[i].marks & marks))
			continue;
		h->ops[n] = *what;
		h->ops[n].fd = h->points[i].fd;
		h->ops[n].flags |= h->points[i].flags;
		h->op_points[n++] = (uint32_t)i;
	}
	r = n ? engine_run(engine, h->ops, n, h->deadline) : 0;
	for (size_t i = 0; i < n; i++) {
		struct hand_point *point = &h->points[h->op_points[i]];

		point->res = judge(&h->ops[i]);
		if (!h->undoing)
			point->error = point->res;
		r = worse(r, point->res);
	}
	return r;
}

void hand_mark(struct hand *h, uint32_t marks, bool well, uint32_t set,
	       uint32_t clear)
{
	for (size_t i = 0; i < h->n; i++) {
		struct hand_point *point = &h->points[i];

		if (point->marks & marks && !point->res == well)
			point->marks = (point->marks | set) & ~clear;
	}
}

struct hand_point *hand_find(const struct hand *h, uint32_t marks)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->points[i].marks & marks)
			return &h->points[i];
	return NULL;
}

void hand_undo(struct hand *h)
{
	h->undoing = true;
	h->deadline = h->guest->context->deadline;
}

int hand_pause(struct hand *h, uint64_t ms)
{
	uint64_t now = clock_now(), ns = ms * NSEC_PER_MSEC;
	struct timespec ts;

	if (now >= h->deadline)
		return -ETIME;
	ns = MIN(ns, h->deadline - now);
	ts = (struct timespec){ .tv_sec = (time_t)(ns / NSEC_PER_SEC),
				.tv_nsec = (long)(ns % NSEC_PER_SEC) };
	nanosleep(&ts, NULL);
	return engine_take_cancel(h->guest->context->engine) ? -ECANCELED : 0;
}

/* Conflicts of the disks that were refused, while they are looked for. */
struct blame {
	struct hand *hand;
	struct holder_ask *asks;
	size_t n;
};

static int add_blame(void *arg, const struct holder_answer *answer)
{
	struct blame *blame = arg;
	const struct holder_ask *ask = &blame->asks[answer->ask];
	struct glk_conflict who = answer->who;

	/* Our own duplicates of what the guest holds. */
	if (who.kind == GLK_CONFLICT_PROCESS && who.pid == getpid())
		return 0;
	who.mode = (int)ask->mode;
	return conflict_add(&blame->hand->guest->context->conflicts, &who);
}

static bool has_conflict(const struct glk_context *context, const char *path)
{
	for (size_t i = 0; i < context->conflicts.n; i++)
		if (!strcmp(context->conflicts.items[i].path, path))
			return true;
	return false;
}

/* By another of its points. They stand together. */
static bool is_blamed(const struct blame *blame,
		      const struct capsule_lease *lease)
{
	return blame->n && blame->asks[blame->n - 1].path == lease->path;
}

static int find_blame(struct blame *blame)
{
	struct hand *h = blame->hand;
	struct glk_context *context = h->guest->context;
	int r;

	for (size_t i = 0; i < h->n; i++) {
		const struct hand_point *point = &h->points[i];

		if (point->error == HAND_E_BUSY &&
		    !is_blamed(blame, point->lease))
			blame->asks[blame->n++] = (struct holder_ask){
				.id = point->lease->id,
				.file = point->file,
				.path = point->lease->path,
				.mode = RES_EXCLUSIVE,
				.fd = point->fd,
				.own = h->guest->capsule,
				.remote = point->flags & OP_REMOTE,
			};
	}
	r = holders_find(context, blame->asks, blame->n,
			 deadline_in_ms(SEARCH_MS), add_blame, blame);
	for (size_t i = 0; i < blame->n && !r; i++) {
		struct glk_conflict unknown = { .path = blame->asks[i].path };

		if (!has_conflict(context, unknown.path))
			r = conflict_add(&context->conflicts, &unknown);
	}
	return r;
}

static int fail_busy(struct hand *h)
{
	struct glk_context *context = h->guest->context;
	_cleanup_(freep) struct holder_ask *asks =
		calloc(h->n + 1, sizeof(*asks));
	struct blame blame = { h, asks, 0 };
	const struct glk_conflict *first;
	char held[6000];
	int r;

	if (!asks)
		return context_no_memory(context);
	r = find_blame(&blame);
	if (r) {
		conflict_clear(&context->conflicts);
		return context_fail(context, r, "%s", strerror(-r));
	}
	first = &context->conflicts.items[0];
	conflict_describe(first, held, sizeof(held));
	return context_fail(context, -EBUSY, "%s: %s", quoted(first->path),
			    held);
}

int hand_fail(struct hand *h, int e)
{
	struct glk_context *context = h->guest->context;
	const char *text = e == -ETIME ? TEXT_TOO_SLOW : strerror(abs(e));

	if (e == HAND_E_BUSY)
		return fail_busy(h);
	for (size_t i = 0; i < h->n; i++)
		if (h->points[i].error == e)
			return context_fail(context, e, "%s: %s",
					    quoted(h->points[i].lease->path),
					    text);
	return context_fail(context, e, "%s", text);
}
