/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A whole queue of hostile messages with real descriptors: list it, compact
 * it, list it again. Input: messages, each of [how many descriptors][which one
 * first][length, 2 bytes, little endian][payload].
 */
#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/inside.h"
#include "core/capsule/queue.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define KINDS 8
#define FDS_MAX 16
#define MESSAGES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INVARIANT(_x)                                                          \
	do {                                                                   \
		if (!(_x))                                                     \
			abort();                                               \
	} while (0)

static int make_file(bool locked)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	int fd = memfd_create("disk", MFD_CLOEXEC);

	INVARIANT(fd >= 0);
	if (locked)
		INVARIANT(!fcntl(fd, F_OFD_SETLK, &lock));
	return fd;
}

/* The payload itself, as a body in a memfd. */
static int make_body(const uint8_t *data, size_t size)
{
	int fd = memfd_create("body", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	INVARIANT(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	INVARIANT(!fcntl(fd, F_ADD_SEALS,
			 F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW |
				 F_SEAL_WRITE));
	return fd;
}

struct stage {
	struct capsule *capsule;
	int inner_a, inner_b; /* a bundle */
	int fds[KINDS];
};

static void stage_new(struct stage *s, const uint8_t *data, size_t size)
{
	struct capsule_identity who = { .uuid = { { 1 } }, .id = -1 };

	INVARIANT(!capsule_new(&who, 0, &s->capsule));
	INVARIANT(!queue_new(&s->inner_a, &s->inner_b));
	s->fds[0] = make_file(true);
	s->fds[1] = make_file(false);
	s->fds[2] = make_body(data, size);
	s->fds[3] = s->inner_b;
	s->fds[4] = s->capsule->b;
	s->fds[5] = s->capsule->a;
	s->fds[6] = s->capsule->identity;
	s->fds[7] = make_file(true);
}

static void stage_done(struct stage *s)
{
	fd_close(s->fds[0]);
	fd_close(s->fds[1]);
	fd_close(s->fds[2]);
	fd_close(s->fds[7]);
	fd_close(s->inner_a);
	fd_close(s->inner_b);
	capsule_free(s->capsule);
}

/* Every second one into the bundle. Return: bytes used, 0 at the end. */
static size_t send_next(const struct stage *s, const uint8_t *data, size_t size,
			unsigned i)
{
	struct iovec iov;
	int fds[FDS_MAX];
	size_t n, len;

	if (size < 4)
		return 0;
	n = data[0] % (FDS_MAX + 1);
	for (size_t k = 0; k < n; k++)
		fds[k] = s->fds[(data[1] + k) % KINDS];
	len = MIN((size_t)data[2] | (size_t)data[3] << 8, size - 4);
	iov = (struct iovec){ (void *)(data + 4), len };
	queue_send(i % 2 ? s->inner_a : s->capsule->a, &iov, 1, fds, n);
	return 4 + len;
}

static size_t count_held(struct capsule *capsule)
{
	struct capsule_contents contents;
	size_t n = 0;

	INVARIANT(!capsule_list(capsule, deadline_in_ms(2000), &contents));
	for (size_t i = 0; i < contents.n_leases; i++)
		n += contents.leases[i].held;
	capsule_contents_done(&contents);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t used = 1, at = 0, held;
	struct stage stage;
	int r;

	stage_new(&stage, data, MIN(size, 8192));
	for (unsigned i = 0; used && i < MESSAGES_MAX; i++, at += used)
		used = send_next(&stage, data + at, size - at, i);
	held = count_held(stage.capsule);
	r = capsule_repack(stage.capsule, deadline_in_ms(2000), true);
	INVARIANT(r == 0 || r == -EPERM);
	/* What was held is held, whatever was thrown away. */
	INVARIANT(count_held(stage.capsule) == held);
	stage_done(&stage);
	return 0;
}
