/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "core/capsule/proc.h"
#include "core/lease/resource.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * The linker sends the library's engine_run() here (--wrap), which knows a wait
 * by its flag. Before one, or before a lock that is tried again, something can
 * happen; a wait can be cut short with a result, as if its time was over.
 */
int __real_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);
int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);

static struct {
	void (*on_wait)(void); /* called before each */
	void (*on_lock)(void); /* likewise, of locks that do not wait */
	int results[4];	       /* of waits; 0: wait indeed */
	unsigned waits, locks;
	uint64_t longest; /* ns that a wait might take */
} hook;

int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline)
{
	unsigned at = hook.waits;

	if (!n || ops->kind != OP_LOCK)
		return __real_engine_run(engine, ops, n, deadline);
	if (!(ops->flags & OP_WAIT)) {
		hook.locks++;
		if (hook.on_lock)
			hook.on_lock();
		return __real_engine_run(engine, ops, n, deadline);
	}
	assert_int_equal(n, 1);
	hook.longest = MAX(hook.longest, deadline - clock_now());
	hook.waits++;
	if (hook.on_wait)
		hook.on_wait();
	if (at >= ARRAY_SIZE(hook.results) || !hook.results[at])
		return __real_engine_run(engine, ops, n, deadline);
	ops->res = hook.results[at];
	return 0;
}

static struct glk_context *context;
static struct glk_guest *guest;
static const char *files[3]; /* in the order of waiting */
#define A files[0]
#define B files[1]
#define C files[2]
static int holder = -1; /* of a lock on one of them */

static int by_inode(const void *x, const void *y)
{
	struct stat one, two;

	MUST(!stat(*(const char *const *)x, &one));
	MUST(!stat(*(const char *const *)y, &two));
	return one.st_ino < two.st_ino ? -1 : 1;
}

static void set_wait(unsigned ms)
{
	struct glk_policy policy = { .wait_ms = ms };

	assert_int_equal(glk_context_set_policy(context, &policy), 0);
}

static int start(void **state)
{
	(void)state;
	memset(&hook, 0, sizeof(hook));
	context = guest_context();
	guest = kit_self(context);
	set_wait(60000);
	for (size_t i = 0; i < 3; i++)
		files[i] = test_file((const char *[]){ "x", "y", "z" }[i], 0);
	qsort(files, 3, sizeof(*files), by_inode);
	return 0;
}

static void let_go(void)
{
	holder = fd_close(holder);
}

static int stop(void **state)
{
	(void)state;
	memset(&hook, 0, sizeof(hook));
	glk_guest_free(guest);
	glk_context_free(context);
	let_go();
	for (size_t i = 0; i < 3; i++)
		assert_free(files[i]);
	return 0;
}

static int attach_all(void)
{
	return kit_attach(guest, (const char *[]){ C, A, B }, 3);
}

static size_t count_leases(void)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	for (size_t i = 0; i < info->n_leases; i++)
		assert_true(info->leases[i].held && info->leases[i].same_file);
	return info->n_leases;
}

static void *release_soon(void *arg)
{
	(void)arg;
	usleep(50000);
	let_go();
	return NULL;
}

static void a_disk_is_had_when_its_holder_lets_go(void **state)
{
	pthread_t thread;

	(void)state;
	holder = kit_lock(B, 0, F_WRLCK);
	MUST(!pthread_create(&thread, NULL, release_soon, NULL));
	assert_int_equal(attach_all(), 0);
	MUST(!pthread_join(thread, NULL));
	assert_int_equal(holder, -1);
	assert_true(hook.waits > 0);
	assert_int_equal(count_leases(), 3);
	assert_held(A);
	assert_held(B);
	assert_held(C);
}

static void without_the_policy_nobody_waits(void **state)
{
	(void)state;
	set_wait(0);
	holder = kit_lock(B, 0, F_WRLCK);
	assert_int_equal(attach_all(), -EBUSY);
	assert_int_equal(hook.waits, 0);
	assert_free(A);
}

