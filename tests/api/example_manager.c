/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <guestlock.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* manager UUID DISK COMMAND...: run COMMAND as a guest that owns DISK. */
static int fail(struct glk_manager *manager)
{
	const struct glk_conflict *c;
	size_t n = glk_manager_conflicts(manager, &c);

	fprintf(stderr, "%s\n", glk_manager_message(manager));
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "  %s: held by %s, pid %d\n", c[i].path,
			*c[i].name ? c[i].name : c[i].exe, (int)c[i].pid);
	return 1;
}

static int start(struct glk_manager *manager, char **command, pid_t *ret_pid)
{
	int r;

	*ret_pid = fork();
	if (*ret_pid == 0) {
		if (glk_manager_inherit(manager) == 0)
			execvp(command[0], command);
		_exit(127);
	}
	if (*ret_pid < 0)
		return -1;
	/* From here on the locks live in the guest, and only there. A guest
	   that has ended by now left them to us. */
	r = glk_manager_started(manager, *ret_pid);
	return r == -ESRCH ? 0 : r;
}

static int run(struct glk_manager *manager, char **argv)
{
	struct glk_resource disk = { GLK_RESOURCE_DISK, argv[2], 0 };
	pid_t pid;

	if (glk_manager_set(manager, "uuid", argv[1]) < 0 ||
	    glk_manager_set(manager, "name", "web1") < 0 ||
	    glk_manager_register(manager, &disk, 1) < 0 ||
	    glk_manager_acquire(manager) < 0 ||
	    start(manager, argv + 3, &pid) < 0)
		return fail(manager);
	waitpid(pid, NULL, 0);
	return glk_manager_shutdown(manager) < 0 ? fail(manager) : 0;
}

int main(int argc, char **argv)
{
	struct glk_manager *manager = NULL;
	struct glk_driver *driver = NULL;
	int status = 64;

	if (argc < 4 || glk_driver_load("ofd", &driver) < 0)
		return status;
	if (glk_manager_new(driver, GLK_OBJECT_DOMAIN, GLK_MANAGER_START,
			    &manager) == 0)
		status = run(manager, argv);
	glk_manager_free(manager);
	glk_driver_unload(driver);
	return status;
}
