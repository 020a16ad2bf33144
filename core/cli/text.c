/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/text.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <langinfo.h>
#include <string.h>
#include <time.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

size_t text_utf8_length(const char *s, uint32_t *ret_code)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char lead = (unsigned char)s[0];
	size_t len = lead < 0x80	 ? 1
		     : lead >> 5 == 0x06 ? 2
		     : lead >> 4 == 0x0e ? 3
		     : lead >> 3 == 0x1e ? 4
					 : 0;
	uint32_t code;

	if (!len)
		return 0;
	code = len == 1 ? lead : lead & (0xffU >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | ((unsigned char)s[i] & 0x3f);
	}
	if (code < least[len] || code > 0x10ffff ||
	    (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*ret_code = code;
	return len;
}

bool text_is_utf8(const char *s)
{
	while (*s) {
		uint32_t code;
		size_t len = text_utf8_length(s, &code);

		if (!len)
			return false;
		s += len;
	}
	return true;
}

/* Invisible, or able to reorder what stands around it. */
static bool is_treacherous(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code <= 0xa0) || code == 0xad ||
	       code == 0x61c || (code >= 0x200b && code <= 0x200f) ||
	       (code >= 0x2028 && code <= 0x202e) ||
	       (code >= 0x2060 && code <= 0x206f) || code == 0xfeff ||
	       (code >= 0xfff9 && code <= 0xfffb) ||
	       (code >= 0xe0000 && code <= 0xe007f);
}

static bool is_plain(uint32_t code, bool utf8, unsigned flags)
{
	if (code == '\\')
		return flags & TEXT_MESSAGE;
	if (code == '\'')
		return !(flags & TEXT_QUOTED);
	return (code < 0x80 || utf8) && !is_treacherous(code);
}

void text_put(FILE *f, const char *s, unsigned flags)
{
	bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");

	while (*s) {
		uint32_t code;
		size_t len = text_utf8_length(s, &code);
		bool plain = len && is_plain(code, utf8, flags);

		for (size_t i = 0; i < MAX(len, 1U); i++, s++) {
			if (plain)
				fputc(*s, f);
			else
				fprintf(f, "\\x%02x", (unsigned char)*s);
		}
	}
}

char *text_to_utf8(const char *s)
{
	char *out = malloc(strlen(s) * strlen(REPLACEMENT) + 1);
	size_t at = 0;

	if (!out)
		return NULL;
	while (*s) {
		uint32_t code;
		size_t len = text_utf8_length(s, &code);

		if (len)
			memcpy(out + at, s, len);
		else
			memcpy(out + at, REPLACEMENT, strlen(REPLACEMENT));
		at += len ? len : strlen(REPLACEMENT);
		s += MAX(len, 1U);
	}
	out[at] = '\0';
	return out;
}

static bool is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || (c && strchr("._~/-", c));
}

char *text_percent(const char *s)
{
	char *out = malloc(3 * strlen(s) + 1), *at = out;

	if (!out)
		return NULL;
	for (; *s; s++) {
		if (is_unreserved(*s))
			*at++ = *s;
		else
			at += sprintf(at, "%%%02X", (unsigned char)*s);
	}
	*at = '\0';
	return out;
}

char *text_time(uint64_t ns, enum text_precision precision, char *buf)
{
	time_t seconds = (time_t)(ns / NSEC_PER_SEC);
	struct tm tm;
	size_t n;

	buf[0] = '\0';
	if (!ns || !gmtime_r(&seconds, &tm))
		return buf;
	n = strftime(buf, TEXT_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	if (precision == TEXT_MILLISECONDS)
		n += (size_t)snprintf(buf + n, TEXT_TIME_MAX - n, ".%03u",
				      (unsigned)(ns % NSEC_PER_SEC /
						 NSEC_PER_MSEC));
	snprintf(buf + n, TEXT_TIME_MAX - n, "Z");
	return buf;
}
