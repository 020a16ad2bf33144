/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/lib/device.h"
#include "core/lib/look.h"
#include "tests/lib/loop.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * The lock files of block devices in the course of time: when the host is
 * searched for leases that lost theirs, and which files go.
 */

#define SIZE (8 << 20)

static struct glk_context *context;
static struct glk_guest *guest;
static char disk[LOOP_PATH_MAX];
static int loop;

static const char *host_dir(void)
{
	return getenv("GUESTLOCK_HOST_DIR");
}

static unsigned looks;
static int look_error;

/* The linker sends the library's look_discover() here (--wrap), so that it can
   be counted how often the host is searched, and so that it may fail. */
int __real_look_discover(const struct uuid *uuid, uint64_t deadline,
			 struct capsule_entry **ret_entries, size_t *ret_n);
int __wrap_look_discover(const struct uuid *uuid, uint64_t deadline,
			 struct capsule_entry **ret_entries, size_t *ret_n);

int __wrap_look_discover(const struct uuid *uuid, uint64_t deadline,
			 struct capsule_entry **ret_entries, size_t *ret_n)
{
	looks++;
	if (look_error)
		return look_error;
	return __real_look_discover(uuid, deadline, ret_entries, ret_n);
}

/* So does what parks, for something to happen just before. */
int __real_capsule_fill(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n);
int __wrap_capsule_fill(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n);
int __real_capsule_push(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n,
			uint64_t deadline);
int __wrap_capsule_push(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n,
			uint64_t deadline);

static void (*before_parking)(void);

static void interfere(void)
{
	void (*fn)(void) = before_parking;

	before_parking = NULL;
	if (fn)
		fn();
}

int __wrap_capsule_fill(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n)
{
	interfere();
	return __real_capsule_fill(capsule, parcels, n);
}

int __wrap_capsule_push(struct capsule *capsule,
			const struct capsule_parcel *parcels, size_t n,
			uint64_t deadline)
{
	interfere();
	return __real_capsule_push(capsule, parcels, n, deadline);
}

/* A guest, a loop device, and a host lock directory that is not there yet. */
static int start(void **state)
{
	static unsigned n;
	char name[32];

	(void)state;
	snprintf(name, sizeof(name), "locks-%u", n++);
	setenv("GUESTLOCK_HOST_DIR", test_file(name, -1), 1);
	context = guest_context();
	guest = kit_self(context);
	loop = loop_attach("image", SIZE, disk);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_guest_free(guest);
	glk_context_free(context);
	close(loop);
	(void)umount2(host_dir(), MNT_DETACH); /* of who failed */
	return 0;
}

static bool is_marked(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & S_ISVTX;
}

static const struct glk_conflict *only_conflict(void)
{
	const struct glk_conflict *c = NULL;

	assert_int_equal(glk_context_conflicts(context, &c), 1);
	return c;
}

/* Nobody is asked again until the file is made anew. */
static void a_file_says_that_no_lease_was_lost(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(guest_attach(guest, disk, 0), 0);
	assert_int_equal(stat(loop_lock_file(disk), &st), 0);
	assert_true(st.st_mode & S_ISVTX);
	assert_int_equal(unlink(loop_lock_file(disk)), 0);
	assert_int_equal(kit_try(context, loop_alias(disk, "alias"),
				 GLK_DISK_SHARED),
			 -EBUSY);
	assert_int_equal(only_conflict()->pid, getpid());
	assert_false(is_marked(loop_lock_file(disk)));
	assert_int_equal(guest_detach(guest, disk), 0);
	assert_int_equal(kit_try(context, disk, 0), 0);
}

static void plug(const char *path)
{
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(guest_detach(guest, path), 0);
}

/* Until it is sure that a change of the directory would show. */
static void let_it_age(void)
{
	usleep(30000);
}

