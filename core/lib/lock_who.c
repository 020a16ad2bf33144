/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lock_dir.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/lib/lock_name.h"
#include "core/lib/owner.h"
#include "core/lib/where.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * Who has a disk by its files in lock directories alone: a virtlockd, or a
 * guest of another host. The files are not made for that.
 */

bool lock_dir_read(const struct op *op, struct owner *ret_owner)
{
	char host[OWNER_HOST_MAX + 1];

	if (op->res <= 0 ||
	    owner_parse(op->data.to, (size_t)op->res, ret_owner))
		return false;
	owner_host(host);
	return strcmp(host, ret_owner->host) != 0;
}

static bool is_known(const struct glk_context *context)
{
	for (size_t i = 0; i < context->holders.n; i++)
		if (context->holders.items[i].kind != GLK_CONFLICT_UNKNOWN)
			return true;
	return false;
}

/* The last that was found: an exclusive holder, for whom nobody here was found
   although there was time to? See lock_dir.c. */
static bool may_have_signed(const struct glk_context *context)
{
	const struct conflict_list *holders = &context->holders;

	return holders->items[holders->n - 1].mode == GLK_MODE_EXCLUSIVE &&
	       clock_now() < context->deadline;
}

static int add_host(struct glk_context *context, const char *path, int fd,
		    bool remote)
{
	char record[OWNER_SIZE];
	struct owner owner;
	struct op op = {
		.kind = OP_READ,
		.flags = remote ? OP_REMOTE : 0,
		.fd = fd,
		.data = { .to = record, .size = sizeof(record) },
	};
	struct glk_conflict c = {
		.path = path,
		.kind = GLK_CONFLICT_HOST,
		.uuid = owner.uuid,
		.name = owner.name,
		.host = owner.host,
	};
	int r = engine_run(context->engine, &op, 1, context->deadline);

	if (r || op.res == -ECANCELED)
		return r ? r : op.res;
	if (!lock_dir_read(&op, &owner))
		return 0;
	c.pid = owner.pid;
	c.since = owner.since;
	return conflict_add(&context->holders, &c);
}

static int add_holder(void *arg, const struct holder_answer *answer)
{
	struct glk_context *context = arg;

	return conflict_add(&context->holders, &answer->who);
}

static int ask_file(struct glk_context *context, const struct holder_ask *disk,
		    const struct lock_name *name)
{
	char path[PATH_MAX + WWID_SIZE];
	struct holder_ask ask = *disk;
	size_t before = context->holders.n;
	struct where where;
	int r;

	snprintf(path, sizeof(path), "%s/%s", name->dir, name->name);
	ask.fd = where_open(context, path, &where);
	if (ask.fd == -ENOENT)
		return 0;
	if (ask.fd < 0)
		return ask.fd;
	ask.file = where.file;
	ask.remote = where.kind.remote;
	ask.all = true;
	ask.found = false;
	r = holders_find(context, &ask, 1, context->deadline, add_holder,
			 context);
	if (!r && context->holders.n > before && !is_known(context) &&
	    may_have_signed(context))
		r = add_host(context, disk->path, ask.fd, ask.remote);
	where_close(context, ask.fd, ask.remote);
	return r;
}

static void drop_unknown(struct conflict_list *list)
{
	struct conflict_list known = {};

	for (size_t i = 0; i < list->n; i++) {
		struct glk_conflict *c = &list->items[i];

		if (c->kind == GLK_CONFLICT_UNKNOWN)
			continue;
		if (conflict_add(&known, c)) {
			conflict_clear(&known);
			return;
		}
	}
	conflict_clear(list);
	*list = known;
}

int lock_dir_names(struct glk_context *context, int fd, const char *path,
		   struct lock_name *ret_names)
{
	_cleanup_(freep) char *absolute = NULL;
	struct op_stat device;
	struct statx st;

	if (!lock_dir_any(&context->policy))
		return 0;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st))
		return -errno;
	absolute = path_absolute(path);
	if (!absolute)
		return -ENOMEM;
	device = (struct op_stat){ .mode = st.stx_mode,
				   .rdev_major = st.stx_rdev_major,
				   .rdev_minor = st.stx_rdev_minor };
	return lock_names(&context->policy, context->sysfs, absolute, &device,
			  ret_names);
}

int lock_dir_holders(struct glk_context *context, const struct holder_ask *disk)
{
	struct lock_name names[LOCK_NAMES_MAX];
	int n, r = 0;

	if (is_known(context))
		return 0;
	n = lock_dir_names(context, disk->fd, disk->path, names);
	for (int i = 0; i < n && !r; i++)
		r = ask_file(context, disk, &names[i]);
	if (n < 0 || r)
		return n < 0 ? n : r;
	if (is_known(context))
		drop_unknown(&context->holders);
	/* Several that nobody sees are one, as far as anybody knows. */
	while (context->holders.n > 1 && !is_known(context))
		conflict_drop_last(&context->holders);
	return 0;
}
