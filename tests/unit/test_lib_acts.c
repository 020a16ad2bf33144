/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/plain.h"
#include "tests/unit/lib_kit.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * The linker sends the library's engine_run() here (--wrap), so that something
 * can happen between two acts of a transaction, or an operation can fail.
 */
int __real_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);
int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);

static struct {
	int kind;	     /* of the batch's first operation */
	void (*fn)(void);    /* called behind such a batch */
	unsigned from, left; /* the first such batch, and how many */
	int victim;	     /* of its operations, those that fail */
	int res;	     /* with this, if not 0 */
	unsigned seen;
} hook;

static bool is_hooked(const struct op *ops)
{
	/* Directories and questions are opened with O_PATH. */
	if (ops->kind != hook.kind ||
	    (ops->kind == OP_OPEN && ops->open.flags & O_PATH))
		return false;
	return hook.seen++ >= hook.from && hook.left && hook.left--;
}

int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline)
{
	bool hooked = n && (hook.fn || hook.res) && is_hooked(ops);
	int r = 0;

	if (hooked && hook.res) {
		for (size_t i = 0; i < n; i++)
			if (ops[i].kind == hook.victim)
				ops[i].res = hook.res;
			else
				r = __real_engine_run(engine, &ops[i], 1,
						      deadline);
	} else {
		r = __real_engine_run(engine, ops, n, deadline);
	}
	if (hooked && hook.fn)
		hook.fn();
	return r;
}

/* What is tested here is the transaction, of a single disk, too. */
int __wrap_plain_take(struct glk_guest *guest, const struct wanted_disk *disk,
		      int *ret_opened);

int __wrap_plain_take(struct glk_guest *guest, const struct wanted_disk *disk,
		      int *ret_opened)
{
	(void)guest;
	(void)disk;
	(void)ret_opened;
	return PLAIN_E_NOT;
}

static struct glk_context *context;
static struct glk_guest *guest;

static int start(void **state)
{
	(void)state;
	memset(&hook, 0, sizeof(hook));
	context = guest_context();
	guest = kit_self(context);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	memset(&hook, 0, sizeof(hook));
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

static void behind(int kind, void (*fn)(void), unsigned times)
{
	memset(&hook, 0, sizeof(hook));
	hook.kind = kind;
	hook.fn = fn;
	hook.left = times;
}

static void failing(int kind, int res)
{
	/* A query stands in one batch with its lock, and behind it. */
	behind(kind == OP_QUERY ? OP_LOCK : kind, NULL, 1);
	hook.victim = kind;
	hook.res = res;
}

static ino_t inode(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

/* The one lease that there is, is of what the path names now. */
static void assert_current(const char *path)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 1);
	assert_true(info->leases[0].same_file && info->leases[0].held);
	assert_int_equal(info->leases[0].ino, inode(path));
	assert_held(path);
}

static void replace(void)
{
	char next[32];

	unlink(test_file("old", -1));
	assert_int_equal(link(test_file("image", -1), test_file("old", -1)), 0);
	snprintf(next, sizeof(next), "next-%u", hook.left);
	assert_int_equal(rename(test_file(next, 0), test_file("image", -1)), 0);
}

static void a_file_that_is_replaced_meanwhile_is_opened_anew(void **state)
{
	static const int kinds[] = { OP_OPEN, OP_STAT, OP_LOCK };
	const char *path = kit_file("image", 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		ino_t before = inode(path);

		behind(kinds[i], replace, 1);
		assert_int_equal(guest_attach(guest, path, 0), 0);
		assert_int_equal(hook.left, 0);
		assert_true(inode(path) != before);
		assert_current(path);
		assert_free(test_file("old", -1));
		assert_int_equal(guest_detach(guest, path), 0);
	}
}

static void a_file_that_is_always_replaced_is_given_up(void **state)
{
	const char *path = kit_file("image", 0);
	const char *beside = kit_file("beside", 0);

	(void)state;
	behind(OP_LOCK, replace, UINT_MAX);
	assert_int_equal(kit_attach(guest, (const char *[]){ beside, path }, 2),
			 -ESTALE);
	assert_true(hook.seen > 1 && hook.seen < 100);
	assert_says(context, path);
	assert_says(context, "was replaced again and again");
	assert_free(beside);
	assert_free(path);
	assert_free(test_file("old", -1));
}

