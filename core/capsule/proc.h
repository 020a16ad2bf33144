/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/resource.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What /proc says of other processes. Never on a path without a conflict. */

/* Clock ticks since boot, field 22 of /proc/PID/stat. -ESRCH if gone. */
int proc_start_time(pid_t pid, uint64_t *ret_start);

/* CLOCK_REALTIME ns of a start time in ticks. */
uint64_t proc_start_to_realtime(uint64_t start);

/* Gone, a zombie, or on its way out (PF_EXITING in /proc/PID/stat). */
bool proc_is_dying(pid_t pid);

/* The executable's path, "" if unreadable. @buf gets at most @size bytes. */
void proc_exe(pid_t pid, char *buf, size_t size);

/**
 * proc_find_socket() - the processes that have these sockets open
 * @inos:	sorted ascending
 * @found:	called for each (inode, pid, fd); a true return stops the walk
 *
 * One walk over every /proc/PID/fd that we may read. Bounded by @deadline.
 * Return: 0, -ETIME, or negative errno.
 */
int proc_find_socket(const uint32_t *inos, size_t n, uint64_t deadline,
		     bool (*found)(void *arg, uint32_t ino, pid_t pid, int fd),
		     void *arg);

/**
 * proc_find_locker() - the processes with a lock on this inode's byte
 *
 * Reads the "lock:" lines of /proc/PID/fdinfo, never /proc/locks, which stalls
 * every locker of the host. Reports the first that covers @byte.
 *
 * Return: 0 with @ret_pid, -ENOENT if none that we may see, -ETIME.
 */
int proc_find_locker(struct res_id id, long byte, uint64_t deadline,
		     pid_t *ret_pid);
