/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/feature.h"
#include "tests/lib/test.h"

#include <stdlib.h>

static void the_environment_disables_by_name(void **state)
{
	(void)state;
	setenv("GUESTLOCK_DISABLE", "openat2,nonsense,dir-check", 1);
	assert_false(feature_allowed(FEATURE_OPENAT2));
	assert_false(feature_allowed(FEATURE_DIR_CHECK));
	assert_true(feature_allowed(FEATURE_URING));
	assert_string_equal(feature_unknown(), "nonsense");
}

static void every_feature_has_a_name(void **state)
{
	(void)state;
	for (int f = 0; f < _FEATURE_N; f++)
		assert_non_null(feature_name((enum feature)f));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_environment_disables_by_name),
	cmocka_unit_test(every_feature_has_a_name),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
