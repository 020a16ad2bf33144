/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/look.h"
#include "tests/unit/lib_kit.h"

#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/reader.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/*
 * The linker sends the library's capsule_list() here (--wrap), so that one of
 * two guests can go, or be unreadable, just when their roles are read.
 */
int __real_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents);
int __wrap_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents);

static pid_t list_fails_for;
static int list_result;

int __wrap_capsule_list(struct capsule *capsule, uint64_t deadline,
			struct capsule_contents *ret_contents)
{
	const struct capsule_keeper *keeper = capsule_keeper(capsule);

	if (keeper && keeper->pid == list_fails_for)
		return list_result;
	return __real_capsule_list(capsule, deadline, ret_contents);
}

static struct glk_context *context;

static int start(void **state)
{
	(void)state;
	list_fails_for = 0;
	context = guest_context();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_context_free(context);
	return 0;
}

/* Run a guest of this name and uuid; nobody adopts it yet. */
static pid_t run_guest(unsigned uuid, const char *name)
{
	struct glk_guest *guest = guest_describe(context, GLK_HOLDER_GUEST,
						 guest_uuid(uuid), name);

	assert_int_equal(glk_guest_acquire(guest), 0);
	return guest_fork(guest);
}

static int adopt(const char *selector)
{
	struct glk_guest *guest = NULL;
	int r = glk_guest_adopt(context, selector, &guest);

	assert_int_equal(r != 0, guest == NULL);
	glk_guest_free(guest);
	return r;
}

