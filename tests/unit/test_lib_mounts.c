/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/mounts.h"
#include "tests/lib/test.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const char table[] =
	"21 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
	"22 21 0:30 / /srv/nfs rw,relatime shared:1 - nfs4 h:/x rw,vers=4.2\n"
	"23 21 0:31 / /srv/local rw - nfs h:/y rw,local_lock=posix,vers=3\n"
	"24 21 0:32 / /srv/with\\040space rw - nfs h:/z rw,nolock\n"
	"25 21 0:33 / /srv/ceph rw - ceph mon:/ rw\n"
	"26 21 0:34 / /srv/ssh rw - fuse.sshfs a:/ rw,user_id=0\n"
	"27 21 0:35 / /srv/nfs/over rw - tmpfs tmpfs rw\n"
	"broken line\n"
	"29 21 0:37 /in /srv/over rw - overlay o "
	"rw,lowerdir=/a:/b\\0401,upperdir=/c,workdir=/d\n"
	"28 21 0:36 / /srv/lustre rw,flock - lustre l:/ rw,localflock\n";

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static struct mounts *read_table(const char *text)
{
	const char *path = test_file("mountinfo", 0);
	struct mounts *mounts;

	write_file(path, text);
	assert_int_equal(mounts_new(path, &mounts), 0);
	return mounts;
}

static void a_path_gets_the_scope_of_the_longest_mount_point(void **state)
{
	static const struct {
		const char *path, *fs;
		enum res_scope scope;
		bool remote;
	} cases[] = {
		{ "/images/a", "ext4", RES_SCOPE_HOST, false },
		{ "/srv/nfs/a", "nfs4", RES_SCOPE_SERVER, true },
		{ "/srv/nfs", "nfs4", RES_SCOPE_SERVER, true },
		{ "/srv/nfsx/a", "ext4", RES_SCOPE_HOST, false },
		{ "/srv/nfs/over/a", "tmpfs", RES_SCOPE_HOST, false },
		{ "/srv/local/a", "nfs", RES_SCOPE_HOST, true },
		{ "/srv/with space/a", "nfs", RES_SCOPE_HOST, true },
		{ "/srv/ceph/a", "ceph", RES_SCOPE_CLUSTER, true },
		{ "/srv/ssh/a", "fuse.sshfs", RES_SCOPE_HOST, true },
		{ "/srv/lustre/a", "lustre", RES_SCOPE_HOST, true },
		{ "/srv/over/a", "overlay", RES_SCOPE_NODE, false },
	};
	struct mounts *mounts = read_table(table);

	(void)state;
	assert_true(mounts_any_remote(mounts));
	assert_true(mounts_any_scope(mounts));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mount_kind kind;

		mounts_by_path(mounts, cases[i].path, &kind);
		assert_string_equal(kind.fs, cases[i].fs);
		assert_int_equal(kind.scope, cases[i].scope);
		assert_int_equal(kind.remote, cases[i].remote);
	}
	mounts_free(mounts);
}

static void an_option_that_keeps_locks_here_is_named(void **state)
{
	static const char *const cases[][2] = {
		{ "/srv/nfs/a", NULL },
		{ "/srv/local/a", "local_lock=posix" },
		{ "/srv/with space/a", "nolock" },
		{ "/srv/lustre/a", "localflock" },
		{ "/srv/ceph/a", NULL },
	};
	struct mounts *mounts = read_table(table);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mount_kind kind;

		mounts_by_path(mounts, cases[i][0], &kind);
		if (cases[i][1])
			assert_string_equal(kind.option, cases[i][1]);
		else
			assert_null(kind.option);
	}
	mounts_free(mounts);
}

struct twin_case {
	const char *path, *twin;
	enum res_scope scope;
};

static void expect_twins(struct mounts *mounts, const struct twin_case *cases,
			 size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct mount_place place;

		assert_true(mounts_find(mounts, cases[i].path, &place));
		assert_int_equal(place.kind.scope, cases[i].scope);
		assert_int_equal(place.kind.twofold, cases[i].twin != NULL);
		if (cases[i].twin)
			assert_string_equal(place.twin, cases[i].twin);
		else
			assert_null(place.twin);
	}
	mounts_free(mounts);
}

