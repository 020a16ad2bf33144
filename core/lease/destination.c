/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lease/destination.h"

#include "core/base/util.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

/*
 * For one check only: a disk whose lock reaches no further than this host must
 * not be handed to another one. So whatever is doubtful is another host, which
 * refuses a migration and breaks nothing.
 */

#define HOST_SIZE 256 /* a DNS name has at most 253 */

struct span {
	const char *at;
	size_t len;
};

static struct span until(const char *at, size_t len, const char *stops)
{
	size_t n = 0;

	while (n < len && !strchr(stops, at[n]))
		n++;
	return (struct span){ at, n };
}

/* USER@HOST:PORT, without what stands before and behind it. */
static struct span authority(const char *text)
{
	const char *slashes = strstr(text, "://");
	struct span span;

	if (slashes)
		text = slashes + 3;
	span = until(text, strlen(text), "/?#");
	for (size_t i = span.len; i > 0; i--)
		if (span.at[i - 1] == '@')
			return (struct span){ span.at + i, span.len - i };
	return span;
}

static size_t count(struct span span, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < span.len; i++)
		n += span.at[i] == c;
	return n;
}

/* More than one colon and nothing that is not of an address. */
static bool is_bare_ipv6(struct span span)
{
	struct span address = until(span.at, span.len, "%");

	return count(address, ':') > 1 &&
	       strspn(address.at, "0123456789abcdefABCDEF:.") >= address.len;
}

void destination_host(const char *text, char *buf, size_t size)
{
	struct span span = authority(text);

	if (span.len && span.at[0] == '[')
		span = until(span.at + 1, span.len - 1, "]%");
	else if (is_bare_ipv6(span))
		span = until(span.at, span.len, "%");
	else
		span = until(span.at, span.len, ":");
	span.len = MIN(span.len, size - 1);
	memcpy(buf, span.at, span.len);
	buf[span.len] = '\0';
}

static bool is_loopback(const char *host)
{
	struct in6_addr six;
	struct in_addr four;

	if (inet_pton(AF_INET, host, &four) == 1)
		return ntohl(four.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, host, &six) != 1)
		return false;
	return IN6_IS_ADDR_LOOPBACK(&six) ||
	       (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
}

static bool is_address(const char *host)
{
	struct in_addr four;

	return inet_pton(AF_INET, host, &four) == 1 || strchr(host, ':');
}

/* Whole names, or first labels if one of them is no more than that. */
static bool same_name(const char *a, const char *b)
{
	size_t len_a = strcspn(a, "."), len_b = strcspn(b, ".");

	if (!*a || !*b || is_address(a))
		return false;
	if (a[len_a] && b[len_b])
		return !strcasecmp(a, b);
	return len_a == len_b && !strncasecmp(a, b, len_a);
}

bool destination_is_here(const char *text, const char *hostname)
{
	char host[HOST_SIZE];
	size_t len;

	destination_host(text, host, sizeof(host));
	len = strlen(host);
	if (!len)
		return true;
	if (len > 1 && host[len - 1] == '.')
		host[len - 1] = '\0';
	return is_loopback(host) || !strcasecmp(host, "localhost") ||
	       !strcasecmp(host, "localhost.localdomain") ||
	       same_name(host, hostname);
}
