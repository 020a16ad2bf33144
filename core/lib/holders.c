/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/holders.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/proc.h"
#include "core/lib/look.h"

#include <limits.h>
#include <string.h>

/*
 * A capsule that was made by root or by our own user is believed when it names
 * a guest. Anybody can bind any name, so a capsule of another user still tells
 * which process holds the lock, which the kernel proves, but not who it is.
 *
 * All capsules are read quickly at first: one that is slow, perhaps since its
 * guest wants it to be, must not use up the time for the others.
 *
 * What no capsule holds is looked for in the processes: F_OFD_GETLK gives the
 * pid of a POSIX lock at once, an OFD lock shows in /proc/PID/fdinfo only. One
 * walk over those answers for all disks.
 */

#define QUICK_MS 50

enum { LOOK_E_AGAIN = 1 };

struct search {
	struct holder_ask *asks;
	size_t n;
	uint64_t deadline;
	int (*report)(void *arg, const struct holder_answer *answer);
	void *arg;
	struct unknown *unknown;
	int error;
};

/* A disk that no capsule holds, while /proc is searched. */
struct unknown {
	size_t ask;
	pid_t last; /* reported last: it may hold the lock more than once */
	pid_t successor;
	short successor_type;
};

static int report(struct search *s, size_t ask, struct holder_answer *answer)
{
	answer->ask = ask;
	answer->who.path = s->asks[ask].path;
	answer->who.mode = (int)answer->mode;
	s->asks[ask].found = true;
	return s->report(s->arg, answer);
}

static bool is_trusted(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

static int report_lease(struct search *s, size_t ask,
			const struct capsule *capsule,
			const struct capsule_lease *lease)
{
	const struct capsule_identity *who = capsule_identity(capsule);
	const struct capsule_keeper *keeper = capsule_keeper(capsule);
	struct holder_answer answer = {
		.mode = lease->mode,
		.dying = proc_is_dying(keeper->pid),
		.who = { .pid = keeper->pid, .since = lease->since },
	};
	char uuid[UUID_STRLEN + 1], exe[PATH_MAX];

	proc_exe(keeper->pid, exe, sizeof(exe));
	answer.who.exe = exe;
	if (is_trusted(capsule_uid(capsule))) {
		answer.who.kind = GLK_CONFLICT_GUEST;
		answer.who.uuid = uuid_format(&who->uuid, uuid);
		answer.who.name = who->name;
	} else {
		answer.who.kind = GLK_CONFLICT_PROCESS;
		answer.who.since = proc_start_to_realtime(keeper->start);
	}
	return report(s, ask, &answer);
}

static int match_leases(struct search *s, const struct capsule *capsule,
			const struct capsule_contents *contents)
{
	int r = 0;

	for (size_t i = 0; i < contents->n_leases && !r; i++) {
		const struct capsule_lease *lease = &contents->leases[i];

		if (!lease->held)
			continue;
		for (size_t a = 0; a < s->n && !r; a++)
			if (res_id_equal(s->asks[a].id, lease->id))
				r = report_lease(s, a, capsule, lease);
	}
	return r;
}

/* Return: 0, LOOK_E_AGAIN with more time, or negative errno. */
static int look_into(struct search *s, const struct capsule_entry *entry,
		     uint64_t deadline)
{
	struct capsule_adopt_config config = {
		.any_owner = true,
		.deadline = deadline,
	};
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
	struct capsule *capsule = NULL;
	int r;

	r = capsule_adopt(entry, &config, &capsule);
	if (!r)
		r = capsule_list(capsule, deadline, &contents);
	if (r) {
		capsule_free(capsule);
		return r == CAPSULE_E_BUSY ? LOOK_E_AGAIN : 0;
	}
	r = match_leases(s, capsule, &contents);
	capsule_contents_done(&contents);
	capsule_free(capsule);
	return r;
}

/* Those that want more time move to the front. Return: how many in @n. */
static int look_at_all(struct search *s, struct capsule_entry *entries,
		       size_t *n, uint64_t ms)
{
	size_t again = 0;
	int r = 0;

	for (size_t i = 0; i < *n && clock_now() < s->deadline; i++) {
		r = look_into(s, &entries[i],
			      MIN(s->deadline, deadline_in_ms(ms)));
		if (r < 0)
			break;
		if (r == LOOK_E_AGAIN)
			entries[again++] = entries[i];
		r = 0;
	}
	*n = again;
	return r;
}

static int search_capsules(struct search *s, struct glk_context *context)
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	size_t n = 0;
	int r = 0;

	if (look_discover(context, NULL, &entries, &n))
		return 0; /* then the processes are all that we can ask */
	for (uint64_t ms = QUICK_MS; n && !r && clock_now() < s->deadline;
	     ms *= 2)
		r = look_at_all(s, entries, &n, ms);
	return r;
}

