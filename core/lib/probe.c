/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lib.h"

#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"

#include <string.h>

/* What this host can do, tried out rather than read from a version number. */

static int memfd_locked(unsigned flags)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	int fd = memfd_create("guestlock-probe", MFD_CLOEXEC | flags);

	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_OFD_SETLK, &lock))
		fd = fd_close(fd);
	return fd;
}

static bool has_getlk_unlck(void)
{
	struct flock lock = { .l_type = F_UNLCK, .l_len = 1 };
	_cleanup_(fd_closep) int fd = memfd_locked(0);

	return fd >= 0 && feature_allowed(FEATURE_GETLK_UNLCK) &&
	       !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type == F_WRLCK;
}

static bool has_memfd_noexec(void)
{
	_cleanup_(fd_closep) int fd = memfd_locked(MFD_NOEXEC_SEAL);

	return fd >= 0 && feature_allowed(FEATURE_MEMFD_NOEXEC);
}

static bool has_pidfd_getfd(void)
{
	_cleanup_(fd_closep) int pidfd = -1, fd = -1;

	pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (pidfd < 0)
		return false;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, pidfd, 0);
	return fd >= 0;
}

static bool has_udiag(void)
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	size_t n;

	return feature_allowed(FEATURE_UNIX_DIAG) &&
	       !capsule_discover(NULL, &entries, &n);
}

GLK_EXPORT int glk_host_describe(struct glk_context *context,
				 struct glk_host_info *ret_info)
{
	struct engine_status status;
	int r;

	r = context_begin(context);
	if (r)
		return r;
	engine_describe(context->engine, &status);
	*ret_info = (struct glk_host_info){
		.engine = status.backend,
		.engine_reason = status.reason ? status.reason : "",
		.ring_flags = status.ring_flags ? status.ring_flags : "",
		.completion = status.completion ? status.completion : "",
		.lock_opcode = status.lock_opcode,
		.getlk_unlck = has_getlk_unlck(),
		.memfd_noexec = has_memfd_noexec(),
		.udiag = has_udiag(),
		.pidfd_getfd = has_pidfd_getfd(),
	};
	return 0;
}
