/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"
#include "tests/lib/slowfs.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/*
 * The API on a file system that answers late, or not at all: a call ends when
 * its time is up or when another thread cancels it, and leaves nothing locked.
 */
#define N_LOCAL 6
#define N_SLOW 6

static struct slowfs *fs;
static struct slowfs_knobs *knobs;

/* Some quick disks and, behind them, some slow ones. */
struct mix {
	struct glk_context *context;
	struct disks local, all;
};

static struct mix mix_new(const char *prefix)
{
	struct mix mix = {
		.context = guest_context(),
		.local = disks_new(prefix, N_LOCAL),
		.all = disks_new(prefix, N_LOCAL + N_SLOW),
	};

	for (unsigned i = 0; i < N_SLOW; i++) {
		struct glk_disk *disk = &mix.all.items[N_LOCAL + i];

		free((char *)disk->path);
		disk->path = strdup(slowfs_path(fs, i));
	}
	return mix;
}

static void mix_free(struct mix *mix)
{
	glk_context_free(mix->context);
	disks_free(&mix->local);
	disks_free(&mix->all);
}

static int acquire(struct mix *mix, struct glk_guest **ret_guest)
{
	struct glk_guest *guest =
		guest_describe(mix->context, GLK_HOLDER_SELF, NULL, "slow");
	int r;

	MUST_EQUAL(glk_guest_add(guest, mix->all.items, mix->all.n), 0);
	r = glk_guest_acquire(guest);
	*ret_guest = guest;
	return r;
}

/* Nothing is left, and the same context can have all of it now. */
static void check_free_and_usable(struct mix *mix)
{
	struct glk_guest *guest;

	slowfs_calm(fs);
	assert_true(disks_become_free(&mix->all));
	glk_context_set_timeout(mix->context, 30000);
	assert_int_equal(acquire(mix, &guest), 0);
	assert_int_equal(disks_locked(&mix->all), mix->all.n);
	glk_guest_free(guest);
	assert_true(disks_become_free(&mix->all));
}

struct canceller {
	pthread_t thread;
	struct glk_context *context;
	bool seen;
};

/* Once the call hangs: until then there would be nothing to end. */
static void *cancel_later(void *arg)
{
	struct canceller *c = arg;

	c->seen = slowfs_await(&knobs->waiting, 1);
	glk_context_cancel(c->context);
	return NULL;
}

static void cancelled_while(const char *prefix, atomic_bool *hang)
{
	struct mix mix = mix_new(prefix);
	struct canceller c = { .context = mix.context };
	struct glk_guest *guest;
	uint64_t start = clock_now();

	glk_context_set_timeout(mix.context, 50000);
	*hang = true;
	assert_int_equal(pthread_create(&c.thread, NULL, cancel_later, &c), 0);
	assert_int_equal(acquire(&mix, &guest), -ECANCELED);
	assert_int_equal(pthread_join(c.thread, NULL), 0);
	assert_true(c.seen);
	assert_true(clock_now() - start < 30 * NSEC_PER_SEC);
	glk_guest_free(guest);
	assert_int_equal(disks_locked(&mix.local), 0);
	check_free_and_usable(&mix);
	mix_free(&mix);
}

static void test_another_thread_ends_a_call_that_hangs_in_a_lock(void **state)
{
	(void)state;
	cancelled_while("cancel-lock", &knobs->hang_lock);
}

static void test_another_thread_ends_a_call_that_hangs_in_an_open(void **state)
{
	(void)state;
	cancelled_while("cancel-open", &knobs->hang_open);
}

static void test_another_thread_ends_a_call_that_hangs_in_a_stat(void **state)
{
	(void)state;
	cancelled_while("cancel-stat", &knobs->hang_stat);
}

static void late_while(const char *prefix, atomic_bool *hang)
{
	struct mix mix = mix_new(prefix);
	struct glk_guest *guest;
	uint64_t start = clock_now();

	glk_context_set_timeout(mix.context, 300);
	*hang = true;
	assert_int_equal(acquire(&mix, &guest), -ETIME);
	assert_true(clock_now() - start < 30 * NSEC_PER_SEC);
	assert_true(glk_context_message(mix.context)[0] != '\0');
	glk_guest_free(guest);
	assert_int_equal(disks_locked(&mix.local), 0);
	check_free_and_usable(&mix);
	mix_free(&mix);
}

