/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

/*
 * Migration under attack. A source and a destination, each with a manager and a
 * guest process of its own, hand a guest's disks over. Meanwhile others try to
 * take them all the time: two by the library, one for itself and one to share
 * them; and one as virtlockd would, with OFD and with POSIX locks. At a random
 * point one of the four processes is killed, and the rest goes on, forwards or
 * back. GUESTLOCK_TEST_ROUNDS says how often.
 *
 * The sides know nothing of each other but through the disks. What they tell
 * the test stands in memory that all processes share: how far they are, and
 * whether their guest's processors run. That is for the test's judgement alone:
 * who gets a disk while it is guarded, or runs while the other side does, is a
 * violation.
 */
#define N_DISKS 4
#define N_THIEVES 3
#define PATIENCE_MS 20000
#define MAX_DELAY_NS 600000

enum side { SOURCE, DESTINATION };

enum progress {
	NOTHING,
	RUNNING,
	PREPARED,
	CLAIMED,
	LEFT,
	ARRIVED,
};

enum victim {
	NOBODY,
	SOURCE_GUEST,
	DESTINATION_GUEST,
	SOURCE_MANAGER,
	DESTINATION_MANAGER,
	N_VICTIMS,
};

static const char *const victim_names[N_VICTIMS] = {
	"nobody",	  "source guest",	 "destination guest",
	"source manager", "destination manager",
};

struct world {
	atomic_uint guard; /* odd: a guest lives that has the disks */
	atomic_int progress;
	atomic_int guests[2];
	atomic_bool runs[2];
	struct {
		atomic_bool busy;
		atomic_ullong tries, thefts;
	} thieves[N_THIEVES];
	atomic_ullong two_run;
};

static struct world *world;
static struct dice dice;
static struct disks disks;
static struct glk_context *context;
static pid_t thief_pids[N_THIEVES], managers[2];
static struct {
	unsigned kills[N_VICTIMS], winner[N_VICTIMS][2], none[N_VICTIMS];
	unsigned at[ARRIVED + 1], forwards, backwards, too_late;
} tally;

/* The thieves. Return: was the disk had? */
typedef bool (*theft)(size_t disk);

static void steal(int me, theft fn)
{
	for (size_t i = 0;; i = (i + 1) % N_DISKS) {
		unsigned before;

		atomic_store(&world->thieves[me].busy, true);
		before = atomic_load(&world->guard);
		if (before & 1) {
			bool had = fn(i);

			atomic_fetch_add(&world->thieves[me].tries, 1);
			if (had && atomic_load(&world->guard) == before)
				atomic_fetch_add(&world->thieves[me].thefts, 1);
		}
		atomic_store(&world->thieves[me].busy, false);
		usleep(before & 1 ? 100 : 200);
	}
}

static struct glk_guest *loot;

/* Who has no time does not look for the holder. Some do, who then read the
   guests' capsules, and keep up what is dying. */
static bool attach_loot(size_t disk, unsigned flags)
{
	static unsigned tries;
	const char *path = disks.items[disk].path;

	glk_context_set_timeout(context, tries++ % 16 ? 0 : 20);
	if (guest_attach(loot, path, flags))
		return false;
	MUST_EQUAL(guest_detach(loot, path), 0);
	return true;
}

static bool take_whole(size_t disk)
{
	return attach_loot(disk, 0);
}

static bool take_shared(size_t disk)
{
	return attach_loot(disk, GLK_DISK_SHARED);
}

static int steal_by_library(void *arg)
{
	int me = *(int *)arg;

	context = guest_context();
	loot = guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	MUST_EQUAL(glk_guest_acquire(loot), 0);
	steal(me, me ? take_shared : take_whole);
	return 0;
}

static int raw_fds[N_DISKS];

static bool take_raw_by(int fd, int command)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	bool had = !fcntl(fd, command, &lock);

	lock.l_type = F_UNLCK;
	MUST(!fcntl(fd, command, &lock));
	return had;
}

static bool take_raw(size_t disk)
{
	bool had = false;

	for (int i = 0; i < 20 && !had; i++)
		had = take_raw_by(raw_fds[disk], F_OFD_SETLK) ||
		      take_raw_by(raw_fds[disk], F_SETLK);
	return had;
}

static int steal_raw(void *arg)
{
	for (size_t i = 0; i < N_DISKS; i++) {
		raw_fds[i] = open(disks.items[i].path, O_RDWR | O_CLOEXEC);
		MUST(raw_fds[i] >= 0);
	}
	steal(*(int *)arg, take_raw);
	return 0;
}

