/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/*
 * Lease files with real guests, and under attack: they are made and removed all
 * the time, so that every lock is in danger of being one on a file that has no
 * name any more. GUESTLOCK_TEST_ROUNDS says how many are taken.
 */

static struct glk_context *context;

static int start(void **state)
{
	(void)state;
	context = guest_context();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_context_free(context);
	return 0;
}

static bool is_there(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

static struct glk_guest *describe(unsigned uuid, const char *path,
				  unsigned flags)
{
	struct glk_guest *guest = guest_describe(context, GLK_HOLDER_GUEST,
						 guest_uuid(uuid), NULL);

	assert_int_equal(guest_add(guest, path, GLK_DISK_LEASE | flags), 0);
	return guest;
}

static pid_t run(unsigned uuid, const char *path, unsigned flags)
{
	struct glk_guest *guest = describe(uuid, path, flags);

	assert_int_equal(glk_guest_acquire(guest), 0);
	return guest_start(guest);
}

static struct glk_guest *adopt(unsigned uuid)
{
	struct glk_guest *guest = NULL;

	assert_int_equal(glk_guest_adopt(context, guest_uuid(uuid), &guest), 0);
	return guest;
}

static void check_lease(unsigned uuid, const char *path, int mode)
{
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = adopt(uuid);

	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 1);
	assert_string_equal(info->leases[0].path, path);
	assert_int_equal(info->leases[0].type, GLK_LEASE_KEY);
	assert_int_equal(info->leases[0].mode, mode);
	assert_true(info->leases[0].held && info->leases[0].same_file);
	glk_guest_free(guest);
}

static void check_refused(const char *path, unsigned flags, unsigned holder)
{
	struct glk_guest *guest = describe(99, path, flags);
	const struct glk_conflict *list = NULL;

	assert_int_equal(glk_guest_acquire(guest), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &list), 1);
	assert_string_equal(list[0].path, path);
	assert_int_equal(list[0].kind, GLK_CONFLICT_GUEST);
	assert_string_equal(list[0].uuid, guest_uuid(holder));
	glk_guest_free(guest);
}

static void a_lease_lives_as_long_as_the_guest_and_outlives_no_kill(
	void **state)
{
	const char *path = test_file("life", -1);
	struct glk_guest *adopted;
	pid_t pid = run(1, path, 0);

	(void)state;
	check_lease(1, path, GLK_MODE_EXCLUSIVE);
	check_refused(path, 0, 1);
	check_refused(path, GLK_DISK_SHARED, 1);
	adopted = adopt(1);
	process_kill(pid);
	assert_int_equal(glk_guest_wait(adopted), 0);
	glk_guest_free(adopted);
	assert_true(is_there(path));
	assert_true(test_lockable(path, F_WRLCK));
	process_end(pid);

	pid = run(2, path, 0);
	check_lease(2, path, GLK_MODE_EXCLUSIVE);
	adopted = adopt(2);
	assert_int_equal(guest_detach(adopted, path), 0);
	assert_false(is_there(path));
	glk_guest_free(adopted);
	process_end(pid);
}

static void what_one_gives_back_the_other_makes_anew(void **state)
{
	const char *path = test_file("handed-on", -1);
	pid_t a = run(3, path, 0), b;
	struct glk_guest *one = adopt(3), *other;

	(void)state;
	assert_int_equal(guest_detach(one, path), 0);
	b = run(4, path, 0);
	other = adopt(4);
	check_refused(path, 0, 4);
	/* It is not the first one's any more. */
	assert_int_equal(guest_detach(one, path), 0);
	check_lease(4, path, GLK_MODE_EXCLUSIVE);
	assert_false(test_lockable(path, F_RDLCK));
	assert_int_equal(guest_attach(one, path, GLK_DISK_LEASE), -EBUSY);
	process_end(b);
	assert_int_equal(glk_guest_wait(other), 0);
	assert_int_equal(guest_attach(one, path, GLK_DISK_LEASE), 0);
	check_lease(3, path, GLK_MODE_EXCLUSIVE);
	glk_guest_free(other);
	glk_guest_free(one);
	process_end(a);
}

static void who_shares_a_lease_keeps_it_when_another_leaves(void **state)
{
	const char *path = test_file("shared", -1);
	pid_t a = run(5, path, GLK_DISK_SHARED);
	pid_t b = run(6, path, GLK_DISK_SHARED);
	struct glk_guest *one = adopt(5);

	(void)state;
	assert_int_equal(guest_detach(one, path), 0);
	check_lease(6, path, GLK_MODE_SHARED);
	assert_false(test_lockable(path, F_WRLCK));
	check_refused(path, 0, 6);
	process_end(b);
	process_end(a);
	assert_true(test_becomes_free(path, 5000));
	glk_guest_free(one);
}

#define N_CONTENDERS 4

