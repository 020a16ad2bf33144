/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/managed.h"
#include "tests/lib/slowfs.h"
#include "tests/unit/lib_kit.h"

#include <stdio.h>

/* How the driver "ofd" knows a lease of a guest that runs by another name. */

static struct slowfs *fs;

/* A guest that runs, and whose manager is gone. */
static pid_t run_on(const char *path, unsigned uuid)
{
	struct glk_manager *m =
		managed_new("ofd", GLK_MANAGER_START, guest_uuid(uuid));
	pid_t pid;

	assert_int_equal(managed_register(m, path, 0), 0);
	assert_int_equal(glk_manager_acquire(m), 0);
	pid = managed_start(m);
	assert_int_equal(glk_manager_started(m, pid), 0);
	glk_manager_free(m);
	return pid;
}

static const char *link_to(const char *path)
{
	const char *link = kit_file("link", -1);

	unlink(link);
	assert_int_equal(symlink(path, link), 0);
	return link;
}

static void a_lease_is_known_by_any_name_of_its_file(void **state)
{
	const char *path = kit_file("disk", 0), *other = kit_file("other", 0);
	pid_t pid = run_on(path, 1), child = 0;
	struct glk_manager *m =
		managed_new("ofd", GLK_MANAGER_ATTACH, guest_uuid(1));

	(void)state;
	assert_int_equal(managed_register(m, link_to(path), 0), 0);
	assert_int_equal(managed_register(m, other, 0), 0);
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(child, pid);
	assert_int_equal(managed_drift(m, GLK_DRIFT_MISSING, NULL), 1);
	assert_int_equal(managed_drift(m, GLK_DRIFT_MISSING, other), 1);
	glk_manager_free(m);
	process_end(pid);
}

/* A mere stat(2) of another name waits for the server. */
static void a_dead_server_is_not_waited_for(void **state)
{
	const char *path = slowfs_path(fs, 3), *link = link_to(path);
	const char *other = slowfs_path(fs, 4);
	pid_t pid = run_on(path, 2), child = 0;
	struct glk_manager *m =
		managed_new("ofd", GLK_MANAGER_ATTACH, guest_uuid(2));

	(void)state;
	assert_int_equal(managed_register(m, link, 0), 0);
	assert_int_equal(managed_register(m, other, 0), 0);
	slowfs_knobs(fs)->hang_stat = slowfs_knobs(fs)->hang_open = true;
	assert_int_equal(glk_manager_child(m, &child), 0);
	assert_int_equal(child, pid);
	assert_int_equal(managed_drift(m, GLK_DRIFT_LOST, NULL), 0);
	assert_int_equal(managed_drift(m, GLK_DRIFT_MISSING, link), 0);
	assert_int_equal(managed_drift(m, GLK_DRIFT_MISSING, other), 1);
	assert_int_equal(slowfs_knobs(fs)->waiting, 0);
	slowfs_calm(fs);
	glk_manager_free(m);
	process_end(pid);
}

static int start(void **state)
{
	(void)state;
	fs = slowfs_start(kit_file("slow", -1));
	return 0;
}

static int stop(void **state)
{
	(void)state;
	fs = slowfs_stop(fs);
	return 0;
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_lease_is_known_by_any_name_of_its_file),
	cmocka_unit_test_setup_teardown(a_dead_server_is_not_waited_for, start,
					stop),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT | TEST_NEEDS_FUSE)
