/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/capsule_kit.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"
#include "core/capsule/inside.h"
#include "core/capsule/name.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>

static void a_new_capsule_bears_its_name_and_is_empty(void **state)
{
	struct capsule *capsule = kit_capsule("vm one");
	struct capsule_contents contents = kit_list(capsule);
	struct sockaddr_un sun;
	socklen_t len = sizeof(sun);
	struct name_parts parts;

	(void)state;
	assert_int_equal(contents.n_leases + contents.n_dead +
				 contents.n_garbled,
			 0);
	assert_int_equal(contents.n_messages, 1);
	assert_int_equal(getsockname(capsule_fd(capsule),
				     (struct sockaddr *)&sun, &len),
			 0);
	assert_int_equal(sun.sun_path[0], 0);
	len -= (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1;
	assert_int_equal(name_parse(sun.sun_path + 1, len, &parts), 0);
	assert_int_equal(parts.pid, getpid());
	assert_int_equal(parts.fd, capsule_fd(capsule));
	assert_memory_equal(&parts.uuid, &capsule_identity(capsule)->uuid,
			    sizeof(parts.uuid));
	assert_string_equal(capsule_identity(capsule)->name, "vm one");
	assert_int_equal(capsule_identity(capsule)->maker_pid, getpid());
	assert_true(capsule_identity(capsule)->maker_start > 0);
	assert_int_equal(capsule_uid(capsule), geteuid());
	assert_null(capsule_keeper(capsule));
	assert_true(capsule_readable(capsule));
	capsule_contents_done(&contents);
	capsule_free(capsule);
}

static void the_holder_pid_stands_in_the_name(void **state)
{
	struct capsule_identity who = { .uuid = { { 1 } }, .id = -1 };
	struct capsule *capsule = NULL;
	struct capsule_entry entry;

	(void)state;
	assert_int_equal(capsule_new(&who, 4711, &capsule), 0);
	entry = kit_entry(capsule);
	assert_int_equal(entry.hint_pid, 4711);
	assert_int_equal(entry.hint_fd, capsule_fd(capsule));
	capsule_free(capsule);
}

static void a_nonce_that_is_given_stands_in_the_name_once(void **state)
{
	struct capsule_identity who = {
		.uuid = { { 1 } }, .id = -1, .epoch = 3, .nonce = 4711
	};
	struct capsule *capsule = NULL, *other = NULL;
	int copy;

	(void)state;
	assert_int_equal(capsule_new(&who, 0, &capsule), 0);
	assert_true(kit_entry(capsule).nonce == 4711);
	assert_true(capsule_identity(capsule)->nonce == 4711);
	assert_true(capsule_identity(capsule)->epoch == 3);
	/* Of another descriptor it is another name. */
	assert_int_equal(capsule_new(&who, 0, &other), 0);
	other = capsule_free(other);
	copy = fcntl(capsule_fd(capsule), F_DUPFD_CLOEXEC, 100);
	assert_true(copy >= 100);
	capsule_free(capsule);
	assert_int_equal(capsule_new(&who, 0, &other), -EADDRINUSE);
	assert_null(other);
	close(copy);
	assert_int_equal(capsule_new(&who, 0, &other), 0);
	capsule_free(other);
}

static void a_nonce_is_random_if_none_is_given(void **state)
{
	struct capsule *a = kit_capsule("a"), *b = kit_capsule("b");

	(void)state;
	assert_true(capsule_identity(a)->nonce != capsule_identity(b)->nonce);
	assert_true(kit_entry(a).nonce == capsule_identity(a)->nonce);
	capsule_free(a);
	capsule_free(b);
}

static void everything_is_closed_on_exec(void **state)
{
	struct capsule *capsule;
	unsigned n_new = 0;
	uint64_t open = 0;

	(void)state;
	for (int fd = 3; fd < 64; fd++)
		open |= (uint64_t)(fcntl(fd, F_GETFD) >= 0) << fd;
	capsule = kit_capsule("");
	for (int fd = 3; fd < 64; fd++) {
		int flags = fcntl(fd, F_GETFD);

		if (flags < 0 || open >> fd & 1)
			continue;
		assert_int_equal(flags, FD_CLOEXEC);
		n_new++;
	}
	assert_int_equal(n_new, 3);
	capsule_free(capsule);
}

static void a_bad_identity_is_refused(void **state)
{
	struct capsule_identity who = { .id = -1 };
	struct capsule *capsule = NULL;

	(void)state;
	assert_int_equal(capsule_new(&who, 0, &capsule), -EINVAL);
	who.uuid.b[0] = 1;
	strcpy(who.name, "one\ntwo");
	assert_int_equal(capsule_new(&who, 0, &capsule), -EINVAL);
	memset(who.name, 'x', sizeof(who.name));
	assert_int_equal(capsule_new(&who, 0, &capsule), -EINVAL);
	who.name[0] = 0;
	who.holder = (enum capsule_holder)17;
	assert_int_equal(capsule_new(&who, 0, &capsule), -EINVAL);
	assert_null(capsule);
}

static void no_descriptor_is_left_behind(void **state)
{
	unsigned before = test_open_fds();
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;

	(void)state;
	assert_int_equal(kit_park(capsule, "leak", 300), 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 300);
	capsule_contents_done(&contents);
	capsule_contents_done(&contents);
	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	capsule_free(capsule);
	capsule_free(NULL);
	assert_int_equal(test_open_fds(), before);
}

static void a_lease_comes_back_as_it_was_parked(void **state)
{
	struct capsule_parcel p = kit_disk("as it was", RES_SHARED);
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;
	struct capsule_lease *lease;

	(void)state;
	p.scope = RES_SCOPE_SERVER;
	p.type = RES_TYPE_LEASE;
	assert_int_equal(capsule_push(capsule, &p, 1, kit_soon()), 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 1);
	lease = &contents.leases[0];
	assert_true(lease->held);
	assert_true(lease->same_id);
	assert_int_equal(lease->n_fds, 1);
	assert_int_equal(lease->type, RES_TYPE_LEASE);
	assert_int_equal(lease->mode, RES_SHARED);
	assert_int_equal(lease->scope, RES_SCOPE_SERVER);
	assert_true(res_id_equal(lease->id, p.id));
	assert_true(lease->since == p.since);
	assert_string_equal(lease->path, p.path);
	assert_int_equal(fcntl(lease->fds[0], F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fcntl(lease->fds[0], F_GETFD), FD_CLOEXEC);
	capsule_contents_done(&contents);
	kit_close(&p);
	capsule_free(capsule);
}

static void locks_live_in_the_queue_alone(void **state)
{
	struct capsule *capsule = kit_capsule("");

	(void)state;
	kit_park_one(capsule, "alone", RES_EXCLUSIVE);
	assert_false(test_lockable(test_file("alone", -1), F_RDLCK));
	capsule_free(capsule);
	assert_true(test_becomes_free(test_file("alone", -1), 5000));
}

static void check_park(size_t n)
{
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;

	assert_int_equal(kit_park(capsule, "many", n), 0);
	assert_int_equal(kit_locked("many", n), n);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, n);
	assert_int_equal(contents.n_dead + contents.n_garbled, 0);
	assert_int_equal(contents.n_messages, n ? 2 : 1);
	for (size_t i = 0; i < n; i++) {
		assert_true(contents.leases[i].held);
		assert_string_equal(contents.leases[i].path,
				    kit_path("many", i));
	}
	capsule_contents_done(&contents);
	capsule_free(capsule);
	assert_true(kit_all_free("many", n));
}

static void any_number_of_disks_is_parked_in_one_send(void **state)
{
	(void)state;
	check_park(0);
	check_park(1);
	check_park(252);
	check_park(253);
	check_park(254);
	check_park(505);
	check_park(2000);
}

static void a_capsule_that_is_ours_alone_is_filled_in_any_number(void **state)
{
	static const size_t sizes[] = { 1, 253, 254, 2000 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct capsule *capsule = kit_capsule("");
		struct capsule_contents contents;
		size_t n = sizes[i];

		assert_int_equal(kit_fill(capsule, "fill", n), 0);
		assert_int_equal(kit_locked("fill", n), n);
		contents = kit_list(capsule);
		assert_int_equal(contents.n_leases, n);
		assert_int_equal(contents.n_dead + contents.n_garbled, 0);
		capsule_contents_done(&contents);
		capsule_let_go(capsule);
		assert_int_equal(kit_fill(capsule, "late", 1), CAPSULE_E_GONE);
		capsule_free(capsule);
		assert_true(kit_all_free("fill", n));
	}
}

static void a_lease_may_have_several_lock_points(void **state)
{
	struct capsule_parcel p = kit_disk("point0", RES_EXCLUSIVE);
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;

	(void)state;
	for (unsigned i = 1; i < CAPSULE_POINTS_MAX; i++) {
		static const char *const names[] = { "", "point1", "point2",
						     "point3" };

		p.fds[i] = kit_disk(names[i], RES_EXCLUSIVE).fds[0];
		p.n_fds++;
	}
	assert_int_equal(capsule_push(capsule, &p, 1, kit_soon()), 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 1);
	assert_int_equal(contents.leases[0].n_fds, CAPSULE_POINTS_MAX);
	assert_true(contents.leases[0].held);
	assert_true(res_id_equal(contents.leases[0].id, p.id));
	/* One of them is enough to be no longer held, but not to be dead. */
	assert_int_equal(fcntl(p.fds[2], F_OFD_SETLK,
			       &(struct flock){ .l_type = F_UNLCK,
						.l_len = 1 }),
			 0);
	capsule_contents_done(&contents);
	contents = kit_list(capsule);
	assert_false(contents.leases[0].held);
	assert_int_equal(contents.n_dead, 0);
	assert_int_equal(capsule_unlock(&contents.leases[0]), 0);
	capsule_contents_done(&contents);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_dead, 1);
	assert_true(test_becomes_free(test_file("point3", -1), 5000));
	capsule_contents_done(&contents);
	kit_close(&p);
	capsule_free(capsule);
}

