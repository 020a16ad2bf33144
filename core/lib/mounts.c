/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/mounts.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * /proc/self/mountinfo is read once and kept; its descriptor stays open, and
 * poll(2) says POLLPRI when the table has changed (proc(5)). A host without a
 * remote file system, the common case, pays that poll and nothing else.
 *
 * The scope of a type is what its lock method carries, never more (I9). Where
 * a type can be either, as FUSE, the smaller one is claimed: a kernel cannot
 * tell whether the server behind it forwards locks. A file of an overlay has
 * locks of its own, apart from those of the layer's file that it is made of.
 *
 * Linux is one client of an NFS server for each version of the protocol, and
 * the server delegates files to clients. As long as one has a file delegated,
 * locks on it are the client's own business; and of two mounts that share no
 * superblock (`nosharecache`, or other options) neither sees the other's, which
 * the lab showed on Linux 6.1 and 6.12. So where one export is mounted twice
 * that way, a lock holds for one mount only. Two parts of one export have one
 * FSID, which the client tells in a file of its own (fs/nfs/client.c); without
 * that, as in another network namespace, the source's text is compared.
 *
 * Files of btrfs subvolumes, and of an overlay whose layers are on several file
 * systems, have an st_dev that mountinfo does not show. The text of a path can
 * lead elsewhere than it says, so a descriptor is asked for the id of its mount
 * (statx(2), Linux 5.8). What no line tells of may be an overlay's, of another
 * namespace: no more than NODE is known of it.
 */

struct mount_entry {
	char *point;
	char *device; /* its source, if that is /dev/NAME: NAME; or NULL */
	char *export; /* of NFS: what, and "vers=…"; or NULL */
	size_t point_len;
	uint64_t dev;
	unsigned id;
	struct mount_kind kind;
	char *root, *options; /* of an overlay, else NULL */
	size_t twin;	      /* if twofold: the other's index */
};

struct mounts {
	const char *table; /* NULL: the kernel's */
	int fd;		   /* -1: no /proc, or no descriptor was to be had */
	bool stale;
	bool asked; /* the kernel, since mounts_expire() */
	bool any_remote, any_scope;
	uint64_t opened; /* the last that mounts_opened() has looked for */
	struct mount_entry *entries;
	size_t n, cap;
};

struct fs_type {
	const char *name;
	bool remote;
	enum res_scope scope;
	/* Mount options that keep locks on this host. */
	const char *local_options[3];
};

static const struct fs_type fs_types[] = {
	{ "nfs",
	  true,
	  RES_SCOPE_SERVER,
	  { "nolock", "local_lock=all", "local_lock=posix" } },
	{ "nfs4",
	  true,
	  RES_SCOPE_SERVER,
	  { "local_lock=all", "local_lock=posix" } },
	{ "cifs", true, RES_SCOPE_SERVER, { "nobrl" } },
	{ "smb3", true, RES_SCOPE_SERVER, { "nobrl" } },
	{ "afs", true, RES_SCOPE_SERVER, { NULL } },
	{ "ceph", true, RES_SCOPE_CLUSTER, { NULL } },
	{ "gfs2", true, RES_SCOPE_CLUSTER, { "localflocks" } },
	{ "ocfs2", true, RES_SCOPE_CLUSTER, { "localflocks" } },
	{ "lustre", true, RES_SCOPE_CLUSTER, { "localflock" } },
	{ "gpfs", true, RES_SCOPE_CLUSTER, { NULL } },
	{ "orangefs", true, RES_SCOPE_HOST, { NULL } },
	{ "9p", true, RES_SCOPE_HOST, { NULL } },
	{ "virtiofs", true, RES_SCOPE_HOST, { NULL } },
	{ "fuse", true, RES_SCOPE_HOST, { NULL } },
	{ "fuseblk", true, RES_SCOPE_HOST, { NULL } },
	{ "overlay", false, RES_SCOPE_NODE, { NULL } },
};

static bool has_option(const char *options, const char *wanted)
{
	size_t len = strlen(wanted);

	while (*options) {
		size_t n = strcspn(options, ",");

		if (n == len && !strncmp(options, wanted, n))
			return true;
		options += n + (options[n] == ',');
	}
	return false;
}

