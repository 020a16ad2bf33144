/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lab/storage.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Logical volumes of the real LVM, on disks of scsi_debug. */

#define ONE "/dev/vg/one"
#define TWO "/dev/vg/two"

static const char *where; /* to mount on */

static void make_volume(const char *name)
{
	LVM("lvcreate", "--yes", "-n", name, "-L", "8m", "vg");
}

static const char *uuid_of(const char *volume)
{
	return LVM("lvs", "--noheadings", "-o", "lv_uuid", volume);
}

static const char *above(const char *path)
{
	return text("holds %s, which is built on it", kernel_name(path));
}

static const char *below(const char *path)
{
	return text("holds %s, on which it is built", kernel_name(path));
}

static dev_t number_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_rdev;
}

static void a_volume_is_one_disk_by_all_its_names(void **state)
{
	const char *names[] = { ONE, "/dev/mapper/vg-one", NULL,
				test_file("node", -1), test_file("link", -1) };
	pid_t pid;

	(void)state;
	GROUP(scsi_add());
	make_volume("one");
	names[2] = text("/dev/%s", kernel_name(ONE));
	assert_int_equal(mknod(names[3], S_IFBLK | 0600, number_of(ONE)), 0);
	assert_int_equal(symlink(names[1], names[4]), 0);
	pid = run_guest(ONE, 0);
	assert_true(is_held(ONE));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_refused(names[i], pid, "");
	end_guest(pid, ONE);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(try_disk(names[i], 0), 0);
}

static void a_lock_file_is_called_what_lvs_prints(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	const char *uuid, *file;
	pid_t pid;

	(void)state;
	GROUP(scsi_add());
	make_volume("one");
	make_volume("two");
	uuid = uuid_of("vg/two");
	file = text("%s/%s", dirs.lvm, uuid);
	assert_int_equal(strlen(uuid), 38);
	lock_dirs_use(&dirs);
	pid = run_guest("/dev/mapper/vg-two", 0);
	assert_string_equal(only_name(dirs.lvm), uuid);
	assert_false(test_lockable(file, F_RDLCK));
	assert_string_equal(only_name(dirs.scsi), "");
	assert_string_equal(only_name(dirs.plain), "");
	end_guest(pid, TWO);
	assert_true(test_becomes_free(file, 10000));
}

/* As for virtlockd, if it is told of no directory for volumes. */
static void a_volume_has_its_disks_name_without_its_own(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	const char *disk = scsi_add();
	pid_t pid;

	(void)state;
	GROUP(disk);
	make_volume("one");
	dirs.lvm = NULL;
	lock_dirs_use(&dirs);
	pid = run_guest(ONE, 0);
	assert_string_equal(scsi_id(ONE), scsi_id(disk));
	assert_string_equal(only_name(dirs.scsi), scsi_id(disk));
	end_guest(pid, ONE);
}

/* It passes no command on, if it is of two parts. */
static void a_volume_that_has_grown_has_its_disks_name_no_more(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	pid_t pid;

	(void)state;
	GROUP(scsi_add());
	make_volume("one");
	make_volume("two");
	LVM("lvextend", "-L", "+4m", "vg/one");
	dirs.lvm = NULL;
	lock_dirs_use(&dirs);
	pid = run_guest(ONE, 0);
	assert_string_equal(scsi_id(ONE), "");
	assert_string_equal(only_name(dirs.scsi), "");
	assert_int_equal(strlen(only_name(dirs.plain)), 64);
	end_guest(pid, ONE);
}

static void a_volume_and_its_disk_exclude_each_other(void **state)
{
	const char *disk = scsi_add(), *other = scsi_add();
	pid_t pid;

	(void)state;
	GROUP(disk, other);
	LVM("lvcreate", "--yes", "-n", "one", "-L", "8m", "vg", disk);
	LVM("lvcreate", "--yes", "-n", "two", "-L", "8m", "vg", disk);
	pid = run_guest(ONE, 0);
	assert_refused(disk, pid, above(ONE));
	assert_int_equal(try_disk(other, 0), 0);
	assert_int_equal(try_disk(TWO, 0), 0);
	end_guest(pid, ONE);
	pid = run_guest(disk, 0);
	assert_true(is_held(disk));
	assert_refused(ONE, pid, below(disk));
	assert_refused(TWO, pid, below(disk));
	end_guest(pid, disk);
}

