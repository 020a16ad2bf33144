/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/name.h"

#include "core/base/util.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define NAME_PREFIX "guestlock/1/"

/*
 * Parsing is lenient, then the result is formatted again and compared with the
 * input. So canonical form needs no rules of its own, and no name has two
 * spellings.
 */

bool name_has_prefix(const char *name, size_t len)
{
	return len >= strlen(NAME_PREFIX) &&
	       !memcmp(name, NAME_PREFIX, strlen(NAME_PREFIX));
}

bool name_has_uuid(const char *name, size_t len, const struct uuid *uuid)
{
	char text[UUID_STRLEN + 1];

	return name_has_prefix(name, len) &&
	       len > strlen(NAME_PREFIX) + UUID_STRLEN &&
	       !memcmp(name + strlen(NAME_PREFIX), uuid_format(uuid, text),
		       UUID_STRLEN);
}

int name_format(const struct name_parts *parts, char *buf, size_t size)
{
	char uuid[UUID_STRLEN + 1];
	int len;

	if (parts->pid < 1 || parts->fd < 0)
		return -EINVAL;
	len = snprintf(buf, size, NAME_PREFIX "%s/%d/%d/%016" PRIx64,
		       uuid_format(&parts->uuid, uuid), parts->pid, parts->fd,
		       parts->nonce);
	return len >= 0 && (size_t)len < size ? len : -ENOBUFS;
}

static int name_scan(const char *name, struct name_parts *ret_parts)
{
	char uuid[UUID_STRLEN + 1];
	long long pid, fd;
	uint64_t nonce;

	if (sscanf(name, NAME_PREFIX "%36[^/]/%10lld/%10lld/%16" SCNx64, uuid,
		   &pid, &fd, &nonce) != 4)
		return -EINVAL;
	if (pid < 1 || pid > INT_MAX || fd < 0 || fd > INT_MAX)
		return -EINVAL;
	ret_parts->pid = (pid_t)pid;
	ret_parts->fd = (int)fd;
	ret_parts->nonce = nonce;
	return uuid_parse(uuid, &ret_parts->uuid);
}

int name_parse(const char *name, size_t len, struct name_parts *ret_parts)
{
	char copy[CAPSULE_SOCKNAME_MAX + 1], again[CAPSULE_SOCKNAME_MAX + 1];
	struct name_parts parts;
	int r;

	if (!name_has_prefix(name, len) || len > CAPSULE_SOCKNAME_MAX)
		return -EINVAL;
	memcpy(copy, name, len);
	copy[len] = '\0';
	r = name_scan(copy, &parts);
	if (r < 0)
		return r;
	r = name_format(&parts, again, sizeof(again));
	if (r < 0 || (size_t)r != len || memcmp(name, again, len))
		return -EINVAL;
	*ret_parts = parts;
	return 0;
}
