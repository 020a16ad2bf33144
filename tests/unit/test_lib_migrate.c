/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/migrate_kit.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <signal.h>

static struct glk_context *context;
static struct pair pair;

static int start(void **state)
{
	(void)state;
	pair_disks_init();
	context = guest_context();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_guest_free(pair.source);
	glk_guest_free(pair.destination);
	pair = (struct pair){};
	glk_context_free(context);
	return 0;
}

static void end(struct glk_guest **guest)
{
	glk_guest_free(*guest);
	*guest = NULL;
}

/* What a migration can be in. The guest that is asked is the destination from
   CLAIMED on, and the source before. */
enum stage {
	OWNED,
	PREPARED,	  /* nobody has come */
	PREPARED_CLAIMED, /* a destination has */
	LEFT_CLAIMED,	  /* it left to that */
	LEFT_ALONE,	  /* which has died */
	LEFT_ARRIVED,	  /* or arrived */
	CLAIMED,	  /* the source still uses the disks */
	CLAIMED_LEFT,	  /* it has left */
	CLAIMED_ORPHANED, /* it has died */
	ARRIVED_LEFT,	  /* the source lives */
	ARRIVED_ORPHANED, /* it has died */
	OWNED_AFTER,	  /* that was seen */
	N_STAGES,
};

static bool is_destination(enum stage stage)
{
	return stage >= CLAIMED;
}

static void claim(void)
{
	pair.destination = pair_guest(context, 1, "to", GLK_GUEST_INCOMING);
	assert_int_equal(glk_guest_acquire(pair.destination), 0);
}

/* Return: the guest to be asked. */
static struct glk_guest *bring(enum stage stage)
{
	pair.source = pair_guest(context, 1, "from", 0);
	assert_int_equal(glk_guest_acquire(pair.source), 0);
	if (stage >= PREPARED)
		assert_int_equal(glk_guest_prepare(pair.source, "localhost"),
				 0);
	if (stage >= PREPARED_CLAIMED)
		claim();
	if (stage >= LEFT_CLAIMED && stage != CLAIMED &&
	    stage != CLAIMED_ORPHANED)
		assert_int_equal(glk_guest_out(pair.source), 0);
	if (stage == LEFT_ALONE)
		end(&pair.destination);
	if (stage == LEFT_ARRIVED || stage >= ARRIVED_LEFT)
		assert_int_equal(glk_guest_in(pair.destination), 0);
	if (stage == CLAIMED_ORPHANED || stage >= ARRIVED_ORPHANED)
		end(&pair.source);
	if (stage == OWNED_AFTER)
		assert_int_equal(glk_guest_in(pair.destination), 0);
	return is_destination(stage) ? pair.destination : pair.source;
}

static int prepare(struct glk_guest *guest)
{
	return glk_guest_prepare(guest, "localhost");
}

static const struct {
	const char *name;
	int (*fn)(struct glk_guest *guest);
} calls[] = {
	{ "prepare", prepare },
	{ "out", glk_guest_out },
	{ "in", glk_guest_in },
	{ "cancel", glk_guest_cancel },
};

struct answer {
	int r;
	enum role role;
};

