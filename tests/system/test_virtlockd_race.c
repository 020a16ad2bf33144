/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/virtlockd.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

/*
 * One disk, and in each round all of these want it at nearly the same time: two
 * clients of a real virtlockd, a VMM that links the library, and one who starts
 * a guest and kills it. GUESTLOCK_TEST_ROUNDS says how many rounds.
 *
 * Whoever gets it proves that nobody else has it: by a word that all share, and
 * by asking the kernel who holds the lock of the file that the disk's name is
 * of now. Both end before the disk is given back.
 *
 * A lease file, and a disk's file in a lock directory, is made by the first and
 * removed by the last who has it, so in those rounds all of them also race to
 * make it, to find out that what they have just locked is not there any more,
 * and to remove it.
 */
#define N_CONTENDERS 4
#define MAX_DELAY_NS 400000
#define MAX_HOLD_NS 300000
#define EXCLUSIVE (1u << 16) /* in the word; the sharers are counted below */

enum side { VIRTLOCKD, GUESTLOCK };

struct tally {
	atomic_uint taken, shared, refused;
};

struct world {
	pthread_barrier_t start, end;
	atomic_uint word, winners, none;
	struct tally tallies[N_CONTENDERS];
};

static struct world *world;
static struct dice dice;
static unsigned rounds;
static char daemon_folder[64];
static pid_t daemon_pid;

/* The same thing, as each side calls it. */
static struct virtlockd_resource resource;
static struct glk_disk disk;
static const char *lock_dir;
static const char *locked_path; /* where the lock is */

static void look_at_word(bool shared)
{
	unsigned before =
		atomic_fetch_add(&world->word, shared ? 1 : EXCLUSIVE);

	MUST(shared ? before < EXCLUSIVE : before == 0);
}

/* Whose is it? The kernel names the process of a POSIX lock, and -1 for the
   others. Of some that share, it names the first. */
static void look_at_lock(enum side side, bool shared)
{
	struct flock lock = { .l_type = shared ? F_WRLCK : F_RDLCK,
			      .l_len = 1 };
	_cleanup_(fd_closep) int fd = open(locked_path, O_RDWR | O_CLOEXEC);

	MUST(fd >= 0);
	MUST(!fcntl(fd, F_OFD_GETLK, &lock));
	MUST_EQUAL(lock.l_type, shared ? F_RDLCK : F_WRLCK);
	if (!shared)
		MUST_EQUAL(lock.l_pid, side == VIRTLOCKD ? daemon_pid : -1);
}

static void have(enum side side, bool shared, struct dice *mine)
{
	look_at_word(shared);
	look_at_lock(side, shared);
	wait_ns(dice_roll(mine, MAX_HOLD_NS));
	look_at_lock(side, shared);
	atomic_fetch_sub(&world->word, shared ? 1 : EXCLUSIVE);
}

static void count(struct tally *tally, bool had, bool shared)
{
	atomic_fetch_add(had ? &tally->taken : &tally->refused, 1);
	atomic_fetch_add(&tally->shared, had && shared);
	atomic_fetch_add(&world->winners, had);
}

static int do_nothing(void *arg)
{
	(void)arg;
	guest_live();
	return 0;
}

/* A contender is opened where it runs. Return of @try: was the disk had? */
struct contender {
	enum side side;
	bool (*try)(struct contender *me, bool shared, struct dice *mine);
	struct virtlockd_client client;
	struct glk_context *context;
	struct glk_guest *self;
	bool hasty;
};

static bool try_virtlockd(struct contender *me, bool shared, struct dice *mine)
{
	struct virtlockd_resource wanted = resource;

	wanted.shared = shared;
	if (!virtlockd_acquire(&me->client, &wanted))
		return false;
	have(VIRTLOCKD, shared, mine);
	virtlockd_release(&me->client, &wanted);
	return true;
}

/* Who looks for the holder takes much longer than who does not. */
static void set_patience(struct contender *me, struct dice *mine)
{
	me->hasty = dice_roll(mine, 16);
	glk_context_set_timeout(me->context, me->hasty ? 0 : 10000);
}

/* A lease file may be gone again and again; and who may not wait at all cannot
   read its own capsule while others do. */
