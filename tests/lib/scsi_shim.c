/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <scsi/sg.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/*
 * To be preloaded into udev's scsi_id: a disk that answers INQUIRY with what is
 * in files of the directory $SCSI_PAGES, "inquiry" and a page's number in hex.
 * It does not know a page that has no file.
 */

static ssize_t read_page(const unsigned char *command, void *buf, size_t size)
{
	char path[256];
	ssize_t n;
	int fd;

	if (command[1] & 1)
		snprintf(path, sizeof(path), "%s/%02x", getenv("SCSI_PAGES"),
			 command[2]);
	else
		snprintf(path, sizeof(path), "%s/inquiry",
			 getenv("SCSI_PAGES"));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, buf, size);
	close(fd);
	return n;
}

static void refuse(struct sg_io_hdr *io)
{
	static const unsigned char sense[18] = { 0x70, 0, 5, 0, 0,    0,
						 0,    0, 0, 0, 0x24, 0 };

	io->status = 2;
	io->driver_status = 8;
	memcpy(io->sbp, sense,
	       io->mx_sb_len < sizeof(sense) ? io->mx_sb_len : sizeof(sense));
	io->sb_len_wr = sizeof(sense);
}

int ioctl(int fd, unsigned long request, ...)
{
	struct sg_io_hdr *io;
	va_list args;

	(void)fd;
	va_start(args, request);
	io = va_arg(args, void *);
	va_end(args);
	if (request != SG_IO || io->interface_id != 'S') {
		errno = request == SG_IO ? EINVAL : ENOTTY;
		return -1;
	}
	io->status = io->host_status = io->driver_status = 0;
	if (read_page(io->cmdp, io->dxferp, io->dxfer_len) < 0)
		refuse(io);
	return 0;
}
