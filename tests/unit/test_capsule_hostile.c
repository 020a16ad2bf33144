/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a guest that was taken over can do to its own capsule. It has B, so it
 * has all that is in the queue, end A too.
 */
#include "tests/unit/capsule_forge.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/identity.h"
#include "core/capsule/inside.h"
#include "core/capsule/mutex.h"
#include "core/capsule/pack.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

static int set_int(int fd, int option, int value)
{
	return setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value));
}

/* A newer one of ours may be beside us: what it parked is not ours to drop. */
static void messages_of_another_version_are_carried_along(void **state)
{
	struct capsule_parcel p = kit_disk("newer", RES_EXCLUSIVE);
	struct capsule *capsule = kit_capsule("newer");
	struct capsule_contents contents;
	uint8_t data[100] = {};
	struct message head = { .kind = MESSAGE_HEADER, .id = 1 };

	(void)state;
	message_encode(&head, data);
	data[4] = 99;
	forge_send(capsule->a, data, sizeof(data), p.fds, 1);
	kit_close(&p);
	kit_park_one(capsule, "older", RES_EXCLUSIVE);
	for (unsigned i = 0; i < 3; i++) {
		kit_park_one(capsule, "gone", RES_EXCLUSIVE);
		kit_detach(capsule, "gone");
		contents = kit_list(capsule);
		assert_int_equal(contents.n_garbled, 1);
		assert_int_equal(contents.n_messages, 3);
		assert_int_equal(contents.n_leases, 1);
		capsule_contents_done(&contents);
		assert_false(test_lockable(test_file("newer", -1), F_WRLCK));
	}
	capsule_free(capsule);
	assert_true(test_becomes_free(test_file("newer", -1), 5000));
}

static void options_of_the_socket_do_not_confuse_the_reader(void **state)
{
	struct capsule *capsule = kit_capsule("options");
	struct capsule_contents contents;
	unsigned before;

	(void)state;
	assert_int_equal(set_int(capsule->b, SO_PASSCRED, 1), 0);
	assert_int_equal(set_int(capsule->b, SO_TIMESTAMPNS, 1), 0);
	set_int(capsule->b, SO_PASSPIDFD, 1);
	set_int(capsule->b, SO_PEEK_OFF, 7);
	set_int(capsule->a, SO_SNDBUF, 1);
	kit_park_one(capsule, "first", RES_EXCLUSIVE);
	assert_int_equal(kit_park(capsule, "options", 253), 0);
	kit_park_one(capsule, "last", RES_EXCLUSIVE);
	before = test_open_fds();
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 255);
	assert_int_equal(contents.n_garbled, 0);
	capsule_contents_done(&contents);
	assert_int_equal(test_open_fds(), before);
	kit_detach(capsule, "options7");
	assert_int_equal(test_open_fds(), before);
	capsule_free(capsule);
}

static void a_guest_that_refuses_descriptors_gets_none(void **state)
{
	struct capsule *capsule = kit_capsule("refuses");

	(void)state;
	if (set_int(capsule->b, SO_PASSRIGHTS, 0))
		printf("this kernel has no SO_PASSRIGHTS\n");
	else
		assert_int_equal(kit_park(capsule, "refused", 1), -EPERM);
	shutdown(capsule->b, SHUT_RD);
	assert_int_equal(kit_park(capsule, "refused", 1), CAPSULE_E_GONE);
	assert_true(test_becomes_free(test_file("refused0", -1), 5000));
	capsule_free(capsule);
}

static void drain(struct capsule *capsule)
{
	char byte;

	set_int(capsule->b, SO_PEEK_OFF, -1);
	while (recv(capsule->b, &byte, 1, MSG_DONTWAIT) >= 0)
		;
}

static void a_drained_queue_is_empty_and_can_be_filled_again(void **state)
{
	struct capsule *capsule = kit_capsule("drained"), *adopted = NULL;
	struct capsule_entry entry = kit_entry(capsule);
	struct capsule_contents contents;

	(void)state;
	kit_park_one(capsule, "drained", RES_EXCLUSIVE);
	drain(capsule);
	assert_true(test_becomes_free(test_file("drained", -1), 5000));
	contents = kit_list(capsule);
	assert_int_equal(contents.n_messages + contents.n_leases, 0);
	capsule_contents_done(&contents);
	/* Nothing is left that says who it is, but its name. */
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	assert_string_equal(capsule_identity(adopted)->name, "");
	assert_memory_equal(&capsule_identity(adopted)->uuid, &entry.uuid,
			    sizeof(entry.uuid));
	assert_int_equal(kit_park(adopted, "refused", 1), CAPSULE_E_FORGED);
	adopted = capsule_free(adopted);
	/* Its maker has all that is necessary. */
	kit_park_one(capsule, "drained", RES_EXCLUSIVE);
	assert_int_equal(capsule_repack(capsule, kit_soon(), true), 0);
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	assert_string_equal(capsule_identity(adopted)->name, "drained");
	contents = kit_list(adopted);
	assert_int_equal(contents.n_leases, 1);
	capsule_contents_done(&contents);
	capsule_free(adopted);
	capsule_free(capsule);
}

