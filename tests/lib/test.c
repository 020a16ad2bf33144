/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/test.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/err.h"
#include "core/base/util.h"

#include <assert.h>
#include <dirent.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char test_dir_path[PATH_MAX];
static pid_t test_dir_owner;

void test_skip(const char *why)
{
	printf("skipped: %s\n", why);
	exit(77);
}

static bool have_uring(void)
{
	long fd = syscall(SYS_io_uring_setup, 0, NULL);

	if (fd >= 0)
		close((int)fd);
	return !(fd < 0 && (errno == ENOSYS || errno == EPERM));
}

void test_require(unsigned needs)
{
	if ((needs & TEST_NEEDS_ROOT) && geteuid() != 0)
		test_skip("needs root");
	if ((needs & TEST_NEEDS_URING) && !have_uring())
		test_skip("needs io_uring");
	if ((needs & TEST_NEEDS_LOOP) && access("/dev/loop-control", W_OK))
		test_skip("needs loop devices");
	if ((needs & TEST_NEEDS_FUSE) &&
	    (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK)))
		test_skip("needs /dev/fuse, and root to mount");
	if ((needs & TEST_NEEDS_KVM_OR_QEMU) &&
	    access("/usr/bin/qemu-system-x86_64", X_OK))
		test_skip("needs qemu-system-x86_64");
}

int test_run(const char *name, const struct CMUnitTest *tests, size_t n,
	     unsigned needs)
{
	bug_set_fatal(true);
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_require(needs);
	/* Lock files of devices stay. */
	setenv("GUESTLOCK_HOST_DIR", test_file("host-locks", -1), 0);
	return _cmocka_run_group_tests(name, tests, n, NULL, NULL) ? 1 : 0;
}

static int remove_entry(const char *path, const struct stat *st, int type,
			struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void remove_test_dir(void)
{
	if (getpid() == test_dir_owner)
		nftw(test_dir_path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_dir(void)
{
	const char *base = getenv("GUESTLOCK_TEST_DIR");

	if (test_dir_path[0])
		return test_dir_path;
	snprintf(test_dir_path, sizeof(test_dir_path),
		 "%s/guestlock-test-XXXXXX", base ? base : "/var/tmp");
	if (!mkdtemp(test_dir_path))
		abort();
	test_dir_owner = getpid();
	atexit(remove_test_dir);
	return test_dir_path;
}

const char *test_file(const char *name, off_t size)
{
	static char ring[16][PATH_MAX];
	static unsigned next;
	char *path = ring[next++ % ARRAY_SIZE(ring)];
	int fd;

	snprintf(path, PATH_MAX, "%s/%s", test_dir(), name);
	if (size < 0)
		return path;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, size))
		abort();
	close(fd);
	return path;
}

bool test_byte_lockable(const char *path, long byte, short type)
{
	struct flock lock = { .l_type = type, .l_start = byte, .l_len = 1 };
	_cleanup_(fd_closep) int fd = -1;

	fd = open(path, (type == F_RDLCK ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
	return lock.l_type == F_UNLCK;
}

bool test_lockable(const char *path, short type)
{
	return test_byte_lockable(path, 0, type);
}

bool test_becomes_free(const char *path, unsigned ms)
{
	uint64_t deadline = deadline_in_ms(ms);

	while (!test_lockable(path, F_WRLCK)) {
		if (clock_now() > deadline)
			return false;
		usleep(1000);
	}
	return true;
}

unsigned test_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* ".", ".." and dir itself */
}
