/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GUESTLOCK_MANAGER_H
#define GUESTLOCK_MANAGER_H

/*
 * The lock-manager API of libguestlock, for a management daemon: one manager
 * object for each guest that it starts, finds again, or receives. Part of
 * guestlock.h, which includes it; read that first.
 *
 * How leases are taken is a driver's business:
 *
 *   "ofd"  locks every disk, and the guest process holds the locks
 *   "vm"   one lease for each guest, LOCKSPACE/UUID: disks are ignored.
 *   "nop"  nothing is locked.
 *   "NAME" or a path: a driver of somebody else's, see guestlock/driver.h.
 *
 * A manager goes through these states (a call in another one gets the error
 * that its comment names, and changes nothing):
 *
 *                     .-- supervisor_args --> SUPERVISED --.
 *   mode START        |                                    | child
 *   NEW --------------+-- acquire --> HELD --- started, ---+--> RUNNING
 *                                              child            ^  |
 *   mode ATTACH                                                 |  |
 *   NEW -------------- acquire, child --------------------------'  |
 *                                                                  |
 *   RUNNING <-- complete_out(CANCEL) -- PREPARED <-- prepare ------'
 *      ^                                   | complete_out(0)
 *      `------- complete_out(CANCEL) --- LEFT
 *
 *                     .-- supervisor_args --> SUPERVISED --.
 *   mode MIGRATE      |                                    | child
 *   NEW --------------+-- acquire --> CLAIMED -- started, -+--> INCOMING
 *                                                child             |
 *   RUNNING <----------------- complete_in(0) ---------------------+
 *   CANCELLED <--------------- complete_in(CANCEL) ----------------'
 *
 *   any but NEW ---- shutdown ----> ENDED
 *
 * THREADS. A manager belongs to one thread at a time, as a context does;
 * different managers are independent, also those of one driver. A driver may be
 * loaded and unloaded by any thread. glk_manager_cancel() may be called from
 * any thread.
 *
 * NOTHING IS LOST. Neither glk_driver_unload() nor glk_manager_free(), nor the
 * end of the daemon, releases a lease of a guest that runs. A new daemon finds
 * all of them in the kernel (mode ATTACH).
 */

#include <guestlock.h>

