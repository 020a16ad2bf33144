/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/device.h"

#include "core/base/compat.h"

#include <sys/ioctl.h>

struct res_id device_id(int fd, uint64_t rdev)
{
	uint64_t seq = 0;

	if (ioctl(fd, BLKGETDISKSEQ, &seq))
		seq = 0;
	return res_id_of_device(rdev, seq);
}
