/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"
#include "tests/lib/slowfs.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/*
 * Processes that wait for disks that others hold. $GUESTLOCK_TEST_ROUNDS is how
 * often two of them race.
 */
#define N_DISKS 50
#define ROUNDS 1000
#define KILL_ROUNDS 40
#define FOREVER_MS 600000
#define RACERS 2

static struct glk_context *waiting_context(unsigned ms)
{
	struct glk_context *context = guest_context();
	struct glk_policy policy = { .wait_ms = ms };

	MUST_EQUAL(glk_context_set_policy(context, &policy), 0);
	return context;
}

static int acquire(struct glk_context *context, const struct disks *disks,
		   struct glk_guest **ret_guest)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	int r;

	MUST_EQUAL(glk_guest_add(guest, disks->items, disks->n), 0);
	r = glk_guest_acquire(guest);
	if (r)
		glk_guest_free(guest);
	else
		*ret_guest = guest;
	return r;
}

static struct disks reversed(const struct disks *disks)
{
	struct disks copy = { calloc(disks->n, sizeof(*disks->items)),
			      disks->n };

	MUST(copy.items != NULL);
	for (size_t i = 0; i < disks->n; i++)
		copy.items[i] = disks->items[disks->n - 1 - i];
	return copy;
}

/* Takes all disks when it is told to, and lets go when it is told again. */
struct racer {
	int id;
	struct disks disks;
	struct channel go, had;
	_Atomic int *holders; /* of the disks, by the racers' own count */
	pid_t pid;
};

static void hold(struct racer *racer, struct glk_guest *guest)
{
	const struct glk_guest_info *info = NULL;

	MUST_EQUAL(++*racer->holders, 1);
	channel_tell(&racer->had, racer->id);
	if (channel_hear(&racer->go) == INT32_MIN)
		_exit(0);
	MUST_EQUAL(glk_guest_info(guest, &info), 0);
	MUST_EQUAL(info->n_leases, racer->disks.n);
	for (size_t i = 0; i < info->n_leases; i++)
		MUST(info->leases[i].held);
	MUST_EQUAL(--*racer->holders, 0);
}

static int race(void *arg)
{
	struct racer *racer = arg;
	struct glk_context *context = waiting_context(FOREVER_MS);

	channel_reads(&racer->go);
	while (channel_hear(&racer->go) > 0) {
		struct glk_guest *guest = NULL;

		MUST_EQUAL(acquire(context, &racer->disks, &guest), 0);
		hold(racer, guest);
		glk_guest_free(guest);
	}
	glk_context_free(context);
	return 0;
}

