/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Block devices: a lock belongs to the device node's inode, a claim to the
 * device. Why a lease of a device needs a lock file keyed by the device.
 */
#include "core/base/compat.h"
#include "tests/kernel/disk.h"
#include "tests/kernel/kernel.h"
#include "tests/lib/loop.h"

#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#define SIZE ((off_t)1 << 20)

static int open_exclusively(const char *path)
{
	int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void two_nodes_of_one_device_do_not_exclude_each_other(void **state)
{
	char path[LOOP_PATH_MAX];
	int loop = loop_attach("image", SIZE, path);
	int alias = file_open(loop_alias(path, "alias"), O_RDWR);
	struct stat first, second;

	(void)state;
	assert_int_equal(lock_byte(loop, F_WRLCK, 0), 0);
	assert_false(test_lockable(path, F_WRLCK));
	assert_int_equal(lock_byte(alias, F_WRLCK, 0), 0);
	assert_int_equal(fstat(loop, &first), 0);
	assert_int_equal(fstat(alias, &second), 0);
	assert_true(first.st_rdev == second.st_rdev);
	assert_true(first.st_ino != second.st_ino ||
		    first.st_dev != second.st_dev);
	close(alias);
	close(loop);
}

static void o_excl_claims_the_device_through_any_node(void **state)
{
	char path[LOOP_PATH_MAX];
	int loop = loop_attach("image", SIZE, path);
	const char *alias = loop_alias(path, "alias");
	int claim = open_exclusively(path), plain;

	(void)state;
	assert_true(claim >= 0);
	assert_int_equal(open_exclusively(path), -EBUSY);
	assert_int_equal(open_exclusively(alias), -EBUSY);
	assert_int_equal(mount(path, test_dir(), "ext4", 0, NULL), -1);
	assert_int_equal(errno, EBUSY);
	/* Who does not ask is not stopped. */
	plain = file_open(alias, O_RDWR);
	close(plain);
	close(claim);
	claim = open_exclusively(alias);
	assert_true(claim >= 0);
	close(claim);
	close(loop);
}

static void a_claim_lives_with_its_description(void **state)
{
	char path[LOOP_PATH_MAX];
	int loop = loop_attach("image", SIZE, path);
	int claim = open_exclusively(path), pair[2];

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	fd_send(pair[0], claim);
	close(claim);
	assert_int_equal(open_exclusively(path), -EBUSY);
	close(pair[0]);
	close(pair[1]);
	claim = open_exclusively(path);
	assert_true(claim >= 0);
	close(claim);
	close(loop);
}

/* The number of a device comes again; its sequence number never does. */
static void each_attachment_has_a_new_disk_sequence_number(void **state)
{
	uint64_t before = 0, now;
	char path[LOOP_PATH_MAX];

	(void)state;
	for (int i = 0; i < 3; i++) {
		int loop = loop_attach("image", SIZE, path);

		assert_int_equal(ioctl(loop, BLKGETDISKSEQ, &now), 0);
		assert_true(now > before);
		before = now;
		close(loop);
	}
}

static uint64_t diskseq(int fd)
{
	uint64_t seq = 0;

	assert_int_equal(ioctl(fd, BLKGETDISKSEQ, &seq), 0);
	return seq;
}

static void a_partition_has_its_disks_sequence_number(void **state)
{
	char path[LOOP_PATH_MAX], part[LOOP_PATH_MAX];
	int loop = loop_attach("image", 4 * SIZE, path), fd;

	(void)state;
	loop_add_partition(loop, path, 1, part);
	fd = file_open(part, O_RDONLY);
	assert_true(diskseq(fd) == diskseq(loop));
	close(fd);
	close(loop);
}

static uint64_t number_in(const char *device, const char *attr)
{
	unsigned long long n = 0;
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/block/%s/%s",
		 strrchr(device, '/') + 1, attr);
	f = fopen(path, "r");
	if (f) {
		assert_int_equal(fscanf(f, "%llu", &n), 1);
		fclose(f);
	}
	return n;
}

