/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/proc.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "tests/lib/idler.h"
#include "tests/lib/test.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static void do_nothing(void *arg)
{
	(void)arg;
}

static void a_stat_line_is_read_behind_the_last_parenthesis(void **state)
{
	static const char line[] =
		"4711 (evil) Z 1 (2)) S 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 "
		"7 8 20 0 3 0 123456 1000 10 18446744073709551615 1 2 3 4 5 "
		"256 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
	struct proc_stat st;

	(void)state;
	assert_int_equal(proc_stat_parse(line, &st), 0);
	assert_int_equal(st.state, 'S');
	assert_int_equal(st.flags, 4194560);
	assert_int_equal(st.threads, 3);
	assert_int_equal(st.start, 123456);
	assert_int_equal(st.pending, 256);
}

static void a_broken_stat_line_is_refused(void **state)
{
	struct proc_stat st = { .start = 42 };

	(void)state;
	assert_int_equal(proc_stat_parse("", &st), -EBADMSG);
	assert_int_equal(proc_stat_parse("1 (init", &st), -EBADMSG);
	assert_int_equal(proc_stat_parse("1 (init) S 1 1", &st), -EBADMSG);
	assert_int_equal(st.start, 42);
}

static void every_step_of_dying_is_known(void **state)
{
	static const struct proc_stat alive[] = {
		{ .state = 'R' },
		{ .state = 'S', .flags = 0x400100 },
		{ .state = 'D', .pending = 1U << (SIGTERM - 1) },
		{ .state = 'T', .pending = 1U << (SIGSTOP - 1) },
		{ .state = 't' },
	};
	static const struct proc_stat dying[] = {
		{ .state = 'D', .pending = 1U << (SIGKILL - 1) },
		{ .state = 'R', .flags = 0x400 }, /* PF_SIGNALED */
		{ .state = 'D', .flags = 0x4 },	  /* PF_EXITING */
		{ .state = 'Z' },
		{ .state = 'X' },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(alive); i++)
		assert_false(proc_stat_dying(&alive[i]));
	for (size_t i = 0; i < ARRAY_SIZE(dying); i++)
		assert_true(proc_stat_dying(&dying[i]));
}

static void take_an_evil_name(void *arg)
{
	(void)arg;
	prctl(PR_SET_NAME, ") Z 1 (\n) X");
}

static void a_start_time_is_when_the_process_began(void **state)
{
	uint64_t before = clock_ns(CLOCK_REALTIME), start = 0, again = 1, after;
	uint64_t slack = 20 * NSEC_PER_MSEC + NSEC_PER_SEC / 100;
	struct idler child;

	(void)state;
	idler_start(&child, take_an_evil_name, NULL);
	after = clock_ns(CLOCK_REALTIME);
	assert_int_equal(proc_start_time(child.pid, &start), 0);
	assert_true(proc_start_to_realtime(start) + slack >= before);
	assert_true(proc_start_to_realtime(start) <= after + slack);
	assert_int_equal(proc_start_time(child.pid, &again), 0);
	assert_true(start == again);
	assert_false(proc_is_dying(child.pid));
	idler_end(&child);
	assert_int_equal(proc_start_time(child.pid, &start), -ESRCH);
	assert_true(start == again);
}

static void the_dying_are_told_from_the_living(void **state)
{
	struct idler child;
	siginfo_t info;

	(void)state;
	idler_start(&child, do_nothing, NULL);
	assert_false(proc_is_dying(child.pid));
	kill(child.pid, SIGSTOP);
	assert_false(proc_is_dying(child.pid));
	kill(child.pid, SIGKILL);
	while (!proc_is_dying(child.pid))
		;
	assert_int_equal(waitid(P_PID, (id_t)child.pid, &info,
				WEXITED | WNOWAIT),
			 0);
	assert_true(proc_is_dying(child.pid)); /* a zombie for sure */
	idler_end(&child);
	assert_true(proc_is_dying(child.pid)); /* reaped */
	assert_true(proc_is_dying(0));
	assert_false(proc_is_dying(getpid()));
	assert_false(proc_is_dying(1));
}

static void *wait_forever(void *arg)
{
	(void)!write(*(int *)arg, "x", 1);
	for (;;)
		pause();
	return NULL;
}

/* The first thread ends and becomes a zombie; the process lives on. */
static void lose_the_first_thread(int sock)
{
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pthread_create(&thread, NULL, wait_forever, &sock))
		_exit(1);
	syscall(SYS_exit, 0);
}

static bool is_zombie(pid_t pid)
{
	char path[32], line[512] = "";
	struct proc_stat st;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	fclose(file);
	return proc_stat_parse(line, &st) == 0 && st.state == 'Z';
}

static void a_process_lives_while_one_thread_does(void **state)
{
	struct idler child;
	int sv[2];
	char c;

	(void)state;
	assert_int_equal(pipe2(sv, O_CLOEXEC), 0);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (!child.pid)
		lose_the_first_thread(sv[1]);
	close(sv[1]);
	child.sock = sv[0];
	assert_int_equal(read(sv[0], &c, 1), 1);
	while (!is_zombie(child.pid))
		usleep(100);
	assert_false(proc_is_dying(child.pid));
	idler_end(&child);
	assert_true(proc_is_dying(child.pid));
}

static void copy_file(const char *from, const char *to)
{
	_cleanup_(fd_closep) int in = open(from, O_RDONLY | O_CLOEXEC);
	_cleanup_(fd_closep) int out =
		open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	char buf[65536];
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		assert_int_equal(write(out, buf, (size_t)n), n);
	assert_int_equal(n, 0);
}

/* The program that run() starts is a copy of this one, which then sleeps. */
__attribute__((__constructor__)) static void sleep_if_told(void)
{
	while (getenv("TEST_PROC_SLEEPS"))
		pause();
}

static pid_t run(const char *path)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setenv("TEST_PROC_SLEEPS", "1", 1);
		execl(path, path, NULL);
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 0); /* closed by exec */
	close(ready[0]);
	return pid;
}

static void an_executable_is_named_even_when_deleted(void **state)
{
	const char *path = test_file("a sleeper", -1);
	char exe[PATH_MAX], expected[PATH_MAX + 16], cut[5];
	pid_t pid;

	(void)state;
	copy_file("/proc/self/exe", path);
	pid = run(path);
	proc_exe(pid, exe, sizeof(exe));
	assert_string_equal(exe, path);
	proc_exe(pid, cut, sizeof(cut));
	assert_int_equal(strlen(cut), 4);
	assert_memory_equal(cut, path, 4);
	assert_int_equal(unlink(path), 0);
	proc_exe(pid, exe, sizeof(exe));
	snprintf(expected, sizeof(expected), "%s (deleted)", path);
	assert_string_equal(exe, expected);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	proc_exe(pid, exe, sizeof(exe));
	assert_string_equal(exe, "");
	strcpy(exe, "untouched");
	proc_exe(getpid(), exe, 0);
	assert_string_equal(exe, "untouched");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_stat_line_is_read_behind_the_last_parenthesis),
	cmocka_unit_test(a_broken_stat_line_is_refused),
	cmocka_unit_test(every_step_of_dying_is_known),
	cmocka_unit_test(a_start_time_is_when_the_process_began),
	cmocka_unit_test(the_dying_are_told_from_the_living),
	cmocka_unit_test(a_process_lives_while_one_thread_does),
	cmocka_unit_test(an_executable_is_named_even_when_deleted),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
