/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#define DEMO_GUESTS 4
#define DEMO_WAIT_MS 30000

/* A guest of the demo: `sleep`, started by a launcher as a manager would. */
struct demo_guest {
	char name[40];
	pid_t pid;
	int pidfd;
	pid_t launcher; /* its parent, a child of ours; 0 once it was killed */
};

struct demo {
	char dir[PATH_MAX];
	struct rlimit nofile; /* for our children */
	struct demo_guest guests[DEMO_GUESTS];
	size_t n_guests;
	char *why;	  /* what went wrong */
	char detail[600]; /* what is worth showing */
};

/*
 * Every call returns 0 or -1 with @why, waits for DEMO_WAIT_MS at most, and
 * fails when the demo was interrupted.
 */

/* Directory, signals, and orphans that come to us. */
int demo_open(struct demo *demo);

/* End every process, remove every file. Also after a failed demo_open(). */
void demo_close(struct demo *demo);

/* Set @why. Return: -1. */
int demo_fail(struct demo *demo, const char *format, ...)
	__attribute__((__format__(printf, 2, 3)));

/* DIR/@name in @buf, which has PATH_MAX bytes. Return: @buf. */
char *demo_path(const struct demo *demo, const char *name, char *buf);

/* A sparse image. */
int demo_make_image(struct demo *demo, const char *name);

/**
 * demo_call() - run this very program with @argv to its end
 * @ret_out:	what it printed on either stream, to be freed
 *
 * Return: its exit code, or -1.
 */
int demo_call(struct demo *demo, const char *const *argv, char **ret_out);

/* Start a guest under `run`; @first and @second are its options. */
int demo_start(struct demo *demo, const char *tag, const char *first,
	       const char *second, struct demo_guest **ret_guest);

/* kill -9, and wait until it is dead. */
int demo_kill_guest(struct demo *demo, struct demo_guest *guest);
void demo_kill_launcher(struct demo_guest *guest);
bool demo_is_alive(const struct demo_guest *guest);

/* Asks the kernel, not the library: is byte 0 locked by anybody? */
int demo_probe(struct demo *demo, const char *name, bool *ret_held);
