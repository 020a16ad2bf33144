/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking whether a description still holds its lock: what the truth about a
 * lease stands on. F_OFD_GETLK with F_UNLCK answers since Linux 6.6; older
 * kernels refuse it, and fdinfo tells on all of them.
 */
#include "tests/kernel/kernel.h"

#define ASK_REFUSED (-EINVAL)

/* The type of this description's own lock in the range, or negative errno. */
static int ask(int fd, long byte, long len)
{
	struct flock lock = { .l_type = F_UNLCK,
			      .l_start = byte,
			      .l_len = len };

	return fcntl(fd, F_OFD_GETLK, &lock) ? -errno : lock.l_type;
}

/* The same from fdinfo: one line, on that byte alone. Negative if none. */
static int read_fdinfo(pid_t pid, int fd, long byte)
{
	char path[64], line[256], kind[16], type[16];
	long start, end, owner;
	int found = -ENOENT;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line,
			   "lock: %*d: %15s ADVISORY %15s %ld %*s %ld %ld",
			   kind, type, &owner, &start, &end) != 5)
			continue;
		if (strcmp(kind, "OFDLCK") || start != byte || end != byte)
			continue;
		assert_int_equal(owner, -1);
		assert_true(found < 0);
		found = strcmp(type, "WRITE") ? F_RDLCK : F_WRLCK;
	}
	fclose(f);
	return found;
}

static void assert_held(int fd, int type)
{
	int answer = ask(fd, 0, 1);

	if (answer != ASK_REFUSED)
		assert_int_equal(answer, type);
	assert_int_equal(read_fdinfo(getpid(), fd, 0),
			 type == F_UNLCK ? -ENOENT : type);
}

/* Linux 6.6 and later answer; before, it is an invalid request for all. */
static void a_query_for_f_unlck_answers_or_is_refused_always(void **state)
{
	const char *path;
	int mine = file_locked("a", &path), other = file_open(path, O_RDONLY);
	int answer = ask(mine, 0, 1);

	(void)state;
	printf("F_OFD_GETLK with F_UNLCK: %s\n",
	       answer == ASK_REFUSED ? "refused" : "answers");
	if (answer == ASK_REFUSED) {
		assert_int_equal(ask(other, 0, 1), ASK_REFUSED);
		assert_int_equal(ask(mine, 7, 1), ASK_REFUSED);
	} else {
		assert_int_equal(answer, F_WRLCK);
		assert_int_equal(ask(other, 0, 1), F_UNLCK);
		assert_int_equal(ask(mine, 7, 1), F_UNLCK);
	}
	close(other);
	close(mine);
}

static void the_answer_has_the_range_and_no_pid(void **state)
{
	const char *path;
	int mine = file_locked("a", &path);
	struct flock lock = { .l_type = F_UNLCK };

	(void)state;
	assert_int_equal(lock_byte(mine, F_UNLCK, 0), 0);
	assert_int_equal(lock_byte(mine, F_WRLCK, 2), 0);
	if (fcntl(mine, F_OFD_GETLK, &lock) == 0) {
		assert_int_equal(lock.l_type, F_WRLCK);
		assert_int_equal(lock.l_start, 2);
		assert_int_equal(lock.l_len, 1);
		assert_int_equal(lock.l_pid, -1);
	} else {
		assert_int_equal(errno, EINVAL);
	}
	close(mine);
}

static void it_tells_exclusive_shared_and_none_apart(void **state)
{
	const char *path;
	int mine = file_locked("a", &path);

	(void)state;
	assert_held(mine, F_WRLCK);
	assert_int_equal(lock_byte(mine, F_RDLCK, 0), 0);
	assert_held(mine, F_RDLCK);
	assert_int_equal(lock_byte(mine, F_UNLCK, 0), 0);
	assert_held(mine, F_UNLCK);
	close(mine);
}

static void duplicates_answer_alike_and_strangers_do_not(void **state)
{
	const char *path;
	int mine = file_locked("a", &path), copy = dup(mine);
	int other = file_open(path, O_RDWR);

	(void)state;
	assert_held(copy, F_WRLCK);
	assert_held(other, F_UNLCK);
	assert_int_equal(lock_byte(copy, F_UNLCK, 0), 0);
	assert_held(mine, F_UNLCK);
	close(copy);
	close(other);
	close(mine);
}

