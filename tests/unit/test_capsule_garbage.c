/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages that make no sense, with descriptors that no disk has. */
#include "tests/unit/capsule_forge.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/inside.h"
#include "core/capsule/pack.h"
#include "core/capsule/sealed.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

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
	forge_send(capsule->a, "x", 1, NULL, 0);
}

static void send_junk(struct capsule *capsule, struct capsule_parcel *p)
{
	int fds[QUEUE_FDS_MAX];
	uint8_t junk[600];

	memset(junk, 0x5a, sizeof(junk));
	for (unsigned i = 0; i < QUEUE_FDS_MAX; i++)
		fds[i] = p->fds[0];
	forge_send(capsule->a, junk, sizeof(junk), fds, QUEUE_FDS_MAX);
}

static void send_oversized(struct capsule *capsule, struct capsule_parcel *p)
{
	static uint8_t data[2 * QUEUE_PAYLOAD_MAX];
	struct forged f;

	forge_lease(&f, p);
	f.head.body_size = sizeof(data) - MESSAGE_HEAD_SIZE;
	message_encode(&f.head, data);
	memcpy(data + MESSAGE_HEAD_SIZE, f.body, record_size(p));
	forge_send(capsule->a, data, sizeof(data), p->fds, 1);
}

static void send_empty(struct capsule *capsule, struct capsule_parcel *p)
{
	forge_send(capsule->a, "", 0, p->fds, 1);
}

static void send_without_fd(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	forge_lease(&f, p);
	forge_send_lease(capsule->a, &f, NULL, 0);
}

static void send_excess_fd(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	forge_lease(&f, p);
	forge_send_lease(capsule->a, &f, (int[]){ p->fds[0], 0, 1 }, 3);
}

static void send_high_count(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	forge_lease(&f, p);
	f.head.n_records = 2;
	forge_send_lease(capsule->a, &f, (int[]){ p->fds[0], p->fds[0] }, 2);
}

static void send_short_body(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	forge_lease(&f, p);
	f.head.body_size--;
	forge_send_lease(capsule->a, &f, p->fds, 1);
}

static void send_nul_in_path(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	forge_lease(&f, p);
	f.body[record_size(p) - 2] = 0;
	forge_send_lease(capsule->a, &f, p->fds, 1);
}

static void send_odd_type(struct capsule *capsule, struct capsule_parcel *p)
{
	struct forged f;

	p->type = (enum res_type)77;
	forge_lease(&f, p);
	forge_send_lease(capsule->a, &f, p->fds, 1);
}

static void send_many_points(struct capsule *capsule, struct capsule_parcel *p)
{
	int fd = p->fds[0];
	struct forged f;

	p->n_fds = CAPSULE_POINTS_MAX + 1;
	forge_lease(&f, p);
	p->n_fds = 1;
	forge_send_lease(capsule->a, &f, (int[]){ fd, fd, fd, fd, fd }, 5);
}

/* A body that is said to be in @body, which is closed. */
static void send_body(struct capsule *capsule, struct capsule_parcel *p,
		      int body, size_t n_fds)
{
	uint8_t data[MESSAGE_HEAD_SIZE];
	struct forged f;

	forge_lease(&f, p);
	f.head.in_memfd = true;
	message_encode(&f.head, data);
	forge_send(capsule->a, data, sizeof(data), (int[]){ body, p->fds[0] },
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
	uint8_t body[RECORD_SIZE_MAX] = {};
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
	forge_lease(&f, p);
	forge_send_lease(capsule->a, &f, &fd, 1);
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
	forge_lease(&f, p);
	p->n_fds = 1;
	forge_send_lease(capsule->a, &f, (int[]){ p->fds[0], capsule->b }, 2);
}

static void send_bundle_of(struct capsule *capsule, int fd)
{
	assert_true(fd >= 0);
	forge_send_bare(capsule->a, MESSAGE_BUNDLE, &fd, 1);
	fd_close(fd);
}

static void send_bundle_of_none(struct capsule *capsule,
				struct capsule_parcel *p)
{
	(void)p;
	forge_send_bare(capsule->a, MESSAGE_BUNDLE, NULL, 0);
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
	forge_send_bare(capsule->a, MESSAGE_HEADER,
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
	forge_check(&contents, v->is_lease);
	assert_int_equal(contents.n_garbled, v->n_garbled);
	capsule_contents_done(&contents);
	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	contents = kit_list(capsule);
	forge_check(&contents, v->is_lease);
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

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(garbage_spoils_only_itself),
	cmocka_unit_test(a_mere_path_holds_nothing),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
