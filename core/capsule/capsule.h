/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/base/uuid.h"
#include "core/lease/handover.h"
#include "core/lease/resource.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Where leases live. A capsule is a Unix socket whose receive queue holds the
 * lock descriptors in flight and whose receiving end, B, the guest inherits.
 * The kernel frees the queue, and so the locks, when the last process that has
 * B open is gone. Design: the essay at the top of capsule.c.
 *
 * A capsule object belongs to one thread at a time. Everything that is read
 * from a capsule is hostile input, since the guest process can write it.
 */
struct capsule;

enum capsule_holder {
	CAPSULE_GUEST,	/* the guest process inherited it */
	CAPSULE_SELF,	/* the VMM links the library */
	CAPSULE_KEEPER, /* a process of ours holds it for the guest */
};

/* Expected outcomes of the calls below, beside 0 and negative errno. */
enum {
	_CAPSULE_E_SUCCESS,
	CAPSULE_E_GONE,	    /* no living process has it open any more */
	CAPSULE_E_FORGED,   /* not authentic: owner, inode, peer or identity */
	CAPSULE_E_DENIED,   /* we may not look into the holder */
	CAPSULE_E_BUSY,	    /* queue or mutex blocked until the deadline */
	CAPSULE_E_FULL,	    /* the queue takes no more, even compacted */
	CAPSULE_E_INFLIGHT, /* RLIMIT_NOFILE bounds descriptors in flight */
	CAPSULE_E_NOFILE,   /* our own descriptor table is full */
};

#define CAPSULE_NAME_MAX 255 /* bytes of a guest's name */
#define CAPSULE_PATH_MAX 4095
#define CAPSULE_POINTS_MAX 4 /* lock points, so descriptors, of a lease */

struct capsule_identity {
	struct uuid uuid;
	char name[CAPSULE_NAME_MAX + 1]; /* "" if none; no control bytes */
	int64_t id;			 /* -1 if none */
	enum capsule_holder holder;
	uint64_t epoch;	 /* how often the guest has been handed on */
	uint64_t nonce;	 /* of its name; 0: capsule_new() takes a random one */
	pid_t maker_pid; /* filled in by capsule_new() */
	uint64_t maker_start; /* ditto; clock ticks since boot */
	uint64_t created;     /* ditto; CLOCK_REALTIME, ns */
};

/* One lease to park. Descriptors and path stay the caller's. */
struct capsule_parcel {
	int fds[CAPSULE_POINTS_MAX];
	uint8_t n_fds;
	enum res_type type;
	enum res_mode mode;
	enum res_scope scope;
	struct res_id id;
	uint64_t since; /* CLOCK_REALTIME, ns */
	const char *path;
};

/* One lease found in a capsule; the truth is in `held`, not in the record. */
struct capsule_lease {
	int fds[CAPSULE_POINTS_MAX]; /* duplicates, owned by the contents */
	uint8_t n_fds;
	bool held;	/* every descriptor holds its file, in `mode` */
	bool unknown;	/* not held, but that is only since nobody can tell */
	enum role role; /* the least that any of its descriptors has, but for
			   those that have none: `held` says so */
	enum role roles[CAPSULE_POINTS_MAX];	 /* of each */
	struct res_id files[CAPSULE_POINTS_MAX]; /* device and inode of each */
	bool same_id; /* fds[0] is the resource that the record says */
	enum res_type type;
	enum res_mode mode;
	enum res_scope scope;
	struct res_id id; /* of fds[0], by the kernel, not by the record */
	uint64_t since;
	char *path; /* as recorded: not to be trusted, nor printed raw */
};

struct capsule_contents {
	struct capsule_lease *leases;
	size_t n_leases;
	size_t n_messages;
	size_t n_dead;	  /* records whose lock is gone, or duplicates */
	size_t n_garbled; /* messages or records that make no sense */
	int marker;	  /* says that we are reading, see reader.h; 0: none */
};

#define CAPSULE_CONTENTS_NULL ((struct capsule_contents){})

