/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

static size_t detach(const char *path)
{
	size_t released = SIZE_MAX;

	assert_int_equal(glk_guest_detach(guest, &path, 1, &released), 0);
	return released;
}

static size_t count_leases(void)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	return info->n_leases;
}

static void attach_and_detach_can_be_repeated(void **state)
{
	const char *path = test_file("twice", 0);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(count_leases(), 1);
	assert_int_equal(detach(path), 1);
	assert_free(path);
	assert_int_equal(detach(path), 0);
	assert_int_equal(detach("/nowhere/at/all"), 0);
	assert_int_equal(count_leases(), 0);
}

static void nothing_to_attach_or_detach_is_fine(void **state)
{
	size_t released = 7;

	(void)state;
	assert_int_equal(glk_guest_attach(guest, NULL, 0), 0);
	assert_int_equal(glk_guest_detach(guest, NULL, 0, &released), 0);
	assert_int_equal(released, 0);
	assert_int_equal(glk_guest_detach(guest, NULL, 0, NULL), 0);
}

static void a_batch_with_nonsense_in_it_takes_nothing(void **state)
{
	const char *path = test_file("sense", 0);
	const struct glk_disk disks[] = { { path, 0 }, { NULL, 0 } };
	const struct glk_disk flags[] = { { path, 0 }, { path, 1 << 9 } };
	const char *paths[] = { path, "" };
	size_t released = 7;

	(void)state;
	assert_int_equal(glk_guest_attach(guest, disks, 2), -EINVAL);
	assert_says(context, "no path");
	assert_int_equal(glk_guest_attach(guest, flags, 2), -EINVAL);
	assert_says(context, "unknown flags 0x200");
	assert_free(path);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(glk_guest_detach(guest, paths, 2, &released), -EINVAL);
	assert_says(context, "no path");
	assert_int_equal(released, 7);
	assert_held(path);
}

static void hundreds_of_disks_go_in_one_call(void **state)
{
	struct disks disks = disks_new("many", 300);
	const char *paths[300];
	size_t released = 0;

	(void)state;
	for (size_t i = 0; i < disks.n; i++)
		paths[i] = disks.items[i].path;
	assert_int_equal(glk_guest_attach(guest, disks.items, disks.n), 0);
	assert_int_equal(disks_locked(&disks), disks.n);
	assert_int_equal(count_leases(), disks.n);
	assert_int_equal(glk_guest_detach(guest, paths, 299, &released), 0);
	assert_int_equal(released, 299);
	assert_int_equal(disks_locked(&disks), 1);
	assert_held(paths[299]);
	assert_int_equal(glk_guest_detach(guest, paths, 300, &released), 0);
	assert_int_equal(released, 1);
	disks_free(&disks);
}

static void a_disk_has_many_names(void **state)
{
	const char *path = test_file("names", 0), *hard = test_file("hard", -1);
	const char *soft = test_file("soft", -1);
	char idle[PATH_MAX];

	(void)state;
	assert_int_equal(link(path, hard), 0);
	assert_int_equal(symlink(path, soft), 0);
	snprintf(idle, sizeof(idle), "%s/./names", test_dir());
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(detach(hard), 1);
	assert_int_equal(guest_attach(guest, hard, 0), 0);
	assert_int_equal(detach(soft), 1);
	assert_int_equal(guest_attach(guest, soft, 0), 0);
	assert_int_equal(detach(idle), 1);
	assert_free(path);
}

static void one_disk_by_two_names_is_released_once(void **state)
{
	const char *paths[] = { test_file("dup", 0), test_file("dup", -1) };
	size_t released = 0;

	(void)state;
	assert_int_equal(guest_attach(guest, paths[0], 0), 0);
	assert_int_equal(glk_guest_detach(guest, paths, 2, &released), 0);
	assert_int_equal(released, 1);
}

static void a_deleted_disk_is_found_by_its_old_path(void **state)
{
	const char *path = test_file("deleted", 0);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(count_leases(), 1);
	assert_int_equal(detach(path), 1);
	assert_int_equal(count_leases(), 0);
}

