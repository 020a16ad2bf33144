/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PATIENCE_MS 60000
#define SETTLE_MS 10000
#define FAILED 99

char *const guest_program[] = { (char *)"cat", NULL };

static pid_t program_pid;
static int leash[2] = { -1, -1 };

/*
 * The leash becomes standard input, since a guest's program reads that.
 * Capsules of other programs are out of sight, if we may have that.
 */
__attribute__((constructor)) static void prepare_program(void)
{
	program_pid = getpid();
	(void)!unshare(CLONE_NEWNET);
	if (pipe2(leash, O_CLOEXEC) || dup2(leash[0], STDIN_FILENO) < 0 ||
	    prctl(PR_SET_CHILD_SUBREAPER, 1))
		abort();
	leash[0] = fd_close(leash[0]);
}

void must(bool ok, const char *what, const char *file, int line)
{
	if (ok)
		return;
	fprintf(stderr, "%s:%d: not so: %s (errno: %s)\n", file, line, what,
		strerror(errno));
	if (getpid() != program_pid)
		_exit(FAILED);
	_fail(file, line);
}

void must_equal(long long a, long long b, const char *what, const char *file,
		int line)
{
	if (a != b)
		fprintf(stderr, "%s:%d: %lld, not %lld\n", file, line, a, b);
	must(a == b, what, file, line);
}

static char *next_text(void)
{
	static char ring[16][64];
	static unsigned next;

	return ring[next++ % ARRAY_SIZE(ring)];
}

const char *guest_uuid(unsigned which)
{
	char *text = next_text();

	snprintf(text, 64, "7e57da7a-%04x-4000-8000-%012x", which & 0xffff,
		 (unsigned)program_pid);
	return text;
}

const char *guest_name(const char *suffix)
{
	char *text = next_text();

	snprintf(text, 64, "test-%d-%s", (int)program_pid, suffix);
	return text;
}

struct glk_context *guest_context(void)
{
	struct glk_context *context = NULL;

	MUST_EQUAL(glk_context_new(&context), 0);
	glk_context_set_timeout(context, 30000);
	return context;
}

struct glk_guest *guest_describe(struct glk_context *context, int holder,
				 const char *uuid, const char *name)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest = NULL;

	config.uuid = uuid;
	config.name = name;
	config.holder = holder;
	MUST_EQUAL(glk_guest_new(context, &config, &guest), 0);
	return guest;
}

int guest_add(struct glk_guest *guest, const char *path, unsigned flags)
{
	struct glk_disk disk = { path, flags };

	return glk_guest_add(guest, &disk, 1);
}

int guest_attach(struct glk_guest *guest, const char *path, unsigned flags)
{
	struct glk_disk disk = { path, flags };

	return glk_guest_attach(guest, &disk, 1);
}

int guest_detach(struct glk_guest *guest, const char *path)
{
	return glk_guest_detach(guest, &path, 1, NULL);
}

struct disks disks_new(const char *prefix, size_t n)
{
	struct disks disks = { calloc(n + 1, sizeof(*disks.items)), n };
	char name[PATH_MAX];

	MUST(disks.items != NULL);
	MUST(!mkdir(test_file(prefix, -1), 0755) || errno == EEXIST);
	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s/%zu", prefix, i);
		disks.items[i].path = strdup(test_file(name, 0));
	}
	return disks;
}

void disks_free(struct disks *disks)
{
	for (size_t i = 0; i < disks->n; i++)
		free((char *)disks->items[i].path);
	free(disks->items);
	*disks = (struct disks){};
}

bool range_is_locked(const char *path, long start, long len)
{
	struct flock lock = { .l_type = F_WRLCK,
			      .l_start = start,
			      .l_len = len };
	_cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CLOEXEC);

	MUST(fd >= 0);
	MUST(!fcntl(fd, F_OFD_GETLK, &lock));
	return lock.l_type != F_UNLCK;
}

size_t disks_locked(const struct disks *disks)
{
	size_t n = 0;

	for (size_t i = 0; i < disks->n; i++)
		n += range_is_locked(disks->items[i].path, 0, 1);
	return n;
}

