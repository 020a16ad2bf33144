/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * The linker sends the library's calls that park here (--wrap), so that they
 * can fail.
 */
int __real_capsule_fill(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n);
int __wrap_capsule_fill(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n);
int __real_capsule_push(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n,
			uint64_t deadline);
int __wrap_capsule_push(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n,
			uint64_t deadline);

static int push_result;
static size_t pushed;

int __wrap_capsule_push(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n,
			uint64_t deadline)
{
	pushed = n;
	return push_result ? push_result
			   : __real_capsule_push(capsule, parcels, n, deadline);
}

int __wrap_capsule_fill(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n)
{
	pushed = n;
	return push_result ? push_result
			   : __real_capsule_fill(capsule, parcels, n);
}

static struct glk_context *context;
static struct glk_guest *guest;

static int start(void **state)
{
	(void)state;
	push_result = 0;
	context = guest_context();
	guest = kit_self(context);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	push_result = 0;
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

static size_t count_leases(void)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	return info->n_leases;
}

static void one_file_by_many_names_is_one_lease(void **state)
{
	const char *paths[] = { kit_file("names", 0), kit_file("names", -1),
				kit_file("hard", -1), kit_file("soft", -1),
				kit_file("./names", -1) };

	(void)state;
	assert_int_equal(link(paths[0], paths[2]), 0);
	assert_int_equal(symlink("hard", paths[3]), 0);
	assert_int_equal(kit_attach(guest, paths, ARRAY_SIZE(paths)), 0);
	assert_int_equal(pushed, 1);
	assert_int_equal(count_leases(), 1);
	assert_held(paths[0]);
	assert_int_equal(guest_detach(guest, paths[3]), 0);
	assert_free(paths[0]);
}

static void one_file_in_two_modes_is_an_error(void **state)
{
	const char *a = kit_file("modes", 0), *b = kit_file("modes-link", -1);
	const struct glk_disk disks[] = { { a, 0 }, { b, GLK_DISK_SHARED } };

	(void)state;
	assert_int_equal(link(a, b), 0);
	assert_int_equal(glk_guest_attach(guest, disks, 2), -EEXIST);
	assert_says(context, b);
	assert_says(context, "wanted both exclusive and shared");
	assert_free(a);
}

static void shared_and_read_only_are_one_mode(void **state)
{
	const char *path = kit_file("reads", 0);
	const struct glk_disk disks[] = {
		{ path, GLK_DISK_SHARED },
		{ path, GLK_DISK_READONLY },
		{ path, GLK_DISK_SHARED | GLK_DISK_READONLY },
	};

	(void)state;
	assert_int_equal(glk_guest_attach(guest, disks, 3), 0);
	assert_int_equal(count_leases(), 1);
	assert_true(test_lockable(path, F_RDLCK));
	assert_false(test_lockable(path, F_WRLCK));
}

static void every_refused_disk_is_a_conflict(void **state)
{
	const char *paths[] = { kit_file("c-0", 0), kit_file("c-1", 0),
				kit_file("c-2", 0), kit_file("c-3", 0) };
	const struct glk_conflict *c = NULL;
	int a, b;

	(void)state;
	a = kit_lock(paths[1], 0, F_WRLCK);
	b = kit_lock(paths[3], 0, F_RDLCK);
	assert_int_equal(kit_attach(guest, paths, 4), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), 2);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(c[i].path, paths[2 * i + 1]);
		assert_int_equal(c[i].mode, GLK_MODE_EXCLUSIVE);
		assert_int_equal(c[i].kind, GLK_CONFLICT_PROCESS);
		assert_int_equal(c[i].pid, getpid());
		assert_string_equal(c[i].uuid, "");
		assert_string_equal(c[i].name, "");
		assert_non_null(strstr(c[i].exe, "test_lib_take"));
		assert_true(c[i].since > 0);
	}
	assert_says(context, paths[1]);
	assert_says(context, "held by process");
	assert_says(context, "(and 1 more)");
	assert_free(paths[0]);
	assert_free(paths[2]);
	assert_int_equal(guest_attach(guest, paths[0], 0), 0);
	assert_int_equal(glk_context_conflicts(context, &c), 0);
	close(a);
	close(b);
}

static void an_error_counts_more_than_a_conflict(void **state)
{
	const char *paths[] = { kit_file("held", 0), "/nowhere/x",
				kit_file("fine", 0) };
	const struct glk_conflict *c = NULL;
	int fd;

	(void)state;
	fd = kit_lock(paths[0], 0, F_WRLCK);
	assert_int_equal(kit_attach(guest, paths, 3), -ENOENT);
	assert_says(context, "/nowhere/x: No such file");
	assert_int_equal(glk_context_conflicts(context, &c), 0);
	assert_free(paths[2]);
	close(fd);
}

static void parking_nothing_is_success(void **state)
{
	struct glk_guest *empty =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);

	(void)state;
	pushed = 0;
	push_result = CAPSULE_E_FULL;
	assert_int_equal(glk_guest_acquire(empty), 0);
	assert_int_equal(pushed, 0);
	glk_guest_free(empty);
}

