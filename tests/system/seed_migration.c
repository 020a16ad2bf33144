/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/system/seed_migration.h"

#define WRITER_BYTE 3

struct migration migration_new(const char *name)
{
	struct migration m = {
		.guest = seed_guest_new(1, name, MIGRATION_DISKS),
	};

	m.source = peer_new(&m.guest);
	assert_true(peer_ask(m.source, ORDER_START) > 0);
	assert_true(seed_owned(&m.guest.disks));
	m.party = third_party_start(&m.guest.disks);
	return m;
}

static void end_peer(struct peer *peer)
{
	if (!peer)
		return;
	if (peer->guest_pid)
		peer_end_guest(peer);
	peer_free(peer);
}

void migration_free(struct migration *m)
{
	assert_int_equal(third_party_stop(m->party), 0);
	end_peer(m->source);
	end_peer(m->target);
	assert_true(disks_become_free(&m->guest.disks));
	seed_guest_free(&m->guest);
}

void migration_prepare(struct migration *m)
{
	assert_int_equal(peer_ask(m->source, ORDER_PREPARE), 1);
}

void migration_start_target(struct migration *m)
{
	m->target = peer_new(&m->guest);
	assert_true(peer_ask(m->target, ORDER_START_TARGET) > 0);
	assert_true(m->target->guest_pid != m->source->guest_pid);
}

void migration_pause(struct migration *m)
{
	assert_int_equal(peer_ask(m->source, ORDER_PAUSE), 1);
}

void migration_begin(struct migration *m)
{
	migration_prepare(m);
	migration_locked(m);
	migration_start_target(m);
	migration_locked(m);
	migration_pause(m);
	migration_locked(m);
}

void migration_locked(struct migration *m)
{
	assert_int_equal(disks_locked(&m->guest.disks), MIGRATION_DISKS);
	third_party_wait(m->party);
	assert_int_equal(disks_locked(&m->guest.disks), MIGRATION_DISKS);
}

/* Who writes has byte 3, or the whole of byte 0; a mere claim has neither. One
   disk may be whole already when another is still shared. */
static void assert_used(const struct disks *disks)
{
	for (size_t i = 0; i < disks->n; i++)
		assert_true(
			range_is_locked(disks->items[i].path, WRITER_BYTE, 1) ||
			seed_disk_is_owned(disks->items[i].path));
}

void migration_end_source(struct migration *m)
{
	migration_locked(m);
	assert_int_equal(peer_ask(m->source, ORDER_KILL), 1);
	m->source->guest_pid = 0;
	assert_int_equal(peer_ask(m->source, ORDER_SHUTDOWN), 1);
	migration_locked(m);
	assert_used(&m->guest.disks);
	assert_false(process_is_gone(m->target->guest_pid));
}
