/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lost.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/capsule/capsule.h"
#include "core/lib/device.h"
#include "core/lib/relatives.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

/*
 * When the host lock directory is deleted, guests go on holding the lock files
 * that they have open, and nobody finds those by name. Whoever makes a lock
 * file anew asks the capsules, then, whether one has a lease on the device or
 * on a relative of it. He has the new file locked by then, so of two who make
 * it at once only one gets so far.
 *
 * Who asked and heard of none says so in the file's mode (LOST_NONE), and notes
 * in its time of modification when the directory was changed. Whoever takes it
 * next need not ask, as long as the directory is as it was: no lock file has
 * gone then, be it by rm(1) of one that somebody took for a stale one. That is
 * the directory's ctime, which nobody can set: a copy of the directory, with
 * all times, in which no file is locked, and one that was moved away and back,
 * have another. A change may bear the time of the one before, by a clock that
 * ticks a hundred times a second, or by a file system that counts in seconds;
 * so nothing is noted until the last one is old enough.
 *
 * Whoever may not read all capsules asks for himself alone. If it is for want
 * of descriptors, or since the call's time is over, that he did not hear of
 * all, he does not get the device. One who gives no time does not wait for
 * anybody, but it takes a moment to ask.
 *
 * A file that was made by one who was refused, or was killed before he had
 * asked, does not have the bit; nor has one beside which there is another of
 * the same number (device.c). Deleting the directory deletes the bits with it.
 */

#define LOST_NONE S_ISVTX
#define SEARCH_MS 500
#define FRESH_MS 20
#define FRESH_COARSE_MS 2020
#define COARSE_NSEC 10000000 /* of a file system that counts in less */
#define DESCRIPTORS 24 /* to look at processes, and read a small capsule */

bool lost_is_settled(unsigned mode)
{
	return mode & LOST_NONE;
}

struct query {
	struct take *t;
	struct holder_ask *asks;
	struct {
		size_t event;
		char *how;
	} * about; /* for each ask */
	size_t n, cap;
};

static void query_done(struct query *q)
{
	for (size_t i = 0; i < q->n; i++)
		free(q->about[i].how);
	free(q->about);
	free(q->asks);
}

static int grow(struct query *q)
{
	size_t cap = MAX(2 * q->cap, 8);
	void *asks = reallocarray(q->asks, cap, sizeof(*q->asks));
	void *about;

	if (!asks)
		return -ENOMEM;
	q->asks = asks;
	about = reallocarray(q->about, cap, sizeof(*q->about));
	if (!about)
		return -ENOMEM;
	q->about = about;
	q->cap = cap;
	return 0;
}

/* @how is taken over. */
static int ask(struct query *q, size_t event, struct res_id id, char *how)
{
	const struct txn_item *item =
		txn_item(q->t->txn, q->t->events[event].item);
	int r = how ? 0 : -ENOMEM;

	if (!r && q->n == q->cap)
		r = grow(q);
	if (r) {
		free(how);
		return r;
	}
	q->asks[q->n] = (struct holder_ask){
		.id = id,
		.path = item->path,
		.mode = item->mode,
		.fd = -1,
		.incoming = q->t->incoming,
	};
	q->about[q->n].event = event;
	q->about[q->n++].how = how;
	return 0;
}

static int ask_about(struct query *q, size_t event)
{
	struct res_id id = txn_item(q->t->txn, q->t->events[event].item)->id;
	struct sysfs_relatives relatives = {};
	int r = sysfs_relatives(q->t->context->sysfs, res_id_rdev(id),
				&relatives);

	if (!r)
		r = ask(q, event, id,
			strdup("holds it, though its lock file was deleted"));
	for (size_t i = 0; i < relatives.n && !r; i++)
		r = ask(q, event,
			res_id_of_device(relatives.v[i].rdev,
					 relatives.v[i].diskseq),
			device_how(&relatives.v[i]));
	sysfs_relatives_done(&relatives);
	return r;
}

static int found(void *arg, const struct holder_answer *answer)
{
	struct query *q = arg;
	struct txn_event *e = &q->t->events[q->about[answer->ask].event];
	struct take_rival rival = { .fd = -1, .id = q->asks[answer->ask].id };

	if (e->res)
		return 0;
	/* A relative's lock file that is there was asked itself. */
	if (!res_id_equal(rival.id, txn_item(q->t->txn, e->item)->id) &&
	    relatives_is_ours(q->t, rival.id))
		return 0;
	rival.how = q->about[answer->ask].how;
	q->about[answer->ask].how = NULL;
	return take_set_rival(q->t, e, &rival);
}

