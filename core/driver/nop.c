/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/driver/drivers.h"

#include "core/base/util.h"
#include "core/driver/process.h"

/*
 * Locks nothing, for hosts that do not want it and for tests. It finds no guest
 * again and migrates none, since nothing of it is in the kernel: a guest is
 * what started() said.
 */
struct nop {
	struct glk_context *context;
	pid_t pid; /* 0 until it is known */
};

static int nop_open(const struct glk_driver_guest *guest, void **ret_state)
{
	struct nop *nop = malloc(sizeof(*nop));

	if (!nop)
		return glk_context_explain(guest->context, -ENOMEM,
					   "out of memory");
	*nop = (struct nop){ .context = guest->context };
	*ret_state = nop;
	return 0;
}

static void nop_close(void *state)
{
	free(state);
}

static int nop_resources(void *state, const struct glk_resource *resources,
			 size_t n)
{
	(void)state;
	(void)resources;
	(void)n;
	return 0;
}

static int nop_inherit(void *state)
{
	(void)state;
	return 0;
}

static int nop_started(void *state, pid_t pid)
{
	struct nop *nop = state;

	if (!process_exists(pid))
		return glk_context_explain(nop->context, -ESRCH,
					   "there is no process %d", (int)pid);
	nop->pid = pid;
	return 0;
}

static int nop_child(void *state, pid_t *ret_pid)
{
	struct nop *nop = state;

	if (!nop->pid)
		return glk_context_explain(nop->context, -ENODATA,
					   "no process was started yet");
	if (!process_lives(nop->pid))
		return glk_context_explain(nop->context, -ESRCH,
					   "process %d has ended",
					   (int)nop->pid);
	*ret_pid = nop->pid;
	return 0;
}

static int nop_shutdown(void *state)
{
	struct nop *nop = state;

	return nop->pid && process_lives(nop->pid) ? -EAGAIN : 0;
}

const struct glk_driver_table driver_nop = {
	.version = GLK_DRIVER_VERSION,
	.size = sizeof(struct glk_driver_table),
	.name = "nop",
	.abilities = GLK_CAN_DISKS | GLK_CAN_LEASES | GLK_CAN_HOTPLUG,
	.open = nop_open,
	.close = nop_close,
	.acquire = nop_resources,
	.inherit = nop_inherit,
	.started = nop_started,
	.child = nop_child,
	.add = nop_resources,
	.remove = nop_resources,
	.shutdown = nop_shutdown,
};