/* clang-format off */
static const struct {
	enum role role;
	struct answer after[ARRAY_SIZE(calls)];
} matrix[N_STAGES] = {
	[OWNED] = { ROLE_OWNER, {
		{ 0, ROLE_PREPARED }, { -ENODATA, ROLE_OWNER },
		{ 0, ROLE_OWNER }, { 0, ROLE_OWNER } } },
	[PREPARED] = { ROLE_PREPARED, {
		{ 0, ROLE_PREPARED }, { -ENOTCONN, ROLE_PREPARED },
		{ -ENODATA, ROLE_PREPARED }, { 0, ROLE_OWNER } } },
	[PREPARED_CLAIMED] = { ROLE_PREPARED, {
		{ 0, ROLE_PREPARED }, { 0, ROLE_LEFT },
		{ -ENODATA, ROLE_PREPARED }, { 0, ROLE_PREPARED } } },
	[LEFT_CLAIMED] = { ROLE_LEFT, {
		{ 0, ROLE_PREPARED }, { 0, ROLE_LEFT },
		{ -ENODATA, ROLE_LEFT }, { 0, ROLE_PREPARED } } },
	[LEFT_ALONE] = { ROLE_LEFT, {
		{ 0, ROLE_PREPARED }, { 0, ROLE_LEFT },
		{ -ENODATA, ROLE_LEFT }, { 0, ROLE_OWNER } } },
	[LEFT_ARRIVED] = { ROLE_LEFT, {
		{ -EBUSY, ROLE_LEFT }, { 0, ROLE_LEFT },
		{ -ENODATA, ROLE_LEFT }, { -EBUSY, ROLE_LEFT } } },
	[CLAIMED] = { ROLE_INCOMING, {
		{ -EINPROGRESS, ROLE_INCOMING }, { -ENODATA, ROLE_INCOMING },
		{ -ETIME, ROLE_INCOMING }, { 0, ROLE_NONE } } },
	[CLAIMED_LEFT] = { ROLE_INCOMING, {
		{ -EINPROGRESS, ROLE_INCOMING }, { -ENODATA, ROLE_INCOMING },
		{ 0, ROLE_ARRIVED }, { 0, ROLE_NONE } } },
	[CLAIMED_ORPHANED] = { ROLE_INCOMING, {
		{ -EINPROGRESS, ROLE_INCOMING }, { -ENODATA, ROLE_INCOMING },
		{ 0, ROLE_OWNER }, { 0, ROLE_NONE } } },
	[ARRIVED_LEFT] = { ROLE_ARRIVED, {
		{ -EBUSY, ROLE_ARRIVED }, { -ENODATA, ROLE_ARRIVED },
		{ 0, ROLE_ARRIVED }, { -EALREADY, ROLE_ARRIVED } } },
	[ARRIVED_ORPHANED] = { ROLE_ARRIVED, {
		{ 0, ROLE_PREPARED }, { -ENODATA, ROLE_ARRIVED },
		{ 0, ROLE_OWNER }, { -EALREADY, ROLE_ARRIVED } } },
	[OWNED_AFTER] = { ROLE_OWNER, {
		{ 0, ROLE_PREPARED }, { -ENODATA, ROLE_OWNER },
		{ 0, ROLE_OWNER }, { 0, ROLE_OWNER } } },
};
/* clang-format on */

/* Did the guest that was asked let go of all that it had? */
static bool is_over(enum stage stage, const struct answer *answer)
{
	return answer->role == ROLE_NONE && stage == CLAIMED_ORPHANED;
}

static void ask(enum stage stage, size_t call)
{
	const struct answer *answer = &matrix[stage].after[call];
	struct glk_guest *guest = bring(stage);

	assert_int_equal(pair_role(guest), matrix[stage].role);
	assert_true(pair_is_safe(context));
	if (answer->r == -ETIME)
		glk_context_set_timeout(context, 20);
	for (int twice = 0; twice < 2; twice++) {
		int r = calls[call].fn(guest);

		if (r != answer->r)
			fprintf(stderr, "stage %d, %s: %d (%s)\n", stage,
				calls[call].name, r,
				glk_context_message(context));
		assert_int_equal(r, answer->r);
		assert_int_equal(pair_role(guest), answer->role);
	}
	glk_context_set_timeout(context, 30000);
	if (!is_over(stage, answer))
		assert_true(pair_is_safe(context));
	end(&pair.source);
	end(&pair.destination);
	assert_int_equal(pair_bytes(), 0);
}

static void every_call_at_every_stage_answers_as_the_header_says(void **state)
{
	(void)state;
	for (int stage = 0; stage < N_STAGES; stage++)
		for (size_t call = 0; call < ARRAY_SIZE(calls); call++)
			ask((enum stage)stage, call);
}

/* At every stage, either side may die, and the other one can go on. */
static void the_other_side_goes_on_alone(void **state)
{
	(void)state;
	for (int stage = PREPARED_CLAIMED; stage < N_STAGES; stage++) {
		bring((enum stage)stage);
		if (pair.source && stage != LEFT_ARRIVED &&
		    stage != ARRIVED_LEFT) {
			end(&pair.destination);
			assert_int_equal(glk_guest_cancel(pair.source), 0);
			assert_int_equal(pair_role(pair.source), ROLE_OWNER);
			assert_true(pair_is_safe(context));
		}
		end(&pair.source);
		end(&pair.destination);
		bring((enum stage)stage);
		end(&pair.source);
		if (pair.destination) {
			assert_int_equal(glk_guest_in(pair.destination), 0);
			assert_int_equal(pair_role(pair.destination),
					 ROLE_OWNER);
			assert_true(pair_is_safe(context));
		}
		end(&pair.destination);
	}
}

