/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/migrate_kit.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/*
 * Every step of a migration, with everything that can go wrong in it: each
 * single change of a lock fails, or is where the manager is killed, or where
 * the call is cancelled. The linker sends the library's engine_run() here
 * (--wrap), so that changes can be counted.
 */
int __real_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);
int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);

enum fault_kind {
	FAULT_NONE,
	FAULT_FAIL,
	FAULT_CANCEL,
	FAULT_KILL,
	N_FAULTS,
};

static struct {
	enum fault_kind kind;
	unsigned left; /* changes before it */
	bool done;
} fault;

static struct glk_context *context;

/* So often somebody is just looking at byte 0 of a disk. */
static unsigned n_lookers;

static bool is_in_the_way(struct op *op)
{
	if (!n_lookers || op->kind != OP_LOCK || op->lock.type != F_WRLCK ||
	    op->lock.start != LOCK_BYTE_OWNER)
		return false;
	n_lookers--;
	op->res = -EAGAIN;
	return true;
}

static bool is_change(const struct op *op)
{
	return op->kind == OP_LOCK || op->kind == OP_UNLOCK;
}

/* Return: does it take the operation's place? */
static bool strike(struct op *op)
{
	if (!fault.kind || fault.done || !is_change(op) || fault.left--)
		return false;
	fault.done = true;
	if (fault.kind == FAULT_KILL)
		raise(SIGKILL);
	if (fault.kind == FAULT_CANCEL)
		glk_context_cancel(context);
	else
		op->res = -EIO;
	return fault.kind == FAULT_FAIL;
}

int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline)
{
	int r = 0;

	if (!fault.kind && !n_lookers)
		return __real_engine_run(engine, ops, n, deadline);
	for (size_t i = 0; i < n && !r; i++)
		if (!strike(&ops[i]) && !is_in_the_way(&ops[i]))
			r = __real_engine_run(engine, &ops[i], 1, deadline);
	return r;
}

/* Two guests that live in processes of their own, and so outlive managers. */
static struct side {
	pid_t pid;
	struct glk_guest *guest;
} source, destination;

static void run_side(struct side *side, const char *name, unsigned flags)
{
	struct glk_guest *guest = pair_guest(context, 1, name, flags);
	char selector[16];

	guest->who.holder = CAPSULE_GUEST;
	guest_init(&guest->sm, false);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	side->pid = guest_fork(guest);
	snprintf(selector, sizeof(selector), "%d", (int)side->pid);
	MUST_EQUAL(glk_guest_adopt(context, selector, &side->guest), 0);
}

static void end_side(struct side *side)
{
	if (side->pid)
		process_end(side->pid);
	glk_guest_free(side->guest);
	*side = (struct side){};
}

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
	memset(&fault, 0, sizeof(fault));
	n_lookers = 0;
	end_side(&source);
	end_side(&destination);
	glk_context_free(context);
	return 0;
}

static int prepare(struct glk_guest *guest)
{
	return glk_guest_prepare(guest, "localhost");
}

enum scene {
	SCENE_OWNED,
	SCENE_CLAIMED,
	SCENE_LEFT,
	SCENE_ARRIVED,
	SCENE_LEFT_ALONE,
	SCENE_ORPHANED,
	SCENE_ARRIVED_ORPHANED,
};

static void set_scene(enum scene scene)
{
	run_side(&source, "from", 0);
	if (scene == SCENE_OWNED)
		return;
	MUST_EQUAL(prepare(source.guest), 0);
	run_side(&destination, "to", GLK_GUEST_INCOMING);
	if (scene != SCENE_CLAIMED)
		MUST_EQUAL(glk_guest_out(source.guest), 0);
	if (scene == SCENE_ARRIVED || scene == SCENE_ARRIVED_ORPHANED)
		MUST_EQUAL(glk_guest_in(destination.guest), 0);
	if (scene == SCENE_LEFT_ALONE)
		end_side(&destination);
	if (scene == SCENE_ORPHANED || scene == SCENE_ARRIVED_ORPHANED)
		end_side(&source);
}