static void replace_dir(void)
{
	assert_int_equal(rename(test_file("dir", -1), test_file("was", -1)), 0);
	assert_int_equal(mkdir(test_file("dir", -1), 0700), 0);
	test_file("dir/a", 0);
	test_file("dir/b", 0);
}

static void a_directory_that_is_replaced_meanwhile_is_opened_anew(void **state)
{
	static const int kinds[] = { OP_OPEN, OP_STAT, OP_LOCK };
	const char *paths[] = { kit_file("dir/a", -1), kit_file("dir/b", -1) };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		behind(kinds[i], replace_dir, 1);
		assert_int_equal(mkdir(test_file("dir", -1), 0700), 0);
		test_file("dir/a", 0);
		test_file("dir/b", 0);
		usleep(10000);
		assert_int_equal(kit_attach(guest, paths, 2), 0);
		assert_int_equal(hook.left, 0);
		assert_held(paths[0]);
		assert_held(paths[1]);
		assert_free(test_file("was/a", -1));
		assert_free(test_file("was/b", -1));
		assert_int_equal(guest_detach(guest, paths[0]), 0);
		assert_int_equal(guest_detach(guest, paths[1]), 0);
		assert_int_equal(unlink(test_file("was/a", -1)), 0);
		assert_int_equal(unlink(test_file("was/b", -1)), 0);
		assert_int_equal(rmdir(test_file("was", -1)), 0);
		assert_int_equal(unlink(paths[0]), 0);
		assert_int_equal(unlink(paths[1]), 0);
		assert_int_equal(rmdir(test_file("dir", -1)), 0);
	}
}

static void turn_link(void)
{
	assert_int_equal(unlink(test_file("link", -1)), 0);
	assert_int_equal(symlink("target-b", test_file("link", -1)), 0);
}

static void a_link_that_is_turned_meanwhile_is_followed_anew(void **state)
{
	const char *a = test_file("target-a", 0), *b = test_file("target-b", 0);
	const char *link = test_file("link", -1);

	(void)state;
	assert_int_equal(symlink("target-a", link), 0);
	behind(OP_LOCK, turn_link, 1);
	assert_int_equal(guest_attach(guest, link, 0), 0);
	assert_free(a);
	assert_held(b);
}

static void replace_target(void)
{
	assert_int_equal(rename(kit_file("far/new", 0),
				test_file("far/image", -1)),
			 0);
}

/* Its own directory, which two other disks share, does not change. */
static void a_target_that_is_replaced_meanwhile_is_noticed(void **state)
{
	const char *paths[] = { kit_file("near/a", -1), kit_file("near/b", -1),
				kit_file("near/link", -1) };

	(void)state;
	assert_int_equal(mkdir(test_file("near", -1), 0700), 0);
	assert_int_equal(mkdir(test_file("far", -1), 0700), 0);
	kit_file("near/a", 0);
	kit_file("near/b", 0);
	kit_file("far/image", 0);
	assert_int_equal(symlink("../far/image", paths[2]), 0);
	usleep(10000);
	behind(OP_LOCK, replace_target, 1);
	assert_int_equal(kit_attach(guest, paths, 3), 0);
	assert_int_equal(hook.left, 0);
	assert_held(test_file("far/image", -1));
}

static void take_away(void)
{
	assert_int_equal(unlink(test_file("doomed", -1)), 0);
}

static void a_file_that_is_deleted_meanwhile_is_missing(void **state)
{
	const char *path = kit_file("doomed", 0);

	(void)state;
	behind(OP_LOCK, take_away, 1);
	assert_int_equal(guest_attach(guest, path, 0), -ENOENT);
	assert_says(context, path);
}

