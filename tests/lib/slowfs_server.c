/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define FUSE_USE_VERSION 312

#include "tests/lib/slowfs_server.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <err.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

/*
 * libfuse's low-level interface lets a request be answered whenever one likes,
 * so one thread keeps any number of them waiting: it reads what there is, notes
 * when each may be answered, and answers all that are due. A waiting lock is
 * due once nothing conflicts with it.
 *
 * It shares the processors with whom it serves, so it must do little for each:
 * the locks of a file are a list of their own, and what waits for its time is
 * in the order of that, apart from what waits longer, for a knob or for
 * somebody's lock.
 *
 * The kernel tells nobody that an OFD lock of a FUSE file is gone when its
 * description is closed, so a release drops what was locked through that
 * handle.
 *
 * What is due is answered before the next request is read: that may be to
 * interrupt it, as a thread's io_uring does to its own open(2) by mere news.
 */

#define FIRST_INO 2	      /* of disk0; the root is 1 */
#define CACHE_SECONDS 3600    /* of names; attributes are always asked for */
#define LOOK_NS NSEC_PER_MSEC /* at the knobs, while something waits */
#define IDLE_NS (10 * NSEC_PER_MSEC)
#define SLACK_NS 1000

enum kind { OPEN, STAT, FLUSH, LOCK, QUERY };

/* Of who asks: the range, and the description. */
struct lock {
	struct lock *next;
	fuse_ino_t ino;
	uint64_t owner, handle;
	struct flock range;
};

struct request {
	struct request *next, *prev; /* prev: of early ones only */
	fuse_req_t req;
	enum kind kind;
	bool wait; /* for the lock */
	bool interrupted;
	uint64_t due;
	struct lock lock; /* ino at least */
};

static struct slowfs_knobs *knobs;
static struct request *early, *last_early; /* the next one to be due first */
static struct request *late, **last_late = &late;
static bool any_interrupted;
static unsigned n_requests;
static struct lock *locks[FIRST_INO + SLOWFS_FILES]; /* of each inode */
static uint64_t next_handle;

static struct stat attr_of(fuse_ino_t ino)
{
	return (struct stat){
		.st_ino = ino,
		.st_nlink = 1,
		.st_blksize = 4096,
		.st_mode =
			ino == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0600,
	};
}

/* Locks */

static off_t last_byte(const struct flock *range)
{
	return range->l_len ? range->l_start + range->l_len - 1 : INT64_MAX;
}

static bool same_place(const struct lock *a, const struct lock *b)
{
	return a->range.l_start <= last_byte(&b->range) &&
	       b->range.l_start <= last_byte(&a->range);
}

static const struct lock *find_conflict(const struct lock *wanted)
{
	short type = wanted->range.l_type;

	for (const struct lock *l = locks[wanted->ino]; l; l = l->next)
		if (same_place(l, wanted) && l->owner != wanted->owner &&
		    type != F_UNLCK &&
		    (type == F_WRLCK || l->range.l_type == F_WRLCK))
			return l;
	return NULL;
}

static bool same_owner(const struct lock *l, const struct lock *key)
{
	return same_place(l, key) && l->owner == key->owner;
}

static bool same_handle(const struct lock *l, const struct lock *key)
{
	return l->handle == key->handle;
}

static void drop_all_locks(void)
{
	for (size_t ino = 0; ino < ARRAY_SIZE(locks); ino++) {
		struct lock *l;

		while ((l = locks[ino])) {
			locks[ino] = l->next;
			free(l);
		}
	}
}

/* Ranges are never split: tests lock single bytes. */
static void drop_locks(bool (*match)(const struct lock *, const struct lock *),
		       const struct lock *key)
{
	struct lock **p = &locks[key->ino];

	while (*p) {
		struct lock *l = *p;

		if (match(l, key)) {
			*p = l->next;
			free(l);
		} else {
			p = &l->next;
		}
	}
}

