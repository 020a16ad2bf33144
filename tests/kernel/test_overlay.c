/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Overlays: the merged file has an inode and locks of its own, so a lock in a
 * container does not exclude one on the host's path. Why an image on an
 * overlay has scope `node`.
 */
#include "tests/kernel/disk.h"
#include "tests/kernel/kernel.h"

#include <sys/mount.h>
#include <sys/statfs.h>

#define OVERLAYFS_MAGIC 0x794c7630

static void a_lock_above_does_not_exclude_one_below(void **state)
{
	int above = file_open(test_file("m/merged/a", -1), O_RDWR);
	int below = file_open(test_file("m/upper/a", -1), O_RDWR);

	(void)state;
	assert_int_equal(lock_byte(above, F_WRLCK, 0), 0);
	assert_int_equal(lock_byte(below, F_WRLCK, 0), 0);
	assert_false(test_lockable(test_file("m/merged/a", -1), F_WRLCK));
	assert_false(test_lockable(test_file("m/upper/a", -1), F_WRLCK));
	close(above);
	assert_true(test_lockable(test_file("m/merged/a", -1), F_WRLCK));
	assert_false(test_lockable(test_file("m/upper/a", -1), F_WRLCK));
	close(below);
}

static void statfs_tells_an_overlay(void **state)
{
	struct statfs fs;
	int fd = file_open(test_file("m/merged/a", -1), O_RDONLY);

	(void)state;
	assert_int_equal(fstatfs(fd, &fs), 0);
	assert_true(fs.f_type == OVERLAYFS_MAGIC);
	close(fd);
}

/* Opened for reading before the copy-up, a file has its lock all the same. */
static void a_lock_stays_when_the_file_is_copied_up(void **state)
{
	const char *path = test_file("m/merged/low", -1);
	int reader = file_open(path, O_RDONLY), writer;

	(void)state;
	assert_int_equal(lock_byte(reader, F_RDLCK, 0), 0);
	writer = file_open(path, O_RDWR); /* copies it up */
	assert_int_equal(access(test_file("m/upper/low", -1), F_OK), 0);
	assert_int_equal(lock_byte(writer, F_WRLCK, 0), -EAGAIN);
	close(reader);
	assert_int_equal(lock_byte(writer, F_WRLCK, 0), 0);
	close(writer);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_lock_above_does_not_exclude_one_below),
	cmocka_unit_test(statfs_tells_an_overlay),
	cmocka_unit_test(a_lock_stays_when_the_file_is_copied_up),
};

int main(void)
{
	static const char *const dirs[] = { "m", "m/lower", "m/upper", "m/work",
					    "m/merged" };
	int res;

	/* On a file system of its own: ours may be an overlay already. */
	disk_mount("tmpfs", test_file("m", -1));
	for (size_t i = 1; i < ARRAY_SIZE(dirs); i++)
		mkdir(test_file(dirs[i], -1), 0755);
	if (chdir(test_file("m", -1)))
		return 1;
	close(open("lower/low", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	if (mount("overlay", "merged", "overlay", 0,
		  "lowerdir=lower,upperdir=upper,workdir=work"))
		test_skip("no overlay file system");
	close(open("merged/a", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	res = test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_ROOT);
	umount2("merged", MNT_DETACH);
	if (chdir("/"))
		return 1;
	umount2(test_file("m", -1), MNT_DETACH);
	return res;
}
