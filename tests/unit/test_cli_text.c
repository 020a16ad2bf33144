/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/text.h"
#include "core/base/clock.h"
#include "core/base/util.h"
#include "tests/lib/test.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

static void expect(const char *s, unsigned flags, const char *want)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	text_put(f, s, flags);
	fclose(f);
	assert_string_equal(text, want);
}

static void use_locale(const char *name)
{
	assert_non_null(setlocale(LC_CTYPE, name));
}

static void plain_text_stays_as_it_is(void **state)
{
	(void)state;
	use_locale("C.UTF-8");
	expect("", 0, "");
	expect("/vm/web1 (new)~,'%.img", 0, "/vm/web1 (new)~,'%.img");
	expect("/vm/gr\xc3\xb6\xc3\x9f"
	       "e",
	       0,
	       "/vm/gr\xc3\xb6\xc3\x9f"
	       "e");
	expect("\xf0\x9f\x90\xa7", 0, "\xf0\x9f\x90\xa7");
}

static void control_bytes_cannot_reach_the_terminal(void **state)
{
	(void)state;
	use_locale("C.UTF-8");
	expect("a\nb", 0, "a\\x0ab");
	expect("\x1b[2J\x07\r\t\x7f", 0, "\\x1b[2J\\x07\\x0d\\x09\\x7f");
	for (int c = 1; c < 0x20; c++) {
		char s[] = { (char)c, '\0' }, want[8];

		snprintf(want, sizeof(want), "\\x%02x", c);
		expect(s, 0, want);
	}
}

static void c1_controls_are_escaped_as_bytes_and_as_utf8(void **state)
{
	(void)state;
	use_locale("C.UTF-8");
	expect("\x9b"
	       "31m",
	       0, "\\x9b31m");
	expect("\xc2\x9b"
	       "31m",
	       0, "\\xc2\\x9b31m");
}

static void text_cannot_be_reversed_or_hidden(void **state)
{
	(void)state;
	use_locale("C.UTF-8");
	expect("a\xe2\x80\xae"
	       "b",
	       0, "a\\xe2\\x80\\xaeb");		      /* U+202E */
	expect("\xe2\x81\xa6", 0, "\\xe2\\x81\\xa6"); /* U+2066 */
	expect("\xe2\x80\xa8", 0, "\\xe2\\x80\\xa8"); /* U+2028 */
	expect("\xe2\x80\x8b", 0, "\\xe2\\x80\\x8b"); /* U+200B */
	expect("\xc2\xa0", 0, "\\xc2\\xa0");	      /* U+00A0 */
	expect("\xef\xbb\xbf", 0, "\\xef\\xbb\\xbf"); /* U+FEFF */
}

static void invalid_utf8_is_escaped_byte_by_byte(void **state)
{
	(void)state;
	use_locale("C.UTF-8");
	expect("\xff"
	       "a",
	       0, "\\xffa");
	expect("\xc3", 0, "\\xc3");
	expect("\xc3(", 0, "\\xc3(");
	expect("\xe2\x82", 0, "\\xe2\\x82");
	expect("\xc0\xaf", 0, "\\xc0\\xaf");	      /* overlong */
	expect("\xed\xa0\x80", 0, "\\xed\\xa0\\x80"); /* surrogate */
	expect("\xf4\x90\x80\x80", 0, "\\xf4\\x90\\x80\\x80");
}

static void a_locale_without_utf8_gets_ascii(void **state)
{
	(void)state;
	use_locale("C");
	expect("\xc3\xb6", 0, "\\xc3\\xb6");
	expect("o", 0, "o");
}

static void the_escape_itself_cannot_be_forged(void **state)
{
	(void)state;
	use_locale("C.UTF-8");
	expect("\\x0a", 0, "\\x5cx0a");
	expect("x' (uuid 0)", TEXT_QUOTED, "x\\x27 (uuid 0)");
}

static void a_message_keeps_its_escapes_but_not_controls(void **state)
{
	(void)state;
	use_locale("C.UTF-8");
	expect("a\\x0ab\n", TEXT_MESSAGE, "a\\x0ab\\x0a");
}

static void utf8_is_told_from_what_is_not(void **state)
{
	(void)state;
	assert_true(text_is_utf8(""));
	assert_true(text_is_utf8("a\xc3\xb6\xe2\x82\xac\xf0\x9f\x90\xa7"));
	assert_true(text_is_utf8("\xf4\x8f\xbf\xbf"));
	assert_false(text_is_utf8("\x80"));
	assert_false(text_is_utf8("a\xf8\x88\x80\x80\x80"));
	assert_false(text_is_utf8("\xe0\x80\xaf"));
	assert_false(text_is_utf8("\xf0\x80\x80\xaf"));
	assert_false(text_is_utf8("\xed\xbf\xbf"));
	assert_false(text_is_utf8("ab\xc3"));
}

static void each_invalid_byte_becomes_a_replacement(void **state)
{
	_cleanup_(freep) char *s = text_to_utf8("a\xff\xfe/\xc3\xb6\xe2\x82");

	(void)state;
	assert_string_equal(s, "a\xef\xbf\xbd\xef\xbf\xbd/\xc3\xb6"
			       "\xef\xbf\xbd\xef\xbf\xbd");
	assert_true(text_is_utf8(s));
}

static void percent_encoding_loses_no_byte(void **state)
{
	char all[256], back[256] = "";
	_cleanup_(freep) char *s = NULL;
	size_t n = 0;

	(void)state;
	for (int c = 1; c < 256; c++)
		all[c - 1] = (char)c;
	all[255] = '\0';
	s = text_percent(all);
	for (const char *p = s; *p; p++) {
		if (*p != '%') {
			back[n++] = *p;
			continue;
		}
		back[n++] =
			(char)strtol((char[]){ p[1], p[2], '\0' }, NULL, 16);
		p += 2;
	}
	assert_memory_equal(all, back, sizeof(all));
	freep(&s);
	s = text_percent("/vm/a b\xff%.img");
	assert_string_equal(s, "/vm/a%20b%FF%25.img");
}

static void times_are_iso_8601_in_utc(void **state)
{
	uint64_t ns = UINT64_C(1795404600) * NSEC_PER_SEC + 123456789;
	char buf[TEXT_TIME_MAX];

	(void)state;
	assert_string_equal(text_time(ns, TEXT_SECONDS, buf),
			    "2026-11-23T03:30:00Z");
	assert_string_equal(text_time(ns, TEXT_MILLISECONDS, buf),
			    "2026-11-23T03:30:00.123Z");
	assert_string_equal(text_time(0, TEXT_MILLISECONDS, buf), "");
	assert_true(strlen(text_time(UINT64_MAX, TEXT_MILLISECONDS, buf)) <
		    TEXT_TIME_MAX);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(plain_text_stays_as_it_is),
	cmocka_unit_test(control_bytes_cannot_reach_the_terminal),
	cmocka_unit_test(c1_controls_are_escaped_as_bytes_and_as_utf8),
	cmocka_unit_test(text_cannot_be_reversed_or_hidden),
	cmocka_unit_test(invalid_utf8_is_escaped_byte_by_byte),
	cmocka_unit_test(a_locale_without_utf8_gets_ascii),
	cmocka_unit_test(the_escape_itself_cannot_be_forged),
	cmocka_unit_test(a_message_keeps_its_escapes_but_not_controls),
	cmocka_unit_test(utf8_is_told_from_what_is_not),
	cmocka_unit_test(each_invalid_byte_becomes_a_replacement),
	cmocka_unit_test(percent_encoding_loses_no_byte),
	cmocka_unit_test(times_are_iso_8601_in_utc),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
