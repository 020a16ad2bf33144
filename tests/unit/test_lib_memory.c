/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * The linker sends all allocations of the library and of what is below it here
 * (--wrap). Each of a call's allocations fails once: the call then does what
 * was asked for, or fails and leaves nothing. (glibc's own are not ours to
 * fail, such as those of vasprintf(3).)
 */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);

static unsigned allocations, fail_at;

static bool fails(void)
{
	if (!fail_at || ++allocations != fail_at)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(p, n, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
	return fails() ? NULL : __real_strndup(s, n);
}

#define N_DISKS 6

static struct glk_context *context;
static struct glk_guest *guest;
static struct disks disks;
static const char *shared, *held;

/*
 * Fail the first, the second ... allocation of @call, until it makes no more.
 * It returns its result, having undone what it did.
 */
static void each_may_fail(int (*call)(void), int expected)
{
	unsigned failed = 0, fds;

	assert_int_equal(call(), expected);
	fds = test_open_fds();
	for (unsigned at = 1;; at++) {
		int r;

		allocations = 0;
		fail_at = at;
		r = call();
		fail_at = 0;
		if (r != expected)
			assert_int_equal(r, -ENOMEM);
		failed += r != expected;
		assert_int_equal(disks_locked(&disks), 0);
		assert_int_equal(test_open_fds(), fds);
		if (allocations < at)
			break;
	}
	assert_true(failed > 0);
	assert_int_equal(call(), expected);
}

static int start(void **state)
{
	(void)state;
	context = guest_context();
	guest = kit_self(context);
	disks = disks_new("memory", N_DISKS);
	shared = kit_file("memory-shared", 0);
	held = kit_file("memory-held", 0);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	fail_at = 0;
	glk_guest_free(guest);
	glk_context_free(context);
	disks_free(&disks);
	return 0;
}

static int make_context(void)
{
	struct glk_context *fresh = NULL;
	int r = glk_context_new(&fresh);

	if (r)
		assert_null(fresh);
	glk_context_free(fresh);
	return r;
}

static void a_context_is_opened_or_not(void **state)
{
	(void)state;
	each_may_fail(make_context, 0);
}

static int make_guest(void)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *fresh = NULL;
	int r;

	config.holder = GLK_HOLDER_SELF;
	config.name = "memory";
	r = glk_guest_new(context, &config, &fresh);
	if (!r)
		r = glk_guest_add(fresh, disks.items, 2);
	if (!r)
		r = glk_guest_add(fresh, disks.items + 2, N_DISKS - 2);
	if (!r)
		r = glk_guest_acquire(fresh);
	if (r)
		assert_int_equal(disks_locked(&disks), 0);
	else
		assert_int_equal(disks_locked(&disks), N_DISKS);
	glk_guest_free(fresh);
	return r;
}

static void a_guest_is_acquired_as_a_whole_or_not(void **state)
{
	(void)state;
	each_may_fail(make_guest, 0);
}

static void release_all(void)
{
	unsigned at = fail_at;

	fail_at = 0;
	for (size_t i = 0; i < N_DISKS; i++)
		assert_int_equal(guest_detach(guest, disks.items[i].path), 0);
	assert_int_equal(guest_detach(guest, shared), 0);
	fail_at = at;
}

/* By relative paths, one of them shared. */
static int attach(void)
{
	struct glk_disk all[N_DISKS + 1];
	char names[N_DISKS][32];
	int r;

	for (unsigned i = 0; i < N_DISKS; i++) {
		snprintf(names[i], sizeof(names[i]), "memory/%u", i);
		all[i] = (struct glk_disk){ names[i], 0 };
	}
	all[N_DISKS] = (struct glk_disk){ shared, GLK_DISK_SHARED };
	r = glk_guest_attach(guest, all, N_DISKS + 1);
	if (r)
		assert_free(shared);
	assert_int_equal(disks_locked(&disks), r ? 0 : N_DISKS);
	if (!r)
		release_all();
	return r;
}

static void disks_are_attached_all_or_none(void **state)
{
	char old[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(old, sizeof(old)));
	assert_int_equal(chdir(test_dir()), 0);
	each_may_fail(attach, 0);
	assert_int_equal(chdir(old), 0);
}

static int attach_and_detach(void)
{
	unsigned at = fail_at;
	int r;

	fail_at = 0;
	assert_int_equal(glk_guest_attach(guest, disks.items, 1), 0);
	fail_at = at;
	r = guest_detach(guest, disks.items[0].path);
	if (r) {
		assert_held(disks.items[0].path);
		release_all();
	}
	return r;
}

