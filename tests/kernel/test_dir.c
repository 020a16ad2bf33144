/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a directory's ctime says. After locking, the engine must know that each
 * path still names the inode that it opened. Instead of looking at each file
 * again, it looks once at each directory:
 *
 *   1. read the coarse clock
 *   2. look up a name that cannot exist, which waits for changes under way
 *   3. read the ctime, open the files, lock them, read the ctime again
 *
 * If the ctime was older than the clock and is the same at the end, then no
 * name has changed in between. Step 2 is needed because a file system stamps
 * the directory before the new name can be seen: a rename that waits for the
 * disk in between shows an old ctime and still takes effect after the open. On
 * a dirsync mount one rename in ten deceived the check without that step.
 *
 * Built once for each file system: TEST_FS, or "here" for wherever we are.
 */
#include "tests/kernel/kernel.h"
#include "tests/kernel/disk.h"

#include <limits.h>
#include <linux/fs.h>
#include <sys/mount.h>
#include <time.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif

static bool coarse_inodes; /* no nanoseconds on this file system */
static int dir;		   /* the directory that is looked at */
static int sibling;

static struct timespec change_time(int fd)
{
	struct statx stx;

	assert_int_equal(statx(fd, "", AT_EMPTY_PATH, STATX_CTIME, &stx), 0);
	return (struct timespec){ stx.stx_ctime.tv_sec, stx.stx_ctime.tv_nsec };
}

static struct timespec coarse_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return now;
}

static int compare(struct timespec a, struct timespec b)
{
	if (a.tv_sec != b.tv_sec)
		return a.tv_sec < b.tv_sec ? -1 : 1;
	return (a.tv_nsec > b.tv_nsec) - (a.tv_nsec < b.tv_nsec);
}

/*
 * Until a change now would get another time than anything before. When the tick
 * is late, the coarse clock may move and still be behind a time that was given
 * by the fine one.
 */
static void settle(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	while (compare(coarse_now(), now) <= 0)
		usleep(1000);
}