static const struct step {
	const char *name;
	enum scene scene;
	struct side *side;
	int (*fn)(struct glk_guest *guest);
	enum role before, after;
	bool frees; /* nobody has the disks then */
} steps[] = {
	{ "prepare", SCENE_OWNED, &source, prepare, ROLE_OWNER, ROLE_PREPARED },
	{ "prepare again", SCENE_LEFT, &source, prepare, ROLE_LEFT,
	  ROLE_PREPARED },
	{ "prepare to go on", SCENE_ARRIVED_ORPHANED, &destination, prepare,
	  ROLE_ARRIVED, ROLE_PREPARED },
	{ "out", SCENE_CLAIMED, &source, glk_guest_out, ROLE_PREPARED,
	  ROLE_LEFT },
	{ "in", SCENE_LEFT, &destination, glk_guest_in, ROLE_INCOMING,
	  ROLE_ARRIVED },
	{ "in for good", SCENE_ORPHANED, &destination, glk_guest_in,
	  ROLE_INCOMING, ROLE_OWNER },
	{ "in, the rest", SCENE_ARRIVED_ORPHANED, &destination, glk_guest_in,
	  ROLE_ARRIVED, ROLE_OWNER },
	{ "come back", SCENE_LEFT, &source, glk_guest_cancel, ROLE_LEFT,
	  ROLE_PREPARED },
	{ "come back for good", SCENE_LEFT_ALONE, &source, glk_guest_cancel,
	  ROLE_LEFT, ROLE_OWNER },
	{ "let go", SCENE_CLAIMED, &destination, glk_guest_cancel,
	  ROLE_INCOMING, ROLE_NONE },
	{ "let go of all", SCENE_ORPHANED, &destination, glk_guest_cancel,
	  ROLE_INCOMING, ROLE_NONE, true },
};

static unsigned writers(const struct side *side, unsigned disk)
{
	const struct glk_guest_info *info = NULL;
	unsigned n = 0;

	if (!side->guest)
		return 0;
	MUST_EQUAL(glk_guest_info(side->guest, &info), 0);
	for (size_t i = 0; i < info->n_leases; i++)
		if (info->leases[i].mode == GLK_MODE_EXCLUSIVE &&
		    !strcmp(info->leases[i].path, pair_disk(disk)))
			n += role_holds((enum role)info->leases[i].role);
	return n;
}

static void assert_safe(bool freed)
{
	for (unsigned i = 0; i < PAIR_DISKS - 1; i++)
		assert_true(writers(&source, i) + writers(&destination, i) <=
			    1);
	if (!freed)
		assert_true(pair_is_safe(context));
}

static int be_manager(void *arg)
{
	const struct step *step = arg;
	struct glk_guest *guest = NULL;
	char selector[16];

	context = guest_context();
	snprintf(selector, sizeof(selector), "%d", (int)step->side->pid);
	MUST_EQUAL(glk_guest_adopt(context, selector, &guest), 0);
	return step->fn(guest) ? 1 : 0;
}

/* Return: as the step's call; the errors that a fault may cause are as good. */
static int take_step(const struct step *step, enum fault_kind kind, unsigned at)
{
	int r;

	fault.kind = kind;
	fault.left = at;
	fault.done = false;
	if (kind == FAULT_KILL)
		r = process_wait(process_start(be_manager, (void *)step));
	else
		r = step->fn(step->side->guest);
	if (kind == FAULT_KILL)
		fault.done = r == 128 + SIGKILL;
	/* One that came too late would end the next call. */
	if (kind == FAULT_CANCEL)
		engine_take_cancel(context->engine);
	fault.kind = FAULT_NONE;
	return r;
}

static const int errors[N_FAULTS] = {
	[FAULT_FAIL] = -EIO,
	[FAULT_CANCEL] = -ECANCELED,
	[FAULT_KILL] = 128 + SIGKILL,
};

