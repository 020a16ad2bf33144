/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/options.h"

#include "core/base/util.h"
#include "core/base/uuid.h"

#include <string.h>

/*
 * Leases are files, LOCKSPACE/KEY as virtlockd has them. The library knows them
 * as disks with a flag; that a key cannot lead out of its lockspace is seen to
 * here, since there it is a path like any other.
 */
int options_add_key(struct options *options, const char *key)
{
	if (!*key || !strcmp(key, ".") || !strcmp(key, ".."))
		return options_complain(options, -EINVAL, "--lease ", key,
					" is not a file's name");
	if (strchr(key, '/'))
		return options_complain(options, -EINVAL, "--lease ", key,
					" holds a slash");
	return disks_add_path(&options->keys, key, strlen(key), GLK_DISK_LEASE);
}

static int add_lease(struct options *options, const char *key)
{
	_cleanup_(freep) char *path = NULL;
	int len = asprintf(&path, "%s/%s", options->lockspace, key);

	if (len < 0)
		return -ENOMEM;
	return disks_add_path(&options->disks, path, (size_t)len,
			      GLK_DISK_LEASE);
}

/* A uuid has two spellings, and a guest one lease. */
static int add_guest_lease(struct options *options)
{
	char key[UUID_STRLEN + 1];
	struct uuid uuid;

	if (!options->lockspace || !options->uuid)
		return options_complain(options, -EINVAL,
					"--vm needs --lockspace and --uuid",
					NULL, "");
	uuid_parse(options->uuid, &uuid);
	disks_done(&options->disks);
	return add_lease(options, uuid_format(&uuid, key));
}

int options_add_leases(struct options *options)
{
	int r = 0;

	if (options->vm)
		return add_guest_lease(options);
	if (options->keys.n && !options->lockspace)
		return options_complain(options, -EINVAL,
					"--lease needs --lockspace", NULL, "");
	if (options->lockspace && !options->keys.n)
		return options_complain(options, -EINVAL,
					"--lockspace needs --lease", NULL, "");
	for (size_t i = 0; i < options->keys.n && r == 0; i++)
		r = add_lease(options, options->keys.items[i].path);
	return r;
}
