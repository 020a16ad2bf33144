/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/where.h"
#include "tests/unit/lib_kit.h"

#include "core/base/clock.h"
#include "core/base/util.h"
#include "tests/lib/slowfs.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * The library on a file system that answers late or never, however the path
 * gets there. What is asserted is that a call ends at all: the server hangs
 * until the test lets it go, so a thread that waits for it waits for ever.
 */
#define SOON_MS 25

/* The linker sends the library's engine_run() here (--wrap). */
int __real_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);
int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);

static void (*before_open)(void); /* once */

int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline)
{
	void (*fn)(void) = before_open;

	if (fn && n && ops->kind == OP_OPEN) {
		before_open = NULL;
		fn();
	}
	return __real_engine_run(engine, ops, n, deadline);
}

static struct slowfs *fs;
static struct slowfs_knobs *knobs;
static struct glk_context *context;
static struct glk_guest *guest;

static int start(void **state)
{
	(void)state;
	if (!fs) {
		fs = slowfs_start(test_file("slow", -1));
		knobs = slowfs_knobs(fs);
	}
	context = guest_context();
	guest = kit_self(context);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	slowfs_calm(fs);
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

static const char *link_to(const char *name, unsigned disk)
{
	const char *link = test_file(name, -1);

	unlink(link);
	assert_int_equal(symlink(slowfs_path(fs, disk), link), 0);
	return link;
}

static void a_link_is_followed_without_waiting(void **state)
{
	const char *link = link_to("to-slow", 1);
	struct where where = {};

	(void)state;
	assert_int_equal(where_flags(context, slowfs_path(fs, 1)), OP_REMOTE);
	assert_int_equal(where_flags(context, link), 0);
	knobs->hang_stat = knobs->hang_open = true;
	assert_int_equal(where_path(context, link, &where), 0);
	assert_true(where.kind.remote);
	assert_true(S_ISREG(where.mode));
	assert_string_equal(where.kind.fs, "fuse.slowfs");
}

static void mount_hanging(void)
{
	fs = slowfs_start(test_file("slow", -1));
	knobs = slowfs_knobs(fs);
	knobs->hang_lock = true;
}

/* As autofs does, on a host that has nothing else that is remote. */
static void what_is_mounted_when_it_is_opened_may_hang(void **state)
{
	const char *const paths[] = { slowfs_path(fs, 1), kit_file("here", 0) };

	(void)state;
	glk_context_set_timeout(context, SOON_MS);
	for (size_t n = 1; n <= ARRAY_SIZE(paths); n++) {
		fs = slowfs_stop(fs);
		before_open = mount_hanging;
		assert_int_equal(kit_attach(guest, paths, n), -ETIME);
		assert_null(before_open);
		slowfs_calm(fs);
	}
}

/* Six ways to get there; the last two share a directory with local disks. */
static const char *way(unsigned i)
{
	static char buf[PATH_MAX];

	snprintf(buf, sizeof(buf), "%s/../%s/disk2", slowfs_dir(fs),
		 strrchr(slowfs_dir(fs), '/') + 1);
	switch (i) {
	case 0:
		return slowfs_path(fs, 2);
	case 1:
		return buf;
	case 2:
		return "disk2";
	case 3:
		return "./disk2";
	case 4:
		return link_to("link-2", 2);
	default:
		return link_to("link-2-too", 2);
	}
}

/* Beside local disks of a directory that they share. */
static int attach_beside(unsigned i)
{
	const char *paths[] = { test_file("local-a", 0),
				test_file("local-b", 0), way(i) };
	int r;

	usleep(10000); /* so that the directory is old enough to be believed */
	r = kit_attach(guest, paths, 3);
	if (r) {
		assert_free(paths[0]);
		assert_free(paths[1]);
	}
	return r;
}

static void take_and_give_back(unsigned i)
{
	assert_int_equal(attach_beside(i), 0);
	assert_int_equal(kit_try(context, slowfs_path(fs, 2), 0), -EBUSY);
	assert_int_equal(guest_detach(guest, way(i)), 0);
	assert_int_equal(kit_try(context, slowfs_path(fs, 2), 0), 0);
	guest_detach(guest, test_file("local-a", -1));
	guest_detach(guest, test_file("local-b", -1));
}

static void each_way_ends(atomic_bool *hang, unsigned step)
{
	char old[PATH_MAX];

	assert_non_null(getcwd(old, sizeof(old)));
	assert_int_equal(chdir(slowfs_dir(fs)), 0);
	for (unsigned i = 0; i < 6; i += step) {
		glk_context_set_timeout(context, SOON_MS);
		*hang = true;
		assert_int_equal(guest_attach(guest, way(i), 0), -ETIME);
		assert_int_equal(attach_beside(i), -ETIME);
		assert_says(context, "did not answer within the time limit");
		slowfs_calm(fs);
		glk_context_set_timeout(context, 30000);
		take_and_give_back(i);
	}
	assert_int_equal(chdir(old), 0);
}

static void a_directory_may_be_a_link(void **state)
{
	const char *paths[] = { test_file("folder/disk10", -1),
				test_file("folder/disk11", -1),
				test_file("folder/disk12", -1) };

	(void)state;
	assert_int_equal(symlink(slowfs_dir(fs), test_file("folder", -1)), 0);
	glk_context_set_timeout(context, SOON_MS);
	knobs->hang_open = true;
	assert_int_equal(kit_attach(guest, paths, 3), -ETIME);
	assert_int_equal(guest_attach(guest, paths[0], 0), -ETIME);
	slowfs_calm(fs);
	glk_context_set_timeout(context, 30000);
	assert_int_equal(kit_attach(guest, paths, 3), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(kit_try(context, slowfs_path(fs, 10 + i), 0),
				 -EBUSY);
}

static void an_open_that_hangs_ends_in_time_by_any_path(void **state)
{
	(void)state;
	each_way_ends(&knobs->hang_open, 1);
}

static void a_stat_that_hangs_ends_in_time_by_any_path(void **state)
{
	(void)state;
	each_way_ends(&knobs->hang_stat, 2);
}

static void a_lock_that_hangs_ends_in_time_by_any_path(void **state)
{
	(void)state;
	each_way_ends(&knobs->hang_lock, 2);
}

static void a_close_that_hangs_ends_in_time(void **state)
{
	const char *held = test_file("held", 0);
	const char *paths[] = { slowfs_path(fs, 3), held };
	int fd = kit_lock(held, 0, F_WRLCK);

	(void)state;
	glk_context_set_timeout(context, 2000);
	knobs->hang_flush = true;
	assert_int_equal(kit_attach(guest, paths, 2), -EBUSY);
	close(fd);
	assert_free(held);
	slowfs_calm(fs);
	glk_context_set_timeout(context, 30000);
	for (int i = 0; i < 1000 && kit_try(context, paths[0], 0); i++)
		usleep(1000);
	assert_int_equal(kit_try(context, paths[0], 0), 0);
}

/* The stat is given up, and the close must not be waited for either. */
static void a_stat_and_a_close_that_hang_end_in_time(void **state)
{
	const char *paths[] = { slowfs_path(fs, 9), test_file("hung", 0) };

	(void)state;
	glk_context_set_timeout(context, SOON_MS);
	knobs->hang_stat = knobs->hang_flush = true;
	assert_int_equal(kit_attach(guest, paths, 2), -ETIME);
	assert_free(paths[1]);
	slowfs_calm(fs);
	glk_context_set_timeout(context, 30000);
	assert_int_equal(kit_try(context, paths[0], 0), 0);
}

static void many_round_trips_overlap(void **state)
{
	struct glk_disk disks[40];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(disks); i++)
		disks[i] = (struct glk_disk){
			strdup(slowfs_path(fs, 100 + (unsigned)i)), 0
		};
	knobs->max_waiting = 0;
	knobs->open_ms = knobs->lock_ms = 20;
	assert_int_equal(glk_guest_attach(guest, disks, ARRAY_SIZE(disks)), 0);
	assert_true(knobs->max_waiting >= 10);
	for (size_t i = 0; i < ARRAY_SIZE(disks); i++)
		free((char *)disks[i].path);
}

static void a_disk_costs_five_round_trips(void **state)
{
	unsigned opens = knobs->opens, locks = knobs->locks;
	unsigned queries = knobs->queries, stats = knobs->stats;
	unsigned flushes = knobs->flushes;

	(void)state;
	assert_int_equal(guest_attach(guest, slowfs_path(fs, 30), 0), 0);
	assert_int_equal(knobs->opens, opens + 1);
	assert_int_equal(knobs->locks, locks + 1);
	assert_int_equal(knobs->queries, queries + 1);
	assert_int_equal(knobs->stats, stats + 1);
	assert_int_equal(knobs->flushes, flushes + 1);
}

struct holder {
	int fd;
	unsigned locks;
};

static void *let_go(void *arg)
{
	struct holder *holder = arg;

	assert_true(slowfs_await(&knobs->locks, holder->locks));
	close(holder->fd);
	return NULL;
}

/* One that waits for another may be replaced meanwhile. */
static void a_path_is_looked_at_again_after_a_pause(void **state)
{
	const char *paths[] = { slowfs_path(fs, 31), slowfs_path(fs, 32) };
	struct holder holder = { .fd = kit_lock(paths[1], 0, F_WRLCK) };
	unsigned stats = knobs->stats;
	pthread_t thread;

	(void)state;
	holder.locks = knobs->locks + 2;
	assert_int_equal(pthread_create(&thread, NULL, let_go, &holder), 0);
	assert_int_equal(kit_attach(guest, paths, 2), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(knobs->stats, stats + 3);
}

static void a_server_that_hangs_does_not_keep_a_detach(void **state)
{
	const char *paths[] = { slowfs_path(fs, 4), test_file("beside", 0) };
	size_t released = 7;

	(void)state;
	assert_int_equal(kit_attach(guest, paths, 2), 0);
	knobs->hang_open = knobs->hang_stat = true;
	assert_int_equal(glk_guest_detach(guest, paths + 1, 1, &released), 0);
	assert_int_equal(released, 1);
	assert_free(paths[1]);
	slowfs_calm(fs);
	assert_int_equal(glk_guest_detach(guest, paths, 1, NULL), 0);
	assert_int_equal(kit_try(context, paths[0], 0), 0);
}

static int held_of(const char *path)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	for (size_t i = 0; i < info->n_leases; i++)
		if (!strcmp(info->leases[i].path, path))
			return info->leases[i].held;
	fail();
	return 0;
}

/* The kernel knows that somebody has the lock, or that nobody has. */
static void what_a_server_keeps_may_be_held_until_nobody_has_it(void **state)
{
	const char *paths[] = { slowfs_path(fs, 7), test_file("local", 0) };
	size_t released = 0;

	(void)state;
	assert_int_equal(kit_attach(guest, paths, 2), 0);
	assert_int_equal(held_of(paths[0]), GLK_HELD_UNKNOWN);
	assert_int_equal(held_of(paths[1]), GLK_HELD_YES);
	assert_int_equal(glk_guest_detach(guest, paths, 2, &released), 0);
	assert_int_equal(released, 2);
	assert_int_equal(kit_try(context, paths[0], 0), 0);
	assert_int_equal(guest_attach(guest, paths[0], 0), 0);
	assert_true(slowfs_lose_locks(fs));
	assert_int_equal(held_of(paths[0]), GLK_HELD_NO);
}

static void an_unlock_that_hangs_ends_in_time(void **state)
{
	const char *path = slowfs_path(fs, 5);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), 0);
	glk_context_set_timeout(context, SOON_MS);
	slowfs_calm(fs);
	knobs->hang_unlock = true;
	assert_int_equal(guest_detach(guest, path), -ETIME);
	assert_says(context, "did not answer within the time limit");
	slowfs_calm(fs);
	glk_context_set_timeout(context, 30000);
	assert_int_equal(guest_detach(guest, path), 0);
	assert_int_equal(kit_try(context, path, 0), 0);
}

