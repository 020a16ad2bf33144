/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/claimed.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/lib/device.h"
#include "core/lib/own.h"
#include "core/lib/where.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Who has claimed a device, so that open(2) says EBUSY. (With O_EXCL; or for
 * writing, where the kernel protects what is mounted.) The kernel does not
 * tell, so it is looked for where it can be seen: a guest of ours has a lease
 * on what it has claimed; a mount is in the mount table of this namespace, and
 * what is built on the device is in sysfs. A claim concerns the partitions of a
 * disk and the disk of a partition, too. Another program that has it open with
 * O_EXCL, such as mkfs(8), is seen in none of them. A lock of ours that is not
 * parked is no answer: we may have it already, and learn only then that the
 * device is claimed.
 *
 * Whether what the guest itself has is claimed, its descriptor does not tell.
 * But if the device is claimed, and the kernel does not use it, it is the guest
 * that has claimed it.
 */

#define SEARCH_MS 2000

struct accused {
	struct take *t;
	uint32_t item;
	bool any, lives;
	bool own;  /* the guest has the device: no other guest does */
	bool here; /* another disk of this very call has claimed it */
};

static int add_who(void *arg, const struct holder_answer *answer)
{
	struct accused *accused = arg;

	if (answer->who.kind == GLK_CONFLICT_PROCESS &&
	    answer->who.pid == getpid())
		return 0;
	accused->any = true;
	accused->lives |= !answer->dying;
	return take_add_refusal(accused->t, accused->item, &answer->who);
}

static int add_kernel(struct accused *accused, int kind, const char *how)
{
	const struct txn_item *item = txn_item(accused->t->txn, accused->item);
	const struct glk_conflict who = {
		.path = item->path,
		.mode = (int)item->mode,
		.kind = kind,
		.how = how,
	};

	accused->any = true;
	accused->lives |= kind == GLK_CONFLICT_KERNEL;
	return take_add_refusal(accused->t, accused->item, &who);
}

/* Who has a lock on @fd, which is of this device or its lock file? */
static int ask_guests(struct accused *accused, int fd, struct res_id id,
		      const char *how)
{
	const struct txn_item *item = txn_item(accused->t->txn, accused->item);
	struct holder_ask ask = {
		.id = id,
		.path = item->path,
		.mode = RES_EXCLUSIVE,
		.fd = fd,
		.how = how,
	};
	struct stat st;

	if (fstat(fd, &st))
		return 0;
	ask.file = (struct res_id){ st.st_dev, st.st_ino };
	return holders_find(accused->t->context, &ask, 1,
			    deadline_in_ms(SEARCH_MS), add_who, accused);
}

static int blame_guests(struct accused *accused, struct res_id id,
			const char *how)
{
	_cleanup_(freep) char *path = NULL;
	_cleanup_(fd_closep) int fd = -1;

	if (accused->own)
		return 0;
	path = device_lock_path(accused->t->context, id);
	if (!path)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? 0 : ask_guests(accused, fd, id, how);
}

/* @what: "it", or "its partition sda1" */
static int blame_mount(struct accused *accused, uint64_t rdev, const char *name,
		       const char *what)
{
	char point[PATH_MAX], how[PATH_MAX + 128];

	if (!mounts_of_device(accused->t->context->mounts, rdev, name, point,
			      sizeof(point)))
		return 0;
	/* "has its partition sda1 mounted", "has dm-0, which ..., mounted" */
	snprintf(how, sizeof(how), "has %s%s mounted at %s", what,
		 strchr(what, ',') ? "," : "", point);
	return add_kernel(accused, GLK_CONFLICT_KERNEL, how);
}

static int blame_relative(struct accused *accused,
			  const struct sysfs_relative *relative)
{
	_cleanup_(freep) char *how = device_how(relative);
	char what[SYSFS_NAME_MAX + 64];
	int r;

	if (!how)
		return -ENOMEM;
	/* "holds its partition sda1" without the verb */
	snprintf(what, sizeof(what), "%s", how + strlen("holds "));
	r = blame_guests(accused,
			 res_id_of_device(relative->rdev, relative->diskseq),
			 how);
	if (!r && !accused->any)
		r = blame_mount(accused, relative->rdev, relative->name, what);
	if (r || accused->any || relative->relation != SYSFS_ABOVE)
		return r;
	snprintf(what, sizeof(what), "uses it for %s", relative->name);
	return add_kernel(accused, GLK_CONFLICT_KERNEL, what);
}

static bool claims_here(const struct accused *accused, uint64_t rdev)
{
	const struct take *t = accused->t;

	for (uint32_t i = 0; i < t->n; i++) {
		const struct take_slot *slot = &t->slots[i];
		struct stat st;

		if (i != accused->item && slot->claim && slot->fd >= 0 &&
		    !fstat(slot->fd, &st) && S_ISBLK(st.st_mode) &&
		    st.st_rdev == rdev)
			return true;
	}
	return false;
}

static int blame_ourselves(struct accused *accused)
{
	const struct txn_item *item = txn_item(accused->t->txn, accused->item);
	struct glk_conflict who = {
		.path = item->path,
		.mode = (int)item->mode,
		.how = "has claimed it for another disk of this call",
	};
	char exe[PATH_MAX];

	conflict_of_process(&who, getpid(), exe);
	accused->any = accused->lives = accused->here = true;
	return take_add_refusal(accused->t, accused->item, &who);
}

static int blame_relatives(struct accused *accused, uint64_t rdev)
{
	struct sysfs_relatives relatives = {};
	bool here = claims_here(accused, rdev);
	int r = sysfs_relatives(accused->t->context->sysfs, rdev, &relatives);

	r = r == -ENOMEM ? r : MAX(r, 0); /* else nobody can be blamed */
	for (size_t i = 0; i < relatives.n && !r && !accused->any; i++) {
		r = blame_relative(accused, &relatives.v[i]);
		here |= claims_here(accused, relatives.v[i].rdev);
	}
	sysfs_relatives_done(&relatives);
	return r || accused->any || !here ? r : blame_ourselves(accused);
}

static int blame_all(struct accused *accused, struct res_id id)
{
	uint64_t rdev = res_id_rdev(id);
	char name[SYSFS_NAME_MAX] = "";
	int r = blame_guests(accused, id, NULL);

	if (r || accused->any)
		return r;
	(void)sysfs_name(accused->t->context->sysfs, rdev, name);
	r = blame_mount(accused, rdev, name, "it");
	if (!r && !accused->any)
		r = blame_relatives(accused, rdev);
	if (!r && !accused->any && !accused->own)
		r = add_kernel(accused, GLK_CONFLICT_UNKNOWN, "has claimed it");
	return r;
}

static bool guest_has(struct take *t, struct res_id id)
{
	return !own_load(t, MIN(t->context->deadline,
				deadline_in_ms(SEARCH_MS))) &&
	       (own_has(t, id, RES_EXCLUSIVE) || own_has(t, id, RES_SHARED));
}

int claimed_blame(struct take *t, uint32_t item)
{
	struct accused accused = { .t = t, .item = item };
	struct where where;
	int r = where_path(t->context, txn_item(t->txn, item)->path, &where);

	if (r)
		return r == -ECANCELED ? r : 0;
	if (!res_id_is_device(where.id))
		return 0;
	accused.own = guest_has(t, where.id);
	r = blame_all(&accused, where.id);
	if (r)
		return r;
	if (accused.own && !accused.any)
		return CLAIMED_OWN;
	return (accused.lives ? CLAIMED_LIVES : 0) |
	       (accused.here ? CLAIMED_HERE : 0);
}
