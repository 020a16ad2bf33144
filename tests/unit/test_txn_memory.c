/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/txn.h"
#include "tests/lib/test.h"

#include "tests/unit/txn_fake.h"

#include <errno.h>
#include <stdlib.h>

/*
 * The linker sends core/lease's allocations here (--wrap), where each can be
 * made to fail, and counted.
 */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

static unsigned allocations, fail_at;

static bool allocation_fails(void)
{
	return ++allocations == fail_at;
}

void *__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return allocation_fails() ? NULL : __real_reallocarray(p, n, size);
}

/* How many allocations a transaction needs until it has begun. */
static unsigned count_allocations(void)
{
	struct fake fake;

	allocations = 0;
	fake_init(&fake, false, 0);
	while (txn_count(fake.txn) < FAKE_MAX)
		fake_add(&fake, RES_EXCLUSIVE);
	fake_begin(&fake);
	while (fake.n_acts)
		fake_step(&fake);
	fake_done(&fake);
	return allocations;
}

static void each_allocation_may_fail_once_and_is_tried_again(void **state)
{
	unsigned needed = count_allocations();

	(void)state;
	assert_true(needed >= 4);
	for (unsigned at = 1; at <= needed + 1; at++) {
		struct txn_config config = {};
		struct fake fake = {};
		unsigned failed = 0;
		int r;

		allocations = 0;
		fail_at = at;
		while ((r = txn_new(&config, &fake.txn)) != 0) {
			assert_int_equal(r, -ENOMEM);
			failed++;
		}
		while (txn_count(fake.txn) < FAKE_MAX) {
			r = txn_add(fake.txn, "disk", RES_EXCLUSIVE);
			assert_true(r == 0 || r == -ENOMEM);
			failed += r != 0;
		}
		while ((r = txn_begin(fake.txn, &fake.acts, &fake.n_acts))) {
			assert_int_equal(r, -ENOMEM);
			assert_string_equal(txn_phase_name(fake.txn), "plan");
			failed++;
		}
		assert_int_equal(failed, at <= needed);
		while (fake.n_acts)
			fake_step(&fake);
		assert_int_equal(txn_outcome(fake.txn), TXN_HELD);
		fake_done(&fake);
	}
	fail_at = 0;
}

static void nothing_is_allocated_after_the_beginning(void **state)
{
	struct fake fake;
	unsigned before;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE);
	fake_add(&fake, RES_EXCLUSIVE)->replaced = 3;
	fake_add(&fake, RES_EXCLUSIVE)->ino = 1000;
	fake_begin(&fake);
	before = allocations;
	while (fake.acts[0].what != TXN_DO_PARK)
		fake_step(&fake);
	fake_abort(&fake, -ENOMEM);
	assert_int_equal(allocations, before);
	fake_done(&fake);
}

static void a_transaction_that_could_not_begin_is_aborted_and_freed(
	void **state)
{
	const struct txn_act *acts;
	struct fake fake;
	size_t n;

	(void)state;
	fake_init(&fake, false, 300);
	fake_add(&fake, RES_EXCLUSIVE);
	allocations = 0;
	fail_at = 2;
	assert_int_equal(txn_begin(fake.txn, &acts, &n), -ENOMEM);
	fail_at = 0;
	fake_add(&fake, RES_EXCLUSIVE);
	txn_abort(fake.txn, -ENOMEM, &acts, &n);
	assert_int_equal(n, 0);
	assert_int_equal(txn_outcome(fake.txn), TXN_FAILED);
	fake_done(&fake);
	assert_null(txn_free(NULL));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(each_allocation_may_fail_once_and_is_tried_again),
	cmocka_unit_test(nothing_is_allocated_after_the_beginning),
	cmocka_unit_test(
		a_transaction_that_could_not_begin_is_aborted_and_freed),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
