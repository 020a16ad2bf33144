/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/**
 * destination_host() - the host in the destination of a migration
 * @text:	SCHEME://[USER@]HOST[:PORT][/...], or HOST[:PORT] alone; HOST
 *		may be an IPv6 address in brackets, or without if no port
 *		follows
 * @size:	of @buf, at least 1; what does not fit is cut
 *
 * Without brackets and the zone of an address. "" if it names no host.
 */
void destination_host(const char *text, char *buf, size_t size);

/**
 * destination_is_here() - does this destination mean the host it is said on?
 * @hostname:	gethostname(2)
 *
 * True for no host at all, localhost, the loopback addresses, and @hostname;
 * if either name is given without its domain, that is left aside. What it does
 * not understand is elsewhere.
 */
bool destination_is_here(const char *text, const char *hostname);
