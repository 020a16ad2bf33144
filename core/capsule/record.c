/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/record.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define MESSAGE_MAGIC UINT32_C(0x4b4c4731)
#define MESSAGE_VERSION 1
#define FLAG_IN_MEMFD 1

struct wire_head {
	uint32_t magic;
	uint8_t version;
	uint8_t kind;
	uint16_t flags;
	uint32_t n_records;
	uint32_t body_size;
	uint64_t id;
};

struct wire_record {
	uint16_t size; /* with the path, which is at the end */
	uint16_t path_size;
	uint8_t n_fds;
	uint8_t type;
	uint8_t mode;
	uint8_t scope;
	uint64_t dev;
	uint64_t ino;
	uint64_t since;
};

static_assert(sizeof(struct wire_head) == MESSAGE_HEAD_SIZE, "wire format");
static_assert(sizeof(struct wire_record) == RECORD_SIZE_MIN, "wire format");

void message_encode(const struct message *message, void *buf)
{
	struct wire_head w = {
		.magic = MESSAGE_MAGIC,
		.version = MESSAGE_VERSION,
		.kind = (uint8_t)message->kind,
		.flags = message->in_memfd ? FLAG_IN_MEMFD : 0,
		.n_records = message->n_records,
		.body_size = message->body_size,
		.id = message->id,
	};

	memcpy(buf, &w, sizeof(w));
}

static bool head_makes_sense(const struct wire_head *w, size_t size)
{
	bool in_memfd = w->flags & FLAG_IN_MEMFD;

	if (size != sizeof(*w) + (in_memfd ? 0 : (size_t)w->body_size))
		return false;
	if (w->kind != MESSAGE_LEASES)
		return !w->body_size && !w->n_records && !in_memfd;
	return w->n_records && w->n_records <= MESSAGE_FDS_MAX &&
	       w->body_size && w->body_size <= MESSAGE_BODY_MAX;
}

int message_parse(const void *payload, size_t size, struct message *ret_message)
{
	struct wire_head w;

	if (size < sizeof(w))
		return RECORD_E_GARBLED;
	memcpy(&w, payload, sizeof(w));
	if (w.magic != MESSAGE_MAGIC)
		return RECORD_E_GARBLED;
	if (w.version != MESSAGE_VERSION || w.flags & ~FLAG_IN_MEMFD ||
	    w.kind < MESSAGE_HEADER || w.kind > MESSAGE_BUNDLE)
		return RECORD_E_FOREIGN;
	if (!head_makes_sense(&w, size))
		return RECORD_E_GARBLED;
	*ret_message = (struct message){
		.kind = (enum message_kind)w.kind,
		.in_memfd = w.flags & FLAG_IN_MEMFD,
		.n_records = w.n_records,
		.body_size = w.body_size,
		.id = w.id,
	};
	return 0;
}

static bool fields_make_sense(unsigned type, unsigned mode, unsigned scope)
{
	return type >= RES_TYPE_FILE && type <= RES_TYPE_LEASE &&
	       mode <= RES_SHARED && scope >= RES_SCOPE_NODE &&
	       scope <= RES_SCOPE_CLUSTER;
}

int record_check(const struct capsule_parcel *parcel)
{
	size_t len =
		parcel->path ? strnlen(parcel->path, CAPSULE_PATH_MAX + 1) : 0;

	if (!len || len > CAPSULE_PATH_MAX)
		return -EINVAL;
	if (!parcel->n_fds || parcel->n_fds > CAPSULE_POINTS_MAX)
		return -EINVAL;
	if (!fields_make_sense(parcel->type, parcel->mode, parcel->scope))
		return -EINVAL;
	return 0;
}

size_t record_size(const struct capsule_parcel *parcel)
{
	return RECORD_SIZE_MIN + strlen(parcel->path);
}

void record_encode(const struct capsule_parcel *parcel, void *buf)
{
	size_t path_size = strlen(parcel->path);
	struct wire_record w = {
		.size = (uint16_t)(sizeof(w) + path_size),
		.path_size = (uint16_t)path_size,
		.n_fds = parcel->n_fds,
		.type = (uint8_t)parcel->type,
		.mode = (uint8_t)parcel->mode,
		.scope = (uint8_t)parcel->scope,
		.dev = parcel->id.dev,
		.ino = parcel->id.ino,
		.since = parcel->since,
	};

	memcpy(buf, &w, sizeof(w));
	memcpy((uint8_t *)buf + sizeof(w), parcel->path, path_size);
}

/* Can the record be told from the next one, and its descriptors too? */
static bool is_framed(const struct record_cursor *c,
		      const struct wire_record *w)
{
	return w->size <= c->size && w->size >= sizeof(*w) + w->path_size &&
	       w->n_fds && w->n_fds <= CAPSULE_POINTS_MAX &&
	       w->n_fds <= c->n_fds - c->fd;
}

int record_next(struct record_cursor *c, struct record *ret_record)
{
	const uint8_t *raw = c->at;
	struct wire_record w = {};
	const char *path;

	if (!c->n_records)
		return RECORD_E_END;
	c->n_records--;
	if (c->size >= sizeof(w))
		memcpy(&w, raw, sizeof(w));
	if (!is_framed(c, &w)) {
		c->n_records = 0;
		return RECORD_E_GARBLED;
	}
	c->at += w.size;
	c->size -= w.size;
	c->fd += w.n_fds;
	path = (const char *)raw + w.size - w.path_size;
	if (!fields_make_sense(w.type, w.mode, w.scope) || !w.path_size ||
	    w.path_size > CAPSULE_PATH_MAX || memchr(path, 0, w.path_size))
		return RECORD_E_GARBLED;
	*ret_record = (struct record){
		.n_fds = w.n_fds,
		.type = (enum res_type)w.type,
		.mode = (enum res_mode)w.mode,
		.scope = (enum res_scope)w.scope,
		.id = { w.dev, w.ino },
		.since = w.since,
		.path = path,
		.path_size = w.path_size,
		.raw = raw,
		.raw_size = w.size,
	};
	return 0;
}
