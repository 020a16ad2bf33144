/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lock_dir.h"
#include "tests/unit/lib_kit.h"

#include "core/base/util.h"
#include "core/lib/lock_name.h"
#include "core/lib/owner.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static struct glk_context *context;
static char dir[PATH_MAX];

static void use(const char *lock_dir)
{
	const struct glk_policy policy = { .lock_dir = lock_dir };

	assert_int_equal(glk_context_set_policy(context, &policy), 0);
}

static int start(void **state)
{
	(void)state;
	context = guest_context();
	snprintf(dir, sizeof(dir), "%s/locks", test_dir());
	mkdir(dir, 0700);
	use(dir);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_context_free(context);
	assert_int_equal(rmdir(dir), 0);
	return 0;
}

/* DIR/hash, in a static ring. */
static const char *lock_file(const char *path)
{
	static char ring[8][PATH_MAX + 300];
	static unsigned next;
	const struct glk_policy policy = { .lock_dir = dir };
	const struct op_stat st = { .mode = S_IFREG };
	char *buf = ring[next++ % ARRAY_SIZE(ring)];
	struct lock_name names[LOCK_NAMES_MAX];

	assert_int_equal(lock_names(&policy, "/sys", path, &st, names), 1);
	snprintf(buf, sizeof(ring[0]), "%s/%s", names[0].dir, names[0].name);
	return buf;
}

static bool is_there(const char *path)
{
	return !access(path, F_OK);
}

static void put(const char *path, const void *data, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	close(fd);
}

static void read_owner(const char *path, struct owner *owner)
{
	char buf[OWNER_SIZE + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, buf, sizeof(buf)), OWNER_SIZE);
	assert_int_equal(owner_parse(buf, OWNER_SIZE, owner), 0);
	close(fd);
}

/* As a guest of another host would have left it. */
static void put_owner(const char *path, const char *name)
{
	struct owner owner = {
		.uuid = "0a09507e-fe50-4d07-aa88-0b742d8add29",
		.host = "another-host",
		.pid = 4711,
		.since = 1000000000,
	};
	char buf[OWNER_SIZE];

	snprintf(owner.name, sizeof(owner.name), "%s", name);
	assert_int_equal(owner_encode(&owner, buf), 0);
	put(path, buf, sizeof(buf));
}

static int attach(struct glk_guest *guest, const char *path, unsigned flags)
{
	const struct glk_disk disk = { .path = path, .flags = flags };

	return glk_guest_attach(guest, &disk, 1);
}

static int detach(struct glk_guest *guest, const char *path)
{
	size_t released = 0;
	int r = glk_guest_detach(guest, &path, 1, &released);

	return r ? r : (int)released;
}

static void a_name_is_the_hash_of_the_text(void **state)
{
	/* sha256sum says so */
	static const char expected[] = "3003e18abe9efd84555b0b1d23eeaf4b"
				       "3021c5482328c81f603897820228d6e3";

	(void)state;
	assert_string_equal(strrchr(lock_file("/tmp/h3t/a.img"), '/') + 1,
			    expected);
	assert_string_not_equal(lock_file("/tmp/h3t/a.img"),
				lock_file("/tmp/h3t//a.img"));
}

static void a_disk_and_its_lock_file_are_locked(void **state)
{
	const char *path = kit_file("both", 0), *file = lock_file(path);
	struct glk_guest *guest = kit_self(context);
	struct owner owner;
	struct stat st;

	(void)state;
	assert_int_equal(attach(guest, path, 0), 0);
	assert_held(path);
	assert_held(file);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	read_owner(file, &owner);
	assert_int_equal(owner.pid, getpid());
	assert_int_equal(detach(guest, path), 1);
	assert_free(path);
	assert_false(is_there(file));
	glk_guest_free(guest);
}

static void a_relative_path_is_made_absolute(void **state)
{
	const char *path = kit_file("relative", 0), *file = lock_file(path);
	struct glk_guest *guest = kit_self(context);
	char *before = getcwd(NULL, 0);

	(void)state;
	assert_int_equal(chdir(test_dir()), 0);
	assert_int_equal(attach(guest, "relative", 0), 0);
	assert_held(file);
	assert_int_equal(detach(guest, "relative"), 1);
	assert_false(is_there(file));
	assert_int_equal(chdir(before), 0);
	free(before);
	glk_guest_free(guest);
}

