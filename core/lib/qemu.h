/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/take.h"

/*
 * QEMU locks its images itself, by bytes of its own (block/file-posix.c): the
 * byte 100 + n is share-locked by who uses permission n, and 200 + n by who
 * does not let others use it. They are only ever asked about.
 */
#define QEMU_BYTES_START 100 /* read, write, write unchanged, resize */
#define QEMU_BYTES_LEN 4

/* One disk that a QEMU may have open. */
struct qemu_ask {
	struct res_id file; /* device and inode of fd */
	int fd;
	bool remote; /* use the workers */
	enum res_mode mode;
	bool taken; /* answer: a QEMU is in the way */
	bool found; /* answer: and this is known of it */
	pid_t last;
};

/**
 * qemu_probe() - which of these are in use by a QEMU that is in the way?
 *
 * In the way of an exclusive lease is each; in that of a shared one, who writes
 * and does not share that. What cannot be asked counts as taken. Return: 0,
 * -ENOMEM, or -ECANCELED.
 */
int qemu_probe(struct glk_context *context, struct qemu_ask *asks, size_t n,
	       uint64_t deadline);

/**
 * qemu_find() - the processes that have those that are taken
 * @found:	called once for each process, or more often; a true return stops
 *
 * One walk. Return: 0 or -ENOMEM; whoever was not found by @deadline is not.
 */
int qemu_find(struct qemu_ask *asks, size_t n, uint64_t deadline,
	      bool (*found)(void *arg, size_t ask, pid_t pid), void *arg);

/* After the locks: those of the @n events from @first whose slot says that a
   QEMU has the disk. If it is not the guest itself, they become TXN_BUSY.
   Return: as take_perform(). */
int qemu_look(struct take *take, size_t first, size_t n);

/**
 * qemu_inquire() - who they are
 * @events:	indices of the events, whose slots say that a QEMU has the disk
 * @report:	as holders_find(); ask is the index into @events
 *
 * Return: as holders_find().
 */
int qemu_inquire(struct take *take, const uint32_t *events, size_t n,
		 int (*report)(void *arg, const struct holder_answer *answer),
		 void *arg);

/* The same for one disk, for who asks and takes nothing; if there is time left,
   and no longer than @until. */
int qemu_holders(struct glk_context *context, const struct holder_ask *ask,
		 uint64_t until,
		 int (*report)(void *arg, const struct holder_answer *answer),
		 void *arg);
