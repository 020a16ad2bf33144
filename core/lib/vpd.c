/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/vpd.h"

#include "core/base/util.h"

#include <string.h>

/*
 * virtlockd names a SCSI disk by what `scsi_id --replace-whitespace
 * --whitelisted` prints, so this gives the same text, whatever one thinks of
 * it. Written from the standard (SPC) and from what the program does, held to
 * it by tests that run the program:
 *
 * - It reads 254 bytes of a page, with zeroes where the disk has sent fewer.
 * - Page 0 must list a page for it to be asked for. Page 0x83 goes first, 0x80
 *   is taken if that has no identifier.
 * - Of page 0x83 it takes the best identifier of the logical unit: the order
 *   below, and the first one of a kind. A digit for the kind goes first.
 * - Some old disks give a bare number in page 0x83, and no list: seen from byte
 *   6, which a list has as zero.
 * - A name that is the vendor's own business gets vendor and model before it.
 * - A NUL ends the text. Runs of white space become one "_", at the end none;
 *   then what udev would not have in a device's name becomes "_", too.
 *
 * An identifier that goes beyond the 254 bytes makes the program read what is
 * not there. Here it is passed over.
 *
 * /etc/scsi_id.config may have it look at page 0x80 for some vendor's disks.
 * That is not heeded.
 */

#define READ_SIZE 254
#define BUF_SIZE (READ_SIZE + 1) /* an empty identifier's first byte */
#define VENDOR_AT 8
#define VENDOR_SIZE 8
#define MODEL_SIZE 16

enum kind {
	KIND_VENDOR = 0,
	KIND_T10 = 1,
	KIND_EUI64 = 2,
	KIND_NAA = 3,
};

enum code_set {
	CODE_BINARY = 1,
	CODE_ASCII = 2,
};

#define NAA_ANY 16

static const struct {
	uint8_t kind, naa, code_set;
} order[] = {
	{ KIND_NAA, 6, CODE_BINARY },
	{ KIND_NAA, 6, CODE_ASCII },
	{ KIND_NAA, 5, CODE_BINARY },
	{ KIND_NAA, 5, CODE_ASCII },
	{ KIND_NAA, NAA_ANY, CODE_BINARY },
	{ KIND_NAA, NAA_ANY, CODE_ASCII },
	{ KIND_EUI64, NAA_ANY, CODE_BINARY },
	{ KIND_EUI64, NAA_ANY, CODE_ASCII },
	{ KIND_T10, NAA_ANY, CODE_BINARY },
	{ KIND_T10, NAA_ANY, CODE_ASCII },
	{ KIND_VENDOR, NAA_ANY, CODE_BINARY },
	{ KIND_VENDOR, NAA_ANY, CODE_ASCII },
};

struct text {
	char buf[WWID_SIZE];
	size_t len;
};

static void add_bytes(struct text *t, const void *data, size_t n)
{
	memcpy(t->buf + t->len, data, n);
	t->len += n;
}

static void add_hex(struct text *t, const uint8_t *data, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		t->buf[t->len++] = digits[data[i] >> 4];
		t->buf[t->len++] = digits[data[i] & 15];
	}
}

static void as_read(const struct vpd_page *page, uint8_t *buf)
{
	memset(buf, 0, BUF_SIZE);
	memcpy(buf, page->data, MIN(page->size, READ_SIZE));
}

static const uint8_t *vendor_of(const struct vpd *vpd)
{
	size_t size = VENDOR_SIZE + MODEL_SIZE;
	const uint8_t *vendor = vpd->inquiry.data + VENDOR_AT;

	if (vpd->inquiry.size < VENDOR_AT + size || memchr(vendor, 0, size))
		return NULL;
	return vendor;
}

/* Begin the text of a kind that needs vendor and model. */
static bool begin_with_vendor(const struct vpd *vpd, struct text *t)
{
	const uint8_t *vendor = vendor_of(vpd);

	if (vendor)
		add_bytes(t, vendor, VENDOR_SIZE + MODEL_SIZE);
	return vendor;
}

/* @d: four bytes of head, and as many more as the last of these says, but one
   at least */
static bool is_kind(const uint8_t *d, size_t i)
{
	return (d[1] & 0x30) == 0 && (d[1] & 0x0f) == order[i].kind &&
	       (d[0] & 0x0f) == order[i].code_set &&
	       (order[i].naa == NAA_ANY || (d[3] && d[4] >> 4 == order[i].naa));
}

static bool take_id(const struct vpd *vpd, const uint8_t *d, struct text *t)
{
	bool ascii = (d[0] & 0x0f) == CODE_ASCII;
	uint8_t kind = d[1] & 0x0f;
	size_t len = ascii ? d[3] : 2 * d[3];

	if (kind == KIND_VENDOR)
		len += VENDOR_SIZE + MODEL_SIZE;
	if (len + 2 > WWID_SIZE)
		return false;
	*t = (struct text){ .buf = { (char)('0' + kind) }, .len = 1 };
	if (kind == KIND_VENDOR && !begin_with_vendor(vpd, t))
		return false;
	if (ascii)
		add_bytes(t, d + 4, d[3]);
	else
		add_hex(t, d + 4, d[3]);
	return true;
}