/* virtlockd, or a guest of another host: the image is not locked here. */
static void a_lock_file_alone_refuses(void **state)
{
	const char *path = kit_file("alone", 0), *file = lock_file(path);
	int fd;

	(void)state;
	put(file, "", 0);
	fd = kit_lock(file, 0, F_WRLCK);
	assert_int_equal(kit_try(context, path, 0), -EBUSY);
	assert_says(context, path);
	assert_says(context, "held by process");
	assert_free(path);
	assert_int_equal(kit_try(context, path, GLK_DISK_SHARED), -EBUSY);
	close(fd);
	assert_int_equal(kit_try(context, path, 0), 0);
	unlink(file);
}

static void another_host_is_quoted_while_the_file_is_locked(void **state)
{
	const char *path = kit_file("quoted", 0), *file = lock_file(path);
	const struct glk_conflict *c;
	int queue[2];

	(void)state;
	put_owner(file, "far away");
	kit_lock_in_flight(file, queue);
	assert_int_equal(kit_try(context, path, 0), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), 1);
	assert_int_equal(c->kind, GLK_CONFLICT_HOST);
	assert_string_equal(c->path, path);
	assert_string_equal(c->host, "another-host");
	assert_string_equal(c->name, "far away");
	assert_string_equal(c->uuid, "0a09507e-fe50-4d07-aa88-0b742d8add29");
	assert_int_equal(c->pid, 4711);
	assert_int_equal(c->since, 1000000000);
	assert_says(context, "held by guest 'far away' (uuid 0a09507e-fe50-"
			     "4d07-aa88-0b742d8add29, pid 4711) of host "
			     "another-host since 1970-01-01T00:00:01Z");
	assert_int_equal(kit_try(context, path, GLK_DISK_SHARED), -EBUSY);
	assert_says(context, "another-host");
	close(queue[0]);
	close(queue[1]);
	/* Not held any more, whatever it says. */
	assert_int_equal(kit_try(context, path, 0), 0);
	unlink(file);
}

static void who_is_found_here_goes_before_what_is_written(void **state)
{
	const char *path = kit_file("found", 0), *file = lock_file(path);
	int fd;

	(void)state;
	put_owner(file, "a liar");
	fd = kit_lock(file, 0, F_WRLCK);
	assert_int_equal(kit_try(context, path, 0), -EBUSY);
	assert_says(context, "held by process");
	close(fd);
	unlink(file);
}

/* The image is locked by one whom nobody sees, but not the file: what it says
   is from before. */
static void a_record_of_a_free_file_is_not_quoted(void **state)
{
	const char *path = kit_file("stale", 0), *file = lock_file(path);
	int queue[2];

	(void)state;
	put_owner(file, "long gone");
	kit_lock_in_flight(path, queue);
	assert_int_equal(kit_try(context, path, 0), -EBUSY);
	assert_says(context, "somebody that this process cannot see");
	close(queue[0]);
	close(queue[1]);
	unlink(file);
}

static void a_record_of_this_host_is_not_quoted(void **state)
{
	const char *path = kit_file("here", 0), *file = lock_file(path);
	struct glk_guest *guest = kit_self(context);
	int queue[2];

	(void)state;
	assert_int_equal(attach(guest, path, 0), 0);
	glk_guest_free(guest);
	assert_true(is_there(file));
	kit_lock_in_flight(file, queue);
	assert_int_equal(kit_try(context, path, 0), -EBUSY);
	assert_says(context, "somebody that this process cannot see");
	close(queue[0]);
	close(queue[1]);
	unlink(file);
}

static void hostile_words_are_not_quoted(void **state)
{
	static const char *const words[] = {
		"{\"guestlock\":1,\"name\":\"\\u001b[2J\"}\n",
		"{\"guestlock\":[[[[[[[[[[[[[[[[",
		"no JSON at all\n",
		"",
	};
	const char *path = kit_file("hostile", 0), *file = lock_file(path);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		int queue[2];

		put(file, words[i], strlen(words[i]));
		kit_lock_in_flight(file, queue);
		assert_int_equal(kit_try(context, path, 0), -EBUSY);
		assert_says(context, "somebody that this process cannot see");
		close(queue[0]);
		close(queue[1]);
	}
	unlink(file);
}

static void what_is_not_ours_is_neither_written_nor_removed(void **state)
{
	const char *path = kit_file("foreign", 0), *file = lock_file(path);
	struct glk_guest *guest = kit_self(context);
	char buf[16] = "";
	int fd;

	(void)state;
	put(file, "precious", 8);
	assert_int_equal(attach(guest, path, 0), 0);
	assert_held(file);
	assert_int_equal(detach(guest, path), 1);
	assert_true(is_there(file));
	fd = open(file, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, buf, sizeof(buf)), 8);
	assert_string_equal(buf, "precious");
	close(fd);
	unlink(file);
	glk_guest_free(guest);
}

