/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/slowfs.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

/*
 * The server reads a request, notes when it may be answered, and answers all
 * that are due. A waiting lock is due once nothing conflicts with it.
 *
 * The kernel tells nobody that an OFD lock of a FUSE file is gone when its
 * description is closed, so RELEASE drops what was locked through that handle.
 */

#define FILES 1000
#define FIRST_INO 2 /* of disk0; the root is 1 */
#define BODY_MAX 256
#define READ_MAX (64 * 1024)
#define CACHE_SECONDS 3600 /* of names; attributes are always asked for */

struct slowfs {
	char dir[256];
	pid_t server;
	struct slowfs_knobs *knobs;
};

struct request {
	struct request *next;
	struct fuse_in_header header;
	uint64_t due;
	char body[BODY_MAX];
};

struct held_lock {
	struct held_lock *next;
	uint64_t ino;
	struct fuse_lk_in lk;
};

struct server {
	int fd;
	struct slowfs_knobs *knobs;
	struct request *requests;
	struct held_lock *locks;
	uint64_t next_handle;
};

static void reply(struct server *s, const struct request *q, int error,
		  const void *data, size_t size)
{
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof(header) + size),
		.error = error,
		.unique = q->header.unique,
	};
	struct iovec iov[] = {
		{ &header, sizeof(header) },
		{ (void *)data, size },
	};

	/* A request that was interrupted meanwhile: ENOENT, never mind. */
	if (writev(s->fd, iov, 2) < 0)
		return;
}

static void fill_attr(uint64_t ino, struct fuse_attr *attr)
{
	*attr = (struct fuse_attr){
		.ino = ino,
		.nlink = 1,
		.blksize = 4096,
		.mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0600,
	};
}

static void do_init(struct server *s, const struct request *q)
{
	const struct fuse_init_in *in = (const void *)q->body;
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = MIN(in->minor, 31U),
		.flags = FUSE_POSIX_LOCKS,
		.max_write = 4096,
	};

	reply(s, q, 0, &out, sizeof(out));
}

static void do_lookup(struct server *s, const struct request *q)
{
	struct fuse_entry_out out = { .entry_valid = CACHE_SECONDS };
	unsigned i;
	char end;

	if (sscanf(q->body, "disk%u%c", &i, &end) != 1 || i >= FILES) {
		reply(s, q, -ENOENT, NULL, 0);
		return;
	}
	out.nodeid = FIRST_INO + i;
	fill_attr(out.nodeid, &out.attr);
	reply(s, q, 0, &out, sizeof(out));
}

static void do_getattr(struct server *s, const struct request *q)
{
	struct fuse_attr_out out = { 0 };

	fill_attr(q->header.nodeid, &out.attr);
	reply(s, q, 0, &out, sizeof(out));
}

static void do_open(struct server *s, const struct request *q)
{
	struct fuse_open_out out = { .fh = ++s->next_handle };

	reply(s, q, 0, &out, sizeof(out));
}

static bool same_owner(const struct fuse_lk_in *a, const struct fuse_lk_in *b)
{
	return a->owner == b->owner;
}

static bool overlap(const struct fuse_lk_in *a, const struct fuse_lk_in *b)
{
	return a->lk.start <= b->lk.end && b->lk.start <= a->lk.end;
}

static struct held_lock *find_conflict(struct server *s,
				       const struct request *q)
{
	const struct fuse_lk_in *in = (const void *)q->body;

	for (struct held_lock *l = s->locks; l; l = l->next)
		if (l->ino == q->header.nodeid && !same_owner(&l->lk, in) &&
		    overlap(&l->lk, in) && in->lk.type != F_UNLCK &&
		    (in->lk.type == F_WRLCK || l->lk.lk.type == F_WRLCK))
			return l;
	return NULL;
}

/* Ranges are never split: tests lock single bytes. */
static void drop_locks(struct server *s, const struct request *q,
		       const struct fuse_lk_in *in)
{
	const struct fuse_release_in *release = (const void *)q->body;
	struct held_lock **p = &s->locks;

	while (*p) {
		struct held_lock *l = *p;
		bool drop = in ? same_owner(&l->lk, in) && overlap(&l->lk, in)
			       : l->lk.fh == release->fh;

		if (drop && l->ino == q->header.nodeid) {
			*p = l->next;
			free(l);
		} else {
			p = &l->next;
		}
	}
}

