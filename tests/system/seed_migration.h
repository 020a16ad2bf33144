/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tests/system/seed.h"

/*
 * One guest that migrates: its two daemons, and a third party that never may
 * have a disk. The test is the layer above them. Each step fails the test if it
 * fails.
 */
struct migration {
	struct seed_guest guest;
	struct peer *source, *target; /* NULL if there is none */
	struct third_party *party;
};

#define MIGRATION_DISKS 3

/* The guest runs on the source. */
struct migration migration_new(const char *name);
/* Ends what is left, and fails if the third party ever had a disk. */
void migration_free(struct migration *m);

/* Steps 1 to 3 of the text, and all of them. */
void migration_prepare(struct migration *m);
void migration_start_target(struct migration *m);
void migration_pause(struct migration *m);
void migration_begin(struct migration *m);

/* Every disk is locked, and stays so while the third party tries. */
void migration_locked(struct migration *m);

/* The rest of 4b2: the source's guest ends, and the target alone has the
   disks. */
void migration_end_source(struct migration *m);
