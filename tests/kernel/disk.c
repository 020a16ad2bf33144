/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/kernel/disk.h"

#include "tests/kernel/kernel.h"
#include "tests/lib/loop.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#define MIB ((off_t)1 << 20)

struct maker {
	const char *type;   /* as disk_mount() takes it */
	const char *mounts; /* what the kernel calls it */
	unsigned long flags;
	off_t size;
	const char *command[8];
};

static const struct maker makers[] = {
	{ "ext4", "ext4", 0, 64 * MIB, { "mkfs.ext4", "-q", "-F" } },
	{ "ext4-128",
	  "ext4",
	  0,
	  64 * MIB,
	  { "mkfs.ext4", "-q", "-F", "-I", "128" } },
	{ "ext4-dirsync",
	  "ext4",
	  MS_DIRSYNC,
	  64 * MIB,
	  { "mkfs.ext4", "-q", "-F" } },
	{ "xfs", "xfs", 0, 320 * MIB, { "mkfs.xfs", "-q", "-f" } },
	{ "btrfs", "btrfs", 0, 128 * MIB, { "mkfs.btrfs", "-q", "-f" } },
};

static bool run(const char *const *command, const char *last)
{
	const char *args[16] = {};
	int status, n = 0;
	pid_t pid;

	while (command[n]) {
		args[n] = command[n];
		n++;
	}
	args[n] = last;
	pid = fork();
	if (pid == 0) {
		setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
		execvp(args[0], (char **)args);
		_exit(127);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

void mounts_unshare(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS))
		test_skip("needs root and a mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		test_skip("cannot make mounts private");
}

static void disk_make(const struct maker *maker, const char *where)
{
	char loop[LOOP_PATH_MAX];
	int fd = loop_attach("image", maker->size, loop);

	if (!run(maker->command, loop))
		test_skip(maker->command[0]);
	if (mount(loop, where, maker->mounts, maker->flags, NULL))
		test_skip("cannot mount it here");
	fd_close(fd); /* from now on the mount keeps the device */
}

void disk_mount(const char *type, const char *where)
{
	mounts_unshare();
	mkdir(where, 0755);
	for (size_t i = 0; i < ARRAY_SIZE(makers); i++) {
		if (!strcmp(makers[i].type, type)) {
			if (access("/dev/loop-control", W_OK))
				test_skip("needs loop devices");
			disk_make(&makers[i], where);
			return;
		}
	}
	if (mount(type, where, type, 0, NULL))
		test_skip("cannot mount it here");
}
