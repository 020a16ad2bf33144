/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* The linker sends the library's proc_is_dying() here (--wrap). */
bool __real_proc_is_dying(pid_t pid);
bool __wrap_proc_is_dying(pid_t pid);

static pid_t dying; /* this one is, they say */
static unsigned judged;

bool __wrap_proc_is_dying(pid_t pid)
{
	judged++;
	return pid == dying || __real_proc_is_dying(pid);
}

static struct glk_context *context;
static struct glk_guest *guest;

static int start(void **state)
{
	(void)state;
	context = guest_context();
	guest = kit_self(context);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

/* The holders of a disk, as glk_disk_holders() tells. */
static const struct glk_conflict *holders(const char *path, size_t expected)
{
	const struct glk_conflict *list = NULL;
	size_t n = SIZE_MAX;

	assert_int_equal(glk_disk_holders(context, path, &list, &n), 0);
	assert_int_equal(n, expected);
	return list;
}

/* The one that refuses us. */
static const struct glk_conflict *refusal(const char *path, unsigned flags)
{
	const struct glk_conflict *c = NULL;

	assert_int_equal(guest_attach(guest, path, flags), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), 1);
	assert_string_equal(c->path, path);
	assert_int_equal(c->mode, flags ? GLK_MODE_SHARED : GLK_MODE_EXCLUSIVE);
	return c;
}

static void assert_stranger(const struct glk_conflict *c,
			    const struct kit_stranger *s)
{
	assert_int_equal(c->kind, GLK_CONFLICT_PROCESS);
	assert_int_equal(c->pid, s->pid);
	assert_string_equal(c->uuid, "");
	assert_string_equal(c->name, "");
	assert_non_null(strstr(c->exe, "test_lib_holders"));
	assert_true(c->since > 0);
}

static void assert_guest(const struct glk_conflict *c, unsigned uuid, pid_t pid)
{
	assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
	assert_string_equal(c->uuid, guest_uuid(uuid));
	assert_string_equal(c->name, guest_name("kit"));
	assert_int_equal(c->pid, pid);
	assert_true(c->since > 0);
}

static void assert_unseen(const struct glk_conflict *c)
{
	assert_int_equal(c->kind, GLK_CONFLICT_UNKNOWN);
	assert_int_equal(c->mode, GLK_MODE_EXCLUSIVE);
	assert_int_equal(c->pid, 0);
	assert_string_equal(c->uuid, "");
	assert_string_equal(c->exe, "");
}

static void nobody_holds_a_free_disk(void **state)
{
	const char *path = kit_file("free", 0);

	(void)state;
	holders(path, 0);
	assert_free(path);
}

static void a_process_is_named_by_any_kind_of_lock(void **state)
{
	static const int commands[] = { F_OFD_SETLK, F_SETLK };
	static const short types[] = { F_WRLCK, F_RDLCK };
	static const long bytes[] = { LOCK_BYTE_OWNER, LOCK_BYTE_SUCCESSOR };

	(void)state;
	for (int i = 0; i < 8; i++) {
		struct kit_stranger s = {
			.path = kit_file("any", 0),
			.byte = bytes[i / 4],
			.type = types[i / 2 % 2],
			.command = commands[i % 2],
		};
		const struct glk_conflict *c;

		kit_stranger(&s);
		if (s.byte == LOCK_BYTE_OWNER) {
			assert_stranger(refusal(s.path, 0), &s);
			assert_says(context, "held by process");
			assert_says(context, s.path);
			c = holders(s.path, 1);
			assert_stranger(c, &s);
			assert_int_equal(c->mode, s.type == F_RDLCK
							  ? GLK_MODE_SHARED
							  : GLK_MODE_EXCLUSIVE);
		}
		if (s.type == F_RDLCK)
			assert_int_equal(kit_try(context, s.path,
						 GLK_DISK_SHARED),
					 0);
		else
			assert_stranger(refusal(s.path, GLK_DISK_SHARED), &s);
		kit_stranger_end(&s);
	}
}

static void locks_on_other_bytes_hold_nothing(void **state)
{
	struct kit_stranger s = { .path = kit_file("other-bytes", 0),
				  .byte = 1,
				  .type = F_WRLCK,
				  .command = F_OFD_SETLK };

	(void)state;
	kit_stranger(&s);
	holders(s.path, 0);
	assert_int_equal(kit_try(context, s.path, 0), 0);
	kit_stranger_end(&s);
}

static void a_guest_is_named_by_its_capsule(void **state)
{
	const char *path = kit_file("capsule", 0);
	struct kit_guest g = kit_run(context, 90, path, 0);
	const struct glk_conflict *c;

	(void)state;
	c = refusal(path, 0);
	assert_guest(c, 90, g.pid);
	assert_says(context, guest_name("kit"));
	assert_says(context, guest_uuid(90));
	c = holders(path, 1);
	assert_guest(c, 90, g.pid);
	assert_int_equal(c->mode, GLK_MODE_EXCLUSIVE);
	kit_end(&g);
}

