/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/base/util.h"
#include "core/base/uuid.h"
#include "core/capsule/capsule.h"
#include "core/lease/guest.h"
#include "core/lease/txn.h"
#include "core/lib/mounts.h"
#include "core/lib/texts.h"
#include "include/guestlock.h"
#include "uring/engine.h"

#include <limits.h>
#include <stdbool.h>

#define GLK_EXPORT __attribute__((__visibility__("default")))

#define TIMEOUT_DEFAULT_MS 10000
#define TEXT_TOO_SLOW "did not answer within the time limit"
#define GRACE_MS 300 /* kernel-facts: 222 ms seen for a dying ring user */

/* One refused disk or one holder; owns its strings, as the public one shows. */
struct conflict_list {
	struct glk_conflict *items;
	size_t n, cap;
};

struct glk_context {
	struct engine *engine;
	struct mounts *mounts;
	unsigned timeout_ms;
	struct glk_policy policy; /* owns its strings */
	char *host_dir;		  /* the host lock directory, see device.c */
	const char *sysfs;
	glk_wait_fn *on_wait;
	void *on_wait_arg;
	uint64_t deadline; /* of the running call */
	char *message;
	struct conflict_list conflicts;
	struct conflict_list holders; /* what glk_disk_holders() lent out */
	struct mount_kind last_kind;  /* what glk_disk_scope() lent out */
	struct glk_disk_reach reach;  /* what glk_disk_reach() lent out */
	void *scratch;		      /* of one take_disks() */
	size_t scratch_size;
};

struct wanted_disk {
	char *path;
	enum res_mode mode;
	enum res_type type; /* FILE, for a block device, too; or LEASE */
	bool claim, readonly;
};

struct glk_guest {
	struct glk_context *context;
	struct guest_sm sm;
	struct capsule_identity who;
	bool incoming;	  /* acquiring means to claim, see handover.h */
	pid_t holder_pid; /* hint for a new capsule, 0: this process */
	struct capsule *capsule;
	struct wanted_disk *wanted; /* between add and acquire */
	size_t n_wanted, cap_wanted;
	struct texts wanted_paths;
	struct info *info; /* what glk_guest_info() lent out last */
};

/* context.c */

/* Every public call that can fail begins here: forget the last one's result
   and start its time limit. Return: 0, or -ECANCELED. */
int context_begin(struct glk_context *context);

/* The same for a call that looks at no file and waits for nobody, and is made
   for each disk: it has no time limit, so no clock is read. */
int context_begin_quick(struct glk_context *context);

/*
 * Memory of @n times @size bytes, and @more, for one call; not zeroed. Owned by
 * the context and kept for the next: to give 100 KB back to the kernel and to
 * fault them in again costs a tenth of acquiring 500 disks. Return: NULL for
 * lack of memory.
 */
void *context_scratch(struct glk_context *context, size_t n, size_t size,
		      size_t more);

/* Set the message. Return: @error, so that a caller can return it. */
int context_fail(struct glk_context *context, int error, const char *format,
		 ...) _printf_(3, 4);

/* Return: -ENOMEM, with a message if there is still memory for one. */
int context_no_memory(struct glk_context *context);

/* Turn a CAPSULE_E_* or negative errno into our errno and a message. */
int context_capsule_fail(struct glk_context *context, int e, const char *what);

/* @s with control bytes, backslash and non-ASCII escaped; ring of 4 buffers
   for each thread, so for messages only. Long texts are cut. */
const char *quoted(const char *s);

/* conflict.c */

/* Copies the strings. Return: 0 or -ENOMEM. */
int conflict_add(struct conflict_list *list, const struct glk_conflict *c);
void conflict_clear(struct conflict_list *list);
void conflict_drop_last(struct conflict_list *list);
/* Fill in kind, pid, exe and since of a process; @exe backs the answer. */
void conflict_of_process(struct glk_conflict *c, pid_t pid,
			 char exe[static PATH_MAX]);
/* One clause for a message: "held exclusively by guest 'web1' (...)". */
void conflict_describe(const struct glk_conflict *c, char *buf, size_t size);

/* policy.c */

void policy_done(struct glk_policy *policy);

/* reach.c */

void reach_done(struct glk_disk_reach *reach);

/* guest.c */

/* Validate one disk of the caller's, and fill in all but the path. Return: 0 or
   as glk_guest_add(). */
int disk_check(struct glk_context *context, const struct glk_disk *disk,
	       struct wanted_disk *ret_wanted);

/* guest_may() with a message. */
int guest_check(struct glk_guest *guest, enum guest_call call);

/* A capsule that can be listed: one that was let go is adopted again. Return: 0
   or as capsule_adopt(). */
int guest_readable(struct glk_guest *guest);

/* After CAPSULE_E_GONE: the process that we knew has it no more, but perhaps
   another one, if the guest has forked since. Return: as capsule_adopt(). */
int guest_follow(struct glk_guest *guest);

/* capsule_list() of a guest wherever it is. Return: as capsule_list(). */
int guest_list(struct glk_guest *guest, uint64_t deadline,
	       struct capsule_contents *ret_contents);

/* As context_capsule_fail(); and a guest that is gone is marked as such. */
int guest_fail(struct glk_guest *guest, int e, const char *what);

/* change.c */

/* What changes a guest stands between these two. Return: 0, or negative errno
   with a message. */
int change_begin(struct glk_guest *guest, enum guest_call call);
/* @r: how it went. Return: that, or a bug of ours. */
int change_end(struct glk_guest *guest, int r);

/* Drop a lease's locks, by whatever descriptors of it. Return: 0, -ETIME of a
   server, or another negative errno. */
int change_unlock(struct glk_context *context, struct capsule_lease *lease);

/* path.c */

/* What is recorded outlives this process and its working directory. A path that
   would become too long stays as it is: the kernel knows the file's name.
   Return: to be freed, or NULL for lack of memory. */
char *path_absolute(const char *path);

/* The same for many: @cwd is getcwd(3)'s, or NULL if it cannot be known. */
char *path_absolute_in(const char *cwd, const char *path);

/* Are they the same name, but for "//" and "/./"? */
bool path_same_text(const char *a, const char *b);

/* take.c */

/* Lock @disks and park them in the guest's capsule, all or none. Return: 0, or
   negative errno with message and conflicts. */
int take_disks(struct glk_guest *guest, const struct wanted_disk *disks,
	       size_t n);
