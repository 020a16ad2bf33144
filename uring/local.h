/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "uring/op.h"

#include <stdbool.h>
#include <stddef.h>

struct open_how;

/* Perform one operation with plain system calls, however long it takes. */
void local_call(struct op *op);

/* Perform operations in order. Not for opens. */
void local_run(struct op *ops, size_t n);

/* May this open be tried without waiting? */
bool local_can_try(const struct op *op);

/*
 * openat2(2)'s argument for a try through the ring: whatever would wait is
 * -EAGAIN.
 */
void local_try_how(const struct op *op, struct open_how *ret_how);

/* Try it with plain system calls; or do it, if it cannot be tried. */
void local_try_open(struct op *op);

/* Is op->res the -EAGAIN of a try, so that the open is yet to be done? */
bool local_is_cold(const struct op *op);

/* F_OFD_SETLK or F_OFD_SETLKW. Return: 0 or negative errno. */
int local_lock(int fd, const struct op_lock *lock, short type, int cmd);
