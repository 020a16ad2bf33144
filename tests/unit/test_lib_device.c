/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/compat.h"
#include "core/base/util.h"
#include "tests/lib/loop.h"
#include "tests/lib/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define SIZE (8 << 20)

static struct glk_context *context;
static struct glk_guest *guest;
static char disk[LOOP_PATH_MAX];
static int loop;

static int ending_claim = -1;

/* The linker sends the library's engine_run() here (--wrap), so that a claim
   can end once it has refused somebody. */
int __real_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);
int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);

int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline)
{
	int r = __real_engine_run(engine, ops, n, deadline);

	for (size_t i = 0; i < n; i++)
		if (ops[i].kind == OP_OPEN && ops[i].res == -EBUSY)
			ending_claim = fd_close(ending_claim);
	return r;
}

static const char *host_dir(void)
{
	return getenv("GUESTLOCK_HOST_DIR");
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
	return 0;
}

static unsigned files_in(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static ino_t inode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

static const struct glk_lease_info *only_lease(struct glk_guest *of)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(of, &info), 0);
	assert_int_equal(info->n_leases, 1);
	return &info->leases[0];
}

static const struct glk_conflict *only_conflict(void)
{
	const struct glk_conflict *c = NULL;

	assert_int_equal(glk_context_conflicts(context, &c), 1);
	return c;
}

static void a_device_is_locked_by_its_node_and_its_file(void **state)
{
	const struct glk_lease_info *lease;
	const struct glk_disk_reach *reach;
	struct stat st;

	(void)state;
	assert_int_equal(guest_attach(guest, disk, 0), 0);
	assert_held(disk);
	assert_held(loop_lock_file(disk));
	lease = only_lease(guest);
	assert_int_equal(stat(disk, &st), 0);
	assert_int_equal(lease->type, GLK_LEASE_BLOCK);
	assert_int_equal(lease->scope, GLK_SCOPE_HOST);
	assert_true(lease->held && lease->same_file);
	assert_true(lease->dev == st.st_rdev);
	assert_true(lease->ino == loop_diskseq(loop));
	assert_string_equal(lease->path, disk);
	assert_int_equal(glk_disk_reach(context, disk, &reach), 0);
	assert_int_equal(reach->type, lease->type);
	assert_true(reach->dev == lease->dev && reach->ino == lease->ino);
	assert_int_equal(stat(host_dir(), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
}

static bool is_marked(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & S_ISVTX;
}

/* With the file would go what is known of the host's leases. */
static void a_device_that_is_released_leaves_its_file(void **state)
{
	ino_t before, after;

	(void)state;
	assert_int_equal(guest_attach(guest, disk, 0), 0);
	before = inode_of(loop_lock_file(disk));
	assert_int_equal(guest_detach(guest, disk), 0);
	assert_free(disk);
	assert_free(loop_lock_file(disk));
	assert_int_equal(guest_attach(guest, disk, 0), 0);
	assert_held(loop_lock_file(disk));
	after = inode_of(loop_lock_file(disk));
	assert_true(before == after);
	assert_int_equal(files_in(host_dir()), 1);
}

/* One that was refused has searched nothing, so the next one must. */
static void what_is_rolled_back_leaves_no_lock(void **state)
{
	struct glk_disk disks[] = { { disk, 0 }, { NULL, 0 } };
	struct glk_guest *other = kit_self(context);
	const char *image = kit_file("held", 0);
	struct kit_stranger virtlockd = { .path = disk,
					  .type = F_WRLCK,
					  .command = F_SETLK };

	(void)state;
	assert_int_equal(guest_attach(other, image, 0), 0);
	disks[1].path = image;
	assert_int_equal(glk_guest_attach(guest, disks, 2), -EBUSY);
	assert_free(disk);
	assert_free(loop_lock_file(disk));
	glk_guest_free(other);
	assert_int_equal(unlink(loop_lock_file(disk)), 0);
	kit_stranger(&virtlockd);
	assert_int_equal(guest_attach(guest, disk, 0), -EBUSY);
	assert_false(is_marked(loop_lock_file(disk)));
	kit_stranger_end(&virtlockd);
}

static void another_node_is_the_same_device(void **state)
{
	const char *alias = loop_alias(disk, "alias");
	const char *link = test_file("by-id", -1);
	struct glk_disk disks[] = { { disk, 0 }, { alias, 0 }, { link, 0 } };

	(void)state;
	unlink(link);
	assert_int_equal(symlink(disk, link), 0);
	assert_int_equal(glk_guest_attach(guest, disks, 3), 0);
	only_lease(guest);
	assert_int_equal(guest_attach(guest, alias, 0), 0);
	only_lease(guest);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(kit_try(context, disks[i].path, 0), -EBUSY);
		assert_int_equal(only_conflict()->pid, getpid());
		assert_string_equal(only_conflict()->path, disks[i].path);
		assert_int_equal(kit_try(context, disks[i].path,
					 GLK_DISK_SHARED),
				 -EBUSY);
	}
	assert_int_equal(guest_detach(guest, alias), 0);
	assert_int_equal(kit_try(context, disk, 0), 0);
}

static void a_device_that_is_shared_is_shared_by_all_its_nodes(void **state)
{
	const char *alias = loop_alias(disk, "alias");
	struct glk_guest *other = kit_self(context);

	(void)state;
	assert_int_equal(guest_attach(guest, disk, GLK_DISK_SHARED), 0);
	assert_int_equal(guest_attach(other, alias, GLK_DISK_SHARED), 0);
	assert_int_equal(kit_try(context, disk, 0), -EBUSY);
	assert_int_equal(kit_try(context, alias, 0), -EBUSY);
	assert_int_equal(guest_attach(guest, alias, 0), -EEXIST);
	assert_says(context, "in another mode");
	glk_guest_free(other);
}

/* virtlockd knows the node alone, and asks for it with a POSIX lock. */
static void a_lock_on_the_node_refuses_us(void **state)
{
	struct kit_stranger virtlockd = { .path = disk,
					  .type = F_WRLCK,
					  .command = F_SETLK };

	(void)state;
	kit_stranger(&virtlockd);
	assert_int_equal(guest_attach(guest, disk, 0), -EBUSY);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_PROCESS);
	assert_int_equal(only_conflict()->pid, virtlockd.pid);
	kit_stranger_end(&virtlockd);
	assert_int_equal(guest_attach(guest, disk, 0), 0);
}