static bool is_had(struct contender *me, int r)
{
	glk_context_set_timeout(me->context, 30000);
	if ((r == -ESTALE && resource.lockspace) || (r == -ETIME && me->hasty))
		return false;
	if (r && r != -EBUSY)
		fprintf(stderr, "%s\n", glk_context_message(me->context));
	MUST(!r || r == -EBUSY);
	return !r;
}

static bool try_self(struct contender *me, bool shared, struct dice *mine)
{
	struct glk_disk wanted = disk;

	wanted.flags |= shared ? GLK_DISK_SHARED : 0;
	set_patience(me, mine);
	if (!is_had(me, glk_guest_attach(me->self, &wanted, 1)))
		return false;
	have(GUESTLOCK, shared, mine);
	MUST_EQUAL(guest_detach(me->self, wanted.path), 0);
	return true;
}

static bool try_guest(struct contender *me, bool shared, struct dice *mine)
{
	struct glk_guest *guest = guest_describe(me->context, GLK_HOLDER_GUEST,
						 NULL, guest_name("raced"));
	pid_t pid;

	MUST_EQUAL(guest_add(guest, disk.path,
			     disk.flags | (shared ? GLK_DISK_SHARED : 0)),
		   0);
	set_patience(me, mine);
	if (!is_had(me, glk_guest_acquire(guest))) {
		glk_guest_free(guest);
		return false;
	}
	pid = guest_fork(guest);
	have(GUESTLOCK, shared, mine);
	process_end(pid);
	return true;
}

/* To be another host, that shares nothing but the lock directory: what it has
   at the disk's path is another file. */