static void an_operation_that_fails_takes_nothing(void **state)
{
	static const struct {
		int kind, res, error;
		const char *text;
		unsigned flags;
	} cases[] = {
		{ OP_OPEN, -EIO, -EIO, "Input/output error" },
		{ OP_STAT, -EIO, -EIO, "Input/output error" },
		{ OP_STAT, -ETIME, -ETIME, "within the time limit" },
		{ OP_LOCK, -ENOLCK, -ENOLCK, "No locks available" },
		{ OP_LOCK, -EOPNOTSUPP, -EOPNOTSUPP, "does not support locks" },
		{ OP_LOCK, -ETIME, -ETIME, "within the time limit" },
		{ OP_QUERY, -EIO, -EIO, "Input/output error", GLK_DISK_SHARED },
		{ OP_STAT_PATH, -EACCES, -EACCES, "Permission denied" },
	};
	const char *path = kit_file("failing", 0);
	unsigned fds = test_open_fds();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		failing(cases[i].kind, cases[i].res);
		assert_int_equal(guest_attach(guest, path, cases[i].flags),
				 cases[i].error);
		assert_int_equal(hook.left, 0);
		assert_says(context, path);
		assert_says(context, cases[i].text);
		assert_free(path);
		assert_int_equal(test_open_fds(), fds);
	}
}

static void cancel(void)
{
	glk_context_cancel(context);
}

static void a_cancel_between_two_acts_takes_nothing(void **state)
{
	static const int kinds[] = { OP_OPEN, OP_STAT, OP_LOCK };
	const char *path = kit_file("cancelled", 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		behind(kinds[i], cancel, 1);
		assert_int_equal(guest_attach(guest, path, 0), -ECANCELED);
		assert_says(context, "canceled");
		assert_free(path);
		assert_int_equal(guest_attach(guest, path, 0), 0);
		assert_int_equal(guest_detach(guest, path), 0);
	}
}

static void a_cancel_that_is_too_late_ends_the_next_call(void **state)
{
	const char *path = kit_file("late", 0);

	(void)state;
	behind(OP_STAT_PATH, cancel, 1);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_held(path);
	assert_int_equal(guest_detach(guest, path), -ECANCELED);
	assert_held(path);
	assert_int_equal(guest_detach(guest, path), 0);
}

static void a_cancel_ends_the_grace(void **state)
{
	const char *path = kit_file("grace", 0);
	int queue[2];

	(void)state;
	kit_lock_in_flight(path, queue);
	behind(OP_LOCK, cancel, 1);
	hook.from = 2;
	assert_int_equal(guest_attach(guest, path, 0), -ECANCELED);
	assert_int_equal(hook.seen, 3);
	memset(&hook, 0, sizeof(hook));
	assert_int_equal(guest_attach(guest, path, 0), -EBUSY);
	assert_says(context, "somebody that this process cannot see");
	close(queue[0]);
	close(queue[1]);
}

static int flying[2];

static void let_go(void)
{
	close(flying[0]);
	close(flying[1]);
}

static void a_lock_that_fades_in_the_grace_is_taken(void **state)
{
	const char *path = kit_file("fading", 0);

	(void)state;
	kit_lock_in_flight(path, flying);
	behind(OP_LOCK, let_go, 1);
	hook.from = 1;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(hook.seen, 3);
	assert_current(path);
}

static const char *contended;

/* Another manager of the same guest gets it. */
static void attach_as_another(void)
{
	struct glk_context *theirs = guest_context();
	const struct glk_guest_info *info = NULL;
	struct glk_guest *same = NULL;
	char uuid[UUID_STRLEN + 1];

	hook.fn = NULL;
	let_go();
	uuid_format(&guest->who.uuid, uuid);
	assert_int_equal(glk_guest_adopt(theirs, uuid, &same), 0);
	assert_int_equal(guest_attach(same, contended, 0), 0);
	assert_int_equal(glk_guest_info(same, &info), 0);
	assert_int_equal(info->n_leases, 1);
	glk_guest_free(same);
	glk_context_free(theirs);
}

static void what_another_manager_takes_meanwhile_is_the_guests(void **state)
{
	(void)state;
	contended = kit_file("contended", 0);
	kit_lock_in_flight(contended, flying);
	behind(OP_LOCK, attach_as_another, 1);
	hook.from = 1;
	assert_int_equal(guest_attach(guest, contended, 0), 0);
	assert_null(hook.fn);
	assert_current(contended);
}

