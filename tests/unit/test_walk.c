/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/proc.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "tests/lib/idler.h"
#include "tests/lib/test.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define SOON deadline_in_ms(30000)

static void do_nothing(void *arg)
{
	(void)arg;
}

struct socket_hits {
	pid_t pids[2];
	unsigned by_pid[2], n;
	uint32_t ino;
	int last_fd;
	bool stop;
};

static bool hit_socket(void *arg, uint32_t ino, pid_t pid, int fd)
{
	struct socket_hits *hits = arg;

	assert_true(!hits->ino || ino == hits->ino);
	for (int i = 0; i < 2; i++)
		if (pid == hits->pids[i])
			hits->by_pid[i]++;
	hits->n++;
	hits->last_fd = fd;
	return hits->stop;
}

static uint32_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint32_t)st.st_ino;
}

static void a_socket_is_found_in_every_process_that_has_it(void **state)
{
	struct socket_hits hits = { .pids = { getpid() } };
	struct idler child;
	uint32_t inos[3];
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				    sv),
			 0);
	idler_start(&child, do_nothing, NULL);
	hits.pids[1] = child.pid;
	hits.ino = inode_of(sv[1]);
	inos[0] = 1;
	inos[1] = hits.ino;
	inos[2] = UINT32_MAX;
	assert_int_equal(proc_find_socket(inos, 3, SOON, hit_socket, &hits), 0);
	assert_int_equal(hits.by_pid[0], 1);
	assert_int_equal(hits.by_pid[1], 1);
	assert_int_equal(hits.n, 2);
	assert_int_equal(hits.last_fd, sv[1]);

	hits.stop = true;
	assert_int_equal(proc_find_socket(inos, 3, SOON, hit_socket, &hits), 0);
	assert_int_equal(hits.n, 3);
	idler_end(&child);
	close(sv[0]);
	close(sv[1]);
	assert_int_equal(proc_find_socket(inos, 3, SOON, hit_socket, &hits), 0);
	assert_int_equal(hits.n, 3);
}

#define MANY 700

/* More descriptors than one read of the directory returns. */
static void every_descriptor_of_a_process_is_seen(void **state)
{
	struct socket_hits hits = { .pids = { getpid() } };
	int sv[2], fds[MANY];
	uint32_t inos[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv),
			 0);
	for (int i = 0; i < MANY; i++) {
		fds[i] = fcntl(sv[i % 2], F_DUPFD_CLOEXEC, 3);
		assert_true(fds[i] >= 0);
	}
	inos[0] = MIN(inode_of(sv[0]), inode_of(sv[1]));
	inos[1] = MAX(inode_of(sv[0]), inode_of(sv[1]));
	assert_int_equal(proc_find_socket(inos, 2, SOON, hit_socket, &hits), 0);
	assert_int_equal(hits.by_pid[0], MANY + 2);
	for (int i = 0; i < MANY; i++)
		close(fds[i]);
	close(sv[0]);
	close(sv[1]);
}

static void a_walk_ends_at_its_deadline_and_leaks_nothing(void **state)
{
	unsigned before = test_open_fds();
	struct socket_hits hits = {};
	struct res_id id = {};
	uint32_t ino = 1;
	pid_t pid = -7;

	(void)state;
	assert_int_equal(proc_find_socket(&ino, 1, 0, hit_socket, &hits),
			 -ETIME);
	assert_int_equal(proc_find_locker(id, 0, 0, &pid), -ETIME);
	assert_int_equal(proc_find_socket(&ino, 1, SOON, hit_socket, &hits), 0);
	assert_int_equal(proc_find_locker(id, 0, SOON, &pid), -ENOENT);
	assert_int_equal(pid, -7);
	assert_int_equal(hits.n, 0);
	assert_int_equal(test_open_fds(), before);
}

static struct res_id id_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (struct res_id){ st.st_dev, st.st_ino };
}

struct held {
	const char *path;
	int cmd; /* 0 for flock(2) */
	short type;
	long start, len;
	int fd;
};