/* The guest has another name, and another socket, but not another uid. */
static void a_forged_header_is_not_believed(void **state)
{
	struct capsule *capsule = kit_capsule("honest"), *adopted = NULL;
	struct capsule *other = kit_capsule("other");
	struct capsule_entry entry = kit_entry(capsule);
	struct capsule_identity who = *capsule_identity(capsule);
	int a = dup(capsule->a), identity = dup(capsule->identity), forged[3];

	(void)state;
	strcpy(who.name, "somebody else");
	/* Of another socket, of another owner, not sealed. */
	who.nonce++;
	assert_int_equal(identity_new(&who, &forged[0]), 0);
	who.nonce--;
	assert_int_equal(identity_new(&who, &forged[1]), 0);
	assert_int_equal(fchown(forged[1], 54321, -1), 0);
	forged[2] = memfd_create("forged", MFD_ALLOW_SEALING);
	drain(capsule);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pack_send_header(a, forged[i]), 0);
	assert_int_equal(pack_send_header(a, other->identity), 0);
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	assert_string_equal(capsule_identity(adopted)->name, "");
	kit_park_one(adopted, "forged", RES_EXCLUSIVE);
	assert_int_equal(capsule_compact(adopted, deadline_in_ms(20)),
			 CAPSULE_E_BUSY);
	adopted = capsule_free(adopted);
	/* The honest one behind them wins, and another's end A does not. */
	drain(capsule);
	forge_send_bare(a, MESSAGE_HEADER, (int[]){ other->a, forged[1] }, 2);
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	assert_int_equal(kit_park(adopted, "refused", 1), CAPSULE_E_FORGED);
	adopted = capsule_free(adopted);
	assert_int_equal(pack_send_header(a, identity), 0);
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	assert_string_equal(capsule_identity(adopted)->name, "honest");
	kit_park_one(adopted, "believed", RES_EXCLUSIVE);
	capsule_free(adopted);
	for (unsigned i = 0; i < 3; i++)
		fd_close(forged[i]);
	fd_close(a);
	fd_close(identity);
	capsule_free(other);
	capsule_free(capsule);
}

static void a_guest_that_keeps_the_mutex_is_listed_all_the_same(void **state)
{
	struct capsule *capsule = kit_capsule("mutex");
	struct capsule_contents contents;
	uint64_t begin;
	int mutex;

	(void)state;
	assert_int_equal(kit_park(capsule, "mutex", 260), 0);
	assert_int_equal(mutex_lock(capsule->identity, MUTEX_QUEUE, 0, &mutex),
			 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 260);
	assert_int_equal(capsule_unlock(&contents.leases[3]), 0);
	capsule_contents_done(&contents);
	begin = clock_now();
	assert_int_equal(capsule_compact(capsule, deadline_in_ms(30)),
			 CAPSULE_E_BUSY);
	assert_true(clock_now() - begin >= 30 * NSEC_PER_MSEC);
	kit_park_one(capsule, "mutex too", RES_EXCLUSIVE);
	assert_int_equal(kit_park(capsule, "mutex and more", 260), 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_dead, 1);
	assert_int_equal(contents.n_leases, 520);
	capsule_contents_done(&contents);
	mutex_unlock(mutex);
	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	capsule_free(capsule);
}

static void a_guest_that_fills_its_queue_gets_no_more(void **state)
{
	struct capsule *capsule = kit_capsule("fills");
	struct message head = { .kind = MESSAGE_HEADER, .id = 1 };
	struct capsule_contents contents;
	uint8_t data[MESSAGE_HEAD_SIZE] = {};
	struct iovec iov = { data, sizeof(data) };

	(void)state;
	kit_park_one(capsule, "first", RES_EXCLUSIVE);
	/* Garbage gives way. */
	while (!queue_send(capsule->a, &iov, 1, NULL, 0))
		;
	kit_park_one(capsule, "last", RES_EXCLUSIVE);
	contents = kit_list(capsule);
	forge_check(&contents, false);
	assert_int_equal(contents.n_garbled, 0);
	capsule_contents_done(&contents);
	/* What may be of use to somebody does not. */
	message_encode(&head, data);
	data[4] = 99;
	while (!queue_send(capsule->a, &iov, 1, NULL, 0)) {
		head.id++;
		memcpy(data + 16, &head.id, sizeof(head.id));
	}
	/* To pack our own makes room for the first. */
	kit_park_one(capsule, "third", RES_EXCLUSIVE);
	assert_int_equal(queue_send(capsule->a, &iov, 1, NULL, 0),
			 QUEUE_E_FULL);
	contents = kit_list(capsule);
	forge_check(&contents, true);
	capsule_contents_done(&contents);
	capsule_free(capsule);
}

