/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/base/compat.h"
#include "core/base/util.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/*
 * What guestlock assumes of Linux, as tests. Nothing of ours is under test
 * here: plain system calls, and these shorter spellings of them. Calls that
 * can be refused return a negative errno; the others assert.
 */

#define PAYLOAD "payload"

/* A user of this program's own: what is in flight is counted by user. */
uid_t nobody(void);

/* An OFD lock on one byte; F_UNLCK to unlock. 0 or negative errno. */
int lock_byte(int fd, short type, long byte);

/* The type of the lock that would stop a lock of @type by @fd, or F_UNLCK. */
short lock_blocker(int fd, short type, long byte, pid_t *ret_pid);

/* Open O_CLOEXEC, which must work. */
int file_open(const char *path, int flags);

/* A new description of what @fd is open on, through /proc/self/fd. */
int file_reopen(int fd, int flags);

/* A new empty file, exclusively locked at byte 0. */
int file_locked(const char *name, const char **ret_path);

/* A connected pair, O_CLOEXEC. We send on [0] and receive on [1]. */
void pair_open(int type, int ret_fds[2]);

/* Does not wait. Bytes sent or negative errno. */
int fds_send(int sock, const void *data, size_t len, const int *fds, size_t n);

/* As a message of PAYLOAD with one descriptor; must work. */
void fd_send(int sock, int fd);

struct fds_got {
	int len;   /* of the payload, or negative errno */
	int flags; /* MSG_CTRUNC, MSG_TRUNC */
	int fds[SCM_MAX_FD_COUNT];
	size_t n;
	char data[4096];
};

/* Does not wait; @flags may have MSG_PEEK. */
void fds_receive(int sock, int flags, struct fds_got *ret_got);
void fds_got_close(struct fds_got *got);

/* The only descriptor of the next message. */
int fd_receive(int sock, int flags);

/* Make unreachable cycles of sockets and drop them, so the collector runs. */
void sockets_collect(void);

/*
 * A child runs @body with one end of a socket, and exits with what that
 * returns. In a child use CHILD_CHECK(), since an assertion would run on in
 * the parent's code. It dies with us.
 */
struct child {
	pid_t pid;
	int sock;
};

#define CHILD_CHECK(_cond)                                                     \
	do {                                                                   \
		if (!(_cond)) {                                                \
			fprintf(stderr, "%s:%d: in child: %s: %s\n", __FILE__, \
				__LINE__, #_cond, strerror(errno));            \
			_exit(1);                                              \
		}                                                              \
	} while (0)

void child_start(struct child *child, int (*body)(int sock, void *arg),
		 void *arg);
void child_become_nobody(void);

/* One byte to or from the other side; at most 20 s. */
void turn_give(int sock);
void turn_take(int sock);
void turn_await(int sock); /* and leave it unread */

/* Exit code, or 128 + signal; the child is reaped. */
int child_wait(struct child *child);
int child_run(int (*body)(int sock, void *arg), void *arg);
int child_kill(struct child *child);

/* Wait for its death without reaping it: it stays a zombie. */
void child_await_zombie(const struct child *child);