static void the_next_owner_replaces_the_record(void **state)
{
	const char *path = kit_file("replaced", 0), *file = lock_file(path);
	struct glk_guest *guest = kit_self(context);
	struct owner owner;

	(void)state;
	put_owner(file, "long gone");
	assert_int_equal(attach(guest, path, 0), 0);
	read_owner(file, &owner);
	assert_int_equal(owner.pid, getpid());
	assert_string_not_equal(owner.host, "another-host");
	assert_int_equal(detach(guest, path), 1);
	assert_false(is_there(file));
	glk_guest_free(guest);
}

static void shared_leases_sign_nothing_and_share_the_file(void **state)
{
	const char *path = kit_file("shared", 0), *file = lock_file(path);
	struct glk_guest *a = kit_self(context), *b = kit_self(context);
	struct stat st;

	(void)state;
	assert_int_equal(attach(a, path, GLK_DISK_SHARED), 0);
	assert_int_equal(attach(b, path, GLK_DISK_SHARED), 0);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_true(test_lockable(file, F_RDLCK));
	assert_false(test_lockable(file, F_WRLCK));
	assert_int_equal(detach(a, path), 1);
	assert_false(test_lockable(file, F_WRLCK));
	glk_guest_free(a);
	glk_guest_free(b);
	unlink(file);
}

