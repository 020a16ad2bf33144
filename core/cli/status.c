/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/status.h"

#include "core/base/util.h"

/*
 * The only place where an errno becomes an exit code. What is wrong with the
 * call itself, and stays wrong however often it is repeated, is usage; what may
 * exist later is not found.
 */
static const struct {
	int err;
	enum status status;
	const char *word;
} status_table[] = {
	{ EBUSY, STATUS_HELD, "held" },

	{ EINVAL, STATUS_USAGE, "usage" },
	{ E2BIG, STATUS_USAGE, "usage" },
	{ EEXIST, STATUS_USAGE, "other-mode" },
	{ ENOTUNIQ, STATUS_USAGE, "ambiguous" },
	{ EOPNOTSUPP, STATUS_USAGE, "unsupported" },
	{ EISDIR, STATUS_USAGE, "unsupported" },
	{ ENXIO, STATUS_USAGE, "unsupported" },
	{ EXDEV, STATUS_USAGE, "out-of-reach" },
	{ ENODATA, STATUS_USAGE, "wrong-state" },
	{ EALREADY, STATUS_USAGE, "wrong-state" },
	{ EINPROGRESS, STATUS_USAGE, "wrong-state" },

	{ ENOENT, STATUS_NOT_FOUND, "not-found" },
	{ ENOTDIR, STATUS_NOT_FOUND, "not-found" },
	{ ELOOP, STATUS_NOT_FOUND, "not-found" },
	{ ENAMETOOLONG, STATUS_NOT_FOUND, "not-found" },
	{ ENODEV, STATUS_NOT_FOUND, "not-found" },
	{ ESRCH, STATUS_NOT_FOUND, "no-such-guest" },
	{ ENOTCONN, STATUS_NOT_FOUND, "no-destination" },

	{ EACCES, STATUS_DENIED, "denied" },
	{ EPERM, STATUS_DENIED, "denied" },
	{ EROFS, STATUS_DENIED, "denied" },

	{ EMFILE, STATUS_INTERNAL, "limit" },
	{ ENFILE, STATUS_INTERNAL, "limit" },
	{ ETOOMANYREFS, STATUS_INTERNAL, "limit" },
	{ ENOSPC, STATUS_INTERNAL, "limit" },
	{ ENOLCK, STATUS_INTERNAL, "limit" },
	{ ENOMEM, STATUS_INTERNAL, "limit" },
	{ ETIME, STATUS_INTERNAL, "timeout" },
	{ ETIMEDOUT, STATUS_INTERNAL, "timeout" },
	{ ESTALE, STATUS_INTERNAL, "replaced" },
};

enum status status_of(int err)
{
	if (err == 0)
		return STATUS_OK;
	for (size_t i = 0; i < ARRAY_SIZE(status_table); i++) {
		if (status_table[i].err == -err)
			return status_table[i].status;
	}
	return STATUS_INTERNAL;
}

const char *status_word(int err)
{
	for (size_t i = 0; i < ARRAY_SIZE(status_table); i++) {
		if (status_table[i].err == -err)
			return status_table[i].word;
	}
	return "internal";
}

enum status status_of_exec(int err)
{
	return err == -ENOENT ? STATUS_NO_COMMAND : STATUS_CANNOT_EXEC;
}
