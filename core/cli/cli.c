/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

#include <fcntl.h>
#include <string.h>

/*
 * A caller may have closed standard input, output or error. The next file
 * opened would then take that number, and a message for stderr would be written
 * into a guest's disk. The stand-ins are closed again by exec.
 */
static int fill_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
	} while (fd <= STDERR_FILENO);
	fd_close(fd);
	return 0;
}

static void raise_nofile(struct cli *cli)
{
	struct rlimit all;

	getrlimit(RLIMIT_NOFILE, &cli->nofile);
	all = cli->nofile;
	all.rlim_cur = all.rlim_max;
	setrlimit(RLIMIT_NOFILE, &all);
}

static int help(const struct verb *verb)
{
	options_help(&verb->syntax, stdout);
	printf("\n%s.\n", verb->summary);
	if (verb->details)
		printf("%s\n", verb->details);
	return STATUS_OK;
}

static int open_context(struct cli *cli)
{
	int r = glk_context_new(&cli->context);

	if (r == -EINVAL)
		return cli_fail(cli, r,
				"GUESTLOCK_ENGINE: auto, uring or syscall");
	if (r < 0)
		return cli_fail_at(cli, r, "the lock engine");
	r = glk_context_set_policy(cli->context, &cli->options.policy);
	if (cli->options.policy.wait_ms && !cli->options.quiet)
		glk_context_on_wait(cli->context, cli_note_wait, NULL);
	return r < 0 ? cli_fail_context(cli, r) : STATUS_OK;
}

int cli_run(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	int r = options_parse(&verb->syntax, argc, argv, &cli->options);

	if (r == 0 && cli->options.help)
		return help(verb);
	if (r == 0)
		r = options_read_disks(&cli->options);
	if (r < 0)
		return cli_fail_options(cli, r);
	if (!verb->no_context)
		r = open_context(cli);
	return r ? r : verb->run(cli);
}

int cli_flush(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "guestlock: writing to standard output: %s\n",
		strerror(errno));
	return status ? status : STATUS_INTERNAL;
}

int cli_main(const struct verb *verb, int argc, char **argv)
{
	struct cli cli = { .options = OPTIONS_NULL };
	int status = fill_standard_fds();

	if (status < 0)
		return STATUS_INTERNAL;
	sigprocmask(SIG_BLOCK, NULL, &cli.mask);
	raise_nofile(&cli);
	status = cli_run(&cli, verb, argc, argv);
	glk_context_free(cli.context);
	options_done(&cli.options);
	return cli_flush(status);
}
