/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/stock.h"

#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/device.h"
#include "core/capsule/truth.h"

#include <sys/sysmacros.h>

/*
 * A record says what somebody once parked. What it is worth now, the kernel
 * knows: each descriptor is asked for its file and for its lock. Descriptors
 * are hostile too. statx(2) with AT_STATX_DONT_SYNC answers for any of them
 * from memory, and only regular files and block devices are asked for locks.
 * (No care helps against a file of a FUSE server that the guest runs itself:
 * it can stall close(2) of the descriptor, so whoever received one.)
 *
 * Where a server keeps the locks, the kernel may not be able to tell. Whether
 * such a lease is held is unknown, and it counts as neither.
 *
 * "Dead" is what compaction may drop, so it must be certain. The bytes of a
 * hand-over, a lock in another mode, and an answer that could not be had keep a
 * record alive without its being held.
 *
 * A crash of a compaction leaves leases twice. They are found by file. One of
 * two may go only if the other one is held. One that was released is no copy of
 * one that was taken afterwards, and must not hide that this is lost.
 */

/* @ret_rdev: 0 for a regular file */
static bool get_file(int fd, struct res_id *ret_id, uint64_t *ret_rdev,
		     struct truth_fs *fs)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		  STATX_TYPE | STATX_INO | STATX_MNT_ID_UNIQUE, &st) < 0)
		return false;
	fs->next = st.stx_mask & STATX_MNT_ID_UNIQUE ? st.stx_mnt_id : 0;
	if (!S_ISREG(st.stx_mode) && !S_ISBLK(st.stx_mode))
		return false;
	ret_id->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	ret_id->ino = st.stx_ino;
	*ret_rdev = 0;
	if (S_ISBLK(st.stx_mode))
		*ret_rdev = makedev(st.stx_rdev_major, st.stx_rdev_minor);
	return true;
}

/* One that was opened with O_PATH can be asked nothing, and hold nothing. */
static bool is_mere_path(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && flags & O_PATH;
}

static bool holds(int fd, long byte, struct truth_fs *fs)
{
	short type;

	return !truth_held_on(fs, fd, byte, &type) && type != F_UNLCK;
}

/*
 * What does it hold? An exclusive lock is the whole answer; only what has less
 * is asked for more.
 */
static enum role role_of(int fd, enum res_mode mode, short owner,
			 struct truth_fs *fs)
{
	struct held_bytes held = {};

	if (owner == F_WRLCK)
		held.owner = HELD_WRITE;
	else if (owner == F_RDLCK)
		held.owner = HELD_READ;
	if (mode == RES_EXCLUSIVE && owner != F_WRLCK) {
		held.successor = holds(fd, LOCK_BYTE_SUCCESSOR, fs);
		held.writer = holds(fd, LOCK_BYTE_WRITER, fs);
		held.predecessor = holds(fd, LOCK_BYTE_PREDECESSOR, fs);
	}
	return handover_role(mode, &held);
}

static enum stock_truth truth_of(int fd, enum res_mode mode,
				 struct truth_fs *fs, enum role *ret_role,
				 bool *ret_unknown)
{
	short owner;
	int r = truth_held_on(fs, fd, LOCK_BYTE_OWNER, &owner);

	*ret_role = ROLE_NONE;
	*ret_unknown = r < 0 && !is_mere_path(fd);
	if (r < 0)
		return *ret_unknown ? STOCK_ALIVE : STOCK_DEAD;
	*ret_role = role_of(fd, mode, owner, fs);
	if (role_holds(*ret_role))
		return STOCK_HELD;
	return *ret_role || owner != F_UNLCK ? STOCK_ALIVE : STOCK_DEAD;
}

/* A step of a hand-over that was killed between two points leaves them in
   different roles: then it has got as far as the one that may do least. */
static enum role lesser(enum role a, enum role b)
{
	static const unsigned char rank[_ROLE_N] = {
		[ROLE_INCOMING] = 1, [ROLE_LEFT] = 2,  [ROLE_ARRIVED] = 3,
		[ROLE_PREPARED] = 4, [ROLE_OWNER] = 5, [ROLE_NONE] = 6,
	};

	return rank[b] < rank[a] ? b : a;
}

/* Return: false if a descriptor can bear no lock. */
static bool judge_item(struct stock_item *item, struct truth_fs *fs)
{
	unsigned n_held = 0, n_dead = 0, n_unknown = 0;

	item->role = ROLE_NONE;
	for (unsigned i = 0; i < item->record.n_fds; i++) {
		enum stock_truth truth;
		uint64_t rdev;
		bool unknown;

		if (!get_file(item->fds[i], &item->files[i], &rdev, fs))
			return false;
		if (!i)
			item->id = rdev ? device_id(item->fds[0], rdev)
					: item->files[0];
		truth = truth_of(item->fds[i], item->record.mode, fs,
				 &item->roles[i], &unknown);
		item->role = lesser(item->role, item->roles[i]);
		n_held += truth == STOCK_HELD;
		n_dead += truth == STOCK_DEAD;
		n_unknown += unknown;
	}
	item->truth = STOCK_ALIVE;
	if (n_held == item->record.n_fds)
		item->truth = STOCK_HELD;
	else if (n_dead == item->record.n_fds)
		item->truth = STOCK_DEAD;
	item->unknown = n_unknown && n_held + n_unknown == item->record.n_fds;
	item->released = item->truth == STOCK_DEAD &&
			 holds(item->fds[0], LOCK_BYTE_RELEASED, fs);
	item->same_id = res_id_equal(item->id, item->record.id);
	return true;
}

static void judge_all(struct stock *stock)
{
	struct truth_fs fs = TRUTH_FS_NULL;
	size_t n = 0;

	for (size_t i = 0; i < stock->n_items; i++) {
		if (judge_item(&stock->items[i], &fs))
			stock->items[n++] = stock->items[i];
		else
			stock->n_garbled++;
	}
	stock->n_items = n;
}

static size_t hash(struct res_id id)
{
	uint64_t x = (id.ino ^ id.dev << 32) * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(x >> 32);
}

/* The better one of two for one file goes into the slot. */
static void meet(struct stock_item **slot, struct stock_item *item)
{
	struct stock_item *better = *slot, *worse = item;

	if (item->truth > (*slot)->truth) {
		better = item;
		worse = *slot;
	}
	worse->duplicate = true;
	worse->spare |= better->truth == STOCK_HELD;
	*slot = better;
}

static int find_duplicates(struct stock *stock)
{
	_cleanup_(freep) struct stock_item **table = NULL;
	size_t size = 16;

	while (size < 2 * stock->n_items)
		size *= 2;
	table = calloc(size, sizeof(struct stock_item *));
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < stock->n_items; i++) {
		struct stock_item *item = &stock->items[i];
		size_t at = hash(item->id) & (size - 1);

		if (item->released)
			continue;
		while (table[at] && !res_id_equal(table[at]->id, item->id))
			at = (at + 1) & (size - 1);
		if (table[at])
			meet(&table[at], item);
		else
			table[at] = item;
	}
	return 0;
}

int stock_judge(struct stock *stock)
{
	judge_all(stock);
	if (find_duplicates(stock))
		return -ENOMEM;
	for (size_t i = 0; i < stock->n_items; i++) {
		struct stock_item *item = &stock->items[i];

		item->spare |= item->truth == STOCK_DEAD;
		stock->n_spare += item->spare;
	}
	return 0;
}
