/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/walk.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * Who has a file open? A process may call it by another name, or by none, so
 * each descriptor that may be a file is looked at through /proc/PID/fd/FD, with
 * AT_STATX_DONT_SYNC, so that no server is asked. How it is open shows in the
 * mode of the link itself: readable, writable, or neither for O_PATH.
 *
 * What is mapped stays open without a descriptor. The lines of /proc/PID/maps
 * name an inode number, which is compared first; the identity in the terms of
 * fstat(2) is that of /proc/PID/map_files/START-END. Where both differ, as on
 * some overlayfs, nothing is found.
 */

struct opener_search {
	const struct proc_file *files;
	size_t n;
	bool (*found)(void *arg, const struct proc_opener *opener);
	void *arg;
	bool hidden;
};

static int compare(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

int proc_file_compare(const void *a, const void *b)
{
	const struct proc_file *x = a, *y = b;
	int r = compare(x->rdev, y->rdev);

	if (!r)
		r = compare(x->id.dev, y->id.dev);
	return r ? r : compare(x->id.ino, y->id.ino);
}

/* Return: the index of what @name leads to, or @n. */
static size_t find_file(const struct opener_search *search, int dir,
			const char *name)
{
	struct proc_file key = {};
	const struct proc_file *found;
	struct statx st;

	if (statx(dir, name, AT_STATX_DONT_SYNC, STATX_INO | STATX_TYPE, &st))
		return search->n;
	if (S_ISBLK(st.stx_mode))
		key.rdev = makedev(st.stx_rdev_major, st.stx_rdev_minor);
	else
		key.id = (struct res_id){
			makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino
		};
	found = bsearch(&key, search->files, search->n, sizeof(key),
			proc_file_compare);
	return found ? (size_t)(found - search->files) : search->n;
}

static int tell(struct opener_search *search, const struct proc_opener *opener)
{
	return search->found(search->arg, opener);
}

static int visit_descriptor(void *arg, const struct spot *spot)
{
	struct opener_search *search = arg;
	struct proc_opener opener = { .pid = spot->pid, .fd = spot->fd };
	struct stat link;
	char name[16];

	if (walk_is_no_file(spot))
		return 0;
	snprintf(name, sizeof(name), "%d", spot->fd);
	opener.file = find_file(search, spot->fd_dir, name);
	if (opener.file == search->n ||
	    fstatat(spot->fd_dir, name, &link, AT_SYMLINK_NOFOLLOW) ||
	    !(link.st_mode & (S_IRUSR | S_IWUSR)))
		return 0;
	opener.writes = link.st_mode & S_IWUSR;
	return tell(search, &opener);
}

/* One line of /proc/PID/maps. Devices are seen by their nodes' inodes, which
   nobody knows, so all of them are looked at. */
static bool is_candidate(const struct opener_search *search, uint64_t ino)
{
	for (size_t i = 0; i < search->n; i++)
		if (search->files[i].rdev || search->files[i].id.ino == ino)
			return ino;
	return false;
}

static int visit_mapping(struct opener_search *search, const struct spot *spot,
			 const char *line)
{
	struct proc_opener opener = { .pid = spot->pid, .fd = -1 };
	uint64_t start, end, ino;
	char perms[5], name[64];

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %" SCNu64,
		   &start, &end, perms, &ino) != 4 ||
	    !is_candidate(search, ino))
		return 0;
	snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64, start,
		 end);
	errno = 0;
	opener.file = find_file(search, spot->pid_dir, name);
	search->hidden |= errno == EPERM || errno == EACCES;
	if (opener.file == search->n)
		return 0;
	opener.writes = perms[1] == 'w' && perms[3] == 's';
	return tell(search, &opener);
}

static int visit_mappings(void *arg, const struct spot *spot)
{
	struct opener_search *search = arg;
	_cleanup_(freep) char *line = NULL;
	int fd = openat(spot->pid_dir, "maps", O_RDONLY | O_CLOEXEC);
	FILE *maps = fd >= 0 ? fdopen(fd, "r") : NULL;
	size_t size = 0;
	int r = 0;

	if (!maps) {
		search->hidden |= errno == EPERM || errno == EACCES;
		fd_close(fd);
		return 0;
	}
	while (!r && getline(&line, &size, maps) > 0)
		r = visit_mapping(search, spot, line);
	fclose(maps);
	return r;
}

int proc_find_openers(
	const struct proc_file *files, size_t n, bool mapped, uint64_t deadline,
	bool (*found)(void *arg, const struct proc_opener *opener), void *arg)
{
	struct opener_search search = {
		.files = files,
		.n = n,
		.found = found,
		.arg = arg,
	};
	struct walk walk = {
		.deadline = deadline,
		.visit = visit_descriptor,
		.visit_process = mapped ? visit_mappings : NULL,
		.arg = &search,
	};
	int r = walk_run(&walk);

	if (r)
		return r;
	return walk.hidden || search.hidden ? PROC_E_HIDDEN : 0;
}