static void an_export_that_is_mounted_twice_is_told(void **state)
{
	static const char text[] =
		"21 1 254:0 / / rw - ext4 /dev/vda rw\n"
		"30 21 0:40 / /a rw - nfs4 h:/x rw,vers=4.2,nosharecache\n"
		"31 21 0:41 / /b rw - nfs4 h:/x rw,vers=4.2\n"
		"32 21 0:42 / /other rw - nfs4 h:/y rw,vers=4.2\n"
		"33 21 0:42 /in /bound rw - nfs4 h:/y rw,vers=4.2\n"
		"34 21 0:43 / /client rw - nfs4 h:/y rw,vers=4.0\n"
		"35 21 0:44 / /local rw - nfs h:/z rw,vers=3,nolock\n"
		"36 21 0:45 / /again rw - nfs h:/z rw,vers=3,nolock\n"
		"37 21 0:46 / /ceph rw - ceph mon:/ rw\n"
		"38 21 0:47 / /ceph2 rw - ceph mon:/ rw\n";
	static const struct twin_case cases[] = {
		{ "/a/disk", "/b", RES_SCOPE_NODE },
		{ "/b/disk", "/a", RES_SCOPE_NODE },
		{ "/other/disk", NULL, RES_SCOPE_SERVER },
		{ "/bound/disk", NULL, RES_SCOPE_SERVER },
		{ "/client/disk", NULL, RES_SCOPE_SERVER },
		{ "/local/disk", "/again", RES_SCOPE_NODE },
		{ "/ceph/disk", NULL, RES_SCOPE_CLUSTER },
	};

	(void)state;
	expect_twins(read_table(text), cases, ARRAY_SIZE(cases));
}

/* Its text tells less than the kernel does. */
static void two_parts_of_one_export_are_one(void **state)
{
	static const char text[] =
		"21 1 254:0 / / rw - ext4 /dev/vda rw\n"
		"30 21 0:40 / /all rw - nfs4 h:/ rw,vers=4.2\n"
		"31 21 0:41 / /part ro - nfs4 10.0.0.1:/in ro,vers=4.2\n"
		"32 21 0:42 / /beside rw - nfs4 h:/in rw,vers=4.1\n"
		"33 21 0:43 / /disk2 rw - nfs4 h:/disk2 rw,vers=4.2\n"
		"34 21 0:44 / /port rw - nfs4 h:/ rw,vers=4.2\n"
		"35 21 0:45 / /hidden rw - nfs4 i:/ rw,vers=4.2\n"
		"36 21 0:46 / /hidden2 rw - nfs4 i:/ rw,vers=4.2\n";
	static const char volumes[] =
		"NV SERVER   PORT DEV          FSID              FSC\n"
		"v4 0a000001  801 0:40         0:0               no \n"
		"v4 0a000001  801 0:41         0:0               no \n"
		"v4 0a000001  801 0:42         0:0               no \n"
		"v4 0a000001  801 0:43         7:1               no \n"
		"v4 0a000001  802 0:44         0:0               no \n";
	static const struct twin_case cases[] = {
		{ "/all/disk", "/part", RES_SCOPE_NODE },
		{ "/part/disk", "/all", RES_SCOPE_NODE },
		{ "/beside/disk", NULL, RES_SCOPE_SERVER },
		{ "/disk2/disk", NULL, RES_SCOPE_SERVER },
		{ "/port/disk", NULL, RES_SCOPE_SERVER },
		{ "/hidden/disk", "/hidden2", RES_SCOPE_NODE },
	};
	const char *path = test_file("mountinfo-volumes", 0);

	(void)state;
	write_file(path, volumes);
	expect_twins(read_table(text), cases, ARRAY_SIZE(cases));
	assert_int_equal(unlink(path), 0);
}

static void a_mount_is_told_with_an_overlays_layers(void **state)
{
	struct mounts *mounts = read_table(table);
	struct mount_place place;

	(void)state;
	assert_true(mounts_find(mounts, "/srv/over/x", &place));
	assert_string_equal(place.point, "/srv/over");
	assert_string_equal(place.root, "/in");
	assert_string_equal(place.options, "rw,lowerdir=/a:/b\\0401,"
					   "upperdir=/c,workdir=/d");
	assert_true(mounts_find(mounts, "/srv/with space/x", &place));
	assert_string_equal(place.point, "/srv/with space");
	assert_string_equal(place.options, "");
	mounts_free(mounts);
}

static void a_device_is_asked_before_the_path(void **state)
{
	struct mounts *mounts = read_table(table);
	struct mount_kind kind;

	(void)state;
	mounts_by_dev(mounts, makedev(0, 30), "/images/link", &kind);
	assert_string_equal(kind.fs, "nfs4");
	mounts_by_dev(mounts, makedev(0, 99), "/srv/ceph/a", &kind);
	assert_string_equal(kind.fs, "ceph");
	mounts_by_dev(mounts, makedev(0, 99), NULL, &kind);
	assert_string_equal(kind.fs, "?");
	assert_int_equal(kind.scope, RES_SCOPE_NODE);
	mounts_free(mounts);
}

static unsigned mount_id(int fd)
{
	struct statx st;

	assert_int_equal(statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st), 0);
	assert_true(st.stx_mask & STATX_MNT_ID);
	return (unsigned)st.stx_mnt_id;
}

