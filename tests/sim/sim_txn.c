/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/err.h"
#include "core/base/util.h"
#include "tests/lib/test.h"
#include "tests/sim/actor.h"

#include <inttypes.h>
#include <stdio.h>

/*
 * The real transaction in a simulated world. A round is a world with its own
 * seed, a few actors at once, and a few hundred ticks. SIM_SEED is the seed of
 * the first round, SIM_ROUNDS how many there are, SIM_TRACE=1 prints each step.
 */
#define ROUNDS 4000
#define TICKS 300
#define TICKS_TO_END 20000
#define N_ACTORS 3

static unsigned counts[_COUNT_N];

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 0) : otherwise;
}

static void tick(struct world *w, struct actor *actors, bool more)
{
	struct actor *a = &actors[world_random(w, N_ACTORS)];

	world_pass(w);
	if (a->txn)
		actor_act(a);
	else if (more)
		actor_start(a);
	world_verify(w);
}

static bool anybody_runs(const struct actor *actors)
{
	for (int i = 0; i < N_ACTORS; i++)
		if (actors[i].txn)
			return true;
	return false;
}

static void one_round(uint64_t seed)
{
	struct actor actors[N_ACTORS] = {};
	struct world w;

	world_init(&w, seed);
	w.trace = setting("SIM_TRACE", 0);
	for (int i = 0; i < N_ACTORS; i++)
		actors[i] = (struct actor){ .w = &w,
					    .id = i,
					    .counts = counts,
					    .waiting = { .slice = 20,
							 .rest_one_in = 10 } };
	while (w.tick < TICKS)
		tick(&w, actors, true);
	while (anybody_runs(actors)) {
		tick(&w, actors, false);
		WORLD_CHECK(&w, w.tick < TICKS + TICKS_TO_END);
	}
}

static void print_counts(void)
{
	static const char *const names[_COUNT_N] = {
		[COUNT_HELD] = "held",
		[COUNT_REFUSED] = "refused",
		[COUNT_FAILED] = "failed",
		[COUNT_PARKED] = "parked",
		[COUNT_SAME] = "same file",
		[COUNT_HAD] = "had already",
		[COUNT_REPLACED] = "replaced",
		[COUNT_PAUSED] = "paused",
		[COUNT_WAITED] = "waited",
		[COUNT_AGAIN] = "waited in vain",
		[COUNT_RESTED] = "rested",
		[COUNT_YIELDED] = "gave back",
		[COUNT_LATE] = "waited too long",
		[COUNT_STALE] = "stale",
		[COUNT_ABORTED] = "aborted",
		[COUNT_FAULTS] = "faults",
		[COUNT_PROTOCOL] = "wrong events",
	};

	for (int i = 0; i < _COUNT_N; i++)
		printf("%s%s %u", i ? ", " : "", names[i], counts[i]);
	printf("\n");
}

static void any_order_of_faults_keeps_exclusion_and_all_or_nothing(void **state)
{
	uint64_t seed = setting("SIM_SEED", 1);
	uint64_t rounds = setting("SIM_ROUNDS", ROUNDS);

	(void)state;
	bug_set_fatal(false); /* a bug shall be told with its seed */
	printf("SIM_SEED=%" PRIu64 " SIM_ROUNDS=%" PRIu64 "\n", seed, rounds);
	for (uint64_t i = 0; i < rounds; i++)
		one_round(seed + i);
	print_counts();
	bug_set_fatal(true);
	if (rounds < ROUNDS)
		return;
	/* A simulation in which something never happens proves nothing. */
	for (int i = 0; i < _COUNT_N; i++)
		assert_true(counts[i] > 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(
		any_order_of_faults_keeps_exclusion_and_all_or_nothing),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
