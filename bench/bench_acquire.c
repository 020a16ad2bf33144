/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What does it cost to lock the disks of a guest? See README.md beside this.
 *
 *   bare     a loop of open(2) by path, fstat(2), fcntl(F_OFD_SETLK)
 *   syscall  our engine on plain system calls: the same three steps
 *   uring    our engine on io_uring
 *   api      libguestlock: everything, to the parked leases
 *   floor    the system calls of that alone
 *   plug-*   one disk, into a guest that runs
 */
#include "bench/bench.h"
#include "bench/floor.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "include/guestlock.h"
#include "uring/engine.h"

#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const size_t sizes[] = { 1, 8, 64, 500, 2000 };

struct bench {
	size_t rounds;
	size_t others; /* leases of other guests on the host */
	bool json;
	const char *command; /* path of guestlock, or NULL */
	char base[64];
	struct images images;
	int fds[2000];
	struct op ops[4000];
	struct engine *sync, *ring;
	struct glk_context *context;
};

static void lock_fd(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };

	if (fcntl(fd, F_OFD_SETLK, &lock))
		bench_die("lock");
}

static void close_all(struct bench *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(b->fds[i]);
}

static uint64_t run_bare(struct bench *b, size_t n)
{
	uint64_t start = clock_now();
	struct stat st;

	for (size_t i = 0; i < n; i++) {
		b->fds[i] = open(b->images.paths[i], O_RDWR | O_CLOEXEC);
		if (b->fds[i] < 0 || fstat(b->fds[i], &st))
			bench_die(b->images.paths[i]);
		lock_fd(b->fds[i]);
	}
	start = clock_now() - start;
	close_all(b, n);
	return start;
}

static void engine_open(struct bench *b, struct engine *engine, size_t n)
{
	int dir = open(b->images.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < n; i++)
		b->ops[i] = (struct op){
			.kind = OP_OPEN,
			.fd = dir,
			.open = { .path = strrchr(b->images.paths[i], '/') + 1,
				  .flags = O_RDWR },
		};
	if (dir < 0 || engine_run(engine, b->ops, n, DEADLINE_NEVER))
		bench_die("engine: open");
	for (size_t i = 0; i < n; i++)
		b->fds[i] = b->ops[i].res;
	close(dir);
}

static uint64_t run_engine(struct bench *b, struct engine *engine, size_t n)
{
	uint64_t start = clock_now();

	engine_open(b, engine, n);
	for (size_t i = 0; i < n; i++) {
		b->ops[2 * i] = (struct op){ .kind = OP_STAT, .fd = b->fds[i] };
		b->ops[2 * i + 1] = (struct op){
			.kind = OP_LOCK,
			.fd = b->fds[i],
			.lock = { .type = F_WRLCK, .len = 1 },
		};
	}
	if (engine_run(engine, b->ops, 2 * n, DEADLINE_NEVER))
		bench_die("engine: lock");
	start = clock_now() - start;
	for (size_t i = 0; i < 2 * n; i++)
		if (b->ops[i].res)
			errx(70, "engine: operation %zu failed", i);
	close_all(b, n);
	return start;
}

static uint64_t run_syscall(struct bench *b, size_t n)
{
	return run_engine(b, b->sync, n);
}

static uint64_t run_uring(struct bench *b, size_t n)
{
	return run_engine(b, b->ring, n);
}

static void check(struct bench *b, int r, const char *what)
{
	if (r)
		errx(70, "%s: %s (%s)", what, strerror(-r),
		     glk_context_message(b->context));
}

static struct glk_guest *api_acquire(struct bench *b, size_t n, int holder,
				     const char *uuid)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest;

	config.holder = holder;
	config.uuid = uuid;
	check(b, glk_guest_new(b->context, &config, &guest), "new");
	for (size_t i = 0; i < n; i++) {
		struct glk_disk disk = { b->images.paths[i], 0 };

		check(b, glk_guest_add(guest, &disk, 1), "add");
	}
	check(b, glk_guest_acquire(guest), "acquire");
	return guest;
}

static uint64_t run_api(struct bench *b, size_t n)
{
	uint64_t start = clock_now();
	struct glk_guest *guest = api_acquire(b, n, GLK_HOLDER_SELF, NULL);

	start = clock_now() - start;
	glk_guest_free(guest);
	return start;
}

static uint64_t run_floor(struct bench *b, size_t n)
{
	return floor_acquire(b->ring, &b->images, n);
}

struct variant {
	const char *name;
	uint64_t (*run)(struct bench *b, size_t n);
};

static const struct variant variants[] = {
	{ "bare", run_bare },	{ "syscall", run_syscall },
	{ "uring", run_uring }, { "api", run_api },
	{ "floor", run_floor },
};
#define N_VARIANTS ARRAY_SIZE(variants)

static void print_row(size_t n, const struct series *series)
{
	double bare = (double)series_median(&series[0]);

	printf("%6zu", n);
	for (size_t v = 0; v < N_VARIANTS; v++)
		printf("  %8.3f",
		       (double)series_median(&series[v]) / 1e3 / (double)n);
	for (size_t v = 1; v < N_VARIANTS; v++)
		printf("  %5.2fx", (double)series_median(&series[v]) / bare);
	printf("\n");
}

