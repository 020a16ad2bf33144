/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/plain.h"
#include "tests/unit/lib_kit.h"

#include "core/base/feature.h"
#include "core/base/util.h"
#include "core/lease/resource.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * The linker sends the library's engine_run() here (--wrap), so that something
 * can happen before the first batch of a kind.
 */
int __real_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);
int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline);

static struct {
	int kind;
	void (*fn)(void);
} before;

int __wrap_engine_run(struct engine *engine, struct op *ops, size_t n,
		      uint64_t deadline)
{
	void (*fn)(void) = before.fn;

	if (fn && n && ops->kind == before.kind) {
		before.fn = NULL;
		fn();
	}
	return __real_engine_run(engine, ops, n, deadline);
}

static struct glk_context *context;
static struct glk_guest *guest;
static const char *path;
static int opened; /* by the last take(), and left to the transaction */

static int start(void **state)
{
	(void)state;
	memset(&before, 0, sizeof(before));
	context = guest_context();
	guest = kit_self(context);
	path = kit_file("plain", 0);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	glk_guest_free(guest);
	glk_context_free(context);
	return 0;
}

static struct wanted_disk wanted(const char *name)
{
	return (struct wanted_disk){
		.path = (char *)name,
		.mode = RES_EXCLUSIVE,
		.type = RES_TYPE_FILE,
	};
}

static int take(const struct wanted_disk *disk)
{
	assert_int_equal(context_begin(context), 0);
	opened = -1;
	return plain_take(guest, disk, &opened);
}

static int take_path(const char *name)
{
	const struct wanted_disk disk = wanted(name);

	return take(&disk);
}

/* Nothing is taken, and nothing is left open. */
static void assert_left(const struct wanted_disk *disk)
{
	unsigned fds = test_open_fds();

	assert_int_equal(take(disk), PLAIN_E_NOT);
	assert_int_equal(opened, -1);
	assert_int_equal(test_open_fds(), fds);
}

static const struct glk_guest_info *look(void)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	return info;
}

static void the_lease_is_a_transactions_lease(void **state)
{
	const char *other = kit_file("other", 0), *third = kit_file("third", 0);
	const char *const both[] = { other, third };
	unsigned fds = test_open_fds();
	const struct glk_lease_info *l;

	(void)state;
	assert_int_equal(take_path(path), 0);
	assert_int_equal(test_open_fds(), fds);
	assert_false(test_lockable(path, F_RDLCK));
	assert_int_equal(kit_attach(guest, both, 2), 0);
	assert_int_equal(look()->n_leases, 3);
	l = look()->leases;
	for (int i = 0; i < 3; i++) {
		assert_true(l[i].held);
		assert_int_equal(l[i].type, l[2].type);
		assert_int_equal(l[i].mode, l[2].mode);
		assert_int_equal(l[i].scope, l[2].scope);
	}
	assert_string_equal(l[0].path, path);
	assert_int_equal(guest_detach(guest, path), 0);
	assert_true(test_lockable(path, F_WRLCK));
}

static void what_needs_more_is_left(void **state)
{
	struct wanted_disk disk = wanted(path);

	(void)state;
	disk.mode = RES_SHARED;
	assert_left(&disk);
	disk = wanted(path);
	disk.type = RES_TYPE_LEASE;
	assert_left(&disk);
	disk = wanted(path);
	disk.claim = true;
	assert_left(&disk);
	disk = wanted("plain");
	assert_int_equal(chdir(test_dir()), 0);
	assert_left(&disk);
	disk = wanted(path);
	guest->incoming = true;
	assert_left(&disk);
	guest->incoming = false;
	assert_true(test_lockable(path, F_WRLCK));
}

static void a_policy_is_left(void **state)
{
	const struct glk_policy policies[] = {
		{ .require_scope = GLK_SCOPE_HOST },
		{ .exclusive_open = GLK_OPEN_WARN },
		{ .lock_dir = test_dir() },
		{ .lvm_lock_dir = test_dir() },
		{ .scsi_lock_dir = test_dir() },
	};
	struct wanted_disk disk = wanted(path);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
		assert_int_equal(glk_context_set_policy(context, &policies[i]),
				 0);
		assert_left(&disk);
	}
	assert_int_equal(glk_context_set_policy(context, NULL), 0);
	assert_int_equal(take(&disk), 0);
}

