/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/*
 * The linker sends the library's capsule_list() here (--wrap), so that a guest
 * can refuse to be read, or end as soon as it has been.
 */
int __real_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents);
int __wrap_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents);

static int list_result;
static pid_t victim; /* 0: nobody */

int __wrap_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents)
{
	int r = list_result;

	if (!r)
		r = __real_capsule_list(capsule, deadline, ret_contents);
	if (victim)
		process_kill(victim);
	victim = 0;
	return r;
}

/*
 * Likewise engine_run(): before a disk is opened to be looked at, something can
 * happen; or it cannot be opened now.
 */
int __real_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);
int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);

static void (*on_open)(void); /* once */
static bool open_again;

static bool opens_disk(const struct op *ops, size_t n)
{
	return n == 1 && ops->kind == OP_OPEN && !(ops->open.flags & O_PATH);
}

int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline)
{
	void (*fn)(void) = on_open;

	if (fn && opens_disk(ops, n)) {
		on_open = NULL;
		fn();
	}
	if (open_again && opens_disk(ops, n)) {
		ops->res = -EAGAIN;
		return 0;
	}
	return __real_engine_run(engine, ops, n, deadline);
}

static struct glk_context *context;

static int start(void **state)
{
	(void)state;
	list_result = 0;
	victim = 0;
	on_open = NULL;
	open_again = false;
	context = guest_context();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	list_result = 0;
	glk_context_free(context);
	return 0;
}

/* A process that kills another one, later: it does not matter when. */
static int kill_later(void *arg)
{
	usleep(30000);
	return kill(*(pid_t *)arg, SIGKILL);
}

static void wait_and_kill(struct glk_guest *guest, pid_t pid)
{
	pid_t killer = process_start(kill_later, &pid);

	assert_int_equal(glk_guest_wait(guest), 0);
	assert_true(process_is_gone(pid));
	assert_int_equal(process_wait(killer), 0);
}

/* As soon as it is known what it holds. */
static int wait_for_victim(const struct kit_guest *g)
{
	victim = g->pid;
	return glk_guest_wait(g->guest);
}

static size_t conflicts(const struct glk_conflict **ret_list)
{
	return glk_context_conflicts(context, ret_list);
}

static void who_waits_goes_on_when_all_is_free(void **state)
{
	const char *a = kit_file("end-a", 0), *b = kit_file("end-b", 0);
	struct kit_guest g = kit_run(context, 60, a, 0);
	const struct glk_guest_info *info = NULL;
	unsigned fds;

	(void)state;
	assert_int_equal(guest_attach(g.guest, b, GLK_DISK_SHARED), 0);
	fds = test_open_fds();
	wait_and_kill(g.guest, g.pid);
	assert_free(a);
	assert_free(b);
	assert_int_equal(test_open_fds(), fds);
	assert_int_equal(glk_guest_info(g.guest, &info), -ESRCH);
	assert_says(context, "the guest is gone");
	assert_int_equal(guest_attach(g.guest, a, 0), -ESRCH);
	assert_int_equal(glk_guest_wait(g.guest), 0);
	kit_end(&g);
}

static void who_lives_too_long_goes_on_living(void **state)
{
	const char *path = kit_file("lives", 0);
	struct kit_guest g = kit_run(context, 61, path, 0);
	static const unsigned limits[] = { 0, 1, 60 };
	char pid[32];

	(void)state;
	snprintf(pid, sizeof(pid), "process %d still lives", (int)g.pid);
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		const struct glk_conflict *list;

		glk_context_set_timeout(context, limits[i]);
		assert_int_equal(glk_guest_wait(g.guest), -ETIME);
		assert_says(context, pid);
		assert_int_equal(conflicts(&list), 0);
		assert_held(path);
		assert_false(process_is_gone(g.pid));
	}
	glk_context_set_timeout(context, 30000);
	wait_and_kill(g.guest, g.pid);
	assert_free(path);
	kit_end(&g);
}

/* Its maker lets go, and keeps the object. */
static pid_t start_and_keep(struct glk_guest *guest)
{
	struct channel ready = channel_new();
	int fd = glk_guest_fd(guest);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		guest_close_others(fd);
		guest_live();
		_exit(0);
	}
	channel_reads(&ready);
	assert_int_equal(channel_hear(&ready), INT_MIN);
	channel_free(&ready);
	assert_int_equal(glk_guest_handed_over(guest), 0);
	return pid;
}