static void a_volume_on_a_partition_excludes_the_whole_disk(void **state)
{
	const char *disk = scsi_add(), *part = scsi_partition(disk, 1);
	pid_t pid;

	(void)state;
	GROUP(part);
	LVM("lvcreate", "--yes", "-n", "one", "-L", "4m", "vg");
	pid = run_guest(ONE, 0);
	assert_refused(part, pid, above(ONE));
	assert_refused(disk, pid, above(ONE));
	end_guest(pid, ONE);
	pid = run_guest(disk, 0);
	assert_refused(ONE, pid, below(disk));
	end_guest(pid, disk);
}

static void a_volume_that_comes_later_is_excluded_by_its_disk(void **state)
{
	const char *disk = scsi_add();
	pid_t pid;

	(void)state;
	GROUP(disk);
	make_volume("one");
	LVM("lvchange", "-an", "vg/one");
	pid = run_guest(disk, 0);
	LVM("lvchange", "-ay", "vg/one");
	assert_refused(ONE, pid, below(disk));
	end_guest(pid, disk);
	assert_int_equal(try_disk(ONE, 0), 0);
}

static void a_volume_that_is_read_only_can_be_shared(void **state)
{
	pid_t pid;

	(void)state;
	GROUP(scsi_add());
	make_volume("one");
	LVM("lvchange", "-pr", "vg/one");
	assert_int_equal(try_disk(ONE, 0), 0);
	pid = run_guest(ONE, GLK_DISK_READONLY);
	assert_int_equal(try_disk(ONE, GLK_DISK_SHARED), 0);
	assert_int_equal(try_disk(ONE, 0), -EBUSY);
	end_guest(pid, ONE);
}

struct rival {
	const char *path;
	atomic_uint *holders, *wins, *both;
};

static int compete(void *arg)
{
	const struct rival *rival = arg;

	/* Made on the other side of a fork. */
	storage_context = guest_context();
	for (unsigned i = 0; i < 200; i++) {
		struct glk_guest *guest =
			guest_describe(storage_context, GLK_HOLDER_SELF, NULL,
				       NULL);

		MUST_EQUAL(guest_add(guest, rival->path, 0), 0);
		if (!glk_guest_acquire(guest)) {
			if (atomic_fetch_add(rival->holders, 1))
				atomic_fetch_add(rival->both, 1);
			atomic_fetch_add(rival->wins, 1);
			usleep(500);
			atomic_fetch_sub(rival->holders, 1);
		}
		glk_guest_free(guest);
	}
	glk_context_free(storage_context);
	return 0;
}

static void a_volume_and_its_disk_are_never_held_both(void **state)
{
	atomic_uint *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *disk = scsi_add();
	struct rival rivals[] = {
		{ disk, &shared[0], &shared[1], &shared[3] },
		{ ONE, &shared[0], &shared[2], &shared[3] },
	};
	pid_t pids[2];

	(void)state;
	assert_true(shared != MAP_FAILED);
	GROUP(disk);
	make_volume("one");
	for (size_t i = 0; i < 2; i++)
		pids[i] = process_start(compete, &rivals[i]);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(process_wait(pids[i]), 0);
	assert_true(shared[1] > 0 && shared[2] > 0);
	assert_int_equal(shared[3], 0);
	munmap(shared, 4096);
	assert_true(is_free(ONE) && is_free(disk));
}

