/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tests/lib/guest.h"

/*
 * A real virtlockd, alone, and what libvirtd says to it. Needs root. A helper
 * that cannot do its work fails as those of guest.h do.
 */

/* Is it installed? */
bool virtlockd_exists(void);

/* One that listens. @folder is new, and is its /run. Ends with us. */
pid_t virtlockd_start(const char *folder);

/* libvirtd for one guest, @owner, which must not be the caller: if that were to
   hang up, virtlockd would kill it. */
struct virtlockd_client {
	int fd;
	uint32_t serial;
};

struct virtlockd_client virtlockd_connect(const char *folder, pid_t owner);
void virtlockd_hang_up(struct virtlockd_client *client);

void virtlockd_add_lockspace(struct virtlockd_client *client, const char *path);

/* @name: of an image; or of a lease in @lockspace, which is made if it is not
   there, and removed by the last who releases it. */
struct virtlockd_resource {
	const char *lockspace; /* NULL: none */
	const char *name;
	bool shared;
};

/* Return: false if somebody else has it. */
bool virtlockd_acquire(struct virtlockd_client *client,
		       const struct virtlockd_resource *resource);
void virtlockd_release(struct virtlockd_client *client,
		       const struct virtlockd_resource *resource);