/* One socket that bears a capsule's name, as sock_diag tells. */
struct capsule_entry {
	struct uuid uuid;
	pid_t hint_pid; /* the holder when it was bound, may have moved */
	int hint_fd;
	uint64_t nonce;
	uint32_t ino, peer_ino;
	uid_t uid;    /* owner of the socket; -1 if the kernel cannot say */
	bool nowhere; /* capsule_locate() has found nobody who has it open */
	bool missed;  /* nor this time, but it was no thorough search */
};

/* The process that holds an adopted capsule. */
struct capsule_keeper {
	pid_t pid;
	int pidfd;	/* owned by the capsule */
	uint64_t start; /* clock ticks since boot, as in /proc/PID/stat */
};

/**
 * capsule_new() - make an empty capsule and give it its name
 * @who:	identity; uuid is mandatory. A nonce must be new for this uuid:
 *		one name is bound once
 * @holder_pid:	pid that will hold it, 0 for the calling process
 *
 * Everything is O_CLOEXEC: whoever hands capsule_fd() to a guest clears that
 * for the guest alone.
 *
 * Return: 0, CAPSULE_E_NOFILE, CAPSULE_E_INFLIGHT, -EINVAL for a bad identity,
 * -EADDRINUSE for a nonce that was not new, or another negative errno.
 */
int capsule_new(const struct capsule_identity *who, pid_t holder_pid,
		struct capsule **ret_capsule);

/* Closes our descriptors. Releases no lease that somebody else holds. NULL. */
struct capsule *capsule_free(struct capsule *capsule);

/*
 * End B. Owned by the capsule. -1 after capsule_let_go(), and for an adopted
 * capsule, which borrows it while it needs it: whoever keeps B open keeps the
 * leases of a dead guest.
 */
int capsule_fd(const struct capsule *capsule);

/* Has this process got the capsule? A look at all of its descriptors. */
bool capsule_is_in(const struct capsule *capsule, pid_t pid);

/* Can it be listed and compacted? False for a maker that has let go. */
bool capsule_readable(const struct capsule *capsule);

/* Is this entry of capsule_discover() the very same capsule? */
bool capsule_is(const struct capsule *capsule,
		const struct capsule_entry *entry);

/*
 * For a maker whose guest has inherited B: close our B, so that the leases no
 * longer live as long as we do. The capsule can still push and cannot list.
 */
void capsule_let_go(struct capsule *capsule);

const struct capsule_identity *capsule_identity(const struct capsule *capsule);

/* NULL for a capsule that was made here, not adopted. */
const struct capsule_keeper *capsule_keeper(const struct capsule *capsule);

/*
 * Is the keeper of an adopted capsule only reading it just now, as we do, or
 * has it gone? Then there may be no guest any more.
 */
bool capsule_is_only_read(struct capsule *capsule);

/* Owner of the socket: who made the capsule. */
uid_t capsule_uid(const struct capsule *capsule);

/**
 * capsule_push() - park leases, all or none
 * @parcels:	descriptors must hold their locks already
 * @deadline:	CLOCK_MONOTONIC, ns; a full queue is compacted within it
 *
 * What reaches a living guest reaches it in one atomic send, however many
 * leases there are: a kill -9 of the caller parks all or none.
 *
 * Return: 0, CAPSULE_E_BUSY, _FULL, _INFLIGHT, _GONE, _NOFILE, _FORGED (the
 * guest has lost or replaced end A), -EINVAL for a parcel that makes no sense,
 * or negative errno; nothing is parked then.
 */
int capsule_push(struct capsule *capsule, const struct capsule_parcel *parcels,
		 size_t n, uint64_t deadline);

/**
 * capsule_fill() - park the first leases of a capsule that is still ours alone
 *
 * For its maker, before anybody else can have capsule_fd(). Faster than
 * capsule_push() for many leases, and not atomic: after a failure the capsule
 * holds some of them and must be freed.
 *
 * Return: 0, CAPSULE_E_FULL, _INFLIGHT, _GONE (not its maker, or has let go),
 * _NOFILE, -EINVAL, or negative errno.
 */
int capsule_fill(struct capsule *capsule, const struct capsule_parcel *parcels,
		 size_t n);