static void what_owns_a_disk_holds_one_byte_of_it(void **state)
{
	(void)state;
	bring(OWNED_AFTER);
	assert_int_equal(pair_bytes(), PAIR_DISKS);
	end(&pair.destination);
	bring(LEFT_ALONE);
	assert_int_equal(glk_guest_cancel(pair.source), 0);
	assert_int_equal(pair_bytes(), PAIR_DISKS);
}

static void the_guest_goes_on_from_host_to_host(void **state)
{
	(void)state;
	bring(ARRIVED_ORPHANED);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(prepare(pair.destination), 0);
		pair.source = pair.destination;
		claim();
		assert_true(pair_is_safe(context));
		assert_int_equal(glk_guest_out(pair.source), 0);
		assert_int_equal(glk_guest_in(pair.destination), 0);
		assert_true(pair_is_safe(context));
		end(&pair.source);
		if (i == 1)
			assert_int_equal(glk_guest_in(pair.destination), 0);
	}
}

static void who_has_the_disk_now_is_named(void **state)
{
	const struct glk_conflict *c = NULL;

	(void)state;
	bring(LEFT_ARRIVED);
	assert_int_equal(glk_guest_cancel(pair.source), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), PAIR_DISKS - 1);
	for (unsigned i = 0; i < PAIR_DISKS - 1; i++) {
		assert_string_equal(c[i].path, pair_disk(i));
		assert_int_equal(c[i].kind, GLK_CONFLICT_GUEST);
		assert_string_equal(c[i].name, guest_name("to"));
		assert_string_equal(c[i].uuid, guest_uuid(1));
		assert_int_equal(c[i].pid, getpid());
	}
	assert_says(context, pair_disk(0));
	assert_says(context, guest_name("to"));

	assert_int_equal(prepare(pair.destination), -EBUSY);
	assert_true(glk_context_conflicts(context, &c) > 0);
	assert_string_equal(c->name, guest_name("from"));
}

static void a_stranger_in_the_way_is_named(void **state)
{
	struct kit_stranger s = { .path = pair_disk(1),
				  .byte = LOCK_BYTE_PREDECESSOR,
				  .type = F_WRLCK,
				  .command = F_SETLK };
	const struct glk_conflict *c = NULL;

	(void)state;
	bring(OWNED);
	kit_stranger(&s);
	assert_int_equal(prepare(pair.source), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), 1);
	assert_string_equal(c->path, pair_disk(1));
	assert_says(context, pair_disk(1));
	assert_int_equal(pair_role(pair.source), ROLE_OWNER);
	assert_true(
		test_byte_lockable(pair_disk(0), LOCK_BYTE_WRITER, F_WRLCK));
	kit_stranger_end(&s);
	assert_int_equal(prepare(pair.source), 0);
}

static void a_refusal_says_what_is_missing(void **state)
{
	(void)state;
	bring(PREPARED);
	assert_int_equal(glk_guest_out(pair.source), -ENOTCONN);
	assert_says(context, pair_disk(0));
	assert_says(context, "no destination has claimed it");
	claim();
	/* Enough to ask a server, where the disks are on one. */
	glk_context_set_timeout(context, 500);
	assert_int_equal(glk_guest_in(pair.destination), -ETIME);
	assert_says(context, pair_disk(0));
	assert_says(context, "the source has not left");
	assert_int_equal(glk_guest_in(pair.source), -ENODATA);
	assert_says(context, "has not been claimed");
	assert_int_equal(glk_guest_out(pair.destination), -ENODATA);
	assert_says(context, "no migration was prepared");
	assert_int_equal(prepare(pair.destination), -EINPROGRESS);
	assert_says(context, "not arrived yet");
}