static void racers_start(struct racer *racers, const struct disks *disks)
{
	struct channel had = channel_new();
	_Atomic int *holders =
		mmap(NULL, sizeof(*holders), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	MUST(holders != MAP_FAILED);
	for (int i = 0; i < RACERS; i++) {
		racers[i] = (struct racer){
			.id = i,
			.disks = i ? reversed(disks) : *disks,
			.go = channel_new(),
			.had = had,
			.holders = holders,
		};
		racers[i].pid = process_start(race, &racers[i]);
	}
}

static void racers_free(struct racer *racers)
{
	munmap((void *)racers[0].holders, sizeof(*racers[0].holders));
	channel_free(&racers[0].had);
	for (int i = 0; i < RACERS; i++)
		channel_free(&racers[i].go);
	free(racers[1].disks.items);
}

static void test_two_that_want_the_same_disks_in_opposite_order(void **state)
{
	unsigned rounds = number_from("GUESTLOCK_TEST_ROUNDS", ROUNDS);
	struct disks disks = disks_new("race", N_DISKS);
	unsigned won[RACERS] = {};
	struct racer racers[RACERS];

	(void)state;
	racers_start(racers, &disks);
	for (unsigned round = 0; round < rounds; round++) {
		int first, second;

		for (int i = 0; i < RACERS; i++)
			channel_tell(&racers[(i + (int)round) % RACERS].go, 1);
		first = channel_hear(&racers[0].had);
		assert_in_range(first, 0, RACERS - 1);
		assert_int_equal(disks_locked(&disks), N_DISKS);
		assert_int_equal(*racers[0].holders, 1);
		won[first]++;
		channel_tell(&racers[first].go, 1);
		second = channel_hear(&racers[0].had);
		assert_int_equal(second, 1 - first);
		assert_int_equal(disks_locked(&disks), N_DISKS);
		channel_tell(&racers[second].go, 1);
	}
	for (int i = 0; i < RACERS; i++)
		channel_tell(&racers[i].go, 0);
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(process_wait(racers[i].pid), 0);
	assert_true(disks_become_free(&disks));
	printf("%u rounds, first: %u and %u\n", rounds, won[0], won[1]);
	racers_free(racers);
	disks_free(&disks);
}

static void test_the_killed_winners_disks_are_the_others(void **state)
{
	struct disks disks = disks_new("kill", N_DISKS);

	(void)state;
	for (unsigned round = 0; round < KILL_ROUNDS; round++) {
		struct racer racers[RACERS];
		int first;

		racers_start(racers, &disks);
		for (int i = 0; i < RACERS; i++)
			channel_tell(&racers[i].go, 1);
		first = channel_hear(&racers[0].had);
		*racers[0].holders = 0;
		process_end(racers[first].pid);
		assert_int_equal(channel_hear(&racers[0].had), 1 - first);
		assert_int_equal(disks_locked(&disks), N_DISKS);
		process_end(racers[1 - first].pid);
		assert_true(disks_become_free(&disks));
		racers_free(racers);
	}
	disks_free(&disks);
}

/* In this process, so that a waiter can be seen to wait. */
static struct glk_guest *hold_one(struct glk_context *context,
				  const struct glk_disk *disk)
{
	struct disks one = { (struct glk_disk *)disk, 1 };
	struct glk_guest *guest = NULL;

	MUST_EQUAL(acquire(context, &one, &guest), 0);
	return guest;
}

/* The one that is waited for last: all others are held meanwhile. */
static const struct glk_disk *last_disk(const struct disks *disks)
{
	const struct glk_disk *last = NULL;
	ino_t ino = 0;

	for (size_t i = 0; i < disks->n; i++) {
		struct stat st;

		MUST(!stat(disks->items[i].path, &st));
		if (st.st_ino > ino) {
			ino = st.st_ino;
			last = &disks->items[i];
		}
	}
	return last;
}

static int wait_for_ever(void *arg)
{
	struct glk_context *context = waiting_context(FOREVER_MS);
	struct glk_guest *guest = NULL;

	return acquire(context, arg, &guest);
}

static void test_a_waiter_that_is_killed_leaves_nothing(void **state)
{
	struct disks disks = disks_new("killed", N_DISKS);
	struct glk_context *context = guest_context();
	struct glk_guest *guest = hold_one(context, last_disk(&disks));

	(void)state;
	for (unsigned round = 0; round < KILL_ROUNDS; round++) {
		pid_t pid = process_start(wait_for_ever, &disks);
		uint64_t end = deadline_in_ms(30000);

		while (disks_locked(&disks) < N_DISKS && clock_now() < end)
			usleep(1000);
		assert_int_equal(disks_locked(&disks), N_DISKS);
		usleep(round * 100);
		process_end(pid);
		end = deadline_in_ms(30000);
		while (disks_locked(&disks) > 1 && clock_now() < end)
			usleep(1000);
		assert_int_equal(disks_locked(&disks), 1);
	}
	glk_guest_free(guest);
	assert_true(disks_become_free(&disks));
	glk_context_free(context);
	disks_free(&disks);
}

static void *cancel_soon(void *arg)
{
	usleep(100000);
	glk_context_cancel(arg);
	return NULL;
}

static void test_another_thread_ends_a_wait(void **state)
{
	struct disks disks = disks_new("cancel", N_DISKS);
	struct glk_context *holder = guest_context();
	struct glk_context *context = waiting_context(FOREVER_MS);
	struct glk_guest *held = hold_one(holder, last_disk(&disks));
	struct glk_guest *guest = NULL;
	pthread_t thread;

	(void)state;
	MUST(!pthread_create(&thread, NULL, cancel_soon, context));
	assert_int_equal(acquire(context, &disks, &guest), -ECANCELED);
	MUST(!pthread_join(thread, NULL));
	assert_int_equal(disks_locked(&disks), 1);
	glk_guest_free(held);
	assert_int_equal(acquire(context, &disks, &guest), 0);
	glk_guest_free(guest);
	glk_context_free(context);
	glk_context_free(holder);
	disks_free(&disks);
}

static struct slowfs *fs;

static struct disks slow_disks(const char *prefix)
{
	struct disks disks = disks_new(prefix, 3);

	free((char *)disks.items[1].path);
	disks.items[1].path = strdup(slowfs_path(fs, 7));
	return disks;
}

/* A server that keeps the locks itself shows nobody who waits; so both the
   holder and the end of the time are its own word. */
static void test_a_wait_for_a_server_ends_at_its_time(void **state)
{
	struct disks disks = slow_disks("server");
	struct glk_context *holder = guest_context();
	struct glk_context *context = waiting_context(300);
	struct glk_guest *held = hold_one(holder, &disks.items[1]);
	const struct glk_conflict *list = NULL;
	struct glk_guest *guest = NULL;

	(void)state;
	slowfs_knobs(fs)->lock_ms = slowfs_knobs(fs)->open_ms = 20;
	assert_int_equal(acquire(context, &disks, &guest), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &list), 1);
	assert_string_equal(list[0].path, disks.items[1].path);
	assert_int_equal(list[0].pid, getpid());
	assert_int_equal(disks_locked(&disks), 1);
	glk_guest_free(held);
	assert_int_equal(acquire(context, &disks, &guest), 0);
	glk_guest_free(guest);
	slowfs_calm(fs);
	assert_true(disks_become_free(&disks));
	glk_context_free(context);
	glk_context_free(holder);
	disks_free(&disks);
}