static void kind_of(const char *fs, const char *options,
		    struct mount_kind *kind)
{
	size_t base = strcspn(fs, ".");

	snprintf(kind->fs, sizeof(kind->fs), "%s", fs);
	kind->remote = false;
	kind->scope = RES_SCOPE_HOST;
	kind->option = NULL;
	kind->twofold = false;
	for (size_t i = 0; i < ARRAY_SIZE(fs_types); i++) {
		const struct fs_type *t = &fs_types[i];

		if (strlen(t->name) != base || strncmp(t->name, fs, base))
			continue;
		kind->remote = t->remote;
		kind->scope = t->scope;
		for (size_t o = 0; o < ARRAY_SIZE(t->local_options); o++)
			if (t->local_options[o] &&
			    has_option(options, t->local_options[o])) {
				kind->scope = RES_SCOPE_HOST;
				kind->option = t->local_options[o];
			}
	}
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] &&
		    s[3]) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
				       (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

static void entry_done(struct mount_entry *e)
{
	free(e->point);
	free(e->root);
	free(e->options);
	free(e->device);
	free(e->export);
}

static int entry_append(struct mounts *m, const struct mount_entry *e)
{
	if (m->n == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 64;
		void *p = realloc(m->entries, cap * sizeof(*m->entries));

		if (!p)
			return -ENOMEM;
		m->entries = p;
		m->cap = cap;
	}
	m->entries[m->n++] = *e;
	return 0;
}

/* Not so the options: there a backslash may be the overlay's own. */
static int keep_layers(struct mount_entry *e, char *root, const char *options)
{
	if (strcmp(e->kind.fs, "overlay"))
		return 0;
	unescape(root);
	e->root = strdup(root);
	e->options = strdup(options);
	return e->root && e->options ? 0 : -ENOMEM;
}

static int keep_source(struct mount_entry *e, const char *source,
		       const char *options)
{
	const char *version = strstr(options, "vers=");

	if (!strncmp(source, "/dev/", 5)) {
		e->device = strdup(source + 5);
		return e->device ? 0 : -ENOMEM;
	}
	if (strcmp(e->kind.fs, "nfs") && strcmp(e->kind.fs, "nfs4"))
		return 0;
	version = version ? version : "";
	return asprintf(&e->export, "%s %.*s", source,
			(int)strcspn(version, ","), version) < 0
		       ? -ENOMEM
		       : 0;
}

/* "36 35 98:0 /root /point opts … - type source superopts" */
static int parse_line(struct mounts *m, char *line)
{
	struct mount_entry e = {};
	char *root, *point, *tail, *fs, *save = NULL;
	const char *source, *options;
	unsigned id, major, minor;
	int from = 0, at = 0;

	if (sscanf(line, "%u %*u %u:%u %n%*s %n", &id, &major, &minor, &from,
		   &at) < 3 ||
	    !at)
		return 0;
	root = line + from;
	point = line + at;
	root[strcspn(root, " ")] = '\0';
	tail = strstr(point, " - ");
	if (!tail)
		return 0;
	point[strcspn(point, " ")] = '\0';
	unescape(point);
	fs = strtok_r(tail + 3, " \n", &save);
	source = strtok_r(NULL, " \n", &save);
	options = strtok_r(NULL, " \n", &save);
	if (!fs)
		return 0;
	source = source ? source : "";
	options = options ? options : "";
	kind_of(fs, options, &e.kind);
	e.dev = makedev(major, minor);
	e.id = id;
	e.point = strdup(point);
	e.point_len = strlen(point);
	if (!e.point || keep_layers(&e, root, options) ||
	    keep_source(&e, source, options) || entry_append(m, &e)) {
		entry_done(&e);
		return -ENOMEM;
	}
	m->any_remote |= e.kind.remote;
	m->any_scope |= e.kind.scope != RES_SCOPE_HOST;
	return 0;
}

static void clear(struct mounts *m)
{
	for (size_t i = 0; i < m->n; i++)
		entry_done(&m->entries[i]);
	m->n = 0;
	m->opened = 0;
	m->any_remote = m->any_scope = false;
}

static bool are_twins(const struct mount_entry *a, const struct mount_entry *b)
{
	return a->export && b->export && a->dev != b->dev &&
	       !strcmp(a->export, b->export);
}

static void closep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static void name_export(struct mounts *m, uint64_t dev, const char *volume)
{
	for (size_t i = 0; i < m->n; i++) {
		struct mount_entry *e = &m->entries[i];
		char *name;

		if (!e->export || e->dev != dev ||
		    asprintf(&name, "%s%s", volume, strrchr(e->export, ' ')) <
			    0)
			continue;
		free(e->export);
		e->export = name;
	}
}

static FILE *open_volumes(const struct mounts *m)
{
	char path[PATH_MAX] = "/proc/self/net/nfsfs/volumes";

	if (m->table)
		snprintf(path, sizeof(path), "%s-volumes", m->table);
	return fopen(path, "re");
}

/* "v4 7f000001  801 0:38         1e:0          no", below a heading. */
static void name_exports(struct mounts *m)
{
	_cleanup_(closep) FILE *f = open_volumes(m);
	char line[256], server[40], port[16], fsid[48], volume[128];
	unsigned major, minor;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "v%*u %39s %15s %u:%u %47s", server, port,
			   &major, &minor, fsid) != 5)
			continue;
		snprintf(volume, sizeof(volume), "%s:%s,%s", server, port,
			 fsid);
		name_export(m, makedev(major, minor), volume);
	}
}