static void leases_of_four_points_are_never_torn_apart(void **state)
{
	enum { N = 150 };
	struct capsule_parcel parcels[N];
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;
	char name[32];

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "quad%u", i);
		parcels[i] = kit_disk(name, RES_SHARED);
		parcels[i].path = test_file("quad", -1);
		for (unsigned k = 1; k < 4; k++)
			parcels[i].fds[k] =
				fcntl(parcels[i].fds[0], F_DUPFD_CLOEXEC, 0);
		parcels[i].n_fds = 4;
	}
	assert_int_equal(capsule_push(capsule, parcels, N, kit_soon()), 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, N);
	for (unsigned i = 0; i < N; i++) {
		assert_true(contents.leases[i].held);
		assert_int_equal(contents.leases[i].n_fds, 4);
		kit_close(&parcels[i]);
	}
	capsule_contents_done(&contents);
	capsule_free(capsule);
}

static void the_longest_paths_of_two_thousand_disks_fit(void **state)
{
	enum { N = 2000 };
	struct capsule_parcel *parcels = calloc(N, sizeof(*parcels));
	struct capsule *capsule = kit_capsule("");
	char *path = malloc(CAPSULE_PATH_MAX + 2);
	struct capsule_contents contents;

	(void)state;
	memset(path, 'p', CAPSULE_PATH_MAX + 1);
	path[CAPSULE_PATH_MAX + 1] = 0;
	for (unsigned i = 0; i < N; i++) {
		char name[16];

		snprintf(name, sizeof(name), "long%u", i);
		parcels[i] = kit_disk(name, RES_EXCLUSIVE);
		parcels[i].path = path;
	}
	assert_int_equal(capsule_push(capsule, parcels, 1, kit_soon()),
			 -EINVAL);
	path[CAPSULE_PATH_MAX] = 0;
	assert_int_equal(capsule_push(capsule, parcels, N, kit_soon()), 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, N);
	assert_int_equal(strlen(contents.leases[N - 1].path), CAPSULE_PATH_MAX);
	capsule_contents_done(&contents);
	for (unsigned i = 0; i < N; i++)
		kit_close(&parcels[i]);
	free(parcels);
	free(path);
	capsule_free(capsule);
}

