/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/manager.h"

#include "core/base/err.h"

#include <string.h>

/*
 * A manager is a context, a state machine, and a driver's state for one guest.
 * The driver's is made as late as possible, when all settings are known, and
 * thrown away when what it was made for has failed.
 *
 * Each call has the same shape: ask the machine, let the driver do it, tell the
 * machine. So what a call in the wrong state answers is said once, by the
 * machine's table, and a driver never sees such a call.
 */

_Static_assert((int)MODE_START == (int)GLK_MANAGER_START &&
		       (int)MODE_ATTACH == (int)GLK_MANAGER_ATTACH &&
		       (int)MODE_MIGRATE == (int)GLK_MANAGER_MIGRATE,
	       "one numbering of the modes");

static int check_new(const struct glk_driver *driver, int type, int mode)
{
	if (type != GLK_OBJECT_DOMAIN && type != GLK_OBJECT_START_DOMAIN)
		return -EINVAL;
	switch (mode) {
	case GLK_MANAGER_START:
		return 0;
	case GLK_MANAGER_ATTACH:
		return driver_can(driver, GLK_CAN_ATTACH) ? 0 : -EOPNOTSUPP;
	case GLK_MANAGER_MIGRATE:
		return driver_can(driver, GLK_CAN_MIGRATE) ? 0 : -EOPNOTSUPP;
	default:
		return -EINVAL;
	}
}

GLK_EXPORT int glk_manager_new(struct glk_driver *driver, int type, int mode,
			       struct glk_manager **ret_manager)
{
	struct glk_manager *manager;
	int r;

	r = check_new(driver, type, mode);
	if (r)
		return r;
	manager = calloc(1, sizeof(*manager));
	if (!manager)
		return -ENOMEM;
	r = glk_context_new(&manager->context);
	if (r) {
		free(manager);
		return r;
	}
	manager->driver = driver_ref(driver);
	manager->guest = (struct glk_driver_guest){
		.context = manager->context,
		.mode = mode,
		.config = GLK_GUEST_CONFIG_INIT,
	};
	manager_init(&manager->sm, (enum manager_mode)mode);
	*ret_manager = manager;
	return 0;
}

static void forget_words(struct glk_manager *manager)
{
	for (char **word = manager->argv; word && *word; word++)
		free(*word);
	free(manager->argv);
	free(manager->supervisor);
}

GLK_EXPORT void glk_manager_free(struct glk_manager *manager)
{
	if (!manager)
		return;
	if (manager->is_open)
		manager->driver->table->close(manager->state);
	for (size_t i = 0; i < manager->drift.n; i++)
		free((char *)manager->drift.items[i].path);
	free(manager->drift.items);
	resources_done(&manager->resources);
	forget_words(manager);
	free(manager->name);
	free(manager->lockspace);
	glk_context_free(manager->context);
	glk_driver_unload(manager->driver);
	free(manager);
}

GLK_EXPORT void glk_manager_set_timeout(struct glk_manager *manager,
					unsigned ms)
{
	glk_context_set_timeout(manager->context, ms);
}

GLK_EXPORT int glk_manager_set_policy(struct glk_manager *manager,
				      const struct glk_policy *policy)
{
	return glk_context_set_policy(manager->context, policy);
}

GLK_EXPORT void glk_manager_cancel(struct glk_manager *manager)
{
	glk_context_cancel(manager->context);
}

GLK_EXPORT const char *glk_manager_message(const struct glk_manager *manager)
{
	return glk_context_message(manager->context);
}

GLK_EXPORT size_t
glk_manager_conflicts(const struct glk_manager *manager,
		      const struct glk_conflict **ret_conflicts)
{
	return glk_context_conflicts(manager->context, ret_conflicts);
}

GLK_EXPORT const char *glk_manager_state(const struct glk_manager *manager)
{
	return manager_state_name(manager_state(&manager->sm));
}

static const char *why_not(int error)
{
	switch (-error) {
	case EALREADY:
		return "it is too late for that";
	case ENODATA:
		return "there is nothing to do that with";
	case EINPROGRESS:
		return "a migration is under way";
	case EOPNOTSUPP:
		return "the guest runs without a supervisor";
	case ESRCH:
		return "the guest has ended";
	default:
		return strerror(-error);
	}
}

int manager_begin(struct glk_manager *manager, enum manager_call call)
{
	int r = context_begin(manager->context);

	if (r)
		return r;
	r = manager_may(&manager->sm, call);
	if (r >= 0)
		return r;
	return context_fail(manager->context, r, "cannot %s in state '%s': %s",
			    manager_call_name(call), glk_manager_state(manager),
			    why_not(r));
}

