/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tests/lib/test.h"

#include <guestlock.h>

/*
 * Real guests, made and looked at from real processes.
 *
 * Every process that is started here ends with the test program, however that
 * ends: guests read from a leash, a pipe whose other end the program has, and
 * other processes are killed when it dies. Those who lose their parent are
 * inherited by the program, so that it can wait for all of them. As root they
 * are in a network namespace of their own, where no other guests are.
 *
 * A helper that cannot do its work fails the test, or, in a process that was
 * started here, ends that process with status 99.
 */
#define MUST(_x) must(_x, #_x, __FILE__, __LINE__)
#define MUST_EQUAL(_a, _b) must_equal(_a, _b, #_a, __FILE__, __LINE__)

void must(bool ok, const char *what, const char *file, int line);
void must_equal(long long a, long long b, const char *what, const char *file,
		int line);

/* Unique to the running program; static, a ring of 16. */
const char *guest_uuid(unsigned which);
const char *guest_name(const char *suffix);

/* With a time limit of 30 s. */
struct glk_context *guest_context(void);

struct glk_guest *guest_describe(struct glk_context *context, int holder,
				 const char *uuid, const char *name);

/* One disk. Return: as the public call. */
int guest_add(struct glk_guest *guest, const char *path, unsigned flags);
int guest_attach(struct glk_guest *guest, const char *path, unsigned flags);
int guest_detach(struct glk_guest *guest, const char *path);

/* Images DIR/PREFIX-0 ... N-1, in a folder of their own, to be locked
   exclusively. */
struct disks {
	struct glk_disk *items;
	size_t n;
};

struct disks disks_new(const char *prefix, size_t n);
void disks_free(struct disks *disks);

/* How many are locked now? Asks with F_OFD_GETLK, so it is never in the way of
   somebody who is just locking them. */
size_t disks_locked(const struct disks *disks);

/* Look until none, or all, are locked; fails the test after 10 s of neither.
   Return: how many. */
size_t disks_settle(const struct disks *disks);

/* Look until none are locked, or for 10 s. */
bool disks_become_free(const struct disks *disks);

/* Does anything conflict with an exclusive lock of this range? len 0: to the
   end of all files. Takes nothing. */
bool range_is_locked(const char *path, long start, long len);

/* Run @fn in a child; its status is what @fn returns. */
pid_t process_start(int (*fn)(void *arg), void *arg);

/* Exit status, or 128 + the signal; fails the test after 60 s. */
int process_wait(pid_t pid);

/* SIGKILL; process_end() also waits for it. */
void process_kill(pid_t pid);
void process_end(pid_t pid);

/*
 * Everybody who was started here and is left, stopped ones too; a teardown for
 * tests that leave processes when they fail. It is done when the program ends,
 * for a guest that is stopped does not feel the leash, and keeps our output
 * open, the end of which meson waits for. Return: 0, or -1 after 10 s.
 */
int process_end_all(void **state);

/* Gone, or a zombie? */
bool process_is_gone(pid_t pid);

/* Clock ticks since boot as CLOCK_REALTIME ns, from /proc/PID/stat. */
uint64_t process_started(pid_t pid);

/* A child of ours whose parent is gone, or -1. */
pid_t process_orphan(void);

/* The program that a guest runs, for exec: ends with the leash. */
extern char *const guest_program[];

/* In the process that is to be the guest: exec, with the capsule. */
_Noreturn void guest_become(struct glk_guest *guest);

/* A guest process that has exec'ed; hands over and frees @guest. */
pid_t guest_start(struct glk_guest *guest);

/* The same without exec, and cheap. */
pid_t guest_fork(struct glk_guest *guest);

/* Block until the test program lets go of the leash. */
void guest_live(void);

/* Close everything but the standard files, the leash and @fd. */
void guest_close_others(int fd);

/* Acquire @disks for a new guest and start it with guest_start(). */
struct guest_plan {
	const char *uuid, *name;
	struct disks disks; /* borrowed */
};

pid_t guest_run(struct glk_context *context, const struct guest_plan *plan);

/* A message of one int between processes, which both sides wait for. */
struct channel {
	int fds[2];
};

struct channel channel_new(void);
void channel_free(struct channel *channel);
void channel_tell(struct channel *channel, int value);
/* Fails after 60 s; INT_MIN if all tellers have gone without a word. A reader
   must not keep a telling end of its own: see channel_reads(). */
int channel_hear(struct channel *channel);
void channel_reads(struct channel *channel);

/* Random points in time and choices that can be had again: the seed is printed
   and taken from $GUESTLOCK_TEST_SEED. */
struct dice {
	uint64_t state;
};

struct dice dice_new(void);
uint64_t dice_roll(struct dice *dice, uint64_t below);

/* A number from the environment, for longer runs by hand. */
unsigned number_from(const char *variable, unsigned otherwise);

/* Busy for up to a few ms: a sleep is too coarse for these points. */
void wait_ns(uint64_t ns);