static void check_what_is_held(void)
{
	assert_held(A);
	assert_free(C);
}

static void meanwhile_what_comes_before_is_held_and_the_rest_is_not(
	void **state)
{
	(void)state;
	holder = kit_lock(B, 0, F_WRLCK);
	hook.on_wait = check_what_is_held;
	hook.results[0] = hook.results[1] = -ETIME;
	hook.results[2] = -EIO;
	assert_int_equal(attach_all(), -EIO);
	assert_int_equal(hook.waits, 3);
	assert_says(context, B);
	assert_free(A);
	assert_free(C);
}

static void when_the_time_is_over_all_conflicts_are_named(void **state)
{
	struct kit_stranger one = { A, 0, F_WRLCK, F_OFD_SETLK, 0, {} };
	struct kit_stranger two = { C, 0, F_WRLCK, F_OFD_SETLK, 0, {} };
	const struct glk_conflict *list = NULL;

	(void)state;
	kit_stranger(&one);
	kit_stranger(&two);
	set_wait(1500);
	assert_int_equal(attach_all(), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &list), 2);
	assert_string_equal(list[0].path, C);
	assert_int_equal(list[0].pid, two.pid);
	assert_string_equal(list[1].path, A);
	assert_int_equal(list[1].pid, one.pid);
	assert_true(hook.waits >= 1);
	assert_true(hook.longest <= 1000 * NSEC_PER_MSEC);
	assert_free(B);
	kit_stranger_end(&one);
	kit_stranger_end(&two);
	assert_int_equal(attach_all(), 0);
}

/* The call may take that and what was waited besides. */
static void waiting_does_not_use_up_the_time_limit(void **state)
{
	pthread_t thread;

	(void)state;
	glk_context_set_timeout(context, 20);
	holder = kit_lock(B, 0, F_WRLCK);
	MUST(!pthread_create(&thread, NULL, release_soon, NULL));
	assert_int_equal(attach_all(), 0);
	MUST(!pthread_join(thread, NULL));
	glk_context_set_timeout(context, 30000);
	assert_int_equal(count_leases(), 3);
}

static void cancel(void)
{
	glk_context_cancel(context);
}

static void a_wait_can_be_cancelled(void **state)
{
	(void)state;
	holder = kit_lock(B, 0, F_WRLCK);
	hook.on_wait = cancel;
	assert_int_equal(attach_all(), -ECANCELED);
	assert_int_equal(hook.waits, 1);
	assert_free(A);
	assert_free(C);
	hook.on_wait = let_go;
	assert_int_equal(attach_all(), 0);
}

static void replace_b(void)
{
	if (hook.waits == 1)
		assert_int_equal(rename(test_file("next", 0), B), 0);
}

static void a_file_that_is_put_in_its_place_is_locked_instead(void **state)
{
	(void)state;
	holder = kit_lock(B, 0, F_WRLCK);
	hook.on_wait = replace_b;
	hook.results[0] = -ETIME;
	assert_int_equal(attach_all(), 0);
	assert_int_equal(hook.waits, 1);
	assert_int_equal(count_leases(), 3);
	assert_held(B);
}

static void replace_b_and_let_go(void)
{
	replace_b();
	let_go();
}

static void what_the_holder_has_replaced_is_opened_anew(void **state)
{
	(void)state;
	holder = kit_lock(B, 0, F_WRLCK);
	hook.on_wait = replace_b_and_let_go;
	assert_int_equal(attach_all(), 0);
	assert_int_equal(hook.waits, 1);
	assert_int_equal(count_leases(), 3);
}

static struct glk_guest *twin;

/* Another process, with a handle of its own. */
static void attach_otherwise(void)
{
	void (*on_wait)(void) = hook.on_wait;
	unsigned waits = hook.waits;

	hook.on_wait = NULL;
	let_go();
	assert_int_equal(guest_attach(twin, B, 0), 0);
	hook.on_wait = on_wait;
	hook.waits = waits;
}

