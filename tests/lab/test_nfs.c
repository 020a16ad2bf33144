/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/*
 * Leases on NFS, where nfs.c has mounted it: one directory of a server, seen
 * there and by two clients. What the other client and the server itself say of
 * a lock is the test's independent look.
 */

#define TWIN "/mnt/twin"

static const char *other, *server, *nolock;
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

/* The same file, seen from @where. Static, a ring of 4. */
static const char *seen_from(const char *where, const char *path)
{
	static char ring[4][400];
	static unsigned next;
	char *buf = ring[next++ % ARRAY_SIZE(ring)];

	snprintf(buf, sizeof(ring[0]), "%s%s", where,
		 path + strlen(getenv("GUESTLOCK_TEST_DIR")));
	return buf;
}

static bool is_free(const char *path)
{
	return test_lockable(path, F_WRLCK) &&
	       test_lockable(seen_from(other, path), F_WRLCK) &&
	       test_lockable(seen_from(server, path), F_WRLCK);
}

static bool is_held(const char *path)
{
	return !test_lockable(path, F_RDLCK) &&
	       !test_lockable(seen_from(other, path), F_RDLCK) &&
	       !test_lockable(seen_from(server, path), F_RDLCK);
}

static bool becomes_free(const char *path)
{
	uint64_t deadline = deadline_in_ms(20000);

	while (!is_free(path)) {
		if (clock_now() > deadline)
			return false;
		usleep(10000);
	}
	return true;
}

static int try_disk(const char *path, unsigned flags)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	int r;

	MUST_EQUAL(guest_add(guest, path, flags), 0);
	r = glk_guest_acquire(guest);
	glk_guest_free(guest);
	return r;
}

static void a_lease_holds_for_the_server_and_its_clients(void **state)
{
	const char *path = test_file("exclusive", 4096);
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, guest_uuid(1), "one");
	const struct glk_guest_info *info;

	(void)state;
	assert_int_equal(guest_add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->leases[0].scope, GLK_SCOPE_SERVER);
	assert_int_equal(info->leases[0].held, 1);
	assert_int_equal(info->leases[0].same_file, 1);
	assert_true(is_held(path));
	assert_int_equal(try_disk(path, 0), -EBUSY);
	assert_int_equal(try_disk(seen_from(other, path), 0), -EBUSY);
	assert_int_equal(try_disk(seen_from(server, path), GLK_DISK_SHARED),
			 -EBUSY);
	glk_guest_free(guest);
	assert_true(becomes_free(path));
	assert_int_equal(try_disk(seen_from(other, path), 0), 0);
}

static void a_lock_of_another_client_refuses_a_lease(void **state)
{
	const char *path = test_file("foreign", 4096);
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	const struct glk_conflict *c = NULL;
	int fd = open(seen_from(other, path), O_RDWR | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(try_disk(path, 0), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), 1);
	assert_string_equal(c->path, path);
	close(fd);
	assert_true(becomes_free(path));
	assert_int_equal(try_disk(path, 0), 0);
}

static void shared_leases_of_two_clients_exclude_an_exclusive_one(void **state)
{
	const char *path = test_file("shared", 4096);
	struct glk_guest *a =
		guest_describe(context, GLK_HOLDER_SELF, guest_uuid(2), "a");
	struct glk_guest *b =
		guest_describe(context, GLK_HOLDER_SELF, guest_uuid(3), "b");

	(void)state;
	assert_int_equal(guest_add(a, path, GLK_DISK_SHARED), 0);
	assert_int_equal(guest_add(b, seen_from(other, path), GLK_DISK_SHARED),
			 0);
	assert_int_equal(glk_guest_acquire(a), 0);
	assert_int_equal(glk_guest_acquire(b), 0);
	assert_int_equal(try_disk(path, 0), -EBUSY);
	glk_guest_free(a);
	assert_int_equal(try_disk(path, 0), -EBUSY);
	glk_guest_free(b);
	assert_true(becomes_free(path));
}

static void a_guest_that_runs_is_extended_reduced_and_killed(void **state)
{
	struct disks disks = disks_new("life", 20);
	struct guest_plan plan = { guest_uuid(4), "life", disks };
	const char *extra = test_file("extra", 4096);
	pid_t pid = guest_run(context, &plan);
	const struct glk_guest_info *info;
	struct glk_guest *guest;

	(void)state;
	for (size_t i = 0; i < disks.n; i++)
		assert_true(is_held(disks.items[i].path));
	assert_int_equal(glk_guest_adopt(context, plan.uuid, &guest), 0);
	assert_int_equal(guest_attach(guest, extra, 0), 0);
	assert_true(is_held(extra));
	assert_int_equal(guest_attach(guest, extra, 0), 0);
	assert_int_equal(guest_detach(guest, disks.items[7].path), 0);
	assert_true(becomes_free(disks.items[7].path));
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, disks.n);
	for (size_t i = 0; i < info->n_leases; i++) {
		assert_int_equal(info->leases[i].held, 1);
		assert_int_equal(info->leases[i].scope, GLK_SCOPE_SERVER);
	}
	process_end(pid);
	for (size_t i = 0; i < disks.n; i++)
		assert_true(becomes_free(disks.items[i].path));
	assert_true(becomes_free(extra));
	glk_guest_free(guest);
	disks_free(&disks);
}

static void a_batch_is_rolled_back_on_every_client(void **state)
{
	struct disks disks = disks_new("rollback", 100);
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, guest_uuid(5), "many");
	int fd = open(seen_from(server, disks.items[61].path),
		      O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(fcntl(fd, F_OFD_SETLK,
			       &(struct flock){ .l_type = F_RDLCK,
						.l_len = 1 }),
			 0);
	assert_int_equal(glk_guest_add(guest, disks.items, disks.n), 0);
	assert_int_equal(glk_guest_acquire(guest), -EBUSY);
	close(fd);
	for (size_t i = 0; i < disks.n; i++)
		assert_true(becomes_free(disks.items[i].path));
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_true(is_held(disks.items[61].path));
	glk_guest_free(guest);
	disks_free(&disks);
}

