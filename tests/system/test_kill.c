/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/*
 * kill -9 at random points. Whoever takes leases parks all of a batch or none,
 * so whatever is killed, a guest has everything that it was given or never
 * gets to run. GUESTLOCK_TEST_KILLS says how many points.
 *
 * A point is a time; or the moment at which a randomly chosen disk is seen to
 * be locked, and up to a hundred microseconds, since most of the time passes
 * before the first and after the last lock; or something after the last lock,
 * since it is then that the leases are parked.
 */
#define N_DISKS 64
#define N_PLUGGED 300
#define PATIENCE_MS 20000

static struct dice dice;

/* A process that takes disks; its message says where it is. */
struct victim {
	struct channel at;
	const struct disks *disks;
	const char *uuid;
};

enum { AT_START = 1, AT_END };

static struct victim victim_new(const struct disks *disks, const char *uuid)
{
	return (struct victim){ channel_new(), disks, uuid };
}

#define N_LAPS 5

/* The second longest: whoever measures may itself be late, for all of it. */
static uint64_t usual(const uint64_t *laps)
{
	uint64_t longest = 0, second = 0;

	for (int i = 0; i < N_LAPS; i++) {
		if (laps[i] > longest) {
			second = longest;
			longest = laps[i];
		} else {
			second = MAX(second, laps[i]);
		}
	}
	return second;
}

/* The time from start to end when nobody is killed. */
static uint64_t measure(int (*fn)(void *arg), struct victim *victim,
			void (*after)(pid_t pid))
{
	uint64_t laps[N_LAPS];

	for (int i = 0; i < N_LAPS; i++) {
		pid_t pid = process_start(fn, victim);
		uint64_t start;

		assert_int_equal(channel_hear(&victim->at), AT_START);
		start = clock_now();
		assert_int_equal(channel_hear(&victim->at), AT_END);
		laps[i] = clock_now() - start;
		process_end(pid);
		if (after)
			after(pid);
		assert_int_equal(disks_settle(victim->disks), 0);
	}
	return usual(laps);
}

/* Whichever comes first: the disk's lock, the end of @pid, or patience's. */
static void await_lock(const char *path, pid_t pid)
{
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);

	while (!range_is_locked(path, 0, 1) && !process_is_gone(pid) &&
	       clock_now() < deadline)
		;
}

static bool is_called(pid_t pid, const char *name)
{
	char path[32], comm[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	MUST(fd >= 0 && read(fd, comm, sizeof(comm) - 1) > 0);
	close(fd);
	return !strncmp(comm, name, strlen(name));
}

static void wait_somewhere(pid_t pid, const struct disks *disks,
			   uint64_t length)
{
	size_t disk = dice_roll(&dice, disks->n);
	uint64_t ns = dice_roll(&dice, 100000);

	switch (dice_roll(&dice, 3)) {
	case 0:
		wait_ns(dice_roll(&dice, length));
		return;
	case 1:
		disk = disks->n - 1;
		ns = dice_roll(&dice, MIN(length / 2, 300000));
	}
	await_lock(disks->items[disk].path, pid);
	wait_ns(ns);
}

static void kill_somewhere(pid_t pid, const struct disks *disks,
			   uint64_t length)
{
	wait_somewhere(pid, disks, length);
	process_end(pid);
}

/* Drain what a killed victim may have said. */
static void forget_messages(struct victim *victim)
{
	channel_free(&victim->at);
	victim->at = channel_new();
}

static unsigned kills(void)
{
	return number_from("GUESTLOCK_TEST_KILLS", 200);
}

/* With fork: the guest is another process than its maker. */
static int make_guest(void *arg)
{
	struct victim *victim = arg;
	struct glk_context *context = guest_context();
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, victim->uuid, NULL);

	MUST_EQUAL(glk_guest_add(guest, victim->disks->items, victim->disks->n),
		   0);
	channel_tell(&victim->at, AT_START);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	guest_start(guest);
	channel_tell(&victim->at, AT_END);
	guest_live();
	return 0;
}