static void who_searched_the_host_says_so_to_the_next(void **state)
{
	char parts[4][LOOP_PATH_MAX];
	struct glk_disk all[4];

	(void)state;
	looks = 0;
	plug(disk);
	assert_int_equal(looks, 1);
	let_it_age();
	plug(disk);
	assert_in_range(looks, 1, 2);
	looks = 0;
	for (int i = 0; i < 3; i++)
		plug(disk);
	assert_int_equal(looks, 0);
	assert_int_equal(unlink(loop_lock_file(disk)), 0);
	plug(disk);
	assert_int_equal(looks, 1);
	/* Once for all that are made. */
	for (int i = 0; i < 4; i++) {
		loop_add_partition(loop, disk, i + 1, parts[i]);
		all[i] = (struct glk_disk){ parts[i], 0 };
	}
	assert_int_equal(glk_guest_attach(guest, all, 4), 0);
	assert_int_equal(looks, 2);
}

/* As somebody does who takes it for a stale one. */
static void a_lock_file_that_is_removed_alone_loses_no_lease(void **state)
{
	struct glk_guest *other = kit_self(context);
	char part[LOOP_PATH_MAX];

	(void)state;
	loop_add_partition(loop, disk, 1, part);
	plug(disk);
	assert_int_equal(guest_attach(other, part, 0), 0);
	let_it_age();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(guest_attach(guest, disk, 0), -EBUSY);
		assert_int_equal(guest_detach(other, part), 0);
		plug(disk);
		assert_true(is_marked(loop_lock_file(disk)));
		assert_int_equal(guest_attach(other, part, 0), 0);
	}
	assert_int_equal(unlink(loop_lock_file(part)), 0);
	assert_int_equal(guest_attach(guest, disk, 0), -EBUSY);
	assert_non_null(strstr(only_conflict()->how, "holds its partition "));
	glk_guest_free(other);
	assert_int_equal(guest_attach(guest, disk, 0), 0);
}

/* Exchange the directory of lock files: a name of its own for each. */
static void put_aside(const char *name)
{
	char away[512];

	snprintf(away, sizeof(away), "%s-%s", host_dir(), name);
	assert_int_equal(rename(host_dir(), away), 0);
}

static void put_back(const char *name)
{
	char away[512];

	snprintf(away, sizeof(away), "%s-%s", host_dir(), name);
	assert_int_equal(rename(away, host_dir()), 0);
}

static void mark(void)
{
	plug(disk);
	let_it_age();
	plug(disk);
	looks = 0;
	plug(disk);
	assert_int_equal(looks, 0);
}

/* A directory that was away while somebody took the device. */
static void a_directory_that_comes_back_is_not_believed(void **state)
{
	struct glk_guest *other = kit_self(context);

	(void)state;
	mark();
	put_aside("old");
	assert_int_equal(guest_attach(other, disk, 0), 0);
	put_aside("new");
	put_back("old");
	assert_int_equal(guest_attach(guest, loop_alias(disk, "alias"), 0),
			 -EBUSY);
	assert_non_null(strstr(only_conflict()->how, "its lock file was"));
	glk_guest_free(other);
}

static void set_times(int fd, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };

	assert_int_equal(futimens(fd, times), 0);
}

/* As "cp -a" makes one, and tar(1). */
static void copy_dir(const char *name)
{
	struct stat dir, file;
	char path[512];
	int fd;

	strcpy(path, loop_lock_file(disk));
	assert_int_equal(stat(host_dir(), &dir), 0);
	assert_int_equal(stat(path, &file), 0);
	put_aside(name);
	assert_int_equal(mkdir(host_dir(), 0755), 0);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, file.st_mode & 07777), 0);
	set_times(fd, &file);
	close(fd);
	fd = open(host_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	set_times(fd, &dir);
	close(fd);
}

static void a_copy_of_the_directory_is_not_believed(void **state)
{
	struct glk_guest *other = kit_self(context);

	(void)state;
	mark();
	assert_int_equal(guest_attach(other, disk, 0), 0);
	copy_dir("old");
	assert_true(is_marked(loop_lock_file(disk)));
	assert_int_equal(guest_attach(guest, loop_alias(disk, "alias"), 0),
			 -EBUSY);
	glk_guest_free(other);
}

