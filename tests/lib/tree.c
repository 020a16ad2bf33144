/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/tree.h"

#include "tests/lib/test.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void make_parents(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
}

static void write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fprintf(f, "%s\n", text);
	fclose(f);
}

void tree_add(const char *root, const char *line)
{
	char kind, name[1024], text[1024] = "", path[PATH_MAX];

	if (line[0] == '#')
		return;
	assert_true(sscanf(line, "%c %1023s %1023[^\n]", &kind, name, text) >=
		    2);
	snprintf(path, sizeof(path), "%s/%s", root, name);
	make_parents(path);
	if (kind == 'l')
		assert_int_equal(symlink(text, path), 0);
	else
		write_text(path, text);
}

const char *tree_make(const char *recording, const char *name)
{
	const char *root = test_file(name, -1);
	FILE *f = fopen(recording, "r");
	char *line = NULL;
	size_t cap = 0;

	assert_non_null(f);
	mkdir(root, 0755);
	while (getline(&line, &cap, f) > 0)
		tree_add(root, line);
	free(line);
	fclose(f);
	return root;
}
