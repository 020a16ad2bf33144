/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/compat.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define NOBODY 65534

void kit_says(const struct glk_context *context, const char *text,
	      const char *file, int line)
{
	const char *message = glk_context_message(context);

	if (strstr(message, text))
		return;
	fprintf(stderr, "'%s' is not in '%s'\n", text, message);
	must(false, "the message", file, line);
}

const char *kit_file(const char *name, off_t size)
{
	static char *kept[256];
	static size_t n;

	MUST(n < ARRAY_SIZE(kept));
	return kept[n++] = strdup(test_file(name, size));
}

struct glk_guest *kit_self(struct glk_context *context)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);

	MUST_EQUAL(glk_guest_acquire(guest), 0);
	return guest;
}

int kit_try(struct glk_context *context, const char *path, unsigned flags)
{
	struct glk_guest *guest = kit_self(context);
	int r = guest_attach(guest, path, flags);

	glk_guest_free(guest);
	return r;
}

int kit_attach(struct glk_guest *guest, const char *const *paths, size_t n)
{
	struct glk_disk disks[16] = {};

	MUST(n <= ARRAY_SIZE(disks));
	for (size_t i = 0; i < n; i++)
		disks[i].path = paths[i];
	return glk_guest_attach(guest, disks, n);
}

struct kit_guest kit_run(struct glk_context *context, unsigned uuid,
			 const char *path, unsigned flags)
{
	struct kit_guest running = {};
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, guest_uuid(uuid),
			       guest_name("kit"));

	if (path)
		MUST_EQUAL(guest_add(guest, path, flags), 0);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	running.pid = guest_fork(guest);
	MUST_EQUAL(glk_guest_adopt(context, guest_uuid(uuid), &running.guest),
		   0);
	return running;
}

void kit_end(struct kit_guest *running)
{
	if (running->pid)
		process_end(running->pid);
	glk_guest_free(running->guest);
	*running = (struct kit_guest){};
}

static int lock_by(const char *path, long byte, short type, int command)
{
	struct flock lock = { .l_type = type, .l_start = byte, .l_len = 1 };
	int fd = open(path, O_RDWR | O_CLOEXEC);

	MUST(fd >= 0);
	MUST(!fcntl(fd, command, &lock));
	return fd;
}

int kit_lock(const char *path, long byte, short type)
{
	return lock_by(path, byte, type, F_OFD_SETLK);
}

static int be_stranger(void *arg)
{
	struct kit_stranger *s = arg;

	lock_by(s->path, s->byte, s->type, s->command);
	channel_tell(&s->ready, 0);
	guest_live();
	return 0;
}

void kit_stranger(struct kit_stranger *s)
{
	s->ready = channel_new();
	s->pid = process_start(be_stranger, s);
	channel_reads(&s->ready);
	MUST_EQUAL(channel_hear(&s->ready), 0);
}

void kit_stranger_end(struct kit_stranger *s)
{
	process_end(s->pid);
	channel_free(&s->ready);
}

struct as_nobody {
	int (*fn)(void *arg);
	void *arg;
};

static int become_nobody(void *arg)
{
	struct as_nobody *as = arg;

	MUST(!setgroups(0, NULL));
	MUST(!setresgid(NOBODY, NOBODY, NOBODY));
	MUST(!setresuid(NOBODY, NOBODY, NOBODY));
	/* Else /proc/self belongs to root, and it outlives its parent. */
	MUST(!prctl(PR_SET_DUMPABLE, 1));
	MUST(!prctl(PR_SET_PDEATHSIG, SIGKILL));
	return as->fn(as->arg);
}

pid_t kit_start_as_nobody(int (*fn)(void *arg), void *arg)
{
	struct as_nobody as = { fn, arg };

	return process_start(become_nobody, &as);
}

int kit_as_nobody(int (*fn)(void *arg), void *arg)
{
	return process_wait(kit_start_as_nobody(fn, arg));
}

void kit_send_away(int fd, int queue[2])
{
	char byte = 0;
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, queue));
	MUST_EQUAL(sendmsg(queue[0], &msg, 0), 1);
	close(fd);
}

void kit_lock_in_flight(const char *path, int queue[2])
{
	kit_send_away(kit_lock(path, 0, F_WRLCK), queue);
}