static void senseless_parcels_park_nothing(void **state)
{
	struct capsule_parcel good = kit_disk("good", RES_EXCLUSIVE), bad[2];
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		bad[0] = bad[1] = good;
		if (i == 0)
			bad[1].n_fds = 0;
		if (i == 1)
			bad[1].n_fds = CAPSULE_POINTS_MAX + 1;
		if (i == 2)
			bad[1].path = "";
		if (i == 3)
			bad[1].path = NULL;
		if (i == 4)
			bad[1].type = _RES_TYPE_NONE;
		if (i == 5)
			bad[1].scope = (enum res_scope)99;
		assert_int_equal(capsule_push(capsule, bad, 2, kit_soon()),
				 -EINVAL);
	}
	bad[0].fds[0] = -1;
	assert_int_equal(capsule_push(capsule, bad, 1, kit_soon()), -EBADF);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_messages, 1);
	capsule_contents_done(&contents);
	kit_close(&good);
	capsule_free(capsule);
}

static void unlocking_frees_the_guests_own_lock_and_compaction_the_file(
	void **state)
{
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;
	struct capsule_lease *lease;

	(void)state;
	assert_int_equal(kit_park(capsule, "out", 3), 0);
	contents = kit_list(capsule);
	lease = kit_find(&contents, "out1");
	assert_non_null(lease);
	assert_int_equal(capsule_unlock(lease), 0);
	assert_int_equal(capsule_unlock(lease), 0);
	capsule_contents_done(&contents);
	assert_true(test_becomes_free(kit_path("out", 1), 5000));
	assert_false(test_lockable(kit_path("out", 0), F_WRLCK));

	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 2);
	assert_int_equal(contents.n_dead, 1);
	assert_null(kit_find(&contents, "out1"));
	assert_true(kit_find(&contents, "out2")->held);
	capsule_contents_done(&contents);

	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 2);
	assert_int_equal(contents.n_dead, 0);
	assert_int_equal(contents.n_messages, 2);
	assert_null(kit_find(&contents, "out1"));
	assert_int_equal(kit_locked("out", 3), 2);

	/* One that is not released but lost is not forgotten. */
	assert_int_equal(fcntl(kit_find(&contents, "out2")->fds[0], F_OFD_SETLK,
			       &(struct flock){ .l_type = F_UNLCK,
						.l_len = 5 }),
			 0);
	capsule_contents_done(&contents);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 2);
	assert_int_equal(contents.n_dead, 1);
	assert_false(kit_find(&contents, "out2")->held);
	capsule_contents_done(&contents);
	capsule_free(capsule);
}

