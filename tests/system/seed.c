/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/system/seed.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define FAILED 99
#define PATIENCE_MS 10000
#define SUCCESSOR_BYTE 2
#define MIGRATION_BYTE 2
#define MIGRATION_BYTES 3

struct seed_guest seed_guest_new(unsigned which, const char *name, size_t n)
{
	char prefix[64];

	snprintf(prefix, sizeof(prefix), "seed-%s", name);
	return (struct seed_guest){
		.uuid = strdup(guest_uuid(which)),
		.name = strdup(guest_name(name)),
		.id = (int)which,
		.disks = disks_new(prefix, n),
	};
}

void seed_guest_free(struct seed_guest *guest)
{
	free((char *)guest->uuid);
	free((char *)guest->name);
	disks_free(&guest->disks);
}

virLockManagerPluginPtr seed_plugin(const char *name)
{
	virLockManagerPluginPtr plugin = virLockManagerPluginLoad(name);

	if (!plugin)
		fprintf(stderr, "%s: %s\n", name, glk_driver_message());
	MUST(plugin != NULL);
	return plugin;
}

virLockManagerPtr seed_manager(virLockManagerPluginPtr plugin,
			       const struct seed_guest *guest, unsigned flags)
{
	virLockManagerPtr manager =
		virLockManagerNew(plugin,
				  flags ? VIR_LOCK_MANAGER_START_DOMAIN
					: VIR_LOCK_MANAGER_OBJECT_DOMAIN,
				  flags);

	MUST(manager != NULL);
	glk_manager_set_timeout(manager->glk, 30000);
	MUST(virLockManagerSetParameter(manager, "id", guest->id));
	MUST(virLockManagerSetParameter(manager, "uuid", guest->uuid));
	MUST(virLockManagerSetParameter(manager, "name", guest->name));
	return manager;
}

void seed_register(virLockManagerPtr manager, const struct disks *disks)
{
	for (size_t i = 0; i < disks->n; i++)
		MUST(virLockManagerRegisterResource(
			manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK,
			disks->items[i].path, 0));
}

/* EOF on a pipe that closes at exec says that exec was done. */
static void wait_for_exec(int ready[2])
{
	char byte;

	close(ready[1]);
	MUST_EQUAL(read(ready[0], &byte, 1), 0);
	close(ready[0]);
}

pid_t seed_run(virLockManagerPtr manager)
{
	int ready[2];
	pid_t pid;

	MUST(!pipe2(ready, O_CLOEXEC));
	pid = fork();
	MUST(pid >= 0);
	if (!pid) {
		if (virLockManagerInherit(manager))
			execvp(guest_program[0], guest_program);
		_exit(FAILED);
	}
	wait_for_exec(ready);
	MUST(virLockManagerStarted(manager, pid));
	return pid;
}

pid_t seed_supervise(virLockManagerPtr manager)
{
	const char *supervisor = virLockManagerGetSupervisorPath(manager);
	char **supervisorargv = NULL, **argv;
	int supervisorargc = 0;
	pid_t pid;

	MUST(supervisor != NULL);
	MUST(virLockManagerGetSupervisorArgs(manager, &supervisorargv,
					     &supervisorargc));
	argv = calloc((size_t)supervisorargc + 3, sizeof(*argv));
	MUST(argv != NULL);
	argv[0] = (char *)supervisor;
	memcpy(argv + 1, supervisorargv,
	       (size_t)supervisorargc * sizeof(*argv));
	argv[supervisorargc + 1] = guest_program[0];

	pid = fork();
	MUST(pid >= 0);
	if (!pid) {
		execv(supervisor, argv);
		_exit(FAILED);
	}
	free(argv);
	return pid;
}

pid_t seed_start(virLockManagerPluginPtr plugin, const struct seed_guest *guest,
		 virLockManagerPtr *ret_manager)
{
	virLockManagerPtr manager = seed_manager(plugin, guest, 0);

	seed_register(manager, &guest->disks);
	MUST(virLockManagerAcquireObject(manager));
	*ret_manager = manager;
	return seed_run(manager);
}

bool seed_disk_is_owned(const char *path)
{
	return !test_lockable(path, F_RDLCK) &&
	       !range_is_locked(path, MIGRATION_BYTE, MIGRATION_BYTES);
}

bool seed_owned(const struct disks *disks)
{
	for (size_t i = 0; i < disks->n; i++)
		if (!seed_disk_is_owned(disks->items[i].path))
			return false;
	return true;
}

bool seed_becomes_unclaimed(const struct disks *disks)
{
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);

	for (size_t i = 0; i < disks->n; i++)
		while (range_is_locked(disks->items[i].path, SUCCESSOR_BYTE,
				       1)) {
			if (clock_now() > deadline)
				return false;
			usleep(500);
		}
	return true;
}

bool seed_plug(virLockManagerPtr manager, const char *path)
{
	return virLockManagerAcquireResource(
		manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK, path, 0);
}

bool seed_unplug(virLockManagerPtr manager, const char *path)
{
	return virLockManagerReleaseResource(
		manager, VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK, path, 0);
}
