/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/inside.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/mutex.h"
#include "core/capsule/reader.h"
#include "core/capsule/stock.h"

#include <string.h>

/*
 * Honest readers take turns at the mutex. If it does not come free within
 * MUTEX_PATIENCE, somebody is compacting something large, is stopped, or is a
 * guest that wants to hide: then we have one look without it. queue_view()
 * tells whether what it saw was undisturbed. Then patience doubles, so that we
 * do not for ever disturb the one who has the mutex.
 */

#define MUTEX_PATIENCE (25 * NSEC_PER_MSEC)

/* The descriptors go from the stock to the lease. */
static int take_lease(struct stock_item *item, struct capsule_lease *lease)
{
	const struct record *record = &item->record;

	*lease = (struct capsule_lease){
		.n_fds = record->n_fds,
		.held = item->truth == STOCK_HELD,
		.unknown = item->unknown,
		.role = item->role,
		.same_id = item->same_id,
		.type = record->type,
		.mode = record->mode,
		.scope = record->scope,
		.id = item->id,
		.since = record->since,
		.path = strndup(record->path, record->path_size),
	};
	for (unsigned i = 0; i < record->n_fds; i++) {
		lease->fds[i] = TAKE_FD(item->fds[i]);
		lease->roles[i] = item->roles[i];
		lease->files[i] = item->files[i];
	}
	return lease->path ? 0 : -ENOMEM;
}

static int take_contents(struct stock *stock, struct capsule_contents *ret)
{
	struct capsule_contents c = {
		.n_messages = stock->view.n,
		.n_dead = stock->n_spare,
		.n_garbled = stock->n_garbled + stock->n_foreign,
	};
	int r = 0;

	c.leases = reallocarray(NULL, stock->n_items + 1, sizeof(*c.leases));
	if (!c.leases)
		return -ENOMEM;
	for (size_t i = 0; i < stock->n_items && !r; i++)
		if (!stock->items[i].duplicate && !stock->items[i].released)
			r = take_lease(&stock->items[i],
				       &c.leases[c.n_leases++]);
	if (r) {
		capsule_contents_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

static int load(struct capsule *c, int b, uint64_t deadline,
		struct stock *ret_stock)
{
	uint64_t patience = MUTEX_PATIENCE;

	for (;; patience *= 2) {
		uint64_t until = MIN(clock_now() + patience, deadline);
		struct queue_look look = { .max_fds = capsule_fds_max() };
		int mutex, r;

		r = capsule_mutex(c, until, &mutex);
		if (r && r != CAPSULE_E_BUSY)
			return r;
		look.exclusive = !r;
		look.deadline = r ? 0 : deadline;
		r = capsule_of_queue(stock_load(b, &look, ret_stock));
		mutex_unlock(mutex);
		if (r != CAPSULE_E_BUSY || backoff_wait(0, deadline))
			return r;
		/* Without an identity there is no mutex to wait for. */
		if (c->identity < 0)
			backoff_pause(patience, deadline);
	}
}

int capsule_list(struct capsule *c, uint64_t deadline,
		 struct capsule_contents *ret_contents)
{
	_cleanup_(fd_closep) int marker = -1;
	_cleanup_(stock_done) struct stock stock = STOCK_NULL;
	struct loan loan;
	int r;

	r = capsule_borrow(c, &loan);
	if (r)
		return r;
	r = load(c, loan.b, deadline, &stock);
	marker = TAKE_FD(loan.marker);
	capsule_give_back(c, &loan);
	if (!r)
		r = stock_judge(&stock);
	if (!r)
		r = take_contents(&stock, ret_contents);
	if (!r && marker > 0)
		ret_contents->marker = TAKE_FD(marker);
	return r;
}

void capsule_contents_done(struct capsule_contents *contents)
{
	for (size_t i = 0; i < contents->n_leases; i++) {
		struct capsule_lease *lease = &contents->leases[i];

		for (unsigned k = 0; k < lease->n_fds; k++)
			fd_close(lease->fds[k]);
		free(lease->path);
	}
	free(contents->leases);
	if (contents->marker > 0)
		fd_close(contents->marker);
	*contents = CAPSULE_CONTENTS_NULL;
}

static int unlock(int fd, long start, long len)
{
	struct flock lock = {
		.l_type = F_UNLCK,
		.l_start = start,
		.l_len = len,
	};

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* Without it, it counts as lost until somebody compacts. */
static void mark_released(int fd)
{
	struct flock lock = {
		.l_type = F_RDLCK,
		.l_start = LOCK_BYTE_RELEASED,
		.l_len = 1,
	};

	fcntl(fd, F_OFD_SETLK, &lock);
}

/* The mark comes first: it says nothing as long as the lease is held. */
int capsule_unlock(struct capsule_lease *lease)
{
	int r = 0;

	for (unsigned i = 0; i < lease->n_fds; i++)
		mark_released(lease->fds[i]);
	for (unsigned i = 0; i < lease->n_fds && !r; i++) {
		r = unlock(lease->fds[i], LOCK_HANDOVER_START,
			   LOCK_HANDOVER_LEN);
		if (!r)
			r = unlock(lease->fds[i], LOCK_BYTE_OWNER, 1);
	}
	return r;
}
