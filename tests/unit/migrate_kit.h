/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/handover.h"
#include "tests/unit/lib_kit.h"

/* Source and destination of a migration, each held by this very process, unless
   a test makes them otherwise. */
struct pair {
	struct glk_guest *source, *destination;
};

#define PAIR_DISKS 3

/* The disks of all pairs: exclusive but for the last, which is shared. */
const char *pair_disk(unsigned i);

/* Before the first context, and in the program's own process. */
void pair_disks_init(void);

/* A guest that shall have all of them; not acquired. */
struct glk_guest *pair_guest(struct glk_context *context, unsigned uuid,
			     const char *name, unsigned flags);

/* A guest's role to its exclusive disks, which must be one. */
enum role pair_role(struct glk_guest *guest);

/* How many bytes of all disks are held by anybody: none if all is over. */
unsigned pair_bytes(void);

/* May a third party have any of the exclusive disks? By the kernel, which must
   refuse it whole, and by the library, which must refuse it shared, too. */
bool pair_is_safe(struct glk_context *context);