static bool is_same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Return: 1 if its lock file does not say that nobody was lost. */
static int must_ask(const struct take *t, const struct txn_event *e,
		    const struct stat *dir, struct stat *ret_st)
{
	if (e->res || !res_id_is_device(txn_item(t->txn, e->item)->id))
		return 0;
	if (fstat(take_point(t, e->item, 1).fd, ret_st))
		return -errno;
	return !lost_is_settled(ret_st->st_mode) ||
	       !is_same_time(ret_st->st_mtim, dir->st_ctim);
}

/* May the directory, as it is @now or later, be changed once more without
   bearing another time? One that bears a time to come may, too. */
static bool is_fresh(const struct stat *dir, struct timespec now)
{
	bool coarse = dir->st_ctim.tv_nsec % COARSE_NSEC == 0;
	int64_t ms = (now.tv_sec - dir->st_ctim.tv_sec) * 1000 +
		     (now.tv_nsec - dir->st_ctim.tv_nsec) / 1000000;

	return ms < (coarse ? FRESH_COARSE_MS : FRESH_MS);
}

/* The note comes first: the file's own time may be that of the directory. */
static void settle(const struct take *t, const struct txn_event *e,
		   const struct stat *dir, bool fresh)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	struct stat st;
	int fd;

	if (must_ask(t, e, dir, &st) <= 0 || t->slots[e->item].more->was_other)
		return;
	/* It may be somebody's other file: device_hand_over(). */
	if (st.st_size || st.st_nlink != 1)
		return;
	fd = take_point(t, e->item, 1).fd;
	if (!fresh)
		times[1] = dir->st_ctim;
	if (!futimens(fd, times) && !lost_is_settled(st.st_mode))
		(void)fchmod(fd, (st.st_mode & 07777) | LOST_NONE);
}

/* Whoever looks at processes takes one that it cannot look at for gone. */
static bool has_descriptors(void)
{
	int fds[DESCRIPTORS], n = 0, fd = eventfd(0, EFD_CLOEXEC);

	while (fd >= 0 && n < DESCRIPTORS) {
		fds[n++] = fd;
		fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
	}
	for (int i = 0; i < n; i++)
		fd_close(fds[i]);
	fd_close(fd);
	return n == DESCRIPTORS;
}

/* Return: 0; 1 if not every capsule was read; -EMFILE or -ETIME if that is for
   the caller to mend; or as holders_find(). */
static int search(struct query *q)
{
	struct glk_context *context = q->t->context;
	uint64_t limit = context->deadline;
	uint64_t deadline = deadline_in_ms(SEARCH_MS);
	int r;

	if (!has_descriptors())
		return -EMFILE;
	if (!context->timeout_ms)
		context->deadline = deadline;
	deadline = MIN(deadline, context->deadline);
	r = holders_find(context, q->asks, q->n, deadline, found, q);
	context->deadline = limit;
	if (r)
		return r;
	if (q->asks[0].unread == CAPSULE_E_NOFILE)
		return -EMFILE;
	if (clock_now() >= deadline && deadline == limit)
		return -ETIME;
	return q->asks[0].unread || clock_now() >= deadline;
}

int lost_look(struct take *t, size_t first, size_t n)
{
	_cleanup_(query_done) struct query q = { .t = t };
	struct stat dir = {}, st;
	struct timespec now;
	int r = 0;

	/* Whatever is removed from now on had been looked at (relatives.c). */
	clock_gettime(CLOCK_REALTIME, &now);
	if (stat(t->context->host_dir, &dir))
		dir = (struct stat){ .st_ctim.tv_nsec = -1 };
	for (size_t i = first; i < first + n && r >= 0; i++) {
		r = must_ask(t, &t->events[i], &dir, &st);
		if (r > 0)
			r = ask_about(&q, i);
	}
	if (r || !q.n)
		return r;
	r = search(&q);
	for (size_t i = first; i < first + n && r <= 0; i++) {
		struct txn_event *e = &t->events[i];

		if (!r)
			settle(t, e, &dir, is_fresh(&dir, now));
		else if (must_ask(t, e, &dir, &st) > 0)
			e->res = r;
	}
	return r == -ENOMEM || r == -ECANCELED ? r : 0;
}