/* _exit: a failed assertion would run the rest of the tests in the child. */
static void hold(void *arg)
{
	struct held *held = arg;
	struct flock lock = { .l_type = held->type,
			      .l_start = held->start,
			      .l_len = held->len };
	int r;

	held->fd = open(held->path, O_RDWR | O_CLOEXEC);
	r = held->cmd ? fcntl(held->fd, held->cmd, &lock)
		      : flock(held->fd, LOCK_EX);
	if (held->fd < 0 || r < 0)
		_exit(1);
}

struct lock_hits {
	struct proc_locker hits[8];
	unsigned n;
};

static bool hit_lock(void *arg, const struct proc_locker *locker)
{
	struct lock_hits *hits = arg;

	assert_true(hits->n < ARRAY_SIZE(hits->hits));
	hits->hits[hits->n++] = *locker;
	return false;
}

static struct lock_hits find(const char *path, long byte)
{
	struct proc_point point = { id_of(path), byte };
	struct lock_hits hits = {};

	assert_int_equal(proc_find_lockers(&point, 1, SOON, hit_lock, &hits),
			 0);
	return hits;
}

static void an_ofd_lock_names_its_process(void **state)
{
	struct held held = { .path = test_file("ofd", 4096),
			     .cmd = F_OFD_SETLK,
			     .type = F_WRLCK,
			     .len = 1 };
	struct lock_hits hits;
	struct idler child;
	pid_t pid = 0;

	(void)state;
	idler_start(&child, hold, &held);
	hits = find(held.path, 0);
	assert_int_equal(hits.n, 1);
	assert_int_equal(hits.hits[0].pid, child.pid);
	assert_int_equal(hits.hits[0].type, F_WRLCK);
	assert_true(hits.hits[0].ofd);
	assert_int_equal(proc_find_locker(id_of(held.path), 0, SOON, &pid), 0);
	assert_int_equal(pid, child.pid);
	assert_int_equal(find(held.path, 1).n, 0);
	idler_end(&child);
	pid = -7;
	assert_int_equal(proc_find_locker(id_of(held.path), 0, SOON, &pid),
			 -ENOENT);
	assert_int_equal(pid, -7);
}

static void a_posix_lock_is_told_from_an_ofd_lock(void **state)
{
	struct held held = { .path = test_file("posix", 4096),
			     .cmd = F_SETLK,
			     .type = F_RDLCK,
			     .len = 0 };
	struct lock_hits hits;
	struct idler child;

	(void)state;
	idler_start(&child, hold, &held);
	hits = find(held.path, 12345);
	assert_int_equal(hits.n, 1);
	assert_int_equal(hits.hits[0].pid, child.pid);
	assert_int_equal(hits.hits[0].type, F_RDLCK);
	assert_false(hits.hits[0].ofd);
	idler_end(&child);
}

static void a_flock_is_none_of_ours(void **state)
{
	struct held held = { .path = test_file("flock", 4096) };
	struct idler child;

	(void)state;
	idler_start(&child, hold, &held);
	assert_int_equal(find(held.path, 0).n, 0);
	idler_end(&child);
}

static void every_holder_of_a_shared_lock_is_named(void **state)
{
	struct held held = { .path = test_file("shared", 4096),
			     .cmd = F_OFD_SETLK,
			     .type = F_RDLCK,
			     .len = 1 };
	struct idler a, b;
	struct lock_hits hits;

	(void)state;
	idler_start(&a, hold, &held);
	idler_start(&b, hold, &held);
	hits = find(held.path, 0);
	assert_int_equal(hits.n, 2);
	assert_true((hits.hits[0].pid == a.pid && hits.hits[1].pid == b.pid) ||
		    (hits.hits[0].pid == b.pid && hits.hits[1].pid == a.pid));
	idler_end(&a);
	assert_int_equal(find(held.path, 0).n, 1);
	idler_end(&b);
}

