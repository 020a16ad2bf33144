/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/dmtable.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

/*
 * A device passes a command on if its table has one line, of a kind that has
 * such a call (dm_prepare_ioctl() in drivers/md/dm.c). sysfs shows neither. Of
 * the table's lines only the first one's kind is read, which is there even if
 * the rest does not fit; without DM_NOFLUSH_FLAG a thin pool would write.
 */

#define CONTROL "/dev/mapper/control"

static const char *const kinds[] = {
	"linear", "multipath", "verity", "flakey", "dust", "ebs",
};

struct table {
	struct dm_ioctl head;
	struct dm_target_spec first;
	char rest[1024];
};

static bool is_one_that_passes(const struct table *table)
{
	if (table->head.target_count != 1)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strncmp(table->first.target_type, kinds[i],
			     sizeof(table->first.target_type)))
			return true;
	return false;
}

int dmtable_passes(uint32_t major, uint32_t minor)
{
	_cleanup_(fd_closep) int fd = open(CONTROL, O_RDWR | O_CLOEXEC);
	struct table table = {
		.head = {
			.version = { DM_VERSION_MAJOR },
			.data_size = sizeof(table),
			.data_start = offsetof(struct table, first),
			.flags = DM_NOFLUSH_FLAG,
			.dev = makedev(major, minor),
		},
	};

	if (fd < 0 || ioctl(fd, DM_TABLE_STATUS, &table))
		return -errno;
	return is_one_that_passes(&table);
}
