/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/truth.h"

#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"
#include "core/capsule/fdinfo.h"

#include <linux/magic.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/*
 * Who knows whether a description holds its lock? The kernel's list of the
 * inode does (fs/locks.c), and there are two ways to look at it:
 *
 * F_OFD_GETLK with F_UNLCK returns the first lock of this description that
 * overlaps the range. Before Linux 6.6 it is EINVAL. It is handed to the file
 * system's own lock method where there is one, and those do not know the
 * question: GFS2 and OCFS2 ask the cluster for conflicts with the locks of
 * others and so deny our own; NFS answers from the list if it is there, and
 * else asks the server for anybody's; FUSE passes a nonsensical type on. So it
 * is asked only on file systems that are known to have no lock method. A list
 * of those is safe: what is missing there is slower, not wrong.
 *
 * The type of the file system comes from statx(2) and statmount(2), which are
 * answered from memory. statfs(2) would wait for a dead NFS server.
 *
 * fdinfo prints the list whatever the file system is, filtered to this
 * description, and costs four times as much. An OFD lock on a file that an NFS
 * server has delegated is listed as one of a process, since the client's copy
 * of its flags is too narrow (_nfs4_proc_setlk()). A process's lock that is
 * listed for us can only be our own, or such a one. F_GETLK tells them apart,
 * since our own is in nobody's way; NFS, too, looks into the list before it
 * asks the server. A file system that keeps locks
 * elsewhere keeps them in the list as well, except FUSE when its server does
 * the locking (FUSE_POSIX_LOCKS). There an empty list says nothing. F_GETLK,
 * whose owner is this process and so never the description, tells whether
 * anybody has the byte. If so it may be us or not, and the caller must not
 * take it for lost.
 */

enum { GETLK_UNKNOWN, GETLK_WORKS, GETLK_LACKING };

static atomic_int getlk_state = GETLK_UNKNOWN;
static atomic_bool statmount_lacking;

static int getlk(int fd, long byte, short *ret_type)
{
	struct flock lock = { .l_type = F_UNLCK, .l_start = byte, .l_len = 1 };

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0) {
		if (errno == EINVAL)
			atomic_store(&getlk_state, GETLK_LACKING);
		return -errno;
	}
	atomic_store(&getlk_state, GETLK_WORKS);
	*ret_type = lock.l_type;
	return 0;
}

static bool getlk_allowed(void)
{
	return feature_allowed(FEATURE_GETLK_UNLCK) &&
	       atomic_load(&getlk_state) != GETLK_LACKING;
}

bool truth_by_getlk_works(void)
{
	_cleanup_(fd_closep) int fd = -1;
	short type;

	if (!getlk_allowed() || atomic_load(&getlk_state) == GETLK_WORKS)
		return getlk_allowed();
	fd = (int)syscall(SYS_memfd_create, "guestlock-probe", MFD_CLOEXEC);
	return fd >= 0 && getlk(fd, 0, &type) == 0;
}

/* As in linux/mount.h of Linux 6.8. */
struct statmount_request {
	uint32_t size, spare;
	uint64_t mount, what;
};

struct statmount_reply {
	uint32_t size, options;
	uint64_t mask;
	uint32_t dev_major, dev_minor;
	uint64_t magic;
	uint8_t rest[480];
};

/* The mount that a descriptor is on; 0 if that cannot be known. */
static uint64_t mount_of(int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		  STATX_MNT_ID_UNIQUE, &st) < 0)
		return 0;
	return st.stx_mask & STATX_MNT_ID_UNIQUE ? st.stx_mnt_id : 0;
}

/* Type of the file system without asking it. 0 if that cannot be known. */
static uint64_t magic_of(uint64_t mount)
{
	struct statmount_request req = { .size = sizeof(req), .what = 1 };
	struct statmount_reply reply;

	req.mount = mount;
	errno = ENOSYS;
	if (!syscall(SYS_statmount, &req, &reply, sizeof(reply), 0))
		return reply.mask & req.what ? reply.magic : 0;
	if (errno == ENOSYS)
		atomic_store(&statmount_lacking, true);
	return 0;
}

