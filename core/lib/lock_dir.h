/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/take.h"

/* Files of lock directories, as further points of a disk, and what they say of
   their owner. See lock_name.h, owner.h. */

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

/* Remove the lock files of a lease that is about to be released; @path is the
   caller's. */
void lock_dir_remove(struct glk_context *context,
		     const struct capsule_lease *lease, const char *path);

/* What is wrong with a lock file that could not be used; in a static buffer. */
const char *lock_dir_text(const char *path, int error);
