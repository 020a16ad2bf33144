/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/world.h"

#include "core/base/util.h"
#include "tests/lib/test.h"

#include <inttypes.h>
#include <stdio.h>

#define NOBODY (-1)

uint32_t world_random(struct world *w, uint32_t n)
{
	/* splitmix64 */
	uint64_t z = w->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)((z ^ z >> 31) >> 32) % n;
}

bool world_chance(struct world *w, unsigned one_in)
{
	return one_in && world_random(w, one_in) == 0;
}

void world_fail(const struct world *w, const char *why)
{
	fail_msg("tick %u: %s\nrepeat: SIM_SEED=%" PRIu64
		 " SIM_ROUNDS=1 SIM_TRACE=1",
		 w->tick, why, w->seed);
	abort();
}

void world_init(struct world *w, uint64_t seed)
{
	static const unsigned faults[] = { 0, 0, 100, 20, 6 };
	static const unsigned events[] = { 0, 40, 10, 4 };

	*w = (struct world){ .seed = seed, .random = seed, .next_ino = 100 };
	w->fault_one_in = faults[world_random(w, ARRAY_SIZE(faults))];
	w->event_one_in = events[world_random(w, ARRAY_SIZE(events))];
	w->churn = world_chance(w, 10);
	for (unsigned i = 0; i < N_PATHS; i++) {
		w->paths[i] = w->next_ino++;
		if (i && world_chance(w, 5)) /* a hard link */
			w->paths[i] = w->paths[world_random(w, i)];
	}
}

static int desc_new(struct world *w, enum owner owner, int id, uint64_t ino,
		    enum res_mode mode)
{
	for (int d = 0; d < N_DESCS; d++) {
		if (w->descs[d].owner)
			continue;
		w->descs[d] = (struct desc){
			.owner = owner,
			.id = id,
			.ino = ino,
			.mode = mode,
		};
		return d;
	}
	world_fail(w, "descriptions leak");
}

int world_open(struct world *w, unsigned path, enum res_mode mode, int actor)
{
	if (!w->paths[path])
		return -ENOENT;
	return desc_new(w, OWNER_ACTOR, actor, w->paths[path], mode);
}

void world_close(struct world *w, int d)
{
	w->descs[d] = (struct desc){};
}

static bool in_the_way(const struct desc *a, const struct desc *b)
{
	return a != b && a->owner && b->owner && a->locked &&
	       a->ino == b->ino &&
	       (a->mode == RES_EXCLUSIVE || b->mode == RES_EXCLUSIVE);
}

bool world_may_lock(const struct world *w, int d)
{
	for (int i = 0; i < N_DESCS; i++)
		if (in_the_way(&w->descs[i], &w->descs[d]))
			return false;
	return true;
}

bool world_lock(struct world *w, int d)
{
	w->descs[d].locked |= world_may_lock(w, d);
	return w->descs[d].locked;
}

void world_unlock(struct world *w, int d)
{
	WORLD_CHECK(w, w->descs[d].locked);
	w->descs[d].locked = false;
}

void world_lock_late(struct world *w, int d)
{
	int copy = desc_new(w, OWNER_ZOMBIE, NOBODY, w->descs[d].ino,
			    w->descs[d].mode);

	world_close(w, d);
	world_lock(w, copy);
	w->descs[copy].gone_at = w->tick + world_random(w, 12);
}

static enum txn_holder judge(const struct world *w, const struct desc *wanted,
			     const struct desc *holder, int guest)
{
	switch (holder->owner) {
	case OWNER_CAPSULE:
		if (w->guests[holder->id].life == GUEST_FADING)
			return TXN_HOLDER_FADING;
		if (holder->id != guest)
			return TXN_HOLDER_LIVE;
		return holder->mode == wanted->mode
			       ? TXN_HOLDER_SELF
			       : TXN_HOLDER_SELF_OTHER_MODE;
	case OWNER_ACTOR:
		/* A transaction never stands in its own way. */
		WORLD_CHECK(w, holder->id != wanted->id);
		return TXN_HOLDER_LIVE;
	case OWNER_STRANGER:
		return TXN_HOLDER_LIVE;
	default:
		return TXN_HOLDER_FADING;
	}
}

enum txn_holder world_inquire(struct world *w, int d, int guest)
{
	const struct desc *wanted = &w->descs[d];
	enum txn_holder answer = TXN_HOLDER_FADING;

	for (int i = 0; i < N_DESCS; i++) {
		enum txn_holder h;

		if (!in_the_way(&w->descs[i], wanted))
			continue;
		h = judge(w, wanted, &w->descs[i], guest);
		if (h != TXN_HOLDER_FADING)
			answer = h;
	}
	return answer;
}

enum txn_holder world_recall(const struct world *w, int d, int guest)
{
	const struct desc *wanted = &w->descs[d];
	enum res_mode other =
		wanted->mode == RES_SHARED ? RES_EXCLUSIVE : RES_SHARED;