static void a_lock_on_the_file_refuses_us(void **state)
{
	struct kit_stranger other = { .type = F_WRLCK, .command = F_OFD_SETLK };

	(void)state;
	assert_int_equal(kit_try(context, disk, 0), 0);
	other.path = loop_lock_file(disk);
	assert_int_equal(close(open(other.path, O_CREAT | O_RDWR, 0600)), 0);
	kit_stranger(&other);
	assert_int_equal(guest_attach(guest, disk, 0), -EBUSY);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_PROCESS);
	assert_int_equal(only_conflict()->pid, other.pid);
	/* The node was locked first, and is not any more. */
	assert_free(disk);
	kit_stranger_end(&other);
	assert_int_equal(guest_attach(guest, disk, 0), 0);
}

static void holders_are_found_by_any_node_and_named_once(void **state)
{
	const char *alias = loop_alias(disk, "alias");
	struct kit_guest run = kit_run(context, 1, disk, 0);
	const char *paths[] = { disk, alias };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		const struct glk_conflict *c = NULL;
		size_t n = 0;

		assert_int_equal(glk_disk_holders(context, paths[i], &c, &n),
				 0);
		assert_int_equal(n, 1);
		assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
		assert_int_equal(c->pid, run.pid);
		assert_string_equal(c->path, paths[i]);
		assert_string_equal(c->uuid, guest_uuid(1));
	}
	kit_end(&run);
}

/* In a sysfs in which this is one and the same logical volume. */
static void make_volume(const char *root, const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char line[256];
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	snprintf(line, sizeof(line), "l dev/block/%u:%u ../../devices/%s",
		 major(st.st_rdev), minor(st.st_rdev), name);
	tree_add(root, line);
	snprintf(line, sizeof(line), "f devices/%s/diskseq %" PRIu64, name,
		 loop_diskseq(fd));
	tree_add(root, line);
	snprintf(line, sizeof(line), "f devices/%s/dm/uuid LVM-%064d", name, 0);
	tree_add(root, line);
}