static void all_of_many_holders_are_named(void **state)
{
	const char *path = kit_file("many", 0);
	struct kit_guest g = kit_run(context, 91, path, GLK_DISK_SHARED);
	struct kit_stranger posix[2],
		ofd = { .path = path, .type = F_RDLCK, .command = F_OFD_SETLK };
	const struct glk_conflict *c;
	unsigned seen = 0;

	(void)state;
	kit_stranger(&ofd);
	for (int i = 0; i < 2; i++) {
		posix[i] = ofd;
		posix[i].command = F_SETLK;
		kit_stranger(&posix[i]);
	}
	c = holders(path, 4);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(c[i].mode, GLK_MODE_SHARED);
		seen |= (c[i].pid == g.pid) << 0 | (c[i].pid == ofd.pid) << 1 |
			(c[i].pid == posix[0].pid) << 2 |
			(c[i].pid == posix[1].pid) << 3;
	}
	assert_int_equal(seen, 15);
	kit_stranger_end(&ofd);
	kit_stranger_end(&posix[0]);
	kit_stranger_end(&posix[1]);
	kit_end(&g);
}

/* Readers do not exclude a reader; the one with byte 2 does. */
static void who_is_not_in_the_way_is_not_blamed(void **state)
{
	const char *path = kit_file("blame", 0);
	struct kit_guest g = kit_run(context, 92, path, GLK_DISK_SHARED);
	struct kit_stranger reader = { .path = path,
				       .type = F_RDLCK,
				       .command = F_SETLK };
	struct kit_stranger successor = { .path = path,
					  .byte = LOCK_BYTE_SUCCESSOR,
					  .type = F_WRLCK,
					  .command = F_OFD_SETLK };

	(void)state;
	kit_stranger(&reader);
	kit_stranger(&successor);
	assert_stranger(refusal(path, GLK_DISK_SHARED), &successor);
	kit_stranger_end(&successor);
	assert_int_equal(kit_try(context, path, GLK_DISK_SHARED), 0);
	kit_stranger_end(&reader);
	kit_end(&g);
}

/* One of two: there is no use in waiting for the other. */
static void who_is_dying_does_not_hide_who_is_not(void **state)
{
	struct kit_stranger s[2] = { { .path = kit_file("dying", 0),
				       .type = F_RDLCK,
				       .command = F_OFD_SETLK } };

	(void)state;
	s[1] = s[0];
	kit_stranger(&s[0]);
	kit_stranger(&s[1]);
	for (int i = 0; i < 2; i++) {
		dying = s[i].pid;
		judged = 0;
		refusal(s[0].path, 0);
		assert_int_equal(judged, 2); /* one look, at both */
	}
	dying = 0;
	kit_stranger_end(&s[0]);
	kit_stranger_end(&s[1]);
}

static void who_is_dying_is_waited_for_and_then_named(void **state)
{
	struct kit_stranger s = { .path = kit_file("dying-alone", 0),
				  .type = F_WRLCK,
				  .command = F_OFD_SETLK };

	(void)state;
	kit_stranger(&s);
	dying = s.pid;
	judged = 0;
	assert_stranger(refusal(s.path, 0), &s);
	assert_true(judged > 2);
	dying = 0;
	kit_stranger_end(&s);
}

static void a_guest_that_is_dying_is_waited_for_and_then_named(void **state)
{
	const char *path = kit_file("dying-guest", 0);
	struct kit_guest g = kit_run(context, 96, path, 0);

	(void)state;
	dying = g.pid;
	judged = 0;
	assert_guest(refusal(path, 0), 96, g.pid);
	assert_true(judged > 2);
	dying = 0;
	judged = 0;
	assert_guest(refusal(path, 0), 96, g.pid);
	assert_int_equal(judged, 1);
	kit_end(&g);
}

static void a_lock_of_nobody_is_somebodys(void **state)
{
	const char *path = kit_file("flying", 0);
	const struct glk_conflict *c;
	int queue[2];

	(void)state;
	kit_lock_in_flight(path, queue);
	c = refusal(path, 0);
	assert_int_equal(c->kind, GLK_CONFLICT_UNKNOWN);
	assert_int_equal(c->pid, 0);
	assert_string_equal(c->exe, "");
	assert_says(context, "somebody that this process cannot see");
	assert_unseen(holders(path, 1));
	close(queue[0]);
	close(queue[1]);
}

static void a_guest_of_this_process_refuses_at_once(void **state)
{
	const char *path = kit_file("same-process", 0);
	struct glk_guest *other = kit_self(context);
	const struct glk_conflict *c;

	(void)state;
	assert_int_equal(guest_attach(other, path, 0), 0);
	/* With no time left for a grace it is named all the same. */
	glk_context_set_timeout(context, 1000);
	c = refusal(path, 0);
	assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
	assert_int_equal(c->pid, getpid());
	glk_guest_free(other);
}

