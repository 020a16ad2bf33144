/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/managed.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct glk_manager *managed_new(const char *driver, int mode, const char *uuid)
{
	struct glk_manager *manager = NULL;
	struct glk_driver *loaded = NULL;

	MUST_EQUAL(glk_driver_load(driver, &loaded), 0);
	MUST_EQUAL(glk_manager_new(loaded, GLK_OBJECT_DOMAIN, mode, &manager),
		   0);
	glk_driver_unload(loaded);
	MUST_EQUAL(glk_manager_set(manager, "uuid", uuid), 0);
	glk_manager_set_timeout(manager, 30000);
	return manager;
}

int managed_register(struct glk_manager *manager, const char *path,
		     unsigned flags)
{
	struct glk_resource disk = { GLK_RESOURCE_DISK, path, flags };

	return glk_manager_register(manager, &disk, 1);
}

int managed_plug(struct glk_manager *manager, const char *path)
{
	struct glk_resource disk = { GLK_RESOURCE_DISK, path, 0 };

	return glk_manager_acquire_resources(manager, &disk, 1);
}

int managed_unplug(struct glk_manager *manager, const char *path)
{
	struct glk_resource disk = { GLK_RESOURCE_DISK, path, 0 };

	return glk_manager_release_resources(manager, &disk, 1);
}

/* EOF on a pipe that closes at exec says that exec was done. */
static void await_exec(int ready[2])
{
	char byte;

	close(ready[1]);
	MUST_EQUAL(read(ready[0], &byte, 1), 0);
	close(ready[0]);
}

pid_t managed_start(struct glk_manager *manager)
{
	int ready[2];
	pid_t pid;

	MUST(!pipe2(ready, O_CLOEXEC));
	pid = fork();
	MUST(pid >= 0);
	if (!pid) {
		if (!glk_manager_inherit(manager))
			execvp(guest_program[0], guest_program);
		_exit(99);
	}
	await_exec(ready);
	return pid;
}

pid_t managed_supervise(struct glk_manager *manager)
{
	char *const *argv = NULL;
	const char *path = NULL;
	int argc = 0, ready[2];
	char **words;
	pid_t pid;

	MUST_EQUAL(glk_manager_supervisor_args(manager, &argv, &argc), 0);
	MUST_EQUAL(glk_manager_supervisor_path(manager, &path), 0);
	words = calloc((size_t)argc + 3, sizeof(*words));
	MUST(words != NULL);
	words[0] = (char *)path;
	memcpy(words + 1, argv, (size_t)argc * sizeof(*words));
	words[argc + 1] = guest_program[0];
	MUST(!pipe2(ready, O_CLOEXEC));
	pid = fork();
	MUST(pid >= 0);
	if (!pid) {
		execv(path, words);
		_exit(99);
	}
	await_exec(ready);
	free(words);
	return pid;
}

void managed_says(const struct glk_manager *manager, const char *text)
{
	if (!strstr(glk_manager_message(manager), text))
		fprintf(stderr, "'%s' is not in '%s'\n", text,
			glk_manager_message(manager));
	MUST(strstr(glk_manager_message(manager), text) != NULL);
}

size_t managed_drift(const struct glk_manager *manager, int kind,
		     const char *path)
{
	const struct glk_drift *drift = NULL;
	size_t n = glk_manager_drift(manager, &drift), found = 0;

	for (size_t i = 0; i < n; i++)
		found += drift[i].kind == kind &&
			 (!path || !strcmp(drift[i].path, path));
	return found;
}
