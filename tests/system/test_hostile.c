/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/guest.h"
#include "tests/lib/spoil.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

/*
 * Guests that spoil their own capsules, and strangers who claim to be guests.
 * Both run as a user who owns nothing: root's guests run as somebody else, and
 * anybody may bind a name. Nobody gets, or gets hidden, what is not theirs.
 */
#define NOBODY 65534

static void become_nobody(void)
{
	MUST(!setresgid(NOBODY, NOBODY, NOBODY));
	MUST(!setresuid(NOBODY, NOBODY, NOBODY));
}

/* A guest process that does something to its own capsule and then lives. */
struct spoiler {
	const char *uuid, *name;
	const struct disks *disks;
	void (*spoil)(int b);
	struct channel done;
	struct glk_guest *guest;
	pid_t pid;
};

static int run_spoiler(void *arg)
{
	struct spoiler *s = arg;
	int b = glk_guest_fd(s->guest);

	MUST(b >= 0);
	become_nobody();
	s->spoil(b);
	channel_tell(&s->done, 0);
	guest_live();
	return 0;
}

static void spoiler_start(struct glk_context *context, struct spoiler *s)
{
	s->done = channel_new();
	s->guest = guest_describe(context, GLK_HOLDER_GUEST, s->uuid, s->name);
	assert_int_equal(glk_guest_add(s->guest, s->disks->items, s->disks->n),
			 0);
	assert_int_equal(glk_guest_acquire(s->guest), 0);
	s->pid = process_start(run_spoiler, s);
	assert_int_equal(glk_guest_handed_over(s->guest), 0);
	glk_guest_free(s->guest);
	assert_int_equal(channel_hear(&s->done), 0);
}

static void spoiler_end(struct spoiler *s)
{
	process_end(s->pid);
	channel_free(&s->done);
	assert_int_equal(disks_settle(s->disks), 0);
}

static void drain(int b)
{
	struct taken *messages;
	size_t n = spoil_take_all(b, &messages);

	spoil_close(messages, n);
	free(messages);
}

static void take_mutex(int identity)
{
	struct flock lock = { .l_type = F_WRLCK };

	MUST(!fcntl(identity, F_OFD_SETLK, &lock));
}

/* Whoever tidies up needs the mutex, and we have it for ever. */
static void hold_mutex(int b)
{
	struct taken *messages;
	size_t n = spoil_take_all(b, &messages);

	spoil_put_back(messages[0].fds[0], messages, n);
	take_mutex(messages[0].fds[1]);
	free(messages);
}

static void block(int b)
{
	struct taken *messages, garbage = { .size = 4096 };
	size_t n = spoil_take_all(b, &messages);
	int a = messages[0].fds[0];

	spoil_put_back(a, messages, n);
	take_mutex(messages[0].fds[1]);
	while (garbage.size) {
		while (send(a, garbage.payload, (size_t)garbage.size,
			    MSG_DONTWAIT) > 0)
			;
		garbage.size /= 2;
	}
	free(messages);
}

/* Replace every occurrence in place; both words have the same length. */
static size_t replace_word(char *data, size_t size, const char *word,
			   const char *other)
{
	size_t len = strlen(word), n = 0;
	char *at;

	while ((at = memmem(data, size, word, len))) {
		memcpy(at, other, len);
		n++;
	}
	return n;
}

#define TRUE_NAME "spoiler-abc"
#define FALSE_NAME "spoiler-xyz"