static void a_question_ends_in_time(void **state)
{
	const struct glk_conflict *holders = NULL;
	const char *link = link_to("question", 6), *fs_name = NULL;
	size_t n = 7;
	int scope = 0;

	(void)state;
	glk_context_set_timeout(context, SOON_MS);
	knobs->hang_open = knobs->hang_stat = true;
	assert_int_equal(glk_disk_scope(context, link, &scope, &fs_name), 0);
	assert_string_equal(fs_name, "fuse.slowfs");
	assert_int_equal(scope, GLK_SCOPE_HOST);
	assert_int_equal(glk_disk_holders(context, link, &holders, &n), -ETIME);
	assert_says(context, "did not answer within the time limit");
	slowfs_calm(fs);
	knobs->hang_flush = true;
	assert_int_equal(glk_disk_holders(context, link, &holders, &n), 0);
	assert_int_equal(n, 0);
}

/* The kernel cannot tell whether the guest's lease is held. */
static void a_guest_is_named_though_the_server_keeps_the_locks(void **state)
{
	const char *path = slowfs_path(fs, 7);
	const struct glk_conflict *c = NULL;
	struct kit_guest g = kit_run(context, 60, path, 0);

	(void)state;
	assert_int_equal(guest_attach(guest, path, 0), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), 1);
	assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
	assert_string_equal(c->uuid, guest_uuid(60));
	assert_int_equal(c->pid, g.pid);
	kit_end(&g);
	for (int i = 0; i < 5000 && kit_try(context, path, 0); i++)
		usleep(1000);
	assert_int_equal(guest_attach(guest, path, 0), 0);
}

