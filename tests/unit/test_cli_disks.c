/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/disks.h"
#include "core/base/util.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void expect_disk(const char *spec, const char *path, unsigned flags)
{
	struct disks disks = {};
	const char *why = NULL;

	assert_int_equal(disks_add_spec(&disks, spec, &why), 0);
	assert_int_equal(disks.n, 1);
	assert_string_equal(disks.items[0].path, path);
	assert_int_equal(disks.items[0].flags, flags);
	disks_done(&disks);
}

static void refuse_disk(const char *spec, const char *part)
{
	struct disks disks = {};
	const char *why = "";

	assert_int_equal(disks_add_spec(&disks, spec, &why), -EINVAL);
	assert_int_equal(disks.n, 0);
	if (!strstr(why, part))
		fail_msg("'%s': \"%s\" does not say \"%s\"", spec, why, part);
	disks_done(&disks);
}

static void a_disk_is_a_path_and_its_flags(void **state)
{
	(void)state;
	expect_disk("/vm/a.img", "/vm/a.img", 0);
	expect_disk("a.img,shared", "a.img", GLK_DISK_SHARED);
	expect_disk("a.img,readonly", "a.img", GLK_DISK_READONLY);
	expect_disk("a,shared,readonly", "a",
		    GLK_DISK_SHARED | GLK_DISK_READONLY);
	expect_disk("a,readonly,readonly", "a", GLK_DISK_READONLY);
	expect_disk("a,lease", "a", GLK_DISK_LEASE);
	expect_disk(" a b\n", " a b\n", 0);
}

static void a_doubled_comma_belongs_to_the_path(void **state)
{
	(void)state;
	expect_disk("a,,b.img", "a,b.img", 0);
	expect_disk("a,,b.img,shared", "a,b.img", GLK_DISK_SHARED);
	expect_disk(",,", ",", 0);
	expect_disk(",,,,", ",,", 0);
	expect_disk("a,,,shared", "a,", GLK_DISK_SHARED);
	expect_disk("a,,shared", "a,shared", 0);
	expect_disk("a,,", "a,", 0);
}

static void an_empty_path_is_refused(void **state)
{
	(void)state;
	refuse_disk("", "path is empty");
	refuse_disk(",shared", "path is empty");
	refuse_disk(",", "path is empty");
}

static void a_trailing_comma_is_refused(void **state)
{
	(void)state;
	refuse_disk("a,", "nothing follows");
	refuse_disk("a,shared,", "nothing follows");
	refuse_disk("a,shared,,readonly", "nothing follows");
	refuse_disk("a,,,", "nothing follows");
}

static void an_unknown_flag_is_refused_and_says_what_may_be(void **state)
{
	(void)state;
	refuse_disk("a,b.img", "only shared, readonly, claim and lease");
	refuse_disk("a,share", "only shared, readonly, claim and lease");
	refuse_disk("a,sharedd", "only shared, readonly, claim and lease");
	refuse_disk("a,SHARED", "only shared, readonly, claim and lease");
	refuse_disk("a,shared=on", "only shared, readonly, claim and lease");
	refuse_disk("a, shared", "only shared, readonly, claim and lease");
}

static void expect_list(const char *data, size_t len, char delimiter,
			const char *const *paths)
{
	struct disks disks = {};
	const char *why;
	size_t record, n = 0;

	assert_int_equal(disks_add_list(&disks, data, len, delimiter, &record,
					&why),
			 0);
	for (; paths[n]; n++) {
		assert_true(n < disks.n);
		assert_string_equal(disks.items[n].path, paths[n]);
		assert_int_equal(disks.items[n].flags, 0);
	}
	assert_int_equal(disks.n, n);
	disks_done(&disks);
}

static void refuse_list(const char *data, size_t len, char delimiter,
			size_t want_record)
{
	struct disks disks = {};
	const char *why = "";
	size_t record = 99;

	assert_int_equal(disks_add_list(&disks, data, len, delimiter, &record,
					&why),
			 -EINVAL);
	assert_int_equal(record, want_record);
	assert_true(*why != '\0');
	disks_done(&disks);
}

#define LIST(_s) _s, sizeof(_s) - 1
#define PATHS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void a_list_has_one_path_a_line(void **state)
{
	(void)state;
	expect_list(LIST("/a\n/b\n"), '\n', PATHS("/a", "/b"));
	expect_list(LIST("/a\n/b"), '\n', PATHS("/a", "/b"));
	expect_list(LIST("/a"), '\n', PATHS("/a"));
}