static int set_lock(const struct lock *wanted)
{
	struct lock *l;

	if (find_conflict(wanted))
		return EAGAIN;
	drop_locks(same_owner, wanted);
	if (wanted->range.l_type == F_UNLCK)
		return 0;
	l = malloc(sizeof(*l));
	if (!l)
		return ENOLCK;
	*l = *wanted;
	l->next = locks[l->ino];
	locks[l->ino] = l;
	return 0;
}

static void answer_query(const struct request *q)
{
	const struct lock *l = find_conflict(&q->lock);
	struct flock answer = { .l_type = F_UNLCK };

	fuse_reply_lock(q->req, l ? &l->range : &answer);
}

/* Requests that may have to wait */

static bool concerns(const struct request *q)
{
	return knobs->only == SLOWFS_ALL ||
	       q->lock.ino == FIRST_INO + (fuse_ino_t)knobs->only;
}

static bool hangs(const struct request *q)
{
	bool unlocks = q->lock.range.l_type == F_UNLCK;

	if (!concerns(q))
		return false;
	switch (q->kind) {
	case OPEN:
		return knobs->hang_open;
	case STAT:
		return knobs->hang_stat;
	case FLUSH:
		return knobs->hang_flush;
	case LOCK:
		return knobs->hang_lock || (knobs->hang_unlock && unlocks);
	default:
		return knobs->hang_lock;
	}
}

static bool is_due(const struct request *q, uint64_t now)
{
	if (q->interrupted)
		return true;
	return now >= q->due && !hangs(q) &&
	       !(q->wait && find_conflict(&q->lock));
}

static int refusal(const struct request *q)
{
	if (q->interrupted)
		return EINTR;
	if (!concerns(q))
		return 0;
	if (q->kind == OPEN)
		return knobs->refuse_open;
	return q->kind == LOCK ? knobs->refuse_lock : 0;
}

static void answer(const struct request *q)
{
	struct fuse_file_info fi = { .fh = next_handle + 1 };
	struct stat st = attr_of(q->lock.ino);
	int error = refusal(q);

	if (error)
		fuse_reply_err(q->req, error);
	else if (q->kind == OPEN && fuse_reply_open(q->req, &fi) == 0)
		next_handle++;
	else if (q->kind == STAT)
		fuse_reply_attr(q->req, &st, 0);
	else if (q->kind == QUERY)
		answer_query(q);
	else if (q->kind == LOCK)
		fuse_reply_err(q->req, set_lock(&q->lock));
	else if (q->kind == FLUSH)
		fuse_reply_err(q->req, 0);
}

/* The last come are mostly the last due. */
static void add_early(struct request *q)
{
	struct request *before = last_early;

	while (before && before->due > q->due)
		before = before->prev;
	q->prev = before;
	q->next = before ? before->next : early;
	*(before ? &before->next : &early) = q;
	*(q->next ? &q->next->prev : &last_early) = q;
}

static void remove_early(struct request *q)
{
	*(q->prev ? &q->prev->next : &early) = q->next;
	*(q->next ? &q->next->prev : &last_early) = q->prev;
}

static void finish(struct request *q)
{
	n_requests--;
	answer(q);
	free(q);
}

static void settle_late(uint64_t now)
{
	struct request **p = &late;

	while (*p) {
		struct request *q = *p;

		if (!is_due(q, now)) {
			p = &q->next;
			continue;
		}
		*p = q->next;
		finish(q);
	}
	last_late = p;
}

static void add_late(struct request *q)
{
	q->next = NULL;
	*last_late = q;
	last_late = &q->next;
}

static void settle_early(uint64_t now)
{
	struct request *q, *next;

	for (q = early; q && (q->due <= now || any_interrupted); q = next) {
		next = q->next;
		if (q->due > now && !q->interrupted)
			continue;
		remove_early(q);
		if (is_due(q, now))
			finish(q);
		else
			add_late(q);
	}
	any_interrupted = false;
}

static void settle(void)
{
	uint64_t now = clock_now();

	if (knobs->lose_locks) {
		drop_all_locks();
		knobs->lose_locks = false;
	}
	settle_late(now);
	settle_early(now);
	knobs->waiting = n_requests;
}

