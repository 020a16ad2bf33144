/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/slowfs.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct slowfs {
	char dir[256];
	pid_t server;
	struct slowfs_knobs *knobs;
};

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
		err(1, "slowfs: mount namespace");
	atexit(stop_running);
	entered = true;
}

static pid_t fork_server(int fd, struct slowfs_knobs *knobs)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		/* Keep no lock of the program's alive. */
		if (dup2(fd, 3) != 3)
			_exit(1);
		close_range(4, ~0U, 0);
		slowfs_serve(3, knobs);
	}
	return pid;
}

static void mount_on(const char *dir, int fd)
{
	char options[128];

	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mount("slowfs", dir, "fuse.slowfs", 0, options))
		err(1, "slowfs: mount on %s", dir);
}

struct slowfs *slowfs_start(const char *dir)
{
	struct slowfs *fs = calloc(1, sizeof(*fs));
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (!fs || fd < 0)
		err(1, "/dev/fuse");
	fs->knobs = mmap(NULL, sizeof(*fs->knobs), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fs->knobs == MAP_FAILED)
		err(1, "slowfs: memory");
	snprintf(fs->dir, sizeof(fs->dir), "%s", dir);
	slowfs_calm(fs);
	enter_namespace();
	mkdir(fs->dir, 0700);
	mount_on(fs->dir, fd);
	running = fs;
	fs->server = fork_server(fd, fs->knobs);
	if (fs->server < 0)
		err(1, "slowfs: fork");
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
	k->refuse_open = k->refuse_lock = 0;
	k->only = SLOWFS_ALL;
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

bool slowfs_lose_locks(struct slowfs *fs)
{
	uint64_t deadline = deadline_in_ms(10000);

	fs->knobs->lose_locks = true;
	while (fs->knobs->lose_locks) {
		if (clock_now() > deadline)
			return false;
		usleep(1000);
	}
	return true;
}
