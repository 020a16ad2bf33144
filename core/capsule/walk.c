/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/walk.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/fdinfo.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

/*
 * A process is named here only after a refusal, and then somebody waits for the
 * answer, on a host with perhaps 1000 guests of 100 descriptors each. So a walk
 * reads little: two directories a process and one link a descriptor. What the
 * link says (socket:[N], anon_inode:…, pipe:[N]) tells most descriptors apart
 * without opening their fdinfo, which is 5 times as dear and, for an io_uring
 * or an epoll set, long.
 *
 * Which file is a lock on? The "lock:" line names the superblock's device and
 * i_ino, which is not always what fstat(2) tells. Measured on Linux 6.18:
 *
 *   ext4, xfs, tmpfs    both the same
 *   btrfs               another device; files of two subvolumes that have one
 *                       number also have one line
 *   overlayfs, one fs   both the same
 *   overlayfs, several  another device; fstat(2) tells different ones for upper
 *                       and lower files, the line does not
 *
 * So the line is not compared at all, it only has to cover the byte. Then
 * statx(2) through /proc/PID/fd/FD tells the identity in the terms of fstat(2),
 * with AT_STATX_DONT_SYNC, so that no server is asked. That happens only for
 * descriptors that do have a lock on the byte.
 *
 * A walk is no snapshot. A process that forks or passes descriptors around
 * meanwhile may be missed or seen twice.
 */

#define FDS_PER_LOOK 64 /* at the clock */

static int parse_number(const char *s)
{
	char *end;
	long n = strtol(s, &end, 10);

	return *s < '0' || *s > '9' || *end || n > INT_MAX ? -1 : (int)n;
}

/* Return: 1 with @ret_number, 0 at the end, or negative errno. */
static int numbers_next(struct numbers *numbers, int *ret_number)
{
	for (;;) {
		struct dirent64 *entry;
		int number;

		if (numbers->pos == numbers->fill) {
			ssize_t n = getdents64(numbers->dir, numbers->buf,
					       sizeof(numbers->buf));

			if (n <= 0)
				return n < 0 ? -errno : 0;
			numbers->pos = 0;
			numbers->fill = (size_t)n;
		}
		entry = (void *)(numbers->buf + numbers->pos);
		numbers->pos += entry->d_reclen;
		number = parse_number(entry->d_name);
		if (number >= 0) {
			*ret_number = number;
			return 1;
		}
	}
}

static bool errno_is_theirs(int e)
{
	return e == ENOENT || e == ESRCH || e == EACCES || e == EPERM;
}

static int walk_fds(struct walk *walk, struct spot *spot)
{
	char name[16], link[64];
	unsigned count = 0;
	int r;

	walk->fds.dir = spot->fd_dir;
	walk->fds.pos = walk->fds.fill = 0;
	while ((r = numbers_next(&walk->fds, &spot->fd)) > 0) {
		ssize_t n;

		if (count++ % FDS_PER_LOOK == 0 && clock_now() > walk->deadline)
			return -ETIME;
		snprintf(name, sizeof(name), "%d", spot->fd);
		n = readlinkat(spot->fd_dir, name, link, sizeof(link) - 1);
		if (n < 0)
			continue;
		link[n] = '\0';
		spot->link = link;
		r = walk->visit(walk->arg, spot);
		if (r)
			return r;
	}
	return errno_is_theirs(-r) ? 0 : r;
}

/* May we not look, or is there nothing any more? */
static int note_refusal(struct walk *walk, int e)
{
	walk->hidden |= e == EACCES || e == EPERM;
	return errno_is_theirs(e) ? 0 : -e;
}

