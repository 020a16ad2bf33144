/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/options.h"

#include "core/base/util.h"

#include <string.h>

/* The options that say how disks are taken: struct glk_policy. */

int options_set_wait(struct options *options, const char *value)
{
	uint64_t seconds;

	if (options_parse_decimal(value, UINT32_MAX / 1000, &seconds) < 0)
		return options_complain(options, -EINVAL, "--wait ", value,
					" is not a number of seconds from 0 to "
					"4294967");
	options->policy.wait_ms = (unsigned)seconds * 1000;
	return 0;
}

struct word {
	const char *name;
	int value;
};

static int find_word(const struct word *words, size_t n, const char *name,
		     int *ret_value)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(words[i].name, name)) {
			*ret_value = words[i].value;
			return 0;
		}
	}
	return -EINVAL;
}

int options_set_require_scope(struct options *options, const char *value)
{
	static const struct word words[] = {
		{ "node", GLK_SCOPE_NODE },
		{ "host", GLK_SCOPE_HOST },
		{ "server", GLK_SCOPE_SERVER },
		{ "cluster", GLK_SCOPE_CLUSTER },
	};

	if (find_word(words, ARRAY_SIZE(words), value,
		      &options->policy.require_scope))
		return options_complain(options, -EINVAL, "--require-scope ",
					value,
					" is not node, host, server or "
					"cluster");
	return 0;
}

int options_set_exclusive_open(struct options *options, const char *value)
{
	static const struct word words[] = {
		{ "off", GLK_OPEN_IGNORE },
		{ "warn", GLK_OPEN_WARN },
		{ "require", GLK_OPEN_REFUSE },
	};

	if (find_word(words, ARRAY_SIZE(words), value,
		      &options->policy.exclusive_open))
		return options_complain(options, -EINVAL, "--exclusive-open ",
					value, " is not off, warn or require");
	return 0;
}

int options_set_readonly(struct options *options, const char *value)
{
	static const struct word words[] = {
		{ "lock", 0 },
		{ "skip", GLK_POLICY_SKIP_READONLY },
	};
	int flag;

	if (find_word(words, ARRAY_SIZE(words), value, &flag))
		return options_complain(options, -EINVAL, "--readonly ", value,
					" is not lock or skip");
	options->policy.flags = (unsigned)flag;
	return 0;
}

static int set_dir(struct options *options, const char **field,
		   const char *value, const char *empty)
{
	if (!*value)
		return options_complain(options, -EINVAL, empty, NULL, "");
	*field = value;
	return 0;
}

int options_set_lock_dir(struct options *options, const char *value)
{
	return set_dir(options, &options->policy.lock_dir, value,
		       "--lock-dir is empty");
}

int options_set_lvm_lock_dir(struct options *options, const char *value)
{
	return set_dir(options, &options->policy.lvm_lock_dir, value,
		       "--lvm-lock-dir is empty");
}

int options_set_scsi_lock_dir(struct options *options, const char *value)
{
	return set_dir(options, &options->policy.scsi_lock_dir, value,
		       "--scsi-lock-dir is empty");
}
