/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What anybody may have written into a file of a lock directory. */
#include "core/base/util.h"
#include "core/lib/owner.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INVARIANT(_x)                                                          \
	do {                                                                   \
		if (!(_x))                                                     \
			abort();                                               \
	} while (0)

static bool is_text(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

/* What is accepted could have come from us: it is written and read again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct owner owner = {}, again = {};
	char buf[OWNER_SIZE];

	if (owner_parse((const char *)data, size, &owner))
		return 0;
	INVARIANT(owner_is_ours((const char *)data, size));
	INVARIANT(is_text(owner.name) && is_text(owner.host));
	INVARIANT(*owner.host && strlen(owner.uuid) == UUID_STRLEN);
	INVARIANT(owner.pid >= 0);
	INVARIANT(!owner_encode(&owner, buf));
	INVARIANT(!owner_parse(buf, sizeof(buf), &again));
	INVARIANT(!strcmp(owner.name, again.name));
	INVARIANT(!strcmp(owner.host, again.host));
	INVARIANT(!strcmp(owner.uuid, again.uuid));
	INVARIANT(owner.pid == again.pid && owner.since == again.since &&
		  owner.epoch == again.epoch);
	return 0;
}
