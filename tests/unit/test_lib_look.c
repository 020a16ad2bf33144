/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/capsule/proc.h"

#include <fcntl.h>
#include <stdio.h>

#define N_GUESTS 5

/* Walks over /proc come here (--wrap) and are counted. */
typedef bool found_fn(void *arg, uint32_t ino, pid_t pid, int fd);
int __real_proc_find_socket(const uint32_t *inos, size_t n, uint64_t deadline,
			    found_fn *found, void *arg);
int __wrap_proc_find_socket(const uint32_t *inos, size_t n, uint64_t deadline,
			    found_fn *found, void *arg);

static unsigned walks;
static unsigned walk_ms; /* how long each takes at least, as on a busy host */
static uint64_t walked;	 /* ns, in which nothing else was done */

int __wrap_proc_find_socket(const uint32_t *inos, size_t n, uint64_t deadline,
			    found_fn *found, void *arg)
{
	uint64_t now = clock_now();
	uint64_t end = MIN(now + walk_ms * NSEC_PER_MSEC, deadline + 1);

	walks++;
	walked += end > now ? end - now : 0;
	while (clock_now() < end)
		usleep(1000);
	if (clock_now() > deadline)
		return -ETIME;
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

/* A capsule that is in no process: only in flight. */
static void hide(struct glk_context *context, unsigned uuid, int queue[2])
{
	struct glk_guest *guest = guest_describe(context, GLK_HOLDER_GUEST,
						 guest_uuid(uuid), NULL);

	assert_int_equal(glk_guest_acquire(guest), 0);
	kit_send_away(dup(glk_guest_fd(guest)), queue);
	glk_guest_free(guest);
}

static bool is_listed(struct glk_context *context, pid_t pid)
{
	struct glk_guest_list *list = NULL;
	bool found = false;

	assert_int_equal(glk_guest_list_new(context, 0, &list), 0);
	for (size_t i = 0; i < glk_guest_list_count(list); i++)
		found |= glk_guest_list_get(list, i)->pid == pid;
	glk_guest_list_free(list);
	return found;
}

static bool is_adopted(struct glk_context *context, const char *who)
{
	struct glk_guest *guest = NULL;
	int r = glk_guest_adopt(context, who, &guest);

	glk_guest_free(guest);
	return !r;
}

/* Each walk takes a third of the time, and what is hidden is worth three. */
static void one_that_hides_takes_no_time_from_the_others(void **state)
{
	struct glk_context *context = guest_context();
	char pid_text[2][16];
	int queue[2];
	pid_t pids[3];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		pids[i] = start_moved(context, 30 + i);
		snprintf(pid_text[i], sizeof(pid_text[i]), "%d", (int)pids[i]);
	}
	hide(context, 40, queue);
	walks_to_find(context, 30, pids[0]);
	walk_ms = 350;
	pids[2] = start_moved(context, 32);
	walked = 0;
	assert_true(is_adopted(context, guest_uuid(32)));
	assert_true(walked <= (350 + 200) * NSEC_PER_MSEC);
	glk_context_set_timeout(context, 1000);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(is_adopted(context, guest_uuid(30 + i)));
		assert_true(is_adopted(context, pid_text[i]));
		assert_true(is_listed(context, pids[i]));
	}
	walk_ms = 0;
	for (unsigned i = 0; i < 3; i++)
		process_end(pids[i]);
	close(queue[0]);
	close(queue[1]);
	glk_context_free(context);
}

/* Where the walk takes longer than there is time. */
static void who_has_not_moved_needs_no_walk(void **state)
{
	static const char *const names[] = { "still", "here" };
	struct glk_context *context = guest_context();
	struct glk_guest *guests[2];
	int queue[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		guests[i] = guest_describe(context, GLK_HOLDER_SELF,
					   guest_uuid(50 + i), names[i]);
		assert_int_equal(glk_guest_acquire(guests[i]), 0);
	}
	hide(context, 52, queue);
	glk_context_set_timeout(context, 1000);
	walk_ms = 60000;
	for (unsigned i = 0; i < 2; i++)
		assert_true(is_adopted(context, names[i]));
	assert_true(is_listed(context, getpid()));
	walk_ms = 0;
	for (unsigned i = 0; i < 2; i++)
		glk_guest_free(guests[i]);
	close(queue[0]);
	close(queue[1]);
	glk_context_free(context);
}

#define N_HIDDEN 8

static void those_that_hide_share_one_looks_time(void **state)
{
	struct glk_context *context = guest_context();
	pid_t pid = start_moved(context, 60);
	int queues[N_HIDDEN][2];

	(void)state;
	for (unsigned i = 0; i < N_HIDDEN; i++)
		hide(context, 61 + i, queues[i]);
	walk_ms = 300;
	walked = 0;
	assert_true(is_listed(context, pid));
	/* One walk, a piece of another one, and 500 ms for all that hide. */
	assert_true(walked <= (300 + 200 + 500 + 300) * NSEC_PER_MSEC);
	walk_ms = 0;
	process_end(pid);
	for (unsigned i = 0; i < N_HIDDEN; i++) {
		close(queues[i][0]);
		close(queues[i][1]);
	}
	glk_context_free(context);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(many_guests_that_have_moved_are_found_by_one_walk),
	cmocka_unit_test(a_guest_that_was_not_seen_yet_is_found_by_a_walk),
	cmocka_unit_test(a_guest_that_moves_again_is_found_again),
	cmocka_unit_test(one_that_hides_takes_no_time_from_the_others),
	cmocka_unit_test(who_has_not_moved_needs_no_walk),
	cmocka_unit_test(those_that_hide_share_one_looks_time),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
