/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/util.h"
#include "tests/lib/slowfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* How far a lease reaches, and the policy that asks for more. */

static struct slowfs *fs;
static struct glk_context *context;
static struct glk_guest *guest;

static int start(void **state)
{
	(void)state;
	context = guest_context();
	guest = kit_self(context);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

static void require(int scope)
{
	struct glk_policy policy = { .require_scope = scope };

	assert_int_equal(glk_context_set_policy(context, &policy), 0);
}

/* As if the images' own file system were another one, beside the slow one. */
static void pretend_both(const char *type_and_options, const char *slow)
{
	struct stat st;
	FILE *f = fopen(kit_file("table", 0), "we");

	assert_non_null(f);
	assert_int_equal(stat(test_dir(), &st), 0);
	fprintf(f, "21 1 %u:%u / / rw - %s\n", major(st.st_dev),
		minor(st.st_dev), type_and_options);
	assert_int_equal(stat(slowfs_dir(fs), &st), 0);
	fprintf(f, "22 21 %u:%u / %s rw - %s\n", major(st.st_dev),
		minor(st.st_dev), slowfs_dir(fs), slow);
	fclose(f);
	mounts_free(context->mounts);
	assert_int_equal(mounts_new(kit_file("table", -1), &context->mounts),
			 0);
}

static void pretend(const char *type_and_options)
{
	pretend_both(type_and_options, "fuse.slowfs x rw");
}

static int scope_in(const struct glk_guest_info *info, const char *path)
{
	for (size_t i = 0; i < info->n_leases; i++)
		if (!strcmp(info->leases[i].path, path))
			return info->leases[i].scope;
	return 0;
}

static void a_scope_that_is_too_weak_refuses_all_disks(void **state)
{
	const char *paths[] = { kit_file("a", 0), slowfs_path(fs, 1),
				kit_file("b", 0) };
	const struct glk_guest_info *info;

	(void)state;
	require(GLK_SCOPE_SERVER);
	assert_int_equal(kit_attach(guest, paths, 3), -EXDEV);
	assert_says(context, "the scope 'host' (ext");
	assert_says(context, "and 'server' is required (and 2 more)");
	for (size_t i = 0; i < 3; i++)
		assert_free(paths[i]);
	assert_int_equal(kit_attach(guest, paths + 1, 1), -EXDEV);
	assert_says(context, "disk1: a lease on it has the scope 'host' "
			     "(fuse.slowfs), and 'server' is required");
	require(GLK_SCOPE_HOST);
	assert_int_equal(kit_attach(guest, paths, 3), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 3);
	assert_int_equal(scope_in(info, paths[0]), GLK_SCOPE_HOST);
}

static void each_scope_is_enough_for_itself_and_less(void **state)
{
	static const struct {
		const char *fs, *option;
		int scope;
	} cases[] = {
		{ "ext4 x rw", NULL, GLK_SCOPE_HOST },
		{ "overlay x rw,lowerdir=/a", NULL, GLK_SCOPE_NODE },
		{ "nfs4 x rw,vers=4.2", NULL, GLK_SCOPE_SERVER },
		{ "nfs x rw,nolock", "nolock", GLK_SCOPE_HOST },
		{ "nfs x rw,local_lock=all", "local_lock=all", GLK_SCOPE_HOST },
		{ "ceph x rw", NULL, GLK_SCOPE_CLUSTER },
	};
	const struct glk_disk_reach *reach;
	const char *path = kit_file("cases", 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		pretend(cases[i].fs);
		for (int s = GLK_SCOPE_NODE; s <= GLK_SCOPE_CLUSTER; s++) {
			require(s);
			assert_int_equal(kit_try(context, path, 0),
					 s <= cases[i].scope ? 0 : -EXDEV);
			assert_free(path);
		}
		assert_int_equal(glk_disk_reach(context, path, &reach), 0);
		assert_int_equal(reach->scope, cases[i].scope);
		assert_string_equal(reach->mount, "/");
		assert_memory_equal(reach->fs, cases[i].fs, strlen(reach->fs));
		if (cases[i].option)
			assert_string_equal(reach->option, cases[i].option);
		else
			assert_null(reach->option);
	}
	pretend("nfs x rw,nolock");
	require(GLK_SCOPE_SERVER);
	assert_int_equal(kit_try(context, path, 0), -EXDEV);
	assert_says(context, "(nfs, mounted with nolock)");
}

static void a_lease_is_as_strong_as_its_strongest_lock_point(void **state)
{
	const char *path = slowfs_path(fs, 3), *dir = kit_file("locks", -1);
	struct glk_policy policy = { .require_scope = GLK_SCOPE_SERVER,
				     .lock_dir = dir };
	const struct glk_guest_info *info;

	(void)state;
	assert_int_equal(mkdir(dir, 0700), 0);
	pretend("nfs4 x rw");
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(scope_in(info, path), GLK_SCOPE_SERVER);
	policy.lock_dir = NULL;
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	assert_int_equal(kit_try(context, slowfs_path(fs, 4), 0), -EXDEV);
}

/* The lock file's name is made of a path that others need not see. */
static void a_lock_directory_does_not_raise_an_overlay(void **state)
{
	const char *path = slowfs_path(fs, 6), *dir = kit_file("raised", -1);
	struct glk_policy policy = { .lock_dir = dir };
	const struct glk_guest_info *info;

	(void)state;
	assert_int_equal(mkdir(dir, 0700), 0);
	pretend_both("ext4 x rw", "overlay x rw");
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(scope_in(info, path), GLK_SCOPE_NODE);
	policy.require_scope = GLK_SCOPE_HOST;
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	assert_int_equal(kit_try(context, slowfs_path(fs, 7), 0), -EXDEV);
	assert_says(context, "scope 'node' (overlay), and 'host' is required");
}

/* Then its files have an st_dev that no mount has. */
static void an_overlay_of_two_file_systems_is_known_by_any_path(void **state)
{
	const char *link = kit_file("link", -1);
	const struct glk_guest_info *info;
	const struct glk_disk_reach *reach;
	char paths[4][2000];

	(void)state;
	assert_int_equal(symlink(test_file("o/m2", -1), link), 0);
	snprintf(paths[0], sizeof(paths[0]), "%s/o/m2/image", test_dir());
	snprintf(paths[1], sizeof(paths[1]), "%s/image", link);
	snprintf(paths[2], sizeof(paths[2]), "%s/o/../o/m2/image", test_dir());
	snprintf(paths[3], sizeof(paths[3]), "/proc/self/root%s/o/m2/image",
		 test_dir());
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		require(GLK_SCOPE_HOST);
		assert_int_equal(kit_try(context, paths[i], 0), -EXDEV);
		assert_says(context, "scope 'node' (overlay)");
		require(0);
		assert_int_equal(glk_disk_reach(context, paths[i], &reach), 0);
		assert_int_equal(reach->scope, GLK_SCOPE_NODE);
		assert_string_equal(reach->fs, "overlay");
		assert_string_equal(reach->mount, test_file("o/m2", -1));
		assert_int_equal(guest_attach(guest, paths[i], 0), 0);
		assert_int_equal(glk_guest_info(guest, &info), 0);
		assert_int_equal(info->n_leases, 1);
		assert_int_equal(info->leases[0].scope, GLK_SCOPE_NODE);
		assert_int_equal(guest_detach(guest, paths[i]), 0);
	}
}

