/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/overlay.h"

#include "core/base/util.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * mountinfo shows an overlay's layers as they were named when it was mounted:
 *
 *	rw,lowerdir=/top:/next:/bottom,upperdir=/upper,workdir=/work
 *	rw,lowerdir+=/top,lowerdir+=/next,datadir+=/data,...	(Linux 6.8)
 *
 * What mountinfo itself escapes is \ooo, also a comma; then a colon in a name
 * is "\:". "::" stands before layers that hold data only. A name that is not
 * absolute says nothing to us, and one of another mount namespace leads to no
 * such file, or at worst to one that is none of the overlay's: so what is found
 * here explains, and decides nothing.
 */

static void decode(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] &&
		    s[3]) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
				       (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Cut the first of a list off, and take its backslashes away. Return: it, or
   NULL at the end. */
static char *next_layer(char **list, const char *between)
{
	char *start = *list, *to = start, *s = start;

	if (!*s)
		return NULL;
	for (; *s && !strchr(between, *s); s++) {
		if (s[0] == '\\' && s[1])
			s++;
		*to++ = *s;
	}
	s += strspn(s, between);
	*list = s;
	*to = '\0';
	return start;
}

/* "LAYER/ROOT/REST" if it is a file. Return: 0 or -ENOMEM. */
static int look_in(const char *layer, const char *root, const char *rest,
		   char **ret_path)
{
	char *path;
	struct stat st;

	if (!layer || layer[0] != '/' || *ret_path)
		return 0;
	if (asprintf(&path, "%s%s%s", layer, strcmp(root, "/") ? root : "",
		     rest) < 0)
		return -ENOMEM;
	if (lstat(path, &st) || !S_ISREG(st.st_mode))
		free(path);
	else
		*ret_path = path;
	return 0;
}

struct search {
	const char *root, *rest;
	struct overlay_twins twins;
};

static int look_for(struct search *s, char *option)
{
	char *value = strchr(option, '='), *layer;
	int r = 0;

	if (!value)
		return 0;
	*value++ = '\0';
	decode(value);
	if (!strcmp(option, "upperdir"))
		return look_in(next_layer(&value, ""), s->root, s->rest,
			       &s->twins.upper);
	if (!strcmp(option, "lowerdir+"))
		return look_in(value, s->root, s->rest, &s->twins.lower);
	if (strcmp(option, "lowerdir"))
		return 0;
	while (!r && (layer = next_layer(&value, ":")))
		r = look_in(layer, s->root, s->rest, &s->twins.lower);
	return r;
}

int overlay_twins(const struct mount_place *place, const char *path,
		  struct overlay_twins *ret_twins)
{
	_cleanup_(freep) char *options = strdup(place->options);
	size_t skip = strcmp(place->point, "/") ? strlen(place->point) : 0;
	struct search s = { .root = place->root, .rest = path + skip };
	char *option, *save = NULL;
	int r = options ? 0 : -ENOMEM;

	for (option = r ? NULL : strtok_r(options, ",", &save); option && !r;
	     option = strtok_r(NULL, ",", &save))
		r = look_for(&s, option);
	if (r)
		overlay_twins_done(&s.twins);
	else
		*ret_twins = s.twins;
	return r;
}

void overlay_twins_done(struct overlay_twins *twins)
{
	free(twins->upper);
	free(twins->lower);
	*twins = (struct overlay_twins){};
}
