/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/test.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <guestlock.h>
#include <guestlock/driver.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Links the shared library as a stranger would, so a forgotten export fails
 * here. Every public call is made, and its effect looked for in the kernel.
 */
#define IMAGE_SIZE (1 << 20)
#define UUID_A own_uuid(0)
#define UUID_B own_uuid(1)

/* Guests of other programs that run now are on the same lists. */
static const char *own_uuid(int which)
{
	static char uuids[2][37];

	snprintf(uuids[which], sizeof(uuids[which]),
		 "6ba7b810-9dad-41d1-80b%d-%012x", which, (unsigned)getpid());
	return uuids[which];
}

/* Of a guest with this uuid; 0 for any. */
static uint64_t own_tag(const char *uuid)
{
	return uuid ? (uint64_t)getpid() << 32 | (uint64_t)uuid[22] : 0;
}

static struct glk_context *open_context(void)
{
	struct glk_context *context = NULL;

	assert_int_equal(glk_context_new(&context), 0);
	assert_non_null(context);
	glk_context_set_timeout(context, 20000);
	return context;
}

static void test_policy_is_checked_and_copied(void **state)
{
	struct glk_context *context = open_context();
	char dir[] = "locks";
	struct glk_policy policy = {
		.require_scope = GLK_SCOPE_SERVER,
		.exclusive_open = GLK_OPEN_WARN,
		.flags = GLK_POLICY_SKIP_READONLY,
		.wait_ms = 7,
		.lock_dir = dir,
	};
	const struct glk_policy *kept;

	(void)state;
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	dir[0] = 'x';
	policy.scsi_lock_dir = "";
	assert_int_equal(glk_context_set_policy(context, &policy), -EINVAL);
	policy.scsi_lock_dir = NULL;
	policy.exclusive_open = 3;
	assert_int_equal(glk_context_set_policy(context, &policy), -EINVAL);
	kept = glk_context_policy(context);
	assert_int_equal(kept->require_scope, GLK_SCOPE_SERVER);
	assert_int_equal(kept->exclusive_open, GLK_OPEN_WARN);
	assert_int_equal(kept->flags, GLK_POLICY_SKIP_READONLY);
	assert_int_equal(kept->wait_ms, 7);
	assert_string_equal(strrchr(kept->lock_dir, '/'), "/locks");
	assert_int_equal(kept->lock_dir[0], '/');
	assert_null(kept->scsi_lock_dir);
	assert_int_equal(glk_context_set_policy(context, NULL), 0);
	assert_null(glk_context_policy(context)->lock_dir);
	glk_context_free(context);
}

static struct glk_guest *describe(struct glk_context *context, int holder,
				  const char *uuid, const char *name)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest = NULL;

	config.uuid = uuid;
	config.name = name;
	config.id = 7;
	config.epoch = 3;
	config.tag = own_tag(uuid);
	config.holder = holder;
	assert_int_equal(glk_guest_new(context, &config, &guest), 0);
	assert_non_null(guest);
	return guest;
}

static int add(struct glk_guest *guest, const char *path, unsigned flags)
{
	struct glk_disk disk = { path, flags };

	return glk_guest_add(guest, &disk, 1);
}

static int attach(struct glk_guest *guest, const char *path, unsigned flags)
{
	struct glk_disk disk = { path, flags };

	return glk_guest_attach(guest, &disk, 1);
}