static void its_maker_waits_for_it_too(void **state)
{
	const char *path = kit_file("maker", 0);
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, guest_uuid(62), NULL);
	pid_t pid;

	(void)state;
	assert_int_equal(guest_add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	pid = start_and_keep(guest);
	glk_context_set_timeout(context, 20);
	assert_int_equal(glk_guest_wait(guest), -ETIME);
	glk_context_set_timeout(context, 30000);
	wait_and_kill(guest, pid);
	assert_free(path);
	glk_guest_free(guest);
	process_end(pid);
}

static void its_maker_need_not_have_looked_before_it_ended(void **state)
{
	const char *path = kit_file("unseen", 0);
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, guest_uuid(63), NULL);

	(void)state;
	assert_int_equal(guest_add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	process_end(start_and_keep(guest));
	assert_int_equal(glk_guest_wait(guest), 0);
	assert_free(path);
	assert_int_equal(guest_attach(guest, path, 0), -ESRCH);
	glk_guest_free(guest);
}

static void only_what_was_handed_over_can_be_waited_for(void **state)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, NULL, NULL);
	struct glk_guest *self = kit_self(context);

	(void)state;
	assert_int_equal(glk_guest_wait(guest), -ENODATA);
	assert_says(context, "cannot wait: the guest has not been acquired");
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(glk_guest_wait(guest), -ENODATA);
	assert_says(context, "has not been handed over yet");
	assert_int_equal(glk_guest_wait(self), -EOPNOTSUPP);
	assert_says(context, "this process itself holds");
	glk_guest_free(self);
	glk_guest_free(guest);
}

/* A guest that has a child, which inherits its capsule. */
struct family {
	struct glk_guest *guest; /* adopted */
	pid_t parent, child;
};

static void breed(int fd, struct channel *child)
{
	struct channel born = channel_new();
	pid_t pid = fork();

	if (!pid) {
		guest_close_others(fd);
		guest_live();
		_exit(0);
	}
	channel_reads(&born);
	channel_hear(&born);
	channel_tell(child, pid);
	guest_close_others(fd);
	guest_live();
	_exit(0);
}

static struct family start_family(unsigned uuid, const struct glk_disk *disks,
				  size_t n)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_GUEST, guest_uuid(uuid),
			       guest_name("family"));
	struct channel child = channel_new();
	struct family f = {};

	assert_int_equal(glk_guest_add(guest, disks, n), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	f.parent = fork();
	assert_true(f.parent >= 0);
	if (!f.parent)
		breed(glk_guest_fd(guest), &child);
	channel_reads(&child);
	f.child = channel_hear(&child);
	assert_true(f.child > 0);
	channel_free(&child);
	assert_int_equal(glk_guest_handed_over(guest), 0);
	glk_guest_free(guest);
	assert_int_equal(glk_guest_adopt(context, guest_uuid(uuid), &f.guest),
			 0);
	return f;
}

static void check_heir(const struct glk_conflict *c, const char *path, int mode,
		       const struct family *f, unsigned uuid)
{
	assert_string_equal(c->path, path);
	assert_int_equal(c->mode, mode);
	assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
	assert_string_equal(c->uuid, guest_uuid(uuid));
	assert_string_equal(c->name, guest_name("family"));
	assert_int_equal(c->pid, f->child);
	assert_true(c->exe[0] == '/');
	assert_true(c->since != 0);
}

static void a_child_that_inherits_the_leases_is_named(void **state)
{
	const char *a = kit_file("heir-a", 0), *b = kit_file("heir-b", 0);
	const struct glk_disk disks[] = { { a, 0 }, { b, GLK_DISK_SHARED } };
	struct family f = start_family(64, disks, 2);
	const struct glk_conflict *list;
	char text[64];

	(void)state;
	snprintf(text, sizeof(text), "process %d has inherited", (int)f.child);
	process_end(f.parent);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(glk_guest_wait(f.guest), -EBUSY);
		assert_says(context, text);
		assert_int_equal(conflicts(&list), 2);
		check_heir(&list[0], a, GLK_MODE_EXCLUSIVE, &f, 64);
		check_heir(&list[1], b, GLK_MODE_SHARED, &f, 64);
		assert_held(a);
	}
	process_end(f.child);
	assert_int_equal(glk_guest_wait(f.guest), 0);
	assert_free(a);
	assert_int_equal(conflicts(&list), 0);
	glk_guest_free(f.guest);
}

static void a_child_that_was_seen_to_be_the_guest_is_waited_for(void **state)
{
	const struct glk_disk disk = { kit_file("child", 0), 0 };
	struct family f = start_family(65, &disk, 1);
	const struct glk_guest_info *info = NULL;

	(void)state;
	process_end(f.parent);
	assert_int_equal(glk_guest_info(f.guest, &info), 0);
	assert_int_equal(info->pid, f.child);
	wait_and_kill(f.guest, f.child);
	assert_free(disk.path);
	glk_guest_free(f.guest);
}

