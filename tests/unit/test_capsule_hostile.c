/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a guest that was taken over can do to its own capsule. It has B, so it
 * has all that is in the queue, end A too.
 */
#include "tests/unit/capsule_kit.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/identity.h"
#include "core/capsule/inside.h"
#include "core/capsule/mutex.h"
#include "core/capsule/pack.h"
#include "core/capsule/sealed.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
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

static void send_raw(int a, const void *data, size_t size, const int *fds,
		     size_t n)
{
	struct iovec iov = { (void *)data, size };

	assert_int_equal(queue_send(a, &iov, 1, fds, n), 0);
}

/* A message of one lease, to be spoiled. */
struct forged {
	struct message head;
	struct capsule_parcel parcel;
	uint8_t body[RECORD_SIZE_MAX];
};

static void forge(struct forged *f, const struct capsule_parcel *parcel)
{
	f->parcel = *parcel;
	record_encode(parcel, f->body);
	f->head = (struct message){
		.kind = MESSAGE_LEASES,
		.n_records = 1,
		.body_size = (uint32_t)record_size(parcel),
		.id = clock_now(),
	};
}

static void send_forged(int a, const struct forged *f, const int *fds, size_t n)
{
	uint8_t data[MESSAGE_HEAD_SIZE + RECORD_SIZE_MAX];

	message_encode(&f->head, data);
	memcpy(data + MESSAGE_HEAD_SIZE, f->body, f->head.body_size);
	send_raw(a, data, MESSAGE_HEAD_SIZE + f->head.body_size, fds, n);
}

/* What is sent between two good leases; @p is a third one, locked. */
struct variant {
	const char *what;
	void (*send)(struct capsule *capsule, struct capsule_parcel *p);
	unsigned n_garbled;
	bool is_lease; /* the third one is in order nevertheless */
};

static void send_a_byte(struct capsule *capsule, struct capsule_parcel *p)
{
	(void)p;
	send_raw(capsule->a, "x", 1, NULL, 0);
}

static void send_junk(struct capsule *capsule, struct capsule_parcel *p)
{
	int fds[QUEUE_FDS_MAX];
	uint8_t junk[600];

	memset(junk, 0x5a, sizeof(junk));
	for (unsigned i = 0; i < QUEUE_FDS_MAX; i++)
		fds[i] = p->fds[0];
	send_raw(capsule->a, junk, sizeof(junk), fds, QUEUE_FDS_MAX);
}

static void send_oversized(struct capsule *capsule, struct capsule_parcel *p)
{
	static uint8_t data[2 * QUEUE_PAYLOAD_MAX];
	struct forged f;

	forge(&f, p);
	f.head.body_size = sizeof(data) - MESSAGE_HEAD_SIZE;
	message_encode(&f.head, data);
	memcpy(data + MESSAGE_HEAD_SIZE, f.body, record_size(p));
	send_raw(capsule->a, data, sizeof(data), p->fds, 1);
}

static void send_empty(struct capsule *capsule, struct capsule_parcel *p)
{
	send_raw(capsule->a, "", 0, p->fds, 1);
}

static void send_without_fd(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	forge(&f, p);
	send_forged(capsule->a, &f, NULL, 0);
}

static void send_excess_fd(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	forge(&f, p);
	send_forged(capsule->a, &f, (int[]){ p->fds[0], 0, 1 }, 3);
}

static void send_high_count(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	forge(&f, p);
	f.head.n_records = 2;
	send_forged(capsule->a, &f, (int[]){ p->fds[0], p->fds[0] }, 2);
}

static void send_short_body(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	forge(&f, p);
	f.head.body_size--;
	send_forged(capsule->a, &f, p->fds, 1);
}

static void send_nul_in_path(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	forge(&f, p);
	f.body[record_size(p) - 2] = 0;
	send_forged(capsule->a, &f, p->fds, 1);
}

static void send_odd_type(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	p->type = (enum res_type)77;
	forge(&f, p);
	send_forged(capsule->a, &f, p->fds, 1);
}

static void send_many_points(struct capsule *capsule, struct capsule_parcel *p)
{
	int fd = p->fds[0];
	struct forged f;

	p->n_fds = CAPSULE_POINTS_MAX + 1;
	forge(&f, p);
	p->n_fds = 1;
	send_forged(capsule->a, &f, (int[]){ fd, fd, fd, fd, fd }, 5);
}

/* A body that is said to be in @body, which is closed. */
static void send_body(struct capsule *capsule, struct capsule_parcel *p,
		      int body, size_t n_fds)
{
	uint8_t data[MESSAGE_HEAD_SIZE];
	struct forged f;

	forge(&f, p);
	f.head.in_memfd = true;
	message_encode(&f.head, data);
	send_raw(capsule->a, data, sizeof(data), (int[]){ body, p->fds[0] },
		 n_fds);
	fd_close(body);
}

static void send_body_in_file(struct capsule *capsule, struct capsule_parcel *p)
{
	send_body(capsule, p, dup(p->fds[0]), 2);
}

static void send_no_body(struct capsule *capsule, struct capsule_parcel *p)
{
	send_body(capsule, p, -1, 0);
}

