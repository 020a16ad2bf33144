/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/holders.h"
#include "core/lib/info.h"
#include "core/lib/look.h"

#include "core/base/compat.h"
#include "core/base/util.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

/* What the whole host has: its guests, and who holds a disk. */

struct glk_guest_list {
	struct info **infos;
	size_t n;
	size_t denied;
};

static int compare_infos(const void *a, const void *b)
{
	const struct info *x = *(struct info *const *)a;
	const struct info *y = *(struct info *const *)b;
	int r = strcmp(x->name, y->name);

	return r ? r : strcmp(x->uuid, y->uuid);
}

static int list_add(struct glk_context *context, struct glk_guest_list *list,
		    const struct capsule_entry *entry, unsigned flags)
{
	struct capsule_adopt_config config = {
		.any_owner = !(flags & GLK_LIST_TRUSTED),
		.deadline = look_deadline(context),
	};
	struct capsule *capsule = NULL;
	int r;

	r = capsule_adopt(entry, &config, &capsule);
	if (r == CAPSULE_E_DENIED)
		list->denied++;
	if (r == CAPSULE_E_NOFILE || r == -ENOMEM)
		return r;
	if (r)
		return 0; /* gone by now, or not what its name says */
	r = info_new_until(context, capsule, config.deadline,
			   &list->infos[list->n]);
	if (!r)
		list->n++;
	capsule_free(capsule);
	return r == CAPSULE_E_GONE ? 0 : r;
}

GLK_EXPORT int glk_guest_list_new(struct glk_context *context, unsigned flags,
				  struct glk_guest_list **ret_list)
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	struct glk_guest_list *list;
	size_t n = 0;
	int r;

	r = context_begin(context);
	if (r)
		return r;
	r = look_discover(context, NULL, &entries, &n);
	if (r)
		return context_capsule_fail(context, r,
					    "cannot look for guests");
	list = calloc(1, sizeof(*list));
	if (list)
		list->infos = calloc(n + 1, sizeof(*list->infos));
	if (!list || !list->infos)
		r = -ENOMEM;
	for (size_t i = 0; i < n && !r; i++) {
		if (i && look_is_late(context))
			r = -ETIME;
		else
			r = list_add(context, list, &entries[i], flags);
	}
	if (r) {
		glk_guest_list_free(list);
		return context_capsule_fail(context, r,
					    "cannot list the guests");
	}
	qsort(list->infos, list->n, sizeof(*list->infos), compare_infos);
	*ret_list = list;
	return 0;
}

GLK_EXPORT void glk_guest_list_free(struct glk_guest_list *list)
{
	if (!list)
		return;
	for (size_t i = 0; list->infos && i < list->n; i++)
		info_free(list->infos[i]);
	free(list->infos);
	free(list);
}

GLK_EXPORT size_t glk_guest_list_count(const struct glk_guest_list *list)
{
	return list->n;
}

GLK_EXPORT const struct glk_guest_info *glk_guest_list_get(
	const struct glk_guest_list *list, size_t i)
{
	return i < list->n ? &list->infos[i]->pub : NULL;
}

GLK_EXPORT size_t glk_guest_list_denied(const struct glk_guest_list *list)
{
	return list->denied;
}

/* Open and identify a disk for a question. Return: descriptor or error. */
static int open_to_ask(struct glk_context *context, const char *path,
		       struct op_stat *ret_stat)
{
	struct mount_kind kind = {};
	struct op op = {
		.kind = OP_OPEN,
		.fd = AT_FDCWD,
		.open = { .path = path,
			  .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY },
	};
	int r, fd;

	if (mounts_any_remote(context->mounts))
		mounts_by_path(context->mounts, path, &kind);
	op.flags = kind.remote ? OP_REMOTE : 0;
	r = engine_run(context->engine, &op, 1, context->deadline);
	fd = op.res;
	if (!r && fd >= 0) {
		op = (struct op){ .kind = OP_STAT,
				  .flags = op.flags,
				  .fd = fd };
		r = engine_run(context->engine, &op, 1, context->deadline);
		if (!r)
			r = op.res;
		if (r)
			fd = fd_close(fd);
		else
			*ret_stat = op.stat.out;
	}
	r = r ? r : MIN(fd, 0);
	if (r)
		context_fail(context, r, "%s: %s", quoted(path), strerror(-r));
	return r ? r : fd;
}

static int add_holder(void *arg, const struct holder_answer *answer)
{
	struct glk_context *context = arg;

	return conflict_add(&context->holders, &answer->who);
}

GLK_EXPORT int glk_disk_holders(struct glk_context *context, const char *path,
				const struct glk_conflict **ret_holders,
				size_t *ret_n)
{
	struct holder_ask ask = { .path = path,
				  .mode = RES_EXCLUSIVE,
				  .all = true };
	_cleanup_(fd_closep) int fd = -1;
	struct op_stat st;
	int r;

	r = context_begin(context);
	if (r)
		return r;
	fd = open_to_ask(context, path, &st);
	if (fd < 0)
		return fd;
	if (!S_ISREG(st.mode))
		return context_fail(context,
				    S_ISDIR(st.mode) ? -EISDIR : -EOPNOTSUPP,
				    "%s: not a regular file", quoted(path));
	ask.id = (struct res_id){ st.dev, st.ino };
	ask.fd = fd;
	r = holders_find(context, &ask, 1, context->deadline, add_holder,
			 context);
	if (r)
		return context_fail(context, r, "%s: %s", quoted(path),
				    strerror(-r));
	*ret_holders = context->holders.items;
	*ret_n = context->holders.n;
	return 0;
}

GLK_EXPORT int glk_disk_scope(struct glk_context *context, const char *path,
			      int *ret_scope, const char **ret_fs_name)
{
	_cleanup_(fd_closep) int fd = -1;
	struct op_stat st;
	int r;

	r = context_begin(context);
	if (r)
		return r;
	fd = open_to_ask(context, path, &st);
	if (fd < 0)
		return fd;
	mounts_by_dev(context->mounts, st.dev, path, &context->last_kind);
	*ret_scope = (int)context->last_kind.scope;
	*ret_fs_name = context->last_kind.fs;
	return 0;
}

GLK_EXPORT const char *glk_version(void)
{
	return GLK_VERSION;
}
