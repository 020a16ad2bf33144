/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(_x) (sizeof(_x) / sizeof((_x)[0]))
#define MIN(_a, _b) ((_a) < (_b) ? (_a) : (_b))
#define MAX(_a, _b) ((_a) > (_b) ? (_a) : (_b))
#define _cleanup_(_f) __attribute__((__cleanup__(_f)))
#define _printf_(_fmt, _args) __attribute__((__format__(printf, _fmt, _args)))

/* Hand a pointer or a descriptor over: the local no longer owns it. */
#define TAKE_PTR(_p)                                                           \
	({                                                                     \
		__typeof__(_p) _taken = (_p);                                  \
		(_p) = NULL;                                                   \
		_taken;                                                        \
	})
#define TAKE_FD(_fd)                                                           \
	({                                                                     \
		int _taken = (_fd);                                            \
		(_fd) = -1;                                                    \
		_taken;                                                        \
	})

/*
 * calloc(3), but from the thread's cache: glibc before 2.41 keeps calloc away
 * from that, and then it costs as much as a system call.
 */
static inline void *zalloc(size_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	p = malloc(bytes ? bytes : 1);
	return p ? memset(p, 0, bytes) : NULL;
}

/* For locals: `_cleanup_(freep) char *s = NULL;` */
static inline void freep(void *p)
{
	free(*(void **)p);
}

/* Close and forget; errno survives. Return: -1, to be assigned. */
static inline int fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return -1;
}

/* For locals: `_cleanup_(fd_closep) int fd = -1;` */
static inline void fd_closep(int *fd)
{
	*fd = fd_close(*fd);
}
