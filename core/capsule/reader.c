/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/reader.h"

#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define NAME "guestlock-reader"

int reader_mark(void)
{
	_cleanup_(fd_closep) int fd = -1;

	if (feature_allowed(FEATURE_MEMFD_NOEXEC))
		fd = memfd_create(NAME, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	if (fd < 0)
		fd = memfd_create(NAME, MFD_CLOEXEC);
	return fd ? TAKE_FD(fd) : fcntl(fd, F_DUPFD_CLOEXEC, 1);
}

static bool is_marker(int dir, const char *name)
{
	static const char want[] = "/memfd:" NAME;
	char link[sizeof(want)];

	return readlinkat(dir, name, link, sizeof(link)) >=
		       (ssize_t)sizeof(want) - 1 &&
	       !memcmp(link, want, sizeof(want) - 1);
}

bool reader_is(pid_t pid)
{
	struct dirent *entry;
	bool found = false;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)))
		found = is_marker(dirfd(dir), entry->d_name);
	if (dir)
		closedir(dir);
	return found;
}