static void guard(bool on)
{
	unsigned now = atomic_load(&world->guard);

	if ((now & 1) != on)
		atomic_store(&world->guard, now + 1);
}

static void await_thieves(void)
{
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);

	for (int i = 0; i < N_THIEVES; i++)
		while (atomic_load(&world->thieves[i].busy)) {
			MUST(clock_now() < deadline);
			usleep(20);
		}
}

/* What both sides and those who come after a kill do. */

static void reach(enum progress progress)
{
	int now = atomic_load(&world->progress);

	while (now < (int)progress &&
	       !atomic_compare_exchange_weak(&world->progress, &now,
					     (int)progress))
		;
}

static bool await_progress(enum progress progress)
{
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);

	while (atomic_load(&world->progress) < (int)progress) {
		if (clock_now() > deadline)
			return false;
		usleep(20);
	}
	return true;
}

static void set_runs(enum side side, bool runs)
{
	atomic_store(&world->runs[side], runs);
	if (runs && atomic_load(&world->runs[!side]))
		atomic_fetch_add(&world->two_run, 1);
}

static int complain(const char *what, int r)
{
	fprintf(stderr, "%s: %d (%s)\n", what, r, glk_context_message(context));
	return 1;
}

/* It sleeps, so it is not about to die: SIGKILL would have woken it. */
static bool is_alive(pid_t pid)
{
	char path[32], line[1024] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = pid ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return false;
	(void)!read(fd, line, sizeof(line) - 1);
	close(fd);
	return strstr(line, ") S ");
}

static struct glk_guest *adopt(pid_t pid)
{
	struct glk_guest *guest = NULL;
	char text[16];
	int r;

	snprintf(text, sizeof(text), "%d", (int)pid);
	r = pid ? glk_guest_adopt(context, text, &guest) : -ESRCH;
	if (r && (r != -ESRCH || is_alive(pid)))
		complain("adopt", r);
	return guest;
}

static struct glk_guest *describe(enum side side)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest = NULL;

	config.uuid = guest_uuid(1);
	config.name = guest_name(side == SOURCE ? "from" : "to");
	config.flags = side == SOURCE ? 0 : GLK_GUEST_INCOMING;
	MUST_EQUAL(glk_guest_new(context, &config, &guest), 0);
	MUST_EQUAL(glk_guest_add(guest, disks.items, disks.n), 0);
	return guest;
}

/* Its processors stop only when there is a destination. */
static int leave(struct glk_guest *guest)
{
	int r = glk_guest_prepare(guest, "localhost");

	if (r)
		return r;
	reach(PREPARED);
	if (!await_progress(CLAIMED))
		return -ETIME;
	set_runs(SOURCE, false);
	r = glk_guest_out(guest);
	if (!r)
		reach(LEFT);
	return r;
}

static int arrive(struct glk_guest *guest)
{
	int r = glk_guest_in(guest);

	if (!r) {
		set_runs(DESTINATION, true);
		reach(ARRIVED);
	}
	return r;
}

static int manage_source(void *arg)
{
	struct glk_guest *guest;
	int r;

	(void)arg;
	context = guest_context();
	guest = describe(SOURCE);
	r = glk_guest_acquire(guest);
	if (r)
		return complain("acquire", r);
	atomic_store(&world->guests[SOURCE], guest_fork(guest));
	set_runs(SOURCE, true);
	guard(true);
	reach(RUNNING);
	guest = adopt(atomic_load(&world->guests[SOURCE]));
	r = guest ? leave(guest) : -ESRCH;
	return r && r != -ESRCH ? complain("leave", r) : 0;
}

static int claim(struct glk_guest **ret_guest)
{
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);
	struct glk_guest *guest = describe(DESTINATION);
	int r;

	do {
		r = glk_guest_acquire(guest);
		if (r)
			usleep(200);
	} while (r == -EBUSY && clock_now() < deadline);
	*ret_guest = guest;
	return r;
}

static int manage_destination(void *arg)
{
	struct glk_guest *guest = NULL;
	int r;

	(void)arg;
	context = guest_context();
	if (!await_progress(PREPARED))
		return complain("the source does not prepare", -ETIME);
	r = claim(&guest);
	if (r)
		return complain("claim", r);
	atomic_store(&world->guests[DESTINATION], guest_fork(guest));
	reach(CLAIMED);
	guest = adopt(atomic_load(&world->guests[DESTINATION]));
	r = guest ? arrive(guest) : -ESRCH;
	return r && r != -ESRCH ? complain("arrive", r) : 0;
}

