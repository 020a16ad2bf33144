/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/info.h"
#include "tests/unit/lib_kit.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * The linker sends the library's capsule_list() here (--wrap), so that a
 * capsule cannot be read, or tells lies.
 */
int __real_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents);
int __wrap_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents);

static int list_result;
static const char *list_path; /* instead of what is recorded */

int __wrap_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents)
{
	int r = list_result;

	if (!r)
		r = __real_capsule_list(capsule, deadline, ret_contents);
	for (size_t i = 0; !r && list_path && i < ret_contents->n_leases; i++) {
		free(ret_contents->leases[i].path);
		ret_contents->leases[i].path = strdup(list_path);
	}
	return r;
}

static struct glk_context *context;
static struct glk_guest *guest;

static int start(void **state)
{
	(void)state;
	list_result = 0;
	list_path = NULL;
	context = guest_context();
	guest = kit_self(context);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	list_result = 0;
	list_path = NULL;
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

static const struct glk_lease_info *only_lease(void)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 1);
	return info->leases;
}

static void assert_lease(const char *path, int same_file)
{
	const struct glk_lease_info *lease = only_lease();

	assert_string_equal(lease->path, path);
	assert_int_equal(lease->same_file, same_file);
	assert_int_equal(lease->held, 1);
}

static void a_guest_is_told_with_all_that_is_known(void **state)
{
	const char *path = kit_file("known", 0);
	struct kit_guest g = kit_run(context, 80, path, GLK_DISK_SHARED);
	const struct glk_guest_info *info = NULL;
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(glk_guest_info(g.guest, &info), 0);
	assert_string_equal(info->uuid, guest_uuid(80));
	assert_string_equal(info->name, guest_name("kit"));
	assert_int_equal(info->id, -1);
	assert_int_equal(info->pid, g.pid);
	assert_int_equal(info->holder, GLK_HOLDER_GUEST);
	assert_int_equal(info->uid, geteuid());
	assert_int_equal(info->n_garbled, 0);
	assert_int_equal(info->error, 0);
	assert_int_equal(info->n_leases, 1);
	assert_int_equal(info->leases[0].mode, GLK_MODE_SHARED);
	assert_int_equal(info->leases[0].dev, st.st_dev);
	assert_int_equal(info->leases[0].ino, st.st_ino);
	assert_true(info->started <= process_started(g.pid) + NSEC_PER_SEC);
	assert_true(process_started(g.pid) <= info->started + NSEC_PER_SEC);
	kit_end(&g);
}

static void a_disk_that_was_renamed_is_shown_where_it_is(void **state)
{
	const char *path = kit_file("before", 0), *now = kit_file("after", -1);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_lease(path, 1);
	assert_int_equal(rename(path, now), 0);
	assert_lease(now, 0);
	kit_file("before", 0);
	assert_lease(now, 0);
}

static void a_disk_that_was_deleted_is_shown_as_recorded(void **state)
{
	const char *path = kit_file("deleted", 0);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(unlink(path), 0);
	assert_lease(path, 0);
	kit_file("deleted", 0);
	assert_lease(path, 0);
	assert_int_equal(guest_detach(guest, only_lease()->path), 0);
}

static void a_disk_may_be_called_deleted(void **state)
{
	const char *path = kit_file("odd (deleted)", 0);
	const char *now = kit_file("odder (deleted)", -1);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_lease(path, 1);
	assert_int_equal(rename(path, now), 0);
	assert_lease(now, 0);
}

static void a_link_is_shown_as_the_link(void **state)
{
	const char *path = kit_file("target", 0), *link = kit_file("link", -1);

	(void)state;
	assert_int_equal(symlink("target", link), 0);
	assert_int_equal(guest_attach(guest, link, 0), 0);
	assert_lease(link, 1);
	assert_int_equal(unlink(link), 0);
	assert_lease(path, 0);
}

static void a_forged_path_is_not_believed(void **state)
{
	const char *path = kit_file("true", 0), *other = kit_file("other", 0);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	list_path = other;
	assert_lease(path, 0);
	list_path = "/nowhere/x";
	assert_lease(path, 0);
	list_path = "relative";
	assert_lease(path, 0);
}

static void a_guest_that_cannot_be_read_is_an_error(void **state)
{
	static const struct {
		int result, error;
	} cases[] = {
		{ CAPSULE_E_BUSY, -ETIME },
		{ CAPSULE_E_NOFILE, -EMFILE },
		{ -EIO, -EIO },
		{ -ENOMEM, -ENOMEM },
	};
	const struct glk_guest_info *info = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		list_result = cases[i].result;
		assert_int_equal(glk_guest_info(guest, &info), cases[i].error);
		assert_says(context, "cannot read the guest");
		assert_null(info);
	}
	list_result = 0;
	assert_int_equal(glk_guest_info(guest, &info), 0);
}

static const struct glk_guest_info *find(const struct glk_guest_list *list,
					 const char *uuid)
{
	for (size_t i = 0; i < glk_guest_list_count(list); i++)
		if (!strcmp(glk_guest_list_get(list, i)->uuid, uuid))
			return glk_guest_list_get(list, i);
	return NULL;
}

static void a_list_has_those_who_cannot_be_read(void **state)
{
	struct kit_guest g = kit_run(context, 81, kit_file("busy", 0), 0);
	const struct glk_guest_info *info;
	struct glk_guest_list *list = NULL;

	(void)state;
	list_result = CAPSULE_E_BUSY;
	assert_int_equal(glk_guest_list_new(context, 0, &list), 0);
	info = find(list, guest_uuid(81));
	assert_non_null(info);
	assert_int_equal(info->error, -ETIME);
	assert_int_equal(info->n_leases, 0);
	assert_string_equal(info->name, guest_name("kit"));
	assert_int_equal(info->pid, g.pid);
	glk_guest_list_free(list);
	kit_end(&g);
}

static void a_cancel_is_not_lost_while_a_path_is_looked_at(void **state)
{
	const char *path = kit_file("cancel", 0);
	struct info *info = NULL;

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(rename(path, kit_file("cancel-2", -1)), 0);
	assert_int_equal(context_begin(context), 0);
	glk_context_cancel(context);
	assert_int_equal(info_new(context, guest->capsule, &info), -ECANCELED);
	assert_null(info);
	assert_int_equal(info_new(context, guest->capsule, &info), 0);
	info_free(info);
	info_free(NULL);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_guest_is_told_with_all_that_is_known),
	TEST(a_disk_that_was_renamed_is_shown_where_it_is),
	TEST(a_disk_that_was_deleted_is_shown_as_recorded),
	TEST(a_disk_may_be_called_deleted),
	TEST(a_link_is_shown_as_the_link),
	TEST(a_forged_path_is_not_believed),
	TEST(a_guest_that_cannot_be_read_is_an_error),
	TEST(a_list_has_those_who_cannot_be_read),
	TEST(a_cancel_is_not_lost_while_a_path_is_looked_at),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