static int walk_pid(struct walk *walk, int proc, pid_t pid)
{
	_cleanup_(fd_closep) int pid_dir = -1, fd_dir = -1;
	struct spot spot = { .pid = pid };
	char name[16];

	snprintf(name, sizeof(name), "%d", pid);
	pid_dir = openat(proc, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (pid_dir >= 0)
		fd_dir = openat(pid_dir, "fd",
				O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd_dir < 0)
		return note_refusal(walk, errno);
	spot.pid_dir = pid_dir;
	spot.fd_dir = fd_dir;
	return walk->visit_process ? walk->visit_process(walk->arg, &spot)
				   : walk_fds(walk, &spot);
}

int walk_run(struct walk *walk)
{
	_cleanup_(fd_closep) int proc = -1;
	bool any = false;
	int pid, r;

	proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return errno == ENOENT ? -ENOSYS : -errno;
	walk->pids.dir = proc;
	while ((r = numbers_next(&walk->pids, &pid)) > 0) {
		any = true;
		if (clock_now() > walk->deadline)
			return -ETIME;
		r = walk_pid(walk, proc, pid);
		if (r)
			return MIN(r, 0);
	}
	if (r == 0 && !any)
		return -ENOSYS;
	return r;
}

struct socket_search {
	const uint32_t *inos;
	size_t n;
	bool (*found)(void *arg, uint32_t ino, pid_t pid, int fd);
	void *arg;
};

static int compare_ino(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int visit_socket(void *arg, const struct spot *spot)
{
	struct socket_search *search = arg;
	uint32_t ino;

	if (sscanf(spot->link, "socket:[%" SCNu32 "]", &ino) != 1)
		return 0;
	if (!bsearch(&ino, search->inos, search->n, sizeof(ino), compare_ino))
		return 0;
	return search->found(search->arg, ino, spot->pid, spot->fd);
}

int proc_find_socket(const uint32_t *inos, size_t n, uint64_t deadline,
		     bool (*found)(void *arg, uint32_t ino, pid_t pid, int fd),
		     void *arg)
{
	struct socket_search search = { inos, n, found, arg };
	struct walk walk = { .deadline = deadline,
			     .visit = visit_socket,
			     .arg = &search };

	return walk_run(&walk);
}

bool walk_is_no_file(const struct spot *spot)
{
	const char *link = spot->link;

	return !strncmp(link, "socket:", 7) || !strncmp(link, "pipe:", 5) ||
	       !strncmp(link, "anon_inode:", 11);
}

static int spot_id(const struct spot *spot, struct res_id *ret_id)
{
	struct statx st;
	char name[16];

	snprintf(name, sizeof(name), "%d", spot->fd);
	if (statx(spot->fd_dir, name, AT_STATX_DONT_SYNC, STATX_INO, &st) < 0)
		return -errno;
	ret_id->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	ret_id->ino = st.stx_ino;
	return 0;
}

struct locker_search {
	const struct proc_point *points;
	size_t n;
	bool (*found)(void *arg, const struct proc_locker *locker);
	void *arg;
	const struct spot *spot;
	struct res_id id; /* of the spot */
	bool has_id, stop;
};

/* The first point from @i on that this lock may be about. */
static size_t next_covered(const struct locker_search *search, size_t i,
			   const struct fdinfo_lock *lock)
{
	while (i < search->n && !fdinfo_covers(lock, search->points[i].byte))
		i++;
	return i;
}

static bool found_lock(void *arg, const struct fdinfo_lock *lock)
{
	struct locker_search *search = arg;
	struct proc_locker locker = { .pid = search->spot->pid,
				      .fd = search->spot->fd,
				      .type = lock->type,
				      .ofd = lock->kind == FDINFO_OFD };
	size_t i = next_covered(search, 0, lock);

	if (i == search->n)
		return false;
	if (!search->has_id && spot_id(search->spot, &search->id) < 0)
		return true; /* closed meanwhile */
	search->has_id = true;
	for (; i < search->n && !search->stop;
	     i = next_covered(search, i + 1, lock)) {
		locker.point = i;
		if (res_id_equal(search->points[i].id, search->id))
			search->stop = search->found(search->arg, &locker);
	}
	return search->stop;
}

static int visit_locker(void *arg, const struct spot *spot)
{
	struct locker_search *search = arg;
	_cleanup_(fd_closep) int info = -1;
	char path[32];

	if (walk_is_no_file(spot))
		return 0;
	snprintf(path, sizeof(path), "fdinfo/%d", spot->fd);
	info = openat(spot->pid_dir, path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return errno_is_theirs(errno) ? 0 : -errno;
	search->spot = spot;
	search->has_id = false;
	fdinfo_read(info, found_lock, search); /* fails if they are gone */
	return search->stop;
}

int proc_find_lockers(
	const struct proc_point *points, size_t n, uint64_t deadline,
	bool (*found)(void *arg, const struct proc_locker *locker), void *arg)
{
	struct locker_search search = {
		.points = points,
		.n = n,
		.found = found,
		.arg = arg,
	};
	struct walk walk = {
		.deadline = deadline,
		.visit = visit_locker,
		.arg = &search,
	};

	return walk_run(&walk);
}

struct each_locker {
	bool (*found)(void *arg, pid_t pid, int fd, short type, bool ofd);
	void *arg;
};

static bool each_locker(void *arg, const struct proc_locker *locker)
{
	struct each_locker *each = arg;

	return each->found(each->arg, locker->pid, locker->fd, locker->type,
			   locker->ofd);
}

int proc_each_locker(struct res_id id, long byte, uint64_t deadline,
		     bool (*found)(void *arg, pid_t pid, int fd, short type,
				   bool ofd),
		     void *arg)
{
	struct proc_point point = { id, byte };
	struct each_locker each = { found, arg };

	return proc_find_lockers(&point, 1, deadline, each_locker, &each);
}

static bool take_pid(void *arg, const struct proc_locker *locker)
{
	*(pid_t *)arg = locker->pid;
	return true;
}

int proc_find_locker(struct res_id id, long byte, uint64_t deadline,
		     pid_t *ret_pid)
{
	struct proc_point point = { id, byte };
	pid_t pid = 0;
	int r = proc_find_lockers(&point, 1, deadline, take_pid, &pid);

	if (!pid)
		return r < 0 ? r : -ENOENT;
	*ret_pid = pid;
	return 0;
}
