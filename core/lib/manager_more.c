/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/manager.h"

/* What not every driver can: a supervisor, hotplug and migration. Whether it
   can is told before whether it may, for that never changes. */

static int begin_ability(struct glk_manager *manager, enum manager_call call,
			 unsigned ability, const char *what)
{
	int r = context_begin(manager->context);

	if (!r)
		r = manager_can(manager, ability, what);
	return r ? r : manager_begin(manager, call);
}

/* Supervisor */

static int begin_supervisor(struct glk_manager *manager)
{
	int r = begin_ability(manager, MANAGER_CALL_SUPERVISOR,
			      GLK_CAN_SUPERVISE, "a supervisor");

	return r ? r : manager_open(manager);
}

/* Keep the first of @words and free the others. */
static char *take_path(char **words)
{
	char *path = words[0];

	for (char **word = words + 1; *word; word++)
		free(*word);
	free(words);
	return path;
}

/* The path does not depend on resources, of which more may still come. */
GLK_EXPORT int glk_manager_supervisor_path(struct glk_manager *manager,
					   const char **ret_path)
{
	char **words = NULL;
	int r = begin_supervisor(manager);

	if (!r && !manager->supervisor) {
		r = manager->driver->table->supervisor(manager->state, NULL, 0,
						       &words);
		if (!r)
			manager->supervisor = take_path(words);
	}
	if (!r)
		*ret_path = manager->supervisor;
	return manager_back(manager, r);
}

static int supervise(struct glk_manager *manager)
{
	int r;

	if (manager->argv)
		return 0;
	r = manager->driver->table->supervisor(manager->state,
					       manager->resources.items,
					       manager->resources.n,
					       &manager->argv);
	return r ? r : manager_move(&manager->sm, MANAGER_EVENT_SUPERVISED);
}

GLK_EXPORT int glk_manager_supervisor_args(struct glk_manager *manager,
					   char *const **ret_argv,
					   int *ret_argc)
{
	int r = begin_supervisor(manager), n = 0;

	if (!r)
		r = supervise(manager);
	if (!r) {
		while (manager->argv[1 + n])
			n++;
		*ret_argv = manager->argv + 1;
		*ret_argc = n;
	}
	return manager_back(manager, r);
}

/* Hotplug */

static int plug(struct glk_manager *manager, struct resource_list *list)
{
	int r;

	if (resources_reserve(&manager->resources, list->n))
		return context_no_memory(manager->context);
	r = manager->driver->table->add(manager->state, list->items, list->n);
	if (!r)
		resources_append(&manager->resources, list);
	return r;
}

GLK_EXPORT int glk_manager_acquire_resources(
	struct glk_manager *manager, const struct glk_resource *resources,
	size_t n)
{
	struct resource_list list = {};
	int r = begin_ability(manager, MANAGER_CALL_PLUG, GLK_CAN_HOTPLUG,
			      "hotplug");

	if (!r)
		r = resources_copy(manager, resources, n, &list);
	if (!r && list.n)
		r = plug(manager, &list);
	resources_done(&list);
	return r;
}

GLK_EXPORT int glk_manager_release_resources(
	struct glk_manager *manager, const struct glk_resource *resources,
	size_t n)
{
	struct resource_list list = {};
	int r = begin_ability(manager, MANAGER_CALL_UNPLUG, GLK_CAN_HOTPLUG,
			      "hotplug");

	if (!r)
		r = resources_copy(manager, resources, n, &list);
	if (!r && list.n)
		r = manager->driver->table->remove(manager->state, list.items,
						   list.n);
	if (!r)
		resources_remove(&manager->resources, &list);
	resources_done(&list);
	return r;
}

/* Migration */

static int begin_migration(struct glk_manager *manager, enum manager_call call)
{
	return begin_ability(manager, call, GLK_CAN_MIGRATE, "migration");
}

GLK_EXPORT int glk_manager_prepare_migrate(struct glk_manager *manager,
					   const char *uri)
{
	int r = begin_migration(manager, MANAGER_CALL_PREPARE);

	if (r)
		return r;
	if (!uri || !*uri)
		return context_fail(manager->context, -EINVAL,
				    "no destination is named");
	r = manager->driver->table->prepare(manager->state, uri);
	return r ? r : manager_move(&manager->sm, MANAGER_EVENT_PREPARED);
}

static int check_flags(struct glk_manager *manager, unsigned flags)
{
	int r = context_begin(manager->context);

	if (!r && (flags & ~(unsigned)GLK_MIGRATE_CANCEL))
		r = context_fail(manager->context, -EINVAL,
				 "unknown flags 0x%x", flags);
	return r;
}

static int finish(struct glk_manager *manager, int r, enum manager_event event)
{
	return r ? r : manager_move(&manager->sm, event);
}

GLK_EXPORT int glk_manager_complete_out(struct glk_manager *manager,
					unsigned flags)
{
	const struct glk_driver_table *table = manager->driver->table;
	int r = check_flags(manager, flags);

	if (!r)
		r = begin_migration(manager, flags ? MANAGER_CALL_OUT_CANCEL
						   : MANAGER_CALL_OUT);
	if (r)
		return r == MANAGER_E_IDLE ? 0 : r;
	if (flags)
		return finish(manager, table->cancel(manager->state),
			      MANAGER_EVENT_BACK);
	return finish(manager, table->out(manager->state), MANAGER_EVENT_OUT);
}

/*
 * A supervisor that has not claimed everything yet might still do so when we
 * have cancelled: it is waited for. One that has ended never will.
 */
static int cancel_in(struct glk_manager *manager)
{
	pid_t pid;
	int r = 0;

	if (manager_state(&manager->sm) == MANAGER_SUPERVISED) {
		r = manager_find(manager, &pid);
		if (r == -ESRCH)
			return manager_move(&manager->sm,
					    MANAGER_EVENT_CANCELLED);
	}
	if (!r)
		r = manager->driver->table->cancel(manager->state);
	return finish(manager, r, MANAGER_EVENT_CANCELLED);
}

static int complete_in(struct glk_manager *manager)
{
	pid_t pid;
	int r = 0;

	if (manager_state(&manager->sm) == MANAGER_SUPERVISED)
		r = manager_find(manager, &pid);
	if (!r)
		r = manager->driver->table->in(manager->state);
	return finish(manager, r, MANAGER_EVENT_IN);
}

GLK_EXPORT int glk_manager_complete_in(struct glk_manager *manager,
				       unsigned flags)
{
	int r = check_flags(manager, flags);

	if (!r)
		r = begin_migration(manager, flags ? MANAGER_CALL_IN_CANCEL
						   : MANAGER_CALL_IN);
	if (r)
		return r == MANAGER_E_IDLE ? 0 : r;
	return flags ? cancel_in(manager) : complete_in(manager);
}