static void what_the_guest_gets_from_somebody_else_is_fine(void **state)
{
	const struct glk_guest_info *info = NULL;
	struct glk_context *other = guest_context();

	(void)state;
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(glk_guest_adopt(other, info->uuid, &twin), 0);
	holder = kit_lock(B, 0, F_WRLCK);
	hook.on_wait = attach_otherwise;
	hook.results[0] = -ETIME;
	assert_int_equal(attach_all(), 0);
	assert_int_equal(hook.waits, 1);
	assert_int_equal(count_leases(), 3);
	glk_guest_free(twin);
	glk_context_free(other);
}

static void what_the_guest_holds_is_not_waited_for(void **state)
{
	(void)state;
	assert_int_equal(guest_attach(guest, B, 0), 0);
	assert_int_equal(attach_all(), 0);
	assert_int_equal(guest_attach(guest, B, GLK_DISK_SHARED), -EEXIST);
	assert_int_equal(hook.waits, 0);
	assert_int_equal(count_leases(), 3);
}

static void one_disk_in_two_modes_is_not_waited_for(void **state)
{
	struct glk_disk disks[] = { { A, 0 }, { A, GLK_DISK_SHARED } };

	(void)state;
	holder = kit_lock(A, 0, F_WRLCK);
	assert_int_equal(glk_guest_attach(guest, disks, 2), -EEXIST);
	assert_int_equal(hook.waits, 0);
}

static void let_go_of_the_fourth(void)
{
	if (hook.locks == 4)
		let_go();
}

/* No thread can be had. */
static void without_a_worker_it_is_tried_now_and_then(void **state)
{
	(void)state;
	holder = kit_lock(B, 0, F_WRLCK);
	for (size_t i = 0; i < ARRAY_SIZE(hook.results); i++)
		hook.results[i] = -ENOMEM;
	hook.on_lock = let_go_of_the_fourth;
	assert_int_equal(attach_all(), 0);
	assert_true(hook.waits >= 2);
	assert_int_equal(count_leases(), 3);
}

/* A source shares byte 0, and has one of the bytes that keep others out. */
static void a_shared_disk_is_had_after_its_hand_over(void **state)
{
	int owner = kit_lock(B, 0, F_RDLCK);

	(void)state;
	holder = kit_lock(B, LOCK_BYTE_PREDECESSOR, F_WRLCK);
	hook.on_lock = let_go_of_the_fourth;
	assert_int_equal(guest_attach(guest, B, GLK_DISK_SHARED), 0);
	assert_int_equal(holder, -1);
	assert_int_equal(count_leases(), 1);
	close(owner);
}

static void a_destination_waits_until_it_may_claim(void **state)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *destination = NULL;

	(void)state;
	config.holder = GLK_HOLDER_SELF;
	config.flags = GLK_GUEST_INCOMING;
	assert_int_equal(glk_guest_new(context, &config, &destination), 0);
	assert_int_equal(guest_add(destination, B, 0), 0);
	holder = kit_lock(B, 0, F_WRLCK);
	hook.on_lock = let_go_of_the_fourth;
	assert_int_equal(glk_guest_acquire(destination), 0);
	assert_int_equal(holder, -1);
	assert_int_equal(hook.waits, 0);
	assert_false(test_byte_lockable(B, LOCK_BYTE_SUCCESSOR, F_RDLCK));
	glk_guest_free(destination);
}

static void a_rest_ends_when_the_time_is_over_or_it_is_cancelled(void **state)
{
	int owner = kit_lock(B, 0, F_RDLCK);

	(void)state;
	holder = kit_lock(B, LOCK_BYTE_PREDECESSOR, F_WRLCK);
	set_wait(100);
	assert_int_equal(guest_attach(guest, B, GLK_DISK_SHARED), -EBUSY);
	set_wait(60000);
	hook.on_lock = cancel;
	assert_int_equal(guest_attach(guest, B, GLK_DISK_SHARED), -ECANCELED);
	hook.on_lock = NULL;
	close(owner);
}