static void what_cannot_be_locked_reaches_nowhere(void **state)
{
	const struct glk_disk_reach *reach = NULL;
	const char *fifo = kit_file("fifo", -1);

	(void)state;
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(glk_disk_reach(context, fifo, &reach), -EOPNOTSUPP);
	assert_int_equal(glk_disk_reach(context, "/dev/null", &reach),
			 -EOPNOTSUPP);
	assert_int_equal(glk_disk_reach(context, test_dir(), &reach), -EISDIR);
	assert_null(reach);
}

static void an_overlay_tells_of_its_layers(void **state)
{
	const char *merged = kit_file("o/merged/image", -1);
	const struct glk_guest_info *info;
	const struct glk_disk_reach *reach;

	(void)state;
	assert_int_equal(glk_disk_reach(context, merged, &reach), 0);
	assert_int_equal(reach->scope, GLK_SCOPE_NODE);
	assert_string_equal(reach->fs, "overlay");
	assert_string_equal(reach->mount, test_file("o/merged", -1));
	assert_null(reach->upper);
	assert_string_equal(reach->lower, test_file("o/lower/image", -1));
	assert_int_equal(guest_attach(guest, merged, GLK_DISK_SHARED), 0);
	assert_int_equal(guest_detach(guest, merged), 0);
	require(GLK_SCOPE_HOST);
	assert_int_equal(guest_attach(guest, merged, 0), -EXDEV);
	assert_says(context, "scope 'node' (overlay), and 'host' is required");
	require(0);
	assert_int_equal(guest_attach(guest, merged, 0), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->leases[0].scope, GLK_SCOPE_NODE);
	assert_int_equal(info->leases[0].held, 1);
	assert_int_equal(glk_disk_reach(context, merged, &reach), 0);
	assert_string_equal(reach->upper, test_file("o/upper/image", -1));
	/* This is what the scope says. */
	assert_free(reach->upper);
	assert_free(reach->lower);
}

