/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/capsule_kit.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/util.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/*
 * Whoever lists the guests of this host keeps our locks for that moment. A
 * network namespace of our own hides us, where we may have one; and we wait.
 */
__attribute__((constructor)) static void hide(void)
{
	(void)!unshare(CLONE_NEWNET);
}

struct capsule *kit_capsule(const char *name)
{
	struct capsule_identity who = { .id = 7 };
	struct capsule *capsule = NULL;

	assert_int_equal(uuid_generate(&who.uuid), 0);
	snprintf(who.name, sizeof(who.name), "%s", name);
	assert_int_equal(capsule_new(&who, 0, &capsule), 0);
	return capsule;
}

struct capsule_parcel kit_disk(const char *name, enum res_mode mode)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	struct capsule_parcel p = {
		.n_fds = 1,
		.type = RES_TYPE_FILE,
		.mode = mode,
		.scope = RES_SCOPE_HOST,
		.since = clock_ns(CLOCK_REALTIME),
		.path = test_file(name, 0),
	};
	struct stat st;

	if (mode == RES_SHARED)
		lock.l_type = F_RDLCK;
	p.fds[0] = open(p.path,
			(mode == RES_SHARED ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	assert_true(p.fds[0] >= 0);
	for (unsigned i = 0; fcntl(p.fds[0], F_OFD_SETLK, &lock); i++) {
		assert_int_equal(errno, EAGAIN);
		assert_true(i < 5000);
		usleep(1000);
	}
	assert_int_equal(fstat(p.fds[0], &st), 0);
	p.id = (struct res_id){ st.st_dev, st.st_ino };
	return p;
}

void kit_close(struct capsule_parcel *parcel)
{
	for (unsigned i = 0; i < parcel->n_fds; i++)
		fd_close(parcel->fds[i]);
	parcel->n_fds = 0;
}

static const char *disk_name(const char *prefix, size_t i)
{
	static char name[128];

	snprintf(name, sizeof(name), "%s%zu", prefix, i);
	return name;
}

const char *kit_path(const char *prefix, size_t i)
{
	return test_file(disk_name(prefix, i), -1);
}

static int park_disks(struct capsule *capsule, const char *prefix, size_t n,
		      bool fill)
{
	struct capsule_parcel *p = calloc(n + 1, sizeof(*p));
	int r;

	assert_non_null(p);
	for (size_t i = 0; i < n; i++) {
		p[i] = kit_disk(disk_name(prefix, i), RES_EXCLUSIVE);
		p[i].path = strdup(p[i].path);
	}
	r = fill ? capsule_fill(capsule, p, n)
		 : capsule_push(capsule, p, n, kit_soon());
	for (size_t i = 0; i < n; i++) {
		free((char *)p[i].path);
		kit_close(&p[i]);
	}
	free(p);
	return r;
}

int kit_park(struct capsule *capsule, const char *prefix, size_t n)
{
	return park_disks(capsule, prefix, n, false);
}

int kit_fill(struct capsule *capsule, const char *prefix, size_t n)
{
	return park_disks(capsule, prefix, n, true);
}

void kit_park_one(struct capsule *capsule, const char *name, enum res_mode mode)
{
	struct capsule_parcel p = kit_disk(name, mode);

	assert_int_equal(capsule_push(capsule, &p, 1, kit_soon()), 0);
	kit_close(&p);
}

size_t kit_locked(const char *prefix, size_t n)
{
	size_t locked = 0;

	for (size_t i = 0; i < n; i++)
		locked += !test_lockable(kit_path(prefix, i), F_WRLCK);
	return locked;
}

bool kit_all_free(const char *prefix, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!test_becomes_free(kit_path(prefix, i), 5000))
			return false;
	return true;
}

uint64_t kit_soon(void)
{
	return deadline_in_ms(10000);
}

struct capsule_contents kit_list(struct capsule *capsule)
{
	struct capsule_contents contents = CAPSULE_CONTENTS_NULL;

	assert_int_equal(capsule_list(capsule, kit_soon(), &contents), 0);
	return contents;
}

struct capsule_lease *kit_find(const struct capsule_contents *contents,
			       const char *name)
{
	const char *path = test_file(name, -1);

	for (size_t i = 0; i < contents->n_leases; i++)
		if (!strcmp(contents->leases[i].path, path))
			return &contents->leases[i];
	return NULL;
}

void kit_detach(struct capsule *capsule, const char *name)
{
	struct capsule_contents contents = kit_list(capsule);
	struct capsule_lease *lease = kit_find(&contents, name);

	assert_non_null(lease);
	assert_int_equal(capsule_unlock(lease), 0);
	capsule_contents_done(&contents);
	assert_int_equal(capsule_compact(capsule, kit_soon()), 0);
}

pid_t kit_guest(struct capsule *capsule)
{
	int b = capsule_fd(capsule);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (b > 3)
		syscall(SYS_close_range, 3, b - 1, 0);
	syscall(SYS_close_range, b + 1, ~0U, 0);
	for (;;)
		pause();
}

void kit_end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int kit_run(int (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn(arg));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status)
				 : 1000 + WTERMSIG(status);
}

struct capsule_entry kit_entry(const struct capsule *capsule)
{
	struct capsule_entry *entries = NULL, entry = {};
	size_t n = 0, n_found = 0;

	assert_int_equal(capsule_discover(&capsule_identity(capsule)->uuid,
					  &entries, &n),
			 0);
	for (size_t i = 0; i < n; i++) {
		if (!capsule_is(capsule, &entries[i]))
			continue;
		entry = entries[i];
		n_found++;
	}
	free(entries);
	assert_int_equal(n_found, 1);
	return entry;
}

int kit_adopt(const struct capsule_entry *entry, struct capsule **ret_capsule)
{
	struct capsule_adopt_config config = { .deadline = kit_soon() };

	return capsule_adopt(entry, &config, ret_capsule);
}
