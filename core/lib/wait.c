/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/info.h"
#include "core/lib/holders.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/capsule/proc.h"
#include "core/lib/look.h"
#include "core/lib/where.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

/*
 * A guest has ended when its process has, its capsule is nowhere, and no lock
 * of its disks is left behind.
 *
 * The process is waited for with the pidfd that the capsule was adopted with,
 * so it cannot be mistaken for a later one of the same number. What it holds is
 * read before, while somebody can tell; and nothing of that is kept open, for
 * we would keep it locked ourselves.
 *
 * A process has died for its waiters before the kernel has closed all that it
 * had open: a dying user of io_uring keeps its locks for some 200 ms more. So
 * there is a grace, and only what is held after it is reported. If the capsule
 * is still open then, a child has inherited it, and every lease lives on in
 * that child.
 *
 * Once the capsule is nowhere, a lock on one of the disks is somebody else's if
 * a living holder is found, such as the destination of a migration, or the
 * guest's next start: who takes a disk as soon as it is free does not make it
 * less free. Only a lock that nobody can explain counts as left behind.
 */

#define SLICE_MS 20 /* how long a cancel may go unnoticed */
#define PIECE 64    /* disks, and so descriptors, at a time */

struct waiting {
	struct glk_guest *guest;
	struct glk_context *context;
	struct info *info; /* what it held, or NULL */
	bool *left;	   /* for each lease: was held when last looked at */
};

static void waiting_done(struct waiting *w)
{
	info_free(w->info);
	free(w->left);
}

static int pause_ms(struct glk_context *context, int pidfd, int ms)
{
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };
	int r = poll(&pfd, 1, ms);

	if (engine_take_cancel(context->engine))
		return context_fail(context, -ECANCELED, "cancelled");
	return r > 0;
}

static bool has_ended(const struct capsule_keeper *keeper)
{
	struct pollfd pfd = { .fd = keeper->pidfd, .events = POLLIN };

	return poll(&pfd, 1, 0) > 0;
}