static void a_refused_batch_leaves_no_file(void **state)
{
	const char *paths[] = { kit_file("roll1", 0), kit_file("roll2", 0),
				kit_file("roll3", 0) };
	struct glk_guest *guest = kit_self(context);
	int fd = kit_lock(paths[2], 0, F_WRLCK);

	(void)state;
	assert_int_equal(kit_attach(guest, paths, 3), -EBUSY);
	for (size_t i = 0; i < 3; i++)
		assert_false(is_there(lock_file(paths[i])));
	assert_free(paths[0]);
	close(fd);
	assert_int_equal(kit_attach(guest, paths, 3), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(detach(guest, paths[i]), 1);
	glk_guest_free(guest);
}

static void the_same_disk_twice_is_one_lease(void **state)
{
	const char *path = kit_file("twice", 0);
	const char *twice[] = { path, path };
	struct glk_guest *guest = kit_self(context);

	(void)state;
	assert_int_equal(kit_attach(guest, twice, 2), 0);
	assert_int_equal(attach(guest, path, 0), 0);
	assert_held(lock_file(path));
	assert_int_equal(detach(guest, path), 1);
	assert_false(is_there(lock_file(path)));
	assert_int_equal(detach(guest, path), 0);
	glk_guest_free(guest);
}

/* By another name it is the same disk, but virtlockd's name is another. */
static void an_alias_has_a_file_of_its_own_and_is_refused(void **state)
{
	const char *path = kit_file("image", 0), *alias = kit_file("alias", -1);
	struct glk_guest *guest = kit_self(context);

	(void)state;
	unlink(alias);
	assert_int_equal(symlink(path, alias), 0);
	assert_int_equal(attach(guest, path, 0), 0);
	assert_int_equal(kit_try(context, alias, 0), -EBUSY);
	assert_says(context, "held by guest");
	assert_false(is_there(lock_file(alias)));
	/* It is not the alias's file that is removed, so it stays. */
	assert_int_equal(detach(guest, alias), 1);
	assert_true(is_there(lock_file(path)));
	assert_free(lock_file(path));
	unlink(lock_file(path));
	glk_guest_free(guest);
}

static void without_the_policy_the_file_stays(void **state)
{
	const char *path = kit_file("stays", 0), *file = lock_file(path);
	struct glk_guest *guest = kit_self(context);

	(void)state;
	assert_int_equal(attach(guest, path, 0), 0);
	assert_int_equal(glk_context_set_policy(context, NULL), 0);
	assert_int_equal(detach(guest, path), 1);
	assert_free(file);
	assert_true(is_there(file));
	use(dir);
	unlink(file);
	glk_guest_free(guest);
}

/* A lease is a lock file itself. */
static void a_lease_has_no_lock_file(void **state)
{
	const char *path = kit_file("a-lease", -1);

	(void)state;
	assert_int_equal(kit_try(context, path, GLK_DISK_LEASE), 0);
	assert_false(is_there(lock_file(path)));
	unlink(path);
}

static void a_directory_that_is_none_is_named(void **state)
{
	const char *path = kit_file("disk", 0), *file = kit_file("file", 0);
	char missing[PATH_MAX], text[2 * PATH_MAX];

	(void)state;
	snprintf(missing, sizeof(missing), "%s/missing", test_dir());
	use(missing);
	assert_int_equal(kit_try(context, path, 0), -ENOENT);
	snprintf(text, sizeof(text), "%s: there is no lock directory %s", path,
		 missing);
	assert_says(context, text);
	assert_free(path);
	use(file);
	assert_int_equal(kit_try(context, path, 0), -ENOTDIR);
	snprintf(text, sizeof(text), "%s: %s is no directory", path, file);
	assert_says(context, text);
	assert_free(path);
	use(dir);
}

static void a_name_that_is_no_file_is_an_error(void **state)
{
	const char *path = kit_file("no-file", 0), *file = lock_file(path);

	(void)state;
	assert_int_equal(symlink("elsewhere", file), 0);
	assert_int_equal(kit_try(context, path, 0), -ELOOP);
	assert_says(context, file);
	unlink(file);
	assert_int_equal(mkdir(file, 0700), 0);
	assert_int_equal(kit_try(context, path, 0), -EISDIR);
	assert_says(context, file);
	rmdir(file);
	assert_free(path);
}

static int try_as_nobody(void *arg)
{
	struct glk_context *theirs = guest_context();
	const struct glk_policy policy = { .lock_dir = dir };
	int r;

	glk_context_set_policy(theirs, &policy);
	r = kit_try(theirs, arg, 0);
	if (r == -EACCES && strstr(glk_context_message(theirs), dir))
		r = 1;
	glk_context_free(theirs);
	return r;
}

static void a_directory_without_permission_is_named(void **state)
{
	const char *path = kit_file("open-to-all", 0);

	(void)state;
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(chmod(test_dir(), 0711), 0);
	assert_int_equal(kit_as_nobody(try_as_nobody, (void *)path), 1);
	assert_free(path);
}

/* A full file system takes no record, but a lock. */
static void a_record_that_cannot_be_written_stops_nobody(void **state)
{
	const char *path = kit_file("full", 0);
	char small[PATH_MAX], file[2 * PATH_MAX];
	struct glk_guest *guest = kit_self(context);
	struct stat st;

	(void)state;
	snprintf(small, sizeof(small), "%s/small", test_dir());
	mkdir(small, 0700);
	assert_int_equal(mount("none", small, "tmpfs", 0, "size=4k"), 0);
	snprintf(file, sizeof(file), "%s/filler", small);
	put(file, "x", 1);
	use(small);
	assert_int_equal(attach(guest, path, 0), 0);
	snprintf(file, sizeof(file), "%s%s", small,
		 strrchr(lock_file(path), '/'));
	assert_held(file);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(detach(guest, path), 1);
	assert_false(is_there(file));
	use(dir);
	glk_guest_free(guest);
	assert_int_equal(umount2(small, MNT_DETACH), 0);
	rmdir(small);
}

static size_t holders(const char *path, const struct glk_conflict **ret)
{
	size_t n = SIZE_MAX;

	assert_int_equal(glk_disk_holders(context, path, ret, &n), 0);
	return n;
}

static void who_holds_just_the_lock_file_is_named(void **state)
{
	const char *path = kit_file("who", 0), *file = lock_file(path);
	const struct glk_conflict *c;
	int fd, queue[2];

	(void)state;
	assert_int_equal(holders(path, &c), 0);
	assert_false(is_there(file));
	put_owner(file, "far away");
	assert_int_equal(holders(path, &c), 0);
	fd = kit_lock(file, 0, F_WRLCK);
	assert_int_equal(holders(path, &c), 1);
	assert_int_equal(c->kind, GLK_CONFLICT_PROCESS);
	assert_int_equal(c->pid, getpid());
	assert_string_equal(c->path, path);
	kit_send_away(fd, queue);
	assert_int_equal(holders(path, &c), 1);
	assert_int_equal(c->kind, GLK_CONFLICT_HOST);
	assert_string_equal(c->name, "far away");
	assert_string_equal(c->host, "another-host");
	put(file, "", 0);
	assert_int_equal(holders(path, &c), 1);
	assert_int_equal(c->kind, GLK_CONFLICT_UNKNOWN);
	close(queue[0]);
	close(queue[1]);
	assert_int_equal(holders(path, &c), 0);
	unlink(file);
}

static void one_whom_nobody_sees_is_there_once(void **state)
{
	const char *path = kit_file("unseen", 0), *file = lock_file(path);
	const struct glk_conflict *c;
	int queue1[2], queue2[2];

	(void)state;
	put(file, "", 0);
	kit_lock_in_flight(path, queue1);
	kit_lock_in_flight(file, queue2);
	assert_int_equal(holders(path, &c), 1);
	assert_int_equal(c->kind, GLK_CONFLICT_UNKNOWN);
	put_owner(file, "far away");
	assert_int_equal(holders(path, &c), 1);
	assert_int_equal(c->kind, GLK_CONFLICT_HOST);
	close(queue1[0]);
	close(queue1[1]);
	close(queue2[0]);
	close(queue2[1]);
	unlink(file);
}

static void a_guest_of_this_host_is_named_once(void **state)
{
	const char *path = kit_file("once", 0);
	struct kit_guest running = kit_run(context, 1, path, 0);
	const struct glk_conflict *c;

	(void)state;
	assert_int_equal(holders(path, &c), 1);
	assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
	assert_int_equal(c->pid, running.pid);
	assert_int_equal(detach(running.guest, path), 1);
	kit_end(&running);
}

static int unlinked(struct glk_guest *guest)
{
	const struct glk_guest_info *info;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 1);
	assert_int_equal(info->leases[0].held, 1);
	return info->leases[0].unlinked;
}

