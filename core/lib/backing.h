/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/capsule/proc.h"
#include "core/lib/lib.h"

/**
 * backing_find() - the loop devices that are made of these files
 * @files:	sorted by proc_file_compare()
 * @found:	called with the index of a file and a name like "/dev/loop3"
 *
 * What it cannot find out is left out. Never waits for a server.
 */
void backing_find(struct glk_context *context, const struct proc_file *files,
		  size_t n,
		  void (*found)(void *arg, size_t file, const char *name),
		  void *arg);
