/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/*
 * Contexts of one process in several threads. A thread does not assert, since
 * cmocka would jump out of the wrong one: it returns what was not so.
 */
#define N_THREADS 4
#define N_ROUNDS 40
#define N_EACH 12
#define NEED(_x)                                                               \
	do {                                                                   \
		if (!(_x))                                                     \
			return (void *)#_x;                                    \
	} while (0)

struct worker {
	pthread_t thread;
	unsigned index;
	char name[64];
	struct disks own;
	const char *wanted; /* one disk that all of them want */
	atomic_uint *n_winners;
};

static bool all_held(const struct glk_guest_info *info)
{
	for (size_t i = 0; i < info->n_leases; i++)
		if (!info->leases[i].held)
			return false;
	return true;
}

/* A turn with the disk that everybody wants. */
static void *contend(struct glk_context *context, struct glk_guest *guest,
		     struct worker *w)
{
	int r = guest_attach(guest, w->wanted, 0);
	const struct glk_conflict *c;

	if (r == -EBUSY) {
		NEED(glk_context_conflicts(context, &c) == 1);
		NEED(!strcmp(c->path, w->wanted));
		return NULL;
	}
	NEED(r == 0);
	NEED(atomic_fetch_add(w->n_winners, 1) == 0);
	NEED(range_is_locked(w->wanted, 0, 1));
	atomic_fetch_sub(w->n_winners, 1);
	NEED(guest_detach(guest, w->wanted) == 0);
	return NULL;
}

static void *work_once(struct glk_context *context, struct worker *w)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, w->name);
	const struct glk_guest_info *info = NULL;
	struct glk_guest_list *list = NULL;
	void *failed;

	NEED(glk_guest_add(guest, w->own.items, w->own.n / 2) == 0);
	NEED(glk_guest_acquire(guest) == 0);
	NEED(glk_guest_attach(guest, w->own.items, w->own.n) == 0);
	NEED(disks_locked(&w->own) == w->own.n);
	failed = contend(context, guest, w);
	if (failed)
		return failed;
	NEED(glk_guest_info(guest, &info) == 0);
	NEED(!strcmp(info->name, w->name));
	NEED(info->n_leases == w->own.n && all_held(info));
	NEED(glk_guest_list_new(context, 0, &list) == 0);
	NEED(glk_guest_list_count(list) >= 1);
	glk_guest_list_free(list);
	glk_guest_free(guest);
	return NULL;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct glk_context *context = NULL;
	void *failed = NULL;

	NEED(glk_context_new(&context) == 0);
	glk_context_set_timeout(context, 60000);
	for (int i = 0; i < N_ROUNDS && !failed; i++)
		failed = work_once(context, w);
	if (failed)
		fprintf(stderr, "%s: %s\n", w->name,
			glk_context_message(context));
	glk_context_free(context);
	return failed;
}

static void test_contexts_of_several_threads_do_not_mind_others(void **state)
{
	struct disks disks = disks_new("threads", N_THREADS * N_EACH);
	struct worker workers[N_THREADS];
	atomic_uint n_winners = 0;
	char wanted[4096];

	(void)state;
	snprintf(wanted, sizeof(wanted), "%s", test_file("wanted", 0));
	for (unsigned i = 0; i < N_THREADS; i++) {
		struct worker *w = &workers[i];

		*w = (struct worker){
			.index = i,
			.own = { disks.items + (size_t)i * N_EACH, N_EACH },
			.wanted = wanted,
			.n_winners = &n_winners,
		};
		snprintf(w->name, sizeof(w->name), "thread-%u", i);
		assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
	}
	for (unsigned i = 0; i < N_THREADS; i++) {
		void *failed = NULL;

		assert_int_equal(pthread_join(workers[i].thread, &failed), 0);
		if (failed)
			fail_msg("%s: not so: %s", workers[i].name,
				 (char *)failed);
	}
	assert_int_equal(disks_settle(&disks), 0);
	assert_true(test_becomes_free(wanted, 10000));
	disks_free(&disks);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_contexts_of_several_threads_do_not_mind_others),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