static bool is_on_a_server(const char *path)
{
	const struct glk_disk_reach *reach;

	assert_int_equal(glk_disk_reach(context, path, &reach), 0);
	return reach->scope >= GLK_SCOPE_SERVER;
}

static void a_lock_reaches_no_further_than_its_file_system(void **state)
{
	struct glk_guest *shared = kit_self(context);

	(void)state;
	bring(OWNED);
	if (is_on_a_server(pair_disk(0))) {
		assert_int_equal(
			glk_guest_prepare(pair.source,
					  "qemu+tls://node2.invalid/system"),
			0);
		glk_guest_free(shared);
		return;
	}
	assert_int_equal(glk_guest_prepare(pair.source, ""), -EINVAL);
	assert_int_equal(glk_guest_prepare(pair.source, NULL), -EINVAL);
	assert_int_equal(glk_guest_prepare(pair.source,
					   "qemu+tls://node2.invalid/system"),
			 -EXDEV);
	assert_says(context, pair_disk(0));
	assert_says(context, "node2.invalid");
	assert_int_equal(pair_role(pair.source), ROLE_OWNER);
	assert_int_equal(pair_bytes(), PAIR_DISKS);

	/* Shared disks take no part. */
	assert_int_equal(guest_attach(shared, pair_disk(2), GLK_DISK_SHARED),
			 0);
	assert_int_equal(glk_guest_prepare(shared, "node2.invalid"), 0);
	assert_int_equal(glk_guest_out(shared), 0);
	assert_int_equal(glk_guest_in(shared), 0);
	assert_int_equal(glk_guest_cancel(shared), 0);
	assert_false(test_lockable(pair_disk(2), F_WRLCK));
	glk_guest_free(shared);
}

static void a_destination_that_is_cancelled_has_nothing(void **state)
{
	const struct glk_guest_info *info = NULL;

	(void)state;
	bring(CLAIMED_ORPHANED);
	assert_int_equal(pair_bytes(), 2 * (PAIR_DISKS - 1) + 1);
	assert_int_equal(glk_guest_cancel(pair.destination), 0);
	assert_int_equal(pair_bytes(), 0);
	assert_int_equal(glk_guest_info(pair.destination, &info), 0);
	assert_int_equal(info->n_leases, 0);
	assert_int_equal(guest_attach(pair.destination, pair_disk(0), 0), 0);
	assert_int_equal(pair_role(pair.destination), ROLE_OWNER);
}

static void a_disk_that_is_being_handed_over_can_be_released(void **state)
{
	static const enum stage stages[] = { PREPARED_CLAIMED, LEFT_CLAIMED,
					     LEFT_ARRIVED, CLAIMED_LEFT,
					     ARRIVED_LEFT };
	const char *path = pair_disk(0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		struct glk_guest *guest = bring(stages[i]);
		const struct glk_guest_info *info = NULL;
		size_t released = 0;

		assert_int_equal(glk_guest_detach(guest, &path, 1, &released),
				 0);
		assert_int_equal(released, 1);
		assert_int_equal(glk_guest_info(guest, &info), 0);
		assert_int_equal(info->n_leases, PAIR_DISKS - 1);
		end(&pair.source);
		end(&pair.destination);
	}
}

/* By somebody who has the guest's descriptors: itself. */
static void unlock_parked(struct glk_guest *guest, long start, long len)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
	struct flock lock = { .l_type = F_UNLCK,
			      .l_start = start,
			      .l_len = len };

	assert_int_equal(capsule_list(guest->capsule, DEADLINE_NEVER,
				      &contents),
			 0);
	assert_int_equal(fcntl(contents.leases[0].fds[0], F_OFD_SETLK, &lock),
			 0);
	capsule_contents_done(&contents);
}

static void a_lock_that_is_gone_is_not_handed_over(void **state)
{
	(void)state;
	bring(OWNED);
	unlock_parked(pair.source, 0, 5);
	assert_int_equal(prepare(pair.source), -ENOLCK);
	assert_says(context, pair_disk(0));
	assert_says(context, "its lock is gone");
	end(&pair.source);

	bring(CLAIMED_LEFT);
	unlock_parked(pair.destination, 0, 5);
	assert_int_equal(glk_guest_in(pair.destination), -ENOLCK);
	assert_int_equal(glk_guest_cancel(pair.destination), 0);
	assert_int_equal(glk_guest_cancel(pair.source), 0);
	assert_int_equal(pair_role(pair.source), ROLE_OWNER);
}

