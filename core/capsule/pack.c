/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/pack.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/capsule/sealed.h"

#include <string.h>
#include <sys/random.h>

/*
 * Why long bodies go into a memfd: the kernel charges the send buffer with the
 * whole memory of a message, rounded up to a power of two. 7 KiB are what fits
 * 8 KiB with the kernel's own data. So 253 leases cost 8 KiB of send buffer at
 * most, 1 KiB if their paths are long, and an unprivileged user, whose buffer
 * is 416 KiB, can park thousands. The memfd costs 3 µs, a hundredth of what it
 * takes to lock the files.
 *
 * Why a bundle is safe: its socket has no other descriptor than the one in
 * flight, and nothing but files in its queue, so the kernel's collector, which
 * looks for sockets that only reach each other, sees that it can be received
 * from the capsule's own B. It is one level deep; the kernel allows four.
 */

#define INLINE_MAX (7 * 1024)

/*
 * An id only has to differ from its neighbours', so the kernel is asked for a
 * seed, not for each id. The clock keeps forked twins apart. (SplitMix64.)
 */
static uint64_t message_id(void)
{
	static _Thread_local uint64_t seed;
	uint64_t x;

	if (!seed &&
	    getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = clock_now() << 16 ^ (uint64_t)getpid();
	seed += UINT64_C(0x9e3779b97f4a7c15);
	x = seed ^ clock_now();
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

size_t pack_fit(const struct pack_item *items, size_t n)
{
	size_t n_fds = 0, size = 0, i;

	for (i = 0; i < n; i++) {
		n_fds += items[i].n_fds;
		size += items[i].size;
		if (n_fds > QUEUE_FDS_MAX - (size > INLINE_MAX) ||
		    size > MESSAGE_BODY_MAX)
			break;
	}
	return i;
}

struct packing {
	struct message head;
	uint8_t wire[MESSAGE_HEAD_SIZE];
	struct iovec iov[1 + QUEUE_FDS_MAX];
	size_t n_iov;
	int fds[QUEUE_FDS_MAX];
	size_t n_fds;
};

/* The records of one push lie behind each other. */
static void add_bytes(struct packing *p, const struct pack_item *item)
{
	struct iovec *last = &p->iov[p->n_iov - 1];

	if ((uint8_t *)last->iov_base + last->iov_len == item->raw)
		last->iov_len += item->size;
	else
		p->iov[p->n_iov++] =
			(struct iovec){ (void *)item->raw, item->size };
	p->head.body_size += (uint32_t)item->size;
}

static void pack_items(struct packing *p, const struct pack_item *items,
		       size_t n)
{
	p->head = (struct message){
		.kind = MESSAGE_LEASES,
		.n_records = (uint32_t)n,
		.id = message_id(),
	};
	p->iov[0] = (struct iovec){ p->wire, sizeof(p->wire) };
	p->n_iov = 1;
	for (size_t i = 0; i < n; i++)
		add_bytes(p, &items[i]);
	p->head.in_memfd = p->head.body_size > INLINE_MAX;
	/* The first place is the memfd's. */
	p->n_fds = p->head.in_memfd;
	for (size_t i = 0; i < n; i++) {
		memcpy(&p->fds[p->n_fds], items[i].fds,
		       items[i].n_fds * sizeof(int));
		p->n_fds += items[i].n_fds;
	}
	message_encode(&p->head, p->wire);
}

int pack_send(int a, const struct pack_item *items, size_t n)
{
	_cleanup_(fd_closep) int body = -1;
	struct packing p;
	int r;

	if (!n || pack_fit(items, n) != n)
		return -EINVAL;
	pack_items(&p, items, n);
	if (!p.head.in_memfd)
		return queue_send(a, p.iov, p.n_iov, p.fds, p.n_fds);
	r = sealed_new(&p.iov[1], (int)p.n_iov - 1, &body);
	if (r)
		return r == SEALED_E_NOFILE ? QUEUE_E_NOFILE : r;
	p.fds[0] = body;
	return queue_send(a, p.iov, 1, p.fds, p.n_fds);
}

static int send_bare(int a, enum message_kind kind, const int *fds, size_t n)
{
	struct message head = { .kind = kind, .id = message_id() };
	uint8_t wire[MESSAGE_HEAD_SIZE];
	struct iovec iov = { wire, sizeof(wire) };

	message_encode(&head, wire);
	return queue_send(a, &iov, 1, fds, n);
}

int pack_send_header(int a, int identity)
{
	return send_bare(a, MESSAGE_HEADER, (int[]){ a, identity }, 2);
}

int pack_send_bundle(int a, const struct pack_item *items, size_t n)
{
	_cleanup_(fd_closep) int in = -1;
	_cleanup_(fd_closep) int out = -1;
	int r;

	r = queue_new(&in, &out);
	for (size_t done = 0; !r && done < n;) {
		size_t fit = pack_fit(items + done, n - done);

		r = pack_send(in, items + done, fit);
		done += fit;
	}
	if (r)
		return r;
	in = fd_close(in);
	return send_bare(a, MESSAGE_BUNDLE, &out, 1);
}