/* A VMM of our own that holds @path. */
static struct glk_guest *self_holding(struct glk_context *context,
				      const char *uuid, const char *name,
				      const char *path, unsigned flags)
{
	struct glk_guest *guest =
		describe(context, GLK_HOLDER_SELF, uuid, name);

	assert_int_equal(add(guest, path, flags), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	return guest;
}

static const struct glk_guest_info *find_in(const struct glk_guest_list *list,
					    const char *uuid)
{
	for (size_t i = 0; i < glk_guest_list_count(list); i++) {
		const struct glk_guest_info *info = glk_guest_list_get(list, i);

		if (!strcmp(info->uuid, uuid))
			return info;
	}
	return NULL;
}

static void test_version_is_the_projects(void **state)
{
	(void)state;
	assert_string_equal(glk_version(), PROJECT_VERSION);
}

static void test_null_can_be_freed(void **state)
{
	(void)state;
	glk_guest_free(NULL);
	glk_guest_list_free(NULL);
	glk_context_free(NULL);
}

static void test_a_driver_has_the_last_word(void **state)
{
	struct glk_context *context = open_context();
	const struct glk_conflict blamed = { .path = "/x", .pid = 4711 };
	const struct glk_conflict *conflicts = NULL;

	(void)state;
	assert_int_equal(glk_context_blame(context, &blamed), 0);
	assert_int_equal(glk_context_explain(context, -EBUSY, "%s is taken",
					     "/x"),
			 -EBUSY);
	assert_string_equal(glk_context_message(context), "/x is taken");
	assert_int_equal(glk_context_conflicts(context, &conflicts), 1);
	assert_string_equal(conflicts[0].path, "/x");
	assert_int_equal(conflicts[0].pid, 4711);
	glk_context_free(context);
}

static void test_a_host_can_be_described(void **state)
{
	struct glk_context *context = open_context();
	struct glk_host_info info = {};

	(void)state;
	assert_int_equal(glk_host_describe(context, &info), 0);
	assert_true(!strcmp(info.engine, "uring") ||
		    !strcmp(info.engine, "syscall"));
	assert_int_equal(!*info.engine_reason, !strcmp(info.engine, "uring"));
	assert_non_null(info.ring_flags);
	assert_non_null(info.completion);
	glk_context_free(context);
}

static void test_a_disk_has_the_scope_of_its_file_system(void **state)
{
	struct glk_context *context = open_context();
	const char *path = test_file("scope", IMAGE_SIZE), *fs = NULL;
	const struct glk_disk_reach *reach;
	struct stat st;
	int scope = 0;

	(void)state;
	assert_int_equal(glk_disk_scope(context, path, &scope, &fs), 0);
	assert_int_equal(scope, GLK_SCOPE_HOST);
	assert_true(fs && *fs);
	assert_int_equal(glk_disk_reach(context, path, &reach), 0);
	assert_int_equal(reach->scope, scope);
	assert_int_equal(reach->type, GLK_LEASE_FILE);
	assert_int_equal(stat(path, &st), 0);
	assert_true(reach->dev == st.st_dev && reach->ino == st.st_ino);
	assert_string_equal(reach->fs, fs);
	assert_memory_equal(reach->mount, path, strlen(reach->mount));
	scope = -1;
	assert_int_equal(glk_disk_scope(context, "/nowhere/x", &scope, &fs),
			 -ENOENT);
	assert_int_equal(scope, -1);
	assert_non_null(strstr(glk_context_message(context), "/nowhere/x"));
	glk_context_free(context);
}

static void test_a_vmm_locks_and_releases_its_own_disks(void **state)
{
	struct glk_context *context = open_context();
	const char *a = test_file("own-a", IMAGE_SIZE);
	const char *b = test_file("own-b", IMAGE_SIZE);
	struct glk_guest *guest = self_holding(context, UUID_A, "own", a, 0);
	size_t released = 99;

	(void)state;
	assert_false(test_lockable(a, F_RDLCK));
	assert_true(test_lockable(b, F_WRLCK));
	assert_int_equal(attach(guest, b, GLK_DISK_SHARED), 0);
	assert_true(test_lockable(b, F_RDLCK));
	assert_false(test_lockable(b, F_WRLCK));
	assert_int_equal(attach(guest, b, GLK_DISK_SHARED), 0);

	assert_int_equal(glk_guest_detach(guest, &a, 1, &released), 0);
	assert_int_equal(released, 1);
	assert_true(test_lockable(a, F_WRLCK));
	assert_false(test_lockable(b, F_WRLCK));
	assert_int_equal(glk_guest_detach(guest, &a, 1, &released), 0);
	assert_int_equal(released, 0);
	assert_int_equal(glk_guest_detach(guest, &b, 1, NULL), 0);
	assert_true(test_lockable(b, F_WRLCK));

	assert_int_equal(attach(guest, a, 0), 0);
	glk_guest_free(guest);
	assert_true(test_becomes_free(a, 5000));
	glk_context_free(context);
}

static void check_lease(const struct glk_lease_info *lease, const char *path,
			int mode)
{
	assert_string_equal(lease->path, path);
	assert_int_equal(lease->type, GLK_LEASE_FILE);
	assert_int_equal(lease->mode, mode);
	assert_int_equal(lease->scope, GLK_SCOPE_HOST);
	assert_true(lease->held && lease->same_file);
	assert_true(lease->ino != 0 && lease->since != 0);
}

static void check_guest(const struct glk_guest_info *info, const char *path)
{
	assert_string_equal(info->uuid, UUID_A);
	assert_string_equal(info->name, "listed");
	assert_int_equal(info->id, 7);
	assert_int_equal(info->epoch, 3);
	assert_int_equal(info->tag, own_tag(UUID_A));
	assert_int_equal(info->pid, getpid());
	assert_int_equal(info->uid, geteuid());
	assert_int_equal(info->holder, GLK_HOLDER_SELF);
	assert_int_equal(info->error, 0);
	assert_int_equal(info->n_garbled, 0);
	assert_true(info->started != 0);
	assert_int_equal(info->n_leases, 1);
	check_lease(&info->leases[0], path, GLK_MODE_SHARED);
}

static void test_a_lease_file_is_made_and_removed(void **state)
{
	struct glk_context *context = open_context();
	const char *path = test_file("lease", -1);
	struct glk_guest *guest =
		self_holding(context, UUID_A, "lease", path, GLK_DISK_LEASE);
	const struct glk_guest_info *info = NULL;

	(void)state;
	assert_false(test_lockable(path, F_RDLCK));
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 1);
	assert_int_equal(info->leases[0].type, GLK_LEASE_KEY);
	assert_string_equal(info->leases[0].path, path);
	assert_int_equal(glk_guest_detach(guest, &path, 1, NULL), 0);
	assert_int_equal(access(path, F_OK), -1);
	glk_guest_free(guest);
	glk_context_free(context);
}