static void *let_go_soon(void *arg)
{
	usleep(100000);
	glk_guest_free(arg);
	return NULL;
}

static void test_a_server_that_grants_it_ends_the_wait(void **state)
{
	struct disks disks = slow_disks("grants");
	struct glk_context *holder = guest_context();
	struct glk_context *context = waiting_context(FOREVER_MS);
	struct glk_guest *held = hold_one(holder, &disks.items[1]);
	struct glk_guest *guest = NULL;
	pthread_t thread;

	(void)state;
	MUST(!pthread_create(&thread, NULL, let_go_soon, held));
	assert_int_equal(acquire(context, &disks, &guest), 0);
	MUST(!pthread_join(thread, NULL));
	assert_int_equal(disks_locked(&disks), disks.n);
	glk_guest_free(guest);
	assert_true(disks_become_free(&disks));
	glk_context_free(context);
	glk_context_free(holder);
	disks_free(&disks);
}

static void *hang_soon(void *arg)
{
	(void)arg;
	usleep(100000);
	slowfs_knobs(fs)->deaf = true;
	slowfs_knobs(fs)->hang_lock = true;
	return NULL;
}

static void test_a_server_that_dies_meanwhile_does_not_keep_us(void **state)
{
	struct disks disks = slow_disks("dies");
	struct glk_context *holder = guest_context();
	struct glk_context *context = waiting_context(500);
	struct glk_guest *held = hold_one(holder, &disks.items[1]);
	struct glk_guest *guest = NULL;
	uint64_t start = clock_now();
	pthread_t thread;

	(void)state;
	glk_context_set_timeout(context, 500);
	MUST(!pthread_create(&thread, NULL, hang_soon, NULL));
	assert_int_equal(acquire(context, &disks, &guest), -ETIME);
	MUST(!pthread_join(thread, NULL));
	assert_true(clock_now() - start < 30 * NSEC_PER_SEC);
	slowfs_calm(fs);
	glk_guest_free(held);
	assert_true(disks_become_free(&disks));
	glk_context_set_timeout(context, 30000);
	assert_int_equal(acquire(context, &disks, &guest), 0);
	glk_guest_free(guest);
	assert_true(disks_become_free(&disks));
	glk_context_free(context);
	glk_context_free(holder);
	disks_free(&disks);
}

static int start_fs(void **state)
{
	(void)state;
	if (!fs)
		fs = slowfs_start(test_file("wait", -1));
	slowfs_calm(fs);
	return 0;
}

#define SLOW(_f) cmocka_unit_test_setup(_f, start_fs)

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_two_that_want_the_same_disks_in_opposite_order),
	cmocka_unit_test(test_the_killed_winners_disks_are_the_others),
	cmocka_unit_test(test_a_waiter_that_is_killed_leaves_nothing),
	cmocka_unit_test(test_another_thread_ends_a_wait),
	SLOW(test_a_wait_for_a_server_ends_at_its_time),
	SLOW(test_a_server_that_grants_it_ends_the_wait),
	SLOW(test_a_server_that_dies_meanwhile_does_not_keep_us),
};

int main(void)
{
	int r;

	r = test_run(__FILE__, tests, ARRAY_SIZE(tests),
		     TEST_NEEDS_ROOT | TEST_NEEDS_FUSE);
	slowfs_stop(fs);
	return r;
}
