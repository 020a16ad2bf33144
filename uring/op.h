/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * One operation of a batch. The engine knows files and byte ranges; it knows
 * nothing of guests. Memory is the caller's; `path` and `data` must outlive the
 * batch.
 */
enum op_kind {
	OP_OPEN,      /* open path relative to fd; result: a descriptor */
	OP_STAT,      /* identity of fd into stat */
	OP_STAT_PATH, /* identity of path relative to fd into stat */
	OP_LOCK,      /* OFD lock on fd; busy is -EAGAIN */
	OP_UNLOCK,    /* drop the OFD lock's range on fd */
	OP_QUERY,     /* F_OFD_GETLK: lock is overwritten by the answer */
	OP_CLOSE,     /* close fd */
	OP_READ,      /* data from fd at an offset; result: how much */
	OP_WRITE,     /* data to fd at an offset: all of it, or an error */
};

#define OP_DATA_MAX 4096 /* bytes of one OP_READ or OP_WRITE */

enum op_flags {
	/* The file system may need a network round trip: use the workers. */
	OP_REMOTE = 1 << 0,
	/* OP_LOCK waits for the holder, until the batch's deadline. */
	OP_WAIT = 1 << 1,
	/* OP_OPEN with OP_REMOTE: also tell what was opened, from memory where
	   the file system can; out.mode is 0 if that did not work. */
	OP_IDENTIFY = 1 << 2,
	/* OP_LOCK of a description that has no lock there yet, or OP_QUERY of
	   one, and that nobody else has: the descriptor is lent, which saves
	   duplicating it, and on FUSE the round trip of closing the duplicate.
	   If the operation had to be abandoned, fd is -1: the engine closes the
	   descriptor. */
	OP_LEND = 1 << 3,
	/*
	 * The next operation follows this one: both are one errand of one
	 * worker, which saves handing over between them, and what follows a
	 * failure is not done but has its res. Only with OP_REMOTE. An errand
	 * begins with an OP_LOCK or OP_QUERY that has OP_LEND and no OP_WAIT;
	 * OP_QUERYs of that descriptor follow, with OP_LEND too, and one
	 * OP_STAT_PATH. It is done or abandoned as a whole: then the first
	 * one's fd is -1.
	 */
	OP_LINK = 1 << 4,
};

#define OP_ERRAND_MAX 4 /* operations */

struct op_stat {
	uint64_t dev; /* as stat(2) st_dev */
	uint64_t ino;
	uint32_t mode; /* type and permissions, as stat(2) st_mode */
	uint32_t rdev_major, rdev_minor;
};

struct op_lock {
	int16_t type; /* F_RDLCK, F_WRLCK; F_UNLCK in a query: my own lock */
	pid_t pid;    /* answer to a query: the holder, -1 for an OFD lock */
	int64_t start, len;
};

struct op {
	uint8_t kind;
	uint8_t flags;
	int fd;	 /* OPEN, STAT_PATH: a directory's descriptor or AT_FDCWD */
	int res; /* 0, the descriptor, or negative errno; -ETIME: see below */
	union {
		struct {
			const char *path;
			int flags;	  /* O_CLOEXEC is always added; what
					     is created has mode 0600 */
			uint32_t resolve; /* RESOLVE_*, 0 to use openat(2) */
			struct op_stat out;
		} open;
		struct {
			const char *path;
			struct op_stat out;
		} stat;
		struct op_lock lock;
		struct {
			void *to;	  /* OP_READ */
			const void *from; /* OP_WRITE */
			uint32_t size;	  /* at most OP_DATA_MAX */
			int64_t offset;
		} data;
	};
};

/* How many operations are one errand, from its first on. */
static inline size_t op_errand(const struct op *op)
{
	size_t n = 1;

	while (op->flags & OP_LINK) {
		op++;
		n++;
	}
	return n;
}
