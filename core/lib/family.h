/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/lib.h"

/*
 * Is this process the guest itself, or of its own? That is who holds its
 * capsule, their children and grandchildren, and the calling process. On paths
 * of a conflict only.
 */
bool family_has(const struct glk_guest *guest, pid_t pid);