static void send_unsealed(struct capsule *capsule, struct capsule_parcel *p)
{
	int fd = memfd_create("unsealed", MFD_ALLOW_SEALING);
	uint8_t body[RECORD_SIZE_MAX];

	record_encode(p, body);
	assert_true(write(fd, body, record_size(p)) > 0);
	send_body(capsule, p, fd, 2);
}

static void send_sealed_of(struct capsule *capsule, struct capsule_parcel *p,
			   size_t size)
{
	uint8_t body[RECORD_SIZE_MAX];
	struct iovec iov = { body, size };
	int fd;

	record_encode(p, body);
	assert_int_equal(sealed_new(&iov, 1, &fd), 0);
	send_body(capsule, p, fd, 2);
}

static void send_sealed(struct capsule *capsule, struct capsule_parcel *p)
{
	send_sealed_of(capsule, p, record_size(p));
}

static void send_long_sealed(struct capsule *capsule, struct capsule_parcel *p)
{
	send_sealed_of(capsule, p, record_size(p) + 1);
}

/* A lease of something that is no disk; @fd is closed. */
static void send_lease_of(struct capsule *capsule, struct capsule_parcel *p,
			  int fd)
{
	struct forged f;

	assert_true(fd >= 0);
	forge(&f, p);
	send_forged(capsule->a, &f, &fd, 1);
	fd_close(fd);
}

static void send_fifo(struct capsule *capsule, struct capsule_parcel *p)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	send_lease_of(capsule, p, ends[0]);
	fd_close(ends[1]);
}

static void send_socket(struct capsule *capsule, struct capsule_parcel *p)
{
	send_lease_of(capsule, p, socket(AF_INET, SOCK_STREAM, 0));
}

static void send_epoll(struct capsule *capsule, struct capsule_parcel *p)
{
	send_lease_of(capsule, p, epoll_create1(0));
}

static void send_directory(struct capsule *capsule, struct capsule_parcel *p)
{
	send_lease_of(capsule, p, open("/", O_RDONLY));
}

static void send_device(struct capsule *capsule, struct capsule_parcel *p)
{
	send_lease_of(capsule, p, open("/dev/zero", O_RDWR));
}

static void send_second_point(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	p->n_fds = 2;
	forge(&f, p);
	p->n_fds = 1;
	send_forged(capsule->a, &f, (int[]){ p->fds[0], capsule->b }, 2);
}

static void send_bare(int a, enum message_kind kind, const int *fds, size_t n)
{
	struct message head = { .kind = kind, .id = clock_now() };
	uint8_t data[MESSAGE_HEAD_SIZE];

	message_encode(&head, data);
	send_raw(a, data, sizeof(data), fds, n);
}

static void send_bundle_of(struct capsule *capsule, int fd)
{
	assert_true(fd >= 0);
	send_bare(capsule->a, MESSAGE_BUNDLE, &fd, 1);
	fd_close(fd);
}

static void send_bundle_of_none(struct capsule *capsule,
				struct capsule_parcel *p)
{
	(void)p;
	send_bare(capsule->a, MESSAGE_BUNDLE, NULL, 0);
}

static void send_bundle_of_file(struct capsule *capsule,
				struct capsule_parcel *p)
{
	send_bundle_of(capsule, dup(p->fds[0]));
}

static void send_bundle_of_tcp(struct capsule *capsule,
			       struct capsule_parcel *p)
{
	(void)p;
	send_bundle_of(capsule, socket(AF_INET, SOCK_STREAM, 0));
}

static void send_bundle_of_stream(struct capsule *capsule,
				  struct capsule_parcel *p)
{
	(void)p;
	send_bundle_of(capsule, socket(AF_UNIX, SOCK_STREAM, 0));
}

static void send_bundle_unconnected(struct capsule *capsule,
				    struct capsule_parcel *p)
{
	(void)p;
	send_bundle_of(capsule, socket(AF_UNIX, SOCK_SEQPACKET, 0));
}

static void send_bundle_of_itself(struct capsule *capsule,
				  struct capsule_parcel *p)
{
	(void)p;
	send_bundle_of(capsule, dup(capsule->b));
}

/* A bundle that holds what would be in order in the capsule itself. */
static void send_nested(struct capsule *capsule, struct capsule_parcel *p)
{
	struct capsule inner = { .identity = capsule->identity };

	assert_int_equal(queue_new(&inner.a, &inner.b), 0);
	send_bundle_of_none(&inner, p);
	assert_int_equal(pack_send_header(inner.a, inner.identity), 0);
	send_lease_of(&inner, p, dup(p->fds[0]));
	send_bundle_of(capsule, inner.b);
	fd_close(inner.a);
}

static void send_second_header(struct capsule *capsule,
			       struct capsule_parcel *p)
{
	send_bare(capsule->a, MESSAGE_HEADER,
		  (int[]){ p->fds[0], capsule->a, 0 }, 3);
}

