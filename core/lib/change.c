/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/device.h"
#include "core/lib/info.h"
#include "core/lib/lease_file.h"
#include "core/lib/lib.h"
#include "core/lib/lock_dir.h"
#include "core/lib/sysfs.h"

#include "core/base/util.h"
#include "core/lib/where.h"

#include <fcntl.h>
#include <string.h>

/* Changes of a guest that has been acquired: hotplug, and what it holds. */

int change_begin(struct glk_guest *guest, enum guest_call call)
{
	int r = context_begin(guest->context);

	if (r)
		return r;
	r = guest_check(guest, call);
	if (r)
		return r;
	return guest_move(&guest->sm, GUEST_EVENT_CHANGE_BEGIN);
}

int change_end(struct glk_guest *guest, int r)
{
	int moved = guest_move(&guest->sm, GUEST_EVENT_CHANGE_END);

	return r ? r : moved;
}

GLK_EXPORT int glk_guest_attach(struct glk_guest *guest,
				const struct glk_disk *disks, size_t n)
{
	_cleanup_(freep) struct wanted_disk *wanted = NULL;
	struct wanted_disk few[4];
	struct wanted_disk *w = few;
	int r;

	r = change_begin(guest, GUEST_CALL_ATTACH);
	if (r)
		return r;
	if (n > ARRAY_SIZE(few))
		w = wanted = calloc(n, sizeof(*wanted));
	if (!w)
		return change_end(guest, context_no_memory(guest->context));
	for (size_t i = 0; i < n && !r; i++) {
		/* Borrowed: nothing here outlives the call. */
		w[i].path = (char *)disks[i].path;
		r = disk_check(guest->context, &disks[i], &w[i]);
	}
	if (!r && n)
		r = take_disks(guest, w, n);
	return change_end(guest, r);
}

/* What the path names now; a path that is gone or hangs has no id. */
static int current_id(struct glk_context *context, const char *path,
		      struct res_id *ret_id)
{
	struct where where = {};
	int r;

	r = where_path(context, path, &where);
	if (r != -ECANCELED)
		*ret_id = where.id;
	return r == -ECANCELED ? r : 0;
}

/* The leases that a path means. */
struct meaning {
	const char *path; /* as the caller says */
	struct res_id id;
	const char *text; /* NULL: by id */
};

static bool is_meant(const struct meaning *meaning,
		     const struct capsule_lease *lease)
{
	if (meaning->text)
		return path_same_text(lease->path, meaning->text);
	return res_id_equal(lease->id, meaning->id);
}

static size_t count_meant(const struct meaning *meaning,
			  const struct capsule_contents *contents)
{
	size_t n = 0;

	for (size_t i = 0; i < contents->n_leases; i++)
		n += is_meant(meaning, &contents->leases[i]);
	return n;
}

static bool is_remote(struct glk_context *context,
		      const struct capsule_lease *lease, unsigned point)
{
	struct mount_kind kind = {};

	if (mounts_any_remote(context->mounts))
		mounts_by_dev(context->mounts, lease->files[point].dev, NULL,
			      &kind);
	return kind.remote;
}

static bool any_remote(struct glk_context *context,
		       const struct capsule_lease *lease)
{
	for (unsigned i = 0; i < lease->n_fds; i++)
		if (is_remote(context, lease, i))
			return true;
	return false;
}

static int run_remote(struct glk_context *context,
		      const struct capsule_lease *lease, const struct op *what)
{
	int r = 0;

	for (unsigned i = 0; i < lease->n_fds && !r; i++) {
		struct op op = *what;

		op.flags = is_remote(context, lease, i) ? OP_REMOTE : 0;
		op.fd = lease->fds[i];
		r = engine_run(context->engine, &op, 1, context->deadline);
		r = r ? r : op.res;
	}
	return r;
}

/*
 * A server may let us wait for an unlock, too. And it can lose locks, so the
 * mark that this one was released comes last: a lease that could not be
 * released must not bear it.
 */
static int unlock_remote(struct glk_context *context,
			 const struct capsule_lease *lease)
{
	static const struct op handover = {
		.kind = OP_UNLOCK,
		.lock = { .start = LOCK_HANDOVER_START,
			  .len = LOCK_HANDOVER_LEN },
	};
	static const struct op owner = {
		.kind = OP_UNLOCK,
		.lock = { .start = LOCK_BYTE_OWNER, .len = 1 },
	};
	static const struct op mark = {
		.kind = OP_LOCK,
		.lock = { .type = F_RDLCK,
			  .start = LOCK_BYTE_RELEASED,
			  .len = 1 },
	};
	int r = run_remote(context, lease, &handover);

	if (!r)
		r = run_remote(context, lease, &owner);
	if (!r)
		(void)run_remote(context, lease, &mark);
	return r;
}

int change_unlock(struct glk_context *context, struct capsule_lease *lease)
{
	return any_remote(context, lease) ? unlock_remote(context, lease)
					  : capsule_unlock(lease);
}

/* Is the device still there, and the same? */
static bool is_current(const struct glk_context *context, struct res_id id)
{
	return sysfs_diskseq(context->sysfs, res_id_rdev(id)) == id.ino;
}