static int report_process(struct search *s, size_t ask, pid_t pid, short type)
{
	struct holder_answer answer = {
		.mode = type == F_RDLCK ? RES_SHARED : RES_EXCLUSIVE,
		.dying = proc_is_dying(pid),
		.who = { .kind = GLK_CONFLICT_PROCESS, .pid = pid },
	};
	char exe[PATH_MAX];
	uint64_t start;

	proc_exe(pid, exe, sizeof(exe));
	answer.who.exe = exe;
	if (!proc_start_time(pid, &start))
		answer.who.since = proc_start_to_realtime(start);
	return report(s, ask, &answer);
}

/* The pid of a POSIX lock; 0 for an OFD lock or none. */
static pid_t posix_holder(const struct holder_ask *ask, long byte,
			  short *ret_type)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };

	if (ask->mode == RES_SHARED)
		lock.l_type = F_RDLCK;
	if (ask->fd < 0 || fcntl(ask->fd, F_OFD_GETLK, &lock) ||
	    lock.l_type == F_UNLCK || lock.l_pid <= 0)
		return 0;
	*ret_type = lock.l_type;
	return lock.l_pid;
}

static bool found_locker(void *arg, const struct proc_locker *locker)
{
	struct search *s = arg;
	struct unknown *u = &s->unknown[locker->point / 2];

	if (locker->point % 2) {
		u->successor = locker->pid;
		u->successor_type = locker->type;
	} else if (u->last != locker->pid) {
		u->last = locker->pid;
		s->error = report_process(s, u->ask, locker->pid, locker->type);
	}
	return s->error < 0;
}

/* Nobody holds the owner's byte of this disk. */
static int report_successor(struct search *s, const struct unknown *u)
{
	short type = u->successor_type;
	pid_t pid = posix_holder(&s->asks[u->ask], LOCK_BYTE_SUCCESSOR, &type);

	if (!pid)
		pid = u->successor;
	return pid ? report_process(s, u->ask, pid, type) : 0;
}

static int search_with(struct search *s, struct unknown *unknown,
		       struct proc_point *points)
{
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < s->n && !r; i++) {
		struct res_id id = s->asks[i].id;
		short type;
		pid_t pid;

		if (s->asks[i].found)
			continue;
		pid = posix_holder(&s->asks[i], LOCK_BYTE_OWNER, &type);
		if (pid) {
			r = report_process(s, i, pid, type);
			continue;
		}
		points[2 * n] = (struct proc_point){ id, LOCK_BYTE_OWNER };
		points[2 * n + 1] =
			(struct proc_point){ id, LOCK_BYTE_SUCCESSOR };
		unknown[n++] = (struct unknown){ .ask = i };
	}
	s->unknown = unknown;
	if (n && !r) {
		proc_find_lockers(points, 2 * n, s->deadline, found_locker, s);
		r = s->error;
	}
	for (size_t i = 0; i < n && !r; i++)
		if (!s->asks[unknown[i].ask].found)
			r = report_successor(s, &unknown[i]);
	return r;
}

static int search_processes(struct search *s)
{
	_cleanup_(freep) struct unknown *unknown = NULL;
	_cleanup_(freep) struct proc_point *points = NULL;

	unknown = calloc(s->n + 1, sizeof(*unknown));
	points = calloc(2 * s->n + 1, sizeof(*points));
	if (!unknown || !points)
		return -ENOMEM;
	return search_with(s, unknown, points);
}

int holders_find(struct glk_context *context, struct holder_ask *asks, size_t n,
		 uint64_t deadline,
		 int (*report_fn)(void *arg,
				  const struct holder_answer *answer),
		 void *arg)
{
	struct search s = {
		.asks = asks,
		.n = n,
		.deadline = MIN(deadline, context->deadline),
		.report = report_fn,
		.arg = arg,
	};
	int r;

	r = search_capsules(&s, context);
	return r ? r : search_processes(&s);
}
