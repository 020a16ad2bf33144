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
 * The files are made and removed as lease files are (lease_file.c). Those that
 * a dead guest leaves behind are harmless, and taken again like any other, as
 * long as the device is there; when its number is used again, whoever locks the
 * new device removes the old one's file. So at most one stays for each number.
 * One that is locked tells of a lease on the device as it was (relatives.c).
 *
 * A lock file belongs to whom the node belongs to, as far as that may read and
 * write it: who may open the device may lock it. Who may not, could stop others
 * from using it with a mere lock.
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

/* Is it as the engine makes files, whatever the umask? Then nobody has done
   this yet. */
void device_hand_over(int lock_fd, int device_fd)
{
	struct stat file, node;
	mode_t mode;

	if (fstat(lock_fd, &file) || fstat(device_fd, &node))
		return;
	mode = node.st_mode & LOCK_MODES;
	if (file.st_uid != geteuid() || file.st_mode & 07777 & ~0600U)
		return;
	if (file.st_uid == node.st_uid && file.st_gid == node.st_gid &&
	    file.st_mode == (S_IFREG | 0600) && mode == 0600)
		return;
	if (fchown(lock_fd, node.st_uid, node.st_gid))
		return;
	(void)fchmod(lock_fd, mode | S_IRUSR | S_IWUSR);
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
	return fd < 0 ? errno == ENOENT : lease_file_remove(fd, path);
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

char *device_how(const struct sysfs_relative *relative)
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

	if (asprintf(&how, "holds %s%s%s", text[0], relative->name, text[1]) <
	    0)
		return NULL;
	return how;
}
