/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/identity.h"

#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/sealed.h"

#include <assert.h>
#include <string.h>

#define IDENTITY_MAGIC UINT32_C(0x494c4731)
#define IDENTITY_VERSION 1

struct wire_identity {
	uint32_t magic;
	uint8_t version;
	uint8_t holder;
	uint16_t name_size;
	struct uuid uuid;
	uint64_t nonce;
	int64_t id;
	uint64_t maker_start;
	uint64_t created;
	uint64_t epoch;
	int32_t maker_pid;
	uint32_t zero;
};

static_assert(sizeof(struct wire_identity) == IDENTITY_SIZE_MIN, "wire format");

static bool name_makes_sense(const char *name, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
			return false;
	return size <= CAPSULE_NAME_MAX;
}

static bool uuid_is_null(const struct uuid *uuid)
{
	static const struct uuid null;

	return !memcmp(uuid, &null, sizeof(null));
}

int identity_check(const struct capsule_identity *who)
{
	if (uuid_is_null(&who->uuid))
		return -EINVAL;
	if ((unsigned)who->holder > CAPSULE_KEEPER || who->id < -1)
		return -EINVAL;
	if (!name_makes_sense(who->name, strnlen(who->name, sizeof(who->name))))
		return -EINVAL;
	return 0;
}

size_t identity_encode(const struct capsule_identity *who, void *buf)
{
	size_t name_size = strlen(who->name);
	struct wire_identity w = {
		.magic = IDENTITY_MAGIC,
		.version = IDENTITY_VERSION,
		.holder = (uint8_t)who->holder,
		.name_size = (uint16_t)name_size,
		.uuid = who->uuid,
		.nonce = who->nonce,
		.id = who->id,
		.maker_start = who->maker_start,
		.created = who->created,
		.epoch = who->epoch,
		.maker_pid = who->maker_pid,
	};

	memcpy(buf, &w, sizeof(w));
	memcpy((uint8_t *)buf + sizeof(w), who->name, name_size);
	return sizeof(w) + name_size;
}

int identity_parse(const void *data, size_t size,
		   struct capsule_identity *ret_who)
{
	const char *name = (const char *)data + sizeof(struct wire_identity);
	struct capsule_identity who = {};
	struct wire_identity w;

	if (size < sizeof(w))
		return IDENTITY_E_FORGED;
	memcpy(&w, data, sizeof(w));
	if (w.magic != IDENTITY_MAGIC || w.version != IDENTITY_VERSION ||
	    w.zero || size != sizeof(w) + w.name_size ||
	    !name_makes_sense(name, w.name_size))
		return IDENTITY_E_FORGED;
	who.uuid = w.uuid;
	who.nonce = w.nonce;
	memcpy(who.name, name, w.name_size);
	who.id = w.id;
	who.holder = (enum capsule_holder)w.holder;
	who.maker_pid = w.maker_pid;
	who.maker_start = w.maker_start;
	who.created = w.created;
	who.epoch = w.epoch;
	if (identity_check(&who))
		return IDENTITY_E_FORGED;
	*ret_who = who;
	return 0;
}

int identity_new(const struct capsule_identity *who, int *ret_fd)
{
	uint8_t buf[IDENTITY_SIZE_MAX];
	struct iovec iov = { buf, identity_encode(who, buf) };
	int r = sealed_new(&iov, 1, ret_fd);

	return r == SEALED_E_NOFILE ? IDENTITY_E_NOFILE : r;
}

int identity_read(int fd, const struct identity_bond *bond,
		  struct capsule_identity *ret_who)
{
	_cleanup_(freep) void *data = NULL;
	struct capsule_identity who;
	struct stat st;
	size_t size;
	int r;

	r = sealed_read(fd, IDENTITY_SIZE_MIN, IDENTITY_SIZE_MAX, &data, &size);
	if (r)
		return r == SEALED_E_BAD ? IDENTITY_E_FORGED : r;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != bond->uid)
		return IDENTITY_E_FORGED;
	if (identity_parse(data, size, &who) || who.nonce != bond->nonce ||
	    memcmp(&who.uuid, &bond->uuid, sizeof(who.uuid)))
		return IDENTITY_E_FORGED;
	*ret_who = who;
	return 0;
}
