/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The abstract name of a capsule's socket, without the leading NUL byte:
 * guestlock/1/<uuid>/<pid>/<fd>/<nonce>. Pure.
 */
#define CAPSULE_SOCKNAME_MAX 107 /* sun_path but for the leading NUL */

struct name_parts {
	struct uuid uuid;
	pid_t pid; /* 1 … INT_MAX */
	int fd;	   /* 0 … INT_MAX */
	uint64_t nonce;
};

/**
 * name_format() - write a capsule's name
 * @buf:	CAPSULE_SOCKNAME_MAX + 1 bytes always suffice
 *
 * Return: length without the NUL that ends it; -EINVAL for a pid or descriptor
 * out of range; -ENOBUFS if it does not fit @size.
 */
int name_format(const struct name_parts *parts, char *buf, size_t size);

/**
 * name_parse() - read a capsule's name, which may be hostile
 *
 * Accepts exactly what name_format() writes, byte for byte: no upper case, no
 * leading zeros, nothing behind it.
 *
 * Return: 0 or -EINVAL.
 */
int name_parse(const char *name, size_t len, struct name_parts *ret_parts);

/* Does it claim to be a capsule's, of this version? */
bool name_has_prefix(const char *name, size_t len);

/* Does it claim to be a capsule's of this guest? Much faster than parsing. */
bool name_has_uuid(const char *name, size_t len, const struct uuid *uuid);
