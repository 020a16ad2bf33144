/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/txn_fake.h"

#include "core/base/util.h"
#include "tests/lib/test.h"

#include <string.h>

#define STEPS_MAX 500

void fake_init(struct fake *fake, bool guest_runs, uint32_t grace_ms)
{
	struct txn_config config = { guest_runs, grace_ms, false };

	*fake = (struct fake){};
	assert_int_equal(txn_new(&config, &fake->txn), 0);
}

void fake_init_waiting(struct fake *fake, bool guest_runs)
{
	struct txn_config config = { guest_runs, 0, true };

	*fake = (struct fake){ .waits = true };
	assert_int_equal(txn_new(&config, &fake->txn), 0);
}

void fake_done(struct fake *fake)
{
	fake->txn = txn_free(fake->txn);
}

struct fake_plan *fake_add(struct fake *fake, enum res_mode mode)
{
	size_t i = txn_count(fake->txn);

	assert_true(i < FAKE_MAX);
	assert_int_equal(txn_add(fake->txn, "disk", mode), 0);
	return &fake->plan[i];
}

static void perform_open(struct fake *fake, struct txn_event *e)
{
	struct fake_plan *plan = &fake->plan[e->item];

	assert_false(fake->open[e->item]);
	e->res = plan->open;
	if (e->res)
		return;
	fake->open[e->item] = true;
	e->type = plan->not_a_file ? (enum res_type)(plan->not_a_file - 1)
				   : RES_TYPE_FILE;
	e->id.dev = 1;
	e->id.ino = plan->ino ? plan->ino : 1000 + e->item;
}

static void perform_lock(struct fake *fake, struct txn_event *e)
{
	struct fake_plan *plan = &fake->plan[e->item];

	assert_true(fake->open[e->item] && !fake->locked[e->item]);
	e->res = plan->lock;
	if (!e->res && plan->busy) {
		plan->busy--;
		e->res = TXN_BUSY;
	}
	fake->locked[e->item] = !e->res;
}

static void perform_unlock(struct fake *fake, struct txn_event *e)
{
	assert_true(fake->open[e->item] && fake->locked[e->item]);
	e->res = fake->plan[e->item].unlock;
	fake->locked[e->item] = e->res != 0;
}

/* Whoever waits has nothing that comes after what he waits for. */
static void perform_wait(struct fake *fake, struct txn_event *e)
{
	struct fake_plan *plan = &fake->plan[e->item];
	struct res_id id = txn_item(fake->txn, e->item)->id;
	unsigned n = fake->asked[e->item][TXN_DO_WAIT] - 1;

	assert_true(fake->open[e->item] && !fake->locked[e->item]);
	for (size_t i = 0; i < txn_count(fake->txn); i++)
		assert_false(fake->locked[i] &&
			     !res_id_before(txn_item(fake->txn, i)->id, id));
	e->res = n < ARRAY_SIZE(plan->waits) ? plan->waits[n] : 0;
	if (e->res == TXN_AGAIN && plan->next_ino)
		plan->ino = plan->next_ino;
	fake->locked[e->item] = !e->res;
}

static void perform_rest(struct fake *fake, const struct txn_act *act,
			 struct txn_event *e)
{
	for (size_t i = 0; i < txn_count(fake->txn); i++)
		assert_false(fake->locked[i]);
	assert_true(act->delay_ms > 0 && act->delay_ms <= 50);
	fake->rested_ms += act->delay_ms;
	e->res = fake->rest;
	if (++fake->n_rests == fake->late_after)
		e->res = TXN_LATE;
}

static void perform_verify(struct fake *fake, struct txn_event *e)
{
	struct fake_plan *plan = &fake->plan[e->item];

	assert_true(fake->open[e->item]);
	e->res = plan->verify;
	if (e->res || !plan->replaced)
		return;
	plan->replaced--;
	if (plan->next_ino)
		plan->ino = plan->next_ino;
	e->res = TXN_REPLACED;
}

static void perform_recall(struct fake *fake, struct txn_event *e)
{
	struct fake_plan *plan = &fake->plan[e->item];

	assert_true(fake->locked[e->item] || fake->waits);
	e->res = plan->recall;
	e->holder = plan->recall_holder == TXN_HOLDER_LIVE
			    ? TXN_HOLDER_NONE
			    : plan->recall_holder;
}

