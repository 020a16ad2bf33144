/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/devname.h"

#include "core/base/util.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * On trees as the kernel shows them, written by hand: 8:0 a SCSI disk with a
 * partition, 8:16 another path to the same logical unit, 8:32 a disk of another
 * kind, and what device-mapper makes of them.
 */

#define LV                                                                     \
	"LVM-GGGGGGggggGGGGggggGGGGggggGGGGGG"                                 \
	"06UgP52rhbw3Bo3mdRWeoLpytOSAa2ky"

#define ODD                                                                    \
	"LVM-GGGGGGggggGGGGggggGGGGggggGGGGGG"                                 \
	"../../../../../../../../etc/x...\n"

static char root[PATH_MAX];

static const char *path_of(const char *name)
{
	static char path[2 * PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

static void make_dir(const char *name)
{
	char path[2 * PATH_MAX];

	snprintf(path, sizeof(path), "%s", path_of(name));
	for (char *s = path + strlen(root) + 1; (s = strchr(s, '/')); s++) {
		*s = '\0';
		mkdir(path, 0700);
		*s = '/';
	}
	if (mkdir(path, 0700))
		assert_int_equal(errno, EEXIST);
}

static void put(const char *dir, const char *name, const void *data, size_t n)
{
	char path[PATH_MAX];
	int fd;

	make_dir(dir);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path_of(path));
	fd = open(path_of(path), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	close(fd);
}

static void put_text(const char *dir, const char *name, const char *text)
{
	put(dir, name, text, strlen(text));
}

static void put_link(const char *name, const char *to)
{
	make_dir("dev/block");
	unlink(path_of(name));
	assert_int_equal(symlink(to, path_of(name)), 0);
}

/* A disk DIR/block/NAME, whose device is DIR. */
static void put_disk(const char *number, const char *dir, const char *name)
{
	char path[PATH_MAX], to[PATH_MAX];

	snprintf(path, sizeof(path), "%s/block/%s", dir, name);
	make_dir(path);
	snprintf(path, sizeof(path), "%s/block/%s/device", dir, name);
	put_link(path, "../..");
	snprintf(path, sizeof(path), "dev/block/%s", number);
	snprintf(to, sizeof(to), "../../%s/block/%s", dir, name);
	put_link(path, to);
}

static void put_scsi(const char *dir, uint8_t number)
{
	uint8_t inquiry[36] = { 0, 0, 7, 2, 31, [8] = 'A', 'C', 'M', 'E' };
	const uint8_t list[] = { 0, 0, 0, 3, 0, 0x80, 0x83 };
	const uint8_t ids[] = { 0,	    0x83, 0, 12, 1, 3, 0, 8,
				5 << 4 | 1, 0,	  0, 0,	 0, 0, 0, number };

	put(dir, "inquiry", inquiry, sizeof(inquiry));
	put(dir, "vpd_pg0", list, sizeof(list));
	put(dir, "vpd_pg83", ids, sizeof(ids));
}

static void put_dm(unsigned minor, const char *uuid, const char *slave1,
		   const char *slave2)
{
	char dir[64], path[128], to[128];

	snprintf(dir, sizeof(dir), "devices/virtual/block/dm-%u", minor);
	snprintf(path, sizeof(path), "%s/dm", dir);
	put_text(path, "uuid", uuid);
	snprintf(path, sizeof(path), "%s/slaves", dir);
	make_dir(path);
	for (unsigned i = 0; i < 2; i++) {
		const char *slave = i ? slave2 : slave1;

		if (!slave)
			continue;
		snprintf(path, sizeof(path), "%s/slaves/s%u", dir, i);
		snprintf(to, sizeof(to), "../../../../../%s", slave);
		put_link(path, to);
	}
	snprintf(path, sizeof(path), "dev/block/253:%u", minor);
	snprintf(to, sizeof(to), "../../%s", dir);
	put_link(path, to);
}

static int start(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "%s/sys", test_dir());
	mkdir(root, 0700);
	put_disk("8:0", "devices/scsi0", "sda");
	put_scsi("devices/scsi0", 7);
	put_text("devices/scsi0/block/sda/sda1", "partition", "1\n");
	put_link("dev/block/8:1", "../../devices/scsi0/block/sda/sda1");
	put_disk("8:16", "devices/scsi1", "sdb");
	put_scsi("devices/scsi1", 7);
	put_disk("8:32", "devices/scsi2", "sdc");
	put_disk("259:0", "devices/nvme0", "nvme0n1");
	make_dir("devices/virtual/block/loop0");
	put_link("dev/block/7:0", "../../devices/virtual/block/loop0");
	return 0;
}

static int lv(unsigned minor, char *uuid)
{
	return devname_lv(root, 253, minor, uuid);
}

static void a_volumes_uuid_is_in_groups_as_lvs_prints_it(void **state)
{
	char uuid[LV_UUID_SIZE];

	(void)state;
	put_dm(0, LV "\n", "devices/scsi0/block/sda", NULL);
	assert_int_equal(lv(0, uuid), 0);
	assert_string_equal(uuid, "06UgP5-2rhb-w3Bo-3mdR-WeoL-pytO-SAa2ky");
}

static void other_devices_are_no_volumes(void **state)
{
	static const char *const uuids[] = {
		LV "-real\n",
		LV "-cow\n",
		LV "-tpool\n",
		LV "x\n",
		"LVM-GGGGGGgggg\n",
		ODD,
		"mpath-35000000000000007\n",
		"CRYPT-LUKS2-0123456789abcdef0123456789abcdef-x\n",
		"\n",
		"",
	};
	char uuid[LV_UUID_SIZE] = "untouched";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(uuids); i++) {
		put_dm(1, uuids[i], NULL, NULL);
		assert_int_equal(lv(1, uuid), -ENODATA);
	}
	assert_int_equal(devname_lv(root, 8, 0, uuid), -ENODATA);
	assert_int_equal(devname_lv(root, 7, 0, uuid), -ENODATA);
	assert_int_equal(devname_lv(root, 9, 9, uuid), -ENODATA);
	assert_string_equal(uuid, "untouched");
}

