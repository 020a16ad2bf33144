/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GUESTLOCK_VIR_LOCK_MANAGER_H
#define GUESTLOCK_VIR_LOCK_MANAGER_H

/*
 * The names of libvirt's first lock-manager API, of src/locking/README, as
 * inline wrappers of guestlock/manager.h. Nothing is exported: a program that
 * is written with these calls needs libguestlock alone.
 *
 * WHAT THEY RETURN. Every call that can fail returns true on success and false
 * on failure, or a pointer that is NULL on failure. That is the README's
 *
 *     if (!virLockManagerAcquireObject(manager))
 *             abort..
 *
 * It is not the "0 or -1" of libvirt's later API: a test for "< 0" never fails,
 * and compilers warn of it. Why a call failed: manager->error, a negative
 * errno, and glk_manager_message(manager->glk), also for the names of those who
 * hold a disk, glk_manager_conflicts(manager->glk, ...).
 *
 * !! TWO EXAMPLES OF THE README ARE WRONG. It tests hotplug and unplug without
 * !! the "!" of all its other calls:
 * !!
 * !!     if (virLockManagerAcquireResource(...))
 * !!             ...abort hotplug attempt ...
 * !!
 * !! Copied like that, a program aborts when the disk has been locked, and
 * !! plugs it in UNLOCKED when it is another guest's. Here as everywhere:
 * !!
 * !!     if (!virLockManagerAcquireResource(...))
 * !!             ...abort hotplug attempt ...
 *
 * WHAT ELSE THE README HAS OTHERWISE
 *
 * - It tests neither virLockManagerPluginLoad() nor virLockManagerNew(). So all
 *   calls bear NULL for a plugin or manager, and fail.
 * - It tests neither virLockManagerSetParameter() nor
 *   virLockManagerRegisterResource(). A guest would start with a disk that is
 *   not locked; so once one of these has failed, all calls that lead to a
 *   running guest fail for this manager, with that error. (A parameter that
 *   comes too late does no harm.)
 * - The plugin "sync-manager" never was released. It means "ofd" here, the
 *   default driver.
 * - virLockManagerGetSupervisorArgs(&argv, &argc) lacks the manager. Ours has
 *   it as its first argument.
 * - Steps 4a2 and 4b2 call virLockManagerCompleteMigrateIn() on the source.
 *   They mean ...Out(). Programs that call ...In() there work all the same: see
 *   that call for how it knows.
 * - The guest has to inherit the locks, which the README does not say. A guest
 *   that is started without the supervisor needs virLockManagerInherit() and
 *   virLockManagerStarted(), which are ours.
 * - A uuid may be text, or 16 bytes as libvirt has it: unsigned char[16].
 */

#include <errno.h>
#include <guestlock.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For results that the README tests. */
#define VIR_LOCK_MANAGER_TESTED __attribute__((__warn_unused_result__))

enum {
	VIR_LOCK_MANAGER_OBJECT_DOMAIN = GLK_OBJECT_DOMAIN,
	VIR_LOCK_MANAGER_START_DOMAIN = GLK_OBJECT_START_DOMAIN,
};

/* Flags of virLockManagerNew(): one of them, or 0 to start a guest. */
enum {
	VIR_LOCK_MANAGER_NEW_ATTACH = 1 << 0,
	VIR_LOCK_MANAGER_NEW_MIGRATE = 1 << 1,
};

enum {
	VIR_LOCK_MANAGER_RESOURCE_TYPE_DISK = GLK_RESOURCE_DISK,
	VIR_LOCK_MANAGER_RESOURCE_TYPE_LEASE = GLK_RESOURCE_LEASE,
};

/* Flags of a resource. */
enum {
	VIR_LOCK_MANAGER_RESOURCE_SHARED = GLK_DISK_SHARED,
	VIR_LOCK_MANAGER_RESOURCE_READONLY = GLK_DISK_READONLY,
};

enum {
	VIR_LOCK_MANAGER_MIGRATE_CANCEL = GLK_MIGRATE_CANCEL,
};

typedef struct glk_driver virLockManagerPlugin;
typedef virLockManagerPlugin *virLockManagerPluginPtr;

