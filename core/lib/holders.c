/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/holders.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/fdinfo.h"
#include "core/capsule/proc.h"
#include "core/capsule/reader.h"
#include "core/lib/look.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/*
 * First the kernel is asked about the bytes of each disk: what is free, or held
 * in a mode that does not exclude the wanted one, has no holder to look for.
 * (Those of a hand-over are in the way of who wants it shared. Who wants it
 * exclusively is refused by the owner's byte.) F_OFD_GETLK also gives the pid
 * of a POSIX lock.
 *
 * Then all capsules are read. One that was made by root or by our own user is
 * believed when it names a guest. Anybody can bind any name, so a capsule of
 * another user still tells which process holds the lock, which the kernel
 * proves, but not who it is. All are read quickly at first: one that is slow,
 * perhaps since its guest wants it to be, must not use up the time for the
 * others.
 *
 * What no capsule holds is looked for in the processes: an OFD lock shows in
 * /proc/PID/fdinfo only. One walk over those answers for all disks.
 *
 * A server that keeps the locks itself, by FUSE, shows nothing to either. The
 * kernel cannot tell whether a parked lease is held, so its guest is named if
 * anybody holds the disk.
 */

#define QUICK_MS 50

static const long point_bytes[] = { LOCK_BYTE_OWNER, LOCK_BYTE_SUCCESSOR,
				    LOCK_BYTE_WRITER, LOCK_BYTE_PREDECESSOR };
#define POINTS ARRAY_SIZE(point_bytes)

enum { LOOK_E_AGAIN = 1 };

struct search {
	struct glk_context *context;
	struct holder_ask *asks;
	struct taken *taken; /* for each ask */
	size_t n;
	uint64_t deadline;
	int (*report)(void *arg, const struct holder_answer *answer);
	void *arg;
	int error;
	int unread; /* as in holder_ask */
};

/* What is known of a disk's bytes. */
struct taken {
	struct op_lock owner, handover; /* F_UNLCK: in nobody's way */
	bool exclusive;			/* a holder of the whole was found */
	pid_t last; /* reported last: it may hold the lock more than once */
	pid_t locker;
	short locker_type; /* of a byte of the hand-over */
};

static int report(struct search *s, size_t ask, struct holder_answer *answer)
{
	answer->ask = ask;
	answer->who.path = s->asks[ask].path;
	answer->who.mode = (int)answer->mode;
	if (s->asks[ask].how)
		answer->who.how = s->asks[ask].how;
	s->asks[ask].found = true;
	s->taken[ask].exclusive |= answer->mode == RES_EXCLUSIVE;
	return s->report(s->arg, answer);
}

static bool is_trusted(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

/* The holder of a disk, as a capsule tells it. */
struct match {
	size_t ask;
	enum res_mode mode;
	uint64_t since;
	char *how; /* owned; NULL: it holds just this disk */
};

static int report_match(struct search *s, const struct capsule *capsule,
			const struct match *match, bool dying)
{
	const struct capsule_identity *who = capsule_identity(capsule);
	const struct capsule_keeper *keeper = capsule_keeper(capsule);
	struct holder_answer answer = {
		.mode = match->mode,
		.dying = dying,
		.who = { .pid = keeper->pid, .since = match->since },
	};
	char uuid[UUID_STRLEN + 1], exe[PATH_MAX];

	proc_exe(keeper->pid, exe, sizeof(exe));
	answer.who.exe = exe;
	if (is_trusted(capsule_uid(capsule))) {
		answer.who.kind = GLK_CONFLICT_GUEST;
		answer.who.uuid = uuid_format(&who->uuid, uuid);
		answer.who.name = who->name;
		answer.who.how = match->how;
	} else {
		answer.who.kind = GLK_CONFLICT_PROCESS;
		answer.who.since = proc_start_to_realtime(keeper->start);
	}
	return report(s, match->ask, &answer);
}

/* Not while we have its leases open: we would be a reader ourselves. */
static int report_matches(struct search *s, struct capsule *capsule,
			  const struct match *matches, size_t n)
{
	bool dying = n && (proc_is_dying(capsule_keeper(capsule)->pid) ||
			   capsule_is_only_read(capsule));
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		r = report_match(s, capsule, &matches[i], dying);
	return r;
}

/* Nobody has it, or in a mode that goes with the wanted one. */
static bool is_free(const struct taken *taken)
{
	return taken->owner.type == F_UNLCK && taken->handover.type == F_UNLCK;
}

static bool excludes(const struct holder_ask *ask, bool shared)
{
	return !shared || ask->mode == RES_EXCLUSIVE;
}

static bool gives_way(const struct holder_ask *ask, enum role role)
{
	return ask->incoming && (role == ROLE_PREPARED || role == ROLE_LEFT);
}

static bool is_own(const struct holder_ask *ask,
		   const struct capsule_entry *entry)
{
	return ask->own && capsule_is(ask->own, entry);
}

/* Is it this resource, or does it lock this very file, as one of another name
   may do with a lock directory's? */
static bool is_about(const struct holder_ask *ask,
		     const struct capsule_lease *lease)
{
	if (res_id_equal(ask->id, lease->id))
		return true;
	for (unsigned i = 1; i < lease->n_fds; i++)
		if (res_id_equal(ask->file, lease->files[i]))
			return true;
	return false;
}

static bool is_in_the_way(const struct search *s, size_t a,
			  const struct capsule_lease *lease)
{
	const struct holder_ask *ask = &s->asks[a];

	return (lease->held || lease->role || ask->remote) &&
	       !gives_way(ask, lease->role) && !is_free(&s->taken[a]) &&
	       is_about(ask, lease) && excludes(ask, lease->mode == RES_SHARED);
}

struct match_list {
	struct match *v;
	size_t n, cap;
};

static void match_list_done(struct match_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->v[i].how);
	free(list->v);
}

/* The partitions of a disk have one name, and so have the ways to it. Another
   disk of the very path is on what counts as another host. */
static int explain(const struct holder_ask *ask,
		   const struct capsule_lease *lease, char **ret_how)
{
	*ret_how = NULL;
	if (ask->how || res_id_equal(ask->id, lease->id) ||
	    path_same_text(ask->path, lease->path))
		return 0;
	if (asprintf(ret_how, "holds %s, which has the same lock file",
		     lease->path) >= 0)
		return 0;
	*ret_how = NULL;
	return -ENOMEM;
}

static int add_match(struct match_list *list, const struct search *s,
		     size_t ask, const struct capsule_lease *lease)
{
	char *how;

	if (list->n == list->cap) {
		size_t cap = MAX(2 * list->cap, 16);
		void *v = reallocarray(list->v, cap, sizeof(*list->v));

		if (!v)
			return -ENOMEM;
		list->v = v;
		list->cap = cap;
	}
	if (explain(&s->asks[ask], lease, &how))
		return -ENOMEM;
	list->v[list->n++] =
		(struct match){ ask, lease->mode, lease->since, how };
	return 0;
}

/* Of several asks about one disk, the first that it is in the way of counts. */
static int match_lease(struct search *s, const struct capsule_entry *entry,
		       const struct capsule_lease *lease,
		       struct match_list *list)
{
	bool matched = false;
	int r = 0;

	for (size_t a = 0; a < s->n && !r; a++) {
		matched &= s->asks[a].again;
		if (!is_in_the_way(s, a, lease) || is_own(&s->asks[a], entry))
			continue;
		if (matched)
			s->asks[a].found = true;
		else
			r = add_match(list, s, a, lease);
		matched = true;
	}
	return r;
}

/* One that is gone, or is none, has nothing to be read. A shortage of our own
   is what is noted rather than what may be up to the guest. */
static void note_unread(struct search *s, int r)
{
	if (r == -EMFILE || r == -ENFILE)
		r = CAPSULE_E_NOFILE;
	if (r && r != CAPSULE_E_GONE && r != CAPSULE_E_FORGED &&
	    s->unread != CAPSULE_E_NOFILE)
		s->unread = r;
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
	_cleanup_(match_list_done) struct match_list list = {};
	struct capsule *capsule = NULL;
	int r;

	r = capsule_adopt(entry, &config, &capsule);
	if (!r)
		r = capsule_list(capsule, deadline, &contents);
	if (r) {
		capsule_free(capsule);
		if (r == CAPSULE_E_BUSY)
			return LOOK_E_AGAIN;
		note_unread(s, r);
		return 0;
	}
	for (size_t i = 0; i < contents.n_leases && !r; i++)
		r = match_lease(s, entry, &contents.leases[i], &list);
	capsule_contents_done(&contents);
	if (!r)
		r = report_matches(s, capsule, list.v, list.n);
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

static int search_capsules(struct search *s)
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	size_t n = 0;
	int r = 0;

	r = look_discover(NULL, s->deadline, &entries, &n);
	if (r) {
		/* Then the processes are all that we can ask. */
		note_unread(s, r);
		r = 0;
	}
	for (uint64_t ms = QUICK_MS; n && !r && clock_now() < s->deadline;
	     ms *= 2)
		r = look_at_all(s, entries, &n, ms);
	if (n)
		note_unread(s, CAPSULE_E_BUSY);
	for (size_t i = 0; i < s->n; i++)
		s->asks[i].unread = s->unread;
	return r;
}

static int report_process(struct search *s, size_t ask, pid_t pid, short type,
			  bool fading)
{
	struct holder_answer answer = {
		.mode = type == F_RDLCK ? RES_SHARED : RES_EXCLUSIVE,
		.dying = fading || proc_is_dying(pid),
	};
	char exe[PATH_MAX];

	conflict_of_process(&answer.who, pid, exe);
	return report(s, ask, &answer);
}

/* The pid of a POSIX lock; 0 for an OFD lock, or if a server keeps it. */
static pid_t posix_holder(const struct op_lock *lock)
{
	return lock->type != F_UNLCK && lock->pid > 0 ? lock->pid : 0;
}

static bool find_owner(void *arg, const struct fdinfo_lock *lock)
{
	bool *found = arg;

	*found = fdinfo_covers(lock, LOCK_BYTE_OWNER);
	return *found;
}

/* A reader of some capsule, with a duplicate of a lock whose guest is gone? Its
   marker goes after the duplicate, so look for them in that order. */
static bool is_only_read(const struct proc_locker *locker)
{
	_cleanup_(fd_closep) int fd = -1;
	bool found = false;
	char path[48];

	if (reader_is(locker->pid))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)locker->pid,
		 locker->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 || fdinfo_read(fd, find_owner, &found) || !found;
}