/* The guest that the victim left behind, if it came that far. */
static bool end_orphan(const struct disks *disks)
{
	pid_t pid = process_orphan();

	if (pid < 0)
		return false;
	assert_int_equal(disks_locked(disks), disks->n);
	process_end(pid);
	return true;
}

static void expect_orphan(pid_t maker)
{
	pid_t pid = process_orphan();

	assert_true(pid > 0 && pid != maker);
	process_end(pid);
}

static void test_a_guest_has_all_or_its_maker_was_killed_before(void **state)
{
	struct disks disks = disks_new("maker", N_DISKS);
	struct victim victim = victim_new(&disks, guest_uuid(1));
	unsigned living = 0, n = kills();
	uint64_t length = measure(make_guest, &victim, expect_orphan);

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		pid_t pid = process_start(make_guest, &victim);

		assert_int_equal(channel_hear(&victim.at), AT_START);
		kill_somewhere(pid, &disks, length);
		living += end_orphan(&disks);
		assert_int_equal(disks_settle(&disks), 0);
		forget_messages(&victim);
	}
	printf("maker: %u kills within %llu us, %u guests lived on\n", n,
	       (unsigned long long)length / 1000, living);
	channel_free(&victim.at);
	disks_free(&disks);
}

/* Where meson says, or else where it would be built. */
static char *command(void)
{
	static char path[PATH_MAX + 32];
	const char *given = getenv("GUESTLOCK_COMMAND");
	char self[PATH_MAX] = "";

	MUST(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	*strrchr(self, '/') = '\0';
	snprintf(path, sizeof(path), "%s/../../core/cli/guestlock", self);
	return given ? (char *)given : path;
}

/* `guestlock run`: the command becomes the guest. */
static char **run_command(const struct victim *victim)
{
	char **argv = calloc(2 * victim->disks->n + 9, sizeof(*argv));
	size_t n = 0;

	MUST(argv != NULL);
	argv[n++] = command();
	argv[n++] = (char *)"run";
	argv[n++] = (char *)"--uuid";
	argv[n++] = (char *)victim->uuid;
	for (size_t i = 0; i < victim->disks->n; i++) {
		argv[n++] = (char *)"--disk";
		argv[n++] = (char *)victim->disks->items[i].path;
	}
	argv[n++] = (char *)"--";
	argv[n++] = (char *)"sh";
	argv[n++] = (char *)"-c";
	argv[n++] = (char *)"echo here; exec cat";
	return argv;
}

static int run_guest(void *arg)
{
	struct victim *victim = arg;
	char **argv = run_command(victim);

	MUST(dup2(victim->at.fds[1], STDOUT_FILENO) == STDOUT_FILENO);
	execv(argv[0], argv);
	return 98;
}

static void hear_word(struct victim *victim, const char *word)
{
	struct pollfd poller = { .fd = victim->at.fds[0], .events = POLLIN };
	char text[8] = "";
	size_t len = strlen(word);

	for (size_t i = 0; i < len; i++) {
		assert_int_equal(poll(&poller, 1, PATIENCE_MS), 1);
		assert_int_equal(read(poller.fd, text + i, 1), 1);
	}
	assert_string_equal(text, word);
}

/* Return: when the command has begun, which closes the gate. */
static pid_t start_run(struct victim *victim)
{
	struct channel gate = channel_new();
	pid_t pid = process_start(run_guest, victim);

	channel_reads(&gate);
	assert_int_equal(channel_hear(&gate), INT_MIN);
	channel_free(&gate);
	return pid;
}

/* A half of it is left to the shell that says so. */
static uint64_t measure_run(struct victim *victim)
{
	uint64_t laps[N_LAPS];

	for (int i = 0; i < N_LAPS; i++) {
		pid_t pid = start_run(victim);
		uint64_t start = clock_now();

		hear_word(victim, "here\n");
		laps[i] = (clock_now() - start) / 2;
		assert_int_equal(disks_locked(victim->disks), N_DISKS);
		process_end(pid);
		assert_int_equal(disks_settle(victim->disks), 0);
	}
	return usual(laps);
}

/* Return: was it killed before it became the guest? */
static bool kill_run(struct victim *victim, uint64_t length)
{
	pid_t pid = start_run(victim);
	bool early;

	wait_somewhere(pid, victim->disks, length);
	early = is_called(pid, "guestlock");
	process_end(pid);
	assert_int_equal(process_orphan(), -1);
	assert_int_equal(disks_settle(victim->disks), 0);
	forget_messages(victim);
	return early;
}

/* Only points before the exec count; it is killed at others, too. */
static void test_nothing_is_left_of_a_run_that_was_killed(void **state)
{
	struct disks disks = disks_new("run", N_DISKS);
	struct victim victim = victim_new(&disks, guest_uuid(2));
	uint64_t length = measure_run(&victim);
	unsigned early = 0, total = 0, n = kills();

	(void)state;
	for (; early < n && total < 3 * n; total++)
		early += kill_run(&victim, length);
	printf("run: %u kills within %llu us, %u before it was the guest\n",
	       total, (unsigned long long)length / 1000, early);
	assert_true(early > 0);
	channel_free(&victim.at);
	disks_free(&disks);
}

static int plug_disks(void *arg)
{
	struct victim *victim = arg;
	struct glk_context *context = guest_context();
	struct glk_guest *guest = NULL;

	MUST_EQUAL(glk_guest_adopt(context, victim->uuid, &guest), 0);
	channel_tell(&victim->at, AT_START);
	MUST_EQUAL(glk_guest_attach(guest, victim->disks->items,
				    victim->disks->n),
		   0);
	channel_tell(&victim->at, AT_END);
	guest_live();
	return 0;
}

/* Release the plugged disks, and see that the guest agrees with the kernel. */
static void unplug(struct glk_context *context, const struct victim *victim,
		   size_t held)
{
	const char **paths = calloc(victim->disks->n, sizeof(*paths));
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;
	size_t released = 0;

	assert_non_null(paths);
	assert_int_equal(glk_guest_adopt(context, victim->uuid, &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, N_DISKS + held);
	assert_int_equal(info->n_garbled, 0);
	for (size_t i = 0; i < victim->disks->n; i++)
		paths[i] = victim->disks->items[i].path;
	assert_int_equal(glk_guest_detach(guest, paths, victim->disks->n,
					  &released),
			 0);
	assert_int_equal(released, held);
	glk_guest_free(guest);
	free(paths);
}

static uint64_t measure_plug(struct glk_context *context, struct victim *victim)
{
	uint64_t laps[N_LAPS];

	for (int i = 0; i < N_LAPS; i++) {
		pid_t pid = process_start(plug_disks, victim);
		uint64_t start;

		assert_int_equal(channel_hear(&victim->at), AT_START);
		start = clock_now();
		assert_int_equal(channel_hear(&victim->at), AT_END);
		laps[i] = clock_now() - start;
		process_end(pid);
		assert_int_equal(disks_settle(victim->disks), N_PLUGGED);
		unplug(context, victim, N_PLUGGED);
	}
	return usual(laps);
}

static void test_a_killed_plugger_leaves_all_of_its_disks_or_none(void **state)
{
	struct glk_context *context = guest_context();
	struct disks always = disks_new("always", N_DISKS);
	struct disks plugged = disks_new("plugged", N_PLUGGED);
	struct victim victim = victim_new(&plugged, guest_uuid(3));
	struct guest_plan plan = { victim.uuid, NULL, always };
	unsigned all = 0, n = kills();
	pid_t guest = guest_run(context, &plan);
	uint64_t length = measure_plug(context, &victim);

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		pid_t pid = process_start(plug_disks, &victim);
		size_t held;

		assert_int_equal(channel_hear(&victim.at), AT_START);
		kill_somewhere(pid, &plugged, length);
		held = disks_settle(&plugged);
		assert_int_equal(disks_locked(&always), N_DISKS);
		unplug(context, &victim, held);
		assert_int_equal(disks_settle(&plugged), 0);
		all += held != 0;
		forget_messages(&victim);
	}
	printf("plugger: %u kills within %llu us, %u left all %d disks\n", n,
	       (unsigned long long)length / 1000, all, N_PLUGGED);
	process_end(guest);
	assert_int_equal(disks_settle(&always), 0);
	channel_free(&victim.at);
	disks_free(&always);
	disks_free(&plugged);
	glk_context_free(context);
}

/* Anything that somebody may do to a running guest, over and over. */
_Noreturn static int meddle(void *arg)
{
	struct victim *victim = arg;
	struct glk_context *context = guest_context();
	const char *path = victim->disks->items[0].path;

	for (bool told = false;; told = true) {
		struct glk_guest_list *list = NULL;
		struct glk_guest *guest = NULL;

		MUST_EQUAL(glk_guest_adopt(context, victim->uuid, &guest), 0);
		MUST_EQUAL(guest_attach(guest, path, 0), 0);
		MUST_EQUAL(guest_detach(guest, path), 0);
		MUST_EQUAL(glk_guest_list_new(context, 0, &list), 0);
		glk_guest_list_free(list);
		glk_guest_free(guest);
		if (!told)
			channel_tell(&victim->at, AT_START);
	}
}

static int make_and_stay(void *arg)
{
	struct victim *victim = arg;
	struct glk_context *context = guest_context();
	struct guest_plan plan = { victim->uuid, NULL, *victim->disks };

	channel_tell(&victim->at, guest_run(context, &plan));
	guest_live();
	return 0;
}

static void test_a_guest_keeps_its_own_when_all_others_are_killed(void **state)
{
	struct disks own = disks_new("own", N_DISKS);
	struct disks hot = disks_new("hot", N_DISKS);
	struct victim maker = victim_new(&own, guest_uuid(4));
	struct victim other = victim_new(&hot, guest_uuid(4));
	struct disks one = { hot.items, 1 };
	pid_t pids[5], guest;

	(void)state;
	pids[0] = process_start(make_and_stay, &maker);
	guest = channel_hear(&maker.at);
	other.disks = &one;
	for (int i = 1; i < 5; i++, one.items++) {
		pids[i] = process_start(meddle, &other);
		assert_int_equal(channel_hear(&other.at), AT_START);
	}
	for (int i = 0; i < 5; i++)
		process_kill(pids[i]);
	for (int i = 0; i < 5; i++)
		assert_int_equal(process_wait(pids[i]), 128 + SIGKILL);
	assert_int_equal(disks_locked(&own), N_DISKS);
	for (size_t i = 0; i < own.n; i++)
		assert_false(test_lockable(own.items[i].path, F_RDLCK));
	process_end(guest);
	assert_int_equal(disks_settle(&own), 0);
	assert_int_equal(disks_settle(&hot), 0);
	channel_free(&maker.at);
	channel_free(&other.at);
	disks_free(&own);
	disks_free(&hot);
}

static int roll_dice(void **state)
{
	(void)state;
	if (!dice.state)
		dice = dice_new();
	return 0;
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup(
		test_a_guest_has_all_or_its_maker_was_killed_before, roll_dice),
	cmocka_unit_test_setup(test_nothing_is_left_of_a_run_that_was_killed,
			       roll_dice),
	cmocka_unit_test_setup(
		test_a_killed_plugger_leaves_all_of_its_disks_or_none,
		roll_dice),
	cmocka_unit_test(test_a_guest_keeps_its_own_when_all_others_are_killed),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