static bool find_id(const struct vpd *vpd, const uint8_t *page, size_t i,
		    struct text *t)
{
	size_t end = MIN(4 + ((size_t)page[2] << 8) + page[3], READ_SIZE);
	size_t at = 4;

	while (at + 4 <= end && at + 4 + page[at + 3] <= READ_SIZE) {
		if (is_kind(page + at, i) && take_id(vpd, page + at, t))
			return true;
		at += 4 + page[at + 3];
	}
	return false;
}

/* From before there were lists. */
static bool take_number(const uint8_t *page, struct text *t)
{
	*t = (struct text){ .buf = { '3' }, .len = 1 };
	add_hex(t, page + 4, MIN(page[3], (WWID_SIZE - 3) / 2));
	return true;
}

static bool from_ids(const struct vpd *vpd, struct text *t)
{
	uint8_t page[BUF_SIZE];

	as_read(&vpd->ids, page);
	if (page[1] != 0x83)
		return false;
	if (page[6])
		return take_number(page, t);
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		if (find_id(vpd, page, i, t))
			return true;
	return false;
}

static bool from_serial(const struct vpd *vpd, struct text *t)
{
	uint8_t page[BUF_SIZE];

	as_read(&vpd->serial, page);
	if (page[1] != 0x80 ||
	    1 + VENDOR_SIZE + MODEL_SIZE + page[3] > WWID_SIZE)
		return false;
	*t = (struct text){ .buf = { 'S' }, .len = 1 };
	if (!begin_with_vendor(vpd, t))
		return false;
	add_bytes(t, page + 4, MIN(page[3], READ_SIZE - 4));
	return true;
}

/* The page of pages; some disks send standard data there. */
static bool read_list(const struct vpd *vpd, uint8_t *page)
{
	const uint8_t *vendor = vpd->inquiry.data + VENDOR_AT;

	as_read(&vpd->list, page);
	if (vpd->list.size < 4 || page[1] || page[3] > READ_SIZE)
		return false;
	return page[3] <= MODEL_SIZE ||
	       vpd->inquiry.size < VENDOR_AT + VENDOR_SIZE ||
	       strncmp((const char *)page + VENDOR_SIZE, (const char *)vendor,
		       VENDOR_SIZE) != 0;
}

static bool lists(const uint8_t *page, uint8_t number)
{
	size_t end = MIN(4 + (size_t)page[3], READ_SIZE);

	return memchr(page + 4, number, end - 4);
}

/* The length of a character of more than one byte, or 0 for what is none. */
static size_t wide_length(const char *s)
{
	const uint8_t *b = (const uint8_t *)s;
	size_t n = *b >= 0xf0 ? 4 : *b >= 0xe0 ? 3 : 2;
	static const uint32_t least[] = { 0x80, 0x800, 0x10000 };
	uint32_t c = *b & (0x7fU >> n);

	if (*b < 0xc0 || *b >= 0xf8)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (b[i] & 0x3f);
	}
	if (c < least[n - 2] || c > 0x10ffff || (c & 0xfffff800) == 0xd800 ||
	    (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe)
		return 0;
	return n;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_fine(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z') || (c && strchr("#+-.:=@_", c));
}

/* The first byte is the kind's digit, so none is skipped at the front. */
static void join_spaces(const char *from, char *to)
{
	bool space = false;
	size_t n = 0;

	for (; *from && n < WWID_SIZE - 1; from++) {
		if (is_space(*from)) {
			space = true;
			continue;
		}
		if (space && n + 1 >= WWID_SIZE - 1)
			break;
		if (space)
			to[n++] = '_';
		space = false;
		to[n++] = *from;
	}
	to[n] = '\0';
}

static void replace_odd(char *s)
{
	while (*s) {
		size_t wide = wide_length(s);

		if (wide) {
			s += wide;
		} else if (s[0] == '\\' && s[1] == 'x') {
			s += 2;
		} else {
			if (!is_fine(*s))
				*s = '_';
			s++;
		}
	}
}

int vpd_wwid(const struct vpd *vpd, char *ret_wwid)
{
	uint8_t list[BUF_SIZE];
	struct text t;

	if (!read_list(vpd, list))
		return -ENODATA;
	if (!(lists(list, 0x83) && from_ids(vpd, &t)) &&
	    !(lists(list, 0x80) && from_serial(vpd, &t)))
		return -ENODATA;
	t.buf[MIN(t.len, WWID_SIZE - 1)] = '\0';
	join_spaces(t.buf, ret_wwid);
	replace_odd(ret_wwid);
	return 0;
}
