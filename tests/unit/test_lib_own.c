/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/*
 * The linker sends the library's capsule_list() here (--wrap), so that a
 * guest's own leases cannot be read.
 */
int __real_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents);
int __wrap_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents);

static struct {
	const struct glk_guest *guest; /* whose capsule */
	int result;
	unsigned calls;
} list;

int __wrap_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents)
{
	if (list.guest && capsule == list.guest->capsule) {
		list.calls++;
		if (list.result)
			return list.result;
	}
	return __real_capsule_list(capsule, deadline, ret_contents);
}

static struct glk_context *context;
static struct glk_guest *guest;

static int start(void **state)
{
	(void)state;
	memset(&list, 0, sizeof(list));
	context = guest_context();
	guest = kit_self(context);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	memset(&list, 0, sizeof(list));
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

static void blocked(int result)
{
	list.guest = guest;
	list.result = result;
	list.calls = 0;
}

static const struct glk_guest_info *look(void)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	return info;
}

static void a_shared_disk_is_attached_once(void **state)
{
	const char *path = kit_file("shared", 0);

	(void)state;
	assert_int_equal(guest_attach(guest, path, GLK_DISK_SHARED), 0);
	assert_int_equal(guest_attach(guest, path, GLK_DISK_SHARED), 0);
	assert_int_equal(look()->n_leases, 1);
	assert_int_equal(guest_detach(guest, path), 0);
	assert_free(path);
}

static void a_disk_is_attached_in_one_mode(void **state)
{
	const char *path = kit_file("mode", 0);

	(void)state;
	assert_int_equal(guest_attach(guest, path, GLK_DISK_SHARED), 0);
	assert_int_equal(guest_attach(guest, path, 0), -EEXIST);
	assert_says(context, path);
	assert_says(context, "holds it already, in another mode");
	assert_true(test_lockable(path, F_RDLCK));
	assert_int_equal(guest_detach(guest, path), 0);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(guest_attach(guest, path, GLK_DISK_SHARED), -EEXIST);
	assert_held(path);
	assert_int_equal(look()->n_leases, 1);
}

/* By another program, which adopted the guest too. */
static void a_disk_that_another_manager_attached_is_the_guests(void **state)
{
	const char *path = kit_file("managers", 0);
	struct kit_guest g = kit_run(context, 70, NULL, 0);
	struct glk_context *theirs = guest_context();
	struct glk_guest *same = NULL;

	(void)state;
	assert_int_equal(glk_guest_adopt(theirs, guest_uuid(70), &same), 0);
	assert_int_equal(guest_attach(same, path, 0), 0);
	assert_int_equal(guest_attach(g.guest, path, 0), 0);
	assert_int_equal(guest_attach(g.guest, path, GLK_DISK_SHARED), -EEXIST);
	assert_int_equal(guest_detach(same, path), 0);
	assert_int_equal(guest_attach(g.guest, path, GLK_DISK_SHARED), 0);
	glk_guest_free(same);
	glk_context_free(theirs);
	kit_end(&g);
}

static void a_lease_is_recorded_with_all_that_is_known(void **state)
{
	const char *path = kit_file("record", 0);
	uint64_t before = clock_ns(CLOCK_REALTIME);
	const struct glk_lease_info *lease;

	(void)state;
	assert_int_equal(guest_attach(guest, path, GLK_DISK_READONLY), 0);
	assert_int_equal(look()->n_leases, 1);
	lease = look()->leases;
	assert_string_equal(lease->path, path);
	assert_int_equal(lease->type, GLK_LEASE_FILE);
	assert_int_equal(lease->mode, GLK_MODE_SHARED);
	assert_int_equal(lease->scope, GLK_SCOPE_HOST);
	assert_true(lease->since >= before);
	assert_true(lease->since <= clock_ns(CLOCK_REALTIME));
}

