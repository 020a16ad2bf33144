/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <linux/sockios.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>

/*
 * A guest whose disks come and go all the time: what the guest keeps all along
 * is looked at after every step, and nothing grows. The queue is measured from
 * outside: its bytes through a borrowed descriptor, and the descriptors in it
 * by the guest's fdinfo. GUESTLOCK_TEST_CYCLES says how many cycles.
 */
#define N_ALWAYS 6
#define N_HOT 16
#define N_MANY 300
#define QUEUE_BYTES_MAX 65536
#define QUEUE_FDS_MAX (2 * N_ALWAYS + 2 * N_HOT + 16)

#if defined(__has_feature)
#define HAS_FEATURE(_x) __has_feature(_x)
#else
#define HAS_FEATURE(_x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||           \
	HAS_FEATURE(address_sanitizer) || HAS_FEATURE(thread_sanitizer)
#define RSS_GROWTH_MAX (INT64_C(600) << 20) /* keeps what was freed */
#else
#define RSS_GROWTH_MAX (INT64_C(2) << 20)
#endif

/* One running guest, and all that the test knows of it. */
struct bench {
	struct dice dice;
	struct disks always, hot, many;
	struct glk_context *context;
	struct glk_guest *guest;
	const char *uuid;
	pid_t pid;
	int capsule_number; /* of the descriptor in the guest */
	int capsule;	    /* borrowed from it */
	struct channel channel;
};

static int borrow(pid_t pid, int number)
{
	_cleanup_(fd_closep) int pidfd = pidfd_open(pid, 0);
	int fd = pidfd_getfd(pidfd, number, 0);

	assert_true(fd >= 0);
	return fd;
}

static void bench_start(struct bench *b)
{
	struct glk_guest *guest;

	*b = (struct bench){
		.dice = dice_new(),
		.always = disks_new("always", N_ALWAYS),
		.hot = disks_new("hot", N_HOT),
		.many = disks_new("many", N_MANY),
		.context = guest_context(),
		.uuid = guest_uuid(1),
		.channel = channel_new(),
	};
	guest = guest_describe(b->context, GLK_HOLDER_GUEST, b->uuid, "hot");
	assert_int_equal(glk_guest_add(guest, b->always.items, b->always.n), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	b->capsule_number = glk_guest_fd(guest);
	b->pid = guest_start(guest);
	b->capsule = borrow(b->pid, b->capsule_number);
	assert_int_equal(glk_guest_adopt(b->context, b->uuid, &b->guest), 0);
}

static void bench_end(struct bench *b)
{
	close(b->capsule);
	glk_guest_free(b->guest);
	process_end(b->pid);
	assert_int_equal(disks_settle(&b->always), 0);
	assert_int_equal(disks_settle(&b->hot), 0);
	assert_int_equal(disks_settle(&b->many), 0);
	glk_context_free(b->context);
	channel_free(&b->channel);
	disks_free(&b->always);
	disks_free(&b->hot);
	disks_free(&b->many);
}

static long queue_bytes(const struct bench *b)
{
	int n = -1;

	assert_int_equal(ioctl(b->capsule, SIOCINQ, &n), 0);
	return n;
}

static long queue_fds(const struct bench *b)
{
	char path[64], line[128];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)b->pid,
		 b->capsule_number);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "scm_fds: %ld", &n);
	fclose(f);
	assert_true(n >= 0);
	return n;
}

