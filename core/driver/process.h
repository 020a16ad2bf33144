/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* A process that nobody has waited for yet does not live. */
bool process_lives(pid_t pid);

/* Is there one, though it may have ended already? */
bool process_exists(pid_t pid);

/**
 * process_inherited() - has another process inherited this socket
 *
 * Those do not count that would close it with their next exec: a child that is
 * about to become any other program, and whoever has borrowed it for a look.
 *
 * Return: 1; 0; or negative errno of what kept us from looking, such as
 * -EMFILE.
 */
int process_inherited(int fd);