/* A shared lock of somebody else is not mine. */
static void two_readers_are_told_apart(void **state)
{
	const char *path = test_file("a", 0);
	int one = file_open(path, O_RDONLY), two = file_open(path, O_RDONLY);

	(void)state;
	assert_int_equal(lock_byte(one, F_RDLCK, 0), 0);
	assert_held(one, F_RDLCK);
	assert_held(two, F_UNLCK);
	assert_int_equal(lock_byte(two, F_RDLCK, 0), 0);
	assert_int_equal(lock_byte(one, F_UNLCK, 0), 0);
	assert_held(one, F_UNLCK);
	assert_held(two, F_RDLCK);
	close(one);
	close(two);
}

/* A guest's VMM may hold a POSIX lock through the very same description. */
static void a_posix_lock_is_not_an_answer(void **state)
{
	const char *path = test_file("a", 0);
	int mine = file_open(path, O_RDWR);
	struct flock posix = { .l_type = F_WRLCK, .l_len = 1 };

	(void)state;
	assert_int_equal(fcntl(mine, F_SETLK, &posix), 0);
	assert_held(mine, F_UNLCK);
	close(mine);
}

/* QEMU locks its bytes through descriptions that it may get from us. */
static void other_bytes_do_not_confuse_it(void **state)
{
	const char *path;
	int mine = file_locked("a", &path);

	(void)state;
	assert_int_equal(lock_byte(mine, F_RDLCK, 1), 0);
	assert_int_equal(lock_byte(mine, F_RDLCK, 100), 0);
	assert_held(mine, F_WRLCK);
	assert_int_equal(lock_byte(mine, F_UNLCK, 0), 0);
	assert_held(mine, F_UNLCK);
	assert_int_equal(read_fdinfo(getpid(), mine, 100), F_RDLCK);
	close(mine);
}

/* Equal neighbours merge: a fdinfo parser must look for coverage. */
static void neighbouring_bytes_merge_into_one_range(void **state)
{
	const char *path;
	int mine = file_locked("a", &path);

	(void)state;
	assert_int_equal(lock_byte(mine, F_WRLCK, 1), 0);
	assert_int_equal(read_fdinfo(getpid(), mine, 0), -ENOENT);
	if (ask(mine, 0, 1) != ASK_REFUSED)
		assert_int_equal(ask(mine, 0, 1), F_WRLCK);
	assert_int_equal(lock_byte(mine, F_UNLCK, 1), 0);
	assert_held(mine, F_WRLCK);
	close(mine);
}

static int hold_a_descriptor(int sock, void *arg)
{
	int fd = open(arg, O_RDWR | O_CLOEXEC);

	CHILD_CHECK(fd >= 0);
	CHILD_CHECK(lock_byte(fd, F_WRLCK, 0) == 0);
	CHILD_CHECK(send(sock, &fd, sizeof(fd), 0) == sizeof(fd));
	turn_take(sock);
	return 0;
}

/* How a refusal finds a foreign process: see proc_find_locker(). */
static void the_fdinfo_of_another_process_names_its_lock(void **state)
{
	const char *path = test_file("a", 0);
	struct child child;
	int fd;

	(void)state;
	child_start(&child, hold_a_descriptor, (void *)path);
	assert_int_equal(recv(child.sock, &fd, sizeof(fd), 0), sizeof(fd));
	assert_int_equal(read_fdinfo(child.pid, fd, 0), F_WRLCK);
	turn_give(child.sock);
	assert_int_equal(child_wait(&child), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_query_for_f_unlck_answers_or_is_refused_always),
	cmocka_unit_test(the_answer_has_the_range_and_no_pid),
	cmocka_unit_test(it_tells_exclusive_shared_and_none_apart),
	cmocka_unit_test(duplicates_answer_alike_and_strangers_do_not),
	cmocka_unit_test(two_readers_are_told_apart),
	cmocka_unit_test(a_posix_lock_is_not_an_answer),
	cmocka_unit_test(other_bytes_do_not_confuse_it),
	cmocka_unit_test(neighbouring_bytes_merge_into_one_range),
	cmocka_unit_test(the_fdinfo_of_another_process_names_its_lock),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
