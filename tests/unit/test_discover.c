/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/capsule/capsule.h"

#include "core/base/feature.h"
#include "core/base/util.h"
#include "core/capsule/name.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* Other capsules may be on this host: every test has a uuid of its own. */
static struct name_parts some_name(void)
{
	struct name_parts parts = { .pid = 4711, .fd = 5, .nonce = 0xfeed };

	assert_int_equal(uuid_generate(&parts.uuid), 0);
	return parts;
}

static void bind_bytes(int fd, const char *name, size_t len)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	assert_true(len < sizeof(addr.sun_path));
	memcpy(addr.sun_path + 1, name, len);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr,
			      (socklen_t)(offsetof(struct sockaddr_un,
						   sun_path) +
					  1 + len)),
			 0);
}

static void bind_name(int fd, const struct name_parts *parts)
{
	char name[CAPSULE_SOCKNAME_MAX + 1];
	int len = name_format(parts, name, sizeof(name));

	assert_true(len > 0);
	bind_bytes(fd, name, (size_t)len);
}

static void make_pair(int *sv)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				    sv),
			 0);
}

static int make_socket(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static uint32_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint32_t)st.st_ino;
}

static size_t discover(const struct uuid *uuid,
		       struct capsule_entry **ret_entries)
{
	size_t n = 12345;

	assert_int_equal(capsule_discover(uuid, ret_entries, &n), 0);
	return n;
}

static size_t count_of(const struct uuid *uuid)
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;

	return discover(uuid, &entries);
}

static bool has_peer(void)
{
	return feature_allowed(FEATURE_UNIX_DIAG);
}

static bool has_uid(void)
{
	return has_peer() && feature_allowed(FEATURE_UDIAG_UID);
}

static void a_capsule_is_found_with_all_that_its_name_says(void **state)
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	struct name_parts parts = some_name();
	int sv[2];

	(void)state;
	make_pair(sv);
	bind_name(sv[1], &parts);
	assert_int_equal(discover(&parts.uuid, &entries), 1);
	assert_memory_equal(&entries->uuid, &parts.uuid, sizeof(parts.uuid));
	assert_int_equal(entries->hint_pid, 4711);
	assert_int_equal(entries->hint_fd, 5);
	assert_int_equal(entries->nonce, 0xfeed);
	assert_int_equal(entries->ino, inode_of(sv[1]));
	assert_int_equal(entries->peer_ino, has_peer() ? inode_of(sv[0]) : 0);
	assert_true(entries->uid == (has_uid() ? getuid() : (uid_t)-1));
	close(sv[0]);
	close(sv[1]);
	assert_int_equal(count_of(&parts.uuid), 0);
}

static void nothing_is_an_empty_answer_not_an_error(void **state)
{
	struct name_parts parts = some_name();
	struct capsule_entry *entries = (void *)-1;

	(void)state;
	assert_int_equal(discover(&parts.uuid, &entries), 0);
	free(entries);
}

static void a_capsule_without_peer_is_found(void **state)
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	struct name_parts parts = some_name();
	int sv[2], lone = make_socket(SOCK_SEQPACKET), listener;

	(void)state;
	make_pair(sv);
	bind_name(sv[1], &parts);
	close(sv[0]);
	parts.nonce++;
	bind_name(lone, &parts);
	parts.nonce++;
	listener = make_socket(SOCK_SEQPACKET);
	bind_name(listener, &parts);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(discover(&parts.uuid, &entries), 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(entries[i].peer_ino, 0);
	close(sv[1]);
	close(lone);
	close(listener);
}

static void only_seqpacket_sockets_are_capsules(void **state)
{
	struct name_parts parts = some_name();
	int stream = make_socket(SOCK_STREAM), dgram = make_socket(SOCK_DGRAM);

	(void)state;
	bind_name(stream, &parts);
	bind_name(dgram, &parts);
	assert_int_equal(count_of(&parts.uuid), 0);
	close(stream);
	close(dgram);
}

