/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/actor.h"

#include "core/base/util.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* 9 rounds of opens, the pauses of the grace time, and the undoing. */
#define STEPS_MAX 120
/* Each wait is a tick at least, and begins 9 new rounds of opens. */
#define STEPS_MAX_WAITING 20000
#define WAIT_MAX 200 /* ticks */
#define GRACE_MS 100

static void count(struct actor *a, enum actor_count what)
{
	a->counts[what]++;
}

static void take_acts(struct actor *a, const struct txn_act *acts, size_t n)
{
	WORLD_CHECK(a->w, n <= a->n + 1);
	for (size_t i = 0; i < n; i++)
		a->acts[i] = acts[i];
	memset(a->events, 0, sizeof(a->events));
	a->n_acts = n;
	a->n_done = 0;
	a->pause_until = 0;
	a->slice_until = 0;
	WORLD_CHECK(a->w,
		    ++a->steps < (a->waits ? STEPS_MAX_WAITING : STEPS_MAX));
	if (a->w->trace)
		printf("%5u actor %d guest %d: %s, %zu acts\n", a->w->tick,
		       a->id, a->guest, txn_phase_name(a->txn), n);
}

static bool guest_wants(const struct actor *a)
{
	struct sim_guest *guest = &a->w->guests[a->guest];

	if (guest->life == GUEST_NONE) {
		guest->life = GUEST_STARTING;
		return true;
	}
	return guest->life == GUEST_ALIVE && guest->busy < 2 &&
	       !a->waiting.for_ever;
}

void actor_start(struct actor *a)
{
	struct world *w = a->w;
	struct txn_config config = {};
	const struct txn_act *acts;
	bool shared;
	size_t n;

	a->guest = (int)world_random(w, N_GUESTS);
	if (!guest_wants(a))
		return;
	w->guests[a->guest].busy++;
	config.guest_runs = w->guests[a->guest].life == GUEST_ALIVE;
	config.grace_ms = world_chance(w, 3) ? 0 : GRACE_MS;
	config.wait = a->waits = a->waiting.for_ever || world_chance(w, 2);
	a->wait_until = a->waiting.for_ever
				? UINT_MAX
				: w->tick + world_random(w, WAIT_MAX);
	WORLD_CHECK(w, !txn_new(&config, &a->txn));
	a->n = world_random(w, N_DISKS + 1);
	a->steps = 0;
	a->parked = false;
	shared = world_chance(w, 3);
	for (size_t i = 0; i < a->n; i++) {
		a->path[i] = world_random(w, N_PATHS);
		a->desc[i] = -1;
		a->verified[i] = 0;
		WORLD_CHECK(w, !txn_add(a->txn, "",
					shared != (!a->waiting.for_ever &&
						   world_chance(w, 20))
						? RES_SHARED
						: RES_EXCLUSIVE));
	}
	WORLD_CHECK(w, !txn_begin(a->txn, &acts, &n));
	take_acts(a, acts, n);
}

static int random_error(struct world *w)
{
	static const int errors[] = {
		EPERM,	ENOENT, EINTR,	EIO,	EAGAIN, ENOMEM, EACCES,	  EBUSY,
		EEXIST, EMFILE, ENOSPC, ENOLCK, ETIME,	ESTALE, ECANCELED
	};

	return -errors[world_random(w, ARRAY_SIZE(errors))];
}

static void do_open(struct actor *a, struct txn_event *e)
{
	struct world *w = a->w;

	WORLD_CHECK(w, a->desc[e->item] < 0);
	e->res = world_open(w, a->path[e->item],
			    txn_item(a->txn, e->item)->mode, a->id);
	if (e->res < 0)
		return;
	a->desc[e->item] = e->res;
	e->type = !a->waiting.for_ever && world_chance(w, 200) ? RES_TYPE_BLOCK
							       : RES_TYPE_FILE;
	e->id = (struct res_id){ 1, w->descs[e->res].ino };
	e->res = 0;
}

