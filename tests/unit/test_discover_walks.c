/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How many walks it takes, on a host whose every walk is written here. */
#include "core/capsule/capsule.h"

#include "core/base/feature.h"
#include "core/base/util.h"
#include "core/capsule/name.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#define TABLE "/proc/thread-self/net/unix"
#define WALKS_MAX 100

/* Inodes, as a walk tells of them; those from FOREIGN on are no capsules. */
#define FOREIGN 1000

static struct {
	void (*walk)(FILE *table, unsigned i);
	unsigned n_walks;
	struct uuid uuid;
} host;

bool __wrap_feature_allowed(enum feature f);
FILE *__real_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);

bool __wrap_feature_allowed(enum feature f)
{
	return f != FEATURE_UNIX_DIAG;
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
	static char text[4096];
	FILE *table;

	if (strcmp(path, TABLE) != 0)
		return __real_fopen64(path, mode);
	assert_true(host.n_walks < WALKS_MAX);
	table = fmemopen(text, sizeof(text), "w");
	assert_non_null(table);
	host.walk(table, host.n_walks++);
	assert_int_equal(fclose(table), 0);
	return fmemopen(text, strlen(text), "r");
}

static void tell(FILE *table, unsigned ino)
{
	struct name_parts parts = {
		.uuid = host.uuid,
		.pid = 1,
		.fd = 3,
		.nonce = ino,
	};
	char name[CAPSULE_SOCKNAME_MAX + 1] = "other";

	if (ino < FOREIGN)
		assert_true(name_format(&parts, name, sizeof(name)) > 0);
	fprintf(table,
		"0000000000000000: 00000002 00000000 00000000 0005 03 %u @%s\n",
		ino, name);
}

/* Return: how many capsules were found. */
static size_t discover(void (*walk)(FILE *table, unsigned i))
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	size_t n = 0;

	assert_int_equal(uuid_generate(&host.uuid), 0);
	host.walk = walk;
	host.n_walks = 0;
	assert_int_equal(capsule_discover(NULL, &entries, &n), 0);
	for (size_t i = 1; i < n; i++)
		assert_true(entries[i - 1].ino < entries[i].ino);
	return n;
}

static void walk_at_rest(FILE *table, unsigned i)
{
	(void)i;
	tell(table, 1);
	tell(table, FOREIGN);
	tell(table, 2);
}

static void two_equal_walks_are_proof(void **state)
{
	(void)state;
	assert_int_equal(discover(walk_at_rest), 2);
	assert_int_equal(host.n_walks, 2);
}

/* It stands behind a socket that goes away, at a border of two walks. */
static void walk_with_a_skip(FILE *table, unsigned i)
{
	tell(table, 1);
	tell(table, FOREIGN + i);
	if (i > 1)
		tell(table, 2);
	tell(table, 3);
}

static void what_two_walks_have_skipped_is_found(void **state)
{
	(void)state;
	assert_int_equal(discover(walk_with_a_skip), 3);
}

/* Once more, and the capsules are the same in all walks but one. */
static void walk_with_a_late_skip(FILE *table, unsigned i)
{
	tell(table, 1);
	tell(table, FOREIGN + i);
	if (i == 3)
		tell(table, 2);
}

static void walks_that_agree_on_capsules_alone_are_no_proof(void **state)
{
	(void)state;
	assert_int_equal(discover(walk_with_a_late_skip), 2);
	assert_true(host.n_walks > 4);
}

/* Each capsule is told of once. */
static void walk_in_a_crowd(FILE *table, unsigned i)
{
	tell(table, 1 + i);
	tell(table, FOREIGN + i);
}

static void a_host_that_never_rests_is_left_at_last(void **state)
{
	size_t n = discover(walk_in_a_crowd);

	(void)state;
	assert_int_equal(n, host.n_walks);
	assert_in_range(host.n_walks, 5, 20);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(two_equal_walks_are_proof),
	cmocka_unit_test(what_two_walks_have_skipped_is_found),
	cmocka_unit_test(walks_that_agree_on_capsules_alone_are_no_proof),
	cmocka_unit_test(a_host_that_never_rests_is_left_at_last),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
