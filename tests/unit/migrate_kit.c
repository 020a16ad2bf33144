/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/migrate_kit.h"

#include "tests/lib/loop.h"

#include <fcntl.h>
#include <stdio.h>

/* They live as long as the program. */
static const char *attach_device(const char *name)
{
	static char paths[PAIR_DISKS][LOOP_PATH_MAX];
	static unsigned n;

	setenv("GUESTLOCK_HOST_DIR", test_file("host-locks", -1), 1);
	loop_attach(name, 1 << 20, paths[n]);
	return paths[n++];
}

/* On request all tests run with block devices, which have two lock points. */
const char *pair_disk(unsigned i)
{
	static const char *paths[PAIR_DISKS];
	bool devices = getenv("GUESTLOCK_TEST_DEVICES");
	char name[16];

	snprintf(name, sizeof(name), "disk-%u", i);
	if (!paths[i])
		paths[i] = devices ? attach_device(name) : kit_file(name, 0);
	return paths[i];
}

void pair_disks_init(void)
{
	bool devices = getenv("GUESTLOCK_TEST_DEVICES");

	if (devices && (geteuid() || access("/dev/loop-control", W_OK)))
		test_skip("needs root and loop devices");
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		pair_disk(i);
}

struct glk_guest *pair_guest(struct glk_context *context, unsigned uuid,
			     const char *name, unsigned flags)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest = NULL;

	config.uuid = guest_uuid(uuid);
	config.name = guest_name(name);
	config.holder = GLK_HOLDER_SELF;
	config.flags = flags;
	MUST_EQUAL(glk_guest_new(context, &config, &guest), 0);
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		MUST_EQUAL(guest_add(guest, pair_disk(i),
				     i < PAIR_DISKS - 1 ? 0 : GLK_DISK_SHARED),
			   0);
	return guest;
}

enum role pair_role(struct glk_guest *guest)
{
	const struct glk_guest_info *info = NULL;
	int role = ROLE_NONE;

	MUST_EQUAL(glk_guest_info(guest, &info), 0);
	for (size_t i = 0; i < info->n_leases; i++) {
		const struct glk_lease_info *lease = &info->leases[i];

		MUST_EQUAL(lease->held, role_holds((enum role)lease->role));
		if (lease->mode == GLK_MODE_SHARED)
			continue;
		MUST(!role || role == lease->role);
		role = lease->role;
	}
	return (enum role)role;
}

unsigned pair_bytes(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < PAIR_DISKS; i++)
		for (long byte = 0; byte < 5; byte++)
			n += !test_byte_lockable(pair_disk(i), byte, F_WRLCK);
	return n;
}

bool pair_is_safe(struct glk_context *context)
{
	for (unsigned i = 0; i < PAIR_DISKS - 1; i++)
		if (test_lockable(pair_disk(i), F_WRLCK) ||
		    kit_try(context, pair_disk(i), 0) != -EBUSY ||
		    kit_try(context, pair_disk(i), GLK_DISK_SHARED) != -EBUSY)
			return false;
	return true;
}
