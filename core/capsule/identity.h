/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/capsule/capsule.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The guest's identity, in a sealed memfd that travels beside end A. A guest
 * that runs as somebody else than the maker of its capsule cannot forge one:
 * the file's owner must be the socket's, and the nonce that of the socket's
 * name, which is bound once and for all. So no guest can pass for another one
 * and be given descriptors of its disks.
 */
#define IDENTITY_SIZE_MIN 72
#define IDENTITY_SIZE_MAX (IDENTITY_SIZE_MIN + CAPSULE_NAME_MAX)

/* Expected outcomes, beside 0 and negative errno. */
enum {
	_IDENTITY_E_SUCCESS,
	IDENTITY_E_FORGED,
	IDENTITY_E_NOFILE, /* our descriptor table is full */
};

/* Return: 0, or -EINVAL: no uuid, a control byte, a name without an end. */
int identity_check(const struct capsule_identity *who);

/* Pure. @buf has IDENTITY_SIZE_MAX bytes. Return: how many are used. */
size_t identity_encode(const struct capsule_identity *who, void *buf);

/* Pure. Return: 0 or IDENTITY_E_FORGED. */
int identity_parse(const void *data, size_t size,
		   struct capsule_identity *ret_who);

/* Return: 0, IDENTITY_E_NOFILE, or negative errno. */
int identity_new(const struct capsule_identity *who, int *ret_fd);

struct identity_bond {
	uid_t uid; /* owner of the socket */
	struct uuid uuid;
	uint64_t nonce;
};

/**
 * identity_read() - read one that came out of a capsule
 * @bond:	what it must agree with
 *
 * Return: 0, IDENTITY_E_FORGED, or negative errno.
 */
int identity_read(int fd, const struct identity_bond *bond,
		  struct capsule_identity *ret_who);
