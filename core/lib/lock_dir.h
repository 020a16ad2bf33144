/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/lock_name.h"
#include "core/lib/owner.h"
#include "core/lib/take.h"

/* Files of lock directories, as further points of a disk, and what they say of
   their owner. See lock_name.h, owner.h. */

bool lock_dir_any(const struct glk_policy *policy);

/* lock_names() of an open disk, by the caller's @path. Waits for no server. */
int lock_dir_names(struct glk_context *context, int fd, const char *path,
		   struct lock_name *ret_names);

/* Add those that the policy wants for an opened disk. Return: 0, or negative
   errno. */
int lock_dir_points(struct take *take, uint32_t item, const struct op_stat *st);

/* Say in the files of what is about to be parked who has it. Return: 0, or
   negative errno if the transaction must be aborted: not if it cannot be
   written. */
int lock_dir_sign(struct take *take);

/**
 * lock_dir_quote() - who holds what nobody on this host was found to hold?
 * @asks:	@n, of the events in the take's op_items
 * @report:	called for each that a file says to be another host's
 *
 * Return: 0, or the negative return of @report, -ENOMEM, or -ECANCELED.
 */
int lock_dir_quote(struct take *take, const struct holder_ask *asks, size_t n,
		   int (*report)(void *arg,
				 const struct holder_answer *answer));

/* Of an OP_READ of a lock file: is it another host's guest's? */
bool lock_dir_read(const struct op *op, struct owner *ret_owner);

/**
 * lock_dir_holders() - who holds a disk by its lock files alone?
 * @disk:	as for holders_find(), after it; fd is the disk's
 *
 * Adds to the context's holders, unless it has found somebody already. Return:
 * as holders_find(), or as open(2).
 */
int lock_dir_holders(struct glk_context *context,
		     const struct holder_ask *disk);

/* Remove the lock files of a lease that is about to be released; @path is the
   caller's. */
void lock_dir_remove(struct glk_context *context,
		     const struct capsule_lease *lease, const char *path);

/* What is wrong with a lock file that could not be used; in a static buffer. */
const char *lock_dir_text(const char *path, int error);