static void lines_are_taken_byte_for_byte(void **state)
{
	(void)state;
	expect_list(LIST(" a \n# b\nc,,d,shared\ne\r\n\xff\x1b\n"), '\n',
		    PATHS(" a ", "# b", "c,,d,shared", "e\r", "\xff\x1b"));
}

static void a_nul_separated_list_may_hold_newlines(void **state)
{
	(void)state;
	expect_list(LIST("a\nb\0c\n\0"), '\0', PATHS("a\nb", "c\n"));
	expect_list(LIST("a\0b"), '\0', PATHS("a", "b"));
	expect_list(LIST("\n\0"), '\0', PATHS("\n"));
}

static void an_empty_record_is_refused_by_its_number(void **state)
{
	(void)state;
	refuse_list(LIST("a\n\nb\n"), '\n', 2);
	refuse_list(LIST("\n"), '\n', 1);
	refuse_list(LIST("a\nb\n\n"), '\n', 3);
	refuse_list(LIST("a\0\0b"), '\0', 2);
	refuse_list(LIST("\0"), '\0', 1);
}

static void a_nul_byte_in_a_line_is_refused_by_its_number(void **state)
{
	(void)state;
	refuse_list(LIST("a\nb\0c\n"), '\n', 2);
	refuse_list(LIST("a\0b\0"), '\n', 1);
}

static void an_empty_list_is_refused(void **state)
{
	(void)state;
	refuse_list(LIST(""), '\n', 0);
	refuse_list(LIST(""), '\0', 0);
}

static void a_long_list_keeps_its_order(void **state)
{
	_cleanup_(freep) char *data = malloc(3000 * 8);
	struct disks disks = {};
	const char *why;
	size_t len = 0, record;

	(void)state;
	for (int i = 0; i < 3000; i++)
		len += (size_t)sprintf(data + len, "/d%d\n", i);
	assert_int_equal(disks_add_list(&disks, data, len, '\n', &record, &why),
			 0);
	assert_int_equal(disks.n, 3000);
	assert_string_equal(disks.items[0].path, "/d0");
	assert_string_equal(disks.items[2999].path, "/d2999");
	disks_done(&disks);
}

static void a_file_is_read_whole_whatever_is_in_it(void **state)
{
	const char *path = test_file("list", 0);
	_cleanup_(freep) char *data = NULL, *big = calloc(1, 200001);
	size_t len = 0;
	FILE *f = fopen(path, "we");

	(void)state;
	memset(big, 'x', 200001);
	big[5] = '\0';
	fwrite(big, 1, 200001, f);
	fclose(f);
	assert_int_equal(disks_read_file(path, &data, &len), 0);
	assert_int_equal(len, 200001);
	assert_memory_equal(data, big, len);
}

static void a_file_that_cannot_be_read_says_why(void **state)
{
	char *data = NULL;
	size_t len = 7;

	(void)state;
	assert_int_equal(disks_read_file(test_file("missing", -1), &data, &len),
			 -ENOENT);
	assert_int_equal(disks_read_file(test_dir(), &data, &len), -EISDIR);
	assert_null(data);
	assert_int_equal(len, 7);
}

static void a_list_without_end_is_refused(void **state)
{
	char *data = NULL;
	size_t len;

	(void)state;
	assert_int_equal(disks_read_file("/dev/zero", &data, &len), -EFBIG);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_disk_is_a_path_and_its_flags),
	cmocka_unit_test(a_doubled_comma_belongs_to_the_path),
	cmocka_unit_test(an_empty_path_is_refused),
	cmocka_unit_test(a_trailing_comma_is_refused),
	cmocka_unit_test(an_unknown_flag_is_refused_and_says_what_may_be),
	cmocka_unit_test(a_list_has_one_path_a_line),
	cmocka_unit_test(lines_are_taken_byte_for_byte),
	cmocka_unit_test(a_nul_separated_list_may_hold_newlines),
	cmocka_unit_test(an_empty_record_is_refused_by_its_number),
	cmocka_unit_test(a_nul_byte_in_a_line_is_refused_by_its_number),
	cmocka_unit_test(an_empty_list_is_refused),
	cmocka_unit_test(a_long_list_keeps_its_order),
	cmocka_unit_test(a_file_is_read_whole_whatever_is_in_it),
	cmocka_unit_test(a_file_that_cannot_be_read_says_why),
	cmocka_unit_test(a_list_without_end_is_refused),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
