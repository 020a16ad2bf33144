/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/resource.h"

#include "core/base/util.h"

static const char *name_in(const char *const *names, size_t n, unsigned i)
{
	return i < n && names[i] ? names[i] : "?";
}

const char *res_type_name(enum res_type type)
{
	static const char *const names[] = {
		[RES_TYPE_FILE] = "file",
		[RES_TYPE_BLOCK] = "block",
		[RES_TYPE_LEASE] = "lease",
	};

	return name_in(names, ARRAY_SIZE(names), type);
}

const char *res_mode_name(enum res_mode mode)
{
	static const char *const names[] = {
		[RES_EXCLUSIVE] = "exclusive",
		[RES_SHARED] = "shared",
	};

	return name_in(names, ARRAY_SIZE(names), mode);
}

const char *res_scope_name(enum res_scope scope)
{
	static const char *const names[] = {
		[RES_SCOPE_NODE] = "node",
		[RES_SCOPE_HOST] = "host",
		[RES_SCOPE_SERVER] = "server",
		[RES_SCOPE_CLUSTER] = "cluster",
	};

	return name_in(names, ARRAY_SIZE(names), scope);
}