/* The test itself, which is also the next manager. */

static void end_manager(enum side side)
{
	if (managers[side]) {
		kill(managers[side], SIGKILL);
		process_wait(managers[side]);
	}
	managers[side] = 0;
}

static void await_manager(enum side side)
{
	if (managers[side])
		MUST_EQUAL(process_wait(managers[side]), 0);
	managers[side] = 0;
}

static bool is_known(pid_t pid)
{
	for (int i = 0; i < N_THIEVES; i++)
		if (thief_pids[i] == pid)
			return true;
	return pid == managers[SOURCE] || pid == managers[DESTINATION];
}

/* Guests, whoever had made them: their managers are gone. */
static void end_strays(void)
{
	char path[64], text[4096] = "";
	char *at = text, *word;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children",
		 (int)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	MUST(fd >= 0);
	MUST(read(fd, text, sizeof(text) - 1) >= 0);
	close(fd);
	while ((word = strsep(&at, " "))) {
		pid_t pid = (pid_t)strtol(word, NULL, 10);

		if (pid > 1 && !is_known(pid)) {
			kill(pid, SIGKILL);
			process_wait(pid);
		}
	}
}

static const struct glk_guest_info *info_of(struct glk_guest *guest)
{
	const struct glk_guest_info *info = NULL;

	return guest && !glk_guest_info(guest, &info) ? info : NULL;
}

static bool may_write(const struct glk_lease_info *lease)
{
	return lease->role == GLK_ROLE_OWNER ||
	       lease->role == GLK_ROLE_PREPARED ||
	       lease->role == GLK_ROLE_ARRIVED;
}

static unsigned count_writes(struct glk_guest *guest)
{
	const struct glk_guest_info *info = info_of(guest);
	unsigned n = 0;

	for (size_t i = 0; info && i < info->n_leases; i++)
		n += may_write(&info->leases[i]);
	return n;
}

static bool owns_all(struct glk_guest *guest)
{
	const struct glk_guest_info *info = info_of(guest);

	for (size_t i = 0; info && i < info->n_leases; i++)
		if (info->leases[i].role != GLK_ROLE_OWNER)
			return false;
	return info && info->n_leases == N_DISKS;
}

/* Of all that is left, @side's guest has the disks and nobody else. */
static void expect_owner(enum side side, struct glk_guest *guest,
			 struct glk_guest *other)
{
	MUST_EQUAL(count_writes(guest), N_DISKS);
	MUST_EQUAL(count_writes(other), 0);
	MUST(atomic_load(&world->runs[side]));
	MUST(!atomic_load(&world->runs[!side]));
	MUST_EQUAL(disks_locked(&disks), N_DISKS);
	for (size_t i = 0; i < N_DISKS; i++)
		MUST(!test_lockable(disks.items[i].path, F_WRLCK));
}

/* Somebody who looks at a guest that has just died may keep it up for a while,
   so the last step of a hand-over is a matter of patience. */
static void become_owner(struct glk_guest *guest,
			 int (*step)(struct glk_guest *guest))
{
	uint64_t deadline = deadline_in_ms(PATIENCE_MS);

	do {
		int r = step(guest);

		if (r && r != -EBUSY)
			complain("the last step", r);
		MUST(!r || r == -EBUSY);
	} while (!owns_all(guest) && clock_now() < deadline);
	MUST(owns_all(guest));
}

static bool is_in_role(struct glk_guest *guest, unsigned roles)
{
	const struct glk_guest_info *info = info_of(guest);

	for (size_t i = 0; info && i < info->n_leases; i++)
		if (roles & 1U << info->leases[i].role)
			return true;
	return false;
}

/* Found by what it is to its disks: its manager may not have named it. A single
   guest is found whatever it is, so that is looked at again. */
static struct glk_guest *find_destination(unsigned roles)
{
	struct glk_selection selection = {
		.who = guest_uuid(1),
		.roles = roles,
	};
	struct glk_guest *guest = NULL;
	int r = glk_guest_select(context, &selection, &guest);

	if (r && r != -ESRCH)
		complain("select", r);
	MUST(!r || r == -ESRCH);
	if (is_in_role(guest, roles))
		return guest;
	glk_guest_free(guest);
	return NULL;
}

