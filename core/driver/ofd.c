/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/driver/ofd.h"

#include "core/base/util.h"
#include "core/driver/drivers.h"
#include "core/driver/process.h"

#include <sys/random.h>

/*
 * The leases of a guest are OFD locks in a capsule, which its process inherits;
 * all of that is glk_guest_*(). What is added here is the hand-over between
 * processes that do not know each other:
 *
 * - A guest gets a random tag, by which it is told from another one with the
 *   same uuid: from the other end of a migration, or from the supervisor of an
 *   earlier, failed start.
 * - Our own copy of the capsule is closed only when somebody else has it for
 *   good (process_inherited()), since the locks end with the last copy.
 */

int ofd_no_memory(struct ofd *ofd)
{
	return glk_context_explain(ofd->context, -ENOMEM, "out of memory");
}

int ofd_open(const struct glk_driver_guest *guest, void **ret_state)
{
	struct ofd *ofd = malloc(sizeof(*ofd));

	if (!ofd)
		return glk_context_explain(guest->context, -ENOMEM,
					   "out of memory");
	*ofd = (struct ofd){
		.context = guest->context,
		.mode = guest->mode,
		.config = guest->config,
		.list = -1,
	};
	while (!ofd->config.tag) {
		if (getrandom(&ofd->config.tag, sizeof(ofd->config.tag), 0) >=
		    0)
			continue;
		free(ofd);
		return glk_context_explain(guest->context, -errno,
					   "cannot make a tag: %s",
					   strerror(errno));
	}
	*ret_state = ofd;
	return 0;
}

void ofd_close(void *state)
{
	struct ofd *ofd = state;

	glk_guest_free(ofd->guest);
	fd_close(ofd->list);
	free(ofd);
}

static struct glk_disk *disks_of(const struct glk_resource *resources, size_t n)
{
	struct glk_disk *disks = zalloc(n, sizeof(*disks));

	for (size_t i = 0; disks && i < n; i++) {
		disks[i].path = resources[i].path;
		disks[i].flags = resources[i].flags;
		if (resources[i].type == GLK_RESOURCE_LEASE)
			disks[i].flags |= GLK_DISK_LEASE;
	}
	return disks;
}

int ofd_acquire(void *state, const struct glk_resource *resources, size_t n)
{
	struct ofd *ofd = state;
	_cleanup_(freep) struct glk_disk *disks = disks_of(resources, n);
	struct glk_guest *guest = NULL;
	int r;

	if (!disks)
		return ofd_no_memory(ofd);
	r = glk_guest_new(ofd->context, &ofd->config, &guest);
	if (!r)
		r = glk_guest_add(guest, disks, n);
	if (!r)
		r = glk_guest_acquire(guest);
	if (r)
		glk_guest_free(guest);
	else
		ofd->guest = guest;
	return r;
}

int ofd_inherit(void *state)
{
	struct ofd *ofd = state;

	return glk_guest_inherit(ofd->guest);
}

int ofd_started(void *state, pid_t pid)
{
	struct ofd *ofd = state;

	if (!process_exists(pid))
		return glk_context_explain(ofd->context, -ESRCH,
					   "there is no process %d", (int)pid);
	ofd->config.pid = pid;
	return ofd->guest ? glk_guest_handed_over(ofd->guest) : 0;
}

/* Does the capsule live in this process alone? */
static bool is_ours(const struct ofd *ofd)
{
	return glk_guest_fd(ofd->guest) >= 0;
}

/* Hand over to whoever has inherited the capsule. Return: 0, or -ENODATA if
   nobody has, or another negative errno, with a message. */
static int hand_over(struct ofd *ofd)
{
	int r;

	if (!is_ours(ofd))
		return 0;
	r = process_inherited(glk_guest_fd(ofd->guest));
	if (r < 0)
		return glk_context_explain(
			ofd->context, r,
			"cannot see who has inherited the leases: %s",
			strerror(-r));
	return r ? glk_guest_handed_over(ofd->guest) : -ENODATA;
}

int ofd_child(void *state, pid_t *ret_pid)
{
	struct ofd *ofd = state;
	const struct glk_guest_info *info = NULL;
	int r;

	r = hand_over(ofd);
	if (r == -ENODATA)
		return glk_context_explain(
			ofd->context, r,
			"no process has inherited the leases yet");
	if (!r)
		r = glk_guest_info(ofd->guest, &info);
	if (!r)
		*ret_pid = info->pid;
	return r;
}

int ofd_add(void *state, const struct glk_resource *resources, size_t n)
{
	struct ofd *ofd = state;
	_cleanup_(freep) struct glk_disk *disks = disks_of(resources, n);

	if (!disks)
		return ofd_no_memory(ofd);
	return glk_guest_attach(ofd->guest, disks, n);
}

int ofd_remove(void *state, const struct glk_resource *resources, size_t n)
{
	struct ofd *ofd = state;
	_cleanup_(freep) const char **paths = zalloc(n, sizeof(*paths));

	if (!paths)
		return ofd_no_memory(ofd);
	for (size_t i = 0; i < n; i++)
		paths[i] = resources[i].path;
	return glk_guest_detach(ofd->guest, paths, n, NULL);
}

int ofd_prepare(void *state, const char *uri)
{
	struct ofd *ofd = state;

	return glk_guest_prepare(ofd->guest, uri);
}

int ofd_out(void *state)
{
	struct ofd *ofd = state;

	return glk_guest_out(ofd->guest);
}

int ofd_in(void *state)
{
	struct ofd *ofd = state;

	return glk_guest_in(ofd->guest);
}

int ofd_cancel(void *state)
{
	struct ofd *ofd = state;

	return glk_guest_cancel(ofd->guest);
}

int ofd_select_tagged(struct ofd *ofd)
{
	struct glk_selection selection = {
		.who = ofd->config.uuid,
		.tag = ofd->config.tag,
	};

	return glk_guest_select(ofd->context, &selection, &ofd->guest);
}

int ofd_shutdown(void *state)
{
	struct ofd *ofd = state;
	int r = 0;

	if (!ofd->guest)
		r = ofd_select_tagged(ofd);
	else
		r = hand_over(ofd);
	if (r == -ENODATA) {
		glk_guest_free(ofd->guest);
		ofd->guest = NULL;
		return 0;
	}
	if (!r)
		r = glk_guest_wait(ofd->guest);
	return r == -ESRCH ? 0 : r;
}

const struct glk_driver_table driver_ofd = {
	.version = GLK_DRIVER_VERSION,
	.size = sizeof(struct glk_driver_table),
	.name = "ofd",
	.abilities = GLK_CAN_DISKS | GLK_CAN_LEASES | GLK_CAN_HOTPLUG |
		     GLK_CAN_MIGRATE | GLK_CAN_ATTACH | GLK_CAN_SUPERVISE,
	.open = ofd_open,
	.close = ofd_close,
	.acquire = ofd_acquire,
	.inherit = ofd_inherit,
	.started = ofd_started,
	.child = ofd_child,
	.supervisor = ofd_supervisor,
	.supervised = ofd_supervised,
	.attach = ofd_attach,
	.add = ofd_add,
	.remove = ofd_remove,
	.prepare = ofd_prepare,
	.out = ofd_out,
	.in = ofd_in,
	.cancel = ofd_cancel,
	.shutdown = ofd_shutdown,
};