static void do_verify(struct actor *a, struct txn_event *e)
{
	const struct world *w = a->w;
	uint64_t ino = w->descs[a->desc[e->item]].ino;

	e->res = w->paths[a->path[e->item]] == ino ? 0 : TXN_REPLACED;
	if (e->res)
		count(a, COUNT_REPLACED);
	else
		a->verified[e->item] = ino;
}

/* Who waits holds nothing that comes after what it waits for. */
static void check_order(const struct actor *a, uint64_t ino)
{
	for (size_t i = 0; i < a->n; i++) {
		const struct desc *desc;

		if (a->desc[i] < 0)
			continue;
		desc = &a->w->descs[a->desc[i]];
		WORLD_CHECK(a->w, !desc->locked || desc->ino < ino);
	}
}

static void do_wait(struct actor *a, struct txn_event *e)
{
	struct world *w = a->w;
	int *d = &a->desc[e->item];

	check_order(a, w->descs[*d].ino);
	WORLD_CHECK(w, !w->descs[*d].locked);
	if (a->wait_until <= w->tick)
		e->res = TXN_LATE;
	else if (world_chance(w, a->waiting.rest_one_in))
		e->res = TXN_BUSY;
	else if (!world_lock(w, *d))
		e->res = TXN_AGAIN;
	count(a, !e->res	      ? COUNT_WAITED
		 : e->res == TXN_LATE ? COUNT_LATE
				      : COUNT_AGAIN);
	/* It may yet be granted, to nobody. */
	if (e->res && world_chance(w, 3))
		world_lock_late(w, TAKE_FD(*d));
}

static void do_rest(struct actor *a, struct txn_event *e)
{
	check_order(a, 0);
	count(a, COUNT_RESTED);
	if (a->wait_until <= a->w->tick)
		e->res = TXN_LATE;
}

static void do_park(struct actor *a, struct txn_event *e)
{
	struct sim_guest *guest = &a->w->guests[a->guest];

	WORLD_CHECK(a->w, !a->parked);
	if (guest->life == GUEST_FADING) {
		e->res = -ESRCH;
		return;
	}
	guest->life = GUEST_ALIVE;
	a->parked = true;
	for (size_t i = 0; i < a->n; i++) {
		enum txn_item_state state = txn_item(a->txn, i)->state;

		WORLD_CHECK(a->w, state == TXN_ITEM_VERIFIED ||
					  state == TXN_ITEM_ALREADY);
		if (state != TXN_ITEM_VERIFIED)
			continue;
		WORLD_CHECK(a->w, a->desc[i] >= 0);
		world_park(a->w, TAKE_FD(a->desc[i]), a->guest);
		count(a, COUNT_PARKED);
	}
}

static void do_close(struct actor *a, struct txn_event *e)
{
	if (a->desc[e->item] >= 0)
		world_close(a->w, TAKE_FD(a->desc[e->item]));
}

/* Acts on a descriptor: the transaction knows that it is open. */
static void do_with_desc(struct actor *a, struct txn_event *e)
{
	struct world *w = a->w;
	int d = a->desc[e->item];

	WORLD_CHECK(w, d >= 0);
	switch (e->what) {
	case TXN_DO_LOCK:
		WORLD_CHECK(w, !w->descs[d].locked);
		e->res = world_lock(w, d) ? 0 : TXN_BUSY;
		break;
	case TXN_DO_UNLOCK:
		world_unlock(w, d);
		count(a, COUNT_YIELDED);
		break;
	case TXN_DO_WAIT:
		do_wait(a, e);
		break;
	case TXN_DO_VERIFY:
		do_verify(a, e);
		break;
	case TXN_DO_INQUIRE:
		e->holder = world_inquire(w, d, a->guest);
		break;
	case TXN_DO_RECALL:
		e->holder = world_recall(w, d, a->guest);
		break;
	default:
		world_fail(w, "no such act");
	}
}

