/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lock_dir.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/lib/lease_file.h"
#include "core/lib/lock_name.h"
#include "core/lib/owner.h"
#include "core/lib/where.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * The lock files of a disk are made, verified and removed as lease files are
 * (lease_file.c). Who has one exclusively writes into it who he is, once it is
 * locked and before it is parked, so that he who is refused on another host
 * hears a name. That is courtesy: if it cannot be written, the disk is taken
 * all the same. Nothing is written over what is no record of ours.
 *
 * A record outlives the host that wrote it, and virtlockd, which writes none,
 * leaves it there. So it is quoted only while somebody holds the file's lock
 * exclusively, nobody who does was found here, though there was time to look,
 * and it names another host. Who has it shared has written none, so what is
 * there is not his. (During a hand-over the owner's lock is a shared one, and
 * nobody is quoted.)
 *
 * Which files they are follows from what the caller says, when they are made
 * and when they are removed; what a guest has recorded has no part in it. Those
 * that a server keeps are never removed, see lease_file.c; they are taken again
 * the next time.
 */

static char *join(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

/* A link may lead from the local file system to a server's. What cannot be
   found out fails later, when it is opened. */
static int find_remote(struct take *t, const char *dir, bool *ret_remote)
{
	struct where where = {};
	int r;

	*ret_remote = false;
	if (!mounts_any_remote(t->context->mounts))
		return 0;
	for (size_t i = 0; i < t->n_lock_dirs; i++) {
		if (t->lock_dirs[i].path != dir)
			continue;
		*ret_remote = t->lock_dirs[i].remote;
		return 0;
	}
	r = where_path(t->context, dir, &where);
	if (r == -ETIME || r == -ECANCELED)
		return r;
	*ret_remote = !r && where.kind.remote;
	if (t->n_lock_dirs < ARRAY_SIZE(t->lock_dirs))
		t->lock_dirs[t->n_lock_dirs++] =
			(struct take_lock_dir){ dir, *ret_remote };
	return 0;
}

static int add_point(struct take *t, uint32_t item, const struct op_stat *st,
		     const struct lock_name *name)
{
	struct take_slot *slot = &t->slots[item];
	bool remote;
	char *path;
	int r;

	r = find_remote(t, name->dir, &remote);
	if (r)
		return r;
	path = join(name->dir, name->name);
	if (!path)
		return -ENOMEM;
	r = take_point_add(slot, st, path, remote);
	if (!r)
		slot->more->points[slot->more->n_points - 1].signs = true;
	return r;
}

bool lock_dir_any(const struct glk_policy *policy)
{
	return policy->lock_dir || policy->lvm_lock_dir ||
	       policy->scsi_lock_dir;
}

int lock_dir_points(struct take *t, uint32_t item, const struct op_stat *st)
{
	const struct glk_policy *policy = &t->context->policy;
	struct lock_name names[LOCK_NAMES_MAX];
	_cleanup_(freep) char *path = NULL;
	int n, r = 0;

	if (!lock_dir_any(policy) || t->slots[item].type == RES_TYPE_LEASE)
		return 0;
	if (!S_ISREG(st->mode) && !S_ISBLK(st->mode))
		return 0;
	path = path_absolute(txn_item(t->txn, item)->path);
	if (!path)
		return -ENOMEM;
	n = lock_names(policy, t->context->sysfs, path, st, names);
	for (int i = 0; i < n && !r; i++)
		r = add_point(t, item, st, &names[i]);
	return n < 0 ? n : r;
}

/* The files that are to be signed, a point of each item at a time. */
struct signing {
	struct take *t;
	unsigned point;
	size_t n;
	char record[OWNER_SIZE];
	char (*starts)[OWNER_MAGIC_SIZE]; /* what each begins with */
};

static bool signs(const struct take *t, uint32_t item, unsigned point)
{
	return point < take_n_points(&t->slots[item]) && point &&
	       take_point(t, item, point).signs;
}

static bool is_to_sign(const struct signing *s, uint32_t item)
{
	return txn_item(s->t->txn, item)->state == TXN_ITEM_VERIFIED &&
	       !take_is_shared(s->t, item) && signs(s->t, item, s->point);
}

static void prepare(struct signing *s, size_t k, enum op_kind kind)
{
	const struct take_point point =
		take_point(s->t, s->t->op_items[k], s->point);

	s->t->ops[k] = (struct op){
		.kind = (uint8_t)kind,
		.flags = point.remote ? OP_REMOTE : 0,
		.fd = point.fd,
		.data = { .to = s->starts[k], .size = OWNER_MAGIC_SIZE },
	};
	if (kind == OP_WRITE) {
		s->t->ops[k].data.from = s->record;
		s->t->ops[k].data.size = OWNER_SIZE;
	}
}

/* Look at what is there, then write. */
static int sign_point(struct signing *s)
{
	struct take *t = s->t;
	size_t n = 0, k = 0;
	int r;

	for (uint32_t i = 0; i < t->n; i++)
		if (is_to_sign(s, i))
			t->op_items[n++] = i;
	for (size_t i = 0; i < n; i++)
		prepare(s, i, OP_READ);
	r = take_run(t, n);
	for (size_t i = 0; i < n && !r; i++) {
		const struct op *op = &t->ops[i];

		if (op->res >= 0 &&
		    owner_is_ours(s->starts[i], (size_t)op->res))
			t->op_items[k++] = t->op_items[i];
	}
	for (size_t i = 0; i < k && !r; i++)
		prepare(s, i, OP_WRITE);
	return r ? r : take_run(t, k);
}

static void describe_guest(const struct glk_guest *guest, struct owner *owner)
{
	*owner = (struct owner){
		.pid = guest->holder_pid ? guest->holder_pid : getpid(),
		.since = clock_ns(CLOCK_REALTIME),
		.epoch = guest->who.epoch & INT64_MAX,
	};
	uuid_format(&guest->who.uuid, owner->uuid);
	snprintf(owner->name, sizeof(owner->name), "%s", guest->who.name);
	owner_host(owner->host);
}

static unsigned last_to_sign(const struct take *t)
{
	unsigned last = 0;

	for (uint32_t i = 0; i < t->n; i++)
		for (unsigned p = 1; p < take_n_points(&t->slots[i]); p++)
			if (signs(t, i, p))
				last = MAX(last, p);
	return last;
}

int lock_dir_sign(struct take *t)
{
	unsigned last = last_to_sign(t);
	_cleanup_(freep) struct signing *s = NULL;
	struct owner owner;
	int r;

	if (!last)
		return 0;
	s = malloc(sizeof(*s) + t->n * sizeof(*s->starts));
	if (!s)
		return -ENOMEM;
	s->t = t;
	s->starts = (char(*)[OWNER_MAGIC_SIZE])(s + 1);
	describe_guest(t->guest, &owner);
	r = owner_encode(&owner, s->record);
	for (s->point = 1; s->point <= last && !r; s->point++)
		r = sign_point(s);
	return r;
}

/* The file that may say who has the disk, or NULL. */
static const struct take_point *quotable(const struct take *t, uint32_t item)
{
	const struct take_slot *slot = &t->slots[item];
	unsigned n = take_n_points(slot), best = 0;

	for (unsigned p = 1; p < n; p++)
		if (signs(t, item, p) && slot->more->points[p - 1].fd >= 0 &&
		    (!best || p == slot->blamed))
			best = p;
	return best ? &slot->more->points[best - 1] : NULL;
}

struct quoting {
	struct take *t;
	size_t n, *asks; /* index of the ask for each op */
	char (*records)[OWNER_SIZE];
};

static int alloc_quoting(struct quoting *q, size_t n)
{
	q->asks = calloc(n, sizeof(*q->asks));
	q->records = malloc(n * sizeof(*q->records));
	return q->asks && q->records ? 0 : -ENOMEM;
}

static void quoting_done(struct quoting *q)
{
	free(q->asks);
	free(q->records);
}

/* Those that are locked by somebody who may have written the record. */
static int keep_locked(struct quoting *q)
{
	struct take *t = q->t;
	size_t n = 0;
	int r = take_run(t, q->n);

	for (size_t i = 0; i < q->n && !r; i++) {
		const struct op op = t->ops[i];

		if (op.res || op.lock.type != F_WRLCK)
			continue;
		q->asks[n] = q->asks[i];
		t->ops[n] = (struct op){
			.kind = OP_READ,
			.flags = op.flags,
			.fd = op.fd,
			.data = { .to = q->records[n], .size = OWNER_SIZE },
		};
		n++;
	}
	q->n = n;
	return r ? r : take_run(t, n);
}

static int report_owner(const struct quoting *q, size_t i,
			const struct holder_ask *ask,
			int (*report)(void *, const struct holder_answer *))
{
	const struct op *op = &q->t->ops[i];
	struct owner owner;
	struct holder_answer answer = {
		.ask = q->asks[i],
		.dying = true, /* for all that is known */
		.who = {
			.path = ask->path,
			.kind = GLK_CONFLICT_HOST,
			.uuid = owner.uuid,
			.name = owner.name,
			.host = owner.host,
		},
	};

	if (!lock_dir_read(op, &owner))
		return 0;
	answer.who.pid = owner.pid;
	answer.who.since = owner.since;
	return report(q->t, &answer);
}

int lock_dir_quote(struct take *t, const struct holder_ask *asks, size_t n,
		   int (*report)(void *arg, const struct holder_answer *answer))
{
	_cleanup_(quoting_done) struct quoting q = { .t = t };
	int r;

	if (!lock_dir_any(&t->context->policy) ||
	    clock_now() >= MIN(t->search_until, t->context->deadline))
		return 0;
	if (alloc_quoting(&q, n))
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		uint32_t item = t->events[t->op_items[i]].item;
		const struct take_point *point =
			asks[i].found ? NULL : quotable(t, item);

		if (!point)
			continue;
		q.asks[q.n] = i;
		t->ops[q.n++] = (struct op){
			.kind = OP_QUERY,
			.flags = point->remote ? OP_REMOTE : 0,
			.fd = point->fd,
			.lock = { .type = take_is_shared(t, item) ? F_RDLCK
								  : F_WRLCK,
				  .start = LOCK_BYTE_OWNER,
				  .len = 1 },
		};
	}
	r = keep_locked(&q);
	for (size_t i = 0; i < q.n && !r; i++)
		r = report_owner(&q, i, &asks[q.asks[i]], report);
	return r;
}

