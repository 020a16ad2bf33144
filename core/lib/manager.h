/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/base/uuid.h"
#include "core/lease/manager.h"
#include "core/lib/driver.h"
#include "core/lib/lib.h"

/* What was registered; owns the paths. */
struct resource_list {
	struct glk_resource *items;
	size_t n, cap;
};

struct drift_list {
	struct glk_drift *items;
	size_t n, cap;
};

struct glk_manager {
	struct glk_driver *driver;
	struct glk_context *context;
	struct manager_sm sm;

	char uuid[UUID_STRLEN + 1]; /* "" until it is set */
	char *name, *lockspace;
	struct resource_list resources; /* without what the driver ignores */
	struct drift_list drift;

	struct glk_driver_guest guest; /* what the driver sees of all this */
	void *state;		       /* the driver's, if @is_open */
	bool is_open;

	struct glk_driver_finding finding;
	char *supervisor; /* what glk_manager_supervisor_path() lent out */
	char **argv;	  /* with the path before it */
};

/* manager.c */

/**
 * manager_begin() - may this call be made now
 *
 * Return: 0; MANAGER_E_IDLE; or as the call, with a message.
 */
int manager_begin(struct glk_manager *manager, enum manager_call call);

/* The driver's state for this guest, from now on. Return: 0, -EDESTADDRREQ
   without a uuid, or as the driver's open(). */
int manager_open(struct glk_manager *manager);

/* What was begun in NEW has failed: another try may have other settings.
   Return: @r. */
int manager_back(struct glk_manager *manager, int r);

/* Return: 0, or -EOPNOTSUPP with a message. */
int manager_can(struct glk_manager *manager, unsigned ability,
		const char *what);

/* manager_child.c */

/* Find the guest's process. Return: as glk_manager_child(). */
int manager_find(struct glk_manager *manager, pid_t *ret_pid);

/**
 * manager_wait() - call a driver's function until it needs to wait no more
 * @fn:		returns -EAGAIN if it has to be called again
 *
 * Return: what @fn returns; -ETIME after the time limit; -ECANCELED.
 */
int manager_wait(struct glk_manager *manager,
		 int (*fn)(struct glk_manager *manager, pid_t *ret_pid),
		 pid_t *ret_pid);

/* resources.c */

/* Validate and copy, without what the driver ignores. On failure @ret_list is
   untouched. Return: 0 or as glk_manager_register(). */
int resources_copy(struct glk_manager *manager,
		   const struct glk_resource *resources, size_t n,
		   struct resource_list *ret_list);

/* Make room for @n more. Return: 0 or -ENOMEM. */
int resources_reserve(struct resource_list *list, size_t n);

/* Move all of @from to the end of @to, which has room. */
void resources_append(struct resource_list *to, struct resource_list *from);

/* Forget all that are named in @gone. */
void resources_remove(struct resource_list *list,
		      const struct resource_list *gone);

void resources_done(struct resource_list *list);