static void test_a_guest_is_listed_with_its_leases(void **state)
{
	struct glk_context *context = open_context();
	const char *path = test_file("listed", IMAGE_SIZE);
	struct glk_guest *guest = self_holding(context, UUID_A, "listed", path,
					       GLK_DISK_READONLY);
	const struct glk_guest_info *info = NULL;
	struct glk_guest_list *list = NULL;

	(void)state;
	assert_int_equal(glk_guest_info(guest, &info), 0);
	check_guest(info, path);
	assert_int_equal(glk_guest_list_new(context, GLK_LIST_TRUSTED, &list),
			 0);
	info = find_in(list, UUID_A);
	assert_non_null(info);
	check_guest(info, path);
	if (geteuid() == 0)
		assert_int_equal(glk_guest_list_denied(list), 0);
	glk_guest_list_free(list);

	glk_guest_free(guest);
	assert_int_equal(glk_guest_list_new(context, 0, &list), 0);
	assert_null(find_in(list, UUID_A));
	glk_guest_list_free(list);
	glk_context_free(context);
}

static void check_conflict(const struct glk_conflict *c, const char *path)
{
	assert_string_equal(c->path, path);
	assert_int_equal(c->mode, GLK_MODE_EXCLUSIVE);
	assert_int_equal(c->kind, GLK_CONFLICT_GUEST);
	assert_string_equal(c->uuid, UUID_A);
	assert_string_equal(c->name, "holder");
	assert_int_equal(c->pid, getpid());
	assert_true(c->since != 0);
}

static void test_every_refused_disk_names_its_holder(void **state)
{
	struct glk_context *mine = open_context(), *theirs = open_context();
	const char *a = test_file("conflict-a", IMAGE_SIZE);
	const char *b = test_file("conflict-b", IMAGE_SIZE);
	const char *c = test_file("conflict-c", IMAGE_SIZE);
	struct glk_guest *holder = self_holding(theirs, UUID_A, "holder", a, 0);
	struct glk_guest *guest = describe(mine, GLK_HOLDER_SELF, UUID_B, NULL);
	const struct glk_conflict *conflicts = NULL;

	(void)state;
	assert_int_equal(attach(holder, c, 0), 0);
	assert_int_equal(add(guest, a, 0), 0);
	assert_int_equal(add(guest, b, 0), 0);
	assert_int_equal(add(guest, c, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), -EBUSY);
	assert_int_equal(glk_context_conflicts(mine, &conflicts), 2);
	check_conflict(&conflicts[0], a);
	check_conflict(&conflicts[1], c);
	assert_non_null(strstr(glk_context_message(mine), "holder"));
	assert_true(test_lockable(b, F_WRLCK));
	assert_false(test_lockable(a, F_RDLCK));
	assert_int_equal(glk_context_conflicts(theirs, &conflicts), 0);

	glk_guest_free(guest);
	glk_guest_free(holder);
	glk_context_free(mine);
	glk_context_free(theirs);
}