/* @name is one of the lease's files only if it leads to that. */
static void remove_name(struct glk_context *context,
			const struct capsule_lease *lease,
			const struct lock_name *name)
{
	_cleanup_(freep) char *path = join(name->dir, name->name);
	struct mount_kind kind = {};

	for (unsigned i = 1; i < lease->n_fds && path; i++) {
		if (mounts_any_remote(context->mounts))
			mounts_by_dev(context->mounts, lease->files[i].dev,
				      NULL, &kind);
		if (!kind.remote)
			lease_file_remove(lease->fds[i], path);
	}
}

void lock_dir_remove(struct glk_context *context,
		     const struct capsule_lease *lease, const char *path)
{
	struct lock_name names[LOCK_NAMES_MAX];
	int n = 0;

	if (lease->n_fds > 1)
		n = lock_dir_names(context, lease->fds[0], path, names);
	for (int i = 0; i < n; i++)
		remove_name(context, lease, &names[i]);
}

const char *lock_dir_text(const char *path, int error)
{
	static _Thread_local char text[2 * PATH_MAX];
	int dir = (int)lease_file_dir(path);

	if (error == -ENOENT)
		snprintf(text, sizeof(text), "there is no lock directory %.*s",
			 dir, path);
	else if (error == -ENOTDIR)
		snprintf(text, sizeof(text), "%.*s is no directory", dir, path);
	else
		snprintf(text, sizeof(text), "lock file %s: %s", path,
			 error == -ETIME ? TEXT_TOO_SLOW : strerror(-error));
	return quoted(text);
}
