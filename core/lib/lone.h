/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/*
 * Is an open file description the only one of its file? The kernel says so by
 * granting a write lease (F_SETLEASE), which is given back at once.
 */
struct lone {
	int fd;
	int answer; /* 0: it is; -EAGAIN: it is not; else why not to say */
};

/* No lease is left behind, and no signal comes of it. */
void lone_ask(struct lone *files, size_t n);