static void test_all_holders_of_a_shared_disk_are_named(void **state)
{
	struct glk_context *context = open_context();
	const char *path = test_file("holders", IMAGE_SIZE);
	const struct glk_conflict *holders = NULL;
	struct glk_guest *a, *b;
	size_t n = 99;

	(void)state;
	assert_int_equal(glk_disk_holders(context, path, &holders, &n), 0);
	assert_int_equal(n, 0);
	a = self_holding(context, UUID_A, "one", path, GLK_DISK_SHARED);
	b = self_holding(context, UUID_B, "two", path, GLK_DISK_SHARED);
	assert_int_equal(glk_disk_holders(context, path, &holders, &n), 0);
	assert_int_equal(n, 2);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(holders[i].kind, GLK_CONFLICT_GUEST);
		assert_int_equal(holders[i].mode, GLK_MODE_SHARED);
	}
	assert_string_not_equal(holders[0].uuid, holders[1].uuid);
	glk_guest_free(a);
	glk_guest_free(b);
	glk_context_free(context);
}

/* A guest process that has the capsule, and a pipe that it keeps open. */
static pid_t start_guest(struct glk_guest *guest)
{
	int ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (glk_guest_inherit(guest) < 0)
			_exit(1);
		execl("/bin/sleep", "sleep", "300", NULL);
		_exit(2);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	return pid;
}

