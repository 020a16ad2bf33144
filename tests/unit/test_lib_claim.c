/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/migrate_kit.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static struct glk_context *context;
static struct pair pair;

static int start(void **state)
{
	(void)state;
	pair_disks_init();
	context = guest_context();
	pair.source = pair_guest(context, 1, "from", 0);
	pair.destination = pair_guest(context, 1, "to", GLK_GUEST_INCOMING);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_guest_free(pair.source);
	glk_guest_free(pair.destination);
	glk_context_free(context);
	return 0;
}

static void prepare_source(void)
{
	assert_int_equal(glk_guest_acquire(pair.source), 0);
	assert_int_equal(glk_guest_prepare(pair.source, "localhost"), 0);
}

static void assert_refused_by(const char *name)
{
	const struct glk_conflict *c = NULL;
	size_t n;

	assert_int_equal(glk_guest_acquire(pair.destination), -EBUSY);
	n = glk_context_conflicts(context, &c);
	assert_true(n > 0);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(c[i].kind, GLK_CONFLICT_GUEST);
		assert_string_equal(c[i].name, guest_name(name));
	}
}

static void a_prepared_disk_is_claimed_and_not_owned(void **state)
{
	(void)state;
	prepare_source();
	assert_int_equal(glk_guest_acquire(pair.destination), 0);
	assert_int_equal(pair_role(pair.destination), ROLE_INCOMING);
	assert_int_equal(pair_role(pair.source), ROLE_PREPARED);
	for (unsigned i = 0; i < PAIR_DISKS - 1; i++)
		for (long byte = 2; byte <= 4; byte++)
			assert_false(test_byte_lockable(pair_disk(i), byte,
							F_RDLCK));
	assert_true(pair_is_safe(context));
}

static void a_disk_that_its_owner_has_not_prepared_is_refused(void **state)
{
	(void)state;
	assert_int_equal(glk_guest_acquire(pair.source), 0);
	assert_refused_by("from");
	assert_int_equal(pair_bytes(), PAIR_DISKS);
	assert_int_equal(glk_guest_prepare(pair.source, "localhost"), 0);
	assert_int_equal(glk_guest_acquire(pair.destination), 0);
}

static void there_is_one_destination_and_it_is_named(void **state)
{
	struct glk_guest *second =
		pair_guest(context, 1, "second", GLK_GUEST_INCOMING);
	unsigned bytes;

	(void)state;
	prepare_source();
	assert_int_equal(glk_guest_acquire(second), 0);
	bytes = pair_bytes();
	assert_refused_by("second");
	assert_int_equal(pair_bytes(), bytes);
	assert_int_equal(pair_role(second), ROLE_INCOMING);
	assert_int_equal(glk_guest_cancel(second), 0);
	assert_int_equal(glk_guest_acquire(pair.destination), 0);
	glk_guest_free(second);
}

static void who_shares_a_disk_is_no_source_of_it(void **state)
{
	struct glk_guest *reader = guest_describe(context, GLK_HOLDER_SELF,
						  NULL, guest_name("reader"));

	(void)state;
	assert_int_equal(guest_add(reader, pair_disk(0), GLK_DISK_SHARED), 0);
	assert_int_equal(glk_guest_acquire(reader), 0);
	assert_refused_by("reader");
	assert_int_equal(pair_bytes(), 1);
	glk_guest_free(reader);
	assert_int_equal(glk_guest_acquire(pair.destination), 0);
}

static void all_disks_are_claimed_or_none(void **state)
{
	(void)state;
	assert_int_equal(guest_add(pair.source, test_file("more", 0), 0), 0);
	assert_int_equal(guest_add(pair.destination, test_file("more", -1), 0),
			 0);
	prepare_source();
	assert_int_equal(guest_detach(pair.source, test_file("more", -1)), 0);
	for (short type = F_RDLCK; type <= F_WRLCK; type++) {
		int fd = kit_lock(test_file("more", -1), 0, type);

		assert_int_equal(glk_guest_acquire(pair.destination), -EBUSY);
		assert_says(context, "more");
		close(fd);
		for (unsigned i = 0; i < PAIR_DISKS - 1; i++)
			assert_true(test_byte_lockable(pair_disk(i),
						       LOCK_BYTE_SUCCESSOR,
						       F_WRLCK));
		assert_free(test_file("more", -1));
	}
	assert_int_equal(glk_guest_acquire(pair.destination), 0);
}

/* Its source has ended before it came. */
static void without_a_source_a_free_disk_is_claimed(void **state)
{
	(void)state;
	assert_int_equal(glk_guest_acquire(pair.destination), 0);
	assert_int_equal(pair_role(pair.destination), ROLE_INCOMING);
	assert_true(pair_is_safe(context));
	assert_int_equal(glk_guest_in(pair.destination), 0);
	assert_int_equal(pair_role(pair.destination), ROLE_OWNER);
}

static void disks_that_a_guest_shares_are_shared_at_once(void **state)
{
	const struct glk_guest_info *info = NULL;
	size_t shared = 0;

	(void)state;
	prepare_source();
	assert_int_equal(glk_guest_acquire(pair.destination), 0);
	assert_int_equal(glk_guest_info(pair.destination, &info), 0);
	for (size_t i = 0; i < info->n_leases; i++) {
		if (info->leases[i].mode != GLK_MODE_SHARED)
			continue;
		assert_int_equal(info->leases[i].role, GLK_ROLE_OWNER);
		assert_int_equal(info->leases[i].held, 1);
		shared++;
	}
	assert_int_equal(shared, 1);
	assert_true(
		test_byte_lockable(pair_disk(2), LOCK_BYTE_SUCCESSOR, F_WRLCK));
}

static void what_is_plugged_in_later_is_no_claim(void **state)
{
	const char *path = test_file("plugged", 0);

	(void)state;
	prepare_source();
	assert_int_equal(glk_guest_acquire(pair.destination), 0);
	assert_int_equal(guest_attach(pair.destination, path, 0), 0);
	assert_false(test_lockable(path, F_RDLCK));
	assert_true(test_byte_lockable(path, LOCK_BYTE_SUCCESSOR, F_WRLCK));
	assert_int_equal(glk_guest_cancel(pair.destination), 0);
	assert_free(path);
}

static void a_flag_that_is_none_is_refused(void **state)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest = NULL;

	(void)state;
	config.flags = GLK_GUEST_INCOMING << 1;
	assert_int_equal(glk_guest_new(context, &config, &guest), -EINVAL);
	assert_says(context, "unknown flags 0x2");
	assert_null(guest);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_prepared_disk_is_claimed_and_not_owned),
	TEST(a_disk_that_its_owner_has_not_prepared_is_refused),
	TEST(there_is_one_destination_and_it_is_named),
	TEST(who_shares_a_disk_is_no_source_of_it),
	TEST(all_disks_are_claimed_or_none),
	TEST(without_a_source_a_free_disk_is_claimed),
	TEST(disks_that_a_guest_shares_are_shared_at_once),
	TEST(what_is_plugged_in_later_is_no_claim),
	TEST(a_flag_that_is_none_is_refused),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
