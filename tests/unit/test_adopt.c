/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/capsule_kit.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/name.h"
#include "core/capsule/proc.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>

static const uid_t stranger = 54321;

/* Called as soon as others can see the name; NULL: nobody looks. */
static void (*when_bound)(void);

int __real_bind(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len);

int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	int r = __real_bind(fd, addr, len);

	if (!r && when_bound)
		when_bound();
	return r;
}

/* A guest that alone has the capsule, with the disk @name in it. */
struct setting {
	struct capsule_entry entry;
	struct capsule_identity who;
	pid_t guest;
};

static struct setting set_up(const char *name)
{
	struct capsule *capsule = kit_capsule(name);
	struct setting s = {
		.entry = kit_entry(capsule),
		.who = *capsule_identity(capsule),
	};

	kit_park_one(capsule, name, RES_EXCLUSIVE);
	s.guest = kit_guest(capsule);
	s.entry.hint_pid = s.guest;
	capsule_free(capsule);
	return s;
}

static void tear_down(struct setting *s, const char *name)
{
	kit_end(s->guest);
	assert_true(test_becomes_free(test_file(name, -1), 5000));
}

static void check_list(struct capsule *capsule, const char *name)
{
	struct capsule_contents contents = kit_list(capsule);
	struct capsule_lease *lease = kit_find(&contents, name);

	assert_true(lease && lease->held && lease->same_id);
	capsule_contents_done(&contents);
}

static void a_stranger_to_the_guest_learns_everything(void **state)
{
	struct setting s = set_up("learn");
	struct capsule *adopted = NULL;
	uint64_t start;

	(void)state;
	assert_int_equal(kit_adopt(&s.entry, &adopted), 0);
	assert_memory_equal(capsule_identity(adopted), &s.who, sizeof(s.who));
	assert_int_equal(capsule_uid(adopted), geteuid());
	assert_int_equal(capsule_keeper(adopted)->pid, s.guest);
	assert_int_equal(proc_start_time(s.guest, &start), 0);
	assert_true(capsule_keeper(adopted)->start == start);
	assert_int_equal(capsule_fd(adopted), -1);
	assert_true(capsule_readable(adopted));
	assert_true(capsule_is(adopted, &s.entry));
	check_list(adopted, "learn");
	capsule_free(adopted);
	tear_down(&s, "learn");
}

static void disks_are_plugged_in_and_out_through_it(void **state)
{
	struct setting s = set_up("plug");
	struct capsule *adopted = NULL;

	(void)state;
	assert_int_equal(kit_adopt(&s.entry, &adopted), 0);
	kit_park_one(adopted, "plug in", RES_EXCLUSIVE);
	assert_int_equal(kit_park(adopted, "plug many", 400), 0);
	kit_detach(adopted, "plug");
	assert_true(test_becomes_free(test_file("plug", -1), 5000));
	check_list(adopted, "plug in");
	check_list(adopted, "plug many399");
	capsule_free(adopted);
	assert_false(test_lockable(test_file("plug in", -1), F_WRLCK));
	assert_int_equal(kit_locked("plug many", 400), 400);
	tear_down(&s, "plug in");
	assert_true(kit_all_free("plug many", 400));
}

static void an_adopted_capsule_keeps_no_dead_guests_locks(void **state)
{
	struct setting s = set_up("dead guest");
	struct capsule_contents contents;
	struct capsule *adopted = NULL;

	(void)state;
	assert_int_equal(kit_adopt(&s.entry, &adopted), 0);
	check_list(adopted, "dead guest");
	tear_down(&s, "dead guest");
	assert_int_equal(capsule_list(adopted, kit_soon(), &contents),
			 CAPSULE_E_GONE);
	assert_int_equal(capsule_compact(adopted, kit_soon()), CAPSULE_E_GONE);
	assert_int_equal(kit_park(adopted, "gone", 1), CAPSULE_E_GONE);
	assert_true(test_becomes_free(test_file("gone0", -1), 5000));
	capsule_free(adopted);
	assert_int_equal(kit_adopt(&s.entry, &adopted), CAPSULE_E_GONE);
}

