/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* recvmsg() is wrapped, to be disturbed at a chosen moment. */
#include "tests/lib/test.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/queue.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define SIZE 32 /* of every message, unless it matters */

struct queue {
	int a, b, file;
};

static struct queue the_queue;
static unsigned n_peeks;
static void (*disturb)(unsigned n_peek, bool after);

ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t n;

	n_peeks++;
	if (disturb)
		disturb(n_peeks, false);
	n = __real_recvmsg(fd, msg, flags);
	if (disturb)
		disturb(n_peeks, true);
	return n;
}

static int put_size(char tag, size_t size, int fd)
{
	char data[2 * QUEUE_PAYLOAD_MAX] = {};
	struct iovec iov = { data, size };

	memset(data, tag, SIZE);
	return queue_send(the_queue.a, &iov, 1, &fd, fd >= 0);
}

static void put(char tag)
{
	assert_int_equal(put_size(tag, SIZE, the_queue.file), 0);
}

static void take(void)
{
	char byte;

	assert_int_equal(recv(the_queue.b, &byte, 1, MSG_TRUNC), SIZE);
}

static void seek(int offset)
{
	assert_int_equal(setsockopt(the_queue.b, SOL_SOCKET, SO_PEEK_OFF,
				    &offset, sizeof(offset)),
			 0);
}

static int set_up(void **state)
{
	(void)state;
	disturb = NULL;
	n_peeks = 0;
	if (queue_new(&the_queue.a, &the_queue.b))
		return -1;
	the_queue.file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	disturb = NULL;
	fd_close(the_queue.a);
	fd_close(the_queue.b);
	fd_close(the_queue.file);
	return 0;
}

static int look(bool exclusive, struct queue_view *view)
{
	struct queue_look how = { .deadline = deadline_in_ms(5000),
				  .max_fds = 1000,
				  .exclusive = exclusive };

	return queue_view(the_queue.b, &how, view);
}

/* What a look sees, as a string of tags. */
static void check_look(bool exclusive, const char *tags)
{
	struct queue_view view;
	char seen[64] = {};

	assert_int_equal(look(exclusive, &view), 0);
	for (size_t i = 0; i < view.n; i++)
		seen[i] = (char)view.messages[i].payload[0];
	assert_string_equal(seen, tags);
	queue_view_done(&view);
}

static int peek_offset(void)
{
	socklen_t len = sizeof(int);
	int offset;

	assert_int_equal(getsockopt(the_queue.b, SOL_SOCKET, SO_PEEK_OFF,
				    &offset, &len),
			 0);
	return offset;
}

static void a_look_consumes_nothing_and_keeps_the_order(void **state)
{
	(void)state;
	check_look(true, "");
	put('a');
	put('b');
	put('c');
	seek(SIZE);
	for (unsigned i = 0; i < 3; i++)
		check_look(i % 2, "abc");
	assert_int_equal(peek_offset(), -1);
	take();
	check_look(false, "bc");
}

static void descriptors_are_duplicates_and_closed_on_exec(void **state)
{
	struct queue_view view;
	unsigned before = test_open_fds();

	(void)state;
	put('a');
	put_size('b', 100, -1);
	assert_int_equal(look(true, &view), 0);
	assert_int_equal(view.n_fds, 1);
	assert_int_equal(view.messages[0].n_fds, 1);
	assert_int_equal(view.messages[1].n_fds, 0);
	assert_int_equal(view.messages[1].size, 100);
	assert_int_equal(fcntl(view.messages[0].fds[0], F_GETFD), FD_CLOEXEC);
	assert_false(view.messages[0].partial);
	queue_view_done(&view);
	assert_int_equal(test_open_fds(), before);
}

static void a_long_message_is_cut_and_does_not_hide_the_next(void **state)
{
	struct queue_view view;

	(void)state;
	put('a');
	assert_int_equal(put_size('l', QUEUE_PAYLOAD_MAX + 1, the_queue.file),
			 0);
	assert_int_equal(put_size('m', QUEUE_PAYLOAD_MAX, the_queue.file), 0);
	put('z');
	assert_int_equal(look(true, &view), 0);
	assert_int_equal(view.n, 4);
	assert_int_equal(view.messages[1].size, QUEUE_PAYLOAD_MAX + 1);
	assert_int_equal(view.messages[2].size, QUEUE_PAYLOAD_MAX);
	assert_int_equal(view.messages[3].payload[0], 'z');
	assert_int_equal(queue_consume(the_queue.b, view.messages, 2,
				       deadline_in_ms(5000)),
			 0);
	queue_view_done(&view);
	check_look(true, "mz");
}

static void empty_messages_are_passed_over(void **state)
{
	struct queue_view view;

	(void)state;
	put_size('e', 0, the_queue.file);
	put('a');
	put_size('e', 0, the_queue.file);
	put_size('e', 0, -1);
	put('b');
	put_size('e', 0, the_queue.file);
	check_look(true, "ab");
	check_look(false, "ab");
	assert_int_equal(look(true, &view), 0);
	assert_int_equal(queue_consume(the_queue.b, view.messages, 2,
				       deadline_in_ms(5000)),
			 0);
	queue_view_done(&view);
	check_look(true, "");
}

