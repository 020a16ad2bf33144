/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define OWNER_NAME_MAX 255
#define OWNER_HOST_MAX 64
#define OWNER_SIZE 2048 /* of a record in its file */
#define OWNER_MAGIC "{\"guestlock\":"
#define OWNER_MAGIC_SIZE (sizeof(OWNER_MAGIC) - 1)

/*
 * What a file of a lock directory says of who has it locked, for those on other
 * hosts who are refused. Anybody who may write the file can have it say what he
 * likes, and nobody cleans up after a host that died: it is quoted, and never
 * believed.
 */
struct owner {
	char name[OWNER_NAME_MAX + 1];
	char uuid[UUID_STRLEN + 1];
	char host[OWNER_HOST_MAX + 1];
	pid_t pid;
	uint64_t since; /* CLOCK_REALTIME, ns */
	uint64_t epoch;
};

/**
 * owner_encode() - the bytes to write at the start of the file
 * @ret_buf:	OWNER_SIZE bytes; all of them are to be written
 *
 * Return: 0 or -ENOMEM.
 */
int owner_encode(const struct owner *owner, char *ret_buf);

/* May a file that begins so be overwritten or removed? If it is empty, or a
   record was begun. */
bool owner_is_ours(const char *start, size_t size);

/* @buf: the start of a file. Return: 0; -ENODATA if there is no record in it
   that makes sense. */
int owner_parse(const char *buf, size_t size, struct owner *ret_owner);

/* The name of this host. */
void owner_host(char *ret_host);
