/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/options.h"

#include "core/base/util.h"

#include <string.h>

/*
 * A command line has limits: 128 KiB for a word, 2 MiB for all. A manager that
 * starts a guest with thousands of disks therefore writes the options into a
 * memory file and names that, as /proc/PID/fd/N.
 */
static size_t count_words(const char *data, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i += strlen(data + i) + 1)
		n++;
	return n;
}

int options_read_args(struct options *options, const char *name,
		      const char *file, int *ret_argc)
{
	_cleanup_(freep) char *read = NULL, *data = NULL;
	size_t len, n = 0;
	char **words;
	int r;

	r = disks_read_file(file, &read, &len);
	if (r < 0)
		return options_complain_file(options, r, "--args-from ", file);
	if (!len)
		return options_complain(options, -EINVAL, "--args-from ", file,
					" is empty");
	data = realloc(read, len + 1); /* the last NUL byte may be missing */
	if (!data)
		return -ENOMEM;
	TAKE_PTR(read);
	data[len] = '\0';
	words = calloc(count_words(data, len) + 2, sizeof(*words));
	if (!words)
		return -ENOMEM;
	words[n++] = (char *)name;
	for (size_t i = 0; i < len; i += strlen(data + i) + 1)
		words[n++] = data + i;
	options->words = words;
	options->words_data = TAKE_PTR(data);
	*ret_argc = (int)n;
	return 0;
}
