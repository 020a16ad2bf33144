/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lib.h"
#include "tests/lib/test.h"

#include "core/base/clock.h"
#include "include/guestlock/driver.h"

#include <string.h>

static struct glk_context *context;

static int open_context(void **state)
{
	(void)state;
	return glk_context_new(&context);
}

static int close_context(void **state)
{
	(void)state;
	glk_context_free(context);
	return 0;
}

static void a_failure_has_a_message_until_the_next_call(void **state)
{
	(void)state;
	assert_string_equal(glk_context_message(context), "");
	assert_int_equal(context_fail(context, -ENOENT, "%s: gone", "/a"),
			 -ENOENT);
	assert_string_equal(glk_context_message(context), "/a: gone");
	assert_int_equal(context_begin(context), 0);
	assert_string_equal(glk_context_message(context), "");
}

static void a_driver_explains_and_blames_until_the_next_call(void **state)
{
	const struct glk_conflict one = { .path = "/a",
					  .kind = GLK_CONFLICT_HOST,
					  .name = "h1" };
	const struct glk_conflict *list;

	(void)state;
	assert_int_equal(glk_context_explain(context, -EBUSY, "%s: %d", "/a",
					     7),
			 -EBUSY);
	assert_string_equal(glk_context_message(context), "/a: 7");
	assert_int_equal(glk_context_explain(context, -EIO, "more: %s",
					     glk_context_message(context)),
			 -EIO);
	assert_string_equal(glk_context_message(context), "more: /a: 7");
	for (int i = 0; i < 20; i++) {
		assert_int_equal(glk_context_blame(context, i ? list : &one),
				 0);
		assert_int_equal(glk_context_conflicts(context, &list), i + 1);
		assert_string_equal(list[i].path, "/a");
		assert_string_equal(list[i].name, "h1");
		assert_string_equal(list[i].uuid, "");
		assert_int_equal(list[i].kind, GLK_CONFLICT_HOST);
	}
	assert_int_equal(context_begin(context), 0);
	assert_string_equal(glk_context_message(context), "");
	assert_int_equal(glk_context_conflicts(context, &list), 0);
}

static void a_cancel_ends_one_call_only(void **state)
{
	const char *path = test_file("cancel", 0), *fs;
	int scope;

	(void)state;
	glk_context_cancel(context);
	glk_context_cancel(context);
	assert_int_equal(glk_disk_scope(context, path, &scope, &fs),
			 -ECANCELED);
	assert_string_equal(glk_context_message(context), "cancelled");
	assert_int_equal(glk_disk_scope(context, path, &scope, &fs), 0);
	assert_int_equal(context_begin(context), 0);
}

static void a_cancel_that_has_ended_a_call_does_not_end_the_next(void **state)
{
	struct op op = { .kind = OP_STAT, .fd = 0 };

	(void)state;
	glk_context_cancel(context);
	assert_int_equal(engine_run(context->engine, &op, 1, UINT64_MAX), 0);
	assert_int_equal(op.res, -ECANCELED);
	assert_int_equal(context_begin(context), 0);
}

static void the_time_limit_starts_with_each_call(void **state)
{
	uint64_t now = clock_now();

	(void)state;
	glk_context_set_timeout(context, 1000);
	assert_int_equal(context_begin(context), 0);
	assert_true(context->deadline >= now + 1000 * NSEC_PER_MSEC);
	assert_true(context->deadline <= clock_now() + 1000 * NSEC_PER_MSEC);
}

static void capsule_outcomes_become_errnos(void **state)
{
	static const int cases[][2] = {
		{ CAPSULE_E_GONE, -ESRCH },
		{ CAPSULE_E_FORGED, -EBADMSG },
		{ CAPSULE_E_DENIED, -EPERM },
		{ CAPSULE_E_BUSY, -ETIME },
		{ CAPSULE_E_FULL, -ENOSPC },
		{ CAPSULE_E_INFLIGHT, -ETOOMANYREFS },
		{ CAPSULE_E_NOFILE, -EMFILE },
		{ -EIO, -EIO },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(context_capsule_fail(context, cases[i][0],
						      "it"),
				 cases[i][1]);
		assert_int_equal(strncmp(glk_context_message(context),
					 "it: ", 4),
				 0);
	}
}

static void quoted_text_is_one_harmless_line(void **state)
{
	static char longest[10000];

	(void)state;
	assert_string_equal(quoted("a b"), "a b");
	assert_string_equal(quoted("a\nb\x1b[1m\\\xff"),
			    "a\\x0ab\\x1b[1m\\x5c\\xff");
	memset(longest, 'x', sizeof(longest) - 1);
	assert_true(strlen(quoted(longest)) < 4700);
	assert_non_null(strstr(quoted(longest), "xxx..."));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(
		a_failure_has_a_message_until_the_next_call, open_context,
		close_context),
	cmocka_unit_test_setup_teardown(
		a_driver_explains_and_blames_until_the_next_call, open_context,
		close_context),
	cmocka_unit_test_setup_teardown(a_cancel_ends_one_call_only,
					open_context, close_context),
	cmocka_unit_test_setup_teardown(
		a_cancel_that_has_ended_a_call_does_not_end_the_next,
		open_context, close_context),
	cmocka_unit_test_setup_teardown(the_time_limit_starts_with_each_call,
					open_context, close_context),
	cmocka_unit_test_setup_teardown(capsule_outcomes_become_errnos,
					open_context, close_context),
	cmocka_unit_test(quoted_text_is_one_harmless_line),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
