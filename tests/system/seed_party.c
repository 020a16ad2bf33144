/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/system/seed.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define PATIENCE_MS 60000

/* Shared with its process; a test looks at it, no side of a migration does. */
struct third_party {
	_Atomic unsigned rounds, got;
	struct disks disks; /* borrowed */
	pid_t pid;
};

/* As a program that knows of byte 0 only, such as virtlockd. */
static bool bare_lock_goes(const char *path)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	_cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CLOEXEC);

	MUST(fd >= 0);
	return !fcntl(fd, F_OFD_SETLK, &lock);
}

static bool guest_gets(struct glk_context *context, const char *path,
		       unsigned flags)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, guest_uuid(999),
			       guest_name("third"));
	int r;

	MUST_EQUAL(guest_add(guest, path, flags), 0);
	r = glk_guest_acquire(guest);
	glk_guest_free(guest);
	if (r)
		MUST_EQUAL(r, -EBUSY);
	return r == 0;
}

static int be_third_party(void *arg)
{
	struct third_party *party = arg;
	struct glk_context *context = guest_context();

	for (;;) {
		for (size_t i = 0; i < party->disks.n; i++) {
			const char *path = party->disks.items[i].path;

			party->got += bare_lock_goes(path);
			party->got += guest_gets(context, path, 0);
			party->got +=
				guest_gets(context, path, GLK_DISK_SHARED);
		}
		party->rounds++;
	}
	return 0;
}

struct third_party *third_party_start(const struct disks *disks)
{
	struct third_party *party =
		mmap(NULL, sizeof(*party), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	MUST(party != MAP_FAILED);
	party->disks = *disks;
	party->pid = process_start(be_third_party, party);
	third_party_wait(party);
	return party;
}

void third_party_wait(struct third_party *party)
{
	unsigned goal = party->rounds + 2;
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);

	while (party->rounds < goal) {
		MUST(clock_now() < deadline);
		MUST(!process_is_gone(party->pid));
		usleep(500);
	}
}

unsigned third_party_stop(struct third_party *party)
{
	unsigned got;

	third_party_wait(party);
	process_end(party->pid);
	got = party->got;
	munmap(party, sizeof(*party));
	return got;
}
