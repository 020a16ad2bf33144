/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/*
 * Many disks and many guests within RLIMIT_NOFILE 20000, and too few
 * descriptors. Times are printed and never judged here.
 */
#define N_GUESTS 1000
#define N_EACH 10
#define NOFILE 20000

static double ms_since(uint64_t start)
{
	return (double)(clock_now() - start) / 1e6;
}

static void limit_files(rlim_t n)
{
	struct rlimit limit = { n, n };

	MUST(!setrlimit(RLIMIT_NOFILE, &limit));
}

static struct glk_guest *acquire(struct glk_context *context, unsigned who,
				 const struct disks *disks, int want)
{
	struct glk_guest *guest = guest_describe(context, GLK_HOLDER_GUEST,
						 guest_uuid(who), NULL);

	MUST_EQUAL(glk_guest_add(guest, disks->items, disks->n), 0);
	MUST_EQUAL(glk_guest_acquire(guest), want);
	return guest;
}

static size_t leases_of(struct glk_guest *guest)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_garbled, 0);
	for (size_t i = 0; i < info->n_leases; i++)
		assert_true(info->leases[i].held && info->leases[i].same_file);
	return info->n_leases;
}

/* The best of five, since the first also meets cold caches. */
static double time_acquire(struct glk_context *context,
			   const struct disks *disks)
{
	double best = 1e9;

	for (int i = 0; i < 5; i++) {
		uint64_t start = clock_now();
		struct glk_guest *guest = acquire(context, 1, disks, 0);

		best = MIN(best, ms_since(start));
		assert_int_equal(disks_locked(disks), disks->n);
		glk_guest_free(guest);
		assert_int_equal(disks_settle(disks), 0);
	}
	return best;
}

static void time_sizes(struct glk_context *context, const struct disks *disks,
		       const char *where)
{
	static const size_t sizes[] = { 64, 500, 2000 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct disks part = { disks->items, sizes[i] };
		double ms = time_acquire(context, &part);

		printf("%s: %zu disks in %.2f ms, %.2f us each\n", where,
		       part.n, ms, ms * 1000 / (double)part.n);
	}
}

/* A guest as `guestlock run` makes it: its name tells where it really is. */
struct member {
	unsigned who;
	struct disks disks;
	struct channel ready;
};

static int be_member(void *arg)
{
	struct member *m = arg;
	struct glk_context *context = guest_context();
	struct glk_guest *guest = acquire(context, m->who, &m->disks, 0);
	int fd = glk_guest_fd(guest);

	channel_tell(&m->ready, 0);
	glk_context_free(context);
	guest_close_others(fd);
	guest_live();
	return 0;
}

static int plug_one(void *arg)
{
	const char *path = arg;
	uint64_t start = clock_now();
	struct glk_context *context = guest_context();
	struct glk_guest *guest = NULL;
	double ms;

	MUST_EQUAL(glk_guest_adopt(context, guest_uuid(2), &guest), 0);
	MUST_EQUAL(guest_attach(guest, path, 0), 0);
	ms = ms_since(start);
	MUST_EQUAL(guest_detach(guest, path), 0);
	printf(" %.2f", ms);
	fflush(stdout);
	return 0;
}

/* From processes that know nothing of the guest yet, one after the other. */
static void time_hotplug(const char *path, const char *where)
{
	printf("attach to a guest with 500 disks %s, ms:", where);
	for (int i = 0; i < 5; i++)
		assert_int_equal(process_wait(
					 process_start(plug_one, (void *)path)),
				 0);
	printf("\n");
}

static void test_a_disk_is_plugged_into_a_guest_with_500(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("parked", 500);
	struct member m = { 2, disks, channel_new() };
	const char *path = test_file("plugged", 0);
	pid_t pid;

	(void)state;
	limit_files(NOFILE);
	pid = process_start(be_member, &m);
	assert_int_equal(channel_hear(&m.ready), 0);
	time_hotplug(path, "where its name says");
	assert_int_equal(disks_locked(&disks), disks.n);
	assert_true(test_lockable(path, F_WRLCK));
	process_end(pid);
	assert_int_equal(disks_settle(&disks), 0);

	pid = guest_start(acquire(context, 2, &disks, 0));
	time_hotplug(path, "that has moved");
	assert_int_equal(disks_locked(&disks), disks.n);
	process_end(pid);
	assert_int_equal(disks_settle(&disks), 0);
	channel_free(&m.ready);
	glk_context_free(context);
	disks_free(&disks);
}