static void nothing_can_be_sent_backwards(void **state)
{
	(void)state;
	assert_int_equal(send(the_queue.b, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
}

static void a_closed_end_is_told(void **state)
{
	(void)state;
	put('a');
	the_queue.b = fd_close(the_queue.b);
	assert_int_equal(put_size('b', SIZE, -1), QUEUE_E_GONE);
}

static void what_was_sent_before_the_end_was_closed_is_seen(void **state)
{
	(void)state;
	put('a');
	put('b');
	the_queue.a = fd_close(the_queue.a);
	check_look(true, "ab");
	check_look(false, "ab");
}

static unsigned fill(void)
{
	unsigned n = 0;
	int r;

	while (!(r = put_size('f', 7 * 1024, -1)))
		n++;
	assert_int_equal(r, QUEUE_E_FULL);
	return n;
}

static void the_reserve_has_room_for_as_much_again(void **state)
{
	unsigned n = fill(), more;

	(void)state;
	queue_use_reserve(the_queue.a, true);
	more = fill();
	queue_use_reserve(the_queue.a, false);
	printf("%u messages of 7 KiB, %u more in the reserve\n", n, more);
	assert_true(n >= 20);
	assert_true(more >= n - 1);
	assert_int_equal(fill(), 0);
}

static void more_descriptors_than_allowed_are_told(void **state)
{
	struct queue_look how = { .deadline = deadline_in_ms(5000),
				  .max_fds = 1 };
	struct queue_view view;

	(void)state;
	put('a');
	put('b');
	assert_int_equal(queue_view(the_queue.b, &how, &view), QUEUE_E_NOFILE);
}

/* valgrind keeps the limit to itself, and what is received is not bounded. */
static bool kernel_knows(rlim_t limit)
{
	FILE *f = fopen("/proc/self/limits", "re");
	unsigned long long n = 0;
	char line[256];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "Max open files %llu", &n);
	fclose(f);
	return n == limit;
}

static void a_full_descriptor_table_is_told(void **state)
{
	struct queue_look how = { .deadline = deadline_in_ms(5000),
				  .max_fds = 1000 };
	unsigned before = test_open_fds();
	struct queue_view view;
	struct rlimit limit, small;

	(void)state;
	put('a');
	put('b');
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	small = limit;
	if (!kernel_knows(limit.rlim_cur)) {
		printf("the limit is not the kernel's\n");
		return;
	}
	/* The file was opened last. */
	for (rlim_t n = (rlim_t)the_queue.file + 1; n < 100; n++) {
		int r;

		small.rlim_cur = n;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
		r = queue_view(the_queue.b, &how, &view);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (!r) {
			assert_int_equal(view.n_fds, 2);
			queue_view_done(&view);
			break;
		}
		assert_int_equal(r, QUEUE_E_NOFILE);
	}
	assert_int_equal(test_open_fds(), before);
	small.rlim_cur = (rlim_t)the_queue.file + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
	assert_int_equal(queue_new(&(int){ -1 }, &(int){ -1 }), QUEUE_E_NOFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Another reader gets in between our offset and our peek. */
static void move_before_second(unsigned n, bool after)
{
	if (n == 2 && !after)
		seek(2 * SIZE);
}

static void another_readers_offset_is_noticed(void **state)
{
	(void)state;
	put('a');
	put('b');
	put_size('c', 2 * SIZE, -1);
	put('d');
	disturb = move_before_second;
	check_look(true, "abcd");
	assert_int_equal(n_peeks, 2 + 4);
}

/* As before, and its own peek makes good what we would have noticed. */
static void repeat_first(unsigned n, bool after)
{
	if (n == 2)
		seek(after ? 2 * SIZE : 0);
}

static void a_message_seen_twice_is_noticed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		put('a' + (char)(3 * i));
		put('b' + (char)(3 * i));
		put('c' + (char)(3 * i));
		n_peeks = 0;
		disturb = repeat_first;
		check_look(i, i ? "abcdef" : "abc");
		assert_int_equal(n_peeks, i ? 12 : 6);
	}
}

/* Somebody compacts: a copy of the first to the tail, then the first goes. */
static void rotate_before_second(unsigned n, bool after)
{
	static char tag = 'A';

	if (n == 2 && !after) {
		put(tag++);
		take();
		seek(SIZE);
	}
}

static void a_consumed_message_is_noticed(void **state)
{
	(void)state;
	put('a');
	put('b');
	put('c');
	disturb = rotate_before_second;
	check_look(true, "bcA");
	n_peeks = 0;
	check_look(false, "cAB");
}

/* Something new is shown in place of the second. */
static void append_and_show(unsigned n, bool after)
{
	if (n == 2 && !after) {
		put('z');
		seek(3 * SIZE);
	}
	if (n == 2 && after)
		seek(2 * SIZE);
}

static void a_new_message_in_place_of_an_old_one_is_noticed(void **state)
{
	(void)state;
	put('a');
	put('b');
	put('c');
	disturb = append_and_show;
	check_look(false, "abcz");
}

static void append(unsigned n, bool after)
{
	if (n == 2 && after)
		put('z');
}

static void a_look_with_the_mutex_does_not_wait_for_pushers(void **state)
{
	(void)state;
	put('a');
	put('b');
	disturb = append;
	check_look(true, "ab");
	assert_int_equal(n_peeks, 2);
}

static void always_move(unsigned n, bool after)
{
	(void)n;
	if (!after)
		seek(0);
}

static void a_look_that_is_disturbed_for_ever_ends(void **state)
{
	struct queue_look how = { .deadline = deadline_in_ms(20),
				  .max_fds = 1000 };
	unsigned before = test_open_fds();
	struct queue_view view;

	(void)state;
	put('a');
	put('b');
	disturb = always_move;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(queue_view(the_queue.b, &how, &view),
				 QUEUE_E_BUSY);
		assert_true(clock_now() >= how.deadline);
		how.exclusive = true;
		how.deadline = deadline_in_ms(20);
	}
	assert_int_equal(test_open_fds(), before);
}

