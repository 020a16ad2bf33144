/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/queue.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/mutex.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif

/*
 * How a look is made sure of. SO_PEEK_OFF is a byte offset into the queue, and
 * state of the socket, so of everybody who borrowed it. It is set before each
 * MSG_PEEK and read back after it: a peek adds the length of its message,
 * consuming subtracts. Unless it reads what it must, the look was disturbed
 * and begins anew. Two readers whose messages have the same length can still
 * mislead each other, so at the end it must also hold that
 *
 * - the first message is the one that was first, so nothing was consumed and
 *   offsets have kept their meaning;
 * - no message came twice (they carry random ids);
 * - their lengths add up to SIOCINQ at the start and, without the mutex, at
 *   the end too. As they differ and fill the queue, they are all of it.
 *
 * A guest can send one message twice for ever. With the mutex ours, that is
 * let pass after a few attempts. What a guest does to its own queue must not
 * do more than to spoil its own messages:
 *
 * - The options of B are the guest's to set, and add control messages: there
 *   is room for them, and a pidfd that comes with them is closed.
 * - A message without payload is peeked once, then skipped by the kernel. It
 *   is told from the end of a shut-down queue by SIOCINQ.
 * - MSG_CTRUNC: our table is full, or a security module withheld some.
 *
 * The kernel holds a mutex of the socket while it copies a message to user
 * space. A guest that can stall its own page faults (userfaultfd for kernel
 * faults, or a FUSE server of its own) can stall whoever reads the queue, and
 * the kernel offers no bounded wait for that. See capsule.c.
 */

#define CONTROL_SIZE 4096
#define SIGNATURE_SIZE MESSAGE_HEAD_SIZE
#define STRICT_ATTEMPTS 4
#define EMPTY_MAX 256
#define SEND_BUFFER (1 << 20)

enum { LOOK_E_DISTURBED = 1000 };

struct receipt {
	size_t size, copied;
	int fds[QUEUE_FDS_MAX];
	unsigned n_fds;
	bool truncated; /* MSG_CTRUNC */
	uint8_t payload[QUEUE_PAYLOAD_MAX];
	union {
		char control[CONTROL_SIZE];
		struct cmsghdr align;
	};
};

static void set_option(int fd, int option, int value)
{
	/* Best effort: the options here only widen what is possible. */
	(void)setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value));
}

static int get_option(int fd, int option)
{
	socklen_t len = sizeof(int);
	int value;

	if (getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0)
		return -errno;
	return value;
}