/* Mount a file system that counts in seconds, and put the lock files there.
   Return: of the loop device. */
static int count_in_seconds(const char *where)
{
	char image[LOOP_PATH_MAX], command[512];
	int fd = loop_attach("seconds", SIZE, image);

	snprintf(command, sizeof(command),
		 "mkfs.ext4 -q -F -I 128 -O ^has_journal %s 2>/dev/null",
		 image);
	assert_int_equal(system(command), 0);
	assert_int_equal(mkdir(where, 0755), 0);
	assert_int_equal(mount(image, where, "ext4", 0, NULL), 0);
	return fd;
}

/* Early in one, so that it lasts. */
static void wait_for_a_second(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	usleep((unsigned)((1000000000 - now.tv_nsec) / 1000 + 10000));
}

static void a_change_in_the_second_of_the_last_one_is_seen(void **state)
{
	struct glk_guest *other = kit_self(context);
	char where[512], part[LOOP_PATH_MAX];
	int fd;

	(void)state;
	snprintf(where, sizeof(where), "%s", host_dir());
	fd = count_in_seconds(where);
	loop_add_partition(loop, disk, 1, part);
	wait_for_a_second();
	plug(disk);
	let_it_age();
	plug(disk);
	assert_int_equal(guest_attach(other, part, 0), 0);
	assert_int_equal(unlink(loop_lock_file(part)), 0);
	assert_int_equal(guest_attach(guest, disk, 0), -EBUSY);
	glk_guest_free(other);
	assert_int_equal(umount2(where, MNT_DETACH), 0);
	close(fd);
}

/* It is no wait for anybody. */
static void who_gives_no_time_searches_the_host(void **state)
{
	struct glk_guest *other = kit_self(context);

	(void)state;
	assert_int_equal(guest_attach(other, disk, 0), 0);
	assert_int_equal(unlink(loop_lock_file(disk)), 0);
	glk_context_set_timeout(context, 0);
	assert_int_equal(guest_attach(guest, loop_alias(disk, "alias"), 0),
			 -EBUSY);
	glk_guest_free(other);
	assert_int_equal(guest_attach(guest, disk, 0), 0);
}

