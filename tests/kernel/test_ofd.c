/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who owns an OFD lock, and what it excludes. */
#include "tests/kernel/kernel.h"

#include <signal.h>

static int posix_lock(int fd, short type)
{
	struct flock lock = { .l_type = type, .l_start = 0, .l_len = 1 };

	return fcntl(fd, F_SETLK, &lock) ? -errno : 0;
}

static void it_belongs_to_the_description_not_to_the_process(void **state)
{
	const char *path;
	int mine = file_locked("a", &path), other = file_open(path, O_RDWR);

	(void)state;
	assert_int_equal(lock_byte(other, F_WRLCK, 0), -EAGAIN);
	assert_int_equal(lock_byte(other, F_RDLCK, 0), -EAGAIN);
	assert_int_equal(lock_byte(mine, F_WRLCK, 0), 0);
	close(mine);
	assert_int_equal(lock_byte(other, F_WRLCK, 0), 0);
	close(other);
}

/* virtlockd's locks do not: any library that opens the image loses them. */
static void it_survives_the_close_of_another_descriptor(void **state)
{
	const char *path;
	int mine = file_locked("a", &path);

	(void)state;
	close(file_open(path, O_RDWR));
	assert_false(test_lockable(path, F_WRLCK));
	assert_int_equal(lock_byte(mine, F_UNLCK, 0), 0);

	assert_int_equal(posix_lock(mine, F_WRLCK), 0);
	close(file_open(path, O_RDWR));
	assert_true(test_lockable(path, F_WRLCK));
	close(mine);
}

static void all_duplicates_own_it_and_any_can_unlock(void **state)
{
	const char *path;
	int mine = file_locked("a", &path);
	int copy = fcntl(mine, F_DUPFD_CLOEXEC, 0);

	(void)state;
	close(mine);
	assert_false(test_lockable(path, F_RDLCK));
	assert_int_equal(lock_byte(copy, F_WRLCK, 0), 0);
	mine = fcntl(copy, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(lock_byte(copy, F_UNLCK, 0), 0);
	assert_true(test_lockable(path, F_WRLCK));
	close(copy);
	close(mine);
}

static void a_passed_descriptor_owns_it_too(void **state)
{
	const char *path;
	int mine = file_locked("a", &path), pair[2], passed;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	fd_send(pair[0], mine);
	passed = fd_receive(pair[1], 0);
	close(mine);
	assert_false(test_lockable(path, F_WRLCK));
	assert_int_equal(lock_byte(passed, F_UNLCK, 0), 0);
	assert_true(test_lockable(path, F_WRLCK));
	close(passed);
	close(pair[0]);
	close(pair[1]);
}

static void reopening_through_proc_is_another_owner(void **state)
{
	const char *path;
	int mine = file_locked("a", &path), other = file_reopen(mine, O_RDWR);

	(void)state;
	assert_int_equal(lock_byte(other, F_WRLCK, 0), -EAGAIN);
	close(other);
	assert_false(test_lockable(path, F_WRLCK));
	close(mine);
}

static void it_conflicts_with_posix_locks_both_ways(void **state)
{
	const char *path;
	int mine = file_locked("a", &path), other = file_open(path, O_RDWR);
	pid_t pid = 0;

	(void)state;
	assert_int_equal(posix_lock(other, F_WRLCK), -EAGAIN);
	assert_int_equal(lock_byte(mine, F_UNLCK, 0), 0);
	assert_int_equal(posix_lock(other, F_WRLCK), 0);
	assert_int_equal(lock_byte(mine, F_WRLCK, 0), -EAGAIN);
	/* How a refusal names virtlockd: a POSIX lock has a process. */
	assert_int_equal(lock_blocker(mine, F_WRLCK, 0, &pid), F_WRLCK);
	assert_int_equal(pid, getpid());
	close(other);
	close(mine);
}

/* So a holder's name must come from elsewhere: a capsule, or fdinfo. */
static void a_query_does_not_say_who_holds_it(void **state)
{
	const char *path;
	int mine = file_locked("a", &path), other = file_open(path, O_RDWR);
	struct flock posix = { .l_type = F_WRLCK, .l_len = 1 };
	pid_t pid = 0;

	(void)state;
	assert_int_equal(lock_blocker(other, F_RDLCK, 0, &pid), F_WRLCK);
	assert_int_equal(pid, -1);
	assert_int_equal(fcntl(other, F_GETLK, &posix), 0);
	assert_int_equal(posix.l_pid, -1);
	assert_int_equal(lock_blocker(mine, F_RDLCK, 0, NULL), F_UNLCK);
	close(other);
	close(mine);
}

static void the_access_mode_must_fit_the_lock(void **state)
{
	const char *path = test_file("a", 0);
	int reader = file_open(path, O_RDONLY);
	int writer = file_open(path, O_WRONLY);
	int bare = file_open(path, O_PATH);

	(void)state;
	assert_int_equal(lock_byte(reader, F_WRLCK, 0), -EBADF);
	assert_int_equal(lock_byte(reader, F_RDLCK, 0), 0);
	assert_int_equal(lock_byte(reader, F_UNLCK, 0), 0);
	assert_int_equal(lock_byte(writer, F_RDLCK, 0), -EBADF);
	assert_int_equal(lock_byte(writer, F_WRLCK, 0), 0);
	assert_int_equal(lock_byte(bare, F_RDLCK, 0), -EBADF);
	/* A query needs no access. */
	assert_int_equal(lock_blocker(reader, F_WRLCK, 0, NULL), F_WRLCK);
	close(reader);
	close(writer);
	close(bare);
}

static void shared_locks_exclude_exclusive_ones_only(void **state)
{
	const char *path = test_file("a", 0);
	int one = file_open(path, O_RDONLY), two = file_open(path, O_RDONLY);
	int writer = file_open(path, O_RDWR);

	(void)state;
	assert_int_equal(lock_byte(one, F_RDLCK, 0), 0);
	assert_int_equal(lock_byte(two, F_RDLCK, 0), 0);
	assert_int_equal(lock_byte(writer, F_WRLCK, 0), -EAGAIN);
	close(one);
	assert_int_equal(lock_byte(writer, F_WRLCK, 0), -EAGAIN);
	close(two);
	assert_int_equal(lock_byte(writer, F_WRLCK, 0), 0);
	close(writer);
}

/* Ours are 0 and 2; libvirt has 1, QEMU 100-104 and 200-204. */
static void bytes_are_independent(void **state)
{
	static const long bytes[] = { 0, 1, 2, 100, 104, 200, 204 };
	const char *path = test_file("a", 0);
	int fds[ARRAY_SIZE(bytes)];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bytes); i++) {
		fds[i] = file_open(path, O_RDWR);
		assert_int_equal(lock_byte(fds[i], F_WRLCK, bytes[i]), 0);
	}
	assert_int_equal(lock_byte(fds[1], F_UNLCK, 0), 0);
	assert_false(test_byte_lockable(path, 0, F_WRLCK));
	assert_int_equal(lock_byte(fds[0], F_UNLCK, 0), 0);
	assert_true(test_byte_lockable(path, 0, F_WRLCK));
	assert_false(test_byte_lockable(path, 1, F_WRLCK));
	for (size_t i = 0; i < ARRAY_SIZE(bytes); i++)
		close(fds[i]);
}