/* It is found, and it is this one. */
static void assert_adopts(const char *selector, unsigned uuid, pid_t pid)
{
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;

	assert_int_equal(glk_guest_adopt(context, selector, &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_string_equal(info->uuid, guest_uuid(uuid));
	assert_int_equal(info->pid, pid);
	glk_guest_free(guest);
}

static const char *number(long n)
{
	static char buf[32];

	snprintf(buf, sizeof(buf), "%ld", n);
	return buf;
}

static void a_guest_is_found_by_uuid_name_and_pid(void **state)
{
	pid_t pid = run_guest(1, guest_name("one"));
	pid_t other = run_guest(2, guest_name("two"));
	char upper[UUID_STRLEN + 1] = "";

	(void)state;
	for (int i = 0; i < UUID_STRLEN; i++)
		upper[i] = (char)toupper(guest_uuid(1)[i]);
	assert_adopts(guest_uuid(1), 1, pid);
	assert_adopts(upper, 1, pid);
	assert_adopts(guest_name("one"), 1, pid);
	assert_adopts(number(pid), 1, pid);
	assert_adopts(guest_name("two"), 2, other);
	process_end(pid);
	process_end(other);
}

static void nothing_else_finds_a_guest(void **state)
{
	static const char *const wrong[] = {
		"0",	       "-1",	     "+1", " 1", "1x",
		"99999999999", "4294967297", "%s", "x",
	};
	pid_t pid = run_guest(3, NULL);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(adopt(wrong[i]), -ESRCH);
		assert_says(context, wrong[i]);
	}
	assert_int_equal(adopt(guest_uuid(9)), -ESRCH);
	assert_says(context, guest_uuid(9));
	assert_int_equal(adopt("a\nb"), -ESRCH);
	assert_says(context, "'a\\x0ab'");
	assert_int_equal(adopt(""), -EINVAL);
	assert_int_equal(adopt(NULL), -EINVAL);
	assert_says(context, "no guest is named");
	process_end(pid);
}

static void a_guest_that_is_gone_is_not_found(void **state)
{
	pid_t pid = run_guest(4, guest_name("gone"));

	(void)state;
	assert_int_equal(adopt(guest_uuid(4)), 0);
	process_end(pid);
	assert_int_equal(adopt(guest_uuid(4)), -ESRCH);
	assert_int_equal(adopt(guest_name("gone")), -ESRCH);
	assert_int_equal(adopt(number(pid)), -ESRCH);
}

static void a_name_that_fits_two_names_neither(void **state)
{
	pid_t a = run_guest(5, guest_name("same"));
	pid_t b = run_guest(6, guest_name("same"));

	(void)state;
	assert_int_equal(adopt(guest_name("same")), -ENOTUNIQ);
	assert_says(context, "2 guests are called");
	assert_says(context, "use the uuid");
	assert_adopts(guest_uuid(6), 6, b);
	process_end(a);
	assert_adopts(guest_name("same"), 6, b);
	process_end(b);
}

static void a_uuid_that_fits_two_names_neither(void **state)
{
	pid_t a = run_guest(7, guest_name("sides"));
	pid_t b = run_guest(7, guest_name("sides"));

	(void)state;
	assert_int_equal(adopt(guest_uuid(7)), -ENOTUNIQ);
	assert_says(context, "use the pid");
	assert_int_equal(adopt(guest_name("sides")), -ENOTUNIQ);
	assert_says(context, "use the pid");
	assert_adopts(number(a), 7, a);
	assert_adopts(number(b), 7, b);
	process_end(a);
	process_end(b);
}

static void a_pid_wins_over_a_name_that_is_a_number(void **state)
{
	pid_t pid = run_guest(8, NULL);
	pid_t other = run_guest(9, number(pid));

	(void)state;
	assert_adopts(number(pid), 8, pid);
	process_end(pid);
	assert_adopts(number(pid), 9, other);
	process_end(other);
}

static void an_adopted_guest_is_not_ours_to_hand_over(void **state)
{
	pid_t pid = run_guest(10, NULL);
	struct glk_guest *guest = NULL;

	(void)state;
	assert_int_equal(glk_guest_adopt(context, guest_uuid(10), &guest), 0);
	assert_int_equal(glk_guest_fd(guest), -ENODATA);
	assert_int_equal(glk_guest_inherit(guest), -ENODATA);
	assert_int_equal(glk_guest_handed_over(guest), -ENODATA);
	assert_int_equal(guest_add(guest, "/x", 0), -EALREADY);
	assert_int_equal(glk_guest_acquire(guest), -EALREADY);
	glk_guest_free(guest);
	process_end(pid);
}

static void our_own_process_may_be_the_guest(void **state)
{
	const char *path = kit_file("self", 0);
	struct glk_guest *self =
		guest_describe(context, GLK_HOLDER_SELF, guest_uuid(11), NULL);
	struct glk_guest *same = NULL;

	(void)state;
	assert_int_equal(glk_guest_acquire(self), 0);
	assert_adopts(guest_uuid(11), 11, getpid());
	assert_int_equal(glk_guest_adopt(context, guest_uuid(11), &same), 0);
	assert_int_equal(guest_attach(same, path, 0), 0);
	glk_guest_free(same);
	assert_held(path);
	glk_guest_free(self);
	assert_free(path);
}

static void what_we_adopt_we_do_not_keep_alive(void **state)
{
	const char *path = kit_file("dead", 0);
	struct kit_guest g = kit_run(context, 12, path, 0);

	(void)state;
	process_end(g.pid);
	assert_true(test_becomes_free(path, 5000));
	glk_guest_free(g.guest);
}

/* The other one moved: it would take a walk over all processes to find it. */
static void without_time_who_has_not_moved_is_found(void **state)
{
	struct glk_guest *self =
		guest_describe(context, GLK_HOLDER_SELF, guest_uuid(13),
			       guest_name("quick"));
	pid_t pid = run_guest(14, guest_name("moved"));

	(void)state;
	assert_int_equal(glk_guest_acquire(self), 0);
	glk_context_set_timeout(context, 0);
	assert_false(look_is_late(context));
	assert_int_equal(adopt(guest_uuid(13)), 0);
	assert_int_equal(adopt(guest_name("quick")), 0);
	assert_int_equal(adopt(number(getpid())), 0);
	assert_int_equal(adopt(guest_uuid(14)), -ETIME);
	assert_says(context, "cannot look into the guest");
	glk_guest_free(self);
	process_end(pid);
}

static void lock(int fd, long byte, short type)
{
	struct flock lock = { .l_type = type, .l_start = byte, .l_len = 1 };

	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
}

/* The locks that make a role, see core/lease/handover.h. */
static void play(struct glk_guest *guest, enum role role)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
	int fd;

	assert_int_equal(capsule_list(guest->capsule, UINT64_MAX, &contents),
			 0);
	assert_int_equal(contents.n_leases, 1);
	fd = contents.leases[0].fds[0];
	if (role == ROLE_INCOMING)
		lock(fd, LOCK_BYTE_SUCCESSOR, F_WRLCK);
	if (role == ROLE_PREPARED)
		lock(fd, LOCK_BYTE_WRITER, F_WRLCK);
	if (role == ROLE_PREPARED || role == ROLE_LEFT)
		lock(fd, LOCK_BYTE_PREDECESSOR, F_WRLCK);
	if (role != ROLE_OWNER)
		lock(fd, LOCK_BYTE_OWNER, F_RDLCK);
	capsule_contents_done(&contents);
}

