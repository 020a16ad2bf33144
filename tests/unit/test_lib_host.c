/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static struct glk_context *context;

static int start(void **state)
{
	(void)state;
	context = guest_context();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_context_free(context);
	return 0;
}

static size_t find(const struct glk_guest_list *list, const char *uuid)
{
	for (size_t i = 0; i < glk_guest_list_count(list); i++)
		if (!strcmp(glk_guest_list_get(list, i)->uuid, uuid))
			return i;
	return SIZE_MAX;
}

static struct glk_guest *self_called(unsigned uuid, const char *name)
{
	struct glk_guest *guest = guest_describe(context, GLK_HOLDER_SELF,
						 guest_uuid(uuid), name);

	assert_int_equal(glk_guest_acquire(guest), 0);
	return guest;
}

static void guests_are_listed_by_name_and_uuid(void **state)
{
	struct glk_guest *guests[] = { self_called(1, "b"), self_called(3, "a"),
				       self_called(2, "a") };
	struct glk_guest_list *list = NULL;

	(void)state;
	assert_int_equal(glk_guest_list_new(context, 0, &list), 0);
	assert_true(glk_guest_list_count(list) >= 3);
	assert_true(find(list, guest_uuid(2)) < find(list, guest_uuid(3)));
	assert_true(find(list, guest_uuid(3)) < find(list, guest_uuid(1)));
	assert_true(find(list, guest_uuid(1)) != SIZE_MAX);
	assert_null(glk_guest_list_get(list, glk_guest_list_count(list)));
	assert_null(glk_guest_list_get(list, SIZE_MAX));
	glk_guest_list_free(list);
	for (size_t i = 0; i < ARRAY_SIZE(guests); i++)
		glk_guest_free(guests[i]);
}

static void a_list_is_a_picture(void **state)
{
	const char *path = kit_file("picture", 0);
	struct glk_guest *guest = self_called(4, "picture");
	struct glk_guest_list *list = NULL;
	const struct glk_guest_info *info;

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(glk_guest_list_new(context, GLK_LIST_TRUSTED, &list),
			 0);
	assert_int_equal(guest_detach(guest, path), 0);
	glk_guest_free(guest);
	assert_free(path);
	info = glk_guest_list_get(list, find(list, guest_uuid(4)));
	assert_string_equal(info->name, "picture");
	assert_int_equal(info->n_leases, 1);
	assert_string_equal(info->leases[0].path, path);
	glk_guest_list_free(list);
}

static void unknown_flags_of_a_list_are_refused(void **state)
{
	struct glk_guest_list *list = NULL;

	(void)state;
	assert_int_equal(glk_guest_list_new(context, 1U << 5, &list), -EINVAL);
	assert_says(context, "unknown flags 0x20");
	assert_null(list);
}

static void without_time_guests_are_listed_all_the_same(void **state)
{
	struct glk_guest *a = self_called(5, NULL), *b = self_called(6, NULL);
	struct glk_guest_list *list = NULL;

	(void)state;
	glk_context_set_timeout(context, 0);
	assert_int_equal(glk_guest_list_new(context, 0, &list), 0);
	assert_true(find(list, guest_uuid(5)) != SIZE_MAX);
	assert_true(find(list, guest_uuid(6)) != SIZE_MAX);
	assert_int_equal(glk_guest_list_get(list, 0)->error, 0);
	glk_guest_list_free(list);
	glk_guest_free(a);
	glk_guest_free(b);
}

static int claim(void *arg)
{
	struct channel *ready = arg;
	struct glk_guest *mine =
		guest_describe(guest_context(), GLK_HOLDER_SELF, guest_uuid(7),
			       "other");

	MUST_EQUAL(glk_guest_acquire(mine), 0);
	channel_tell(ready, 0);
	guest_live();
	return 0;
}

static void others_guests_are_listed_unless_trust_is_asked_for(void **state)
{
	struct channel ready = channel_new();
	struct glk_guest_list *list = NULL;
	const struct glk_guest_info *info;
	pid_t pid;

	(void)state;
	if (geteuid())
		skip();
	pid = kit_start_as_nobody(claim, &ready);
	channel_reads(&ready);
	assert_int_equal(channel_hear(&ready), 0);
	assert_int_equal(glk_guest_list_new(context, 0, &list), 0);
	info = glk_guest_list_get(list, find(list, guest_uuid(7)));
	assert_non_null(info);
	assert_int_equal(info->uid, 65534);
	assert_int_equal(info->pid, pid);
	glk_guest_list_free(list);
	assert_int_equal(glk_guest_list_new(context, GLK_LIST_TRUSTED, &list),
			 0);
	assert_int_equal(find(list, guest_uuid(7)), SIZE_MAX);
	assert_int_equal(glk_guest_list_denied(list), 0);
	glk_guest_list_free(list);
	process_end(pid);
	channel_free(&ready);
}

