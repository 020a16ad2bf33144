/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What do slow disks cost? See README.md beside this.
 *
 *   serial     a loop of open(2), fstat(2), fcntl(F_OFD_SETLK)
 *   api        libguestlock: everything, to the parked leases
 *   beside     another process acquires local images while the api works
 *   alone      the same while nothing else happens
 */
#include "bench/bench.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "include/guestlock.h"
#include "tests/lib/slowfs.h"

#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LOCAL 64 /* images */
#define PAUSE_US 2000

enum { SERIAL, API, ALONE, BESIDE, N_SERIES };

/* What the neighbour tells, in shared memory. */
struct neighbour {
	atomic_bool beside; /* the slow acquire runs */
	_Atomic unsigned n[2];
	uint64_t ns[2][4096]; /* alone, beside */
};

struct bench {
	size_t rounds, disks;
	unsigned ms;
	bool json;
	char base[64];
	char **paths;
	int *fds;
	struct slowfs *fs;
	struct glk_context *context;
	struct images images;
	struct neighbour *neighbour;
	pid_t neighbour_pid;
	unsigned in_flight;
	struct series series[N_SERIES];
};

static struct glk_guest *acquire(struct glk_context *context, char **paths,
				 size_t n)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest;
	int r;

	config.holder = GLK_HOLDER_SELF;
	r = glk_guest_new(context, &config, &guest);
	for (size_t i = 0; i < n && !r; i++) {
		struct glk_disk disk = { paths[i], 0 };

		r = glk_guest_add(guest, &disk, 1);
	}
	if (!r)
		r = glk_guest_acquire(guest);
	if (r)
		errx(70, "acquire: %s", glk_context_message(context));
	return guest;
}

static uint64_t run_api(struct bench *b)
{
	uint64_t start = clock_now();
	struct glk_guest *guest = acquire(b->context, b->paths, b->disks);

	start = clock_now() - start;
	glk_guest_free(guest);
	return start;
}

static uint64_t run_serial(struct bench *b)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	uint64_t start = clock_now();
	struct stat st;

	for (size_t i = 0; i < b->disks; i++) {
		b->fds[i] = open(b->paths[i], O_RDWR | O_CLOEXEC);
		if (b->fds[i] < 0 || fstat(b->fds[i], &st) ||
		    fcntl(b->fds[i], F_OFD_SETLK, &lock))
			bench_die(b->paths[i]);
	}
	start = clock_now() - start;
	for (size_t i = 0; i < b->disks; i++)
		close(b->fds[i]);
	return start;
}

/* The server learns of a last close later. */
static void until_free(struct bench *b, unsigned releases)
{
	if (!slowfs_await(&slowfs_knobs(b->fs)->releases, releases))
		errx(70, "the locks are still there");
}

static uint64_t run_slow(struct bench *b, uint64_t (*run)(struct bench *b))
{
	struct slowfs_knobs *knobs = slowfs_knobs(b->fs);
	unsigned releases = knobs->releases + (unsigned)b->disks;
	uint64_t ns;

	knobs->open_ms = knobs->lock_ms = b->ms;
	ns = run(b);
	knobs->open_ms = knobs->lock_ms = 0;
	until_free(b, releases);
	return ns;
}

static void round_once(struct bench *b, bool counts)
{
	struct slowfs_knobs *knobs = slowfs_knobs(b->fs);
	uint64_t serial, api;

	serial = run_slow(b, run_serial);
	knobs->max_waiting = 0;
	b->neighbour->beside = true;
	api = run_slow(b, run_api);
	b->neighbour->beside = false;
	if (!counts)
		return;
	series_add(&b->series[SERIAL], serial);
	series_add(&b->series[API], api);
	b->in_flight = MAX(b->in_flight, knobs->max_waiting);
}

/* Its sample counts for what has been the case from its begin to its end. */
static void neighbour_once(struct bench *b, struct glk_context *context)
{
	struct neighbour *me = b->neighbour;
	bool beside = me->beside;
	uint64_t start = clock_now();
	struct glk_guest *guest =
		acquire(context, b->images.paths, b->images.n);
	unsigned i;

	start = clock_now() - start;
	glk_guest_free(guest);
	i = me->n[beside];
	if (me->beside != beside || i == ARRAY_SIZE(me->ns[0]))
		return;
	me->ns[beside][i] = start;
	me->n[beside] = i + 1;
}

_Noreturn static void be_neighbour(struct bench *b)
{
	struct glk_context *context;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (glk_context_new(&context))
		errx(70, "neighbour: context");
	for (;;) {
		neighbour_once(b, context);
		usleep(PAUSE_US);
	}
}

static void start_neighbour(struct bench *b)
{
	b->neighbour = mmap(NULL, sizeof(*b->neighbour), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b->neighbour == MAP_FAILED)
		bench_die("mmap");
	b->neighbour_pid = fork();
	if (b->neighbour_pid < 0)
		bench_die("fork");
	if (!b->neighbour_pid)
		be_neighbour(b);
}