static void a_lock_in_another_mode_is_not_held_and_not_dead(void **state)
{
	struct capsule_parcel p = kit_disk("mode", RES_EXCLUSIVE);
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;

	(void)state;
	assert_int_equal(capsule_push(capsule, &p, 1, kit_soon()), 0);
	assert_int_equal(fcntl(p.fds[0], F_OFD_SETLK,
			       &(struct flock){ .l_type = F_RDLCK,
						.l_len = 1 }),
			 0);
	contents = kit_list(capsule);
	assert_false(contents.leases[0].held);
	assert_int_equal(contents.n_dead, 0);
	capsule_contents_done(&contents);
	kit_close(&p);
	capsule_free(capsule);
}

static void the_successors_byte_keeps_a_record_alive(void **state)
{
	struct capsule_parcel p = kit_disk("successor", RES_EXCLUSIVE);
	struct flock other = { .l_type = F_WRLCK,
			       .l_start = LOCK_BYTE_SUCCESSOR,
			       .l_len = 1 };
	struct flock owner = { .l_type = F_UNLCK, .l_len = 1 };
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;

	(void)state;
	assert_int_equal(fcntl(p.fds[0], F_OFD_SETLK, &other), 0);
	assert_int_equal(fcntl(p.fds[0], F_OFD_SETLK, &owner), 0);
	assert_int_equal(capsule_push(capsule, &p, 1, kit_soon()), 0);
	kit_close(&p);
	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 1);
	assert_false(contents.leases[0].held);
	assert_int_equal(contents.n_dead, 0);
	assert_false(test_byte_lockable(test_file("successor", -1),
					LOCK_BYTE_SUCCESSOR, F_WRLCK));
	assert_int_equal(capsule_unlock(&contents.leases[0]), 0);
	assert_true(test_byte_lockable(test_file("successor", -1),
				       LOCK_BYTE_SUCCESSOR, F_WRLCK));
	capsule_contents_done(&contents);
	capsule_free(capsule);
}

static void a_replaced_file_is_told_by_its_id(void **state)
{
	struct capsule_parcel p = kit_disk("replaced", RES_EXCLUSIVE);
	struct capsule *capsule = kit_capsule("");
	struct res_id real = p.id;
	struct capsule_contents contents;

	(void)state;
	p.id.ino++;
	assert_int_equal(capsule_push(capsule, &p, 1, kit_soon()), 0);
	contents = kit_list(capsule);
	assert_true(contents.leases[0].held);
	assert_false(contents.leases[0].same_id);
	assert_true(res_id_equal(contents.leases[0].id, real));
	capsule_contents_done(&contents);
	kit_close(&p);
	capsule_free(capsule);
}

