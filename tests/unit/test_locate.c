/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/capsule_kit.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>

/* An entry of a guest whose name says that it is somewhere else. */
static struct capsule_entry moved(const char *name, pid_t *ret_guest)
{
	struct capsule *capsule = kit_capsule(name);
	struct capsule_entry entry = kit_entry(capsule);

	*ret_guest = kit_guest(capsule);
	capsule_free(capsule);
	assert_int_equal(entry.hint_pid, getpid());
	return entry;
}

static void all_that_have_moved_are_found_at_once(void **state)
{
	struct capsule_entry entries[20];
	pid_t guests[20];

	(void)state;
	for (int i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof(name), "moved%d", i);
		entries[i] = moved(name, &guests[i]);
	}
	assert_int_equal(capsule_locate(entries, 20, kit_soon()), 0);
	for (int i = 0; i < 20; i++) {
		struct capsule *adopted = NULL;

		assert_int_equal(entries[i].hint_pid, guests[i]);
		assert_false(entries[i].nowhere);
		assert_int_equal(kit_adopt(&entries[i], &adopted), 0);
		assert_int_equal(capsule_keeper(adopted)->pid, guests[i]);
		capsule_free(adopted);
		kit_end(guests[i]);
	}
}

static void a_right_hint_stays(void **state)
{
	struct capsule *capsule = kit_capsule("right");
	struct capsule_entry entry = kit_entry(capsule), before = entry;
	pid_t guest = kit_guest(capsule);

	(void)state;
	assert_int_equal(capsule_locate(&entry, 1, kit_soon()), 0);
	assert_int_equal(entry.hint_pid, before.hint_pid);
	assert_int_equal(entry.hint_fd, before.hint_fd);
	assert_false(entry.nowhere);
	kit_end(guest);
	capsule_free(capsule);
}

static void the_guest_is_meant_rather_than_we(void **state)
{
	struct capsule *capsule = kit_capsule("we");
	struct capsule_entry entry = kit_entry(capsule);
	pid_t guest = kit_guest(capsule);

	(void)state;
	entry.hint_fd += 1000;
	assert_int_equal(capsule_locate(&entry, 1, kit_soon()), 0);
	assert_int_equal(entry.hint_pid, guest);
	kit_end(guest);
	entry.hint_fd += 1000;
	assert_int_equal(capsule_locate(&entry, 1, kit_soon()), 0);
	assert_int_equal(entry.hint_pid, getpid());
	assert_int_equal(entry.hint_fd, capsule_fd(capsule));
	capsule_free(capsule);
}

static void whoever_is_gone_is_nowhere_and_not_looked_for_again(void **state)
{
	struct capsule *adopted = NULL;
	struct capsule_entry entry;
	pid_t guest;

	(void)state;
	entry = moved("gone", &guest);
	kit_end(guest);
	assert_int_equal(capsule_locate(&entry, 1, kit_soon()), 0);
	assert_true(entry.nowhere);
	assert_int_equal(kit_adopt(&entry, &adopted), CAPSULE_E_GONE);
	assert_null(adopted);
}

static void time_that_is_up_leaves_hints_and_no_verdict(void **state)
{
	struct capsule_entry entry;
	pid_t guest;

	(void)state;
	entry = moved("late", &guest);
	assert_int_equal(capsule_locate(&entry, 1, 0), -ETIME);
	assert_int_equal(entry.hint_pid, getpid());
	assert_false(entry.nowhere);
	assert_int_equal(capsule_locate(&entry, 1, kit_soon()), 0);
	assert_int_equal(entry.hint_pid, guest);
	kit_end(guest);
	assert_int_equal(capsule_locate(NULL, 0, kit_soon()), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(all_that_have_moved_are_found_at_once),
	cmocka_unit_test(a_right_hint_stays),
	cmocka_unit_test(the_guest_is_meant_rather_than_we),
	cmocka_unit_test(whoever_is_gone_is_nowhere_and_not_looked_for_again),
	cmocka_unit_test(time_that_is_up_leaves_hints_and_no_verdict),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