#ifdef __cplusplus
extern "C" {
#endif

struct glk_driver;
struct glk_manager;

/* Two spellings of one thing: an object that is a guest. */
enum glk_object_type {
	GLK_OBJECT_DOMAIN = 0,
	GLK_OBJECT_START_DOMAIN = 1,
};

enum glk_manager_mode {
	GLK_MANAGER_START = 0,
	GLK_MANAGER_ATTACH = 1,	 /* a guest that runs already */
	GLK_MANAGER_MIGRATE = 2, /* the destination of a migration */
};

enum glk_resource_type {
	GLK_RESOURCE_DISK = 0,
	GLK_RESOURCE_LEASE = 1, /* path is LOCKSPACE/KEY */
};

/* Since: 0.1 */
struct glk_resource {
	int type; /* enum glk_resource_type */
	const char *path;
	unsigned flags; /* enum glk_disk_flags: SHARED, READONLY */
};

/* For glk_manager_complete_in() and glk_manager_complete_out(). */
enum glk_migrate_flags {
	GLK_MIGRATE_CANCEL = 1 << 0,
};

enum glk_drift_kind {
	GLK_DRIFT_LOST = 1,	/* recorded, but its lock is gone */
	GLK_DRIFT_REPLACED = 2, /* held, but the path names another file */
	GLK_DRIFT_MISSING = 3, /* registered here, but the guest has no lease */
};

/* What is not as it should be with a guest that was found. Since: 0.1 */
struct glk_drift {
	int kind; /* enum glk_drift_kind */
	const char *path;
};

/**
 * glk_driver_load() - have a driver
 * @name:	"ofd", "vm", "nop"; a path with a slash; or NAME for NAME.so in
 *		the library's driver directory, or in $GUESTLOCK_DRIVER_DIR
 * @ret_driver:	to be given back with glk_driver_unload()
 *
 * Return: 0; -EINVAL for an empty name; -ENOENT; -ELIBBAD for a file that is no
 * driver; -EPROTONOSUPPORT for a driver of another version; -ENOMEM.
 * glk_driver_message() says more. Threads: any. Since: 0.1
 */
int glk_driver_load(const char *name, struct glk_driver **ret_driver);

/* Its managers must be freed first. Releases no lease. NULL is fine.
   Since: 0.1 */
void glk_driver_unload(struct glk_driver *driver);

/* "ofd". Valid as long as the driver. Since: 0.1 */
const char *glk_driver_name(const struct glk_driver *driver);

/* What this thread's last glk_driver_load() failed for. Never NULL.
   Since: 0.1 */
const char *glk_driver_message(void);

/**
 * glk_manager_new() - an object for one guest
 * @driver:	must outlive it
 * @type:	enum glk_object_type
 * @mode:	enum glk_manager_mode
 *
 * Takes nothing. Return: 0; -EINVAL for a type or mode that is none;
 * -EOPNOTSUPP if the driver has no such mode; or as glk_context_new().
 * Since: 0.1
 */
int glk_manager_new(struct glk_driver *driver, int type, int mode,
		    struct glk_manager **ret_manager);

/* Releases no lease of a guest that runs. Leases that were acquired and given
   to no process end, having nobody to live in. NULL is fine. Since: 0.1 */
void glk_manager_free(struct glk_manager *manager);

/*
 * As the calls of the same names on a context. A policy is for disks that are
 * taken from then on, and for the words of glk_manager_supervisor_args(), where
 * the time to wait is in whole seconds, rounded up. In mode ATTACH, too, it
 * says whether read-only disks are expected. Drivers find it in their context.
 * Since: 0.1
 */
void glk_manager_set_timeout(struct glk_manager *manager, unsigned ms);
int glk_manager_set_policy(struct glk_manager *manager,
			   const struct glk_policy *policy);
void glk_manager_cancel(struct glk_manager *manager);
const char *glk_manager_message(const struct glk_manager *manager);
size_t glk_manager_conflicts(const struct glk_manager *manager,
			     const struct glk_conflict **ret_conflicts);

/* "new", "running" ... Static. Since: 0.1 */
const char *glk_manager_state(const struct glk_manager *manager);

/**
 * glk_manager_set() - set a parameter
 * @key:	"uuid" (mandatory), "name", "id", "pid" (in mode ATTACH: the
 *		guest found must have it; else: a hint), "epoch", "lockspace"
 *		(of the driver "vm")
 * @value:	as text; copied
 *
 * Return: 0; -EINVAL for an unknown key or a value that is none; -EALREADY
 * after NEW. Since: 0.1
 */
int glk_manager_set(struct glk_manager *manager, const char *key,
		    const char *value);

/**
 * glk_manager_register() - name resources of the guest
 * @resources:	copied
 *
 * Takes nothing; paths may be named twice. In mode ATTACH they are what the
 * guest is expected to hold, see glk_manager_drift().
 *
 * Return: 0; -EINVAL for an unknown type or flag, or an empty path;
 * -ENAMETOOLONG; -EOPNOTSUPP for a type that the driver does not know;
 * -EALREADY after NEW. On failure none of @resources is added. Since: 0.1
 */
int glk_manager_register(struct glk_manager *manager,
			 const struct glk_resource *resources, size_t n);

/**
 * glk_manager_acquire() - take all that was registered, or nothing
 *
 * In mode START the leases then live in this process until
 * glk_manager_started(); in mode MIGRATE they are claims. In mode ATTACH it
 * finds the guest, as glk_manager_child() does.
 *
 * Return: 0; -EDESTADDRREQ without a uuid; -EALREADY after NEW; else as
 * glk_guest_acquire(), or in mode ATTACH as glk_manager_child(). Since: 0.1
 */
int glk_manager_acquire(struct glk_manager *manager);

/**
 * glk_manager_inherit() - let the next exec of this process keep the leases
 *
 * In the child, between fork and exec. Async-signal-safe.
 *
 * Return: 0; -ENODATA unless HELD or CLAIMED; or negative errno. Since: 0.1
 */
int glk_manager_inherit(struct glk_manager *manager);

/**
 * glk_manager_started() - the guest process has inherited the leases
 * @pid:	of that process
 *
 * In the parent, once the child has been forked. The leases live in the child
 * alone from now on. (glk_manager_child() does the same, with a look around.)
 * For a supervisor (SUPERVISED) it says which process that is, so that
 * glk_manager_child() need not wait for one that has failed.
 *
 * Return: 0; -ENODATA unless HELD, CLAIMED or SUPERVISED; -EINVAL for a pid
 * that is none; -ESRCH if there is no such process. Since: 0.1
 */
int glk_manager_started(struct glk_manager *manager, pid_t pid);

/**
 * glk_manager_child() - the pid of the guest's process
 *
 * After supervisor_args it waits, up to the time limit and glk_policy.wait_ms
 * besides, until the supervisor has taken everything that was registered. In
 * mode ATTACH it finds the guest in the kernel, checks pid and start time,
 * reads all of its leases and asks the kernel about every one; see
 * glk_manager_drift().
 *
 * Return: 0; -EDESTADDRREQ without a uuid; -ENODATA in NEW, but for ATTACH, and
 * if nobody has inherited the leases yet; -ESRCH if there is no such guest, or
 * not with this pid, or if it has ended; -ENOTUNIQ; -ESTALE if it is of another
 * epoch; -ENOLCK if the guest lives and a lease's lock is gone (it is in the
 * drift, and the guest is found all the same: the state is as after 0); -ETIME;
 * -EPERM. Since: 0.1
 */
int glk_manager_child(struct glk_manager *manager, pid_t *ret_pid);

/**
 * glk_manager_drift() - what is not as it should be, when the guest was found
 * @ret_drift:	valid until the next call on the manager
 *
 * Return: how many. Since: 0.1
 */
size_t glk_manager_drift(const struct glk_manager *manager,
			 const struct glk_drift **ret_drift);

/**
 * glk_manager_supervisor_path() - a program to start the guest with
 * @ret_path:	valid as long as the manager; $GUESTLOCK_COMMAND overrides it
 *
 * It takes everything that was registered, all or nothing, and then becomes the
 * guest's own program by exec: no process stays behind. Put path and arguments
 * before the guest's command line, in place of a call of glk_manager_acquire().
 *
 * Return: 0; -EDESTADDRREQ without a uuid; -EALREADY after NEW and SUPERVISED;
 * -EOPNOTSUPP if the driver has none, and in mode ATTACH. Since: 0.1
 */
int glk_manager_supervisor_path(struct glk_manager *manager,
				const char **ret_path);

/**
 * glk_manager_supervisor_args() - its arguments
 * @ret_argv:	NULL-terminated, without the path; valid as long as the manager,
 *		which must live until the supervisor has read what they name
 *		(glk_manager_child() says so)
 * @ret_argc:	how many
 *
 * Many disks are not written into the arguments but into a memory file of this
 * process that they name, so no limit of a command line is met.
 *
 * Return: as glk_manager_supervisor_path(); -EMFILE; -ENOMEM. Since: 0.1
 */
int glk_manager_supervisor_args(struct glk_manager *manager,
				char *const **ret_argv, int *ret_argc);

/**
 * glk_manager_acquire_resources() - hotplug: before the guest gets them
 *
 * Return: 0; -ENODATA before the leases are taken; -EINPROGRESS during a
 * migration; -EOPNOTSUPP if the driver has no hotplug; else as
 * glk_guest_attach() and glk_manager_register(). Since: 0.1
 */
int glk_manager_acquire_resources(struct glk_manager *manager,
				  const struct glk_resource *resources,
				  size_t n);

/* The reverse, when the guest has let go of them. What is not held is fine.
   Return: as above and as glk_guest_detach(). Since: 0.1 */
int glk_manager_release_resources(struct glk_manager *manager,
				  const struct glk_resource *resources,
				  size_t n);

/**
 * glk_manager_prepare_migrate() - on the source, before the destination starts
 * @uri:	of the destination
 *
 * Return: 0, also if it was prepared before; -ENODATA without a running guest;
 * -EOPNOTSUPP if the driver has no migration; -EXDEV and others as
 * glk_guest_prepare(). Since: 0.1
 */
int glk_manager_prepare_migrate(struct glk_manager *manager, const char *uri);

/**
 * glk_manager_complete_out() - on the source, at the end of a migration
 * @flags:	0: the guest has stopped for good; CANCEL: it goes on here
 *
 * Return: 0, also if it was done before; -EINVAL for unknown flags; -ENODATA if
 * nothing was prepared (CANCEL of nothing is fine); -EOPNOTSUPP; else as
 * glk_guest_out() and glk_guest_cancel(). Since: 0.1
 */
int glk_manager_complete_out(struct glk_manager *manager, unsigned flags);

/**
 * glk_manager_complete_in() - on the destination, at the end of a migration
 * @flags:	0: the guest runs here now; CANCEL: it does not
 *
 * With 0 it waits for the source's glk_manager_complete_out(0), or its end, up
 * to the time limit; so the two may be called in either order, if by two
 * processes.
 *
 * Return: 0, also if it was done before; -EINVAL for unknown flags; -ENODATA
 * unless CLAIMED, SUPERVISED or INCOMING; -EOPNOTSUPP; else as glk_guest_in()
 * and glk_guest_cancel(). Since: 0.1
 */
int glk_manager_complete_in(struct glk_manager *manager, unsigned flags);

/**
 * glk_manager_shutdown() - confirm that the guest has ended and all is free
 *
 * Ends no process: the caller has done that. Waits up to the time limit.
 * Leases that were given to no process are released.
 *
 * Return: 0; as glk_guest_wait(). Since: 0.1
 */
int glk_manager_shutdown(struct glk_manager *manager);

#ifdef __cplusplus
}
#endif

#endif