/**
 * capsule_turn() - exclude all others who would change the same leases
 * @ret_turn:	for capsule_turn_over()
 *
 * For those who go by what capsule_list() has told them. The guest can keep it
 * for ever, so it is only good against honest ones, and to be waited for.
 *
 * Return: 0; CAPSULE_E_BUSY if somebody had it until @deadline; _FORGED if the
 * guest has lost its identity; _NOFILE; or negative errno.
 */
int capsule_turn(struct capsule *capsule, uint64_t deadline, int *ret_turn);

/* Return: -1, to be assigned. Does nothing for -1. */
int capsule_turn_over(int turn);

/**
 * capsule_list() - what is in it
 * @ret_contents:	to be freed with capsule_contents_done()
 *
 * Consumes nothing. Leases that appear twice (a crash during compaction) are
 * reported once, and leases that are not held any more too, as such, unless
 * they were released. Garbage is counted, never an error: a hostile guest must
 * not be able to hide its other leases. Under contention the scan is retried
 * until the deadline; if the mutex does not come free, it proceeds without, if
 * it is consistent.
 *
 * Return: 0, CAPSULE_E_BUSY, _GONE, _NOFILE, or negative errno.
 */
int capsule_list(struct capsule *capsule, uint64_t deadline,
		 struct capsule_contents *ret_contents);

void capsule_contents_done(struct capsule_contents *contents);

/*
 * Drop a lease's locks, and mark it as released: it is listed no more. Through
 * our duplicates that is the guest's own lock.
 * Idempotent. Follow with capsule_compact(). Return: 0 or negative errno.
 */
int capsule_unlock(struct capsule_lease *lease);

/**
 * capsule_compact() - drop dead records and their descriptors
 *
 * Survivors are pushed before the old messages are consumed, so a crash in
 * between duplicates and never loses. Does nothing if nothing is dead and the
 * queue is not fragmented.
 *
 * Return: 0, CAPSULE_E_BUSY, _GONE, _NOFILE, _FULL, _FORGED (as above), or
 * negative errno.
 */
int capsule_compact(struct capsule *capsule, uint64_t deadline);

/**
 * capsule_discover() - every socket on this network namespace that has a
 * capsule's name
 * @uuid:		only this guest, or NULL
 * @ret_entries:	to be freed with free(3)
 *
 * A name proves nothing: see capsule_adopt(). One sock_diag dump, no file.
 */
int capsule_discover(const struct uuid *uuid,
		     struct capsule_entry **ret_entries, size_t *ret_n);

/**
 * capsule_locate() - put right the hints of those that have moved
 *
 * With one walk over /proc, however many they are: for whoever is going to
 * adopt all of them. Without it capsule_adopt() walks once for each. What one
 * walk has not found is looked for again, but not for long: it may be in no
 * process that we can see, and the others shall not have to wait for it. So it
 * is .nowhere, or .missed if there was no time to be sure.
 *
 * Return: 0, -ETIME (not even one walk was ended; those that were not found by
 * then keep their hints, and are missed), -ENOMEM, or another negative errno.
 */
int capsule_locate(struct capsule_entry *entries, size_t n, uint64_t deadline);

/* Is the socket where the entry's hint says? One look at one descriptor. */
bool capsule_is_at_hint(const struct capsule_entry *entry);

struct capsule_adopt_config {
	bool any_owner; /* accept any user's; else only root's and our own */
	uint64_t deadline;
};

/**
 * capsule_adopt() - borrow a capsule from the process that holds it
 *
 * Finds the holder by the hint or, if it has moved, once in /proc; pins it
 * with a pidfd; takes a duplicate of B with pidfd_getfd(2); and checks that the
 * inode, the owner, SO_PEERCRED, the peer and the sealed identity agree.
 *
 * Return: 0, CAPSULE_E_GONE, _FORGED, _DENIED, _BUSY, _NOFILE, or negative
 * errno.
 */
int capsule_adopt(const struct capsule_entry *entry,
		  const struct capsule_adopt_config *config,
		  struct capsule **ret_capsule);

/* Static text for a CAPSULE_E_* code. */
const char *capsule_strerror(int e);
