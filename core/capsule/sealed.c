/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/sealed.h"

#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static int create(void)
{
	int fd = -1;

	/* sysctl vm.memfd_noexec=2 refuses everything else. */
	if (feature_allowed(FEATURE_MEMFD_NOEXEC))
		fd = memfd_create("guestlock", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	if (fd < 0)
		fd = memfd_create("guestlock", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

int sealed_new(const struct iovec *iov, int n, int *ret_fd)
{
	_cleanup_(fd_closep) int fd = create();
	size_t size = 0;
	ssize_t written;

	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? SEALED_E_NOFILE
							  : -errno;
	for (int i = 0; i < n; i++)
		size += iov[i].iov_len;
	written = writev(fd, iov, n);
	if (written < 0)
		return -errno;
	if ((size_t)written != size)
		return -ENOSPC;
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int sealed_read(int fd, size_t min, size_t max, void **ret_data,
		size_t *ret_size)
{
	_cleanup_(freep) void *data = NULL;
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	size_t size;

	/* Only memfds have seals, so fstat() cannot wait for a server. */
	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0)
		return SEALED_E_BAD;
	size = (size_t)st.st_size;
	if (size < min || size > max)
		return SEALED_E_BAD;
	data = malloc(size + 1);
	if (!data)
		return -ENOMEM;
	if (pread(fd, data, size, 0) != (ssize_t)size)
		return SEALED_E_BAD;
	*ret_data = TAKE_PTR(data);
	*ret_size = size;
	return 0;
}
