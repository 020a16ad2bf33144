/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lab/storage.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * SCSI disks of the kernel's scsi_debug: what they are called by udev's
 * scsi_id, several ways to one of them, their partitions, and what is built on
 * them by device-mapper.
 */

#define SECTORS 131072 /* of 64 MiB */

static dev_t number_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_rdev;
}

static void a_lock_file_is_called_what_scsi_id_prints(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	const char *disks[] = { scsi_add(), scsi_add() }, *ids[2], *file;
	pid_t pid;

	(void)state;
	lock_dirs_use(&dirs);
	for (size_t i = 0; i < 2; i++) {
		ids[i] = scsi_id(disks[i]);
		assert_int_equal(strlen(ids[i]), 17);
		file = text("%s/%s", dirs.scsi, ids[i]);
		pid = run_guest(disks[i], 0);
		assert_true(is_held(disks[i]));
		assert_false(test_lockable(file, F_RDLCK));
		assert_string_equal(only_name(dirs.scsi), ids[i]);
		assert_string_equal(only_name(dirs.lvm), "");
		assert_string_equal(only_name(dirs.plain), "");
		end_guest(pid, disks[i]);
		assert_true(test_becomes_free(file, 10000));
		assert_int_equal(unlink(file), 0);
	}
	assert_string_not_equal(ids[0], ids[1]);
}

/* Other identifiers than scsi_debug's, and names with spaces in them. */
static void disks_of_qemu_are_called_what_scsi_id_prints(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	const char *disks[SCSI_MAX], *id;
	size_t n = scsi_of_qemu(disks);
	pid_t pid;

	(void)state;
	lock_dirs_use(&dirs);
	assert_true(n > 0);
	for (size_t i = 0; i < n; i++) {
		id = scsi_id(disks[i]);
		assert_true(*id);
		pid = run_guest(disks[i], 0);
		assert_string_equal(only_name(dirs.scsi), id);
		end_guest(pid, disks[i]);
		assert_int_equal(unlink(text("%s/%s", dirs.scsi, id)), 0);
	}
}