static int list_roots(void *arg)
{
	struct glk_guest_list *list = NULL;

	(void)arg;
	start(NULL);
	MUST_EQUAL(glk_guest_list_new(context, 0, &list), 0);
	MUST_EQUAL(find(list, guest_uuid(8)), SIZE_MAX);
	MUST(glk_guest_list_denied(list) >= 1);
	glk_guest_list_free(list);
	stop(NULL);
	return 0;
}

static void who_may_not_be_looked_into_is_counted(void **state)
{
	struct glk_guest *guest = self_called(8, NULL);

	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(kit_as_nobody(list_roots, NULL), 0);
	glk_guest_free(guest);
}

static void a_question_about_no_image_is_refused(void **state)
{
	const struct glk_conflict *holders = NULL;
	size_t n = 7;

	(void)state;
	assert_int_equal(glk_disk_holders(context, test_dir(), &holders, &n),
			 -EISDIR);
	assert_says(context, test_dir());
	assert_int_equal(glk_disk_holders(context, "/dev/null", &holders, &n),
			 -EOPNOTSUPP);
	assert_says(context, "/dev/null: no regular file and no block device");
	assert_int_equal(glk_disk_holders(context, "/nowhere/x", &holders, &n),
			 -ENOENT);
	assert_says(context, "/nowhere/x: No such file");
	assert_null(holders);
	assert_int_equal(n, 7);
}

/* Its writer would wake up if anybody opened it. */
static int open_fifo(void *arg)
{
	return open(arg, O_WRONLY) < 0;
}

static void a_question_opens_nothing_but_images(void **state)
{
	const char *path = kit_file("fifo", -1), *fs = NULL;
	const struct glk_conflict *holders = NULL;
	int scope = 0;
	size_t n = 0;
	pid_t pid;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	pid = process_start(open_fifo, (void *)path);
	assert_int_equal(glk_disk_holders(context, path, &holders, &n),
			 -EOPNOTSUPP);
	assert_int_equal(glk_disk_scope(context, path, &scope, &fs), 0);
	usleep(20000);
	assert_false(process_is_gone(pid));
	process_end(pid);
}

static void a_scope_is_read_from_the_file_system(void **state)
{
	const char *fs = NULL, *again = NULL;
	int scope = 0;

	(void)state;
	assert_int_equal(glk_disk_scope(context, "/proc/self/maps", &scope,
					&fs),
			 0);
	assert_int_equal(scope, GLK_SCOPE_HOST);
	assert_string_equal(fs, "proc");
	assert_int_equal(glk_disk_scope(context, test_dir(), &scope, &again),
			 0);
	assert_string_not_equal(again, "proc");
	assert_int_equal(glk_disk_scope(context, "/nowhere", &scope, &fs),
			 -ENOENT);
	assert_says(context, "/nowhere: No such file");
}

static void a_question_leaves_nothing_open(void **state)
{
	const char *path = kit_file("asked", 0);
	const struct glk_conflict *holders;
	struct glk_guest_list *list;
	unsigned fds = 0;
	size_t n;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(glk_disk_holders(context, path, &holders, &n),
				 0);
		assert_int_equal(glk_guest_list_new(context, 0, &list), 0);
		glk_guest_list_free(list);
		if (!i)
			fds = test_open_fds();
	}
	assert_int_equal(test_open_fds(), fds);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(guests_are_listed_by_name_and_uuid),
	TEST(a_list_is_a_picture),
	TEST(unknown_flags_of_a_list_are_refused),
	TEST(without_time_guests_are_listed_all_the_same),
	TEST(others_guests_are_listed_unless_trust_is_asked_for),
	TEST(who_may_not_be_looked_into_is_counted),
	TEST(a_question_about_no_image_is_refused),
	TEST(a_question_opens_nothing_but_images),
	TEST(a_scope_is_read_from_the_file_system),
	TEST(a_question_leaves_nothing_open),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
