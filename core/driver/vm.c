/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/driver/drivers.h"

#include "core/base/util.h"
#include "core/driver/ofd.h"

#include <stdio.h>

/*
 * One lease for each guest, LOCKSPACE/UUID, taken as "ofd" takes any other. It
 * keeps a guest from running twice, and says nothing about disks: two guests
 * with one disk are not noticed.
 */
struct vm {
	void *ofd;
	struct glk_context *context;
	char *path; /* of the lease, or NULL without a lockspace */
};

static int no_lockspace(struct glk_context *context)
{
	return glk_context_explain(context, -EINVAL,
				   "driver 'vm' needs the parameter "
				   "'lockspace'");
}

static void vm_close(void *state)
{
	struct vm *vm = state;

	if (vm->ofd)
		ofd_close(vm->ofd);
	free(vm->path);
	free(vm);
}

static int vm_open(const struct glk_driver_guest *guest, void **ret_state)
{
	struct vm *vm;
	int r;

	if (!guest->lockspace && guest->mode != GLK_MANAGER_ATTACH)
		return no_lockspace(guest->context);
	vm = zalloc(1, sizeof(*vm));
	if (!vm)
		return glk_context_explain(guest->context, -ENOMEM,
					   "out of memory");
	vm->context = guest->context;
	r = ofd_open(guest, &vm->ofd);
	if (!r && guest->lockspace &&
	    asprintf(&vm->path, "%s/%s", guest->lockspace, guest->config.uuid) <
		    0) {
		vm->path = NULL;
		r = ofd_no_memory(vm->ofd);
	}
	if (r)
		vm_close(vm);
	else
		*ret_state = vm;
	return r;
}

/* In place of what was registered. */
static struct glk_resource lease_of(const struct vm *vm)
{
	return (struct glk_resource){ GLK_RESOURCE_LEASE, vm->path, 0 };
}

static int vm_acquire(void *state, const struct glk_resource *resources,
		      size_t n)
{
	struct vm *vm = state;
	struct glk_resource lease = lease_of(vm);

	(void)resources;
	(void)n;
	return ofd_acquire(vm->ofd, &lease, 1);
}

static int vm_inherit(void *state)
{
	struct vm *vm = state;

	return ofd_inherit(vm->ofd);
}

static int vm_started(void *state, pid_t pid)
{
	struct vm *vm = state;

	return ofd_started(vm->ofd, pid);
}

static int vm_child(void *state, pid_t *ret_pid)
{
	struct vm *vm = state;

	return ofd_child(vm->ofd, ret_pid);
}

static int vm_supervisor(void *state, const struct glk_resource *resources,
			 size_t n, char ***ret_argv)
{
	struct vm *vm = state;
	struct glk_resource lease = lease_of(vm);

	(void)resources;
	(void)n;
	return ofd_supervisor(vm->ofd, &lease, 1, ret_argv);
}

static int vm_supervised(void *state, const struct glk_resource *resources,
			 size_t n, pid_t *ret_pid)
{
	struct vm *vm = state;
	struct glk_resource lease = lease_of(vm);

	(void)resources;
	(void)n;
	return ofd_supervised(vm->ofd, &lease, 1, ret_pid);
}

static int vm_attach(void *state, struct glk_driver_finding *finding)
{
	struct vm *vm = state;
	struct glk_resource lease = lease_of(vm);

	finding->expected = &lease;
	finding->n_expected = vm->path ? 1 : 0;
	return ofd_attach(vm->ofd, finding);
}

/* Nothing comes here: disks are ignored, and leases are not declared. */
static int vm_plug(void *state, const struct glk_resource *resources, size_t n)
{
	(void)state;
	(void)resources;
	(void)n;
	return 0;
}

static int vm_prepare(void *state, const char *uri)
{
	struct vm *vm = state;

	return ofd_prepare(vm->ofd, uri);
}

static int vm_out(void *state)
{
	struct vm *vm = state;

	return ofd_out(vm->ofd);
}

static int vm_in(void *state)
{
	struct vm *vm = state;

	return ofd_in(vm->ofd);
}

static int vm_cancel(void *state)
{
	struct vm *vm = state;

	return ofd_cancel(vm->ofd);
}

static int vm_shutdown(void *state)
{
	struct vm *vm = state;

	return ofd_shutdown(vm->ofd);
}

const struct glk_driver_table driver_vm = {
	.version = GLK_DRIVER_VERSION,
	.size = sizeof(struct glk_driver_table),
	.name = "vm",
	.abilities = GLK_IGNORES_DISKS | GLK_CAN_HOTPLUG | GLK_CAN_MIGRATE |
		     GLK_CAN_ATTACH | GLK_CAN_SUPERVISE,
	.open = vm_open,
	.close = vm_close,
	.acquire = vm_acquire,
	.inherit = vm_inherit,
	.started = vm_started,
	.child = vm_child,
	.supervisor = vm_supervisor,
	.supervised = vm_supervised,
	.attach = vm_attach,
	.add = vm_plug,
	.remove = vm_plug,
	.prepare = vm_prepare,
	.out = vm_out,
	.in = vm_in,
	.cancel = vm_cancel,
	.shutdown = vm_shutdown,
};