static void sysfs_tells_the_same_of_a_disk_and_its_partition(void **state)
{
	char path[LOOP_PATH_MAX], part[LOOP_PATH_MAX];
	int loop = loop_attach("image", 4 * SIZE, path);

	(void)state;
	loop_add_partition(loop, path, 1, part);
	assert_true(number_in(path, "diskseq") == diskseq(loop));
	assert_true(number_in(part, "../diskseq") == diskseq(loop));
	assert_int_equal(number_in(part, "diskseq"), 0);
	assert_int_equal(number_in(part, "partition"), 1);
	assert_int_equal(number_in(path, "partition"), 0);
	close(loop);
}

/* Another image behind a device that is open is another disk to the kernel. */
static void a_changed_image_is_a_new_disk_sequence_number(void **state)
{
	char path[LOOP_PATH_MAX];
	int loop, other, fd;
	uint64_t before;

	(void)state;
	test_file("image", SIZE);
	loop = loop_attach_readonly("image", path);
	fd = file_open(path, O_RDONLY);
	before = diskseq(fd);
	other = file_open(test_file("other", SIZE), O_RDONLY);
	assert_int_equal(ioctl(loop, LOOP_CHANGE_FD, other), 0);
	assert_true(diskseq(fd) > before);
	close(other);
	close(fd);
	close(loop);
}

/* A guest's own claim of a disk is in the way of one of its partitions. */
static void a_claim_concerns_the_disk_and_its_partitions(void **state)
{
	char path[LOOP_PATH_MAX], parts[2][LOOP_PATH_MAX];
	int loop = loop_attach("image", 4 * SIZE, path), claim, second;

	(void)state;
	loop_add_partition(loop, path, 1, parts[0]);
	loop_add_partition(loop, path, 2, parts[1]);
	claim = open_exclusively(path);
	assert_true(claim >= 0);
	assert_int_equal(open_exclusively(parts[0]), -EBUSY);
	close(claim);
	claim = open_exclusively(parts[0]);
	assert_true(claim >= 0);
	assert_int_equal(open_exclusively(path), -EBUSY);
	second = open_exclusively(parts[1]);
	assert_true(second >= 0);
	close(second);
	close(claim);
	close(loop);
}

static void a_mount_claims_the_device(void **state)
{
	const char *where = test_file("mounted", -1);
	char path[LOOP_PATH_MAX];
	struct stat st, device;

	(void)state;
	mkdir(where, 0700);
	disk_mount("ext4", where);
	/* It is in the mount table by its number. */
	assert_int_equal(stat(where, &st), 0);
	snprintf(path, sizeof(path), "/dev/loop%u", minor(st.st_dev));
	assert_int_equal(stat(path, &device), 0);
	assert_true(st.st_dev == device.st_rdev);
	assert_int_equal(open_exclusively(path), -EBUSY);
	assert_int_equal(umount(where), 0);
}

/* What a query asks need not be what the descriptor could lock. */
static void a_reader_may_ask_about_an_exclusive_lock(void **state)
{
	char path[LOOP_PATH_MAX];
	int loop = loop_attach("image", SIZE, path);
	int fd = file_open(path, O_RDONLY);
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };

	(void)state;
	assert_int_equal(lock_byte(loop, F_WRLCK, 0), 0);
	assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
	assert_int_equal(lock.l_type, F_WRLCK);
	assert_int_not_equal(lock_byte(fd, F_WRLCK, 2), 0);
	close(fd);
	close(loop);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(two_nodes_of_one_device_do_not_exclude_each_other),
	cmocka_unit_test(o_excl_claims_the_device_through_any_node),
	cmocka_unit_test(a_claim_lives_with_its_description),
	cmocka_unit_test(each_attachment_has_a_new_disk_sequence_number),
	cmocka_unit_test(a_partition_has_its_disks_sequence_number),
	cmocka_unit_test(sysfs_tells_the_same_of_a_disk_and_its_partition),
	cmocka_unit_test(a_changed_image_is_a_new_disk_sequence_number),
	cmocka_unit_test(a_claim_concerns_the_disk_and_its_partitions),
	cmocka_unit_test(a_reader_may_ask_about_an_exclusive_lock),
	cmocka_unit_test(a_mount_claims_the_device),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT | TEST_NEEDS_LOOP)
