/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

/* A process that does something once, and then waits for its end. */

struct idler {
	pid_t pid;
	int sock; /* EOF when it is gone */
};

/* Returns when @fn has. */
void idler_start(struct idler *idler, void (*fn)(void *arg), void *arg);
void idler_end(struct idler *idler);
