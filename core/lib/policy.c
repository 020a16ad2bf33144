/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lib.h"

#include "core/base/util.h"

#include <limits.h>
#include <string.h>

void policy_done(struct glk_policy *policy)
{
	free((char *)policy->lock_dir);
	free((char *)policy->lvm_lock_dir);
	free((char *)policy->scsi_lock_dir);
	*policy = (struct glk_policy){};
}

static bool is_known(const struct glk_policy *policy)
{
	const unsigned flags = GLK_POLICY_SKIP_READONLY;

	for (size_t i = 0; i < ARRAY_SIZE(policy->reserved); i++)
		if (policy->reserved[i])
			return false;
	return policy->require_scope >= 0 &&
	       policy->require_scope <= GLK_SCOPE_CLUSTER &&
	       policy->exclusive_open >= GLK_OPEN_IGNORE &&
	       policy->exclusive_open <= GLK_OPEN_REFUSE &&
	       !(policy->flags & ~flags);
}

/* Others may look from another working directory. */
static int copy_dir(struct glk_context *context, const char *dir,
		    const char **ret_copy)
{
	if (!dir)
		return 0;
	if (!*dir)
		return context_fail(context, -EINVAL,
				    "a lock directory has no name");
	*ret_copy = path_absolute(dir);
	if (!*ret_copy)
		return context_no_memory(context);
	if (strlen(*ret_copy) + NAME_MAX + 2 > PATH_MAX)
		return context_fail(context, -ENAMETOOLONG,
				    "%s: name of a lock directory is too long",
				    quoted(dir));
	return 0;
}

GLK_EXPORT int glk_context_set_policy(struct glk_context *context,
				      const struct glk_policy *policy)
{
	static const struct glk_policy plain;
	_cleanup_(policy_done) struct glk_policy copy = {};
	int r;

	r = context_begin(context);
	if (r)
		return r;
	if (!policy)
		policy = &plain;
	if (!is_known(policy))
		return context_fail(context, -EINVAL,
				    "a field of the policy has no such value");
	copy = *policy;
	copy.lock_dir = copy.lvm_lock_dir = copy.scsi_lock_dir = NULL;
	r = copy_dir(context, policy->lock_dir, &copy.lock_dir);
	if (!r)
		r = copy_dir(context, policy->lvm_lock_dir, &copy.lvm_lock_dir);
	if (!r)
		r = copy_dir(context, policy->scsi_lock_dir,
			     &copy.scsi_lock_dir);
	if (r)
		return r;
	policy_done(&context->policy);
	context->policy = copy;
	copy = plain;
	return 0;
}

GLK_EXPORT const struct glk_policy *glk_context_policy(
	const struct glk_context *context)
{
	return &context->policy;
}
