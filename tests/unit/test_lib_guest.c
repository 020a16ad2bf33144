/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static struct glk_context *context;

static int open_context(void **state)
{
	(void)state;
	context = guest_context();
	return 0;
}

static int close_context(void **state)
{
	(void)state;
	glk_context_free(context);
	return 0;
}

static int try_config(const struct glk_guest_config *config)
{
	struct glk_guest *guest = NULL;
	int r = glk_guest_new(context, config, &guest);

	assert_int_equal(r != 0, guest == NULL);
	glk_guest_free(guest);
	return r;
}

static void a_guest_that_makes_no_sense_is_refused_by_its_field(void **state)
{
	static const struct {
		struct glk_guest_config config;
		const char *text;
	} cases[] = {
		{ { .uuid = "", .id = -1 }, "'' is not a uuid" },
		{ { .uuid = "x\n", .id = -1 }, "'x\\x0a' is not a uuid" },
		{ { .uuid = "7e57da7a-0000-4000-8000-00000000000", .id = -1 },
		  "is not a uuid" },
		{ { .name = "a\tb", .id = -1 }, "'a\\x09b' has control" },
		{ { .name = "\x7f", .id = -1 }, "has control characters" },
		{ { .id = -2 }, "id is negative" },
		{ { .id = -1, .pid = -1 }, "pid or id is negative" },
		{ { .id = -1, .holder = GLK_HOLDER_KEEPER }, "holder" },
		{ { .id = -1, .holder = 3 }, "holder must be GUEST or SELF" },
		{ { .id = -1, .holder = -1 }, "holder must be GUEST or SELF" },
		{ { .id = -1, .reserved = { 0, 0, 0, 1 } }, "reserved" },
		{ { .id = -1, .flags = 1U << 1 }, "unknown flags 0x2" },
		{ { .id = -1, .flags = 0x81 }, "unknown flags 0x81" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(try_config(&cases[i].config), -EINVAL);
		assert_says(context, cases[i].text);
	}
}

static void a_name_has_at_most_255_bytes(void **state)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	char name[257];
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;

	(void)state;
	memset(name, 'n', 256);
	name[256] = '\0';
	config.name = name;
	assert_int_equal(try_config(&config), -EINVAL);
	assert_says(context, "longer than 255 bytes");
	name[255] = '\0';
	memset(name, 0xc3, 2);
	config.holder = GLK_HOLDER_SELF;
	assert_int_equal(glk_guest_new(context, &config, &guest), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_string_equal(info->name, name);
	glk_guest_free(guest);
}

static void a_guest_without_a_uuid_gets_a_random_one(void **state)
{
	struct glk_guest *a = kit_self(context), *b = kit_self(context);
	const struct glk_guest_info *one = NULL, *other = NULL;

	(void)state;
	assert_int_equal(glk_guest_info(a, &one), 0);
	assert_int_equal(glk_guest_info(b, &other), 0);
	assert_int_equal(strlen(one->uuid), 36);
	assert_string_not_equal(one->uuid, other->uuid);
	assert_int_equal(one->id, -1);
	assert_string_equal(one->name, "");
	glk_guest_free(a);
	glk_guest_free(b);
}

static void only_a_destination_is_marked_as_incoming(void **state)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest = NULL;

	(void)state;
	assert_int_equal(glk_guest_new(context, &config, &guest), 0);
	assert_false(guest->incoming);
	glk_guest_free(guest);
	config.flags = GLK_GUEST_INCOMING;
	assert_int_equal(glk_guest_new(context, &config, &guest), 0);
	assert_true(guest->incoming);
	glk_guest_free(guest);
}

static struct glk_guest *tagged(uint64_t epoch, uint64_t tag)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest = NULL;

	config.uuid = guest_uuid(40);
	config.holder = GLK_HOLDER_SELF;
	config.epoch = epoch;
	config.tag = tag;
	assert_int_equal(glk_guest_new(context, &config, &guest), 0);
	return guest;
}