static void an_inherited_lock_is_found_in_both_processes(void **state)
{
	struct held held = { .path = test_file("inherited", 4096),
			     .cmd = F_OFD_SETLK,
			     .type = F_WRLCK,
			     .len = 1 };
	struct idler child;
	struct lock_hits hits;

	(void)state;
	hold(&held);
	idler_start(&child, do_nothing, NULL);
	hits = find(held.path, 0);
	assert_int_equal(hits.n, 2);
	assert_int_equal(hits.hits[0].fd, held.fd);
	assert_int_equal(hits.hits[1].fd, held.fd);
	close(held.fd);
	hits = find(held.path, 0);
	assert_int_equal(hits.n, 1);
	assert_int_equal(hits.hits[0].pid, child.pid);
	idler_end(&child);
}

static void one_walk_answers_for_many_bytes(void **state)
{
	struct held a = { .path = test_file("many-a", 4096),
			  .cmd = F_OFD_SETLK,
			  .type = F_WRLCK,
			  .len = 3 };
	struct held b = { .path = test_file("many-b", 4096),
			  .cmd = F_SETLK,
			  .type = F_RDLCK,
			  .start = 2,
			  .len = 1 };
	struct proc_point points[] = {
		{ id_of(b.path), 0 }, { id_of(a.path), 0 },
		{ id_of(a.path), 2 }, { id_of(b.path), 2 },
		{ id_of(a.path), 3 },
	};
	struct lock_hits hits = {};
	unsigned seen = 0;
	struct idler ca, cb;

	(void)state;
	idler_start(&ca, hold, &a);
	idler_start(&cb, hold, &b);
	assert_int_equal(proc_find_lockers(points, ARRAY_SIZE(points), SOON,
					   hit_lock, &hits),
			 0);
	for (unsigned i = 0; i < hits.n; i++) {
		const struct proc_locker *hit = &hits.hits[i];

		seen |= 1U << hit->point;
		assert_int_equal(hit->pid, hit->point == 3 ? cb.pid : ca.pid);
		assert_int_equal(hit->type,
				 hit->point == 3 ? F_RDLCK : F_WRLCK);
	}
	assert_int_equal(hits.n, 3);
	assert_int_equal(seen, 1 << 1 | 1 << 2 | 1 << 3);
	idler_end(&ca);
	idler_end(&cb);
}

static bool hit_once(void *arg, pid_t pid, int fd, short type, bool ofd)
{
	unsigned *n = arg;

	(void)pid, (void)fd;
	assert_int_equal(type, F_RDLCK);
	assert_true(ofd);
	++*n;
	return true;
}

static void a_walk_stops_when_told(void **state)
{
	struct held held = { .path = test_file("stop", 4096),
			     .cmd = F_OFD_SETLK,
			     .type = F_RDLCK,
			     .len = 1 };
	struct idler a, b;
	unsigned n = 0;

	(void)state;
	idler_start(&a, hold, &held);
	idler_start(&b, hold, &held);
	assert_int_equal(proc_each_locker(id_of(held.path), 0, SOON, hit_once,
					  &n),
			 0);
	assert_int_equal(n, 1);
	idler_end(&a);
	idler_end(&b);
}

static void write_text(const char *path, const char *text)
{
	_cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, text, strlen(text));
}

/* Root may mount; others may in a user namespace of their own. */
static bool may_mount(void)
{
	char uid[32], gid[32];

	snprintf(uid, sizeof(uid), "0 %d 1", geteuid());
	snprintf(gid, sizeof(gid), "0 %d 1", getegid());
	if (unshare(CLONE_NEWNS)) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
			return false;
		write_text("/proc/self/uid_map", uid);
		write_text("/proc/self/setgroups", "deny");
		write_text("/proc/self/gid_map", gid);
		prctl(PR_SET_DUMPABLE, 1); /* the walk may look at us */
	}
	return !mount("none", "/", "none", MS_REC | MS_PRIVATE, "");
}

struct overlay {
	struct held held;
	struct stat st;	       /* of the locked file */
	unsigned major, minor; /* of the file system, as in a "lock:" line */
};

