/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/capsule.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/capsule/proc.h"
#include "core/capsule/reader.h"

#include <stdio.h>
#include <string.h>

/*
 * Where the holders really are. A guest that was forked, or that made itself a
 * daemon, is not where its capsule's name says. On a host of such guests one
 * walk over /proc for each of them would take minutes: so one look at each
 * hint, and one walk for all that were not there.
 *
 * Of several processes that have a socket open, the guest is meant rather than
 * its children, so the first to be born; not who is only reading it, who may be
 * older; and anybody rather than ourselves. A process that is seen may be gone
 * at the next moment, or be another one: capsule_adopt() pins it and looks
 * again. One that moves while we walk may be missed, so those that were not
 * found are looked for a few times. But a guest can hide its capsule, in the
 * queue of another socket, and on a busy host a walk takes seconds; so the
 * further walks have a time of their own.
 */

#define ROUNDS 3
#define AGAIN_MS 200 /* for all further walks; one takes 10 to 100 */

struct missing {
	struct capsule_entry *entry;
	uint64_t start; /* of the best so far; UINT64_MAX: nobody */
};

struct locating {
	struct missing *missing; /* sorted by inode */
	uint32_t *inos;
	size_t n;
};

bool capsule_is_at_hint(const struct capsule_entry *entry)
{
	char path[64], want[32], link[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)entry->hint_pid,
		 entry->hint_fd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return false;
	link[n] = '\0';
	snprintf(want, sizeof(want), "socket:[%u]", entry->ino);
	return !strcmp(link, want);
}

static int compare_missing(const void *a, const void *b)
{
	const struct missing *x = a, *y = b;

	return (x->entry->ino > y->entry->ino) -
	       (x->entry->ino < y->entry->ino);
}

static bool consider(void *arg, uint32_t ino, pid_t pid, int fd)
{
	struct locating *l = arg;
	struct capsule_entry entry = { .ino = ino };
	struct missing key = { .entry = &entry }, *m;
	uint64_t start = UINT64_MAX - 1; /* we: if there is nobody else */

	m = bsearch(&key, l->missing, l->n, sizeof(key), compare_missing);
	if (!m || (pid != getpid() && proc_start_time(pid, &start)))
		return false;
	/* Only where there is a choice: it costs a walk over its table. */
	if (m->start < UINT64_MAX - 1 && reader_is(pid))
		return false;
	if (start < m->start ||
	    (start < UINT64_MAX - 1 && reader_is(m->entry->hint_pid))) {
		m->start = start;
		m->entry->hint_pid = pid;
		m->entry->hint_fd = fd;
	}
	return false;
}

/* One walk. Those that are found leave the list. */
static int search(struct locating *l, uint64_t deadline)
{
	size_t n = 0;
	int r;

	for (size_t i = 0; i < l->n; i++)
		l->inos[i] = l->missing[i].entry->ino;
	r = proc_find_socket(l->inos, l->n, deadline, consider, l);
	for (size_t i = 0; i < l->n; i++)
		if (l->missing[i].start == UINT64_MAX)
			l->missing[n++] = l->missing[i];
	l->n = n;
	return r;
}

static int search_all(struct locating *l, uint64_t deadline)
{
	int r = 0, first;

	qsort(l->missing, l->n, sizeof(*l->missing), compare_missing);
	first = l->n ? search(l, deadline) : 0;
	deadline = MIN(deadline, deadline_in_ms(AGAIN_MS));
	for (unsigned i = 1; i < ROUNDS && l->n && !first && !r; i++)
		r = search(l, deadline);
	for (size_t i = 0; i < l->n; i++) {
		l->missing[i].entry->nowhere = !first && !r;
		l->missing[i].entry->missed = first || r;
	}
	return first || r == -ETIME ? first : r;
}

int capsule_locate(struct capsule_entry *entries, size_t n, uint64_t deadline)
{
	struct locating l = {};
	int r = 0;

	l.missing = reallocarray(NULL, n + 1, sizeof(*l.missing));
	l.inos = reallocarray(NULL, n + 1, sizeof(*l.inos));
	if (!l.missing || !l.inos)
		r = -ENOMEM;
	for (size_t i = 0; i < n && !r; i++) {
		entries[i].nowhere = entries[i].missed = false;
		if (!capsule_is_at_hint(&entries[i]))
			l.missing[l.n++] =
				(struct missing){ &entries[i], UINT64_MAX };
	}
	if (!r)
		r = search_all(&l, deadline);
	free(l.missing);
	free(l.inos);
	return r;
}
