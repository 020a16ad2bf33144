/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/own.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <string.h>
#include <sys/stat.h>

static int compare_mine(const void *a, const void *b)
{
	const struct take_mine *x = a, *y = b;

	if (x->id.dev != y->id.dev)
		return x->id.dev < y->id.dev ? -1 : 1;
	if (x->id.ino != y->id.ino)
		return x->id.ino < y->id.ino ? -1 : 1;
	return 0;
}

static int remember(struct take *t, const struct capsule_contents *contents)
{
	t->mine = calloc(contents->n_leases + 1, sizeof(*t->mine));
	if (!t->mine)
		return -ENOMEM;
	for (size_t i = 0; i < contents->n_leases; i++) {
		const struct capsule_lease *lease = &contents->leases[i];

		if (lease->held)
			t->mine[t->n_mine++] = (struct take_mine){
				.id = lease->id,
				.mode = lease->mode,
			};
	}
	qsort(t->mine, t->n_mine, sizeof(*t->mine), compare_mine);
	t->mine_known = true;
	return 0;
}

int own_load(struct take *t, uint64_t deadline)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
	int r;

	if (t->mine_known || guest_state(&t->guest->sm) == GUEST_TAKING)
		return 0;
	r = guest_list(t->guest, deadline, &contents);
	if (!r)
		r = remember(t, &contents);
	capsule_contents_done(&contents);
	return r;
}

void own_forget(struct take *t)
{
	free(t->mine);
	t->mine = NULL;
	t->n_mine = 0;
	t->mine_known = false;
}

static const struct take_mine *find_mine(const struct take *t, struct res_id id)
{
	struct take_mine key = { .id = id };

	if (!t->n_mine)
		return NULL;
	return bsearch(&key, t->mine, t->n_mine, sizeof(key), compare_mine);
}

bool own_has(const struct take *t, struct res_id id, enum res_mode mode)
{
	const struct take_mine *found = find_mine(t, id);

	return found && found->mode == mode;
}

enum txn_holder own_recall(const struct take *t, uint32_t i)
{
	const struct txn_item *item = txn_item(t->txn, i);
	const struct take_mine *found = find_mine(t, item->id);

	if (!found)
		return TXN_HOLDER_NONE;
	return found->mode == item->mode ? TXN_HOLDER_SELF
					 : TXN_HOLDER_SELF_OTHER_MODE;
}

void own_reach(const struct take *t, uint32_t i, struct res_id id,
	       struct mount_kind *ret_kind)
{
	const struct take_slot *slot = &t->slots[i];

	if (res_id_is_device(id)) {
		*ret_kind = (struct mount_kind){ .fs = "block device",
						 .scope = RES_SCOPE_HOST };
	} else {
		if (slot->more)
			id = slot->more->file;
		mounts_by_fd(t->context->mounts, slot->fd, id.dev, ret_kind);
	}
	for (unsigned p = 1; p < take_n_points(slot); p++) {
		struct take_point point = take_point(t, i, p);
		struct mount_kind kind;

		mounts_by_fd(t->context->mounts, point.fd, point.file.dev,
			     &kind);
		if (ret_kind->scope > RES_SCOPE_NODE &&
		    kind.scope > ret_kind->scope)
			*ret_kind = kind;
	}
}

static enum res_scope scope_of(const struct take *t, uint32_t item)
{
	struct mount_kind kind;

	if (!mounts_any_scope(t->context->mounts))
		return RES_SCOPE_HOST;
	own_reach(t, item, txn_item(t->txn, item)->id, &kind);
	return kind.scope;
}

struct name_store {
	char **names;
	size_t n;
};

static void name_store_done(struct name_store *store)
{
	for (size_t i = 0; i < store->n; i++)
		free(store->names[i]);
	free(store->names);
}

static void close_parked(struct take *t)
{
	size_t k = 0;

	for (size_t i = 0; i < t->n; i++)
		if (t->slots[i].fd >= 0)
			t->op_items[k++] = (uint32_t)i;
	take_close_items(t, t->op_items, k);
}

