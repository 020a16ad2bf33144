/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/sysfs.h"

#include "core/base/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*
 * ROOT/dev/block/MAJOR:MINOR leads to the device's directory. That of a
 * partition has a file "partition" and stands in the directory of its disk;
 * holders/ has a link to each device that is built on it, slaves/ one to each
 * that it is built on.
 *
 * Relatives upwards are the partitions, the holders, and those of each of
 * these; downwards the whole disk, the slaves, and those of each of these. The
 * two walks never turn round, or they would come to siblings. The list is the
 * queue of the walk too: what is found is appended, and looked at later.
 *
 * A device may go while it is looked at, and that is no failure. Any other is:
 * who cannot look, for lack of descriptors say, does not know of a relative,
 * and must not take it for none.
 */

#define RELATIVES_MAX 4096 /* the tree of a test, or of nobody's disk */

static bool is_gone(int error)
{
	return error == -ENOENT || error == -ENOTDIR || error == -ENODEV ||
	       error == -ENXIO;
}

static int open_dir(const char *root, uint64_t rdev)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/dev/block/%u:%u", root, major(rdev),
		 minor(rdev));
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int read_at(int dir, const char *name, char *buf, size_t size)
{
	_cleanup_(fd_closep) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size);
	if (n < 0)
		return -errno;
	if ((size_t)n == size)
		return -ENOBUFS;
	if (n && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return (int)n;
}

int sysfs_attr(const char *root, uint64_t rdev, const char *attr,
	       char *ret_text, size_t size)
{
	_cleanup_(fd_closep) int dir = open_dir(root, rdev);

	return dir < 0 ? -errno : read_at(dir, attr, ret_text, size);
}

static int name_of(const char *root, uint64_t rdev,
		   char ret_name[SYSFS_NAME_MAX])
{
	char path[PATH_MAX], link[PATH_MAX];
	const char *base;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/dev/block/%u:%u", root, major(rdev),
		 minor(rdev));
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return -errno;
	link[n] = '\0';
	base = strrchr(link, '/');
	base = base ? base + 1 : link;
	if (!*base || strlen(base) >= SYSFS_NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(ret_name, base);
	return 0;
}

bool sysfs_name(const char *root, uint64_t rdev, char ret_name[SYSFS_NAME_MAX])
{
	return !name_of(root, rdev, ret_name);
}

/* 0 if the kernel does not tell. */
static int diskseq_at(int dir, uint64_t *ret_seq)
{
	uint64_t seq = 0;
	char text[32];
	int r = read_at(dir, "diskseq", text, sizeof(text));

	if (r < 0 && is_gone(r))
		r = read_at(dir, "../diskseq", text, sizeof(text));
	if (r < 0 && !is_gone(r))
		return r;
	if (r < 0 || sscanf(text, "%" SCNu64, &seq) != 1)
		seq = 0;
	*ret_seq = seq;
	return 0;
}

uint64_t sysfs_diskseq(const char *root, uint64_t rdev)
{
	_cleanup_(fd_closep) int dir = open_dir(root, rdev);
	uint64_t seq = 0;

	if (dir >= 0)
		(void)diskseq_at(dir, &seq);
	return seq;
}

static bool is_known(const struct sysfs_relatives *list, uint64_t rdev)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->v[i].rdev == rdev)
			return true;
	return false;
}

static int append(struct sysfs_relatives *list,
		  const struct sysfs_relative *relative)
{
	if (is_known(list, relative->rdev))
		return 0;
	if (list->n == RELATIVES_MAX)
		return -E2BIG;
	if (list->n == list->cap) {
		size_t cap = MAX(2 * list->cap, 8);
		void *v = reallocarray(list->v, cap, sizeof(*list->v));

		if (!v)
			return -ENOMEM;
		list->v = v;
		list->cap = cap;
	}
	list->v[list->n++] = *relative;
	return 0;
}

/* @path: of its directory, relative to @dir. */
static int add(struct sysfs_relatives *list, int dir, const char *path,
	       struct sysfs_relative *relative)
{
	_cleanup_(fd_closep) int fd =
		openat(dir, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	unsigned major, minor;
	char text[32];
	int r = fd < 0 ? -errno : read_at(fd, "dev", text, sizeof(text));

	if (r < 0)
		return is_gone(r) ? 0 : r;
	if (sscanf(text, "%u:%u", &major, &minor) != 2)
		return 0;
	relative->rdev = makedev(major, minor);
	r = diskseq_at(fd, &relative->diskseq);
	return r ? r : append(list, relative);
}

static void close_dirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* Return: 0, with NULL if there is none, or negative errno. */
static int list_dir(int dir, const char *name, DIR **ret_list)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	int r = list ? 0 : -errno;

	if (fd >= 0 && !list)
		fd_close(fd);
	if (r && !is_gone(r))
		return r;
	*ret_list = list;
	return 0;
}

/* Return: 0, with NULL at the end, or negative errno. */
static int next_of(DIR *list, const struct dirent **ret_entry)
{
	errno = 0;
	*ret_entry = list ? readdir(list) : NULL;
	return *ret_entry || !errno || is_gone(-errno) ? 0 : -errno;
}

