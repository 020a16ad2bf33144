/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/driver/process.h"

#include "core/base/compat.h"
#include "core/base/util.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>

bool process_lives(pid_t pid)
{
	_cleanup_(fd_closep) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	if (fd < 0)
		return errno != ESRCH && (!kill(pid, 0) || errno != ESRCH);
	return poll(&pfd, 1, 0) == 0;
}