static void a_lock_file_of_two_disks_refuses_with_a_reason(void **state)
{
	const char *locks = kit_file("of-volumes", -1);
	const char *root = kit_file("sys", -1);
	const struct glk_policy policy = { .lvm_lock_dir = locks };
	char second[LOOP_PATH_MAX], how[128];
	int fd = loop_attach("image-b", SIZE, second);
	const char *both[] = { disk, second };

	(void)state;
	mkdir(locks, 0700);
	mkdir(root, 0700);
	make_volume(root, disk);
	make_volume(root, second);
	context->sysfs = root;
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	assert_int_equal(kit_attach(guest, both, 2), -EBUSY);
	assert_string_equal(only_conflict()->how,
			    "holds another disk of this call, which has the "
			    "same lock file");
	assert_int_equal(guest_attach(guest, disk, 0), 0);
	assert_int_equal(kit_try(context, second, 0), -EBUSY);
	snprintf(how, sizeof(how), "holds %s, which has the same lock file",
		 disk);
	assert_string_equal(only_conflict()->how, how);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_GUEST);
	assert_int_equal(kit_try(context, disk, 0), -EBUSY);
	assert_string_equal(only_conflict()->how, "");
	close(fd);
}

/* LOOP_CHANGE_FD puts another image behind a device that is in use: for all
   that is known, it is another disk. */
