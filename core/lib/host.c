/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/lib/device.h"
#include "core/lib/info.h"
#include "core/lib/lock_dir.h"
#include "core/lib/look.h"
#include "core/lib/qemu.h"
#include "core/lib/where.h"

#include <fcntl.h>
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
		    const struct capsule_entry *entry, unsigned flags,
		    uint64_t *missed)
{
	struct capsule_adopt_config config = {
		.any_owner = !(flags & GLK_LIST_TRUSTED),
		.deadline = look_deadline_of(context, entry, missed),
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
	uint64_t missed = 0;
	size_t n = 0;
	int r;

	r = context_begin(context);
	if (r)
		return r;
	if (flags & ~(unsigned)GLK_LIST_TRUSTED)
		return context_fail(context, -EINVAL, "unknown flags 0x%x",
				    flags);
	r = look_discover(NULL, context->deadline, &entries, &n);
	if (r)
		return context_capsule_fail(context, r,
					    "cannot look for guests");
	list = calloc(1, sizeof(*list));
	if (list)
		list->infos = calloc(n + 1, sizeof(*list->infos));
	if (!list || !list->infos)
		r = -ENOMEM;
	for (size_t i = 0; i < n && !r; i++) {
		if (i && !entries[i].missed && look_is_late(context))
			r = -ETIME;
		else
			r = list_add(context, list, &entries[i], flags,
				     &missed);
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

static int ask_fail(struct glk_context *context, const char *path, int error)
{
	return context_fail(context, error, "%s: %s", quoted(path),
			    error == -ETIME ? TEXT_TOO_SLOW : strerror(-error));
}

/* Return: descriptor, or error with message. */
static int open_to_ask(struct glk_context *context, const char *path,
		       struct where *ret_where)
{
	int fd = where_open(context, path, ret_where);

	if (fd == -EISDIR || fd == -EOPNOTSUPP)
		return context_fail(context, fd,
				    "%s: no regular file and no block device",
				    quoted(path));
	return fd < 0 ? ask_fail(context, path, fd) : fd;
}

static int add_holder(void *arg, const struct holder_answer *answer)
{
	struct glk_context *context = arg;

	return conflict_add(&context->holders, &answer->who);
}

/* A device has a lock file, too, which excludes its other nodes. Return:
   descriptor, or -1 if there is none that we may see. */
static int open_lock_file(struct glk_context *context, struct res_id id,
			  struct res_id *ret_file)
{
	_cleanup_(freep) char *path = NULL;
	_cleanup_(fd_closep) int fd = -1;
	struct stat st;

	if (!res_id_is_device(id))
		return -1;
	path = device_lock_path(context, id);
	if (path)
		fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return -1;
	*ret_file = (struct res_id){ st.st_dev, st.st_ino };
	return TAKE_FD(fd);
}

static int ask_relative(struct glk_context *context, const char *path,
			const struct sysfs_relative *relative)
{
	_cleanup_(freep) char *how = device_how(relative);
	_cleanup_(fd_closep) int fd = -1;
	struct holder_ask ask = {
		.id = res_id_of_device(relative->rdev, relative->diskseq),
		.path = path,
		.how = how,
		.mode = RES_EXCLUSIVE,
		.all = true,
	};

	if (!how)
		return -ENOMEM;
	ask.fd = fd = open_lock_file(context, ask.id, &ask.file);
	return fd < 0 ? 0
		      : holders_find(context, &ask, 1, context->deadline,
				     add_holder, context);
}

/* Who has blocks of a device by another one has the device, too: whoever wants
   it is refused. See relatives.c. */
static int ask_relatives(struct glk_context *context, const char *path,
			 struct res_id id)
{
	struct sysfs_relatives relatives = {};
	int r;

	if (!res_id_is_device(id))
		return 0;
	r = sysfs_relatives(context->sysfs, res_id_rdev(id), &relatives);
	for (size_t i = 0; i < relatives.n && !r; i++)
		r = ask_relative(context, path, &relatives.v[i]);
	sysfs_relatives_done(&relatives);
	return r;
}

GLK_EXPORT int glk_disk_holders(struct glk_context *context, const char *path,
				const struct glk_conflict **ret_holders,
				size_t *ret_n)
{
	struct holder_ask asks[2] = {
		{ .path = path, .mode = RES_EXCLUSIVE, .all = true }
	};
	_cleanup_(fd_closep) int lock_file = -1;
	struct where where;
	int r;

	r = context_begin(context);
	if (r)
		return r;
	asks[0].fd = open_to_ask(context, path, &where);
	if (asks[0].fd < 0)
		return asks[0].fd;
	asks[0].id = where.id;
	asks[0].file = where.file;
	asks[0].remote = where.kind.remote;
	asks[1] = asks[0];
	asks[1].again = true;
	lock_file = open_lock_file(context, where.id, &asks[1].file);
	asks[1].fd = lock_file;
	r = holders_find(context, asks, lock_file < 0 ? 1 : 2,
			 context->deadline, add_holder, context);
	if (!r)
		r = lock_dir_holders(context, &asks[0]);
	if (!r && !context->holders.n)
		r = qemu_holders(context, &asks[0], context->deadline,
				 add_holder, context);
	if (!r)
		r = ask_relatives(context, path, where.id);
	where_close(context, asks[0].fd, where.kind.remote);
	if (r)
		return ask_fail(context, path, r);
	*ret_holders = context->holders.items;
	*ret_n = context->holders.n;
	return 0;
}

GLK_EXPORT int glk_disk_scope(struct glk_context *context, const char *path,
			      int *ret_scope, const char **ret_fs_name)
{
	struct where where;
	int r;

	r = context_begin(context);
	if (r)
		return r;
	r = where_path(context, path, &where);
	if (r)
		return ask_fail(context, path, r);
	context->last_kind = where.kind;
	*ret_scope = (int)context->last_kind.scope;
	*ret_fs_name = context->last_kind.fs;
	return 0;
}

GLK_EXPORT const char *glk_version(void)
{
	return GLK_VERSION;
}