static void what_others_hold_by_then_is_not_the_guests(void **state)
{
	const char *a = kit_file("others-a", 0), *b = kit_file("others-b", 0);
	struct kit_guest g = kit_run(context, 66, a, GLK_DISK_SHARED);
	struct kit_guest other = kit_run(context, 67, a, GLK_DISK_SHARED);
	struct kit_stranger stranger = { .path = b,
					 .type = F_RDLCK,
					 .command = F_OFD_SETLK };

	(void)state;
	assert_int_equal(guest_attach(g.guest, b, GLK_DISK_SHARED), 0);
	kit_stranger(&stranger);
	assert_int_equal(wait_for_victim(&g), 0);
	assert_held(a);
	assert_held(b);
	kit_stranger_end(&stranger);
	kit_end(&g);
	kit_end(&other);
	assert_free(a);
}

static int steal_lease(struct glk_guest *guest, size_t i)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
	int fd;

	assert_int_equal(capsule_list(guest->capsule, UINT64_MAX, &contents),
			 0);
	assert_true(i < contents.n_leases);
	fd = fcntl(contents.leases[i].fds[0], F_DUPFD_CLOEXEC, 0);
	assert_true(fd >= 0);
	capsule_contents_done(&contents);
	return fd;
}

/* Where nobody sees it: in flight. */
static void a_lock_that_is_left_behind_is_told(void **state)
{
	const char *path = kit_file("left", 0);
	struct kit_guest g = kit_run(context, 68, path, 0);
	const struct glk_conflict *list;
	int queue[2];

	(void)state;
	kit_send_away(steal_lease(g.guest, 0), queue);
	assert_int_equal(wait_for_victim(&g), -EBUSY);
	assert_says(context, "cannot be seen");
	assert_int_equal(conflicts(&list), 1);
	assert_string_equal(list[0].path, path);
	assert_int_equal(list[0].kind, GLK_CONFLICT_UNKNOWN);
	assert_int_equal(list[0].mode, GLK_MODE_EXCLUSIVE);
	assert_held(path);
	close(queue[0]);
	close(queue[1]);
	assert_int_equal(glk_guest_wait(g.guest), 0);
	assert_free(path);
	kit_end(&g);
}

static void a_file_that_took_the_place_of_a_disk_is_not_asked(void **state)
{
	const char *path = kit_file("replaced", 0);
	struct kit_guest g = kit_run(context, 69, path, 0);
	int queue[2];

	(void)state;
	assert_int_equal(unlink(path), 0);
	assert_int_equal(close(open(path, O_RDWR | O_CREAT, 0600)), 0);
	kit_lock_in_flight(path, queue);
	assert_int_equal(wait_for_victim(&g), 0);
	assert_held(path);
	close(queue[0]);
	close(queue[1]);
	kit_end(&g);
}

/* What cannot be opened may be held, so nobody is told that all is free. */
static void a_disk_that_cannot_be_opened_now_is_not_free(void **state)
{
	const char *path = kit_file("again", 0);
	struct kit_guest g = kit_run(context, 74, path, 0);
	unsigned fds = test_open_fds();

	(void)state;
	open_again = true;
	assert_int_equal(wait_for_victim(&g), -EAGAIN);
	assert_says(context, "cannot look at the guest's disks");
	assert_true(test_open_fds() <= fds);
	open_again = false;
	assert_int_equal(glk_guest_wait(g.guest), 0);
	kit_end(&g);
}

/* Somebody with a lease of the kernel's (F_SETLEASE), which others who open the
   file have to wait for. Its signal ends who has it, or does not. */
static struct {
	const char *path;
	bool keeps;
	pid_t pid;
	struct channel ready;
} leaser;

static int be_leaser(void *arg)
{
	int fd = open(leaser.path, O_RDWR | O_CLOEXEC);

	(void)arg;
	signal(SIGIO, leaser.keeps ? SIG_IGN : SIG_DFL);
	MUST(fd >= 0);
	MUST_EQUAL(fcntl(fd, F_SETLEASE, F_WRLCK), 0);
	channel_tell(&leaser.ready, 0);
	guest_live();
	return 0;
}

static void start_leaser(void)
{
	leaser.ready = channel_new();
	leaser.pid = process_start(be_leaser, NULL);
	MUST_EQUAL(channel_hear(&leaser.ready), 0);
}

