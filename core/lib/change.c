/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/info.h"
#include "core/lib/lib.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* Changes of a guest that has been acquired: hotplug, and what it holds. */

static int begin_change(struct glk_guest *guest, enum guest_call call)
{
	int r = context_begin(guest->context);

	if (r)
		return r;
	r = guest_may(&guest->sm, call);
	if (r)
		return context_fail(guest->context, r, "cannot %s: %s",
				    guest_call_name(call), strerror(-r));
	return guest_move(&guest->sm, GUEST_EVENT_CHANGE_BEGIN);
}

static int end_change(struct glk_guest *guest, int r)
{
	int moved;

	if (r == -ESRCH)
		guest_move(&guest->sm, GUEST_EVENT_VANISHED);
	moved = guest_move(&guest->sm, GUEST_EVENT_CHANGE_END);
	return r ? r : moved;
}

GLK_EXPORT int glk_guest_attach(struct glk_guest *guest,
				const struct glk_disk *disks, size_t n)
{
	_cleanup_(freep) struct wanted_disk *wanted = NULL;
	struct wanted_disk few[4];
	struct wanted_disk *w = few;
	int r;

	r = begin_change(guest, GUEST_CALL_ATTACH);
	if (r)
		return r;
	if (n > ARRAY_SIZE(few))
		w = wanted = calloc(n, sizeof(*wanted));
	if (!w)
		return end_change(guest, -ENOMEM);
	for (size_t i = 0; i < n && !r; i++) {
		/* Borrowed: nothing here outlives the call. */
		w[i].path = (char *)disks[i].path;
		r = disk_check(guest->context, &disks[i], &w[i].mode);
	}
	if (!r && n)
		r = take_disks(guest, w, n);
	return end_change(guest, r);
}

/* What the path names now; a path that is gone or hangs has no id. */
static struct res_id current_id(struct glk_context *context, const char *path)
{
	struct mount_kind kind = {};
	struct op op = {
		.kind = OP_STAT_PATH,
		.fd = AT_FDCWD,
		.stat = { .path = path },
	};

	if (mounts_any_remote(context->mounts))
		mounts_by_path(context->mounts, path, &kind);
	op.flags = kind.remote ? OP_REMOTE : 0;
	if (engine_run(context->engine, &op, 1, context->deadline) || op.res)
		return (struct res_id){};
	return (struct res_id){ op.stat.out.dev, op.stat.out.ino };
}

static bool has_id(const struct capsule_contents *contents, struct res_id id)
{
	for (size_t i = 0; i < contents->n_leases; i++)
		if (id.ino && res_id_equal(contents->leases[i].id, id))
			return true;
	return false;
}

/* What a path names now is meant before what it named once: the guest may use
   both, if the first file was renamed and another one put in its place. */
static int release_one(struct glk_guest *guest,
		       struct capsule_contents *contents, const char *path,
		       size_t *released)
{
	struct res_id id = current_id(guest->context, path);
	bool by_id = has_id(contents, id);
	int r = 0;

	for (size_t i = 0; i < contents->n_leases && !r; i++) {
		struct capsule_lease *lease = &contents->leases[i];

		if (by_id ? !res_id_equal(lease->id, id)
			  : strcmp(lease->path, path) != 0)
			continue;
		r = capsule_unlock(lease);
		if (r)
			return context_fail(guest->context, r,
					    "%s: cannot unlock: %s",
					    quoted(path), strerror(-r));
		*released += lease->held;
		lease->held = false;
	}
	return r;
}

static int release_disks(struct glk_guest *guest, const char *const *paths,
			 size_t n, size_t *released)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
	uint64_t deadline = guest->context->deadline;
	bool untidy;
	int r;

	r = guest_readable(guest);
	if (!r)
		r = capsule_list(guest->capsule, deadline, &contents);
	if (r)
		return context_capsule_fail(guest->context, r,
					    "cannot read the guest's leases");
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
		capsule_compact(guest->capsule, deadline);
	return r;
}

GLK_EXPORT int glk_guest_detach(struct glk_guest *guest,
				const char *const *paths, size_t n,
				size_t *ret_released)
{
	size_t released = 0;
	int r;

	r = begin_change(guest, GUEST_CALL_DETACH);
	if (r)
		return r;
	if (n)
		r = release_disks(guest, paths, n, &released);
	r = end_change(guest, r);
	if (!r && ret_released)
		*ret_released = released;
	return r;
}

GLK_EXPORT int glk_guest_info(struct glk_guest *guest,
			      const struct glk_guest_info **ret_info)
{
	struct glk_context *context = guest->context;
	struct info *info;
	int r;

	r = context_begin(context);
	if (r)
		return r;
	r = guest_may(&guest->sm, GUEST_CALL_INFO);
	if (r)
		return context_fail(context, r, "cannot read: %s",
				    strerror(-r));
	r = guest_readable(guest);
	if (!r)
		r = info_new(context, guest->capsule, &info);
	if (r == CAPSULE_E_GONE)
		guest_move(&guest->sm, GUEST_EVENT_VANISHED);
	if (!r && info->pub.error) {
		r = info->pub.error;
		info_free(info);
	}
	if (r)
		return context_capsule_fail(context, r,
					    "cannot read the guest");
	info_free(guest->info);
	guest->info = info;
	*ret_info = &info->pub;
	return 0;
}
