/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/fdinfo.h"
#include "core/capsule/proc.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_lock(const char *line, size_t len)
{
	struct fdinfo_lock lock;

	if (fdinfo_parse(line, len, &lock))
		return;
	if (lock.start > lock.end || lock.end > INT64_MAX)
		abort();
	if (lock.type != F_RDLCK && lock.type != F_WRLCK)
		abort();
}

/* Once as a line of fdinfo, once as a stat file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = malloc(size + 1);
	struct proc_stat st;

	if (!line)
		return 0;
	memcpy(line, data, size);
	line[size] = '\0';
	check_lock((const char *)data, size);
	if (proc_stat_parse(line, &st) == 0 && !strchr(line, ')'))
		abort();
	free(line);
	return 0;
}