static int wwid_of(unsigned major, unsigned minor, const char *expected)
{
	char wwid[WWID_SIZE] = "";
	int r = devname_wwid(root, major, minor, wwid);

	assert_string_equal(wwid, expected);
	return r;
}

#define assert_wwid(_major, _minor)                                            \
	assert_int_equal(wwid_of(_major, _minor, "35100000000000007"), 0)
#define assert_no_wwid(_major, _minor)                                         \
	assert_int_equal(wwid_of(_major, _minor, ""), -ENODATA)

static void a_partition_has_its_disks_name(void **state)
{
	(void)state;
	assert_wwid(8, 0);
	assert_wwid(8, 1);
	assert_wwid(8, 16);
}

static void disks_that_are_no_scsi_disks_have_none(void **state)
{
	(void)state;
	assert_no_wwid(8, 32);
	assert_no_wwid(259, 0);
	assert_no_wwid(7, 0);
	assert_no_wwid(9, 9);
}

static void paths_lead_to_one_name(void **state)
{
	(void)state;
	put_dm(2, "mpath-35100000000000007\n", "devices/scsi0/block/sda",
	       "devices/scsi1/block/sdb");
	assert_wwid(253, 2);
	put_dm(3, "part1-mpath-35100000000000007\n",
	       "devices/virtual/block/dm-2", NULL);
	assert_wwid(253, 3);
}

static void what_stands_on_one_device_has_its_name(void **state)
{
	(void)state;
	put_dm(4, LV "\n", "devices/scsi0/block/sda/sda1", NULL);
	assert_wwid(253, 4);
	put_dm(5, "\n", "devices/scsi0/block/sda", NULL);
	assert_wwid(253, 5);
	put_dm(6, "x\n", "devices/scsi0/block/sda", "devices/scsi1/block/sdb");
	assert_no_wwid(253, 6);
	put_dm(7, "x\n", NULL, NULL);
	assert_no_wwid(253, 7);
	put_dm(8, LV "-real\n", "devices/scsi0/block/sda", NULL);
	assert_no_wwid(253, 8);
}

static void what_passes_no_command_on_has_none(void **state)
{
	static const char *const uuids[] = {
		"CRYPT-LUKS2-0123456789abcdef0123456789abcdef-x\n",
		"CRYPT-PLAIN-x\n",
		"CRYPT-INTEGRITY-x\n",
		LV "-vpool\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(uuids); i++) {
		put_dm(11, uuids[i], "devices/scsi0/block/sda", NULL);
		assert_no_wwid(253, 11);
		put_dm(12, LV "\n", "devices/virtual/block/dm-11", NULL);
		assert_no_wwid(253, 12);
	}
	put_dm(11, "CRYPT-VERITY-x\n", "devices/scsi0/block/sda", NULL);
	assert_wwid(253, 11);
	put_dm(11, "CRYPTIC\n", "devices/scsi0/block/sda", NULL);
	assert_wwid(253, 11);
}

/* The kernel makes no such thing; a test's tree may. */
static void a_ring_of_devices_ends(void **state)
{
	(void)state;
	put_dm(9, "x\n", "devices/virtual/block/dm-9", NULL);
	assert_no_wwid(253, 9);
	put_dm(10, "x\n", "devices/nowhere", NULL);
	assert_no_wwid(253, 10);
}

