/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/*
 * What a guest process can do to the queue of its own capsule, whose end that
 * it has is @b. For tests of hostile and broken guests.
 */

/* One message out of the guest's own queue. */
struct taken {
	char payload[1 << 16];
	ssize_t size;
	int fds[256];
	size_t n_fds;
};

/* All messages; the first has end A and the identity, the others have leases.
   At least two. */
size_t spoil_take_all(int b, struct taken **ret_messages);
void spoil_put_back(int a, const struct taken *messages, size_t n);
void spoil_close(const struct taken *messages, size_t n);

/* The guest's first disk is no longer locked, and all else is as before. */
void spoil_first_lock(int b);