struct actor {
	enum role role; /* NONE: without a disk */
	uint64_t tag;
	pid_t pid;
};

/* Run guests that have one uuid and one name. */
static void run_actors(unsigned uuid, struct actor *actors, size_t n)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;

	config.uuid = guest_uuid(uuid);
	config.name = guest_name("actor");
	for (size_t i = 0; i < n; i++) {
		struct glk_guest *guest = NULL;

		config.tag = actors[i].tag;
		assert_int_equal(glk_guest_new(context, &config, &guest), 0);
		if (actors[i].role)
			assert_int_equal(guest_add(guest,
						   kit_file(number((long)i), 0),
						   0),
					 0);
		assert_int_equal(glk_guest_acquire(guest), 0);
		if (actors[i].role)
			play(guest, actors[i].role);
		actors[i].pid = guest_fork(guest);
	}
}

static void end_actors(struct actor *actors, size_t n)
{
	for (size_t i = 0; i < n; i++)
		process_end(actors[i].pid);
}

/* Return: the pid of who is found, or negative errno. */
static pid_t select_guest(const char *who, unsigned roles, uint64_t tag)
{
	const struct glk_selection selection = { .who = who,
						 .roles = roles,
						 .tag = tag };
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;
	pid_t pid;
	int r = glk_guest_select(context, &selection, &guest);

	assert_int_equal(r != 0, guest == NULL);
	if (r)
		return r;
	assert_int_equal(glk_guest_info(guest, &info), 0);
	pid = info->pid;
	glk_guest_free(guest);
	return pid;
}

#define BIT(_role) (1U << (_role))

static void a_role_chooses_among_those_of_one_uuid(void **state)
{
	struct actor actors[] = { { .role = ROLE_PREPARED },
				  { .role = ROLE_INCOMING },
				  { .role = ROLE_NONE } };
	const char *const whos[] = { guest_uuid(17), guest_name("actor") };

	(void)state;
	run_actors(17, actors, 3);
	for (size_t i = 0; i < 2; i++) {
		const char *who = whos[i];

		assert_int_equal(select_guest(who, BIT(GLK_ROLE_PREPARED), 0),
				 actors[0].pid);
		assert_int_equal(select_guest(who,
					      BIT(GLK_ROLE_OWNER) |
						      BIT(GLK_ROLE_PREPARED) |
						      BIT(GLK_ROLE_LEFT),
					      0),
				 actors[0].pid);
		assert_int_equal(select_guest(who,
					      BIT(GLK_ROLE_INCOMING) |
						      BIT(GLK_ROLE_ARRIVED),
					      0),
				 actors[1].pid);
		assert_int_equal(select_guest(who,
					      BIT(GLK_ROLE_PREPARED) |
						      BIT(GLK_ROLE_INCOMING),
					      0),
				 -ENOTUNIQ);
		assert_says(context, "2 guests are called");
		assert_int_equal(select_guest(who, 0, 0), -ENOTUNIQ);
		assert_says(context, "3 guests are called");
		assert_int_equal(select_guest(who, BIT(GLK_ROLE_ARRIVED), 0),
				 -ESRCH);
		assert_says(context, "in such a role is running");
	}
	end_actors(actors, 3);
}