/* Read what you like of it, and pass @glk to calls that have no name here. */
typedef struct virLockManager_ {
	struct glk_manager *glk;
	int mode;    /* enum glk_manager_mode */
	int error;   /* of the last call that failed; negative errno */
	int spoiled; /* of the first parameter or resource that was refused */
} virLockManager;
typedef virLockManager *virLockManagerPtr;

#ifdef __cplusplus
extern "C" {
#endif

/* The result of a public call as one of these. Not to be called by others. */
static inline bool virLockManagerResult(virLockManagerPtr manager, int r)
{
	if (r < 0)
		manager->error = r;
	return r >= 0;
}

static inline bool virLockManagerUsable(virLockManagerPtr manager)
{
	return manager && virLockManagerResult(manager, manager->spoiled);
}

static inline bool virLockManagerSetUp(virLockManagerPtr manager, int r)
{
	if (r < 0 && !manager->spoiled)
		manager->spoiled = r;
	return virLockManagerResult(manager, r);
}

/* glk_driver_message() says why it is NULL. */
VIR_LOCK_MANAGER_TESTED
static inline virLockManagerPluginPtr virLockManagerPluginLoad(const char *name)
{
	struct glk_driver *driver = NULL;

	if (name && !strcmp(name, "sync-manager"))
		name = "ofd";
	return name && !glk_driver_load(name, &driver) ? driver : NULL;
}

/* Free its managers first. The locks of running guests stay. */
static inline void virLockManagerPluginUnload(virLockManagerPluginPtr plugin)
{
	glk_driver_unload(plugin);
}

/* -1 for flags that are none. */
static inline int virLockManagerMode(unsigned flags)
{
	switch (flags) {
	case 0:
		return GLK_MANAGER_START;
	case VIR_LOCK_MANAGER_NEW_ATTACH:
		return GLK_MANAGER_ATTACH;
	case VIR_LOCK_MANAGER_NEW_MIGRATE:
		return GLK_MANAGER_MIGRATE;
	default:
		return -1;
	}
}

/* To be freed with virLockManagerFree(). */
VIR_LOCK_MANAGER_TESTED
static inline virLockManagerPtr virLockManagerNew(
	virLockManagerPluginPtr plugin, int type, unsigned flags)
{
	int mode = virLockManagerMode(flags);
	virLockManagerPtr manager;

	if (!plugin || mode < 0)
		return NULL;
	manager = (virLockManagerPtr)calloc(1, sizeof(*manager));
	if (!manager)
		return NULL;
	manager->mode = mode;
	if (glk_manager_new(plugin, type, mode, &manager->glk) < 0) {
		free(manager);
		return NULL;
	}
	return manager;
}

/* Releases no lock of a running guest. */
static inline void virLockManagerFree(virLockManagerPtr manager)
{
	if (manager)
		glk_manager_free(manager->glk);
	free(manager);
}

static inline bool virLockManagerSetText(virLockManagerPtr manager,
					 const char *key, const char *value)
{
	int r = -EINVAL;

	if (!manager)
		return false;
	if (key && value)
		r = glk_manager_set(manager->glk, key, value);
	return r == -EALREADY ? virLockManagerResult(manager, r)
			      : virLockManagerSetUp(manager, r);
}

static inline bool virLockManagerSetSigned(virLockManagerPtr manager,
					   const char *key, long long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", value);
	return virLockManagerSetText(manager, key, text);
}

static inline bool virLockManagerSetUnsigned(virLockManagerPtr manager,
					     const char *key,
					     unsigned long long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", value);
	return virLockManagerSetText(manager, key, text);
}

/* 16 bytes, which a uuid alone is. */
static inline bool virLockManagerSetBytes(virLockManagerPtr manager,
					  const char *key,
					  const unsigned char *value)
{
	char text[37];
	int i, at = 0;

	if (!key || !value || strcmp(key, "uuid"))
		return virLockManagerSetText(manager, key, NULL);
	for (i = 0; i < 16; i++)
		at += snprintf(text + at, sizeof(text) - (size_t)at, "%s%02x",
			       i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			       (unsigned)value[i]);
	return virLockManagerSetText(manager, key, text);
}

/**
 * virLockManagerSetParameter() - say who the guest is
 * @key:	"uuid", "name", "id"; and those of glk_manager_set()
 * @value:	text, an integer, or the 16 bytes of a uuid. Another type does
 *		not compile.
 */
#ifndef __cplusplus
#define virLockManagerSetParameter(_manager, _key, _value)                     \
	(__extension__ _Generic((_value),                                      \
		char *: virLockManagerSetText,                                 \
		const char *: virLockManagerSetText,                           \
		unsigned char *: virLockManagerSetBytes,                       \
		const unsigned char *: virLockManagerSetBytes,                 \
		short: virLockManagerSetSigned,                                \
		int: virLockManagerSetSigned,                                  \
		long: virLockManagerSetSigned,                                 \
		long long: virLockManagerSetSigned,                            \
		unsigned short: virLockManagerSetUnsigned,                     \
		unsigned: virLockManagerSetUnsigned,                           \
		unsigned long: virLockManagerSetUnsigned,                      \
		unsigned long long: virLockManagerSetUnsigned)(                \
		_manager, _key, _value))
#endif

/* @flags: VIR_LOCK_MANAGER_RESOURCE_SHARED, ..._READONLY. Takes nothing yet. */
static inline bool virLockManagerRegisterResource(virLockManagerPtr manager,
						  int type, const char *path,
						  unsigned flags)
{
	struct glk_resource resource = { type, path, flags };
	int r = -EINVAL;

	if (!manager)
		return false;
	if (path)
		r = glk_manager_register(manager->glk, &resource, 1);
	return virLockManagerSetUp(manager, r);
}

/* All that was registered, or nothing. */
VIR_LOCK_MANAGER_TESTED
static inline bool virLockManagerAcquireObject(virLockManagerPtr manager)
{
	return virLockManagerUsable(manager) &&
	       virLockManagerResult(manager, glk_manager_acquire(manager->glk));
}

/* Not in the README: in the process that is to be the guest, between fork and
   exec; see glk_manager_inherit(). */
VIR_LOCK_MANAGER_TESTED
static inline bool virLockManagerInherit(virLockManagerPtr manager)
{
	return virLockManagerUsable(manager) &&
	       virLockManagerResult(manager, glk_manager_inherit(manager->glk));
}

/* Not in the README: in the parent, after the fork. The locks are the guest's
   from now on; see glk_manager_started(). */
VIR_LOCK_MANAGER_TESTED
static inline bool virLockManagerStarted(virLockManagerPtr manager, pid_t pid)
{
	return manager &&
	       virLockManagerResult(manager,
				    glk_manager_started(manager->glk, pid));
}

/* Also how a guest is found in mode ATTACH; false if it is not there, or if it
   lives and has lost a lock. */
VIR_LOCK_MANAGER_TESTED
static inline bool virLockManagerGetChild(virLockManagerPtr manager,
					  pid_t *ret_pid)
{
	return virLockManagerUsable(manager) &&
	       virLockManagerResult(manager,
				    glk_manager_child(manager->glk, ret_pid));
}

/* Valid as long as the manager. NULL on failure. */
VIR_LOCK_MANAGER_TESTED
static inline const char *virLockManagerGetSupervisorPath(
	virLockManagerPtr manager)
{
	const char *path = NULL;

	if (!virLockManagerUsable(manager))
		return NULL;
	virLockManagerResult(manager,
			     glk_manager_supervisor_path(manager->glk, &path));
	return path;
}

/* Without the path; NULL-terminated, and the manager's: not to be changed. */
VIR_LOCK_MANAGER_TESTED
static inline bool virLockManagerGetSupervisorArgs(virLockManagerPtr manager,
						   char ***ret_argv,
						   int *ret_argc)
{
	char *const *argv = NULL;

	if (!virLockManagerUsable(manager) ||
	    !virLockManagerResult(manager,
				  glk_manager_supervisor_args(manager->glk,
							      &argv, ret_argc)))
		return false;
	*ret_argv = (char **)argv;
	return true;
}

/* Before the disk is plugged in. See the top for the README's example. */
VIR_LOCK_MANAGER_TESTED
static inline bool virLockManagerAcquireResource(virLockManagerPtr manager,
						 int type, const char *path,
						 unsigned flags)
{
	struct glk_resource resource = { type, path, flags };
	int r = -EINVAL;

	if (!manager)
		return false;
	if (path)
		r = glk_manager_acquire_resources(manager->glk, &resource, 1);
	return virLockManagerResult(manager, r);
}

/* After the disk was unplugged. See the top for the README's example. */
VIR_LOCK_MANAGER_TESTED
static inline bool virLockManagerReleaseResource(virLockManagerPtr manager,
						 int type, const char *path,
						 unsigned flags)
{
	struct glk_resource resource = { type, path, flags };
	int r = -EINVAL;

	if (!manager)
		return false;
	if (path)
		r = glk_manager_release_resources(manager->glk, &resource, 1);
	return virLockManagerResult(manager, r);
}

/* On the source, before the destination is started. */
VIR_LOCK_MANAGER_TESTED
static inline bool virLockManagerPrepareMigrate(virLockManagerPtr manager,
						const char *uri)
{
	int r = -EINVAL;

	if (!manager)
		return false;
	if (uri)
		r = glk_manager_prepare_migrate(manager->glk, uri);
	return virLockManagerResult(manager, r);
}

/* On the source: 0, the guest has stopped for good; or CANCEL, it goes on. */
static inline bool virLockManagerCompleteMigrateOut(virLockManagerPtr manager,
						    unsigned flags)
{
	return manager &&
	       virLockManagerResult(manager,
				    glk_manager_complete_out(manager->glk,
							     flags));
}

static inline bool virLockManagerIsSource(virLockManagerPtr manager)
{
	const char *state = glk_manager_state(manager->glk);

	return !strcmp(state, "prepared") || !strcmp(state, "left") ||
	       (manager->mode != GLK_MANAGER_MIGRATE &&
		!strcmp(state, "running"));
}

/**
 * virLockManagerCompleteMigrateIn() - on the destination: it runs, or CANCEL
 *
 * With 0 it waits for the source to leave, so it may be called before that, if
 * by another process.
 *
 * Called on a source, as the README does, it is ...Out(). A manager is a source
 * if the guest has prepared or left, which no destination does; or if it runs
 * and was not made with NEW_MIGRATE: then it has arrived nowhere.
 */
static inline bool virLockManagerCompleteMigrateIn(virLockManagerPtr manager,
						   unsigned flags)
{
	if (!manager)
		return false;
	if (virLockManagerIsSource(manager))
		return virLockManagerCompleteMigrateOut(manager, flags);
	return virLockManagerResult(manager,
				    glk_manager_complete_in(manager->glk,
							    flags));
}

/* True once the guest has ended and all is free. Ends no process; waits up to
   the time limit of glk_manager_set_timeout(). */
static inline bool virLockManagerShutdown(virLockManagerPtr manager)
{
	return manager && virLockManagerResult(manager, glk_manager_shutdown(
								manager->glk));
}

#ifdef __cplusplus
}

#define VIR_LOCK_MANAGER_PARAMETER(_type, _setter)                             \
	static inline bool virLockManagerSetParameter(                         \
		virLockManagerPtr manager, const char *key, _type value)       \
	{                                                                      \
		return _setter(manager, key, value);                           \
	}

VIR_LOCK_MANAGER_PARAMETER(const char *, virLockManagerSetText)
VIR_LOCK_MANAGER_PARAMETER(const unsigned char *, virLockManagerSetBytes)
VIR_LOCK_MANAGER_PARAMETER(int, virLockManagerSetSigned)
VIR_LOCK_MANAGER_PARAMETER(long, virLockManagerSetSigned)
VIR_LOCK_MANAGER_PARAMETER(long long, virLockManagerSetSigned)
VIR_LOCK_MANAGER_PARAMETER(unsigned, virLockManagerSetUnsigned)
VIR_LOCK_MANAGER_PARAMETER(unsigned long, virLockManagerSetUnsigned)
VIR_LOCK_MANAGER_PARAMETER(unsigned long long, virLockManagerSetUnsigned)
#undef VIR_LOCK_MANAGER_PARAMETER
#endif

#endif
