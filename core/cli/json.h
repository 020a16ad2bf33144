/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "include/guestlock.h"

#include <jansson.h>
#include <stdio.h>

/*
 * What --json prints. Field names are a contract: they may be added to, never
 * renamed.
 *
 * JSON is Unicode and a path is bytes. Where a string is not valid UTF-8 its
 * invalid bytes are U+FFFD, and a second field, whose name ends in "_bytes",
 * has all of it with percent-encoding. Nothing is lost, and the field is there
 * only when it is needed. Output is ASCII, so a terminal is safe from it.
 *
 * Every function that makes a value returns NULL without memory, and accepts
 * NULL where it takes one over: json_write() then fails.
 */

/* Set @key, and @key_bytes if need be; null if @s is NULL or "". */
int json_set_bytes(json_t *object, const char *key, const char *s);

/* ISO 8601, UTC, milliseconds; null for 0. */
json_t *json_time(uint64_t realtime_ns);

/* {"path","type","mode","scope","held","same_file","since","role"} */
json_t *json_lease(const struct glk_lease_info *lease);

/* {"uuid","name","id","pid","holder","uid","started","epoch","leases",
   "garbled","error"} */
json_t *json_guest(const struct glk_guest_info *info);

/* {"kind","uuid","name","pid","exe","since"} */
json_t *json_holder(const struct glk_conflict *conflict);

/* {"path","mode","holder"} */
json_t *json_conflict(const struct glk_conflict *conflict);

/* Names of the library's numbers; "unknown" for one that is none. Static. */
const char *lease_type_name(int type);
const char *lease_mode_name(int mode);
const char *lease_scope_name(int scope);
const char *lease_role_name(int role);
const char *guest_holder_name(int holder);

/* One line. Takes @value over. Return: 0, -ENOMEM, or -EIO. */
int json_write(json_t *value, FILE *f);
