/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/resource.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What /proc says of other processes. Never on a path without a conflict.
 * A pid is only a number: pin it with a pidfd, then ask again.
 */

/* Clock ticks since boot, field 22 of /proc/PID/stat. -ESRCH if gone. */
int proc_start_time(pid_t pid, uint64_t *ret_start);

/* CLOCK_REALTIME ns of a start time in ticks. */
uint64_t proc_start_to_realtime(uint64_t start);

/*
 * Gone, a zombie, or on its way out (PF_EXITING, PF_SIGNALED or SIGKILL pending
 * in /proc/PID/stat), in all its threads. A core dump is on the way out too.
 */
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

/* A byte of a file. */
struct proc_point {
	struct res_id id; /* as fstat(2) tells it */
	long byte;
};

struct proc_locker {
	size_t point; /* index */
	pid_t pid;
	int fd;
	short type; /* F_RDLCK or F_WRLCK */
	bool ofd;   /* else a POSIX lock */
};

/**
 * proc_find_lockers() - the processes that hold locks on these bytes
 * @found:	called for each locker of each point; a true return stops it
 *
 * One walk, however many points. Reads the "lock:" lines of /proc/PID/fdinfo,
 * never /proc/locks, which stalls every locker of the host. An OFD lock is
 * reported for every descriptor that refers to it, so perhaps in several
 * processes; a POSIX lock for the descriptor that it was taken through. A lock
 * whose only descriptor is in flight, as in a capsule, has no process.
 *
 * Return: 0, -ETIME, or negative errno.
 */
int proc_find_lockers(
	const struct proc_point *points, size_t n, uint64_t deadline,
	bool (*found)(void *arg, const struct proc_locker *locker), void *arg);

/* The same for one byte. */
int proc_each_locker(struct res_id id, long byte, uint64_t deadline,
		     bool (*found)(void *arg, pid_t pid, int fd, short type,
				   bool ofd),
		     void *arg);

/**
 * proc_find_locker() - the first process that is found
 *
 * Return: 0 with @ret_pid, -ENOENT if none that we may see, -ETIME, or
 * another negative errno.
 */
int proc_find_locker(struct res_id id, long byte, uint64_t deadline,
		     pid_t *ret_pid);

/* A file, by its identity, or a device, by any of its nodes. */
struct proc_file {
	uint64_t rdev; /* of a device; else 0 */
	struct res_id id;
};

struct proc_opener {
	size_t file; /* index */
	pid_t pid;
	int fd;	     /* -1 for a mapping */
	bool writes; /* else it is open for reading only */
};

/* Expected outcomes of proc_find_openers(), beside 0 and negative errno. */
enum {
	_PROC_E_SUCCESS,
	PROC_E_HIDDEN, /* there are processes that we may not look into */
};

/* For qsort(3): ascending as proc_find_openers() wants it. */
int proc_file_compare(const void *a, const void *b);

/**
 * proc_find_openers() - the processes that have these files open
 * @files:	sorted by proc_file_compare(), none twice
 * @mapped:	look at what they have mapped, not at their descriptors
 * @found:	called for each descriptor or mapping; a true return stops it
 *
 * One walk, however many files. O_PATH descriptors do not count. Mappings can
 * be looked at by CAP_SYS_ADMIN only; else all are hidden.
 *
 * Return: 0, PROC_E_HIDDEN, -ETIME, or another negative errno.
 */
int proc_find_openers(
	const struct proc_file *files, size_t n, bool mapped, uint64_t deadline,
	bool (*found)(void *arg, const struct proc_opener *opener), void *arg);

/* The parent of a process, or negative errno; -ESRCH if gone. */
pid_t proc_parent(pid_t pid);

/* Has this process a descriptor of the socket with this inode number? */
bool proc_has_socket(pid_t pid, uint32_t ino);

/* One thread's or process's line of /proc/PID/stat. */
struct proc_stat {
	char state;
	pid_t parent;
	uint64_t flags; /* PF_* of include/linux/sched.h */
	uint64_t threads;
	uint64_t start;	  /* clock ticks since boot */
	uint64_t pending; /* signals, bit 0 is signal 1 */
};

/*
 * Pure. The command's name in it is the process's own choice and may hold any
 * byte but NUL. Return: 0 or -EBADMSG.
 */
int proc_stat_parse(const char *line, struct proc_stat *ret_stat);

/* Is this thread on its way out? Pure. */
bool proc_stat_dying(const struct proc_stat *st);
