/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "include/guestlock.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

/* What was seen on this host. A number of -1: the host does not say. */
struct doctor_facts {
	struct glk_host_info host;
	unsigned kernel_major, kernel_minor;
	uid_t uid;
	uint64_t capabilities; /* effective; bit = CAP_* */
	struct rlimit nofile;  /* as the user set it */
	long io_uring_disabled;
	long ptrace_scope;
	long wmem_max;
	long hidepid;
	const char *engine_wish; /* GUESTLOCK_ENGINE, or NULL */
	const char *disabled;	 /* GUESTLOCK_DISABLE, or NULL */
	const char *stranger;	 /* a name in it that is no feature, or NULL */
};

enum finding_state {
	FINDING_OK,
	FINDING_DEGRADED, /* works; less, or slower */
	FINDING_MISSING,  /* guestlock cannot do its work here */
};

struct finding {
	const char *topic;
	enum finding_state state;
	char text[200];
	const char *mend; /* what to do about it, or NULL */
};

struct findings {
	struct finding items[16];
	size_t n;
};

/* Fill in all but @host and @nofile. Never fails: see above. */
void doctor_look(struct doctor_facts *facts);

/* "hidepid=" of the proc mounted on /proc, from the text of
   /proc/self/mountinfo: 0 to 4; -1 if there is none. */
long doctor_parse_hidepid(const char *mountinfo);

/* "CapEff:" from the text of /proc/self/status; 0 if it is not there. */
uint64_t doctor_parse_capabilities(const char *status);

/* What the facts mean for guestlock. Pure. */
void doctor_judge(const struct doctor_facts *facts,
		  struct findings *ret_findings);

/* Nothing is missing. */
bool doctor_usable(const struct findings *findings);

/* Why a lease on a disk reaches no further, and how to get more; static, or
   NULL. */
const char *doctor_disk_why(const struct glk_disk_reach *reach);
const char *doctor_disk_mend(const struct glk_disk_reach *reach);

void doctor_disk_print(const char *path, const struct glk_disk_reach *reach);

/* Add "fs", "scope" and the rest to an object. Return: 0 or -1. */
int doctor_disk_json(json_t *object, const struct glk_disk_reach *reach);

const char *finding_state_name(enum finding_state state);
