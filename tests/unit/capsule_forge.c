/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/capsule_forge.h"

#include "core/base/clock.h"
#include "core/capsule/queue.h"

#include <string.h>

void forge_send(int a, const void *data, size_t size, const int *fds, size_t n)
{
	struct iovec iov = { (void *)data, size };

	assert_int_equal(queue_send(a, &iov, 1, fds, n), 0);
}

void forge_lease(struct forged *f, const struct capsule_parcel *parcel)
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

void forge_send_lease(int a, const struct forged *f, const int *fds, size_t n)
{
	uint8_t data[MESSAGE_HEAD_SIZE + RECORD_SIZE_MAX];

	message_encode(&f->head, data);
	memcpy(data + MESSAGE_HEAD_SIZE, f->body, f->head.body_size);
	forge_send(a, data, MESSAGE_HEAD_SIZE + f->head.body_size, fds, n);
}

void forge_send_bare(int a, enum message_kind kind, const int *fds, size_t n)
{
	struct message head = { .kind = kind, .id = clock_now() };
	uint8_t data[MESSAGE_HEAD_SIZE];

	message_encode(&head, data);
	forge_send(a, data, sizeof(data), fds, n);
}

void forge_check(const struct capsule_contents *c, bool third)
{
	assert_int_equal(c->n_leases, 2 + third);
	assert_true(kit_find(c, "first") && kit_find(c, "first")->held);
	assert_true(kit_find(c, "last") && kit_find(c, "last")->held);
	assert_true(!third || kit_find(c, "third")->held);
}
