/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/fdinfo.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * A line looks like one of these (fs/locks.c, lock_get_status()):
 *
 *   lock:	1: OFDLCK ADVISORY  WRITE -1 fe:00:10952887 0 0
 *   lock:	2: POSIX  ADVISORY  READ 812 fe:00:10952887 100 EOF
 *   lock:	3: FLOCK  ADVISORY  WRITE 812 fe:00:10952887 0 EOF
 *
 * "MANDATORY" instead of "ADVISORY " exists up to Linux 5.14. The file is one
 * snapshot, which the kernel makes at the first read(2), but it may be longer
 * than a buffer, and a line longer than LINE_SIZE is none of ours.
 */

#define LINE_SIZE 256
#define LOCK_PREFIX "lock:\t"

static int parse_kind(const char *s, enum fdinfo_kind *ret_kind)
{
	if (!strcmp(s, "OFDLCK"))
		*ret_kind = FDINFO_OFD;
	else if (!strcmp(s, "POSIX"))
		*ret_kind = FDINFO_POSIX;
	else
		return FDINFO_E_OTHER;
	return 0;
}

static int parse_type(const char *s, short *ret_type)
{
	if (!strcmp(s, "WRITE"))
		*ret_type = F_WRLCK;
	else if (!strcmp(s, "READ"))
		*ret_type = F_RDLCK;
	else
		return -EBADMSG;
	return 0;
}

/* Digits only, as the kernel prints them: no sign, no blank, no overflow. */
static int parse_offset(const char *s, uint64_t *ret_offset)
{
	char *end;

	if (*s < '0' || *s > '9' || strlen(s) > 19)
		return -EBADMSG;
	*ret_offset = strtoull(s, &end, 10);
	return *end || *ret_offset > INT64_MAX ? -EBADMSG : 0;
}

static int parse_range(const char *start, const char *end,
		       struct fdinfo_lock *lock)
{
	int r = parse_offset(start, &lock->start);

	if (r < 0)
		return r;
	if (!strcmp(end, "EOF"))
		lock->end = INT64_MAX;
	else
		r = parse_offset(end, &lock->end);
	return r < 0 || lock->end < lock->start ? -EBADMSG : 0;
}

int fdinfo_parse(const char *line, size_t len, struct fdinfo_lock *ret_lock)
{
	char copy[LINE_SIZE], kind[8], nature[12], type[8], start[24], end[24];
	struct fdinfo_lock lock;
	int n = 0, r;

	if (len < strlen(LOCK_PREFIX) || len >= sizeof(copy) ||
	    memcmp(line, LOCK_PREFIX, strlen(LOCK_PREFIX)))
		return FDINFO_E_OTHER;
	memcpy(copy, line, len);
	copy[len] = '\0';
	if (sscanf(copy, LOCK_PREFIX "%*u: %7s %n", kind, &n) != 1 || !n)
		return -EBADMSG;
	r = parse_kind(kind, &lock.kind);
	if (r)
		return r;
	r = 0;
	if (sscanf(copy + n, "%11s %7s %*d %8x:%8x:%20" SCNu64 " %23s %23s%n",
		   nature, type, &lock.major, &lock.minor, &lock.ino, start,
		   end, &r) != 7 ||
	    (size_t)(n + r) != len)
		return -EBADMSG;
	if (strcmp(nature, "ADVISORY") && strcmp(nature, "MANDATORY"))
		return -EBADMSG;
	r = parse_type(type, &lock.type);
	if (r < 0)
		return r;
	r = parse_range(start, end, &lock);
	if (r < 0)
		return r;
	*ret_lock = lock;
	return 0;
}

struct scan {
	char buf[1024];
	size_t fill;
	bool (*found)(void *arg, const struct fdinfo_lock *lock);
	void *arg;
};

/* Eat whole lines. Return: 1 if @found has had enough, 0, or negative errno. */
static int scan_lines(struct scan *scan)
{
	char *line = scan->buf, *end = scan->buf + scan->fill, *nl;

	while ((nl = memchr(line, '\n', (size_t)(end - line)))) {
		struct fdinfo_lock lock;
		int r = fdinfo_parse(line, (size_t)(nl - line), &lock);

		line = nl + 1;
		if (r < 0)
			return r;
		if (r == 0 && scan->found(scan->arg, &lock))
			return 1;
	}
	scan->fill = (size_t)(end - line);
	memmove(scan->buf, line, scan->fill);
	if (scan->fill == sizeof(scan->buf))
		scan->fill = LINE_SIZE; /* still too long to be ours */
	return 0;
}

int fdinfo_read(int fd,
		bool (*found)(void *arg, const struct fdinfo_lock *lock),
		void *arg)
{
	struct scan scan = { .found = found, .arg = arg };
	ssize_t n;
	int r;

	for (;;) {
		n = read(fd, scan.buf + scan.fill,
			 sizeof(scan.buf) - scan.fill);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		scan.fill += (size_t)n;
		r = scan_lines(&scan);
		if (r)
			return MIN(r, 0);
	}
}
