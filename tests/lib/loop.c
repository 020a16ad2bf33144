/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/loop.h"

#include "core/base/compat.h"
#include "core/base/util.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/blkpg.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MIB (1 << 20)

static int configure(const char *path, int backing, unsigned flags)
{
	struct loop_config config = {
		.fd = (unsigned)backing,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN | flags,
	};
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config))
		fd = fd_close(fd);
	return fd;
}

static int attach(const char *path, unsigned flags,
		  char ret_path[LOOP_PATH_MAX])
{
	_cleanup_(fd_closep) int control =
		open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	_cleanup_(fd_closep) int backing = open(path, O_RDWR | O_CLOEXEC);

	/* Others take loop devices too: a free one may be gone again. */
	for (int i = 0; i < 100; i++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE), fd;

		snprintf(ret_path, LOOP_PATH_MAX, "/dev/loop%d", number);
		fd = configure(ret_path, backing, flags);
		if (fd >= 0)
			return fd;
	}
	test_skip("no loop device can be had");
}

int loop_attach(const char *file, off_t size, char ret_path[LOOP_PATH_MAX])
{
	return attach(test_file(file, size), 0, ret_path);
}

int loop_attach_readonly(const char *file, char ret_path[LOOP_PATH_MAX])
{
	return attach(test_file(file, -1), LO_FLAGS_READ_ONLY, ret_path);
}

int loop_attach_again(const char *file, const char *path)
{
	_cleanup_(fd_closep) int backing =
		open(test_file(file, -1), O_RDWR | O_CLOEXEC);

	/* It is cleared when the kernel gets to it. */
	for (int i = 0; i < 10000; i++) {
		int fd = configure(path, backing, 0);

		if (fd >= 0)
			return fd;
		usleep(1000);
	}
	return -1;
}

static void make_node(const char *path)
{
	unsigned major, minor;
	char attr[128];
	FILE *f;

	snprintf(attr, sizeof(attr), "/sys/class/block/%s/dev",
		 strrchr(path, '/') + 1);
	f = fopen(attr, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%u:%u", &major, &minor), 2);
	fclose(f);
	assert_int_equal(mknod(path, S_IFBLK | 0600, makedev(major, minor)), 0);
}

void loop_add_partition(int loop, const char *path, int number,
			char ret_path[LOOP_PATH_MAX])
{
	struct blkpg_partition partition = { .start = (long long)number * MIB,
					     .length = MIB,
					     .pno = number };
	struct blkpg_ioctl_arg arg = { .op = BLKPG_ADD_PARTITION,
				       .datalen = sizeof(partition),
				       .data = &partition };

	assert_int_equal(ioctl(loop, BLKPG, &arg), 0);
	snprintf(ret_path, LOOP_PATH_MAX, "%sp%d", path, number);
	if (access(ret_path, F_OK))
		make_node(ret_path);
}

const char *loop_alias(const char *path, const char *name)
{
	const char *alias = test_file(name, -1);
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	unlink(alias);
	assert_int_equal(mknod(alias, S_IFBLK | 0600, st.st_rdev), 0);
	return alias;
}

uint64_t loop_diskseq(int fd)
{
	uint64_t seq = 0;

	assert_int_equal(ioctl(fd, BLKGETDISKSEQ, &seq), 0);
	return seq;
}

const char *loop_lock_file(const char *path)
{
	static char ring[4][512];
	static unsigned next;
	char *buf = ring[next++ % ARRAY_SIZE(ring)];
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	snprintf(buf, sizeof(ring[0]), "%s/%u:%u-%" PRIu64,
		 getenv("GUESTLOCK_HOST_DIR"), major(st.st_rdev),
		 minor(st.st_rdev), loop_diskseq(fd));
	return buf;
}