static void a_disk_that_was_parked_twice_is_listed_once(void **state)
{
	struct capsule_parcel p = kit_disk("twice", RES_EXCLUSIVE);
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;

	(void)state;
	kit_park_one(capsule, "once", RES_SHARED);
	assert_int_equal(capsule_push(capsule, &p, 1, kit_soon()), 0);
	assert_int_equal(capsule_push(capsule, &p, 1, kit_soon()), 0);
	kit_close(&p);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 2);
	assert_int_equal(contents.n_dead, 1);
	capsule_contents_done(&contents);
	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 2);
	assert_int_equal(contents.n_dead, 0);
	assert_false(test_lockable(test_file("twice", -1), F_WRLCK));
	capsule_contents_done(&contents);
	kit_detach(capsule, "twice");
	assert_true(test_becomes_free(test_file("twice", -1), 5000));
	capsule_free(capsule);
}

static void a_detached_disk_can_come_back(void **state)
{
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;
	struct capsule_lease *lease;

	(void)state;
	kit_park_one(capsule, "again", RES_EXCLUSIVE);
	contents = kit_list(capsule);
	assert_int_equal(capsule_unlock(&contents.leases[0]), 0);
	capsule_contents_done(&contents);
	kit_park_one(capsule, "again", RES_EXCLUSIVE);
	/* The dead record does not hide the living one behind it. */
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 1);
	assert_int_equal(contents.n_dead, 1);
	lease = kit_find(&contents, "again");
	assert_true(lease && lease->held);
	capsule_contents_done(&contents);
	capsule_free(capsule);
}

static void a_maker_that_let_go_can_push_but_not_list(void **state)
{
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;
	pid_t guest = kit_guest(capsule);

	(void)state;
	capsule_let_go(capsule);
	assert_int_equal(capsule_fd(capsule), -1);
	assert_false(capsule_readable(capsule));
	kit_park_one(capsule, "let go", RES_EXCLUSIVE);
	assert_false(test_lockable(test_file("let go", -1), F_WRLCK));
	assert_int_equal(capsule_list(capsule, kit_soon(), &contents), -EBADF);
	assert_int_equal(capsule_compact(capsule, kit_soon()), -EBADF);
	kit_end(guest);
	assert_true(test_becomes_free(test_file("let go", -1), 5000));
	assert_int_equal(kit_park(capsule, "too late", 1), CAPSULE_E_GONE);
	assert_int_equal(kit_park(capsule, "too late", 300), CAPSULE_E_GONE);
	capsule_free(capsule);
}

static void set_fd_limit(rlim_t n)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = n;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void a_small_descriptor_table_is_told(void **state)
{
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;
	struct rlimit limit;
	unsigned before;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(kit_park(capsule, "table", 300), 0);
	before = test_open_fds();
	/* Room for a part; room for all, but more than its share. */
	for (unsigned i = 0; i < 3; i++) {
		set_fd_limit((rlim_t[]){ before + 100, before + 290, 390 }[i]);
		assert_int_equal(capsule_list(capsule, kit_soon(), &contents),
				 CAPSULE_E_NOFILE);
		assert_int_equal(capsule_compact(capsule, kit_soon()),
				 CAPSULE_E_NOFILE);
		assert_int_equal(test_open_fds(), before);
	}
	set_fd_limit(limit.rlim_cur);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 300);
	capsule_contents_done(&contents);
	capsule_free(capsule);
}

static void descriptors_are_bounded_over_all_bundles(void **state)
{
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;
	struct rlimit limit;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(kit_park(capsule, "bundle one", 400), 0);
	/* Three quarters are ours: enough for one of them, not for two. */
	set_fd_limit(1000);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 400);
	capsule_contents_done(&contents);
	set_fd_limit(limit.rlim_cur);
	assert_int_equal(kit_park(capsule, "bundle two", 400), 0);
	set_fd_limit(1000);
	assert_int_equal(capsule_list(capsule, kit_soon(), &contents),
			 CAPSULE_E_NOFILE);
	set_fd_limit(limit.rlim_cur);
	assert_int_equal(capsule_repack(capsule, kit_soon(), true), 0);
	assert_int_equal(kit_park(capsule, "bundle three", 300), 0);
	set_fd_limit(1250);
	assert_int_equal(capsule_list(capsule, kit_soon(), &contents),
			 CAPSULE_E_NOFILE);
	set_fd_limit(limit.rlim_cur);
	capsule_free(capsule);
}