/* All that are linked in holders/ or slaves/. */
static int add_links(struct sysfs_relatives *list, int dir, const char *name,
		     enum sysfs_relation relation)
{
	_cleanup_(close_dirp) DIR *links = NULL;
	const struct dirent *entry;
	int r = list_dir(dir, name, &links);

	while (!r && !(r = next_of(links, &entry)) && entry) {
		struct sysfs_relative relative = { .relation = relation };

		if (entry->d_name[0] == '.' ||
		    strlen(entry->d_name) >= SYSFS_NAME_MAX)
			continue;
		strcpy(relative.name, entry->d_name);
		r = add(list, dirfd(links), entry->d_name, &relative);
	}
	return r;
}

/* Return: whether it is there, or negative errno. */
static int has_file(int dir, const char *name)
{
	if (!faccessat(dir, name, F_OK, 0))
		return true;
	return is_gone(-errno) ? false : -errno;
}

/* A partition is called like its disk, and something more. */
static int add_partitions(struct sysfs_relatives *list, int dir,
			  const char *name)
{
	_cleanup_(close_dirp) DIR *entries = NULL;
	size_t len = strlen(name);
	const struct dirent *entry;
	int r = list_dir(dir, ".", &entries);

	while (r >= 0 && !(r = next_of(entries, &entry)) && entry) {
		struct sysfs_relative relative = { .relation =
							   SYSFS_PARTITION };
		char file[NAME_MAX + 16];

		if (strncmp(entry->d_name, name, len) ||
		    strlen(entry->d_name) >= SYSFS_NAME_MAX)
			continue;
		snprintf(file, sizeof(file), "%s/partition", entry->d_name);
		r = has_file(dir, file);
		if (r <= 0)
			continue;
		strcpy(relative.name, entry->d_name);
		r = add(list, dir, entry->d_name, &relative);
	}
	return r;
}

static int add_parts_of(const char *root, uint64_t rdev, int dir,
			struct sysfs_relatives *list)
{
	char name[SYSFS_NAME_MAX];
	int r = name_of(root, rdev, name);

	if (r)
		return is_gone(r) ? 0 : r;
	return add_partitions(list, dir, name);
}

static int add_whole(const char *root, int dir, struct sysfs_relatives *list)
{
	struct sysfs_relative whole = { .relation = SYSFS_WHOLE };
	unsigned major, minor;
	char text[32];
	int r = read_at(dir, "../dev", text, sizeof(text));

	if (r >= 0 && sscanf(text, "%u:%u", &major, &minor) != 2)
		return 0;
	if (r >= 0)
		r = name_of(root, makedev(major, minor), whole.name);
	if (r < 0)
		return is_gone(r) ? 0 : r;
	return add(list, dir, "..", &whole);
}

static int add_above(const char *root, uint64_t rdev, int dir,
		     struct sysfs_relatives *list)
{
	int r = has_file(dir, "partition");

	if (r >= 0)
		r = r ? 0 : add_parts_of(root, rdev, dir, list);
	return r ? r : add_links(list, dir, "holders", SYSFS_ABOVE);
}

static int add_below(const char *root, uint64_t rdev, int dir,
		     struct sysfs_relatives *list)
{
	int r = has_file(dir, "partition");

	(void)rdev;
	if (r > 0)
		r = add_whole(root, dir, list);
	return r ? r : add_links(list, dir, "slaves", SYSFS_BELOW);
}

typedef int step_fn(const char *root, uint64_t rdev, int dir,
		    struct sysfs_relatives *list);

static int take_step(const char *root, uint64_t rdev,
		     struct sysfs_relatives *list, step_fn *step)
{
	_cleanup_(fd_closep) int dir = open_dir(root, rdev);

	return dir < 0 ? -errno : step(root, rdev, dir, list);
}

static int walk(const char *root, uint64_t rdev, struct sysfs_relatives *list,
		step_fn *step)
{
	size_t at = list->n;
	int r = take_step(root, rdev, list, step);

	for (; at < list->n && !r; at++) {
		enum sysfs_relation relation = list->v[at].relation;
		size_t next = list->n;

		r = take_step(root, list->v[at].rdev, list, step);
		r = is_gone(r) ? 0 : r;
		/* A part of something that is built on it is so, too. */
		for (; next < list->n; next++)
			if (relation == SYSFS_ABOVE || relation == SYSFS_BELOW)
				list->v[next].relation = relation;
	}
	return r;
}

static bool is_mounted(const char *root)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/dev/block", root);
	return !access(path, F_OK) || errno != ENOENT;
}

int sysfs_relatives(const char *root, uint64_t rdev,
		    struct sysfs_relatives *ret)
{
	struct sysfs_relatives list = {};
	int r = walk(root, rdev, &list, add_above);

	if (!r)
		r = walk(root, rdev, &list, add_below);
	if (r == -ENOENT && !is_mounted(root))
		r = 0;
	if (r)
		sysfs_relatives_done(&list);
	else
		*ret = list;
	return r;
}

void sysfs_relatives_done(struct sysfs_relatives *relatives)
{
	free(relatives->v);
	*relatives = (struct sysfs_relatives){};
}