static void a_partition_has_the_name_of_its_disk(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	const char *disk = scsi_add(), *one = scsi_partition(disk, 1);
	struct glk_guest *guest =
		guest_describe(storage_context, GLK_HOLDER_SELF, NULL, NULL);

	(void)state;
	lock_dirs_use(&dirs);
	assert_int_equal(guest_add(guest, one, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_string_equal(scsi_id(one), scsi_id(disk));
	assert_string_equal(only_name(dirs.scsi), scsi_id(disk));
	assert_int_equal(guest_detach(guest, one), 0);
	assert_string_equal(only_name(dirs.scsi), "");
	glk_guest_free(guest);
}

static void write_block(const char *path, const char *what)
{
	_Alignas(4096) char block[4096] = "";
	int fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);

	snprintf(block, sizeof(block), "%s", what);
	assert_int_equal(pwrite(fd, block, sizeof(block), 0), sizeof(block));
	close(fd);
}

static void assert_block(const char *path, const char *what)
{
	_Alignas(4096) char block[4096] = "";
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

	assert_int_equal(pread(fd, block, sizeof(block), 0), sizeof(block));
	assert_string_equal(block, what);
	close(fd);
}

static void two_ways_to_one_disk_are_one_by_its_name(void **state)
{
	struct lock_dirs none = {}, dirs = lock_dirs_new();
	struct paths ways = scsi_add_paths();
	const struct answer *answer;
	pid_t pid;

	(void)state;
	write_block(ways.a, "the same blocks");
	assert_block(ways.b, "the same blocks");
	assert_string_equal(scsi_id(ways.a), scsi_id(ways.b));
	lock_dirs_use(&dirs);
	pid = run_guest(ways.a, 0);
	assert_string_equal(only_name(dirs.scsi), scsi_id(ways.b));
	assert_refused(ways.b, pid,
		       text("holds %s, which has the same lock file", ways.a));
	assert_true(is_free(ways.b));
	assert_true(is_held(ways.a));
	answer = GUESTLOCK("who", "--scsi-lock-dir", dirs.scsi, ways.b);
	assert_int_equal(answer->status, 0);
	assert_non_null(strstr(answer->out, text("pid %d)", (int)pid)));
	/* To the kernel, they are two. */
	lock_dirs_use(&none);
	assert_int_equal(try_disk(ways.b, 0), 0);
	end_guest(pid, ways.a);
	lock_dirs_use(&dirs);
	pid = run_guest(ways.b, 0);
	assert_refused(ways.a, pid,
		       text("holds %s, which has the same lock file", ways.b));
	end_guest(pid, ways.b);
}

static const char *make_multipath(struct paths ways)
{
	const char *id = text("mpath-%s", scsi_id(ways.a));
	const char *table = text("0 %d multipath 0 0 1 1 round-robin 0 2 1 "
				 "%s 1000 %s 1000",
				 SECTORS, ways.a, ways.b);

	DMSETUP("create", "mp", "--uuid", id, "--table", table);
	return "/dev/mapper/mp";
}

static void a_multipath_device_and_its_paths_exclude_each_other(void **state)
{
	struct paths ways = scsi_add_paths();
	const char *multi = make_multipath(ways), *how;
	pid_t pid = run_guest(multi, 0);

	(void)state;
	how = text("holds %s, which is built on it", kernel_name(multi));
	assert_true(is_held(multi));
	assert_refused(ways.a, pid, how);
	assert_refused(ways.b, pid, how);
	end_guest(pid, multi);
	pid = run_guest(ways.b, 0);
	assert_refused(multi, pid,
		       text("holds %s, on which it is built",
			    kernel_name(ways.b)));
	end_guest(pid, ways.b);
}

static void a_multipath_device_has_the_name_of_its_paths(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	struct paths ways = scsi_add_paths();
	const char *multi = make_multipath(ways);
	pid_t pid;

	(void)state;
	lock_dirs_use(&dirs);
	pid = run_guest(multi, 0);
	assert_string_equal(scsi_id(multi), scsi_id(ways.a));
	assert_string_equal(only_name(dirs.scsi), scsi_id(multi));
	end_guest(pid, multi);
}

static void a_volume_on_a_multipath_device_excludes_its_paths(void **state)
{
	struct paths ways = scsi_add_paths();
	pid_t pid;

	(void)state;
	GROUP(make_multipath(ways));
	LVM("lvcreate", "--yes", "-n", "one", "-L", "8m", "vg");
	pid = run_guest("/dev/vg/one", 0);
	assert_refused(ways.b, pid,
		       text("holds %s, which is built on it",
			    kernel_name("/dev/vg/one")));
	end_guest(pid, "/dev/vg/one");
	pid = run_guest(ways.a, 0);
	assert_refused("/dev/vg/one", pid,
		       text("holds %s, on which it is built",
			    kernel_name(ways.a)));
	end_guest(pid, ways.a);
}

static void a_partition_and_its_disk_exclude_each_other(void **state)
{
	const char *disk = scsi_add(), *one = scsi_partition(disk, 1);
	const char *two = scsi_partition(disk, 2);
	pid_t pid = run_guest(one, 0);

	(void)state;
	assert_true(is_held(one));
	assert_refused(one, pid, "");
	assert_refused(disk, pid,
		       text("holds its partition %s", kernel_name(one)));
	assert_int_equal(try_disk(two, 0), 0);
	end_guest(pid, one);
	pid = run_guest(disk, 0);
	assert_refused(two, pid,
		       text("holds %s, of which it is a part",
			    kernel_name(disk)));
	end_guest(pid, disk);
}

static void what_is_built_on_a_partition_excludes_its_disk(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	const char *disk = scsi_add(), *one = scsi_partition(disk, 1);
	const char *two = scsi_partition(disk, 2), *linear = "/dev/mapper/line";
	const char *how;
	pid_t pid;

	(void)state;
	DMSETUP("create", "line", "--table", text("0 8192 linear %s 64", one));
	how = text("holds %s, which is built on it", kernel_name(linear));
	pid = run_guest(linear, 0);
	assert_refused(disk, pid, how);
	assert_refused(one, pid, how);
	assert_int_equal(try_disk(two, 0), 0);
	end_guest(pid, linear);
	pid = run_guest(disk, 0);
	assert_refused(linear, pid,
		       text("holds %s, on which it is built",
			    kernel_name(disk)));
	end_guest(pid, disk);
	lock_dirs_use(&dirs);
	pid = run_guest(linear, 0);
	assert_string_equal(scsi_id(linear), scsi_id(disk));
	assert_string_equal(only_name(dirs.scsi), scsi_id(disk));
	end_guest(pid, linear);
}

static void what_is_built_on_two_disks_has_no_disks_name(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	const char *a = scsi_add(), *b = scsi_add();
	const char *striped = "/dev/mapper/both";
	pid_t pid;

	(void)state;
	DMSETUP("create", "both", "--table",
		text("0 65536 striped 2 128 %s 0 %s 0", a, b));
	lock_dirs_use(&dirs);
	pid = run_guest(striped, 0);
	assert_string_equal(scsi_id(striped), "");
	assert_string_equal(only_name(dirs.scsi), "");
	assert_int_equal(strlen(only_name(dirs.plain)), 64);
	assert_int_equal(try_disk(a, 0), -EBUSY);
	assert_int_equal(try_disk(b, 0), -EBUSY);
	end_guest(pid, striped);
}

/* What is encrypted passes no command on, and scsi_id finds no name. */
static void an_encrypted_device_has_no_disks_name(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	const char *disk = scsi_add(), *crypt = "/dev/mapper/secret";
	pid_t pid;

	(void)state;
	DMSETUP("create", "secret", "--uuid", "CRYPT-PLAIN-secret", "--table",
		text("0 65536 crypt aes-cbc-plain "
		     "00112233445566778899aabbccddeeff 0 %s 0",
		     disk));
	lock_dirs_use(&dirs);
	pid = run_guest(crypt, 0);
	assert_string_equal(scsi_id(crypt), "");
	assert_string_equal(only_name(dirs.scsi), "");
	assert_int_equal(strlen(only_name(dirs.plain)), 64);
	assert_refused(disk, pid,
		       text("holds %s, which is built on it",
			    kernel_name(crypt)));
	end_guest(pid, crypt);
}

/* @table with this for "@". */
static const char *with(const char *table, const char *disk)
{
	const char *at = strchr(table, '@');

	if (!at)
		return table;
	return text("%.*s%s%s", (int)(at - table), table, disk,
		    with(at + 1, disk));
}

/* Some kinds of device pass a command on, others do not, and it does not
   matter who has made them. */
static void a_device_made_by_hand_has_the_name_that_scsi_id_finds(void **state)
{
	static const char *const tables[] = {
		"linear @ 64",
		"flakey @ 0 60 0",
		"crypt aes-cbc-plain 00112233445566778899aabbccddeeff 0 @ 0",
		"delay @ 0 0",
		"snapshot-origin @",
		"linear @ 0,4096 4096 linear @ 8192",
	};
	struct lock_dirs dirs = lock_dirs_new();
	const char *disk = scsi_add(), *top = "/dev/mapper/top";
	unsigned named = 0;

	(void)state;
	dirs.plain = NULL;
	lock_dirs_use(&dirs);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		const char *id, *name;
		pid_t pid;

		DMSETUP("create", "--concise",
			text("top,,,rw,0 4096 %s", with(tables[i], disk)));
		id = scsi_id(top);
		pid = run_guest(top, 0);
		name = only_name(dirs.scsi);
		if (strcmp(name, id))
			fail_msg("%s: '%s', not '%s'", tables[i], name, id);
		end_guest(pid, top);
		named += *id != '\0';
		if (*id)
			unlink(text("%s/%s", dirs.scsi, id));
		DMSETUP("remove", "top");
	}
	assert_int_equal(named, 2);
}