size_t disks_settle(const struct disks *disks)
{
	uint64_t deadline = deadline_in_ms(SETTLE_MS);
	size_t n;

	do {
		n = disks_locked(disks);
		if (n == 0 || n == disks->n)
			return n;
		usleep(500);
	} while (clock_now() < deadline);
	fprintf(stderr, "%zu of %zu disks stay locked\n", n, disks->n);
	MUST(n == 0 || n == disks->n);
	return n;
}

bool disks_become_free(const struct disks *disks)
{
	uint64_t deadline = deadline_in_ms(SETTLE_MS);

	while (disks_locked(disks)) {
		if (clock_now() > deadline)
			return false;
		usleep(500);
	}
	return true;
}

pid_t process_start(int (*fn)(void *arg), void *arg)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	MUST(pid >= 0);
	if (pid)
		return pid;
	leash[1] = fd_close(leash[1]);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(FAILED);
	_exit(fn(arg));
}

/* Debian's valgrind has no pidfds. */
static bool wait_by_polling(pid_t pid)
{
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);
	siginfo_t info = {};

	while (!waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
	       !info.si_pid && clock_now() < deadline)
		usleep(1000);
	return info.si_pid == pid;
}

static bool wait_by_pidfd(pid_t pid)
{
	_cleanup_(fd_closep) int fd = pidfd_open(pid, 0);
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	int n;

	if (fd < 0 && errno == ENOSYS)
		return wait_by_polling(pid);
	MUST(fd >= 0);
	do
		n = poll(&poller, 1, PATIENCE_MS);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

int process_wait(pid_t pid)
{
	int status;

	MUST(wait_by_pidfd(pid));
	MUST_EQUAL(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status)
				   : WEXITSTATUS(status);
}

void process_kill(pid_t pid)
{
	MUST(pid > 1);
	MUST(!kill(pid, SIGKILL));
}

void process_end(pid_t pid)
{
	process_kill(pid);
	MUST_EQUAL(process_wait(pid), 128 + SIGKILL);
}

/* Whom the kernel has made our children; the first few are enough. */
static void kill_children(void)
{
	char path[64], buf[4096], *at = buf, *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children",
		 (int)program_pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	fd_close(fd);
	buf[MAX(n, 0)] = '\0';
	for (;;) {
		long pid = strtol(at, &end, 10);

		/* The last one may be cut short. */
		if (end == at || !*end)
			break;
		kill((pid_t)pid, SIGKILL);
		at = end;
	}
}

/* Children of those that end become ours. */
int process_end_all(void **state)
{
	uint64_t deadline = deadline_in_ms(SETTLE_MS);
	pid_t pid;

	(void)state;
	do {
		kill_children();
		do
			pid = waitpid(-1, NULL, WNOHANG);
		while (pid > 0);
		usleep(1000);
	} while (pid == 0 && clock_now() < deadline);
	return pid == 0 ? -1 : 0;
}

__attribute__((destructor)) static void end_program(void)
{
	if (getpid() == program_pid)
		process_end_all(NULL);
}

/* The fields of /proc/PID/stat behind the command's name, from the third. */
static bool read_stat(pid_t pid, char *buf, size_t size, const char **ret_rest)
{
	char path[40];
	ssize_t n = -1;
	char *end;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = read(fd, buf, size - 1);
	fd_close(fd);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	end = strrchr(buf, ')');
	*ret_rest = end ? end + 2 : "";
	return end;
}

bool process_is_gone(pid_t pid)
{
	const char *rest;
	char buf[1024];

	return !read_stat(pid, buf, sizeof(buf), &rest) || *rest == 'Z' ||
	       *rest == 'X';
}

uint64_t process_started(pid_t pid)
{
	unsigned long long ticks = 0;
	const char *rest = "";
	char buf[1024];

	MUST(read_stat(pid, buf, sizeof(buf), &rest));
	for (int field = 3; field < 22; field++) {
		rest = strchr(rest, ' ');
		MUST(rest != NULL);
		rest++;
	}
	MUST_EQUAL(sscanf(rest, "%llu", &ticks), 1);
	return clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME) +
	       ticks * (NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

pid_t process_orphan(void)
{
	char path[64], buf[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children",
		 (int)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	MUST(fd >= 0);
	n = read(fd, buf, sizeof(buf) - 1);
	fd_close(fd);
	MUST(n >= 0);
	buf[MAX(n, 0)] = '\0';
	return n > 0 ? (pid_t)strtol(buf, NULL, 10) : -1;
}

void guest_live(void)
{
	char byte;

	while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR)
		;
}

void guest_close_others(int fd)
{
	struct dirent *entry;
	DIR *dir = opendir("/proc/self/fd");

	MUST(dir != NULL);
	while ((entry = readdir(dir))) {
		int other = atoi(entry->d_name);

		if (other > 2 && other != fd && other != dirfd(dir))
			close(other);
	}
	closedir(dir);
}

void guest_become(struct glk_guest *guest)
{
	if (!glk_guest_inherit(guest))
		execvp(guest_program[0], guest_program);
	_exit(FAILED);
}

/* EOF on a pipe that closes at exec says that exec was done. */
pid_t guest_start(struct glk_guest *guest)
{
	int ready[2];
	pid_t pid;
	char byte;

	MUST(!pipe2(ready, O_CLOEXEC));
	pid = fork();
	MUST(pid >= 0);
	if (!pid)
		guest_become(guest);
	close(ready[1]);
	MUST_EQUAL(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	MUST_EQUAL(glk_guest_handed_over(guest), 0);
	glk_guest_free(guest);
	return pid;
}

pid_t guest_fork(struct glk_guest *guest)
{
	int fd = glk_guest_fd(guest), ready[2];
	char byte;
	pid_t pid;

	MUST(fd >= 0);
	MUST(!pipe2(ready, O_CLOEXEC));
	pid = fork();
	MUST(pid >= 0);
	if (!pid) {
		guest_close_others(fd);
		guest_live();
		_exit(0);
	}
	close(ready[1]);
	MUST_EQUAL(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	MUST_EQUAL(glk_guest_handed_over(guest), 0);
	glk_guest_free(guest);
	return pid;
}

pid_t guest_run(struct glk_context *context, const struct guest_plan *plan)
{
	struct glk_guest *guest = guest_describe(context, GLK_HOLDER_GUEST,
						 plan->uuid, plan->name);

	MUST_EQUAL(glk_guest_add(guest, plan->disks.items, plan->disks.n), 0);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	return guest_start(guest);
}

struct channel channel_new(void)
{
	struct channel channel;

	MUST(!pipe2(channel.fds, O_CLOEXEC));
	return channel;
}

void channel_reads(struct channel *channel)
{
	channel->fds[1] = fd_close(channel->fds[1]);
}

void channel_free(struct channel *channel)
{
	channel->fds[0] = fd_close(channel->fds[0]);
	channel->fds[1] = fd_close(channel->fds[1]);
}

void channel_tell(struct channel *channel, int value)
{
	MUST_EQUAL(write(channel->fds[1], &value, sizeof(value)),
		   sizeof(value));
}

int channel_hear(struct channel *channel)
{
	struct pollfd poller = { .fd = channel->fds[0], .events = POLLIN };
	int value = INT_MIN;
	ssize_t n;

	do
		n = poll(&poller, 1, PATIENCE_MS);
	while (n < 0 && errno == EINTR);
	MUST_EQUAL(n, 1);
	n = read(channel->fds[0], &value, sizeof(value));
	MUST(n == 0 || n == (ssize_t)sizeof(value));
	return value;
}

/* SplitMix64. */
uint64_t dice_roll(struct dice *dice, uint64_t below)
{
	uint64_t x = dice->state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (x ^ (x >> 31)) % (below ? below : 1);
}

struct dice dice_new(void)
{
	const char *seed = getenv("GUESTLOCK_TEST_SEED");
	struct dice dice = { clock_ns(CLOCK_REALTIME) };

	if (seed)
		dice.state = strtoull(seed, NULL, 0);
	printf("GUESTLOCK_TEST_SEED=%llu\n", (unsigned long long)dice.state);
	return dice;
}

unsigned number_from(const char *variable, unsigned otherwise)
{
	const char *value = getenv(variable);

	return value ? (unsigned)strtoul(value, NULL, 0) : otherwise;
}

void wait_ns(uint64_t ns)
{
	uint64_t end = clock_now() + ns;

	while (clock_now() < end)
		;
}