static void the_pid_of_a_request_must_be_zero(void **state)
{
	int fd = file_open(test_file("a", 0), O_RDWR);
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1, .l_pid = 1 };

	(void)state;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), -1);
	assert_int_equal(errno, EINVAL);
	close(fd);
}

static void unlocking_twice_is_fine(void **state)
{
	const char *path;
	int mine = file_locked("a", &path);

	(void)state;
	assert_int_equal(lock_byte(mine, F_UNLCK, 0), 0);
	assert_int_equal(lock_byte(mine, F_UNLCK, 0), 0);
	close(mine);
}

static void a_refused_upgrade_keeps_the_shared_lock(void **state)
{
	const char *path = test_file("a", 0);
	int one = file_open(path, O_RDWR), two = file_open(path, O_RDWR);

	(void)state;
	assert_int_equal(lock_byte(one, F_RDLCK, 0), 0);
	assert_int_equal(lock_byte(two, F_RDLCK, 0), 0);
	assert_int_equal(lock_byte(one, F_WRLCK, 0), -EAGAIN);
	close(two);
	assert_false(test_lockable(path, F_WRLCK));
	assert_true(test_lockable(path, F_RDLCK));
	assert_int_equal(lock_byte(one, F_WRLCK, 0), 0);
	assert_false(test_lockable(path, F_RDLCK));
	close(one);
}

static int count_intrusions(int sock, void *arg)
{
	int fd = open(arg, O_RDWR | O_CLOEXEC), n = 0;
	char byte;

	turn_give(sock);
	while (recv(sock, &byte, 1, MSG_DONTWAIT) < 0) {
		if (lock_byte(fd, F_WRLCK, 0) == 0) {
			n++;
			lock_byte(fd, F_UNLCK, 0);
		}
	}
	return MIN(n, 100);
}

static void conversions_never_leave_it_free(void **state)
{
	const char *path;
	int mine = file_locked("a", &path);
	struct child prober;

	(void)state;
	child_start(&prober, count_intrusions, (void *)path);
	turn_take(prober.sock);
	for (int i = 0; i < 5000; i++) {
		assert_int_equal(lock_byte(mine, F_RDLCK, 0), 0);
		assert_int_equal(lock_byte(mine, F_WRLCK, 0), 0);
	}
	turn_give(prober.sock);
	assert_int_equal(child_wait(&prober), 0);
	close(mine);
}

