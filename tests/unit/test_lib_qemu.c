/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/migrate_kit.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <string.h>

#define HOW "has it open as a QEMU image"

static struct glk_context *context;
static struct kit_guest running; /* whose processes are none of ours */

static int start(void **state)
{
	(void)state;
	context = guest_context();
	running = kit_run(context, 1, kit_file("own", 0), 0);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	kit_end(&running);
	glk_context_free(context);
	return 0;
}

/* What a QEMU does with a permission that it uses, or does not share. */
static struct kit_stranger qemu_byte(const char *path, long byte)
{
	struct kit_stranger s = { .path = path,
				  .byte = byte,
				  .type = F_RDLCK,
				  .command = F_OFD_SETLK };

	kit_stranger(&s);
	return s;
}

static void assert_refused(const char *path, unsigned flags, pid_t pid)
{
	const struct glk_conflict *c = NULL;

	assert_int_equal(guest_attach(running.guest, path, flags), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), 1);
	assert_string_equal(c->path, path);
	assert_string_equal(c->how, HOW);
	assert_int_equal(c->pid, pid);
	assert_int_equal(c->kind,
			 pid ? GLK_CONFLICT_PROCESS : GLK_CONFLICT_UNKNOWN);
	if (pid)
		assert_non_null(strstr(c->exe, "test_lib_qemu"));
	assert_says(context, HOW);
	assert_free(path);
}

static void who_uses_an_image_in_any_way_refuses_an_exclusive_lease(
	void **state)
{
	const char *path = kit_file("used", 0);

	(void)state;
	for (long byte = 100; byte < 104; byte++) {
		struct kit_stranger qemu = qemu_byte(path, byte);

		assert_refused(path, 0, qemu.pid);
		kit_stranger_end(&qemu);
	}
	assert_int_equal(guest_attach(running.guest, path, 0), 0);
}

static void who_only_does_not_share_is_not_in_the_way(void **state)
{
	static const long bytes[] = { 99, 104, 200, 201, 203 };
	const char *path = kit_file("not-shared", 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bytes); i++) {
		struct kit_stranger qemu = qemu_byte(path, bytes[i]);

		assert_int_equal(guest_attach(running.guest, path, 0), 0);
		assert_int_equal(guest_detach(running.guest, path), 0);
		kit_stranger_end(&qemu);
	}
}

static void only_a_writer_that_does_not_share_refuses_a_shared_lease(
	void **state)
{
	static const struct {
		long a, b;
		bool refuses;
	} cases[] = {
		{ 100, 200, false }, { 100, 201, false }, { 101, 100, false },
		{ 101, 201, true },  { 103, 203, true },  { 101, 203, false },
		{ 102, 202, false },
	};
	const char *path = kit_file("shared", 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct kit_stranger a = qemu_byte(path, cases[i].a);
		struct kit_stranger b = qemu_byte(path, cases[i].b);

		if (cases[i].refuses) {
			assert_refused(path, GLK_DISK_SHARED, a.pid);
		} else {
			assert_int_equal(guest_attach(running.guest, path,
						      GLK_DISK_SHARED),
					 0);
			assert_int_equal(guest_detach(running.guest, path), 0);
		}
		kit_stranger_end(&a);
		kit_stranger_end(&b);
	}
}

static void one_that_cannot_be_found_refuses_too(void **state)
{
	const char *path = kit_file("in-flight", 0);
	int queue[2];

	(void)state;
	kit_send_away(kit_lock(path, 101, F_RDLCK), queue);
	assert_refused(path, 0, 0);
	close(queue[0]);
	close(queue[1]);
	assert_int_equal(guest_attach(running.guest, path, 0), 0);
}

static void the_guest_and_its_children_are_not_in_the_way(void **state)
{
	const char *path = kit_file("its-own", 0);
	struct glk_guest *self = kit_self(context);
	struct kit_stranger child = qemu_byte(path, 101);
	int fd = kit_lock(path, 100, F_RDLCK);

	(void)state;
	assert_int_equal(guest_attach(self, path, 0), 0);
	assert_int_equal(guest_attach(self, path, 0), 0);
	assert_held(path);
	assert_int_equal(guest_detach(self, path), 0);
	assert_int_equal(guest_attach(self, path, GLK_DISK_SHARED), 0);
	assert_int_equal(guest_detach(self, path), 0);
	/* For the other guest the child is a stranger. */
	assert_refused(path, 0, child.pid);
	kit_stranger_end(&child);
	close(fd);
	glk_guest_free(self);
}

static int end_soon(void *arg)
{
	wait_ns(200 * 1000 * 1000);
	process_kill(*(pid_t *)arg);
	return 0;
}

static void count_waits(void *arg, const struct glk_conflict *conflict)
{
	assert_string_equal(conflict->how, HOW);
	++*(unsigned *)arg;
}

