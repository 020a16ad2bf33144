/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/system/seed.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

/*
 * Daemon start-up and shutdown, guest start and shutdown, hotplug and unplug,
 * as the text has them.
 */
#define N_DISKS 4
#define MOMENT_MS 50

static struct seed_guest web(const char *name)
{
	return seed_guest_new(1, name, N_DISKS);
}

static void end_guest(pid_t pid, const struct disks *disks)
{
	process_end(pid);
	assert_true(disks_become_free(disks));
}

/* A daemon that starts a guest and shuts down at once. */
struct shutdown {
	const struct seed_guest *guest;
	struct channel pids, unloaded;
};

static int run_and_unload(void *arg)
{
	struct shutdown *shutdown = arg;
	virLockManagerPluginPtr plugin;
	virLockManagerPtr manager;

	plugin = virLockManagerPluginLoad("sync-manager");
	MUST(plugin != NULL);
	channel_tell(&shutdown->pids,
		     seed_start(plugin, shutdown->guest, &manager));
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	MUST_EQUAL(channel_hear(&shutdown->unloaded), 0);
	return 0;
}

static void test_a_daemon_shuts_down_and_its_guests_keep_their_locks(
	void **state)
{
	struct seed_guest guest = web("unload");
	struct shutdown shutdown = { &guest, channel_new(), channel_new() };
	pid_t daemon = process_start(run_and_unload, &shutdown), pid;

	(void)state;
	pid = channel_hear(&shutdown.pids);
	assert_true(seed_owned(&guest.disks));
	channel_tell(&shutdown.unloaded, 0);
	assert_int_equal(process_wait(daemon), 0);
	assert_true(seed_owned(&guest.disks));
	end_guest(pid, &guest.disks);
	channel_free(&shutdown.pids);
	channel_free(&shutdown.unloaded);
	seed_guest_free(&guest);
}

static void test_the_texts_plugin_is_the_default_one(void **state)
{
	virLockManagerPluginPtr plugin =
		virLockManagerPluginLoad("sync-manager");

	(void)state;
	assert_non_null(plugin);
	assert_string_equal(glk_driver_name(plugin), "ofd");
	virLockManagerPluginUnload(plugin);
	plugin = virLockManagerPluginLoad("no-such-manager");
	assert_null(plugin);
	assert_non_null(strstr(glk_driver_message(), "no-such-manager"));
}

