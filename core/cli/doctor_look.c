/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/doctor.h"

#include "core/base/feature.h"
#include "core/base/util.h"
#include "core/cli/disks.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

static char *read_text(const char *path)
{
	char *data, *text;
	size_t len;

	if (disks_read_file(path, &data, &len) < 0)
		return NULL;
	text = realloc(data, len + 1);
	if (!text)
		free(data);
	else
		text[len] = '\0';
	return text;
}

static long read_number(const char *path)
{
	_cleanup_(freep) char *text = read_text(path);
	char *end;
	long n;

	if (!text)
		return -1;
	n = strtol(text, &end, 10);
	return end == text ? -1 : n;
}

static long hidepid_number(const char *value)
{
	static const char *const names[] = {
		"off", "noaccess", "invisible", NULL, "ptraceable",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (names[i] && !strncmp(value, names[i], strlen(names[i])))
			return (long)i;
	}
	return *value >= '0' && *value <= '4' ? *value - '0' : -1;
}

/* 36 25 0:21 / /proc rw,nosuid - proc proc rw,hidepid=invisible */
long doctor_parse_hidepid(const char *mountinfo)
{
	long found = -1;

	while (*mountinfo) {
		size_t len = strcspn(mountinfo, "\n");
		_cleanup_(freep) char *line = strndup(mountinfo, len);
		char *super = line ? strstr(line, " - proc ") : NULL;

		mountinfo += len + (mountinfo[len] == '\n');
		if (!super || !strstr(line, " / /proc "))
			continue;
		/* The last mount on a directory is the one that is seen. */
		super = strstr(super, "hidepid=");
		found = super ? hidepid_number(super + strlen("hidepid=")) : 0;
	}
	return found;
}

uint64_t doctor_parse_capabilities(const char *status)
{
	const char *line = strstr(status, "\nCapEff:");

	return line ? strtoull(line + strlen("\nCapEff:"), NULL, 16) : 0;
}

void doctor_look(struct doctor_facts *facts)
{
	_cleanup_(freep) char *status = read_text("/proc/self/status");
	_cleanup_(freep) char *mounts = read_text("/proc/self/mountinfo");
	struct utsname uts;

	uname(&uts);
	sscanf(uts.release, "%u.%u", &facts->kernel_major,
	       &facts->kernel_minor);
	facts->uid = geteuid();
	facts->capabilities = status ? doctor_parse_capabilities(status) : 0;
	facts->io_uring_disabled =
		read_number("/proc/sys/kernel/io_uring_disabled");
	facts->ptrace_scope = read_number("/proc/sys/kernel/yama/ptrace_scope");
	facts->wmem_max = read_number("/proc/sys/net/core/wmem_max");
	facts->hidepid = mounts ? doctor_parse_hidepid(mounts) : -1;
	facts->engine_wish = getenv("GUESTLOCK_ENGINE");
	facts->disabled = getenv("GUESTLOCK_DISABLE");
	facts->stranger = feature_unknown();
}