static json_t *bench_size(struct bench *b, size_t n)
{
	struct series series[N_VARIANTS] = {};
	json_t *all = json_array();

	for (size_t v = 0; v < N_VARIANTS; v++)
		series[v].name = variants[v].name;
	for (size_t round = 0; round <= b->rounds; round++) {
		for (size_t i = 0; i < N_VARIANTS; i++) {
			/* Nobody is always the first or always after X. */
			size_t v =
				(i * (round % 2 ? 1 : 3) + round) % N_VARIANTS;
			uint64_t ns;

			ns = variants[v].run(b, n);
			if (round) /* the first one warms up */
				series_add(&series[v], ns);
		}
	}
	if (!b->json)
		print_row(n, series);
	for (size_t v = 0; v < N_VARIANTS; v++) {
		json_array_append_new(all, series_json(&series[v]));
		series_done(&series[v]);
	}
	return json_pack("{s:I, s:o}", "disks", (json_int_t)n, "series", all);
}

static json_t *bench_sizes(struct bench *b)
{
	json_t *all = json_array();

	if (!b->json)
		printf("us a disk, median of %zu rounds; then ratio to bare\n"
		       " disks      bare   syscall     uring       api     "
		       "floor"
		       "  syscall uring  api    floor\n",
		       b->rounds);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		json_array_append_new(all, bench_size(b, sizes[i]));
	return all;
}

static uint64_t plug_bare(const char *path, const int pair[2])
{
	char control[CMSG_SPACE(sizeof(int))] = {}, payload[64] = {};
	struct iovec iov = { payload, sizeof(payload) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	uint64_t start = clock_now();
	struct stat st;
	int fd;

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		bench_die(path);
	lock_fd(fd);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	if (sendmsg(pair[1], &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		bench_die("sendmsg");
	start = clock_now() - start;
	close(fd);
	if (read(pair[0], payload, sizeof(payload)) < 0)
		bench_die("read");
	return start;
}

static uint64_t plug_open(struct bench *b, struct glk_guest *guest,
			  const char *path)
{
	struct glk_disk disk = { path, 0 };
	uint64_t start = clock_now();

	check(b, glk_guest_attach(guest, &disk, 1), "attach");
	start = clock_now() - start;
	check(b, glk_guest_detach(guest, &path, 1, NULL), "detach");
	return start;
}

/* In a process that knows nothing yet but the uuid; it tells its time. */
static uint64_t plug_fresh(const char *uuid, const char *path)
{
	uint64_t ns = 0;
	int report[2];
	pid_t pid;

	if (pipe(report))
		bench_die("pipe");
	pid = fork();
	if (!pid) {
		uint64_t start = clock_now();
		struct glk_disk disk = { path, 0 };
		struct glk_context *context;
		struct glk_guest *guest;

		if (glk_context_new(&context) ||
		    glk_guest_adopt(context, uuid, &guest) ||
		    glk_guest_attach(guest, &disk, 1))
			_exit(1);
		start = clock_now() - start;
		if (write(report[1], &start, sizeof(start)) < 0)
			_exit(1);
		_exit(glk_guest_detach(guest, &path, 1, NULL) ? 1 : 0);
	}
	close(report[1]);
	if (read(report[0], &ns, sizeof(ns)) != sizeof(ns))
		errx(70, "the fresh process failed");
	close(report[0]);
	waitpid(pid, NULL, 0);
	return ns;
}

/* The command, from posix_spawn to its end; then the disk is detached. */
static uint64_t plug_command(const char *command, const char *verb,
			     const char *uuid, const char *path)
{
	char *const argv[] = { (char *)command, (char *)verb, (char *)uuid,
			       (char *)path, NULL };
	uint64_t start = clock_now();
	int status;
	pid_t pid;

	if (posix_spawn(&pid, command, NULL, NULL, argv, environ) ||
	    waitpid(pid, &status, 0) < 0 || status)
		errx(70, "%s %s failed", command, verb);
	return clock_now() - start;
}

static void plug_print(const struct series *s, size_t n)
{
	printf("\none disk into a guest of 500, us\n");
	for (size_t i = 0; i < n; i++)
		if (s[i].n)
			printf("%-14s %10.2f  (min %.2f)  %.2fx\n", s[i].name,
			       (double)series_median(&s[i]) / 1e3,
			       (double)series_min(&s[i]) / 1e3,
			       (double)series_median(&s[i]) /
				       (double)series_median(&s[0]));
}

static const char plug_uuid[] = "3b1f0d4c-5e0e-4f6e-9a51-0d6f5a1c0a11";

/* In the process that is to be the guest, as `guestlock run` does it. */
static void become_guest(void *arg)
{
	struct bench *b = arg;

	if (glk_context_new(&b->context))
		errx(70, "guest: context");
	api_acquire(b, 500, GLK_HOLDER_SELF, plug_uuid);
}

static json_t *bench_plug(struct bench *b)
{
	const char *uuid = plug_uuid;
	struct series s[] = { { .name = "plug-bare" },
			      { .name = "plug-floor" },
			      { .name = "plug-open" },
			      { .name = "plug-fresh" },
			      { .name = "plug-command" } };
	struct glk_guest *guest;
	const char *path = b->images.paths[600];
	json_t *all = json_array();
	int mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ||
	    mounts < 0)
		bench_die("socketpair");
	pid = bench_sleeper(become_guest, b);
	check(b, glk_guest_adopt(b->context, uuid, &guest), "adopt");
	for (size_t round = 0; round < b->rounds * 4; round++) {
		series_add(&s[0], plug_bare(path, pair));
		plug_open(b, guest, path);
		series_add(&s[1], floor_plug(path, pair, mounts));
		plug_open(b, guest, path);
		series_add(&s[2], plug_open(b, guest, path));
		if (round % 4)
			continue;
		series_add(&s[3], plug_fresh(uuid, path));
		if (!b->command)
			continue;
		series_add(&s[4],
			   plug_command(b->command, "attach-disk", uuid, path));
		plug_command(b->command, "detach-disk", uuid, path);
	}
	if (!b->json)
		plug_print(s, ARRAY_SIZE(s));
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		if (s[i].n)
			json_array_append_new(all, series_json(&s[i]));
		series_done(&s[i]);
	}
	glk_guest_free(guest);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return all;
}

#define OTHER_DISKS 10

static void become_other(void *arg)
{
	struct bench *b = arg;

	if (glk_context_new(&b->context))
		errx(70, "guest: context");
	api_acquire(b, OTHER_DISKS, GLK_HOLDER_SELF, NULL);
}

/* Other guests of the host, ten disks each, in processes of their own. */
static void start_others(struct bench *b, struct images *images)
{
	size_t guests = b->others / OTHER_DISKS;
	struct images mine = b->images;

	images_make(images, b->base, "others", guests * OTHER_DISKS);
	for (size_t g = 0; g < guests; g++) {
		b->images.paths = images->paths + g * OTHER_DISKS;
		bench_sleeper(become_other, b);
	}
	b->images = mine;
}

static void usage(void)
{
	fprintf(stderr,
		"usage: bench_acquire [--rounds N] [--others LEASES] "
		"[--dir DIR]\n"
		"                     [--command GUESTLOCK] [--json]\n");
	exit(64);
}

static const char *parse(struct bench *b, int argc, char **argv)
{
	static const struct option options[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "others", required_argument, NULL, 'o' },
		{ "dir", required_argument, NULL, 'd' },
		{ "command", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{},
	};
	const char *dir = "/var/tmp";
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'r')
			b->rounds = strtoul(optarg, NULL, 10);
		else if (c == 'o')
			b->others = strtoul(optarg, NULL, 10);
		else if (c == 'd')
			dir = optarg;
		else if (c == 'c')
			b->command = optarg;
		else if (c == 'j')
			b->json = true;
		else
			usage();
	}
	if (!b->rounds || optind < argc)
		usage();
	return dir;
}