static void test_a_guest_starts_with_all_of_its_disks_locked(void **state)
{
	struct seed_guest guest = web("start");
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	virLockManagerPtr manager = seed_manager(plugin, &guest, 0);
	pid_t pid, child = -1;

	(void)state;
	seed_register(manager, &guest.disks);
	assert_int_equal(disks_locked(&guest.disks), 0);
	assert_true(virLockManagerAcquireObject(manager));
	assert_true(seed_owned(&guest.disks));
	assert_false(virLockManagerGetChild(manager, &child));
	assert_int_equal(manager->error, -ENODATA);
	pid = seed_run(manager);
	assert_true(virLockManagerGetChild(manager, &child));
	assert_int_equal(child, pid);
	assert_true(seed_owned(&guest.disks));
	end_guest(pid, &guest.disks);
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

static void test_a_supervisor_becomes_the_guest(void **state)
{
	struct seed_guest guest = web("supervised");
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	virLockManagerPtr manager = seed_manager(plugin, &guest, 0);
	pid_t supervisor, child = -1;

	(void)state;
	seed_register(manager, &guest.disks);
	supervisor = seed_supervise(manager);
	assert_true(virLockManagerGetChild(manager, &child));
	assert_int_equal(child, supervisor);
	assert_true(seed_owned(&guest.disks));
	virLockManagerFree(manager);
	assert_true(seed_owned(&guest.disks));
	end_guest(child, &guest.disks);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

static void test_a_guest_without_all_of_its_disks_does_not_start(void **state)
{
	struct seed_guest first = web("first"), second;
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	const struct glk_conflict *conflicts = NULL;
	virLockManagerPtr mine, other;
	pid_t pid = seed_start(plugin, &first, &mine);

	(void)state;
	second = seed_guest_new(2, "second", N_DISKS);
	other = seed_manager(plugin, &second, 0);
	seed_register(other, &second.disks);
	assert_true(virLockManagerRegisterResource(
		other, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK,
		first.disks.items[1].path, VIR_LOCK_MANAGER_RESOURCE_SHARED));
	assert_false(virLockManagerAcquireObject(other));
	assert_int_equal(other->error, -EBUSY);
	assert_int_equal(glk_manager_conflicts(other->glk, &conflicts), 1);
	assert_string_equal(conflicts[0].path, first.disks.items[1].path);
	assert_string_equal(conflicts[0].uuid, first.uuid);
	assert_int_equal(conflicts[0].pid, pid);
	assert_int_equal(disks_locked(&second.disks), 0);
	assert_true(seed_owned(&first.disks));

	virLockManagerFree(other);
	end_guest(pid, &first.disks);
	virLockManagerFree(mine);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&first);
	seed_guest_free(&second);
}

static void test_shutdown_is_false_while_the_guest_lives(void **state)
{
	struct seed_guest guest = web("shutdown");
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	virLockManagerPtr manager;
	pid_t pid = seed_start(plugin, &guest, &manager);

	(void)state;
	glk_manager_set_timeout(manager->glk, MOMENT_MS);
	assert_false(virLockManagerShutdown(manager));
	assert_int_equal(manager->error, -ETIME);
	assert_false(process_is_gone(pid));
	assert_true(seed_owned(&guest.disks));

	glk_manager_set_timeout(manager->glk, 30000);
	process_kill(pid);
	assert_true(virLockManagerShutdown(manager));
	assert_int_equal(disks_locked(&guest.disks), 0);
	assert_int_equal(process_wait(pid), 128 + SIGKILL);
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

static void test_free_lets_a_guest_run_on(void **state)
{
	struct seed_guest guest = web("free");
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	virLockManagerPtr manager;
	pid_t pid = seed_start(plugin, &guest, &manager);

	(void)state;
	virLockManagerFree(manager);
	assert_true(seed_owned(&guest.disks));
	assert_false(process_is_gone(pid));
	end_guest(pid, &guest.disks);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

static void test_shutdown_before_the_guest_runs_releases(void **state)
{
	struct seed_guest guest = web("early");
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	virLockManagerPtr manager = seed_manager(plugin, &guest, 0);

	(void)state;
	seed_register(manager, &guest.disks);
	assert_true(virLockManagerAcquireObject(manager));
	assert_true(seed_owned(&guest.disks));
	assert_true(virLockManagerShutdown(manager));
	assert_int_equal(disks_locked(&guest.disks), 0);
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

static void test_a_disk_is_locked_before_it_is_plugged_in(void **state)
{
	struct seed_guest guest = web("hotplug"), other;
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	const char *disk = test_file("hotplugged", 0);
	virLockManagerPtr manager, theirs;
	pid_t pid = seed_start(plugin, &guest, &manager), their_pid;

	(void)state;
	other = seed_guest_new(2, "other", 1);
	their_pid = seed_start(plugin, &other, &theirs);
	assert_true(seed_plug(manager, disk));
	assert_false(test_lockable(disk, F_RDLCK));
	assert_true(seed_plug(manager, disk));
	assert_false(seed_plug(manager, other.disks.items[0].path));
	assert_int_equal(manager->error, -EBUSY);
	assert_false(seed_plug(theirs, disk));
	assert_false(virLockManagerAcquireResource(
		theirs, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK, disk,
		VIR_LOCK_MANAGER_RESOURCE_READONLY));

	process_end(their_pid);
	assert_true(disks_become_free(&other.disks));
	assert_false(test_lockable(disk, F_RDLCK));
	end_guest(pid, &guest.disks);
	assert_true(test_becomes_free(disk, 10000));
	virLockManagerFree(manager);
	virLockManagerFree(theirs);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
	seed_guest_free(&other);
}

/* As the text prints it: without the "!". */
static bool printed_hotplug_goes_on(virLockManagerPtr manager, const char *path)
{
	if (virLockManagerAcquireResource(manager,
					  VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK,
					  path, 0))
		return false;
	return true;
}

static void test_the_printed_hotplug_does_the_reverse(void **state)
{
	struct seed_guest guest = web("printed"), other;
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	const char *disk = test_file("printed-disk", 0);
	virLockManagerPtr manager, theirs;
	pid_t pid = seed_start(plugin, &guest, &manager), their_pid;

	(void)state;
	other = seed_guest_new(2, "printed-other", 1);
	their_pid = seed_start(plugin, &other, &theirs);
	assert_false(printed_hotplug_goes_on(manager, disk));
	assert_false(test_lockable(disk, F_RDLCK));
	assert_true(
		printed_hotplug_goes_on(manager, other.disks.items[0].path));
	end_guest(pid, &guest.disks);
	assert_true(seed_owned(&other.disks));
	end_guest(their_pid, &other.disks);
	virLockManagerFree(manager);
	virLockManagerFree(theirs);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
	seed_guest_free(&other);
}

static void test_a_disk_is_released_after_it_was_unplugged(void **state)
{
	struct seed_guest guest = web("unplug");
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	const char *disk = guest.disks.items[2].path;
	virLockManagerPtr manager;
	pid_t pid = seed_start(plugin, &guest, &manager);

	(void)state;
	assert_true(seed_unplug(manager, disk));
	assert_true(test_lockable(disk, F_WRLCK));
	assert_int_equal(disks_locked(&guest.disks), N_DISKS - 1);
	assert_true(seed_unplug(manager, disk));
	assert_true(seed_plug(manager, disk));
	assert_true(seed_owned(&guest.disks));
	end_guest(pid, &guest.disks);
	assert_false(seed_plug(manager, disk));
	assert_int_equal(manager->error, -ESRCH);
	assert_true(test_lockable(disk, F_WRLCK));
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

static void test_leases_are_plugged_as_disks_are(void **state)
{
	struct seed_guest guest = web("leases");
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	const char *lockspace = test_file("lockspace", -1);
	const char *lease = test_file("lockspace/key", -1);
	virLockManagerPtr manager;
	struct stat st;
	pid_t pid;

	(void)state;
	assert_int_equal(mkdir(lockspace, 0700), 0);
	pid = seed_start(plugin, &guest, &manager);
	assert_true(virLockManagerAcquireResource(
		manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_LEASE, lease, 0));
	assert_false(test_lockable(lease, F_RDLCK));
	assert_true(virLockManagerReleaseResource(
		manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_LEASE, lease, 0));
	assert_int_equal(stat(lease, &st), -1);
	assert_true(seed_owned(&guest.disks));
	end_guest(pid, &guest.disks);
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
}

#define TEST(_f) cmocka_unit_test_teardown(_f, process_end_all)

static const struct CMUnitTest tests[] = {
	TEST(test_a_daemon_shuts_down_and_its_guests_keep_their_locks),
	TEST(test_the_texts_plugin_is_the_default_one),
	TEST(test_a_guest_starts_with_all_of_its_disks_locked),
	TEST(test_a_supervisor_becomes_the_guest),
	TEST(test_a_guest_without_all_of_its_disks_does_not_start),
	TEST(test_shutdown_is_false_while_the_guest_lives),
	TEST(test_free_lets_a_guest_run_on),
	TEST(test_shutdown_before_the_guest_runs_releases),
	TEST(test_a_disk_is_locked_before_it_is_plugged_in),
	TEST(test_the_printed_hotplug_does_the_reverse),
	TEST(test_a_disk_is_released_after_it_was_unplugged),
	TEST(test_leases_are_plugged_as_disks_are),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
