/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/reader.h"
#include "tests/unit/capsule_kit.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void a_marker_tells_a_reader(void **state)
{
	int fd;

	(void)state;
	assert_false(reader_is(getpid()));
	fd = reader_mark();
	assert_true(fd > 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(reader_is(getpid()));
	fd_close(fd);
	assert_false(reader_is(getpid()));
}

static void without_stdin_a_reader_is_told_as_well(void **state)
{
	int saved = dup(STDIN_FILENO), fd;

	(void)state;
	close(STDIN_FILENO);
	fd = reader_mark();
	assert_true(fd > 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(reader_is(getpid()));
	assert_int_equal(fcntl(STDIN_FILENO, F_GETFD), -1);
	fd_close(fd);
	dup2(saved, STDIN_FILENO);
	close(saved);
}

static void nobody_reads_where_nobody_is(void **state)
{
	(void)state;
	assert_false(reader_is(0));
	assert_false(reader_is(INT32_MAX));
}

/* A guest that alone has a capsule with one disk; adopted. */
static struct capsule *adopt_one(const char *name, pid_t *ret_guest)
{
	struct capsule *capsule = kit_capsule(name), *adopted = NULL;
	struct capsule_entry entry = kit_entry(capsule);

	kit_park_one(capsule, name, RES_EXCLUSIVE);
	*ret_guest = kit_guest(capsule);
	capsule_free(capsule);
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	return adopted;
}

static void a_list_of_leases_marks_its_owner_until_it_is_done(void **state)
{
	struct capsule_contents contents;
	struct capsule *adopted;
	pid_t guest;

	(void)state;
	adopted = adopt_one("listed", &guest);
	assert_false(reader_is(getpid()));
	contents = kit_list(adopted);
	assert_int_equal(contents.n_leases, 1);
	assert_true(reader_is(getpid()));
	capsule_contents_done(&contents);
	assert_false(reader_is(getpid()));
	assert_int_equal(capsule_compact(adopted, kit_soon()), 0);
	assert_false(reader_is(getpid()));
	capsule_free(adopted);
	kit_end(guest);
}

static void a_keeper_that_is_no_guest_is_told_from_one(void **state)
{
	struct capsule *adopted;
	pid_t guest;

	(void)state;
	adopted = adopt_one("kept", &guest);
	assert_false(capsule_is_only_read(adopted));
	kit_end(guest);
	assert_true(capsule_is_only_read(adopted));
	capsule_free(adopted);
}

/* Has B where the entry says, as if it were just looking, for ever. */
static pid_t start_reader(void)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		reader_mark();
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void a_reader_is_not_taken_for_the_guest_wherever_it_is(void **state)
{
	struct capsule *capsule = kit_capsule("mistaken"), *adopted = NULL;
	struct capsule_entry entry = kit_entry(capsule);
	pid_t readers[2], guest;

	(void)state;
	readers[0] = start_reader();
	guest = kit_guest(capsule);
	readers[1] = start_reader();
	for (int i = 0; i < 2; i++) {
		entry.hint_pid = readers[i];
		entry.hint_fd = capsule_fd(capsule);
		assert_int_equal(kit_adopt(&entry, &adopted), 0);
		assert_int_equal(capsule_keeper(adopted)->pid, guest);
		capsule_free(adopted);
	}
	capsule_free(capsule);
	kit_end(guest);
	kit_end(readers[0]);
	kit_end(readers[1]);
}

static unsigned fetched, unmarked;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

/* Of up to four arguments, as those of this project are. */
long __wrap_syscall(long number, ...)
{
	va_list arguments;
	long a, b, c, d;

	va_start(arguments, number);
	a = va_arg(arguments, long);
	b = va_arg(arguments, long);
	c = va_arg(arguments, long);
	d = va_arg(arguments, long);
	va_end(arguments);
	if (number == SYS_pidfd_getfd) {
		fetched++;
		unmarked += !reader_is(getpid());
	}
	return __real_syscall(number, a, b, c, d);
}

static void whoever_has_a_guests_end_bears_the_mark(void **state)
{
	struct capsule_contents contents;
	struct capsule *adopted;
	pid_t guest;

	(void)state;
	fetched = unmarked = 0;
	adopted = adopt_one("marked", &guest);
	assert_true(fetched > 0);
	fetched = 0;
	assert_false(capsule_is_only_read(adopted));
	assert_true(fetched > 0);
	fetched = 0;
	contents = kit_list(adopted);
	capsule_contents_done(&contents);
	assert_true(fetched > 0);
	fetched = 0;
	assert_int_equal(capsule_compact(adopted, kit_soon()), 0);
	assert_true(fetched > 0);
	assert_int_equal(unmarked, 0);
	assert_false(reader_is(getpid()));
	capsule_free(adopted);
	kit_end(guest);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_marker_tells_a_reader),
	cmocka_unit_test(without_stdin_a_reader_is_told_as_well),
	cmocka_unit_test(nobody_reads_where_nobody_is),
	cmocka_unit_test(a_list_of_leases_marks_its_owner_until_it_is_done),
	cmocka_unit_test(a_keeper_that_is_no_guest_is_told_from_one),
	cmocka_unit_test(whoever_has_a_guests_end_bears_the_mark),
	cmocka_unit_test(a_reader_is_not_taken_for_the_guest_wherever_it_is),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
