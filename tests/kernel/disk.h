/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* File systems of a test's own; for root. */

/*
 * A private mount namespace with a fresh file system at @where. @type is a
 * name that mkfs.TYPE or the kernel knows; "ext4-128" has inodes that are too
 * small for nanoseconds, "ext4-dirsync" waits for the disk in each rename.
 * Exits 77 if this host cannot.
 */
void disk_mount(const char *type, const char *where);

/* A private mount namespace alone. Exits 77 unless root. */
void mounts_unshare(void);
