/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/plain.h"

#include "core/base/clock.h"
#include "core/base/feature.h"
#include "core/base/util.h"
#include "core/lib/own.h"
#include "core/lib/qemu.h"

#include <fcntl.h>
#include <sys/stat.h>

/*
 * What is plugged into a running guest is mostly one image file of a local file
 * system, that is there, is nobody else's and is wanted for writing. A
 * transaction for that takes the same system calls as this straight line, and
 * twice the time of them for itself: its code is not in the processor's cache,
 * since a plug comes alone.
 *
 * So this does what the transaction (core/lease/txn.h) does when each act is
 * answered with success, in the same order: open, stat, lock byte 0, ask for
 * QEMU's bytes, stat the path again, park, close. It decides nothing else. The
 * first answer that is not the plain one ends it: closing the descriptor drops
 * the lock, which nobody can have relied upon, and the transaction begins anew
 * and finds out what there is to say. Disks that need more than these steps
 * (a shared mode asks for a hand-over and for leases of the same guest) do not
 * come here.
 *
 * A device is known when it is open. Then the transaction goes on with what was
 * opened: to close a device that was open for writing makes udev probe it, and
 * read its partitions anew, while the guest gets it.
 */

static bool is_plain(const struct glk_guest *guest,
		     const struct wanted_disk *disk)
{
	const struct glk_policy *policy = &guest->context->policy;

	return feature_allowed(FEATURE_PLAIN_TAKE) &&
	       disk->mode == RES_EXCLUSIVE && disk->type == RES_TYPE_FILE &&
	       !disk->claim && disk->path[0] == '/' && !guest->incoming &&
	       !policy->require_scope && !policy->lock_dir &&
	       !policy->lvm_lock_dir && !policy->scsi_lock_dir &&
	       policy->exclusive_open == GLK_OPEN_IGNORE &&
	       !mounts_any_remote(guest->context->mounts);
}

/* A cancel is for the whole call. Return: 0, PLAIN_E_NOT, -ECANCELED. */
static int run(struct glk_context *context, struct op *ops, size_t n)
{
	int r = engine_run(context->engine, ops, n, context->deadline);

	for (size_t i = 0; i < n; i++) {
		if (ops[i].res == -ECANCELED)
			return -ECANCELED;
		if (ops[i].res < 0)
			r = PLAIN_E_NOT;
	}
	return r ? PLAIN_E_NOT : 0;
}

/* @ret_other: in place of @ret_fd, if it is no local file. */
static int open_file(struct glk_context *context, const char *path, int *ret_fd,
		     int *ret_other, struct res_id *ret_id)
{
	struct op op = {
		.kind = OP_OPEN,
		.fd = AT_FDCWD,
		.open = { .path = path,
			  .flags = O_RDWR | O_NOCTTY | O_NONBLOCK },
	};
	int r = run(context, &op, 1);

	if (r)
		return r;
	*ret_fd = op.res;
	op = (struct op){ .kind = OP_STAT, .fd = *ret_fd };
	r = run(context, &op, 1);
	if (r)
		return r;
	*ret_id = (struct res_id){ op.stat.out.dev, op.stat.out.ino };
	mounts_opened(context->mounts, ret_id->dev);
	if (S_ISREG(op.stat.out.mode) && !mounts_any_remote(context->mounts))
		return 0;
	*ret_other = TAKE_FD(*ret_fd);
	return PLAIN_E_NOT;
}

static int lock_file(struct glk_context *context, int fd)
{
	struct op ops[] = {
		{ .kind = OP_LOCK,
		  .fd = fd,
		  .lock = { .type = F_WRLCK,
			    .start = LOCK_BYTE_OWNER,
			    .len = 1 } },
		{ .kind = OP_QUERY,
		  .fd = fd,
		  .lock = { .type = F_WRLCK,
			    .start = QEMU_BYTES_START,
			    .len = QEMU_BYTES_LEN } },
	};
	int r = run(context, ops, ARRAY_SIZE(ops));

	return r || ops[1].lock.type == F_UNLCK ? r : PLAIN_E_NOT;
}

static int verify_file(struct glk_context *context, const char *path,
		       struct res_id id)
{
	struct op op = {
		.kind = OP_STAT_PATH,
		.fd = AT_FDCWD,
		.stat = { .path = path },
	};
	const struct op_stat *named = &op.stat.out;
	int r = run(context, &op, 1);

	if (r)
		return r;
	return res_id_equal((struct res_id){ named->dev, named->ino }, id)
		       ? 0
		       : PLAIN_E_NOT;
}

static enum res_scope scope_of(struct glk_context *context, int fd,
			       struct res_id id)
{
	struct mount_kind kind;

	if (!mounts_any_scope(context->mounts))
		return RES_SCOPE_HOST;
	mounts_by_fd(context->mounts, fd, id.dev, &kind);
	return kind.scope;
}

/* If it cannot be parked, then neither by the transaction, which says why. */
static int park_file(struct glk_guest *guest, const char *path, int fd,
		     struct res_id id)
{
	const struct capsule_parcel parcel = {
		.type = RES_TYPE_FILE,
		.mode = RES_EXCLUSIVE,
		.scope = scope_of(guest->context, fd, id),
		.id = id,
		.since = clock_ns(CLOCK_REALTIME),
		.path = path,
		.fds = { fd },
		.n_fds = 1,
	};

	return own_push(guest, &parcel, 1) ? PLAIN_E_NOT : 0;
}

int plain_take(struct glk_guest *guest, const struct wanted_disk *disk,
	       int *ret_opened)
{
	_cleanup_(fd_closep) int fd = -1;
	struct res_id id = {};
	int r;

	if (!is_plain(guest, disk))
		return PLAIN_E_NOT;
	r = open_file(guest->context, disk->path, &fd, ret_opened, &id);
	if (!r)
		r = lock_file(guest->context, fd);
	if (!r)
		r = verify_file(guest->context, disk->path, id);
	if (!r)
		r = park_file(guest, disk->path, fd, id);
	return r;
}