static void end_guest(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static struct glk_guest *adopt(struct glk_context *context,
			       const char *selector, pid_t pid)
{
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;

	assert_int_equal(glk_guest_adopt(context, selector, &guest), 0);
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_string_equal(info->uuid, UUID_A);
	assert_int_equal(info->pid, pid);
	assert_int_equal(info->holder, GLK_HOLDER_GUEST);
	return guest;
}

static void wait_in_vain(const char *uuid, pid_t pid)
{
	struct glk_context *context = open_context();
	struct glk_guest *guest = adopt(context, uuid, pid);
	char text[16];

	glk_context_set_timeout(context, 20);
	snprintf(text, sizeof(text), "%d", (int)pid);
	assert_int_equal(glk_guest_wait(guest), -ETIME);
	assert_non_null(strstr(glk_context_message(context), text));
	glk_guest_free(guest);
	glk_context_free(context);
}

static void check_life(struct glk_context *context, struct glk_guest *guest,
		       pid_t pid, const char *path)
{
	const char *extra = test_file("life-extra", IMAGE_SIZE);
	char number[16], name[32];
	struct glk_guest *adopted;

	snprintf(number, sizeof(number), "%d", (int)pid);
	snprintf(name, sizeof(name), "life-%d", (int)getpid());
	assert_int_equal(glk_guest_handed_over(guest), 0);
	assert_int_equal(glk_guest_fd(guest), -ENODATA);
	assert_int_equal(glk_guest_inherit(guest), -ENODATA);
	glk_guest_free(guest);
	assert_false(test_lockable(path, F_RDLCK));

	glk_guest_free(adopt(context, number, pid));
	glk_guest_free(adopt(context, name, pid));
	wait_in_vain(UUID_A, pid);
	adopted = adopt(context, UUID_A, pid);
	assert_int_equal(attach(adopted, extra, 0), 0);
	assert_false(test_lockable(extra, F_RDLCK));
	end_guest(pid);
	assert_true(test_becomes_free(path, 5000));
	assert_true(test_becomes_free(extra, 5000));
	assert_int_equal(attach(adopted, extra, 0), -ESRCH);
	assert_true(test_lockable(extra, F_WRLCK));
	assert_int_equal(glk_guest_wait(adopted), 0);
	glk_guest_free(adopted);
}

static void test_leases_live_as_long_as_the_guest_process(void **state)
{
	struct glk_context *context = open_context();
	const char *path = test_file("life", IMAGE_SIZE);
	struct glk_guest *guest, *none = NULL;
	char name[32];

	(void)state;
	snprintf(name, sizeof(name), "life-%d", (int)getpid());
	guest = describe(context, GLK_HOLDER_GUEST, UUID_A, name);
	assert_int_equal(glk_guest_fd(guest), -ENODATA);
	assert_int_equal(add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_true(fcntl(glk_guest_fd(guest), F_GETFD) & FD_CLOEXEC);
	check_life(context, guest, start_guest(guest), path);
	assert_int_equal(glk_guest_adopt(context, UUID_A, &none), -ESRCH);
	assert_null(none);
	glk_context_free(context);
}

static int select_tag(struct glk_context *context, uint64_t tag)
{
	const struct glk_selection selection = { .who = UUID_A,
						 .roles = 1 << GLK_ROLE_OWNER,
						 .tag = tag };
	const struct glk_guest_info *info = NULL;
	struct glk_guest *guest = NULL;
	int r = glk_guest_select(context, &selection, &guest);

	if (r)
		return r;
	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_string_equal(info->uuid, UUID_A);
	glk_guest_free(guest);
	return 0;
}

static void test_a_guest_is_selected_by_its_tag(void **state)
{
	struct glk_context *context = open_context();
	const char *path = test_file("selected", IMAGE_SIZE);
	struct glk_guest *guest =
		self_holding(context, UUID_A, "selected", path, 0);

	(void)state;
	assert_int_equal(select_tag(context, own_tag(UUID_A)), 0);
	assert_int_equal(select_tag(context, own_tag(UUID_A) + 1), -ESRCH);
	assert_false(test_lockable(path, F_RDLCK));
	glk_guest_free(guest);
	assert_int_equal(select_tag(context, own_tag(UUID_A)), -ESRCH);
	glk_context_free(context);
}

static void test_leases_of_a_guest_that_never_started_end(void **state)
{
	struct glk_context *context = open_context();
	const char *path = test_file("never", IMAGE_SIZE);
	struct glk_guest *guest =
		describe(context, GLK_HOLDER_GUEST, NULL, NULL);

	(void)state;
	assert_int_equal(add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_false(test_lockable(path, F_RDLCK));
	glk_guest_free(guest);
	assert_true(test_becomes_free(path, 5000));
	glk_context_free(context);
}

static void note_wait(void *arg, const struct glk_conflict *conflict)
{
	struct glk_context *context = arg;

	assert_string_equal(strrchr(conflict->path, '/'), "/awaited");
	assert_int_equal(conflict->mode, GLK_MODE_EXCLUSIVE);
	assert_int_equal(conflict->kind, GLK_CONFLICT_GUEST);
	assert_string_equal(conflict->uuid, UUID_A);
	assert_int_equal(conflict->pid, getpid());
	glk_context_cancel(context);
}

static void test_a_wait_is_told_and_can_be_cancelled_then(void **state)
{
	struct glk_context *context = open_context(), *other = open_context();
	const char *path = test_file("awaited", IMAGE_SIZE);
	struct glk_policy policy = { .wait_ms = 600000 };
	struct glk_guest *holder = self_holding(other, UUID_A, NULL, path, 0);
	struct glk_guest *guest =
		describe(context, GLK_HOLDER_SELF, NULL, NULL);

	(void)state;
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	glk_context_on_wait(context, note_wait, context);
	assert_int_equal(add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), -ECANCELED);
	glk_guest_free(holder);
	assert_int_equal(glk_guest_acquire(guest), 0);
	glk_guest_free(guest);
	glk_context_free(context);
	glk_context_free(other);
}

static void test_cancel_stops_the_next_call_and_no_other(void **state)
{
	struct glk_context *context = open_context();
	const char *path = test_file("cancel", IMAGE_SIZE);
	struct glk_guest *guest =
		describe(context, GLK_HOLDER_SELF, NULL, NULL);

	(void)state;
	assert_int_equal(add(guest, path, 0), 0);
	glk_context_cancel(context);
	assert_int_equal(glk_guest_acquire(guest), -ECANCELED);
	assert_true(test_lockable(path, F_WRLCK));
	glk_guest_free(guest);
	guest = self_holding(context, UUID_A, NULL, path, 0);
	assert_false(test_lockable(path, F_WRLCK));
	glk_guest_free(guest);
	glk_context_free(context);
}

static int acquire_error(struct glk_context *context, const char *path,
			 unsigned flags, const char *beside)
{
	struct glk_guest *guest =
		describe(context, GLK_HOLDER_SELF, NULL, NULL);
	int r;

	assert_int_equal(add(guest, beside, 0), 0);
	assert_int_equal(add(guest, path, flags), 0);
	r = glk_guest_acquire(guest);
	assert_true(test_lockable(beside, F_WRLCK));
	if (r != -EEXIST)
		assert_non_null(strstr(glk_context_message(context), path));
	glk_guest_free(guest);
	return r;
}

static void test_a_disk_that_cannot_be_locked_spoils_the_batch(void **state)
{
	struct glk_context *context = open_context();
	const char *beside = test_file("beside", IMAGE_SIZE);

	(void)state;
	assert_int_equal(acquire_error(context, "/nowhere/x", 0, beside),
			 -ENOENT);
	assert_int_equal(acquire_error(context, test_dir(), 0, beside),
			 -EISDIR);
	assert_int_equal(acquire_error(context, "/dev/null", 0, beside),
			 -EOPNOTSUPP);
	assert_int_equal(acquire_error(context, beside, GLK_DISK_SHARED,
				       beside),
			 -EEXIST);
	glk_context_free(context);
}

static void test_nonsense_is_refused_before_anything_is_taken(void **state)
{
	struct glk_context *context = open_context();
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest = NULL;
	char path[5000];

	(void)state;
	config.uuid = "no-uuid";
	assert_int_equal(glk_guest_new(context, &config, &guest), -EINVAL);
	assert_non_null(strstr(glk_context_message(context), "uuid"));
	config.uuid = NULL;
	config.name = "two\nlines";
	assert_int_equal(glk_guest_new(context, &config, &guest), -EINVAL);
	assert_null(guest);

	guest = describe(context, GLK_HOLDER_SELF, NULL, NULL);
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(add(guest, path, 0), -ENAMETOOLONG);
	assert_int_equal(add(guest, "", 0), -EINVAL);
	assert_int_equal(add(guest, "/x", 1u << 31), -EINVAL);
	assert_int_equal(glk_guest_acquire(guest), 0);
	assert_int_equal(glk_guest_acquire(guest), -EALREADY);
	assert_int_equal(add(guest, "/x", 0), -EALREADY);
	glk_guest_free(guest);
	glk_context_free(context);
}

static void test_descriptors_are_as_many_as_before(void **state)
{
	const char *path = test_file("fds", IMAGE_SIZE);
	unsigned before = test_open_fds();

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct glk_context *context = open_context();
		struct glk_guest *guest =
			self_holding(context, UUID_A, "fds", path, 0);

		glk_guest_free(guest);
		glk_context_free(context);
	}
	assert_int_equal(test_open_fds(), before);
}

/* A byte of the owner, and those of the two sides of a migration. */
static void assert_bytes(const char *path, bool successor, bool writer,
			 bool predecessor)
{
	assert_false(test_byte_lockable(path, 0, F_WRLCK));
	assert_int_equal(!test_byte_lockable(path, 2, F_RDLCK), successor);
	assert_int_equal(!test_byte_lockable(path, 3, F_RDLCK), writer);
	assert_int_equal(!test_byte_lockable(path, 4, F_RDLCK), predecessor);
}

static int role_of(struct glk_guest *guest)
{
	const struct glk_guest_info *info = NULL;

	assert_int_equal(glk_guest_info(guest, &info), 0);
	assert_int_equal(info->n_leases, 1);
	return info->leases[0].role;
}

static struct glk_guest *claim(struct glk_context *context, const char *path)
{
	struct glk_guest_config config = GLK_GUEST_CONFIG_INIT;
	struct glk_guest *guest = NULL;

	config.uuid = UUID_A;
	config.holder = GLK_HOLDER_SELF;
	config.flags = GLK_GUEST_INCOMING;
	assert_int_equal(glk_guest_new(context, &config, &guest), 0);
	assert_int_equal(add(guest, path, 0), 0);
	assert_int_equal(glk_guest_acquire(guest), 0);
	return guest;
}

static void test_a_guest_is_handed_over(void **state)
{
	struct glk_context *context = open_context();
	const char *path = test_file("moved", IMAGE_SIZE);
	struct glk_guest *from = self_holding(context, UUID_A, NULL, path, 0);
	struct glk_guest *to;

	(void)state;
	assert_int_equal(role_of(from), GLK_ROLE_OWNER);
	assert_int_equal(glk_guest_prepare(from, "localhost"), 0);
	assert_int_equal(role_of(from), GLK_ROLE_PREPARED);
	assert_bytes(path, false, true, true);
	to = claim(context, path);
	assert_int_equal(role_of(to), GLK_ROLE_INCOMING);
	assert_bytes(path, true, true, true);
	assert_int_equal(glk_guest_out(from), 0);
	assert_int_equal(role_of(from), GLK_ROLE_LEFT);
	assert_bytes(path, true, false, true);
	assert_int_equal(glk_guest_in(to), 0);
	assert_int_equal(role_of(to), GLK_ROLE_ARRIVED);
	assert_bytes(path, true, true, true);
	glk_guest_free(from);
	assert_int_equal(glk_guest_in(to), 0);
	assert_int_equal(role_of(to), GLK_ROLE_OWNER);
	assert_bytes(path, false, false, false);
	assert_false(test_lockable(path, F_RDLCK));
	glk_guest_free(to);
	glk_context_free(context);
}

static void test_a_migration_is_cancelled_by_both_sides(void **state)
{
	struct glk_context *context = open_context();
	const char *path = test_file("stayed", IMAGE_SIZE);
	struct glk_guest *from = self_holding(context, UUID_A, NULL, path, 0);
	struct glk_guest *to;

	(void)state;
	assert_int_equal(glk_guest_prepare(from, "localhost"), 0);
	to = claim(context, path);
	assert_int_equal(glk_guest_out(from), 0);
	assert_int_equal(glk_guest_cancel(to), 0);
	assert_bytes(path, false, false, true);
	assert_int_equal(glk_guest_cancel(from), 0);
	assert_int_equal(role_of(from), GLK_ROLE_OWNER);
	assert_bytes(path, false, false, false);
	assert_false(test_lockable(path, F_RDLCK));
	glk_guest_free(to);
	glk_guest_free(from);
	glk_context_free(context);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_version_is_the_projects),
	cmocka_unit_test(test_null_can_be_freed),
	cmocka_unit_test(test_policy_is_checked_and_copied),
	cmocka_unit_test(test_a_driver_has_the_last_word),
	cmocka_unit_test(test_a_host_can_be_described),
	cmocka_unit_test(test_a_disk_has_the_scope_of_its_file_system),
	cmocka_unit_test(test_a_vmm_locks_and_releases_its_own_disks),
	cmocka_unit_test(test_a_lease_file_is_made_and_removed),
	cmocka_unit_test(test_a_guest_is_listed_with_its_leases),
	cmocka_unit_test(test_every_refused_disk_names_its_holder),
	cmocka_unit_test(test_all_holders_of_a_shared_disk_are_named),
	cmocka_unit_test(test_leases_live_as_long_as_the_guest_process),
	cmocka_unit_test(test_a_guest_is_selected_by_its_tag),
	cmocka_unit_test(test_leases_of_a_guest_that_never_started_end),
	cmocka_unit_test(test_a_wait_is_told_and_can_be_cancelled_then),
	cmocka_unit_test(test_cancel_stops_the_next_call_and_no_other),
	cmocka_unit_test(test_a_disk_that_cannot_be_locked_spoils_the_batch),
	cmocka_unit_test(test_nonsense_is_refused_before_anything_is_taken),
	cmocka_unit_test(test_descriptors_are_as_many_as_before),
	cmocka_unit_test(test_a_guest_is_handed_over),
	cmocka_unit_test(test_a_migration_is_cancelled_by_both_sides),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
