/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* engine_reserve() and engine_close_many(); see uring/engine.h. */
int fds_reserve(size_t n);
void fds_close_many(int *fds, size_t n);