static void do_setlk(struct server *s, const struct request *q)
{
	const struct fuse_lk_in *in = (const void *)q->body;
	struct held_lock *l;

	if (find_conflict(s, q)) {
		reply(s, q, -EAGAIN, NULL, 0);
		return;
	}
	drop_locks(s, q, in);
	if (in->lk.type != F_UNLCK) {
		l = calloc(1, sizeof(*l));
		l->ino = q->header.nodeid;
		l->lk = *in;
		l->next = s->locks;
		s->locks = l;
	}
	reply(s, q, 0, NULL, 0);
}

static void do_getlk(struct server *s, const struct request *q)
{
	const struct held_lock *l = find_conflict(s, q);
	struct fuse_lk_out out = { .lk.type = F_UNLCK };

	if (l)
		out.lk = l->lk.lk;
	reply(s, q, 0, &out, sizeof(out));
}

static void answer(struct server *s, const struct request *q)
{
	switch (q->header.opcode) {
	case FUSE_INIT:
		do_init(s, q);
		return;
	case FUSE_LOOKUP:
		do_lookup(s, q);
		return;
	case FUSE_GETATTR:
		do_getattr(s, q);
		return;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		do_open(s, q);
		return;
	case FUSE_RELEASE:
		drop_locks(s, q, NULL);
		s->knobs->releases++;
		break;
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
		break;
	case FUSE_SETLK:
	case FUSE_SETLKW:
		do_setlk(s, q);
		return;
	case FUSE_GETLK:
		do_getlk(s, q);
		return;
	default:
		reply(s, q, -ENOSYS, NULL, 0);
		return;
	}
	reply(s, q, 0, NULL, 0);
}

static bool is_unlock(const struct request *q)
{
	return ((const struct fuse_lk_in *)(const void *)q->body)->lk.type ==
	       F_UNLCK;
}

static bool is_due(struct server *s, const struct request *q)
{
	switch (q->header.opcode) {
	case FUSE_OPEN:
		return !s->knobs->hang_open && clock_now() >= q->due;
	case FUSE_GETATTR:
		return !s->knobs->hang_stat && clock_now() >= q->due;
	case FUSE_FLUSH:
		return !s->knobs->hang_flush;
	case FUSE_SETLKW:
		if (find_conflict(s, q))
			return false;
		/* fall through */
	case FUSE_SETLK:
		if (s->knobs->hang_unlock && is_unlock(q))
			return false;
		/* fall through */
	case FUSE_GETLK:
		return !s->knobs->hang_lock && clock_now() >= q->due;
	default:
		return true;
	}
}

static unsigned delay_ms(struct server *s, const struct request *q)
{
	switch (q->header.opcode) {
	case FUSE_OPEN:
		s->knobs->opens++;
		return s->knobs->open_ms;
	case FUSE_GETATTR:
		return s->knobs->stat_ms;
	case FUSE_FLUSH:
		s->knobs->flushes++;
		return 0;
	case FUSE_UNLINK:
		s->knobs->unlinks++;
		return 0;
	case FUSE_SETLK:
	case FUSE_SETLKW:
		s->knobs->locks++;
		return s->knobs->lock_ms;
	default:
		return 0;
	}
}

static void settle(struct server *s)
{
	struct request **p = &s->requests;
	unsigned waiting = 0;

	while (*p) {
		struct request *q = *p;

		if (!is_due(s, q)) {
			waiting++;
			p = &q->next;
			continue;
		}
		*p = q->next;
		answer(s, q);
		free(q);
	}
	s->knobs->waiting = waiting;
	if (waiting > s->knobs->max_waiting)
		s->knobs->max_waiting = waiting;
}

static void interrupt(struct server *s, uint64_t unique)
{
	struct request **p = &s->requests;

	while (*p && (*p)->header.unique != unique)
		p = &(*p)->next;
	if (*p && !s->knobs->deaf) {
		struct request *q = *p;

		*p = q->next;
		reply(s, q, -EINTR, NULL, 0);
		free(q);
	}
}