static void a_server_is_not_asked(void **state)
{
	const struct glk_disk_reach *reach;

	(void)state;
	slowfs_knobs(fs)->hang_open = slowfs_knobs(fs)->hang_stat = true;
	assert_int_equal(glk_disk_reach(context, slowfs_path(fs, 5), &reach),
			 0);
	slowfs_calm(fs);
	assert_string_equal(reach->fs, "fuse.slowfs");
	assert_string_equal(reach->mount, slowfs_dir(fs));
	assert_int_equal(glk_disk_reach(context, "/nowhere/x", &reach),
			 -ENOENT);
	assert_says(context, "/nowhere/x: No such file");
}

static void mount_overlay(void)
{
	static const char *const dirs[] = { "o", "o/lower", "o/upper", "o/work",
					    "o/merged" };
	char options[8000];

	mkdir(kit_file("o", -1), 0700);
	assert_int_equal(mount("tmpfs", kit_file("o", -1), "tmpfs", 0, NULL),
			 0);
	for (size_t i = 1; i < ARRAY_SIZE(dirs); i++)
		assert_int_equal(mkdir(test_file(dirs[i], -1), 0700), 0);
	test_file("o/lower/image", 4096);
	snprintf(options, sizeof(options),
		 "lowerdir=%s/o/lower,upperdir=%s/o/upper,workdir=%s/o/work",
		 test_dir(), test_dir(), test_dir());
	if (mount("overlay", kit_file("o/merged", -1), "overlay", 0, options))
		test_skip("no overlay file system");
	assert_int_equal(mkdir(test_file("o/other", -1), 0700), 0);
	assert_int_equal(mkdir(test_file("o/m2", -1), 0700), 0);
	assert_int_equal(mkdir(test_file("o/upper2", -1), 0700), 0);
	assert_int_equal(mkdir(test_file("o/work2", -1), 0700), 0);
	assert_int_equal(mount("tmpfs", test_file("o/other", -1), "tmpfs", 0,
			       NULL),
			 0);
	test_file("o/other/image", 4096);
	snprintf(options, sizeof(options),
		 "lowerdir=%s/o/other,upperdir=%s/o/upper2,workdir=%s/o/work2,"
		 "xino=off",
		 test_dir(), test_dir(), test_dir());
	assert_int_equal(mount("overlay", test_file("o/m2", -1), "overlay", 0,
			       options),
			 0);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_scope_that_is_too_weak_refuses_all_disks),
	TEST(each_scope_is_enough_for_itself_and_less),
	TEST(a_lease_is_as_strong_as_its_strongest_lock_point),
	TEST(a_lock_directory_does_not_raise_an_overlay),
	TEST(an_overlay_of_two_file_systems_is_known_by_any_path),
	TEST(what_cannot_be_locked_reaches_nowhere),
	TEST(an_overlay_tells_of_its_layers),
	TEST(a_server_is_not_asked),
};

int main(void)
{
	int r;

	test_require(TEST_NEEDS_FUSE);
	fs = slowfs_start(test_file("slow", -1));
	mount_overlay();
	r = test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_FUSE);
	umount2(kit_file("o/m2", -1), MNT_DETACH);
	umount2(kit_file("o/other", -1), MNT_DETACH);
	umount2(kit_file("o/merged", -1), MNT_DETACH);
	umount2(kit_file("o", -1), MNT_DETACH);
	slowfs_stop(fs);
	return r;
}