static bool any_export(const struct mounts *m)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->entries[i].export)
			return true;
	return false;
}

static void find_twins(struct mounts *m)
{
	if (any_export(m))
		name_exports(m);
	for (size_t i = 0; i < m->n; i++) {
		struct mount_entry *e = &m->entries[i];

		/* Thousands of other mounts are nothing unusual. */
		for (size_t k = 0; e->export && k < m->n; k++) {
			if (!are_twins(e, &m->entries[k]))
				continue;
			e->kind.twofold = true;
			e->kind.scope = RES_SCOPE_NODE;
			m->any_scope = true;
			e->twin = k;
			break;
		}
	}
}

static int reread(struct mounts *m)
{
	_cleanup_(closep) FILE *f = NULL;
	_cleanup_(freep) char *line = NULL;
	size_t cap = 0;
	int fd, r = 0;

	fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	lseek(fd, 0, SEEK_SET);
	f = fdopen(fd, "r");
	if (!f) {
		fd_close(fd);
		return -ENOMEM;
	}
	clear(m);
	while (!r && getline(&line, &cap, f) > 0)
		r = parse_line(m, line);
	if (m->any_remote)
		find_twins(m);
	return r;
}

static int open_table(const struct mounts *m)
{
	return open(m->table ? m->table : "/proc/self/mountinfo",
		    O_RDONLY | O_CLOEXEC);
}

/* A table that cannot be read says "local": what else could we do. */
static void refresh(struct mounts *m)
{
	struct pollfd p = { .events = POLLPRI };

	if (m->asked)
		return;
	m->asked = true;
	if (m->fd < 0)
		m->fd = open_table(m);
	if (m->fd < 0)
		return;
	p.fd = m->fd;
	if (poll(&p, 1, 0) > 0 && (p.revents & (POLLPRI | POLLERR)))
		m->stale = true;
	if (m->stale && reread(m) == 0)
		m->stale = false;
}

int mounts_new(const char *table, struct mounts **ret_mounts)
{
	struct mounts *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->stale = true;
	m->table = table;
	m->fd = open_table(m);
	*ret_mounts = m;
	return 0;
}

struct mounts *mounts_free(struct mounts *m)
{
	if (!m)
		return NULL;
	clear(m);
	free(m->entries);
	fd_close(m->fd);
	free(m);
	return NULL;
}

void mounts_expire(struct mounts *m)
{
	m->asked = false;
}

bool mounts_any_remote(struct mounts *m)
{
	refresh(m);
	return m->any_remote;
}

bool mounts_any_scope(struct mounts *m)
{
	refresh(m);
	return m->any_scope;
}

