/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lib/take.h"

/* The guest's own capsule, as a transaction needs it. */

/* Read the guest's leases, unless they are known. A guest that is still being
   acquired has none. Return: as guest_list(). */
int own_load(struct take *take, uint64_t deadline);

/* They may have changed. */
void own_forget(struct take *take);

/* Does the guest hold this item's inode, and in which mode? */
enum txn_holder own_recall(const struct take *take, uint32_t item);

/* Does it hold this, in this mode? After own_load(). */
bool own_has(const struct take *take, struct res_id id, enum res_mode mode);

/* How far its lease reaches: as far as that of its lock points that does best,
   since all of them are locked. But a disk whose own scope is NODE has another
   inode, or another name, elsewhere, and so other lock points. @id: of what the
   disk's own descriptor leads to, unless it has more points. */
void own_reach(const struct take *take, uint32_t item, struct res_id id,
	       struct mount_kind *ret_kind);

/* Park these. Return: as capsule_push(). */
int own_push(struct glk_guest *guest, const struct capsule_parcel *parcels,
	     size_t n);

/* Park every TXN_ITEM_VERIFIED item. Return: as capsule_push(); or -ESTALE if
   the lock file of a device has lost its name, then nothing is held. */
int own_park(struct take *take);
