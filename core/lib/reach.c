/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/overlay.h"
#include "core/lib/where.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * How far a lease on a disk would reach, and why. A server is asked nothing but
 * the way to the file, and that with the call's time limit; the links on the
 * way to a local file have been followed by then, so they are followed once
 * more to learn its name.
 */

void reach_done(struct glk_disk_reach *reach)
{
	free((char *)reach->fs);
	free((char *)reach->mount);
	free((char *)reach->upper);
	free((char *)reach->lower);
	free((char *)reach->twin);
	*reach = (struct glk_disk_reach){};
}

static char *real_path(const char *path, bool remote)
{
	_cleanup_(fd_closep) int fd = -1;
	char link[40], name[PATH_MAX + 1];
	ssize_t n = -1;

	if (!remote)
		fd = open(path, O_PATH | O_CLOEXEC);
	if (fd >= 0) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, name, PATH_MAX);
	}
	if (n <= 0)
		return path_absolute(path);
	name[n] = '\0';
	return strdup(name);
}

static int find_place(struct glk_context *context, const char *path,
		      const struct where *where, struct glk_disk_reach *reach)
{
	_cleanup_(freep) char *name = real_path(path, where->kind.remote);
	struct overlay_twins twins = {};
	struct mount_place place;

	if (!name)
		return -ENOMEM;
	if (!mounts_find(context->mounts, name, &place) ||
	    strcmp(place.kind.fs, where->kind.fs))
		return 0;
	free((char *)reach->mount);
	reach->mount = strdup(place.point);
	if (place.twin)
		reach->twin = strdup(place.twin);
	if (!reach->mount || (place.twin && !reach->twin) ||
	    overlay_twins(&place, name, &twins))
		return -ENOMEM;
	reach->upper = twins.upper;
	reach->lower = twins.lower;
	return 0;
}

static int fail(struct glk_context *context, const char *path, int r)
{
	const char *why = strerror(-r);

	if (r == -ETIME)
		why = TEXT_TOO_SLOW;
	else if (r == -EISDIR || r == -EOPNOTSUPP)
		why = "no regular file and no block device";
	return context_fail(context, r, "%s: %s", quoted(path), why);
}

GLK_EXPORT int glk_disk_reach(struct glk_context *context, const char *path,
			      const struct glk_disk_reach **ret_reach)
{
	_cleanup_(reach_done) struct glk_disk_reach reach = {};
	struct where where;
	int r;

	r = context_begin(context);
	if (r)
		return r;
	r = where_path(context, path, &where);
	if (!r)
		r = where_refuse(&where);
	if (r)
		return fail(context, path, r);
	reach.scope = (int)where.kind.scope;
	reach.type = S_ISBLK(where.mode) ? GLK_LEASE_BLOCK : GLK_LEASE_FILE;
	reach.dev = res_id_rdev(where.id);
	reach.ino = where.id.ino;
	reach.option = where.kind.option;
	reach.fs = strdup(where.kind.fs);
	reach.mount = strdup("");
	if (!reach.fs || !reach.mount ||
	    find_place(context, path, &where, &reach))
		return context_no_memory(context);
	reach_done(&context->reach);
	context->reach = reach;
	reach = (struct glk_disk_reach){};
	*ret_reach = &context->reach;
	return 0;
}
