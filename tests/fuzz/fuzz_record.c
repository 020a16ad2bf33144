/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a guest can write into its queue and what it can show as its identity.
 * First byte: how to read the rest; second: how many descriptors came with it.
 */
#include "core/base/util.h"
#include "core/capsule/identity.h"
#include "core/capsule/record.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { AS_PAYLOAD, AS_HEAD_AND_BODY, AS_IDENTITY, N_WAYS };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INVARIANT(_x)                                                          \
	do {                                                                   \
		if (!(_x))                                                     \
			abort();                                               \
	} while (0)

/* What is accepted could have come from us: it encodes to the same bytes. */
static void check_record(const struct record *r)
{
	uint8_t again[RECORD_SIZE_MAX];
	char path[CAPSULE_PATH_MAX + 1];
	struct capsule_parcel parcel = {
		.n_fds = r->n_fds,
		.type = r->type,
		.mode = r->mode,
		.scope = r->scope,
		.id = r->id,
		.since = r->since,
		.path = path,
	};

	INVARIANT(r->path_size && r->path_size <= CAPSULE_PATH_MAX);
	memcpy(path, r->path, r->path_size);
	path[r->path_size] = 0;
	INVARIANT(strlen(path) == r->path_size);
	INVARIANT(record_check(&parcel) == 0);
	INVARIANT(r->raw_size >= record_size(&parcel));
	record_encode(&parcel, again);
	/* A record that has grown differs in its size, and before its path. */
	INVARIANT(!memcmp(again + 2, (const uint8_t *)r->raw + 2,
			  RECORD_SIZE_MIN - 2));
	if (r->raw_size == record_size(&parcel))
		INVARIANT(!memcmp(again, r->raw, r->raw_size));
}

static void check_body(const uint8_t *body, const struct message *head,
		       unsigned n_fds)
{
	struct record_cursor c = {
		.at = body,
		.size = head->body_size,
		.n_records = head->n_records,
		.fd = head->in_memfd && n_fds,
		.n_fds = n_fds,
	};
	struct record r;
	unsigned fd;
	int e;

	do {
		fd = c.fd;
		e = record_next(&c, &r);
		INVARIANT(c.fd >= fd && c.fd <= n_fds);
		INVARIANT(c.fd - fd <= CAPSULE_POINTS_MAX);
		INVARIANT(c.at + c.size == body + head->body_size);
		if (!e) {
			INVARIANT(c.fd - fd == r.n_fds);
			check_record(&r);
		}
	} while (e != RECORD_E_END);
}

static void check_message(const uint8_t *data, size_t size, unsigned n_fds,
			  bool split)
{
	struct message head;
	size_t head_size = split ? MIN(size, MESSAGE_HEAD_SIZE) : size;

	if (message_parse(data, head_size, &head))
		return;
	INVARIANT(head.body_size <= MESSAGE_BODY_MAX);
	INVARIANT(head.n_records <= MESSAGE_FDS_MAX);
	if (head.kind == MESSAGE_LEASES && head.in_memfd == split &&
	    size == MESSAGE_HEAD_SIZE + (size_t)head.body_size)
		check_body(data + MESSAGE_HEAD_SIZE, &head, n_fds);
}

static void check_identity(const uint8_t *data, size_t size)
{
	uint8_t again[IDENTITY_SIZE_MAX];
	struct capsule_identity who;

	if (identity_parse(data, size, &who))
		return;
	INVARIANT(identity_check(&who) == 0);
	INVARIANT(identity_encode(&who, again) == size);
	INVARIANT(!memcmp(again, data, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned n_fds;
	int way;

	if (size < 2)
		return 0;
	way = data[0] % N_WAYS;
	n_fds = data[1] % (MESSAGE_FDS_MAX + 1);
	if (way == AS_IDENTITY)
		check_identity(data + 2, size - 2);
	else
		check_message(data + 2, size - 2, n_fds,
			      way == AS_HEAD_AND_BODY);
	return 0;
}