#define ON_THE_WAY (1U << GLK_ROLE_INCOMING | 1U << GLK_ROLE_ARRIVED)

static void end_guest(enum side side)
{
	pid_t pid = atomic_load(&world->guests[side]);

	set_runs(side, false);
	process_kill(pid);
}

/* The source's process ends, and its disks are all the destination's. */
static void conclude_forwards(enum victim victim)
{
	struct glk_guest *source = adopt(atomic_load(&world->guests[SOURCE]));
	struct glk_guest *destination = find_destination(ON_THE_WAY);

	MUST(source != NULL);
	MUST(destination != NULL);
	expect_owner(DESTINATION, destination, source);
	end_guest(SOURCE);
	become_owner(destination, glk_guest_in);
	expect_owner(DESTINATION, destination, NULL);
	tally.winner[victim][DESTINATION]++;
	glk_guest_free(source);
	glk_guest_free(destination);
}

static void conclude_backwards(enum victim victim)
{
	struct glk_guest *source = adopt(atomic_load(&world->guests[SOURCE]));

	MUST(source != NULL);
	become_owner(source, glk_guest_cancel);
	set_runs(SOURCE, true);
	expect_owner(SOURCE, source, NULL);
	tally.winner[victim][SOURCE]++;
	glk_guest_free(source);
}

static void nobody_is_left(enum victim victim)
{
	end_manager(SOURCE);
	end_manager(DESTINATION);
	tally.none[victim]++;
}

/* A destination that knows of the disks goes on, claimed or not yet. */
static void after_source_guest(void)
{
	struct glk_guest *destination;

	end_manager(SOURCE);
	if (atomic_load(&world->progress) < PREPARED) {
		nobody_is_left(SOURCE_GUEST);
		return;
	}
	await_manager(DESTINATION);
	guard(true);
	destination = find_destination(ON_THE_WAY | 1U << GLK_ROLE_OWNER);
	MUST(destination != NULL);
	become_owner(destination, glk_guest_in);
	expect_owner(DESTINATION, destination, NULL);
	tally.winner[SOURCE_GUEST][DESTINATION]++;
	glk_guest_free(destination);
}

static void after_destination_guest(void)
{
	end_manager(SOURCE);
	end_manager(DESTINATION);
	set_runs(DESTINATION, false);
	conclude_backwards(DESTINATION_GUEST);
}

static void push_source(void)
{
	struct glk_guest *source = adopt(atomic_load(&world->guests[SOURCE]));
	int r;

	MUST(source != NULL);
	r = leave(source);
	if (r == -EBUSY) /* it had left, and the destination has arrived */
		r = glk_guest_out(source);
	if (r)
		complain("leave", r);
	MUST_EQUAL(r, 0);
	glk_guest_free(source);
}

static void push_destination(void)
{
	struct glk_guest *destination = find_destination(ON_THE_WAY);
	int r = -ESRCH;

	if (destination) {
		reach(CLAIMED);
		r = arrive(destination);
	}
	glk_guest_free(destination);
	if (r == -ESRCH) /* it was not given to a process yet */
		managers[DESTINATION] = process_start(manage_destination, NULL);
	else if (r)
		complain("arrive", r);
	MUST(!r || r == -ESRCH);
}

static void go_forwards(enum victim victim)
{
	if (victim == SOURCE_MANAGER)
		push_source();
	else
		push_destination();
	await_manager(DESTINATION);
	await_manager(SOURCE);
	conclude_forwards(victim);
	tally.forwards++;
}

static void go_backwards(enum victim victim)
{
	struct glk_guest *destination;
	int r = 0;

	end_manager(SOURCE);
	end_manager(DESTINATION);
	destination = find_destination(ON_THE_WAY);
	if (destination)
		r = glk_guest_cancel(destination);
	if (r == -EALREADY) {
		MUST_EQUAL(arrive(destination), 0);
		conclude_forwards(victim);
		tally.too_late++;
	} else {
		if (r && r != -ESRCH)
			complain("cancel", r);
		MUST(!r || r == -ESRCH);
		conclude_backwards(victim);
		tally.backwards++;
	}
	glk_guest_free(destination);
}

static void after_manager(enum victim victim)
{
	if (atomic_load(&world->progress) < RUNNING)
		nobody_is_left(victim);
	else if (dice_roll(&dice, 2))
		go_forwards(victim);
	else
		go_backwards(victim);
}

