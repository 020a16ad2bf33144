/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GUESTLOCK_DRIVER_H
#define GUESTLOCK_DRIVER_H

/*
 * For those who write a driver of the lock-manager API (guestlock/manager.h).
 *
 * A driver is a shared object that exports one data object,
 *
 *     const struct glk_driver_table glk_driver_table = { ... };
 *
 * built with this header. The drivers "ofd", "vm" and "nop" are written with
 * nothing else either (core/driver).
 *
 * The library keeps the order of calls: a function is only called in a state
 * that allows it, with resources that were checked, and only if its ability is
 * declared; a function of an ability that is not declared may be NULL. Each
 * returns 0 or a negative errno, and has set a message then
 * (glk_context_explain()); -EBUSY has conflicts (glk_context_blame()). On
 * failure everything is as before. Functions of one guest are called by one
 * thread at a time, of different guests by any.
 *
 * supervised() and shutdown() need not wait themselves: one that returns
 * -EAGAIN is called again, up to the manager's time limit.
 */

#include <guestlock.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GLK_DRIVER_VERSION 1

enum glk_driver_abilities {
	GLK_CAN_DISKS = 1 << 0,
	GLK_CAN_LEASES = 1 << 1,
	GLK_CAN_HOTPLUG = 1 << 2,
	GLK_CAN_MIGRATE = 1 << 3,
	GLK_CAN_ATTACH = 1 << 4,
	GLK_CAN_SUPERVISE = 1 << 5,
	GLK_IGNORES_DISKS = 1 << 6, /* they are accepted, and not passed on */
};

/* The guest of a manager. Valid as long as the driver's state for it. */
struct glk_driver_guest {
	struct glk_context *context; /* the manager's; has its policy, too */
	int mode;		     /* enum glk_manager_mode */
	struct glk_guest_config config;
	const char *lockspace; /* or NULL */
};

/* Where a driver's attach() tells what it has found. */
struct glk_driver_finding {
	pid_t pid;
	unsigned roles; /* bits 1 << enum glk_role of the guest's leases */
	/* Returns 0 or -ENOMEM, for attach() to return. */
	int (*drift)(struct glk_driver_finding *finding, int kind,
		     const char *path);
	const struct glk_resource *expected; /* what was registered */
	size_t n_expected;
};

struct glk_driver_table {
	unsigned version; /* GLK_DRIVER_VERSION */
	unsigned size;	  /* sizeof(struct glk_driver_table) */
	const char *name;
	unsigned abilities; /* enum glk_driver_abilities */

	/* Nothing is taken yet. @ret_state is passed to all others. */
	int (*open)(const struct glk_driver_guest *guest, void **ret_state);
	/* Memory only: no lease of a guest that runs. */
	void (*close)(void *state);

	/* All or nothing; in mode MIGRATE claims. Until started() the leases
	   live in this process. */
	int (*acquire)(void *state, const struct glk_resource *resources,
		       size_t n);
	/* Async-signal-safe; in a child of this process. */
	int (*inherit)(void *state);
	/* After supervisor(): the pid of that. */
	int (*started)(void *state, pid_t pid);
	/* Whoever has inherited what acquire() took, or whom supervised() or
	   attach() have found. Return: -ENODATA if nobody has yet; -ESRCH if it
	   has ended. */
	int (*child)(void *state, pid_t *ret_pid);

	/* GLK_CAN_SUPERVISE: path and arguments, NULL-terminated, each from
	   malloc(3), as the array is. Without resources it is asked for the
	   path. */
	int (*supervisor)(void *state, const struct glk_resource *resources,
			  size_t n, char ***ret_argv);
	/* Has the supervisor taken these? Return: -EAGAIN if not yet; -ESRCH if
	   it has ended. */
	int (*supervised)(void *state, const struct glk_resource *resources,
			  size_t n, pid_t *ret_pid);

	/* GLK_CAN_ATTACH; also to look again. Return also -ENOLCK, with all of
	   @finding: see glk_manager_child(). */
	int (*attach)(void *state, struct glk_driver_finding *finding);

	/* GLK_CAN_HOTPLUG */
	int (*add)(void *state, const struct glk_resource *resources, size_t n);
	int (*remove)(void *state, const struct glk_resource *resources,
		      size_t n);

	/* GLK_CAN_MIGRATE. Each may be repeated. */
	int (*prepare)(void *state, const char *uri);
	int (*out)(void *state);
	int (*in)(void *state);
	int (*cancel)(void *state);

	/* Release what no process was given, or wait for the guest's end, as
	   glk_guest_wait(). Return: -EAGAIN to be called again. */
	int (*shutdown)(void *state);
};

/* Set the context's message, as printf(3). Return: @error. Since: 0.1 */
int glk_context_explain(struct glk_context *context, int error,
			const char *format, ...)
	__attribute__((__format__(__printf__, 3, 4)));

/* Add a conflict; its strings are copied. Return: 0 or -ENOMEM. Since: 0.1 */
int glk_context_blame(struct glk_context *context,
		      const struct glk_conflict *conflict);

#ifdef __cplusplus
}
#endif

#endif
