/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/demo.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"

#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/*
 * The demo is a child subreaper: when a launcher is killed, its guest becomes
 * our child, so that nothing is left behind. Guests are killed through pidfds,
 * since a launcher may have reaped one whose number is somebody else's by now;
 * one that never said its pid is killed with its launcher's process group.
 */

#define GUEST_LIFE "60" /* seconds: the most that kill -9 of us leaves behind */

static volatile sig_atomic_t demo_stopped;

static void on_signal(int signo)
{
	demo_stopped = signo;
}

int demo_fail(struct demo *demo, const char *format, ...)
{
	va_list args;

	free(demo->why);
	va_start(args, format);
	if (vasprintf(&demo->why, format, args) < 0)
		demo->why = NULL;
	va_end(args);
	return -1;
}

char *demo_path(const struct demo *demo, const char *name, char *buf)
{
	snprintf(buf, PATH_MAX, "%.*s/%.60s", PATH_MAX - 64, demo->dir, name);
	return buf;
}

int demo_open(struct demo *demo)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = on_signal };
	const char *base = getenv("TMPDIR");

	/* A comma would have to be doubled in --disk. */
	if (!base || !*base || strchr(base, ',') || strlen(base) > 1000)
		base = "/tmp";
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	snprintf(demo->dir, sizeof(demo->dir), "%s/guestlock-demo-XXXXXX",
		 base);
	if (!mkdtemp(demo->dir)) {
		demo->dir[0] = '\0';
		return demo_fail(demo, "no directory in %s: %s", base,
				 strerror(errno));
	}
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type,
			struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void signal_guest(const struct demo_guest *guest, int signo)
{
	if (guest->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, guest->pidfd, signo, NULL, 0);
}

void demo_close(struct demo *demo)
{
	for (size_t i = 0; i < demo->n_guests; i++) {
		struct demo_guest *guest = &demo->guests[i];

		if (guest->launcher > 0)
			kill(-guest->launcher, SIGKILL);
		signal_guest(guest, SIGKILL);
		guest->pidfd = fd_close(guest->pidfd);
	}
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	if (demo->dir[0])
		nftw(demo->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(demo->why);
	demo->why = NULL;
}

int demo_make_image(struct demo *demo, const char *name)
{
	_cleanup_(fd_closep) int fd = -1;
	char path[PATH_MAX];

	demo_path(demo, name, path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 1 << 20))
		return demo_fail(demo, "%s: %s", path, strerror(errno));
	return 0;
}

int demo_probe(struct demo *demo, const char *name, bool *ret_held)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	_cleanup_(fd_closep) int fd = -1;
	char path[PATH_MAX];

	fd = open(demo_path(demo, name, path), O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return demo_fail(demo, "%s: %s", path, strerror(errno));
	*ret_held = fcntl(fd, F_OFD_SETLK, &lock) < 0;
	if (*ret_held && errno != EAGAIN && errno != EACCES)
		return demo_fail(demo, "%s: %s", path, strerror(errno));
	return 0;
}

/* Wait until @fd is readable or its peer is gone. */
static int await(struct demo *demo, int fd, const char *what)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n = demo_stopped ? -1 : poll(&p, 1, DEMO_WAIT_MS);

	if (demo_stopped)
		return demo_fail(demo, "interrupted");
	if (n < 0)
		return demo_fail(demo, "poll: %s", strerror(errno));
	return n ? 0 : demo_fail(demo, "%s: no answer", what);
}

/* In the child. @out becomes both output streams. */
static _Noreturn void become(const struct demo *demo, const char *const *argv,
			     int out)
{
	signal(SIGPIPE, SIG_DFL);
	setrlimit(RLIMIT_NOFILE, &demo->nofile);
	if (dup2(out, STDOUT_FILENO) >= 0 && dup2(out, STDERR_FILENO) >= 0)
		execv("/proc/self/exe", (char *const *)argv);
	_exit(127);
}

