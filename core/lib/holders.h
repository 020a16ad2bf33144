/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/lib.h"

/*
 * Who holds a disk. Looks into every capsule of the host and, for what is left,
 * into every process: only ever after a conflict, or when somebody asks.
 */
struct holder_ask {
	struct res_id id;   /* the resource, as a capsule calls it */
	struct res_id file; /* device and inode of fd */
	const char *path;
	const char *how;    /* for the answer, or NULL */
	enum res_mode mode; /* wanted: who does not exclude it is left out */
	int fd;		    /* of the disk, or of another of its lock points;
			       -1: none is known, and only capsules tell */
	const struct capsule *own; /* is not in the way, or NULL */
	bool incoming; /* the source of a hand-over is not in the way */
	bool remote;   /* use the workers */
	bool all;      /* name all, if only as one who is unknown; else those
			  who are found quickly */
	bool again;    /* about another point of the disk of the ask before it:
			  who is named for that one is not named again */
	bool found;    /* answered: at least one holder was reported */
	int unread;    /* answered: why a capsule could not be read (-errno or
			  CAPSULE_E_*), whatever there is in it */
};

struct holder_answer {
	size_t ask;		 /* index of the ask */
	struct glk_conflict who; /* strings valid during the call only */
	enum res_mode mode;	 /* that it is held in */
	bool dying;		 /* the process is on its way out */
};

/**
 * holders_find() - report the holders of some disks
 * @report:	called for every holder; a negative return ends the search
 * @deadline:	CLOCK_MONOTONIC; whoever was not found by then stays unknown
 *
 * Return: 0, or the negative return of @report, -ENOMEM, or -ECANCELED.
 */
int holders_find(struct glk_context *context, struct holder_ask *asks, size_t n,
		 uint64_t deadline,
		 int (*report)(void *arg, const struct holder_answer *answer),
		 void *arg);
