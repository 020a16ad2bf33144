/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lease_file.h"
#include "tests/unit/lib_kit.h"

#include "core/base/compat.h"
#include "core/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

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

static ino_t inode(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_ino;
}

static void only_a_name_is_a_lease(void **state)
{
	static const char *const names[] = { "a",    "/a",   "a/b", "/a/b",
					     "...",  "a/.b", ".a",  "a/..b",
					     "../a", "./a" };
	static const char *const none[] = { "/",  "a/",	 ".",	 "..",
					    "/.", "/..", "a/..", "a/." };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_true(lease_file_is_named(names[i]));
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		struct glk_guest *guest =
			guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);

		assert_false(lease_file_is_named(none[i]));
		assert_int_equal(guest_add(guest, none[i], GLK_DISK_LEASE),
				 -EINVAL);
		assert_says(context, "a lease has no name");
		glk_guest_free(guest);
	}
}

static void a_directory_is_the_text_before_the_name(void **state)
{
	(void)state;
	assert_int_equal(lease_file_dir("a"), 0);
	assert_int_equal(lease_file_dir("/a"), 1);
	assert_int_equal(lease_file_dir("/a/b"), 2);
	assert_int_equal(lease_file_dir("a/b/c"), 3);
}

static int open_rw(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* Try to remove @path by a descriptor of @opened, which stays locked. */
static bool removes(const char *opened, const char *path)
{
	int fd = open_rw(opened);
	bool removed = lease_file_remove(fd, path);

	close(fd);
	assert_int_equal(is_there(path), !removed);
	return removed;
}

static void a_file_that_nobody_holds_is_removed_under_its_lock(void **state)
{
	const char *path = kit_file("alone", 0);
	int fd = open_rw(path), other = open_rw(path);
	struct flock lock = { .l_type = F_RDLCK, .l_len = 1 };

	(void)state;
	assert_true(lease_file_remove(fd, path));
	assert_false(is_there(path));
	assert_int_equal(fcntl(other, F_OFD_SETLK, &lock), -1);
	close(fd);
	assert_int_equal(fcntl(other, F_OFD_SETLK, &lock), 0);
	close(other);
}

static void what_somebody_holds_stays(void **state)
{
	static const short types[] = { F_RDLCK, F_WRLCK };
	const char *path = kit_file("taken", 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		int fd = kit_lock(path, 0, types[i]);

		assert_false(removes(path, path));
		close(fd);
	}
	assert_true(removes(path, path));
}

static void what_is_no_lease_file_stays(void **state)
{
	const char *full = kit_file("full", 1), *two = kit_file("two", 0);
	const char *name = kit_file("name", -1), *soft = kit_file("soft", -1);
	const char *other = kit_file("other", 0);

	(void)state;
	assert_false(removes(full, full));
	assert_int_equal(link(two, name), 0);
	assert_false(removes(two, two));
	assert_int_equal(unlink(name), 0);
	assert_int_equal(symlink(two, soft), 0);
	assert_false(removes(two, soft));
	assert_false(removes(two, other));
	assert_true(removes(two, two));
}

static void a_descriptor_that_can_only_read_removes_nothing(void **state)
{
	const char *path = kit_file("read", 0);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_false(lease_file_remove(fd, path));
	assert_true(is_there(path));
	close(fd);
}

static void what_has_no_name_any_more_cannot_be_removed(void **state)
{
	const char *path = kit_file("gone", 0);
	static char longest[2 * PATH_MAX];
	int fd = open_rw(path);

	(void)state;
	assert_int_equal(unlink(path), 0);
	assert_false(lease_file_remove(fd, path));
	kit_file("gone", 0);
	assert_false(lease_file_remove(fd, path));
	assert_true(is_there(path));
	assert_false(lease_file_remove(fd, "/nowhere/x"));
	assert_false(lease_file_remove(fd, "/"));
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 2] = '/';
	assert_false(lease_file_remove(fd, longest));
	longest[sizeof(longest) - 3] = '/';
	longest[sizeof(longest) - 2] = 'x';
	assert_false(lease_file_remove(fd, longest));
	close(fd);
}

static struct glk_guest *holding(const char *path, unsigned flags)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);

	assert_int_equal(guest_add(guest, path, GLK_DISK_LEASE | flags), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	return guest;
}