static int64_t own_rss(void)
{
	long total, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld %ld", &total, &resident), 2);
	fclose(f);
	return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

static void check_always(const struct bench *b)
{
	assert_int_equal(disks_locked(&b->always), N_ALWAYS);
}

static struct disks some(struct bench *b)
{
	size_t at = dice_roll(&b->dice, N_HOT);
	size_t most = MIN(4, N_HOT - at);

	return (struct disks){ b->hot.items + at,
			       1 + dice_roll(&b->dice, most) };
}

static size_t detach_all(struct glk_guest *guest, const struct disks *disks)
{
	const char *paths[N_MANY];
	size_t released = 0;

	for (size_t i = 0; i < disks->n; i++)
		paths[i] = disks->items[i].path;
	MUST_EQUAL(glk_guest_detach(guest, paths, disks->n, &released), 0);
	return released;
}

static void cycle_through(struct bench *b, struct glk_guest *guest,
			  const struct disks *disks)
{
	assert_int_equal(glk_guest_attach(guest, disks->items, disks->n), 0);
	assert_int_equal(disks_locked(disks), disks->n);
	check_always(b);
	assert_int_equal(detach_all(guest, disks), disks->n);
	assert_int_equal(disks_locked(disks), 0);
	check_always(b);
}

/* Attached by one manager, detached by another. */
static void cycle_adopted(struct bench *b)
{
	struct disks disks = some(b);

	for (int i = 0; i < 2; i++) {
		struct glk_guest *guest = NULL;

		assert_int_equal(glk_guest_adopt(b->context, b->uuid, &guest),
				 0);
		if (i)
			assert_int_equal(detach_all(guest, &disks), disks.n);
		else
			assert_int_equal(glk_guest_attach(guest, disks.items,
							  disks.n),
					 0);
		glk_guest_free(guest);
		assert_int_equal(disks_locked(&disks), i ? 0 : disks.n);
		check_always(b);
	}
}

_Noreturn static int plug_forever(void *arg)
{
	struct bench *b = arg;
	struct glk_context *context = guest_context();
	struct glk_guest *guest = NULL;

	MUST_EQUAL(glk_guest_adopt(context, b->uuid, &guest), 0);
	channel_tell(&b->channel, 0);
	for (;;) {
		MUST_EQUAL(glk_guest_attach(guest, b->hot.items, N_HOT), 0);
		MUST_EQUAL(detach_all(guest, &b->hot), N_HOT);
	}
}

/* Killed while it attaches, detaches or compacts. */
static void cycle_killed(struct bench *b)
{
	pid_t pid = process_start(plug_forever, b);

	assert_int_equal(channel_hear(&b->channel), 0);
	wait_ns(dice_roll(&b->dice, 1500000));
	process_end(pid);
	check_always(b);
	detach_all(b->guest, &b->hot);
	assert_int_equal(disks_settle(&b->hot), 0);
	check_always(b);
}

static void check_bounds(const struct bench *b)
{
	const struct glk_guest_info *info = NULL;

	assert_in_range(queue_bytes(b), 1, QUEUE_BYTES_MAX);
	assert_in_range(queue_fds(b), 1, QUEUE_FDS_MAX);
	assert_int_equal(glk_guest_info(b->guest, &info), 0);
	assert_int_equal(info->n_leases, N_ALWAYS);
	assert_int_equal(info->n_garbled, 0);
}

static void one_cycle(struct bench *b, unsigned i)
{
	struct disks disks = some(b);

	if (i % 100 == 99)
		cycle_killed(b);
	else if (i % 500 == 250)
		cycle_through(b, b->guest, &b->many);
	else if (i % 10 == 5)
		cycle_adopted(b);
	else
		cycle_through(b, b->guest, &disks);
	if (i % 100 == 0)
		check_bounds(b);
}

static void test_nothing_grows_and_nothing_is_lost_by_hotplug(void **state)
{
	unsigned cycles = number_from("GUESTLOCK_TEST_CYCLES", 10000);
	uint64_t start = clock_now();
	struct bench b;
	unsigned fds = 0;
	int64_t rss = 0;

	(void)state;
	bench_start(&b);
	for (unsigned i = 0; i < cycles; i++) {
		one_cycle(&b, i);
		if (i == cycles / 10) {
			fds = test_open_fds();
			rss = own_rss();
		}
	}
	check_bounds(&b);
	printf("%u cycles in %llu ms: %ld bytes and %ld descriptors in the "
	       "queue, memory %+lld KiB\n",
	       cycles, (unsigned long long)((clock_now() - start) / 1000000),
	       queue_bytes(&b), queue_fds(&b),
	       (long long)(own_rss() - rss) / 1024);
	/* The engine makes its ring when it first has a use for it. */
	assert_in_range(test_open_fds(), 1, fds + 2);
	assert_true(own_rss() - rss < RSS_GROWTH_MAX);
	bench_end(&b);
}

/* A manager that has some of the hot disks for itself. */
struct share {
	const struct bench *bench;
	struct disks disks;
};

static int plug_share(void *arg)
{
	struct share *share = arg;
	struct glk_context *context = guest_context();
	struct glk_guest *guest = NULL;
	unsigned cycles = number_from("GUESTLOCK_TEST_CYCLES", 10000) / 40;

	for (unsigned i = 0; i < cycles; i++) {
		size_t n = 1 + i % share->disks.n;
		struct disks disks = { share->disks.items, n };

		if (!guest)
			MUST_EQUAL(glk_guest_adopt(context, share->bench->uuid,
						   &guest),
				   0);
		MUST_EQUAL(glk_guest_attach(guest, disks.items, n), 0);
		MUST_EQUAL(disks_locked(&disks), n);
		MUST_EQUAL(detach_all(guest, &disks), n);
		MUST_EQUAL(disks_locked(&disks), 0);
		if (i % 8 == 7) {
			glk_guest_free(guest);
			guest = NULL;
		}
	}
	/* The last word: held when it ends. */
	if (!guest)
		MUST_EQUAL(glk_guest_adopt(context, share->bench->uuid, &guest),
			   0);
	MUST_EQUAL(glk_guest_attach(guest, share->disks.items, share->disks.n),
		   0);
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

static void test_four_managers_at_once_lose_nothing(void **state)
{
	const struct glk_guest_info *info = NULL;
	struct share shares[4];
	struct bench b;
	pid_t pids[4];

	(void)state;
	bench_start(&b);
	for (size_t i = 0; i < 4; i++) {
		shares[i] = (struct share){ &b, { b.hot.items + 4 * i, 4 } };
		pids[i] = process_start(plug_share, &shares[i]);
	}
	while (!process_is_gone(pids[0]))
		check_always(&b);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(process_wait(pids[i]), 0);
	check_always(&b);
	assert_int_equal(disks_locked(&b.hot), N_HOT);
	assert_int_equal(glk_guest_info(b.guest, &info), 0);
	assert_int_equal(info->n_leases, N_ALWAYS + N_HOT);
	assert_int_equal(info->n_garbled, 0);
	assert_int_equal(detach_all(b.guest, &b.hot), N_HOT);
	check_bounds(&b);
	bench_end(&b);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_nothing_grows_and_nothing_is_lost_by_hotplug),
	cmocka_unit_test(test_four_managers_at_once_lose_nothing),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