/* The kernel doubles what is set. Unprivileged it stops at wmem_max. */
void queue_use_reserve(int a, bool on)
{
	int size = on ? 2 * SEND_BUFFER : SEND_BUFFER, most;

	if (!setsockopt(a, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		return;
	set_option(a, SO_SNDBUF, 2 * SEND_BUFFER);
	most = get_option(a, SO_SNDBUF);
	if (!on && most > 0)
		set_option(a, SO_SNDBUF, most / 4);
}

int queue_new(int *ret_a, int *ret_b)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return errno == EMFILE || errno == ENFILE ? QUEUE_E_NOFILE
							  : -errno;
	/* A filter of the guest's could swallow what is sent to it. */
	set_option(pair[1], SO_LOCK_FILTER, 1);
	if (shutdown(pair[0], SHUT_RD) < 0) {
		int r = -errno;

		fd_close(pair[0]);
		fd_close(pair[1]);
		return r;
	}
	queue_use_reserve(pair[0], false);
	*ret_a = pair[0];
	*ret_b = pair[1];
	return 0;
}

static int send_result(int error)
{
	switch (error) {
	case EAGAIN:
	case ENOBUFS:
	case EMSGSIZE:
		return QUEUE_E_FULL;
	case ETOOMANYREFS:
		return QUEUE_E_INFLIGHT;
	case EPIPE:
	case ECONNRESET:
	case ECONNREFUSED:
	case ENOTCONN:
		return QUEUE_E_GONE;
	default:
		return -error;
	}
}

int queue_send(int a, const struct iovec *iov, size_t n_iov, const int *fds,
	       size_t n_fds)
{
	union {
		char buf[CMSG_SPACE(QUEUE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {
		.msg_iov = (struct iovec *)iov,
		.msg_iovlen = n_iov,
	};
	struct cmsghdr *c = &control.align;

	if (n_fds > QUEUE_FDS_MAX)
		return -EINVAL;
	if (n_fds) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = c->cmsg_len;
	}
	while (sendmsg(a, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return send_result(errno);
	return 0;
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fd_close(fds[i]);
}

static void take_control(struct receipt *r, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c;
	     c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		const int *fds = (const int *)(const void *)CMSG_DATA(c);

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_PIDFD)
			close_all(fds, n);
		if (c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			if (r->n_fds < QUEUE_FDS_MAX)
				r->fds[r->n_fds++] = fds[i];
			else
				fd_close(fds[i]);
		}
	}
}

/* Return: 0, also for an empty message and at the end, or negative errno. */
static int peek(int b, struct receipt *r)
{
	struct iovec iov = { r->payload, sizeof(r->payload) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = r->control,
		.msg_controllen = sizeof(r->control),
	};
	ssize_t n;

	r->n_fds = 0;
	do {
		n = recvmsg(b, &msg,
			    MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT |
				    MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	r->size = (size_t)n;
	r->copied = MIN(r->size, sizeof(r->payload));
	r->truncated = msg.msg_flags & MSG_CTRUNC;
	take_control(r, &msg);
	return 0;
}

static bool table_is_full(int b)
{
	int fd = fcntl(b, F_DUPFD_CLOEXEC, 0);
	bool full = fd < 0 && (errno == EMFILE || errno == ENFILE);

	fd_close(fd);
	return full;
}

/* Takes the descriptors over, also on failure. */
static int view_add(struct queue_view *v, const struct receipt *r)
{
	size_t fds_size = r->n_fds * sizeof(int);
	struct queue_message *m;
	uint8_t *block = malloc(fds_size + r->copied + 1);

	if (!(v->n & (v->n - 1))) {
		m = reallocarray(v->messages, v->n ? v->n * 2 : 1, sizeof(*m));
		if (m)
			v->messages = m;
	} else {
		m = v->messages;
	}
	if (!m || !block) {
		close_all(r->fds, r->n_fds);
		free(block);
		return -ENOMEM;
	}
	memcpy(block, r->fds, fds_size);
	memcpy(block + fds_size, r->payload, r->copied);
	v->messages[v->n++] = (struct queue_message){
		.size = r->size,
		.fds = (int *)(void *)block,
		.payload = block + fds_size,
		.n_fds = r->n_fds,
		.partial = r->truncated,
	};
	v->n_fds += r->n_fds;
	return 0;
}

void queue_view_done(struct queue_view *view)
{
	for (size_t i = 0; i < view->n; i++) {
		close_all(view->messages[i].fds, view->messages[i].n_fds);
		free(view->messages[i].fds);
	}
	free(view->messages);
	*view = QUEUE_VIEW_NULL;
}

/* What tells a message from another: its length and its head. */
static size_t signature(const struct queue_message *m, uint8_t *buf)
{
	size_t n = MIN(m->size, SIGNATURE_SIZE);

	memcpy(buf, m->payload, n);
	memset(buf + n, 0, SIGNATURE_SIZE - n);
	memcpy(buf + SIGNATURE_SIZE, &m->size, sizeof(m->size));
	return SIGNATURE_SIZE + sizeof(m->size);
}

static int compare_messages(const void *a, const void *b)
{
	uint8_t left[SIGNATURE_SIZE + sizeof(size_t)], right[sizeof(left)];

	signature(*(const struct queue_message *const *)a, left);
	signature(*(const struct queue_message *const *)b, right);
	return memcmp(left, right, sizeof(left));
}

static bool all_differ(const struct queue_view *v)
{
	_cleanup_(freep) const struct queue_message **sorted = NULL;

	sorted = reallocarray(NULL, v->n + 1, sizeof(*sorted));
	if (!sorted)
		return false;
	for (size_t i = 0; i < v->n; i++)
		sorted[i] = &v->messages[i];
	qsort(sorted, v->n, sizeof(*sorted), compare_messages);
	for (size_t i = 1; i < v->n; i++)
		if (!compare_messages(&sorted[i - 1], &sorted[i]))
			return false;
	return true;
}

/*
 * Is the message under the peek offset, or the first one if that is -1, this
 * one? Takes no descriptors. With @consume it is taken.
 */
static bool is_next(int b, const struct queue_message *expected, bool consume)
{
	uint8_t buf[SIGNATURE_SIZE];
	struct queue_message m = { .payload = buf };
	const struct queue_message *pm = &m;
	ssize_t n;

	n = recv(b, buf, sizeof(buf),
		 (consume ? 0 : MSG_PEEK) | MSG_TRUNC | MSG_DONTWAIT);
	if (n < 0)
		return false;
	m.size = (size_t)n;
	return !compare_messages(&pm, &expected);
}

static int bytes_queued(int b, size_t *ret_bytes)
{
	int n;

	if (ioctl(b, SIOCINQ, &n) < 0)
		return -errno;
	*ret_bytes = (size_t)n;
	return 0;
}

/* Return: 0, LOOK_E_DISTURBED, or negative errno. */
static int peek_at(int b, size_t offset, struct receipt *r)
{
	int after, e;

	set_option(b, SO_PEEK_OFF, (int)offset);
	e = peek(b, r);
	if (e == -EAGAIN || e == -ECONNRESET)
		return LOOK_E_DISTURBED;
	if (e < 0)
		return e;
	after = get_option(b, SO_PEEK_OFF);
	if (after == (int)(offset + r->copied))
		return 0;
	close_all(r->fds, r->n_fds);
	return LOOK_E_DISTURBED;
}

/* Return: 0, QUEUE_E_NOFILE, or negative errno. */
static int admit(int b, const struct queue_look *look, const struct receipt *r,
		 struct queue_view *v)
{
	int e = view_add(v, r);

	if (e < 0)
		return e;
	if (v->n_fds > look->max_fds)
		return QUEUE_E_NOFILE;
	return r->truncated && table_is_full(b) ? QUEUE_E_NOFILE : 0;
}

static int walk(int b, const struct queue_look *look, struct receipt *r,
		size_t total, struct queue_view *v)
{
	size_t offset = 0, n_empty = 0;
	int e = 0;

	while (!e && offset < total && v->n < QUEUE_MESSAGES_MAX) {
		e = peek_at(b, offset, r);
		if (e)
			break;
		offset += r->size;
		if (r->size)
			e = admit(b, look, r, v);
		else
			close_all(r->fds, r->n_fds);
		if (!r->size && ++n_empty > EMPTY_MAX)
			return LOOK_E_DISTURBED;
	}
	if (!e && offset > total)
		e = LOOK_E_DISTURBED;
	return e;
}

static int look_once(int b, const struct queue_look *look, bool strict,
		     struct receipt *r, struct queue_view *v)
{
	size_t before = 0, after = 0;
	int e;

	e = bytes_queued(b, &before);
	if (!e)
		e = walk(b, look, r, before, v);
	if (!e)
		e = bytes_queued(b, &after);
	if (e)
		return e;
	set_option(b, SO_PEEK_OFF, 0);
	if (v->n && !is_next(b, &v->messages[0], false))
		return LOOK_E_DISTURBED;
	if (!look->exclusive && before != after)
		return LOOK_E_DISTURBED;
	return strict && !all_differ(v) ? LOOK_E_DISTURBED : 0;
}

/*
 * The one with the mutex has the right of way: the others stay away for longer
 * than it takes to have a look, or two long looks would go on for ever.
 */
static int wait_to_look(const struct queue_look *look, unsigned attempt,
			uint64_t began)
{
	if (!look->exclusive)
		return backoff_pause(4 * (clock_now() - began), look->deadline);
	if (attempt < STRICT_ATTEMPTS)
		return 0;
	return backoff_wait(attempt - STRICT_ATTEMPTS, look->deadline);
}

int queue_view(int b, const struct queue_look *look,
	       struct queue_view *ret_view)
{
	_cleanup_(queue_view_done) struct queue_view v = QUEUE_VIEW_NULL;
	_cleanup_(freep) struct receipt *r = malloc(sizeof(*r));
	int e;

	if (!r)
		return -ENOMEM;
	for (unsigned i = 0;; i++) {
		bool strict = !look->exclusive || i < STRICT_ATTEMPTS;
		uint64_t began = clock_now();

		e = look_once(b, look, strict, r, &v);
		if (e != LOOK_E_DISTURBED)
			break;
		queue_view_done(&v);
		e = QUEUE_E_BUSY;
		if (wait_to_look(look, i, began))
			break;
	}
	set_option(b, SO_PEEK_OFF, -1);
	if (e)
		return e;
	*ret_view = v;
	v = QUEUE_VIEW_NULL;
	return 0;
}

int queue_first(int b, struct queue_view *ret_view)
{
	_cleanup_(queue_view_done) struct queue_view v = QUEUE_VIEW_NULL;
	_cleanup_(freep) struct receipt *r = malloc(sizeof(*r));
	const struct queue_look look = { .max_fds = QUEUE_FDS_MAX };
	int e;

	if (!r)
		return -ENOMEM;
	e = peek(b, r);
	if (!e)
		e = admit(b, &look, r, &v);
	if (e && e != -EAGAIN && e != -ECONNRESET)
		return e;
	*ret_view = v;
	v = QUEUE_VIEW_NULL;
	return 0;
}

/* Nobody sends messages without payload but a guest, to itself. */
static bool drop_empty(int b)
{
	size_t total = 0;
	uint8_t byte;

	if (bytes_queued(b, &total) || !total)
		return false;
	if (recv(b, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
		return false;
	return recv(b, &byte, 0, MSG_DONTWAIT) == 0;
}

/*
 * A reader without the mutex may move the offset between our setting and our
 * look. What we expect is the first if it is there at all, whatever the offset.
 */
static int consume_one(int b, const struct queue_message *m, uint64_t deadline)
{
	unsigned n_empty = 0;

	for (unsigned i = 0;; i++) {
		set_option(b, SO_PEEK_OFF, -1);
		if (is_next(b, m, false))
			return is_next(b, m, true) ? 0 : QUEUE_E_BUSY;
		set_option(b, SO_PEEK_OFF, -1);
		if (n_empty++ < EMPTY_MAX && drop_empty(b))
			continue;
		if (i >= STRICT_ATTEMPTS && backoff_wait(i, deadline))
			return QUEUE_E_BUSY;
	}
}

int queue_consume(int b, const struct queue_message *messages, size_t n,
		  uint64_t deadline)
{
	int e = 0;

	for (size_t i = 0; i < n && !e; i++)
		e = consume_one(b, &messages[i], deadline);
	return e;
}
