/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/err.h"
#include "core/base/util.h"
#include "tests/lib/test.h"
#include "tests/sim/actor.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

/*
 * Guests that wait for as long as it takes, in a world without faults. Each
 * wants a few of the same disks, in an order of its own, uses them for a while
 * and ends. Somebody must always be able to go on, and each must get all it
 * wants. SIM_SEED, SIM_ROUNDS and SIM_TRACE as in sim_txn.c.
 */
#define ROUNDS 3000
#define TURNS 4 /* transactions of each actor */
#define TICKS_MAX 200000
#define USE_MAX 30

static unsigned counts[_COUNT_N];

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 0) : otherwise;
}

/* Nothing ends a wait but the lock; or they look anew; or they rest, too. */
static struct waiting how_to_wait(struct world *w)
{
	static const struct waiting ways[] = {
		{ true, INT_MAX, 0 },
		{ true, 3, 0 },
		{ true, 40, 5 },
	};

	return ways[world_random(w, ARRAY_SIZE(ways))];
}

static void end_guests(struct world *w)
{
	for (int i = 0; i < N_GUESTS; i++) {
		struct sim_guest *guest = &w->guests[i];

		if (guest->life != GUEST_ALIVE || guest->busy)
			continue;
		guest->life = GUEST_FADING;
		guest->gone_at = w->tick + world_random(w, USE_MAX);
	}
}

static bool anything_is_in_use(const struct world *w)
{
	for (int i = 0; i < N_DESCS; i++)
		if (w->descs[i].owner == OWNER_CAPSULE ||
		    w->descs[i].owner == OWNER_ZOMBIE)
			return true;
	return false;
}

static void check_progress(const struct world *w, const struct actor *actors)
{
	unsigned blocked = 0, running = 0;

	for (int i = 0; i < N_GUESTS; i++) {
		running += actors[i].txn != NULL;
		blocked += actor_is_blocked(&actors[i]);
	}
	if (running && blocked == running && !anything_is_in_use(w))
		world_fail(w, "a deadlock");
}

/* Return: is anybody still at it? */
static bool tick(struct world *w, struct actor *actors, unsigned *turns)
{
	unsigned at = world_random(w, N_GUESTS);
	bool more = false;

	world_pass(w);
	end_guests(w);
	if (actors[at].txn) {
		actor_act(&actors[at]);
	} else if (turns[at]) {
		actor_start(&actors[at]);
		turns[at] -= actors[at].txn != NULL;
	}
	world_verify(w);
	check_progress(w, actors);
	for (int i = 0; i < N_GUESTS; i++)
		more |= actors[i].txn || turns[i];
	return more;
}

static void one_round(uint64_t seed)
{
	struct actor actors[N_GUESTS] = {};
	unsigned turns[N_GUESTS];
	struct waiting waiting;
	struct world w;

	world_init(&w, seed);
	w.trace = setting("SIM_TRACE", 0);
	w.fault_one_in = w.event_one_in = 0;
	w.churn = false;
	waiting = how_to_wait(&w);
	for (int i = 0; i < N_GUESTS; i++) {
		turns[i] = TURNS;
		actors[i] = (struct actor){
			.w = &w, .id = i, .counts = counts, .waiting = waiting
		};
	}
	while (tick(&w, actors, turns))
		WORLD_CHECK(&w, w.tick < TICKS_MAX);
}

static void who_waits_gets_all_it_wants_in_the_end(void **state)
{
	uint64_t seed = setting("SIM_SEED", 1);
	uint64_t rounds = setting("SIM_ROUNDS", ROUNDS);

	(void)state;
	bug_set_fatal(false);
	printf("SIM_SEED=%" PRIu64 " SIM_ROUNDS=%" PRIu64 "\n", seed, rounds);
	for (uint64_t i = 0; i < rounds; i++)
		one_round(seed + i);
	bug_set_fatal(true);
	printf("held %u, waited %u, waited in vain %u, rested %u, gave back "
	       "%u\n",
	       counts[COUNT_HELD], counts[COUNT_WAITED], counts[COUNT_AGAIN],
	       counts[COUNT_RESTED], counts[COUNT_YIELDED]);
	assert_int_equal(counts[COUNT_HELD], rounds * TURNS * N_GUESTS);
	if (rounds < ROUNDS)
		return;
	assert_true(counts[COUNT_WAITED] > 0 && counts[COUNT_AGAIN] > 0 &&
		    counts[COUNT_RESTED] > 0 && counts[COUNT_YIELDED] > 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(who_waits_gets_all_it_wants_in_the_end),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