static void test_a_time_limit_ends_a_call_that_hangs_in_a_lock(void **state)
{
	(void)state;
	late_while("late-lock", &knobs->hang_lock);
}

static void test_a_time_limit_ends_a_call_that_hangs_in_an_open(void **state)
{
	(void)state;
	late_while("late-open", &knobs->hang_open);
}

static void test_a_dead_file_system_does_not_delay_other_guests(void **state)
{
	struct mix mix = mix_new("others");
	struct glk_guest *guest =
		guest_describe(mix.context, GLK_HOLDER_SELF, NULL, "quick");
	struct glk_guest_list *list = NULL;

	(void)state;
	knobs->hang_open = knobs->hang_stat = knobs->hang_lock = true;
	assert_int_equal(glk_guest_add(guest, mix.local.items, N_LOCAL), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(disks_locked(&mix.local), N_LOCAL);
	assert_int_equal(glk_guest_list_new(mix.context, 0, &list), 0);
	assert_int_equal(glk_guest_list_count(list), 1);
	assert_int_equal(glk_guest_list_get(list, 0)->n_leases, N_LOCAL);
	glk_guest_list_free(list);
	glk_guest_free(guest);
	slowfs_calm(fs);
	assert_true(disks_become_free(&mix.local));
	mix_free(&mix);
}

#define N_MANY 500
#define HUNG 333

static struct disks slow_disks(void)
{
	struct disks disks = { calloc(N_MANY, sizeof(*disks.items)), N_MANY };

	for (unsigned i = 0; i < N_MANY; i++)
		disks.items[i].path = strdup(slowfs_path(fs, i));
	return disks;
}

static int acquire_some(struct glk_context *context, const struct disks *disks,
			size_t first, size_t n)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, "many");
	int r;

	MUST_EQUAL(glk_guest_add(guest, disks->items + first, n), 0);
	r = glk_guest_acquire(guest);
	glk_guest_free(guest);
	return r;
}

static bool all_become_free(const struct disks *disks, size_t but)
{
	uint64_t deadline = deadline_in_ms(10000);

	for (size_t i = 0; i < disks->n; i++)
		while (i != but &&
		       !test_lockable(disks->items[i].path, F_WRLCK))
			if (clock_now() > deadline)
				return false;
	return true;
}

/* The prober must not ask for the one that hangs, until it is let go. */
static void one_of_many_hangs(atomic_bool *hang)
{
	struct glk_context *context = guest_context();
	struct disks disks = slow_disks();

	glk_context_set_timeout(context, 5000);
	knobs->only = HUNG;
	knobs->deaf = true;
	*hang = true;
	assert_int_equal(acquire_some(context, &disks, 0, N_MANY), -ETIME);
	assert_non_null(strstr(glk_context_message(context), "disk333: "));
	assert_true(all_become_free(&disks, HUNG));
	glk_context_set_timeout(context, 30000);
	assert_int_equal(acquire_some(context, &disks, 0, HUNG), 0);
	assert_int_equal(acquire_some(context, &disks, HUNG + 1, 100), 0);
	slowfs_calm(fs);
	assert_true(all_become_free(&disks, N_MANY));
	assert_int_equal(acquire_some(context, &disks, 0, N_MANY), 0);
	glk_context_free(context);
	disks_free(&disks);
}

static void test_one_lock_that_hangs_for_ever_costs_the_others_nothing(void **s)
{
	(void)s;
	one_of_many_hangs(&knobs->hang_lock);
}

static void test_one_open_that_hangs_for_ever_costs_the_others_nothing(void **s)
{
	(void)s;
	one_of_many_hangs(&knobs->hang_open);
}

static void refused_with(atomic_int *refuse, int error)
{
	struct mix mix = mix_new("refused");
	struct glk_guest *guest;

	knobs->only = 2;
	*refuse = error;
	assert_int_equal(acquire(&mix, &guest), -error);
	assert_non_null(strstr(glk_context_message(mix.context), "disk2: "));
	glk_guest_free(guest);
	check_free_and_usable(&mix);
	mix_free(&mix);
}

static void test_what_the_server_refuses_is_said_as_it_says_it(void **state)
{
	(void)state;
	refused_with(&knobs->refuse_open, EACCES);
	refused_with(&knobs->refuse_open, ESTALE);
	refused_with(&knobs->refuse_open, EIO);
	refused_with(&knobs->refuse_lock, ENOLCK);
	refused_with(&knobs->refuse_lock, EIO);
}