static void a_device_that_was_changed_under_the_lease_is_told(void **state)
{
	char before[512];
	int fd, image;

	(void)state;
	/* It can only be done with a device that cannot be written to. */
	close(loop);
	loop = loop_attach_readonly("image", disk);
	assert_int_equal(guest_attach(guest, disk, GLK_DISK_SHARED), 0);
	assert_true(only_lease(guest)->same_file);
	strcpy(before, loop_lock_file(disk));
	image = open(kit_file("image-2", SIZE), O_RDONLY | O_CLOEXEC);
	assert_int_equal(ioctl(loop, LOOP_CHANGE_FD, image), 0);
	close(image);
	assert_string_not_equal(before, loop_lock_file(disk));
	assert_false(only_lease(guest)->same_file);
	/* It is the same device for all that, and in the way of others. */
	assert_int_equal(kit_try(context, loop_alias(disk, "alias"), 0),
			 -EBUSY);
	assert_int_equal(only_conflict()->pid, getpid());
	assert_int_equal(kit_try(context, loop_alias(disk, "alias"),
				 GLK_DISK_SHARED),
			 0);
	fd = open(before, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
}

static void a_lock_file_is_its_device_owners(void **state)
{
	const char *node = loop_alias(disk, "group-node");
	struct stat st;

	(void)state;
	assert_int_equal(chown(node, 0, 6), 0);
	assert_int_equal(chmod(node, 0664), 0);
	assert_int_equal(guest_attach(guest, node, 0), 0);
	assert_int_equal(stat(loop_lock_file(disk), &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_gid, 6);
	assert_int_equal(st.st_mode & 0777, 0660);
	/* And whose the node is later. */
	assert_int_equal(guest_detach(guest, node), 0);
	assert_int_equal(chown(node, 1, 2), 0);
	assert_int_equal(chmod(node, 0640), 0);
	assert_int_equal(guest_attach(guest, node, 0), 0);
	assert_int_equal(stat(loop_lock_file(disk), &st), 0);
	assert_int_equal(st.st_uid, 1);
	assert_int_equal(st.st_gid, 2);
	assert_int_equal(st.st_mode & 07777, 0640 | S_ISVTX);
}

static void no_umask_keeps_the_file_from_its_owners(void **state)
{
	const char *node = loop_alias(disk, "masked-node");
	struct stat st;
	mode_t old;

	(void)state;
	assert_int_equal(chown(node, 0, 6), 0);
	assert_int_equal(chmod(node, 0660), 0);
	assert_int_equal(mkdir(host_dir(), 0755), 0);
	old = umask(0777);
	assert_int_equal(guest_attach(guest, node, 0), 0);
	umask(old);
	assert_int_equal(stat(loop_lock_file(disk), &st), 0);
	assert_int_equal(st.st_gid, 6);
	assert_int_equal(st.st_mode & 0777, 0660);
}

static int attach_as_nobody(void *arg)
{
	struct glk_context *own = guest_context();
	struct glk_guest *mine = kit_self(own);
	int r = guest_attach(mine, arg, 0);

	MUST_EQUAL(r, -EACCES);
	MUST(strstr(glk_context_message(own), "lock file "));
	MUST(strstr(glk_context_message(own), "may not make or open it"));
	return 0;
}

static void who_cannot_make_the_file_is_told_so(void **state)
{
	const char *node = loop_alias(disk, "open-node");

	(void)state;
	assert_int_equal(chmod(test_dir(), 0755), 0);
	assert_int_equal(chmod(node, 0666), 0);
	assert_int_equal(mkdir(host_dir(), 0755), 0);
	assert_int_equal(kit_as_nobody(attach_as_nobody, (void *)node), 0);
	assert_free(node);
}

static void a_directory_that_cannot_be_made_is_named(void **state)
{
	(void)state;
	glk_guest_free(guest);
	glk_context_free(context);
	setenv("GUESTLOCK_HOST_DIR", "/nowhere/locks", 1);
	context = guest_context();
	guest = kit_self(context);
	assert_int_equal(guest_attach(guest, disk, 0), -ENOENT);
	assert_says(context, "there is no lock directory /nowhere/locks");
	assert_free(disk);
}

static void only_a_device_can_be_claimed(void **state)
{
	(void)state;
	assert_int_equal(guest_attach(guest, kit_file("plain", 0),
				      GLK_DISK_CLAIM),
			 -EINVAL);
	assert_says(context, "only a block device can be claimed");
	assert_free(kit_file("plain", -1));
}

static void a_claim_is_the_kernels_too(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(guest_attach(guest, disk, GLK_DISK_CLAIM), 0);
	fd = open(disk, O_RDWR | O_EXCL | O_CLOEXEC);
	assert_int_equal(fd, -1);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(kit_try(context, disk, GLK_DISK_CLAIM), -EBUSY);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_GUEST);
	assert_int_equal(only_conflict()->pid, getpid());
	assert_int_equal(guest_detach(guest, disk), 0);
	fd = open(disk, O_RDWR | O_EXCL | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
}

static void a_claim_of_somebody_unknown_refuses_ours(void **state)
{
	int fd = open(disk, O_RDWR | O_EXCL | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(guest_attach(guest, disk, GLK_DISK_CLAIM), -EBUSY);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_UNKNOWN);
	assert_string_equal(only_conflict()->how, "has claimed it");
	assert_free(disk);
	/* Who does not claim it is not refused. */
	assert_int_equal(guest_attach(guest, disk, 0), 0);
	close(fd);
}

/* As that of a process that is just ending: nobody is found who has it, and
   then it is gone. */
static void a_claim_that_ends_within_the_grace_is_waited_for(void **state)
{
	struct glk_disk disks[] = { { kit_file("first", 0), 0 },
				    { disk, GLK_DISK_CLAIM } };

	(void)state;
	ending_claim = open(disk, O_RDWR | O_EXCL | O_CLOEXEC);
	assert_true(ending_claim >= 0);
	assert_int_equal(glk_guest_attach(guest, disks, 2), 0);
	assert_int_equal(ending_claim, -1);
	assert_held(loop_lock_file(disk));
}

/* The kernel keeps one claim for a disk and its partitions. */
static void a_guest_that_claims_a_relative_is_named(void **state)
{
	struct glk_guest *other = kit_self(context);
	char part[LOOP_PATH_MAX];

	(void)state;
	loop_add_partition(loop, disk, 1, part);
	assert_int_equal(guest_attach(other, part, GLK_DISK_CLAIM), 0);
	assert_int_equal(guest_attach(guest, disk, GLK_DISK_CLAIM), -EBUSY);
	assert_int_equal(only_conflict()->kind, GLK_CONFLICT_GUEST);
	assert_non_null(strstr(only_conflict()->how, "holds its partition "));
	glk_guest_free(other);
}

struct relation {
	unsigned first, second;
	int r;
};

static void a_disk_and_its_partition_exclude_each_other(void **state)
{
	static const struct relation relations[] = {
		{ 0, 0, -EBUSY },
		{ 0, GLK_DISK_SHARED, -EBUSY },
		{ GLK_DISK_SHARED, 0, -EBUSY },
		{ GLK_DISK_SHARED, GLK_DISK_SHARED, 0 },
	};
	char parts[2][LOOP_PATH_MAX], how[128];
	const char *name = strrchr(disk, '/') + 1;

	(void)state;
	loop_add_partition(loop, disk, 1, parts[0]);
	loop_add_partition(loop, disk, 2, parts[1]);
	for (size_t i = 0; i < ARRAY_SIZE(relations); i++) {
		const struct relation *rel = &relations[i];

		assert_int_equal(guest_attach(guest, parts[0], rel->first), 0);
		assert_int_equal(kit_try(context, disk, rel->second), rel->r);
		if (rel->r) {
			snprintf(how, sizeof(how), "holds its partition %sp1",
				 name);
			assert_string_equal(only_conflict()->how, how);
			assert_int_equal(only_conflict()->kind,
					 GLK_CONFLICT_GUEST);
			assert_free(disk);
		}
		/* Another part of it is nobody's concern. */
		assert_int_equal(kit_try(context, parts[1], 0), 0);
		assert_int_equal(guest_detach(guest, parts[0]), 0);

		assert_int_equal(guest_attach(guest, disk, rel->first), 0);
		assert_int_equal(kit_try(context, parts[0], rel->second),
				 rel->r);
		if (rel->r) {
			snprintf(how, sizeof(how),
				 "holds %s, of which it is a part", name);
			assert_string_equal(only_conflict()->how, how);
			assert_free(parts[0]);
		}
		assert_int_equal(guest_detach(guest, disk), 0);
	}
}

static void one_guest_may_have_a_disk_and_its_partition(void **state)
{
	char part[LOOP_PATH_MAX];
	struct glk_disk both[2] = { { disk, 0 } };

	(void)state;
	loop_add_partition(loop, disk, 1, part);
	both[1].path = part;
	assert_int_equal(guest_attach(guest, part, 0), 0);
	assert_int_equal(guest_attach(guest, disk, 0), 0);
	assert_int_equal(guest_detach(guest, disk), 0);
	assert_int_equal(guest_detach(guest, part), 0);
	assert_int_equal(glk_guest_attach(guest, both, 2), 0);
	assert_int_equal(kit_try(context, disk, 0), -EBUSY);
	assert_int_equal(kit_try(context, part, 0), -EBUSY);
}

/* A part of a disk that is refused for another reason must not stay locked. */
static void a_relative_is_seen_with_all_its_holders(void **state)
{
	char parts[2][LOOP_PATH_MAX];
	struct glk_guest *other = kit_self(context);
	struct glk_disk two[2];
	const struct glk_conflict *c = NULL;

	(void)state;
	for (int i = 0; i < 2; i++) {
		loop_add_partition(loop, disk, i + 1, parts[i]);
		two[i] = (struct glk_disk){ parts[i], 0 };
	}
	assert_int_equal(guest_attach(other, disk, 0), 0);
	assert_int_equal(glk_guest_attach(guest, two, 2), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), 2);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(c[i].path, parts[i]);
		assert_int_equal(c[i].kind, GLK_CONFLICT_GUEST);
		assert_free(parts[i]);
	}
	glk_guest_free(other);
	assert_int_equal(glk_guest_attach(guest, two, 2), 0);
}

