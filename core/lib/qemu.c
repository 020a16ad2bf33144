/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/qemu.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/capsule/proc.h"
#include "core/lib/family.h"
#include "core/lib/look.h"

#include <fcntl.h>

/*
 * A QEMU that was started by hand asked nobody for the disk. It shows by its
 * own locks, so each disk is asked about them once it is locked (lock.c). Who
 * comes later than that is not seen, and nothing but the QEMU's own look at our
 * guest's QEMU stops it.
 *
 * If there is one, more questions follow. To share a disk with others that
 * write is what shared leases are for, so a writer is in the way of one only if
 * it does not share: it holds 101 and 201, or 103 and 203. And it may be the
 * guest itself, which has had the disk open before somebody attached it, as
 * after a snapshot. So the processes are found, as holders of other locks are,
 * in /proc/PID/fdinfo. One that cannot be found is taken for another's.
 */

#define SEARCH_MS 2000

static const char how[] = "has it open as a QEMU image";

struct question {
	long start, len;
};

static const struct question questions[] = {
	{ QEMU_BYTES_START, QEMU_BYTES_LEN },
	{ 101, 1 }, /* writes */
	{ 201, 1 }, /* and nobody else may */
	{ 103, 1 }, /* resizes */
	{ 203, 1 },
};

static bool is_in_the_way(const struct qemu_ask *ask, unsigned yes)
{
	if (ask->mode == RES_EXCLUSIVE)
		return yes & 1;
	return (yes & 6) == 6 || (yes & 24) == 24;
}

static int put_question(struct glk_context *context,
			const struct qemu_ask *asks, struct op *ops, size_t n,
			const struct question *question, uint64_t deadline)
{
	for (size_t i = 0; i < n; i++)
		ops[i] = (struct op){
			.kind = OP_QUERY,
			.flags = asks[i].remote ? OP_REMOTE : 0,
			.fd = asks[i].fd,
			.lock = { .type = F_WRLCK,
				  .start = question->start,
				  .len = question->len },
		};
	return engine_run(context->engine, ops, n, deadline);
}

int qemu_probe(struct glk_context *context, struct qemu_ask *asks, size_t n,
	       uint64_t deadline)
{
	_cleanup_(freep) struct op *ops = calloc(n + 1, sizeof(*ops));
	_cleanup_(freep) uint8_t *yes = calloc(n + 1, sizeof(*yes));
	int r = 0;

	if (!ops || !yes)
		return -ENOMEM;
	for (size_t q = 0; q < ARRAY_SIZE(questions) && !r; q++) {
		r = put_question(context, asks, ops, n, &questions[q],
				 deadline);
		for (size_t i = 0; i < n && !r; i++) {
			if (ops[i].res == -ECANCELED)
				r = -ECANCELED;
			if (ops[i].res || ops[i].lock.type != F_UNLCK)
				yes[i] |= (uint8_t)(1U << q);
		}
	}
	for (size_t i = 0; i < n && !r; i++)
		asks[i].taken = is_in_the_way(&asks[i], yes[i]);
	return r;
}

struct search {
	struct qemu_ask *asks;
	bool (*found)(void *arg, size_t ask, pid_t pid);
	void *arg;
};

static bool found_locker(void *arg, const struct proc_locker *locker)
{
	struct search *s = arg;
	size_t i = locker->point / QEMU_BYTES_LEN;
	struct qemu_ask *ask = &s->asks[i];

	if (ask->last == locker->pid)
		return false;
	ask->last = locker->pid;
	ask->found = true;
	return s->found(s->arg, i, locker->pid);
}

int qemu_find(struct qemu_ask *asks, size_t n, uint64_t deadline,
	      bool (*found)(void *arg, size_t ask, pid_t pid), void *arg)
{
	_cleanup_(freep) struct proc_point *points = NULL;
	struct search search = { asks, found, arg };
	bool any = false;

	points = calloc(QEMU_BYTES_LEN * n + 1, sizeof(*points));
	if (!points)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		/* Readers are not in the way of who wants to share. */
		long step = asks[i].mode == RES_SHARED ? 2 : 1;

		any |= asks[i].taken;
		for (long k = step - 1; asks[i].taken && k < QEMU_BYTES_LEN;
		     k += step)
			points[QEMU_BYTES_LEN * i + (size_t)k] =
				(struct proc_point){ asks[i].file,
						     QEMU_BYTES_START + k };
	}
	if (any)
		proc_find_lockers(points, QEMU_BYTES_LEN * n, deadline,
				  found_locker, &search);
	return 0;
}

static uint64_t search_deadline(const struct glk_context *context)
{
	return MIN(context->deadline, deadline_in_ms(SEARCH_MS));
}

static struct qemu_ask ask_of(const struct take *t, uint32_t event)
{
	uint32_t item = t->events[event].item;
	const struct take_point point = take_point(t, item, 0);