#define TEST(_f) cmocka_unit_test_setup(_f, start)

/* Pages of scsi_debug, as 6.12 showed them in sysfs. */
static const uint8_t debug_list[] = { 0x00, 0x00, 0x00, 0x0d, 0x00, 0x80,
				      0x83, 0x84, 0x85, 0x86, 0x87, 0x88,
				      0x89, 0xb0, 0xb1, 0xb2, 0xb7 };
static const uint8_t debug_ids[] = {
	0x00, 0x83, 0x00, 0x70, 0x02, 0x01, 0x00, 0x1c, 0x4c, 0x69, 0x6e, 0x75,
	0x78, 0x20, 0x20, 0x20, 0x73, 0x63, 0x73, 0x69, 0x5f, 0x64, 0x65, 0x62,
	0x75, 0x67, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x32, 0x30, 0x30, 0x30,
	0x01, 0x03, 0x00, 0x08, 0x33, 0x33, 0x33, 0x30, 0x00, 0x00, 0x07, 0xd0,
	0x61, 0x94, 0x00, 0x04, 0x00, 0x00, 0x00, 0x01, 0x61, 0x93, 0x00, 0x08,
	0x32, 0x22, 0x22, 0x20, 0x00, 0x00, 0x07, 0xce, 0x61, 0x95, 0x00, 0x04,
	0x00, 0x00, 0x01, 0x00, 0x61, 0xa3, 0x00, 0x08, 0x32, 0x22, 0x22, 0x20,
	0x00, 0x00, 0x07, 0xcd, 0x63, 0xa8, 0x00, 0x18, 0x6e, 0x61, 0x61, 0x2e,
	0x33, 0x32, 0x32, 0x32, 0x32, 0x32, 0x32, 0x30, 0x30, 0x30, 0x30, 0x30,
	0x30, 0x37, 0x43, 0x44, 0x00, 0x00, 0x00, 0x00
};

static void recorded_devices_have_the_names_that_the_programs_print(
	void **state)
{
	static const struct {
		unsigned minor;
		const char *uuid;
	} volumes[] = {
		{ 0, "Of8DFG-bOa6-2iQB-hr8X-dprv-TdcL-QRB6EQ" },
		{ 3, "2ql6ce-f05B-5Cb3-XRdf-8BXy-AZ1w-VnETKC" },
		{ 4, "a2hUFh-4FNO-0vPu-MiBq-gKzC-MWOA-MCGh0c" },
	};
	static const char scsi[] = "devices/pseudo_0/adapter0/host0/"
				   "target0:0:0/0:0:0:0";
	char uuid[LV_UUID_SIZE], wwid[WWID_SIZE];
	const char *tree = tree_make(SYSFS_TREES "/lvm.tree", "recorded");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(volumes); i++) {
		assert_int_equal(devname_lv(tree, 254, volumes[i].minor, uuid),
				 0);
		assert_string_equal(uuid, volumes[i].uuid);
	}
	for (unsigned minor = 1; minor < 6; minor++)
		if (minor != 3 && minor != 4)
			assert_int_equal(devname_lv(tree, 254, minor, uuid),
					 -ENODATA);
	snprintf(root, sizeof(root), "%s", tree);
	put(scsi, "vpd_pg0", debug_list, sizeof(debug_list));
	put(scsi, "vpd_pg83", debug_ids, sizeof(debug_ids));
	/* The disk, a partition, and what stands on that. */
	assert_int_equal(devname_wwid(tree, 8, 0, wwid), 0);
	assert_string_equal(wwid, "333333330000007d0");
	assert_int_equal(devname_wwid(tree, 8, 1, wwid), 0);
	assert_string_equal(wwid, "333333330000007d0");
	assert_int_equal(devname_wwid(tree, 254, 5, wwid), 0);
	assert_string_equal(wwid, "333333330000007d0");
	/* A snapshot's origin. */
	assert_int_equal(devname_wwid(tree, 254, 0, wwid), -ENODATA);
}

static const struct CMUnitTest tests[] = {
	TEST(a_volumes_uuid_is_in_groups_as_lvs_prints_it),
	TEST(other_devices_are_no_volumes),
	TEST(a_partition_has_its_disks_name),
	TEST(disks_that_are_no_scsi_disks_have_none),
	TEST(paths_lead_to_one_name),
	TEST(what_stands_on_one_device_has_its_name),
	TEST(what_passes_no_command_on_has_none),
	TEST(a_ring_of_devices_ends),
	TEST(recorded_devices_have_the_names_that_the_programs_print),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