static void names_that_are_almost_right_are_ignored(void **state)
{
	struct name_parts parts = some_name();
	char name[CAPSULE_SOCKNAME_MAX + 1] = {};
	int padded = make_socket(SOCK_SEQPACKET);
	int upper = make_socket(SOCK_SEQPACKET);
	int future = make_socket(SOCK_SEQPACKET);
	size_t len;

	(void)state;
	len = (size_t)name_format(&parts, name, sizeof(name));
	bind_bytes(padded, name, len + 1);
	name[len - 1] = 'D'; /* …feed */
	bind_bytes(upper, name, len);
	name[len - 1] = 'd';
	name[strlen("guestlock/")] = '2';
	bind_bytes(future, name, len);
	assert_int_equal(count_of(&parts.uuid), 0);
	close(padded);
	close(upper);
	close(future);
}

/* The very text of a name, but as a path: no NUL byte before it. */
static void a_socket_on_a_path_is_no_capsule(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct name_parts parts = some_name();
	int fd = make_socket(SOCK_SEQPACKET);
	char *slash = addr.sun_path;

	(void)state;
	assert_true(name_format(&parts, addr.sun_path, sizeof(addr.sun_path)) >
		    0);
	assert_int_equal(chdir(test_dir()), 0);
	while ((slash = strchr(slash, '/'))) {
		*slash = '\0';
		assert_true(!mkdir(addr.sun_path, 0700) || errno == EEXIST);
		*slash++ = '/';
	}
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(count_of(&parts.uuid), 0);
	close(fd);
}

static void a_uuid_selects_its_own_capsules(void **state)
{
	struct name_parts a = some_name(), b = some_name();
	_cleanup_(freep) struct capsule_entry *all = NULL;
	int va[2], vb[2];
	size_t n, seen = 0;

	(void)state;
	make_pair(va);
	make_pair(vb);
	bind_name(va[1], &a);
	bind_name(vb[1], &b);
	assert_int_equal(count_of(&a.uuid), 1);
	assert_int_equal(count_of(&b.uuid), 1);
	n = discover(NULL, &all);
	for (size_t i = 0; i < n; i++)
		if (!memcmp(&all[i].uuid, &a.uuid, sizeof(a.uuid)) ||
		    !memcmp(&all[i].uuid, &b.uuid, sizeof(b.uuid)))
			seen++;
	assert_int_equal(seen, 2);
	for (int i = 0; i < 2; i++) {
		close(va[i]);
		close(vb[i]);
	}
}

#define MANY 400

/* More than one message of the dump, and the array has to grow. */
static void many_capsules_are_all_found_once(void **state)
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	struct name_parts parts = some_name();
	static bool seen[MANY];
	static int sv[MANY][2];

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		make_pair(sv[i]);
		parts.nonce = i;
		bind_name(sv[i][1], &parts);
	}
	assert_int_equal(discover(&parts.uuid, &entries), MANY);
	for (unsigned i = 0; i < MANY; i++) {
		assert_true(entries[i].nonce < MANY);
		assert_false(seen[entries[i].nonce]);
		seen[entries[i].nonce] = true;
		assert_int_equal(entries[i].ino,
				 inode_of(sv[entries[i].nonce][1]));
		assert_true(!i || entries[i - 1].ino < entries[i].ino);
	}
	for (unsigned i = 0; i < MANY; i++) {
		close(sv[i][0]);
		close(sv[i][1]);
	}
}

/* No name twice: who reads /proc/PID/fd/N delays the end of a socket. */
static void churn(void)
{
	static int sv[400][2];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i = 0;; i++) {
		struct sockaddr_un addr = { .sun_family = AF_UNIX };
		int *pair = sv[i % ARRAY_SIZE(sv)];

		if (pair[0]) {
			close(pair[0]);
			close(pair[1]);
		}
		snprintf(addr.sun_path + 1, 32, "churn-%d-%u", getpid(), i);
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
			       pair) ||
		    bind(pair[1], (struct sockaddr *)&addr, sizeof(addr)))
			_exit(1);
	}
}

