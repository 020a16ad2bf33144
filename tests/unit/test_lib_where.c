/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/where.h"
#include "tests/unit/lib_kit.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static struct glk_context *context;

static int open_context(void **state)
{
	(void)state;
	context = guest_context();
	assert_int_equal(context_begin(context), 0);
	return 0;
}

static int close_context(void **state)
{
	(void)state;
	glk_context_free(context);
	return 0;
}

static void a_path_is_identified_through_its_links(void **state)
{
	const char *path = test_file("image", 0), *link = test_file("link", -1);
	struct where where = {};
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(where_path(context, link, &where), 0);
	assert_int_equal(where.id.dev, st.st_dev);
	assert_int_equal(where.id.ino, st.st_ino);
	assert_true(S_ISREG(where.mode));
	assert_string_not_equal(where.kind.fs, "");
}

static void only_a_regular_file_is_opened_to_ask(void **state)
{
	const char *path = test_file("asked", 0), *link = test_file("l", -1);
	struct where where = { .mode = 7 };
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(symlink(path, link), 0);
	fd = where_open(context, link, &where);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(where.id.ino, st.st_ino);
	where_close(context, fd, false);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	where.mode = 7;
	assert_int_equal(where_open(context, test_dir(), &where), -EISDIR);
	assert_int_equal(where_open(context, "/dev/null", &where), -EOPNOTSUPP);
	assert_int_equal(where_open(context, "/nowhere", &where), -ENOENT);
	assert_int_equal(where.mode, 7);
}

struct leased {
	const char *path;
	struct channel ready;
	bool stays;
};

/* F_SETLEASE, given back as soon as somebody wants the file, or not. */
static int keep_lease(void *arg)
{
	const struct timespec limit = { .tv_sec = 60 };
	struct leased *l = arg;
	int fd = open(l->path, O_RDWR | O_CLOEXEC);
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	MUST(fd >= 0 && !sigprocmask(SIG_BLOCK, &set, NULL));
	MUST(!fcntl(fd, F_SETLEASE, F_WRLCK));
	channel_tell(&l->ready, 0);
	MUST(sigtimedwait(&set, NULL, &limit) == SIGIO);
	if (l->stays)
		pause();
	usleep(20000);
	MUST(!fcntl(fd, F_SETLEASE, F_UNLCK));
	return 0;
}

static pid_t start_lease(struct leased *l)
{
	pid_t pid;

	l->ready = channel_new();
	pid = process_start(keep_lease, l);
	channel_reads(&l->ready);
	assert_int_equal(channel_hear(&l->ready), 0);
	return pid;
}

static void a_lease_of_others_is_waited_for(void **state)
{
	struct leased l = { .path = test_file("leased", 0) };
	struct where where = {};
	pid_t pid;
	int fd;

	(void)state;
	pid = start_lease(&l);
	fd = where_open(context, l.path, &where);
	assert_true(fd >= 0);
	where_close(context, fd, false);
	assert_int_equal(process_wait(pid), 0);
	channel_free(&l.ready);

	l.stays = true;
	pid = start_lease(&l);
	glk_context_set_timeout(context, 50);
	assert_int_equal(context_begin(context), 0);
	assert_int_equal(where_open(context, l.path, &where), -ETIME);
	process_end(pid);
	channel_free(&l.ready);
}

/* A process that opens a FIFO to write waits for somebody to open it. */
static int open_fifo(void *arg)
{
	return open(arg, O_WRONLY) < 0;
}

static void what_is_looked_at_is_not_opened(void **state)
{
	const char *path = test_file("fifo", -1);
	struct where where = {};
	pid_t pid;
	int fd;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	pid = process_start(open_fifo, (void *)path);
	assert_int_equal(where_path(context, path, &where), 0);
	assert_true(S_ISFIFO(where.mode));
	usleep(20000);
	assert_false(process_is_gone(pid));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(process_wait(pid), 0);
	close(fd);
	assert_int_equal(where_path(context, "/dev/null", &where), 0);
	assert_true(S_ISCHR(where.mode));
}

static void what_is_not_there_is_an_error_and_nothing_else(void **state)
{
	struct where where = { .mode = 7 };
	char inside[4200];

	(void)state;
	snprintf(inside, sizeof(inside), "%s/x", test_file("file", 0));
	assert_int_equal(where_path(context, "/nowhere/x", &where), -ENOENT);
	assert_int_equal(where_path(context, inside, &where), -ENOTDIR);
	assert_int_equal(symlink("loop", test_file("loop", -1)), 0);
	assert_int_equal(where_path(context, test_file("loop", -1), &where),
			 -ELOOP);
	assert_int_equal(where_fd(context, -1, NULL, &where), -EBADF);
	assert_int_equal(where.mode, 7);
}

static void a_cancel_is_passed_on(void **state)
{
	struct where where;

	(void)state;
	glk_context_cancel(context);
	assert_int_equal(where_path(context, test_dir(), &where), -ECANCELED);
	assert_int_equal(where_path(context, test_dir(), &where), 0);
}

/* Put another mount table into the context. */
static void use_table(const char *text)
{
	const char *path = test_file("mountinfo", 0);
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	mounts_free(context->mounts);
	assert_int_equal(mounts_new(path, &context->mounts), 0);
}

static void a_path_with_dots_may_lead_anywhere(void **state)
{
	static const struct {
		const char *path;
		uint8_t flags;
	} cases[] = {
		{ "/images/a", 0 },
		{ "/srv/nfs/a", OP_REMOTE },
		{ "/images/../srv/nfs/a", OP_REMOTE },
		{ "../a", OP_REMOTE },
		{ "/images/..", OP_REMOTE },
		{ "..", OP_REMOTE },
		{ "/images/..a", 0 },
		{ "/images/a..", 0 },
		{ "/images/a../b", 0 },
		{ "/images/...", 0 },
	};

	(void)state;
	use_table("21 1 254:0 / / rw - ext4 /dev/vda rw\n"
		  "22 21 0:30 / /srv/nfs rw - nfs4 h:/x rw\n");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(where_flags(context, cases[i].path),
				 cases[i].flags);
	use_table("21 1 254:0 / / rw - ext4 /dev/vda rw\n");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(where_flags(context, cases[i].path), 0);
}

#define TEST(_f)                                                               \
	cmocka_unit_test_setup_teardown(_f, open_context, close_context)

static const struct CMUnitTest tests[] = {
	TEST(a_path_is_identified_through_its_links),
	TEST(only_a_regular_file_is_opened_to_ask),
	TEST(a_lease_of_others_is_waited_for),
	TEST(what_is_looked_at_is_not_opened),
	TEST(what_is_not_there_is_an_error_and_nothing_else),
	TEST(a_cancel_is_passed_on),
	TEST(a_path_with_dots_may_lead_anywhere),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