/* Return: false if there was no such change any more. */
static bool fault_at(const struct step *step, enum fault_kind kind, unsigned at)
{
	bool struck;
	int r;

	set_scene(step->scene);
	r = take_step(step, kind, at);
	struck = fault.done;
	if (r && r != errors[kind])
		fprintf(stderr, "%s, fault %d at %u: %d\n", step->name, kind,
			at, r);
	assert_true(!r || (struck && r == errors[kind]));
	/* What was let go of is not asked for again. */
	if (r && kind != FAULT_KILL && step->after != ROLE_NONE)
		assert_int_equal(pair_role(step->side->guest), step->before);
	assert_safe(step->frees);

	r = step->fn(step->side->guest);
	if (r)
		fprintf(stderr, "%s after fault %d at %u: %d (%s)\n",
			step->name, kind, at, r, glk_context_message(context));
	assert_int_equal(r, 0);
	assert_int_equal(pair_role(step->side->guest), step->after);
	assert_safe(step->frees);
	end_side(&source);
	end_side(&destination);
	assert_int_equal(pair_bytes(), 0);
	return struck;
}

static void fault_everywhere(enum fault_kind kind)
{
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		unsigned at = 0;

		while (fault_at(&steps[i], kind, at))
			at++;
		assert_true(at >= PAIR_DISKS - 1);
	}
}

static void a_change_that_fails_is_taken_back(void **state)
{
	(void)state;
	fault_everywhere(FAULT_FAIL);
}

static void a_cancelled_step_is_taken_back(void **state)
{
	(void)state;
	fault_everywhere(FAULT_CANCEL);
}

static void a_killed_manager_leaves_what_another_one_can_end(void **state)
{
	(void)state;
	fault_everywhere(FAULT_KILL);
}

/* Or take back: whichever side's cancel is called, the source owns its disks
   again once the destination has let go. */
static void a_killed_manager_leaves_what_can_be_cancelled(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		const struct step *step = &steps[i];
		bool struck = step->scene <= SCENE_LEFT;

		for (unsigned at = 0; struck; at++) {
			set_scene(step->scene);
			take_step(step, FAULT_KILL, at);
			struck = fault.done;
			if (destination.guest && step->after != ROLE_ARRIVED)
				assert_int_equal(glk_guest_cancel(
							 destination.guest),
						 0);
			else if (destination.guest)
				end_side(&destination);
			assert_int_equal(glk_guest_cancel(source.guest), 0);
			assert_int_equal(pair_role(source.guest), ROLE_OWNER);
			assert_int_equal(pair_bytes(), PAIR_DISKS);
			end_side(&source);
			end_side(&destination);
		}
	}
}

static void who_just_looks_does_not_keep_a_disk_from_being_whole(void **state)
{
	(void)state;
	set_scene(SCENE_LEFT_ALONE);
	n_lookers = 100;
	assert_int_equal(glk_guest_cancel(source.guest), 0);
	assert_int_equal(n_lookers, 0);
	assert_int_equal(pair_role(source.guest), ROLE_OWNER);
}

/* Such as one of virtlockd's shared locks, which do not look at our bytes. */
static void who_stays_leaves_the_guest_its_disks_all_the_same(void **state)
{
	(void)state;
	set_scene(SCENE_LEFT_ALONE);
	n_lookers = UINT32_MAX;
	assert_int_equal(glk_guest_cancel(source.guest), 0);
	n_lookers = 0;
	assert_int_equal(pair_role(source.guest), ROLE_PREPARED);
	assert_int_equal(glk_guest_cancel(source.guest), 0);
	assert_int_equal(pair_role(source.guest), ROLE_OWNER);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_change_that_fails_is_taken_back),
	TEST(a_cancelled_step_is_taken_back),
	TEST(a_killed_manager_leaves_what_another_one_can_end),
	TEST(a_killed_manager_leaves_what_can_be_cancelled),
	TEST(who_just_looks_does_not_keep_a_disk_from_being_whole),
	TEST(who_stays_leaves_the_guest_its_disks_all_the_same),
};

/* With more points there are many more faults, so kills alone. */
#define KILLS 2

int main(void)
{
	size_t first = getenv("GUESTLOCK_TEST_DEVICES") ? KILLS : 0;

	return test_run(__FILE__, tests + first, ARRAY_SIZE(tests) - first,
			TEST_NEEDS_NOTHING);
}