/* Nobody can be told of it: but whoever asks learns it. */
static void test_a_lock_that_the_server_has_lost_is_not_held(void **state)
{
	struct mix mix = mix_new("lost");
	const struct glk_guest_info *info;
	struct glk_guest *guest;
	int fd;

	(void)state;
	assert_int_equal(acquire(&mix, &guest), 0);
	assert_true(slowfs_lose_locks(fs));
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, mix.all.n);
	for (size_t i = 0; i < info->n_leases; i++) {
		bool slow = !strncmp(info->leases[i].path, slowfs_dir(fs),
				     strlen(slowfs_dir(fs)));

		assert_int_equal(info->leases[i].held, !slow);
		assert_int_equal(test_lockable(info->leases[i].path, F_WRLCK),
				 slow);
	}
	fd = open(slowfs_path(fs, 0), O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_OFD_SETLK,
			       &(struct flock){ .l_type = F_WRLCK,
						.l_len = 1 }),
			 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, mix.all.n);
	close(fd);
	glk_guest_free(guest);
	check_free_and_usable(&mix);
	mix_free(&mix);
}

/* Of the command about this process, which is a guest. Return: its exit code,
   and what it prints, static. */
static int command(const char *verb, const char **ret_text)
{
	static char text[16384];
	char line[4096];
	FILE *f;
	int status;

	snprintf(line, sizeof(line), "%s %s %d", getenv("GUESTLOCK_COMMAND"),
		 verb, (int)getpid());
	f = popen(line, "r");
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	status = pclose(f);
	assert_true(WIFEXITED(status));
	*ret_text = text;
	return WEXITSTATUS(status);
}

#define assert_has(_text, _part) assert_non_null(strstr(_text, _part))
#define assert_lacks(_text, _part) assert_null(strstr(_text, _part))

static void test_a_lock_that_nobody_can_verify_is_not_said_to_be_lost(
	void **state)
{
	struct glk_context *context = guest_context();
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, "unverifiable");
	const char *text;

	(void)state;
	if (!getenv("GUESTLOCK_COMMAND"))
		skip();
	assert_int_equal(guest_add(guest, slowfs_path(fs, 20), 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(command("check", &text), 1);
	assert_has(text, "disk20: unverifiable (the server of its file system");
	assert_lacks(text, "lost");
	assert_int_equal(command("check --json", &text), 1);
	assert_has(text, "\"problem\": \"unverifiable\"");
	assert_has(text, "\"why\": \"the server of its file system");
	assert_int_equal(command("ls", &text), 0);
	assert_lacks(text, "  no  ");
	assert_has(text, "  ?  ");
	assert_int_equal(command("ls --json", &text), 0);
	assert_has(text, "\"held\": null");
	assert_true(slowfs_lose_locks(fs));
	assert_int_equal(command("check", &text), 1);
	assert_has(text, "disk20: lost");
	glk_guest_free(guest);
	glk_context_free(context);
}

static int start_fs(void **state)
{
	(void)state;
	if (!fs) {
		fs = slowfs_start(test_file("slow", -1));
		knobs = slowfs_knobs(fs);
	}
	return 0;
}

static int calm_fs(void **state)
{
	(void)state;
	slowfs_calm(fs);
	return 0;
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start_fs, calm_fs)

static const struct CMUnitTest tests[] = {
	TEST(test_another_thread_ends_a_call_that_hangs_in_a_lock),
	TEST(test_another_thread_ends_a_call_that_hangs_in_an_open),
	TEST(test_another_thread_ends_a_call_that_hangs_in_a_stat),
	TEST(test_a_time_limit_ends_a_call_that_hangs_in_a_lock),
	TEST(test_a_time_limit_ends_a_call_that_hangs_in_an_open),
	TEST(test_a_dead_file_system_does_not_delay_other_guests),
	TEST(test_one_lock_that_hangs_for_ever_costs_the_others_nothing),
	TEST(test_one_open_that_hangs_for_ever_costs_the_others_nothing),
	TEST(test_what_the_server_refuses_is_said_as_it_says_it),
	TEST(test_a_lock_that_the_server_has_lost_is_not_held),
	TEST(test_a_lock_that_nobody_can_verify_is_not_said_to_be_lost),
};

int main(void)
{
	int r;

	r = test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_FUSE);
	slowfs_stop(fs);
	return r;
}