static void of_one_alone_the_role_is_not_asked(void **state)
{
	struct actor actor = { .role = ROLE_OWNER };

	(void)state;
	run_actors(18, &actor, 1);
	assert_int_equal(select_guest(guest_uuid(18), BIT(GLK_ROLE_LEFT), 0),
			 actor.pid);
	end_actors(&actor, 1);
	assert_int_equal(select_guest(guest_uuid(18), BIT(GLK_ROLE_LEFT), 0),
			 -ESRCH);
}

static void a_tag_chooses_whoever_else_fits(void **state)
{
	struct actor actors[] = { { .role = ROLE_OWNER, .tag = 41 },
				  { .role = ROLE_OWNER, .tag = 42 },
				  { .role = ROLE_NONE } };

	(void)state;
	run_actors(19, actors, 3);
	assert_int_equal(select_guest(guest_uuid(19), 0, 41), actors[0].pid);
	assert_int_equal(select_guest(guest_name("actor"), 0, 42),
			 actors[1].pid);
	assert_int_equal(select_guest(number(actors[1].pid), 0, 42),
			 actors[1].pid);
	assert_int_equal(select_guest(number(actors[0].pid), 0, 42), -ESRCH);
	assert_int_equal(select_guest(guest_uuid(19), BIT(GLK_ROLE_LEFT), 42),
			 actors[1].pid);
	assert_int_equal(select_guest(guest_uuid(19), 0, 43), -ESRCH);
	assert_says(context, "with tag 2b is running");
	assert_int_equal(select_guest(guest_uuid(17), 0, 42), -ESRCH);
	assert_int_equal(select_guest(guest_uuid(19), BIT(GLK_ROLE_OWNER), 0),
			 -ENOTUNIQ);
	end_actors(actors, 3);
}

static void who_ends_while_roles_are_read_fits_no_more(void **state)
{
	struct actor actors[] = { { .role = ROLE_OWNER },
				  { .role = ROLE_OWNER } };

	(void)state;
	run_actors(20, actors, 2);
	list_fails_for = actors[0].pid;
	list_result = CAPSULE_E_GONE;
	assert_int_equal(select_guest(guest_uuid(20), BIT(GLK_ROLE_LEFT), 0),
			 actors[1].pid);
	/* It could be the one, but nobody can say. */
	list_result = CAPSULE_E_BUSY;
	assert_int_equal(select_guest(guest_uuid(20), BIT(GLK_ROLE_OWNER), 0),
			 actors[1].pid);
	assert_int_equal(select_guest(guest_uuid(20), BIT(GLK_ROLE_LEFT), 0),
			 -ETIME);
	assert_says(context, "cannot look into the guest");
	list_fails_for = 0;
	end_actors(actors, 2);
}

static void nonsense_selects_nobody(void **state)
{
	struct glk_selection selection = { .who = guest_uuid(21) };
	struct glk_guest *guest = NULL;

	(void)state;
	selection.roles = BIT(GLK_ROLE_ARRIVED + 1);
	assert_int_equal(glk_guest_select(context, &selection, &guest),
			 -EINVAL);
	assert_says(context, "unknown roles 0x40");
	selection.roles = 0;
	selection.reserved[3] = 1;
	assert_int_equal(glk_guest_select(context, &selection, &guest),
			 -EINVAL);
	assert_says(context, "reserved");
	selection.reserved[3] = 0;
	assert_int_equal(glk_guest_select(context, &selection, &guest), -ESRCH);
	selection.who = "";
	assert_int_equal(glk_guest_select(context, &selection, &guest),
			 -EINVAL);
	selection.who = NULL;
	assert_int_equal(glk_guest_select(context, &selection, &guest),
			 -EINVAL);
	assert_says(context, "no guest is named");
	assert_null(guest);
}

static int claim(void *arg)
{
	struct channel *ready = arg;
	struct glk_guest *mine =
		guest_describe(guest_context(), GLK_HOLDER_SELF, guest_uuid(15),
			       guest_name("claimed"));

	MUST_EQUAL(glk_guest_acquire(mine), 0);
	channel_tell(ready, 0);
	guest_live();
	return 0;
}

