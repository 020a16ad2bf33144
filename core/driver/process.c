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
		return errno != ESRCH && process_exists(pid);
	return poll(&pfd, 1, 0) == 0;
}

bool process_exists(pid_t pid)
{
	return !kill(pid, 0) || errno != ESRCH;
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
	int error = errno;

	if (!dir)
		fd_close(fd);
	errno = error;
	return dir;
}

/* A process that has ended or is not ours to see has inherited nothing; but one
   that could not be looked at for want of something may have. */
static int judge(int error)
{
	switch (error) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return -error;
	default:
		return 0;
	}
}

/* What /proc/PID/fdinfo says of it. Return: as process_inherited(). */
static int survives_exec(int process, const char *name)
{
	char path[NAME_MAX + 16], text[128];
	_cleanup_(fd_closep) int fd = -1;
	const char *flags;
	ssize_t n;

	snprintf(path, sizeof(path), "fdinfo/%s", name);
	fd = openat(process, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return judge(errno);
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return judge(errno);
	text[n] = '\0';
	flags = strstr(text, "flags:");
	return flags && !(strtoul(flags + 6, NULL, 8) & O_CLOEXEC);
}

/* Return: as process_inherited(). */
static int has_inherited(int process, const char *socket)
{
	_cleanup_(closedirp) DIR *dir = open_folder(process, "fd");
	struct dirent *entry;
	char link[64];
	ssize_t n;
	int r = 0;

	if (!dir)
		return judge(errno);
	while (!r && (entry = readdir(dir))) {
		n = readlinkat(dirfd(dir), entry->d_name, link,
			       sizeof(link) - 1);
		link[MAX(n, 0)] = '\0';
		if (n > 0 && !strcmp(link, socket))
			r = survives_exec(process, entry->d_name);
	}
	return r;
}

int process_inherited(int fd)
{
	_cleanup_(closedirp) DIR *dir = open_folder(AT_FDCWD, "/proc");
	struct dirent *entry;
	char socket[64];
	struct stat st;
	int r = 0;

	if (!dir || fstat(fd, &st))
		return -errno;
	snprintf(socket, sizeof(socket), "socket:[%llu]",
		 (unsigned long long)st.st_ino);
	while (!r && (entry = readdir(dir))) {
		int process;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    atoi(entry->d_name) == getpid())
			continue;
		process = openat(dirfd(dir), entry->d_name,
				 O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = process < 0 ? judge(errno) : has_inherited(process, socket);
		fd_close(process);
	}
	return r;
}