static void leave_descriptors(unsigned n)
{
	struct rlimit limit;
	int fd = dup(0);

	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = n ? (rlim_t)fd + n : limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void who_cannot_search_for_want_of_descriptors_is_refused(void **state)
{
	struct kit_guest other = kit_run(context, 1, disk, 0);
	const char *alias = loop_alias(disk, "alias");

	(void)state;
	assert_int_equal(unlink(loop_lock_file(disk)), 0);
	for (unsigned n = 1; n < 32; n++) {
		int r;

		leave_descriptors(n);
		r = guest_attach(guest, alias, 0);
		leave_descriptors(0);
		assert_true(r == -EMFILE || r == -EBUSY);
	}
	assert_false(is_marked(loop_lock_file(disk)));
	kit_end(&other);
}

static void who_may_not_read_all_capsules_does_not_say_so_to_the_next(
	void **state)
{
	(void)state;
	look_error = -EACCES;
	plug(disk);
	assert_false(is_marked(loop_lock_file(disk)));
	look_error = 0;
	plug(disk);
	assert_true(is_marked(loop_lock_file(disk)));
}

/* Whoever may write to the directory may put another's file there. */
static void a_file_of_two_names_is_left_as_it_is(void **state)
{
	const char *other = kit_file("other", 0);
	struct stat before, after;

	(void)state;
	plug(disk);
	assert_int_equal(unlink(loop_lock_file(disk)), 0);
	assert_int_equal(link(other, loop_lock_file(disk)), 0);
	assert_int_equal(stat(other, &before), 0);
	plug(disk);
	assert_int_equal(stat(other, &after), 0);
	assert_int_equal(after.st_mode, before.st_mode);
	assert_int_equal(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
}

/* Detached, it cannot be locked by that name again. */
static void the_file_of_a_device_that_was_changed_goes_with_its_lease(
	void **state)
{
	char before[512];
	int image;

	(void)state;
	close(loop);
	loop = loop_attach_readonly("image", disk);
	assert_int_equal(guest_attach(guest, disk, GLK_DISK_SHARED), 0);
	strcpy(before, loop_lock_file(disk));
	image = open(kit_file("image-2", SIZE), O_RDONLY | O_CLOEXEC);
	assert_int_equal(ioctl(loop, LOOP_CHANGE_FD, image), 0);
	close(image);
	/* As long as it is locked, the device's new one is not settled. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(kit_try(context, disk, GLK_DISK_SHARED), 0);
		assert_false(is_marked(loop_lock_file(disk)));
		assert_int_equal(kit_try(context, loop_alias(disk, "alias"), 0),
				 -EBUSY);
	}
	assert_int_equal(access(before, F_OK), 0);
	assert_int_equal(guest_detach(guest, disk), 0);
	assert_int_equal(kit_try(context, disk, GLK_DISK_SHARED), 0);
	assert_int_equal(access(before, F_OK), -1);
	assert_true(is_marked(loop_lock_file(disk)));
}

static void a_file_of_a_device_of_that_number_is_removed(void **state)
{
	char stale[600], other[600], held[600], claimed[600];
	const char *now = loop_lock_file(disk);
	int claim;
	struct kit_stranger holder = { .type = F_WRLCK,
				       .command = F_OFD_SETLK };

	(void)state;
	assert_int_equal(mkdir(host_dir(), 0755), 0);
	snprintf(stale, sizeof(stale), "%s1", now);
	snprintf(held, sizeof(held), "%s2", now);
	snprintf(claimed, sizeof(claimed), "%s3", now);
	snprintf(other, sizeof(other), "%s/7:9999-1", host_dir());
	close(open(stale, O_CREAT | O_RDWR, 0600));
	close(open(held, O_CREAT | O_RDWR, 0600));
	close(open(claimed, O_CREAT | O_RDWR, 0600));
	close(open(other, O_CREAT | O_RDWR, 0600));
	holder.path = held;
	kit_stranger(&holder);
	claim = kit_lock(claimed, LOCK_BYTE_SUCCESSOR, F_WRLCK);
	/* Who has it locked has a device of that number, so this one. */
	assert_int_equal(guest_attach(guest, disk, 0), -EBUSY);
	assert_int_equal(access(stale, F_OK), -1);
	assert_int_equal(access(held, F_OK), 0);
	assert_int_equal(access(claimed, F_OK), 0);
	assert_int_equal(access(other, F_OK), 0);
	assert_false(is_marked(now));
	kit_stranger_end(&holder);
	close(claim);
	assert_int_equal(guest_attach(guest, disk, 0), 0);
	assert_int_equal(access(held, F_OK), -1);
	assert_int_equal(access(claimed, F_OK), -1);
	assert_int_equal(access(other, F_OK), 0);
	assert_held(now);
	assert_true(is_marked(now));
}

/* As one that knows the device by its next number does, again and again. */
static int tidy_forever(void *arg)
{
	struct glk_context *own = guest_context();
	struct res_id *next = arg;

	for (;;) {
		device_tidy(own, next, 1);
		usleep(20);
	}
	return 0;
}

static void who_tidies_up_takes_no_file_from_who_has_just_opened_it(
	void **state)
{
	struct res_id next;
	struct stat st;
	uint64_t until = deadline_in_ms(20000);
	unsigned held = 0, made = 0;
	pid_t pid;

	(void)state;
	assert_int_equal(stat(disk, &st), 0);
	next = res_id_of_device(st.st_rdev, loop_diskseq(loop) + 1);
	pid = process_start(tidy_forever, &next);
	while ((made < 30 || held < 100) && clock_now() < until) {
		int r;

		made += access(loop_lock_file(disk), F_OK) < 0;
		r = guest_attach(guest, disk, 0);

		/* It holds the lock for a moment; or takes too many names. */
		if (r == -EBUSY || r == -ESTALE)
			continue;
		assert_int_equal(r, 0);
		usleep(100);
		assert_int_equal(access(loop_lock_file(disk), F_OK), 0);
		assert_held(loop_lock_file(disk));
		assert_int_equal(guest_detach(guest, disk), 0);
		usleep(held++ % 4 * 50);
	}
	process_end(pid);
	assert_true(made >= 30);
	assert_true(held >= 100);
}

static struct glk_context *other_context;
static struct glk_guest *other;

/* Another guest comes by another node, before our lease is to be seen. */
static void delete_the_file_and_take_the_disk(void)
{
	assert_int_equal(unlink(loop_lock_file(disk)), 0);
	assert_int_equal(guest_attach(other, loop_alias(disk, "alias"), 0), 0);
}

static void other_start(void)
{
	other_context = guest_context();
	other = kit_self(other_context);
}

static void other_end(void)
{
	glk_guest_free(other);
	glk_context_free(other_context);
}

static size_t count_held(struct glk_guest *of)
{
	const struct glk_guest_info *info;
	size_t n = 0;

	assert_int_equal(glk_guest_info(of, &info), 0);
	for (size_t i = 0; i < info->n_leases; i++)
		n += info->leases[i].held;
	return n;
}

static void a_file_that_is_deleted_before_parking_is_missed(void **state)
{
	const char *image = kit_file("beside", 4096);
	const struct glk_disk both[] = { { image, 0 }, { disk, 0 } };

	(void)state;
	other_start();
	before_parking = delete_the_file_and_take_the_disk;
	assert_int_equal(glk_guest_attach(guest, both, 2), -ESTALE);
	assert_says(context, disk);
	assert_says(context, "its lock file was deleted");
	assert_int_equal(count_held(guest), 0);
	assert_int_equal(count_held(other), 1);
	assert_free(image);
	assert_true(test_lockable(disk, F_WRLCK));
	assert_held(loop_lock_file(disk));
	assert_int_equal(glk_guest_attach(guest, both, 2), -EBUSY);
	other_end();
	assert_int_equal(glk_guest_attach(guest, both, 2), 0);
	assert_int_equal(count_held(guest), 2);
}

static void a_guest_that_is_acquired_misses_it_too(void **state)
{
	struct glk_guest *fresh =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);

	(void)state;
	other_start();
	assert_int_equal(guest_add(fresh, disk, 0), 0);
	before_parking = delete_the_file_and_take_the_disk;
	assert_int_equal(glk_guest_acquire(fresh), -ESTALE);
	assert_true(test_lockable(disk, F_WRLCK));
	assert_int_equal(glk_guest_acquire(fresh), -EBUSY);
	other_end();
	assert_int_equal(glk_guest_acquire(fresh), 0);
	assert_int_equal(count_held(fresh), 1);
	glk_guest_free(fresh);
}

#define TEST(_fn) cmocka_unit_test_setup_teardown(_fn, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_file_says_that_no_lease_was_lost),
	TEST(who_searched_the_host_says_so_to_the_next),
	TEST(a_file_that_is_deleted_before_parking_is_missed),
	TEST(a_guest_that_is_acquired_misses_it_too),
	TEST(a_lock_file_that_is_removed_alone_loses_no_lease),
	TEST(a_directory_that_comes_back_is_not_believed),
	TEST(a_copy_of_the_directory_is_not_believed),
	TEST(a_change_in_the_second_of_the_last_one_is_seen),
	TEST(who_gives_no_time_searches_the_host),
	TEST(who_cannot_search_for_want_of_descriptors_is_refused),
	TEST(who_may_not_read_all_capsules_does_not_say_so_to_the_next),
	TEST(a_file_of_two_names_is_left_as_it_is),
	TEST(the_file_of_a_device_that_was_changed_goes_with_its_lease),
	TEST(a_file_of_a_device_of_that_number_is_removed),
	TEST(who_tidies_up_takes_no_file_from_who_has_just_opened_it),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT | TEST_NEEDS_LOOP)
