/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/capsule/capsule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What travels in a capsule's queue, as bytes. Pure, and what is parsed is
 * hostile. A message is a head and a body; the body of a MESSAGE_LEASES is one
 * record per lease, in the order of the descriptors that travel with it.
 *
 * Numbers are in host order: a queue never leaves its kernel. A record may
 * grow behind its known fields, so copies are made of its raw bytes.
 */
#define MESSAGE_HEAD_SIZE 24
#define MESSAGE_FDS_MAX 253
#define RECORD_SIZE_MIN 32
#define RECORD_SIZE_MAX (RECORD_SIZE_MIN + CAPSULE_PATH_MAX)
#define MESSAGE_BODY_MAX ((size_t)MESSAGE_FDS_MAX * RECORD_SIZE_MAX)

enum message_kind {
	_MESSAGE_NONE,
	MESSAGE_HEADER, /* descriptors: end A, identity */
	MESSAGE_LEASES, /* descriptors: the body if in_memfd, lock points */
	MESSAGE_BUNDLE, /* descriptor: a socket with MESSAGE_LEASES in it */
};

struct message {
	enum message_kind kind;
	bool in_memfd; /* the body is not in the payload */
	uint32_t n_records;
	uint32_t body_size;
	uint64_t id; /* random, of this one message */
};

/* Expected outcomes of the calls below. */
enum {
	_RECORD_E_SUCCESS,
	RECORD_E_GARBLED, /* makes no sense */
	RECORD_E_FOREIGN, /* ours, but of a version that we do not know */
	RECORD_E_END,
};

void message_encode(const struct message *message, void *buf);

/**
 * message_parse() - read the head of a payload
 * @size:	of the whole payload
 *
 * Return: 0, RECORD_E_GARBLED or RECORD_E_FOREIGN.
 */
int message_parse(const void *payload, size_t size,
		  struct message *ret_message);

/* Return: 0, or -EINVAL for a parcel that no reader would accept. */
int record_check(const struct capsule_parcel *parcel);

size_t record_size(const struct capsule_parcel *parcel);

/* @buf has record_size() bytes. */
void record_encode(const struct capsule_parcel *parcel, void *buf);

struct record {
	uint8_t n_fds;
	enum res_type type;
	enum res_mode mode;
	enum res_scope scope;
	struct res_id id;
	uint64_t since;
	const char *path; /* no NUL within, none behind it */
	size_t path_size;
	const void *raw; /* the whole record */
	size_t raw_size;
};

struct record_cursor {
	const uint8_t *at;
	size_t size;	    /* bytes from there */
	uint32_t n_records; /* still to come */
	unsigned fd, n_fds; /* next descriptor; how many there are */
};

/**
 * record_next() - step through a body
 * @ret_record:	points into the body
 *
 * The record's descriptors are those between cursor->fd before and after the
 * call, for a garbled record too. If it is garbled so that the next one cannot
 * be found, the next call says RECORD_E_END, with descriptors left over.
 *
 * Return: 0, RECORD_E_GARBLED or RECORD_E_END.
 */
int record_next(struct record_cursor *cursor, struct record *ret_record);
