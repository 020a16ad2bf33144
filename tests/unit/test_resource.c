/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/resource.h"
#include "tests/lib/test.h"

static void every_value_has_its_own_name(void **state)
{
	(void)state;
	assert_string_equal(res_type_name(RES_TYPE_FILE), "file");
	assert_string_equal(res_type_name(RES_TYPE_BLOCK), "block");
	assert_string_equal(res_type_name(RES_TYPE_LEASE), "lease");
	assert_string_equal(res_mode_name(RES_EXCLUSIVE), "exclusive");
	assert_string_equal(res_mode_name(RES_SHARED), "shared");
	assert_string_equal(res_scope_name(RES_SCOPE_NODE), "node");
	assert_string_equal(res_scope_name(RES_SCOPE_HOST), "host");
	assert_string_equal(res_scope_name(RES_SCOPE_SERVER), "server");
	assert_string_equal(res_scope_name(RES_SCOPE_CLUSTER), "cluster");
}

static void a_number_that_is_no_value_is_named_by_a_question_mark(void **state)
{
	(void)state;
	assert_string_equal(res_type_name(_RES_TYPE_NONE), "?");
	assert_string_equal(res_type_name((enum res_type)4), "?");
	assert_string_equal(res_mode_name((enum res_mode)2), "?");
	assert_string_equal(res_scope_name(_RES_SCOPE_NONE), "?");
	assert_string_equal(res_scope_name((enum res_scope) - 1), "?");
}

static void ids_are_equal_only_if_device_and_inode_are(void **state)
{
	struct res_id a = { 1, 2 };

	(void)state;
	assert_true(res_id_equal(a, (struct res_id){ 1, 2 }));
	assert_false(res_id_equal(a, (struct res_id){ 1, 3 }));
	assert_false(res_id_equal(a, (struct res_id){ 2, 2 }));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_value_has_its_own_name),
	cmocka_unit_test(a_number_that_is_no_value_is_named_by_a_question_mark),
	cmocka_unit_test(ids_are_equal_only_if_device_and_inode_are),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