/* All that a detach has done when it is killed before it tidies up. */
static void release_parked(struct glk_guest *guest)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;

	assert_int_equal(capsule_list(guest->capsule, DEADLINE_NEVER,
				      &contents),
			 0);
	assert_string_equal(contents.leases[0].path, pair_disk(0));
	assert_int_equal(capsule_unlock(&contents.leases[0]), 0);
	capsule_contents_done(&contents);
}

static size_t count_leases(struct glk_guest *guest)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	return info->n_leases;
}

static void a_disk_that_was_released_is_not_missed(void **state)
{
	(void)state;
	bring(OWNED);
	release_parked(pair.source);
	assert_true(test_lockable(pair_disk(0), F_WRLCK));
	assert_int_equal(count_leases(pair.source), PAIR_DISKS - 1);
	assert_int_equal(prepare(pair.source), 0);
	assert_int_equal(pair_role(pair.source), ROLE_PREPARED);
	assert_true(test_lockable(pair_disk(0), F_WRLCK));
	claim();
	assert_int_equal(glk_guest_out(pair.source), 0);
	release_parked(pair.destination);
	assert_int_equal(glk_guest_in(pair.destination), 0);
	assert_int_equal(pair_role(pair.destination), ROLE_ARRIVED);
}

/* The second time it was not on purpose. */
static void a_disk_that_was_taken_again_and_lost_is_missed(void **state)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;

	(void)state;
	bring(OWNED);
	release_parked(pair.source);
	assert_int_equal(guest_attach(pair.source, pair_disk(0), 0), 0);
	assert_int_equal(count_leases(pair.source), PAIR_DISKS);
	assert_int_equal(capsule_list(pair.source->capsule, DEADLINE_NEVER,
				      &contents),
			 0);
	for (size_t i = 0; i < contents.n_leases; i++) {
		struct flock lock = { .l_type = F_UNLCK, .l_len = 5 };

		if (!strcmp(contents.leases[i].path, pair_disk(0)))
			assert_int_equal(fcntl(contents.leases[i].fds[0],
					       F_OFD_SETLK, &lock),
					 0);
	}
	capsule_contents_done(&contents);
	assert_int_equal(prepare(pair.source), -ENOLCK);
	assert_says(context, pair_disk(0));
	assert_int_equal(count_leases(pair.source), PAIR_DISKS);
}

/* Byte 2 alone keeps nobody from the disk. */
static void half_a_claim_is_no_claim(void **state)
{
	int fd;

	(void)state;
	bring(CLAIMED_ORPHANED);
	unlock_parked(pair.destination, LOCK_BYTE_OWNER, 1);
	fd = kit_lock(pair_disk(0), LOCK_BYTE_OWNER, F_WRLCK);
	assert_int_equal(glk_guest_in(pair.destination), -ENOLCK);
	assert_says(context, "its claim is gone");
	close(fd);
	assert_int_equal(glk_guest_in(pair.destination), 0);
	assert_int_equal(pair_role(pair.destination), ROLE_OWNER);
}

static void a_migration_needs_a_guest_that_was_acquired(void **state)
{
	(void)state;
	pair.source = pair_guest(context, 1, "from", 0);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		assert_int_equal(calls[i].fn(pair.source), -ENODATA);
		assert_says(context, "has not been acquired yet");
	}
	assert_int_equal(pair_bytes(), 0);
}

struct later {
	pid_t guest;
	struct channel ready;
};

/* Another manager of the source, in a process of its own. */
static int leave_later(void *arg)
{
	struct later *later = arg;
	struct glk_context *theirs = guest_context();
	struct glk_guest *source = NULL;
	char selector[16];

	snprintf(selector, sizeof(selector), "%d", (int)later->guest);
	MUST_EQUAL(glk_guest_adopt(theirs, selector, &source), 0);
	MUST_EQUAL(channel_hear(&later->ready), 1);
	usleep(20000);
	MUST_EQUAL(glk_guest_out(source), 0);
	return 0;
}