static bool act_fails(struct actor *a, struct txn_event *e)
{
	if (!world_chance(a->w, a->w->fault_one_in))
		return false;
	count(a, COUNT_FAULTS);
	if ((e->what == TXN_DO_LOCK || e->what == TXN_DO_WAIT) &&
	    world_chance(a->w, 2))
		world_lock(a->w, a->desc[e->item]);
	e->res = random_error(a->w);
	return true;
}

static void perform(struct actor *a, size_t i)
{
	struct txn_event *e = &a->events[i];

	*e = (struct txn_event){ .what = a->acts[i].what,
				 .item = a->acts[i].item };
	a->n_done++;
	if (e->what == TXN_DO_CLOSE)
		do_close(a, e);
	if (act_fails(a, e) || e->what == TXN_DO_CLOSE)
		return;
	if (e->what == TXN_DO_OPEN)
		do_open(a, e);
	else if (e->what == TXN_DO_PARK)
		do_park(a, e);
	else if (e->what == TXN_DO_PAUSE)
		count(a, COUNT_PAUSED);
	else if (e->what == TXN_DO_REST)
		do_rest(a, e);
	else
		do_with_desc(a, e);
}

bool actor_is_blocked(const struct actor *a)
{
	return a->txn && a->n_acts && a->acts[0].what == TXN_DO_WAIT &&
	       !a->n_done && !world_may_lock(a->w, a->desc[a->acts[0].item]);
}

/* A lock comes as soon as nobody is in its way; who has waited for a while
   looks anew. */
static bool wait_lasts(struct actor *a)
{
	const struct world *w = a->w;

	if (!a->slice_until)
		a->slice_until = w->tick + 1 + a->waiting.slice;
	return w->tick < MIN(a->slice_until, a->wait_until) &&
	       actor_is_blocked(a);
}

/* Not yet if it is a pause or a wait that lasts. */
static void perform_some(struct actor *a)
{
	size_t i = world_random(a->w, (uint32_t)a->n_acts);

	while (a->events[i].what)
		i = (i + 1) % a->n_acts;
	if (a->acts[i].what == TXN_DO_WAIT && wait_lasts(a))
		return;
	if (a->acts[i].what == TXN_DO_PAUSE || a->acts[i].what == TXN_DO_REST) {
		if (!a->pause_until)
			a->pause_until = a->w->tick + a->acts[i].delay_ms;
		if (a->w->tick < a->pause_until)
			return;
	}
	perform(a, i);
}

static void check_items(const struct actor *a, bool held)
{
	const struct world *w = a->w;

	for (size_t i = 0; i < a->n; i++) {
		const struct txn_item *item = txn_item(a->txn, i);
		bool good = item->state == TXN_ITEM_HELD ||
			    item->state == TXN_ITEM_ALREADY;

		WORLD_CHECK(w, good == held);
		WORLD_CHECK(w, a->desc[i] < 0);
		WORLD_CHECK(w, (item->state == TXN_ITEM_FAILED) ==
				       (item->error != 0));
		WORLD_CHECK(w, good || item->state == TXN_ITEM_FAILED ||
				       item->state == TXN_ITEM_UNDONE);
		if (!held || w->guests[a->guest].life != GUEST_ALIVE)
			continue;
		/* What the path named while it was verified is held now. */
		WORLD_CHECK(w, a->verified[i] == item->id.ino);
		WORLD_CHECK(w,
			    world_holds(w, a->guest, item->id.ino, item->mode));
	}
}

static void count_items(struct actor *a)
{
	for (size_t i = 0; i < a->n; i++) {
		const struct txn_item *item = txn_item(a->txn, i);

		if (item->state == TXN_ITEM_ALREADY)
			count(a, item->same_as == UINT32_MAX ? COUNT_HAD
							     : COUNT_SAME);
		if (item->error == -ESTALE)
			count(a, COUNT_STALE);
	}
}