/* The command is answered when it can be. */
static void a_device_that_is_suspended_keeps_nobody_waiting(void **state)
{
	const char *disk = scsi_add(), *linear = "/dev/mapper/line";
	pid_t pid;

	(void)state;
	DMSETUP("create", "line", "--table", text("0 8192 linear %s 64", disk));
	DMSETUP("suspend", "line");
	pid = run_guest(linear, 0);
	assert_true(is_held(linear));
	assert_refused(disk, pid,
		       text("holds %s, which is built on it",
			    kernel_name(linear)));
	end_guest(pid, linear);
	DMSETUP("resume", "line");
}

static void a_path_that_goes_changes_nothing(void **state)
{
	struct lock_dirs none = {}, dirs = lock_dirs_new();
	struct paths ways = scsi_add_paths();
	const char *multi = make_multipath(ways), *id = scsi_id(multi);
	pid_t pid;

	(void)state;
	lock_dirs_use(&dirs);
	pid = run_guest(multi, 0);
	scsi_remove();
	assert_int_equal(access(ways.b, F_OK), -1);
	assert_true(is_held(multi));
	assert_refused(multi, pid, "");
	lock_dirs_use(&none);
	assert_refused(ways.a, pid,
		       text("holds %s, which is built on it",
			    kernel_name(multi)));
	end_guest(pid, multi);
	lock_dirs_use(&dirs);
	pid = run_guest(multi, 0);
	assert_string_equal(only_name(dirs.scsi), id);
	end_guest(pid, multi);
}