static void leave_host(void)
{
	const char *elsewhere = test_file("elsewhere", 0);

	MUST(!unshare(CLONE_NEWNS));
	MUST(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(!mount(elsewhere, disk.path, NULL, MS_BIND, NULL));
}

static void contender_open(struct contender *me)
{
	const struct glk_policy policy = { .lock_dir = lock_dir };

	if (me->side == VIRTLOCKD) {
		me->client = virtlockd_connect(daemon_folder,
					       process_start(do_nothing, NULL));
		return;
	}
	me->context = guest_context();
	MUST_EQUAL(glk_context_set_policy(me->context, &policy), 0);
	if (me->try == try_guest && lock_dir)
		leave_host();
	if (me->try != try_self)
		return;
	me->self = guest_describe(me->context, GLK_HOLDER_SELF, NULL,
				  guest_name("self"));
	MUST_EQUAL(glk_guest_acquire(me->self), 0);
}

static const struct contender contenders[N_CONTENDERS] = {
	{ .side = VIRTLOCKD, .try = try_virtlockd },
	{ .side = VIRTLOCKD, .try = try_virtlockd },
	{ .side = GUESTLOCK, .try = try_self },
	{ .side = GUESTLOCK, .try = try_guest },
};

static int contend(void *arg)
{
	size_t number = *(size_t *)arg;
	struct contender me = contenders[number];
	struct dice mine = { dice.state + number };

	contender_open(&me);
	for (unsigned i = 0; i < rounds; i++) {
		bool shared = !dice_roll(&mine, 4);

		pthread_barrier_wait(&world->start);
		wait_ns(dice_roll(&mine, MAX_DELAY_NS));
		count(&world->tallies[number], me.try(&me, shared, &mine),
		      shared);
		pthread_barrier_wait(&world->end);
		if (number == 0 && !atomic_exchange(&world->winners, 0))
			atomic_fetch_add(&world->none, 1);
	}
	return 0;
}

static struct world *world_new(void)
{
	struct world *new = mmap(NULL, sizeof(*new), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t shared;

	assert_ptr_not_equal(new, MAP_FAILED);
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&new->start, &shared, N_CONTENDERS);
	pthread_barrier_init(&new->end, &shared, N_CONTENDERS);
	return new;
}

/* Who fails leaves the others at a barrier. */
static void wait_for_all(const pid_t *pids)
{
	uint64_t deadline = deadline_in_ms(200 * (uint64_t)rounds + 60000);
	bool gone[N_CONTENDERS] = {};
	size_t left = N_CONTENDERS;

	while (left) {
		for (size_t i = 0; i < N_CONTENDERS; i++) {
			if (gone[i] || !process_is_gone(pids[i]))
				continue;
			assert_int_equal(process_wait(pids[i]), 0);
			gone[i] = true;
			left--;
		}
		assert_true(clock_now() < deadline);
		usleep(2000);
	}
}

static unsigned report(const char *what, enum side side)
{
	unsigned taken = 0;

	for (size_t i = 0; i < N_CONTENDERS; i++) {
		const struct tally *t = &world->tallies[i];

		if (contenders[i].side != side)
			continue;
		printf("%s: %u taken, %u of them shared, %u refused\n", what,
		       t->taken, t->shared, t->refused);
		taken += t->taken;
	}
	return taken;
}

static void race(void)
{
	size_t numbers[N_CONTENDERS];
	pid_t pids[N_CONTENDERS];
	uint64_t begin = clock_now();

	world = world_new();
	for (size_t i = 0; i < N_CONTENDERS; i++) {
		numbers[i] = i;
		pids[i] = process_start(contend, &numbers[i]);
	}
	wait_for_all(pids);
	assert_int_equal(world->word, 0);
	assert_true(report("virtlockd", VIRTLOCKD) > 0);
	assert_true(report("guestlock", GUESTLOCK) > 0);
	printf("%u rounds, %u of them won by nobody, %.1f s\n", rounds,
	       world->none, (double)(clock_now() - begin) / 1e9);
	assert_false(process_is_gone(daemon_pid));
	munmap(world, sizeof(*world));
}

static int start(void **state)
{
	static unsigned n;
	char name[16];

	(void)state;
	snprintf(name, sizeof(name), "virtlockd-%u", n++ % 10);
	rounds = number_from("GUESTLOCK_TEST_ROUNDS", 1000);
	snprintf(daemon_folder, sizeof(daemon_folder), "%s",
		 test_file(name, -1));
	daemon_pid = virtlockd_start(daemon_folder);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	process_end(daemon_pid);
	return 0;
}

static void an_image_has_one_holder_at_a_time(void **state)
{
	(void)state;
	disk = (struct glk_disk){ .path = test_file("image", 0) };
	resource = (struct virtlockd_resource){ .name = disk.path };
	locked_path = disk.path;
	race();
}

static void add_lockspace(const char *path)
{
	pid_t owner = process_start(do_nothing, NULL);
	struct virtlockd_client client =
		virtlockd_connect(daemon_folder, owner);

	virtlockd_add_lockspace(&client, path);
	virtlockd_hang_up(&client);
	process_end(owner);
}

static void a_lease_that_is_made_and_removed_has_one_holder(void **state)
{
	const char *lockspace = test_file("leases", -1);

	(void)state;
	add_lockspace(lockspace);
	disk = (struct glk_disk){ .path = test_file("leases/key", -1),
				  .flags = GLK_DISK_LEASE };
	resource = (struct virtlockd_resource){ .lockspace = lockspace,
						.name = "key" };
	locked_path = disk.path;
	race();
}

/* By coreutils, not by what is to be tested. */
static const char *sha256_of(const char *text)
{
	static char digits[65];
	char command[PATH_MAX + 32];
	FILE *f;

	snprintf(command, sizeof(command), "printf %%s '%s' | sha256sum", text);
	f = popen(command, "re");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%64s", digits), 1);
	assert_int_equal(pclose(f), 0);
	assert_int_equal(strlen(digits), 64);
	return digits;
}

static void a_disk_with_a_lock_directory_has_one_holder(void **state)
{
	char path[128];

	(void)state;
	lock_dir = test_file("locks", -1);
	add_lockspace(lock_dir);
	disk = (struct glk_disk){ .path = test_file("far-image", 0) };
	resource = (struct virtlockd_resource){ .lockspace = lock_dir,
						.name = sha256_of(disk.path) };
	snprintf(path, sizeof(path), "locks/%s", resource.name);
	locked_path = test_file(path, -1);
	race();
	lock_dir = NULL;
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(an_image_has_one_holder_at_a_time),
	TEST(a_lease_that_is_made_and_removed_has_one_holder),
	TEST(a_disk_with_a_lock_directory_has_one_holder),
};

int main(void)
{
	if (!virtlockd_exists())
		test_skip("needs virtlockd (Debian: libvirt-daemon)");
	return test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_ROOT);
}
