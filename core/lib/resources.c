/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/manager.h"

#include <string.h>

/* The resources of a manager: what was registered, and is not ignored. */

void resources_done(struct resource_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free((char *)list->items[i].path);
	free(list->items);
	*list = (struct resource_list){};
}

int resources_reserve(struct resource_list *list, size_t n)
{
	size_t cap = MAX(list->n + n, 2 * list->cap);
	void *items;

	if (list->n + n <= list->cap)
		return 0;
	items = reallocarray(list->items, cap, sizeof(*list->items));
	if (!items)
		return -ENOMEM;
	list->items = items;
	list->cap = cap;
	return 0;
}

static int check(struct glk_manager *manager, const struct glk_resource *r)
{
	const unsigned known = GLK_DISK_SHARED | GLK_DISK_READONLY;
	size_t len = r->path ? strlen(r->path) : 0;

	if (!len)
		return context_fail(manager->context, -EINVAL,
				    "a resource has no path");
	if (len > CAPSULE_PATH_MAX)
		return context_fail(manager->context, -ENAMETOOLONG,
				    "%s: path is longer than %d bytes",
				    quoted(r->path), CAPSULE_PATH_MAX);
	if (r->flags & ~known)
		return context_fail(manager->context, -EINVAL,
				    "%s: unknown flags 0x%x", quoted(r->path),
				    r->flags);
	switch (r->type) {
	case GLK_RESOURCE_DISK:
		return manager_can(manager, GLK_CAN_DISKS | GLK_IGNORES_DISKS,
				   "disks");
	case GLK_RESOURCE_LEASE:
		return manager_can(manager, GLK_CAN_LEASES, "leases");
	default:
		return context_fail(manager->context, -EINVAL,
				    "%s: unknown resource type %d",
				    quoted(r->path), r->type);
	}
}

static bool is_ignored(const struct glk_manager *manager,
		       const struct glk_resource *resource)
{
	return resource->type == GLK_RESOURCE_DISK &&
	       driver_can(manager->driver, GLK_IGNORES_DISKS);
}

int resources_copy(struct glk_manager *manager,
		   const struct glk_resource *resources, size_t n,
		   struct resource_list *ret_list)
{
	struct resource_list list = {};
	int r = 0;

	if (resources_reserve(&list, n))
		return context_no_memory(manager->context);
	for (size_t i = 0; i < n && !r; i++) {
		r = check(manager, &resources[i]);
		if (r || is_ignored(manager, &resources[i]))
			continue;
		list.items[list.n] = resources[i];
		list.items[list.n].path = strdup(resources[i].path);
		if (list.items[list.n].path)
			list.n++;
		else
			r = context_no_memory(manager->context);
	}
	if (r)
		resources_done(&list);
	else
		*ret_list = list;
	return r;
}

void resources_append(struct resource_list *to, struct resource_list *from)
{
	if (from->n)
		memcpy(&to->items[to->n], from->items,
		       from->n * sizeof(*from->items));
	to->n += from->n;
	from->n = 0;
	resources_done(from);
}

static bool is_in(const struct resource_list *list,
		  const struct glk_resource *resource)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->items[i].type == resource->type &&
		    path_same_text(list->items[i].path, resource->path))
			return true;
	return false;
}

void resources_remove(struct resource_list *list,
		      const struct resource_list *gone)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->n; i++) {
		if (is_in(gone, &list->items[i]))
			free((char *)list->items[i].path);
		else
			list->items[kept++] = list->items[i];
	}
	list->n = kept;
}