/* Return: 0, -ETIME, or -ECANCELED. */
static int await_end(struct glk_context *context,
		     const struct capsule_keeper *keeper)
{
	while (!has_ended(keeper)) {
		uint64_t now = clock_now();
		uint64_t ms;
		int r;

		if (now >= context->deadline)
			return context_fail(context, -ETIME,
					    "the guest's process %d still "
					    "lives",
					    (int)keeper->pid);
		ms = (context->deadline - now) / NSEC_PER_MSEC + 1;
		r = pause_ms(context, keeper->pidfd, (int)MIN(ms, SLICE_MS));
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Which process is it, and what does it hold? A guest that is nowhere has
 * ended, and one that does not let itself be read is waited for all the same.
 */
static int find_out(struct waiting *w)
{
	const struct capsule_keeper *keeper = capsule_keeper(w->guest->capsule);
	int r;

	if (keeper && has_ended(keeper))
		return 0;
	r = guest_readable(w->guest);
	if (!r)
		r = info_new_until(w->context, w->guest->capsule,
				   look_deadline(w->context), &w->info);
	if (r == CAPSULE_E_GONE)
		return 0;
	if (r)
		return guest_fail(w->guest, r, "cannot read the guest");
	w->left = calloc(w->info->pub.n_leases + 1, sizeof(*w->left));
	if (!w->left)
		return context_no_memory(w->context);
	for (size_t i = 0; i < w->info->pub.n_leases; i++)
		w->left[i] = w->info->leases[i].held;
	return 0;
}

/* Return: 1 with the entry, 0 if the capsule is nowhere, negative errno. */
static int find_capsule(struct waiting *w, struct capsule_entry *ret_entry)
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	size_t n = 0;
	int r;

	r = capsule_discover(&w->guest->who.uuid, &entries, &n);
	if (r)
		return context_capsule_fail(w->context, r,
					    "cannot look for the guest");
	for (size_t i = 0; i < n; i++) {
		if (!capsule_is(w->guest->capsule, &entries[i]))
			continue;
		*ret_entry = entries[i];
		return 1;
	}
	return 0;
}

/* Some of the disks that are left, all open. */
struct piece {
	struct glk_context *context;
	struct holder_ask asks[PIECE];
	size_t leases[PIECE]; /* index */
	bool explained[PIECE];
	size_t n;
};

static void close_ask(struct piece *p, size_t i)
{
	where_close(p->context, p->asks[i].fd, p->asks[i].remote);
}

static void piece_done(struct piece *p)
{
	for (size_t i = 0; i < p->n; i++)
		close_ask(p, i);
}

/* A disk that is not where it was any more can be asked nothing, and nobody
   can be in its way. One that could not be opened in time may be held. */
static int open_piece(struct waiting *w, size_t *at, struct piece *p)
{
	for (; *at < w->info->pub.n_leases && p->n < PIECE; ++*at) {
		const struct glk_lease_info *lease = &w->info->leases[*at];
		struct where where;
		int fd;

		if (!w->left[*at])
			continue;
		w->left[*at] = false;
		fd = where_open(w->context, lease->path, &where);
		if (fd == -ECANCELED || fd == -ENOMEM || fd == -ETIME ||
		    fd == -EAGAIN)
			return fd;
		if (fd < 0)
			continue;
		p->leases[p->n] = *at;
		p->asks[p->n++] = (struct holder_ask){
			.id = where.id,
			.file = where.file,
			.path = lease->path,
			.mode = RES_EXCLUSIVE,
			.fd = fd,
			.remote = where.kind.remote,
		};
		if (!info_is_of(lease, where.id))
			close_ask(p, --p->n);
	}
	return 0;
}

/* Keep those that are locked. */
static int keep_locked(struct piece *p)
{
	struct op ops[PIECE];
	size_t n = 0;
	int r;

	for (size_t i = 0; i < p->n; i++)
		ops[i] = (struct op){
			.kind = OP_QUERY,
			.flags = p->asks[i].remote ? OP_REMOTE : 0,
			.fd = p->asks[i].fd,
			.lock = { .type = F_WRLCK,
				  .start = LOCK_BYTE_OWNER,
				  .len = 1 },
		};
	r = engine_run(p->context->engine, ops, p->n, p->context->deadline);
	for (size_t i = 0; i < p->n && !r; i++)
		if (ops[i].res == -ECANCELED)
			r = -ECANCELED;
	if (r)
		return r;
	for (size_t i = 0; i < p->n; i++) {
		if (ops[i].res || ops[i].lock.type == F_UNLCK) {
			close_ask(p, i);
			continue;
		}
		p->leases[n] = p->leases[i];
		p->asks[n++] = p->asks[i];
	}
	p->n = n;
	return 0;
}

static int explain(void *arg, const struct holder_answer *answer)
{
	struct piece *p = arg;

	p->explained[answer->ask] |= !answer->dying;
	return 0;
}

static int look_at_piece(struct waiting *w, size_t *at, size_t *n_left)
{
	_cleanup_(piece_done) struct piece p = { .context = w->context };
	int r;

	r = open_piece(w, at, &p);
	if (!r)
		r = keep_locked(&p);
	if (!r && p.n)
		r = holders_find(w->context, p.asks, p.n, w->context->deadline,
				 explain, &p);
	for (size_t i = 0; i < p.n && !r; i++) {
		w->left[p.leases[i]] = !p.explained[i];
		*n_left += !p.explained[i];
	}
	return r;
}

/* Return: how many disks are left, or negative errno. */
static int look_at_disks(struct waiting *w)
{
	size_t at = 0, n_left = 0;

	while (w->info && at < w->info->pub.n_leases) {
		int r = look_at_piece(w, &at, &n_left);

		if (r)
			return context_fail(w->context, r,
					    "cannot look at the guest's disks: "
					    "%s",
					    strerror(-r));
	}
	return (int)MIN(n_left, INT_MAX);
}

/* Return: 1 if something is still held, 0, or negative errno. */
static int look(struct waiting *w)
{
	struct capsule_entry entry;
	int r = find_capsule(w, &entry);

	return r ? r : look_at_disks(w);
}

static int await_free(struct waiting *w)
{
	uint64_t until = MIN(w->context->deadline, deadline_in_ms(GRACE_MS));

	for (;;) {
		bool last = clock_now() >= until;
		int r = look(w);

		if (r <= 0 || last)
			return r;
		r = pause_ms(w->context, -1, SLICE_MS / 2);
		if (r < 0)
			return r;
	}
}

/* @heir: who has the capsule now, or NULL. */
static int blame(struct waiting *w, const struct glk_lease_info *lease,
		 const struct glk_guest_info *heir)
{
	struct glk_conflict c = { .path = lease->path, .mode = lease->mode };
	char exe[PATH_MAX];

	if (heir) {
		proc_exe(heir->pid, exe, sizeof(exe));
		c.kind = GLK_CONFLICT_GUEST;
		c.uuid = heir->uuid;
		c.name = heir->name;
		c.pid = heir->pid;
		c.exe = exe;
		c.since = lease->since;
	}
	return conflict_add(&w->context->conflicts, &c);
}

static int report_heir(struct waiting *w, const struct glk_guest_info *heir)
{
	const struct glk_guest_info *held = heir;
	int r = 0;

	if (heir->error && w->info)
		held = &w->info->pub;
	for (size_t i = 0; i < held->n_leases && !r; i++)
		if (held->leases[i].held)
			r = blame(w, &held->leases[i], heir);
	if (r)
		return context_no_memory(w->context);
	return context_fail(w->context, -EBUSY,
			    "the guest's process has ended, but process %d "
			    "has inherited its leases",
			    (int)heir->pid);
}

static int report_left(struct waiting *w)
{
	size_t n = w->info ? w->info->pub.n_leases : 0;
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		if (w->left[i])
			r = blame(w, &w->info->leases[i], NULL);
	if (r)
		return context_no_memory(w->context);
	return context_fail(w->context, -EBUSY,
			    "the guest's process has ended, but something that "
			    "cannot be seen keeps its leases");
}

/* The capsule of @guest is another process's now: ours stays as it is, so that
   a second call answers the same. */
static int report(struct waiting *w)
{
	struct capsule_adopt_config config = {
		.deadline = look_deadline(w->context),
	};
	struct capsule *capsule = NULL;
	struct capsule_entry entry;
	struct info *heir = NULL;
	int r = find_capsule(w, &entry);

	if (r > 0) {
		r = capsule_adopt(&entry, &config, &capsule);
		if (!r)
			r = info_new(w->context, capsule, &heir);
		capsule_free(capsule);
	} else if (!r) {
		r = look_at_disks(w);
		if (r <= 0)
			return r;
	} else {
		return r;
	}
	r = heir ? report_heir(w, &heir->pub) : report_left(w);
	info_free(heir);
	return r;
}

static int wait_for(struct waiting *w)
{
	const struct capsule_keeper *keeper;
	int r = 0;

	if (guest_state(&w->guest->sm) != GUEST_GONE)
		r = find_out(w);
	keeper = capsule_keeper(w->guest->capsule);
	if (!r && keeper)
		r = await_end(w->context, keeper);
	if (!r)
		r = await_free(w);
	return r > 0 ? report(w) : r;
}

GLK_EXPORT int glk_guest_wait(struct glk_guest *guest)
{
	_cleanup_(waiting_done) struct waiting w = { .guest = guest,
						     .context =
							     guest->context };
	int r;

	r = context_begin(guest->context);
	if (!r)
		r = guest_check(guest, GUEST_CALL_WAIT);
	if (!r)
		r = wait_for(&w);
	if (!r && guest_state(&guest->sm) != GUEST_GONE)
		r = guest_move(&guest->sm, GUEST_EVENT_VANISHED);
	return r;
}