static void one_guest_may_have_a_volume_and_its_disk(void **state)
{
	struct glk_guest *guest =
		guest_describe(storage_context, GLK_HOLDER_SELF, NULL, NULL);
	const char *disk = scsi_add();

	(void)state;
	GROUP(disk);
	make_volume("one");
	make_volume("two");
	assert_int_equal(guest_add(guest, ONE, 0), 0);
	assert_int_equal(guest_add(guest, disk, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_true(is_held(ONE) && is_held(disk));
	assert_int_equal(guest_attach(guest, TWO, 0), 0);
	assert_true(is_held(TWO));
	glk_guest_free(guest);
	assert_true(becomes_free(ONE) && becomes_free(disk));
}

/* They have their own blocks; the parts that LVM makes of them do not. */
static void a_snapshot_is_not_its_origin(void **state)
{
	static const char real[] = "/dev/mapper/vg-one-real";
	static const char cow[] = "/dev/mapper/vg-two-cow";
	const char *disk = scsi_add();
	pid_t origin, snapshot, part;

	(void)state;
	GROUP(disk);
	make_volume("one");
	LVM("lvcreate", "--yes", "-s", "-n", "two", "-L", "4m", "vg/one");
	origin = run_guest(ONE, 0);
	assert_refused(real, origin, above(ONE));
	assert_refused(disk, origin, above(ONE));
	assert_int_equal(try_disk(cow, 0), 0);
	snapshot = run_guest(TWO, 0);
	assert_true(is_held(ONE) && is_held(TWO));
	assert_refused(TWO, snapshot, "");
	assert_refused(cow, snapshot, above(TWO));
	end_guest(origin, ONE);
	assert_refused(real, snapshot, above(TWO));
	end_guest(snapshot, TWO);
	part = run_guest(real, 0);
	assert_refused(ONE, part, below(real));
	assert_refused(TWO, part, below(real));
	end_guest(part, real);
}

static void a_snapshot_has_a_name_of_its_own(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	pid_t origin, snapshot;

	(void)state;
	GROUP(scsi_add());
	make_volume("one");
	LVM("lvcreate", "--yes", "-s", "-n", "two", "-L", "4m", "vg/one");
	lock_dirs_use(&dirs);
	origin = run_guest(ONE, 0);
	assert_string_equal(only_name(dirs.lvm), uuid_of("vg/one"));
	snapshot = run_guest(TWO, 0);
	assert_false(test_lockable(text("%s/%s", dirs.lvm, uuid_of("vg/two")),
				   F_RDLCK));
	/* No SCSI command goes through an origin, but the kernel knows. */
	dirs.lvm = NULL;
	end_guest(origin, ONE);
	end_guest(snapshot, TWO);
	lock_dirs_use(&dirs);
	origin = run_guest(ONE, 0);
	assert_string_equal(only_name(dirs.scsi), scsi_id(ONE));
	end_guest(origin, ONE);
}

static void thin_volumes_exclude_their_pool_and_not_each_other(void **state)
{
	const char *pool = "/dev/mapper/vg-pool-tpool", *disk = scsi_add();
	struct lock_dirs dirs = lock_dirs_new();
	pid_t one, two;

	(void)state;
	GROUP(disk);
	LVM("lvcreate", "--yes", "--type", "thin-pool", "-n", "pool", "-L",
	    "16m", "--poolmetadatasize", "4m", "--poolmetadataspare", "n",
	    "vg");
	LVM("lvcreate", "--yes", "-n", "one", "-V", "8m", "--thinpool",
	    "vg/pool");
	LVM("lvcreate", "--yes", "-s", "-n", "two", "-kn", "vg/one");
	one = run_guest(ONE, 0);
	two = run_guest(TWO, 0);
	assert_true(is_held(ONE) && is_held(TWO));
	assert_refused(TWO, two, "");
	assert_int_equal(try_disk(pool, 0), -EBUSY);
	assert_int_equal(try_disk("/dev/mapper/vg-pool_tdata", 0), -EBUSY);
	assert_int_equal(try_disk(disk, 0), -EBUSY);
	end_guest(one, ONE);
	assert_refused(disk, two, above(TWO));
	end_guest(two, TWO);
	one = run_guest(disk, 0);
	assert_refused(ONE, one, below(disk));
	end_guest(one, disk);
	lock_dirs_use(&dirs);
	one = run_guest(ONE, 0);
	assert_string_equal(only_name(dirs.lvm), uuid_of("vg/one"));
	end_guest(one, ONE);
}

/* Its one lease is held; is it of what the path leads to? */
static void assert_same(pid_t pid, int same)
{
	const struct glk_guest_info *info;
	struct glk_guest *guest;

	assert_int_equal(glk_guest_adopt(storage_context, text("%d", (int)pid),
					 &guest),
			 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 1);
	assert_int_equal(info->leases[0].held, 1);
	assert_int_equal(info->leases[0].same_file, same);
	glk_guest_free(guest);
}

static void a_volume_that_grows_is_snapshot_and_moved_stays_leased(void **state)
{
	const char *from = scsi_add(), *to = scsi_add(), *file, *new_name;
	pid_t pid;

	(void)state;
	GROUP(from, to);
	LVM("lvcreate", "--yes", "-n", "one", "-L", "8m", "vg", from);
	file = lock_file(ONE);
	pid = run_guest(ONE, 0);
	LVM("lvextend", "-L", "+4m", "vg/one", from);
	LVM("pvmove", "-i", "1", from, to);
	assert_int_equal(try_disk(from, 0), 0);
	assert_refused(to, pid, above(ONE));
	LVM("lvcreate", "--yes", "-s", "-n", "two", "-L", "4m", "vg/one");
	assert_string_equal(lock_file(ONE), file);
	assert_true(is_held(ONE));
	assert_same(pid, 1);
	assert_refused(ONE, pid, "");
	assert_refused(to, pid, above(ONE));
	LVM("lvrename", "vg", "one", "other");
	new_name = "/dev/vg/other";
	assert_string_equal(lock_file(new_name), file);
	assert_refused(new_name, pid, "");
	/* As it was called when it was leased, it is not there any more. */
	assert_same(pid, 0);
	end_guest(pid, new_name);
}

static void a_leased_volume_cannot_be_removed(void **state)
{
	pid_t pid;

	(void)state;
	GROUP(scsi_add());
	make_volume("one");
	pid = run_guest(ONE, 0);
	assert_int_not_equal(
		ask(ARGS("lvm", "lvremove", "--yes", "vg/one"))->status, 0);
	assert_int_not_equal(
		ask(ARGS("lvm", "lvchange", "-an", "vg/one"))->status, 0);
	assert_true(is_held(ONE));
	end_guest(pid, ONE);
	LVM("lvremove", "--yes", "vg/one");
	assert_int_equal(access(ONE, F_OK), -1);
}

static void a_volume_of_a_number_used_again_is_another(void **state)
{
	const char *file;
	dev_t number;
	pid_t pid;

	(void)state;
	GROUP(scsi_add());
	make_volume("one");
	file = lock_file(ONE);
	number = number_of(ONE);
	pid = run_guest(ONE, 0);
	end_guest(pid, ONE);
	assert_int_equal(access(file, F_OK), 0);
	LVM("lvremove", "--yes", "vg/one");
	make_volume("two");
	assert_true(number_of(TWO) == number);
	assert_string_not_equal(lock_file(TWO), file);
	pid = run_guest(TWO, 0);
	assert_true(is_held(TWO));
	assert_int_equal(access(file, F_OK), -1);
	end_guest(pid, TWO);
	file = lock_file(TWO);
	LVM("lvchange", "-an", "vg/two");
	LVM("lvchange", "-ay", "vg/two");
	assert_string_not_equal(lock_file(TWO), file);
	assert_int_equal(try_disk(TWO, 0), 0);
}

static const struct glk_conflict *only_conflict(void)
{
	const struct glk_conflict *c = NULL;

	assert_int_equal(glk_context_conflicts(storage_context, &c), 1);
	return c;
}

static void a_claimed_volume_cannot_be_used_by_the_kernel(void **state)
{
	pid_t pid;

	(void)state;
	GROUP(scsi_add());
	make_volume("one");
	TELL("mkfs.ext4", "-q", ONE);
	pid = run_guest(ONE, GLK_DISK_CLAIM);
	assert_true(is_held(ONE));
	assert_int_equal(mount(ONE, where, "ext4", 0, NULL), -1);
	assert_int_equal(errno, EBUSY);
	assert_int_not_equal(ask(ARGS("mkfs.ext4", "-q", ONE))->status, 0);
	assert_refused("/dev/mapper/vg-one", pid, "");
	assert_int_equal(try_disk("/dev/mapper/vg-one", GLK_DISK_CLAIM),
			 -EBUSY);
	assert_int_equal(only_conflict()->pid, pid);
	end_guest(pid, ONE);
	assert_int_equal(mount(ONE, where, "ext4", 0, NULL), 0);
	assert_int_equal(try_disk(ONE, GLK_DISK_CLAIM), -EBUSY);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_KERNEL);
	assert_string_equal(only_conflict()->how,
			    text("has it mounted at %s", where));
	assert_int_equal(umount(where), 0);
	assert_int_equal(try_disk(ONE, GLK_DISK_CLAIM), 0);
}

static void a_disk_of_a_volume_cannot_be_claimed(void **state)
{
	const char *disk = scsi_add();

	(void)state;
	GROUP(disk);
	make_volume("one");
	assert_int_equal(try_disk(disk, GLK_DISK_CLAIM), -EBUSY);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_KERNEL);
	assert_string_equal(only_conflict()->how,
			    text("uses it for %s", kernel_name(ONE)));
	TELL("mkfs.ext4", "-q", ONE);
	assert_int_equal(mount(ONE, where, "ext4", 0, NULL), 0);
	assert_int_equal(try_disk(disk, GLK_DISK_CLAIM), -EBUSY);
	assert_string_equal(only_conflict()->how,
			    text("has %s, which is built on it, mounted at %s",
				 kernel_name(ONE), where));
	assert_int_equal(umount(where), 0);
	LVM("lvchange", "-an", "vg/one");
	assert_int_equal(try_disk(disk, GLK_DISK_CLAIM), 0);
}