/* Upper and lower on two file systems: then st_dev is not the lock's. */
static bool mount_overlay(const char *dir)
{
	return may_mount() && !chdir(dir) &&
	       !mount("none", ".", "tmpfs", 0, "") && !chdir(dir) &&
	       !mkdir("l", 0755) && !mkdir("u", 0755) && !mkdir("m", 0755) &&
	       !mount("none", "l", "tmpfs", 0, "") &&
	       !mount("none", "u", "tmpfs", 0, "") && !mkdir("u/u", 0755) &&
	       !mkdir("u/w", 0755) && !mknod("l/disk", S_IFREG | 0600, 0) &&
	       !mount("none", "m", "overlay", 0,
		      "xino=off,userxattr,lowerdir=l,upperdir=u/u,workdir=u/w");
}

static void hold_on_overlay(void *arg)
{
	struct overlay *overlay = arg;
	struct stat st;

	if (!mount_overlay(test_dir()) || stat("m", &st))
		_exit(1);
	overlay->held.path = "m/disk";
	hold(&overlay->held);
	if (fstat(overlay->held.fd, &overlay->st))
		_exit(1);
	overlay->major = major(st.st_dev);
	overlay->minor = minor(st.st_dev);
}

static void a_lock_on_an_overlay_is_found_by_its_identity(void **state)
{
	struct overlay *overlay =
		mmap(NULL, sizeof(*overlay), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct res_id id, of_line;
	struct idler child;
	pid_t pid = 0;

	(void)state;
	assert_true(overlay != MAP_FAILED);
	overlay->held =
		(struct held){ .cmd = F_OFD_SETLK, .type = F_WRLCK, .len = 1 };
	idler_start(&child, hold_on_overlay, overlay);
	id = (struct res_id){ overlay->st.st_dev, overlay->st.st_ino };
	of_line = (struct res_id){ makedev(overlay->major, overlay->minor),
				   overlay->st.st_ino };
	assert_false(res_id_equal(id, of_line)); /* else this shows nothing */
	assert_int_equal(proc_find_locker(id, 0, SOON, &pid), 0);
	assert_int_equal(pid, child.pid);
	assert_int_equal(proc_find_locker(of_line, 0, SOON, &pid), -ENOENT);
	idler_end(&child);
	munmap(overlay, sizeof(*overlay));
}

static void look_without_proc(void *arg)
{
	uint32_t ino = 1;
	struct res_id id = {};
	pid_t pid;

	if (!may_mount() || mount("none", "/proc", "tmpfs", 0, ""))
		_exit(1);
	*(int *)arg = proc_find_socket(&ino, 1, SOON, hit_socket, NULL);
	if (proc_find_locker(id, 0, SOON, &pid) != *(int *)arg)
		_exit(1);
}

/* Else "nobody" would be the answer, and it is not. */
static void a_walk_without_proc_is_an_error(void **state)
{
	int *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct idler child;

	(void)state;
	assert_true(r != MAP_FAILED);
	idler_start(&child, look_without_proc, r);
	assert_int_equal(*r, -ENOSYS);
	idler_end(&child);
	munmap(r, sizeof(*r));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_socket_is_found_in_every_process_that_has_it),
	cmocka_unit_test(every_descriptor_of_a_process_is_seen),
	cmocka_unit_test(a_walk_ends_at_its_deadline_and_leaks_nothing),
	cmocka_unit_test(an_ofd_lock_names_its_process),
	cmocka_unit_test(a_posix_lock_is_told_from_an_ofd_lock),
	cmocka_unit_test(a_flock_is_none_of_ours),
	cmocka_unit_test(every_holder_of_a_shared_lock_is_named),
	cmocka_unit_test(an_inherited_lock_is_found_in_both_processes),
	cmocka_unit_test(one_walk_answers_for_many_bytes),
	cmocka_unit_test(a_walk_stops_when_told),
	cmocka_unit_test(a_lock_on_an_overlay_is_found_by_its_identity),
	cmocka_unit_test(a_walk_without_proc_is_an_error),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