static const struct variant variants[] = {
	{ "a byte", send_a_byte, 1, false },
	{ "junk with descriptors", send_junk, 1, false },
	{ "longer than any message", send_oversized, 1, false },
	{ "no payload", send_empty, 0, false },
	{ "no descriptor", send_without_fd, 2, false },
	{ "excess descriptors", send_excess_fd, 1, true },
	{ "a count that is too high", send_high_count, 2, true },
	{ "a record that ends too late", send_short_body, 2, false },
	{ "a NUL in the path", send_nul_in_path, 1, false },
	{ "an unknown type", send_odd_type, 1, false },
	{ "too many lock points", send_many_points, 2, false },
	{ "a body in a file", send_body_in_file, 1, false },
	{ "a body nowhere", send_no_body, 1, false },
	{ "a body that can change", send_unsealed, 1, false },
	{ "a body as it should be", send_sealed, 0, true },
	{ "a body that is too long", send_long_sealed, 1, false },
	{ "a FIFO", send_fifo, 1, false },
	{ "a socket", send_socket, 1, false },
	{ "an epoll", send_epoll, 1, false },
	{ "a directory", send_directory, 1, false },
	{ "a device", send_device, 1, false },
	{ "a socket as second point", send_second_point, 1, false },
	{ "a bundle of nothing", send_bundle_of_none, 1, false },
	{ "a bundle of a file", send_bundle_of_file, 1, false },
	{ "a bundle of TCP", send_bundle_of_tcp, 1, false },
	{ "a bundle of a stream", send_bundle_of_stream, 1, false },
	{ "a bundle unconnected", send_bundle_unconnected, 1, false },
	{ "a bundle of itself", send_bundle_of_itself, 1, false },
	{ "a bundle of others", send_nested, 2, true },
	{ "a second header", send_second_header, 0, false },
};

static void check_leases(const struct capsule_contents *c, bool third)
{
	assert_int_equal(c->n_leases, 2 + third);
	assert_true(kit_find(c, "first") && kit_find(c, "first")->held);
	assert_true(kit_find(c, "last") && kit_find(c, "last")->held);
	assert_true(!third || kit_find(c, "third")->held);
}

static void check_variant(const struct variant *v)
{
	struct capsule_parcel p = kit_disk("third", RES_EXCLUSIVE);
	struct capsule *capsule = kit_capsule("hostile");
	struct capsule_contents contents;
	unsigned before;

	kit_park_one(capsule, "first", RES_EXCLUSIVE);
	v->send(capsule, &p);
	kit_park_one(capsule, "last", RES_EXCLUSIVE);
	kit_close(&p);
	before = test_open_fds();
	contents = kit_list(capsule);
	check_leases(&contents, v->is_lease);
	assert_int_equal(contents.n_garbled, v->n_garbled);
	capsule_contents_done(&contents);
	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	contents = kit_list(capsule);
	check_leases(&contents, v->is_lease);
	assert_int_equal(contents.n_garbled, 0);
	capsule_contents_done(&contents);
	assert_int_equal(test_open_fds(), before);
	assert_int_equal(test_lockable(test_file("third", -1), F_WRLCK),
			 !v->is_lease && strcmp(v->what, "no payload"));
	assert_false(test_lockable(test_file("first", -1), F_WRLCK));
	capsule_free(capsule);
}

static void garbage_spoils_only_itself(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(variants); i++) {
		printf("%s\n", variants[i].what);
		check_variant(&variants[i]);
	}
}

static void a_mere_path_holds_nothing(void **state)
{
	struct capsule_parcel p = kit_disk("path", RES_EXCLUSIVE);
	struct capsule *capsule = kit_capsule("path");
	struct capsule_contents contents;

	(void)state;
	send_lease_of(capsule, &p, open(p.path, O_PATH));
	contents = kit_list(capsule);
	assert_int_equal(contents.n_dead, 1);
	assert_false(contents.leases[0].held);
	capsule_contents_done(&contents);
	kit_close(&p);
	capsule_free(capsule);
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
	send_raw(capsule->a, data, sizeof(data), p.fds, 1);
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
	assert_int_equal(identity_new(&who, capsule->nonce + 1, &forged[0]), 0);
	assert_int_equal(identity_new(&who, capsule->nonce, &forged[1]), 0);
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
	send_bare(a, MESSAGE_HEADER, (int[]){ other->a, forged[1] }, 2);
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
	assert_int_equal(mutex_lock(capsule->identity, 0, &mutex), 0);
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
	assert_int_equal(contents.n_leases, 521);
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
	check_leases(&contents, false);
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
	check_leases(&contents, true);
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
	forge(&f, &p);
	for (unsigned i = 0; i < 3; i++)
		send_forged(capsule->a, &f, p.fds, 1);
	kit_park_one(capsule, "last", RES_EXCLUSIVE);
	kit_close(&p);
	contents = kit_list(capsule);
	check_leases(&contents, true);
	assert_int_equal(contents.n_dead, 2);
	capsule_contents_done(&contents);
	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	contents = kit_list(capsule);
	check_leases(&contents, true);
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
		forge(&f, &p);
		send_forged(capsule->a, &f, p.fds, 1);
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
	cmocka_unit_test(garbage_spoils_only_itself),
	cmocka_unit_test(a_mere_path_holds_nothing),
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
