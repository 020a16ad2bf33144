/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tests/lib/test.h"

#include "core/capsule/capsule.h"

/* Capsules, disks and guests for the capsule's tests. */

struct capsule *kit_capsule(const char *name);

/* A locked disk as a parcel; the file DIR/@name is made if need be. */
struct capsule_parcel kit_disk(const char *name, enum res_mode mode);
void kit_close(struct capsule_parcel *parcel);

/* Park @n disks PREFIX0 … in one push; ours are closed. Return: its result. */
int kit_fill(struct capsule *capsule, const char *prefix, size_t n);
int kit_park(struct capsule *capsule, const char *prefix, size_t n);
void kit_park_one(struct capsule *capsule, const char *name,
		  enum res_mode mode);

/* Static; DIR/PREFIXi */
const char *kit_path(const char *prefix, size_t i);

/* How many of the disks PREFIX0 … are locked exclusively by somebody? */
size_t kit_locked(const char *prefix, size_t n);

/* Or will they be, as soon as whoever reads them by chance is done? */
bool kit_all_free(const char *prefix, size_t n);

/* Fails the test unless it works. Static deadline of 10 s. */
struct capsule_contents kit_list(struct capsule *capsule);
uint64_t kit_soon(void);

/* The lease of DIR/@name, or NULL. */
struct capsule_lease *kit_find(const struct capsule_contents *contents,
			       const char *name);

/* List, unlock the lease of DIR/@name, compact. */
void kit_detach(struct capsule *capsule, const char *name);

/* A process that has B open and does nothing. Dies with the test program. */
pid_t kit_guest(struct capsule *capsule);

/* SIGKILL, and wait. */
void kit_end(pid_t pid);

/* Run @fn in a child. Return: its value, or 1000 + the signal. */
int kit_run(int (*fn)(void *arg), void *arg);

/* The entry of this capsule, as sock_diag has it. */
struct capsule_entry kit_entry(const struct capsule *capsule);

/* Adopt it. Return: as capsule_adopt(). */
int kit_adopt(const struct capsule_entry *entry, struct capsule **ret_capsule);
