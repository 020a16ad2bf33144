/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* A process that nobody has waited for yet does not live. */
bool process_lives(pid_t pid);
