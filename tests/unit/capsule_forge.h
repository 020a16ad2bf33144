/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tests/unit/capsule_kit.h"

#include "core/capsule/record.h"

/* What only a guest that was taken over would send to itself. */

void forge_send(int a, const void *data, size_t size, const int *fds, size_t n);

/* A message of one lease, to be spoiled. */
struct forged {
	struct message head;
	struct capsule_parcel parcel;
	uint8_t body[RECORD_SIZE_MAX];
};

void forge_lease(struct forged *f, const struct capsule_parcel *parcel);
void forge_send_lease(int a, const struct forged *f, const int *fds, size_t n);

/* A message that is but a head. */
void forge_send_bare(int a, enum message_kind kind, const int *fds, size_t n);

/* The disks "first" and "last", and "third" or not, are all there is. */
void forge_check(const struct capsule_contents *c, bool third);