/* One dump by the kernel does miss some, see discover.c. */
static void nothing_is_missed_while_others_come_and_go(void **state)
{
	struct name_parts parts = some_name();
	int looks = has_peer() ? 100 : 20;
	static int sv[MANY][2];
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (!pid)
		churn();
	for (unsigned i = 0; i < MANY; i++) {
		make_pair(sv[i]);
		parts.nonce = i;
		bind_name(sv[i][1], &parts);
	}
	for (int i = 0; i < looks; i++)
		assert_int_equal(count_of(&parts.uuid), MANY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (unsigned i = 0; i < MANY; i++) {
		close(sv[i][0]);
		close(sv[i][1]);
	}
}

static void looking_opens_nothing_for_good(void **state)
{
	struct name_parts parts = some_name();
	unsigned before = test_open_fds();
	int sv[2];

	(void)state;
	make_pair(sv);
	bind_name(sv[1], &parts);
	for (int i = 0; i < 20; i++)
		assert_int_equal(count_of(&parts.uuid), 1);
	assert_int_equal(test_open_fds(), before + 2);
	close(sv[0]);
	close(sv[1]);
}

static void make_as(uid_t uid, const struct name_parts *parts, int pipe_fd)
{
	int sv[2];

	if (setresuid(uid, uid, uid))
		_exit(1);
	make_pair(sv);
	bind_name(sv[1], parts);
	(void)!write(pipe_fd, "x", 1);
	pause();
	_exit(0);
}

static void the_owner_is_who_made_the_socket(void **state)
{
	_cleanup_(freep) struct capsule_entry *entries = NULL;
	uid_t uid = geteuid() ? getuid() : 54321;
	struct name_parts parts = some_name();
	int ready[2];
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		make_as(uid, &parts, ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(discover(&parts.uuid, &entries), 1);
	assert_true(entries->uid == (has_uid() ? uid : (uid_t)-1));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ready[0]);
}

/* Anybody may bind any name, also one that looks like lines of text. */
static void a_hostile_name_breaks_nothing(void **state)
{
	struct name_parts parts = some_name();
	int fd = make_socket(SOCK_SEQPACKET), sv[2];
	char evil[CAPSULE_SOCKNAME_MAX + 1], uuid[UUID_STRLEN + 1];
	int len = snprintf(evil, sizeof(evil),
			   "%.8s\n0000: 02 00 00 0005 03 1 @guestlock/1/%s/\n\n"
			   "\xff %%s%%n @",
			   uuid_format(&parts.uuid, uuid), uuid);

	(void)state;
	bind_bytes(fd, evil, (size_t)len);
	make_pair(sv);
	bind_name(sv[1], &parts);
	assert_int_equal(count_of(&parts.uuid), 1);
	close(fd);
	close(sv[0]);
	close(sv[1]);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_capsule_is_found_with_all_that_its_name_says),
	cmocka_unit_test(nothing_is_an_empty_answer_not_an_error),
	cmocka_unit_test(a_capsule_without_peer_is_found),
	cmocka_unit_test(only_seqpacket_sockets_are_capsules),
	cmocka_unit_test(names_that_are_almost_right_are_ignored),
	cmocka_unit_test(a_socket_on_a_path_is_no_capsule),
	cmocka_unit_test(a_uuid_selects_its_own_capsules),
	cmocka_unit_test(many_capsules_are_all_found_once),
	cmocka_unit_test(nothing_is_missed_while_others_come_and_go),
	cmocka_unit_test(looking_opens_nothing_for_good),
	cmocka_unit_test(the_owner_is_who_made_the_socket),
	cmocka_unit_test(a_hostile_name_breaks_nothing),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
