/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lib.h"

#include "core/base/util.h"
#include "core/lib/info.h"
#include "core/lib/lease_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

static bool name_is_printable(const char *name)
{
	for (; *name; name++)
		if ((unsigned char)*name < 0x20 || *name == 0x7f)
			return false;
	return true;
}

static int check_config(struct glk_context *context,
			const struct glk_guest_config *config,
			struct capsule_identity *who)
{
	int r;

	if (config->uuid)
		r = uuid_parse(config->uuid, &who->uuid);
	else
		r = uuid_generate(&who->uuid);
	if (r && config->uuid)
		return context_fail(context, r, "'%s' is not a uuid",
				    quoted(config->uuid));
	if (r)
		return context_fail(context, r, "cannot make a uuid: %s",
				    strerror(-r));
	if (config->name) {
		if (strlen(config->name) > CAPSULE_NAME_MAX)
			return context_fail(context, -EINVAL,
					    "name is longer than %d bytes",
					    CAPSULE_NAME_MAX);
		if (!name_is_printable(config->name))
			return context_fail(context, -EINVAL,
					    "name '%s' has control characters",
					    quoted(config->name));
		strcpy(who->name, config->name);
	}
	if (config->holder != GLK_HOLDER_GUEST &&
	    config->holder != GLK_HOLDER_SELF)
		return context_fail(context, -EINVAL,
				    "holder must be GUEST or SELF");
	for (size_t i = 0; i < ARRAY_SIZE(config->reserved); i++)
		if (config->reserved[i])
			return context_fail(context, -EINVAL,
					    "reserved fields are not zero");
	if (config->pid < 0 || config->id < -1)
		return context_fail(context, -EINVAL, "pid or id is negative");
	if (config->flags & ~(unsigned)GLK_GUEST_INCOMING)
		return context_fail(context, -EINVAL, "unknown flags 0x%x",
				    config->flags);
	who->id = config->id;
	who->epoch = config->epoch;
	who->nonce = config->tag;
	who->holder = (enum capsule_holder)config->holder;
	return 0;
}

GLK_EXPORT int glk_guest_new(struct glk_context *context,
			     const struct glk_guest_config *config,
			     struct glk_guest **ret_guest)
{
	struct capsule_identity who = { .id = -1 };
	struct glk_guest *guest;
	int r;

	r = context_begin(context);
	if (!r)
		r = check_config(context, config, &who);
	if (r)
		return r;
	guest = calloc(1, sizeof(*guest));
	if (!guest)
		return context_no_memory(context);
	guest->context = context;
	guest->who = who;
	guest->holder_pid = config->pid;
	guest->incoming = config->flags & GLK_GUEST_INCOMING;
	guest_init(&guest->sm, who.holder == CAPSULE_SELF);
	*ret_guest = guest;
	return 0;
}

static const char *why_not(const struct glk_guest *guest, int error)
{
	switch (-error) {
	case EALREADY:
		return "the guest has been acquired already";
	case ESRCH:
		return "the guest is gone";
	case EOPNOTSUPP:
		return "this process itself holds the guest's leases";
	case ENODATA:
		if (guest_state(&guest->sm) == GUEST_NEW)
			return "the guest has not been acquired yet";
		return guest_state(&guest->sm) == GUEST_HELD
			       ? "the capsule has not been handed over yet"
			       : "the capsule has been handed over already";
	default:
		return strerror(-error);
	}
}

int guest_check(struct glk_guest *guest, enum guest_call call)
{
	int r = guest_may(&guest->sm, call);

	if (r)
		return context_fail(guest->context, r, "cannot %s: %s",
				    guest_call_name(call), why_not(guest, r));
	return 0;
}

static void forget_wanted(struct glk_guest *guest)
{
	texts_done(&guest->wanted_paths);
	free(guest->wanted);
	guest->wanted = NULL;
	guest->n_wanted = guest->cap_wanted = 0;
}

GLK_EXPORT void glk_guest_free(struct glk_guest *guest)
{
	if (!guest)
		return;
	forget_wanted(guest);
	capsule_free(guest->capsule);
	info_free(guest->info);
	free(guest);
}

int disk_check(struct glk_context *context, const struct glk_disk *disk,
	       struct wanted_disk *ret_wanted)
{
	const unsigned shared = GLK_DISK_SHARED | GLK_DISK_READONLY;
	size_t len = disk->path ? strlen(disk->path) : 0;

	if (!len)
		return context_fail(context, -EINVAL, "a disk has no path");
	if (len > CAPSULE_PATH_MAX)
		return context_fail(context, -ENAMETOOLONG,
				    "%s: path is longer than %d bytes",
				    quoted(disk->path), CAPSULE_PATH_MAX);
	if (disk->flags & ~(shared | GLK_DISK_LEASE | GLK_DISK_CLAIM))
		return context_fail(context, -EINVAL, "%s: unknown flags 0x%x",
				    quoted(disk->path), disk->flags);
	if (disk->flags & GLK_DISK_LEASE && !lease_file_is_named(disk->path))
		return context_fail(context, -EINVAL, "%s: a lease has no name",
				    quoted(disk->path));
	if (disk->flags & GLK_DISK_LEASE && disk->flags & GLK_DISK_CLAIM)
		return context_fail(context, -EINVAL,
				    "%s: a lease cannot be claimed",
				    quoted(disk->path));
	ret_wanted->claim = disk->flags & GLK_DISK_CLAIM;
	ret_wanted->readonly = disk->flags & GLK_DISK_READONLY;
	ret_wanted->mode = disk->flags & shared ? RES_SHARED : RES_EXCLUSIVE;
	ret_wanted->type =
		disk->flags & GLK_DISK_LEASE ? RES_TYPE_LEASE : RES_TYPE_FILE;
	return 0;
}

