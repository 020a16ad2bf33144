/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/proc.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/*
 * A killed process keeps its locks until the kernel has closed its files, tens
 * of ms later for a big guest, minutes if it dumps core. From the outside that
 * is seen in /proc/PID/stat, which everybody may read: first SIGKILL is pending
 * in every thread, then flags say PF_SIGNALED, then PF_EXITING, then the state
 * is Z. The kernel prints the flags before it looks at the signals, so a thread
 * that takes its SIGKILL in between looks alive: only two looks prove life.
 * The first thread may end alone, and its zombie stands for a process that
 * lives on; then all the threads have to be looked at.
 */

#define PF_EXITING 0x4	  /* include/linux/sched.h */
#define PF_SIGNALED 0x400 /* killed by a signal, perhaps dumping core */
#define STAT_SIZE 1024

int proc_stat_parse(const char *line, struct proc_stat *ret_stat)
{
	const char *s = strrchr(line, ')');
	struct proc_stat st;

	if (!s ||
	    sscanf(s + 1,
		   " %c %d %*d %*d %*d %*d %" SCNu64
		   " %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %" SCNu64
		   " %*d %" SCNu64 " %*u %*d %*u %*u %*u %*u %*u %*u %" SCNu64,
		   &st.state, &st.parent, &st.flags, &st.threads, &st.start,
		   &st.pending) != 6)
		return -EBADMSG;
	*ret_stat = st;
	return 0;
}

static int read_stat(const char *path, struct proc_stat *ret_stat)
{
	_cleanup_(fd_closep) int fd = -1;
	char line[STAT_SIZE];
	ssize_t n;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	n = read(fd, line, sizeof(line) - 1);
	if (n < 0)
		return -errno;
	line[n] = '\0';
	return proc_stat_parse(line, ret_stat);
}

static int pid_stat(pid_t pid, struct proc_stat *ret_stat)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	return read_stat(path, ret_stat);
}

int proc_start_time(pid_t pid, uint64_t *ret_start)
{
	struct proc_stat st;
	int r = pid_stat(pid, &st);

	if (r < 0)
		return r;
	*ret_start = st.start;
	return 0;
}

pid_t proc_parent(pid_t pid)
{
	struct proc_stat st;
	int r = pid_stat(pid, &st);

	return r < 0 ? r : st.parent;
}

bool proc_has_socket(pid_t pid, uint32_t ino)
{
	char path[32], want[32], link[32];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	snprintf(want, sizeof(want), "socket:[%" PRIu32 "]", ino);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link,
				       sizeof(link) - 1);

		link[MAX(n, 0)] = '\0';
		found = !strcmp(link, want);
	}
	if (dir)
		closedir(dir);
	return found;
}

uint64_t proc_start_to_realtime(uint64_t start)
{
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t boot = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME);

	return boot + start / hz * NSEC_PER_SEC +
	       start % hz * (NSEC_PER_SEC / hz);
}

bool proc_stat_dying(const struct proc_stat *st)
{
	return st->state == 'Z' || st->state == 'X' ||
	       (st->flags & (PF_EXITING | PF_SIGNALED)) ||
	       (st->pending & UINT64_C(1) << (SIGKILL - 1));
}

static bool all_threads_are_dying(pid_t pid)
{
	bool dying = true;
	struct dirent *entry;
	char path[300];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && dying && (entry = readdir(dir))) {
		struct proc_stat st;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", pid,
			 entry->d_name);
		dying = entry->d_name[0] == '.' || read_stat(path, &st) < 0 ||
			proc_stat_dying(&st);
	}
	if (dir)
		closedir(dir);
	return dying;
}

/* Return: 1 if dying, 0 if not or if nobody can say, -ESRCH if gone. */
static int look_at(pid_t pid)
{
	struct proc_stat st;
	int r = pid_stat(pid, &st);

	if (r < 0)
		return r == -ESRCH ? r : 0;
	if (!proc_stat_dying(&st))
		return 0;
	return st.threads <= 1 || all_threads_are_dying(pid);
}

bool proc_is_dying(pid_t pid)
{
	int r;

	if (pid < 1)
		return true;
	r = look_at(pid);
	if (r == 0)
		r = look_at(pid);
	if (r == -ESRCH) /* perhaps only hidden from us */
		return kill(pid, 0) < 0 && errno == ESRCH;
	return r > 0;
}

void proc_exe(pid_t pid, char *buf, size_t size)
{
	char path[32];
	ssize_t n;

	if (!size)
		return;
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, buf, size - 1);
	buf[MAX(n, 0)] = '\0';
}
