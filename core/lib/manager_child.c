/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/manager.h"

#include "core/base/clock.h"

#include <limits.h>
#include <string.h>

/* From leases that are ours to a process that has them, and back to a process
   whose manager was another one. */

#define WAIT_MS_MAX 20

static int set_remaining(struct glk_context *context, uint64_t deadline)
{
	uint64_t now = clock_now();

	if (now >= deadline)
		return context_fail(context, -ETIME,
				    "the guest " TEXT_TOO_SLOW);
	context->timeout_ms = (unsigned)MIN((deadline - now + NSEC_PER_MSEC -
					     1) / NSEC_PER_MSEC,
					    UINT_MAX);
	return 0;
}

/* Each look has what is left of the time limit. A cancel ends the next one. */
int manager_wait(struct glk_manager *manager,
		 int (*fn)(struct glk_manager *manager, pid_t *ret_pid),
		 pid_t *ret_pid)
{
	struct glk_context *context = manager->context;
	unsigned timeout_ms = context->timeout_ms;
	uint64_t deadline = context->deadline;
	unsigned ms = 1;
	int r;

	for (;;) {
		r = fn(manager, ret_pid);
		if (r != -EAGAIN)
			break;
		r = set_remaining(context, deadline);
		if (r)
			break;
		usleep(MIN(ms, context->timeout_ms) * 1000);
		ms = MIN(2 * ms, WAIT_MS_MAX);
		r = context_begin(context);
		if (r)
			break;
	}
	context->timeout_ms = timeout_ms;
	return r;
}

static void forget_drift(struct drift_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free((char *)list->items[i].path);
	list->n = 0;
}

/* glk_driver_finding.drift */
static int add_drift(struct glk_driver_finding *finding, int kind,
		     const char *path)
{
	struct glk_manager *manager =
		(struct glk_manager *)((char *)finding -
				       offsetof(struct glk_manager, finding));
	struct drift_list *list = &manager->drift;
	size_t cap = list->cap ? 2 * list->cap : 8;
	char *copy;
	void *items;

	if (list->n == list->cap) {
		items = reallocarray(list->items, cap, sizeof(*list->items));
		if (!items)
			return -ENOMEM;
		list->items = items;
		list->cap = cap;
	}
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	list->items[list->n++] = (struct glk_drift){ kind, copy };
	return 0;
}

/* What one disk says after a crash amid a step, all of them will say when the
   step is done again; so the furthest one tells which step that is. */
static enum manager_event event_of_roles(unsigned roles)
{
	if (roles & 1U << GLK_ROLE_INCOMING)
		return MANAGER_EVENT_FOUND_INCOMING;
	if (roles & 1U << GLK_ROLE_LEFT)
		return MANAGER_EVENT_FOUND_LEFT;
	if (roles & 1U << GLK_ROLE_PREPARED)
		return MANAGER_EVENT_FOUND_PREPARED;
	return MANAGER_EVENT_FOUND_RUNNING;
}

/* A guest with a lost lock is found all the same: it has to be managed. */
static int attach(struct glk_manager *manager, pid_t *ret_pid)
{
	struct glk_driver_finding *finding = &manager->finding;
	int r, moved;

	forget_drift(&manager->drift);
	*finding = (struct glk_driver_finding){
		.drift = add_drift,
		.expected = manager->resources.items,
		.n_expected = manager->resources.n,
	};
	r = manager->driver->table->attach(manager->state, finding);
	if (r && r != -ENOLCK)
		return r;
	moved = manager_move(&manager->sm, event_of_roles(finding->roles));
	if (!r && !moved)
		*ret_pid = finding->pid;
	return r ? r : moved;
}

static int supervised(struct glk_manager *manager, pid_t *ret_pid)
{
	return manager->driver->table->supervised(manager->state,
						  manager->resources.items,
						  manager->resources.n,
						  ret_pid);
}

static int find_supervised(struct glk_manager *manager, pid_t *ret_pid)
{
	struct glk_context *context = manager->context;
	int r;

	/* It may wait that long for its disks. */
	context->deadline += context->policy.wait_ms * NSEC_PER_MSEC;
	r = manager_wait(manager, supervised, ret_pid);
	return r ? r : manager_move(&manager->sm, MANAGER_EVENT_STARTED);
}

static int find_child(struct glk_manager *manager, pid_t *ret_pid)
{
	enum manager_state state = manager_state(&manager->sm);
	int r = manager->driver->table->child(manager->state, ret_pid);

	if (!r && (state == MANAGER_HELD || state == MANAGER_CLAIMED))
		r = manager_move(&manager->sm, MANAGER_EVENT_STARTED);
	return r;
}

int manager_find(struct glk_manager *manager, pid_t *ret_pid)
{
	enum manager_state state = manager_state(&manager->sm);

	if (state == MANAGER_SUPERVISED)
		return find_supervised(manager, ret_pid);
	if (manager->sm.mode == MODE_ATTACH && state != MANAGER_CANCELLED)
		return attach(manager, ret_pid);
	return find_child(manager, ret_pid);
}

static int take(struct glk_manager *manager)
{
	int r = manager->driver->table->acquire(manager->state,
						manager->resources.items,
						manager->resources.n);

	return r ? r : manager_move(&manager->sm, MANAGER_EVENT_ACQUIRED);
}

GLK_EXPORT int glk_manager_acquire(struct glk_manager *manager)
{
	pid_t pid;
	int r;

	r = manager_begin(manager, MANAGER_CALL_ACQUIRE);
	if (!r)
		r = manager_open(manager);
	if (r)
		return r;
	if (manager->sm.mode == MODE_ATTACH)
		r = attach(manager, &pid);
	else
		r = take(manager);
	return manager_back(manager, r);
}

GLK_EXPORT int glk_manager_inherit(struct glk_manager *manager)
{
	int r = manager_may(&manager->sm, MANAGER_CALL_INHERIT);

	return r ? r : manager->driver->table->inherit(manager->state);
}

GLK_EXPORT int glk_manager_started(struct glk_manager *manager, pid_t pid)
{
	int r = manager_begin(manager, MANAGER_CALL_STARTED);

	if (r)
		return r;
	if (pid <= 0)
		return context_fail(manager->context, -EINVAL,
				    "%d is no process", (int)pid);
	r = manager->driver->table->started(manager->state, pid);
	if (r || manager_state(&manager->sm) == MANAGER_SUPERVISED)
		return r;
	return manager_move(&manager->sm, MANAGER_EVENT_STARTED);
}

GLK_EXPORT int glk_manager_child(struct glk_manager *manager, pid_t *ret_pid)
{
	int r = manager_begin(manager, MANAGER_CALL_CHILD);

	if (!r)
		r = manager_open(manager);
	if (!r)
		r = manager_find(manager, ret_pid);
	return manager_back(manager, r);
}

GLK_EXPORT size_t glk_manager_drift(const struct glk_manager *manager,
				    const struct glk_drift **ret_drift)
{
	*ret_drift = manager->drift.items;
	return manager->drift.n;
}

static int end(struct glk_manager *manager, pid_t *ret_pid)
{
	(void)ret_pid;
	return manager->driver->table->shutdown(manager->state);
}

GLK_EXPORT int glk_manager_shutdown(struct glk_manager *manager)
{
	int r = manager_begin(manager, MANAGER_CALL_SHUTDOWN);

	if (r)
		return r == MANAGER_E_IDLE ? 0 : r;
	r = manager_wait(manager, end, NULL);
	return r ? r : manager_move(&manager->sm, MANAGER_EVENT_ENDED);
}
