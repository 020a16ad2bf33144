/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/sm.h"
#include "tests/lib/test.h"

#include "core/base/err.h"

#include <errno.h>

enum { RED, GREEN, BLUE };

static const struct sm_state lights[] = {
	[RED] = { "red", 1 << GREEN },
	[GREEN] = { "green", 1 << BLUE | 1 << RED },
	[BLUE] = { "blue", 0 },
};

static void every_cell_of_the_matrix_is_as_the_table_says(void **state)
{
	(void)state;
	bug_set_fatal(false);
	for (uint8_t from = RED; from <= BLUE; from++) {
		for (uint8_t to = RED; to <= BLUE + 1; to++) {
			bool may = to <= BLUE && (lights[from].next >> to & 1);
			struct sm sm;

			sm_init(&sm, lights, 3, from);
			assert_int_equal(sm_may(&sm, to), may);
			assert_int_equal(sm_move(&sm, to),
					 may ? 0 : -ENOTRECOVERABLE);
			assert_int_equal(sm.state, may ? to : from);
		}
	}
	bug_set_fatal(true);
}

static void a_state_has_its_name(void **state)
{
	struct sm sm;

	(void)state;
	sm_init(&sm, lights, 3, GREEN);
	assert_string_equal(sm_name(&sm), "green");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_cell_of_the_matrix_is_as_the_table_says),
	cmocka_unit_test(a_state_has_its_name),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