static void a_claimed_disk_cannot_be_made_a_volume(void **state)
{
	const char *disk = scsi_add();
	pid_t pid;

	(void)state;
	GROUP(disk);
	make_volume("one");
	LVM("lvchange", "-an", "vg/one");
	pid = run_guest(disk, GLK_DISK_CLAIM);
	assert_int_not_equal(
		ask(ARGS("lvm", "lvchange", "-ay", "vg/one"))->status, 0);
	assert_int_equal(access(ONE, F_OK), -1);
	end_guest(pid, disk);
	LVM("lvchange", "-ay", "vg/one");
	assert_int_equal(try_disk(ONE, 0), 0);
}

static void await_held(const char *path)
{
	uint64_t deadline = deadline_in_ms(20000);

	while (!is_held(path)) {
		assert_true(clock_now() < deadline);
		usleep(2000);
	}
}

static void assert_prints(const struct answer *answer, int status,
			  const char *what)
{
	if (answer->status != status ||
	    (!strstr(answer->out, what) && !strstr(answer->err, what)))
		fail_msg("%d, and not '%s' but:\n%s%s", answer->status, what,
			 answer->out, answer->err);
}

static int open_and_wait(void *arg)
{
	const char *path = arg;

	MUST(open(path, O_RDONLY | O_CLOEXEC) >= 0);
	MUST(!raise(SIGSTOP));
	return 0;
}

