/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/family.h"

#include "core/capsule/proc.h"

#define GENERATIONS 64

/* A pid, or 0 for none. */
struct heads {
	pid_t pids[3];
};

static struct heads heads_of(const struct glk_guest *guest)
{
	const struct capsule_keeper *keeper =
		guest->capsule ? capsule_keeper(guest->capsule) : NULL;

	return (struct heads){ {
		guest->holder_pid,
		keeper ? keeper->pid : 0,
		guest->who.holder == CAPSULE_SELF && !keeper ? getpid() : 0,
	} };
}

static bool is_head(const struct heads *heads, pid_t pid)
{
	for (size_t i = 0; i < ARRAY_SIZE(heads->pids); i++)
		if (heads->pids[i] == pid)
			return true;
	return false;
}

bool family_has(const struct glk_guest *guest, pid_t pid)
{
	const struct heads heads = heads_of(guest);
	pid_t up = pid;

	if (pid == getpid())
		return true;
	for (int i = 0; i < GENERATIONS && up > 1; i++) {
		if (is_head(&heads, up))
			return true;
		up = proc_parent(up);
	}
	return guest->capsule && capsule_is_in(guest->capsule, pid);
}
