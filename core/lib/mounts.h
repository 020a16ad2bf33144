/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/resource.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the mount table says of a file: how far a lock reaches, and whether a
 * system call on it may need a network. Read without touching the file, since
 * a dead server blocks whoever touches it.
 */
struct mounts;

struct mount_kind {
	char fs[32]; /* "ext4", "nfs4", "fuse.sshfs"; "?" if unknown */
	enum res_scope scope;
	bool remote;	    /* use the workers */
	const char *option; /* that keeps locks on this host, or NULL; static */
	bool twofold;	    /* mounted twice, and not by binding */
};

/* Strings are the table's, valid until the next question. */
struct mount_place {
	struct mount_kind kind;
	const char *point;
	const char *root;    /* what of the file system is mounted there */
	const char *options; /* of an overlay's layers; else "" */
	const char *twin;    /* if twofold: where else; else NULL */
};

/* @table: NULL, or for tests a file in the form of /proc/self/mountinfo, whose
   name is borrowed; beside it may be NAME-volumes, as /proc/fs/nfsfs/volumes.
 */
int mounts_new(const char *table, struct mounts **ret_mounts);
struct mounts *mounts_free(struct mounts *mounts);

/* Ask the kernel again, before the next answer, whether the table changed. */
void mounts_expire(struct mounts *mounts);

/* A file on this st_dev was opened. If the table does not have it, opening it
   may have mounted it (autofs): then the kernel is asked again. */
void mounts_opened(struct mounts *mounts, uint64_t dev);

/* False if no file system of this host is remote: then ask no further. The
   table is read again only after the kernel has said that it changed. */
bool mounts_any_remote(struct mounts *mounts);

/* Where is this block device mounted? @name: the kernel's, or "". For file
   systems that do not show the device's own number, /dev/NAME is looked for.
   Return: false if nowhere in this namespace. */
bool mounts_of_device(struct mounts *mounts, uint64_t rdev, const char *name,
		      char *ret_point, size_t size);
/* False if every file system of this host has the scope of the host. */
bool mounts_any_scope(struct mounts *mounts);

/* By the text of the path alone; links in it are not followed. */
void mounts_by_path(struct mounts *mounts, const char *path,
		    struct mount_kind *ret_kind);

/* The mount that the text of an absolute path leads to. Return: false if there
   is none. */
bool mounts_find(struct mounts *mounts, const char *path,
		 struct mount_place *ret_place);

/* By st_dev; falls back to the path where the device is not in the table, as
   for btrfs subvolumes. @path may be NULL. Only for those that have no
   descriptor, and never for a scope that somebody relies upon. */
void mounts_by_dev(struct mounts *mounts, uint64_t dev, const char *path,
		   struct mount_kind *ret_kind);

/* By st_dev, or else by the mount that @fd is on. One that the table does not
   have is of the fs "?", and of the least scope. */
void mounts_by_fd(struct mounts *mounts, int fd, uint64_t dev,
		  struct mount_kind *ret_kind);
