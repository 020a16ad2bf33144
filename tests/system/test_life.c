/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/*
 * A lease lives exactly as long as the processes that have its guest's capsule
 * open, whoever made it and whatever became of them.
 */
#define N_DISKS 5

/* A process that makes a guest, tells its pid and then does as it was told. */
struct maker {
	struct channel pids;
	struct guest_plan plan;
	bool lives; /* until it is killed */
};

static int make_guest(void *arg)
{
	struct maker *maker = arg;
	struct glk_context *context = guest_context();

	channel_tell(&maker->pids, guest_run(context, &maker->plan));
	while (maker->lives)
		guest_live();
	glk_context_free(context);
	return 0;
}

static struct maker maker_new(const char *prefix)
{
	return (struct maker){
		.pids = channel_new(),
		.plan = {
			.uuid = guest_uuid(1),
			.name = guest_name(prefix),
			.disks = disks_new(prefix, N_DISKS),
		},
	};
}

static void maker_free(struct maker *maker)
{
	channel_free(&maker->pids);
	disks_free(&maker->plan.disks);
}

static void assert_held(const struct disks *disks)
{
	for (size_t i = 0; i < disks->n; i++) {
		assert_false(test_lockable(disks->items[i].path, F_WRLCK));
		assert_false(test_lockable(disks->items[i].path, F_RDLCK));
	}
}

static void assert_becomes_free(const struct disks *disks)
{
	for (size_t i = 0; i < disks->n; i++)
		assert_true(test_becomes_free(disks->items[i].path, 10000));
}

static void assert_gone(const char *selector)
{
	struct glk_context *context = guest_context();
	struct glk_guest *guest = NULL;

	assert_int_equal(glk_guest_adopt(context, selector, &guest), -ESRCH);
	assert_null(guest);
	assert_non_null(strstr(glk_context_message(context), selector));
	glk_context_free(context);
}

static const char *number(pid_t pid)
{
	static char text[16];

	snprintf(text, sizeof(text), "%d", (int)pid);
	return text;
}

/* Adopt by every selector; all must lead to the same process and leases. */
static void assert_found(const struct guest_plan *plan, pid_t pid)
{
	const char *selectors[] = { plan->uuid, plan->name, number(pid) };
	struct glk_context *context = guest_context();

	for (size_t i = 0; i < ARRAY_SIZE(selectors); i++) {
		const struct glk_guest_info *info = NULL;
		struct glk_guest *guest = NULL;

		assert_int_equal(glk_guest_adopt(context, selectors[i], &guest),
				 0);
		assert_int_equal(glk_guest_info(guest, &info), 0);
		assert_string_equal(info->uuid, plan->uuid);
		assert_string_equal(info->name, plan->name);
		assert_int_equal(info->pid, pid);
		assert_int_equal(info->n_leases, plan->disks.n);
		assert_int_equal(info->n_garbled, 0);
		for (size_t k = 0; k < info->n_leases; k++)
			assert_true(info->leases[k].held);
		glk_guest_free(guest);
	}
	glk_context_free(context);
}

static void end_of(const struct maker *maker, pid_t guest)
{
	process_end(guest);
	assert_becomes_free(&maker->plan.disks);
	assert_gone(maker->plan.uuid);
}

static void test_leases_stay_when_their_maker_exits(void **state)
{
	struct maker maker = maker_new("exits");
	pid_t pid = process_start(make_guest, &maker), guest;

	(void)state;
	guest = channel_hear(&maker.pids);
	assert_int_equal(process_wait(pid), 0);
	assert_held(&maker.plan.disks);
	assert_found(&maker.plan, guest);
	end_of(&maker, guest);
	maker_free(&maker);
}

static void test_leases_stay_when_their_maker_is_killed(void **state)
{
	struct maker maker = maker_new("killed");
	pid_t pid, guest;

	(void)state;
	maker.lives = true;
	pid = process_start(make_guest, &maker);
	guest = channel_hear(&maker.pids);
	assert_held(&maker.plan.disks);
	process_end(pid);
	assert_held(&maker.plan.disks);
	assert_found(&maker.plan, guest);
	end_of(&maker, guest);
	maker_free(&maker);
}

