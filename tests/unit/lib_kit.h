/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tests/lib/guest.h"

#include "core/lib/lib.h"

/* What the tests of core/lib share. */

/* The kernel's answer for every disk: is it locked by anybody? */
#define assert_free(_path) assert_false(range_is_locked(_path, 0, 3))
#define assert_held(_path) assert_true(range_is_locked(_path, 0, 1))

/* The context's message has this text in it. */
#define assert_says(_context, _text)                                           \
	kit_says(_context, _text, __FILE__, __LINE__)

void kit_says(const struct glk_context *context, const char *text,
	      const char *file, int line);

/* As test_file(), but static for the whole program. */
const char *kit_file(const char *name, off_t size);

/* A VMM of our own that holds nothing yet, but has been acquired. */
struct glk_guest *kit_self(struct glk_context *context);

/* Attach one disk to a guest of its own, which is freed again. Return: as
   glk_guest_attach(). */
int kit_try(struct glk_context *context, const char *path, unsigned flags);

/* Attach several to a guest. */
int kit_attach(struct glk_guest *guest, const char *const *paths, size_t n);

/* A running guest with these disks, adopted. */
struct kit_guest {
	pid_t pid;
	struct glk_guest *guest;
};

struct kit_guest kit_run(struct glk_context *context, unsigned uuid,
			 const char *path, unsigned flags);
void kit_end(struct kit_guest *running);

/* Take a lock, and keep it until @fd is closed. Return: the descriptor. */
int kit_lock(const char *path, long byte, short type);

/* Take one that nobody is seen to have, until the queue is closed: its
   descriptor is in flight. */
void kit_lock_in_flight(const char *path, int queue[2]);

/* The same for a lock that is held already; @fd is closed. */
void kit_send_away(int fd, int queue[2]);

/* A process that has a lock of this kind. */
struct kit_stranger {
	const char *path;
	long byte;
	short type;
	int command; /* F_OFD_SETLK or F_SETLK */
	pid_t pid;
	struct channel ready;
};

void kit_stranger(struct kit_stranger *stranger);
void kit_stranger_end(struct kit_stranger *stranger);

/* In a child, as another user, who needs no privilege. */
pid_t kit_start_as_nobody(int (*fn)(void *arg), void *arg);

/* The same, and wait for it. Return: what @fn returns. */
int kit_as_nobody(int (*fn)(void *arg), void *arg);
