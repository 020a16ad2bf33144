/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

#include "core/base/err.h"
#include "core/cli/text.h"

#include <locale.h>
#include <string.h>

static const struct verb *const verbs[] = {
	&verb_run,     &verb_attach_disk, &verb_detach_disk,
	&verb_ls,      &verb_who,	  &verb_check,
	&verb_migrate, &verb_doctor,	  &verb_demo,
};

static void usage(FILE *f)
{
	fputs("usage: guestlock VERB [OPTION]... [ARGUMENT]...\n"
	      "       guestlock VERB --help | --help | --version\n\n",
	      f);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		fprintf(f, "  %-12s %s\n", verbs[i]->syntax.name,
			verbs[i]->summary);
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";

	bug_set_fatal(true);
	setlocale(LC_CTYPE, "");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (!strcmp(word, verbs[i]->syntax.name))
			return cli_main(verbs[i], argc - 1, argv + 1);
	}
	if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
		printf("guestlock %s\n", glk_version());
		return cli_flush(STATUS_OK);
	}
	if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
		usage(stdout);
		return cli_flush(STATUS_OK);
	}
	if (*word) {
		fputs("guestlock: unknown verb '", stderr);
		text_put(stderr, word, TEXT_QUOTED);
		fputs("'\n", stderr);
	}
	usage(stderr);
	return STATUS_USAGE;
}