static void epoch_and_tag_are_what_the_guest_was_made_with(void **state)
{
	struct glk_guest *guest = tagged(UINT64_MAX, 4711);
	const struct glk_guest_info *info = NULL;
	struct glk_guest *other;

	(void)state;
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_true(info->epoch == UINT64_MAX && info->tag == 4711);
	other = tagged(0, 0);
	assert_int_equal(glk_guest_acquire(other), 0);
	assert_int_equal(glk_guest_info(other, &info), 0);
	assert_true(info->epoch == 0 && info->tag != 0 && info->tag != 4711);
	glk_guest_free(other);
	glk_guest_free(guest);
}

/* The name has the descriptor's number in it: hold that free for the next. */
static void a_tag_that_is_in_use_is_refused(void **state)
{
	struct glk_guest *guest = tagged(0, 4712);
	int copy;

	(void)state;
	assert_int_equal(glk_guest_acquire(guest), 0);
	copy = fcntl(glk_guest_fd(guest), F_DUPFD_CLOEXEC, 100);
	assert_true(copy >= 100);
	glk_guest_free(guest);
	guest = tagged(0, 4712);
	assert_int_equal(glk_guest_acquire(guest), -EADDRINUSE);
	assert_says(context, "tag 1268 is in use");
	close(copy);
	assert_int_equal(glk_guest_acquire(guest), 0);
	glk_guest_free(guest);
}

static void disks_are_added_all_or_none(void **state)
{
	const char *good = test_file("good", 0);
	const struct glk_disk disks[] = { { good, 0 }, { good, 1U << 7 } };
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	const struct glk_guest_info *info = NULL;

	(void)state;
	assert_int_equal(glk_guest_add(guest, disks, 2), -EINVAL);
	assert_says(context, "unknown flags 0x80");
	assert_int_equal(guest_add(guest, "", 0), -EINVAL);
	assert_int_equal(guest_add(guest, NULL, 0), -EINVAL);
	assert_says(context, "no path");
	assert_int_equal(glk_guest_add(guest, disks, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 0);
	assert_free(good);
	glk_guest_free(guest);
}

static void a_path_has_at_most_4095_bytes(void **state)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	static char path[4097];

	(void)state;
	memset(path, '/', 4096);
	assert_int_equal(guest_add(guest, path, 0), -ENAMETOOLONG);
	assert_says(context, "longer than 4095 bytes");
	path[4095] = '\0';
	assert_int_equal(guest_add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), -EISDIR);
	glk_guest_free(guest);
}

static void what_is_added_is_copied(void **state)
{
	char path[PATH_MAX];
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);

	(void)state;
	snprintf(path, sizeof(path), "%s", test_file("copied", 0));
	assert_int_equal(guest_add(guest, path, 0), 0);
	memset(path, 'x', 10);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_held(test_file("copied", -1));
	glk_guest_free(guest);
	assert_free(test_file("copied", -1));
}

static void a_refused_acquire_can_be_tried_again(void **state)
{
	const char *a = test_file("again-a", 0), *b = test_file("again-b", 0);
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	int fd = kit_lock(b, 0, F_WRLCK);

	(void)state;
	assert_int_equal(guest_add(guest, a, 0), 0);
	assert_int_equal(guest_add(guest, b, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), -EBUSY);
	assert_free(a);
	assert_int_equal(glk_guest_fd(guest), -ENODATA);
	close(fd);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_held(a);
	assert_held(b);
	assert_int_equal(glk_guest_acquire(guest), -EALREADY);
	assert_says(context, "acquired already");
	assert_int_equal(guest_add(guest, a, 0), -EALREADY);
	glk_guest_free(guest);
}

static void nothing_can_be_done_before_a_guest_is_acquired(void **state)
{
	const char *path = test_file("early", 0);
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, NULL, NULL);

	(void)state;
	assert_int_equal(glk_guest_fd(guest), -ENODATA);
	assert_int_equal(glk_guest_inherit(guest), -ENODATA);
	assert_int_equal(glk_guest_handed_over(guest), -ENODATA);
	assert_says(context, "cannot hand-over: the guest has not been");
	assert_int_equal(guest_attach(guest, path, 0), -ENODATA);
	assert_says(context, "cannot attach: the guest has not been acquired");
	assert_int_equal(guest_detach(guest, path), -ENODATA);
	assert_says(context, "cannot detach");
	assert_int_equal(glk_guest_info(guest, &info), -ENODATA);
	assert_says(context, "cannot info");
	assert_null(info);
	glk_guest_free(guest);
}

