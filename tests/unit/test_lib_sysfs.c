/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/sysfs.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>

static const char *lvm;

static int start(void **state)
{
	(void)state;
	lvm = tree_make(SYSFS_TREES "/lvm.tree", "lvm");
	return 0;
}

/* "+sda1 ^dm-5": relatives in any order, each with the sign of its relation. */
static void check(const char *root, uint64_t rdev, const char *wanted)
{
	static const char signs[] = {
		[SYSFS_PARTITION] = '+',
		[SYSFS_WHOLE] = '-',
		[SYSFS_ABOVE] = '^',
		[SYSFS_BELOW] = '_',
	};
	struct sysfs_relatives list;
	char word[80];
	size_t n = 0;

	assert_int_equal(sysfs_relatives(root, rdev, &list), 0);
	for (const char *s = wanted; *s; s++)
		n += s == wanted || s[-1] == ' ';
	assert_int_equal(list.n, n);
	for (size_t i = 0; i < list.n; i++) {
		const char *at = wanted;
		size_t len;

		len = (size_t)snprintf(word, sizeof(word), "%c%s",
				       signs[list.v[i].relation],
				       list.v[i].name);
		while ((at = strstr(at, word)) && at[len] && at[len] != ' ')
			at++;
		if (!at)
			fail_msg("%s is not in \"%s\"", word, wanted);
	}
	sysfs_relatives_done(&list);
}

static void a_device_is_called_as_the_kernel_does(void **state)
{
	char name[SYSFS_NAME_MAX] = "untouched";

	(void)state;
	assert_true(sysfs_name(lvm, makedev(8, 1), name));
	assert_string_equal(name, "sda1");
	assert_true(sysfs_name(lvm, makedev(254, 3), name));
	assert_string_equal(name, "dm-3");
	assert_false(sysfs_name(lvm, makedev(8, 99), name));
	assert_string_equal(name, "dm-3");
}

static void a_partition_has_its_disks_sequence(void **state)
{
	(void)state;
	assert_int_equal(sysfs_diskseq(lvm, makedev(8, 0)), 9);
	assert_int_equal(sysfs_diskseq(lvm, makedev(8, 1)), 9);
	assert_int_equal(sysfs_diskseq(lvm, makedev(254, 4)), 16);
	assert_int_equal(sysfs_diskseq(lvm, makedev(8, 99)), 0);
	assert_int_equal(sysfs_diskseq("/nowhere", makedev(8, 0)), 0);
}

static void an_attribute_is_read_whole_or_not_at_all(void **state)
{
	char text[64] = "untouched";

	(void)state;
	assert_int_equal(sysfs_attr(lvm, makedev(254, 4), "dm/name", text,
				    sizeof(text)),
			 strlen("vg--one-lv.two"));
	assert_string_equal(text, "vg--one-lv.two");
	assert_int_equal(sysfs_attr(lvm, makedev(8, 16), "device/wwid", text,
				    sizeof(text)),
			 strlen("naa.3333333000000fa0"));
	assert_int_equal(sysfs_attr(lvm, makedev(254, 5), "dm/uuid", text,
				    sizeof(text)),
			 0);
	assert_string_equal(text, "");
	assert_int_equal(sysfs_attr(lvm, makedev(254, 4), "dm/uuid", text,
				    sizeof(text)),
			 -ENOBUFS);
	assert_int_equal(sysfs_attr(lvm, makedev(8, 0), "dm/uuid", text,
				    sizeof(text)),
			 -ENOENT);
	assert_int_equal(sysfs_attr(lvm, makedev(8, 99), "dev", text,
				    sizeof(text)),
			 -ENOENT);
}

static void relatives_are_found_through_all_layers(void **state)
{
	(void)state;
	check(lvm, makedev(8, 0), "+sda1 ^dm-5");
	check(lvm, makedev(8, 1), "^dm-5 -sda");
	check(lvm, makedev(254, 5), "_sda1 _sda");
	check(lvm, makedev(8, 16), "^dm-1 ^dm-2 ^dm-4 ^dm-0 ^dm-3");
	check(lvm, makedev(254, 3), "_dm-1 _dm-2 _sdb");
	check(lvm, makedev(254, 1), "^dm-0 ^dm-3 _sdb");
}