static void fragments_are_packed(void **state)
{
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;
	char name[32];

	(void)state;
	for (unsigned i = 0; i < 70; i++) {
		snprintf(name, sizeof(name), "fragment%u", i);
		kit_park_one(capsule, name, RES_EXCLUSIVE);
	}
	contents = kit_list(capsule);
	assert_int_equal(contents.n_messages, 71);
	capsule_contents_done(&contents);
	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
	contents = kit_list(capsule);
	assert_int_equal(contents.n_messages, 2);
	assert_int_equal(contents.n_leases, 70);
	capsule_contents_done(&contents);
	assert_int_equal(kit_locked("fragment", 70), 70);
	capsule_free(capsule);
}

static void a_bundle_is_flattened_when_something_is_dead(void **state)
{
	struct capsule *capsule = kit_capsule("");
	struct capsule_contents contents;

	(void)state;
	assert_int_equal(kit_park(capsule, "bundled", 600), 0);
	kit_detach(capsule, "bundled333");
	contents = kit_list(capsule);
	assert_int_equal(contents.n_leases, 599);
	assert_int_equal(contents.n_dead, 0);
	assert_int_equal(contents.n_messages, 1 + 3);
	capsule_contents_done(&contents);
	assert_int_equal(kit_locked("bundled", 600), 599);
	capsule_free(capsule);
}

static void a_full_queue_is_compacted_by_a_push(void **state)
{
	struct capsule *capsule = kit_capsule("");
	struct capsule_parcel p = kit_disk("full", RES_SHARED);
	struct capsule_contents contents;
	size_t n_messages = 0;

	(void)state;
	/* The same lease again and again: all but one of them are spare. */
	for (unsigned n = 0; n < 20000; n++)
		assert_int_equal(capsule_push(capsule, &p, 1, kit_soon()), 0);
	contents = kit_list(capsule);
	n_messages = contents.n_messages;
	assert_int_equal(contents.n_leases, 1);
	capsule_contents_done(&contents);
	printf("%zu of 20000 messages are still there\n", n_messages);
	assert_true(n_messages < 20000);
	kit_close(&p);
	capsule_free(capsule);
}

static void every_code_has_its_words(void **state)
{
	(void)state;
	for (int i = CAPSULE_E_GONE; i <= CAPSULE_E_NOFILE; i++)
		for (int k = i + 1; k <= CAPSULE_E_NOFILE + 1; k++)
			assert_string_not_equal(capsule_strerror(i),
						capsule_strerror(k));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_new_capsule_bears_its_name_and_is_empty),
	cmocka_unit_test(the_holder_pid_stands_in_the_name),
	cmocka_unit_test(everything_is_closed_on_exec),
	cmocka_unit_test(a_nonce_that_is_given_stands_in_the_name_once),
	cmocka_unit_test(a_nonce_is_random_if_none_is_given),
	cmocka_unit_test(a_bad_identity_is_refused),
	cmocka_unit_test(no_descriptor_is_left_behind),
	cmocka_unit_test(a_lease_comes_back_as_it_was_parked),
	cmocka_unit_test(locks_live_in_the_queue_alone),
	cmocka_unit_test(any_number_of_disks_is_parked_in_one_send),
	cmocka_unit_test(a_capsule_that_is_ours_alone_is_filled_in_any_number),
	cmocka_unit_test(a_lease_may_have_several_lock_points),
	cmocka_unit_test(leases_of_four_points_are_never_torn_apart),
	cmocka_unit_test(the_longest_paths_of_two_thousand_disks_fit),
	cmocka_unit_test(senseless_parcels_park_nothing),
	cmocka_unit_test(
		unlocking_frees_the_guests_own_lock_and_compaction_the_file),
	cmocka_unit_test(a_lock_in_another_mode_is_not_held_and_not_dead),
	cmocka_unit_test(the_successors_byte_keeps_a_record_alive),
	cmocka_unit_test(a_replaced_file_is_told_by_its_id),
	cmocka_unit_test(a_disk_that_was_parked_twice_is_listed_once),
	cmocka_unit_test(a_detached_disk_can_come_back),
	cmocka_unit_test(a_maker_that_let_go_can_push_but_not_list),
	cmocka_unit_test(a_small_descriptor_table_is_told),
	cmocka_unit_test(descriptors_are_bounded_over_all_bundles),
	cmocka_unit_test(fragments_are_packed),
	cmocka_unit_test(a_bundle_is_flattened_when_something_is_dead),
	cmocka_unit_test(a_full_queue_is_compacted_by_a_push),
	cmocka_unit_test(every_code_has_its_words),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
