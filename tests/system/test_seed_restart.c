/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/system/seed.h"

#include "core/base/util.h"
#include "tests/lib/spoil.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

/*
 * "At libvirtd restart with running guests": the daemon is killed with -9, and
 * a new one finds its guests from the kernel.
 */
#define N_DISKS 5
#define N_GUESTS 3

/* Guests whose daemon has been killed. */
struct orphans {
	struct seed_guest guests[N_GUESTS];
	pid_t pids[N_GUESTS];
};

static struct orphans orphans_new(const char *prefix)
{
	struct orphans orphans;
	char name[32];

	for (unsigned i = 0; i < N_GUESTS; i++) {
		struct peer *daemon;

		snprintf(name, sizeof(name), "%s-%u", prefix, i);
		orphans.guests[i] = seed_guest_new(i, name, N_DISKS);
		daemon = peer_new(&orphans.guests[i]);
		orphans.pids[i] = peer_ask(daemon, ORDER_START);
		assert_true(orphans.pids[i] > 0);
		peer_free(daemon);
		assert_true(seed_owned(&orphans.guests[i].disks));
	}
	return orphans;
}

static void orphans_free(struct orphans *orphans)
{
	for (unsigned i = 0; i < N_GUESTS; i++) {
		if (orphans->pids[i])
			process_end(orphans->pids[i]);
		assert_true(disks_become_free(&orphans->guests[i].disks));
		seed_guest_free(&orphans->guests[i]);
	}
}

static virLockManagerPtr attach(virLockManagerPluginPtr plugin,
				const struct seed_guest *guest)
{
	virLockManagerPtr manager =
		seed_manager(plugin, guest, VIR_LOCK_MANAGER_NEW_ATTACH);

	seed_register(manager, &guest->disks);
	return manager;
}

static size_t drift(virLockManagerPtr manager, const struct glk_drift **ret)
{
	return glk_manager_drift(manager->glk, ret);
}

static void test_a_new_daemon_finds_every_guest(void **state)
{
	struct orphans orphans = orphans_new("found");
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	const struct glk_drift *ignored;

	(void)state;
	for (unsigned i = 0; i < N_GUESTS; i++) {
		virLockManagerPtr manager = attach(plugin, &orphans.guests[i]);
		pid_t qemupid = -1;

		assert_true(virLockManagerGetChild(manager, &qemupid));
		assert_int_equal(qemupid, orphans.pids[i]);
		assert_int_equal(drift(manager, &ignored), 0);
		virLockManagerFree(manager);
		assert_true(seed_owned(&orphans.guests[i].disks));
	}
	virLockManagerPluginUnload(plugin);
	orphans_free(&orphans);
}

static void test_a_guest_that_was_found_is_plugged_and_shut_down(void **state)
{
	struct orphans orphans = orphans_new("used");
	struct seed_guest *guest = &orphans.guests[1];
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	virLockManagerPtr manager = attach(plugin, guest);
	const char *disk = test_file("plugged-later", 0);
	pid_t qemupid = -1;

	(void)state;
	assert_true(virLockManagerGetChild(manager, &qemupid));
	assert_true(seed_plug(manager, disk));
	assert_false(test_lockable(disk, F_RDLCK));
	assert_true(seed_unplug(manager, guest->disks.items[0].path));
	assert_int_equal(disks_locked(&guest->disks), N_DISKS - 1);

	glk_manager_set_timeout(manager->glk, 50);
	assert_false(virLockManagerShutdown(manager));
	assert_int_equal(manager->error, -ETIME);
	glk_manager_set_timeout(manager->glk, 30000);
	process_kill(qemupid);
	assert_true(virLockManagerShutdown(manager));
	assert_int_equal(disks_locked(&guest->disks), 0);
	assert_true(test_lockable(disk, F_WRLCK));
	assert_int_equal(process_wait(qemupid), 128 + SIGKILL);
	orphans.pids[1] = 0;
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	orphans_free(&orphans);
}

static int attach_error(virLockManagerPluginPtr plugin, const char *uuid,
			pid_t pid)
{
	virLockManagerPtr manager =
		virLockManagerNew(plugin, VIR_LOCK_MANAGER_START_DOMAIN,
				  VIR_LOCK_MANAGER_NEW_ATTACH);
	pid_t qemupid = -1;
	int error;

	assert_true(virLockManagerSetParameter(manager, "uuid", uuid));
	if (pid)
		assert_true(virLockManagerSetParameter(manager, "pid", pid));
	if (virLockManagerGetChild(manager, &qemupid)) {
		virLockManagerFree(manager);
		return 0;
	}
	assert_int_equal(qemupid, -1);
	error = manager->error;
	virLockManagerFree(manager);
	return error;
}

