/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"

#include "core/base/clock.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

/*
 * Who is refused what, and what it is told. Nothing is taken by a refusal, and
 * nothing that was held before is lost.
 */
#define GRACE_MS 300 /* promised by the header */
#define DEATHS 100
#define DEATHS_READ 30

/* A stranger: a process with a lock of its own, no guest of ours. */
struct stranger {
	const char *path;
	long byte;
	short type;
	int command; /* F_SETLK or F_OFD_SETLK */
	struct channel ready;
	pid_t pid;
};

static int lock_as_stranger(void *arg)
{
	struct stranger *s = arg;
	struct flock lock = { .l_type = s->type,
			      .l_start = s->byte,
			      .l_len = 1 };
	int fd = open(s->path, O_RDWR | O_CLOEXEC);

	MUST(fd >= 0);
	MUST(!fcntl(fd, s->command, &lock));
	channel_tell(&s->ready, 0);
	guest_live();
	return 0;
}

static void stranger_start(struct stranger *s)
{
	s->ready = channel_new();
	s->pid = process_start(lock_as_stranger, s);
	assert_int_equal(channel_hear(&s->ready), 0);
}

static void stranger_end(struct stranger *s)
{
	process_end(s->pid);
	channel_free(&s->ready);
}

/* Try to get @path alone. Return: as glk_guest_acquire(). */
static int try_one(struct glk_context *context, const char *path,
		   unsigned flags)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	int r;

	assert_int_equal(guest_add(guest, path, flags), 0);
	r = glk_guest_acquire(guest);
	glk_guest_free(guest);
	return r;
}

static const struct glk_conflict *only_conflict(struct glk_context *context)
{
	const struct glk_conflict *c = NULL;

	assert_int_equal(glk_context_conflicts(context, &c), 1);
	return c;
}

static struct glk_guest *hold(struct glk_context *context, unsigned who,
			      const char *name, const char *path,
			      unsigned flags)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, guest_uuid(who), name);

	assert_int_equal(guest_add(guest, path, flags), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	return guest;
}

static void assert_process(const struct glk_conflict *c, const char *path,
			   const struct stranger *s)
{
	char exe[PATH_MAX] = "";

	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	assert_string_equal(c->path, path);
	assert_int_equal(c->kind, GLK_CONFLICT_PROCESS);
	assert_int_equal(c->pid, s->pid);
	assert_string_equal(c->exe, exe);
	assert_string_equal(c->name, "");
	assert_string_equal(c->uuid, "");
	assert_in_range(c->since, process_started(s->pid) - 50 * NSEC_PER_MSEC,
			process_started(s->pid) + 50 * NSEC_PER_MSEC);
}

static void refused_by_stranger(struct stranger s, unsigned flags, int want)
{
	struct glk_context *context = guest_context();
	const char *path = test_file("strange", 0);
	char pid[24];

	s.path = path;
	stranger_start(&s);
	assert_int_equal(try_one(context, path, flags), want);
	if (want) {
		const struct glk_conflict *c = only_conflict(context);

		assert_process(c, path, &s);
		assert_int_equal(c->mode,
				 flags ? GLK_MODE_SHARED : GLK_MODE_EXCLUSIVE);
		snprintf(pid, sizeof(pid), "process %d ", (int)s.pid);
		assert_non_null(strstr(glk_context_message(context), pid));
		assert_non_null(strstr(glk_context_message(context), path));
	}
	stranger_end(&s);
	assert_int_equal(try_one(context, path, flags), 0);
	assert_true(test_becomes_free(path, 10000));
	glk_context_free(context);
}

static void test_a_strangers_posix_lock_is_told_by_its_process(void **state)
{
	struct stranger s = { .type = F_WRLCK, .command = F_SETLK };

	(void)state;
	refused_by_stranger(s, 0, -EBUSY);
	refused_by_stranger(s, GLK_DISK_SHARED, -EBUSY);
}

