/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/owner.h"

#include "core/base/util.h"
#include "tests/lib/test.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

static const struct owner web1 = {
	.name = "web1",
	.uuid = "0a09507e-fe50-4d07-aa88-0b742d8add29",
	.host = "host-1.example",
	.pid = 4711,
	.since = 1795654318912303473,
	.epoch = 3,
};

static void what_was_written_is_read(void **state)
{
	char buf[OWNER_SIZE];
	struct owner o;

	(void)state;
	assert_int_equal(owner_encode(&web1, buf), 0);
	assert_true(owner_is_ours(buf, OWNER_MAGIC_SIZE));
	assert_int_equal(owner_parse(buf, sizeof(buf), &o), 0);
	assert_string_equal(o.name, web1.name);
	assert_string_equal(o.uuid, web1.uuid);
	assert_string_equal(o.host, web1.host);
	assert_int_equal(o.pid, web1.pid);
	assert_int_equal(o.since, web1.since);
	assert_int_equal(o.epoch, web1.epoch);
}

/* For whoever looks into the file. */
static void it_is_one_line_and_padding(void **state)
{
	static const char line[] =
		"{\"guestlock\":1,\"name\":\"web1\","
		"\"uuid\":\"0a09507e-fe50-4d07-aa88-0b742d8add29\","
		"\"host\":\"host-1.example\",\"pid\":4711,"
		"\"since\":1795654318912303473,\"epoch\":3}\n";
	char buf[OWNER_SIZE];

	(void)state;
	assert_int_equal(owner_encode(&web1, buf), 0);
	assert_memory_equal(buf, line, sizeof(line) - 1);
	for (size_t i = sizeof(line) - 1; i < sizeof(buf) - 1; i++)
		assert_int_equal(buf[i], ' ');
	assert_int_equal(buf[sizeof(buf) - 1], '\n');
}

static void the_longest_one_fits(void **state)
{
	struct owner o = web1, back;
	char buf[OWNER_SIZE];

	(void)state;
	memset(o.name, '\\', OWNER_NAME_MAX);
	memset(o.host, '"', OWNER_HOST_MAX);
	o.pid = INT_MAX;
	o.since = o.epoch = INT64_MAX;
	assert_int_equal(owner_encode(&o, buf), 0);
	assert_int_equal(owner_parse(buf, sizeof(buf), &back), 0);
	assert_string_equal(back.name, o.name);
	assert_string_equal(back.host, o.host);
	assert_int_equal(back.since, INT64_MAX);
}

static void bytes_that_are_no_text_become_question_marks(void **state)
{
	struct owner o = web1, back;
	char buf[OWNER_SIZE];

	(void)state;
	strcpy(o.name, "gr\xc3\xbc\xc3\x9f");
	assert_int_equal(owner_encode(&o, buf), 0);
	assert_int_equal(owner_parse(buf, sizeof(buf), &back), 0);
	assert_string_equal(back.name, o.name);
	strcpy(o.name, "gr\xfc\xdf");
	assert_int_equal(owner_encode(&o, buf), 0);
	assert_int_equal(owner_parse(buf, sizeof(buf), &back), 0);
	assert_string_equal(back.name, "gr??");
}

static void a_record_that_was_cut_is_none(void **state)
{
	char buf[OWNER_SIZE];
	size_t line;
	struct owner o = web1;

	(void)state;
	assert_int_equal(owner_encode(&web1, buf), 0);
	line = strcspn(buf, "\n");
	for (size_t i = 0; i <= line; i++)
		assert_int_equal(owner_parse(buf, i, &o), -ENODATA);
	assert_int_equal(owner_parse(buf, line + 1, &o), 0);
	/* A shorter one, over a longer one, is read to its own end. */
	memcpy(buf + line + 1, buf, line);
	assert_int_equal(owner_parse(buf, sizeof(buf), &o), 0);
}

static void only_what_is_ours_may_be_overwritten(void **state)
{
	(void)state;
	assert_true(owner_is_ours("", 0));
	assert_true(owner_is_ours("{\"guestlock\":", 13));
	assert_false(owner_is_ours("{\"guestlock\"", 12));
	assert_false(owner_is_ours("{", 1));
	assert_false(owner_is_ours("QFI\xfb\0\0\0\3......", 13));
	assert_false(owner_is_ours("\0\0\0\0\0\0\0\0\0\0\0\0", 13));
}

#define RECORD(_name, _uuid, _host, _rest)                                     \
	"{\"guestlock\":1,\"name\":" _name ",\"uuid\":" _uuid                  \
	",\"host\":" _host _rest "}\n"