static bool is_below(const struct mount_entry *e, const char *path)
{
	if (strncmp(path, e->point, e->point_len))
		return false;
	return e->point_len == 1 || !path[e->point_len] ||
	       path[e->point_len] == '/';
}

static void unknown_kind(const struct mounts *m, struct mount_kind *kind)
{
	*kind = (struct mount_kind){
		.fs = "?",
		.scope = m->n ? RES_SCOPE_NODE : RES_SCOPE_HOST,
	};
}

static const struct mount_entry *find(struct mounts *m, const char *path)
{
	const struct mount_entry *best = NULL;

	for (size_t i = 0; i < m->n; i++) {
		const struct mount_entry *e = &m->entries[i];

		/* Of equal points the later one is mounted on top. */
		if (is_below(e, path) &&
		    (!best || e->point_len >= best->point_len))
			best = e;
	}
	return best;
}

bool mounts_find(struct mounts *m, const char *path,
		 struct mount_place *ret_place)
{
	const struct mount_entry *e;

	refresh(m);
	e = find(m, path);
	if (!e)
		return false;
	*ret_place = (struct mount_place){
		.kind = e->kind,
		.point = e->point,
		.root = e->root ? e->root : "/",
		.options = e->options ? e->options : "",
		.twin = e->kind.twofold ? m->entries[e->twin].point : NULL,
	};
	return true;
}

void mounts_by_path(struct mounts *m, const char *path,
		    struct mount_kind *ret_kind)
{
	const struct mount_entry *best;
	char full[2 * PATH_MAX];

	refresh(m);
	if (path[0] != '/') {
		size_t len;

		if (!getcwd(full, PATH_MAX))
			full[0] = '\0';
		len = strlen(full);
		snprintf(full + len, sizeof(full) - len, "/%s", path);
		path = full;
	}
	best = find(m, path);
	if (best)
		*ret_kind = best->kind;
	else
		unknown_kind(m, ret_kind);
}

static const struct mount_entry *find_dev(const struct mounts *m, uint64_t dev)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->entries[i].dev == dev)
			return &m->entries[i];
	return NULL;
}

void mounts_opened(struct mounts *m, uint64_t dev)
{
	if (dev != m->opened && !find_dev(m, dev))
		m->asked = false;
	m->opened = dev;
}

static const struct mount_entry *find_mount_of(const struct mounts *m, int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID,
		  &st) ||
	    !(st.stx_mask & STATX_MNT_ID))
		return NULL;
	for (size_t i = 0; i < m->n; i++)
		if (m->entries[i].id == st.stx_mnt_id)
			return &m->entries[i];
	return NULL;
}

void mounts_by_dev(struct mounts *m, uint64_t dev, const char *path,
		   struct mount_kind *ret_kind)
{
	const struct mount_entry *e;

	refresh(m);
	e = find_dev(m, dev);
	if (e)
		*ret_kind = e->kind;
	else if (path)
		mounts_by_path(m, path, ret_kind);
	else
		unknown_kind(m, ret_kind);
}

void mounts_by_fd(struct mounts *m, int fd, uint64_t dev,
		  struct mount_kind *ret_kind)
{
	const struct mount_entry *e;

	refresh(m);
	e = find_dev(m, dev);
	if (!e)
		e = find_mount_of(m, fd);
	if (!e) {
		/* Opening it may have mounted it. */
		m->asked = false;
		refresh(m);
		e = find_dev(m, dev);
	}
	if (!e)
		e = find_mount_of(m, fd);
	if (e)
		*ret_kind = e->kind;
	else
		unknown_kind(m, ret_kind);
}

bool mounts_of_device(struct mounts *m, uint64_t rdev, const char *name,
		      char *ret_point, size_t size)
{
	refresh(m);
	for (size_t i = 0; i < m->n; i++) {
		const struct mount_entry *e = &m->entries[i];

		if (e->dev != rdev &&
		    !(*name && e->device && !strcmp(e->device, name)))
			continue;
		snprintf(ret_point, size, "%s", e->point);
		return true;
	}
	return false;
}