static void a_lock_that_only_the_server_knows_is_nobodys(void **state)
{
	const char *path = slowfs_path(fs, 8);
	struct kit_stranger s = { .path = path,
				  .type = F_WRLCK,
				  .command = F_SETLK };
	const struct glk_conflict *c = NULL;

	(void)state;
	kit_stranger(&s);
	assert_int_equal(guest_attach(guest, path, 0), -EBUSY);
	assert_int_equal(glk_context_conflicts(context, &c), 1);
	assert_int_equal(c->kind, GLK_CONFLICT_UNKNOWN);
	assert_string_equal(c->path, path);
	assert_says(context, "somebody that this process cannot see");
	kit_stranger_end(&s);
}

/* It may be slow to remove one, and the name be another's by then. */
static void a_lease_file_on_a_server_stays(void **state)
{
	const char *path = slowfs_path(fs, 40);
	const struct glk_disk disks[] = { { path, GLK_DISK_LEASE },
					  { "/nowhere/x", 0 } };

	(void)state;
	assert_int_equal(glk_guest_attach(guest, disks, 1), 0);
	assert_int_equal(kit_try(context, path, GLK_DISK_LEASE), -EBUSY);
	assert_int_equal(guest_detach(guest, path), 0);
	assert_int_equal(glk_guest_attach(guest, disks, 2), -ENOENT);
	assert_int_equal(kit_try(context, path, GLK_DISK_LEASE), 0);
	assert_int_equal(knobs->unlinks, 0);
	assert_int_equal(unlink(path), -1);
	assert_int_equal(knobs->unlinks, 1);
}