static void check_refusal(const struct actor *a)
{
	unsigned failed = 0, other = 0;

	for (size_t i = 0; i < a->n; i++) {
		int error = txn_item(a->txn, i)->error;

		failed += error != 0;
		other += error != 0 && error != -EBUSY;
	}
	if (txn_outcome(a->txn) == TXN_REFUSED)
		WORLD_CHECK(a->w, failed && !other && !txn_error(a->txn));
	else
		WORLD_CHECK(a->w, other || txn_error(a->txn));
}

static void finish(struct actor *a)
{
	struct sim_guest *guest = &a->w->guests[a->guest];
	bool held = txn_outcome(a->txn) == TXN_HELD;

	WORLD_CHECK(a->w, txn_outcome(a->txn) != TXN_RUNNING);
	WORLD_CHECK(a->w, held == a->parked);
	check_items(a, held);
	if (!held)
		check_refusal(a);
	for (int d = 0; d < N_DESCS; d++)
		WORLD_CHECK(a->w, a->w->descs[d].owner != OWNER_ACTOR ||
					  a->w->descs[d].id != a->id);
	count_items(a);
	count(a, (enum actor_count)(txn_outcome(a->txn) - TXN_HELD));
	guest->busy--;
	if (guest->life == GUEST_STARTING)
		guest->life = GUEST_NONE;
	a->txn = txn_free(a->txn);
}

static void feed_wrong(struct actor *a)
{
	struct txn_event wrong[N_DISKS + 2] = {};
	const struct txn_act *acts;
	size_t n = a->n_acts, n_acts;
	struct world *w = a->w;

	memcpy(wrong, a->events, sizeof(a->events));
	switch (world_random(w, 4)) {
	case 0:
		n--;
		break;
	case 1:
		wrong[n++] = wrong[0];
		break;
	case 2:
		wrong[world_random(w, (uint32_t)n)].item += N_DISKS;
		break;
	case 3:
		wrong[world_random(w, (uint32_t)n)].res = TXN_LATE + 1;
		break;
	}
	WORLD_CHECK(w, txn_step(a->txn, wrong, n, &acts, &n_acts) == -EPROTO);
	count(a, COUNT_PROTOCOL);
}

static void feed(struct actor *a)
{
	const struct txn_act *acts;
	size_t n = a->n_acts;

	if (world_chance(a->w, a->w->fault_one_in))
		feed_wrong(a);
	for (size_t i = n; i > 1; i--) {
		size_t j = world_random(a->w, (uint32_t)i);
		struct txn_event e = a->events[i - 1];

		a->events[i - 1] = a->events[j];
		a->events[j] = e;
	}
	WORLD_CHECK(a->w, !txn_step(a->txn, a->events, n, &acts, &n));
	if (n)
		take_acts(a, acts, n);
	else
		finish(a);
}

/* What is under way ends when nobody waits any more, or never began. */
static void lose(struct actor *a)
{
	for (size_t i = 0; i < a->n_acts; i++) {
		uint32_t item = a->acts[i].item;

		if (a->events[i].what || world_chance(a->w, 2))
			continue;
		if (a->acts[i].what == TXN_DO_LOCK ||
		    a->acts[i].what == TXN_DO_WAIT)
			world_lock_late(a->w, TAKE_FD(a->desc[item]));
	}
}

static void give_up(struct actor *a)
{
	const struct txn_act *acts;
	size_t n;

	lose(a);
	count(a, COUNT_ABORTED);
	txn_abort(a->txn, random_error(a->w), &acts, &n);
	if (n)
		take_acts(a, acts, n);
	else
		finish(a);
}

void actor_act(struct actor *a)
{
	bool decided = a->n_acts && a->acts[0].what == TXN_DO_PARK && a->n_done;

	if (!decided && a->w->fault_one_in &&
	    world_chance(a->w, 4 * a->w->fault_one_in))
		give_up(a);
	else if (a->n_done < a->n_acts)
		perform_some(a);
	else
		feed(a);
}
