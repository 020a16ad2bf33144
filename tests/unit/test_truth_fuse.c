/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/truth.h"

#include "core/base/compat.h"
#include "core/base/util.h"
#include "tests/lib/test.h"

#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/*
 * A FUSE server with one file, "x", that keeps the locks itself or leaves them
 * to the kernel. It knows one byte of one file.
 */
struct server {
	int fd;
	bool keeps_locks;
	struct {
		uint64_t owner;
		uint32_t type;
	} locks[8];
	unsigned n_locks;
};

union reply {
	struct fuse_init_out init;
	struct fuse_entry_out entry;
	struct fuse_attr_out attr;
	struct fuse_open_out open;
	struct fuse_statfs_out statfs;
	struct fuse_lk_out lk;
};

static struct fuse_attr attr_of(uint64_t node)
{
	struct fuse_attr attr = { .ino = node, .nlink = 1, .blksize = 4096 };

	attr.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0600;
	return attr;
}

static int answer_init(const struct server *server,
		       const struct fuse_init_in *in, struct fuse_init_out *out)
{
	out->major = FUSE_KERNEL_VERSION;
	out->minor = MIN(in->minor, FUSE_KERNEL_MINOR_VERSION);
	out->flags = server->keeps_locks ? FUSE_POSIX_LOCKS : 0;
	out->max_write = 4096;
	return sizeof(*out);
}

static int answer_setlk(struct server *server, const struct fuse_lk_in *in)
{
	unsigned i = 0;

	while (i < server->n_locks && server->locks[i].owner != in->owner)
		i++;
	if (in->lk.type == F_UNLCK) {
		if (i < server->n_locks)
			server->locks[i] = server->locks[--server->n_locks];
		return 0;
	}
	if (server->n_locks > (i < server->n_locks) ||
	    i == ARRAY_SIZE(server->locks))
		return -EAGAIN;
	server->locks[i].owner = in->owner;
	server->locks[i].type = in->lk.type;
	server->n_locks = MAX(server->n_locks, i + 1);
	return 0;
}

/* As servers do: a lock of another owner is an answer, one's own is not. */
static int answer_getlk(const struct server *server,
			const struct fuse_lk_in *in, struct fuse_lk_out *out)
{
	out->lk.type = F_UNLCK;
	for (unsigned i = 0; i < server->n_locks; i++)
		if (server->locks[i].owner != in->owner)
			out->lk.type = server->locks[i].type;
	out->lk.start = out->lk.end = 0;
	return sizeof(*out);
}

/* Return: size of the reply, or negative errno. */
static int answer(struct server *server, const struct fuse_in_header *in,
		  union reply *out)
{
	const void *arg = in + 1;

	switch (in->opcode) {
	case FUSE_INIT:
		return answer_init(server, arg, &out->init);
	case FUSE_LOOKUP:
		out->entry.nodeid = 2;
		out->entry.attr = attr_of(2);
		return sizeof(out->entry);
	case FUSE_GETATTR:
		out->attr.attr = attr_of(in->nodeid);
		return sizeof(out->attr);
	case FUSE_OPEN:
		return sizeof(out->open);
	case FUSE_STATFS:
		return sizeof(out->statfs);
	case FUSE_SETLK:
		return answer_setlk(server, arg);
	case FUSE_GETLK:
		return answer_getlk(server, arg, &out->lk);
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		return 0;
	default:
		return -ENOSYS;
	}
}

static void serve(struct server *server)
{
	static char buf[65536] __attribute__((__aligned__(8)));
	const struct fuse_in_header *in = (void *)buf;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(server->fd, buf, sizeof(buf)) > 0) {
		struct {
			struct fuse_out_header head;
			union reply body;
		} out = {};
		int r;

		if (in->opcode == FUSE_FORGET ||
		    in->opcode == FUSE_BATCH_FORGET)
			continue;
		r = answer(server, in, &out.body);
		out.head.unique = in->unique;
		out.head.error = MIN(r, 0);
		out.head.len = (uint32_t)(sizeof(out.head) + MAX(r, 0));
		(void)!write(server->fd, &out, out.head.len);
	}
	_exit(0);
}

static pid_t server_start(bool keeps_locks, const char *dir)
{
	struct server server = { .keeps_locks = keeps_locks };
	char options[80];
	pid_t pid;

	server.fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	assert_true(server.fd >= 0);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", server.fd);
	assert_true(!mkdir(dir, 0700) || errno == EEXIST);
	assert_int_equal(mount("none", dir, "fuse", 0, options), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		serve(&server);
	close(server.fd);
	return pid;
}

static void server_end(pid_t pid, const char *dir)
{
	assert_int_equal(umount2(dir, MNT_DETACH), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int open_in(const char *dir)
{
	char path[4200];
	int fd;

	snprintf(path, sizeof(path), "%s/x", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static int ofd(int fd, short type)
{
	struct flock lock = { .l_type = type, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

static void expect(int fd, int result, short type)
{
	short held = -7;

	assert_int_equal(truth_held(fd, 0, &held), result);
	assert_int_equal(held, result ? -7 : type);
}

static void locks_that_the_kernel_keeps_are_known(void **state)
{
	const char *dir = test_file("local", -1);
	pid_t pid = server_start(false, dir);
	int fd = open_in(dir), other = open_in(dir);

	(void)state;
	expect(fd, 0, F_UNLCK);
	assert_int_equal(ofd(fd, F_WRLCK), 0);
	assert_int_equal(ofd(other, F_WRLCK), -EAGAIN);
	expect(fd, 0, F_WRLCK);
	assert_int_equal(ofd(fd, F_UNLCK), 0);
	expect(fd, 0, F_UNLCK);
	close(fd);
	close(other);
	server_end(pid, dir);
}

/* To deny a lock that is held would be to drop it: compaction does. */
static void locks_that_a_server_keeps_are_never_denied(void **state)
{
	const char *dir = test_file("remote", -1);
	pid_t pid = server_start(true, dir);
	int fd = open_in(dir), other = open_in(dir);

	(void)state;
	expect(fd, 0, F_UNLCK);
	assert_int_equal(ofd(fd, F_WRLCK), 0);
	assert_int_equal(ofd(other, F_WRLCK), -EAGAIN);
	expect(fd, -EOPNOTSUPP, 0);
	expect(other, -EOPNOTSUPP, 0);
	assert_int_equal(ofd(fd, F_UNLCK), 0);
	expect(fd, 0, F_UNLCK);
	expect(other, 0, F_UNLCK);
	close(fd);
	close(other);
	server_end(pid, dir);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(locks_that_the_kernel_keeps_are_known),
	cmocka_unit_test(locks_that_a_server_keeps_are_never_denied),
};

int main(void)
{
	if (access("/dev/fuse", R_OK | W_OK))
		test_skip("needs /dev/fuse");
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, ""))
		test_skip("needs a mount namespace of its own");
	return test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_ROOT);
}
