/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/err.h"
#include "tests/lib/test.h"

static int guarded(int n)
{
	BUG_RETURN(n < 0, -1);
	return n;
}

static void a_bug_in_a_host_process_fails_the_call_only(void **state)
{
	(void)state;
	bug_set_fatal(false);
	assert_int_equal(guarded(-5), -1);
	assert_int_equal(guarded(5), 5);
	bug_set_fatal(true);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_bug_in_a_host_process_fails_the_call_only),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