/* A mount table that calls the test's own file system a server's. */
static void pretend_server(void)
{
	const char *table = kit_file("mountinfo", 0);
	FILE *f = fopen(table, "w");
	struct stat st;

	assert_int_equal(stat(test_dir(), &st), 0);
	fprintf(f, "1 1 %u:%u / %s rw - nfs4 server:/ rw\n", major(st.st_dev),
		minor(st.st_dev), test_dir());
	fclose(f);
	mounts_free(context->mounts);
	assert_int_equal(mounts_new(table, &context->mounts), 0);
}

/* The only lock file in a directory. */
static const char *file_of(const char *dir)
{
	static char path[1024];
	const struct dirent *entry;
	DIR *list = opendir(dir);

	while ((entry = readdir(list)))
		if (entry->d_name[0] != '.')
			snprintf(path, sizeof(path), "%s/%s", dir,
				 entry->d_name);
	closedir(list);
	return path;
}

/* There, the device has another node and another host's lock file: the hosts
   have nothing in common but the file in the lock directory. */
static void a_device_goes_to_another_host_by_its_lock_directory(void **state)
{
	char host[64];
	struct glk_policy policy = { .lock_dir = test_file("shared", -1) };
	int claim;

	(void)state;
	glk_guest_free(guest);
	glk_context_free(context);
	mkdir(policy.lock_dir, 0755);
	snprintf(host, sizeof(host), "/dev/shm/guestlock-test-%d",
		 (int)getpid());
	setenv("GUESTLOCK_HOST_DIR", host, 1);
	context = guest_context();
	pretend_server();
	guest = kit_self(context);
	assert_int_equal(guest_attach(guest, disk, 0), 0);
	assert_int_equal(only_lease(guest)->scope, GLK_SCOPE_HOST);
	assert_int_equal(glk_guest_prepare(guest, "elsewhere"), -EXDEV);
	assert_int_equal(guest_detach(guest, disk), 0);

	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	assert_int_equal(guest_attach(guest, disk, 0), 0);
	assert_int_equal(only_lease(guest)->scope, GLK_SCOPE_SERVER);
	assert_int_equal(glk_guest_prepare(guest, "elsewhere"), 0);
	assert_int_equal(glk_guest_out(guest), -ENOTCONN);
	/* On this host, what claims the node alone is no destination. */
	claim = kit_lock(disk, LOCK_BYTE_SUCCESSOR, F_WRLCK);
	assert_int_equal(glk_guest_out(guest), -ENOTCONN);
	close(claim);
	claim = kit_lock(file_of(policy.lock_dir), LOCK_BYTE_SUCCESSOR,
			 F_WRLCK);
	assert_int_equal(glk_guest_out(guest), 0);
	assert_int_equal(only_lease(guest)->role, GLK_ROLE_LEFT);
	close(claim);
	assert_int_equal(glk_guest_cancel(guest), 0);
	assert_true(only_lease(guest)->held);
	assert_int_equal(guest_detach(guest, disk), 0);
	assert_int_equal(unlink(file_of(host)), 0);
	assert_int_equal(rmdir(host), 0);
}

