/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lib.h"

#include "core/base/util.h"

#include <stdio.h>
#include <string.h>

/* Paths as text. Nothing here touches a file, or knows of links. */

char *path_absolute(const char *path)
{
	_cleanup_(freep) char *cwd = NULL;

	if (path[0] != '/')
		cwd = getcwd(NULL, 0);
	return path_absolute_in(cwd, path);
}

char *path_absolute_in(const char *cwd, const char *path)
{
	char *full = NULL;

	if (path[0] == '/')
		return strdup(path);
	if (!cwd || strlen(cwd) + 1 + strlen(path) > CAPSULE_PATH_MAX)
		return strdup(path);
	while (!strncmp(path, "./", 2))
		path += 2;
	if (asprintf(&full, "%s/%s", strcmp(cwd, "/") ? cwd : "", path) < 0)
		return NULL;
	return full;
}

/* What means nothing: "/" before a slash, and "/." before a slash or the end.
   Return: @s behind it. */
static const char *skip_idle(const char *s)
{
	for (;;) {
		if (s[0] == '/' && s[1] == '/')
			s++;
		else if (s[0] == '/' && s[1] == '.' && (s[2] == '/' || !s[2]))
			s += 2;
		else
			return s;
	}
}

bool path_same_text(const char *a, const char *b)
{
	for (;;) {
		a = skip_idle(a);
		b = skip_idle(b);
		if (*a != *b || !*a)
			return *a == *b;
		a++;
		b++;
	}
}