static int touch(int at, const char *name)
{
	int fd =
		openat(at, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	return fd < 0 ? -1 : close(fd);
}

static int swap(int from, const char *a, int to, const char *b)
{
	return (int)syscall(SYS_renameat2, from, a, to, b, RENAME_EXCHANGE);
}

static int link_tmpfile(void)
{
	int fd = openat(dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	char path[64];
	int res;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	res = linkat(AT_FDCWD, path, dir, "was-tmp", AT_SYMLINK_FOLLOW);
	close(fd);
	return res;
}

static void expect(bool changes, const struct timespec *before, int res,
		   const char *what)
{
	int order = compare(change_time(dir), *before);

	if (res != 0)
		printf("%s: %s\n", what, strerror(errno));
	assert_int_equal(res, 0);
	if (order != changes)
		printf("%s: ctime %s\n", what, order ? "differs" : "is equal");
	assert_int_equal(order, changes);
}

#define EXPECT(_changes, _action)                                              \
	do {                                                                   \
		struct timespec _before;                                       \
		int _res;                                                      \
                                                                               \
		settle();                                                      \
		_before = change_time(dir);                                    \
		_res = (_action);                                              \
		expect(_changes, &_before, _res, #_action);                    \
	} while (0)

static void every_change_of_a_name_shows_in_ctime(void **state)
{
	(void)state;
	assert_int_equal(touch(sibling, "far"), 0);
	assert_int_equal(touch(sibling, "far2"), 0);
	EXPECT(true, touch(dir, "a"));
	EXPECT(true, touch(dir, "b"));
	EXPECT(true, mkdirat(dir, "sub", 0700));
	EXPECT(true, symlinkat("a", dir, "soft"));
	EXPECT(true, linkat(dir, "a", dir, "hard", 0));
	EXPECT(true, renameat(dir, "a", dir, "moved"));
	EXPECT(true, renameat(dir, "b", dir, "moved"));
	EXPECT(true, swap(dir, "moved", dir, "hard"));
	EXPECT(true, swap(dir, "moved", sibling, "far"));
	EXPECT(true, renameat(sibling, "far2", dir, "came"));
	EXPECT(true, renameat(dir, "came", sibling, "far2"));
	EXPECT(true, link_tmpfile());
	EXPECT(true, unlinkat(dir, "was-tmp", 0));
	EXPECT(true, unlinkat(dir, "hard", 0));
	EXPECT(true, unlinkat(dir, "moved", 0));
	EXPECT(true, unlinkat(dir, "soft", 0));
	EXPECT(true, unlinkat(dir, "sub", AT_REMOVEDIR));
	unlinkat(sibling, "far", 0);
	unlinkat(sibling, "far2", 0);
}

static int write_and_sync(const char *name)
{
	int fd = openat(dir, name, O_WRONLY | O_APPEND | O_CLOEXEC);
	int res = write(fd, "x", 1) == 1 ? fsync(fd) : -1;

	close(fd);
	return res;
}

static int lock_in_dir(const char *name)
{
	int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	int res = lock_byte(fd, F_WRLCK, 0);

	close(fd);
	return res;
}

static int truncate_in_dir(const char *name)
{
	return close(openat(dir, name, O_WRONLY | O_TRUNC | O_CLOEXEC));
}

/* A guest writes its disk all the time. */
static void what_happens_to_the_files_does_not(void **state)
{
	int sub;

	(void)state;
	assert_int_equal(touch(dir, "a"), 0);
	assert_int_equal(mkdirat(dir, "sub", 0700), 0);
	sub = openat(dir, "sub", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	EXPECT(false, write_and_sync("a"));
	EXPECT(false, truncate_in_dir("a"));
	EXPECT(false, lock_in_dir("a"));
	EXPECT(false, fchmodat(dir, "a", 0640, 0));
	EXPECT(false, utimensat(dir, "a", NULL, 0));
	EXPECT(false, touch(sub, "below"));
	EXPECT(false, unlinkat(sub, "below", 0));
	EXPECT(false, linkat(dir, "a", sub, "below", 0));
	EXPECT(false, unlinkat(sub, "below", 0));
	close(sub);
	unlinkat(dir, "sub", AT_REMOVEDIR);
	unlinkat(dir, "a", 0);
}

/* What the check cannot see: the directories above, and mounts. */
static void what_happens_above_does_not(void **state)
{
	int above = openat(sibling, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_int_equal(mkdirat(above, "p", 0700), 0);
	assert_int_equal(mkdirat(above, "p/q", 0700), 0);
	close(dir);
	dir = openat(above, "p/q", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	EXPECT(false, renameat(above, "p", above, "r"));
	EXPECT(false, mkdirat(above, "p", 0700));
	close(dir);
	unlinkat(above, "r/q", AT_REMOVEDIR);
	unlinkat(above, "r", AT_REMOVEDIR);
	unlinkat(above, "p", AT_REMOVEDIR);
	dir = openat(above, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(above);
}

static void nanoseconds_tell_the_granularity(void **state)
{
	bool seen = false;

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(touch(dir, "a"), 0);
		assert_int_equal(unlinkat(dir, "a", 0), 0);
		seen |= change_time(dir).tv_nsec != 0;
		settle();
	}
	assert_int_equal(seen, !coarse_inodes);
}

/* Where inodes have no room for nanoseconds it is, since they are cut off. */
static void no_change_is_older_than_the_coarse_clock_before_it(void **state)
{
	int older = 0;

	(void)state;
	settle();
	usleep(20 * 1000);
	for (int i = 0; i < 500; i++) {
		struct timespec before = coarse_now();

		assert_int_equal(touch(dir, "a"), 0);
		older += compare(change_time(dir), before) < 0;
		before = coarse_now();
		assert_int_equal(unlinkat(dir, "a", 0), 0);
		older += compare(change_time(dir), before) < 0;
	}
	if (coarse_inodes)
		assert_true(older > 0);
	else
		assert_int_equal(older, 0);
}

/* The clock that we compare with ticks at least every 10 ms. */
static void the_coarse_clock_is_not_too_coarse(void **state)
{
	struct timespec res;

	(void)state;
	assert_int_equal(clock_getres(CLOCK_REALTIME_COARSE, &res), 0);
	assert_int_equal(res.tv_sec, 0);
	assert_true(res.tv_nsec <= 10000000);
}

static int replace_now_and_then(int sock, void *arg)
{
	(void)arg;
	turn_give(sock);
	for (useconds_t i = 0; i < 30; i++) {
		/* Long enough for the directory to count as old again. */
		usleep(11000 + i % 7 * 1000);
		CHILD_CHECK(touch(dir, "new") == 0);
		CHILD_CHECK(renameat(dir, "new", dir, "disk") == 0);
	}
	turn_give(sock);
	return 0;
}

/*
 * Too long for any file system, so never in the cache of names: each look-up
 * asks the file system, which needs the directory's lock, shared.
 */
static void wait_for_changes_under_way(void)
{
	static char name[NAME_MAX + 2];

	memset(name, 'x', NAME_MAX + 1);
	assert_int_equal(openat(dir, name, O_PATH | O_CLOEXEC), -1);
	assert_int_equal(errno, ENAMETOOLONG);
}

/* The engine's check. True if it says that the name did not change. */
static bool look_once(bool *ret_replaced)
{
	struct timespec clock = coarse_now(), before;
	struct stat opened, named;
	int fd;

	wait_for_changes_under_way();
	before = change_time(dir);
	fd = openat(dir, "disk", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(fd, &opened), 0);
	assert_int_equal(fstatat(dir, "disk", &named, 0), 0);
	*ret_replaced = opened.st_ino != named.st_ino;
	close(fd);
	return compare(before, clock) < 0 &&
	       compare(change_time(dir), before) == 0;
}

static void an_unchanged_old_ctime_means_that_no_name_changed(void **state)
{
	unsigned unchanged = 0, replaced = 0, missed = 0;
	struct child other;
	char byte;

	(void)state;
	assert_int_equal(touch(dir, "disk"), 0);
	child_start(&other, replace_now_and_then, NULL);
	turn_take(other.sock);
	while (recv(other.sock, &byte, 1, MSG_DONTWAIT) < 0) {
		bool differs, same = look_once(&differs);

		unchanged += same;
		replaced += differs;
		missed += same && differs;
	}
	assert_int_equal(child_wait(&other), 0);
	unlinkat(dir, "disk", 0);
	printf("unchanged %u times, replaced meanwhile %u times\n", unchanged,
	       replaced);
	assert_true(unchanged > 0);
	assert_int_equal(missed, 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_change_of_a_name_shows_in_ctime),
	cmocka_unit_test(what_happens_to_the_files_does_not),
	cmocka_unit_test(what_happens_above_does_not),
	cmocka_unit_test(nanoseconds_tell_the_granularity),
	cmocka_unit_test(no_change_is_older_than_the_coarse_clock_before_it),
	cmocka_unit_test(the_coarse_clock_is_not_too_coarse),
	cmocka_unit_test(an_unchanged_old_ctime_means_that_no_name_changed),
};

/* There the check must not be used. */
static const struct CMUnitTest coarse_tests[] = {
	cmocka_unit_test(nanoseconds_tell_the_granularity),
	cmocka_unit_test(no_change_is_older_than_the_coarse_clock_before_it),
};

static int run_all(void)
{
	if (coarse_inodes)
		return test_run(TEST_FS, coarse_tests, ARRAY_SIZE(coarse_tests),
				TEST_NEEDS_NOTHING);
	return test_run(TEST_FS, tests, ARRAY_SIZE(tests), TEST_NEEDS_NOTHING);
}

int main(void)
{
	const char *where = test_file("m", -1);
	bool here = !strcmp(TEST_FS, "here");
	char path[512];
	int res;

	coarse_inodes = !strcmp(TEST_FS, "ext4-128");
	if (here)
		mkdir(where, 0700);
	else
		disk_mount(TEST_FS, where);
	snprintf(path, sizeof(path), "%s/d", where);
	mkdir(path, 0700);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/s", where);
	mkdir(path, 0700);
	sibling = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	res = run_all();
	close(dir);
	close(sibling);
	if (!here)
		umount2(where, MNT_DETACH);
	return res;
}
