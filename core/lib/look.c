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
 * A guest can hide, and then no walk finds it. So the search for all may take
 * half of a look's time, and those that it has missed come last, and share the
 * time that one of the others has.
 *
 * Nobody relies on the memory: where a guest is not any more, capsule_adopt()
 * walks. The first guest that has moved is left to that, so a command that
 * looks for one guest does not look for all. Whoever cannot have the memory at
 * once, as after a fork amid another thread's look, does without.
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

/* What was found until the time was over is as good. */
static void remember_all(uint64_t deadline)
{
	struct capsule_entry *entries = NULL;
	size_t n = 0;
	int r;

	if (capsule_discover(NULL, &entries, &n))
		return;
	r = capsule_locate(entries, n, deadline);
	if (r && r != -ETIME) {
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

/* Whoever has been found must be read, too. */
static uint64_t half_of(uint64_t deadline)
{
	uint64_t now = clock_now();

	return deadline > now ? now + (deadline - now) / 2 : deadline;
}

static int compare_missed(const void *a, const void *b)
{
	const struct capsule_entry *x = a, *y = b;

	return x->missed - y->missed;
}

int look_discover(const struct uuid *uuid, uint64_t deadline,
		  struct capsule_entry **ret_entries, size_t *ret_n)
{
	int r = capsule_discover(uuid, ret_entries, ret_n);

	if (r)
		return r;
	/* Who cannot be located now is looked for one by one. */
	if (*ret_n == 1)
		find_one(*ret_entries, half_of(deadline));
	if (*ret_n <= 1)
		return 0;
	(void)capsule_locate(*ret_entries, *ret_n, half_of(deadline));
	qsort(*ret_entries, *ret_n, sizeof(**ret_entries), compare_missed);
	return 0;
}

bool look_is_late(const struct glk_context *context)
{
	return context->timeout_ms && clock_now() > context->deadline;
}

uint64_t look_deadline(const struct glk_context *context)
{
	return MIN(context->deadline, deadline_in_ms(LOOK_MS));
}

uint64_t look_deadline_of(const struct glk_context *context,
			  const struct capsule_entry *entry, uint64_t *missed)
{
	uint64_t deadline = look_deadline(context);

	if (!entry->missed)
		return deadline;
	if (!*missed)
		*missed = deadline;
	return MIN(deadline, *missed);
}