static void who_has_a_volume_open_is_named(void **state)
{
	const char *disk = scsi_add(), *option = "--exclusive-open=require";
	siginfo_t info;
	pid_t pid;

	(void)state;
	GROUP(disk);
	make_volume("one");
	assert_prints(GUESTLOCK("run", option, "--disk", ONE, "--", "cat"), 0,
		      "");
	pid = process_start(open_and_wait, (void *)ONE);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED), 0);
	assert_prints(GUESTLOCK("run", option, "--disk", "/dev/mapper/vg-one",
				"--", "cat"),
		      75, text("process %d", (int)pid));
	process_end(pid);
	assert_prints(GUESTLOCK("run", option, "--disk", disk, "--", "cat"), 75,
		      text("the kernel uses it for %s", kernel_name(ONE)));
}

static void the_command_leases_volumes(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	const char *command = getenv("GUESTLOCK_COMMAND"), *id;
	const char *disk = scsi_add();
	pid_t pid;

	(void)state;
	GROUP(disk);
	make_volume("one");
	make_volume("two");
	pid = start_program(ARGS(command, "run", "--name", "vm-one",
				 "--lvm-lock-dir", dirs.lvm, "--scsi-lock-dir",
				 dirs.scsi, "--disk", ONE, "--", "cat"));
	await_held(ONE);
	id = text("%d", (int)pid);
	assert_string_equal(only_name(dirs.lvm), uuid_of("vg/one"));
	assert_prints(GUESTLOCK("ls", "--json", id), 0, "\"type\": \"block\"");
	assert_prints(GUESTLOCK("ls", id), 0, ONE);
	assert_prints(GUESTLOCK("who", "/dev/mapper/vg-one"), 0, "vm-one");
	assert_prints(GUESTLOCK("run", "--disk", "/dev/mapper/vg-one", "--",
				"cat"),
		      75, "vm-one");
	assert_prints(GUESTLOCK("run", "--disk", disk, "--", "cat"), 75,
		      above(ONE));
	assert_prints(GUESTLOCK("attach-disk", id, TWO), 0, "");
	assert_true(is_held(TWO));
	assert_prints(GUESTLOCK("check", id), 0, "");
	assert_prints(GUESTLOCK("detach-disk", id, TWO), 0, "");
	assert_true(is_free(TWO));
	assert_prints(GUESTLOCK("doctor", ONE), 0, "scope host");
	end_guest(pid, ONE);
	assert_prints(GUESTLOCK("run", "--disk", disk, "--", "cat"), 0, "");
}