static struct uuid newborn;
static unsigned n_newborn_seen;

/* What only the header tells: the identity, which the turn needs, and end A,
   without which nothing is compacted. */
static void adopt_the_newborn(void)
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	struct capsule *adopted = NULL;
	size_t n = 0;
	int turn = -1;

	when_bound = NULL;
	assert_int_equal(capsule_discover(&newborn, &entries, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(kit_adopt(&entries[0], &adopted), 0);
	assert_int_equal(capsule_turn(adopted, kit_soon(), &turn), 0);
	capsule_turn_over(turn);
	assert_int_equal(capsule_compact(adopted, kit_soon()), 0);
	assert_string_equal(capsule_identity(adopted)->name, "newborn");
	capsule_free(adopted);
	n_newborn_seen++;
}

static void whoever_sees_the_name_can_adopt_it_whole(void **state)
{
	struct capsule_identity who = { .name = "newborn", .id = -1 };
	struct capsule *capsule = NULL;

	(void)state;
	assert_int_equal(uuid_generate(&who.uuid), 0);
	newborn = who.uuid;
	when_bound = adopt_the_newborn;
	assert_int_equal(capsule_new(&who, 0, &capsule), 0);
	assert_int_equal(n_newborn_seen, 1);
	capsule_free(capsule);
}

static void adopting_leaves_no_descriptor(void **state)
{
	struct setting s = set_up("no leak");
	unsigned before = test_open_fds();
	struct capsule *adopted = NULL;

	(void)state;
	assert_int_equal(kit_adopt(&s.entry, &adopted), 0);
	/* End A, the identity, a pidfd. */
	assert_int_equal(test_open_fds(), before + 3);
	check_list(adopted, "no leak");
	assert_int_equal(test_open_fds(), before + 3);
	capsule_free(adopted);
	assert_int_equal(test_open_fds(), before);
	tear_down(&s, "no leak");
}

static void the_vmm_adopts_its_own_capsule(void **state)
{
	struct capsule *capsule = kit_capsule("self"), *adopted = NULL;
	struct capsule_entry entry = kit_entry(capsule);

	(void)state;
	kit_park_one(capsule, "self", RES_EXCLUSIVE);
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	assert_int_equal(capsule_keeper(adopted)->pid, getpid());
	check_list(adopted, "self");
	kit_detach(adopted, "self");
	assert_true(test_becomes_free(test_file("self", -1), 5000));
	capsule_free(adopted);
	capsule_free(capsule);
}

/* Until our parent is gone; then die with the one who inherits us. */
static void outlive(pid_t parent)
{
	while (getppid() == parent)
		usleep(1000);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* Its parent is gone, and it has moved the descriptor, too. The parent stays
   until that has been done: the pipe is behind the descriptor, and closed after
   it. */
static int become_daemon(void *arg)
{
	const struct capsule_entry *entry = arg;
	pid_t parent = getpid(), pid;
	int fd, moved[2];
	char c;

	if (pipe(moved))
		_exit(1);
	pid = fork();
	if (pid) {
		close(moved[1]);
		_exit(pid < 0 || read(moved[0], &c, 1) != 0);
	}
	fd = fcntl(entry->hint_fd, F_DUPFD, 200);
	syscall(SYS_close_range, 3, fd - 1, 0);
	outlive(parent);
	for (;;)
		pause();
}

static void a_guest_that_became_a_daemon_is_found(void **state)
{
	struct capsule *capsule = kit_capsule("daemon"), *adopted = NULL;
	struct capsule_entry entry = kit_entry(capsule);
	const struct capsule_keeper *keeper;

	(void)state;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	kit_park_one(capsule, "daemon", RES_EXCLUSIVE);
	assert_int_equal(kit_run(become_daemon, &entry), 0);
	capsule_free(capsule);
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	keeper = capsule_keeper(adopted);
	assert_true(keeper->pid != entry.hint_pid);
	check_list(adopted, "daemon");
	kit_end(keeper->pid);
	assert_true(test_becomes_free(test_file("daemon", -1), 5000));
	capsule_free(adopted);
}

static int exit_at_once(void *arg)
{
	(void)arg;
	return 0;
}

/* Pids as a hint may have them after their reuse. */
static void a_recycled_hint_is_no_obstacle(void **state)
{
	struct setting s = set_up("recycled");
	struct capsule *adopted = NULL, *other = kit_capsule("other");
	struct capsule_entry entry = s.entry;
	pid_t dead = fork();

	(void)state;
	if (!dead)
		_exit(exit_at_once(NULL));
	assert_int_equal(waitpid(dead, NULL, 0), dead);
	for (unsigned i = 0; i < 5; i++) {
		entry = s.entry;
		if (i == 0)
			entry.hint_pid = dead;
		if (i == 1)
			entry.hint_pid = getpid();
		if (i == 2) {
			entry.hint_pid = getpid();
			entry.hint_fd = capsule_fd(other);
		}
		if (i == 3)
			entry.hint_fd = 0;
		if (i == 4)
			entry.hint_pid = 1;
		assert_int_equal(kit_adopt(&entry, &adopted), 0);
		assert_int_equal(capsule_keeper(adopted)->pid, s.guest);
		check_list(adopted, "recycled");
		adopted = capsule_free(adopted);
	}
	entry = s.entry;
	entry.ino ^= 0x40000000;
	assert_int_equal(kit_adopt(&entry, &adopted), CAPSULE_E_GONE);
	capsule_free(other);
	tear_down(&s, "recycled");
}

static void the_guest_is_chosen_before_its_children_and_ourselves(void **state)
{
	struct capsule *capsule = kit_capsule("family"), *adopted = NULL;
	struct capsule_entry entry = kit_entry(capsule);
	pid_t guest, child;

	(void)state;
	guest = kit_guest(capsule);
	usleep(20000); /* start times are in ticks of 10 ms */
	child = kit_guest(capsule);
	entry.hint_pid = 1;
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	assert_int_equal(capsule_keeper(adopted)->pid, guest);
	adopted = capsule_free(adopted);
	entry.hint_pid = child;
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	assert_int_equal(capsule_keeper(adopted)->pid, child);
	capsule_free(adopted);
	kit_end(guest);
	kit_end(child);
	capsule_free(capsule);
}

struct making {
	int ready[2];
	struct capsule_entry entry;
	pid_t guest;
};

/* The maker tells whom it made, and waits to be killed. */
static int make_guest(void *arg)
{
	struct making *m = arg;
	struct capsule *capsule = kit_capsule("orphan");
	int b = capsule_fd(capsule);
	pid_t maker = getpid();

	m->entry = kit_entry(capsule);
	if (kit_park(capsule, "orphan", 400))
		return 1;
	m->guest = fork();
	if (!m->guest) {
		syscall(SYS_close_range, 3, b - 1, 0);
		syscall(SYS_close_range, b + 1, ~0U, 0);
		outlive(maker);
		for (;;)
			pause();
	}
	m->entry.hint_pid = m->guest;
	capsule_let_go(capsule);
	if (write(m->ready[1], m, sizeof(*m)) != sizeof(*m))
		return 1;
	for (;;)
		pause();
}

static void locks_outlive_the_maker_and_end_with_the_guest(void **state)
{
	struct making m, heard;
	struct capsule *adopted = NULL;
	struct capsule_contents contents;
	pid_t maker;

	(void)state;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	assert_int_equal(pipe2(m.ready, O_CLOEXEC), 0);
	maker = fork();
	if (!maker)
		_exit(make_guest(&m));
	assert_int_equal(read(m.ready[0], &heard, sizeof(heard)),
			 sizeof(heard));
	kit_end(maker);
	assert_int_equal(kit_locked("orphan", 400), 400);
	assert_int_equal(kit_adopt(&heard.entry, &adopted), 0);
	contents = kit_list(adopted);
	assert_int_equal(contents.n_leases, 400);
	assert_int_equal(contents.n_dead, 0);
	capsule_contents_done(&contents);
	kit_end(heard.guest);
	assert_true(test_becomes_free(kit_path("orphan", 399), 5000));
	assert_true(kit_all_free("orphan", 400));
	capsule_free(adopted);
	fd_close(m.ready[0]);
	fd_close(m.ready[1]);
}

static void become(uid_t uid)
{
	if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		_exit(99);
	/* Else our own /proc/self is root's. */
	prctl(PR_SET_DUMPABLE, 1);
}

struct telling {
	int pipe[2];
	int options;
};

static void bind_to(int fd, const struct name_parts *parts)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int n = name_format(parts, sun.sun_path + 1, CAPSULE_SOCKNAME_MAX);

	if (n < 0 || bind(fd, (struct sockaddr *)&sun,
			  (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				      1 + (size_t)n)))
		_exit(98);
}

/* A process of @uid with a socket of that name; its entry. */
static pid_t start_forger(uid_t uid, int type, struct capsule_entry *ret_entry)
{
	struct capsule_entry entry = { .uid = (uid_t)-1, .nonce = 42 };
	int pair[2], ready[2];
	struct stat st;
	pid_t pid;

	assert_int_equal(uuid_generate(&entry.uuid), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		become(uid);
		if (socketpair(AF_UNIX, type, 0, pair))
			_exit(97);
		bind_to(pair[1], &(struct name_parts){ entry.uuid, getpid(),
						       pair[1], entry.nonce });
		fstat(pair[1], &st);
		entry.ino = (uint32_t)st.st_ino;
		entry.hint_pid = getpid();
		entry.hint_fd = pair[1];
		if (write(ready[1], &entry, sizeof(entry)) < 0)
			_exit(96);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], ret_entry, sizeof(entry)),
			 sizeof(entry));
	fd_close(ready[0]);
	fd_close(ready[1]);
	return pid;
}

