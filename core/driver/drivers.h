/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock/driver.h>

/* Those that are part of the library. */
extern const struct glk_driver_table driver_ofd, driver_vm, driver_nop;