static int start(void **state)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s", test_file("mount", -1));
	where = path;
	if (mkdir(where, 0700) && errno != EEXIST)
		return -1;
	return storage_start(state);
}

static int stop(void **state)
{
	umount2(where, MNT_DETACH);
	return storage_stop(state);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_volume_is_one_disk_by_all_its_names),
	TEST(a_lock_file_is_called_what_lvs_prints),
	TEST(a_volume_has_its_disks_name_without_its_own),
	TEST(a_volume_that_has_grown_has_its_disks_name_no_more),
	TEST(a_volume_and_its_disk_exclude_each_other),
	TEST(a_volume_on_a_partition_excludes_the_whole_disk),
	TEST(a_volume_that_comes_later_is_excluded_by_its_disk),
	TEST(a_volume_that_is_read_only_can_be_shared),
	TEST(a_volume_and_its_disk_are_never_held_both),
	TEST(one_guest_may_have_a_volume_and_its_disk),
	TEST(a_snapshot_is_not_its_origin),
	TEST(a_snapshot_has_a_name_of_its_own),
	TEST(thin_volumes_exclude_their_pool_and_not_each_other),
	TEST(a_volume_that_grows_is_snapshot_and_moved_stays_leased),
	TEST(a_leased_volume_cannot_be_removed),
	TEST(a_volume_of_a_number_used_again_is_another),
	TEST(a_claimed_volume_cannot_be_used_by_the_kernel),
	TEST(who_has_a_volume_open_is_named),
	TEST(a_disk_of_a_volume_cannot_be_claimed),
	TEST(a_claimed_disk_cannot_be_made_a_volume),
	TEST(the_command_leases_volumes),
};

int main(void)
{
	storage_require();
	return test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_ROOT);
}
