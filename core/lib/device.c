/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/device.h"

#include "core/base/util.h"
#include "core/capsule/device.h"
#include "core/lib/lease_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * A lock on a block device's node belongs to the node's inode (tests/kernel),
 * and a device may have many nodes. So what excludes is a lock file in a
 * directory of this host, whose name says which device it is:
 * MAJOR:MINOR-DISKSEQ. The node is locked as well, for virtlockd looks there
 * alone.
 *
 * A file stays when its lease is released, since with it would go what is known
 * of leases that were lost (lost.c): the next one to lock the device would have
 * to search the host for them. What is removed is removed as lease files are
 * (lease_file.c), and by others than its holder only where nobody can have it
 * locked: a file of which the device is gone, by whoever releases it; and when
 * the number is used again, by whoever makes the new device's file, the old
 * one's. So at most one stays for each number. One that is locked tells of a
 * lease on the device as it was (relatives.c). Until all others of its number
 * are gone, a file is not marked (lost.c), and whoever locks it looks for them.
 *
 * A lock file belongs to whom the node belongs to, as far as that may read and
 * write it: who may open the device may lock it. Who may not, could stop others
 * from using it with a mere lock. It stays longer than a node has one owner, so
 * whoever locks it and may do so sets that right.
 */

#define LOCK_MODES 0660U

char *device_lock_path(const struct glk_context *context, struct res_id id)
{
	uint64_t rdev = res_id_rdev(id);
	char *path;

	if (asprintf(&path, "%s/%u:%u-%" PRIu64, context->host_dir, major(rdev),
		     minor(rdev), id.ino) < 0)
		return NULL;
	return path;
}

struct res_id device_id_of(const struct glk_context *context, const char *path,
			   uint64_t rdev)
{
	_cleanup_(fd_closep) int fd = -1;
	uint64_t seq = sysfs_diskseq(context->sysfs, rdev);
	struct res_id id = res_id_of_device(rdev, seq);
	struct stat st;

	if (seq)
		return id;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0 && !fstat(fd, &st) && S_ISBLK(st.st_mode) &&
	    st.st_rdev == rdev)
		id = device_id(fd, rdev);
	return id;
}

void device_make_dir(const struct glk_context *context)
{
	if (!mkdir(context->host_dir, 0755))
		(void)chmod(context->host_dir, 0755); /* whatever the umask */
}

void device_hand_over(int lock_fd, int device_fd)
{
	struct stat file, node;
	mode_t mode;
	bool owned;

	if (fstat(lock_fd, &file) || fstat(device_fd, &node))
		return;
	owned = file.st_uid == node.st_uid && file.st_gid == node.st_gid;
	mode = (node.st_mode & LOCK_MODES) | S_IRUSR | S_IWUSR;
	if (owned && (file.st_mode & 0777) == mode)
		return;
	/* In a directory of many users it may be somebody's other file. */
	if (file.st_size || file.st_nlink != 1)
		return;
	if (!owned && fchown(lock_fd, node.st_uid, node.st_gid))
		return;
	(void)fchmod(lock_fd, mode | (file.st_mode & S_ISVTX));
}

static int compare_ids(const void *a, const void *b)
{
	const struct res_id *x = a, *y = b;

	return x->dev < y->dev ? -1 : x->dev > y->dev;
}

bool device_of_lock_file(const char *name, struct res_id *ret_id)
{
	unsigned major, minor;
	uint64_t seq;
	int end = 0;

	if (sscanf(name, "%u:%u-%" SCNu64 "%n", &major, &minor, &seq, &end) !=
		    3 ||
	    name[end])
		return false;
	*ret_id = res_id_of_device(makedev(major, minor), seq);
	return true;
}

/* Neither has anybody the bytes of a hand-over, who waits for the owner's. */
static bool lock_handover(int fd)
{
	struct flock lock = { .l_type = F_WRLCK,
			      .l_whence = SEEK_SET,
			      .l_start = LOCK_HANDOVER_START,
			      .l_len = LOCK_HANDOVER_LEN };

	return !fcntl(fd, F_OFD_SETLK, &lock);
}

/* Return: false if it is there still, for all that is known. */
static bool remove_stale(const struct glk_context *context, const char *name)
{
	_cleanup_(freep) char *path = NULL;
	_cleanup_(fd_closep) int fd = -1;

	if (asprintf(&path, "%s/%s", context->host_dir, name) < 0) {
		path = NULL;
		return false;
	}
	fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT;
	return lock_handover(fd) && lease_file_remove(fd, path);
}

bool device_tidy(const struct glk_context *context, const struct res_id *ids,
		 size_t n)
{
	const struct dirent *entry;
	const struct res_id *now;
	DIR *dir = opendir(context->host_dir);
	struct res_id then;
	bool all = true;

	if (!dir)
		return errno == ENOENT;
	errno = 0;
	while ((entry = readdir(dir))) {
		now = device_of_lock_file(entry->d_name, &then)
			      ? bsearch(&then, ids, n, sizeof(then),
					compare_ids)
			      : NULL;
		if (now && now->ino != then.ino)
			all &= remove_stale(context, entry->d_name);
		errno = 0;
	}
	all &= !errno;
	closedir(dir);
	return all;
}

char *device_has(const char *verb, const struct sysfs_relative *relative,
		 const char *tail)
{
	static const char *const texts[][2] = {
		[SYSFS_PARTITION] = { "its partition ", "" },
		[SYSFS_WHOLE] = { "", ", of which it is a part" },
		[SYSFS_ABOVE] = { "", ", which is built on it" },
		[SYSFS_BELOW] = { "", ", on which it is built" },
		[SYSFS_ITSELF] = { "it", ", and its medium was changed since" },
	};
	const char *const *text = texts[relative->relation];
	char *how;

	if (asprintf(&how, "%s %s%s%s%s", verb, text[0], relative->name, tail,
		     text[1]) < 0)
		return NULL;
	return how;
}

char *device_how(const struct sysfs_relative *relative)
{
	return device_has("holds", relative, "");
}