static void a_lease_file_that_its_holder_removes_is_made_again(void **state)
{
	const char *key = test_file("key", -1);
	struct glk_guest *other = kit_self(context);

	(void)state;
	assert_int_equal(guest_attach(other, key, GLK_DISK_LEASE), 0);
	assert_int_equal(access(key, F_OK), 0);
	set_wait(200);
	assert_int_equal(guest_attach(guest, key, GLK_DISK_LEASE), -EBUSY);
	assert_int_equal(access(key, F_OK), 0);
	assert_held(key);
	assert_int_equal(guest_detach(other, key), 0);
	assert_int_equal(guest_attach(guest, key, GLK_DISK_LEASE), 0);
	glk_guest_free(other);
	assert_int_equal(count_leases(), 1);
}

/* The one file in it. */
static const char *only_file(const char *dir)
{
	const char *found = NULL;
	struct dirent *entry;
	DIR *d = opendir(dir);
	char name[300];

	MUST(d != NULL);
	while ((entry = readdir(d))) {
		if (entry->d_name[0] == '.')
			continue;
		MUST(!found);
		snprintf(name, sizeof(name), "locks/%s", entry->d_name);
		found = kit_file(name, -1);
	}
	closedir(d);
	MUST(found != NULL);
	return found;
}

static void a_lock_file_beside_the_disk_is_waited_for(void **state)
{
	struct glk_policy policy = { .wait_ms = 60000 };
	const char *lock_file;

	(void)state;
	policy.lock_dir = kit_file("locks", -1);
	MUST(!mkdir(policy.lock_dir, 0700));
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	assert_int_equal(guest_attach(guest, B, 0), 0);
	lock_file = only_file(policy.lock_dir);
	assert_int_equal(guest_detach(guest, B), 0);
	MUST(creat(lock_file, 0600) >= 0);
	holder = kit_lock(lock_file, 0, F_WRLCK);
	hook.on_wait = let_go;
	assert_int_equal(attach_all(), 0);
	assert_int_equal(hook.waits, 1);
	assert_held(lock_file);
	assert_int_equal(count_leases(), 3);
}

static struct {
	unsigned n;
	int kind;
	pid_t pid;
} told;

static void tell(void *arg, const struct glk_conflict *conflict)
{
	assert_ptr_equal(arg, &told);
	assert_string_equal(conflict->path, B);
	assert_int_equal(conflict->mode, GLK_MODE_SHARED);
	assert_non_null(conflict->uuid);
	assert_non_null(conflict->exe);
	told.n++;
	told.kind = conflict->kind;
	told.pid = conflict->pid;
}

static void let_go_once_told(void)
{
	if (told.n)
		let_go();
}

static void after_a_while_the_holder_is_told_once(void **state)
{
	struct kit_stranger other = { NULL, 0, F_WRLCK, F_OFD_SETLK, 0, {} };
	int queue[2];

	(void)state;
	memset(&told, 0, sizeof(told));
	glk_context_on_wait(context, tell, &told);
	other.path = B;
	kit_stranger(&other);
	set_wait(1500);
	assert_int_equal(guest_attach(guest, B, GLK_DISK_SHARED), -EBUSY);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.kind, GLK_CONFLICT_PROCESS);
	assert_int_equal(told.pid, other.pid);
	kit_stranger_end(&other);

	kit_lock_in_flight(B, queue);
	assert_int_equal(guest_attach(guest, B, GLK_DISK_SHARED), -EBUSY);
	assert_int_equal(told.n, 2);
	assert_int_equal(told.kind, GLK_CONFLICT_UNKNOWN);
	close(queue[0]);
	close(queue[1]);
}

