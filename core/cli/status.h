/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How the command ends. The numbers are a contract with its callers. */
enum status {
	STATUS_OK = 0,
	STATUS_DRIFT = 1, /* check, doctor, demo: the answer is "not well" */
	STATUS_USAGE = 64,
	STATUS_NOT_FOUND = 66, /* no such disk or guest */
	STATUS_INTERNAL = 70,
	STATUS_HELD = 75, /* by another; stderr names the holder */
	STATUS_DENIED = 77,
	STATUS_CANNOT_EXEC = 126, /* as a shell has it */
	STATUS_NO_COMMAND = 127,
};

/* The exit code for a negative errno of the library or of a system call. */
enum status status_of(int err);

/* The word that stands for it in {"error": ...}. Static. */
const char *status_word(int err);

/* The exit code when exec of the guest's command failed with @err. */
enum status status_of_exec(int err);
