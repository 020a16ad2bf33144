/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/inside.h"

#include "core/base/util.h"
#include "core/capsule/pack.h"

/*
 * One send, so that a crash parks all or nothing: a message if it all fits
 * one, else a bundle, whoever has inherited the capsule by now. No mutex: a
 * send is atomic, and compaction takes away only what it has seen.
 *
 * Filling a capsule that nobody has inherited is the exception: it dies with
 * its maker, so several messages are as good as one. They are better on a full
 * host: a bundle sends a socket, and a user with more than 2024 descriptors in
 * flight then waits for the kernel's collector (wait_for_unix_gc() in
 * net/unix/garbage.c). With 10 000 leases on the host that was 4 ms for a
 * guest of 500 disks.
 */

#define FEW 16
#define REPACKS_MAX 3

struct pushing {
	struct pack_item few[FEW];
	uint8_t few_bytes[FEW * 128];
	struct pack_item *items;
	uint8_t *bytes;
	size_t n;
};

static void pushing_done(struct pushing *p)
{
	if (p->items != p->few)
		free(p->items);
	if (p->bytes != p->few_bytes)
		free(p->bytes);
}

static int measure(const struct capsule_parcel *parcels, struct pushing *p,
		   size_t *ret_size)
{
	*ret_size = 0;
	for (size_t i = 0; i < p->n; i++) {
		if (record_check(&parcels[i]))
			return -EINVAL;
		p->items[i] = (struct pack_item){
			.size = record_size(&parcels[i]),
			.fds = parcels[i].fds,
			.n_fds = parcels[i].n_fds,
		};
		*ret_size += p->items[i].size;
	}
	return 0;
}

static int prepare(const struct capsule_parcel *parcels, size_t n,
		   struct pushing *p)
{
	size_t size, at = 0;
	int r;

	p->n = n;
	if (n > FEW)
		p->items = reallocarray(NULL, n, sizeof(*p->items));
	if (!p->items)
		return -ENOMEM;
	r = measure(parcels, p, &size);
	if (r)
		return r;
	if (size > sizeof(p->few_bytes))
		p->bytes = malloc(size);
	if (!p->bytes)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		p->items[i].raw = p->bytes + at;
		record_encode(&parcels[i], p->bytes + at);
		at += p->items[i].size;
	}
	return 0;
}

static int send_one_by_one(int a, const struct pushing *p)
{
	size_t fit;
	int r = 0;

	for (size_t done = 0; !r && done < p->n; done += fit) {
		fit = pack_fit(p->items + done, p->n - done);
		r = pack_send(a, p->items + done, fit);
	}
	return r;
}

static int send_at_once(int a, const struct pushing *p)
{
	if (pack_fit(p->items, p->n) == p->n)
		return pack_send(a, p->items, p->n);
	return pack_send_bundle(a, p->items, p->n);
}

int capsule_push(struct capsule *c, const struct capsule_parcel *parcels,
		 size_t n, uint64_t deadline)
{
	_cleanup_(pushing_done) struct pushing p;
	int r;

	p.items = p.few;
	p.bytes = p.few_bytes;
	if (!n)
		return 0;
	if (c->a < 0)
		return CAPSULE_E_FORGED;
	r = prepare(parcels, n, &p);
	if (r)
		return r;
	/* More than once: somebody else may fill what we have made free. */
	for (unsigned i = 0;; i++) {
		r = capsule_of_queue(send_at_once(c->a, &p));
		if (r != CAPSULE_E_FULL || i == REPACKS_MAX ||
		    !capsule_readable(c))
			return r;
		r = capsule_repack(c, deadline, true);
		if (r)
			return r;
	}
}

static int fill_some(struct capsule *c, const struct capsule_parcel *parcels,
		     size_t n)
{
	_cleanup_(pushing_done) struct pushing p;
	int r;

	p.items = p.few;
	p.bytes = p.few_bytes;
	r = prepare(parcels, n, &p);
	return r ? r : capsule_of_queue(send_one_by_one(c->a, &p));
}

/* As many at a time as mostly fit a message, with its memfd: what is prepared
   takes less memory then than malloc(3) would give back each time. */
int capsule_fill(struct capsule *c, const struct capsule_parcel *parcels,
		 size_t n)
{
	int r = 0;

	if (c->b < 0)
		return CAPSULE_E_GONE;
	for (size_t i = 0, k; i < n && !r; i += k) {
		k = MIN(n - i, (size_t)QUEUE_FDS_MAX - 1);
		r = fill_some(c, parcels + i, k);
	}
	return r;
}
