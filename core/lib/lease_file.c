/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lease_file.h"

#include "core/base/util.h"
#include "core/lease/resource.h"
#include "core/lib/owner.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

/*
 * A lease file is a name to be locked, and nothing is ever in it; in a lock
 * directory's, nothing but who has it (owner.h). Who takes it makes it, who
 * gives it back removes it, so in the course of time the name leads to one
 * inode after the other. A lock counts only if, while it is held,
 * the name leads to the inode that is locked:
 *
 * - Who takes it opens it with O_CREAT, locks what that has found or made, and
 *   looks whether the name leads there. If not, all of that is done anew
 *   (TXN_REPLACED).
 * - Who gives it back locks it exclusively, looks whether the name leads there,
 *   removes the name, and unlocks only then.
 *
 * So it is the holder alone who removes the name. As long as there is one, all
 * others open the inode that it has locked, and are refused. Whoever had opened
 * that before the name was removed gets the lock of a nameless inode
 * afterwards, sees so, and begins anew. The other order, to unlock and then to
 * remove, would take the name from the next holder, and give the one after that
 * a new inode. One who is killed between removing and unlocking leaves a lock
 * on a nameless inode, which is in nobody's way.
 *
 * A file that stays is harmless, and taken again like any other. So it is
 * removed only where there is no doubt:
 *
 * - If others hold it too, the exclusive lock is refused; the descriptor of a
 *   shared lease cannot even ask for it.
 * - Which of its files are leases, a guest may lie about. It could have its
 *   disk's image removed from a directory that it cannot write to. But what is
 *   empty, or begins as a record of ours does, and has no other name, is
 *   nobody's image.
 * - A link that leads to a lease is not its name.
 * - A server may remove a file late, when we have given up waiting and its name
 *   leads to the next holder's inode. So files on servers stay.
 */

bool lease_file_is_named(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;

	return *base && strcmp(base, ".") && strcmp(base, "..");
}

size_t lease_file_dir(const char *path)
{
	const char *slash = strrchr(path, '/');

	/* Of "/key" it is the slash itself. */
	return slash ? MAX((size_t)(slash - path), 1) : 0;
}

static int open_dir(const char *path)
{
	size_t len = lease_file_dir(path);
	char dir[PATH_MAX] = ".";

	if (len >= sizeof(dir))
		return -1;
	if (len) {
		memcpy(dir, path, len);
		dir[len] = '\0';
	}
	return open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static bool lock(int fd)
{
	struct flock lock = { .l_type = F_WRLCK,
			      .l_whence = SEEK_SET,
			      .l_start = LOCK_BYTE_OWNER,
			      .l_len = 1 };

	return !fcntl(fd, F_OFD_SETLK, &lock);
}

static bool is_ours(int fd, const struct stat *st)
{
	char start[OWNER_MAGIC_SIZE];
	ssize_t n;

	if (!S_ISREG(st->st_mode) || st->st_nlink != 1 ||
	    st->st_size > OWNER_SIZE)
		return false;
	n = pread(fd, start, sizeof(start), 0);
	return n >= 0 && owner_is_ours(start, (size_t)n);
}

bool lease_file_remove(int fd, const char *path)
{
	_cleanup_(fd_closep) int dir = -1;
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	struct stat locked, named;

	if (!lease_file_is_named(path))
		return false;
	dir = open_dir(path);
	if (dir < 0 || !lock(fd))
		return false;
	if (fstat(fd, &locked) || !is_ours(fd, &locked) ||
	    fstatat(dir, base, &named, AT_SYMLINK_NOFOLLOW))
		return false;
	if (locked.st_dev != named.st_dev || locked.st_ino != named.st_ino)
		return false;
	return !unlinkat(dir, base, 0);
}
