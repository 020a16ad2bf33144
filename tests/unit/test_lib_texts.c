/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/texts.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void copies_stay_where_they_are(void **state)
{
	static char *copies[2000];
	struct texts texts = {};
	char text[32];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		snprintf(text, sizeof(text), "/images/disk-%d", i);
		copies[i] = texts_add(&texts, text);
		assert_non_null(copies[i]);
	}
	for (int i = 0; i < 2000; i++) {
		snprintf(text, sizeof(text), "/images/disk-%d", i);
		assert_string_equal(copies[i], text);
	}
	texts_done(&texts);
	assert_null(texts.last);
}

static void any_length_has_room(void **state)
{
	static const size_t lengths[] = { 0, 1, 222, 223, 224, 5000, 4096, 0 };
	char *copies[sizeof(lengths) / sizeof(*lengths)];
	struct texts texts = {};
	char text[5001];

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		memset(text, 'a' + (int)i, lengths[i]);
		text[lengths[i]] = '\0';
		copies[i] = texts_add(&texts, text);
		assert_non_null(copies[i]);
	}
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		assert_int_equal(strlen(copies[i]), lengths[i]);
		assert_int_equal(strspn(copies[i],
					(char[]){ (char)('a' + (int)i), 0 }),
				 lengths[i]);
	}
	texts_done(&texts);
}

static void none_are_forgotten_too(void **state)
{
	struct texts texts = {};

	(void)state;
	texts_done(&texts);
	assert_string_equal(texts_add(&texts, "again"), "again");
	texts_done(&texts);
	texts_done(&texts);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(copies_stay_where_they_are),
	cmocka_unit_test(any_length_has_room),
	cmocka_unit_test(none_are_forgotten_too),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
