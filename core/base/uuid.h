/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#define UUID_STRLEN 36

struct uuid {
	uint8_t b[16];
};

/* Return: 0, or -EINVAL if @s is not 8-4-4-4-12 hexadecimal digits. */
int uuid_parse(const char *s, struct uuid *ret_uuid);

/* Lower case, with hyphens. @buf has UUID_STRLEN + 1 bytes. Return: @buf. */
char *uuid_format(const struct uuid *u, char *buf);

/* A random (version 4) uuid. Return: 0 or negative errno of getrandom(2). */
int uuid_generate(struct uuid *ret_uuid);
