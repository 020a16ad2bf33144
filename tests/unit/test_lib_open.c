/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/compat.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct glk_context *context;
static struct glk_guest *guest;

static int start(void **state)
{
	(void)state;
	context = guest_context();
	guest = kit_self(context);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

/* A place is believed only if its directory is older than a clock's tick. */
static void let_it_settle(void)
{
	usleep(10000);
}

static void make_socket(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(strlen(path) < sizeof(sun.sun_path));
	memcpy(sun.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(fd);
}

static const char *in_dir(const char *dir, const char *name)
{
	static char ring[4][PATH_MAX];
	static unsigned next;
	char *path = ring[next++ % ARRAY_SIZE(ring)];

	snprintf(path, PATH_MAX, "%s/%s", dir, name);
	return path;
}

static void make_oddities(void)
{
	static char longest[300];

	memset(longest, 'n', 256);
	assert_int_equal(mkdir(test_file("dir", -1), 0700), 0);
	assert_int_equal(mkfifo(test_file("fifo", -1), 0600), 0);
	make_socket(test_file("socket", -1));
	assert_int_equal(symlink("nowhere", test_file("dangling", -1)), 0);
	assert_int_equal(symlink("loop-b", test_file("loop-a", -1)), 0);
	assert_int_equal(symlink("loop-a", test_file("loop-b", -1)), 0);
	test_file("file", 0);
	assert_int_equal(symlink(longest, test_file("long-link", -1)), 0);
}

static const struct oddity {
	const char *name;
	unsigned flags;
	int error;
	const char *text;
} oddities[] = {
	{ "missing", 0, -ENOENT, "No such file" },
	{ "missing/x", 0, -ENOENT, "No such file" },
	{ "dir", 0, -EISDIR, "Is a directory" },
	{ "dir", GLK_DISK_SHARED, -EISDIR, "Is a directory" },
	{ "dir/", 0, -EISDIR, "Is a directory" },
	{ "dir/.", GLK_DISK_READONLY, -EISDIR, "Is a directory" },
	{ "dir/..", 0, -EISDIR, "Is a directory" },
	{ "file/", 0, -EISDIR, "Is a directory" },
	{ "file/x", 0, -ENOTDIR, "Not a directory" },
	{ "fifo", 0, -EOPNOTSUPP, "no regular file and no block device" },
	{ "fifo", GLK_DISK_SHARED, -EOPNOTSUPP,
	  "no regular file and no block device" },
	{ "socket", 0, -EOPNOTSUPP, "no regular file and no block device" },
	{ "/dev/null", 0, -EOPNOTSUPP, "no regular file and no block device" },
	{ "dangling", 0, -ENOENT, "No such file" },
	{ "loop-a", 0, -ELOOP, "Too many levels" },
	{ "long-link", 0, -ENAMETOOLONG, "File name too long" },
};

static const char *oddity_path(const struct oddity *o)
{
	return o->name[0] == '/' ? o->name : in_dir(test_dir(), o->name);
}

static int errno_of_slash(const struct oddity *o)
{
	/* open(2) says either for a file with a slash behind it. */
	return strcmp(o->name, "file/") ? o->error : -ENOTDIR;
}

static void check_oddities(const char *beside)
{
	for (size_t i = 0; i < ARRAY_SIZE(oddities); i++) {
		const struct oddity *o = &oddities[i];
		const struct glk_disk disks[] = {
			{ beside, 0 }, { oddity_path(o), o->flags }
		};
		int r = glk_guest_attach(guest, disks, 2);

		if (r != o->error)
			assert_int_equal(r, errno_of_slash(o));
		else
			assert_says(context, o->text);
		assert_says(context, disks[1].path);
		assert_int_equal(glk_guest_attach(guest, disks + 1, 1), r);
		assert_free(beside);
	}
}

static void what_is_no_image_is_told_by_its_name(void **state)
{
	const char *beside = test_file("beside", 0);
	unsigned fds;

	(void)state;
	make_oddities();
	let_it_settle();
	check_oddities(beside);
	fds = test_open_fds(); /* the engine has what it needs by now */
	check_oddities(beside);
	assert_int_equal(test_open_fds(), fds);
}

static void all_errors_of_a_batch_are_counted_in_one_message(void **state)
{
	const char *paths[] = { test_file("good", 0), "/nowhere/a",
				test_file("dir", -1), "/nowhere/b" };

	(void)state;
	assert_int_equal(kit_attach(guest, paths, 4), -ENOENT);
	assert_string_equal(glk_context_message(context),
			    "/nowhere/a: No such file or directory "
			    "(and 2 more)");
	assert_free(paths[0]);
}

static void a_message_has_no_control_characters(void **state)
{
	(void)state;
	assert_int_equal(guest_attach(guest, "/no\nwhere/\x1b[31m\\", 0),
			 -ENOENT);
	assert_string_equal(glk_context_message(context),
			    "/no\\x0awhere/\\x1b[31m\\x5c: "
			    "No such file or directory");
}

static void links_out_of_a_directory_are_followed(void **state)
{
	const char *dir = test_file("links", -1), *image = test_file("out", 0);
	const char *paths[3];

	(void)state;
	assert_int_equal(mkdir(dir, 0700), 0);
	paths[0] = test_file("links/a", 0);
	paths[1] = test_file("links/b", 0);
	paths[2] = test_file("links/link", -1);
	assert_int_equal(symlink("../out", paths[2]), 0);
	let_it_settle();
	assert_int_equal(kit_attach(guest, paths, 3), 0);
	assert_held(paths[0]);
	assert_held(paths[1]);
	assert_held(image);
}

/* In a child, whose mounts end with it. */
static int take_bind_mounted(void *arg)
{
	const char *paths[] = { test_file("bind/a", -1),
				test_file("bind/b", -1),
				test_file("bind/on", -1) };

	(void)arg;
	MUST(!unshare(CLONE_NEWNS));
	MUST(!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(!mount(test_file("elsewhere", -1), paths[2], NULL, MS_BIND, NULL));
	start(NULL);
	MUST_EQUAL(kit_attach(guest, paths, 3), 0);
	MUST(range_is_locked(test_file("elsewhere", -1), 0, 1));
	MUST(range_is_locked(paths[0], 0, 1));
	/* The mount point's own file is another one. */
	MUST(!umount2(paths[2], MNT_DETACH));
	MUST(!range_is_locked(paths[2], 0, 1));
	stop(NULL);
	return 0;
}

static void a_file_that_is_mounted_over_is_the_one_on_top(void **state)
{
	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(mkdir(test_file("bind", -1), 0700), 0);
	test_file("bind/a", 0);
	test_file("bind/b", 0);
	test_file("bind/on", 0);
	test_file("elsewhere", 0);
	let_it_settle();
	assert_int_equal(process_wait(process_start(take_bind_mounted, NULL)),
			 0);
}

static int take_from_read_only(void *arg)
{
	const char *path = test_file("ro/image", -1);

	(void)arg;
	MUST(!unshare(CLONE_NEWNS));
	MUST(!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(!mount(test_file("ro", -1), test_file("ro", -1), NULL, MS_BIND,
		    NULL));
	MUST(!mount(NULL, test_file("ro", -1), NULL,
		    MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	start(NULL);
	MUST_EQUAL(guest_attach(guest, path, 0), -EROFS);
	assert_says(context, "Read-only file system");
	MUST_EQUAL(guest_attach(guest, path, GLK_DISK_READONLY), 0);
	stop(NULL);
	return 0;
}

static void a_read_only_file_system_has_shared_disks_only(void **state)
{
	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(mkdir(test_file("ro", -1), 0700), 0);
	test_file("ro/image", 0);
	assert_int_equal(process_wait(process_start(take_from_read_only, NULL)),
			 0);
}

static int take_forbidden(void *arg)
{
	const char *paths[] = { arg, test_file("forbidden/read", -1) };

	start(NULL);
	MUST_EQUAL(guest_attach(guest, paths[0], 0), 0);
	MUST_EQUAL(guest_detach(guest, paths[0]), 0);
	MUST_EQUAL(kit_attach(guest, paths, 2), -EACCES);
	assert_says(context, "forbidden/read: Permission denied");
	MUST(!range_is_locked(paths[0], 0, 3));
	MUST_EQUAL(guest_attach(guest, paths[1], GLK_DISK_SHARED), 0);
	MUST_EQUAL(guest_attach(guest, test_file("closed/x", -1), 0), -EACCES);
	stop(NULL);
	return 0;
}

static void nobody_takes_what_it_may_not_open(void **state)
{
	const char *own = kit_file("forbidden/own", -1);

	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(chmod(test_dir(), 0755), 0);
	assert_int_equal(mkdir(test_file("forbidden", -1), 0755), 0);
	assert_int_equal(mkdir(test_file("closed", -1), 0700), 0);
	test_file("forbidden/own", 0);
	test_file("forbidden/read", 0);
	assert_int_equal(chmod(own, 0666), 0);
	assert_int_equal(chmod(test_file("forbidden/read", -1), 0444), 0);
	let_it_settle();
	assert_int_equal(kit_as_nobody(take_forbidden, (void *)own), 0);
}

static int take_without_descriptors(void *arg)
{
	struct disks *disks = arg;
	struct rlimit limit;

	start(NULL);
	MUST_EQUAL(guest_attach(guest, disks->items[0].path, 0), 0);
	MUST_EQUAL(guest_detach(guest, disks->items[0].path), 0);
	MUST(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = test_open_fds() + 20;
	MUST(!setrlimit(RLIMIT_NOFILE, &limit));
	MUST_EQUAL(glk_guest_attach(guest, disks->items, 100), -EMFILE);
	assert_says(context, "Too many open files");
	MUST_EQUAL(glk_guest_attach(guest, disks->items, 40), -EMFILE);
	assert_says(context, "/nofile/");
	MUST_EQUAL(disks_locked(disks), 0);
	/* It is usable as before. */
	MUST_EQUAL(glk_guest_attach(guest, disks->items, 5), 0);
	MUST_EQUAL(disks_locked(disks), 5);
	stop(NULL);
	return 0;
}

static void too_few_descriptors_take_nothing(void **state)
{
	struct disks disks = disks_new("nofile", 100);

	(void)state;
	assert_int_equal(process_wait(process_start(take_without_descriptors,
						    &disks)),
			 0);
	disks_free(&disks);
}

static void the_longest_path_is_taken(void **state)
{
	static char path[CAPSULE_PATH_MAX + 2];
	const struct glk_guest_info *info = NULL;
	size_t len;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s", test_dir());
	for (len = strlen(path); len + 2 < CAPSULE_PATH_MAX;
	     len = strlen(path)) {
		size_t n = MIN(CAPSULE_PATH_MAX - len - 1, 200);

		path[len] = '/';
		memset(path + len + 1, 'd', n);
		path[len + 1 + n] = '\0';
		if (strlen(path) + 2 < CAPSULE_PATH_MAX)
			assert_int_equal(mkdir(path, 0700), 0);
	}
	assert_int_equal(strlen(path), CAPSULE_PATH_MAX);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_held(path);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_string_equal(info->leases[0].path, path);
	assert_true(info->leases[0].same_file);
	assert_int_equal(kit_try(context, path, 0), -EBUSY);
	assert_says(context, path);
	assert_int_equal(guest_detach(guest, path), 0);
	assert_free(path);
}

/* The kernel asks for the lease back by a signal. */
static int hold_lease(void *arg)
{
	struct channel *ready = arg;
	int fd = open(test_file("leased", -1), O_RDONLY | O_CLOEXEC), sig;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigprocmask(SIG_BLOCK, &set, NULL);
	MUST(!fcntl(fd, F_SETLEASE, F_RDLCK));
	channel_tell(ready, 0);
	MUST(!sigwait(&set, &sig));
	MUST(!fcntl(fd, F_SETLEASE, F_UNLCK));
	return 0;
}

static void a_file_with_a_kernel_lease_is_waited_for(void **state)
{
	const char *path = test_file("leased", 0);
	struct channel ready = channel_new();
	pid_t pid = process_start(hold_lease, &ready);

	(void)state;
	channel_reads(&ready);
	assert_int_equal(channel_hear(&ready), 0);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_held(path);
	assert_int_equal(process_wait(pid), 0);
	channel_free(&ready);
}

/* openat2(2) is refused with this error, as old sandboxes do. */
static void forbid_openat2(unsigned error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };

	MUST(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

static int take_in_sandbox(void *arg)
{
	struct disks *disks = arg;
	const unsigned *error = (const void *)disks->items[0].path;
	struct disks all = { disks->items + 1, disks->n - 1 };

	forbid_openat2(*error);
	start(NULL);
	MUST_EQUAL(glk_guest_attach(guest, all.items, all.n), 0);
	MUST_EQUAL(disks_locked(&all), all.n);
	stop(NULL);
	return 0;
}

static void a_sandbox_without_openat2_does_not_matter(void **state)
{
	static const unsigned errors[] = { EPERM, ENOSYS };
	struct disks disks = disks_new("sandbox", 9);
	const char *first = disks.items[0].path;

	(void)state;
	let_it_settle();
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		disks.items[0].path = (const char *)&errors[i];
		assert_int_equal(process_wait(process_start(take_in_sandbox,
							    &disks)),
				 0);
	}
	disks.items[0].path = first;
	disks_free(&disks);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(what_is_no_image_is_told_by_its_name),
	TEST(all_errors_of_a_batch_are_counted_in_one_message),
	TEST(a_message_has_no_control_characters),
	TEST(links_out_of_a_directory_are_followed),
	TEST(a_file_that_is_mounted_over_is_the_one_on_top),
	TEST(a_read_only_file_system_has_shared_disks_only),
	TEST(nobody_takes_what_it_may_not_open),
	TEST(too_few_descriptors_take_nothing),
	TEST(the_longest_path_is_taken),
	TEST(a_file_with_a_kernel_lease_is_waited_for),
	TEST(a_sandbox_without_openat2_does_not_matter),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