static int reserve_wanted(struct glk_guest *guest, size_t n)
{
	size_t cap = MAX(guest->n_wanted + n, 2 * guest->cap_wanted);
	void *p;

	if (guest->n_wanted + n <= guest->cap_wanted)
		return 0;
	p = realloc(guest->wanted, cap * sizeof(*guest->wanted));
	if (!p)
		return -ENOMEM;
	guest->wanted = p;
	guest->cap_wanted = cap;
	return 0;
}

GLK_EXPORT int glk_guest_add(struct glk_guest *guest,
			     const struct glk_disk *disks, size_t n)
{
	struct glk_context *context = guest->context;
	struct wanted_disk *w;
	int r;

	r = context_begin_quick(context);
	if (r)
		return r;
	r = guest_check(guest, GUEST_CALL_ADD);
	if (r)
		return r;
	if (!n)
		return 0;
	if (reserve_wanted(guest, n))
		return context_no_memory(context);
	w = guest->wanted + guest->n_wanted;
	for (size_t i = 0; !r && i < n; i++)
		r = disk_check(context, &disks[i], &w[i]);
	for (size_t i = 0; !r && i < n; i++) {
		w[i].path = texts_add(&guest->wanted_paths, disks[i].path);
		if (!w[i].path)
			r = context_no_memory(context);
	}
	if (!r)
		guest->n_wanted += n;
	return r;
}

GLK_EXPORT int glk_guest_acquire(struct glk_guest *guest)
{
	struct glk_context *context = guest->context;
	int r, moved;

	r = context_begin(context);
	if (r)
		return r;
	r = guest_check(guest, GUEST_CALL_ACQUIRE);
	if (r)
		return r;
	r = capsule_new(&guest->who, guest->holder_pid, &guest->capsule);
	if (r == -EADDRINUSE)
		return context_fail(context, r,
				    "tag %" PRIx64 " is in use by a guest "
				    "with this uuid",
				    guest->who.nonce);
	if (r)
		return context_capsule_fail(context, r,
					    "cannot make a capsule");
	r = guest_move(&guest->sm, GUEST_EVENT_ACQUIRE);
	if (!r)
		r = take_disks(guest, guest->wanted, guest->n_wanted);
	moved = guest_move(&guest->sm,
			   r ? GUEST_EVENT_REFUSED : GUEST_EVENT_TAKEN);
	if (r)
		guest->capsule = capsule_free(guest->capsule);
	else
		forget_wanted(guest);
	return r ? r : moved;
}

GLK_EXPORT int glk_guest_fd(const struct glk_guest *guest)
{
	int r = guest_may(&guest->sm, GUEST_CALL_FD);

	return r ? r : capsule_fd(guest->capsule);
}

GLK_EXPORT int glk_guest_inherit(struct glk_guest *guest)
{
	int fd = glk_guest_fd(guest);

	if (fd < 0)
		return fd;
	return fcntl(fd, F_SETFD, 0) ? -errno : 0;
}

GLK_EXPORT int glk_guest_handed_over(struct glk_guest *guest)
{
	int r = guest_check(guest, GUEST_CALL_HAND_OVER);

	if (!r)
		r = guest_move(&guest->sm, GUEST_EVENT_HANDED_OVER);
	if (!r)
		capsule_let_go(guest->capsule);
	return r;
}

/* The very same capsule, found in the kernel, takes the place of ours. */
static int readopt(struct glk_guest *guest)
{
	struct capsule_adopt_config config = {
		.deadline = guest->context->deadline,
	};
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	struct capsule *fresh = NULL;
	size_t n = 0, i = 0;
	int r;

	r = capsule_discover(&guest->who.uuid, &entries, &n);
	if (r)
		return r;
	while (i < n && !capsule_is(guest->capsule, &entries[i]))
		i++;
	if (i == n)
		return CAPSULE_E_GONE;
	r = capsule_adopt(&entries[i], &config, &fresh);
	if (r)
		return r;
	capsule_free(guest->capsule);
	guest->capsule = fresh;
	return 0;
}

int guest_readable(struct glk_guest *guest)
{
	return capsule_readable(guest->capsule) ? 0 : readopt(guest);
}

int guest_follow(struct glk_guest *guest)
{
	return capsule_keeper(guest->capsule) ? readopt(guest) : CAPSULE_E_GONE;
}

int guest_list(struct glk_guest *guest, uint64_t deadline,
	       struct capsule_contents *ret_contents)
{
	int r;

	r = guest_readable(guest);
	if (!r)
		r = capsule_list(guest->capsule, deadline, ret_contents);
	if (r != CAPSULE_E_GONE)
		return r;
	r = guest_follow(guest);
	return r ? r : capsule_list(guest->capsule, deadline, ret_contents);
}

int guest_fail(struct glk_guest *guest, int e, const char *what)
{
	enum guest_state state = guest_state(&guest->sm);

	if (e == CAPSULE_E_GONE &&
	    (state == GUEST_HELD || state == GUEST_RUNNING))
		guest_move(&guest->sm, GUEST_EVENT_VANISHED);
	return context_capsule_fail(guest->context, e, what);
}