static int die_later(void *arg)
{
	struct later *later = arg;

	MUST_EQUAL(channel_hear(&later->ready), 1);
	usleep(20000);
	process_kill(later->guest);
	return 0;
}

static pid_t run_as_guest(struct glk_guest *guest)
{
	guest->who.holder = CAPSULE_GUEST;
	guest_init(&guest->sm, false);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	return guest_fork(guest);
}

static void the_destination_waits_for_the_source(void **state)
{
	struct later later = { .ready = channel_new() };
	pid_t pid;

	(void)state;
	later.guest = run_as_guest(pair_guest(context, 1, "from", 0));
	assert_int_equal(glk_guest_adopt(context, guest_uuid(1), &pair.source),
			 0);
	assert_int_equal(prepare(pair.source), 0);
	claim();
	pid = process_start(leave_later, &later);
	channel_tell(&later.ready, 1);
	assert_int_equal(glk_guest_in(pair.destination), 0);
	assert_int_equal(pair_role(pair.destination), ROLE_ARRIVED);
	assert_int_equal(process_wait(pid), 0);
	process_end(later.guest);
	assert_int_equal(glk_guest_in(pair.destination), 0);
	assert_int_equal(pair_role(pair.destination), ROLE_OWNER);
	channel_free(&later.ready);
}

static void a_source_that_dies_is_one_that_has_left(void **state)
{
	struct later later = { .ready = channel_new() };
	pid_t pid;

	(void)state;
	later.guest = run_as_guest(pair_guest(context, 1, "from", 0));
	assert_int_equal(glk_guest_adopt(context, guest_uuid(1), &pair.source),
			 0);
	assert_int_equal(prepare(pair.source), 0);
	claim();
	pid = process_start(die_later, &later);
	channel_tell(&later.ready, 1);
	assert_int_equal(glk_guest_in(pair.destination), 0);
	assert_true(pair_is_safe(context));
	assert_int_equal(process_wait(pid), 0);
	assert_int_equal(process_wait(later.guest), 128 + SIGKILL);
	assert_int_equal(glk_guest_in(pair.destination), 0);
	assert_int_equal(pair_role(pair.destination), ROLE_OWNER);
	assert_int_equal(glk_guest_cancel(pair.source), -ESRCH);
	channel_free(&later.ready);
}

/* The one who waits has its descriptors, and must not keep them. */
static void a_destination_that_dies_is_not_waited_for(void **state)
{
	struct later later = { .ready = channel_new() };
	char selector[16];
	pid_t pid;

	(void)state;
	bring(PREPARED);
	later.guest =
		run_as_guest(pair_guest(context, 1, "to", GLK_GUEST_INCOMING));
	snprintf(selector, sizeof(selector), "%d", (int)later.guest);
	assert_int_equal(glk_guest_adopt(context, selector, &pair.destination),
			 0);
	pid = process_start(die_later, &later);
	channel_tell(&later.ready, 1);
	assert_int_equal(glk_guest_in(pair.destination), -ESRCH);
	assert_int_equal(process_wait(pid), 0);
	assert_int_equal(process_wait(later.guest), 128 + SIGKILL);
	assert_int_equal(glk_guest_cancel(pair.source), 0);
	assert_int_equal(pair_role(pair.source), ROLE_OWNER);
	channel_free(&later.ready);
}

struct rival {
	pid_t guest;
	int (*step)(struct glk_guest *guest);
	struct channel ready, go;
};

/* Another manager of the same guest, which keeps the turn as long as it is told
   to; as its guest may do for ever. */
static int keep_turn(void *arg)
{
	struct rival *rival = arg;
	struct glk_context *theirs = guest_context();
	struct glk_guest *guest = NULL;
	char selector[16];
	int turn = -1;

	snprintf(selector, sizeof(selector), "%d", (int)rival->guest);
	MUST_EQUAL(glk_guest_adopt(theirs, selector, &guest), 0);
	MUST_EQUAL(capsule_turn(guest->capsule, DEADLINE_NEVER, &turn), 0);
	channel_tell(&rival->ready, 1);
	MUST_EQUAL(channel_hear(&rival->go), 1);
	capsule_turn_over(turn);
	return 0;
}