static bool found_locker(void *arg, const struct proc_locker *locker)
{
	struct search *s = arg;
	size_t ask = locker->point / POINTS;
	struct taken *taken = &s->taken[ask];

	if (!excludes(&s->asks[ask], locker->type == F_RDLCK))
		return false;
	if (locker->point % POINTS) {
		taken->locker = locker->pid;
		taken->locker_type = locker->type;
	} else if (taken->last != locker->pid &&
		   taken->owner.pid != locker->pid) {
		taken->last = locker->pid;
		s->error = report_process(s, ask, locker->pid, locker->type,
					  is_only_read(locker));
	}
	return s->error < 0;
}

/* Nobody was found who holds the owner's byte of this disk. */
static int report_handover(struct search *s, size_t ask)
{
	const struct taken *taken = &s->taken[ask];
	pid_t pid = posix_holder(&taken->handover);

	if (pid)
		return report_process(s, ask, pid, taken->handover.type, false);
	if (taken->locker)
		return report_process(s, ask, taken->locker, taken->locker_type,
				      false);
	return 0;
}

/* Are there others to be found, beside those who have been? */
static bool wants_more(const struct search *s, size_t ask)
{
	if (is_free(&s->taken[ask]) || s->asks[ask].fd < 0)
		return false;
	return !s->asks[ask].found ||
	       (s->asks[ask].all && !s->taken[ask].exclusive);
}

