/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/system/seed.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

/*
 * The text's notes: what a lock manager may leave out. And what it does not
 * say: that a result which the text ignores must not cost a disk.
 */
#define N_DISKS 2

static const char *lockspace_new(const char *name)
{
	const char *path = test_file(name, -1);

	MUST(!mkdir(path, 0700));
	return path;
}

static virLockManagerPtr vm_manager(virLockManagerPluginPtr plugin,
				    const struct seed_guest *guest,
				    const char *lockspace)
{
	virLockManagerPtr manager = seed_manager(plugin, guest, 0);

	assert_true(
		virLockManagerSetParameter(manager, "lockspace", lockspace));
	seed_register(manager, &guest->disks);
	assert_true(virLockManagerRegisterResource(
		manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK, "/nowhere/disk",
		0));
	return manager;
}

static void test_vm_level_leases_ignore_all_the_resource_paths(void **state)
{
	struct seed_guest guest = seed_guest_new(1, "vm", N_DISKS);
	virLockManagerPluginPtr plugin = seed_plugin("vm");
	const char *lockspace = lockspace_new("vm-leases");
	virLockManagerPtr manager = vm_manager(plugin, &guest, lockspace);
	virLockManagerPtr twin = vm_manager(plugin, &guest, lockspace);
	char lease[256];
	pid_t pid;

	(void)state;
	snprintf(lease, sizeof(lease), "%s/%s", lockspace, guest.uuid);
	assert_true(virLockManagerAcquireObject(manager));
	pid = seed_run(manager);
	assert_int_equal(disks_locked(&guest.disks), 0);
	assert_false(test_lockable(lease, F_RDLCK));

	assert_false(virLockManagerAcquireObject(twin));
	assert_int_equal(twin->error, -EBUSY);
	assert_true(seed_plug(manager, guest.disks.items[0].path));
	assert_int_equal(disks_locked(&guest.disks), 0);

	process_kill(pid);
	assert_true(virLockManagerShutdown(manager));
	assert_int_equal(process_wait(pid), 128 + SIGKILL);
	assert_true(virLockManagerAcquireObject(twin));
	assert_false(test_lockable(lease, F_RDLCK));
	assert_true(virLockManagerShutdown(twin));
	virLockManagerFree(twin);
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

/* With a driver that has no migration: an error from all of its calls. */
static void assert_no_migration(virLockManagerPtr manager)
{
	const unsigned cancel = VIR_LOCK_MANAGER_MIGRATE_CANCEL;

	assert_false(virLockManagerPrepareMigrate(manager, "localhost"));
	assert_int_equal(manager->error, -EOPNOTSUPP);
	manager->error = 0;
	assert_false(virLockManagerCompleteMigrateOut(manager, 0));
	assert_int_equal(manager->error, -EOPNOTSUPP);
	manager->error = 0;
	assert_false(virLockManagerCompleteMigrateOut(manager, cancel));
	assert_int_equal(manager->error, -EOPNOTSUPP);
	manager->error = 0;
	assert_false(virLockManagerCompleteMigrateIn(manager, 0));
	assert_int_equal(manager->error, -EOPNOTSUPP);
	manager->error = 0;
	assert_false(virLockManagerCompleteMigrateIn(manager, cancel));
	assert_int_equal(manager->error, -EOPNOTSUPP);
}

static void test_a_manager_without_migration_says_so_in_each_call(void **state)
{
	struct seed_guest guest = seed_guest_new(1, "nop", N_DISKS);
	virLockManagerPluginPtr plugin = seed_plugin("nop");
	struct glk_manager *target = NULL;
	virLockManagerPtr manager;
	pid_t pid = seed_start(plugin, &guest, &manager), child = -1;

	(void)state;
	assert_int_equal(disks_locked(&guest.disks), 0);
	assert_no_migration(manager);
	assert_null(virLockManagerNew(plugin, VIR_LOCK_MANAGER_START_DOMAIN,
				      VIR_LOCK_MANAGER_NEW_MIGRATE));
	assert_int_equal(glk_manager_new(plugin, GLK_OBJECT_DOMAIN,
					 GLK_MANAGER_MIGRATE, &target),
			 -EOPNOTSUPP);
	assert_null(target);
	assert_true(virLockManagerGetChild(manager, &child));
	assert_int_equal(child, pid);
	process_end(pid);
	assert_true(virLockManagerShutdown(manager));
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

static void test_a_manager_without_hotplug_says_so_in_each_call(void **state)
{
	struct seed_guest guest = seed_guest_new(1, "sample", N_DISKS);
	virLockManagerPluginPtr plugin = seed_plugin("sample_driver");
	const char *disk = test_file("not-plugged", 0);
	virLockManagerPtr manager;
	pid_t pid = seed_start(plugin, &guest, &manager);

	(void)state;
	assert_false(seed_plug(manager, disk));
	assert_int_equal(manager->error, -EOPNOTSUPP);
	manager->error = 0;
	assert_false(seed_unplug(manager, guest.disks.items[0].path));
	assert_int_equal(manager->error, -EOPNOTSUPP);
	assert_true(test_lockable(disk, F_WRLCK));
	process_end(pid);
	assert_true(virLockManagerShutdown(manager));
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

static void test_a_guest_does_not_start_without_a_refused_disk(void **state)
{
	struct seed_guest guest = seed_guest_new(1, "refused", N_DISKS);
	virLockManagerPluginPtr plugin = seed_plugin("ofd");
	virLockManagerPtr manager = seed_manager(plugin, &guest, 0);
	char **argv = NULL;
	pid_t child = -1;
	int argc = -1;

	(void)state;
	seed_register(manager, &guest.disks);
	assert_false(virLockManagerRegisterResource(
		manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK, "", 0));
	assert_true(virLockManagerRegisterResource(
		manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK,
		guest.disks.items[0].path, 0));
	assert_false(virLockManagerAcquireObject(manager));
	assert_int_equal(manager->error, -EINVAL);
	assert_false(virLockManagerInherit(manager));
	assert_null(virLockManagerGetSupervisorPath(manager));
	assert_false(virLockManagerGetSupervisorArgs(manager, &argv, &argc));
	assert_false(virLockManagerGetChild(manager, &child));
	assert_null(argv);
	assert_int_equal(argc, -1);
	assert_int_equal(disks_locked(&guest.disks), 0);
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

static void test_a_guest_does_not_start_under_a_refused_uuid(void **state)
{
	struct seed_guest guest = seed_guest_new(1, "no-uuid", N_DISKS);
	virLockManagerPluginPtr plugin = seed_plugin("ofd");
	virLockManagerPtr manager = seed_manager(plugin, &guest, 0);

	(void)state;
	seed_register(manager, &guest.disks);
	assert_false(virLockManagerSetParameter(manager, "uuid", "none"));
	assert_false(virLockManagerAcquireObject(manager));
	assert_int_equal(manager->error, -EINVAL);
	assert_int_equal(disks_locked(&guest.disks), 0);
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

static void test_a_late_parameter_does_no_harm(void **state)
{
	struct seed_guest guest = seed_guest_new(1, "late", N_DISKS);
	virLockManagerPluginPtr plugin = seed_plugin("ofd");
	virLockManagerPtr manager;
	pid_t pid = seed_start(plugin, &guest, &manager), child = -1;

	(void)state;
	assert_false(virLockManagerSetParameter(manager, "id", 8));
	assert_int_equal(manager->error, -EALREADY);
	assert_true(virLockManagerGetChild(manager, &child));
	assert_int_equal(child, pid);
	process_end(pid);
	assert_true(virLockManagerShutdown(manager));
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

static void test_a_uuid_may_be_bytes(void **state)
{
	unsigned char bytes[16] = { 0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad,
				    0x41, 0xd1, 0x80, 0xb4, 0x00, 0xc0,
				    0x4f, 0xd4, 0x30, 0xc8 };
	struct seed_guest guest = seed_guest_new(1, "bytes", N_DISKS);
	virLockManagerPluginPtr plugin = seed_plugin("ofd");
	virLockManagerPtr manager = seed_manager(plugin, &guest, 0);
	const struct glk_conflict *holders = NULL;
	struct glk_context *context = guest_context();
	size_t n = 0;

	(void)state;
	seed_register(manager, &guest.disks);
	assert_true(virLockManagerSetParameter(manager, "uuid", bytes));
	assert_true(virLockManagerAcquireObject(manager));
	assert_int_equal(glk_disk_holders(context, guest.disks.items[0].path,
					  &holders, &n),
			 0);
	assert_int_equal(n, 1);
	assert_string_equal(holders[0].uuid,
			    "6ba7b810-9dad-41d1-80b4-00c04fd430c8");
	assert_false(virLockManagerSetParameter(manager, "name", bytes));
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	glk_context_free(context);
	seed_guest_free(&guest);
}

static void test_all_calls_fail_on_nothing(void **state)
{
	char **argv = NULL;
	pid_t pid = -1;
	int argc = 0;

	(void)state;
	assert_null(virLockManagerPluginLoad(NULL));
	assert_null(virLockManagerNew(NULL, VIR_LOCK_MANAGER_OBJECT_DOMAIN, 0));
	assert_false(virLockManagerSetParameter(NULL, "id", 1));
	assert_false(virLockManagerSetParameter(NULL, "uuid", "x"));
	assert_false(virLockManagerRegisterResource(
		NULL, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK, "/x", 0));
	assert_false(virLockManagerAcquireObject(NULL));
	assert_false(virLockManagerInherit(NULL));
	assert_false(virLockManagerStarted(NULL, 1));
	assert_false(virLockManagerGetChild(NULL, &pid));
	assert_null(virLockManagerGetSupervisorPath(NULL));
	assert_false(virLockManagerGetSupervisorArgs(NULL, &argv, &argc));
	assert_false(seed_plug(NULL, "/x"));
	assert_false(seed_unplug(NULL, "/x"));
	assert_false(virLockManagerPrepareMigrate(NULL, "localhost"));
	assert_false(virLockManagerCompleteMigrateIn(NULL, 0));
	assert_false(virLockManagerCompleteMigrateOut(NULL, 0));
	assert_false(virLockManagerShutdown(NULL));
	virLockManagerFree(NULL);
	virLockManagerPluginUnload(NULL);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_vm_level_leases_ignore_all_the_resource_paths),
	cmocka_unit_test(test_a_manager_without_migration_says_so_in_each_call),
	cmocka_unit_test(test_a_manager_without_hotplug_says_so_in_each_call),
	cmocka_unit_test(test_a_guest_does_not_start_without_a_refused_disk),
	cmocka_unit_test(test_a_guest_does_not_start_under_a_refused_uuid),
	cmocka_unit_test(test_a_late_parameter_does_no_harm),
	cmocka_unit_test(test_a_uuid_may_be_bytes),
	cmocka_unit_test(test_all_calls_fail_on_nothing),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