static void a_detach_that_fails_can_be_tried_again(void **state)
{
	(void)state;
	each_may_fail(attach_and_detach, 0);
}

static int ask_for_info(void)
{
	const struct glk_guest_info *info = NULL;
	int r = glk_guest_info(guest, &info);

	if (r)
		assert_null(info);
	else
		assert_int_equal(info->n_leases, 1);
	return r;
}

static void a_guest_is_told_whole_or_not_at_all(void **state)
{
	(void)state;
	assert_int_equal(guest_attach(guest, shared, GLK_DISK_SHARED), 0);
	each_may_fail(ask_for_info, 0);
}

static int ask_for_list(void)
{
	struct glk_guest_list *list = NULL;
	int r = glk_guest_list_new(context, 0, &list);

	if (r)
		assert_null(list);
	glk_guest_list_free(list);
	return r;
}

static void guests_are_listed_or_not_at_all(void **state)
{
	(void)state;
	assert_int_equal(guest_attach(guest, shared, GLK_DISK_SHARED), 0);
	each_may_fail(ask_for_list, 0);
}

static int adopt(void)
{
	struct glk_guest *same = NULL;
	int r = glk_guest_adopt(context, guest_uuid(30), &same);

	if (r)
		assert_null(same);
	glk_guest_free(same);
	return r;
}

static void a_guest_is_adopted_or_not(void **state)
{
	struct kit_guest g = kit_run(context, 30, shared, GLK_DISK_SHARED);

	(void)state;
	each_may_fail(adopt, 0);
	kit_end(&g);
}

/* It is refused, whatever else fails; but perhaps without the name. */
static int be_refused(void)
{
	int r = guest_attach(guest, held, 0);

	assert_true(r == -EBUSY || r == -ENOMEM);
	return r;
}

static void what_is_held_is_never_taken(void **state)
{
	struct kit_guest g = kit_run(context, 31, held, 0);

	(void)state;
	glk_context_set_timeout(context, 1); /* no grace for the nameless */
	be_refused();
	each_may_fail(be_refused, -EBUSY);
	kit_end(&g);
}

static struct glk_guest *waited;

static int wait_for_end(void)
{
	return glk_guest_wait(waited);
}

static void a_guest_that_lives_is_waited_for_in_vain(void **state)
{
	struct kit_guest g = kit_run(context, 33, held, 0);

	(void)state;
	waited = g.guest;
	glk_context_set_timeout(context, 0);
	each_may_fail(wait_for_end, -ETIME);
	kit_end(&g);
}

static int ask_for_holders(void)
{
	const struct glk_conflict *holders = NULL;
	size_t n = 7;
	int r = glk_disk_holders(context, held, &holders, &n);

	if (r)
		assert_int_equal(n, 7);
	return r;
}

static void holders_are_told_or_not(void **state)
{
	struct kit_guest g = kit_run(context, 32, held, 0);

	(void)state;
	each_may_fail(ask_for_holders, 0);
	kit_end(&g);
}

/* With a lock directory; the file of what was shared stays in it. */
static void lock_files_come_and_go_with_their_disks(void **state)
{
	const char *dir = kit_file("memory-locks", -1);
	const struct glk_policy policy = { .lock_dir = dir };
	char old[PATH_MAX], file[2 * PATH_MAX];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	(void)state;
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	assert_non_null(getcwd(old, sizeof(old)));
	assert_int_equal(chdir(test_dir()), 0);
	each_may_fail(attach, 0);
	assert_int_equal(chdir(old), 0);
	d = opendir(dir);
	assert_non_null(d);
	while ((e = readdir(d))) {
		n += e->d_name[0] != '.';
		snprintf(file, sizeof(file), "%s/%s", dir, e->d_name);
		unlink(file);
	}
	closedir(d);
	assert_int_equal(n, 1);
	each_may_fail(attach_and_detach, 0);
	each_may_fail(ask_for_holders, 0);
}

