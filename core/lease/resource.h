/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * What is locked. A resource is what a path names at the moment of locking:
 * two paths, links or bind mounts of one inode are one resource.
 */
enum res_type {
	_RES_TYPE_NONE,
	RES_TYPE_FILE,
	RES_TYPE_BLOCK,
	RES_TYPE_LEASE,
};

enum res_mode {
	RES_EXCLUSIVE, /* F_WRLCK on a writable descriptor */
	RES_SHARED,    /* F_RDLCK on a read-only descriptor */
};

enum res_scope {
	_RES_SCOPE_NONE,
	RES_SCOPE_NODE,	   /* this way to the data only */
	RES_SCOPE_HOST,	   /* every process of this host */
	RES_SCOPE_SERVER,  /* every client of the file server */
	RES_SCOPE_CLUSTER, /* every node of the cluster */
};

/*
 * Equal ids are the same resource, as long as somebody has it open. A file is
 * its device and inode. A block device is its number, by whatever node it is
 * reached, with a bit that the device of no file has; and, in place of an
 * inode, its disk sequence number, so a number that is used again is another
 * device.
 */
struct res_id {
	uint64_t dev;
	uint64_t ino;
};

#define RES_DEV_BLOCK (UINT64_C(1) << 63)

static inline struct res_id res_id_of_device(uint64_t rdev, uint64_t diskseq)
{
	return (struct res_id){ rdev | RES_DEV_BLOCK, diskseq };
}

static inline bool res_id_is_device(struct res_id id)
{
	return id.dev & RES_DEV_BLOCK;
}

/* The device's number, as stat(2) st_rdev. */
static inline uint64_t res_id_rdev(struct res_id id)
{
	return id.dev & ~RES_DEV_BLOCK;
}

/*
 * The bytes of a lock point. 0 is virtlockd's too, so that mixed fleets
 * exclude each other. Byte 1 is libvirt's, 100-104 and 200-204 are QEMU's:
 * never touched. 2 to 4 are held during a migration only, see handover.h.
 *
 * 5 is shared by those who have released the disk on purpose. Without it, what
 * a detach leaves behind that was killed before it tidied up could not be told
 * from a lock that was lost. The one is nothing to anybody; with the other a
 * guest must not migrate as if all were well.
 */
#define LOCK_BYTE_OWNER 0
#define LOCK_BYTE_SUCCESSOR 2	/* the destination */
#define LOCK_BYTE_WRITER 3	/* the side that may write */
#define LOCK_BYTE_PREDECESSOR 4 /* the source */
#define LOCK_BYTE_RELEASED 5	/* shared: in nobody's way */
#define LOCK_HANDOVER_START LOCK_BYTE_SUCCESSOR
#define LOCK_HANDOVER_LEN 3
/* To let go of all at once. Of byte 1 a description of ours has nothing. */
#define LOCK_ALL_START LOCK_BYTE_OWNER
#define LOCK_ALL_LEN (LOCK_HANDOVER_START + LOCK_HANDOVER_LEN)

static inline bool res_id_equal(struct res_id a, struct res_id b)
{
	return a.dev == b.dev && a.ino == b.ino;
}

/*
 * The order in which guests wait for disks. Two hosts must agree on it: they
 * give a shared file system different device numbers, but its files the same
 * inode numbers, so these come first.
 */
static inline bool res_id_before(struct res_id a, struct res_id b)
{
	return a.ino != b.ino ? a.ino < b.ino : a.dev < b.dev;
}

/* Static strings; "?" for a number that is no such thing. */
const char *res_type_name(enum res_type type);
const char *res_mode_name(enum res_mode mode);
const char *res_scope_name(enum res_scope scope);
