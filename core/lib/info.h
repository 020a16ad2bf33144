/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/lib.h"

/* A struct glk_guest_info together with the memory that it points to. */
struct info {
	struct glk_guest_info pub;
	char uuid[UUID_STRLEN + 1];
	char name[CAPSULE_NAME_MAX + 1];
	struct glk_lease_info *leases;
};

/**
 * info_new() - read a guest from its capsule
 *
 * A capsule that cannot be listed gives an info with an error in it, unless
 * the guest is gone.
 *
 * Return: 0, CAPSULE_E_GONE, or -ENOMEM.
 */
int info_new(struct glk_context *context, struct capsule *capsule,
	     struct info **ret_info);

/* The same, by another deadline than the call's. */
int info_new_until(struct glk_context *context, struct capsule *capsule,
		   uint64_t deadline, struct info **ret_info);

/* Is it a lease on this resource? */
bool info_is_of(const struct glk_lease_info *lease, struct res_id id);

struct info *info_free(struct info *info);
