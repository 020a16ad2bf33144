/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"
#include "tests/lib/loop.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * Block devices with real guests: many at once, all of their names, and the
 * kernel's other users of a device. GUESTLOCK_TEST_DEVICES says how many.
 */
#define SIZE ((off_t)64 << 20)

static struct glk_context *context;
static char disk[LOOP_PATH_MAX];
static int loop;

/* Mounts of a test are its own, and go with the program. */
static int start(void **state)
{
	static unsigned n;
	const char *locks;
	char name[32];

	(void)state;
	if (!n) {
		MUST(!unshare(CLONE_NEWNS));
		MUST(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	}
	/* On what /run is. */
	snprintf(name, sizeof(name), "locks-%u", n++);
	locks = test_file(name, -1);
	MUST(!mkdir(locks, 0755));
	MUST(!mount("locks", locks, "tmpfs", 0, "mode=755"));
	setenv("GUESTLOCK_HOST_DIR", locks, 1);
	context = guest_context();
	loop = loop_attach("image", SIZE, disk);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_context_free(context);
	close(loop);
	umount(getenv("GUESTLOCK_HOST_DIR"));
	return 0;
}

/* A running guest with one disk. */
static pid_t run(const char *path, unsigned flags, unsigned uuid)
{
	struct glk_disk item = { path, flags };
	struct guest_plan plan = { .uuid = guest_uuid(uuid),
				   .name = guest_name("block"),
				   .disks = { &item, 1 } };

	return guest_run(context, &plan);
}

static int try_one(const char *path, unsigned flags)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	int r;

	assert_int_equal(guest_add(guest, path, flags), 0);
	r = glk_guest_acquire(guest);
	glk_guest_free(guest);
	return r;
}

static const struct glk_conflict *only_conflict(void)
{
	const struct glk_conflict *c = NULL;

	assert_int_equal(glk_context_conflicts(context, &c), 1);
	return c;
}

static void assert_refused_by(const char *path, pid_t pid)
{
	assert_int_equal(try_one(path, 0), -EBUSY);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_GUEST);
	assert_int_equal(only_conflict()->pid, pid);
	assert_string_equal(only_conflict()->path, path);
}

static bool becomes_mine(const char *path)
{
	uint64_t until = deadline_in_ms(10000);
	int r;

	do
		r = try_one(path, 0);
	while (r == -EBUSY && clock_now() < until);
	return !r;
}

struct script {
	const char *text, *arg;
};

static int run_script(void *arg)
{
	const struct script *script = arg;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	MUST(dup2(null, STDOUT_FILENO) >= 0 && dup2(null, STDERR_FILENO) >= 0);
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	execl("/bin/sh", "sh", "-c", script->text, "sh", script->arg, NULL);
	return 127;
}

/* A command line, in which $1 is @arg. Return: its status. */
static int shell(const char *text, const char *arg)
{
	struct script script = { text, arg };

	return process_wait(process_start(run_script, &script));
}

static void a_node_made_by_mknod_is_excluded(void **state)
{
	pid_t pid = run(disk, 0, 1);

	(void)state;
	assert_refused_by(loop_alias(disk, "mknod"), pid);
	process_end(pid);
}

static void a_bind_mount_of_the_node_is_excluded(void **state)
{
	const char *bound = test_file("bound", 0);
	pid_t pid = run(disk, 0, 1);

	(void)state;
	assert_int_equal(mount(disk, bound, NULL, MS_BIND, NULL), 0);
	assert_refused_by(bound, pid);
	process_end(pid);
	assert_int_equal(umount(bound), 0);
}

static void a_link_to_the_node_is_excluded(void **state)
{
	const char *link = test_file("by-id", -1);
	pid_t pid = run(disk, 0, 1);

	(void)state;
	assert_int_equal(symlink(disk, link), 0);
	assert_refused_by(link, pid);
	process_end(pid);
}

static void the_node_of_a_container_is_excluded(void **state)
{
	const char *dir = test_file("container-dev", -1);
	char node[256];
	struct stat st;
	pid_t pid = run(disk, 0, 1);

	(void)state;
	assert_int_equal(stat(disk, &st), 0);
	mkdir(dir, 0755);
	assert_int_equal(mount("dev", dir, "tmpfs", 0, "mode=755"), 0);
	snprintf(node, sizeof(node), "%s/sda", dir);
	assert_int_equal(mknod(node, S_IFBLK | 0600, st.st_rdev), 0);
	assert_refused_by(node, pid);
	process_end(pid);
	assert_int_equal(umount(dir), 0);
}

static void a_partition_and_its_disk_exclude_each_other(void **state)
{
	char part[LOOP_PATH_MAX];
	pid_t pid;

	(void)state;
	loop_add_partition(loop, disk, 1, part);
	pid = run(part, 0, 1);
	assert_refused_by(disk, pid);
	process_end(pid);
	assert_true(becomes_mine(disk));
	pid = run(disk, 0, 1);
	assert_refused_by(part, pid);
	assert_non_null(strstr(glk_context_message(context),
			       ", of which it is a part"));
	process_end(pid);
}

