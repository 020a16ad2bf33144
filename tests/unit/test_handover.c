/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/handover.h"

#include "tests/lib/test.h"

/* Every combination of bytes, by the rules of the table in handover.h. */
#define COMBINATIONS (3 * 8)

static struct held_bytes combination(int i)
{
	return (struct held_bytes){
		.owner = (enum held_byte)(i / 8),
		.successor = i & 1,
		.writer = i & 2,
		.predecessor = i & 4,
	};
}

static void the_rows_of_the_table_are_the_roles(void **state)
{
	static const struct {
		struct held_bytes held;
		enum role role;
	} rows[] = {
		{ { HELD_WRITE, false, false, false }, ROLE_OWNER },
		{ { HELD_READ, false, true, true }, ROLE_PREPARED },
		{ { HELD_READ, false, false, true }, ROLE_LEFT },
		{ { HELD_READ, true, false, false }, ROLE_INCOMING },
		{ { HELD_READ, true, true, false }, ROLE_ARRIVED },
		{ { HELD_NOTHING, false, false, false }, ROLE_NONE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(handover_role(RES_EXCLUSIVE, &rows[i].held),
				 rows[i].role);
}

/* One of the two that exclude each other in the kernel: W on byte 0, or R on
   it together with W on byte 3. */
static void who_may_write_has_what_only_one_can_have(void **state)
{
	(void)state;
	for (int i = 0; i < COMBINATIONS; i++) {
		struct held_bytes held = combination(i);
		enum role role = handover_role(RES_EXCLUSIVE, &held);

		assert_int_equal(role_holds(role),
				 held.owner == HELD_WRITE ||
					 (held.owner == HELD_READ &&
					  held.writer));
	}
}

static void nobody_else_has_all_of_a_role_that_excludes_sharers(void **state)
{
	(void)state;
	for (int i = 0; i < COMBINATIONS; i++) {
		struct held_bytes held = combination(i);
		enum role role = handover_role(RES_EXCLUSIVE, &held);

		if (role != ROLE_OWNER && role != ROLE_NONE)
			assert_true(held.successor || held.writer ||
				    held.predecessor);
	}
}

static void what_is_half_taken_counts_as_a_side(void **state)
{
	const struct held_bytes claim = { .successor = true };
	const struct held_bytes source = { .predecessor = true,
					   .writer = true };
	const struct held_bytes between = { .owner = HELD_WRITE,
					    .writer = true,
					    .predecessor = true };

	(void)state;
	assert_int_equal(handover_role(RES_EXCLUSIVE, &claim), ROLE_INCOMING);
	assert_int_equal(handover_role(RES_EXCLUSIVE, &source), ROLE_LEFT);
	assert_int_equal(handover_role(RES_EXCLUSIVE, &between), ROLE_OWNER);
}

static void a_shared_lease_takes_part_in_no_hand_over(void **state)
{
	(void)state;
	for (int i = 0; i < COMBINATIONS; i++) {
		struct held_bytes held = combination(i);

		assert_int_equal(handover_role(RES_SHARED, &held),
				 held.owner == HELD_READ ? ROLE_OWNER
							 : ROLE_NONE);
	}
}

static void every_role_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int i = 0; i < _ROLE_N; i++) {
		assert_string_not_equal(role_name((enum role)i), "?");
		for (int k = 0; k < i; k++)
			assert_string_not_equal(role_name((enum role)i),
						role_name((enum role)k));
	}
	assert_string_equal(role_name(_ROLE_N), "?");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_rows_of_the_table_are_the_roles),
	cmocka_unit_test(who_may_write_has_what_only_one_can_have),
	cmocka_unit_test(nobody_else_has_all_of_a_role_that_excludes_sharers),
	cmocka_unit_test(what_is_half_taken_counts_as_a_side),
	cmocka_unit_test(a_shared_lease_takes_part_in_no_hand_over),
	cmocka_unit_test(every_role_has_a_name_of_its_own),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
