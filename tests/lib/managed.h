/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tests/lib/guest.h"

/* Real guests of real managers. */

/* With a time limit of 30 s. The driver is unloaded with it. */
struct glk_manager *managed_new(const char *driver, int mode, const char *uuid);

/* Register one disk. Return: as the public call. */
int managed_register(struct glk_manager *manager, const char *path,
		     unsigned flags);
int managed_plug(struct glk_manager *manager, const char *path);
int managed_unplug(struct glk_manager *manager, const char *path);

/* A guest process that has exec'ed with what the manager holds. The manager is
   not told. */
pid_t managed_start(struct glk_manager *manager);

/* The same with the supervisor's path and arguments before its own. */
pid_t managed_supervise(struct glk_manager *manager);

/* Fails the test if the message has not this text in it. */
void managed_says(const struct glk_manager *manager, const char *text);

/* How many times is this in the drift? @path NULL: any. */
size_t managed_drift(const struct glk_manager *manager, int kind,
		     const char *path);
