/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/lib.h"

/*
 * Looking at many capsules, of which some may be hostile: a guest can make its
 * own capsule slow to read, and must not make it slow to read others.
 */

/* capsule_discover() and capsule_locate(). @uuid may be NULL. Those that are
   missed come last. */
int look_discover(const struct uuid *uuid, uint64_t deadline,
		  struct capsule_entry **ret_entries, size_t *ret_n);

/* Is the call's time over? Never if it may not wait at all: then nothing does,
   and a look at many takes as long as it takes. */
bool look_is_late(const struct glk_context *context);

/* How long to look at one of many, from now on. */
uint64_t look_deadline(const struct glk_context *context);

/* The same for one that look_discover() has told of. @missed: 0 before the
   first; those that are missed have one look's time together. */
uint64_t look_deadline_of(const struct glk_context *context,
			  const struct capsule_entry *entry, uint64_t *missed);