static void what_cannot_be_opened_is_left(void **state)
{
	struct wanted_disk disk = wanted("/nonexistent/disk");

	(void)state;
	assert_left(&disk);
	disk = wanted(test_dir());
	assert_left(&disk);
}

/* Opening has effects there, and so has closing: it is opened once. */
static void what_is_no_file_is_left_open(void **state)
{
	struct inotify_event events[8];
	unsigned fds = test_open_fds();
	const char *fifo = test_file("fifo", -1);
	int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	(void)state;
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(take_path(fifo), PLAIN_E_NOT);
	assert_true(opened >= 0);
	close(opened);
	assert_true(inotify_add_watch(watch, fifo, IN_OPEN | IN_CLOSE) >= 0);
	assert_int_equal(guest_attach(guest, fifo, 0), -EOPNOTSUPP);
	assert_int_equal(read(watch, events, sizeof(events)),
			 2 * sizeof(*events));
	assert_int_equal(events[0].mask, IN_OPEN);
	assert_int_equal(events[1].mask, IN_CLOSE_WRITE);
	close(watch);
	assert_int_equal(test_open_fds(), fds);
}

static void what_somebody_has_is_left(void **state)
{
	static const long bytes[] = { LOCK_BYTE_OWNER, 100, 101, 103 };
	const struct wanted_disk disk = wanted(path);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bytes); i++) {
		struct kit_stranger other = {
			.path = path,
			.byte = bytes[i],
			.type = F_RDLCK,
			.command = F_OFD_SETLK,
		};

		kit_stranger(&other);
		assert_left(&disk);
		assert_true(test_byte_lockable(path, LOCK_BYTE_OWNER, F_RDLCK));
		kit_stranger_end(&other);
	}
	assert_int_equal(take(&disk), 0);
	assert_left(&disk);
	assert_false(test_lockable(path, F_RDLCK));
}

static void replace(void)
{
	assert_int_equal(rename(kit_file("new", 0), path), 0);
}

static void what_is_replaced_meanwhile_is_left(void **state)
{
	static const int kinds[] = { OP_STAT, OP_LOCK, OP_STAT_PATH };
	const struct wanted_disk disk = wanted(path);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		before.kind = kinds[i];
		before.fn = replace;
		assert_left(&disk);
		assert_true(test_lockable(path, F_WRLCK));
	}
	assert_int_equal(look()->n_leases, 0);
}

static void cancel(void)
{
	glk_context_cancel(context);
}

static void a_cancel_ends_the_whole_call(void **state)
{
	static const int kinds[] = { OP_OPEN, OP_STAT, OP_LOCK, OP_STAT_PATH };
	unsigned fds = test_open_fds();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		before.kind = kinds[i];
		before.fn = cancel;
		assert_int_equal(guest_attach(guest, path, 0), -ECANCELED);
		assert_true(*glk_context_message(context));
		assert_int_equal(test_open_fds(), fds);
		assert_true(test_lockable(path, F_WRLCK));
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(the_lease_is_a_transactions_lease,
					start, stop),
	cmocka_unit_test_setup_teardown(what_needs_more_is_left, start, stop),
	cmocka_unit_test_setup_teardown(a_policy_is_left, start, stop),
	cmocka_unit_test_setup_teardown(what_cannot_be_opened_is_left, start,
					stop),
	cmocka_unit_test_setup_teardown(what_is_no_file_is_left_open, start,
					stop),
	cmocka_unit_test_setup_teardown(what_somebody_has_is_left, start, stop),
	cmocka_unit_test_setup_teardown(what_is_replaced_meanwhile_is_left,
					start, stop),
	cmocka_unit_test_setup_teardown(a_cancel_ends_the_whole_call, start,
					stop),
};

int main(void)
{
	if (!feature_allowed(FEATURE_PLAIN_TAKE))
		test_skip("plain-take is disabled");
	return test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_NOTHING);
}