static void take(struct server *s, const char *buf, size_t size)
{
	const struct fuse_interrupt_in *in;
	struct request *q = calloc(1, sizeof(*q));

	memcpy(&q->header, buf, sizeof(q->header));
	size -= sizeof(q->header);
	memcpy(q->body, buf + sizeof(q->header), MIN(size, sizeof(q->body)));
	in = (const void *)q->body;
	switch (q->header.opcode) {
	case FUSE_INTERRUPT:
		interrupt(s, in->unique);
		/* fall through */
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		free(q);
		return;
	default:
		q->due = deadline_in_ms(delay_ms(s, q));
		q->next = s->requests;
		s->requests = q;
	}
}

_Noreturn static void serve(struct server *s)
{
	static char buf[READ_MAX];

	for (;;) {
		struct pollfd pfd = { .fd = s->fd, .events = POLLIN };
		ssize_t n;

		if (poll(&pfd, 1, s->requests ? 1 : 100) > 0) {
			n = read(s->fd, buf, sizeof(buf));
			if (n < 0 && errno == ENODEV)
				_exit(0); /* unmounted */
			if (n >= (ssize_t)sizeof(struct fuse_in_header))
				take(s, buf, (size_t)n);
		}
		settle(s);
	}
}

void slowfs_need(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0 || geteuid() != 0)
		test_skip("needs /dev/fuse, and root to mount");
	fd_close(fd);
}

static struct slowfs *running;

static void stop_running(void)
{
	if (running && running->server)
		slowfs_stop(running);
}

/* Of our own, so that mounts go when this program does. */
static void enter_namespace(void)
{
	static bool entered;

	if (entered)
		return;
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL))
		abort();
	atexit(stop_running);
	entered = true;
}

static pid_t fork_server(int fd, struct slowfs_knobs *knobs)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0) {
		struct server s = { .fd = fd, .knobs = knobs };

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		/* Keep no lock of the test's alive. */
		s.fd = dup2(fd, 3);
		close_range(4, ~0U, 0);
		serve(&s);
	}
	return pid;
}

struct slowfs *slowfs_start(const char *name)
{
	struct slowfs *fs = calloc(1, sizeof(*fs));
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[128];

	assert_non_null(fs);
	assert_true(fd >= 0);
	fs->knobs = mmap(NULL, sizeof(*fs->knobs), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(fs->knobs, MAP_FAILED);
	snprintf(fs->dir, sizeof(fs->dir), "%s/%s", test_dir(), name);
	enter_namespace();
	mkdir(fs->dir, 0700);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	assert_int_equal(mount("slowfs", fs->dir, "fuse.slowfs", 0, options),
			 0);
	running = fs;
	fs->server = fork_server(fd, fs->knobs);
	assert_true(fs->server > 0);
	close(fd);
	return fs;
}

struct slowfs *slowfs_stop(struct slowfs *fs)
{
	if (!fs)
		return NULL;
	slowfs_calm(fs);
	umount2(fs->dir, MNT_DETACH);
	kill(fs->server, SIGKILL);
	waitpid(fs->server, NULL, 0);
	rmdir(fs->dir);
	munmap(fs->knobs, sizeof(*fs->knobs));
	running = NULL;
	free(fs);
	return NULL;
}

struct slowfs_knobs *slowfs_knobs(struct slowfs *fs)
{
	return fs->knobs;
}

void slowfs_calm(struct slowfs *fs)
{
	struct slowfs_knobs *k = fs->knobs;

	k->open_ms = k->stat_ms = k->lock_ms = 0;
	k->hang_open = k->hang_stat = k->hang_lock = k->hang_flush = false;
	k->hang_unlock = false;
	k->deaf = false;
}

const char *slowfs_dir(struct slowfs *fs)
{
	return fs->dir;
}

const char *slowfs_path(struct slowfs *fs, unsigned i)
{
	static char ring[16][300];
	static unsigned next;
	char *path = ring[next++ % ARRAY_SIZE(ring)];

	snprintf(path, sizeof(ring[0]), "%s/disk%u", fs->dir, i);
	return path;
}

bool slowfs_await(_Atomic unsigned *count, unsigned value)
{
	uint64_t deadline = deadline_in_ms(10000);

	while (*count < value) {
		if (clock_now() > deadline)
			return false;
		usleep(1000);
	}
	return true;
}