/* Where its lock file has to be, by the manual. Static, a ring of 2. */
static const char *lock_file(void)
{
	static char ring[2][256];
	static unsigned next;
	char *path = ring[next++ % 2];
	uint64_t seq = 0;
	struct stat st;

	assert_int_equal(fstat(loop, &st), 0);
	assert_int_equal(ioctl(loop, BLKGETDISKSEQ, &seq), 0);
	snprintf(path, sizeof(ring[0]), "%s/%u:%u-%" PRIu64,
		 getenv("GUESTLOCK_HOST_DIR"), major(st.st_rdev),
		 minor(st.st_rdev), seq);
	return path;
}

/* The image behind it is another one by then, so nobody's lease concerns it. */
static void a_loop_device_that_is_used_again_is_another_one(void **state)
{
	const char *before = lock_file(), *after;
	struct stat st;

	(void)state;
	process_end(run(disk, 0, 1));
	assert_int_equal(stat(before, &st), 0);
	close(loop);
	loop = loop_attach_again("image", disk);
	assert_true(loop >= 0);
	after = lock_file();
	assert_string_not_equal(before, after);
	process_end(run(disk, 0, 2));
	assert_int_equal(stat(after, &st), 0);
	assert_int_equal(stat(before, &st), -1);
}

static void a_guest_that_is_killed_leaves_an_empty_file_at_most(void **state)
{
	pid_t pid = run(disk, 0, 1);
	struct stat st;

	(void)state;
	process_end(pid);
	assert_true(test_becomes_free(disk, 10000));
	assert_int_equal(stat(lock_file(), &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_true(test_becomes_free(lock_file(), 10000));
	pid = run(disk, 0, 2);
	assert_refused_by(disk, pid);
	process_end(pid);
}

static void mkfs_and_mount_and_a_second_claim_are_refused(void **state)
{
	const char *where = test_file("mnt", -1);
	pid_t pid;

	(void)state;
	mkdir(where, 0755);
	assert_int_equal(shell("mkfs.ext4 -q -F $1", disk), 0);
	pid = run(disk, GLK_DISK_CLAIM, 1);
	assert_int_not_equal(shell("mkfs.ext4 -q $1", disk), 0);
	assert_int_equal(mount(disk, where, "ext4", 0, NULL), -1);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(try_one(disk, GLK_DISK_CLAIM), -EBUSY);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_GUEST);
	assert_int_equal(only_conflict()->pid, pid);
	process_end(pid);
	assert_true(becomes_mine(disk));
	assert_int_equal(shell("mkfs.ext4 -q $1", disk), 0);
}

static void a_mount_is_named(void **state)
{
	const char *where = test_file("here", -1);
	char part[LOOP_PATH_MAX], how[512];

	(void)state;
	mkdir(where, 0755);
	assert_int_equal(shell("mkfs.ext4 -q -F $1", disk), 0);
	assert_int_equal(mount(disk, where, "ext4", 0, NULL), 0);
	assert_int_equal(try_one(disk, GLK_DISK_CLAIM), -EBUSY);
	snprintf(how, sizeof(how), "has it mounted at %s", where);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_KERNEL);
	assert_string_equal(only_conflict()->how, how);
	assert_non_null(strstr(glk_context_message(context), how));
	assert_int_equal(umount(where), 0);

	loop_add_partition(loop, disk, 8, part);
	assert_int_equal(shell("mkfs.ext4 -q -F $1", part), 0);
	assert_int_equal(mount(part, where, "ext4", 0, NULL), 0);
	assert_int_equal(try_one(disk, GLK_DISK_CLAIM), -EBUSY);
	snprintf(how, sizeof(how), "has its partition %s mounted at %s",
		 strrchr(part, '/') + 1, where);
	assert_string_equal(only_conflict()->how, how);
	assert_int_equal(umount(where), 0);
	assert_true(becomes_mine(disk));
}

static int hold_as_virtlockd(void *arg)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	struct channel *ready = arg;
	int fd = open(disk, O_RDWR | O_CLOEXEC);

	MUST(fd >= 0 && !fcntl(fd, F_SETLK, &lock));
	channel_tell(ready, 0);
	guest_live();
	return 0;
}

static void virtlockds_lock_on_the_node_and_ours_exclude_each_other(
	void **state)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	struct channel ready = channel_new();
	pid_t pid = process_start(hold_as_virtlockd, &ready);
	int fd;

	(void)state;
	assert_int_equal(channel_hear(&ready), 0);
	assert_int_equal(try_one(disk, 0), -EBUSY);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_PROCESS);
	assert_int_equal(only_conflict()->pid, pid);
	process_end(pid);
	channel_free(&ready);
	pid = run(disk, 0, 1);
	fd = open(disk, O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_SETLK, &lock), -1);
	assert_true(errno == EAGAIN || errno == EACCES);
	close(fd);
	process_end(pid);
}