static uint64_t fs_magic(int fd, struct truth_fs *fs)
{
	uint64_t mount;

	if (!feature_allowed(FEATURE_STATMOUNT) ||
	    atomic_load(&statmount_lacking))
		return 0;
	mount = fs->next ? fs->next : mount_of(fd);
	fs->next = 0;
	if (mount && mount != fs->mount)
		*fs = (struct truth_fs){ .mount = mount,
					 .magic = magic_of(mount) };
	return mount ? fs->magic : 0;
}

/* No lock method in their file operations: the list is all there is. */
static bool locks_are_local(uint64_t magic)
{
	switch (magic) {
	case 0x2fc12fc1: /* ZFS */
	case 0xca451a4e: /* bcachefs */
	case BTRFS_SUPER_MAGIC:
	case EXT4_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case HUGETLBFS_MAGIC:
	case OVERLAYFS_SUPER_MAGIC:
	case RAMFS_MAGIC:
	case TMPFS_MAGIC:
	case XFS_SUPER_MAGIC:
		return true;
	default:
		return false;
	}
}

/* May wait for a server, but only after the list had nothing. */
static bool fs_is_fuse(int fd, uint64_t magic)
{
	struct statfs fs;

	if (!magic && fstatfs(fd, &fs) == 0)
		return fs.f_type == FUSE_SUPER_MAGIC;
	return magic == FUSE_SUPER_MAGIC;
}

struct look {
	long byte;
	short type, process; /* what is listed as OFD and as a process's */
};

static bool look_at(void *arg, const struct fdinfo_lock *lock)
{
	struct look *look = arg;

	if (!fdinfo_covers(lock, look->byte))
		return false;
	if (lock->kind == FDINFO_OFD)
		look->type = lock->type;
	else
		look->process = lock->type;
	return look->type != F_UNLCK;
}

/* Is this byte locked, but not by this process? */
static bool is_foreign(int fd, long byte)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };

	return !fcntl(fd, F_GETLK, &lock) && lock.l_type != F_UNLCK;
}

int truth_by_fdinfo(int fd, long byte, short *ret_type)
{
	_cleanup_(fd_closep) int info = -1;
	struct look look = { byte, F_UNLCK, F_UNLCK };
	char path[48];
	int r;

	if (byte < 0)
		return -EINVAL;
	snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0) {
		if (errno != ENOENT)
			return -errno;
		return fcntl(fd, F_GETFD) < 0 ? -EBADF : -ENOSYS;
	}
	r = fdinfo_read(info, look_at, &look);
	if (r < 0)
		return r;
	if (look.type == F_UNLCK && look.process != F_UNLCK &&
	    is_foreign(fd, byte))
		look.type = look.process;
	*ret_type = look.type;
	return 0;
}

/* The list has nothing, but the server may. */
static int ask_fuse(int fd, long byte, short *ret_type)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };

	if (fcntl(fd, F_GETLK, &lock) < 0)
		return -errno;
	if (lock.l_type != F_UNLCK)
		return -EOPNOTSUPP;
	*ret_type = F_UNLCK;
	return 0;
}

int truth_held_on(struct truth_fs *fs, int fd, long byte, short *ret_type)
{
	uint64_t magic = 0;
	short type;
	int r;

	if (byte < 0)
		return -EINVAL;
	if (getlk_allowed())
		magic = fs_magic(fd, fs);
	if (locks_are_local(magic)) {
		r = getlk(fd, byte, ret_type);
		if (r != -EINVAL)
			return r;
	}
	r = truth_by_fdinfo(fd, byte, &type);
	if (r < 0)
		return r;
	if (type == F_UNLCK && fs_is_fuse(fd, magic))
		return ask_fuse(fd, byte, ret_type);
	*ret_type = type;
	return 0;
}

int truth_held(int fd, long byte, short *ret_type)
{
	struct truth_fs fs = TRUTH_FS_NULL;

	return truth_held_on(&fs, fd, byte, ret_type);
}
