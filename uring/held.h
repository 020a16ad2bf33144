/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "uring/op.h"

/*
 * The strongest OFD lock that @fd's own description has in @lock's range:
 * F_WRLCK, F_RDLCK, or F_UNLCK if there is none or if that cannot be known.
 */
short held_type(int fd, const struct op_lock *lock);