static void a_full_queue_takes_no_more(void **state)
{
	struct capsule *capsule = kit_capsule("full");
	struct message head = { .kind = MESSAGE_HEADER, .id = 1 };
	uint8_t data[MESSAGE_HEAD_SIZE] = {};
	struct iovec iov = { data, sizeof(data) };

	(void)state;
	message_encode(&head, data);
	data[4] = 99;
	while (!queue_send(capsule->a, &iov, 1, NULL, 0)) {
		head.id++;
		memcpy(data + 16, &head.id, sizeof(head.id));
	}
	assert_int_equal(kit_park(capsule, "refused", 1), CAPSULE_E_FULL);
	assert_int_equal(kit_park(capsule, "refused", 300), CAPSULE_E_FULL);
	assert_true(kit_all_free("refused", 300));
	capsule_free(capsule);
}

static void one_message_sent_twice_is_let_pass(void **state)
{
	struct capsule_parcel p = kit_disk("third", RES_EXCLUSIVE);
	struct capsule *capsule = kit_capsule("twins");
	struct capsule_contents contents;
	struct forged f;

	(void)state;
	kit_park_one(capsule, "first", RES_EXCLUSIVE);
	forge_lease(&f, &p);
	for (unsigned i = 0; i < 3; i++)
		forge_send_lease(capsule->a, &f, p.fds, 1);
	kit_park_one(capsule, "last", RES_EXCLUSIVE);
	kit_close(&p);
	contents = kit_list(capsule);
	forge_check(&contents, true);
	assert_int_equal(contents.n_dead, 2);
	capsule_contents_done(&contents);
	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	contents = kit_list(capsule);
	forge_check(&contents, true);
	assert_int_equal(contents.n_dead, 0);
	capsule_contents_done(&contents);
	capsule_free(capsule);
}

static void what_the_guest_sends_back_does_not_outlive_it(void **state)
{
	struct capsule_parcel p = kit_disk("sent back", RES_EXCLUSIVE);
	struct capsule *capsule = kit_capsule("back");
	struct iovec iov = { (char[1]){}, 1 };

	(void)state;
	assert_int_equal(queue_send(capsule->b, &iov, 1, p.fds, 1),
			 QUEUE_E_GONE);
	kit_close(&p);
	capsule_free(capsule);
}

static _Noreturn void disturb(void *arg)
{
	struct capsule *capsule = arg;
	struct capsule_parcel p = kit_disk("disturbs", RES_SHARED);
	char byte;

	for (;;) {
		struct forged f;

		set_int(capsule->b, SO_PEEK_OFF, (int)(clock_now() % 2000));
		recv(capsule->b, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
		recv(capsule->b, &byte, 1, MSG_DONTWAIT);
		forge_lease(&f, &p);
		forge_send_lease(capsule->a, &f, p.fds, 1);
	}
}

/* Each call comes back, and does not take for true what it saw. */
static void a_guest_that_turns_its_queue_over_for_ever_blocks_nobody(
	void **state)
{
	struct capsule *capsule = kit_capsule("turns");
	struct capsule_contents contents;
	unsigned before;
	pid_t pid;

	(void)state;
	assert_int_equal(kit_park(capsule, "turns", 20), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		disturb(capsule);
	}
	before = test_open_fds();
	for (unsigned i = 0; i < 20; i++) {
		int r = capsule_list(capsule, deadline_in_ms(5), &contents);

		assert_true(r == 0 || r == CAPSULE_E_BUSY);
		if (!r)
			capsule_contents_done(&contents);
		r = capsule_compact(capsule, deadline_in_ms(5));
		assert_true(r == 0 || r == CAPSULE_E_BUSY);
		assert_int_equal(test_open_fds(), before);
	}
	kit_end(pid);
	capsule_free(capsule);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(messages_of_another_version_are_carried_along),
	cmocka_unit_test(options_of_the_socket_do_not_confuse_the_reader),
	cmocka_unit_test(a_guest_that_refuses_descriptors_gets_none),
	cmocka_unit_test(a_drained_queue_is_empty_and_can_be_filled_again),
	cmocka_unit_test(a_forged_header_is_not_believed),
	cmocka_unit_test(a_guest_that_keeps_the_mutex_is_listed_all_the_same),
	cmocka_unit_test(a_guest_that_fills_its_queue_gets_no_more),
	cmocka_unit_test(a_full_queue_takes_no_more),
	cmocka_unit_test(one_message_sent_twice_is_let_pass),
	cmocka_unit_test(what_the_guest_sends_back_does_not_outlive_it),
	cmocka_unit_test(
		a_guest_that_turns_its_queue_over_for_ever_blocks_nobody),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT)