static void test_only_the_right_guest_is_found(void **state)
{
	struct orphans orphans = orphans_new("right");
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	const char *uuid = orphans.guests[0].uuid;

	(void)state;
	assert_int_equal(attach_error(plugin, uuid, 0), 0);
	assert_int_equal(attach_error(plugin, uuid, orphans.pids[0]), 0);
	assert_int_equal(attach_error(plugin, uuid, orphans.pids[1]), -ESRCH);
	assert_int_equal(attach_error(plugin, guest_uuid(77), 0), -ESRCH);
	process_end(orphans.pids[0]);
	orphans.pids[0] = 0;
	assert_true(disks_become_free(&orphans.guests[0].disks));
	assert_int_equal(attach_error(plugin, uuid, 0), -ESRCH);
	virLockManagerPluginUnload(plugin);
	orphans_free(&orphans);
}

/* A guest that unlocks its own first disk, and lives. */
struct careless {
	struct glk_guest *guest;
	struct channel done;
};

static int unlock_and_live(void *arg)
{
	struct careless *careless = arg;

	spoil_first_lock(glk_guest_fd(careless->guest));
	channel_tell(&careless->done, 0);
	guest_live();
	return 0;
}

static pid_t start_careless(struct glk_context *context,
			    const struct seed_guest *guest)
{
	struct careless careless = {
		.guest = guest_describe(context, GLK_HOLDER_GUEST, guest->uuid,
					guest->name),
		.done = channel_new(),
	};
	pid_t pid;

	assert_int_equal(glk_guest_add(careless.guest, guest->disks.items,
				       guest->disks.n),
			 0);
	assert_int_equal(glk_guest_acquire(careless.guest), 0);
	pid = process_start(unlock_and_live, &careless);
	assert_int_equal(glk_guest_handed_over(careless.guest), 0);
	glk_guest_free(careless.guest);
	assert_int_equal(channel_hear(&careless.done), 0);
	channel_free(&careless.done);
	return pid;
}

static void test_a_guest_that_lost_a_lock_is_not_well(void **state)
{
	struct glk_context *context = guest_context();
	struct seed_guest guest = seed_guest_new(1, "lost", N_DISKS);
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	pid_t pid = start_careless(context, &guest), qemupid = -1;
	const struct glk_drift *found = NULL;
	virLockManagerPtr manager;

	(void)state;
	assert_int_equal(disks_locked(&guest.disks), N_DISKS - 1);
	manager = attach(plugin, &guest);
	assert_false(virLockManagerGetChild(manager, &qemupid));
	assert_int_equal(manager->error, -ENOLCK);
	assert_int_equal(drift(manager, &found), 1);
	assert_int_equal(found[0].kind, GLK_DRIFT_LOST);
	assert_string_equal(found[0].path, guest.disks.items[0].path);
	assert_int_equal(disks_locked(&guest.disks), N_DISKS - 1);
	virLockManagerFree(manager);

	process_end(pid);
	assert_true(disks_become_free(&guest.disks));
	virLockManagerPluginUnload(plugin);
	seed_guest_free(&guest);
	glk_context_free(context);
}

static void test_what_is_not_as_it_should_be_is_told(void **state)
{
	struct orphans orphans = orphans_new("drift");
	struct seed_guest *guest = &orphans.guests[2];
	virLockManagerPluginPtr plugin = seed_plugin("sync-manager");
	virLockManagerPtr manager = attach(plugin, guest);
	const char *other = test_file("drift-other", 0);
	const char *replaced = guest->disks.items[3].path;
	const struct glk_drift *found = NULL;
	pid_t qemupid = -1;

	(void)state;
	assert_int_equal(rename(test_file("drift-new", 0), replaced), 0);
	assert_true(virLockManagerRegisterResource(
		manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK, other, 0));
	assert_true(virLockManagerGetChild(manager, &qemupid));
	assert_int_equal(qemupid, orphans.pids[2]);
	assert_true(drift(manager, &found) >= 2);
	for (size_t i = 0; i < drift(manager, &found); i++)
		assert_string_equal(found[i].path,
				    found[i].kind == GLK_DRIFT_MISSING &&
						    strcmp(found[i].path,
							   replaced)
					    ? other
					    : replaced);
	assert_true(test_lockable(other, F_WRLCK));
	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	orphans_free(&orphans);
}

#define TEST(_f) cmocka_unit_test_teardown(_f, process_end_all)

static const struct CMUnitTest tests[] = {
	TEST(test_a_new_daemon_finds_every_guest),
	TEST(test_a_guest_that_was_found_is_plugged_and_shut_down),
	TEST(test_only_the_right_guest_is_found),
	TEST(test_a_guest_that_lost_a_lock_is_not_well),
	TEST(test_what_is_not_as_it_should_be_is_told),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
