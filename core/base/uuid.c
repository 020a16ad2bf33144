/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/uuid.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int uuid_parse(const char *s, struct uuid *ret_uuid)
{
	struct uuid u;

	if (strnlen(s, UUID_STRLEN + 1) != UUID_STRLEN)
		return -EINVAL;
	for (int i = 0; i < 16; i++) {
		int hi, lo;

		if (i == 4 || i == 6 || i == 8 || i == 10)
			if (*s++ != '-')
				return -EINVAL;
		hi = hex_digit(*s++);
		lo = hex_digit(*s++);
		if (hi < 0 || lo < 0)
			return -EINVAL;
		u.b[i] = (uint8_t)(hi << 4 | lo);
	}
	*ret_uuid = u;
	return 0;
}

char *uuid_format(const struct uuid *u, char *buf)
{
	static const char digits[] = "0123456789abcdef";
	char *p = buf;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[u->b[i] >> 4];
		*p++ = digits[u->b[i] & 15];
	}
	*p = '\0';
	return buf;
}

int uuid_generate(struct uuid *ret_uuid)
{
	struct uuid u;

	if (getrandom(u.b, sizeof(u.b), 0) != sizeof(u.b))
		return -errno;
	u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40);
	u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
	*ret_uuid = u;
	return 0;
}