static void test_a_strangers_ofd_lock_is_told_by_its_process(void **state)
{
	struct stranger s = { .type = F_WRLCK, .command = F_OFD_SETLK };

	(void)state;
	refused_by_stranger(s, 0, -EBUSY);
	refused_by_stranger(s, GLK_DISK_READONLY, -EBUSY);
}

static void test_a_strangers_shared_lock_excludes_exclusive_only(void **state)
{
	struct stranger s = { .type = F_RDLCK, .command = F_SETLK };

	(void)state;
	refused_by_stranger(s, 0, -EBUSY);
	refused_by_stranger(s, GLK_DISK_SHARED, 0);
	s.command = F_OFD_SETLK;
	refused_by_stranger(s, 0, -EBUSY);
	refused_by_stranger(s, GLK_DISK_SHARED, 0);
}

static void test_a_hand_over_is_shared_with_nobody(void **state)
{
	struct stranger s = { .type = F_WRLCK };

	(void)state;
	for (s.byte = 2; s.byte <= 4; s.byte++) {
		s.command = F_OFD_SETLK;
		refused_by_stranger(s, GLK_DISK_SHARED, -EBUSY);
		s.command = F_SETLK;
		refused_by_stranger(s, GLK_DISK_READONLY, -EBUSY);
	}
}

static void test_locks_on_other_bytes_are_nobodys_business(void **state)
{
	static const long bytes[] = { 1, 5, 100, 101, 104, 200, 201, 204 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bytes); i++) {
		struct stranger s = { .byte = bytes[i],
				      .type = F_WRLCK,
				      .command = F_OFD_SETLK };

		refused_by_stranger(s, 0, 0);
		refused_by_stranger(s, GLK_DISK_SHARED, 0);
	}
}

static void test_a_lease_locks_byte_0_and_nothing_else(void **state)
{
	struct glk_context *context = guest_context();
	static const unsigned flags[] = { 0, GLK_DISK_SHARED };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		const char *path = test_file("bytes", 1 << 20);
		struct glk_guest *guest =
			hold(context, 0, NULL, path, flags[i]);

		assert_true(range_is_locked(path, 0, 1));
		assert_false(range_is_locked(path, 1, 0));
		assert_true(test_byte_lockable(path, 2, F_WRLCK));
		assert_int_equal(test_lockable(path, F_RDLCK), flags[i] != 0);
		assert_int_equal(guest_attach(guest, path, flags[i]), 0);
		assert_false(range_is_locked(path, 1, 0));
		glk_guest_free(guest);
		assert_true(test_becomes_free(path, 10000));
		assert_false(range_is_locked(path, 0, 0));
	}
	glk_context_free(context);
}

static void assert_guest(const struct glk_conflict *c, unsigned who,
			 const char *name, pid_t pid)
{
	assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
	assert_string_equal(c->uuid, guest_uuid(who));
	assert_string_equal(c->name, name);
	assert_int_equal(c->pid, pid);
}