static void a_lock_file_that_was_removed_is_seen(void **state)
{
	const char *path = kit_file("drift", 0), *file = lock_file(path);
	struct glk_guest *guest = kit_self(context);

	(void)state;
	assert_int_equal(attach(guest, path, 0), 0);
	assert_false(unlinked(guest));
	assert_int_equal(unlink(file), 0);
	assert_true(unlinked(guest));
	/* Another one is not ours. */
	put(file, "", 0);
	assert_true(unlinked(guest));
	assert_int_equal(detach(guest, path), 1);
	assert_true(is_there(file));
	unlink(file);
	glk_guest_free(guest);
}

static void both_sides_of_a_migration_lock_the_file(void **state)
{
	const char *path = kit_file("moving", 0), *file = lock_file(path);
	struct kit_guest source = kit_run(context, 2, path, 0);
	struct glk_guest *to =
		guest_describe(context, GLK_HOLDER_SELF, guest_uuid(2), "to");
	struct glk_guest *incoming = NULL;
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;

	(void)state;
	glk_guest_free(to);
	config.uuid = guest_uuid(2);
	config.holder = GLK_HOLDER_SELF;
	config.flags = GLK_GUEST_INCOMING;
	config.epoch = 1;
	assert_int_equal(glk_guest_new(context, &config, &incoming), 0);
	assert_int_equal(guest_add(incoming, path, 0), 0);
	assert_int_equal(glk_guest_acquire(incoming), -EBUSY);
	assert_int_equal(glk_guest_prepare(source.guest, "localhost"), 0);
	assert_int_equal(glk_guest_acquire(incoming), 0);
	assert_int_equal(kit_try(context, path, 0), -EBUSY);
	assert_int_equal(glk_guest_out(source.guest), 0);
	assert_int_equal(glk_guest_in(incoming), 0);
	assert_held(path);
	assert_held(file);
	kit_end(&source);
	assert_held(file);
	assert_int_equal(kit_try(context, path, 0), -EBUSY);
	assert_says(context, "held by guest");
	assert_int_equal(detach(incoming, path), 1);
	assert_false(is_there(file));
	glk_guest_free(incoming);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_name_is_the_hash_of_the_text),
	TEST(a_disk_and_its_lock_file_are_locked),
	TEST(a_relative_path_is_made_absolute),
	TEST(a_lock_file_alone_refuses),
	TEST(another_host_is_quoted_while_the_file_is_locked),
	TEST(who_is_found_here_goes_before_what_is_written),
	TEST(a_record_of_a_free_file_is_not_quoted),
	TEST(a_record_of_this_host_is_not_quoted),
	TEST(hostile_words_are_not_quoted),
	TEST(what_is_not_ours_is_neither_written_nor_removed),
	TEST(the_next_owner_replaces_the_record),
	TEST(shared_leases_sign_nothing_and_share_the_file),
	TEST(a_refused_batch_leaves_no_file),
	TEST(the_same_disk_twice_is_one_lease),
	TEST(an_alias_has_a_file_of_its_own_and_is_refused),
	TEST(without_the_policy_the_file_stays),
	TEST(a_lease_has_no_lock_file),
	TEST(a_directory_that_is_none_is_named),
	TEST(a_name_that_is_no_file_is_an_error),
	TEST(a_directory_without_permission_is_named),
	TEST(a_record_that_cannot_be_written_stops_nobody),
	TEST(who_holds_just_the_lock_file_is_named),
	TEST(one_whom_nobody_sees_is_there_once),
	TEST(a_guest_of_this_host_is_named_once),
	TEST(a_lock_file_that_was_removed_is_seen),
	TEST(both_sides_of_a_migration_lock_the_file),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT)
