/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tests/lib/guest.h"

/*
 * Real block devices of the lab's kernel, and guests on them: SCSI disks by the
 * kernel's scsi_debug, and as many of QEMU's as $LAB_STORAGE says; and
 * device-mapper and LVM by their own tools. Whatever cannot be set up fails the
 * test. Texts that are returned are static, in a ring of 64.
 */

#define SCSI_MAX 16

/* Exits 77 outside of the lab. */
void storage_require(void);

/* For each test: no guest, no volume, and no disk but QEMU's is there, before
   and after. */
int storage_start(void **state);
int storage_stop(void **state);

extern struct glk_context *storage_context;

/* What a program has said; it had nothing to read. */
struct answer {
	int status;
	char out[8192], err[8192];
};

#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Static, one. */
const struct answer *ask(const char *const *args);

/* It goes on as a child, and ends with the test. */
pid_t start_program(const char *const *args);

/* It has to exit 0. Return: its first line, without white space around it. */
const char *tell(const char *const *args);

#define TELL(...) tell(ARGS(__VA_ARGS__))
#define LVM(...) TELL("lvm", __VA_ARGS__)
#define DMSETUP(_verb, ...) TELL("dmsetup", _verb, "--verifyudev", __VA_ARGS__)

#define GUESTLOCK(...) ask(ARGS(getenv("GUESTLOCK_COMMAND"), __VA_ARGS__))

/* Plug one in: "/dev/sda". It has a WWID and 64 MiB of its own. */
const char *scsi_add(void);

/* Two that are one: the same WWID, the same blocks. No other one may be there.
 */
struct paths {
	const char *a, *b;
};

struct paths scsi_add_paths(void);

/* QEMU's disks, before any others are added. @ret_disks: SCSI_MAX. */
size_t scsi_of_qemu(const char **ret_disks);

/* Unplug the one that came last. */
void scsi_remove(void);

/* Partition @number, of 8 MiB: "/dev/sda1". */
const char *scsi_partition(const char *disk, unsigned number);

/* What udev's program prints, or "". */
const char *scsi_id(const char *disk);

/* A group "vg" on these disks. */
void lvm_group(const char *const *disks);

#define GROUP(...) lvm_group(ARGS(__VA_ARGS__))

const char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The kernel's: "sda", "dm-0" */
const char *kernel_name(const char *path);

/* The device's lock file in the host lock directory, by the manual. */
const char *lock_file(const char *path);

/* By what the kernel says of the node's lock and of the lock file's. */
bool is_held(const char *path);
bool is_free(const char *path);
bool becomes_free(const char *path);

/* End a guest, and see that this is free then. */
void end_guest(pid_t pid, const char *path);

/* The only name in a directory; "" if there is none, and it fails if there are
   more. */
const char *only_name(const char *dir);

/* Run a guest with this disk; it ends with the test. */
pid_t run_guest(const char *path, unsigned flags);

/* Attach one disk to a guest of its own, and let it go. Return: as
   glk_guest_acquire(). */
int try_disk(const char *path, unsigned flags);

/* Nobody gets it, exclusive or shared, and the refusal names this guest.
   @how: as in struct glk_conflict. */
void assert_refused(const char *path, pid_t pid, const char *how);

/* Take lock directories as the policy, "" as none. */
struct lock_dirs {
	const char *plain, *lvm, *scsi;
};

/* All three of them, made for the test. */
struct lock_dirs lock_dirs_new(void);
void lock_dirs_use(const struct lock_dirs *dirs);
