/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lib.h"
#include "tests/lib/test.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void assert_absolute(const char *path, const char *expected)
{
	char *full = path_absolute(path);

	assert_non_null(full);
	assert_string_equal(full, expected);
	free(full);
}

static void a_relative_path_gets_the_working_directory(void **state)
{
	char old[PATH_MAX], full[PATH_MAX + 8];

	(void)state;
	assert_non_null(getcwd(old, sizeof(old)));
	assert_int_equal(chdir(test_dir()), 0);
	snprintf(full, sizeof(full), "%s/x", test_dir());
	assert_absolute("x", full);
	assert_absolute("./x", full);
	assert_absolute("././x", full);
	snprintf(full, sizeof(full), "%s/../x", test_dir());
	assert_absolute("../x", full);
	assert_int_equal(chdir("/"), 0);
	assert_absolute("x", "/x");
	assert_absolute("./a/b", "/a/b");
	assert_int_equal(chdir(old), 0);
}

static void an_absolute_path_stays_as_it_is(void **state)
{
	(void)state;
	assert_absolute("/x", "/x");
	assert_absolute("/a//b/./c", "/a//b/./c");
}

static void a_path_that_would_become_too_long_stays_as_it_is(void **state)
{
	char longest[CAPSULE_PATH_MAX + 1];
	char old[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(old, sizeof(old)));
	memset(longest, 'x', CAPSULE_PATH_MAX);
	longest[CAPSULE_PATH_MAX] = '\0';
	assert_int_equal(chdir(test_dir()), 0);
	assert_absolute(longest, longest);
	assert_int_equal(chdir(old), 0);
}

static void without_a_working_directory_a_path_stays_as_it_is(void **state)
{
	char old[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(old, sizeof(old)));
	assert_int_equal(mkdir(test_file("gone", -1), 0700), 0);
	assert_int_equal(chdir(test_file("gone", -1)), 0);
	assert_int_equal(rmdir(test_file("gone", -1)), 0);
	assert_absolute("x", "x");
	assert_int_equal(chdir(old), 0);
}

static void idle_parts_of_a_path_do_not_count(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} cases[] = {
		{ "/a/b", "/a/b", true },
		{ "/a/b", "/a//b", true },
		{ "/a/b", "///a/./b", true },
		{ "/a/b/.", "/a/b", true },
		{ "/a/b", "/a/././/b", true },
		{ "/a/b", "/a/b/", false },
		{ "/a/b", "/a/c/../b", false },
		{ "/a/b", "/a/bc", false },
		{ "/a/b", "/a", false },
		{ "/a/.b", "/a/b", false },
		{ "/a./b", "/a/b", false },
		{ "/", "//", true },
		{ "", "/", false },
		{ "x", "x", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(path_same_text(cases[i].a, cases[i].b),
				 cases[i].same);
		assert_int_equal(path_same_text(cases[i].b, cases[i].a),
				 cases[i].same);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_relative_path_gets_the_working_directory),
	cmocka_unit_test(an_absolute_path_stays_as_it_is),
	cmocka_unit_test(a_path_that_would_become_too_long_stays_as_it_is),
	cmocka_unit_test(without_a_working_directory_a_path_stays_as_it_is),
	cmocka_unit_test(idle_parts_of_a_path_do_not_count),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