static void what_is_held_by_its_lock_file_is_never_taken(void **state)
{
	const char *dir = kit_file("memory-locks2", -1);
	const struct glk_policy policy = { .lock_dir = dir };
	struct kit_guest g;

	(void)state;
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	g = kit_run(context, 36, held, 0);
	glk_context_set_timeout(context, 1);
	each_may_fail(be_refused, -EBUSY);
	kit_end(&g);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

/* What a manager does with what it holds for a guest; it is freed however far
   it came. */
static int manage(int mode, int (*fn)(struct glk_manager *manager))
{
	const struct glk_resource two[] = {
		{ GLK_RESOURCE_DISK, disks.items[0].path, 0 },
		{ GLK_RESOURCE_DISK, disks.items[1].path, 0 },
	};
	struct glk_manager *manager = NULL;
	struct glk_driver *driver = NULL;
	int r = glk_driver_load("ofd", &driver);

	if (!r)
		r = glk_manager_new(driver, GLK_OBJECT_DOMAIN, mode, &manager);
	if (!r)
		r = glk_manager_set(manager, "uuid", guest_uuid(35));
	if (!r)
		r = glk_manager_set(manager, "name", "memory");
	if (!r)
		r = glk_manager_set(manager, "lockspace", "/unused");
	if (!r)
		r = glk_manager_register(manager, two, 1);
	if (!r)
		r = glk_manager_register(manager, two + 1, 1);
	if (!r)
		r = fn(manager);
	if (!driver)
		assert_string_equal(glk_driver_message(), "out of memory");
	glk_manager_free(manager);
	glk_driver_unload(driver);
	return r;
}

static int take_and_plug(struct glk_manager *manager)
{
	const struct glk_resource more = { GLK_RESOURCE_DISK,
					   disks.items[2].path, 0 };
	int r = glk_manager_acquire(manager);

	assert_int_equal(disks_locked(&disks), r ? 0 : 2);
	if (r) {
		assert_string_equal(glk_manager_state(manager), "new");
		return r;
	}
	r = glk_manager_acquire_resources(manager, &more, 1);
	assert_int_equal(disks_locked(&disks), r ? 2 : 3);
	if (!r)
		r = glk_manager_release_resources(manager, &more, 1);
	return r;
}

static int manage_start(void)
{
	return manage(GLK_MANAGER_START, take_and_plug);
}

static void a_manager_takes_all_or_nothing(void **state)
{
	(void)state;
	each_may_fail(manage_start, 0);
}

static int supervise(struct glk_manager *manager)
{
	char *const *argv = NULL;
	const char *path = NULL;
	int argc = 0, r;

	r = glk_manager_supervisor_path(manager, &path);
	if (r)
		assert_null(path);
	if (!r)
		r = glk_manager_supervisor_args(manager, &argv, &argc);
	assert_string_equal(glk_manager_state(manager),
			    r ? "new" : "supervised");
	return r;
}

static int manage_supervised(void)
{
	return manage(GLK_MANAGER_START, supervise);
}

static void a_supervisor_gets_all_words_or_none(void **state)
{
	(void)state;
	each_may_fail(manage_supervised, 0);
}

static int find_with_drift(struct glk_manager *manager)
{
	const struct glk_drift *drift = NULL;
	pid_t pid = 0;
	int r = glk_manager_child(manager, &pid);

	assert_string_equal(glk_manager_state(manager), r ? "new" : "running");
	if (!r)
		assert_int_equal(glk_manager_drift(manager, &drift), 2);
	return r;
}

static int manage_attach(void)
{
	return manage(GLK_MANAGER_ATTACH, find_with_drift);
}

static void a_guest_is_found_with_all_of_its_drift_or_not(void **state)
{
	struct kit_guest g = kit_run(context, 35, held, 0);

	(void)state;
	each_may_fail(manage_attach, 0);
	kit_end(&g);
}

static const struct CMUnitTest tests[] = {
	TEST(a_context_is_opened_or_not),
	TEST(a_guest_is_acquired_as_a_whole_or_not),
	TEST(disks_are_attached_all_or_none),
	TEST(a_detach_that_fails_can_be_tried_again),
	TEST(a_guest_is_told_whole_or_not_at_all),
	TEST(guests_are_listed_or_not_at_all),
	TEST(a_guest_is_adopted_or_not),
	TEST(what_is_held_is_never_taken),
	TEST(a_guest_that_lives_is_waited_for_in_vain),
	TEST(holders_are_told_or_not),
	TEST(lock_files_come_and_go_with_their_disks),
	TEST(what_is_held_by_its_lock_file_is_never_taken),
	TEST(a_manager_takes_all_or_nothing),
	TEST(a_supervisor_gets_all_words_or_none),
	TEST(a_guest_is_found_with_all_of_its_drift_or_not),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
