/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lib.h"
#include "tests/lib/test.h"

#include <string.h>

static void a_list_keeps_copies_and_never_null(void **state)
{
	struct conflict_list list = {};
	char name[] = "web1";
	struct glk_conflict c = { .path = "/a", .name = name };

	(void)state;
	for (int i = 0; i < 20; i++)
		assert_int_equal(conflict_add(&list, &c), 0);
	name[0] = 'X';
	assert_int_equal(list.n, 20);
	assert_string_equal(list.items[19].name, "web1");
	assert_string_equal(list.items[19].uuid, "");
	assert_string_equal(list.items[19].exe, "");
	conflict_clear(&list);
	assert_int_equal(list.n, 0);
	conflict_clear(&list);
}

static void a_clause_names_the_holder(void **state)
{
	const struct glk_conflict guest = {
		.kind = GLK_CONFLICT_GUEST,
		.uuid = "67073eed-f57d-56d9-8782-704cd33325ea",
		.name = "web1\n",
		.pid = 42,
		.since = 1000000000ULL * 1700000000ULL,
	};
	const struct glk_conflict process = { .kind = GLK_CONFLICT_PROCESS,
					      .pid = 43,
					      .exe = "/usr/bin/qemu" };
	const struct glk_conflict nobody = {};
	char buf[512];

	(void)state;
	conflict_describe(&guest, buf, sizeof(buf));
	assert_string_equal(buf,
			    "held by guest 'web1\\x0a' (uuid 67073eed-f57d-"
			    "56d9-8782-704cd33325ea, pid 42) since "
			    "2023-11-14T22:13:20Z");
	conflict_describe(&process, buf, sizeof(buf));
	assert_string_equal(buf, "held by process 43 (/usr/bin/qemu)");
	conflict_describe(&nobody, buf, sizeof(buf));
	assert_string_equal(buf,
			    "held by somebody that this process cannot see");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_list_keeps_copies_and_never_null),
	cmocka_unit_test(a_clause_names_the_holder),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