static void twins_are_let_pass_with_the_mutex_only(void **state)
{
	struct queue_look how = { .deadline = deadline_in_ms(5),
				  .max_fds = 1000 };
	struct queue_view view;

	(void)state;
	put('a');
	put('a');
	check_look(true, "aa");
	assert_int_equal(queue_view(the_queue.b, &how, &view), QUEUE_E_BUSY);
}

static void the_first_alone_is_seen_without_moving_the_offset(void **state)
{
	struct queue_view view;

	(void)state;
	assert_int_equal(queue_first(the_queue.b, &view), 0);
	assert_int_equal(view.n, 0);
	put('a');
	put('b');
	assert_int_equal(queue_first(the_queue.b, &view), 0);
	assert_int_equal(view.n, 1);
	assert_int_equal(view.messages[0].payload[0], 'a');
	assert_int_equal(view.messages[0].n_fds, 1);
	queue_view_done(&view);
	assert_int_equal(peek_offset(), -1);
}

static void only_what_was_seen_is_consumed(void **state)
{
	struct queue_view view;

	(void)state;
	put('a');
	put('b');
	assert_int_equal(look(true, &view), 0);
	put('c');
	seek(2 * SIZE);
	assert_int_equal(queue_consume(the_queue.b, view.messages, 2,
				       deadline_in_ms(5000)),
			 0);
	check_look(true, "c");
	/* They are gone: nothing else is taken in their place. */
	assert_int_equal(queue_consume(the_queue.b, view.messages, 2,
				       deadline_in_ms(5)),
			 QUEUE_E_BUSY);
	check_look(true, "c");
	put('a');
	assert_int_equal(queue_consume(the_queue.b, view.messages, 1,
				       deadline_in_ms(5)),
			 QUEUE_E_BUSY);
	check_look(true, "ca");
	queue_view_done(&view);
}

static void consuming_an_empty_queue_ends(void **state)
{
	struct queue_view view;

	(void)state;
	put('a');
	assert_int_equal(look(true, &view), 0);
	take();
	assert_int_equal(queue_consume(the_queue.b, view.messages, 1,
				       deadline_in_ms(5)),
			 QUEUE_E_BUSY);
	the_queue.a = fd_close(the_queue.a);
	assert_int_equal(queue_consume(the_queue.b, view.messages, 1,
				       deadline_in_ms(5)),
			 QUEUE_E_BUSY);
	queue_view_done(&view);
}

#define test_on_a_queue(_f)                                                    \
	cmocka_unit_test_setup_teardown(_f, set_up, tear_down)

static const struct CMUnitTest tests[] = {
	test_on_a_queue(a_look_consumes_nothing_and_keeps_the_order),
	test_on_a_queue(descriptors_are_duplicates_and_closed_on_exec),
	test_on_a_queue(a_long_message_is_cut_and_does_not_hide_the_next),
	test_on_a_queue(empty_messages_are_passed_over),
	test_on_a_queue(nothing_can_be_sent_backwards),
	test_on_a_queue(a_closed_end_is_told),
	test_on_a_queue(what_was_sent_before_the_end_was_closed_is_seen),
	test_on_a_queue(the_reserve_has_room_for_as_much_again),
	test_on_a_queue(more_descriptors_than_allowed_are_told),
	test_on_a_queue(a_full_descriptor_table_is_told),
	test_on_a_queue(another_readers_offset_is_noticed),
	test_on_a_queue(a_message_seen_twice_is_noticed),
	test_on_a_queue(a_consumed_message_is_noticed),
	test_on_a_queue(a_new_message_in_place_of_an_old_one_is_noticed),
	test_on_a_queue(a_look_with_the_mutex_does_not_wait_for_pushers),
	test_on_a_queue(a_look_that_is_disturbed_for_ever_ends),
	test_on_a_queue(twins_are_let_pass_with_the_mutex_only),
	test_on_a_queue(the_first_alone_is_seen_without_moving_the_offset),
	test_on_a_queue(only_what_was_seen_is_consumed),
	test_on_a_queue(consuming_an_empty_queue_ends),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