static void its_end_can_be_waited_for(void **state)
{
	const struct glk_policy policy = { .wait_ms = 30000 };
	const char *path = kit_file("waited", 0);
	struct kit_stranger qemu = qemu_byte(path, 101);
	unsigned waits = 0;
	pid_t killer;

	(void)state;
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	glk_context_on_wait(context, count_waits, &waits);
	killer = process_start(end_soon, &qemu.pid);
	assert_int_equal(guest_attach(running.guest, path, 0), 0);
	assert_held(path);
	assert_true(waits <= 1);
	process_wait(killer);
	kit_stranger_end(&qemu);
}

static void all_disks_are_taken_or_none(void **state)
{
	const char *paths[] = { kit_file("b-0", 0), kit_file("b-1", 0),
				kit_file("b-2", 0) };
	struct kit_stranger qemu = qemu_byte(paths[1], 100);

	(void)state;
	assert_int_equal(kit_attach(running.guest, paths, 3), -EBUSY);
	assert_says(context, paths[1]);
	for (size_t i = 0; i < 3; i++)
		assert_free(paths[i]);
	kit_stranger_end(&qemu);
	assert_int_equal(kit_attach(running.guest, paths, 3), 0);
}

static void its_bytes_are_never_touched(void **state)
{
	const char *path = kit_file("untouched", 0);

	(void)state;
	assert_int_equal(guest_attach(running.guest, path, 0), 0);
	assert_held(path);
	assert_false(range_is_locked(path, 5, 0));
	assert_int_equal(guest_detach(running.guest, path), 0);
	assert_int_equal(guest_attach(running.guest, path, GLK_DISK_SHARED), 0);
	assert_false(range_is_locked(path, 5, 0));
}

static void leases_are_not_asked_about(void **state)
{
	const char *path = kit_file("a-lease", 0);
	struct kit_stranger qemu = qemu_byte(path, 101);

	(void)state;
	assert_int_equal(guest_attach(running.guest, path, GLK_DISK_LEASE), 0);
	kit_stranger_end(&qemu);
}

static void who_holds_a_disk_is_answered_with_it(void **state)
{
	const char *path = kit_file("asked", 0);
	struct kit_stranger qemu = qemu_byte(path, 100);
	const struct glk_conflict *c = NULL;
	size_t n = 0;

	(void)state;
	assert_int_equal(glk_disk_holders(context, path, &c, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(c->pid, qemu.pid);
	assert_string_equal(c->how, HOW);
	kit_stranger_end(&qemu);
	assert_int_equal(glk_disk_holders(context, path, &c, &n), 0);
	assert_int_equal(n, 0);
}

static void a_destination_is_refused_by_one_only_if_there_is_no_source(
	void **state)
{
	struct glk_guest *source = pair_guest(context, 2, "from", 0);
	struct glk_guest *destination =
		pair_guest(context, 2, "to", GLK_GUEST_INCOMING);
	int queues[PAIR_DISKS][2];
	const struct glk_conflict *c = NULL;

	(void)state;
	assert_int_equal(glk_guest_acquire(source), 0);
	assert_int_equal(glk_guest_prepare(source, "localhost"), 0);
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		kit_send_away(kit_lock(pair_disk(i), 101, F_RDLCK), queues[i]);
	assert_int_equal(glk_guest_acquire(destination), 0);
	assert_int_equal(pair_role(destination), ROLE_INCOMING);
	glk_guest_free(destination);
	glk_guest_free(source);

	destination = pair_guest(context, 2, "to", GLK_GUEST_INCOMING);
	assert_int_equal(glk_guest_acquire(destination), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), PAIR_DISKS - 1);
	assert_string_equal(c->how, HOW);
	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		assert_false(range_is_locked(pair_disk(i), 0, 5));
		close(queues[i][0]);
		close(queues[i][1]);
	}
	assert_int_equal(glk_guest_acquire(destination), 0);
	glk_guest_free(destination);
}

#define TEST(_name) cmocka_unit_test_setup_teardown(_name, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(who_uses_an_image_in_any_way_refuses_an_exclusive_lease),
	TEST(who_only_does_not_share_is_not_in_the_way),
	TEST(only_a_writer_that_does_not_share_refuses_a_shared_lease),
	TEST(one_that_cannot_be_found_refuses_too),
	TEST(the_guest_and_its_children_are_not_in_the_way),
	TEST(its_end_can_be_waited_for),
	TEST(all_disks_are_taken_or_none),
	TEST(its_bytes_are_never_touched),
	TEST(leases_are_not_asked_about),
	TEST(who_holds_a_disk_is_answered_with_it),
	TEST(a_destination_is_refused_by_one_only_if_there_is_no_source),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT)
