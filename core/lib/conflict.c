/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/lib.h"

#include "core/base/util.h"
#include "core/capsule/proc.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int copy(const char *s, const char **ret_copy)
{
	*ret_copy = strdup(s ? s : "");
	return *ret_copy ? 0 : -ENOMEM;
}

static void forget(struct glk_conflict *c)
{
	free((char *)c->path);
	free((char *)c->uuid);
	free((char *)c->name);
	free((char *)c->exe);
	free((char *)c->host);
	free((char *)c->how);
}

int conflict_add(struct conflict_list *list, const struct glk_conflict *c)
{
	const struct glk_conflict from = *c; /* it may be one of the list's */
	struct glk_conflict own = from;
	int r = 0;

	if (list->n == list->cap) {
		size_t cap = list->cap ? 2 * list->cap : 8;
		void *p = realloc(list->items, cap * sizeof(*list->items));

		if (!p)
			return -ENOMEM;
		list->items = p;
		list->cap = cap;
	}
	own.path = own.uuid = own.name = own.exe = own.host = own.how = NULL;
	if (copy(from.path, &own.path) || copy(from.uuid, &own.uuid) ||
	    copy(from.name, &own.name) || copy(from.exe, &own.exe) ||
	    copy(from.host, &own.host) || copy(from.how, &own.how))
		r = -ENOMEM;
	if (r)
		forget(&own);
	else
		list->items[list->n++] = own;
	return r;
}

void conflict_clear(struct conflict_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		forget(&list->items[i]);
	free(list->items);
	*list = (struct conflict_list){};
}

void conflict_drop_last(struct conflict_list *list)
{
	if (list->n)
		forget(&list->items[--list->n]);
}

void conflict_of_process(struct glk_conflict *c, pid_t pid,
			 char exe[static PATH_MAX])
{
	uint64_t start;

	proc_exe(pid, exe, PATH_MAX);
	c->kind = GLK_CONFLICT_PROCESS;
	c->pid = pid;
	c->exe = exe;
	if (!proc_start_time(pid, &start))
		c->since = proc_start_to_realtime(start);
}

static void format_time(uint64_t ns, char *buf, size_t size)
{
	time_t t = (time_t)(ns / 1000000000);
	struct tm tm;

	buf[0] = '\0';
	if (ns && gmtime_r(&t, &tm))
		strftime(buf, size, " since %Y-%m-%dT%H:%M:%SZ", &tm);
}

/* Who it is, without what he does. */
static void describe_holder(const struct glk_conflict *c, char *buf,
			    size_t size)
{
	char since[40];

	format_time(c->since, since, sizeof(since));
	switch (c->kind) {
	case GLK_CONFLICT_GUEST:
		snprintf(buf, size, "guest '%s' (uuid %s, pid %d)%s",
			 quoted(c->name), c->uuid, (int)c->pid, since);
		break;
	case GLK_CONFLICT_PROCESS:
		snprintf(buf, size, "process %d (%s)%s", (int)c->pid,
			 c->exe[0] ? quoted(c->exe) : "unknown executable",
			 since);
		break;
	case GLK_CONFLICT_HOST:
		snprintf(buf, size, "guest '%s' (uuid %s, pid %d) of host %s%s",
			 quoted(c->name), quoted(c->uuid), (int)c->pid,
			 quoted(c->host), since);
		break;
	case GLK_CONFLICT_KERNEL:
		snprintf(buf, size, "the kernel");
		break;
	default:
		snprintf(buf, size, "somebody that this process cannot see");
	}
}

void conflict_describe(const struct glk_conflict *c, char *buf, size_t size)
{
	char who[5000];

	describe_holder(c, who, sizeof(who));
	if (c->how && *c->how)
		snprintf(buf, size, "%s %s", who, quoted(c->how));
	else
		snprintf(buf, size, "held by %s", who);
}
