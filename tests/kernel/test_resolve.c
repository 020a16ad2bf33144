/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* openat2(2): names that lead out of their directory are refused. */
#include "tests/kernel/disk.h"
#include "tests/kernel/kernel.h"

#include <linux/openat2.h>
#include <sys/mount.h>

static int dir;

static int open_in(int at, const char *path, uint64_t resolve)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC,
				.resolve = resolve };
	int fd = (int)syscall(SYS_openat2, at, path, &how, sizeof(how));

	if (fd >= 0)
		close(fd);
	return fd < 0 ? -errno : 0;
}

static int setup(void **state)
{
	char path[512];

	(void)state;
	dir = open(test_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	test_file("file", 0);
	mkdirat(dir, "sub", 0700);
	test_file("sub/below", 0);
	symlinkat("file", dir, "soft");
	symlinkat("sub", dir, "softdir");
	test_file("target", 0);
	mkdirat(dir, "over", 0700);
	snprintf(path, sizeof(path), "%s/over", test_dir());
	return mount("tmpfs", path, "tmpfs", 0, NULL) ||
	       mount(test_file("file", -1), test_file("target", -1), NULL,
		     MS_BIND, NULL);
}

static int teardown(void **state)
{
	(void)state;
	close(dir);
	umount2(test_file("target", -1), MNT_DETACH);
	umount2(test_file("over", -1), MNT_DETACH);
	return 0;
}

static void a_plain_name_is_opened(void **state)
{
	(void)state;
	assert_int_equal(open_in(dir, "file",
				 RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV),
			 0);
	assert_int_equal(open_in(dir, "sub/below",
				 RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV),
			 0);
}

static void no_symlinks_refuses_them_anywhere_with_eloop(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir);
	assert_int_equal(open_in(dir, "soft", 0), 0);
	assert_int_equal(open_in(dir, "soft", RESOLVE_NO_SYMLINKS), -ELOOP);
	assert_int_equal(open_in(dir, "softdir/below", RESOLVE_NO_SYMLINKS),
			 -ELOOP);
	assert_int_equal(open_in(AT_FDCWD, path, RESOLVE_NO_SYMLINKS), -ELOOP);
}

static void no_xdev_refuses_mount_points_with_exdev(void **state)
{
	(void)state;
	assert_int_equal(open_in(dir, "over", 0), 0);
	assert_int_equal(open_in(dir, "over", RESOLVE_NO_XDEV), -EXDEV);
	assert_int_equal(open_in(dir, "target", RESOLVE_NO_XDEV), -EXDEV);
	assert_int_equal(open_in(dir, "over/..", RESOLVE_NO_XDEV), -EXDEV);
}

/* A bind mount of a file: another name, the same inode, the same lock. */
static void a_bind_mount_has_the_inode_and_the_lock_of_its_source(void **state)
{
	int fd = file_open(test_file("file", -1), O_RDWR);
	struct stat source, target;

	(void)state;
	assert_int_equal(fstat(fd, &source), 0);
	assert_int_equal(stat(test_file("target", -1), &target), 0);
	assert_true(source.st_ino == target.st_ino);
	assert_true(source.st_dev == target.st_dev);
	assert_int_equal(lock_byte(fd, F_WRLCK, 0), 0);
	assert_false(test_lockable(test_file("target", -1), F_WRLCK));
	close(fd);
}

/* So mounts must be refused at the open: no ctime tells of them. */
static void mounting_over_a_name_does_not_change_its_directory(void **state)
{
	const char *path = test_file("file2", 0);
	struct statx before, after;

	(void)state;
	assert_int_equal(statx(dir, "", AT_EMPTY_PATH, STATX_CTIME, &before),
			 0);
	usleep(20 * 1000);
	assert_int_equal(mount(test_file("file", -1), path, NULL, MS_BIND,
			       NULL),
			 0);
	assert_int_equal(open_in(dir, "file2", RESOLVE_NO_XDEV), -EXDEV);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	assert_int_equal(statx(dir, "", AT_EMPTY_PATH, STATX_CTIME, &after), 0);
	assert_memory_equal(&before.stx_ctime, &after.stx_ctime,
			    sizeof(before.stx_ctime));
}

static void unknown_flags_are_einval(void **state)
{
	(void)state;
	assert_int_equal(open_in(dir, "file", UINT64_C(1) << 40), -EINVAL);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_plain_name_is_opened),
	cmocka_unit_test(no_symlinks_refuses_them_anywhere_with_eloop),
	cmocka_unit_test(no_xdev_refuses_mount_points_with_exdev),
	cmocka_unit_test(a_bind_mount_has_the_inode_and_the_lock_of_its_source),
	cmocka_unit_test(mounting_over_a_name_does_not_change_its_directory),
	cmocka_unit_test(unknown_flags_are_einval),
};

int main(void)
{
	int res;

	mounts_unshare();
	if (setup(NULL))
		test_skip("cannot mount here");
	res = test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_ROOT);
	teardown(NULL);
	return res;
}