static void what_cannot_be_parked_is_not_held(void **state)
{
	static const struct {
		int result, error;
		const char *text;
	} cases[] = {
		{ CAPSULE_E_FULL, -ENOSPC, "the capsule is full" },
		{ CAPSULE_E_BUSY, -ENOSPC, "the capsule is blocked" },
		{ CAPSULE_E_INFLIGHT, -ETOOMANYREFS, "RLIMIT_NOFILE" },
		{ CAPSULE_E_NOFILE, -EMFILE, "too many open files" },
		{ CAPSULE_E_FORGED, -EBADMSG, "not authentic" },
		{ -ENOMEM, -ENOMEM, "Cannot allocate memory" },
		{ -EIO, -EIO, "Input/output error" },
	};
	const char *paths[] = { kit_file("park-a", 0), kit_file("park-b", 0) };
	unsigned fds;

	(void)state;
	assert_int_equal(kit_attach(guest, paths, 2), 0);
	assert_int_equal(guest_detach(guest, paths[0]), 0);
	assert_int_equal(guest_detach(guest, paths[1]), 0);
	fds = test_open_fds();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		push_result = cases[i].result;
		assert_int_equal(kit_attach(guest, paths, 2), cases[i].error);
		assert_says(context, cases[i].text);
		assert_free(paths[0]);
		assert_free(paths[1]);
		assert_int_equal(test_open_fds(), fds);
	}
	push_result = 0;
	assert_int_equal(kit_attach(guest, paths, 2), 0);
}

static void a_guest_that_goes_while_it_is_parked_for_is_gone(void **state)
{
	const char *path = kit_file("going", 0);

	(void)state;
	push_result = CAPSULE_E_GONE;
	assert_int_equal(guest_attach(guest, path, 0), -ESRCH);
	assert_says(context, "cannot park the leases: the guest is gone");
	assert_free(path);
	push_result = 0;
	assert_int_equal(guest_attach(guest, path, 0), -ESRCH);
	assert_says(context, "cannot attach: the guest is gone");
}

static void an_acquire_that_cannot_park_can_be_tried_again(void **state)
{
	const char *path = kit_file("again", 0);
	struct glk_guest *other =
		guest_describe(context, GLK_HOLDER_GUEST, NULL, NULL);

	(void)state;
	assert_int_equal(guest_add(other, path, 0), 0);
	push_result = CAPSULE_E_INFLIGHT;
	assert_int_equal(glk_guest_acquire(other), -ETOOMANYREFS);
	assert_free(path);
	push_result = 0;
	assert_int_equal(glk_guest_acquire(other), 0);
	assert_held(path);
	glk_guest_free(other);
	assert_free(path);
}

static void a_batch_of_any_size_is_all_or_nothing(void **state)
{
	static const size_t sizes[] = { 1, 2, 31, 32, 33, 63, 64, 65, 300 };
	struct disks disks = disks_new("sizes", 300);
	int fd;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct disks some = { disks.items, sizes[i] };
		const char *last = some.items[some.n - 1].path;
		struct glk_guest *other = kit_self(context);

		fd = kit_lock(last, 0, F_WRLCK);
		assert_int_equal(glk_guest_attach(other, some.items, some.n),
				 -EBUSY);
		assert_int_equal(disks_locked(&some), 1);
		close(fd);
		assert_int_equal(glk_guest_attach(other, some.items, some.n),
				 0);
		assert_int_equal(disks_locked(&some), some.n);
		glk_guest_free(other);
		assert_int_equal(disks_locked(&disks), 0);
	}
	disks_free(&disks);
}

static void disks_of_many_directories_go_in_one_batch(void **state)
{
	struct glk_disk disks[40];
	char name[64];

	(void)state;
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "many-%d", i / 2);
		if (i % 2 == 0)
			assert_int_equal(mkdir(test_file(name, -1), 0700), 0);
		snprintf(name, sizeof(name), "many-%d/%d", i / 2, i);
		disks[i] = (struct glk_disk){ kit_file(name, 0), 0 };
	}
	usleep(10000);
	assert_int_equal(glk_guest_attach(guest, disks, 40), 0);
	for (int i = 0; i < 40; i++)
		assert_held(disks[i].path);
	assert_int_equal(count_leases(), 40);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(one_file_by_many_names_is_one_lease),
	TEST(one_file_in_two_modes_is_an_error),
	TEST(shared_and_read_only_are_one_mode),
	TEST(every_refused_disk_is_a_conflict),
	TEST(an_error_counts_more_than_a_conflict),
	TEST(parking_nothing_is_success),
	TEST(what_cannot_be_parked_is_not_held),
	TEST(a_guest_that_goes_while_it_is_parked_for_is_gone),
	TEST(an_acquire_that_cannot_park_can_be_tried_again),
	TEST(a_batch_of_any_size_is_all_or_nothing),
	TEST(disks_of_many_directories_go_in_one_batch),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
