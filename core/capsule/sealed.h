/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <sys/uio.h>

/* A memfd that nobody can change any more: a message between processes. */

/* Expected outcomes, beside 0 and negative errno. */
enum {
	_SEALED_E_SUCCESS,
	SEALED_E_BAD,	 /* not such a file, or not of that size */
	SEALED_E_NOFILE, /* our descriptor table is full */
};

/* Return: 0, SEALED_E_NOFILE, or negative errno. */
int sealed_new(const struct iovec *iov, int n, int *ret_fd);

/**
 * sealed_read() - the contents of a descriptor that somebody sent
 * @min:	accept no less
 * @max:	and no more
 * @ret_data:	to be freed with free(3)
 *
 * Never waits and never touches a file that is not a sealed memfd. Leaves the
 * file offset alone.
 *
 * Return: 0, SEALED_E_BAD, or negative errno.
 */
int sealed_read(int fd, size_t min, size_t max, void **ret_data,
		size_t *ret_size);