static void kill_somewhere(enum victim victim)
{
	static const enum progress earliest[N_VICTIMS] = {
		[SOURCE_GUEST] = RUNNING,
		[DESTINATION_GUEST] = CLAIMED,
	};
	enum progress from = earliest[victim];
	uint64_t delay = dice_roll(&dice, MAX_DELAY_NS);

	MUST(await_progress(
		from + (enum progress)dice_roll(&dice, ARRIVED - from + 1)));
	wait_ns(delay);
	tally.kills[victim]++;
	tally.at[atomic_load(&world->progress)]++;
	switch (victim) {
	case SOURCE_GUEST:
		/* It may be the last that has the disks. */
		if (atomic_load(&world->progress) < CLAIMED)
			guard(false);
		end_guest(SOURCE);
		break;
	case DESTINATION_GUEST:
		end_guest(DESTINATION);
		break;
	case SOURCE_MANAGER:
		end_manager(SOURCE);
		break;
	default:
		end_manager(DESTINATION);
	}
}

static void begin_round(void)
{
	atomic_store(&world->progress, NOTHING);
	for (int side = 0; side < 2; side++) {
		atomic_store(&world->guests[side], 0);
		atomic_store(&world->runs[side], false);
	}
	managers[SOURCE] = process_start(manage_source, NULL);
	managers[DESTINATION] = process_start(manage_destination, NULL);
}

static void end_round(void)
{
	guard(false);
	await_thieves();
	end_strays();
	MUST(disks_become_free(&disks));
	MUST_EQUAL(atomic_load(&world->two_run), 0);
	for (int i = 0; i < N_THIEVES; i++)
		MUST_EQUAL(atomic_load(&world->thieves[i].thefts), 0);
}

static void play_round(void)
{
	enum victim victim = (enum victim)dice_roll(&dice, N_VICTIMS);

	begin_round();
	if (victim != NOBODY)
		kill_somewhere(victim);
	switch (victim) {
	case NOBODY:
		await_manager(SOURCE);
		await_manager(DESTINATION);
		conclude_forwards(NOBODY);
		break;
	case SOURCE_GUEST:
		after_source_guest();
		break;
	case DESTINATION_GUEST:
		after_destination_guest();
		break;
	default:
		after_manager(victim);
	}
	end_round();
}

static void print_tally(unsigned rounds, uint64_t ns)
{
	static const char *const steps[] = { "nothing", "running", "prepared",
					     "claimed", "left",	   "arrived" };

	printf("%u rounds in %.1f s; %u went on, %u back, %u too late for "
	       "that\n",
	       rounds, (double)ns / NSEC_PER_SEC, tally.forwards,
	       tally.backwards, tally.too_late);
	for (int i = 0; i < N_VICTIMS; i++)
		printf("killed: %s %u, then the disks were of source %u, "
		       "destination %u, nobody %u\n",
		       victim_names[i], tally.kills[i], tally.winner[i][SOURCE],
		       tally.winner[i][DESTINATION], tally.none[i]);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		printf("killed when %s: %u\n", steps[i], tally.at[i]);
	for (int i = 0; i < N_THIEVES; i++)
		printf("thief %d: %llu tries, %llu thefts\n", i,
		       atomic_load(&world->thieves[i].tries),
		       atomic_load(&world->thieves[i].thefts));
}

static void test_nobody_else_gets_a_disk_whoever_is_killed(void **state)
{
	static const int me[N_THIEVES] = { 0, 1, 2 };
	unsigned rounds = number_from("GUESTLOCK_TEST_ROUNDS", 1000);
	uint64_t start;

	(void)state;
	disks = disks_new("moved", N_DISKS);
	for (int i = 0; i < N_THIEVES; i++)
		thief_pids[i] =
			process_start(i < 2 ? steal_by_library : steal_raw,
				      (void *)&me[i]);
	start = clock_now();
	for (unsigned i = 0; i < rounds; i++)
		play_round();
	print_tally(rounds, clock_now() - start);
	for (int i = 0; i < N_THIEVES; i++) {
		assert_true(atomic_load(&world->thieves[i].tries) > 0);
		process_end(thief_pids[i]);
	}
	disks_free(&disks);
}

static int prepare_world(void **state)
{
	(void)state;
	dice = dice_new();
	context = guest_context();
	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return world == MAP_FAILED;
}

static int end_world(void **state)
{
	(void)state;
	glk_context_free(context);
	return munmap(world, sizeof(*world));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(
		test_nobody_else_gets_a_disk_whoever_is_killed, prepare_world,
		end_world),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
