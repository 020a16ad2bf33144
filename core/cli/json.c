/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/json.h"

#include "core/base/util.h"
#include "core/cli/status.h"
#include "core/cli/text.h"

#include <stdio.h>
#include <string.h>

static const char *name_at(const char *const *names, size_t n, int i)
{
	if (i < 0 || (size_t)i >= n || !names[i])
		return "unknown";
	return names[i];
}

const char *lease_type_name(int type)
{
	static const char *const names[] = {
		[GLK_LEASE_FILE] = "file",
		[GLK_LEASE_BLOCK] = "block",
		[GLK_LEASE_KEY] = "lease",
	};

	return name_at(names, ARRAY_SIZE(names), type);
}

const char *lease_mode_name(int mode)
{
	static const char *const names[] = {
		[GLK_MODE_EXCLUSIVE] = "exclusive",
		[GLK_MODE_SHARED] = "shared",
	};

	return name_at(names, ARRAY_SIZE(names), mode);
}

const char *lease_scope_name(int scope)
{
	static const char *const names[] = {
		[GLK_SCOPE_NODE] = "node",
		[GLK_SCOPE_HOST] = "host",
		[GLK_SCOPE_SERVER] = "server",
		[GLK_SCOPE_CLUSTER] = "cluster",
	};

	return name_at(names, ARRAY_SIZE(names), scope);
}

const char *lease_role_name(int role)
{
	static const char *const names[] = {
		[GLK_ROLE_NONE] = "none",
		[GLK_ROLE_OWNER] = "owner",
		[GLK_ROLE_PREPARED] = "prepared",
		[GLK_ROLE_LEFT] = "left",
		[GLK_ROLE_INCOMING] = "incoming",
		[GLK_ROLE_ARRIVED] = "arrived",
	};

	return name_at(names, ARRAY_SIZE(names), role);
}

const char *guest_holder_name(int holder)
{
	static const char *const names[] = {
		[GLK_HOLDER_GUEST] = "guest",
		[GLK_HOLDER_SELF] = "self",
		[GLK_HOLDER_KEEPER] = "keeper",
	};

	return name_at(names, ARRAY_SIZE(names), holder);
}

static const char *conflict_kind_name(int kind)
{
	static const char *const names[] = {
		[GLK_CONFLICT_UNKNOWN] = "unknown",
		[GLK_CONFLICT_GUEST] = "guest",
		[GLK_CONFLICT_PROCESS] = "process",
		[GLK_CONFLICT_HOST] = "host",
		[GLK_CONFLICT_KERNEL] = "kernel",
	};

	return name_at(names, ARRAY_SIZE(names), kind);
}

int json_set_bytes(json_t *object, const char *key, const char *s)
{
	_cleanup_(freep) char *utf8 = NULL, *bytes = NULL, *second = NULL;

	if (!s || !*s)
		return json_object_set_new(object, key, json_null());
	if (text_is_utf8(s))
		return json_object_set_new(object, key, json_string(s));
	utf8 = text_to_utf8(s);
	bytes = text_percent(s);
	if (!utf8 || !bytes || asprintf(&second, "%s_bytes", key) < 0)
		return -1;
	if (json_object_set_new(object, key, json_string(utf8)) < 0)
		return -1;
	return json_object_set_new(object, second, json_string(bytes));
}

json_t *json_time(uint64_t realtime_ns)
{
	char buf[TEXT_TIME_MAX];

	if (!realtime_ns)
		return json_null();
	return json_string(text_time(realtime_ns, TEXT_MILLISECONDS, buf));
}

static json_t *pid_or_null(pid_t pid)
{
	return pid > 0 ? json_integer(pid) : json_null();
}

/* @o, or NULL if one of its fields could not be set. */
static json_t *complete(json_t *o, int failed)
{
	if (!failed)
		return o;
	json_decref(o);
	return NULL;
}

json_t *json_lease(const struct glk_lease_info *lease)
{
	json_t *o = json_object();
	int e = json_set_bytes(o, "path", lease->path);

	e |= json_object_set_new(o, "type",
				 json_string(lease_type_name(lease->type)));
	e |= json_object_set_new(o, "mode",
				 json_string(lease_mode_name(lease->mode)));
	e |= json_object_set_new(o, "scope",
				 json_string(lease_scope_name(lease->scope)));
	e |= json_object_set_new(o, "held",
				 lease->held == GLK_HELD_UNKNOWN
					 ? json_null()
					 : json_boolean(lease->held));
	e |= json_object_set_new(o, "same_file",
				 json_boolean(lease->same_file));
	e |= json_object_set_new(o, "since", json_time(lease->since));
	e |= json_object_set_new(o, "role",
				 json_string(lease_role_name(lease->role)));
	return complete(o, e);
}

static json_t *leases_of(const struct glk_guest_info *info)
{
	json_t *leases = json_array();
	int e = 0;

	for (size_t i = 0; i < info->n_leases; i++)
		e |= json_array_append_new(leases,
					   json_lease(&info->leases[i]));
	return complete(leases, e);
}

json_t *json_guest(const struct glk_guest_info *info)
{
	json_t *o = json_object();
	int e = json_set_bytes(o, "uuid", info->uuid);

	e |= json_set_bytes(o, "name", info->name);
	e |= json_object_set_new(o, "id",
				 info->id < 0 ? json_null()
					      : json_integer(info->id));
	e |= json_object_set_new(o, "pid", pid_or_null(info->pid));
	e |= json_object_set_new(o, "holder",
				 json_string(guest_holder_name(info->holder)));
	e |= json_object_set_new(o, "uid", json_integer(info->uid));
	e |= json_object_set_new(o, "started", json_time(info->started));
	e |= json_object_set_new(o, "epoch",
				 json_integer((json_int_t)info->epoch));
	e |= json_object_set_new(o, "leases", leases_of(info));
	if (info->n_garbled)
		e |= json_object_set_new(o, "garbled",
					 json_integer(
						 (json_int_t)info->n_garbled));
	if (info->error)
		e |= json_object_set_new(o, "error",
					 json_string(status_word(info->error)));
	return complete(o, e);
}

json_t *json_holder(const struct glk_conflict *c)
{
	json_t *o = json_object();
	int e = json_object_set_new(o, "kind",
				    json_string(conflict_kind_name(c->kind)));

	e |= json_set_bytes(o, "uuid", c->uuid);
	e |= json_set_bytes(o, "name", c->name);
	e |= json_object_set_new(o, "pid", pid_or_null(c->pid));
	e |= json_set_bytes(o, "exe", c->exe);
	e |= json_object_set_new(o, "since", json_time(c->since));
	if (c->host && *c->host)
		e |= json_set_bytes(o, "host", c->host);
	if (c->how && *c->how)
		e |= json_set_bytes(o, "how", c->how);
	return complete(o, e);
}

json_t *json_conflict(const struct glk_conflict *c)
{
	json_t *o = json_object();
	int e = json_set_bytes(o, "path", c->path);

	e |= json_object_set_new(o, "mode",
				 json_string(lease_mode_name(c->mode)));
	e |= json_object_set_new(o, "holder", json_holder(c));
	return complete(o, e);
}

int json_write(json_t *value, FILE *f)
{
	int r = -ENOMEM;

	if (value)
		r = json_dumpf(value, f, JSON_ENSURE_ASCII) ? -EIO : 0;
	json_decref(value);
	if (r == 0 && fputc('\n', f) == EOF)
		return -EIO;
	return r;
}
