/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first process of a kernel that tests/lab/lab.py boots. It is linked
 * statically, so that it can say what is wrong when a library is missing.
 *
 * /lab/modules lists kernel modules, in the order in which they load, each with
 * its parameters behind it.
 * /lab/programs lists test programs. They run one after another, each with
 * /lab/seconds as its limit and the variables of /lab/environment; what they
 * print goes to the console. Results go to a second serial port, where no
 * kernel message can run into them:
 *
 *   LAB kernel RELEASE
 *   LAB module-failed PATH ERRNO
 *   LAB program NAME MS STATUS	an exit code, "signal-N" or "timeout"
 *   LAB tainted N		/proc/sys/kernel/tainted, after the last
 *   LAB done
 */
#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

#define LAB_RESULTS "/dev/ttyS1"

static FILE *results;

static void mount_all(void)
{
	static const char *const fs[][2] = {
		{ "proc", "/proc" },	  { "sysfs", "/sys" },
		{ "devtmpfs", "/dev" },	  { "tmpfs", "/run" },
		{ "devpts", "/dev/pts" }, { "tmpfs", "/dev/shm" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(fs); i++) {
		mkdir(fs[i][1], 0755);
		if (mount(fs[i][0], fs[i][1], fs[i][0], 0, NULL))
			perror(fs[i][1]);
	}
	mkdir("/tmp", 01777);
	mkdir("/var", 0755);
	mkdir("/var/tmp", 01777);
	chmod("/tmp", 01777);
	chmod("/var/tmp", 01777);
}

static void loopback_up(void)
{
	struct ifreq req = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	_cleanup_(fd_closep) int fd =
		socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &req))
		perror("lo");
}

/* What guestlock promises to live with; systemd's hard limit. */
static void set_limits(void)
{
	struct rlimit files = { .rlim_cur = 20000, .rlim_max = 524288 };

	setrlimit(RLIMIT_NOFILE, &files);
}

static bool next_line(FILE *f, char *line)
{
	if (!fgets(line, PATH_MAX, f))
		return false;
	line[strcspn(line, "\n")] = '\0';
	return line[0];
}

static void load_modules(void)
{
	FILE *list = fopen("/lab/modules", "re");
	char path[PATH_MAX];

	while (list && next_line(list, path)) {
		char *parameters = path + strcspn(path, " ");
		int fd;

		if (*parameters)
			*parameters++ = '\0';
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, parameters, 0))
			fprintf(results, "LAB module-failed %s %d\n", path,
				errno);
		fd_close(fd);
	}
	if (list)
		fclose(list);
}

static void set_environment(void)
{
	FILE *list = fopen("/lab/environment", "re");
	char line[PATH_MAX];

	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	while (list && next_line(list, line)) {
		char *value = strchr(line, '=');

		if (value) {
			*value++ = '\0';
			setenv(line, value, 1);
		}
	}
	if (list)
		fclose(list);
}

static unsigned read_number(const char *path)
{
	FILE *f = fopen(path, "re");
	unsigned n = 0;

	if (!f || fscanf(f, "%u", &n) != 1)
		fprintf(stderr, "%s: no number\n", path);
	if (f)
		fclose(f);
	return n;
}

static pid_t start(const char *program)
{
	sigset_t none;
	pid_t pid = fork();

	if (pid)
		return pid;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
	execl(program, program, (char *)NULL);
	perror(program);
	_exit(127);
}

/* Reap whatever exits, until @pid has or the time is over. */
static bool reap_until(pid_t pid, unsigned seconds, int *ret_status)
{
	uint64_t end = deadline_in_ms(seconds * UINT64_C(1000));
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	do {
		struct timespec tick = { .tv_sec = 1 };
		int status;
		pid_t got;

		while ((got = waitpid(-1, &status, WNOHANG)) > 0) {
			if (got == pid) {
				*ret_status = status;
				return true;
			}
		}
		sigtimedwait(&chld, NULL, &tick);
	} while (clock_now() < end);
	return false;
}

static void run(const char *program, unsigned seconds)
{
	const char *name = strrchr(program, '/') + 1;
	uint64_t begin = clock_now();
	pid_t pid = start(program);
	int status;
	bool ended = reap_until(pid, seconds, &status);

	fprintf(results, "LAB program %s %" PRIu64 " ", name,
		(clock_now() - begin) / NSEC_PER_MSEC);
	if (!ended)
		fprintf(results, "timeout\n");
	else if (WIFSIGNALED(status))
		fprintf(results, "signal-%d\n", WTERMSIG(status));
	else
		fprintf(results, "%d\n", WEXITSTATUS(status));
	kill(-pid, SIGKILL);
}

static void run_programs(void)
{
	unsigned seconds = read_number("/lab/seconds");
	FILE *list = fopen("/lab/programs", "re");
	char path[PATH_MAX];

	while (list && next_line(list, path))
		run(path, seconds);
	if (list)
		fclose(list);
}

static void block_sigchld(void)
{
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
}

int main(void)
{
	struct utsname name;

	mount_all();
	results = fopen(LAB_RESULTS, "we");
	if (results) {
		setvbuf(results, NULL, _IOLBF, 0);
		uname(&name);
		fprintf(results, "LAB kernel %s\n", name.release);
		set_environment();
		block_sigchld();
		loopback_up();
		set_limits();
		load_modules();
		run_programs();
		fprintf(results, "LAB tainted %u\n",
			read_number("/proc/sys/kernel/tainted"));
		fprintf(results, "LAB done\n");
		fflush(results);
		tcdrain(fileno(results));
	}
	reboot(RB_POWER_OFF);
	return 1;
}
