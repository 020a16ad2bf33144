/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/info.h"

#include "core/base/util.h"
#include "core/capsule/proc.h"
#include "core/lib/where.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * The path of a lease. What the record says is hostile; what the kernel says of
 * the descriptor (/proc/self/fd) is true, but is not what the caller named if a
 * link or a bind mount was in the way, and has a mark if the file was deleted.
 * So: if both agree, or if the recorded path leads to the locked inode, or if
 * the kernel's does not, the recorded one is shown; else the kernel's. Whoever
 * wrote the record cannot make us wait for a dead server for longer than the
 * call's time limit.
 */

_Static_assert((int)GLK_ROLE_NONE == ROLE_NONE &&
		       (int)GLK_ROLE_OWNER == ROLE_OWNER &&
		       (int)GLK_ROLE_PREPARED == ROLE_PREPARED &&
		       (int)GLK_ROLE_LEFT == ROLE_LEFT &&
		       (int)GLK_ROLE_INCOMING == ROLE_INCOMING &&
		       (int)GLK_ROLE_ARRIVED == ROLE_ARRIVED,
	       "the public roles are ours");

/* Return: 1, 0, or -ECANCELED. */
static int leads_to(struct glk_context *context, const char *path,
		    struct res_id id)
{
	struct where where;
	int r;

	if (path[0] != '/')
		return 0;
	r = where_path(context, path, &where);
	if (r)
		return r == -ECANCELED ? r : 0;
	return res_id_equal(where.id, id);
}

static void kernel_path(int fd, char *buf, size_t size)
{
	char link[40];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, buf, size - 1);
	buf[MAX(n, 0)] = '\0';
}

static bool is_deleted(const char *path)
{
	static const char mark[] = " (deleted)";
	size_t len = strlen(path), tail = sizeof(mark) - 1;

	return len > tail && !strcmp(path + len - tail, mark);
}

/* A file of a lock directory that is gone: it is locked, and whoever makes it
   anew is not excluded. */
static bool any_unlinked(const struct capsule_lease *lease)
{
	struct statx st;

	for (unsigned i = 1; i < lease->n_fds; i++)
		if (!statx(lease->fds[i], "",
			   AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_NLINK,
			   &st) &&
		    !st.stx_nlink)
			return true;
	return false;
}

static int fill_lease(struct glk_context *context,
		      const struct capsule_lease *lease,
		      struct glk_lease_info *info)
{
	const char *path = lease->path;
	char now[PATH_MAX + 16];
	int same = 0, moved = 0;
	bool deleted;

	kernel_path(lease->fds[0], now, sizeof(now));
	deleted = !now[0] || is_deleted(now);
	/* What a device's node leads to is not told by its name. */
	if (lease->same_id && !deleted && !strcmp(now, path) &&
	    !res_id_is_device(lease->id))
		same = 1;
	else if (lease->same_id)
		same = leads_to(context, path, lease->id);
	if (!same)
		moved = deleted ? leads_to(context, now, lease->id) : 1;
	if (same < 0 || moved < 0)
		return -ECANCELED;
	if (moved)
		path = now;
	*info = (struct glk_lease_info){
		.path = strdup(path),
		.type = res_id_is_device(lease->id) ? GLK_LEASE_BLOCK
						    : (int)lease->type,
		.mode = (int)lease->mode,
		.scope = (int)lease->scope,
		.held = lease->unknown ? GLK_HELD_UNKNOWN : lease->held,
		.role = (int)lease->role,
		.same_file = same,
		.dev = res_id_rdev(lease->id),
		.ino = lease->id.ino,
		.since = lease->since,
		.unlinked = any_unlinked(lease),
	};
	return info->path ? 0 : -ENOMEM;
}

bool info_is_of(const struct glk_lease_info *lease, struct res_id id)
{
	return lease->dev == res_id_rdev(id) && lease->ino == id.ino &&
	       (lease->type == GLK_LEASE_BLOCK) == res_id_is_device(id);
}

static int fill_leases(struct glk_context *context, struct info *info,
		       const struct capsule_contents *contents)
{
	int r = 0;

	info->pub.n_garbled = contents->n_garbled;
	info->leases = calloc(contents->n_leases + 1, sizeof(*info->leases));
	if (!info->leases)
		return -ENOMEM;
	info->pub.leases = info->leases;
	for (size_t i = 0; i < contents->n_leases && !r; i++) {
		r = fill_lease(context, &contents->leases[i], &info->leases[i]);
		info->pub.n_leases += !r;
	}
	return r;
}

static void fill_guest(struct info *info, const struct capsule *capsule)
{
	const struct capsule_identity *who = capsule_identity(capsule);
	const struct capsule_keeper *keeper = capsule_keeper(capsule);
	uint64_t start = 0;

	uuid_format(&who->uuid, info->uuid);
	strcpy(info->name, who->name);
	info->pub = (struct glk_guest_info){
		.uuid = info->uuid,
		.name = info->name,
		.id = who->id,
		.pid = keeper ? keeper->pid : getpid(),
		.holder = (int)who->holder,
		.uid = capsule_uid(capsule),
		.epoch = who->epoch,
		.tag = who->nonce,
	};
	if (keeper)
		start = keeper->start;
	else if (proc_start_time(getpid(), &start))
		return;
	info->pub.started = proc_start_to_realtime(start);
}

static int error_of(int e)
{
	if (e == CAPSULE_E_NOFILE)
		return -EMFILE;
	return e > 0 ? -ETIME : e;
}

int info_new_until(struct glk_context *context, struct capsule *capsule,
		   uint64_t deadline, struct info **ret_info)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
	struct info *info = calloc(1, sizeof(*info));
	int r;

	if (!info)
		return -ENOMEM;
	fill_guest(info, capsule);
	r = capsule_list(capsule, deadline, &contents);
	if (!r) {
		r = fill_leases(context, info, &contents);
		capsule_contents_done(&contents);
	} else if (r != CAPSULE_E_GONE && r != -ENOMEM) {
		info->pub.error = error_of(r);
		r = 0;
	}
	if (r) {
		info_free(info);
		return r;
	}
	*ret_info = info;
	return 0;
}

int info_new(struct glk_context *context, struct capsule *capsule,
	     struct info **ret_info)
{
	return info_new_until(context, capsule, context->deadline, ret_info);
}

struct info *info_free(struct info *info)
{
	if (!info)
		return NULL;
	for (size_t i = 0; i < info->pub.n_leases; i++)
		free((char *)info->leases[i].path);
	free(info->leases);
	free(info);
	return NULL;
}
