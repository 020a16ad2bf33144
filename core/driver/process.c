/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/driver/process.h"

#include "core/base/compat.h"
#include "core/base/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

bool process_lives(pid_t pid)
{
	_cleanup_(fd_closep) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	if (fd < 0)
		return errno != ESRCH && (!kill(pid, 0) || errno != ESRCH);
	return poll(&pfd, 1, 0) == 0;
}

static void closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static DIR *open_folder(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		fd_close(fd);
	return dir;
}

/* What /proc/PID/fdinfo says of it. */
static bool survives_exec(int process, const char *name)
{
	char path[NAME_MAX + 16], text[128];
	_cleanup_(fd_closep) int fd = -1;
	const char *flags;
	ssize_t n;

	snprintf(path, sizeof(path), "fdinfo/%s", name);
	fd = openat(process, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[MAX(n, 0)] = '\0';
	flags = strstr(text, "flags:");
	return flags && !(strtoul(flags + 6, NULL, 8) & O_CLOEXEC);
}

static bool has_inherited(int process, const char *socket)
{
	_cleanup_(closedirp) DIR *dir = open_folder(process, "fd");
	struct dirent *entry;
	char link[64];
	ssize_t n;

	while (dir && (entry = readdir(dir))) {
		n = readlinkat(dirfd(dir), entry->d_name, link,
			       sizeof(link) - 1);
		link[MAX(n, 0)] = '\0';
		if (n > 0 && !strcmp(link, socket) &&
		    survives_exec(process, entry->d_name))
			return true;
	}
	return false;
}

bool process_inherited(int fd)
{
	_cleanup_(closedirp) DIR *dir = open_folder(AT_FDCWD, "/proc");
	struct dirent *entry;
	bool found = false;
	char socket[64];
	struct stat st;

	if (fstat(fd, &st))
		return false;
	snprintf(socket, sizeof(socket), "socket:[%llu]",
		 (unsigned long long)st.st_ino);
	while (!found && dir && (entry = readdir(dir))) {
		int process;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    atoi(entry->d_name) == getpid())
			continue;
		process = openat(dirfd(dir), entry->d_name,
				 O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		found = process >= 0 && has_inherited(process, socket);
		fd_close(process);
	}
	return found;
}