static void test_the_maker_can_extend_a_guest_it_has_handed_over(void **state)
{
	struct maker maker = maker_new("extended");
	const char *more = test_file("extended-more", 0);
	struct glk_context *context = guest_context();
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, maker.plan.uuid,
			       maker.plan.name);
	pid_t pid;

	(void)state;
	assert_int_equal(glk_guest_add(guest, maker.plan.disks.items, N_DISKS),
			 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	pid = fork();
	if (!pid)
		guest_become(guest);
	assert_int_equal(glk_guest_handed_over(guest), 0);
	assert_int_equal(glk_guest_handed_over(guest), -ENODATA);
	assert_int_equal(guest_attach(guest, more, 0), 0);
	assert_false(test_lockable(more, F_RDLCK));
	assert_int_equal(guest_detach(guest, more), 0);
	assert_true(test_lockable(more, F_WRLCK));
	process_end(pid);
	assert_becomes_free(&maker.plan.disks);
	assert_int_equal(guest_attach(guest, more, 0), -ESRCH);
	assert_true(test_lockable(more, F_WRLCK));
	glk_guest_free(guest);
	glk_context_free(context);
	maker_free(&maker);
}

/* A VMM that links the library. */
static int run_vmm(void *arg)
{
	struct maker *maker = arg;
	struct glk_context *context = guest_context();
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, maker->plan.uuid,
			       maker->plan.name);

	MUST_EQUAL(glk_guest_add(guest, maker->plan.disks.items, N_DISKS), 0);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	MUST_EQUAL(glk_guest_handed_over(guest), -EOPNOTSUPP);
	channel_tell(&maker->pids, getpid());
	guest_live();
	return 0;
}

static void test_a_vmm_that_links_the_library_holds_its_own(void **state)
{
	struct maker maker = maker_new("self");
	const char *more = test_file("self-more", 0);
	struct glk_context *context = guest_context();
	struct glk_guest *guest = NULL;
	pid_t pid = process_start(run_vmm, &maker);

	(void)state;
	assert_int_equal(channel_hear(&maker.pids), pid);
	assert_held(&maker.plan.disks);
	assert_found(&maker.plan, pid);
	assert_int_equal(glk_guest_adopt(context, maker.plan.name, &guest), 0);
	assert_int_equal(guest_attach(guest, more, 0), 0);
	assert_false(test_lockable(more, F_RDLCK));
	glk_guest_free(guest);
	assert_false(test_lockable(more, F_RDLCK));
	end_of(&maker, pid);
	assert_true(test_becomes_free(more, 10000));
	glk_context_free(context);
	maker_free(&maker);
}

/* As `guestlock run` does it: the maker becomes the guest. */
static int exec_guest(void *arg)
{
	struct maker *maker = arg;
	struct glk_context *context = guest_context();
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, maker->plan.uuid,
			       maker->plan.name);

	MUST_EQUAL(glk_guest_add(guest, maker->plan.disks.items, N_DISKS), 0);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	guest_become(guest);
}

static void test_a_process_can_become_the_guest_without_a_fork(void **state)
{
	struct maker maker = maker_new("exec");
	pid_t pid = process_start(exec_guest, &maker);

	(void)state;
	channel_reads(&maker.pids);
	assert_int_equal(channel_hear(&maker.pids), INT_MIN);
	assert_held(&maker.plan.disks);
	assert_found(&maker.plan, pid);
	end_of(&maker, pid);
	maker_free(&maker);
}

/* A guest with a child: only the leash is common to both. */
static int fork_child(void *arg)
{
	struct maker *maker = arg;
	struct glk_context *context = guest_context();
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, maker->plan.uuid,
			       maker->plan.name);
	pid_t child;

	MUST_EQUAL(glk_guest_add(guest, maker->plan.disks.items, N_DISKS), 0);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	child = fork();
	MUST(child >= 0);
	if (!child)
		guest_become(guest);
	channel_tell(&maker->pids, child);
	guest_live();
	return 0;
}

