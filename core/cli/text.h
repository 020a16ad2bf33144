/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Paths, guest names and executables are chosen by others. On a terminal they
 * could move the cursor, forge a line or reverse the text: whatever is not
 * plainly printable is written as \xNN, byte by byte.
 */
enum text_flags {
	TEXT_QUOTED = 1 << 0,  /* stands between '...': escape that, too */
	TEXT_MESSAGE = 1 << 1, /* escaped once already: keep backslashes */
};

/* Reversible, unless TEXT_MESSAGE: a backslash is \x5c. What is not ASCII
   passes only if the locale is UTF-8. */
void text_put(FILE *f, const char *s, unsigned flags);

/* Length of the UTF-8 sequence at @s, as RFC 3629 has it; 0 if it is none. */
size_t text_utf8_length(const char *s, uint32_t *ret_code);

bool text_is_utf8(const char *s);

/* To be freed; NULL without memory. Each invalid byte becomes U+FFFD. */
char *text_to_utf8(const char *s);

/* To be freed; NULL without memory. Every byte but A-Z a-z 0-9 . _ ~ / -
   becomes %NN. */
char *text_percent(const char *s);

enum text_precision { TEXT_SECONDS, TEXT_MILLISECONDS };

#define TEXT_TIME_MAX 32

/* "2026-11-23T03:30:00[.123]Z"; "" for 0. @buf: TEXT_TIME_MAX. Return: @buf. */
char *text_time(uint64_t realtime_ns, enum text_precision precision, char *buf);