static void one_manager_at_a_time_migrates_a_guest(void **state)
{
	struct rival rival = { .ready = channel_new(), .go = channel_new() };
	pid_t pid;

	(void)state;
	rival.guest = run_as_guest(pair_guest(context, 1, "from", 0));
	assert_int_equal(glk_guest_adopt(context, guest_uuid(1), &pair.source),
			 0);
	assert_int_equal(prepare(pair.source), 0);
	pid = process_start(keep_turn, &rival);
	assert_int_equal(channel_hear(&rival.ready), 1);
	glk_context_set_timeout(context, 50);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		assert_int_equal(calls[i].fn(pair.source), -ETIME);
		assert_says(context, "somebody else is migrating the guest");
	}
	assert_int_equal(pair_role(pair.source), ROLE_PREPARED);
	glk_context_set_timeout(context, 30000);
	channel_tell(&rival.go, 1);
	assert_int_equal(glk_guest_cancel(pair.source), 0);
	assert_int_equal(pair_role(pair.source), ROLE_OWNER);
	assert_int_equal(process_wait(pid), 0);
	process_end(rival.guest);
	channel_free(&rival.ready);
	channel_free(&rival.go);
}

#define ROUNDS 300

static int step_often(void *arg)
{
	struct rival *rival = arg;
	struct glk_context *theirs = guest_context();
	struct glk_guest *guest = NULL;
	char selector[16];

	snprintf(selector, sizeof(selector), "%d", (int)rival->guest);
	MUST_EQUAL(glk_guest_adopt(theirs, selector, &guest), 0);
	channel_tell(&rival->ready, 1);
	MUST_EQUAL(channel_hear(&rival->go), 1);
	for (unsigned i = 0; i < ROUNDS; i++)
		MUST_EQUAL(rival->step(guest), 0);
	glk_guest_free(guest);
	glk_context_free(theirs);
	return 0;
}

static void managers_that_disagree_take_nothing_from_the_guest(void **state)
{
	struct rival rival = { .step = glk_guest_cancel,
			       .ready = channel_new(),
			       .go = channel_new() };
	enum role role;
	pid_t pid;

	(void)state;
	rival.guest = run_as_guest(pair_guest(context, 1, "from", 0));
	assert_int_equal(glk_guest_adopt(context, guest_uuid(1), &pair.source),
			 0);
	pid = process_start(step_often, &rival);
	assert_int_equal(channel_hear(&rival.ready), 1);
	channel_tell(&rival.go, 1);
	for (unsigned i = 0; i < ROUNDS; i++) {
		assert_int_equal(prepare(pair.source), 0);
		assert_false(test_lockable(pair_disk(0), F_WRLCK));
	}
	assert_int_equal(process_wait(pid), 0);
	role = pair_role(pair.source);
	assert_true(role == ROLE_OWNER || role == ROLE_PREPARED);
	assert_true(pair_is_safe(context));
	process_end(rival.guest);
	channel_free(&rival.ready);
	channel_free(&rival.go);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(every_call_at_every_stage_answers_as_the_header_says),
	TEST(the_other_side_goes_on_alone),
	TEST(what_owns_a_disk_holds_one_byte_of_it),
	TEST(the_guest_goes_on_from_host_to_host),
	TEST(who_has_the_disk_now_is_named),
	TEST(a_stranger_in_the_way_is_named),
	TEST(a_refusal_says_what_is_missing),
	TEST(a_lock_reaches_no_further_than_its_file_system),
	TEST(a_destination_that_is_cancelled_has_nothing),
	TEST(a_disk_that_is_being_handed_over_can_be_released),
	TEST(a_lock_that_is_gone_is_not_handed_over),
	TEST(a_disk_that_was_released_is_not_missed),
	TEST(a_disk_that_was_taken_again_and_lost_is_missed),
	TEST(half_a_claim_is_no_claim),
	TEST(a_migration_needs_a_guest_that_was_acquired),
	TEST(the_destination_waits_for_the_source),
	TEST(a_source_that_dies_is_one_that_has_left),
	TEST(a_destination_that_dies_is_not_waited_for),
	TEST(one_manager_at_a_time_migrates_a_guest),
	TEST(managers_that_disagree_take_nothing_from_the_guest),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
