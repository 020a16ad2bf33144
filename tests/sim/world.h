/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/txn.h"

/*
 * A host in memory: paths, inodes, open file descriptions with OFD locks,
 * guests with their capsules, and strangers. Everything random comes from one
 * seed. Time is counted in ticks; one is a millisecond.
 */
#define N_PATHS 14
#define N_DESCS 256
#define N_GUESTS 4

enum owner {
	OWNER_NONE, /* the description is free */
	OWNER_ACTOR,
	OWNER_CAPSULE,	/* of guest @id: a lease */
	OWNER_STRANGER, /* a living process that knows nothing of us */
	OWNER_ZOMBIE,	/* an operation that ended too late, soon dropped */
};

struct desc {
	enum owner owner;
	int id;
	uint64_t ino;
	enum res_mode mode;
	bool locked;
	unsigned gone_at; /* ZOMBIE */
};

enum guest_life {
	GUEST_NONE,
	GUEST_STARTING,
	GUEST_ALIVE,
	GUEST_FADING, /* dead, but the kernel has not closed its files yet */
};

struct sim_guest {
	enum guest_life life;
	unsigned gone_at;
	unsigned n_leases; /* that it must have */
	unsigned busy;	   /* transactions for it under way */
};

struct world {
	uint64_t seed, random;
	unsigned tick;
	unsigned fault_one_in, event_one_in; /* 0: never */
	bool churn; /* path 0 is replaced all the time */
	uint64_t next_ino;
	uint64_t paths[N_PATHS]; /* inode, or 0 if there is no such file */
	struct desc descs[N_DESCS];
	struct sim_guest guests[N_GUESTS];
	bool trace;
};

void world_init(struct world *w, uint64_t seed);

/* Return: a number below @n. */
uint32_t world_random(struct world *w, uint32_t n);

/* False if @one_in is 0. */
bool world_chance(struct world *w, unsigned one_in);

/* Fail the test, with the way to repeat it. */
_Noreturn void world_fail(const struct world *w, const char *why);

#define WORLD_CHECK(_w, _cond)                                                 \
	do {                                                                   \
		if (!(_cond))                                                  \
			world_fail(_w, #_cond);                                \
	} while (0)

/* Return: the number of a description, or -ENOENT. */
int world_open(struct world *w, unsigned path, enum res_mode mode, int actor);
void world_close(struct world *w, int d);

/* Is no other description's lock in the way? */
bool world_may_lock(const struct world *w, int d);

/* Return: false if another description's lock is in the way. */
bool world_lock(struct world *w, int d);

void world_unlock(struct world *w, int d);

/* The lock that was asked for comes when nobody waits for it any more. */
void world_lock_late(struct world *w, int d);

enum txn_holder world_inquire(struct world *w, int d, int guest);
enum txn_holder world_recall(const struct world *w, int d, int guest);

/* Does the guest hold this inode in this mode? */
bool world_holds(const struct world *w, int guest, uint64_t ino,
		 enum res_mode mode);

/* Hand the description over to the guest's capsule. */
void world_park(struct world *w, int d, int guest);

/* One tick passes; something may happen on its own. */
void world_pass(struct world *w);

/* The invariants that hold at every moment. */
void world_verify(const struct world *w);
