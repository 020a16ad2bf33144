/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/json.h"
#include "core/base/clock.h"
#include "core/base/util.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <string.h>

#define MOMENT (UINT64_C(1795404600) * NSEC_PER_SEC + 5 * NSEC_PER_MSEC)
#define MOMENT_TEXT "2026-11-23T03:30:00.005Z"

/* Takes @value over. */
static void expect(json_t *value, const char *want)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(value);
	assert_int_equal(json_write(value, f), 0);
	fclose(f);
	assert_string_equal(text, want);
}

static const struct glk_lease_info lease = {
	.path = "/vm/a.img",
	.type = GLK_LEASE_FILE,
	.mode = GLK_MODE_SHARED,
	.scope = GLK_SCOPE_HOST,
	.held = 1,
	.same_file = 1,
	.since = MOMENT,
	.role = GLK_ROLE_INCOMING,
};

static const char lease_text[] =
	"{\"path\": \"/vm/a.img\", \"type\": \"file\", \"mode\": \"shared\", "
	"\"scope\": \"host\", \"held\": true, \"same_file\": true, "
	"\"since\": \"" MOMENT_TEXT "\", \"role\": \"incoming\"}";

static void a_lease_has_the_fields_of_the_contract(void **state)
{
	char want[400];

	(void)state;
	snprintf(want, sizeof(want), "%s\n", lease_text);
	expect(json_lease(&lease), want);
}

static void a_guest_has_the_fields_of_the_contract(void **state)
{
	struct glk_guest_info g = {
		.uuid = "67073eed-f57d-56d9-8782-704cd33325ea",
		.name = "web1",
		.id = 7,
		.pid = 123,
		.holder = GLK_HOLDER_GUEST,
		.uid = 1000,
		.started = MOMENT,
		.epoch = 3,
		.leases = &lease,
		.n_leases = 1,
	};
	char want[800];

	(void)state;
	snprintf(want, sizeof(want),
		 "{\"uuid\": \"67073eed-f57d-56d9-8782-704cd33325ea\", "
		 "\"name\": \"web1\", \"id\": 7, \"pid\": 123, "
		 "\"holder\": \"guest\", \"uid\": 1000, \"started\": \"%s\", "
		 "\"epoch\": 3, \"leases\": [%s]}\n",
		 MOMENT_TEXT, lease_text);
	expect(json_guest(&g), want);
}

static void what_is_not_there_is_null_or_left_out(void **state)
{
	struct glk_guest_info g = {
		.uuid = "67073eed-f57d-56d9-8782-704cd33325ea",
		.name = "",
		.id = -1,
		.pid = 123,
		.holder = GLK_HOLDER_KEEPER,
		.n_garbled = 2,
		.error = -ETIME,
	};

	(void)state;
	expect(json_guest(&g),
	       "{\"uuid\": \"67073eed-f57d-56d9-8782-704cd33325ea\", "
	       "\"name\": null, \"id\": null, \"pid\": 123, "
	       "\"holder\": \"keeper\", \"uid\": 0, \"started\": null, "
	       "\"epoch\": 0, "
	       "\"leases\": [], \"garbled\": 2, \"error\": \"timeout\"}\n");
}

static void a_conflict_has_the_fields_of_the_contract(void **state)
{
	struct glk_conflict c = {
		.path = "a.img",
		.mode = GLK_MODE_EXCLUSIVE,
		.kind = GLK_CONFLICT_PROCESS,
		.uuid = "",
		.name = "",
		.pid = 9,
		.exe = "/usr/bin/qemu-system-x86_64",
	};

	(void)state;
	expect(json_conflict(&c),
	       "{\"path\": \"a.img\", \"mode\": \"exclusive\", \"holder\": "
	       "{\"kind\": \"process\", \"uuid\": null, \"name\": null, "
	       "\"pid\": 9, \"exe\": \"/usr/bin/qemu-system-x86_64\", "
	       "\"since\": null}}\n");
	c = (struct glk_conflict){ .path = "a",
				   .mode = GLK_MODE_SHARED,
				   .kind = GLK_CONFLICT_GUEST,
				   .uuid = "u",
				   .name = "n",
				   .exe = "",
				   .since = MOMENT,
				   .host = "h2",
				   .how = "has it open" };
	expect(json_conflict(&c),
	       "{\"path\": \"a\", \"mode\": \"shared\", \"holder\": "
	       "{\"kind\": \"guest\", \"uuid\": \"u\", \"name\": \"n\", "
	       "\"pid\": null, \"exe\": null, \"since\": \"" MOMENT_TEXT
	       "\", \"host\": \"h2\", \"how\": \"has it open\"}}\n");
}

