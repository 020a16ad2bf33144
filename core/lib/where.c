/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/where.h"

#include "core/base/feature.h"
#include "core/base/util.h"
#include "core/lib/device.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * The text of a path does not tell whether it leads to a server: a link may. A
 * descriptor with O_PATH does. The engine makes one from the kernel's cache, or
 * else has a worker walk the path, so this thread waits for nobody; and
 * statx(2) with AT_STATX_DONT_SYNC tells from memory what it is.
 */

static bool has_dot_dot(const char *path)
{
	for (const char *s = path; (s = strstr(s, "..")); s += 2)
		if ((s == path || s[-1] == '/') && (!s[2] || s[2] == '/'))
			return true;
	return false;
}

uint8_t where_flags(struct glk_context *context, const char *path)
{
	struct mount_kind kind;

	if (!mounts_any_remote(context->mounts))
		return 0;
	if (has_dot_dot(path))
		return OP_REMOTE;
	mounts_by_path(context->mounts, path, &kind);
	return kind.remote ? OP_REMOTE : 0;
}

int where_fd(struct glk_context *context, int fd, const char *path,
	     struct where *ret_where)
{
	struct where where = {};
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		  STATX_TYPE | STATX_INO, &st))
		return -errno;
	where.id.dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	where.id.ino = st.stx_ino;
	where.file = where.id;
	where.mode = st.stx_mode;
	mounts_by_fd(context->mounts, fd, where.id.dev, &where.kind);
	if (S_ISBLK(st.stx_mode)) {
		where.id = device_id_of(context, path,
					makedev(st.stx_rdev_major,
						st.stx_rdev_minor));
		where.kind.remote = false;
		where.kind.scope = RES_SCOPE_HOST;
	}
	*ret_where = where;
	return 0;
}

int where_path(struct glk_context *context, const char *path,
	       struct where *ret_where)
{
	_cleanup_(fd_closep) int fd = -1;
	struct op op = {
		.kind = OP_OPEN,
		.fd = AT_FDCWD,
		.open = { .path = path, .flags = O_PATH },
	};
	int r;

	if (!feature_allowed(FEATURE_OPENAT2) &&
	    mounts_any_remote(context->mounts))
		op.flags = OP_REMOTE;
	r = engine_run(context->engine, &op, 1, context->deadline);
	if (r || op.res < 0)
		return r ? r : op.res;
	fd = op.res;
	return where_fd(context, fd, path, ret_where);
}

/* Somebody's F_SETLEASE has to be given back first: a worker waits for that. */
static int open_leased(struct glk_context *context, struct op *op)
{
	op->flags = OP_REMOTE;
	op->open.flags &= ~O_NONBLOCK;
	return engine_run(context->engine, op, 1, context->deadline);
}

int where_refuse(const struct where *where)
{
	if (S_ISREG(where->mode) || S_ISBLK(where->mode))
		return 0;
	return S_ISDIR(where->mode) ? -EISDIR : -EOPNOTSUPP;
}

int where_open(struct glk_context *context, const char *path,
	       struct where *ret_where)
{
	struct where where;
	struct op op = {
		.kind = OP_OPEN,
		.fd = AT_FDCWD,
		.open = { .path = path,
			  .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY },
	};
	int r;

	r = where_path(context, path, &where);
	if (r)
		return r;
	r = where_refuse(&where);
	if (r)
		return r;
	op.flags = where.kind.remote ? OP_REMOTE : 0;
	r = engine_run(context->engine, &op, 1, context->deadline);
	if (!r && op.res == -EAGAIN && S_ISREG(where.mode))
		r = open_leased(context, &op);
	if (r || op.res < 0)
		return r ? r : op.res;
	r = where_fd(context, op.res, path, &where);
	if (r) {
		where_close(context, op.res, where.kind.remote);
		return r;
	}
	*ret_where = where;
	return op.res;
}

void where_close(struct glk_context *context, int fd, bool remote)
{
	struct op op = {
		.kind = OP_CLOSE,
		.flags = remote ? OP_REMOTE : 0,
		.fd = fd,
	};

	if (engine_run(context->engine, &op, 1, context->deadline))
		fd_close(fd);
}
