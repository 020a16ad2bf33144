/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * One series is one thing measured many times, in ns. Variants that are to be
 * compared are run in turn within one round, never one after the other: these
 * machines change their speed from one minute to the next.
 */
struct series {
	const char *name;
	uint64_t *samples;
	size_t n, cap;
};

void series_add(struct series *series, uint64_t ns);
uint64_t series_median(const struct series *series);
uint64_t series_min(const struct series *series);
/* {"name", "median_ns", "min_ns", "samples_ns": [...]} */
json_t *series_json(const struct series *series);
void series_done(struct series *series);

/* Print a message with errno and exit 70. */
_Noreturn void bench_die(const char *what);

/* A directory of @n image files, DIR/images/GUEST/disk-0000.raw …, removed at
   exit by the process that made it. Paths are static. */
struct images {
	char dir[256];
	char **paths;
	size_t n;
};

void images_make(struct images *images, const char *base, const char *guest,
		 size_t n);
void images_remove(struct images *images);

/* Processes that sleep until the bench ends, however it ends. Return: pid. */
pid_t bench_sleeper(void (*before)(void *arg), void *arg);