/* What the contenders share. */
struct arena {
	char lease[200], marker[200];
	_Atomic unsigned taken, refused, left;
	atomic_bool over;
};

/*
 * The proof that nobody else has the lease: a POSIX lock on another file, that
 * guestlock does not know of. Whoever was killed has it for a moment longer.
 */
static void mark(int marker, short type)
{
	struct flock lock = { .l_type = type, .l_len = 1 };
	uint64_t deadline = deadline_in_ms(20000);

	while (fcntl(marker, F_SETLK, &lock)) {
		struct flock found = { .l_type = F_WRLCK, .l_len = 1 };

		MUST(!fcntl(marker, F_GETLK, &found));
		while (found.l_type != F_UNLCK && !process_is_gone(found.l_pid))
			MUST(clock_now() < deadline);
		MUST(clock_now() < deadline);
	}
}

static void use_lease(struct glk_guest *guest, const struct arena *arena,
		      int marker)
{
	const struct glk_guest_info *info = NULL;
	struct stat st;

	mark(marker, F_WRLCK);
	MUST(!stat(arena->lease, &st));
	MUST_EQUAL(glk_guest_info(guest, &info), 0);
	MUST_EQUAL(info->n_leases, 1);
	MUST(info->leases[0].held && info->leases[0].same_file);
	MUST(info->leases[0].ino == st.st_ino);
	MUST(range_is_locked(arena->lease, 0, 1));
	mark(marker, F_UNLCK);
}

static void take_once(struct glk_context *own, struct arena *arena, int marker,
		      struct dice *dice)
{
	struct glk_guest *guest =
		guest_describe(own, GLK_HOLDER_SELF, NULL, NULL);
	const char *path = arena->lease;
	size_t released = 0;
	int r;

	MUST_EQUAL(guest_add(guest, path, GLK_DISK_LEASE), 0);
	/* Mostly without a look at who has it: that takes a hundred times as
	   long. */
	glk_context_set_timeout(own, dice_roll(dice, 16) ? 0 : 10000);
	r = glk_guest_acquire(guest);
	glk_context_set_timeout(own, 10000);
	if (r) {
		MUST(r == -EBUSY || r == -ESTALE);
		arena->refused++;
		glk_guest_free(guest);
		return;
	}
	use_lease(guest, arena, marker);
	arena->taken++;
	if (dice_roll(dice, 8)) {
		MUST_EQUAL(glk_guest_detach(guest, &path, 1, &released), 0);
		MUST_EQUAL(released, 1);
	} else {
		arena->left++;
	}
	glk_guest_free(guest);
}

static int contend(void *arg)
{
	struct arena *arena = arg;
	struct glk_context *own = guest_context();
	struct dice dice = { (uint64_t)getpid() *
			     UINT64_C(0x9e3779b97f4a7c15) };
	int marker = open(arena->marker, O_RDWR | O_CLOEXEC);

	MUST(marker >= 0);
	while (!arena->over)
		take_once(own, arena, marker, &dice);
	return 0;
}

static struct arena *arena_new(void)
{
	struct arena *arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(arena, MAP_FAILED);
	snprintf(arena->lease, sizeof(arena->lease), "%s",
		 test_file("contended", -1));
	snprintf(arena->marker, sizeof(arena->marker), "%s",
		 test_file("marker", 0));
	return arena;
}

static void no_two_hold_a_lease_that_is_made_and_removed(void **state)
{
	unsigned rounds = number_from("GUESTLOCK_TEST_ROUNDS", 3000);
	uint64_t deadline = deadline_in_ms(100 * (uint64_t)rounds + 60000);
	struct arena *arena = arena_new();
	struct dice dice = dice_new();
	pid_t pids[N_CONTENDERS];
	unsigned kills = 0;

	(void)state;
	for (size_t i = 0; i < N_CONTENDERS; i++)
		pids[i] = process_start(contend, arena);
	while (arena->taken < rounds || kills < rounds / 30) {
		size_t i = dice_roll(&dice, N_CONTENDERS);

		usleep((useconds_t)dice_roll(&dice, 4000));
		assert_false(process_is_gone(pids[i]));
		assert_true(clock_now() < deadline);
		process_end(pids[i]);
		pids[i] = process_start(contend, arena);
		kills++;
	}
	arena->over = true;
	for (size_t i = 0; i < N_CONTENDERS; i++)
		assert_int_equal(process_wait(pids[i]), 0);
	printf("%u taken, %u refused, %u left, %u kills\n", arena->taken,
	       arena->refused, arena->left, kills);
	assert_true(arena->left > 0);
	process_end(run(7, arena->lease, 0));
	munmap(arena, sizeof(*arena));
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_lease_lives_as_long_as_the_guest_and_outlives_no_kill),
	TEST(what_one_gives_back_the_other_makes_anew),
	TEST(who_shares_a_lease_keeps_it_when_another_leaves),
	TEST(no_two_hold_a_lease_that_is_made_and_removed),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
