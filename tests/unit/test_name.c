/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/name.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define UUID "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"

static int parse(const char *name, struct name_parts *ret_parts)
{
	return name_parse(name, strlen(name), ret_parts);
}

static void a_name_reads_as_it_was_written(void **state)
{
	struct name_parts in = { .pid = 4711, .fd = 7, .nonce = 0xbeef }, out;
	char name[CAPSULE_SOCKNAME_MAX + 1], uuid[UUID_STRLEN + 1];
	int len;

	(void)state;
	assert_int_equal(uuid_parse(UUID, &in.uuid), 0);
	len = name_format(&in, name, sizeof(name));
	assert_int_equal(len, strlen(name));
	assert_string_equal(name,
			    "guestlock/1/" UUID "/4711/7/000000000000beef");
	assert_int_equal(parse(name, &out), 0);
	assert_string_equal(uuid_format(&out.uuid, uuid), UUID);
	assert_int_equal(out.pid, 4711);
	assert_int_equal(out.fd, 7);
	assert_int_equal(out.nonce, 0xbeef);
}

static void the_longest_name_fits_a_socket_address(void **state)
{
	struct name_parts in = { .pid = INT_MAX,
				 .fd = INT_MAX,
				 .nonce = UINT64_MAX };
	char name[CAPSULE_SOCKNAME_MAX + 1];
	struct name_parts out;

	(void)state;
	assert_true(name_format(&in, name, sizeof(name)) > 0);
	assert_int_equal(parse(name, &out), 0);
	assert_int_equal(out.pid, INT_MAX);
	assert_int_equal(out.fd, INT_MAX);
	assert_true(out.nonce == UINT64_MAX);
}

static void parts_out_of_range_are_not_written(void **state)
{
	struct name_parts no_pid = { .pid = 0, .fd = 1 };
	struct name_parts no_fd = { .pid = 1, .fd = -1 };
	struct name_parts fine = { .pid = 1, .fd = 1 };
	char name[CAPSULE_SOCKNAME_MAX + 1];

	(void)state;
	assert_int_equal(name_format(&no_pid, name, sizeof(name)), -EINVAL);
	assert_int_equal(name_format(&no_fd, name, sizeof(name)), -EINVAL);
	assert_int_equal(name_format(&fine, name, 20), -ENOBUFS);
}

static void only_the_canonical_spelling_is_a_name(void **state)
{
	static const char *const bad[] = {
		"",
		"guestlock/1/",
		"guestlock/2/" UUID "/1/3/0123456789abcdef",
		"Guestlock/1/" UUID "/1/3/0123456789abcdef",
		"guestlock/1/4DEA22B3-1d52-d8f3-2516-782e98ab3fa0"
		"/1/3/0123456789abcdef",
		"guestlock/1/4dea22b31d52d8f32516782e98ab3fa0/1/3/"
		"0123456789abcdef",
		"guestlock/1/" UUID "0/1/3/0123456789abcdef",
		"guestlock/1/" UUID "/0/3/0123456789abcdef",
		"guestlock/1/" UUID "/-1/3/0123456789abcdef",
		"guestlock/1/" UUID "/+1/3/0123456789abcdef",
		"guestlock/1/" UUID "/ 1/3/0123456789abcdef",
		"guestlock/1/" UUID "/01/3/0123456789abcdef",
		"guestlock/1/" UUID "/2147483648/3/0123456789abcdef",
		"guestlock/1/" UUID "/4294967297/3/0123456789abcdef",
		"guestlock/1/" UUID "/99999999999999999999/3/0123456789abcdef",
		"guestlock/1/" UUID "/1/-1/0123456789abcdef",
		"guestlock/1/" UUID "/1/03/0123456789abcdef",
		"guestlock/1/" UUID "/1/2147483648/0123456789abcdef",
		"guestlock/1/" UUID "/1//0123456789abcdef",
		"guestlock/1/" UUID "/1/3/0123456789ABCDEF",
		"guestlock/1/" UUID "/1/3/0x23456789abcdef",
		"guestlock/1/" UUID "/1/3/123456789abcdef",
		"guestlock/1/" UUID "/1/3/00123456789abcdef",
		"guestlock/1/" UUID "/1/3/0123456789abcdeg",
		"guestlock/1/" UUID "/1/3/0123456789abcdef/",
		"guestlock/1/" UUID "/1/3/0123456789abcdef\n",
		"guestlock/1/" UUID "/1/3",
		"guestlock/1/" UUID "/1/3/",
	};
	struct name_parts out;

	(void)state;
	assert_int_equal(parse("guestlock/1/" UUID "/1/3/0123456789abcdef",
			       &out),
			 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse(bad[i], &out), -EINVAL);
}

static void zero_bytes_and_padding_are_no_part_of_a_name(void **state)
{
	char name[] = "guestlock/1/" UUID "/1/3/0123456789abcdef";
	char padded[107] = "guestlock/1/" UUID "/1/3/0123456789abcdef";
	char huge[200] = "guestlock/1/" UUID "/1/3/0123456789abcdef";
	struct name_parts out;

	(void)state;
	assert_int_equal(name_parse(name, sizeof(name) - 1, &out), 0);
	assert_int_equal(name_parse(name, sizeof(name), &out), -EINVAL);
	assert_int_equal(name_parse(name, sizeof(name) - 2, &out), -EINVAL);
	assert_int_equal(name_parse(padded, sizeof(padded), &out), -EINVAL);
	assert_int_equal(name_parse(huge, sizeof(huge), &out), -EINVAL);
	name[20] = '\0';
	assert_int_equal(name_parse(name, sizeof(name) - 1, &out), -EINVAL);
}

static void a_bad_name_changes_nothing(void **state)
{
	struct name_parts out, before;

	(void)state;
	memset(&out, 0x5a, sizeof(out));
	before = out;
	assert_int_equal(parse("guestlock/1/" UUID "/1/3/0123456789abcdef/",
			       &out),
			 -EINVAL);
	assert_memory_equal(&out, &before, sizeof(out));
}

static void the_prefix_tells_our_version(void **state)
{
	(void)state;
	assert_true(name_has_prefix("guestlock/1/", 12));
	assert_true(name_has_prefix("guestlock/1/x", 13));
	assert_false(name_has_prefix("guestlock/1", 11));
	assert_false(name_has_prefix("guestlock/2/", 12));
	assert_false(name_has_prefix("", 0));
}

static void the_uuid_is_told_without_parsing(void **state)
{
	static const char name[] = "guestlock/1/" UUID "/1/3/rubbish";
	struct uuid uuid;

	(void)state;
	assert_int_equal(uuid_parse(UUID, &uuid), 0);
	assert_true(name_has_uuid(name, strlen(name), &uuid));
	assert_false(name_has_uuid(name, 12 + UUID_STRLEN, &uuid));
	assert_false(name_has_uuid(name, 20, &uuid));
	assert_false(name_has_uuid(name + 1, strlen(name) - 1, &uuid));
	uuid.b[15] ^= 1;
	assert_false(name_has_uuid(name, strlen(name), &uuid));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_name_reads_as_it_was_written),
	cmocka_unit_test(the_longest_name_fits_a_socket_address),
	cmocka_unit_test(parts_out_of_range_are_not_written),
	cmocka_unit_test(only_the_canonical_spelling_is_a_name),
	cmocka_unit_test(zero_bytes_and_padding_are_no_part_of_a_name),
	cmocka_unit_test(a_bad_name_changes_nothing),
	cmocka_unit_test(the_prefix_tells_our_version),
	cmocka_unit_test(the_uuid_is_told_without_parsing),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
