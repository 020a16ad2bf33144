/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <guestlock/driver.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/*
 * A driver of somebody else's, built against the public headers alone: flock(2)
 * on each disk, by descriptors that the guest inherits. It knows disks and
 * nothing more: no leases, no hotplug, no migration; and it finds no guest that
 * it did not start. All of that is answered by the library.
 */
struct sample {
	struct glk_context *context;
	int *fds;
	size_t n;
	pid_t pid;
};

static int sample_open(const struct glk_driver_guest *guest, void **ret_state)
{
	struct sample *s = calloc(1, sizeof(*s));

	if (!s)
		return glk_context_explain(guest->context, -ENOMEM,
					   "out of memory");
	s->context = guest->context;
	*ret_state = s;
	return 0;
}

static void let_go(struct sample *s)
{
	for (size_t i = 0; i < s->n; i++)
		close(s->fds[i]);
	free(s->fds);
	s->fds = NULL;
	s->n = 0;
}

static void sample_close(void *state)
{
	let_go(state);
	free(state);
}

static int refuse(struct sample *s, const struct glk_resource *resource)
{
	struct glk_conflict conflict = {
		.path = resource->path,
		.mode = resource->flags ? GLK_MODE_SHARED : GLK_MODE_EXCLUSIVE,
		.kind = GLK_CONFLICT_UNKNOWN,
		.uuid = "",
		.name = "",
		.exe = "",
	};

	if (glk_context_blame(s->context, &conflict))
		return glk_context_explain(s->context, -ENOMEM,
					   "out of memory");
	return glk_context_explain(s->context, -EBUSY, "%s: has a flock",
				   resource->path);
}

static int take(struct sample *s, const struct glk_resource *resource)
{
	int how = resource->flags ? LOCK_SH : LOCK_EX;
	int fd = open(resource->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return glk_context_explain(s->context, -errno, "%s: %s",
					   resource->path, strerror(errno));
	if (flock(fd, how | LOCK_NB)) {
		close(fd);
		return refuse(s, resource);
	}
	s->fds[s->n++] = fd;
	return 0;
}

static int sample_acquire(void *state, const struct glk_resource *resources,
			  size_t n)
{
	struct sample *s = state;
	int r = 0;

	s->fds = calloc(n + 1, sizeof(*s->fds));
	if (!s->fds)
		return glk_context_explain(s->context, -ENOMEM,
					   "out of memory");
	for (size_t i = 0; i < n && !r; i++)
		r = take(s, &resources[i]);
	if (r)
		let_go(s);
	return r;
}

static int sample_inherit(void *state)
{
	struct sample *s = state;

	for (size_t i = 0; i < s->n; i++)
		if (fcntl(s->fds[i], F_SETFD, 0))
			return -errno;
	return 0;
}

static int sample_started(void *state, pid_t pid)
{
	struct sample *s = state;

	if (kill(pid, 0))
		return glk_context_explain(s->context, -errno, "no process %d",
					   (int)pid);
	let_go(s);
	s->pid = pid;
	return 0;
}

static int sample_child(void *state, pid_t *ret_pid)
{
	struct sample *s = state;

	if (!s->pid)
		return glk_context_explain(s->context, -ENODATA,
					   "nobody has the locks yet");
	if (kill(s->pid, 0))
		return glk_context_explain(s->context, -ESRCH,
					   "process %d has ended", (int)s->pid);
	*ret_pid = s->pid;
	return 0;
}

static int sample_shutdown(void *state)
{
	struct sample *s = state;

	let_go(s);
	return s->pid && !kill(s->pid, 0) ? -EAGAIN : 0;
}

const struct glk_driver_table glk_driver_table = {
	.version = GLK_DRIVER_VERSION,
	.size = sizeof(struct glk_driver_table),
	.name = "sample",
	.abilities = GLK_CAN_DISKS,
	.open = sample_open,
	.close = sample_close,
	.acquire = sample_acquire,
	.inherit = sample_inherit,
	.started = sample_started,
	.child = sample_child,
	.shutdown = sample_shutdown,
};
