/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/devname.h"

#include "core/base/util.h"
#include "core/lib/dmtable.h"
#include "core/lib/sysfs.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

/*
 * A logical volume. device-mapper's uuid of it is "LVM-", 32 characters for the
 * group, 32 for the volume. More than that is a part of one that nobody uses
 * for itself: "-real", "-cow", "-tpool".
 *
 * A SCSI disk. Its pages are beside its block device. scsi_id sends a command
 * to the node that it is given, and the kernel passes that on: from a partition
 * to its disk, from a multipath device to any of its paths, and from what
 * device-mapper has put on top of a single device to that. So it is here; with
 * two or more underneath there is none to ask. Which of its devices pass a
 * command on, device-mapper tells root (dmtable.h). Others, and who has a copy
 * of sysfs, go by the UUID, which says what made the device: a snapshot's
 * origin ("-real" underneath), a pool of VDO, and what is encrypted do not.
 */

#define DEPTH_MAX 8
#define DM_UUID_SIZE 160

static ssize_t read_at(int dir, const char *name, void *buf, size_t size)
{
	_cleanup_(fd_closep) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size);
	return n < 0 ? -errno : n;
}

static int open_device(const char *root, uint32_t major, uint32_t minor)
{
	char path[4200];
	int fd;

	if (snprintf(path, sizeof(path), "%s/dev/block/%u:%u", root, major,
		     minor) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENODATA : -errno;
	return fd;
}

/* Return: 0; -ENODATA for what is not device-mapper's; or negative errno. */
static int read_dm_uuid(int device, char *buf)
{
	ssize_t n = read_at(device, "dm/uuid", buf, DM_UUID_SIZE - 1);

	if (n < 0)
		return n == -ENOENT ? -ENODATA : (int)n;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return 0;
}

static bool is_lvm(const char *dm_uuid, const char *suffix)
{
	static const char prefix[] = "LVM-";
	const size_t len = sizeof(prefix) - 1 + 64;

	if (strncmp(dm_uuid, prefix, sizeof(prefix) - 1) ||
	    strlen(dm_uuid) < len || strcmp(dm_uuid + len, suffix))
		return false;
	for (size_t i = sizeof(prefix) - 1; i < len; i++)
		if (!isalnum((unsigned char)dm_uuid[i]))
			return false;
	return true;
}

static bool begins(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

static bool passes_by_uuid(const char *dm_uuid)
{
	if (begins(dm_uuid, "CRYPT-"))
		return begins(dm_uuid, "CRYPT-VERITY-");
	return !is_lvm(dm_uuid, "-real") && !is_lvm(dm_uuid, "-vpool");
}

/* The numbers of a copy are of other devices here. */
static bool passes_commands(const char *root, int device, const char *dm_uuid)
{
	unsigned major, minor;
	char text[32] = "";
	int r = -ENODATA;

	if (!strcmp(root, "/sys") &&
	    read_at(device, "dev", text, sizeof(text) - 1) > 0 &&
	    sscanf(text, "%u:%u", &major, &minor) == 2)
		r = dmtable_passes(major, minor);
	return r < 0 ? passes_by_uuid(dm_uuid) : r;
}

int devname_lv(const char *root, uint32_t major, uint32_t minor, char *ret_uuid)
{
	static const uint8_t groups[] = { 6, 4, 4, 4, 4, 4, 6 };
	char dm_uuid[DM_UUID_SIZE];
	const char *from = dm_uuid + strlen("LVM-") + 32;

	if (sysfs_attr(root, makedev(major, minor), "dm/uuid", dm_uuid,
		       sizeof(dm_uuid)) < 0 ||
	    !is_lvm(dm_uuid, ""))
		return -ENODATA;
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		memcpy(ret_uuid, from, groups[i]);
		from += groups[i];
		ret_uuid += groups[i];
		*ret_uuid++ = i + 1 < ARRAY_SIZE(groups) ? '-' : '\0';
	}
	return 0;
}

static void read_page(int scsi, const char *name, struct vpd_page *page)
{
	ssize_t n = read_at(scsi, name, page->data, sizeof(page->data));

	page->size = (size_t)MAX(n, 0);
}

static int wwid_of(int scsi, char *ret_wwid)
{
	_cleanup_(freep) struct vpd *vpd = malloc(sizeof(*vpd));

	if (!vpd)
		return -ENOMEM;
	read_page(scsi, "inquiry", &vpd->inquiry);
	read_page(scsi, "vpd_pg0", &vpd->list);
	read_page(scsi, "vpd_pg80", &vpd->serial);
	read_page(scsi, "vpd_pg83", &vpd->ids);
	return vpd_wwid(vpd, ret_wwid);
}

/* The one device below, or any one if they are all the same. */
static int open_slave(int device, bool any)
{
	int fd = openat(device, "slaves", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int slave = -ENODATA;

	if (!dir) {
		fd_close(fd);
		return -ENODATA;
	}
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		if (slave >= 0) {
			fd_close(slave);
			slave = -ENODATA;
			break;
		}
		slave = openat(fd, e->d_name,
			       O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (slave < 0)
			slave = -ENODATA;
		if (any && slave >= 0)
			break;
	}
	closedir(dir);
	return slave;
}

/* Takes @device over. Return: 0 with the disk in @ret_scsi, or an error. */
static int find_scsi(const char *root, int device, int *ret_scsi)
{
	char dm_uuid[DM_UUID_SIZE];
	int r = -ENODATA;

	for (unsigned i = 0; i < DEPTH_MAX && device >= 0; i++) {
		int below;

		*ret_scsi = openat(device, "device", O_PATH | O_CLOEXEC);
		if (*ret_scsi < 0 && !faccessat(device, "partition", F_OK, 0))
			*ret_scsi =
				openat(device, "../device", O_PATH | O_CLOEXEC);
		r = *ret_scsi >= 0 ? 0 : read_dm_uuid(device, dm_uuid);
		if (r || *ret_scsi >= 0)
			break;
		r = -ENODATA;
		below = passes_commands(root, device, dm_uuid)
				? open_slave(device, begins(dm_uuid, "mpath-"))
				: -1;
		fd_close(device);
		device = below;
	}
	fd_close(device);
	return r;
}

int devname_wwid(const char *root, uint32_t major, uint32_t minor,
		 char *ret_wwid)
{
	_cleanup_(fd_closep) int scsi = -1;
	int device = open_device(root, major, minor);
	int r = device < 0 ? device : find_scsi(root, device, &scsi);

	return r ? r : wwid_of(scsi, ret_wwid);
}