/* Disks 0 and 1 are guest 1's, 2 is guest 2's, 3 a stranger's, others free. */
static void test_every_refused_disk_of_a_batch_is_told(void **state)
{
	struct glk_context *context = guest_context(), *mine = guest_context();
	struct disks disks = disks_new("batch", 12);
	struct guest_plan plan = { guest_uuid(1), "one", { disks.items, 2 } };
	struct guest_plan other = { guest_uuid(2),
				    "two",
				    { disks.items + 2, 1 } };
	struct stranger s = { .path = disks.items[3].path,
			      .type = F_WRLCK,
			      .command = F_SETLK };
	uint64_t before = clock_ns(CLOCK_REALTIME);
	pid_t one = guest_run(context, &plan), two = guest_run(context, &other);
	uint64_t after = clock_ns(CLOCK_REALTIME);
	struct glk_guest *guest =
		guest_describe(mine, GLK_HOLDER_SELF, guest_uuid(9), "me");
	const struct glk_conflict *c = NULL;

	(void)state;
	stranger_start(&s);
	assert_int_equal(glk_guest_add(guest, disks.items, disks.n), 0);
	assert_int_equal(glk_guest_acquire(guest), -EBUSY);
	assert_int_equal(glk_context_conflicts(mine, &c), 4);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(c[i].path, disks.items[i].path);
	assert_guest(&c[0], 1, "one", one);
	assert_guest(&c[1], 1, "one", one);
	assert_guest(&c[2], 2, "two", two);
	assert_in_range(c[0].since, before, after);
	assert_process(&c[3], disks.items[3].path, &s);
	assert_int_equal(disks_locked(&disks), 4);

	stranger_end(&s);
	process_end(one);
	process_end(two);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(disks_locked(&disks), disks.n);
	glk_guest_free(guest);
	assert_int_equal(disks_settle(&disks), 0);
	glk_context_free(context);
	glk_context_free(mine);
	disks_free(&disks);
}

static void test_a_refused_attach_leaves_earlier_leases_alone(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("earlier", 10);
	struct disks own = { disks.items, 4 }, wanted = { disks.items + 2, 8 };
	struct glk_guest *other =
		hold(context, 3, "other", disks.items[9].path, 0);
	struct glk_guest *guest = guest_describe(context, GLK_HOLDER_GUEST,
						 guest_uuid(4), "earlier");
	pid_t pid;

	(void)state;
	assert_int_equal(glk_guest_add(guest, own.items, own.n), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	pid = guest_start(guest);
	assert_int_equal(glk_guest_adopt(context, guest_uuid(4), &guest), 0);

	/* Two of its own, five free ones, one that is taken. */
	assert_int_equal(glk_guest_attach(guest, wanted.items, wanted.n),
			 -EBUSY);
	assert_guest(only_conflict(context), 3, "other", getpid());
	assert_int_equal(disks_locked(&own), own.n);
	assert_int_equal(disks_locked(&disks), own.n + 1);
	glk_guest_free(other);
	assert_true(test_becomes_free(disks.items[9].path, 10000));
	assert_int_equal(glk_guest_attach(guest, wanted.items, wanted.n), 0);
	assert_int_equal(disks_locked(&disks), disks.n);
	assert_int_equal(glk_guest_attach(guest, disks.items, disks.n), 0);
	process_end(pid);
	assert_int_equal(disks_settle(&disks), 0);
	glk_guest_free(guest);
	glk_context_free(context);
	disks_free(&disks);
}

static void test_shared_leases_exclude_exclusive_ones(void **state)
{
	struct glk_context *context = guest_context();
	const char *path = test_file("shared", 0);
	struct glk_guest *a =
		hold(context, 5, "reader-a", path, GLK_DISK_SHARED);
	struct glk_guest *b =
		hold(context, 6, "reader-b", path, GLK_DISK_READONLY);

	(void)state;
	assert_true(test_lockable(path, F_RDLCK));
	assert_int_equal(try_one(context, path, 0), -EBUSY);
	assert_int_equal(only_conflict(context)->kind, GLK_CONFLICT_GUEST);
	glk_guest_free(a);
	assert_int_equal(try_one(context, path, 0), -EBUSY);
	assert_guest(only_conflict(context), 6, "reader-b", getpid());
	glk_guest_free(b);
	assert_true(test_becomes_free(path, 10000));
	a = hold(context, 5, "writer", path, 0);
	assert_int_equal(try_one(context, path, GLK_DISK_SHARED), -EBUSY);
	assert_guest(only_conflict(context), 5, "writer", getpid());
	assert_int_equal(only_conflict(context)->mode, GLK_MODE_SHARED);
	glk_guest_free(a);
	glk_context_free(context);
}

static void test_one_guest_has_a_disk_in_one_mode(void **state)
{
	struct glk_context *context = guest_context();
	const char *path = test_file("modes", 0);
	struct glk_guest *guest = hold(context, 7, NULL, path, 0);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_int_equal(guest_attach(guest, path, GLK_DISK_SHARED), -EEXIST);
	assert_non_null(strstr(glk_context_message(context), path));
	assert_false(test_lockable(path, F_RDLCK));
	glk_guest_free(guest);
	assert_true(test_becomes_free(path, 10000));
	guest = hold(context, 7, NULL, path, GLK_DISK_SHARED);
	assert_int_equal(guest_attach(guest, path, GLK_DISK_READONLY), 0);
	assert_int_equal(guest_attach(guest, path, 0), -EEXIST);
	assert_true(test_lockable(path, F_RDLCK));
	assert_false(test_lockable(path, F_WRLCK));
	glk_guest_free(guest);
	guest = guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	assert_int_equal(guest_add(guest, path, 0), 0);
	assert_int_equal(guest_add(guest, path, GLK_DISK_SHARED), 0);
	assert_int_equal(glk_guest_acquire(guest), -EEXIST);
	assert_true(test_lockable(path, F_WRLCK));
	glk_guest_free(guest);
	glk_context_free(context);
}

static size_t leases_of(struct glk_guest *guest)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	return info->n_leases;
}

