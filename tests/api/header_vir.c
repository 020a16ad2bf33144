/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <guestlock/vir_lock_manager.h>
#include <guestlock/vir_lock_manager.h>

/*
 * As header.c, with the legacy names: each must be there with the arguments
 * that legacy callers have, and a parameter may be of any type that they use.
 */
bool header_calls(pid_t *ret_pid, char ***ret_argv, int *ret_argc);

static bool set_all(virLockManagerPtr manager)
{
	char text[] = "7e57da7a-0000-4000-8000-000000000001";
	unsigned char bytes[16] = { 0 };
	const unsigned char *constant = bytes;
	const char *name = "web1";
	pid_t pid = 1;

	return virLockManagerSetParameter(manager, "uuid", text) &&
	       virLockManagerSetParameter(manager, "uuid", bytes) &&
	       virLockManagerSetParameter(manager, "uuid", constant) &&
	       virLockManagerSetParameter(manager, "name", name) &&
	       virLockManagerSetParameter(manager, "name", "literal") &&
	       virLockManagerSetParameter(manager, "id", 7) &&
	       virLockManagerSetParameter(manager, "id", 7u) &&
	       virLockManagerSetParameter(manager, "id", 7L) &&
	       virLockManagerSetParameter(manager, "id", 7UL) &&
	       virLockManagerSetParameter(manager, "pid", pid);
}

static bool migrate(virLockManagerPtr manager)
{
	return virLockManagerPrepareMigrate(manager, "qemu:///system") &&
	       virLockManagerCompleteMigrateOut(manager, 0) &&
	       virLockManagerCompleteMigrateIn(manager,
					       VIR_LOCK_MANAGER_MIGRATE_CANCEL);
}

static bool plug(virLockManagerPtr manager)
{
	return virLockManagerAcquireResource(
		       manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK, "/disk",
		       VIR_LOCK_MANAGER_RESOURCE_SHARED |
			       VIR_LOCK_MANAGER_RESOURCE_READONLY) &&
	       virLockManagerReleaseResource(
		       manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_LEASE, "/a/b",
		       0);
}

static bool start(virLockManagerPtr manager, pid_t *ret_pid)
{
	return virLockManagerRegisterResource(
		       manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK, "/disk",
		       0) &&
	       virLockManagerAcquireObject(manager) &&
	       virLockManagerInherit(manager) &&
	       virLockManagerStarted(manager, 1) &&
	       virLockManagerGetChild(manager, ret_pid);
}

bool header_calls(pid_t *ret_pid, char ***ret_argv, int *ret_argc)
{
	virLockManagerPluginPtr plugin = virLockManagerPluginLoad("ofd");
	virLockManagerPtr manager =
		virLockManagerNew(plugin, VIR_LOCK_MANAGER_OBJECT_DOMAIN,
				  VIR_LOCK_MANAGER_NEW_ATTACH |
					  VIR_LOCK_MANAGER_NEW_MIGRATE);
	bool ok =
		set_all(manager) && start(manager, ret_pid) && plug(manager) &&
		migrate(manager) &&
		virLockManagerGetSupervisorPath(manager) != NULL &&
		virLockManagerGetSupervisorArgs(manager, ret_argv, ret_argc) &&
		virLockManagerShutdown(manager);

	virLockManagerFree(manager);
	virLockManagerPluginUnload(plugin);
	return ok;
}
