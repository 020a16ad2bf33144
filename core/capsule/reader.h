/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/*
 * Whoever reads a capsule has duplicates of its locks open for a moment. If the
 * guest dies meanwhile, the reader keeps its leases for that moment, and would
 * be taken for a living holder. So a reader has a marker open: a memfd of a
 * certain name. Whoever claims to be a reader, and is none, gains nothing but
 * that others try again until their grace is over.
 */

/* Return: a descriptor, never 0, to be closed behind the duplicates; or -1. */
int reader_mark(void);

/* Is this process reading some capsule just now? */
bool reader_is(pid_t pid);
