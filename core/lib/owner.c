/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/owner.h"

#include "core/base/util.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/*
 * One line of JSON, so that an administrator can read it, in a record of one
 * size: one write replaces what stood there before, or is cut, and then there
 * is no line and no record. What comes after the line is padding.
 *
 * JSON has no bytes that are not UTF-8; in a guest's name "?" stands for them.
 */

static void replace_wide(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s >= 0x80)
			*s = '?';
}

static json_t *text(const char *s)
{
	json_t *value = json_string(s);
	char plain[OWNER_NAME_MAX + 1];

	if (value)
		return value;
	snprintf(plain, sizeof(plain), "%s", s);
	replace_wide(plain);
	return json_string(plain);
}

int owner_encode(const struct owner *owner, char *ret_buf)
{
	json_t *record =
		json_pack("{s:i, s:o, s:s, s:o, s:i, s:I, s:I}", "guestlock", 1,
			  "name", text(owner->name), "uuid", owner->uuid,
			  "host", text(owner->host), "pid", (int)owner->pid,
			  "since", (json_int_t)owner->since, "epoch",
			  (json_int_t)owner->epoch);
	size_t n;

	if (!record)
		return -ENOMEM;
	memset(ret_buf, ' ', OWNER_SIZE);
	n = json_dumpb(record, ret_buf, OWNER_SIZE - 2, JSON_COMPACT);
	json_decref(record);
	if (!n || n > OWNER_SIZE - 2)
		return -ENOMEM;
	ret_buf[n] = ret_buf[OWNER_SIZE - 1] = '\n';
	return 0;
}

bool owner_is_ours(const char *start, size_t size)
{
	return !size || (size >= OWNER_MAGIC_SIZE &&
			 !memcmp(start, OWNER_MAGIC, OWNER_MAGIC_SIZE));
}

/* Without control characters: it is shown to somebody. */
static bool take_text(const json_t *record, const char *key, char *ret,
		      size_t size)
{
	const json_t *value = json_object_get(record, key);
	const char *s = json_string_value(value);

	if (!s || strlen(s) >= size)
		return false;
	for (size_t i = 0; s[i]; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	strcpy(ret, s);
	return true;
}

static bool take_number(const json_t *record, const char *key, json_int_t max,
			uint64_t *ret)
{
	const json_t *value = json_object_get(record, key);
	json_int_t n = json_integer_value(value);

	if (!json_is_integer(value) || n < 0 || n > max)
		return false;
	*ret = (uint64_t)n;
	return true;
}

static bool take_owner(const json_t *record, struct owner *ret_owner)
{
	struct owner o = {};
	struct uuid uuid;
	uint64_t pid;

	if (!take_text(record, "name", o.name, sizeof(o.name)) ||
	    !take_text(record, "uuid", o.uuid, sizeof(o.uuid)) ||
	    !take_text(record, "host", o.host, sizeof(o.host)) ||
	    !take_number(record, "pid", INT_MAX, &pid) ||
	    !take_number(record, "since", INT64_MAX, &o.since) ||
	    !take_number(record, "epoch", INT64_MAX, &o.epoch))
		return false;
	if (uuid_parse(o.uuid, &uuid) || !*o.host)
		return false;
	uuid_format(&uuid, o.uuid);
	o.pid = (pid_t)pid;
	*ret_owner = o;
	return true;
}

int owner_parse(const char *buf, size_t size, struct owner *ret_owner)
{
	const char *end =
		size ? memchr(buf, '\n', MIN(size, OWNER_SIZE)) : NULL;
	json_t *record;
	bool good;

	/* Most of what makes no sense need not be parsed to be seen. */
	if (!end || end == buf || !owner_is_ours(buf, (size_t)(end - buf)))
		return -ENODATA;
	record = json_loadb(buf, (size_t)(end - buf), JSON_REJECT_DUPLICATES,
			    NULL);
	good = record && take_owner(record, ret_owner);
	json_decref(record);
	return good ? 0 : -ENODATA;
}

void owner_host(char *ret_host)
{
	struct utsname name;

	if (uname(&name))
		strcpy(name.nodename, "localhost");
	snprintf(ret_host, OWNER_HOST_MAX + 1, "%.*s", OWNER_HOST_MAX,
		 name.nodename);
}