static void perform_pause(struct fake *fake, const struct txn_act *act,
			  struct txn_event *e)
{
	e->res = fake->pause;
	assert_true(act->delay_ms > 0);
	fake->paused_ms += act->delay_ms;
	fake->last_pause_ms = act->delay_ms;
	fake->longest_pause_ms = MAX(fake->longest_pause_ms, act->delay_ms);
}

static void perform_park(struct fake *fake, struct txn_event *e)
{
	e->res = fake->park;
	fake->parked = 0;
	for (size_t i = 0; i < txn_count(fake->txn); i++) {
		enum txn_item_state state = txn_item(fake->txn, i)->state;

		assert_true(state == TXN_ITEM_VERIFIED ||
			    state == TXN_ITEM_ALREADY);
		assert_int_equal(fake->locked[i], state == TXN_ITEM_VERIFIED);
		fake->parked += state == TXN_ITEM_VERIFIED;
	}
}

struct txn_event fake_perform(struct fake *fake, const struct txn_act *act)
{
	struct txn_event e = { .what = act->what, .item = act->item };

	fake->did[act->what]++;
	fake->asked[act->item][act->what]++;
	switch (act->what) {
	case TXN_DO_OPEN:
		perform_open(fake, &e);
		break;
	case TXN_DO_LOCK:
		perform_lock(fake, &e);
		break;
	case TXN_DO_UNLOCK:
		perform_unlock(fake, &e);
		break;
	case TXN_DO_WAIT:
		perform_wait(fake, &e);
		break;
	case TXN_DO_REST:
		perform_rest(fake, act, &e);
		break;
	case TXN_DO_VERIFY:
		perform_verify(fake, &e);
		break;
	case TXN_DO_INQUIRE:
		assert_true(fake->open[act->item] && !fake->locked[act->item]);
		e.res = fake->plan[act->item].inquire;
		e.holder = fake->plan[act->item].holder;
		break;
	case TXN_DO_RECALL:
		perform_recall(fake, &e);
		break;
	case TXN_DO_PAUSE:
		perform_pause(fake, act, &e);
		break;
	case TXN_DO_PARK:
		perform_park(fake, &e);
		break;
	case TXN_DO_CLOSE:
		e.res = fake->plan[act->item].close;
		fake->open[act->item] = fake->locked[act->item] = false;
		break;
	default:
		fail_msg("no such act: %d", act->what);
	}
	return e;
}

void fake_begin(struct fake *fake)
{
	assert_int_equal(txn_begin(fake->txn, &fake->acts, &fake->n_acts), 0);
}

void fake_step(struct fake *fake)
{
	struct txn_event events[FAKE_MAX + 1];
	size_t n = fake->n_acts;

	assert_true(n <= ARRAY_SIZE(events));
	for (size_t i = 0; i < n; i++)
		events[fake->backwards ? n - 1 - i : i] =
			fake_perform(fake, &fake->acts[i]);
	assert_int_equal(txn_step(fake->txn, events, n, &fake->acts,
				  &fake->n_acts),
			 0);
	assert_true(++fake->steps < STEPS_MAX);
}

static void check_end(const struct fake *fake)
{
	bool held = txn_outcome(fake->txn) == TXN_HELD;

	for (size_t i = 0; i < txn_count(fake->txn); i++) {
		const struct txn_item *item = txn_item(fake->txn, i);

		assert_int_equal(fake->open[i], item->state == TXN_ITEM_HELD);
		assert_int_equal(held, item->state == TXN_ITEM_HELD ||
					       item->state == TXN_ITEM_ALREADY);
		assert_int_equal(item->state == TXN_ITEM_FAILED,
				 item->error != 0);
	}
}

static enum txn_outcome run_on(struct fake *fake)
{
	while (fake->n_acts) {
		assert_int_equal(txn_outcome(fake->txn), TXN_RUNNING);
		fake_step(fake);
	}
	assert_int_not_equal(txn_outcome(fake->txn), TXN_RUNNING);
	check_end(fake);
	return txn_outcome(fake->txn);
}

enum txn_outcome fake_run(struct fake *fake)
{
	fake_begin(fake);
	return run_on(fake);
}

void fake_run_to(struct fake *fake, enum txn_do what)
{
	fake_begin(fake);
	while (fake->acts[0].what != what) {
		fake_step(fake);
		assert_true(fake->n_acts > 0);
	}
}

void fake_abort(struct fake *fake, int error)
{
	txn_abort(fake->txn, error, &fake->acts, &fake->n_acts);
	run_on(fake);
}