/* @alias names the file of @path in another way. */
static void check_alias(struct glk_context *context, const char *path,
			const char *alias)
{
	struct glk_guest *guest = hold(context, 8, "aliased", path, 0);
	size_t released = 0;

	assert_int_equal(try_one(context, alias, 0), -EBUSY);
	assert_string_equal(only_conflict(context)->path, alias);
	assert_guest(only_conflict(context), 8, "aliased", getpid());
	assert_int_equal(guest_attach(guest, alias, 0), 0);
	assert_int_equal(leases_of(guest), 1);
	assert_int_equal(guest_attach(guest, alias, GLK_DISK_SHARED), -EEXIST);
	assert_int_equal(glk_guest_detach(guest, &alias, 1, &released), 0);
	assert_int_equal(released, 1);
	assert_true(test_lockable(path, F_WRLCK));
	glk_guest_free(guest);

	guest = guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	assert_int_equal(guest_add(guest, path, 0), 0);
	assert_int_equal(guest_add(guest, alias, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(leases_of(guest), 1);
	assert_false(test_lockable(path, F_RDLCK));
	glk_guest_free(guest);
	assert_true(test_becomes_free(path, 10000));

	guest = guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	assert_int_equal(guest_add(guest, path, 0), 0);
	assert_int_equal(guest_add(guest, alias, GLK_DISK_SHARED), 0);
	assert_int_equal(glk_guest_acquire(guest), -EEXIST);
	glk_guest_free(guest);
	assert_true(test_lockable(path, F_WRLCK));
}

static void test_links_name_the_same_disk(void **state)
{
	struct glk_context *context = guest_context();
	const char *path = test_file("linked", 0);
	const char *hard = test_file("hard", -1), *soft = test_file("soft", -1);
	const char *folder = test_file("folder", -1);
	char through[PATH_MAX];

	(void)state;
	assert_int_equal(link(path, hard), 0);
	assert_int_equal(symlink("linked", soft), 0);
	assert_int_equal(symlink(".", folder), 0);
	snprintf(through, sizeof(through), "%s/../%s/linked", folder,
		 strrchr(test_dir(), '/') + 1);
	check_alias(context, path, hard);
	check_alias(context, hard, path);
	check_alias(context, path, soft);
	check_alias(context, path, through);
	glk_context_free(context);
}

static int check_bind_mounts(void *arg)
{
	struct glk_context *context;
	const char *path = test_file("bound", 0);
	const char *file = test_file("bound-file", 0);
	const char *folder = test_file("bound-folder", -1);
	char through[PATH_MAX];

	(void)arg;
	MUST(!unshare(CLONE_NEWNS));
	MUST(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(!mkdir(folder, 0700));
	MUST(!mount(path, file, NULL, MS_BIND, NULL));
	MUST(!mount(test_dir(), folder, NULL, MS_BIND, NULL));
	snprintf(through, sizeof(through), "%s/bound", folder);
	context = guest_context();
	check_alias(context, path, file);
	check_alias(context, file, path);
	check_alias(context, path, through);
	glk_context_free(context);
	return 0;
}

/* In a child: its mounts end with it. */
static void test_bind_mounts_name_the_same_disk(void **state)
{
	(void)state;
	assert_int_equal(process_wait(process_start(check_bind_mounts, NULL)),
			 0);
}

/*
 * Acquire at the very moment at which the holder is killed. /proc does not
 * always show at once that a process is dying, so a few refusals (none in most
 * runs, one in a hundred under emulation) come before the grace is over.
 */
static unsigned outlive(struct glk_context *context, struct guest_plan *plan,
			unsigned *early)
{
	struct glk_guest *heir,
		*guest = guest_describe(context, GLK_HOLDER_GUEST, plan->uuid,
					plan->name);
	uint64_t start;
	pid_t pid;
	int r;

	assert_int_equal(glk_guest_add(guest, plan->disks.items, plan->disks.n),
			 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	pid = guest_fork(guest);
	heir = guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	assert_int_equal(glk_guest_add(heir, plan->disks.items, plan->disks.n),
			 0);
	process_kill(pid);
	start = clock_now();
	r = glk_guest_acquire(heir);
	if (r) {
		assert_int_equal(r, -EBUSY);
		*early += clock_now() - start < GRACE_MS * NSEC_PER_MSEC;
	}
	assert_int_equal(process_wait(pid), 128 + SIGKILL);
	if (r)
		assert_true(disks_become_free(&plan->disks));
	else
		assert_int_equal(disks_locked(&plan->disks), plan->disks.n);
	glk_guest_free(heir);
	assert_true(disks_become_free(&plan->disks));
	return r != 0;
}

static void test_a_holder_that_is_dying_is_waited_for(void **state)
{
	struct glk_context *context = guest_context();
	struct disks many = disks_new("dying", 200);
	unsigned late = 0, early = 0;

	(void)state;
	for (unsigned i = 0; i < DEATHS; i++) {
		struct guest_plan plan = { guest_uuid(10),
					   "dying",
					   { many.items, i % 2 ? 1 : 200 } };

		late += outlive(context, &plan, &early);
	}
	printf("%u of %d heirs were refused, %u of them before the grace was "
	       "over\n",
	       late, DEATHS, early);
	assert_true(early <= DEATHS / 20);
	glk_context_free(context);
	disks_free(&many);
}

/* Lists all leases, so it has them open now and then. */
_Noreturn static int read_forever(void *arg)
{
	struct channel *ready = arg;
	struct glk_context *context = guest_context();

	for (bool told = false;; told = true) {
		struct glk_guest_list *list = NULL;

		MUST_EQUAL(glk_guest_list_new(context, 0, &list), 0);
		glk_guest_list_free(list);
		if (!told)
			channel_tell(ready, 0);
	}
}

/* A reader's duplicates outlive the guest for a moment. */
static void test_a_reader_does_not_take_the_place_of_the_dead(void **state)
{
	struct glk_context *context = guest_context();
	struct channel ready = channel_new();
	struct disks many = disks_new("read", 200);
	unsigned late = 0, early = 0;
	pid_t readers[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		readers[i] = process_start(read_forever, &ready);
		assert_int_equal(channel_hear(&ready), 0);
	}
	for (unsigned i = 0; i < DEATHS_READ; i++) {
		struct guest_plan plan = { guest_uuid(12),
					   "read",
					   { many.items, i % 2 ? 1 : 200 } };

		late += outlive(context, &plan, &early);
	}
	printf("%u of %d heirs were refused, %u of them before the grace was "
	       "over\n",
	       late, DEATHS_READ, early);
	assert_true(early <= 2);
	for (int i = 0; i < 2; i++)
		process_end(readers[i]);
	channel_free(&ready);
	glk_context_free(context);
	disks_free(&many);
}

/* A locked descriptor that no process has open, only a socket's queue. */
static int lock_in_flight(const char *path, int queue[2])
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = 0, .l_len = 1 };
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, queue) ||
	    fcntl(fd, F_OFD_SETLK, &lock) || sendmsg(queue[0], &msg, 0) != 1)
		return -1;
	close(fd);
	return 0;
}

