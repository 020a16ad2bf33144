/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/disks.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <string.h>

#define LIST_MAX (64U << 20)

void disks_done(struct disks *disks)
{
	for (size_t i = 0; i < disks->n; i++)
		free((char *)disks->items[i].path);
	free(disks->items);
	*disks = (struct disks){};
}

static int grow(struct disks *disks)
{
	size_t cap = disks->cap ? 2 * disks->cap : 16;
	void *items;

	if (disks->n < disks->cap)
		return 0;
	items = reallocarray(disks->items, cap, sizeof(*disks->items));
	if (!items)
		return -ENOMEM;
	disks->items = items;
	disks->cap = cap;
	return 0;
}

int disks_add_path(struct disks *disks, const char *path, size_t len,
		   unsigned flags)
{
	char *copy;

	if (grow(disks) < 0)
		return -ENOMEM;
	copy = strndup(path, len);
	if (!copy)
		return -ENOMEM;
	disks->items[disks->n++] = (struct glk_disk){ copy, flags };
	return 0;
}

/* Undoubles commas into @out until a single one, or the end. */
static const char *take_path(const char *s, char *out, size_t *ret_len)
{
	size_t len = 0;

	for (; *s && !(s[0] == ',' && s[1] != ','); s++) {
		if (*s == ',')
			s++;
		out[len++] = *s;
	}
	*ret_len = len;
	return s;
}

static int take_flags(const char *s, unsigned *flags, const char **ret_why)
{
	static const char unknown[] =
		"only shared, readonly, claim and lease may follow a comma; "
		"double a comma that belongs to the path";
	static const char nothing[] =
		"nothing follows the last comma; double a comma that belongs "
		"to the path";

	while (*s == ',') {
		size_t len = strcspn(++s, ",");

		if (len == 6 && !memcmp(s, "shared", len)) {
			*flags |= GLK_DISK_SHARED;
		} else if (len == 8 && !memcmp(s, "readonly", len)) {
			*flags |= GLK_DISK_READONLY;
		} else if (len == 5 && !memcmp(s, "lease", len)) {
			*flags |= GLK_DISK_LEASE;
		} else if (len == 5 && !memcmp(s, "claim", len)) {
			*flags |= GLK_DISK_CLAIM;
		} else {
			*ret_why = len ? unknown : nothing;
			return -EINVAL;
		}
		s += len;
	}
	return 0;
}

int disks_add_spec(struct disks *disks, const char *spec, const char **ret_why)
{
	_cleanup_(freep) char *path = malloc(strlen(spec) + 1);
	unsigned flags = 0;
	size_t len;
	int r;

	if (!path)
		return -ENOMEM;
	spec = take_path(spec, path, &len);
	if (!len) {
		*ret_why = "the path is empty";
		return -EINVAL;
	}
	r = take_flags(spec, &flags, ret_why);
	return r < 0 ? r : disks_add_path(disks, path, len, flags);
}

static const char *record_fault(const char *record, size_t len)
{
	if (!len)
		return "is empty";
	if (memchr(record, '\0', len))
		return "holds a NUL byte; a NUL-separated list wants -0";
	return NULL;
}

int disks_add_list(struct disks *disks, const char *data, size_t len,
		   char delimiter, size_t *ret_record, const char **ret_why)
{
	const char *end = data + len;

	if (!len) {
		*ret_record = 0;
		*ret_why = "names no disk";
		return -EINVAL;
	}
	for (size_t record = 1; data < end; record++) {
		const char *stop =
			memchr(data, delimiter, (size_t)(end - data));
		size_t n = (size_t)((stop ? stop : end) - data);
		const char *why = record_fault(data, n);

		if (why) {
			*ret_record = record;
			*ret_why = why;
			return -EINVAL;
		}
		if (disks_add_path(disks, data, n, 0) < 0)
			return -ENOMEM;
		data += n + 1;
	}
	return 0;
}

static int read_all(int fd, char **ret_data, size_t *ret_len)
{
	_cleanup_(freep) char *data = NULL;
	size_t len = 0, cap = 0;
	ssize_t n;

	do {
		if (len == cap) {
			void *p = realloc(data, cap = cap ? 2 * cap : 65536);

			if (!p)
				return -ENOMEM;
			data = p;
		}
		n = read(fd, data + len, cap - len);
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
		if (len > LIST_MAX)
			return -EFBIG;
	} while (n);
	*ret_data = TAKE_PTR(data);
	*ret_len = len;
	return 0;
}

int disks_read_file(const char *path, char **ret_data, size_t *ret_len)
{
	_cleanup_(fd_closep) int fd = -1;

	if (!strcmp(path, "-"))
		return read_all(STDIN_FILENO, ret_data, ret_len);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return read_all(fd, ret_data, ret_len);
}
