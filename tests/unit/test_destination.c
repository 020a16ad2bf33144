/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/destination.h"
#include "tests/lib/test.h"

#include "core/base/util.h"

#include <string.h>

static void the_host_is_found_in_every_form(void **state)
{
	static const char *const cases[][2] = {
		{ "node2", "node2" },
		{ "node2:16514", "node2" },
		{ "node2.example.com", "node2.example.com" },
		{ "qemu+tls://node2/system", "node2" },
		{ "qemu+ssh://root@node2:22/system?x=a@b", "node2" },
		{ "qemu+ssh://a@b@node2/system", "node2" },
		{ "tcp://node2", "node2" },
		{ "tcp://node2:", "node2" },
		{ "tcp://node2#a@b", "node2" },
		{ "tcp://node2?host=other", "node2" },
		{ "tcp://[2001:db8::2]:49152", "2001:db8::2" },
		{ "tcp://root@[fe80::2%eth0]", "fe80::2" },
		{ "[2001:db8::2]", "2001:db8::2" },
		{ "2001:db8::2", "2001:db8::2" },
		{ "fe80::2%eth0", "fe80::2" },
		{ "::1", "::1" },
		{ "192.0.2.7:49152", "192.0.2.7" },
		{ "qemu:///system", "" },
		{ "unix:///run/migrate.sock", "" },
		{ "tcp://:49152", "" },
		{ "/run/migrate.sock", "" },
		{ "", "" },
		{ "://", "" },
		{ "@", "" },
		{ "root@", "" },
		{ "[", "" },
		{ "[]:1", "" },
		{ ":", "" },
		{ "tcp:node2:49152", "tcp" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char host[64] = "?";

		destination_host(cases[i][0], host, sizeof(host));
		assert_string_equal(host, cases[i][1]);
	}
}

static void what_means_this_host_is_here(void **state)
{
	static const char *const here[] = {
		"localhost",
		"LocalHost",
		"localhost.",
		"tcp://localhost.localdomain:1",
		"127.0.0.1",
		"tcp://127.1.2.3:49152",
		"tcp://[::1]:49152",
		"::1",
		"0:0:0:0:0:0:0:1",
		"[::ffff:127.0.0.1]",
		"qemu:///system",
		"unix:///run/sock",
		"",
		"node1",
		"NODE1",
		"node1.example.com",
		"node1.example.com.",
		"qemu+ssh://root@node1/system",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(here); i++)
		assert_true(destination_is_here(here[i], "node1.example.com"));
	assert_true(destination_is_here("node1.example.com", "node1"));
}

static void whatever_else_is_elsewhere(void **state)
{
	static const char *const elsewhere[] = {
		"node2",
		"node11",
		"node",
		"node1.example.org",
		"node1.example.com.evil.org",
		"tcp:localhost:49152",
		"127.evil.org",
		"127.1",
		"1270.0.0.1",
		"128.0.0.1",
		"localhost.evil.org",
		"localhos",
		"tcp://localhost@node2",
		"tcp://node2/localhost",
		"tcp://node2?localhost",
		"::2",
		"[::ffff:128.0.0.1]",
		"[::1.evil]",
		"%6cocalhost",
		".",
		"..",
		"-",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++)
		assert_false(
			destination_is_here(elsewhere[i], "node1.example.com"));
	assert_false(destination_is_here("node2", ""));
	assert_false(destination_is_here(".", ""));
	/* Addresses have no first label. */
	assert_false(destination_is_here("10.0.0.2", "10"));
	assert_false(destination_is_here("10.0.0.2", "10.0.0.3"));
}

/* Every text of some pieces, in buffers of every size: what comes out is a part
   of what went in, ends, and overruns nothing. */
static void no_text_overruns_the_buffer(void **state)
{
	static const char *const pieces[] = { "a", "://", "@", "[",   "]",
					      ":", "%",	  "/", "::",  "1",
					      ".", "?",	  "#", "\xff" };
	const size_t n = ARRAY_SIZE(pieces);
	char text[32], host[20];

	(void)state;
	for (size_t i = 0; i < n * n * n * n; i++) {
		size_t size = i % 16 + 1;

		text[0] = '\0';
		for (size_t k = i, j = 0; j < 4; j++, k /= n)
			strcat(text, pieces[k % n]);
		memset(host, 'Z', sizeof(host));
		destination_host(text, host, size);
		assert_true(strnlen(host, sizeof(host)) < size);
		for (size_t at = size; at < sizeof(host); at++)
			assert_int_equal(host[at], 'Z');
		assert_non_null(strstr(text, host));
		assert_null(strpbrk(host, "/?#@"));
		destination_is_here(text, "node1");
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_host_is_found_in_every_form),
	cmocka_unit_test(what_means_this_host_is_here),
	cmocka_unit_test(whatever_else_is_elsewhere),
	cmocka_unit_test(no_text_overruns_the_buffer),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