/* Its name is made of what the kernel says of the device, and goes only if one
   of the lease's own descriptors is that file, and no lease follows. */
static void remove_device_file(struct glk_context *context,
			       const struct capsule_lease *lease)
{
	_cleanup_(freep) char *path = NULL;

	if (is_current(context, lease->id))
		return;
	path = device_lock_path(context, lease->id);
	for (unsigned i = 1; path && i < lease->n_fds; i++)
		if (!is_remote(context, lease, i) &&
		    lease_file_remove(lease->fds[i], path))
			return;
}

/* While it is locked; see lease_file.c. */
static void remove_files(struct glk_context *context,
			 const struct capsule_lease *lease, const char *path)
{
	if (!lease->held && !lease->role)
		return;
	lock_dir_remove(context, lease, path);
	if (lease->type == RES_TYPE_LEASE && !is_remote(context, lease, 0))
		lease_file_remove(lease->fds[0], path);
	if (res_id_is_device(lease->id))
		remove_device_file(context, lease);
}

static int release_meant(struct glk_guest *guest,
			 struct capsule_contents *contents,
			 const struct meaning *meaning, size_t *released)
{
	for (size_t i = 0; i < contents->n_leases; i++) {
		struct capsule_lease *lease = &contents->leases[i];
		int r;

		if (!is_meant(meaning, lease))
			continue;
		remove_files(guest->context, lease, meaning->path);
		r = change_unlock(guest->context, lease);
		if (r)
			return context_fail(guest->context, r,
					    "%s: cannot unlock: %s",
					    quoted(lease->path),
					    r == -ETIME ? TEXT_TOO_SLOW
							: strerror(-r));
		/* A side of a hand-over may have let go of byte 0 alone. */
		*released += lease->held || lease->role || lease->unknown;
		lease->held = lease->unknown = false;
		lease->role = ROLE_NONE;
	}
	return 0;
}

/* What a path names now is meant before what it named once: the guest may use
   both, if the first file was renamed and another one put in its place. */
static int release_one(struct glk_guest *guest,
		       struct capsule_contents *contents, const char *path,
		       size_t *released)
{
	_cleanup_(freep) char *text = NULL;
	struct meaning meaning = { .path = path };
	int r;

	r = current_id(guest->context, path, &meaning.id);
	if (r)
		return context_fail(guest->context, r, "%s: %s", quoted(path),
				    strerror(-r));
	if (!meaning.id.dev || !count_meant(&meaning, contents)) {
		text = path_absolute(path);
		if (!text)
			return context_no_memory(guest->context);
		meaning.text = text;
	}
	return release_meant(guest, contents, &meaning, released);
}

static int check_paths(struct glk_guest *guest, const char *const *paths,
		       size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!paths[i] || !*paths[i])
			return context_fail(guest->context, -EINVAL,
					    "a disk has no path");
	return 0;
}

static int release_disks(struct glk_guest *guest, const char *const *paths,
			 size_t n, size_t *released)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
	bool untidy;
	int r;

	r = guest_list(guest, guest->context->deadline, &contents);
	if (r)
		return guest_fail(guest, r, "cannot read the guest's leases");
	for (size_t i = 0; i < n && !r; i++)
		r = release_one(guest, &contents, paths[i], released);
	untidy = *released || contents.n_dead;
	capsule_contents_done(&contents);
	/*
	 * The locks are free already, perhaps by somebody who was killed here.
	 * If the guest keeps us from tidying up, its queue keeps the files open
	 * until somebody succeeds.
	 */
	if (untidy)
		capsule_compact(guest->capsule, guest->context->deadline);
	return r;
}

GLK_EXPORT int glk_guest_detach(struct glk_guest *guest,
				const char *const *paths, size_t n,
				size_t *ret_released)
{
	size_t released = 0;
	int r;

	r = change_begin(guest, GUEST_CALL_DETACH);
	if (r)
		return r;
	r = check_paths(guest, paths, n);
	if (!r && n)
		r = release_disks(guest, paths, n, &released);
	r = change_end(guest, r);
	if (!r && ret_released)
		*ret_released = released;
	return r;
}

static int read_info(struct glk_guest *guest, struct info **ret_info)
{
	struct info *info = NULL;
	int r;

	r = guest_readable(guest);
	if (!r)
		r = info_new(guest->context, guest->capsule, &info);
	if (r == CAPSULE_E_GONE) {
		r = guest_follow(guest);
		if (!r)
			r = info_new(guest->context, guest->capsule, &info);
	}
	if (!r && info->pub.error) {
		r = info->pub.error;
		info = info_free(info);
	}
	if (r)
		return guest_fail(guest, r, "cannot read the guest");
	*ret_info = info;
	return 0;
}

GLK_EXPORT int glk_guest_info(struct glk_guest *guest,
			      const struct glk_guest_info **ret_info)
{
	struct info *info = NULL;
	int r;

	r = context_begin(guest->context);
	if (!r)
		r = guest_check(guest, GUEST_CALL_INFO);
	if (!r)
		r = read_info(guest, &info);
	if (r)
		return r;
	info_free(guest->info);
	guest->info = info;
	*ret_info = &info->pub;
	return 0;
}
