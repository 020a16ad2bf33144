/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lock_name.h"

#include "core/base/util.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Which names a path gets. 253:0 is a logical volume, 7:0 is a loop device. */

#define UUID "06UgP5-2rhb-w3Bo-3mdR-WeoL-pytO-SAa2ky"

static char sysfs[PATH_MAX];
static struct lock_name names[LOCK_NAMES_MAX];

static void make(const char *name, const char *text)
{
	char path[2 * PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", sysfs, name);
	for (char *s = path + 1; (s = strchr(s, '/')); s++) {
		*s = '\0';
		mkdir(path, 0700);
		*s = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static int start(void **state)
{
	(void)state;
	snprintf(sysfs, sizeof(sysfs), "%s/sys", test_dir());
	make("dev/block/7:0/ro", "0\n");
	make("dev/block/253:0/dm/uuid", "LVM-GGGGGGggggGGGGggggGGGGggggGGGGGG"
					"06UgP52rhbw3Bo3mdRWeoLpytOSAa2ky\n");
	return 0;
}

static int name(const struct glk_policy *policy, const char *path, mode_t type,
		unsigned major)
{
	const struct op_stat st = { .mode = type | 0600, .rdev_major = major };

	return lock_names(policy, sysfs, path, &st, names);
}

static const struct glk_policy all = {
	.lock_dir = "/l",
	.lvm_lock_dir = "/v",
	.scsi_lock_dir = "/s",
};

/* By sha256sum(1). */
static void a_file_is_the_hash_of_its_path(void **state)
{
	char path[4096];

	(void)state;
	assert_int_equal(name(&all, "/a", S_IFREG, 0), 1);
	assert_string_equal(names[0].dir, "/l");
	assert_string_equal(names[0].name, "6a50dc8584134c7de537c0052ff6d236"
					   "bf874355e050c90523e0c5ff2a543a28");
	assert_int_equal(name(&all, "/a\nb", S_IFREG, 0), 1);
	assert_string_equal(names[0].name, "6f30f36c0f00f5f3af12e79786af8483"
					   "6e502b52145a79942a9613eebceeb90a");
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[4095] = '\0';
	assert_int_equal(name(&all, path, S_IFREG, 0), 1);
	assert_string_equal(names[0].name, "2ebb2064b10faafb2851969c197069310"
					   "616c52d1af14c07d808f5f210c32b0b");
}

/* virtlockd asks lvs and scsi_id, who do not know it. */
static void a_file_below_dev_is_a_file(void **state)
{
	(void)state;
	assert_int_equal(name(&all, "/dev/shm/a", S_IFREG, 253), 1);
	assert_string_equal(names[0].dir, "/l");
}

static void a_volume_is_its_uuid(void **state)
{
	(void)state;
	assert_int_equal(name(&all, "/dev/vg/lv", S_IFBLK, 253), 1);
	assert_string_equal(names[0].dir, "/v");
	assert_string_equal(names[0].name, UUID);
}

static void a_device_that_has_no_name_is_the_hash_of_its_path(void **state)
{
	struct glk_policy no_lvm = all;

	(void)state;
	no_lvm.lvm_lock_dir = NULL;
	assert_int_equal(name(&no_lvm, "/dev/vg/lv", S_IFBLK, 253), 1);
	assert_string_equal(names[0].dir, "/l");
	assert_string_equal(names[0].name, "e0e78046ffeaf19b25badfb07d37cfc4"
					   "be0e99d6bd65fb45e49fa9122bcf4f23");
	assert_int_equal(name(&all, "/dev/loop0", S_IFBLK, 7), 1);
	assert_string_equal(names[0].dir, "/l");
	assert_int_equal(name(&all, "/dev/loop0", S_IFBLK, 1023), 1);
	assert_string_equal(names[0].dir, "/l");
}

static void a_volume_by_another_path_is_that_path_too(void **state)
{
	struct glk_policy lvm_only = all;

	(void)state;
	assert_int_equal(name(&all, "/srv/lv", S_IFBLK, 253), 2);
	assert_string_equal(names[0].name, UUID);
	assert_string_equal(names[1].dir, "/l");
	lvm_only.lock_dir = lvm_only.scsi_lock_dir = NULL;
	assert_int_equal(name(&lvm_only, "/srv/lv", S_IFBLK, 253), 1);
	assert_string_equal(names[0].name, UUID);
}

static void without_a_directory_there_is_no_name(void **state)
{
	struct glk_policy none = {};
	struct glk_policy lvm_only = { .lvm_lock_dir = "/v" };

	(void)state;
	assert_int_equal(name(&none, "/a", S_IFREG, 0), 0);
	assert_int_equal(name(&none, "/dev/vg/lv", S_IFBLK, 253), 0);
	assert_int_equal(name(&lvm_only, "/a", S_IFREG, 0), 0);
	assert_int_equal(name(&lvm_only, "/dev/loop0", S_IFBLK, 7), 0);
}

#define TEST(_f) cmocka_unit_test_setup(_f, start)

static const struct CMUnitTest tests[] = {
	TEST(a_file_is_the_hash_of_its_path),
	TEST(a_file_below_dev_is_a_file),
	TEST(a_volume_is_its_uuid),
	TEST(a_device_that_has_no_name_is_the_hash_of_its_path),
	TEST(a_volume_by_another_path_is_that_path_too),
	TEST(without_a_directory_there_is_no_name),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
