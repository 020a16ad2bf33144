/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease/resource.h"

/*
 * Identity of the block device that is open: its number, with a bit that no
 * file's device has, and its disk sequence number, which no other device of
 * this boot has or had. The latter is 0 if the kernel does not tell (before
 * 5.15), or if @fd is a mere path. @rdev as stat(2) has it.
 */
struct res_id device_id(int fd, uint64_t rdev);