static const struct glk_lease_info *only_lease(struct glk_guest *guest)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 1);
	return info->leases;
}

static void a_lease_file_is_made_and_removed(void **state)
{
	const char *path = kit_file("made", -1);
	struct glk_guest *guest = holding(path, 0);
	const struct glk_lease_info *lease = only_lease(guest);
	struct stat st;
	size_t released;

	(void)state;
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(lease->type, GLK_LEASE_KEY);
	assert_int_equal(lease->mode, GLK_MODE_EXCLUSIVE);
	assert_string_equal(lease->path, path);
	assert_true(lease->held && lease->same_file);
	assert_held(path);
	assert_int_equal(kit_try(context, path, GLK_DISK_LEASE), -EBUSY);
	assert_says(context, path);
	assert_int_equal(kit_try(context, path, 0), -EBUSY);
	assert_int_equal(glk_guest_detach(guest, &path, 1, &released), 0);
	assert_int_equal(released, 1);
	assert_false(is_there(path));
	assert_int_equal(glk_guest_detach(guest, &path, 1, &released), 0);
	assert_int_equal(released, 0);
	assert_int_equal(guest_attach(guest, path, GLK_DISK_LEASE), 0);
	assert_held(path);
	glk_guest_free(guest);
	/* Whoever just ends leaves it, for the next. */
	assert_free(path);
	assert_int_equal(kit_try(context, path, GLK_DISK_LEASE), 0);
}

static void who_holds_it_may_take_it_again(void **state)
{
	const char *path = kit_file("again", -1);
	struct glk_guest *guest = holding(path, 0);
	ino_t ino = inode(path);

	(void)state;
	assert_int_equal(guest_attach(guest, path, GLK_DISK_LEASE), 0);
	assert_int_equal(guest_attach(guest, path,
				      GLK_DISK_LEASE | GLK_DISK_SHARED),
			 -EEXIST);
	assert_int_equal(inode(path), ino);
	only_lease(guest);
	assert_held(path);
	glk_guest_free(guest);
}

static void shared_leases_leave_the_file_to_the_others(void **state)
{
	const char *path = kit_file("shared", -1);
	struct glk_guest *a = holding(path, GLK_DISK_SHARED);
	struct glk_guest *b = holding(path, GLK_DISK_READONLY);
	ino_t ino = inode(path);

	(void)state;
	assert_int_equal(only_lease(a)->mode, GLK_MODE_SHARED);
	assert_int_equal(kit_try(context, path, GLK_DISK_LEASE), -EBUSY);
	assert_int_equal(guest_detach(a, path), 0);
	assert_int_equal(inode(path), ino);
	assert_held(path);
	assert_true(only_lease(b)->same_file);
	assert_int_equal(guest_detach(b, path), 0);
	assert_free(path);
	glk_guest_free(a);
	glk_guest_free(b);
}

/* As while a migration hands it over. */
static void what_others_claim_stays_when_it_is_given_back(void **state)
{
	const char *path = kit_file("claimed", -1);
	struct glk_guest *guest = holding(path, 0);
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
	struct flock lock = { .l_len = 1 };
	int fd, claim = open_rw(path);

	(void)state;
	assert_int_equal(capsule_list(guest->capsule, UINT64_MAX, &contents),
			 0);
	fd = contents.leases[0].fds[0];
	lock.l_type = F_WRLCK;
	lock.l_start = LOCK_BYTE_WRITER;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	lock.l_start = LOCK_BYTE_PREDECESSOR;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	lock.l_type = F_RDLCK;
	lock.l_start = LOCK_BYTE_OWNER;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(fcntl(claim, F_OFD_SETLK, &lock), 0);
	capsule_contents_done(&contents);
	assert_int_equal(guest_detach(guest, path), 0);
	assert_true(is_there(path));
	close(claim);
	assert_free(path);
	glk_guest_free(guest);
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

static void nothing_but_a_regular_file_is_a_lease(void **state)
{
	static const struct {
		const char *name;
		int error;
		const char *text;
	} cases[] = {
		{ "dir", -EISDIR, "it is a directory" },
		{ "fifo", -EOPNOTSUPP, "it is no regular file" },
		{ "socket", -EOPNOTSUPP, "it is no regular file" },
		{ "to-file", -ELOOP, "it is a symbolic link" },
		{ "dangling", -ELOOP, "it is a symbolic link" },
		{ "file/key", -ENOTDIR, "Not a directory" },
	};
	const char *file = kit_file("file", 0);
	char path[PATH_MAX];

	(void)state;
	assert_int_equal(mkdir(test_file("dir", -1), 0700), 0);
	assert_int_equal(mkfifo(test_file("fifo", -1), 0600), 0);
	make_socket(test_file("socket", -1));
	assert_int_equal(symlink(file, test_file("to-file", -1)), 0);
	assert_int_equal(symlink("target", test_file("dangling", -1)), 0);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		unsigned mode = i % 2 ? GLK_DISK_SHARED : 0;

		snprintf(path, sizeof(path), "%s/%s", test_dir(),
			 cases[i / 2].name);
		assert_int_equal(kit_try(context, path, GLK_DISK_LEASE | mode),
				 cases[i / 2].error);
		assert_says(context, cases[i / 2].text);
	}
	assert_false(is_there(test_file("target", -1)));
	assert_true(is_there(file));
}

