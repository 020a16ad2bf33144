/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lock_name.h"

#include "core/base/util.h"
#include "core/lib/devname.h"

#include <nettle/sha2.h>
#include <string.h>
#include <sys/stat.h>

/*
 * Which file of a lock directory stands for a disk. Whoever uses the same disk
 * must come to the same name, virtlockd, too:
 *
 * - A path that begins with "/dev": the UUID that lvs prints, if there is a
 *   directory for those and lvs knows the volume; else the WWID that scsi_id
 *   prints, likewise. What they do not know is no error.
 * - Else, and for all other paths, the SHA-256 of the path's text, if there is
 *   a directory for those. Not of the file: "/a//b" is another name.
 *
 * virtlockd goes by the text, since it is not told what the path leads to. Here
 * the device decides: /srv/disk that is a link to a volume is that volume. But
 * virtlockd on another host calls it by its hash. So such a disk gets both
 * names.
 */

static void hash(const char *path, char *ret_name)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, strlen(path), (const uint8_t *)path);
	sha256_digest(&ctx, sizeof(digest), digest);
	for (size_t i = 0; i < sizeof(digest); i++) {
		*ret_name++ = digits[digest[i] >> 4];
		*ret_name++ = digits[digest[i] & 15];
	}
	*ret_name = '\0';
}

/* Return: 1, 0 if it has no such name, or negative errno. */
static int name_device(const struct glk_policy *policy, const char *sysfs,
		       const struct op_stat *st, struct lock_name *ret_name)
{
	uint32_t major = st->rdev_major, minor = st->rdev_minor;
	int r = -ENODATA;

	if (policy->lvm_lock_dir) {
		r = devname_lv(sysfs, major, minor, ret_name->name);
		ret_name->dir = policy->lvm_lock_dir;
	}
	if (r == -ENODATA && policy->scsi_lock_dir) {
		r = devname_wwid(sysfs, major, minor, ret_name->name);
		ret_name->dir = policy->scsi_lock_dir;
	}
	if (r == -ENODATA)
		return 0;
	return r ? r : 1;
}

int lock_names(const struct glk_policy *policy, const char *sysfs,
	       const char *path, const struct op_stat *st,
	       struct lock_name *ret_names)
{
	int n = 0;

	if (S_ISBLK(st->mode))
		n = name_device(policy, sysfs, st, ret_names);
	if (n < 0 || !policy->lock_dir ||
	    (n && !strncmp(path, "/dev", strlen("/dev"))))
		return n;
	ret_names[n].dir = policy->lock_dir;
	hash(path, ret_names[n].name);
	return n + 1;
}