static void interrupt(fuse_req_t req, void *arg)
{
	struct request *q = arg;

	(void)req;
	q->interrupted = !knobs->deaf;
	any_interrupted |= q->interrupted;
}

static void enqueue(fuse_req_t req, struct request wanted, unsigned ms)
{
	struct request *q = malloc(sizeof(*q));

	if (!q) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*q = wanted;
	q->req = req;
	q->due = deadline_in_ms(ms);
	add_early(q);
	if (++n_requests > knobs->max_waiting)
		knobs->max_waiting = n_requests;
	fuse_req_interrupt_func(req, interrupt, q);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	knobs->opens++;
	enqueue(req, (struct request){ .kind = OPEN, .lock.ino = ino },
		knobs->open_ms);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	(void)fi;
	knobs->stats++;
	enqueue(req, (struct request){ .kind = STAT, .lock.ino = ino },
		knobs->stat_ms);
}

static void do_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	knobs->flushes++;
	enqueue(req, (struct request){ .kind = FLUSH, .lock.ino = ino }, 0);
}

static struct lock lock_of(fuse_ino_t ino, const struct fuse_file_info *fi,
			   const struct flock *range)
{
	return (struct lock){
		.ino = ino,
		.owner = fi->lock_owner,
		.handle = fi->fh,
		.range = *range,
	};
}

static void do_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		     struct flock *range)
{
	knobs->queries++;
	enqueue(req,
		(struct request){ .kind = QUERY,
				  .lock = lock_of(ino, fi, range) },
		0);
}

static void do_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		     struct flock *range, int wait)
{
	knobs->locks++;
	enqueue(req,
		(struct request){ .kind = LOCK,
				  .wait = wait,
				  .lock = lock_of(ino, fi, range) },
		knobs->lock_ms);
}

/* Requests that are answered at once */

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = { .entry_timeout = CACHE_SECONDS };
	unsigned i;
	char end;

	(void)parent;
	if (sscanf(name, "disk%u%c", &i, &end) != 1 || i >= SLOWFS_FILES) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	entry.ino = FIRST_INO + i;
	entry.attr = attr_of(entry.ino);
	fuse_reply_entry(req, &entry);
}

static void do_release(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	drop_locks(same_handle, &(struct lock){ .ino = ino, .handle = fi->fh });
	knobs->releases++;
	fuse_reply_err(req, 0);
}

static void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent, (void)name;
	knobs->unlinks++;
	fuse_reply_err(req, EPERM);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = do_lookup,
	.getattr = do_getattr,
	.open = do_open,
	.flush = do_flush,
	.release = do_release,
	.getlk = do_getlk,
	.setlk = do_setlk,
	.unlink = do_unlink,
};

static struct fuse_session *new_session(int fd)
{
	char name[] = "slowfs", place[32], *argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_session *session;

	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	snprintf(place, sizeof(place), "/dev/fd/%d", fd);
	if (!session || fuse_session_mount(session, place))
		errx(1, "slowfs: no session");
	return session;
}

static void wait_for_work(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint64_t now = clock_now(), ns = late ? LOOK_NS : IDLE_NS;
	struct timespec ts = {};

	if (early)
		ns = MIN(ns, early->due > now ? early->due - now : 0);
	ts.tv_nsec = (long)ns;
	ppoll(&pfd, 1, &ts, NULL);
}

void slowfs_serve(int fd, struct slowfs_knobs *shared)
{
	struct fuse_session *session = new_session(fd);
	struct fuse_buf buf = {};

	knobs = shared;
	prctl(PR_SET_TIMERSLACK, SLACK_NS);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (!fuse_session_exited(session)) {
		while (fuse_session_receive_buf(session, &buf) > 0) {
			fuse_session_process_buf(session, &buf);
			settle();
		}
		settle();
		wait_for_work(fd);
	}
	_exit(0); /* unmounted */
}
