/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring/local.h"

#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"

#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * Operations as plain system calls.
 *
 * No file system promises that open(2) returns in time: the directory entry may
 * have to be read from a disk that hangs, and an open waits up to 45 s for
 * another process to give up a lease (F_SETLEASE). So a local open is first
 * tried in a way that cannot wait: RESOLVE_CACHED fails with -EAGAIN unless the
 * path is in the kernel's cache, and O_NONBLOCK does so if a lease is to be
 * broken. Whatever says -EAGAIN is done by a worker, which may be abandoned.
 * The try costs 0.01 us more than a bare openat(2), and on the ring nothing.
 *
 * O_NONBLOCK stays on the description, so it is taken off again, for 0.09 us,
 * unless the caller asked for it. On the ring the kernel does all of this by
 * itself, as long as it is not asked for.
 *
 * Opens that may create (their -EAGAIN would be certain), and all of them where
 * openat2(2) is filtered away, are done at once and may wait for a local disk.
 * So are reads and writes, of a few bytes that are mostly in the page cache:
 * few file systems can say that they would have to wait.
 *
 * fstat(2) of glibc before 2.39 goes through newfstatat(2) with an empty path,
 * 0.170 us against 0.154, hence the bare call where struct stat is the
 * kernel's.
 */

#define CREATING (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))
#define PATH_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define CREATE_MODE 0600

/* A seccomp filter, or valgrind, does not know openat2(2). */
static _Atomic bool openat2_filtered;

static int result(long r)
{
	return r < 0 ? -errno : (int)r;
}

static int call_openat2(int fd, const char *path, struct open_how *how)
{
	return result(syscall(SYS_openat2, fd, path, how, sizeof(*how)));
}

static int call_open(const struct op *op)
{
	int flags = op->open.flags | O_CLOEXEC;
	struct open_how how = {
		.flags = (unsigned)flags,
		.mode = flags & (CREATING & ~O_TRUNC) ? CREATE_MODE : 0,
		.resolve = op->open.resolve,
	};

	if (!op->open.resolve)
		return result(
			openat(op->fd, op->open.path, flags, CREATE_MODE));
	if (!feature_allowed(FEATURE_OPENAT2))
		return -ENOSYS;
	return call_openat2(op->fd, op->open.path, &how);
}

static int call_fstat(int fd, struct stat *st)
{
#if defined(__x86_64__) && defined(__LP64__)
	return result(syscall(SYS_fstat, fd, st));
#else
	return result(fstat(fd, st));
#endif
}

static int note_stat(int r, const struct stat *st, struct op_stat *ret_stat)
{
	if (r < 0)
		return r;
	*ret_stat = (struct op_stat){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.mode = st->st_mode,
		.rdev_major = major(st->st_rdev),
		.rdev_minor = minor(st->st_rdev),
	};
	return 0;
}

static inline int call_stat(struct op *op)
{
	struct stat st;

	return note_stat(call_fstat(op->fd, &st), &st, &op->stat.out);
}

static int call_stat_path(struct op *op)
{
	struct stat st;
	int r = result(fstatat(op->fd, op->stat.path, &st, 0));

	return note_stat(r, &st, &op->stat.out);
}

int local_lock(int fd, const struct op_lock *lock, short type, int cmd)
{
	struct flock l = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = lock->start,
		.l_len = lock->len,
	};

	return result(fcntl(fd, cmd, &l));
}

static inline int call_query(struct op *op)
{
	struct flock l = {
		.l_type = op->lock.type,
		.l_whence = SEEK_SET,
		.l_start = op->lock.start,
		.l_len = op->lock.len,
	};

	if (fcntl(op->fd, F_OFD_GETLK, &l))
		return -errno;
	op->lock = (struct op_lock){
		.type = l.l_type,
		.pid = l.l_pid,
		.start = l.l_start,
		.len = l.l_len,
	};
	return 0;
}

/* What a descriptor leads to never changes, so there is no need for news. */
static void identify(int fd, struct op_stat *ret_stat)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		  STATX_TYPE | STATX_INO, &st))
		return;
	*ret_stat = (struct op_stat){
		.dev = makedev(st.stx_dev_major, st.stx_dev_minor),
		.ino = st.stx_ino,
		.mode = st.stx_mode,
		.rdev_major = st.stx_rdev_major,
		.rdev_minor = st.stx_rdev_minor,
	};
}

static int call_data(const struct op *op)
{
	bool write = op->kind == OP_WRITE;
	ssize_t n;

	if (op->data.size > OP_DATA_MAX)
		return -EINVAL;
	do {
		n = write ? pwrite(op->fd, op->data.from, op->data.size,
				   op->data.offset)
			  : pread(op->fd, op->data.to, op->data.size,
				  op->data.offset);
	} while (n < 0 && errno == EINTR);
	if (n < 0 || !write)
		return result(n);
	return (size_t)n == op->data.size ? 0 : -ENOSPC;
}

void local_call(struct op *op)
{
	if (op->kind == OP_OPEN)
		op->res = call_open(op);
	else
		local_run(op, 1);
	if (op->res >= 0 && (op->flags & OP_IDENTIFY))
		identify(op->res, &op->open.out);
}

static inline int call(struct op *op)
{
	switch ((enum op_kind)op->kind) {
	case OP_STAT:
		return call_stat(op);
	case OP_STAT_PATH:
		return call_stat_path(op);
	case OP_LOCK:
		return local_lock(op->fd, &op->lock, op->lock.type,
				  F_OFD_SETLK);
	case OP_UNLOCK:
		return local_lock(op->fd, &op->lock, F_UNLCK, F_OFD_SETLK);
	case OP_QUERY:
		return call_query(op);
	case OP_CLOSE:
		return result(close(op->fd));
	case OP_READ:
	case OP_WRITE:
		return call_data(op);
	case OP_OPEN:
	default:
		return -EINVAL;
	}
}

void local_run(struct op *ops, size_t n)
{
	for (struct op *op = ops; op < ops + n; op++)
		op->res = call(op);
}

bool local_can_try(const struct op *op)
{
	return !(op->open.flags & CREATING) && !openat2_filtered &&
	       feature_allowed(FEATURE_OPENAT2);
}

void local_try_how(const struct op *op, struct open_how *ret_how)
{
	int flags = op->open.flags;

	/* openat2(2) refuses beside O_PATH what openat(2) ignores. */
	if ((flags & O_PATH) && !op->open.resolve)
		flags &= PATH_FLAGS;
	*ret_how = (struct open_how){
		.flags = (unsigned)(flags | O_CLOEXEC),
		.resolve = op->open.resolve | RESOLVE_CACHED,
	};
}

void local_try_open(struct op *op)
{
	struct open_how how;

	if (!local_can_try(op)) {
		op->res = call_open(op);
		return;
	}
	local_try_how(op, &how);
	if (!(op->open.flags & O_PATH))
		how.flags |= O_NONBLOCK;
	op->res = call_openat2(op->fd, op->open.path, &how);
	if (op->res == -ENOSYS)
		openat2_filtered = true;
	if (op->res == -ENOSYS || op->res == -EPERM) /* may be a filter too */
		op->res = call_open(op);
	else if (op->res >= 0 && !(op->open.flags & (O_NONBLOCK | O_PATH)))
		fcntl(op->res, F_SETFL, op->open.flags);
}

bool local_is_cold(const struct op *op)
{
	return op->res == -EAGAIN && !(op->open.resolve & RESOLVE_CACHED);
}