static void a_missing_directory_is_named(void **state)
{
	char path[PATH_MAX], text[PATH_MAX + 64];

	(void)state;
	snprintf(path, sizeof(path), "%s/no-space/key", test_dir());
	snprintf(text, sizeof(text), "key: there is no directory %s/no-space",
		 test_dir());
	assert_int_equal(kit_try(context, path, GLK_DISK_LEASE), -ENOENT);
	assert_says(context, text);
	assert_int_equal(kit_try(context, path,
				 GLK_DISK_LEASE | GLK_DISK_SHARED),
			 -ENOENT);
	assert_says(context, text);
}

static void two_spellings_are_one_lease_of_the_first_kind(void **state)
{
	const char *path = kit_file("spelt", -1);
	struct glk_guest *guest = kit_self(context);
	char dotted[PATH_MAX];
	struct glk_disk disks[] = { { path, GLK_DISK_LEASE },
				    { dotted, GLK_DISK_LEASE },
				    { path, 0 } };

	(void)state;
	snprintf(dotted, sizeof(dotted), "%s/./spelt", test_dir());
	assert_int_equal(glk_guest_attach(guest, disks, 3), 0);
	assert_int_equal(only_lease(guest)->type, GLK_LEASE_KEY);
	assert_int_equal(guest_detach(guest, dotted), 0);
	assert_false(is_there(path));
	/* A disk that was named first is a disk, and is never removed. */
	kit_file("spelt", 0);
	disks[0].flags = 0;
	assert_int_equal(glk_guest_attach(guest, disks, 3), 0);
	assert_int_equal(only_lease(guest)->type, GLK_LEASE_FILE);
	assert_int_equal(guest_detach(guest, path), 0);
	assert_true(is_there(path));
	assert_free(path);
	glk_guest_free(guest);
}

static void a_lease_is_taken_by_a_relative_path(void **state)
{
	struct glk_guest *guest = kit_self(context);
	const char *path = kit_file("relative", -1);
	char old[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(old, sizeof(old)));
	assert_int_equal(chdir(test_dir()), 0);
	assert_int_equal(guest_attach(guest, "relative", GLK_DISK_LEASE), 0);
	assert_held(path);
	assert_string_equal(only_lease(guest)->path, path);
	assert_int_equal(guest_detach(guest, "relative"), 0);
	assert_false(is_there(path));
	assert_int_equal(chdir(old), 0);
	glk_guest_free(guest);
}

/* What is made beside disks that cannot be had does not stay behind. */
static void a_refusal_leaves_no_litter(void **state)
{
	const char *a = kit_file("litter-a", -1), *b = kit_file("litter-b", -1);
	const char *busy = kit_file("litter-busy", 0);
	struct glk_disk disks[] = { { a, GLK_DISK_LEASE },
				    { busy, 0 },
				    { b, GLK_DISK_LEASE },
				    { busy, GLK_DISK_LEASE } };
	struct glk_guest *guest = kit_self(context);
	int fd = kit_lock(busy, 0, F_WRLCK);

	(void)state;
	assert_int_equal(glk_guest_attach(guest, disks, 4), -EBUSY);
	assert_false(is_there(a));
	assert_false(is_there(b));
	assert_true(is_there(busy));
	close(fd);
	disks[1].path = "/nowhere/x";
	assert_int_equal(glk_guest_attach(guest, disks, 3), -ENOENT);
	assert_false(is_there(a));
	assert_false(is_there(b));
	glk_guest_free(guest);
}

