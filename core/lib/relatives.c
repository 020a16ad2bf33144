/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/relatives.h"

#include "core/base/util.h"
#include "core/lib/device.h"
#include "core/lib/own.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * A disk and its partitions, and devices that are built on each other, are
 * different resources with the same blocks. None of them is locked for the
 * other: a guest with two partitions would stand in its own way, and a lease
 * would need a descriptor for each. Instead, whoever has locked a device looks
 * whether the lock file of one of its relatives is locked. Both sides lock
 * first and look then. So of two that come at once, at least one sees the
 * other; both may, and be refused, as with QEMU's own locks.
 *
 * What one guest holds it may hold twice: it is one guest that writes. That is
 * so if its capsule has an exclusive lease on the relative, or if this very
 * transaction takes one, since it takes all or nothing. A shared lease of its
 * own may be somebody else's too, and counts as theirs.
 *
 * The number of a device that is open is given to no other, so who has it
 * locked by another sequence number has this device, of which the medium was
 * changed since. That is looked for where such a file could not be removed, and
 * where the device's own was settled (lost.c) there is none.
 */

static short ask(int fd, short type, long start, long len)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = start,
		.l_len = len,
	};

	/* What cannot be known counts as locked. */
	return fcntl(fd, F_OFD_GETLK, &lock) ? F_WRLCK : lock.l_type;
}

static bool is_in_the_way(int fd, bool shared)
{
	return ask(fd, shared ? F_RDLCK : F_WRLCK, LOCK_BYTE_OWNER, 1) !=
		       F_UNLCK ||
	       ask(fd, F_WRLCK, LOCK_HANDOVER_START, LOCK_HANDOVER_LEN) !=
		       F_UNLCK;
}

static bool takes_it_too(const struct take *t, struct res_id id)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct txn_item *item = txn_item(t->txn, i);

		if (item->mode == RES_EXCLUSIVE && res_id_equal(item->id, id))
			return true;
	}
	return false;
}

bool relatives_is_ours(struct take *t, struct res_id id)
{
	if (takes_it_too(t, id))
		return true;
	return !own_load(t, t->context->deadline) &&
	       own_has(t, id, RES_EXCLUSIVE);
}

/* It may be held, for all that this user can see. @what: "whether ..." */
static int cannot_look(struct take *t, struct txn_event *e, const char *what,
		       int error)
{
	struct take_slot *slot = &t->slots[e->item];

	e->res = error;
	free(slot->more->trouble);
	if (asprintf(&slot->more->trouble, "cannot look %s: %s", what,
		     strerror(-error)) < 0) {
		slot->more->trouble = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int cannot_look_at(struct take *t, struct txn_event *e, const char *path,
			  int error)
{
	char what[PATH_MAX + 64];

	snprintf(what, sizeof(what), "whether %s is locked", quoted(path));
	return cannot_look(t, e, what, error);
}

static int cannot_know(struct take *t, struct txn_event *e, int error)
{
	return cannot_look(t, e,
			   error == -ENOENT
				   ? "for its partitions, and what else has "
				     "blocks of it: sysfs (/sys) does not "
				     "have it"
				   : "for its partitions, and what else has "
				     "blocks of it",
			   error);
}

static int look_at(struct take *t, struct txn_event *e,
		   const struct sysfs_relative *relative)
{
	struct res_id id = res_id_of_device(relative->rdev, relative->diskseq);
	_cleanup_(freep) char *path = device_lock_path(t->context, id);
	struct take_rival rival = { .id = id };
	struct stat st;
	int r;

	if (!path)
		return -ENOMEM;
	rival.fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (rival.fd < 0)
		return errno == ENOENT ? 0 : cannot_look_at(t, e, path, -errno);
	if (fstat(rival.fd, &st)) {
		r = -errno;
		fd_close(rival.fd);
		return cannot_look_at(t, e, path, r);
	}
	if (!is_in_the_way(rival.fd, take_is_shared(t, e->item)) ||
	    relatives_is_ours(t, id)) {
		fd_close(rival.fd);
		return 0;
	}
	rival.file = (struct res_id){ st.st_dev, st.st_ino };
	rival.how = device_how(relative);
	if (!rival.how) {
		fd_close(rival.fd);
		return -ENOMEM;
	}
	return take_set_rival(t, e, &rival);
}

/* Is it the lock file of this device of another time, and in the way? */
static int look_at_stale(struct take *t, struct txn_event *e, const char *name)
{
	struct res_id now = txn_item(t->txn, e->item)->id, then;
	struct sysfs_relative old = { .relation = SYSFS_ITSELF };

	if (!device_of_lock_file(name, &then) || then.dev != now.dev ||
	    then.ino == now.ino)
		return 0;
	old.rdev = res_id_rdev(then);
	old.diskseq = then.ino;
	return look_at(t, e, &old);
}

static int look_back(struct take *t, struct txn_event *e)
{
	const char *path = t->context->host_dir;
	const struct dirent *entry;
	DIR *dir = opendir(path);
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0 : cannot_look_at(t, e, path, -errno);
	errno = 0;
	while (!r && !e->res && (entry = readdir(dir))) {
		r = look_at_stale(t, e, entry->d_name);
		errno = 0;
	}
	if (errno && !r && !e->res)
		r = cannot_look_at(t, e, path, -errno);
	closedir(dir);
	return r;
}

int relatives_look(struct take *t, struct txn_event *e)
{
	uint64_t rdev = res_id_rdev(txn_item(t->txn, e->item)->id);
	struct sysfs_relatives relatives = {};
	int r = sysfs_relatives(t->context->sysfs, rdev, &relatives);

	if (r && r != -ENOMEM)
		r = cannot_know(t, e, r);
	for (size_t i = 0; i < relatives.n && !r && !e->res; i++)
		r = look_at(t, e, &relatives.v[i]);
	sysfs_relatives_done(&relatives);
	if (!r && !e->res && t->slots[e->item].more->was_other)
		r = look_back(t, e);
	return r;
}
