/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Block devices: a lock belongs to the device node's inode, a claim to the
 * device. Why a lease of a device needs a lock file keyed by the device.
 */
#include "tests/kernel/disk.h"
#include "tests/kernel/kernel.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, uint64_t) /* Linux 5.15 */
#endif
#define SIZE ((off_t)1 << 20)

static const char *alias_of(int loop)
{
	const char *path = test_file("alias", -1);
	struct stat st;

	assert_int_equal(fstat(loop, &st), 0);
	unlink(path);
	assert_int_equal(mknod(path, S_IFBLK | 0600, st.st_rdev), 0);
	return path;
}

static int open_exclusively(const char *path)
{
	int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void two_nodes_of_one_device_do_not_exclude_each_other(void **state)
{
	char path[DISK_PATH_MAX];
	int loop = loop_attach("image", SIZE, path);
	int alias = file_open(alias_of(loop), O_RDWR);
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
	char path[DISK_PATH_MAX];
	int loop = loop_attach("image", SIZE, path);
	const char *alias = alias_of(loop);
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
	char path[DISK_PATH_MAX];
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
	char path[DISK_PATH_MAX];

	(void)state;
	for (int i = 0; i < 3; i++) {
		int loop = loop_attach("image", SIZE, path);

		assert_int_equal(ioctl(loop, BLKGETDISKSEQ, &now), 0);
		assert_true(now > before);
		before = now;
		close(loop);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(two_nodes_of_one_device_do_not_exclude_each_other),
	cmocka_unit_test(o_excl_claims_the_device_through_any_node),
	cmocka_unit_test(a_claim_lives_with_its_description),
	cmocka_unit_test(each_attachment_has_a_new_disk_sequence_number),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT | TEST_NEEDS_LOOP)
