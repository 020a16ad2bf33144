/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/uuid.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <string.h>

static const char good[] = "67073eed-f57d-56d9-8782-704cd33325ea";

static void a_uuid_survives_parse_and_format(void **state)
{
	char buf[UUID_STRLEN + 1];
	struct uuid u;

	(void)state;
	assert_int_equal(uuid_parse(good, &u), 0);
	assert_string_equal(uuid_format(&u, buf), good);
	assert_int_equal(uuid_parse("67073EED-F57D-56D9-8782-704CD33325EA", &u),
			 0);
	assert_string_equal(uuid_format(&u, buf), good);
}

static void what_is_no_uuid_is_refused_and_leaves_the_output(void **state)
{
	static const char *const bad[] = {
		"",
		"67073eed",
		"67073eed-f57d-56d9-8782-704cd33325e",
		"67073eed-f57d-56d9-8782-704cd33325eaa",
		"67073eedf57d-56d9-8782-704cd33325ea-",
		"67073eed-f57d-56d9-8782-704cd33325eg",
	};
	struct uuid u, before;

	(void)state;
	memset(&u, 0x5a, sizeof(u));
	before = u;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(uuid_parse(bad[i], &u), -EINVAL);
		assert_memory_equal(&u, &before, sizeof(u));
	}
}

static void generated_uuids_differ_and_are_version_4(void **state)
{
	struct uuid a, b;

	(void)state;
	assert_int_equal(uuid_generate(&a), 0);
	assert_int_equal(uuid_generate(&b), 0);
	assert_memory_not_equal(&a, &b, sizeof(a));
	assert_int_equal(a.b[6] >> 4, 4);
	assert_int_equal(a.b[8] >> 6, 2);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_uuid_survives_parse_and_format),
	cmocka_unit_test(what_is_no_uuid_is_refused_and_leaves_the_output),
	cmocka_unit_test(generated_uuids_differ_and_are_version_4),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