static void a_guest_of_another_user_is_not_adopted(void **state)
{
	struct channel ready = channel_new();
	pid_t pid;

	(void)state;
	if (geteuid())
		skip();
	pid = kit_start_as_nobody(claim, &ready);
	channel_reads(&ready);
	assert_int_equal(channel_hear(&ready), 0);
	assert_int_equal(adopt(guest_uuid(15)), -ESRCH);
	assert_int_equal(adopt(guest_name("claimed")), -ESRCH);
	assert_int_equal(adopt(number(pid)), -ESRCH);
	process_end(pid);
	channel_free(&ready);
}

static int adopt_roots(void *arg)
{
	(void)arg;
	context = guest_context();
	MUST_EQUAL(adopt(guest_uuid(16)), -EPERM);
	assert_says(context, "cannot look into the guest");
	glk_context_free(context);
	return 0;
}

static void nobody_adopts_a_guest_of_roots(void **state)
{
	pid_t pid;

	(void)state;
	if (geteuid())
		skip();
	pid = run_guest(16, NULL);
	assert_int_equal(kit_as_nobody(adopt_roots, NULL), 0);
	process_end(pid);
}

struct old_reader {
	struct channel guest, fd, ready;
};

/* Has the capsule open as whoever lists it has it for a moment. */
static int read_for_ever(void *arg)
{
	struct old_reader *reader = arg;
	pid_t pid = channel_hear(&reader->guest);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	MUST(reader_mark() > 0);
	MUST(syscall(SYS_pidfd_getfd, pidfd, channel_hear(&reader->fd), 0) >=
	     0);
	channel_tell(&reader->ready, 0);
	guest_live();
	return 0;
}

static void who_only_reads_is_not_the_guest_though_it_is_older(void **state)
{
	struct old_reader reader = { channel_new(), channel_new(),
				     channel_new() };
	struct glk_context *mine = guest_context();
	const struct glk_guest_info *info = NULL;
	pid_t pid = process_start(read_for_ever, &reader), pids[2];
	struct glk_guest *guest = NULL, *other;
	int fd;

	(void)state;
	for (int i = 0; i < 2; i++) {
		other = guest_describe(mine, GLK_HOLDER_GUEST, guest_uuid(77),
				       guest_name("read"));
		MUST_EQUAL(glk_guest_acquire(other), 0);
		fd = glk_guest_fd(other);
		usleep(20000); /* a tick, so that it is the younger one */
		pids[i] = guest_fork(other);
	}
	channel_tell(&reader.guest, pids[1]);
	channel_tell(&reader.fd, fd);
	assert_int_equal(channel_hear(&reader.ready), 0);
	for (int i = 1; i >= 0; i--) {
		char text[16];

		snprintf(text, sizeof(text), "%d", (int)pids[1]);
		assert_int_equal(glk_guest_adopt(mine, text, &guest), 0);
		assert_int_equal(glk_guest_info(guest, &info), 0);
		assert_int_equal(info->pid, pids[1]);
		glk_guest_free(guest);
		if (i)
			process_end(pids[0]);
	}
	process_end(pids[1]);
	process_end(pid);
	channel_free(&reader.guest);
	channel_free(&reader.fd);
	channel_free(&reader.ready);
	glk_context_free(mine);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(a_guest_is_found_by_uuid_name_and_pid),
	TEST(nothing_else_finds_a_guest),
	TEST(a_guest_that_is_gone_is_not_found),
	TEST(a_name_that_fits_two_names_neither),
	TEST(a_uuid_that_fits_two_names_neither),
	TEST(a_pid_wins_over_a_name_that_is_a_number),
	TEST(an_adopted_guest_is_not_ours_to_hand_over),
	TEST(our_own_process_may_be_the_guest),
	TEST(what_we_adopt_we_do_not_keep_alive),
	TEST(without_time_who_has_not_moved_is_found),
	TEST(a_role_chooses_among_those_of_one_uuid),
	TEST(of_one_alone_the_role_is_not_asked),
	TEST(a_tag_chooses_whoever_else_fits),
	TEST(who_ends_while_roles_are_read_fits_no_more),
	TEST(nonsense_selects_nobody),
	TEST(a_guest_of_another_user_is_not_adopted),
	TEST(nobody_adopts_a_guest_of_roots),
	TEST(who_only_reads_is_not_the_guest_though_it_is_older),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
