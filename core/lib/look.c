/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/look.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#define LOOK_MS 500 /* reading 2000 leases takes 10 */

int look_discover(struct glk_context *context, const struct uuid *uuid,
		  struct capsule_entry **ret_entries, size_t *ret_n)
{
	int r = capsule_discover(uuid, ret_entries, ret_n);

	/* Who cannot be located now is looked for one by one. */
	if (!r && *ret_n > 1)
		(void)capsule_locate(*ret_entries, *ret_n, context->deadline);
	return r;
}

bool look_is_late(const struct glk_context *context)
{
	return context->timeout_ms && clock_now() > context->deadline;
}

uint64_t look_deadline(const struct glk_context *context)
{
	return MIN(context->deadline, deadline_in_ms(LOOK_MS));
}