static void a_guest_is_handed_over_once(void **state)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, NULL, NULL);
	int fd;

	(void)state;
	assert_int_equal(glk_guest_acquire(guest), 0);
	fd = glk_guest_fd(guest);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(glk_guest_inherit(guest), 0);
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	assert_int_equal(glk_guest_handed_over(guest), 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(glk_guest_fd(guest), -ENODATA);
	assert_int_equal(glk_guest_inherit(guest), -ENODATA);
	assert_int_equal(glk_guest_handed_over(guest), -ENODATA);
	assert_says(context, "handed over already");
	glk_guest_free(guest);
}

static void who_holds_its_own_leases_hands_nothing_over(void **state)
{
	const char *path = test_file("own", 0);
	struct glk_guest *guest = kit_self(context);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(glk_guest_handed_over(guest), -EOPNOTSUPP);
	assert_says(context, "this process itself holds");
	assert_held(path);
	assert_true(glk_guest_fd(guest) >= 0);
	glk_guest_free(guest);
	assert_free(path);
}

/* Nobody took the capsule, so it went with our copy of it. */
static void a_guest_that_nobody_took_is_gone(void **state)
{
	const char *path = test_file("nobody", 0);
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, NULL, NULL);

	(void)state;
	assert_int_equal(guest_add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(glk_guest_handed_over(guest), 0);
	assert_true(test_becomes_free(path, 5000));
	assert_int_equal(glk_guest_info(guest, &info), -ESRCH);
	assert_says(context, "gone");
	assert_int_equal(guest_attach(guest, path, 0), -ESRCH);
	assert_says(context, "cannot attach: the guest is gone");
	assert_int_equal(guest_detach(guest, path), -ESRCH);
	assert_null(info);
	assert_free(path);
	glk_guest_free(guest);
}

static void a_hint_at_the_wrong_process_does_not_matter(void **state)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;
	pid_t pid;

	(void)state;
	config.pid = 1;
	config.uuid = guest_uuid(40);
	assert_int_equal(glk_guest_new(context, &config, &guest), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	pid = guest_fork(guest);
	assert_int_equal(glk_guest_adopt(context, guest_uuid(40), &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->pid, pid);
	glk_guest_free(guest);
	process_end(pid);
}

static void nothing_stays_open(void **state)
{
	const char *path = test_file("leak", 0);
	unsigned before;

	(void)state;
	assert_int_equal(kit_try(context, path, 0), 0);
	before = test_open_fds();
	for (int i = 0; i < 3; i++) {
		struct kit_guest g = kit_run(context, 41, path, 0);
		const struct glk_guest_info *info;

		assert_int_equal(guest_attach(g.guest, path, 0), 0);
		assert_int_equal(glk_guest_info(g.guest, &info), 0);
		assert_int_equal(guest_detach(g.guest, path), 0);
		kit_end(&g);
	}
	assert_int_equal(test_open_fds(), before);
}

#define TEST(_f)                                                               \
	cmocka_unit_test_setup_teardown(_f, open_context, close_context)

static const struct CMUnitTest tests[] = {
	TEST(a_guest_that_makes_no_sense_is_refused_by_its_field),
	TEST(a_name_has_at_most_255_bytes),
	TEST(a_guest_without_a_uuid_gets_a_random_one),
	TEST(only_a_destination_is_marked_as_incoming),
	TEST(epoch_and_tag_are_what_the_guest_was_made_with),
	TEST(a_tag_that_is_in_use_is_refused),
	TEST(disks_are_added_all_or_none),
	TEST(a_path_has_at_most_4095_bytes),
	TEST(what_is_added_is_copied),
	TEST(a_refused_acquire_can_be_tried_again),
	TEST(nothing_can_be_done_before_a_guest_is_acquired),
	TEST(a_guest_is_handed_over_once),
	TEST(who_holds_its_own_leases_hands_nothing_over),
	TEST(a_guest_that_nobody_took_is_gone),
	TEST(a_hint_at_the_wrong_process_does_not_matter),
	TEST(nothing_stays_open),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