static void set_up(struct bench *b, const char *dir)
{
	struct engine_config sync = { .backend = "syscall" };
	struct engine_config ring = { .backend = "uring" };
	struct rlimit nofile;

	getrlimit(RLIMIT_NOFILE, &nofile);
	nofile.rlim_cur = nofile.rlim_max;
	setrlimit(RLIMIT_NOFILE, &nofile);
	snprintf(b->base, sizeof(b->base), "%.40s/guestlock-bench-XXXXXX", dir);
	if (!mkdtemp(b->base))
		bench_die(b->base);
	images_make(&b->images, b->base, "guest", 2000);
	if (engine_new(&sync, &b->sync) || engine_new(&ring, &b->ring) ||
	    glk_context_new(&b->context))
		errx(70, "cannot make the engines: is io_uring switched off?");
	sleep(1); /* let the directory's last change be a moment ago */
}

static void tear_down(struct bench *b)
{
	char images[128];

	engine_free(b->sync);
	engine_free(b->ring);
	glk_context_free(b->context);
	images_remove(&b->images);
	snprintf(images, sizeof(images), "%s/images", b->base);
	rmdir(images);
	rmdir(b->base);
}

int main(int argc, char **argv)
{
	static struct bench b = { .rounds = 41 };
	struct images others = {};
	json_t *acquire, *plug, *all;

	set_up(&b, parse(&b, argc, argv));
	if (b.others)
		start_others(&b, &others);
	acquire = bench_sizes(&b);
	plug = bench_plug(&b);
	all = json_pack("{s:I, s:I, s:o, s:o}", "rounds", (json_int_t)b.rounds,
			"others", (json_int_t)b.others, "acquire", acquire,
			"plug", plug);
	if (b.json)
		json_dumpf(all, stdout, JSON_INDENT(1));
	json_decref(all);
	images_remove(&others);
	tear_down(&b);
	return 0;
}
