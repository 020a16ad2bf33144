/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/**
 * dmtable_passes() - does a device of device-mapper's pass SCSI commands on?
 *
 * Asks the kernel, and no device. Return: whether it does, or negative errno if
 * the kernel does not tell, as it does not unless asked by root.
 */
int dmtable_passes(uint32_t major, uint32_t minor);