static void a_guest_that_is_being_acquired_here_is_no_stranger(void **state)
{
	const char *path = kit_file("here", 0);
	struct glk_guest *other = guest_describe(context, GLK_HOLDER_GUEST,
						 guest_uuid(93), "here");
	const struct glk_conflict *c;

	(void)state;
	assert_int_equal(guest_add(other, path, 0), 0);
	assert_int_equal(glk_guest_acquire(other), 0);
	c = refusal(path, 0);
	assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
	assert_string_equal(c->uuid, guest_uuid(93));
	glk_guest_free(other);
}

/* Run by nobody: a capsule that claims the name of one of ours. */
static int claim(void *arg)
{
	struct channel *ready = arg;
	struct glk_context *own = guest_context();
	struct glk_guest *mine = guest_describe(own, GLK_HOLDER_SELF,
						guest_uuid(94), "root's own");

	MUST_EQUAL(guest_add(mine, test_file("claimed", -1), GLK_DISK_SHARED),
		   0);
	MUST_EQUAL(glk_guest_acquire(mine), 0);
	channel_tell(ready, getpid());
	guest_live();
	return 0;
}

static void a_stranger_is_not_believed_who_it_claims_to_be(void **state)
{
	const char *path = kit_file("claimed", 0);
	struct channel ready = channel_new();
	const struct glk_conflict *c;
	pid_t pid;

	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(chmod(test_dir(), 0755), 0);
	assert_int_equal(chmod(path, 0644), 0);
	pid = kit_start_as_nobody(claim, &ready);
	channel_reads(&ready);
	assert_int_equal(channel_hear(&ready), pid);
	c = refusal(path, 0);
	assert_int_equal(c->kind, GLK_CONFLICT_PROCESS);
	assert_int_equal(c->pid, pid);
	assert_string_equal(c->name, "");
	assert_string_equal(c->uuid, "");
	assert_non_null(strstr(c->exe, "test_lib_holders"));
	assert_int_equal(holders(path, 1)->pid, pid);
	process_end(pid);
	channel_free(&ready);
}

/* A disk of root's, asked for by somebody who may not look at root. */
static int ask_as_nobody(void *arg)
{
	const struct glk_conflict *c = NULL;
	const char *path = arg;
	size_t n = 0;

	start(NULL);
	MUST_EQUAL(guest_attach(guest, path, GLK_DISK_SHARED), -EBUSY);
	MUST_EQUAL(glk_context_conflicts(context, &c), 1);
	MUST_EQUAL(c->kind, GLK_CONFLICT_UNKNOWN);
	assert_says(context, "somebody that this process cannot see");
	MUST_EQUAL(glk_disk_holders(context, path, &c, &n), 0);
	MUST_EQUAL(n, 1);
	MUST_EQUAL(c->kind, GLK_CONFLICT_UNKNOWN);
	MUST_EQUAL(c->mode, GLK_MODE_EXCLUSIVE);
	stop(NULL);
	return 0;
}

static void who_may_not_be_seen_is_not_named(void **state)
{
	const char *path = kit_file("unseen", 0);
	struct kit_guest g;

	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(chmod(test_dir(), 0755), 0);
	assert_int_equal(chmod(path, 0644), 0);
	g = kit_run(context, 95, path, 0);
	assert_int_equal(kit_as_nobody(ask_as_nobody, (void *)path), 0);
	kit_end(&g);
}

static void what_holders_are_told_of_are_no_conflicts(void **state)
{
	const char *path = kit_file("told", 0);
	const struct glk_conflict *c = NULL;
	int fd = kit_lock(path, 0, F_WRLCK);

	(void)state;
	holders(path, 1);
	assert_int_equal(glk_context_conflicts(context, &c), 0);
	close(fd);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(nobody_holds_a_free_disk),
	TEST(a_process_is_named_by_any_kind_of_lock),
	TEST(locks_on_other_bytes_hold_nothing),
	TEST(a_guest_is_named_by_its_capsule),
	TEST(all_of_many_holders_are_named),
	TEST(who_is_not_in_the_way_is_not_blamed),
	TEST(who_is_dying_does_not_hide_who_is_not),
	TEST(who_is_dying_is_waited_for_and_then_named),
	TEST(a_guest_that_is_dying_is_waited_for_and_then_named),
	TEST(a_lock_of_nobody_is_somebodys),
	TEST(a_guest_of_this_process_refuses_at_once),
	TEST(a_guest_that_is_being_acquired_here_is_no_stranger),
	TEST(a_stranger_is_not_believed_who_it_claims_to_be),
	TEST(who_may_not_be_seen_is_not_named),
	TEST(what_holders_are_told_of_are_no_conflicts),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