static void detach_deleted_as(const char *attach_as, const char *detach_as)
{
	const char *path = test_file("old", 0);

	assert_int_equal(guest_attach(guest, attach_as, 0), 0);
	assert_held(path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(detach(detach_as), 1);
	assert_int_equal(count_leases(), 0);
}

static void a_deleted_disk_is_found_by_a_relative_path(void **state)
{
	char full[PATH_MAX], slashes[PATH_MAX], old[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(old, sizeof(old)));
	snprintf(full, sizeof(full), "%s/old", test_dir());
	snprintf(slashes, sizeof(slashes), "/%s//.//old", test_dir());
	assert_int_equal(chdir(test_dir()), 0);
	detach_deleted_as("old", "old");
	detach_deleted_as("./old", full);
	detach_deleted_as("old", "./old");
	detach_deleted_as(full, "./././old");
	detach_deleted_as("./old", slashes);
	assert_int_equal(chdir(old), 0);
}

static void a_path_means_what_it_names_now(void **state)
{
	const char *path = test_file("now", 0), *away = test_file("away", -1);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(rename(path, away), 0);
	test_file("now", 0);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(count_leases(), 2);
	assert_int_equal(detach(path), 1);
	assert_free(path);
	assert_held(away);
	/* Now it names nothing of the guest's, and once it did. */
	assert_int_equal(detach(path), 1);
	assert_free(away);
}

static void earlier_leases_are_not_touched_by_a_failure(void **state)
{
	const char *mine = test_file("mine", 0), *more = test_file("more", 0);
	const char *theirs = test_file("theirs", 0);
	int fd = kit_lock(theirs, 0, F_WRLCK);

	(void)state;
	assert_int_equal(guest_attach(guest, mine, 0), 0);
	assert_int_equal(kit_attach(guest,
				    (const char *[]){ mine, more, theirs }, 3),
			 -EBUSY);
	assert_held(mine);
	assert_free(more);
	assert_int_equal(kit_attach(guest,
				    (const char *[]){ more, "/nowhere/x" }, 2),
			 -ENOENT);
	assert_held(mine);
	assert_free(more);
	assert_int_equal(count_leases(), 1);
	close(fd);
}

/* The guest passes its capsule to a child and ends, as daemons do. */
static int move_on(void *arg)
{
	struct channel *go = arg;

	channel_reads(go);
	if (fork() == 0) {
		guest_live();
		_exit(0);
	}
	channel_hear(go);
	return 0;
}

static void a_guest_that_moves_after_it_was_adopted_is_found(void **state)
{
	const char *a = test_file("move-a", 0), *b = test_file("move-b", 0);
	const struct glk_guest_info *info = NULL;
	struct glk_guest *maker =
		guest_describe(context, GLK_HOLDER_GUEST, guest_uuid(50), NULL);
	struct channel go = channel_new();
	pid_t pid, heir;

	(void)state;
	assert_int_equal(guest_add(maker, a, 0), 0);
	assert_int_equal(glk_guest_acquire(maker), 0);
	pid = process_start(move_on, &go);
	assert_int_equal(glk_guest_handed_over(maker), 0);
	assert_int_equal(glk_guest_info(maker, &info), 0);
	assert_int_equal(info->n_leases, 1);
	channel_tell(&go, 0);
	assert_int_equal(process_wait(pid), 0);
	heir = process_orphan();

	assert_int_equal(guest_attach(maker, b, 0), 0);
	assert_int_equal(glk_guest_info(maker, &info), 0);
	assert_int_equal(info->pid, heir);
	assert_int_equal(info->n_leases, 2);
	assert_int_equal(guest_detach(maker, a), 0);
	assert_free(a);
	process_end(heir);
	assert_true(test_becomes_free(b, 5000));
	assert_int_equal(guest_detach(maker, b), -ESRCH);
	assert_int_equal(glk_guest_info(maker, &info), -ESRCH);
	glk_guest_free(maker);
	channel_free(&go);
}

static void a_guest_that_is_gone_takes_nothing(void **state)
{
	const char *a = test_file("gone-a", 0), *b = test_file("gone-b", 0);
	struct kit_guest g = kit_run(context, 51, a, 0);
	const struct glk_guest_info *info = NULL;
	size_t released = 7;

	(void)state;
	process_end(g.pid);
	assert_true(test_becomes_free(a, 5000));
	assert_int_equal(guest_attach(g.guest, b, 0), -ESRCH);
	assert_says(context, "the guest is gone");
	assert_free(b);
	assert_int_equal(glk_guest_detach(g.guest, &a, 1, &released), -ESRCH);
	assert_int_equal(released, 7);
	assert_int_equal(glk_guest_info(g.guest, &info), -ESRCH);
	assert_null(info);
	glk_guest_free(g.guest);
}

static void a_disk_that_is_gone_does_not_make_the_guest_gone(void **state)
{
	const char *path = test_file("not-gone", 0);

	(void)state;
	assert_int_equal(guest_attach(guest, "/proc/self/task/1/stat", 0),
			 -ENOENT);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_held(path);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(attach_and_detach_can_be_repeated),
	TEST(nothing_to_attach_or_detach_is_fine),
	TEST(a_batch_with_nonsense_in_it_takes_nothing),
	TEST(hundreds_of_disks_go_in_one_call),
	TEST(a_disk_has_many_names),
	TEST(one_disk_by_two_names_is_released_once),
	TEST(a_deleted_disk_is_found_by_its_old_path),
	TEST(a_deleted_disk_is_found_by_a_relative_path),
	TEST(a_path_means_what_it_names_now),
	TEST(earlier_leases_are_not_touched_by_a_failure),
	TEST(a_guest_that_moves_after_it_was_adopted_is_found),
	TEST(a_guest_that_is_gone_takes_nothing),
	TEST(a_disk_that_is_gone_does_not_make_the_guest_gone),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