static void test_a_lock_of_nobody_is_refused_after_the_grace(void **state)
{
	struct glk_context *context = guest_context();
	const char *path = test_file("nobody", 0);
	uint64_t start = clock_now();
	int queue[2];

	(void)state;
	assert_int_equal(lock_in_flight(path, queue), 0);
	assert_int_equal(try_one(context, path, 0), -EBUSY);
	assert_true(clock_now() - start >= GRACE_MS * NSEC_PER_MSEC);
	assert_int_equal(only_conflict(context)->kind, GLK_CONFLICT_UNKNOWN);
	assert_int_equal(only_conflict(context)->pid, 0);
	close(queue[0]);
	close(queue[1]);
	assert_int_equal(try_one(context, path, 0), 0);
	glk_context_free(context);
}

static void test_holders_of_a_disk_can_be_asked_for(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("asked", 1);
	struct guest_plan plan = { guest_uuid(11), "asked", disks };
	const struct glk_conflict *holders = NULL;
	const char *path = disks.items[0].path;
	struct stranger s = { .path = path,
			      .type = F_WRLCK,
			      .command = F_OFD_SETLK };
	size_t n = 7;
	pid_t pid;

	(void)state;
	assert_int_equal(glk_disk_holders(context, path, &holders, &n), 0);
	assert_int_equal(n, 0);
	pid = guest_run(context, &plan);
	assert_int_equal(glk_disk_holders(context, path, &holders, &n), 0);
	assert_int_equal(n, 1);
	assert_guest(&holders[0], 11, "asked", pid);
	assert_int_equal(holders[0].mode, GLK_MODE_EXCLUSIVE);
	process_end(pid);
	assert_true(test_becomes_free(path, 10000));
	stranger_start(&s);
	assert_int_equal(glk_disk_holders(context, path, &holders, &n), 0);
	assert_int_equal(n, 1);
	assert_process(&holders[0], path, &s);
	stranger_end(&s);
	glk_context_free(context);
	disks_free(&disks);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_a_strangers_posix_lock_is_told_by_its_process),
	cmocka_unit_test(test_a_strangers_ofd_lock_is_told_by_its_process),
	cmocka_unit_test(test_a_strangers_shared_lock_excludes_exclusive_only),
	cmocka_unit_test(test_a_hand_over_is_shared_with_nobody),
	cmocka_unit_test(test_locks_on_other_bytes_are_nobodys_business),
	cmocka_unit_test(test_a_lease_locks_byte_0_and_nothing_else),
	cmocka_unit_test(test_every_refused_disk_of_a_batch_is_told),
	cmocka_unit_test(test_a_refused_attach_leaves_earlier_leases_alone),
	cmocka_unit_test(test_shared_leases_exclude_exclusive_ones),
	cmocka_unit_test(test_one_guest_has_a_disk_in_one_mode),
	cmocka_unit_test(test_links_name_the_same_disk),
	cmocka_unit_test(test_bind_mounts_name_the_same_disk),
	cmocka_unit_test(test_a_holder_that_is_dying_is_waited_for),
	cmocka_unit_test(test_a_reader_does_not_take_the_place_of_the_dead),
	cmocka_unit_test(test_a_lock_of_nobody_is_refused_after_the_grace),
	cmocka_unit_test(test_holders_of_a_disk_can_be_asked_for),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT)