static void a_name_bound_by_another_user_is_forged(void **state)
{
	struct capsule_adopt_config any = { .any_owner = true,
					    .deadline = kit_soon() };
	struct capsule_entry entry, *found = NULL;
	struct capsule_contents contents;
	struct capsule *adopted = NULL;
	pid_t pid = start_forger(stranger, SOCK_SEQPACKET, &entry);
	size_t n = 0;

	(void)state;
	assert_int_equal(kit_adopt(&entry, &adopted), CAPSULE_E_FORGED);
	entry.uid = stranger;
	assert_int_equal(kit_adopt(&entry, &adopted), CAPSULE_E_FORGED);
	/* A kernel that lied would be noticed. */
	entry.uid = 0;
	assert_int_equal(kit_adopt(&entry, &adopted), CAPSULE_E_FORGED);
	assert_int_equal(capsule_adopt(&entry, &any, &adopted),
			 CAPSULE_E_FORGED);
	/* The discovery finds it, and says whose it is. */
	assert_int_equal(capsule_discover(&entry.uuid, &found, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(kit_adopt(&found[0], &adopted), CAPSULE_E_FORGED);
	/* Whoever wants to see it does, and cannot push. */
	assert_int_equal(capsule_adopt(&found[0], &any, &adopted), 0);
	assert_int_equal(capsule_uid(adopted), stranger);
	assert_string_equal(capsule_identity(adopted)->name, "");
	assert_int_equal(capsule_identity(adopted)->id, -1);
	contents = kit_list(adopted);
	assert_int_equal(contents.n_leases, 0);
	capsule_contents_done(&contents);
	assert_int_equal(kit_park(adopted, "refused", 1), CAPSULE_E_FORGED);
	assert_int_equal(capsule_compact(adopted, kit_soon()),
			 CAPSULE_E_FORGED);
	capsule_free(adopted);
	free(found);
	kit_end(pid);
}

static int make_as_somebody_else(void *arg)
{
	int *pair = arg;

	if (seteuid(stranger) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ||
	    seteuid(0))
		return 1;
	return fchown(pair[1], 0, -1);
}

/* Given away: the owner of the file is not who made the socket. */
static void a_socket_that_was_given_away_is_forged(void **state)
{
	struct capsule_entry entry = { .uid = 0,
				       .nonce = 7,
				       .hint_pid = getpid() };
	struct capsule *adopted = NULL;
	struct stat st;
	int pair[2];

	(void)state;
	assert_int_equal(uuid_generate(&entry.uuid), 0);
	assert_int_equal(make_as_somebody_else(pair), 0);
	bind_to(pair[1], &(struct name_parts){ entry.uuid, getpid(), pair[1],
					       entry.nonce });
	assert_int_equal(fstat(pair[1], &st), 0);
	assert_int_equal(st.st_uid, 0);
	entry.ino = (uint32_t)st.st_ino;
	entry.hint_fd = pair[1];
	assert_int_equal(kit_adopt(&entry, &adopted), CAPSULE_E_FORGED);
	fd_close(pair[0]);
	fd_close(pair[1]);
}

static void another_kind_of_socket_is_forged(void **state)
{
	struct capsule *adopted = NULL;
	struct capsule_entry entry;
	pid_t pid;

	(void)state;
	pid = start_forger(0, SOCK_DGRAM, &entry);
	assert_int_equal(kit_adopt(&entry, &adopted), CAPSULE_E_FORGED);
	kit_end(pid);
	pid = start_forger(0, SOCK_STREAM, &entry);
	assert_int_equal(kit_adopt(&entry, &adopted), CAPSULE_E_FORGED);
	kit_end(pid);
}

static void an_entry_must_be_of_this_very_socket(void **state)
{
	struct setting s = set_up("very");
	struct capsule *adopted = NULL;
	struct capsule_entry entry = s.entry;

	(void)state;
	entry.nonce++;
	assert_int_equal(kit_adopt(&entry, &adopted), CAPSULE_E_FORGED);
	entry = s.entry;
	entry.uuid.b[3] ^= 1;
	assert_int_equal(kit_adopt(&entry, &adopted), CAPSULE_E_FORGED);
	/* Of another peer, end A cannot be believed. */
	entry = s.entry;
	entry.peer_ino = entry.ino;
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	check_list(adopted, "very");
	assert_int_equal(kit_park(adopted, "refused", 1), CAPSULE_E_FORGED);
	capsule_free(adopted);
	/* Of an unknown one, it proves itself by the name of its peer. */
	entry = s.entry;
	entry.peer_ino = 0;
	assert_int_equal(kit_adopt(&entry, &adopted), 0);
	assert_int_equal(kit_park(adopted, "proven", 1), 0);
	assert_int_equal(kit_locked("proven", 1), 1);
	capsule_free(adopted);
	tear_down(&s, "very");
}

static int adopt_as_stranger(void *arg)
{
	struct capsule_adopt_config any = { .any_owner = true,
					    .deadline = kit_soon() };
	struct capsule *adopted = NULL;

	become(stranger);
	return capsule_adopt(arg, &any, &adopted);
}

static void a_stranger_may_not_look_into_roots_guests(void **state)
{
	struct setting s = set_up("private");
	struct capsule_entry moved = s.entry;

	(void)state;
	assert_int_equal(kit_run(adopt_as_stranger, &s.entry),
			 CAPSULE_E_DENIED);
	moved.hint_fd = 999;
	assert_int_equal(kit_run(adopt_as_stranger, &moved), CAPSULE_E_DENIED);
	tear_down(&s, "private");
}

/* RLIMIT_NOFILE @limit, and @n disks that were opened before. */
struct poor_user {
	rlim_t limit;
	size_t n;
	struct capsule_parcel *parcels;
	char *path;
};

static void poor_user_new(struct poor_user *p, rlim_t limit, size_t n)
{
	p->limit = limit;
	p->n = n;
	p->parcels = calloc(n, sizeof(*p->parcels));
	p->path = malloc(CAPSULE_PATH_MAX + 1);
	memset(p->path, 'p', CAPSULE_PATH_MAX);
	p->path[CAPSULE_PATH_MAX] = 0;
	for (size_t i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "poor%zu", i);
		/* Within a small limit, one disk must do for many. */
		if (i && n > limit)
			p->parcels[i] = p->parcels[0];
		else
			p->parcels[i] = kit_disk(name, RES_EXCLUSIVE);
		p->parcels[i].path = p->path;
	}
}

static void poor_user_close(struct poor_user *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (!i || p->parcels[i].fds[0] != p->parcels[0].fds[0])
			kit_close(&p->parcels[i]);
}

static void poor_user_done(struct poor_user *p)
{
	poor_user_close(p);
	free(p->parcels);
	free(p->path);
}

/* Return: result of the push, + 100 for what is parked nevertheless. */
static int push_as_poor_user(void *arg)
{
	struct poor_user *p = arg;
	struct rlimit limit = { p->limit, p->limit };
	struct capsule_contents contents;
	struct capsule *capsule;
	int r;

	become(stranger);
	capsule = kit_capsule("poor");
	setrlimit(RLIMIT_NOFILE, &limit);
	r = capsule_push(capsule, p->parcels, p->n, deadline_in_ms(100));
	if (r < 0)
		return 90;
	poor_user_close(p);
	contents = kit_list(capsule);
	if (contents.n_leases != (r ? 0 : p->n))
		return 100 + r;
	capsule_contents_done(&contents);
	return r;
}

static void a_users_limit_in_flight_is_told_and_nothing_parked(void **state)
{
	struct poor_user p;

	(void)state;
	poor_user_new(&p, 400, 1000);
	assert_int_equal(kit_run(push_as_poor_user, &p), CAPSULE_E_INFLIGHT);
	poor_user_done(&p);
	assert_true(kit_all_free("poor", 1));
}

static void two_thousand_disks_of_an_unprivileged_user_fit(void **state)
{
	struct poor_user p;

	(void)state;
	poor_user_new(&p, 8192, 2000);
	assert_int_equal(kit_run(push_as_poor_user, &p), 0);
	poor_user_done(&p);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_stranger_to_the_guest_learns_everything),
	cmocka_unit_test(disks_are_plugged_in_and_out_through_it),
	cmocka_unit_test(an_adopted_capsule_keeps_no_dead_guests_locks),
	cmocka_unit_test(whoever_sees_the_name_can_adopt_it_whole),
	cmocka_unit_test(adopting_leaves_no_descriptor),
	cmocka_unit_test(the_vmm_adopts_its_own_capsule),
	cmocka_unit_test(a_guest_that_became_a_daemon_is_found),
	cmocka_unit_test(a_recycled_hint_is_no_obstacle),
	cmocka_unit_test(the_guest_is_chosen_before_its_children_and_ourselves),
	cmocka_unit_test(locks_outlive_the_maker_and_end_with_the_guest),
	cmocka_unit_test(a_name_bound_by_another_user_is_forged),
	cmocka_unit_test(a_socket_that_was_given_away_is_forged),
	cmocka_unit_test(another_kind_of_socket_is_forged),
	cmocka_unit_test(an_entry_must_be_of_this_very_socket),
	cmocka_unit_test(a_stranger_may_not_look_into_roots_guests),
	cmocka_unit_test(a_users_limit_in_flight_is_told_and_nothing_parked),
	cmocka_unit_test(two_thousand_disks_of_an_unprivileged_user_fit),
};

TEST_MAIN(tests, TEST_NEEDS_ROOT)