static int open_pidfd(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static char *read_back(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char *text = size < 0 ? NULL : malloc((size_t)size + 1);

	if (text && pread(fd, text, (size_t)size, 0) == size)
		text[size] = '\0';
	else if (text)
		text[0] = '\0';
	return text;
}

int demo_call(struct demo *demo, const char *const *argv, char **ret_out)
{
	_cleanup_(fd_closep) int out = -1, pidfd = -1;
	int status, r;
	pid_t pid;

	out = memfd_create("guestlock-demo", MFD_CLOEXEC);
	if (out < 0)
		return demo_fail(demo, "memfd_create: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return demo_fail(demo, "fork: %s", strerror(errno));
	if (!pid)
		become(demo, argv, out);
	pidfd = open_pidfd(pid);
	r = await(demo, pidfd, argv[1]);
	if (r < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		return r;
	*ret_out = read_back(out);
	if (!*ret_out)
		return demo_fail(demo, "out of memory");
	return WIFEXITED(status) ? WEXITSTATUS(status)
				 : demo_fail(demo, "%s was killed", argv[1]);
}

/* As a manager would: start the guest, and wait for it. */
static _Noreturn void launch(const struct demo *demo, const char *const *argv,
			     int out)
{
	pid_t pid;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	pid = fork();
	if (!pid)
		become(demo, argv, out);
	close(out);
	waitpid(pid, NULL, 0);
	_exit(0);
}

/* The guest says its pid, or `run` says what is wrong. */
static int hear(struct demo *demo, struct demo_guest *guest, int fd)
{
	char line[600] = "";
	size_t len = 0;
	char *end;

	while (!strchr(line, '\n') && len < sizeof(line) - 1) {
		ssize_t n;

		if (await(demo, fd, guest->name) < 0)
			return -1;
		n = read(fd, line + len, sizeof(line) - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
		line[len] = '\0';
	}
	guest->pid = (pid_t)strtol(line, &end, 10);
	if (end == line || *end != '\n') {
		line[strcspn(line, "\n")] = '\0';
		return demo_fail(demo, "%s did not start: %s", guest->name,
				 line);
	}
	guest->pidfd = open_pidfd(guest->pid);
	if (guest->pidfd < 0)
		return demo_fail(demo, "pidfd_open: %s", strerror(errno));
	return 0;
}

int demo_start(struct demo *demo, const char *tag, const char *first,
	       const char *second, struct demo_guest **ret_guest)
{
	struct demo_guest *guest = &demo->guests[demo->n_guests];
	const char *argv[] = { "guestlock", "run",
			       "--name",    guest->name,
			       first,	    second,
			       "--",	    "sh",
			       "-c",	    "echo $$; exec sleep " GUEST_LIFE,
			       NULL };
	_cleanup_(fd_closep) int from = -1, to = -1;
	int pipe_fds[2];

	if (demo->n_guests == DEMO_GUESTS)
		return demo_fail(demo, "too many guests");
	snprintf(guest->name, sizeof(guest->name), "demo-%s-%d", tag,
		 (int)getpid());
	if (pipe2(pipe_fds, O_CLOEXEC))
		return demo_fail(demo, "pipe: %s", strerror(errno));
	from = pipe_fds[0];
	to = pipe_fds[1];
	guest->pidfd = -1;
	guest->launcher = fork();
	if (guest->launcher < 0)
		return demo_fail(demo, "fork: %s", strerror(errno));
	if (!guest->launcher)
		launch(demo, argv, to);
	setpgid(guest->launcher, guest->launcher);
	demo->n_guests++;
	to = fd_close(to);
	if (hear(demo, guest, from) < 0)
		return -1;
	*ret_guest = guest;
	return 0;
}

int demo_kill_guest(struct demo *demo, struct demo_guest *guest)
{
	signal_guest(guest, SIGKILL);
	return await(demo, guest->pidfd, guest->name);
}

void demo_kill_launcher(struct demo_guest *guest)
{
	kill(guest->launcher, SIGKILL);
	while (waitpid(guest->launcher, NULL, 0) < 0 && errno == EINTR)
		;
	guest->launcher = 0;
}

bool demo_is_alive(const struct demo_guest *guest)
{
	struct pollfd p = { .fd = guest->pidfd, .events = POLLIN };

	return poll(&p, 1, 0) == 0;
}