/* As for virtlockd; but it is said why. */
static void partitions_cannot_share_the_name_of_their_disk(void **state)
{
	struct lock_dirs dirs = lock_dirs_new();
	const char *disk = scsi_add(), *one = scsi_partition(disk, 1);
	const char *two = scsi_partition(disk, 2);
	struct glk_guest *guest =
		guest_describe(storage_context, GLK_HOLDER_SELF, NULL, NULL);
	const struct glk_conflict *c = NULL;
	pid_t pid;

	(void)state;
	lock_dirs_use(&dirs);
	assert_int_equal(guest_add(guest, one, 0), 0);
	assert_int_equal(guest_add(guest, two, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), -EBUSY);
	assert_int_equal(glk_context_conflicts(storage_context, &c), 1);
	assert_string_equal(c->path, two);
	assert_int_equal(c->pid, getpid());
	assert_string_equal(c->how, "holds another disk of this call, which "
				    "has the same lock file");
	assert_true(is_free(one) && is_free(two));
	glk_guest_free(guest);
	pid = run_guest(one, 0);
	assert_refused(two, pid,
		       text("holds %s, which has the same lock file", one));
	end_guest(pid, one);
}

/* The number is free some time after the last one has closed the disk. */
static const char *add_with_number(dev_t number)
{
	for (int i = 0; i < 200; i++) {
		const char *disk = scsi_add();

		if (number_of(disk) == number)
			return disk;
		scsi_remove();
		usleep(20000);
	}
	fail_msg("its number does not become free");
	return NULL;
}

static void a_disk_that_comes_later_is_another_disk(void **state)
{
	const char *disk = scsi_add(), *file = lock_file(disk), *later;
	dev_t number = number_of(disk);
	pid_t pid = run_guest(disk, 0);

	(void)state;
	scsi_remove();
	later = scsi_add();
	assert_true(number_of(later) != number);
	assert_int_equal(try_disk(later, 0), 0);
	assert_false(test_lockable(file, F_WRLCK));
	scsi_remove();
	process_end(pid);
	assert_true(test_becomes_free(file, 10000));
	later = add_with_number(number);
	assert_string_not_equal(lock_file(later), file);
	pid = run_guest(later, 0);
	assert_true(is_held(later));
	assert_int_equal(access(file, F_OK), -1);
	end_guest(pid, later);
}

static void a_lease_on_a_disk_that_went_tells_so(void **state)
{
	const char *disk = scsi_add();
	const struct glk_guest_info *info;
	struct glk_guest *guest;
	pid_t pid = run_guest(disk, 0);

	(void)state;
	assert_int_equal(glk_guest_adopt(storage_context, text("%d", (int)pid),
					 &guest),
			 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->leases[0].held, 1);
	assert_int_equal(info->leases[0].same_file, 1);
	scsi_remove();
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 1);
	assert_string_equal(info->leases[0].path, disk);
	assert_int_equal(info->leases[0].held, 1);
	assert_int_equal(info->leases[0].same_file, 0);
	glk_guest_free(guest);
	process_end(pid);
}

#define TEST(_f)                                                               \
	cmocka_unit_test_setup_teardown(_f, storage_start, storage_stop)

static const struct CMUnitTest tests[] = {
	TEST(a_lock_file_is_called_what_scsi_id_prints),
	TEST(disks_of_qemu_are_called_what_scsi_id_prints),
	TEST(a_partition_has_the_name_of_its_disk),
	TEST(two_ways_to_one_disk_are_one_by_its_name),
	TEST(a_multipath_device_and_its_paths_exclude_each_other),
	TEST(a_multipath_device_has_the_name_of_its_paths),
	TEST(a_volume_on_a_multipath_device_excludes_its_paths),
	TEST(a_partition_and_its_disk_exclude_each_other),
	TEST(what_is_built_on_a_partition_excludes_its_disk),
	TEST(what_is_built_on_two_disks_has_no_disks_name),
	TEST(an_encrypted_device_has_no_disks_name),
	TEST(a_device_made_by_hand_has_the_name_that_scsi_id_finds),
	TEST(a_device_that_is_suspended_keeps_nobody_waiting),
	TEST(a_path_that_goes_changes_nothing),
	TEST(partitions_cannot_share_the_name_of_their_disk),
	TEST(a_disk_that_comes_later_is_another_disk),
	TEST(a_lease_on_a_disk_that_went_tells_so),
};

int main(void)
{
	storage_require();
	return test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_ROOT);
}
