/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/doctor.h"

#include "core/base/util.h"
#include "core/cli/text.h"

#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * Each judgement says what is so and, if that is less than it could be, what
 * the administrator can do. Degraded never means unsafe: exclusion holds in
 * every state in which a lock is taken at all.
 */

#define WMEM_DEFAULT 212992 /* Linux's own default for net.core.wmem_max */
#define NOFILE_LOW 4096

static bool may(const struct doctor_facts *f, int capability)
{
	return f->capabilities >> capability & 1;
}

static _printf_(5, 6) void find(struct findings *all, const char *topic,
				enum finding_state state, const char *mend,
				const char *format, ...)
{
	struct finding *f = &all->items[all->n];
	va_list args;

	if (all->n == ARRAY_SIZE(all->items))
		return;
	all->n++;
	f->topic = topic;
	f->state = state;
	f->mend = state == FINDING_OK ? NULL : mend;
	va_start(args, format);
	vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
}

static void judge_kernel(const struct doctor_facts *f, struct findings *all)
{
	bool old = f->kernel_major < 5 ||
		   (f->kernel_major == 5 && f->kernel_minor < 14);

	find(all, "kernel", old ? FINDING_MISSING : FINDING_OK,
	     "run Linux 5.14 or newer", "Linux %u.%u", f->kernel_major,
	     f->kernel_minor);
}

static const char *mend_engine(const struct doctor_facts *f)
{
	if (f->engine_wish && !strcmp(f->engine_wish, "syscall"))
		return "unset GUESTLOCK_ENGINE";
	if (f->disabled && strstr(f->disabled, "uring"))
		return "unset GUESTLOCK_DISABLE";
	if (f->io_uring_disabled == 2)
		return "sysctl kernel.io_uring_disabled=0";
	if (f->io_uring_disabled == 1)
		return "put this user into the group of sysctl "
		       "kernel.io_uring_group, or set "
		       "kernel.io_uring_disabled=0";
	return "let seccomp, the container or the kernel's configuration "
	       "allow io_uring_setup(2)";
}

static void judge_engine(const struct doctor_facts *f, struct findings *all)
{
	const struct glk_host_info *h = &f->host;

	if (!strcmp(h->engine, "uring"))
		find(all, "engine", FINDING_OK, NULL,
		     "io_uring, flags %s, completion by %s, locks by %s",
		     *h->ring_flags ? h->ring_flags : "none",
		     *h->completion ? h->completion : "the ring",
		     h->lock_opcode ? "ring" : "fcntl");
	else
		find(all, "engine", FINDING_DEGRADED, mend_engine(f),
		     "plain system calls instead of io_uring: %s%s",
		     h->engine_reason,
		     f->io_uring_disabled > 0 ? " (kernel.io_uring_disabled)"
					      : "");
}

static void judge_truth(const struct doctor_facts *f, struct findings *all)
{
	if (f->host.getlk_unlck)
		find(all, "lock query", FINDING_OK, NULL,
		     "F_OFD_GETLK tells whether a lock is still held");
	else
		find(all, "lock query", FINDING_DEGRADED,
		     "Linux 6.6 has the faster way",
		     "fdinfo is read to see whether a lock is still held: as "
		     "exact, slower");
	if (f->host.memfd_noexec)
		find(all, "identity", FINDING_OK, NULL,
		     "a guest's identity is sealed, and can never be executed");
	else
		find(all, "identity", FINDING_DEGRADED,
		     "Linux 6.3 can forbid it",
		     "a guest's identity is sealed, but could be executed");
}

static void judge_discovery(const struct doctor_facts *f, struct findings *all)
{
	if (f->host.udiag)
		find(all, "discovery", FINDING_OK, NULL,
		     "sock_diag finds running guests");
	else
		find(all, "discovery", FINDING_DEGRADED,
		     "modprobe unix_diag, or let the sandbox allow netlink",
		     "sock_diag does not work: sockets are read from "
		     "/proc/net/unix");
}

