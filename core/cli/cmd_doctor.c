/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

#include "core/cli/doctor.h"
#include "core/cli/text.h"

#include <string.h>

static void print_findings(const struct findings *all, bool quiet)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct finding *f = &all->items[i];

		if (quiet && f->state == FINDING_OK)
			continue;
		printf("%-8s  %-12s  ", finding_state_name(f->state), f->topic);
		text_put(stdout, f->text, 0);
		putchar('\n');
		if (f->mend)
			printf("%-8s  %-12s  mend: %s\n", "", "", f->mend);
	}
}

static json_t *finding_object(const struct finding *f)
{
	json_t *o = json_pack("{s:s,s:s}", "topic", f->topic, "state",
			      finding_state_name(f->state));

	if (!o || json_set_bytes(o, "text", f->text) ||
	    json_set_bytes(o, "mend", f->mend)) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static json_t *report_object(const struct findings *all, json_t *disks)
{
	json_t *list = json_array();
	int e = 0;

	for (size_t i = 0; i < all->n; i++)
		e |= json_array_append_new(list,
					   finding_object(&all->items[i]));
	if (e) {
		json_decref(list);
		return NULL;
	}
	return json_pack("{s:b,s:s,s:o,s:O}", "usable", doctor_usable(all),
			 "version", glk_version(), "findings", list, "disks",
			 disks);
}

/* Return: an enum status. */
static int look_at_disk(struct cli *cli, const char *path, json_t *disks)
{
	json_t *o = json_object();
	const struct glk_disk_reach *reach = NULL;
	int e = json_set_bytes(o, "path", path);
	int r = glk_disk_reach(cli->context, path, &reach);

	if (r < 0) {
		cli_say(glk_context_message(cli->context));
		e |= json_object_set_new(o, "error",
					 json_string(status_word(r)));
	} else {
		e |= doctor_disk_json(o, reach);
	}
	e |= json_array_append_new(disks, o);
	if (r == 0 && !cli->options.json)
		doctor_disk_print(path, reach);
	return e ? STATUS_INTERNAL : (int)status_of(r);
}

static int run(struct cli *cli)
{
	_cleanup_(json_decref_p) json_t *disks = json_array();
	const struct options *o = &cli->options;
	struct doctor_facts facts = { .nofile = cli->nofile };
	struct findings all;
	int status = STATUS_OK, r;

	for (size_t i = 0; i < o->n_args; i++)
		if (!*o->args[i])
			return cli_fail(cli, -EINVAL, "a path is empty");
	r = glk_host_describe(cli->context, &facts.host);
	if (r < 0)
		return cli_fail_context(cli, r);
	doctor_look(&facts);
	doctor_judge(&facts, &all);
	if (!o->json)
		print_findings(&all, o->quiet);
	for (size_t i = 0; i < o->n_args; i++) {
		r = look_at_disk(cli, o->args[i], disks);
		status = status ? status : r;
	}
	if (o->json && cli_print_json(report_object(&all, disks)))
		return STATUS_INTERNAL;
	if (status)
		return status;
	return doctor_usable(&all) ? STATUS_OK : STATUS_DRIFT;
}

const struct verb verb_doctor = {
	.syntax = {
		.name = "doctor",
		.arguments = "[OPTION]... [PATH]...",
		.options = OPTION_JSON | OPTION_QUIET,
		.max_args = ARGS_MANY,
	},
	.summary = "Say what this host can do, and how to mend what it cannot",
	.details = "With PATH, how far a lock on it reaches. The exit code is "
		   "1 if something is missing\nwithout which guestlock cannot "
		   "work here; a degraded host is fine.",
	.run = run,
};
