/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/capsule/proc.h"

#include <fcntl.h>

#define N_GUESTS 5

/* Walks over /proc come here (--wrap) and are counted. */
typedef bool found_fn(void *arg, uint32_t ino, pid_t pid, int fd);
int __real_proc_find_socket(const uint32_t *inos, size_t n, uint64_t deadline,
			    found_fn *found, void *arg);
int __wrap_proc_find_socket(const uint32_t *inos, size_t n, uint64_t deadline,
			    found_fn *found, void *arg);

static unsigned walks;

int __wrap_proc_find_socket(const uint32_t *inos, size_t n, uint64_t deadline,
			    found_fn *found, void *arg)
{
	walks++;
	return __real_proc_find_socket(inos, n, deadline, found, arg);
}

/* A guest that its name does not lead to: that has our pid. */
static pid_t start_moved(struct glk_context *context, unsigned uuid)
{
	struct glk_guest *guest = guest_describe(context, GLK_HOLDER_GUEST,
						 guest_uuid(uuid), NULL);

	MUST_EQUAL(glk_guest_acquire(guest), 0);
	return guest_fork(guest);
}

static unsigned walks_to_find(struct glk_context *context, unsigned uuid,
			      pid_t pid)
{
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;

	walks = 0;
	assert_int_equal(glk_guest_adopt(context, guest_uuid(uuid), &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->pid, pid);
	glk_guest_free(guest);
	return walks;
}

static void many_guests_that_have_moved_are_found_by_one_walk(void **state)
{
	struct glk_context *context = guest_context();
	struct glk_context *another = guest_context();
	pid_t pids[N_GUESTS];

	(void)state;
	for (unsigned i = 0; i < N_GUESTS; i++)
		pids[i] = start_moved(context, i);
	assert_true(walks_to_find(context, 0, pids[0]) > 0);
	assert_true(walks_to_find(context, 1, pids[1]) > 0);
	for (unsigned i = 0; i < N_GUESTS; i++)
		assert_int_equal(walks_to_find(another, i, pids[i]), 0);
	for (unsigned i = 0; i < N_GUESTS; i++)
		process_end(pids[i]);
	glk_context_free(another);
	glk_context_free(context);
}

static void a_guest_that_was_not_seen_yet_is_found_by_a_walk(void **state)
{
	struct glk_context *context = guest_context();
	pid_t first = start_moved(context, 10), second;

	(void)state;
	walks_to_find(context, 10, first);
	walks_to_find(context, 10, first);
	second = start_moved(context, 11);
	assert_int_equal(walks_to_find(context, 10, first), 0);
	assert_true(walks_to_find(context, 11, second) > 0);
	assert_int_equal(walks_to_find(context, 11, second), 0);
	process_end(first);
	process_end(second);
	glk_context_free(context);
}

/* Forks, and is gone: the child has the capsule then. */
static int move_on(void *arg)
{
	struct channel *channel = arg;

	MUST_EQUAL(channel_hear(channel), 0);
	if (!fork())
		guest_live();
	return 0;
}

static void a_guest_that_moves_again_is_found_again(void **state)
{
	struct glk_context *context = guest_context();
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, guest_uuid(20), NULL);
	struct channel go = channel_new();
	pid_t pid, heir;

	(void)state;
	assert_int_equal(glk_guest_acquire(guest), 0);
	pid = process_start(move_on, &go);
	assert_int_equal(glk_guest_handed_over(guest), 0);
	walks_to_find(context, 20, pid);
	walks_to_find(context, 20, pid);
	assert_int_equal(walks_to_find(context, 20, pid), 0);
	channel_tell(&go, 0);
	assert_int_equal(process_wait(pid), 0);
	heir = process_orphan();
	assert_true(heir > 0);
	assert_true(walks_to_find(context, 20, heir) > 0);
	process_end(heir);
	glk_guest_free(guest);
	channel_free(&go);
	glk_context_free(context);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(many_guests_that_have_moved_are_found_by_one_walk),
	cmocka_unit_test(a_guest_that_was_not_seen_yet_is_found_by_a_walk),
	cmocka_unit_test(a_guest_that_moves_again_is_found_again),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
