/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/doctor.h"

#include "core/cli/json.h"
#include "core/cli/text.h"

#include <string.h>

/*
 * What is said of one disk: how far a lease on it would reach, what makes it
 * so, and how to get more.
 */

static const char *scope_meaning(int scope)
{
	switch (scope) {
	case GLK_SCOPE_NODE:
		return "a lock holds for those only who come this way";
	case GLK_SCOPE_HOST:
		return "a lock holds for every process of this host";
	case GLK_SCOPE_SERVER:
		return "a lock holds for every client of the file server, "
		       "while it is reached";
	case GLK_SCOPE_CLUSTER:
		return "a lock holds for every node of the cluster, while it "
		       "is reached";
	default:
		return "how far a lock reaches is not known";
	}
}

static bool is_type(const char *fs, const char *type)
{
	size_t len = strlen(type);

	return !strncmp(fs, type, len) && (!fs[len] || fs[len] == '.');
}

const char *doctor_disk_why(const struct glk_disk_reach *reach)
{
	if (reach->twin)
		return "two mounts of one NFS client may not see each other's "
		       "locks";
	if (reach->option)
		return "this mount option keeps its locks on this host";
	if (is_type(reach->fs, "overlay"))
		return reach->lower && !reach->upper
			       ? "an overlay's file and its layers' files have "
				 "locks of their own; an exclusive lease "
				 "copies it to the upper layer"
			       : "an overlay's file and its layers' files have "
				 "locks of their own";
	if (is_type(reach->fs, "fuse") || is_type(reach->fs, "fuseblk") ||
	    is_type(reach->fs, "9p") || is_type(reach->fs, "virtiofs"))
		return "whether its server shows locks to others cannot be "
		       "known";
	return NULL;
}

const char *doctor_disk_mend(const struct glk_disk_reach *reach)
{
	if (reach->twin)
		return "mount it once, and bind that where else it is needed";
	if (reach->option)
		return "mount it without that option";
	if (is_type(reach->fs, "overlay"))
		return "keep images outside of the overlay, or name the disk "
		       "by one and the same path everywhere";
	if (reach->scope == GLK_SCOPE_HOST)
		return "for other hosts, set a lock directory on a file system "
		       "that they share";
	return NULL;
}

static void print_line(const char *word, const char *text)
{
	if (!text)
		return;
	printf("  %s: ", word);
	text_put(stdout, text, 0);
	putchar('\n');
}

void doctor_disk_print(const char *path, const struct glk_disk_reach *reach)
{
	text_put(stdout, path, 0);
	fputs(": ", stdout);
	text_put(stdout, reach->fs, 0);
	printf(", scope %s: %s\n", lease_scope_name(reach->scope),
	       scope_meaning(reach->scope));
	print_line("mounted on", *reach->mount ? reach->mount : NULL);
	print_line("mounted again on", reach->twin);
	print_line("option", reach->option);
	print_line("why", doctor_disk_why(reach));
	print_line("upper layer", reach->upper);
	print_line("lower layer", reach->lower);
	print_line("mend", doctor_disk_mend(reach));
}

int doctor_disk_json(json_t *object, const struct glk_disk_reach *reach)
{
	int e = json_set_bytes(object, "fs", reach->fs);

	e |= json_object_set_new(object, "scope",
				 json_string(lease_scope_name(reach->scope)));
	e |= json_set_bytes(object, "mount",
			    *reach->mount ? reach->mount : NULL);
	e |= json_set_bytes(object, "twin", reach->twin);
	e |= json_set_bytes(object, "option", reach->option);
	e |= json_set_bytes(object, "upper", reach->upper);
	e |= json_set_bytes(object, "lower", reach->lower);
	e |= json_set_bytes(object, "why", doctor_disk_why(reach));
	return e | json_set_bytes(object, "mend", doctor_disk_mend(reach));
}
