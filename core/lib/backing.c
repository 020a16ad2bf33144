/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/backing.h"

#include "core/lib/where.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

/*
 * The kernel keeps the file of a loop device open without any process. Its name
 * stands in sysfs; what the name leads to is compared, unless a server would
 * have to be asked for that.
 */
static bool read_backing(const char *device, char path[static PATH_MAX])
{
	char name[64 + NAME_MAX];
	_cleanup_(fd_closep) int fd = -1;
	ssize_t n;

	snprintf(name, sizeof(name), "/sys/block/%s/loop/backing_file", device);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, path, PATH_MAX - 1) : -1;
	if (n < 1 || path[n - 1] != '\n')
		return false;
	path[n - 1] = '\0';
	return true;
}

void backing_find(struct glk_context *context, const struct proc_file *files,
		  size_t n,
		  void (*found)(void *arg, size_t file, const char *name),
		  void *arg)
{
	DIR *dir = n ? opendir("/sys/block") : NULL;
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char path[PATH_MAX], name[8 + NAME_MAX];
		const struct proc_file *file;
		struct proc_file key = {};
		struct stat st;

		if (strncmp(entry->d_name, "loop", 4) ||
		    !read_backing(entry->d_name, path) ||
		    where_flags(context, path) || stat(path, &st))
			continue;
		if (S_ISBLK(st.st_mode))
			key.rdev = st.st_rdev;
		else
			key.id = (struct res_id){ st.st_dev, st.st_ino };
		file = bsearch(&key, files, n, sizeof(key), proc_file_compare);
		snprintf(name, sizeof(name), "/dev/%s", entry->d_name);
		if (file)
			found(arg, (size_t)(file - files), name);
	}
	if (dir)
		closedir(dir);
}
