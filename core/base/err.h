/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

/*
 * How this project reports errors: three channels, never mixed.
 *
 * 1. A negative errno is unexpected here: forward it unchanged, do not match
 *    on it when it comes from our own code. What the kernel says is matched
 *    where the system call stands, and nowhere else.
 * 2. A positive X_E_* is an expected outcome of that one function: handle it
 *    at the call site, never forward it. Slot 0 is _X_E_SUCCESS.
 * 3. A bug of ours is BUG_RETURN(). A program aborts on it; in a host process,
 *    such as libvirtd or a VMM, the call fails with -ENOTRECOVERABLE instead:
 *    we never take down a process that is not ours.
 *
 * Outputs are named ret_* and stay untouched on failure. The public API knows
 * channel 1 only: a refusal is -EBUSY plus a list of conflicts.
 */

/**
 * bug_set_fatal() - abort the process on a bug of ours
 * @fatal:	true in our own programs and tests; the default is false
 */
void bug_set_fatal(bool fatal);

void bug_report(const char *file, int line, const char *what);

/* If @_cond holds, this is our bug: leave the function with @_ret. */
#define BUG_RETURN(_cond, _ret)                                                \
	do {                                                                   \
		if (__builtin_expect(!!(_cond), 0)) {                          \
			bug_report(__FILE__, __LINE__, #_cond);                \
			return _ret;                                           \
		}                                                              \
	} while (0)