static void a_policy_knows_the_server_from_this_host(void **state)
{
	const char *path = test_file("policy", 4096);
	struct glk_policy policy = { .require_scope = GLK_SCOPE_SERVER };
	const char *lonely = seen_from(nolock, path);
	const struct glk_disk_reach *reach;

	(void)state;
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	assert_int_equal(try_disk(path, 0), 0);
	assert_int_equal(try_disk(lonely, 0), -EXDEV);
	assert_non_null(strstr(glk_context_message(context),
			       "scope 'host' (nfs, mounted with "));
	policy.require_scope = GLK_SCOPE_CLUSTER;
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	assert_int_equal(try_disk(path, 0), -EXDEV);
	assert_non_null(strstr(glk_context_message(context),
			       "scope 'server' (nfs4), and 'cluster'"));
	assert_int_equal(glk_disk_reach(context, path, &reach), 0);
	assert_int_equal(reach->scope, GLK_SCOPE_SERVER);
	assert_null(reach->option);
	assert_int_equal(glk_disk_reach(context, lonely, &reach), 0);
	assert_int_equal(reach->scope, GLK_SCOPE_HOST);
	assert_string_equal(reach->mount, nolock);
	assert_non_null(strstr("nolock local_lock=all", reach->option));
}

/* This is why its scope is said to be the host. */
static void without_lockd_nobody_else_learns_of_a_lock(void **state)
{
	const char *path = test_file("lonely", 4096);
	const char *lonely = seen_from(nolock, path);
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, guest_uuid(6), "host");

	(void)state;
	assert_int_equal(guest_add(guest, lonely, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_false(test_lockable(lonely, F_RDLCK));
	assert_true(is_free(path));
	glk_guest_free(guest);
}

/* What is known of the server, the network namespace of the mount knows. */
static void enter_first_network(void)
{
	int net = open("/proc/1/ns/net", O_RDONLY | O_CLOEXEC);

	MUST(net >= 0 && !setns(net, CLONE_NEWNET));
	close(net);
}

static int mount_twin(void *arg)
{
	enter_first_network();
	MUST(!mount(arg, TWIN, "nfs4", 0,
		    "addr=127.0.0.1,clientaddr=127.0.0.1,vers=4.2,"
		    "nosharecache"));
	return 0;
}

/* And this is why such a lock is said to hold for one mount only. */
static void a_second_mount_of_one_client_is_told(void **state)
{
	const char *path = test_file("twofold", 4096);
	const struct glk_disk_reach *reach;
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, guest_uuid(7), "twin");
	const char *again = seen_from(TWIN, path);
	char all[] = "lab:/";
	bool free_there;

	(void)state;
	mkdir(TWIN, 0755);
	assert_int_equal(process_wait(process_start(mount_twin, all)), 0);
	assert_int_equal(guest_add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	free_there = test_lockable(again, F_WRLCK);
	assert_int_equal(glk_disk_reach(context, again, &reach), 0);
	assert_int_equal(reach->scope, GLK_SCOPE_NODE);
	assert_string_equal(reach->twin, getenv("GUESTLOCK_TEST_DIR"));
	print_message("seen from another mount, the disk is %s\n",
		      free_there ? "free" : "held");
	glk_guest_free(guest);
	assert_int_equal(umount(TWIN), 0);
	assert_int_equal(glk_disk_reach(context, path, &reach), 0);
	assert_int_equal(reach->scope, GLK_SCOPE_SERVER);
}

static int reach_of_part(void *arg)
{
	const struct glk_disk_reach *reach;

	enter_first_network();
	glk_context_free(context);
	context = guest_context();
	MUST_EQUAL(glk_disk_reach(context, arg, &reach), 0);
	MUST_EQUAL(reach->scope, GLK_SCOPE_NODE);
	MUST(!strcmp(reach->twin, getenv("GUESTLOCK_TEST_DIR")));
	return 0;
}

/* Which its source's text does not tell. */
static void a_part_of_an_export_is_a_second_mount_too(void **state)
{
	const char *path = test_file("part", 4096);
	char source[400], disk[] = TWIN "/part";

	(void)state;
	snprintf(source, sizeof(source), "lab:%s", seen_from("", test_dir()));
	mkdir(TWIN, 0755);
	assert_int_equal(process_wait(process_start(mount_twin, source)), 0);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(process_wait(process_start(reach_of_part, disk)), 0);
	assert_int_equal(umount(TWIN), 0);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_lease_holds_for_the_server_and_its_clients),
	TEST(a_lock_of_another_client_refuses_a_lease),
	TEST(shared_leases_of_two_clients_exclude_an_exclusive_one),
	TEST(a_guest_that_runs_is_extended_reduced_and_killed),
	TEST(a_batch_is_rolled_back_on_every_client),
	TEST(a_policy_knows_the_server_from_this_host),
	TEST(a_second_mount_of_one_client_is_told),
	TEST(a_part_of_an_export_is_a_second_mount_too),
	TEST(without_lockd_nobody_else_learns_of_a_lock),
};

int main(void)
{
	other = getenv("LAB_NFS_OTHER");
	server = getenv("LAB_NFS_SERVER");
	nolock = getenv("LAB_NFS_NOLOCK");
	if (!other || !server || !nolock)
		test_skip("runs in the lab: see nfs.c");
	return test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_ROOT);
}