static void test_a_child_that_inherited_the_capsule_lingers(void **state)
{
	struct maker maker = maker_new("lingers");
	pid_t pid = process_start(fork_child, &maker), child;

	(void)state;
	child = channel_hear(&maker.pids);
	channel_reads(&maker.pids);
	process_end(pid);
	assert_int_equal(channel_hear(&maker.pids), INT_MIN);
	assert_held(&maker.plan.disks);
	assert_found(&maker.plan, child);
	end_of(&maker, child);
	maker_free(&maker);
}

/* daemon(3) without a change of its standard files. */
static int become_daemon(void *arg)
{
	struct maker *maker = arg;
	struct glk_context *context = guest_context();
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, maker->plan.uuid,
			       maker->plan.name);
	pid_t pid;

	MUST_EQUAL(glk_guest_add(guest, maker->plan.disks.items, N_DISKS), 0);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	pid = fork();
	if (pid)
		_exit(0);
	setsid();
	pid = fork();
	if (pid) {
		channel_tell(&maker->pids, pid);
		_exit(0);
	}
	guest_become(guest);
}

static void test_a_guest_that_daemonises_is_found_where_it_went(void **state)
{
	struct maker maker = maker_new("daemon");
	const char *more = test_file("daemon-more", 0);
	struct glk_context *context = guest_context();
	struct glk_guest *guest = NULL;
	pid_t first, second;

	(void)state;
	first = process_start(become_daemon, &maker);
	second = channel_hear(&maker.pids);
	channel_reads(&maker.pids);
	assert_int_equal(process_wait(first), 0);
	assert_int_equal(channel_hear(&maker.pids), INT_MIN);
	assert_held(&maker.plan.disks);
	assert_found(&maker.plan, second);
	assert_gone(number(first));
	assert_int_equal(glk_guest_adopt(context, maker.plan.name, &guest), 0);
	assert_int_equal(guest_attach(guest, more, 0), 0);
	assert_false(test_lockable(more, F_RDLCK));
	process_end(second);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		; /* the one in between */
	assert_becomes_free(&maker.plan.disks);
	assert_true(test_becomes_free(more, 10000));
	glk_guest_free(guest);
	glk_context_free(context);
	maker_free(&maker);
}

static int close_everything(void *arg)
{
	struct maker *maker = arg;
	struct glk_context *context = guest_context();
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, maker->plan.uuid,
			       maker->plan.name);

	MUST_EQUAL(glk_guest_add(guest, maker->plan.disks.items, N_DISKS), 0);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	channel_tell(&maker->pids, 1);
	guest_close_others(maker->pids.fds[1]);
	channel_tell(&maker->pids, 2);
	guest_live();
	return 0;
}

/* Promised by the header, among the things to know first. */
static void test_a_guest_that_closes_its_capsule_lets_go(void **state)
{
	struct maker maker = maker_new("closes");
	pid_t pid = process_start(close_everything, &maker);

	(void)state;
	assert_int_equal(channel_hear(&maker.pids), 1);
	assert_int_equal(channel_hear(&maker.pids), 2);
	assert_becomes_free(&maker.plan.disks);
	assert_gone(maker.plan.uuid);
	assert_false(process_is_gone(pid));
	process_end(pid);
	maker_free(&maker);
}

static void test_two_guests_of_one_name_are_not_told_apart_by_it(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("twins", 2);
	struct guest_plan plan = { NULL, guest_name("twin"), { NULL, 1 } };
	struct glk_guest *guest = NULL;
	pid_t pids[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		plan.uuid = guest_uuid(i);
		plan.disks.items = &disks.items[i];
		pids[i] = guest_run(context, &plan);
	}
	assert_int_equal(glk_guest_adopt(context, plan.name, &guest),
			 -ENOTUNIQ);
	assert_null(guest);
	assert_non_null(strstr(glk_context_message(context), plan.name));
	assert_int_equal(glk_guest_adopt(context, guest_uuid(0), &guest), 0);
	glk_guest_free(guest);
	process_end(pids[0]);
	assert_true(test_becomes_free(disks.items[0].path, 10000));
	assert_found(&plan, pids[1]);
	process_end(pids[1]);
	assert_becomes_free(&disks);
	glk_context_free(context);
	disks_free(&disks);
}