	if (world_holds(w, guest, wanted->ino, wanted->mode))
		return TXN_HOLDER_SELF;
	if (world_holds(w, guest, wanted->ino, other))
		return TXN_HOLDER_SELF_OTHER_MODE;
	return TXN_HOLDER_NONE;
}

static bool is_lease(const struct desc *desc, int guest)
{
	return desc->owner == OWNER_CAPSULE && desc->id == guest;
}

bool world_holds(const struct world *w, int guest, uint64_t ino,
		 enum res_mode mode)
{
	for (int i = 0; i < N_DESCS; i++) {
		const struct desc *desc = &w->descs[i];

		if (is_lease(desc, guest) && desc->ino == ino &&
		    desc->mode == mode && desc->locked)
			return true;
	}
	return false;
}

void world_park(struct world *w, int d, int guest)
{
	w->descs[d].owner = OWNER_CAPSULE;
	w->descs[d].id = guest;
	w->guests[guest].n_leases++;
}

static void let_go(struct world *w)
{
	for (int i = 0; i < N_DESCS; i++) {
		struct desc *desc = &w->descs[i];

		if (desc->owner == OWNER_ZOMBIE && desc->gone_at <= w->tick)
			world_close(w, i);
		if (desc->owner == OWNER_CAPSULE &&
		    w->guests[desc->id].life == GUEST_FADING &&
		    w->guests[desc->id].gone_at <= w->tick)
			world_close(w, i);
	}
	for (int i = 0; i < N_GUESTS; i++) {
		struct sim_guest *guest = &w->guests[i];

		if (guest->life != GUEST_FADING || guest->gone_at > w->tick)
			continue;
		guest->n_leases = 0;
		if (!guest->busy)
			guest->life = GUEST_NONE;
	}
}

static void guest_dies(struct world *w)
{
	struct sim_guest *guest = &w->guests[world_random(w, N_GUESTS)];

	if (guest->life != GUEST_ALIVE)
		return;
	guest->life = GUEST_FADING;
	guest->gone_at = w->tick + world_random(w, 200);
}

static void guest_detaches(struct world *w)
{
	int d = (int)world_random(w, N_DESCS);
	struct desc *desc = &w->descs[d];
	struct sim_guest *guest;

	if (desc->owner != OWNER_CAPSULE)
		return;
	guest = &w->guests[desc->id];
	if (guest->life != GUEST_ALIVE || guest->busy)
		return;
	guest->n_leases--;
	world_close(w, d);
}

static void file_changes(struct world *w)
{
	unsigned path = world_random(w, N_PATHS);

	switch (world_random(w, 4)) {
	case 0:
		w->paths[path] = world_chance(w, 3) ? 0 : w->next_ino++;
		break;
	case 1:
		w->paths[path] = w->paths[world_random(w, N_PATHS)];
		break;
	default:
		w->paths[path] = w->next_ino++;
		break;
	}
}

static void stranger_acts(struct world *w)
{
	uint64_t ino = w->paths[world_random(w, N_PATHS)];
	int d;

	for (d = 0; d < N_DESCS; d++) {
		if (w->descs[d].owner == OWNER_STRANGER && world_chance(w, 2)) {
			world_close(w, d);
			return;
		}
	}
	if (!ino)
		return;
	d = desc_new(w, OWNER_STRANGER, NOBODY, ino,
		     world_chance(w, 2) ? RES_SHARED : RES_EXCLUSIVE);
	if (!world_lock(w, d))
		world_close(w, d);
}

void world_pass(struct world *w)
{
	static void (*const events[])(struct world *) = {
		guest_dies,   guest_detaches, file_changes,
		file_changes, stranger_acts,
	};

	w->tick++;
	let_go(w);
	if (w->churn)
		w->paths[0] = w->next_ino++;
	if (world_chance(w, w->event_one_in))
		events[world_random(w, ARRAY_SIZE(events))](w);
}

static void verify_exclusion(const struct world *w, const struct desc *a)
{
	for (int i = 0; i < N_DESCS; i++) {
		const struct desc *b = &w->descs[i];

		if (b == a || b->owner != OWNER_CAPSULE || b->ino != a->ino)
			continue;
		WORLD_CHECK(w, b->id == a->id || (a->mode == RES_SHARED &&
						  b->mode == RES_SHARED));
	}
}

void world_verify(const struct world *w)
{
	unsigned leases[N_GUESTS] = {};

	for (int i = 0; i < N_DESCS; i++) {
		const struct desc *desc = &w->descs[i];

		if (desc->owner != OWNER_CAPSULE)
			continue;
		WORLD_CHECK(w, desc->locked);
		leases[desc->id]++;
		verify_exclusion(w, desc);
	}
	for (int i = 0; i < N_GUESTS; i++)
		WORLD_CHECK(w, leases[i] == w->guests[i].n_leases);
}
