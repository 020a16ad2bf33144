/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tests/lib/guest.h"

#include <guestlock/vir_lock_manager.h>

/*
 * The sequences of libvirt's first lock-manager API, as its text prints them,
 * by the names of vir_lock_manager.h alone. What is asserted is asked of the
 * kernel by somebody else.
 */

/* What a management layer knows of a guest. */
struct seed_guest {
	const char *uuid, *name;
	int id;
	struct disks disks;
};

struct seed_guest seed_guest_new(unsigned which, const char *name, size_t n);
void seed_guest_free(struct seed_guest *guest);

/* Fails the test if there is none. */
virLockManagerPluginPtr seed_plugin(const char *name);

/* New and SetParameter, with a time limit of 30 s. */
virLockManagerPtr seed_manager(virLockManagerPluginPtr plugin,
			       const struct seed_guest *guest, unsigned flags);
/* "foreach disk" */
void seed_register(virLockManagerPtr manager, const struct disks *disks);

/* "run QEMU", which inherits the locks. */
pid_t seed_run(virLockManagerPtr manager);
/* The same, by the supervisor before its command line. */
pid_t seed_supervise(virLockManagerPtr manager);

/* Acquire and run a new guest. */
pid_t seed_start(virLockManagerPluginPtr plugin, const struct seed_guest *guest,
		 virLockManagerPtr *ret_manager);

/* Every disk is locked exclusively, and takes part in no migration. */
bool seed_owned(const struct disks *disks);
bool seed_disk_is_owned(const char *path);

/*
 * Look until no destination claims any of them; false after 10 s. A reader of
 * its leases, such as the third party, keeps those of a dead one a moment
 * longer.
 */
bool seed_becomes_unclaimed(const struct disks *disks);

/* One disk, by the calls that may plug and unplug. */
bool seed_plug(virLockManagerPtr manager, const char *path);
bool seed_unplug(virLockManagerPtr manager, const char *path);

/*
 * Somebody who tries to take each of the disks all the time, exclusively and
 * shared, by us and by a bare lock.
 */
struct third_party;

struct third_party *third_party_start(const struct disks *disks);
/* It has tried everything once more since this was called. */
void third_party_wait(struct third_party *party);
/* Return: how often it got a disk. */
unsigned third_party_stop(struct third_party *party);

/*
 * A daemon in a process of its own, and the pipe over which the layer above
 * tells it what to do. The two daemons of a migration have nothing else in
 * common but the disks.
 */
enum order {
	/* Answered with the guest's pid. */
	ORDER_START,	    /* run a guest */
	ORDER_START_TARGET, /* step 2, by the supervisor */
	ORDER_FIND,	    /* after a restart */
	/* Answered with 1, or the errno of the call that failed. */
	ORDER_PREPARE,
	ORDER_PREPARE_FAR, /* for another host */
	ORDER_PAUSE,	   /* the guest's processors */
	ORDER_RESUME,
	ORDER_OUT,
	ORDER_OUT_CANCEL,
	ORDER_IN,
	ORDER_IN_CANCEL,
	ORDER_HURRY,	/* wait no longer than a moment from now on */
	ORDER_KILL,	/* the guest */
	ORDER_SHUTDOWN, /* and free the manager */
};

struct peer {
	pid_t pid, guest_pid;
	struct channel orders, answers;
	struct seed_guest guest; /* borrowed */
};

struct peer *peer_new(const struct seed_guest *guest);
/* SIGKILL, unless it has ended. Its guest lives on. */
void peer_free(struct peer *peer);

int peer_ask(struct peer *peer, enum order order);
void peer_tell(struct peer *peer, enum order order);
int peer_hear(struct peer *peer);

/* A peer's guest ends; whoever its parent is. */
void peer_end_guest(struct peer *peer);