static int forge_identity(int identity)
{
	char data[4096];
	ssize_t size = pread(identity, data, sizeof(data), 0);
	int fd = memfd_create("identity", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	MUST(size > 0 && fd >= 0);
	MUST_EQUAL(replace_word(data, (size_t)size, TRUE_NAME, FALSE_NAME), 1);
	MUST_EQUAL(write(fd, data, (size_t)size), size);
	MUST(!fcntl(fd, F_ADD_SEALS, fcntl(identity, F_GET_SEALS)));
	return fd;
}

static void rename_itself(int b)
{
	struct taken *messages;
	size_t n = spoil_take_all(b, &messages);

	messages[0].fds[1] = forge_identity(messages[0].fds[1]);
	spoil_put_back(messages[0].fds[0], messages, n);
	spoil_close(messages, n);
	free(messages);
}

static int try_one(struct glk_context *context, const char *path)
{
	struct glk_guest *guest =
		guest_describe(context, GLK_HOLDER_SELF, NULL, NULL);
	int r;

	assert_int_equal(guest_add(guest, path, 0), 0);
	r = glk_guest_acquire(guest);
	glk_guest_free(guest);
	return r;
}

static void test_a_guest_that_drained_its_queue_has_no_leases(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("drained", 8);
	struct spoiler s = { guest_uuid(1), TRUE_NAME, &disks, drain };
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;

	(void)state;
	spoiler_start(context, &s);
	assert_int_equal(disks_settle(&disks), 0);
	assert_int_equal(glk_guest_adopt(context, s.uuid, &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_string_equal(info->uuid, s.uuid);
	assert_string_equal(info->name, "");
	assert_int_equal(info->pid, s.pid);
	assert_int_equal(info->n_leases, 0);
	glk_guest_free(guest);
	assert_int_equal(glk_guest_adopt(context, TRUE_NAME, &guest), -ESRCH);
	assert_int_equal(try_one(context, disks.items[0].path), 0);
	spoiler_end(&s);
	glk_context_free(context);
	disks_free(&disks);
}

static void test_a_blocked_queue_takes_nothing_in_time(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("blocked", 4);
	struct spoiler s = { guest_uuid(2), "blocked", &disks, block };
	const char *more = test_file("blocked-more", 0);
	struct glk_guest *guest = NULL;
	uint64_t start;

	(void)state;
	spoiler_start(context, &s);
	assert_int_equal(glk_guest_adopt(context, s.uuid, &guest), 0);
	glk_context_set_timeout(context, 400);
	start = clock_now();
	assert_int_equal(guest_attach(guest, more, 0), -ENOSPC);
	assert_true(clock_now() - start < 20 * NSEC_PER_SEC);
	assert_true(test_lockable(more, F_WRLCK));
	assert_int_equal(disks_locked(&disks), disks.n);
	glk_context_set_timeout(context, 30000);
	assert_int_equal(try_one(context, more), 0);
	glk_guest_free(guest);
	spoiler_end(&s);
	glk_context_free(context);
	disks_free(&disks);
}

static void test_a_held_mutex_delays_tidying_and_nothing_else(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("mutex", 4);
	struct spoiler s = { guest_uuid(3), "mutex", &disks, hold_mutex };
	const char *more = test_file("mutex-more", 0);
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;

	(void)state;
	spoiler_start(context, &s);
	glk_context_set_timeout(context, 400);
	assert_int_equal(glk_guest_adopt(context, s.uuid, &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, disks.n);
	assert_int_equal(guest_attach(guest, more, 0), 0);
	assert_false(test_lockable(more, F_RDLCK));
	assert_int_equal(guest_detach(guest, more), 0);
	assert_true(test_lockable(more, F_WRLCK));
	assert_int_equal(disks_locked(&disks), disks.n);
	glk_guest_free(guest);
	spoiler_end(&s);
	glk_context_free(context);
	disks_free(&disks);
}

/* Several spoilers, so that one at least is met before the honest guest. */
static void test_no_guest_hides_the_name_of_another(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("hiding", 5);
	struct spoiler spoilers[4];
	struct disks own[5];
	struct guest_plan honest = { guest_uuid(4), "honest" };
	const struct glk_conflict *c = NULL;
	pid_t pid;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		own[i] = (struct disks){ disks.items + i, 1 };
	for (unsigned i = 0; i < 4; i++) {
		spoilers[i] =
			(struct spoiler){ guest_uuid(40 + i), "hiding", &own[i],
					  i % 2 ? block : hold_mutex };
		if (i < 2)
			spoiler_start(context, &spoilers[i]);
	}
	honest.disks = own[4];
	pid = guest_run(context, &honest);
	for (unsigned i = 2; i < 4; i++)
		spoiler_start(context, &spoilers[i]);

	assert_int_equal(try_one(context, own[4].items[0].path), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), 1);
	assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
	assert_string_equal(c->name, "honest");
	assert_int_equal(c->pid, pid);
	for (unsigned i = 0; i < 4; i++)
		spoiler_end(&spoilers[i]);
	process_end(pid);
	assert_int_equal(disks_settle(&disks), 0);
	glk_context_free(context);
	disks_free(&disks);
}

static void test_a_guest_cannot_take_another_name(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("renamed", 3);
	struct spoiler s = { guest_uuid(5), TRUE_NAME, &disks, rename_itself };
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;
	char pid[16];

	(void)state;
	spoiler_start(context, &s);
	assert_int_equal(glk_guest_adopt(context, FALSE_NAME, &guest), -ESRCH);
	assert_null(guest);
	assert_int_equal(glk_guest_adopt(context, s.uuid, &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_string_not_equal(info->name, FALSE_NAME);
	assert_int_equal(info->n_leases, disks.n);
	assert_int_equal(disks_locked(&disks), disks.n);
	glk_guest_free(guest);
	snprintf(pid, sizeof(pid), "%d", (int)s.pid);
	assert_int_equal(glk_guest_adopt(context, pid, &guest), 0);
	glk_guest_free(guest);
	spoiler_end(&s);
	glk_context_free(context);
	disks_free(&disks);
}

static const struct glk_lease_info *lease_on(const struct glk_guest_info *info,
					     const char *path)
{
	for (size_t i = 0; i < info->n_leases; i++)
		if (!strcmp(info->leases[i].path, path))
			return &info->leases[i];
	return NULL;
}

static void test_a_lock_that_the_guest_dropped_is_not_claimed(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("dropped", 2);
	struct spoiler s = { guest_uuid(6), "dropped", &disks,
			     spoil_first_lock };
	const struct glk_guest_info *info = NULL;
	const struct glk_lease_info *lease;
	struct glk_guest *guest = NULL;
	const char *path;

	(void)state;
	spoiler_start(context, &s);
	assert_int_equal(disks_locked(&disks), 1);
	path = disks.items[test_lockable(disks.items[0].path, F_WRLCK) ? 0 : 1]
		       .path;
	assert_int_equal(glk_guest_adopt(context, s.uuid, &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	lease = lease_on(info, path);
	assert_true(!lease || !lease->held);
	assert_int_equal(guest_attach(guest, path, 0), 0);
	assert_false(test_lockable(path, F_RDLCK));
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_true(lease_on(info, path) && lease_on(info, path)->held);
	glk_guest_free(guest);
	spoiler_end(&s);
	glk_context_free(context);
	disks_free(&disks);
}

/* A stranger who claims to be the guest @uuid, or has @name. */
struct claim {
	const char *uuid, *name, *path;
	const char *socket_name; /* bind this and no more, or NULL */
	struct channel done;
	pid_t pid;
};

static int claim_name(struct claim *claim)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t len = strlen(claim->socket_name);
	int pair[2];

	MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	memcpy(sun.sun_path + 1, claim->socket_name, len);
	MUST(!bind(pair[1], (struct sockaddr *)&sun,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			       len)));
	MUST_EQUAL(send(pair[0], "nonsense", 8, 0), 8);
	channel_tell(&claim->done, 0);
	guest_live();
	return 0;
}

static int run_claim(void *arg)
{
	struct claim *claim = arg;
	struct glk_context *context;
	struct glk_guest *guest;

	become_nobody();
	if (claim->socket_name)
		return claim_name(claim);
	context = guest_context();
	guest = guest_describe(context, GLK_HOLDER_SELF, claim->uuid,
			       claim->name);
	if (claim->path)
		MUST_EQUAL(guest_add(guest, claim->path, 0), 0);
	MUST_EQUAL(glk_guest_acquire(guest), 0);
	channel_tell(&claim->done, 0);
	guest_live();
	return 0;
}

static void claim_start(struct claim *claim)
{
	claim->done = channel_new();
	claim->pid = process_start(run_claim, claim);
	assert_int_equal(channel_hear(&claim->done), 0);
}

static void claim_end(struct claim *claim)
{
	process_end(claim->pid);
	channel_free(&claim->done);
}

/* What the guest's socket is called, without the NUL that /proc shows as @. */
static void socket_name_of(const char *uuid, char *buf, size_t size)
{
	char line[512];
	FILE *f = fopen("/proc/net/unix", "re");

	assert_non_null(f);
	buf[0] = '\0';
	while (fgets(line, sizeof(line), f)) {
		char *at = strstr(line, "@guestlock/");

		if (!at || !strstr(at, uuid))
			continue;
		at[strcspn(at, "\n")] = '\0';
		snprintf(buf, size, "%s", at + 1);
	}
	fclose(f);
	assert_true(buf[0] != '\0');
}

static void assert_adopts(struct glk_context *context, const char *selector,
			  pid_t pid)
{
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;

	assert_int_equal(glk_guest_adopt(context, selector, &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->pid, pid);
	assert_int_equal(info->uid, 0);
	glk_guest_free(guest);
}

static size_t count_listed(struct glk_context *context, unsigned flags,
			   const char *uuid, uid_t uid)
{
	struct glk_guest_list *list = NULL;
	size_t n = 0;

	assert_int_equal(glk_guest_list_new(context, flags, &list), 0);
	for (size_t i = 0; i < glk_guest_list_count(list); i++) {
		const struct glk_guest_info *info = glk_guest_list_get(list, i);

		n += !strcmp(info->uuid, uuid) && info->uid == uid;
	}
	glk_guest_list_free(list);
	return n;
}

static void test_a_claim_does_not_lead_away_from_the_guest(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("claimed", 2);
	struct guest_plan plan = { guest_uuid(7), guest_name("claimed"),
				   disks };
	struct claim claims[4] = {};
	struct glk_guest *guest = NULL;
	char name[128];
	pid_t pid;

	(void)state;
	claims[0] = (struct claim){ plan.uuid, plan.name };
	claim_start(&claims[0]);
	assert_int_equal(glk_guest_adopt(context, plan.uuid, &guest), -ESRCH);
	assert_int_equal(glk_guest_adopt(context, plan.name, &guest), -ESRCH);
	pid = guest_run(context, &plan);
	claims[1] = (struct claim){ plan.uuid, plan.name };
	claim_start(&claims[1]);
	socket_name_of(plan.uuid, name, sizeof(name));
	name[strlen(name) - 1] ^= 1;
	claims[2] = (struct claim){ .socket_name = name };
	claim_start(&claims[2]);

	assert_adopts(context, plan.uuid, pid);
	assert_adopts(context, plan.name, pid);
	assert_int_equal(count_listed(context, GLK_LIST_TRUSTED, plan.uuid, 0),
			 1);
	assert_int_equal(count_listed(context, GLK_LIST_TRUSTED, plan.uuid,
				      NOBODY),
			 0);
	assert_true(count_listed(context, 0, plan.uuid, NOBODY) >= 2);
	process_end(pid);
	assert_int_equal(disks_settle(&disks), 0);
	assert_int_equal(glk_guest_adopt(context, plan.uuid, &guest), -ESRCH);
	for (int i = 0; i < 3; i++)
		claim_end(&claims[i]);
	glk_context_free(context);
	disks_free(&disks);
}

/* Its lock is real, and is told by its process; its name is not believed. */
static void test_a_refusal_does_not_repeat_a_strangers_claim(void **state)
{
	struct glk_context *context = guest_context();
	const char *path = test_file("claimed-disk", 0);
	struct claim claim = { guest_uuid(8), "web1", path };
	const struct glk_conflict *c = NULL;

	(void)state;
	assert_int_equal(chmod(test_dir(), 0711), 0);
	assert_int_equal(chmod(path, 0666), 0);
	claim_start(&claim);
	assert_false(test_lockable(path, F_RDLCK));
	assert_int_equal(try_one(context, path), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), 1);
	assert_int_equal(c->kind, GLK_CONFLICT_PROCESS);
	assert_int_equal(c->pid, claim.pid);
	assert_string_equal(c->name, "");
	assert_string_equal(c->uuid, "");
	assert_null(strstr(glk_context_message(context), "web1"));
	claim_end(&claim);
	assert_true(test_becomes_free(path, 10000));
	glk_context_free(context);
}

static int look_as_nobody(void *arg)
{
	const struct guest_plan *plan = arg;
	struct glk_context *context;
	struct glk_guest_list *list = NULL;
	struct glk_guest *guest = NULL;

	become_nobody();
	context = guest_context();
	MUST_EQUAL(glk_guest_adopt(context, plan->uuid, &guest), -EPERM);
	MUST_EQUAL(glk_guest_list_new(context, 0, &list), 0);
	for (size_t i = 0; i < glk_guest_list_count(list); i++)
		MUST(strcmp(glk_guest_list_get(list, i)->uuid, plan->uuid));
	MUST(glk_guest_list_denied(list) >= 1);
	glk_guest_list_free(list);
	glk_context_free(context);
	return 0;
}

static void test_nobody_may_look_into_roots_guests(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("private", 2);
	struct guest_plan plan = { guest_uuid(9), "private", disks };
	pid_t pid = guest_run(context, &plan);

	(void)state;
	assert_int_equal(process_wait(process_start(look_as_nobody, &plan)), 0);
	assert_int_equal(disks_locked(&disks), disks.n);
	process_end(pid);
	assert_int_equal(disks_settle(&disks), 0);
	glk_context_free(context);
	disks_free(&disks);
}

/* Becomes a guest, which then lives on in a child: its name tells the pid and
   the descriptor that it had here. */
static int move_away(void *arg)
{
	struct spoiler *s = arg;
	struct glk_context *context = guest_context();
	pid_t pid;

	s->guest = guest_describe(context, GLK_HOLDER_GUEST, s->uuid, s->name);
	MUST_EQUAL(glk_guest_add(s->guest, s->disks->items, s->disks->n), 0);
	MUST_EQUAL(glk_guest_acquire(s->guest), 0);
	channel_tell(&s->done, glk_guest_fd(s->guest));
	pid = fork();
	MUST(pid >= 0);
	if (!pid)
		guest_become(s->guest);
	channel_tell(&s->done, pid);
	return 0;
}

/* A process with this very pid, once it is free. */
static pid_t take_pid(pid_t wanted, int b)
{
	struct clone_args args = { .exit_signal = SIGCHLD,
				   .set_tid = (uintptr_t)&wanted,
				   .set_tid_size = 1 };
	uint64_t deadline = deadline_in_ms(10000);
	int pair[2];
	long pid;

	do
		pid = syscall(SYS_clone3, &args, sizeof(args));
	while (pid < 0 && errno == EEXIST && clock_now() < deadline);
	if (pid)
		return (pid_t)pid;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) ||
	    dup2(pair[1], b) < 0)
		_exit(1);
	guest_close_others(b);
	guest_live();
	_exit(0);
}

static void test_a_recycled_pid_is_not_taken_for_the_guest(void **state)
{
	struct glk_context *context = guest_context();
	struct disks disks = disks_new("recycled", 2);
	struct spoiler s = { guest_uuid(10), "recycled", &disks };
	struct glk_guest *guest = NULL;
	char number[16];
	pid_t pid;
	int b;

	(void)state;
	s.done = channel_new();
	s.pid = process_start(move_away, &s);
	b = channel_hear(&s.done);
	pid = channel_hear(&s.done);
	assert_int_equal(process_wait(s.pid), 0);
	assert_adopts(context, s.uuid, pid);
	assert_int_equal(take_pid(s.pid, b), s.pid);
	snprintf(number, sizeof(number), "%d", (int)s.pid);
	assert_int_equal(glk_guest_adopt(context, number, &guest), -ESRCH);
	assert_adopts(context, s.uuid, pid);
	assert_adopts(context, s.name, pid);
	process_end(s.pid);
	assert_adopts(context, s.uuid, pid);
	process_end(pid);
	assert_int_equal(disks_settle(&disks), 0);
	channel_free(&s.done);
	glk_context_free(context);
	disks_free(&disks);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_a_guest_that_drained_its_queue_has_no_leases),
	cmocka_unit_test(test_a_blocked_queue_takes_nothing_in_time),
	cmocka_unit_test(test_a_held_mutex_delays_tidying_and_nothing_else),
	cmocka_unit_test(test_no_guest_hides_the_name_of_another),
	cmocka_unit_test(test_a_guest_cannot_take_another_name),
	cmocka_unit_test(test_a_lock_that_the_guest_dropped_is_not_claimed),
	cmocka_unit_test(test_a_claim_does_not_lead_away_from_the_guest),
	cmocka_unit_test(test_a_refusal_does_not_repeat_a_strangers_claim),
	cmocka_unit_test(test_nobody_may_look_into_roots_guests),
	cmocka_unit_test(test_a_recycled_pid_is_not_taken_for_the_guest),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT)
