/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The main() of a fuzzer without libFuzzer: runs every file of the corpus
 * folders that it is given, and fails if there is none.
 */
#include "core/base/err.h"
#include "core/base/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define INPUT_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_(freep) uint8_t *data = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return 0;
	/* Of exactly the size, so that a sanitizer sees one byte too many. */
	data = malloc((size_t)st.st_size + !st.st_size);
	if (!data || st.st_size > INPUT_MAX ||
	    read(fd, data, (size_t)st.st_size) != st.st_size) {
		perror(path);
		exit(1);
	}
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	return 1;
}

static int replay_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	if (!d) {
		perror(dir);
		exit(1);
	}
	while ((e = readdir(d))) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		n += replay_file(path);
	}
	closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	int n = 0;

	bug_set_fatal(true);
	for (int i = 1; i < argc; i++)
		n += replay_dir(argv[i]);
	printf("%d inputs\n", n);
	return n ? 0 : 1;
}