static int search_processes(struct search *s)
{
	_cleanup_(freep) struct proc_point *points = NULL;
	bool any = false;
	int r = 0;

	points = calloc(POINTS * s->n + 1, sizeof(*points));
	if (!points)
		return -ENOMEM;
	for (size_t i = 0; i < s->n && !r; i++) {
		pid_t pid = posix_holder(&s->taken[i].owner);

		s->taken[i].owner.pid = pid;
		if (pid && wants_more(s, i))
			r = report_process(s, i, pid, s->taken[i].owner.type,
					   false);
		/* An id that no file has, if there is nothing to be found. */
		if (!wants_more(s, i))
			continue;
		any = true;
		for (size_t k = 0; k < POINTS; k++)
			points[POINTS * i + k] =
				(struct proc_point){ s->asks[i].file,
						     point_bytes[k] };
	}
	if (any && !r) {
		proc_find_lockers(points, POINTS * s->n, s->deadline,
				  found_locker, s);
		r = s->error;
	}
	for (size_t i = 0; i < s->n && !r; i++)
		if (!s->asks[i].found && !is_free(&s->taken[i]))
			r = report_handover(s, i);
	return r;
}

/* A byte that cannot be asked about counts as taken. */
static int ask_bytes(struct search *s, long start, long len, struct op *ops)
{
	int r;

	for (size_t i = 0; i < s->n; i++)
		ops[i] = (struct op){
			.kind = OP_QUERY,
			.flags = s->asks[i].remote ? OP_REMOTE : 0,
			.fd = s->asks[i].fd,
			.lock = { .type = s->asks[i].mode == RES_SHARED
						  ? F_RDLCK
						  : F_WRLCK,
				  .start = start,
				  .len = len },
		};
	r = engine_run(s->context->engine, ops, s->n, s->deadline);
	for (size_t i = 0; i < s->n && !r; i++) {
		if (ops[i].res == -ECANCELED)
			r = -ECANCELED;
		else if (ops[i].res)
			ops[i].lock = (struct op_lock){ .type = F_WRLCK };
	}
	return r;
}

