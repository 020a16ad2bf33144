/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/name.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever parses is what formatting gives, byte for byte. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *name = (const char *)data;
	char again[CAPSULE_SOCKNAME_MAX + 1];
	struct name_parts parts;
	int len;

	if (name_parse(name, size, &parts) < 0)
		return 0;
	len = name_format(&parts, again, sizeof(again));
	if (len < 0 || (size_t)len != size || memcmp(again, name, size))
		abort();
	if (!name_has_prefix(name, size) ||
	    !name_has_uuid(name, size, &parts.uuid))
		abort();
	return 0;
}