/* Hundreds of devices, as a guest with hundreds of volumes has them. */
struct many {
	char (*paths)[LOOP_PATH_MAX];
	int *fds;
	struct disks disks;
};

static struct many many_new(size_t n)
{
	struct many many = { .paths = calloc(n, sizeof(*many.paths)),
			     .fds = calloc(n, sizeof(*many.fds)),
			     .disks = { calloc(n, sizeof(struct glk_disk)),
					n } };

	for (size_t i = 0; i < n; i++) {
		many.fds[i] = loop_attach("small", 1 << 20, many.paths[i]);
		many.disks.items[i].path = many.paths[i];
	}
	return many;
}

static void many_free(struct many *many)
{
	for (size_t i = 0; i < many->disks.n; i++)
		close(many->fds[i]);
	free(many->paths);
	free(many->fds);
	free(many->disks.items);
}

static void say(const char *what, size_t n, uint64_t since)
{
	uint64_t ns = clock_now() - since;

	printf("%s %zu loop devices: %.2f ms, %.1f us each\n", what, n,
	       (double)ns / 1e6, (double)ns / 1e3 / (double)n);
}

static void plug_all(struct glk_guest *guest, const struct many *many)
{
	uint64_t since = clock_now();

	for (size_t i = 0; i < many->disks.n; i++)
		assert_int_equal(guest_attach(guest, many->paths[i], 0), 0);
	say("plug one by one", many->disks.n, since);
	assert_int_equal(disks_locked(&many->disks), many->disks.n);
	since = clock_now();
	for (size_t i = 0; i < many->disks.n; i++)
		assert_int_equal(guest_detach(guest, many->paths[i]), 0);
	say("unplug one by one", many->disks.n, since);
	assert_int_equal(disks_locked(&many->disks), 0);
}

static void hundreds_of_devices_come_and_go(void **state)
{
	size_t n = number_from("GUESTLOCK_TEST_DEVICES", 256);
	struct many many = many_new(n);
	const char **paths = calloc(n, sizeof(*paths));
	struct glk_guest *guest = NULL;
	size_t released = 0;
	uint64_t since;
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < n; i++)
		paths[i] = many.paths[i];
	guest = guest_describe(context, GLK_HOLDER_GUEST, guest_uuid(7), NULL);
	assert_int_equal(glk_guest_add(guest, many.disks.items, n), 0);
	since = clock_now();
	assert_int_equal(glk_guest_acquire(guest), 0);
	say("acquire", n, since);
	pid = guest_start(guest);
	assert_int_equal(disks_locked(&many.disks), n);
	assert_int_equal(glk_guest_adopt(context, guest_uuid(7), &guest), 0);
	since = clock_now();
	assert_int_equal(glk_guest_detach(guest, paths, n, &released), 0);
	say("release", n, since);
	assert_int_equal(released, n);
	assert_int_equal(disks_locked(&many.disks), 0);
	/* The directory has been changed just now, and its files are marked
	   when that has grown old (core/lib/lost.c). */
	usleep(30000);
	since = clock_now();
	assert_int_equal(glk_guest_attach(guest, many.disks.items, n), 0);
	say("plug", n, since);
	assert_int_equal(glk_guest_detach(guest, paths, n, NULL), 0);
	plug_all(guest, &many);
	glk_guest_free(guest);
	process_end(pid);
	free(paths);
	many_free(&many);
}

/* udev(7) probes a device that is closed after writing, and reads its
   partitions anew. */
static void a_device_is_not_closed_while_it_is_taken(void **state)
{
	int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	struct inotify_event event;

	(void)state;
	assert_true(inotify_add_watch(watch, disk, IN_CLOSE_WRITE) >= 0);
	assert_int_equal(guest_add(guest, disk, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(read(watch, &event, sizeof(event)), -1);
	glk_guest_free(guest);
	assert_int_equal(read(watch, &event, sizeof(event)), sizeof(event));
	close(watch);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_node_made_by_mknod_is_excluded),
	TEST(a_bind_mount_of_the_node_is_excluded),
	TEST(a_link_to_the_node_is_excluded),
	TEST(the_node_of_a_container_is_excluded),
	TEST(a_partition_and_its_disk_exclude_each_other),
	TEST(a_guest_that_is_killed_leaves_an_empty_file_at_most),
	TEST(a_loop_device_that_is_used_again_is_another_one),
	TEST(mkfs_and_mount_and_a_second_claim_are_refused),
	TEST(a_mount_is_named),
	TEST(a_device_is_not_closed_while_it_is_taken),
	TEST(virtlockds_lock_on_the_node_and_ours_exclude_each_other),
	TEST(hundreds_of_devices_come_and_go),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT | TEST_NEEDS_LOOP)
