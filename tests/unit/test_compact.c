/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/capsule_kit.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/inside.h"
#include "core/capsule/mutex.h"
#include "core/capsule/pack.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

/* sendmsg() and recvmsg() are wrapped, to fail at a chosen moment. */
static unsigned n_sends, send_fails_at;
static bool withhold;

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	if (++n_sends == send_fails_at) {
		errno = EAGAIN;
		return -1;
	}
	return __real_sendmsg(fd, msg, flags);
}

/* As a security module does. */
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t n = __real_recvmsg(fd, msg, flags);

	if (withhold)
		msg->msg_flags |= MSG_CTRUNC;
	return n;
}

/* A queue of every kind of message, in which some leases are dead. */
#define SINGLES 5
#define BUNDLED 6
#define DEAD 3

static void send_bundle(struct capsule *capsule, const char *prefix, size_t n)
{
	uint8_t raw[BUNDLED][RECORD_SIZE_MAX];
	struct capsule_parcel parcels[BUNDLED];
	struct pack_item items[BUNDLED];

	for (size_t i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%s%zu", prefix, i);
		parcels[i] = kit_disk(name, RES_EXCLUSIVE);
		record_encode(&parcels[i], raw[i]);
		items[i] = (struct pack_item){ raw[i], record_size(&parcels[i]),
					       parcels[i].fds, 1 };
	}
	assert_int_equal(pack_send_bundle(capsule->a, items, n), 0);
	for (size_t i = 0; i < n; i++)
		kit_close(&parcels[i]);
}

static void unlock_some(struct capsule *capsule)
{
	static const char *const names[DEAD] = { "single1", "single3",
						 "bundled4" };
	struct capsule_contents contents = kit_list(capsule);

	for (unsigned i = 0; i < DEAD; i++) {
		struct capsule_lease *lease = kit_find(&contents, names[i]);

		assert_non_null(lease);
		assert_int_equal(capsule_unlock(lease), 0);
	}
	capsule_contents_done(&contents);
}

/* Of a version to come, with @size bytes of payload. */
static void send_foreign(struct capsule *capsule, uint64_t id, size_t size)
{
	struct message head = { .kind = MESSAGE_LEASES, .id = id };
	static uint8_t data[2 * QUEUE_PAYLOAD_MAX];
	struct iovec iov = { data, size };

	message_encode(&head, data);
	data[4] = 99;
	assert_int_equal(queue_send(capsule->a, &iov, 1, &capsule->identity, 1),
			 0);
}

static struct capsule *mixed_capsule(void)
{
	struct capsule *capsule = kit_capsule("mixed");
	char name[32];

	for (unsigned i = 0; i < SINGLES; i++) {
		if (i == 2 || i == 3)
			send_foreign(capsule, i, MESSAGE_HEAD_SIZE + i);
		snprintf(name, sizeof(name), "single%u", i);
		kit_park_one(capsule, name, RES_EXCLUSIVE);
	}
	send_bundle(capsule, "bundled", BUNDLED);
	unlock_some(capsule);
	return capsule;
}

static size_t count_held(const struct capsule_contents *contents)
{
	size_t n = 0;

	for (size_t i = 0; i < contents->n_leases; i++)
		n += contents->leases[i].held;
	return n;
}

/* All survivors are listed and held, whatever else is in the queue. */
static void check_mixed(struct capsule *capsule)
{
	struct capsule_contents contents = kit_list(capsule);
	struct capsule_entry entry = kit_entry(capsule);
	struct capsule *adopted = NULL;

	assert_int_equal(count_held(&contents), SINGLES + BUNDLED - DEAD);
	assert_in_range(contents.n_garbled, 2, 4);
	capsule_contents_done(&contents);
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	assert_string_equal(capsule_identity(adopted)->name, "mixed");
	capsule_free(adopted);
	assert_int_equal(kit_locked("single", SINGLES), SINGLES - 2);
	assert_int_equal(kit_locked("bundled", BUNDLED), BUNDLED - 1);
}

/*
 * Run @fn in a child and kill it at the @at-th stop of its system calls, each
 * of which stops at its entry and at its exit. What others can see changes
 * only there. Return: false if it ended before that, with status 0.
 */
static bool kill_at(int (*fn)(struct capsule *), struct capsule *capsule,
		    unsigned at)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(fn(capsule));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	for (unsigned i = 0; i < at; i++) {
		assert_true(WIFSTOPPED(status));
		assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			return false;
		}
	}
	kit_end(pid);
	return true;
}

static int compact(struct capsule *capsule)
{
	return capsule_compact(capsule, kit_soon());
}

static void check_tidy(struct capsule *capsule)
{
	struct capsule_contents contents;

	check_mixed(capsule);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_dead, 0);
	assert_int_equal(contents.n_garbled, 2);
	assert_int_equal(contents.n_leases, SINGLES + BUNDLED - DEAD);
	/* A header, leases, a foreign message, leases, another, leases. */
	assert_in_range(contents.n_messages, 5, 6);
	capsule_contents_done(&contents);
}