static void test_a_guest_with_2000_disks(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("large", 2001);
	struct disks most = { disks.items, 2000 };
	const char *last = disks.items[2000].path;
	struct glk_guest *guest = NULL;
	pid_t pid;

	(void)state;
	limit_files(NOFILE);
	time_sizes(context, &most, "alone");
	pid = guest_start(acquire(context, 2, &most, 0));
	assert_int_equal(disks_locked(&disks), 2000);
	assert_int_equal(glk_guest_adopt(context, guest_uuid(2), &guest), 0);
	assert_int_equal(leases_of(guest), 2000);
	assert_int_equal(guest_attach(guest, last, 0), 0);
	assert_int_equal(leases_of(guest), 2001);
	assert_int_equal(guest_detach(guest, disks.items[7].path), 0);
	assert_int_equal(leases_of(guest), 2000);
	assert_true(test_lockable(disks.items[7].path, F_WRLCK));
	glk_guest_free(guest);
	process_end(pid);
	assert_int_equal(disks_settle(&disks), 0);
	glk_context_free(context);
	disks_free(&disks);
}

static size_t count_of(const struct glk_guest_list *list, size_t n_leases)
{
	char mine[16];
	size_t n = 0;

	/* The tail of guest_uuid() tells which program made a guest. */
	snprintf(mine, sizeof(mine), "%s", guest_uuid(0) + 24);
	for (size_t i = 0; i < glk_guest_list_count(list); i++) {
		const struct glk_guest_info *info = glk_guest_list_get(list, i);

		if (strcmp(info->uuid + 24, mine))
			continue;
		assert_int_equal(info->error, 0);
		assert_int_equal(info->n_leases, n_leases);
		assert_int_equal(info->n_garbled, 0);
		for (size_t k = 0; k < info->n_leases; k++)
			assert_true(info->leases[k].held);
		n++;
	}
	return n;
}

static void list_all(struct glk_context *context, size_t want)
{
	struct glk_guest_list *list = NULL;
	double best = 1e9;

	for (int i = 0; i < 3; i++) {
		uint64_t start = clock_now();

		assert_int_equal(glk_guest_list_new(context, GLK_LIST_TRUSTED,
						    &list),
				 0);
		best = MIN(best, ms_since(start));
		assert_int_equal(count_of(list, N_EACH), want);
		glk_guest_list_free(list);
	}
	printf("list of %zu guests with %d disks each: %.1f ms\n", want, N_EACH,
	       best);
}

static void start_many(const struct disks *disks, pid_t *pids)
{
	struct member m = { .ready = channel_new() };

	for (unsigned i = 0; i < N_GUESTS; i++) {
		m.who = 100 + i;
		m.disks = (struct disks){ disks->items + (size_t)i * N_EACH,
					  N_EACH };
		pids[i] = process_start(be_member, &m);
		assert_int_equal(channel_hear(&m.ready), 0);
	}
	channel_free(&m.ready);
}

/* And as daemons are: where its name says that it is, it is not. */
static void start_moved(struct glk_context *context, const struct disks *disks,
			pid_t *pids)
{
	for (unsigned i = 0; i < N_GUESTS; i++) {
		struct disks own = { disks->items + (size_t)i * N_EACH,
				     N_EACH };

		pids[i] = guest_fork(acquire(context, 100 + i, &own, 0));
	}
}

static void find_one_of_many(struct glk_context *context,
			     const struct disks *disks, const pid_t *pids)
{
	const struct glk_conflict *holders = NULL;
	const unsigned who = N_GUESTS / 2;
	const char *path = disks->items[(size_t)who * N_EACH].path;
	struct glk_guest *guest = NULL;
	uint64_t start = clock_now();
	size_t n = 0;

	assert_int_equal(glk_disk_holders(context, path, &holders, &n), 0);
	printf("holder of one disk of %d: %.1f ms\n", N_GUESTS * N_EACH,
	       ms_since(start));
	assert_int_equal(n, 1);
	assert_string_equal(holders[0].uuid, guest_uuid(100 + who));
	assert_int_equal(holders[0].pid, pids[who]);
	start = clock_now();
	assert_int_equal(glk_guest_adopt(context, guest_uuid(100 + who),
					 &guest),
			 0);
	printf("adoption of one guest of %d: %.2f ms\n", N_GUESTS,
	       ms_since(start));
	assert_int_equal(leases_of(guest), N_EACH);
	glk_guest_free(guest);
}

static void end_many(const struct disks *disks, const pid_t *pids)
{
	for (unsigned i = 0; i < N_GUESTS; i++)
		process_kill(pids[i]);
	for (unsigned i = 0; i < N_GUESTS; i++)
		assert_int_equal(process_wait(pids[i]), 128 + SIGKILL);
	assert_int_equal(disks_settle(disks), 0);
}