static void without_time_there_is_no_grace(void **state)
{
	const char *path = kit_file("at-once", 0);
	int queue[2];

	(void)state;
	kit_lock_in_flight(path, queue);
	glk_context_set_timeout(context, 0);
	behind(OP_LOCK, let_go, 0);
	assert_int_equal(guest_attach(guest, path, 0), -EBUSY);
	assert_int_equal(hook.seen, 1);
	close(queue[0]);
	close(queue[1]);
	assert_int_equal(guest_attach(guest, path, 0), 0);
}

static void owner_is_free(void)
{
	assert_true(test_lockable(test_file("successor", -1), F_WRLCK));
}

static void a_hand_over_refuses_to_share_and_the_owners_byte_is_left(
	void **state)
{
	struct kit_stranger s = { .path = test_file("successor", 0),
				  .type = F_WRLCK,
				  .command = F_OFD_SETLK };
	const struct glk_conflict *c = NULL;

	(void)state;
	for (s.byte = 2; s.byte <= 4; s.byte++) {
		kit_stranger(&s);
		behind(OP_UNLOCK, owner_is_free, 1);
		assert_int_equal(guest_attach(guest, s.path, GLK_DISK_SHARED),
				 -EBUSY);
		assert_int_equal(hook.left, 0);
		assert_int_equal(glk_context_conflicts(context, &c), 1);
		assert_int_equal(c->kind, GLK_CONFLICT_PROCESS);
		assert_int_equal(c->pid, s.pid);
		assert_true(test_lockable(s.path, F_WRLCK));
		kit_stranger_end(&s);
	}
}

/* Replaces the image whenever nobody has it, by the book: under its lock. */
_Noreturn static int replace_forever(void *arg)
{
	const char *path = test_file("raced", -1);
	struct channel *ready = arg;

	channel_tell(ready, 0);
	for (;;) {
		struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
		int fd = open(path, O_RDWR | O_CLOEXEC);
		struct stat mine, now;

		MUST(fd >= 0);
		MUST(!fstat(fd, &mine));
		if (!fcntl(fd, F_OFD_SETLK, &lock) && !stat(path, &now) &&
		    mine.st_ino == now.st_ino)
			MUST(!rename(test_file("raced-new", 0), path));
		close(fd);
		usleep(20); /* or nobody else would ever have it */
	}
}

static void what_is_held_is_what_the_path_names(void **state)
{
	const char *path = kit_file("raced", 0);
	struct channel ready = channel_new();
	pid_t pid = process_start(replace_forever, &ready);
	uint64_t enough = deadline_in_ms(300);
	unsigned taken = 0;

	(void)state;
	assert_int_equal(channel_hear(&ready), 0);
	glk_context_set_timeout(context, 0); /* no grace, or it takes long */
	while (!taken || clock_now() < enough) {
		int r = guest_attach(guest, path, 0);

		if (r) {
			assert_true(r == -EBUSY || r == -ESTALE || r == -ETIME);
			continue;
		}
		assert_current(path);
		assert_int_equal(guest_detach(guest, path), 0);
		taken++;
	}
	process_end(pid);
	channel_free(&ready);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_file_that_is_replaced_meanwhile_is_opened_anew),
	TEST(a_file_that_is_always_replaced_is_given_up),
	TEST(a_directory_that_is_replaced_meanwhile_is_opened_anew),
	TEST(a_link_that_is_turned_meanwhile_is_followed_anew),
	TEST(a_target_that_is_replaced_meanwhile_is_noticed),
	TEST(a_file_that_is_deleted_meanwhile_is_missing),
	TEST(an_operation_that_fails_takes_nothing),
	TEST(a_cancel_between_two_acts_takes_nothing),
	TEST(a_cancel_that_is_too_late_ends_the_next_call),
	TEST(a_cancel_ends_the_grace),
	TEST(a_lock_that_fades_in_the_grace_is_taken),
	TEST(what_another_manager_takes_meanwhile_is_the_guests),
	TEST(without_time_there_is_no_grace),
	TEST(a_hand_over_refuses_to_share_and_the_owners_byte_is_left),
	TEST(what_is_held_is_what_the_path_names),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