static void a_mount_is_asked_where_the_device_is_unknown(void **state)
{
	int fd = open(test_dir(), O_PATH | O_CLOEXEC);
	unsigned id = mount_id(fd);
	struct mounts *mounts;
	struct mount_kind kind;
	char text[300];

	(void)state;
	snprintf(text, sizeof(text),
		 "%u 1 254:0 / / rw - ext4 /dev/vda rw\n"
		 "%u 21 0:40 / /srv/over rw - overlay o rw\n"
		 "%u 21 0:41 / /srv/nfs rw - nfs4 h:/x rw\n",
		 id + 1, id, id + 2);
	mounts = read_table(text);
	mounts_by_fd(mounts, fd, makedev(0, 99), &kind);
	assert_string_equal(kind.fs, "overlay");
	assert_int_equal(kind.scope, RES_SCOPE_NODE);
	mounts_by_fd(mounts, fd, makedev(0, 41), &kind);
	assert_string_equal(kind.fs, "nfs4");
	mounts_free(mounts);
	close(fd);
}

static void of_an_unknown_mount_the_least_is_claimed(void **state)
{
	int fd = open(test_dir(), O_PATH | O_CLOEXEC);
	struct mounts *mounts;
	struct mount_kind kind;
	char text[100];

	(void)state;
	snprintf(text, sizeof(text), "%u 1 254:0 / / rw - nfs4 h:/ rw\n",
		 mount_id(fd) + 1);
	mounts = read_table(text);
	mounts_by_fd(mounts, fd, makedev(0, 99), &kind);
	assert_string_equal(kind.fs, "?");
	assert_int_equal(kind.scope, RES_SCOPE_NODE);
	mounts_by_fd(mounts, -1, makedev(0, 99), &kind);
	assert_int_equal(kind.scope, RES_SCOPE_NODE);
	mounts_free(mounts);
	/* Without /proc, nothing would work. */
	mounts = read_table("");
	mounts_by_fd(mounts, fd, makedev(0, 99), &kind);
	assert_string_equal(kind.fs, "?");
	assert_int_equal(kind.scope, RES_SCOPE_HOST);
	mounts_free(mounts);
	close(fd);
}

static void a_host_without_remote_mounts_says_so(void **state)
{
	struct mounts *mounts = read_table(
		"21 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n");

	(void)state;
	assert_false(mounts_any_remote(mounts));
	assert_false(mounts_any_scope(mounts));
	mounts_free(mounts);
}

static void the_table_of_this_host_can_be_read(void **state)
{
	struct mounts *mounts;
	struct mount_kind kind;

	(void)state;
	assert_int_equal(mounts_new(NULL, &mounts), 0);
	mounts_by_path(mounts, "/proc/self", &kind);
	assert_string_equal(kind.fs, "proc");
	mounts_by_path(mounts, "relative", &kind);
	assert_string_not_equal(kind.fs, "?");
	mounts_free(mounts);
}

static void a_mounted_device_is_found_by_number_or_by_name(void **state)
{
	static const char devices[] =
		"21 1 254:1 / / rw - ext4 /dev/root rw\n"
		"22 21 7:3 / /mnt/a\\040b rw - ext4 /dev/loop3 rw\n"
		"23 21 0:44 / /mnt/btrfs rw - btrfs /dev/sdb1 rw\n"
		"24 21 0:45 / /dev rw - devtmpfs sdc rw\n";
	struct mounts *mounts = read_table(devices);
	char point[64] = "untouched";

	(void)state;
	assert_false(mounts_of_device(mounts, makedev(7, 4), "loop4", point,
				      sizeof(point)));
	assert_false(mounts_of_device(mounts, makedev(8, 32), "sdc", point,
				      sizeof(point)));
	assert_false(mounts_of_device(mounts, makedev(8, 17), "", point,
				      sizeof(point)));
	assert_string_equal(point, "untouched");
	assert_true(mounts_of_device(mounts, makedev(7, 3), "", point,
				     sizeof(point)));
	assert_string_equal(point, "/mnt/a b");
	assert_true(mounts_of_device(mounts, makedev(8, 17), "sdb1", point,
				     sizeof(point)));
	assert_string_equal(point, "/mnt/btrfs");
	mounts_free(mounts);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_mounted_device_is_found_by_number_or_by_name),
	cmocka_unit_test(a_path_gets_the_scope_of_the_longest_mount_point),
	cmocka_unit_test(an_option_that_keeps_locks_here_is_named),
	cmocka_unit_test(an_export_that_is_mounted_twice_is_told),
	cmocka_unit_test(two_parts_of_one_export_are_one),
	cmocka_unit_test(a_mount_is_told_with_an_overlays_layers),
	cmocka_unit_test(a_device_is_asked_before_the_path),
	cmocka_unit_test(a_mount_is_asked_where_the_device_is_unknown),
	cmocka_unit_test(of_an_unknown_mount_the_least_is_claimed),
	cmocka_unit_test(a_host_without_remote_mounts_says_so),
	cmocka_unit_test(the_table_of_this_host_can_be_read),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
