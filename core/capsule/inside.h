/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/capsule/capsule.h"
#include "core/capsule/name.h"
#include "core/capsule/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the parts of the capsule share. The essay is at the top of capsule.c. */
struct capsule {
	struct capsule_identity who;
	struct name_parts bound; /* of an adopted one: what B is bound to */
	uint32_t ino;		 /* of B */
	uid_t uid;		 /* of B's owner */
	int a;			 /* -1: the guest has lost or replaced it */
	int identity;		 /* -1: likewise */
	int b;			 /* -1: adopted, or let go */

	struct capsule_keeper keeper; /* pid 0: made here */
	int keeper_b;		      /* B's number in the keeper */
};

struct capsule *capsule_alloc(void);

/* End B, and while it is another process's the mark of a reader (reader.h). */
struct loan {
	int b;
	int marker;
};

/**
 * capsule_borrow() - end B, for one operation
 * @ret_loan:	to be given back with capsule_give_back()
 *
 * Nobody has a guest's B without the mark, or he would be taken for the guest.
 *
 * Return: 0, CAPSULE_E_GONE, CAPSULE_E_NOFILE, -EBADF if it was made here and
 * let go, or negative errno.
 */
int capsule_borrow(struct capsule *capsule, struct loan *ret_loan);
void capsule_give_back(struct capsule *capsule, struct loan *loan);

/* A code of queue.h as one of capsule.h; 0 and negative errno stay. */
int capsule_of_queue(int e);

/**
 * capsule_mutex() - exclude other readers, as far as that goes
 * @ret_mutex:	for mutex_unlock(); -1 if it was busy until @deadline
 *
 * Return: 0, CAPSULE_E_BUSY, CAPSULE_E_NOFILE, or negative errno.
 */
int capsule_mutex(struct capsule *capsule, uint64_t deadline, int *ret_mutex);

/* How many descriptors one look may take: three quarters of our table. */
size_t capsule_fds_max(void);

/**
 * capsule_repack() - what capsule_compact() and a push into a full queue do
 * @force:	even if nothing is dead
 *
 * Return: as capsule_compact().
 */
int capsule_repack(struct capsule *capsule, uint64_t deadline, bool force);
