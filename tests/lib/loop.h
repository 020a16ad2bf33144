/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Loop devices of a test's own; for root (TEST_NEEDS_LOOP). */

#define LOOP_PATH_MAX 64

/* A sparse file DIR/@file of @size on a free loop device, which lives with the
   descriptor. Exits 77 if none is to be had. */
int loop_attach(const char *file, off_t size, char ret_path[LOOP_PATH_MAX]);

/* Read-only, and on the file as it is. */
int loop_attach_readonly(const char *file, char ret_path[LOOP_PATH_MAX]);

/* The same on the very device that was attached before and is free again, with
   the same number and a new disk sequence number. */
int loop_attach_again(const char *file, const char *path);

/* Make partition @number, 1 MiB long, at MiB @number of the device. Its node is
   made if the kernel does not make it. It goes with the device. */
void loop_add_partition(int loop, const char *path, int number,
			char ret_path[LOOP_PATH_MAX]);

/* Another node of the device, DIR/@name. As test_file(). */
const char *loop_alias(const char *path, const char *name);

uint64_t loop_diskseq(int fd);

/* Where a device's lock file has to be, by the manual. Static, ring of 4. */
const char *loop_lock_file(const char *path);
