/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/mounts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The directories of a batch. Disks that share one are opened relative to its
 * descriptor, and verified together: see the essay in place.c.
 */
struct place {
	const char *dir; /* borrowed text, not terminated */
	size_t len;
	uint32_t users;
	int fd;	    /* O_PATH, or -1: too few users, or it cannot be opened */
	bool armed; /* the stamp can prove that nothing was replaced */
	struct mount_kind kind;
	struct place_stamp {
		uint64_t dev, ino;
		int64_t ctime_sec;
		int64_t ctime_nsec;
	} stamp;
};

struct places {
	struct place *v;
	uint32_t n;
	uint32_t *table; /* hash to index + 1 */
	uint32_t table_size;
};

/* How much memory @n places need at most. */
size_t places_size(size_t n);

/* @memory: places_size() of @n, aligned for a pointer; the caller's. */
void places_init(struct places *places, size_t n, void *memory);

/* Closes the descriptors. */
void places_done(struct places *places);

/**
 * places_find() - the place of a path, made if new
 * @path:	borrowed as long as the places live
 * @ret_base:	what is left of the path: its last component
 *
 * A path without a directory part, or that ends in a slash, "." or "..", has
 * a place of its own that is never opened; its base is the whole path.
 *
 * Return: index of the place.
 */
uint32_t places_find(struct places *places, const char *path,
		     const char **ret_base);

/* Take the stamp of an open place, before its disks are opened. */
void place_arm(struct place *place);

/* Is everything in this place as it was when the stamp was taken? */
bool place_unchanged(const struct place *place);