int manager_can(struct glk_manager *manager, unsigned ability, const char *what)
{
	if (driver_can(manager->driver, ability))
		return 0;
	return context_fail(manager->context, -EOPNOTSUPP,
			    "driver '%s' does not support %s",
			    glk_driver_name(manager->driver), what);
}

int manager_open(struct glk_manager *manager)
{
	struct glk_guest_config *config = &manager->guest.config;
	int r;

	if (manager->is_open)
		return 0;
	if (!*manager->uuid)
		return context_fail(manager->context, -EDESTADDRREQ,
				    "the guest's uuid was not set");
	config->uuid = manager->uuid;
	config->name = manager->name;
	config->holder = GLK_HOLDER_GUEST;
	if (manager->sm.mode == MODE_MIGRATE)
		config->flags = GLK_GUEST_INCOMING;
	manager->guest.lockspace = manager->lockspace;
	r = manager->driver->table->open(&manager->guest, &manager->state);
	manager->is_open = !r;
	return r;
}

int manager_back(struct glk_manager *manager, int r)
{
	if (manager_state(&manager->sm) == MANAGER_NEW && manager->is_open) {
		manager->driver->table->close(manager->state);
		manager->is_open = false;
	}
	return r;
}

static int parse_number(const char *value, int64_t max, int64_t *ret_number)
{
	long long n;
	char *end;

	if (*value < '0' || *value > '9')
		return -EINVAL;
	errno = 0;
	n = strtoll(value, &end, 10);
	if (errno || *end || n > max)
		return -EINVAL;
	*ret_number = n;
	return 0;
}

static int set_text(char **text, const char *value, size_t max)
{
	char *copy;

	if (!*value || strlen(value) > max)
		return -EINVAL;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}

static int set_name(struct glk_manager *manager, const char *value)
{
	for (const char *c = value; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return -EINVAL;
	return set_text(&manager->name, value, CAPSULE_NAME_MAX);
}

static int set_uuid(struct glk_manager *manager, const char *value)
{
	struct uuid uuid;
	int r = uuid_parse(value, &uuid);

	if (!r)
		uuid_format(&uuid, manager->uuid);
	return r;
}

static int set_lockspace(struct glk_manager *manager, const char *value)
{
	/* With a slash and a uuid behind it it is still a path. */
	return set_text(&manager->lockspace, value,
			CAPSULE_PATH_MAX - 1 - UUID_STRLEN);
}

static int set_id(struct glk_manager *manager, const char *value)
{
	return parse_number(value, INT64_MAX, &manager->guest.config.id);
}

static int set_pid(struct glk_manager *manager, const char *value)
{
	int64_t n = 0;
	int r = parse_number(value, INT32_MAX, &n);

	if (!r && !n)
		return -EINVAL;
	if (!r)
		manager->guest.config.pid = (pid_t)n;
	return r;
}

static int set_epoch(struct glk_manager *manager, const char *value)
{
	int64_t n = 0;
	int r = parse_number(value, INT64_MAX, &n);

	if (!r)
		manager->guest.config.epoch = (uint64_t)n;
	return r;
}

static const struct parameter {
	const char *key;
	int (*set)(struct glk_manager *manager, const char *value);
} parameters[] = {
	{ "uuid", set_uuid },	{ "name", set_name },
	{ "id", set_id },	{ "pid", set_pid },
	{ "epoch", set_epoch }, { "lockspace", set_lockspace },
};

GLK_EXPORT int glk_manager_set(struct glk_manager *manager, const char *key,
			       const char *value)
{
	int r = manager_begin(manager, MANAGER_CALL_SET);

	if (r)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
		if (!key || strcmp(parameters[i].key, key))
			continue;
		r = value ? parameters[i].set(manager, value) : -EINVAL;
		if (r == -ENOMEM)
			return context_no_memory(manager->context);
		return r ? context_fail(manager->context, r, "'%s' is no %s",
					quoted(value ? value : ""), key)
			 : 0;
	}
	return context_fail(manager->context, -EINVAL,
			    "there is no parameter '%s'",
			    quoted(key ? key : ""));
}

GLK_EXPORT int glk_manager_register(struct glk_manager *manager,
				    const struct glk_resource *resources,
				    size_t n)
{
	struct resource_list list = {};
	int r = manager_begin(manager, MANAGER_CALL_REGISTER);

	if (!r)
		r = resources_copy(manager, resources, n, &list);
	if (r)
		return r;
	if (resources_reserve(&manager->resources, list.n)) {
		resources_done(&list);
		return context_no_memory(manager->context);
	}
	resources_append(&manager->resources, &list);
	return 0;
}