#define UUID "\"0a09507e-fe50-4d07-aa88-0b742d8add29\""
#define REST ",\"pid\":1,\"since\":2,\"epoch\":3"

static void what_makes_no_sense_is_no_record(void **state)
{
	static const char *const bad[] = {
		"\n",
		"{\"guestlock\":\n",
		"{\"guestlock\":1}\n",
		"{\"guestlock\":[[[[[[[[[[\n",
		RECORD("\"\"", UUID, "\"\"", REST),
		RECORD("7", UUID, "\"h\"", REST),
		RECORD("\"\"", "\"\"", "\"h\"", REST),
		RECORD("\"\"", "\"0a09507e\"", "\"h\"", REST),
		RECORD("\"a\\nb\"", UUID, "\"h\"", REST),
		RECORD("\"a\\u0000b\"", UUID, "\"h\"", REST),
		RECORD("\"\\u001b[2J\"", UUID, "\"h\"", REST),
		RECORD("\"\"", UUID, "\"\\u007f\"", REST),
		RECORD("\"\xff\"", UUID, "\"h\"", REST),
		RECORD("\"\"", UUID, "\"h\"", ""),
		RECORD("\"\"", UUID, "\"h\"", ",\"pid\":1,\"since\":2"),
		RECORD("\"\"", UUID, "\"h\"", REST ",\"pid\":1"),
		RECORD("\"\"", UUID, "\"h\"",
		       ",\"pid\":-1,\"since\":2,\"epoch\":3"),
		RECORD("\"\"", UUID, "\"h\"",
		       ",\"pid\":2147483648,\"since\":2,\"epoch\":3"),
		RECORD("\"\"", UUID, "\"h\"",
		       ",\"pid\":1,\"since\":1e3,\"epoch\":3"),
		RECORD("\"\"", UUID, "\"h\"",
		       ",\"pid\":1,\"since\":9223372036854775808,\"epoch\":3"),
	};
	static const char good[] = RECORD("\"\"", UUID, "\"h\"", REST);
	struct owner o;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(owner_parse(bad[i], strlen(bad[i]), &o),
				 -ENODATA);
	assert_int_equal(owner_parse(good, strlen(good), &o), 0);
	assert_int_equal(owner_parse(NULL, 0, &o), -ENODATA);
}

static void a_name_too_long_is_refused(void **state)
{
	char buf[OWNER_SIZE], name[OWNER_NAME_MAX + 2];
	struct owner o;

	(void)state;
	memset(name, 'n', sizeof(name));
	snprintf(buf, sizeof(buf), RECORD("\"%.*s\"", UUID, "\"h\"", REST),
		 OWNER_NAME_MAX, name);
	assert_int_equal(owner_parse(buf, strlen(buf), &o), 0);
	snprintf(buf, sizeof(buf), RECORD("\"%.*s\"", UUID, "\"h\"", REST),
		 OWNER_NAME_MAX + 1, name);
	assert_int_equal(owner_parse(buf, strlen(buf), &o), -ENODATA);
	snprintf(buf, sizeof(buf), RECORD("\"\"", UUID, "\"%.*s\"", REST),
		 OWNER_HOST_MAX + 1, name);
	assert_int_equal(owner_parse(buf, strlen(buf), &o), -ENODATA);
}

/* Of a newer version, say. */
static void what_it_says_besides_is_let_be(void **state)
{
	static const char more[] = RECORD("\"\"", UUID, "\"h\"",
					  REST ",\"more\":{\"a\":[1,null]}");
	struct owner o;

	(void)state;
	assert_int_equal(owner_parse(more, strlen(more), &o), 0);
	assert_string_equal(o.host, "h");
}

static void this_host_has_its_own_name(void **state)
{
	char host[OWNER_HOST_MAX + 1];
	struct utsname name;

	(void)state;
	owner_host(host);
	assert_int_equal(uname(&name), 0);
	assert_string_equal(host, name.nodename);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(what_was_written_is_read),
	cmocka_unit_test(it_is_one_line_and_padding),
	cmocka_unit_test(the_longest_one_fits),
	cmocka_unit_test(bytes_that_are_no_text_become_question_marks),
	cmocka_unit_test(a_record_that_was_cut_is_none),
	cmocka_unit_test(only_what_is_ours_may_be_overwritten),
	cmocka_unit_test(what_makes_no_sense_is_no_record),
	cmocka_unit_test(a_name_too_long_is_refused),
	cmocka_unit_test(what_it_says_besides_is_let_be),
	cmocka_unit_test(this_host_has_its_own_name),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
