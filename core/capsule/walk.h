/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/capsule/proc.h"

/* What walks over all processes share. The essay is at the top of walk.c. */

/* The entries of a directory whose names are decimal numbers. */
struct numbers {
	int dir;
	size_t pos, fill;
	char buf[8192] __attribute__((__aligned__(8)));
};

/* One process, or one descriptor of it, as the walk passes by. */
struct spot {
	pid_t pid;
	int fd;
	int pid_dir; /* O_PATH */
	int fd_dir;
	const char *link; /* what /proc/PID/fd/FD says, perhaps cut short */
};

struct walk {
	uint64_t deadline;
	/* One of them; 1 stops the walk, as does a negative errno. */
	int (*visit)(void *arg, const struct spot *spot); /* a descriptor */
	int (*visit_process)(void *arg, const struct spot *spot);
	void *arg;
	bool hidden; /* some processes may not be looked into */
	struct numbers pids, fds;
};

/* Return: 0, -ETIME, or negative errno; -ENOSYS without /proc. */
int walk_run(struct walk *walk);

/* A socket or the like: no file, and its fdinfo may be long. */
bool walk_is_no_file(const struct spot *spot);