static void a_relative_path_is_recorded_absolute(void **state)
{
	const char *path = kit_file("relative", 0);
	char old[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(old, sizeof(old)));
	assert_int_equal(chdir(test_dir()), 0);
	assert_int_equal(kit_attach(guest,
				    (const char *[]){ "./relative",
						      kit_file("beside", 0) },
				    2),
			 0);
	assert_int_equal(chdir(old), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(look()->n_leases, 2);
	for (size_t i = 0; i < 2; i++)
		if (!look()->leases[i].same_file)
			assert_string_equal(look()->leases[i].path, path);
}

static void an_exclusive_disk_does_not_need_the_guests_leases(void **state)
{
	const char *path = kit_file("direct", 0);

	(void)state;
	blocked(CAPSULE_E_BUSY);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(list.calls, 0);
	assert_held(path);
}

static void a_refusal_names_the_holder_though_we_cannot_read_ours(void **state)
{
	static const int results[] = { CAPSULE_E_BUSY, CAPSULE_E_NOFILE, -EIO };
	const char *path = kit_file("refused", 0);
	struct kit_guest g = kit_run(context, 71, path, 0);
	const struct glk_conflict *c = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
		blocked(results[i]);
		assert_int_equal(guest_attach(guest, path, 0), -EBUSY);
		assert_true(list.calls > 0);
		assert_int_equal(glk_context_conflicts(context, &c), 1);
		assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
		assert_string_equal(c->uuid, guest_uuid(71));
		assert_int_equal(c->pid, g.pid);
		assert_says(context, guest_uuid(71));
	}
	kit_end(&g);
}

/* The guest has dropped the lock of a lease that is still recorded. */
static void drop_lock(void)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;

	assert_int_equal(__real_capsule_list(guest->capsule, DEADLINE_NEVER,
					     &contents),
			 0);
	assert_int_equal(contents.n_leases, 1);
	assert_int_equal(capsule_unlock(&contents.leases[0]), 0);
	capsule_contents_done(&contents);
}

static void a_lease_that_is_not_held_is_not_ours(void **state)
{
	static const unsigned flags[] = { 0, GLK_DISK_SHARED };
	const char *path = kit_file("dropped", 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		int fd;

		assert_int_equal(guest_attach(guest, path, flags[i]), 0);
		drop_lock();
		assert_free(path);
		fd = kit_lock(path, 0, F_WRLCK);
		assert_int_equal(guest_attach(guest, path, flags[i]), -EBUSY);
		close(fd);
		assert_int_equal(guest_attach(guest, path, flags[i]), 0);
		assert_held(path);
		assert_int_equal(guest_detach(guest, path), 0);
	}
}

/* It may be ours: then refusing is a nuisance, and success would be a lie. */
static void a_disk_that_may_be_ours_is_refused(void **state)
{
	const char *path = kit_file("perhaps", 0);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	blocked(CAPSULE_E_BUSY);
	assert_int_equal(guest_attach(guest, path, 0), -EBUSY);
	blocked(0);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(look()->n_leases, 1);
}

static void a_shared_disk_that_may_be_ours_is_not_taken_twice(void **state)
{
	static const struct {
		int result, error;
	} cases[] = {
		{ CAPSULE_E_BUSY, -ETIME },
		{ CAPSULE_E_NOFILE, -EMFILE },
		{ -EIO, -EIO },
	};
	const char *path = kit_file("maybe", 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		blocked(cases[i].result);
		assert_int_equal(guest_attach(guest, path, GLK_DISK_SHARED),
				 cases[i].error);
		assert_says(context, "cannot read the guest's leases");
		assert_free(path);
	}
}

static void a_guest_that_goes_meanwhile_is_gone(void **state)
{
	const char *held = kit_file("held", 0), *path = kit_file("shared-2", 0);
	int fd = kit_lock(held, 0, F_WRLCK);

	(void)state;
	blocked(CAPSULE_E_GONE);
	assert_int_equal(guest_attach(guest, held, 0), -ESRCH);
	assert_says(context, "cannot read the guest's leases: the guest is go");
	assert_int_equal(guest_attach(guest, path, GLK_DISK_SHARED), -ESRCH);
	assert_says(context, "cannot attach: the guest is gone");
	assert_free(path);
	close(fd);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_shared_disk_is_attached_once),
	TEST(a_disk_is_attached_in_one_mode),
	TEST(a_disk_that_another_manager_attached_is_the_guests),
	TEST(a_lease_is_recorded_with_all_that_is_known),
	TEST(a_relative_path_is_recorded_absolute),
	TEST(an_exclusive_disk_does_not_need_the_guests_leases),
	TEST(a_refusal_names_the_holder_though_we_cannot_read_ours),
	TEST(a_lease_that_is_not_held_is_not_ours),
	TEST(a_disk_that_may_be_ours_is_refused),
	TEST(a_shared_disk_that_may_be_ours_is_not_taken_twice),
	TEST(a_guest_that_goes_meanwhile_is_gone),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
