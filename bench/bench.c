/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench/bench.h"

#include "core/base/util.h"

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define EX_BENCH 70

void bench_die(const char *what)
{
	err(EX_BENCH, "%s", what);
}

void series_add(struct series *series, uint64_t ns)
{
	if (series->n == series->cap) {
		series->cap = series->cap ? 2 * series->cap : 64;
		series->samples = realloc(series->samples,
					  series->cap * sizeof(uint64_t));
		if (!series->samples)
			bench_die("samples");
	}
	series->samples[series->n++] = ns;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t series_rank(const struct series *series, size_t rank)
{
	size_t size = series->n * sizeof(uint64_t);
	_cleanup_(freep) uint64_t *sorted = malloc(size + 1);

	if (!sorted || !series->n)
		bench_die("no samples");
	memcpy(sorted, series->samples, size);
	qsort(sorted, series->n, sizeof(uint64_t), compare);
	return sorted[rank];
}

uint64_t series_median(const struct series *series)
{
	return series_rank(series, series->n / 2);
}

uint64_t series_min(const struct series *series)
{
	return series_rank(series, 0);
}

json_t *series_json(const struct series *series)
{
	json_t *samples = json_array();

	for (size_t i = 0; i < series->n; i++)
		json_array_append_new(samples,
				      json_integer(
					      (json_int_t)series->samples[i]));
	return json_pack("{s:s, s:I, s:I, s:o}", "name", series->name,
			 "median_ns", (json_int_t)series_median(series),
			 "min_ns", (json_int_t)series_min(series), "samples_ns",
			 samples);
}

void series_done(struct series *series)
{
	free(series->samples);
	*series = (struct series){ .name = series->name };
}

static void make_dir(const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		bench_die(path);
}

/* Opened once, so that the first round finds them as warm as the last. */
static void make_image(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, 1 << 20))
		bench_die(path);
	close(fd);
}

void images_make(struct images *images, const char *base, const char *guest,
		 size_t n)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/images", base);
	make_dir(path);
	snprintf(images->dir, sizeof(images->dir), "%s/images/%s", base, guest);
	make_dir(images->dir);
	images->n = n;
	images->paths = calloc(n, sizeof(*images->paths));
	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/disk-%04zu.raw", images->dir,
			 i);
		images->paths[i] = strdup(path);
		make_image(path);
	}
}

void images_remove(struct images *images)
{
	for (size_t i = 0; i < images->n; i++) {
		unlink(images->paths[i]);
		free(images->paths[i]);
	}
	free(images->paths);
	rmdir(images->dir);
	images->n = 0;
}

pid_t bench_sleeper(void (*before)(void *arg), void *arg)
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready))
		bench_die("pipe");
	pid = fork();
	if (pid < 0)
		bench_die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (before)
			before(arg);
		close(ready[0]);
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1))
		bench_die("sleeper");
	close(ready[0]);
	return pid;
}