static void siblings_are_no_relatives(void **state)
{
	(void)state;
	/* Two volumes of one group, and an origin and its snapshot. */
	check(lvm, makedev(254, 4), "_sdb");
	check(lvm, makedev(254, 0), "_dm-1 _sdb");
}

static void a_relative_has_its_own_number_and_sequence(void **state)
{
	struct sysfs_relatives list;

	(void)state;
	assert_int_equal(sysfs_relatives(lvm, makedev(254, 4), &list), 0);
	assert_int_equal(list.n, 1);
	assert_true(list.v[0].rdev == makedev(8, 16));
	assert_int_equal(list.v[0].diskseq, 10);
	sysfs_relatives_done(&list);
	assert_int_equal(sysfs_relatives(lvm, makedev(254, 5), &list), 0);
	for (size_t i = 0; i < list.n; i++)
		assert_int_equal(list.v[i].diskseq, 9);
	sysfs_relatives_done(&list);
}

static void of_who_is_not_in_sysfs_no_relatives_are_known(void **state)
{
	struct sysfs_relatives list;

	(void)state;
	assert_int_equal(sysfs_relatives(lvm, makedev(8, 99), &list), -ENOENT);
	check("/nowhere", makedev(8, 0), "");
}

/* All of them, or an error. */
static void without_descriptors_no_relative_is_left_out(void **state)
{
	struct rlimit old, now;
	unsigned refused = 0;
	int r = -EMFILE;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	now = old;
	for (now.rlim_cur = 3; r && now.rlim_cur < 64; now.rlim_cur++) {
		struct sysfs_relatives list = {};

		assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
		r = sysfs_relatives(lvm, makedev(8, 16), &list);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		refused += r != 0;
		assert_true(r ? r == -EMFILE : list.n == 5);
		sysfs_relatives_done(&list);
	}
	assert_int_equal(r, 0);
	assert_true(refused >= 3);
}

/* A directory that is called like a partition and is none; a holder that has
   gone meanwhile; links that lead round in a circle. */
static void what_makes_no_sense_is_left_out(void **state)
{
	const char *odd = tree_make(SYSFS_TREES "/lvm.tree", "odd");
	static const char sdb[] =
		"devices/pseudo_0/adapter1/host1/target1:0:0/1:0:0:0/block/sdb";
	char line[512];

	(void)state;
	snprintf(line, sizeof(line), "f %s/sdb_stats/dev 8:17", sdb);
	tree_add(odd, line);
	snprintf(line, sizeof(line), "l %s/holders/dm-9 ../gone", sdb);
	tree_add(odd, line);
	check(odd, makedev(8, 16), "^dm-1 ^dm-2 ^dm-4 ^dm-0 ^dm-3");
	tree_add(odd, "l devices/virtual/block/dm-4/holders/dm-0 ../../dm-0");
	tree_add(odd, "l devices/virtual/block/dm-0/holders/dm-4 ../../dm-4");
	check(odd, makedev(8, 16), "^dm-1 ^dm-2 ^dm-4 ^dm-0 ^dm-3");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_device_is_called_as_the_kernel_does),
	cmocka_unit_test(a_partition_has_its_disks_sequence),
	cmocka_unit_test(an_attribute_is_read_whole_or_not_at_all),
	cmocka_unit_test(relatives_are_found_through_all_layers),
	cmocka_unit_test(siblings_are_no_relatives),
	cmocka_unit_test(a_relative_has_its_own_number_and_sequence),
	cmocka_unit_test(of_who_is_not_in_sysfs_no_relatives_are_known),
	cmocka_unit_test(without_descriptors_no_relative_is_left_out),
	cmocka_unit_test(what_makes_no_sense_is_left_out),
};

int main(void)
{
	start(NULL);
	return test_run(__FILE__, tests, sizeof(tests) / sizeof(tests[0]),
			TEST_NEEDS_NOTHING);
}