static void a_path_that_is_not_utf8_survives(void **state)
{
	json_t *o = json_object();

	(void)state;
	assert_int_equal(json_set_bytes(o, "path", "/a\xff b\xc3\xb6"), 0);
	expect(o, "{\"path\": \"/a\\uFFFD b\\u00F6\", "
		  "\"path_bytes\": \"/a%FF%20b%C3%B6\"}\n");
	o = json_object();
	assert_int_equal(json_set_bytes(o, "path", "/a b\xc3\xb6"), 0);
	expect(o, "{\"path\": \"/a b\\u00F6\"}\n");
}

static void json_cannot_move_the_cursor_either(void **state)
{
	json_t *o = json_object();

	(void)state;
	json_set_bytes(o, "s", "\x1b[2J\n\"\\\xc2\x9b\xe2\x80\xae");
	expect(o, "{\"s\": "
		  "\"\\u001B[2J\\n\\\"\\\\\\u009B\\u202E\"}\n");
}

static void every_sequence_of_three_bytes_survives(void **state)
{
	static const unsigned char picks[] = {
		0x01, 0x0a, 0x1b, 'a',	0x7f, 0x80, 0x9f, 0xa0, 0xbf, 0xc0,
		0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff,
	};
	size_t n = ARRAY_SIZE(picks);

	(void)state;
	for (size_t i = 0; i < n * n * n; i++) {
		char s[] = { (char)picks[i % n], (char)picks[i / n % n],
			     (char)picks[i / n / n], '\0' };
		json_t *o = json_object();

		if (json_set_bytes(o, "k", s))
			fail_msg("%02x %02x %02x", (unsigned char)s[0],
				 (unsigned char)s[1], (unsigned char)s[2]);
		if (!json_object_get(o, "k_bytes"))
			assert_string_equal(json_string_value(
						    json_object_get(o, "k")),
					    s);
		json_decref(o);
	}
}

static void numbers_that_name_nothing_are_unknown(void **state)
{
	(void)state;
	assert_string_equal(lease_type_name(0), "unknown");
	assert_string_equal(lease_type_name(-1), "unknown");
	assert_string_equal(lease_mode_name(2), "unknown");
	assert_string_equal(lease_scope_name(5), "unknown");
	assert_string_equal(lease_role_name(6), "unknown");
	assert_string_equal(lease_scope_name(GLK_SCOPE_CLUSTER), "cluster");
	assert_string_equal(lease_scope_name(GLK_SCOPE_SERVER), "server");
	assert_string_equal(lease_scope_name(GLK_SCOPE_NODE), "node");
	assert_string_equal(guest_holder_name(3), "unknown");
	assert_string_equal(guest_holder_name(GLK_HOLDER_SELF), "self");
	assert_string_equal(lease_type_name(GLK_LEASE_BLOCK), "block");
}

static void no_memory_is_an_error_and_not_half_an_answer(void **state)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(json_write(NULL, f), -ENOMEM);
	fclose(f);
	assert_string_equal(text, "");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_lease_has_the_fields_of_the_contract),
	cmocka_unit_test(a_guest_has_the_fields_of_the_contract),
	cmocka_unit_test(what_is_not_there_is_null_or_left_out),
	cmocka_unit_test(a_conflict_has_the_fields_of_the_contract),
	cmocka_unit_test(a_path_that_is_not_utf8_survives),
	cmocka_unit_test(json_cannot_move_the_cursor_either),
	cmocka_unit_test(every_sequence_of_three_bytes_survives),
	cmocka_unit_test(numbers_that_name_nothing_are_unknown),
	cmocka_unit_test(no_memory_is_an_error_and_not_half_an_answer),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