static void a_refusal_removes_no_lease_of_others(void **state)
{
	const char *mine = kit_file("kept-mine", -1);
	const char *theirs = kit_file("kept-theirs", -1);
	const char *shared = kit_file("kept-shared", -1);
	const struct glk_disk disks[] = { { mine, GLK_DISK_LEASE },
					  { shared, GLK_DISK_LEASE },
					  { theirs, GLK_DISK_LEASE } };
	struct glk_guest *guest = holding(mine, 0);
	struct glk_guest *other = holding(theirs, 0);
	struct glk_guest *third = holding(shared, GLK_DISK_SHARED);
	const struct glk_conflict *list;

	(void)state;
	assert_int_equal(glk_guest_attach(guest, disks, 3), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &list), 2);
	assert_string_equal(list[0].path, shared);
	assert_string_equal(list[1].path, theirs);
	assert_int_equal(list[1].kind, GLK_CONFLICT_GUEST);
	assert_held(mine);
	assert_held(theirs);
	assert_held(shared);
	assert_true(only_lease(guest)->same_file);
	assert_true(only_lease(other)->same_file);
	assert_true(only_lease(third)->same_file);
	glk_guest_free(third);
	glk_guest_free(other);
	glk_guest_free(guest);
}

/* A guest writes into its own capsule whatever it wants. */
static void a_guest_cannot_have_its_image_removed(void **state)
{
	const char *path = kit_file("image", 4096);
	struct glk_guest *guest = kit_self(context);
	int fd = kit_lock(path, 0, F_WRLCK);
	struct capsule_parcel parcel = { .fds = { fd },
					 .n_fds = 1,
					 .type = RES_TYPE_LEASE,
					 .mode = RES_EXCLUSIVE,
					 .scope = RES_SCOPE_HOST,
					 .path = path };
	struct stat st;

	(void)state;
	assert_int_equal(fstat(fd, &st), 0);
	parcel.id = (struct res_id){ st.st_dev, st.st_ino };
	assert_int_equal(capsule_push(guest->capsule, &parcel, 1, UINT64_MAX),
			 0);
	close(fd);
	assert_int_equal(only_lease(guest)->type, GLK_LEASE_KEY);
	assert_int_equal(guest_detach(guest, path), 0);
	assert_free(path);
	assert_int_equal(inode(path), st.st_ino);
	glk_guest_free(guest);
}

/* Its name leads to the next one's inode by then. */
static void a_lease_that_lost_its_name_is_given_back_without_it(void **state)
{
	const char *path = kit_file("renamed", -1);
	struct glk_guest *guest = holding(path, 0), *next;
	size_t released;

	(void)state;
	assert_int_equal(unlink(path), 0);
	next = holding(path, 0);
	assert_int_equal(only_lease(guest)->same_file, 0);
	assert_int_equal(glk_guest_detach(guest, &path, 1, &released), 0);
	assert_int_equal(released, 1);
	assert_true(only_lease(next)->same_file);
	assert_held(path);
	glk_guest_free(guest);
	glk_guest_free(next);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(only_a_name_is_a_lease),
	TEST(a_directory_is_the_text_before_the_name),
	TEST(a_file_that_nobody_holds_is_removed_under_its_lock),
	TEST(what_somebody_holds_stays),
	TEST(what_is_no_lease_file_stays),
	TEST(a_descriptor_that_can_only_read_removes_nothing),
	TEST(what_has_no_name_any_more_cannot_be_removed),
	TEST(a_lease_file_is_made_and_removed),
	TEST(who_holds_it_may_take_it_again),
	TEST(shared_leases_leave_the_file_to_the_others),
	TEST(what_others_claim_stays_when_it_is_given_back),
	TEST(nothing_but_a_regular_file_is_a_lease),
	TEST(a_missing_directory_is_named),
	TEST(two_spellings_are_one_lease_of_the_first_kind),
	TEST(a_lease_is_taken_by_a_relative_path),
	TEST(a_refusal_leaves_no_litter),
	TEST(a_refusal_removes_no_lease_of_others),
	TEST(a_guest_cannot_have_its_image_removed),
	TEST(a_lease_that_lost_its_name_is_given_back_without_it),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