#define TEST(_f) cmocka_unit_test_setup_teardown(_f, start, stop)

static const struct CMUnitTest tests[] = {
	TEST(what_is_mounted_when_it_is_opened_may_hang),
	TEST(a_link_is_followed_without_waiting),
	TEST(a_directory_may_be_a_link),
	TEST(an_open_that_hangs_ends_in_time_by_any_path),
	TEST(a_stat_that_hangs_ends_in_time_by_any_path),
	TEST(a_lock_that_hangs_ends_in_time_by_any_path),
	TEST(a_close_that_hangs_ends_in_time),
	TEST(a_stat_and_a_close_that_hang_end_in_time),
	TEST(many_round_trips_overlap),
	TEST(a_disk_costs_five_round_trips),
	TEST(a_path_is_looked_at_again_after_a_pause),
	TEST(a_server_that_hangs_does_not_keep_a_detach),
	TEST(what_a_server_keeps_may_be_held_until_nobody_has_it),
	TEST(an_unlock_that_hangs_ends_in_time),
	TEST(a_question_ends_in_time),
	TEST(a_guest_is_named_though_the_server_keeps_the_locks),
	TEST(a_lock_that_only_the_server_knows_is_nobodys),
	TEST(a_lease_file_on_a_server_stays),
};

int main(void)
{
	int r;

	r = test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_FUSE);
	slowfs_stop(fs);
	return r;
}