static void test_a_pid_that_holds_two_capsules_names_neither(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("pair", 2);
	struct glk_guest *both[2], *none = NULL;
	struct glk_context *other = guest_context();

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		both[i] = guest_describe(context, GLK_HOLDER_SELF,
					 guest_uuid(i), NULL);
		assert_int_equal(guest_add(both[i], disks.items[i].path, 0), 0);
		assert_int_equal(glk_guest_acquire(both[i]), 0);
	}
	assert_int_equal(glk_guest_adopt(other, number(getpid()), &none),
			 -ENOTUNIQ);
	assert_null(none);
	assert_int_equal(glk_guest_adopt(other, guest_uuid(1), &none), 0);
	glk_guest_free(none);
	for (unsigned i = 0; i < 2; i++)
		glk_guest_free(both[i]);
	assert_becomes_free(&disks);
	glk_context_free(context);
	glk_context_free(other);
	disks_free(&disks);
}

static void test_a_pid_wins_over_a_guest_of_that_name(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("number", 2);
	struct guest_plan plan = { guest_uuid(0), NULL, { disks.items, 1 } };
	struct guest_plan named = { guest_uuid(1),
				    NULL,
				    { disks.items + 1, 1 } };
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;
	pid_t pids[2];
	char name[16];

	(void)state;
	pids[0] = guest_run(context, &plan);
	snprintf(name, sizeof(name), "%d", (int)pids[0]);
	named.name = name;
	pids[1] = guest_run(context, &named);
	assert_int_equal(glk_guest_adopt(context, name, &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_string_equal(info->uuid, guest_uuid(0));
	glk_guest_free(guest);
	process_end(pids[0]);
	assert_true(test_becomes_free(disks.items[0].path, 10000));
	assert_int_equal(glk_guest_adopt(context, name, &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_string_equal(info->uuid, guest_uuid(1));
	glk_guest_free(guest);
	process_end(pids[1]);
	assert_becomes_free(&disks);
	glk_context_free(context);
	disks_free(&disks);
}

static void test_nobody_is_found_where_nobody_is(void **state)
{
	(void)state;
	assert_gone(guest_uuid(77));
	assert_gone(guest_name("nobody"));
	assert_gone(number(getpid()));
	assert_gone("1");
}

static const struct glk_lease_info *find_lease(
	const struct glk_guest_info *info, const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	for (size_t i = 0; i < info->n_leases; i++)
		if (info->leases[i].dev == st.st_dev &&
		    info->leases[i].ino == st.st_ino)
			return &info->leases[i];
	fail_msg("no lease on %s", path);
	return NULL;
}

static void check_times(const struct glk_guest_info *info, uint64_t before,
			pid_t pid)
{
	uint64_t after = clock_ns(CLOCK_REALTIME);
	uint64_t started = process_started(pid);

	/* Ticks are 10 ms. */
	assert_in_range(info->started, started - 50 * NSEC_PER_MSEC,
			started + 50 * NSEC_PER_MSEC);
	for (size_t i = 0; i < info->n_leases; i++)
		assert_in_range(info->leases[i].since, before, after);
}

static pid_t start_numbered(struct glk_context *context, const char *a,
			    const char *b, const char *c)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest = NULL;

	config.uuid = guest_uuid(5);
	config.name = "caf\303\251, 'x' \\n";
	config.id = INT64_C(1) << 40;
	assert_int_equal(glk_guest_new(context, &config, &guest), 0);
	assert_int_equal(guest_add(guest, a, 0), 0);
	assert_int_equal(guest_add(guest, b, GLK_DISK_SHARED), 0);
	assert_int_equal(guest_add(guest, c, GLK_DISK_READONLY), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	return guest_start(guest);
}

static void test_a_guest_says_who_it_is_and_what_it_holds(void **state)
{
	uint64_t before = clock_ns(CLOCK_REALTIME);
	struct glk_context *context = guest_context();
	const char *a = test_file("who a", 0), *b = test_file("who,b", 0);
	const char *c = test_file("who\nc", 0);
	pid_t pid = start_numbered(context, a, b, c);
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;

	(void)state;
	assert_int_equal(glk_guest_adopt(context, guest_uuid(5), &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_string_equal(info->name, "caf\303\251, 'x' \\n");
	assert_int_equal(info->id, INT64_C(1) << 40);
	assert_int_equal(info->pid, pid);
	assert_int_equal(info->uid, geteuid());
	assert_int_equal(info->holder, GLK_HOLDER_GUEST);
	assert_int_equal(info->n_leases, 3);
	check_times(info, before, pid);
	assert_string_equal(find_lease(info, a)->path, a);
	assert_int_equal(find_lease(info, a)->mode, GLK_MODE_EXCLUSIVE);
	assert_string_equal(find_lease(info, b)->path, b);
	assert_int_equal(find_lease(info, b)->mode, GLK_MODE_SHARED);
	assert_string_equal(find_lease(info, c)->path, c);
	assert_int_equal(find_lease(info, c)->mode, GLK_MODE_SHARED);
	glk_guest_free(guest);
	process_end(pid);
	assert_true(test_becomes_free(a, 10000));
	glk_context_free(context);
}

static const struct glk_guest_info *only_lease(struct glk_guest *guest)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 1);
	assert_true(info->leases[0].held);
	return info;
}

static void test_a_lease_follows_its_file_and_not_the_path(void **state)
{
	struct glk_context *context = guest_context();
	const char *path = test_file("moves", 0);
	const char *moved = test_file("moved", -1);
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);

	(void)state;
	assert_int_equal(guest_add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_true(only_lease(guest)->leases[0].same_file);

	assert_int_equal(rename(path, moved), 0);
	assert_string_equal(only_lease(guest)->leases[0].path, moved);
	assert_false(only_lease(guest)->leases[0].same_file);
	assert_false(test_lockable(moved, F_RDLCK));

	/* Another file of that name is another disk. */
	test_file("moves", 0);
	assert_true(test_lockable(path, F_WRLCK));
	assert_string_equal(only_lease(guest)->leases[0].path, moved);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_false(test_lockable(path, F_RDLCK));
	assert_int_equal(guest_detach(guest, path), 0);
	assert_true(test_lockable(path, F_WRLCK));
	assert_false(test_lockable(moved, F_RDLCK));
	assert_int_equal(guest_detach(guest, path), 0);
	assert_true(test_lockable(moved, F_WRLCK));
	glk_guest_free(guest);
	glk_context_free(context);
}

static void test_an_unlinked_disk_is_still_held(void **state)
{
	struct glk_context *context = guest_context();
	const char *path = test_file("unlinked", 0);
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	size_t released = 0;

	(void)state;
	assert_int_equal(guest_add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(unlink(path), 0);
	assert_false(only_lease(guest)->leases[0].same_file);
	assert_int_equal(glk_guest_detach(guest, &path, 1, &released), 0);
	assert_int_equal(released, 1);
	glk_guest_free(guest);
	glk_context_free(context);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_leases_stay_when_their_maker_exits),
	cmocka_unit_test(test_leases_stay_when_their_maker_is_killed),
	cmocka_unit_test(test_the_maker_can_extend_a_guest_it_has_handed_over),
	cmocka_unit_test(test_a_vmm_that_links_the_library_holds_its_own),
	cmocka_unit_test(test_a_process_can_become_the_guest_without_a_fork),
	cmocka_unit_test(test_a_child_that_inherited_the_capsule_lingers),
	cmocka_unit_test(test_a_guest_that_daemonises_is_found_where_it_went),
	cmocka_unit_test(test_a_guest_that_closes_its_capsule_lets_go),
	cmocka_unit_test(test_two_guests_of_one_name_are_not_told_apart_by_it),
	cmocka_unit_test(test_a_pid_that_holds_two_capsules_names_neither),
	cmocka_unit_test(test_a_pid_wins_over_a_guest_of_that_name),
	cmocka_unit_test(test_nobody_is_found_where_nobody_is),
	cmocka_unit_test(test_a_guest_says_who_it_is_and_what_it_holds),
	cmocka_unit_test(test_a_lease_follows_its_file_and_not_the_path),
	cmocka_unit_test(test_an_unlinked_disk_is_still_held),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
