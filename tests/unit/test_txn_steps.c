/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/txn.h"
#include "tests/lib/test.h"

#include "core/base/err.h"
#include "core/base/util.h"
#include "core/lease/answer.h"
#include "tests/unit/txn_fake.h"

#include <errno.h>
#include <string.h>

/* How a transaction is stepped, and what it does to a driver that is wrong. */

#define N_ITEMS 2

static void plan_busy(struct fake *fake, enum txn_holder holder)
{
	fake->plan[0].busy = FOREVER;
	fake->plan[0].holder = holder;
}

static void plan_nothing(struct fake *fake)
{
	(void)fake;
}

static void plan_live(struct fake *fake)
{
	plan_busy(fake, TXN_HOLDER_LIVE);
}

static void plan_fading(struct fake *fake)
{
	plan_busy(fake, TXN_HOLDER_FADING);
}

static void plan_again(struct fake *fake)
{
	plan_busy(fake, TXN_HOLDER_LIVE);
	fake->plan[0].waits[0] = TXN_AGAIN;
}

static void plan_rest(struct fake *fake)
{
	plan_busy(fake, TXN_HOLDER_LIVE);
	fake->plan[0].waits[0] = TXN_BUSY;
}

static void plan_replaced(struct fake *fake)
{
	fake->plan[0].replaced = 1;
}

/* Every situation in which a transaction waits for answers. */
static const struct situation {
	const char *phase;
	void (*plan)(struct fake *fake);
	enum txn_do waits_for;
	enum res_mode mode;
	bool waits;
} situations[] = {
	{ "opening", plan_nothing, TXN_DO_OPEN, RES_EXCLUSIVE },
	{ "locking", plan_nothing, TXN_DO_LOCK, RES_EXCLUSIVE },
	{ "inquiring", plan_live, TXN_DO_INQUIRE, RES_EXCLUSIVE },
	{ "inquiring", plan_nothing, TXN_DO_RECALL, RES_SHARED },
	{ "pausing", plan_fading, TXN_DO_PAUSE, RES_EXCLUSIVE },
	{ "verifying", plan_nothing, TXN_DO_VERIFY, RES_EXCLUSIVE },
	{ "shedding", plan_replaced, TXN_DO_CLOSE, RES_EXCLUSIVE },
	{ "parking", plan_nothing, TXN_DO_PARK, RES_EXCLUSIVE },
	{ "undoing", plan_live, TXN_DO_CLOSE, RES_EXCLUSIVE },
	{ "inquiring", plan_live, TXN_DO_RECALL, RES_EXCLUSIVE, true },
	{ "yielding", plan_live, TXN_DO_UNLOCK, RES_SHARED, true },
	{ "waiting", plan_live, TXN_DO_WAIT, RES_EXCLUSIVE, true },
	{ "yielding", plan_again, TXN_DO_CLOSE, RES_EXCLUSIVE, true },
	{ "resting", plan_rest, TXN_DO_REST, RES_EXCLUSIVE, true },
};

static void reach(struct fake *fake, const struct situation *s)
{
	if (s->waits)
		fake_init_waiting(fake, true);
	else
		fake_init(fake, true, 300);
	for (int i = 0; i < N_ITEMS; i++)
		fake_add(fake, s->mode);
	s->plan(fake);
	fake_run_to(fake, s->waits_for);
	assert_string_equal(txn_phase_name(fake->txn), s->phase);
}

static size_t right_answers(struct fake *fake, struct txn_event *events)
{
	for (size_t i = 0; i < fake->n_acts; i++)
		events[i] = fake_perform(fake, &fake->acts[i]);
	return fake->n_acts;
}

struct snapshot {
	struct txn_item items[N_ITEMS];
	const char *phase;
	enum txn_outcome outcome;
	int error;
};

static void snapshot_take(const struct fake *fake, struct snapshot *s)
{
	memset(s, 0, sizeof(*s));
	for (size_t i = 0; i < N_ITEMS; i++)
		memcpy(&s->items[i], txn_item(fake->txn, i),
		       sizeof(s->items[i]));
	s->phase = txn_phase_name(fake->txn);
	s->outcome = txn_outcome(fake->txn);
	s->error = txn_error(fake->txn);
}