static int make_absolute(struct capsule_parcel *parcels, size_t n,
			 struct name_store *store)
{
	_cleanup_(freep) char *cwd = NULL;

	for (size_t i = 0; i < n; i++) {
		char *path;

		if (parcels[i].path[0] == '/')
			continue;
		if (!store->names) {
			store->names = calloc(n, sizeof(*store->names));
			cwd = getcwd(NULL, 0);
		}
		path = store->names ? path_absolute_in(cwd, parcels[i].path)
				    : NULL;
		if (!path)
			return -ENOMEM;
		store->names[store->n++] = path;
		parcels[i].path = path;
	}
	return 0;
}

/* While it is being acquired, nobody else can have the guest's capsule. */
int own_push(struct glk_guest *guest, const struct capsule_parcel *parcels,
	     size_t n)
{
	if (guest_state(&guest->sm) == GUEST_TAKING)
		return capsule_fill(guest->capsule, parcels, n);
	return capsule_push(guest->capsule, parcels, n,
			    guest->context->deadline);
}

static void add_points(const struct take *t, uint32_t item,
		       struct capsule_parcel *parcel)
{
	unsigned n = take_n_points(&t->slots[item]);

	for (unsigned i = 0; i < n; i++)
		parcel->fds[i] = take_point(t, item, i).fd;
	parcel->n_fds = (uint8_t)n;
}

/* Is this a device whose lock file is not found by its name any more? */
static bool is_astray(const struct take *t, uint32_t item)
{
	const struct txn_item *it = txn_item(t->txn, item);
	struct take_point point;
	struct stat st;

	if (it->state != TXN_ITEM_VERIFIED || !res_id_is_device(it->id))
		return false;
	point = take_point(t, item, 1);
	return !point.remote &&
	       (stat(point.path, &st) ||
		!res_id_equal((struct res_id){ st.st_dev, st.st_ino },
			      point.file));
}

/* Our descriptors have the descriptions that were parked. */
static void take_back(struct take *t)
{
	struct glk_guest *guest = t->guest;

	for (uint32_t i = 0; i < t->n; i++) {
		struct capsule_lease lease = { .n_fds = 0 };

		if (txn_item(t->txn, i)->state != TXN_ITEM_VERIFIED)
			continue;
		for (unsigned p = 0; p < take_n_points(&t->slots[i]); p++) {
			struct take_point point = take_point(t, i, p);

			lease.fds[lease.n_fds] = point.fd;
			lease.files[lease.n_fds++] = point.file;
		}
		(void)change_unlock(guest->context, &lease);
	}
	if (guest_state(&guest->sm) != GUEST_TAKING)
		(void)capsule_compact(guest->capsule, guest->context->deadline);
}

/*
 * Who finds no lock file of a device makes one, and asks the capsules then
 * (lost.c). So after its lease could be seen there, its file is looked at once
 * more: if it was deleted before, somebody may have asked too early.
 */
static int confirm(struct take *t)
{
	for (uint32_t i = 0; i < t->n; i++) {
		if (!is_astray(t, i))
			continue;
		t->astray = i;
		take_back(t);
		return -ESTALE;
	}
	return 0;
}

int own_park(struct take *t)
{
	_cleanup_(name_store_done) struct name_store names = {};
	uint64_t now = clock_ns(CLOCK_REALTIME);
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < t->n; i++) {
		const struct txn_item *item = txn_item(t->txn, i);

		if (item->state != TXN_ITEM_VERIFIED)
			continue;
		t->parcels[n] = (struct capsule_parcel){
			.type = item->type,
			.mode = item->mode,
			.scope = scope_of(t, (uint32_t)i),
			.id = item->id,
			.since = now,
			.path = item->path,
		};
		add_points(t, (uint32_t)i, &t->parcels[n++]);
	}
	if (n)
		r = make_absolute(t->parcels, n, &names);
	if (!r && n)
		r = own_push(t->guest, t->parcels, n);
	if (!r)
		r = confirm(t);
	if (!r)
		close_parked(t);
	return r;
}