static void a_lease_of_the_kernels_is_waited_for(void **state)
{
	const char *path = kit_file("leased", 0);
	struct kit_guest g = kit_run(context, 75, path, 0);

	(void)state;
	leaser.path = path;
	leaser.keeps = false;
	on_open = start_leaser;
	assert_int_equal(wait_for_victim(&g), 0);
	assert_null(on_open);
	assert_int_equal(process_wait(leaser.pid), 128 + SIGIO);
	channel_free(&leaser.ready);
	kit_end(&g);
}

static void a_lease_that_is_kept_ends_the_wait_in_time(void **state)
{
	const char *path = kit_file("kept", 0);
	struct kit_guest g = kit_run(context, 76, path, 0);

	(void)state;
	glk_context_set_timeout(context, 300);
	leaser.path = path;
	leaser.keeps = true;
	on_open = start_leaser;
	assert_int_equal(wait_for_victim(&g), -ETIME);
	assert_null(on_open);
	assert_says(context, "cannot look at the guest's disks");
	process_end(leaser.pid);
	channel_free(&leaser.ready);
	glk_context_set_timeout(context, 10000);
	assert_int_equal(glk_guest_wait(g.guest), 0);
	kit_end(&g);
}

static void many_disks_are_looked_at_piece_by_piece(void **state)
{
	struct kit_guest g = kit_run(context, 70, NULL, 0);
	struct disks disks = disks_new("many", 150);
	const struct glk_conflict *list;
	int queues[2][2];

	(void)state;
	assert_int_equal(glk_guest_attach(g.guest, disks.items, disks.n), 0);
	kit_send_away(steal_lease(g.guest, 0), queues[0]);
	kit_send_away(steal_lease(g.guest, 149), queues[1]);
	assert_int_equal(wait_for_victim(&g), -EBUSY);
	assert_int_equal(conflicts(&list), 2);
	assert_int_equal(disks_locked(&disks), 2);
	for (size_t i = 0; i < 2; i++) {
		assert_true(range_is_locked(list[i].path, 0, 1));
		close(queues[i][0]);
		close(queues[i][1]);
	}
	assert_int_equal(disks_locked(&disks), 0);
	assert_int_equal(glk_guest_wait(g.guest), 0);
	disks_free(&disks);
	kit_end(&g);
}

static void who_cannot_be_read_is_waited_for_all_the_same(void **state)
{
	const char *path = kit_file("mute", 0);
	struct kit_guest g = kit_run(context, 71, path, 0);

	(void)state;
	list_result = CAPSULE_E_BUSY;
	wait_and_kill(g.guest, g.pid);
	assert_free(path);
	kit_end(&g);
}

/* It has lost its leases, but it has not ended. */
static void a_process_without_its_capsule_still_lives(void **state)
{
	struct kit_guest g = kit_run(context, 72, NULL, 0);

	(void)state;
	list_result = CAPSULE_E_GONE;
	glk_context_set_timeout(context, 20);
	assert_int_equal(glk_guest_wait(g.guest), -ETIME);
	glk_context_set_timeout(context, 30000);
	wait_and_kill(g.guest, g.pid);
	kit_end(&g);
}

static void *cancel_later(void *arg)
{
	usleep(30000);
	glk_context_cancel(arg);
	return NULL;
}

static void a_cancel_ends_the_wait(void **state)
{
	const char *path = kit_file("cancelled", 0);
	struct kit_guest g = kit_run(context, 73, path, 0);
	pthread_t thread;

	(void)state;
	glk_context_set_timeout(context, 60000);
	assert_int_equal(pthread_create(&thread, NULL, cancel_later, context),
			 0);
	assert_int_equal(glk_guest_wait(g.guest), -ECANCELED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_held(path);
	wait_and_kill(g.guest, g.pid);
	kit_end(&g);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(who_waits_goes_on_when_all_is_free),
	TEST(who_lives_too_long_goes_on_living),
	TEST(its_maker_waits_for_it_too),
	TEST(its_maker_need_not_have_looked_before_it_ended),
	TEST(only_what_was_handed_over_can_be_waited_for),
	TEST(a_child_that_inherits_the_leases_is_named),
	TEST(a_child_that_was_seen_to_be_the_guest_is_waited_for),
	TEST(what_others_hold_by_then_is_not_the_guests),
	TEST(a_lock_that_is_left_behind_is_told),
	TEST(a_file_that_took_the_place_of_a_disk_is_not_asked),
	TEST(a_disk_that_cannot_be_opened_now_is_not_free),
	TEST(a_lease_of_the_kernels_is_waited_for),
	TEST(a_lease_that_is_kept_ends_the_wait_in_time),
	TEST(many_disks_are_looked_at_piece_by_piece),
	TEST(who_cannot_be_read_is_waited_for_all_the_same),
	TEST(a_process_without_its_capsule_still_lives),
	TEST(a_cancel_ends_the_wait),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
