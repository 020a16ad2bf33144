/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/look.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <pthread.h>

/*
 * Where guests are that are not where their names say. A management process
 * that has been started again looks for all of its guests, one by one, and each
 * of them has moved: its name is of a process that is gone. One walk over /proc
 * finds them all, and what it has found is kept for the looks that follow.
 *
 * Nobody relies on it: where a guest is not any more, capsule_adopt() walks.
 * The first guest that has moved is left to that, so a command that looks for
 * one guest does not look for all. Whoever cannot have the memory at once, as
 * after a fork amid another thread's look, does without.
 */
static struct memory {
	pthread_mutex_t mutex;
	struct capsule_entry *entries;
	size_t n;
	bool had_one; /* a guest that had moved */
} memory = { .mutex = PTHREAD_MUTEX_INITIALIZER };

#define LOOK_MS 500 /* reading 2000 leases takes 10 */

static bool recall(struct capsule_entry *entry)
{
	for (size_t i = 0; i < memory.n; i++) {
		const struct capsule_entry *known = &memory.entries[i];

		if (known->ino != entry->ino || known->nonce != entry->nonce)
			continue;
		entry->hint_pid = known->hint_pid;
		entry->hint_fd = known->hint_fd;
		return capsule_is_at_hint(entry);
	}
	return false;
}

static void remember_all(uint64_t deadline)
{
	struct capsule_entry *entries = NULL;
	size_t n = 0;

	if (capsule_discover(NULL, &entries, &n))
		return;
	if (capsule_locate(entries, n, deadline)) {
		free(entries);
		return;
	}
	free(memory.entries);
	memory.entries = entries;
	memory.n = n;
}

static void find_one(struct capsule_entry *entry, uint64_t deadline)
{
	if (capsule_is_at_hint(entry) || pthread_mutex_trylock(&memory.mutex))
		return;
	if (!recall(entry) && memory.had_one) {
		remember_all(deadline);
		recall(entry);
	}
	memory.had_one = true;
	pthread_mutex_unlock(&memory.mutex);
}

int look_discover(struct glk_context *context, const struct uuid *uuid,
		  struct capsule_entry **ret_entries, size_t *ret_n)
{
	int r = capsule_discover(uuid, ret_entries, ret_n);

	/* Who cannot be located now is looked for one by one. */
	if (!r && *ret_n > 1)
		(void)capsule_locate(*ret_entries, *ret_n, context->deadline);
	if (!r && *ret_n == 1)
		find_one(*ret_entries, context->deadline);
	return r;
}

bool look_is_late(const struct glk_context *context)
{
	return context->timeout_ms && clock_now() > context->deadline;
}

uint64_t look_deadline(const struct glk_context *context)
{
	return MIN(context->deadline, deadline_in_ms(LOOK_MS));
}