/* There, too, where it is tried now and then. */
static void who_has_a_disk_in_hand_over_is_told(void **state)
{
	int owner = kit_lock(B, 0, F_RDLCK);

	(void)state;
	memset(&told, 0, sizeof(told));
	glk_context_on_wait(context, tell, &told);
	holder = kit_lock(B, LOCK_BYTE_PREDECESSOR, F_WRLCK);
	hook.on_lock = let_go_once_told;
	assert_int_equal(guest_attach(guest, B, GLK_DISK_SHARED), 0);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.pid, getpid());
	close(owner);
}

/* The linker sends the library's proc_find_lockers() here (--wrap). */
int __real_proc_find_lockers(
	const struct proc_point *points, size_t n, uint64_t deadline,
	bool (*found)(void *arg, const struct proc_locker *locker), void *arg);
int __wrap_proc_find_lockers(
	const struct proc_point *points, size_t n, uint64_t deadline,
	bool (*found)(void *arg, const struct proc_locker *locker), void *arg);

static uint64_t telling_may_take; /* ns: the search in which it was told */

int __wrap_proc_find_lockers(
	const struct proc_point *points, size_t n, uint64_t deadline,
	bool (*found)(void *arg, const struct proc_locker *locker), void *arg)
{
	uint64_t now = clock_now();
	unsigned before = told.n;
	int r = __real_proc_find_lockers(points, n, deadline, found, arg);

	if (told.n != before)
		telling_may_take = deadline > now ? deadline - now : 1;
	return r;
}

static void assert_told_in_time(struct glk_guest *of,
				struct kit_stranger *stranger)
{
	memset(&told, 0, sizeof(told));
	telling_may_take = 0;
	stranger->path = B;
	kit_stranger(stranger);
	set_wait(400);
	assert_int_equal(guest_attach(of, B, GLK_DISK_SHARED), -EBUSY);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.pid, stranger->pid);
	/* It was 200 ms ago that the waiting began. */
	assert_in_range(telling_may_take, 1, 200 * NSEC_PER_MSEC);
	kit_stranger_end(stranger);
}

static void to_tell_takes_no_longer_than_the_wait(void **state)
{
	struct kit_stranger locker = { NULL, 0, F_WRLCK, F_OFD_SETLK, 0, {} };
	struct kit_stranger qemu = { NULL, 101, F_RDLCK, F_OFD_SETLK, 0, {} };
	/* A child of this process is of its own guest's. */
	struct kit_guest other = kit_run(context, 1, A, 0);
	int not_shared;

	(void)state;
	glk_context_on_wait(context, tell, &told);
	assert_told_in_time(other.guest, &locker);
	not_shared = kit_lock(B, 201, F_RDLCK);
	assert_told_in_time(other.guest, &qemu);
	close(not_shared);
	kit_end(&other);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_disk_is_had_when_its_holder_lets_go),
	TEST(without_the_policy_nobody_waits),
	TEST(meanwhile_what_comes_before_is_held_and_the_rest_is_not),
	TEST(when_the_time_is_over_all_conflicts_are_named),
	TEST(waiting_does_not_use_up_the_time_limit),
	TEST(a_wait_can_be_cancelled),
	TEST(a_file_that_is_put_in_its_place_is_locked_instead),
	TEST(what_the_holder_has_replaced_is_opened_anew),
	TEST(what_the_guest_gets_from_somebody_else_is_fine),
	TEST(what_the_guest_holds_is_not_waited_for),
	TEST(one_disk_in_two_modes_is_not_waited_for),
	TEST(without_a_worker_it_is_tried_now_and_then),
	TEST(a_shared_disk_is_had_after_its_hand_over),
	TEST(a_destination_waits_until_it_may_claim),
	TEST(a_rest_ends_when_the_time_is_over_or_it_is_cancelled),
	TEST(a_lease_file_that_its_holder_removes_is_made_again),
	TEST(a_lock_file_beside_the_disk_is_waited_for),
	TEST(after_a_while_the_holder_is_told_once),
	TEST(who_has_a_disk_in_hand_over_is_told),
	TEST(to_tell_takes_no_longer_than_the_wait),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