static int hold_until_told(int sock, void *arg)
{
	(void)arg;
	turn_take(sock);
	return 0;
}

static void a_forked_child_keeps_it(void **state)
{
	const char *path;
	int mine = file_locked("a", &path);
	struct child child;

	(void)state;
	child_start(&child, hold_until_told, NULL);
	close(mine);
	assert_false(test_lockable(path, F_WRLCK));
	turn_give(child.sock);
	assert_int_equal(child_wait(&child), 0);
	assert_true(test_lockable(path, F_WRLCK));
}

static void hard_links_and_symlinks_share_it(void **state)
{
	const char *path, *hard = test_file("hard", -1);
	const char *soft = test_file("soft", -1);
	int mine = file_locked("a", &path);

	(void)state;
	assert_int_equal(link(path, hard), 0);
	assert_int_equal(symlink(path, soft), 0);
	assert_false(test_lockable(hard, F_WRLCK));
	assert_false(test_lockable(soft, F_WRLCK));
	unlink(hard);
	unlink(soft);
	close(mine);
}

/* Why the path is checked again after the lock. */
static void it_stays_with_the_inode_when_the_path_is_replaced(void **state)
{
	const char *path, *moved = test_file("moved", -1);
	int mine = file_locked("a", &path);

	(void)state;
	assert_int_equal(rename(path, moved), 0);
	test_file("a", 0);
	assert_true(test_lockable(path, F_WRLCK));
	assert_false(test_lockable(moved, F_WRLCK));
	unlink(moved);
	close(mine);
}

/* A hand-over: the source shares its byte in place, and has it back. */
static void it_is_shared_and_had_back_without_a_gap(void **state)
{
	const char *path;
	int mine = file_locked("a", &path), other = file_open(path, O_RDWR);

	(void)state;
	assert_int_equal(lock_byte(mine, F_RDLCK, 0), 0);
	assert_int_equal(lock_byte(other, F_WRLCK, 0), -EAGAIN);
	assert_int_equal(posix_lock(other, F_WRLCK), -EAGAIN);
	assert_int_equal(lock_byte(other, F_RDLCK, 0), 0);

	/* Who is refused the whole keeps what it has. */
	assert_int_equal(lock_byte(mine, F_WRLCK, 0), -EAGAIN);
	assert_false(test_lockable(path, F_WRLCK));
	assert_int_equal(lock_byte(other, F_UNLCK, 0), 0);
	assert_false(test_lockable(path, F_WRLCK));
	assert_int_equal(lock_byte(mine, F_WRLCK, 0), 0);
	assert_false(test_lockable(path, F_RDLCK));
	close(other);
	close(mine);
}

/* Takes the whole whenever it can, and says so. */
static int try_for_ever(int sock, void *arg)
{
	int fd = file_open(arg, O_RDWR);

	turn_give(sock);
	for (;;)
		if (!lock_byte(fd, F_WRLCK, 0))
			return 1;
}

static void nobody_slips_in_while_it_changes_its_type(void **state)
{
	const char *path;
	int mine = file_locked("a", &path);
	struct child child;

	(void)state;
	child_start(&child, try_for_ever, (void *)path);
	turn_take(child.sock);
	for (int i = 0; i < 20000; i++) {
		assert_int_equal(lock_byte(mine, F_RDLCK, 0), 0);
		assert_int_equal(lock_byte(mine, F_WRLCK, 0), 0);
	}
	assert_int_equal(child_kill(&child), 128 + SIGKILL);
	close(mine);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(it_belongs_to_the_description_not_to_the_process),
	cmocka_unit_test(it_survives_the_close_of_another_descriptor),
	cmocka_unit_test(all_duplicates_own_it_and_any_can_unlock),
	cmocka_unit_test(a_passed_descriptor_owns_it_too),
	cmocka_unit_test(reopening_through_proc_is_another_owner),
	cmocka_unit_test(it_conflicts_with_posix_locks_both_ways),
	cmocka_unit_test(a_query_does_not_say_who_holds_it),
	cmocka_unit_test(the_access_mode_must_fit_the_lock),
	cmocka_unit_test(shared_locks_exclude_exclusive_ones_only),
	cmocka_unit_test(bytes_are_independent),
	cmocka_unit_test(the_pid_of_a_request_must_be_zero),
	cmocka_unit_test(unlocking_twice_is_fine),
	cmocka_unit_test(a_refused_upgrade_keeps_the_shared_lock),
	cmocka_unit_test(conversions_never_leave_it_free),
	cmocka_unit_test(a_forked_child_keeps_it),
	cmocka_unit_test(hard_links_and_symlinks_share_it),
	cmocka_unit_test(it_stays_with_the_inode_when_the_path_is_replaced),
	cmocka_unit_test(it_is_shared_and_had_back_without_a_gap),
	cmocka_unit_test(nobody_slips_in_while_it_changes_its_type),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