static int ask_kernel(struct search *s)
{
	_cleanup_(freep) struct op *ops = calloc(s->n + 1, sizeof(*ops));
	int r;

	if (!ops)
		return -ENOMEM;
	r = ask_bytes(s, LOCK_BYTE_OWNER, 1, ops);
	for (size_t i = 0; i < s->n; i++)
		s->taken[i].owner = ops[i].lock;
	if (!r)
		r = ask_bytes(s, LOCK_HANDOVER_START, LOCK_HANDOVER_LEN, ops);
	for (size_t i = 0; i < s->n; i++) {
		s->taken[i].handover = ops[i].lock;
		if (s->asks[i].mode == RES_EXCLUSIVE)
			s->taken[i].handover.type = F_UNLCK;
	}
	return r;
}

/*
 * Who asks for all holders, and hears of none, believes that the disk is free.
 * So one that cannot be seen is said to be there. Asked again, since whoever
 * had it may have ended while it was looked for.
 */
static int report_unseen(struct search *s)
{
	bool any = false;
	int r = 0;

	for (size_t i = 0; i < s->n; i++)
		any |= s->asks[i].all && !s->asks[i].found;
	if (any)
		r = ask_kernel(s);
	for (size_t i = 0; any && i < s->n && !r; i++) {
		struct holder_answer answer = {
			.mode = s->taken[i].owner.type == F_RDLCK
					? RES_SHARED
					: RES_EXCLUSIVE,
			.who = { .kind = GLK_CONFLICT_UNKNOWN },
		};

		if (s->asks[i].again && s->asks[i - 1].found)
			continue;
		if (s->asks[i].all && !s->asks[i].found &&
		    !is_free(&s->taken[i]))
			r = report(s, i, &answer);
	}
	return r;
}

static bool all_are_free(const struct search *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (!is_free(&s->taken[i]))
			return false;
	return true;
}

int holders_find(struct glk_context *context, struct holder_ask *asks, size_t n,
		 uint64_t deadline,
		 int (*report_fn)(void *arg,
				  const struct holder_answer *answer),
		 void *arg)
{
	_cleanup_(freep) struct taken *taken = calloc(n + 1, sizeof(*taken));
	struct search s = {
		.context = context,
		.asks = asks,
		.taken = taken,
		.n = n,
		.deadline = MIN(deadline, context->deadline),
		.report = report_fn,
		.arg = arg,
	};
	int r;

	if (!taken)
		return -ENOMEM;
	r = ask_kernel(&s);
	if (r || all_are_free(&s))
		return r;
	r = search_capsules(&s);
	if (!r)
		r = search_processes(&s);
	return r ? r : report_unseen(&s);
}
