/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

#include "core/cli/text.h"

#include <string.h>

/* One disk's answer, printed or kept for the JSON array. */
struct answer {
	const char *path;
	const struct glk_conflict *holders;
	size_t n;
	int err;
};

/* Several hold a disk each for itself only while it is handed over. (Who has
   another device with its blocks does not hold this one.) */
static const char *how(const struct answer *a, const struct glk_conflict *c)
{
	size_t n = 0;

	if (c->mode == GLK_MODE_SHARED)
		return ": held shared by ";
	for (size_t i = 0; i < a->n; i++)
		n += !*a->holders[i].how;
	return n > 1 ? ": held, in a hand-over, by " : ": held exclusively by ";
}

static void print_answer(const struct answer *a)
{
	for (size_t i = 0; i < a->n; i++) {
		text_put(stdout, a->path, 0);
		fputs(*a->holders[i].how ? ": " : how(a, &a->holders[i]),
		      stdout);
		cli_put_holder(stdout, &a->holders[i]);
		if (*a->holders[i].how) {
			putchar(' ');
			text_put(stdout, a->holders[i].how, 0);
		}
		putchar('\n');
	}
	if (!a->n) {
		text_put(stdout, a->path, 0);
		puts(": free");
	}
}

static json_t *holder_with_mode(const struct glk_conflict *c)
{
	json_t *holder = json_holder(c);

	if (holder &&
	    json_object_set_new(holder, "mode",
				json_string(lease_mode_name(c->mode)))) {
		json_decref(holder);
		return NULL;
	}
	return holder;
}

static json_t *answer_object(const struct answer *a)
{
	json_t *o = json_object(), *holders = json_array();
	int e = json_set_bytes(o, "path", a->path);

	for (size_t i = 0; i < a->n; i++)
		e |= json_array_append_new(holders,
					   holder_with_mode(&a->holders[i]));
	e |= json_object_set_new(o, "holders", holders);
	if (a->err)
		e |= json_object_set_new(o, "error",
					 json_string(status_word(a->err)));
	if (!e)
		return o;
	json_decref(o);
	return NULL;
}

static int ask(struct cli *cli, const char *path, struct answer *a)
{
	*a = (struct answer){ .path = path };
	a->err = glk_disk_holders(cli->context, path, &a->holders, &a->n);
	if (a->err < 0) {
		cli_say(glk_context_message(cli->context));
		return status_of(a->err);
	}
	if (!cli->options.json && !cli->options.quiet)
		print_answer(a);
	return a->n && cli->options.quiet ? STATUS_HELD : STATUS_OK;
}

static int run(struct cli *cli)
{
	_cleanup_(json_decref_p) json_t *answers = json_array();
	const struct options *o = &cli->options;
	int e = 0, status = STATUS_OK;

	for (size_t i = 0; i < o->n_args; i++) {
		struct answer a;
		int s = ask(cli, o->args[i], &a);

		/* A disk that could not be asked about outweighs one held. */
		if (status == STATUS_OK || (status == STATUS_HELD && s))
			status = s;
		if (o->json)
			e |= json_array_append_new(answers, answer_object(&a));
	}
	if (e)
		return cli_fail(cli, -ENOMEM, strerror(ENOMEM));
	if (o->json && cli_print_json(json_pack("{s:O}", "disks", answers)))
		return STATUS_INTERNAL;
	return status;
}

const struct verb verb_who = {
	.syntax = {
		.name = "who",
		.arguments = "[OPTION]... PATH...",
		.options = OPTIONS_OF_DIRS | OPTION_JSON | OPTION_QUIET,
		.min_args = 1,
		.max_args = ARGS_MANY,
	},
	.summary = "Say who holds a disk",
	.details = "The exit code is 0 whether PATH is held or free. With "
		   "--quiet nothing is printed and\nit is 75 if a PATH is "
		   "held. PATH is taken as it is: no comma is special.",
	.run = run,
};