static void test_a_host_with_1000_guests(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("host", (size_t)N_GUESTS * N_EACH);
	struct disks others = disks_new("others", 2000);
	pid_t *pids = calloc(N_GUESTS, sizeof(*pids));
	uint64_t start = clock_now();

	(void)state;
	limit_files(NOFILE);
	assert_non_null(pids);
	start_many(&disks, pids);
	printf("%d guests started in %.0f ms\n", N_GUESTS, ms_since(start));
	assert_int_equal(disks_locked(&disks), disks.n);
	list_all(context, N_GUESTS);
	find_one_of_many(context, &disks, pids);
	time_sizes(context, &others, "among 10000 leases of others");
	end_many(&disks, pids);
	list_all(context, 0);
	glk_context_free(context);
	free(pids);
	disks_free(&disks);
	disks_free(&others);
}

static void test_a_host_with_1000_guests_that_have_moved(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("moved", (size_t)N_GUESTS * N_EACH);
	pid_t *pids = calloc(N_GUESTS, sizeof(*pids));

	(void)state;
	limit_files(NOFILE);
	assert_non_null(pids);
	start_moved(context, &disks, pids);
	list_all(context, N_GUESTS);
	find_one_of_many(context, &disks, pids);
	end_many(&disks, pids);
	glk_context_free(context);
	free(pids);
	disks_free(&disks);
}

/* In children: a lowered limit is for them alone. */
static int take_900_of_1024(void *arg)
{
	const struct disks *disks = arg;
	struct glk_context *context;
	struct glk_guest *guest;

	limit_files(1024);
	context = guest_context();
	guest = acquire(context, 3, disks, 0);
	MUST_EQUAL(disks_locked(disks), disks->n);
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

static void test_900_disks_fit_into_1024_descriptors(void **state)
{
	struct disks disks = disks_new("soft", 900);

	(void)state;
	assert_int_equal(process_wait(process_start(take_900_of_1024, &disks)),
			 0);
	assert_int_equal(disks_settle(&disks), 0);
	disks_free(&disks);
}

static int take_too_many(void *arg)
{
	const struct disks *disks = arg;
	struct disks few = { disks->items, 20 };
	struct glk_context *context;
	struct glk_guest *guest;
	unsigned before;

	limit_files(64);
	context = guest_context();
	before = test_open_fds();
	guest = acquire(context, 4, disks, -EMFILE);
	MUST(glk_context_message(context)[0] != '\0');
	MUST_EQUAL(disks_settle(disks), 0);
	glk_guest_free(guest);
	MUST_EQUAL(test_open_fds(), before);

	/* What fits still works, and is not spoilt by what does not. */
	guest = acquire(context, 4, &few, 0);
	MUST_EQUAL(glk_guest_attach(guest, disks->items, disks->n), -EMFILE);
	MUST_EQUAL(disks_locked(&few), few.n);
	MUST_EQUAL(disks_locked(disks), few.n);
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

static void test_too_few_descriptors_take_nothing(void **state)
{
	struct disks disks = disks_new("few", 100);

	(void)state;
	assert_int_equal(process_wait(process_start(take_too_many, &disks)), 0);
	assert_int_equal(disks_settle(&disks), 0);
	disks_free(&disks);
}

static int list_too_much(void *arg)
{
	struct glk_context *context;
	struct glk_guest *guest = NULL;
	const struct glk_guest_info *info = NULL;

	(void)arg;
	limit_files(64);
	context = guest_context();
	MUST_EQUAL(glk_guest_adopt(context, guest_uuid(5), &guest), 0);
	MUST_EQUAL(glk_guest_info(guest, &info), -EMFILE);
	MUST(info == NULL);
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

static void test_a_reader_with_too_few_descriptors_harms_nothing(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("read", 200);
	struct glk_guest *guest = acquire(context, 5, &disks, 0);
	pid_t pid = guest_start(guest);

	(void)state;
	assert_int_equal(process_wait(process_start(list_too_much, NULL)), 0);
	assert_int_equal(disks_locked(&disks), disks.n);
	guest = NULL;
	assert_int_equal(glk_guest_adopt(context, guest_uuid(5), &guest), 0);
	assert_int_equal(leases_of(guest), disks.n);
	glk_guest_free(guest);
	process_end(pid);
	assert_int_equal(disks_settle(&disks), 0);
	glk_context_free(context);
	disks_free(&disks);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_a_guest_with_2000_disks),
	cmocka_unit_test(test_a_disk_is_plugged_into_a_guest_with_500),
	cmocka_unit_test(test_a_host_with_1000_guests),
	cmocka_unit_test(test_a_host_with_1000_guests_that_have_moved),
	cmocka_unit_test(test_900_disks_fit_into_1024_descriptors),
	cmocka_unit_test(test_too_few_descriptors_take_nothing),
	cmocka_unit_test(test_a_reader_with_too_few_descriptors_harms_nothing),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT)