	return (struct qemu_ask){
		.file = point.file,
		.fd = point.fd,
		.remote = point.remote,
		.mode = txn_item(t->txn, item)->mode,
	};
}

/* Who has the disks, as qemu_look() wants to know. */
struct look {
	struct take *take;
	struct txn_event **events;
};

static bool found_other(void *arg, size_t ask, pid_t pid)
{
	struct look *look = arg;

	if (!family_has(look->take->guest, pid))
		look->events[ask]->res = TXN_BUSY;
	return false;
}

/* Those that are taken, and by nobody else than the guest's own, stay. */
static int judge(struct take *t, struct qemu_ask *asks,
		 struct txn_event **events, size_t n)
{
	struct look look = { t, events };
	uint64_t deadline = search_deadline(t->context);
	int r = qemu_probe(t->context, asks, n, deadline);

	if (!r)
		r = qemu_find(asks, n, deadline, found_other, &look);
	for (size_t i = 0; i < n && !r; i++) {
		struct take_slot *slot = &t->slots[events[i]->item];

		if (asks[i].taken && !asks[i].found)
			events[i]->res = TXN_BUSY;
		slot->qemu = events[i]->res == TXN_BUSY;
	}
	return r;
}

int qemu_look(struct take *t, size_t first, size_t n)
{
	_cleanup_(freep) struct txn_event **events = NULL;
	_cleanup_(freep) struct qemu_ask *asks = NULL;
	size_t k = 0;

	for (size_t i = first; i < first + n; i++)
		k += !t->events[i].res && t->slots[t->events[i].item].qemu;
	if (!k)
		return 0;
	asks = calloc(k, sizeof(*asks));
	events = calloc(k, sizeof(*events));
	if (!asks || !events)
		return -ENOMEM;
	k = 0;
	for (size_t i = first; i < first + n; i++) {
		struct txn_event *e = &t->events[i];

		if (e->res || !t->slots[e->item].qemu)
			continue;
		asks[k] = ask_of(t, (uint32_t)i);
		events[k++] = e;
	}
	return judge(t, asks, events, k);
}

struct inquiry {
	const struct qemu_ask *asks;
	const char *const *paths;
	const struct glk_guest *guest; /* is not in the way, or NULL */
	int (*report)(void *arg, const struct holder_answer *answer);
	void *arg;
	int error;
};

static int report_one(struct inquiry *q, size_t ask, pid_t pid)
{
	struct holder_answer answer = {
		.ask = ask,
		.mode = q->asks[ask].mode,
		.who = { .path = q->paths[ask], .how = how },
		/* One who cannot be seen may have ended meanwhile. */
		.dying = !pid || proc_is_dying(pid),
	};
	char exe[PATH_MAX];

	answer.who.mode = (int)answer.mode;
	if (pid)
		conflict_of_process(&answer.who, pid, exe);
	return q->report(q->arg, &answer);
}

static bool found_holder(void *arg, size_t ask, pid_t pid)
{
	struct inquiry *q = arg;

	if (!q->guest || !family_has(q->guest, pid))
		q->error = report_one(q, ask, pid);
	return q->error < 0;
}

static int inquire(struct glk_context *context, struct inquiry *q,
		   struct qemu_ask *asks, size_t n, uint64_t until)
{
	uint64_t deadline = MIN(until, search_deadline(context));
	int r = qemu_probe(context, asks, n, deadline);

	q->asks = asks;
	if (!r)
		r = qemu_find(asks, n, deadline, found_holder, q);
	if (!r)
		r = q->error;
	for (size_t i = 0; i < n && !r; i++)
		if (asks[i].taken && !asks[i].found)
			r = report_one(q, i, 0);
	return r;
}

int qemu_inquire(struct take *t, const uint32_t *events, size_t n,
		 int (*report)(void *arg, const struct holder_answer *answer),
		 void *arg)
{
	_cleanup_(freep) struct qemu_ask *asks = calloc(n + 1, sizeof(*asks));
	_cleanup_(freep) const char **paths = calloc(n + 1, sizeof(*paths));
	struct inquiry q = {
		.paths = paths,
		.guest = t->guest,
		.report = report,
		.arg = arg,
	};

	if (!asks || !paths)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		asks[i] = ask_of(t, events[i]);
		paths[i] = txn_item(t->txn, t->events[events[i]].item)->path;
	}
	return inquire(t->context, &q, asks, n, UINT64_MAX);
}

int qemu_holders(struct glk_context *context, const struct holder_ask *ask,
		 uint64_t until,
		 int (*report)(void *arg, const struct holder_answer *answer),
		 void *arg)
{
	struct qemu_ask asks[] = { {
		.file = ask->file,
		.fd = ask->fd,
		.remote = ask->remote,
		.mode = ask->mode,
	} };
	const char *paths[] = { ask->path };
	struct inquiry q = { .paths = paths, .report = report, .arg = arg };

	if (look_is_late(context))
		return 0;
	return inquire(context, &q, asks, 1, until);
}
