/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/holders.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/proc.h"

#include <limits.h>
#include <string.h>

/*
 * A capsule that was made by root or by our own user is believed when it names
 * a guest. Anybody can bind any name, so a capsule of another user still tells
 * which process holds the lock, which the kernel proves, but not who it is.
 *
 * What no capsule holds is looked for in the processes: F_OFD_GETLK gives the
 * pid of a POSIX lock at once, an OFD lock shows in /proc/PID/fdinfo only.
 */

struct search {
	struct holder_ask *asks;
	size_t n;
	uint64_t deadline;
	int (*report)(void *arg, const struct holder_answer *answer);
	void *arg;
	size_t current; /* the ask that /proc is searched for */
	int error;
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

static int search_capsules(struct search *s)
{
	struct capsule_adopt_config config = {
		.any_owner = true,
		.deadline = s->deadline,
	};
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	size_t n = 0;
	int r;

	if (capsule_discover(NULL, &entries, &n))
		return 0; /* then the processes are all that we can ask */
	for (size_t i = 0; i < n && clock_now() < s->deadline; i++) {
		struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
		struct capsule *capsule = NULL;

		if (capsule_adopt(&entries[i], &config, &capsule))
			continue;
		r = capsule_list(capsule, s->deadline, &contents);
		if (!r) {
			r = match_leases(s, capsule, &contents);
			capsule_contents_done(&contents);
		} else {
			r = 0;
		}
		capsule_free(capsule);
		if (r)
			return r;
	}
	return 0;
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

static bool found_locker(void *arg, pid_t pid, int fd, short type, bool ofd)
{
	struct search *s = arg;

	(void)fd, (void)ofd;
	s->error = report_process(s, s->current, pid, type);
	return s->error < 0;
}

static int search_processes(struct search *s, size_t ask)
{
	static const long bytes[] = { LOCK_BYTE_OWNER, LOCK_BYTE_SUCCESSOR };

	for (size_t b = 0; b < ARRAY_SIZE(bytes); b++) {
		short type;
		pid_t pid = posix_holder(&s->asks[ask], bytes[b], &type);

		if (pid)
			return report_process(s, ask, pid, type);
		s->current = ask;
		s->error = 0;
		proc_each_locker(s->asks[ask].id, bytes[b], s->deadline,
				 found_locker, s);
		if (s->error || s->asks[ask].found)
			return s->error;
	}
	return 0;
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

	r = search_capsules(&s);
	for (size_t i = 0; i < n && r >= 0; i++)
		if (!asks[i].found && clock_now() < s.deadline)
			r = search_processes(&s, i);
	return MIN(r, 0);
}