static void compaction_killed_at_any_point_loses_nothing(void **state)
{
	unsigned at = 0, n_twice = 0;
	bool killed;

	(void)state;
	do {
		struct capsule *capsule = mixed_capsule();
		struct capsule_contents contents;

		killed = kill_at(compact, capsule, ++at);
		check_mixed(capsule);
		contents = kit_list(capsule);
		n_twice += contents.n_dead > DEAD;
		capsule_contents_done(&contents);

		assert_int_equal(compact(capsule), 0);
		check_tidy(capsule);
		capsule_free(capsule);
	} while (killed);
	printf("%u points, duplicates after %u of them\n", at, n_twice);
	assert_true(at > 50);
	assert_true(n_twice > 5);
}

static int compact_with_a_full_buffer(struct capsule *capsule)
{
	n_sends = 0;
	return compact(capsule);
}

/* Also when it has to make room before it can go on. */
static void compaction_in_steps_loses_nothing(void **state)
{
	(void)state;
	for (unsigned n = 2; n <= 6; n++) {
		bool killed;
		/* The looking, at first, has been killed often enough. */
		unsigned at = 150;

		do {
			struct capsule *capsule = mixed_capsule();

			send_fails_at = n;
			n_sends = 100;
			killed = kill_at(compact_with_a_full_buffer, capsule,
					 at);
			send_fails_at = 0;
			at += 2;
			check_mixed(capsule);
			assert_int_equal(compact(capsule), 0);
			check_tidy(capsule);
			capsule_free(capsule);
		} while (killed);
	}
}

static void without_room_for_a_header_nothing_changes(void **state)
{
	struct capsule *capsule = mixed_capsule();

	(void)state;
	n_sends = 0;
	send_fails_at = 1;
	assert_int_equal(compact(capsule), CAPSULE_E_FULL);
	send_fails_at = 0;
	check_mixed(capsule);
	assert_int_equal(compact(capsule), 0);
	check_tidy(capsule);
	capsule_free(capsule);
}

static void what_cannot_be_carried_along_is_not_dropped(void **state)
{
	struct capsule *capsule = mixed_capsule();

	(void)state;
	withhold = true;
	assert_int_equal(compact(capsule), -EPERM);
	withhold = false;
	check_mixed(capsule);
	send_foreign(capsule, 7, QUEUE_PAYLOAD_MAX + 1);
	assert_int_equal(compact(capsule), -EPERM);
	check_mixed(capsule);
	capsule_free(capsule);
}

/* Or the dead ones would be kept open by the queue for ever. */
static void a_header_anywhere_in_the_queue_is_found(void **state)
{
	struct capsule *capsule = kit_capsule("behind"), *adopted = NULL;
	struct capsule_entry entry = kit_entry(capsule);
	char buf[64];

	(void)state;
	kit_park_one(capsule, "before", RES_EXCLUSIVE);
	assert_int_equal(pack_send_header(capsule->a, capsule->identity), 0);
	assert_true(recv(capsule->b, buf, sizeof(buf), 0) > 0);
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	assert_string_equal(capsule_identity(adopted)->name, "behind");
	kit_park_one(adopted, "after", RES_EXCLUSIVE);
	capsule_free(adopted);
	capsule_free(capsule);
	assert_true(test_becomes_free(test_file("after", -1), 5000));
}

#define PUSHED 300

static struct capsule_parcel pushed[PUSHED];

static int push_all(struct capsule *capsule)
{
	return capsule_push(capsule, pushed, PUSHED, kit_soon());
}

static void lock_all(void)
{
	for (unsigned i = 0; i < PUSHED; i++) {
		char name[32];

		snprintf(name, sizeof(name), "pushed%u", i);
		pushed[i] = kit_disk(name, RES_EXCLUSIVE);
		pushed[i].path = test_file("pushed", -1);
	}
}

static void a_push_killed_at_any_point_parks_all_or_nothing(void **state)
{
	unsigned n_all = 0, n_none = 0, at = 0;
	bool killed;

	(void)state;
	do {
		struct capsule *capsule = kit_capsule("pushed");
		struct capsule_contents contents;

		lock_all();
		killed = kill_at(push_all, capsule, ++at);
		for (unsigned i = 0; i < PUSHED; i++)
			kit_close(&pushed[i]);
		contents = kit_list(capsule);
		assert_int_equal(kit_locked("pushed", PUSHED),
				 count_held(&contents));
		assert_int_equal(contents.n_garbled, 0);
		assert_true(contents.n_leases == 0 ||
			    contents.n_leases == PUSHED);
		n_all += contents.n_leases == PUSHED;
		n_none += contents.n_leases == 0;
		capsule_contents_done(&contents);
		capsule_free(capsule);
	} while (killed);
	printf("nothing parked at %u points, all at %u\n", n_none, n_all);
	assert_true(n_none > 10 && n_all > 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(compaction_killed_at_any_point_loses_nothing),
	cmocka_unit_test(compaction_in_steps_loses_nothing),
	cmocka_unit_test(without_room_for_a_header_nothing_changes),
	cmocka_unit_test(what_cannot_be_carried_along_is_not_dropped),
	cmocka_unit_test(a_header_anywhere_in_the_queue_is_found),
	cmocka_unit_test(a_push_killed_at_any_point_parks_all_or_nothing),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