static void judge_adoption(const struct doctor_facts *f, struct findings *all)
{
	static const char mend[] =
		"sysctl kernel.yama.ptrace_scope=0, or run as root";
	bool root = may(f, CAP_SYS_PTRACE);

	if (!f->host.pidfd_getfd)
		find(all, "adoption", FINDING_MISSING,
		     "let seccomp or the container allow pidfd_getfd(2)",
		     "pidfd_getfd does not work: no running guest can be "
		     "listed or changed");
	else if (f->ptrace_scope >= 3)
		find(all, "adoption", FINDING_MISSING,
		     "boot with kernel.yama.ptrace_scope below 3",
		     "kernel.yama.ptrace_scope=%ld: no running guest can be "
		     "listed or changed, not even by root",
		     f->ptrace_scope);
	else if (root)
		find(all, "adoption", FINDING_OK, NULL,
		     "pidfd_getfd works, for every user's guests");
	else if (f->ptrace_scope == 2)
		find(all, "adoption", FINDING_MISSING, mend,
		     "kernel.yama.ptrace_scope=2: this user can list and "
		     "change no running guest");
	else if (f->ptrace_scope == 1)
		find(all, "adoption", FINDING_DEGRADED, mend,
		     "kernel.yama.ptrace_scope=1: this user can list and "
		     "change a guest only from a process that started it");
	else
		find(all, "adoption", FINDING_OK, NULL,
		     "pidfd_getfd works, for this user's guests");
}

static void judge_limits(const struct doctor_facts *f, struct findings *all)
{
	bool free = may(f, CAP_SYS_RESOURCE) || may(f, CAP_SYS_ADMIN);
	unsigned long long hard = f->nofile.rlim_max;
	bool low = hard < NOFILE_LOW;

	find(all, "descriptors", low ? FINDING_DEGRADED : FINDING_OK,
	     "raise the hard RLIMIT_NOFILE (limits.conf, LimitNOFILE=)",
	     "RLIMIT_NOFILE %llu, hard limit %llu: about that many disks in "
	     "one call",
	     (unsigned long long)f->nofile.rlim_cur, hard);
	if (free)
		find(all, "parked locks", FINDING_OK, NULL,
		     "no limit for this user");
	else
		find(all, "parked locks", low ? FINDING_DEGRADED : FINDING_OK,
		     "raise the hard RLIMIT_NOFILE, or run as root",
		     "all guests of this user together hold at most %llu "
		     "disks (hard RLIMIT_NOFILE)",
		     hard);
}

static void judge_send_buffer(const struct doctor_facts *f,
			      struct findings *all)
{
	bool low = f->wmem_max < WMEM_DEFAULT && !may(f, CAP_NET_ADMIN);

	if (f->wmem_max < 0)
		find(all, "send buffer", FINDING_OK, NULL,
		     "net.core.wmem_max is not told here");
	else
		find(all, "send buffer", low ? FINDING_DEGRADED : FINDING_OK,
		     "sysctl net.core.wmem_max=212992",
		     low ? "net.core.wmem_max=%ld: a guest holds fewer disks"
			 : "net.core.wmem_max=%ld",
		     f->wmem_max);
}

static void judge_proc(const struct doctor_facts *f, struct findings *all)
{
	bool hidden = f->hidepid > 0 && !may(f, CAP_SYS_PTRACE);

	if (f->hidepid < 0)
		find(all, "/proc", FINDING_MISSING, "mount proc on /proc",
		     "proc is not mounted on /proc");
	else
		find(all, "/proc", hidden ? FINDING_DEGRADED : FINDING_OK,
		     "run as root, or mount /proc with gid= of this user",
		     hidden ? "hidepid=%ld: other users' processes that hold "
			      "a disk are not named"
			    : "hidepid=%ld",
		     f->hidepid);
}

static void judge_switches(const struct doctor_facts *f, struct findings *all)
{
	if (f->stranger)
		find(all, "environment", FINDING_DEGRADED,
		     "correct GUESTLOCK_DISABLE",
		     "GUESTLOCK_DISABLE names a feature that there is not: %s",
		     f->stranger);
	else if (f->disabled && *f->disabled)
		find(all, "environment", FINDING_DEGRADED,
		     "unset GUESTLOCK_DISABLE",
		     "GUESTLOCK_DISABLE switches off %s", f->disabled);
}

void doctor_judge(const struct doctor_facts *facts,
		  struct findings *ret_findings)
{
	ret_findings->n = 0;
	judge_kernel(facts, ret_findings);
	judge_engine(facts, ret_findings);
	judge_truth(facts, ret_findings);
	judge_discovery(facts, ret_findings);
	judge_adoption(facts, ret_findings);
	judge_limits(facts, ret_findings);
	judge_send_buffer(facts, ret_findings);
	judge_proc(facts, ret_findings);
	judge_switches(facts, ret_findings);
}

bool doctor_usable(const struct findings *findings)
{
	for (size_t i = 0; i < findings->n; i++) {
		if (findings->items[i].state == FINDING_MISSING)
			return false;
	}
	return true;
}

const char *finding_state_name(enum finding_state state)
{
	static const char *const names[] = { "ok", "degraded", "missing" };

	return names[state];
}