static void a_device_is_found_where_sysfs_is_not(void **state)
{
	const char *alias = loop_alias(disk, "alias");

	(void)state;
	context->sysfs = "/nowhere";
	assert_int_equal(guest_attach(guest, disk, 0), 0);
	assert_int_equal(kit_try(context, alias, 0), -EBUSY);
	assert_true(only_lease(guest)->same_file);
	assert_int_equal(guest_detach(guest, alias), 0);
	assert_free(alias);
}

#define TEST(_fn) cmocka_unit_test_setup_teardown(_fn, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_device_is_locked_by_its_node_and_its_file),
	TEST(a_device_that_is_released_leaves_its_file),
	TEST(what_is_rolled_back_leaves_no_lock),
	TEST(another_node_is_the_same_device),
	TEST(a_device_that_is_shared_is_shared_by_all_its_nodes),
	TEST(a_lock_on_the_node_refuses_us),
	TEST(a_lock_on_the_file_refuses_us),
	TEST(holders_are_found_by_any_node_and_named_once),
	TEST(a_lock_file_of_two_disks_refuses_with_a_reason),
	TEST(a_device_that_was_changed_under_the_lease_is_told),
	TEST(a_lock_file_is_its_device_owners),
	TEST(no_umask_keeps_the_file_from_its_owners),
	TEST(who_cannot_make_the_file_is_told_so),
	TEST(a_directory_that_cannot_be_made_is_named),
	TEST(only_a_device_can_be_claimed),
	TEST(a_claim_is_the_kernels_too),
	TEST(a_claim_of_somebody_unknown_refuses_ours),
	TEST(a_claim_that_ends_within_the_grace_is_waited_for),
	TEST(a_guest_that_claims_a_relative_is_named),
	TEST(a_disk_and_its_partition_exclude_each_other),
	TEST(one_guest_may_have_a_disk_and_its_partition),
	TEST(a_relative_is_seen_with_all_its_holders),
	TEST(a_device_goes_to_another_host_by_its_lock_directory),
	TEST(a_device_is_found_where_sysfs_is_not),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT | TEST_NEEDS_LOOP)