static void end_neighbour(struct bench *b)
{
	kill(b->neighbour_pid, SIGKILL);
	waitpid(b->neighbour_pid, NULL, 0);
	for (unsigned side = 0; side < 2; side++)
		for (unsigned i = 0; i < b->neighbour->n[side]; i++)
			series_add(&b->series[ALONE + side],
				   b->neighbour->ns[side][i]);
}

static double ratio(const struct bench *b, int of, int to)
{
	return (double)series_median(&b->series[of]) /
	       (double)series_median(&b->series[to]);
}

static void print(const struct bench *b)
{
	printf("%zu disks, %u ms for each open and lock, median of %zu rounds\n"
	       "serial   %10.2f ms\n"
	       "api      %10.2f ms  %.1fx faster, at most %u requests at a "
	       "time\n",
	       b->disks, b->ms, b->rounds,
	       (double)series_median(&b->series[SERIAL]) / 1e6,
	       (double)series_median(&b->series[API]) / 1e6,
	       ratio(b, SERIAL, API), b->in_flight);
	printf("another process, %d local images\n"
	       "alone    %10.2f us  (%zu times)\n"
	       "beside   %10.2f us  (%zu times)  %.2fx\n",
	       LOCAL, (double)series_median(&b->series[ALONE]) / 1e3,
	       b->series[ALONE].n,
	       (double)series_median(&b->series[BESIDE]) / 1e3,
	       b->series[BESIDE].n, ratio(b, BESIDE, ALONE));
}

static void print_json(const struct bench *b)
{
	json_t *all = json_array(), *o;

	for (size_t i = 0; i < N_SERIES; i++)
		json_array_append_new(all, series_json(&b->series[i]));
	o = json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:o}", "rounds",
		      (json_int_t)b->rounds, "disks", (json_int_t)b->disks,
		      "delay_ms", (json_int_t)b->ms, "max_in_flight",
		      (json_int_t)b->in_flight, "speedup",
		      ratio(b, SERIAL, API), "beside_to_alone",
		      ratio(b, BESIDE, ALONE), "series", all);
	json_dumpf(o, stdout, JSON_INDENT(1));
	json_decref(o);
}

static void usage(void)
{
	fprintf(stderr,
		"usage: bench_remote [--rounds N] [--disks N] [--ms DELAY] "
		"[--dir DIR] [--json]\n");
	exit(64);
}

static const char *parse(struct bench *b, int argc, char **argv)
{
	static const struct option options[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "disks", required_argument, NULL, 'n' },
		{ "ms", required_argument, NULL, 'm' },
		{ "dir", required_argument, NULL, 'd' },
		{ "json", no_argument, NULL, 'j' },
		{},
	};
	const char *dir = "/var/tmp";
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'r')
			b->rounds = strtoul(optarg, NULL, 10);
		else if (c == 'n')
			b->disks = strtoul(optarg, NULL, 10);
		else if (c == 'm')
			b->ms = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'd')
			dir = optarg;
		else if (c == 'j')
			b->json = true;
		else
			usage();
	}
	if (!b->rounds || !b->disks || b->disks > SLOWFS_FILES || optind < argc)
		usage();
	return dir;
}

static void set_up(struct bench *b, const char *dir)
{
	static const char *const names[] = { "serial", "api", "alone",
					     "beside" };
	struct rlimit nofile;
	char slow[80];

	getrlimit(RLIMIT_NOFILE, &nofile);
	nofile.rlim_cur = nofile.rlim_max;
	setrlimit(RLIMIT_NOFILE, &nofile);
	for (size_t i = 0; i < N_SERIES; i++)
		b->series[i].name = names[i];
	snprintf(b->base, sizeof(b->base), "%.40s/guestlock-bench-XXXXXX", dir);
	if (!mkdtemp(b->base))
		bench_die(b->base);
	images_make(&b->images, b->base, "local", LOCAL);
	snprintf(slow, sizeof(slow), "%s/slow", b->base);
	b->fs = slowfs_start(slow);
	b->paths = calloc(b->disks, sizeof(*b->paths));
	b->fds = calloc(b->disks, sizeof(*b->fds));
	for (size_t i = 0; i < b->disks; i++)
		b->paths[i] = strdup(slowfs_path(b->fs, (unsigned)i));
	sleep(1); /* let the directory's last change be a moment ago */
	start_neighbour(b);
	if (glk_context_new(&b->context))
		errx(70, "context");
}

static void tear_down(struct bench *b)
{
	char images[128];

	glk_context_free(b->context);
	slowfs_stop(b->fs);
	images_remove(&b->images);
	snprintf(images, sizeof(images), "%s/images", b->base);
	rmdir(images);
	rmdir(b->base);
	for (size_t i = 0; i < b->disks; i++)
		free(b->paths[i]);
	free(b->paths);
	free(b->fds);
	for (size_t i = 0; i < N_SERIES; i++)
		series_done(&b->series[i]);
}

int main(int argc, char **argv)
{
	static struct bench b = { .rounds = 11, .disks = 500, .ms = 1 };

	set_up(&b, parse(&b, argc, argv));
	for (size_t round = 0; round <= b.rounds; round++)
		round_once(&b, round); /* the first one warms up */
	end_neighbour(&b);
	if (b.json)
		print_json(&b);
	else
		print(&b);
	tear_down(&b);
	return 0;
}