/* Feed what is wrong; the transaction must not move, and go on when right. */
static void check_refused(struct fake *fake, const struct txn_event *wrong,
			  size_t n)
{
	const struct txn_act *acts = fake->acts;
	struct snapshot before, after;
	size_t n_acts = fake->n_acts;

	snapshot_take(fake, &before);
	assert_int_equal(txn_step(fake->txn, wrong, n, &acts, &n_acts),
			 -EPROTO);
	snapshot_take(fake, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_ptr_equal(acts, fake->acts);
	assert_int_equal(n_acts, fake->n_acts);
}

/* What each act may be answered with, as the header says. */
static bool is_an_answer(const struct txn_event *e)
{
	enum txn_holder h = e->holder;

	if (e->res < 0)
		return true;
	switch (e->what) {
	case TXN_DO_LOCK:
		return e->res == 0 || e->res == TXN_BUSY;
	case TXN_DO_WAIT:
		return e->res == 0 || e->res == TXN_BUSY ||
		       e->res == TXN_AGAIN || e->res == TXN_LATE;
	case TXN_DO_REST:
		return e->res == 0 || e->res == TXN_LATE;
	case TXN_DO_VERIFY:
		return e->res == 0 || e->res == TXN_REPLACED;
	case TXN_DO_INQUIRE:
		return e->res == 0 && h < TXN_HOLDER_NONE;
	case TXN_DO_RECALL:
		return e->res == 0 && h >= TXN_HOLDER_SELF &&
		       h <= TXN_HOLDER_NONE;
	default:
		return e->res == 0;
	}
}

static void try_one(const struct situation *s, size_t at,
		    const struct txn_event *odd)
{
	struct txn_event right[N_ITEMS + 1], wrong[N_ITEMS + 1];
	struct fake fake;
	size_t n;

	reach(&fake, s);
	n = right_answers(&fake, right);
	memcpy(wrong, right, sizeof(wrong));
	if (at < n) {
		wrong[at] = *odd;
		wrong[at].type = right[at].type;
		wrong[at].id = right[at].id;
		if (odd->what != right[at].what ||
		    odd->item != right[at].item || !is_an_answer(odd))
			check_refused(&fake, wrong, n);
		else
			memcpy(right, wrong, sizeof(right));
	}
	assert_int_equal(txn_step(fake.txn, right, n, &fake.acts, &fake.n_acts),
			 0);
	fake_done(&fake);
}

static void try_every_event(const struct situation *s, size_t at)
{
	static const int results[] = { 0,	  TXN_BUSY, TXN_REPLACED,
				       TXN_AGAIN, TXN_LATE, TXN_LATE + 1,
				       -EIO };
	struct txn_event e = {};

	for (unsigned what = 0; what <= TXN_DO_CLOSE + 1; what++) {
		e.what = (enum txn_do)what;
		for (e.item = 0; e.item <= N_ITEMS; e.item++) {
			for (size_t r = 0; r < ARRAY_SIZE(results); r++) {
				e.res = results[r];
				for (unsigned h = 0; h <= TXN_HOLDER_NONE + 1;
				     h++) {
					e.holder = (enum txn_holder)h;
					try_one(s, at, &e);
				}
			}
		}
	}
}

static void every_event_in_every_phase_is_an_answer_or_changes_nothing(
	void **state)
{
	(void)state;
	for (size_t s = 0; s < ARRAY_SIZE(situations); s++)
		for (size_t at = 0; at < N_ITEMS; at++)
			try_every_event(&situations[s], at);
}

static void too_few_too_many_or_repeated_answers_change_nothing(void **state)
{
	(void)state;
	for (size_t s = 0; s < ARRAY_SIZE(situations); s++) {
		struct txn_event events[N_ITEMS + 2] = {};
		struct fake fake;
		size_t n;

		reach(&fake, &situations[s]);
		n = right_answers(&fake, events);
		check_refused(&fake, events, n - 1);
		events[n] = events[0];
		check_refused(&fake, events, n + 1);
		events[0].item = UINT32_MAX;
		check_refused(&fake, events, n);
		events[0] = events[n];
		if (n > 1) {
			struct txn_event first = events[0];

			events[0] = events[1];
			check_refused(&fake, events, n);
			events[0] = first;
		}
		assert_int_equal(txn_step(fake.txn, events, n, &fake.acts,
					  &fake.n_acts),
				 0);
		fake_done(&fake);
	}
}

static void abort_in_every_phase_closes_everything(void **state)
{
	(void)state;
	for (size_t s = 0; s < ARRAY_SIZE(situations); s++) {
		for (int performed = 0; performed < 2; performed++) {
			struct txn_event ignored[N_ITEMS + 1];
			struct fake fake;

			reach(&fake, &situations[s]);
			if (performed && fake.acts[0].what != TXN_DO_PARK)
				right_answers(&fake, ignored);
			fake_abort(&fake, -ETIME);
			assert_int_equal(txn_outcome(fake.txn), TXN_FAILED);
			assert_int_equal(txn_error(fake.txn), -ETIME);
			for (size_t i = 0; i < N_ITEMS; i++)
				assert_false(fake.open[i]);
			fake_done(&fake);
		}
	}
}

static void abort_keeps_the_conflicts_that_were_found(void **state)
{
	struct fake fake;

	(void)state;
	reach(&fake, &situations[8]);
	fake_abort(&fake, -ETIME);
	assert_int_equal(txn_item(fake.txn, 0)->error, -EBUSY);
	assert_int_equal(txn_item(fake.txn, 1)->state, TXN_ITEM_UNDONE);
	fake_done(&fake);
}

static void abort_of_an_abort_asks_for_the_same_again(void **state)
{
	const struct txn_act *acts;
	struct fake fake;
	size_t n;

	(void)state;
	reach(&fake, &situations[5]);
	txn_abort(fake.txn, -ETIME, &acts, &n);
	assert_int_equal(n, N_ITEMS);
	fake_abort(&fake, -ECANCELED);
	assert_int_equal(txn_error(fake.txn), -ECANCELED);
	fake_done(&fake);
}

static void abort_without_an_error_is_a_cancellation(void **state)
{
	struct fake fake;

	(void)state;
	reach(&fake, &situations[1]);
	fake_abort(&fake, 0);
	assert_int_equal(txn_error(fake.txn), -ECANCELED);
	fake_done(&fake);
}

static void abort_before_the_beginning_has_nothing_to_undo(void **state)
{
	const struct txn_act *acts;
	struct fake fake;
	size_t n = 99;

	(void)state;
	fake_init(&fake, false, 0);
	fake_add(&fake, RES_EXCLUSIVE);
	txn_abort(fake.txn, -EINTR, &acts, &n);
	assert_int_equal(n, 0);
	assert_int_equal(txn_outcome(fake.txn), TXN_FAILED);
	assert_int_equal(txn_item(fake.txn, 0)->state, TXN_ITEM_UNDONE);
	assert_int_equal(txn_begin(fake.txn, &acts, &n), -EALREADY);
	fake_done(&fake);
}

static void an_ended_transaction_stays_as_it_ended(void **state)
{
	struct txn_event late = { .what = TXN_DO_CLOSE };
	const struct txn_act *acts;
	struct fake fake;
	size_t n = 99;

	(void)state;
	fake_init(&fake, false, 0);
	fake_add(&fake, RES_EXCLUSIVE);
	assert_int_equal(fake_run(&fake), TXN_HELD);
	txn_abort(fake.txn, -EINTR, &acts, &n);
	assert_int_equal(n, 0);
	assert_int_equal(txn_step(fake.txn, &late, 1, &acts, &n), -EPROTO);
	assert_int_equal(txn_step(fake.txn, NULL, 0, &acts, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(txn_outcome(fake.txn), TXN_HELD);
	assert_int_equal(txn_error(fake.txn), 0);
	fake_done(&fake);
}

static void a_transaction_begins_once_and_takes_no_more_disks(void **state)
{
	const struct txn_act *acts = NULL;
	struct txn_event e = { .what = TXN_DO_OPEN };
	struct fake fake;
	size_t n = 99;

	(void)state;
	fake_init(&fake, false, 0);
	fake_add(&fake, RES_EXCLUSIVE);
	assert_int_equal(txn_step(fake.txn, NULL, 0, &acts, &n), -EPROTO);
	assert_int_equal(txn_step(fake.txn, &e, 1, &acts, &n), -EPROTO);
	assert_string_equal(txn_phase_name(fake.txn), "plan");
	fake_begin(&fake);
	assert_int_equal(txn_begin(fake.txn, &acts, &n), -EALREADY);
	assert_int_equal(txn_add(fake.txn, "disk", RES_SHARED), -EALREADY);
	assert_null(acts);
	assert_int_equal(n, 99);
	assert_int_equal(txn_count(fake.txn), 1);
	fake_done(&fake);
}

/* Something in the transaction itself is wrong: it stops, and can be undone. */
static void check_stopped(struct fake *fake)
{
	struct txn_event events[N_ITEMS + 1];
	const struct txn_act *acts = NULL;
	size_t n = 99;

	bug_set_fatal(false);
	assert_int_equal(txn_step(fake->txn, events,
				  right_answers(fake, events), &acts, &n),
			 -ENOTRECOVERABLE);
	assert_null(acts);
	assert_int_equal(n, 99);
	bug_set_fatal(true);
}

static void a_forbidden_move_stops_the_transaction_and_abort_undoes_it(
	void **state)
{
	struct fake fake;

	(void)state;
	reach(&fake, &situations[1]);
	bug_set_fatal(false);
	items_move(&fake.txn->items, &fake.txn->items.slots[0], TXN_ITEM_HELD);
	check_stopped(&fake);
	fake_abort(&fake, -ENOTRECOVERABLE);
	assert_int_equal(txn_error(fake.txn), -ENOTRECOVERABLE);
	fake_done(&fake);
}

static void a_phase_whose_rule_is_broken_is_not_entered(void **state)
{
	struct fake fake;

	(void)state;
	reach(&fake, &situations[1]);
	fake.txn->items.count[TXN_ITEM_NEW]++; /* none must be left by now */
	check_stopped(&fake);
	assert_string_equal(txn_phase_name(fake.txn), "locking");
	fake.txn->items.count[TXN_ITEM_NEW]--;
	fake_abort(&fake, -ENOTRECOVERABLE);
	fake_done(&fake);

	reach(&fake, &situations[5]);
	fake.txn->error = -EIO; /* nothing is parked after an error */
	check_stopped(&fake);
	assert_string_equal(txn_phase_name(fake.txn), "verifying");
	fake_abort(&fake, -ENOTRECOVERABLE);
	fake_done(&fake);
}

/* Who waits must hold nothing that comes later, or two may wait for ever. */
static void a_wait_with_a_later_lock_in_hand_is_a_bug(void **state)
{
	struct fake fake;

	(void)state;
	reach(&fake, &situations[9]);
	assert_int_equal(fake.acts[0].item, 0);
	fake.txn->items.slots[1].item.id = fake.txn->items.slots[0].item.id;
	check_stopped(&fake);
	fake_abort(&fake, -ENOTRECOVERABLE);
	fake_done(&fake);
}

static void acts_of_one_kind_stand_together(void **state)
{
	struct fake fake;

	(void)state;
	fake_init(&fake, true, 300);
	for (int i = 0; i < 12; i++) {
		struct fake_plan *plan = fake_add(&fake, RES_SHARED);

		plan->busy = i % 3 == 0 ? FOREVER : 0;
		plan->lock = i % 3 == 1 ? -ENOLCK : 0;
	}
	fake_run_to(&fake, TXN_DO_INQUIRE);
	assert_int_equal(fake.n_acts, 12);
	for (size_t i = 0; i < 12; i++) {
		assert_int_equal(fake.acts[i].what, i < 4   ? TXN_DO_INQUIRE
						    : i < 8 ? TXN_DO_RECALL
							    : TXN_DO_CLOSE);
		assert_true(i % 4 == 0 ||
			    fake.acts[i].item > fake.acts[i - 1].item);
	}
	fake_done(&fake);
}

static void two_thousand_disks_that_are_one_file_are_merged(void **state)
{
	struct txn_config config = {};
	const struct txn_act *acts;
	struct txn_event *events;
	struct txn *txn;
	size_t n;

	(void)state;
	assert_int_equal(txn_new(&config, &txn), 0);
	for (int i = 0; i < 2000; i++)
		assert_int_equal(txn_add(txn, "disk", RES_EXCLUSIVE), 0);
	events = calloc(2000, sizeof(*events));
	assert_non_null(events);
	assert_int_equal(txn_begin(txn, &acts, &n), 0);
	assert_int_equal(n, 2000);
	while (n) {
		for (size_t i = 0; i < n; i++)
			events[i] = (struct txn_event){ .what = acts[i].what,
							.item = acts[i].item,
							.type = RES_TYPE_FILE,
							.id = { 1, 2 } };
		assert_int_equal(txn_step(txn, events, n, &acts, &n), 0);
	}
	assert_int_equal(txn_outcome(txn), TXN_HELD);
	assert_int_equal(txn_item(txn, 0)->state, TXN_ITEM_HELD);
	assert_int_equal(txn_item(txn, 1999)->state, TXN_ITEM_ALREADY);
	assert_int_equal(txn_item(txn, 1999)->same_as, 0);
	free(events);
	txn_free(txn);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(
		every_event_in_every_phase_is_an_answer_or_changes_nothing),
	cmocka_unit_test(too_few_too_many_or_repeated_answers_change_nothing),
	cmocka_unit_test(abort_in_every_phase_closes_everything),
	cmocka_unit_test(abort_keeps_the_conflicts_that_were_found),
	cmocka_unit_test(abort_of_an_abort_asks_for_the_same_again),
	cmocka_unit_test(abort_without_an_error_is_a_cancellation),
	cmocka_unit_test(abort_before_the_beginning_has_nothing_to_undo),
	cmocka_unit_test(an_ended_transaction_stays_as_it_ended),
	cmocka_unit_test(a_transaction_begins_once_and_takes_no_more_disks),
	cmocka_unit_test(
		a_forbidden_move_stops_the_transaction_and_abort_undoes_it),
	cmocka_unit_test(a_phase_whose_rule_is_broken_is_not_entered),
	cmocka_unit_test(a_wait_with_a_later_lock_in_hand_is_a_bug),
	cmocka_unit_test(acts_of_one_kind_stand_together),
	cmocka_unit_test(two_thousand_disks_that_are_one_file_are_merged),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
