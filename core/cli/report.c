/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

#include "core/cli/text.h"

#include <string.h>

static json_t *error_object(int err)
{
	json_t *o = json_object();

	if (json_object_set_new(o, "error", json_string(status_word(err)))) {
		json_decref(o);
		return NULL;
	}
	return o;
}

int cli_print_json(json_t *value)
{
	int r = json_write(value, stdout);

	if (r < 0) {
		fprintf(stderr, "guestlock: writing JSON: %s\n", strerror(-r));
		return STATUS_INTERNAL;
	}
	return STATUS_OK;
}

void cli_say(const char *message)
{
	fputs("guestlock: ", stderr);
	text_put(stderr, message, TEXT_MESSAGE);
	fputc('\n', stderr);
}

int cli_fail(const struct cli *cli, int err, const char *message)
{
	cli_say(message);
	if (cli->options.json) {
		json_t *o = error_object(err);

		json_set_bytes(o, "message", message);
		cli_print_json(o);
	}
	return status_of(err);
}

int cli_fail_at(const struct cli *cli, int err, const char *subject)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return cli_fail(cli, -ENOMEM, strerror(ENOMEM));
	text_put(f, subject, 0);
	fprintf(f, ": %s", strerror(-err));
	if (fclose(f))
		return cli_fail(cli, -ENOMEM, strerror(ENOMEM));
	return cli_fail(cli, err, text);
}

void cli_put_guest(FILE *f, const char *uuid, const char *name, pid_t pid)
{
	fputs("guest ", f);
	if (*name) {
		fputc('\'', f);
		text_put(f, name, TEXT_QUOTED);
		fputs("' ", f);
	}
	fputs("(uuid ", f);
	text_put(f, uuid, 0);
	if (pid > 0)
		fprintf(f, ", pid %d", (int)pid);
	fputc(')', f);
}

void cli_put_holder(FILE *f, const struct glk_conflict *c)
{
	char since[TEXT_TIME_MAX];

	text_time(c->since, TEXT_SECONDS, since);
	if (c->kind == GLK_CONFLICT_GUEST) {
		cli_put_guest(f, c->uuid, c->name, c->pid);
	} else if (c->kind == GLK_CONFLICT_PROCESS) {
		fprintf(f, "process %d (", (int)c->pid);
		text_put(f, *c->exe ? c->exe : "executable not known", 0);
		fputc(')', f);
	} else if (c->kind == GLK_CONFLICT_HOST) {
		cli_put_guest(f, c->uuid, c->name, c->pid);
		fputs(" of host '", f);
		text_put(f, c->host, TEXT_QUOTED);
		fputc('\'', f);
	} else if (c->kind == GLK_CONFLICT_KERNEL) {
		fputs("the kernel", f);
	} else {
		fputs("somebody who cannot be seen from here", f);
	}
	if (*since)
		fprintf(f,
			c->kind == GLK_CONFLICT_PROCESS ? ", running since %s"
							: " since %s",
			since);
}

/* Who wants to share is refused for an exclusive lock only; who wants it alone
   is refused for either, and is not told which. */
static void say_conflict(const struct glk_conflict *c, const char *remark,
			 const char *before)
{
	fprintf(stderr, "guestlock: %s", remark);
	text_put(stderr, c->path, 0);
	fprintf(stderr, ": %s", before);
	if (!*c->how)
		fprintf(stderr, "held %sby ",
			c->mode == GLK_MODE_SHARED ? "exclusively " : "");
	cli_put_holder(stderr, c);
	if (*c->how) {
		fputc(' ', stderr);
		text_put(stderr, c->how, 0);
	}
	fputc('\n', stderr);
}

/* Without a conflict, @message has to do: a guest that has been handed on is on
   a host that cannot be seen from here. */
static int refuse(const struct cli *cli, const struct glk_conflict *conflicts,
		  size_t n, const char *message)
{
	json_t *o, *list;
	int e = 0;

	if (!n)
		cli_say(message);

	for (size_t i = 0; i < n; i++)
		say_conflict(&conflicts[i], "", "");
	if (!cli->options.json)
		return STATUS_HELD;
	o = error_object(-EBUSY);
	list = json_array();
	for (size_t i = 0; i < n; i++)
		e |= json_array_append_new(list, json_conflict(&conflicts[i]));
	if (!n)
		e |= json_set_bytes(o, "message", message);
	if (json_object_set_new(o, "conflicts", list) || e) {
		json_decref(o);
		o = NULL;
	}
	cli_print_json(o);
	return STATUS_HELD;
}

int cli_fail_context(const struct cli *cli, int err)
{
	const struct glk_conflict *conflicts;
	const char *message = glk_context_message(cli->context);
	size_t n = glk_context_conflicts(cli->context, &conflicts);

	if (!*message)
		message = strerror(-err);
	if (err == -EBUSY)
		return refuse(cli, conflicts, n, message);
	return cli_fail(cli, err, message);
}

void cli_warn(const struct cli *cli)
{
	const struct glk_conflict *conflicts;
	size_t n = glk_context_conflicts(cli->context, &conflicts);

	for (size_t i = 0; i < n && !cli->options.quiet; i++)
		say_conflict(&conflicts[i], "warning: ", "");
}

int cli_print_warnings(const struct cli *cli)
{
	const struct glk_conflict *conflicts;
	size_t n = glk_context_conflicts(cli->context, &conflicts);
	_cleanup_(json_decref_p) json_t *list = json_array();
	int e = 0;

	cli_warn(cli);
	for (size_t i = 0; i < n; i++)
		e |= json_array_append_new(list, json_conflict(&conflicts[i]));
	if (!cli->options.json ||
	    cli->options.policy.exclusive_open != GLK_OPEN_WARN)
		return STATUS_OK;
	return cli_print_json(e ? NULL : json_pack("{s:O}", "warnings", list));
}

int cli_fail_options(const struct cli *cli, int err)
{
	const char *complaint = cli->options.complaint;

	return cli_fail(cli, err, complaint ? complaint : strerror(-err));
}

void cli_note(const struct cli *cli, const char *subject, const char *text)
{
	if (cli->options.quiet)
		return;
	fputs("guestlock: ", stderr);
	if (subject) {
		text_put(stderr, subject, 0);
		fputs(": ", stderr);
	}
	text_put(stderr, text, TEXT_MESSAGE);
	fputc('\n', stderr);
}

void cli_note_wait(void *arg, const struct glk_conflict *conflict)
{
	(void)arg;
	say_conflict(conflict, "", "waiting: ");
}

void cli_note_denied(const struct cli *cli, size_t denied)
{
	char text[80];

	if (!denied)
		return;
	snprintf(text, sizeof(text),
		 "guests that this user may not look into: %zu", denied);
	cli_note(cli, NULL, text);
}

bool cli_is_unknown(const struct glk_lease_info *lease)
{
	return lease->held == GLK_HELD_UNKNOWN;
}

bool cli_is_lost(const struct glk_lease_info *lease)
{
	if (cli_is_unknown(lease))
		return false;
	switch (lease->role) {
	case GLK_ROLE_NONE:
		return true;
	case GLK_ROLE_LEFT:
	case GLK_ROLE_INCOMING:
		return false;
	default:
		return !lease->held;
	}
}

const char *cli_role(const struct glk_lease_info *lease)
{
	if (cli_is_lost(lease) || cli_is_unknown(lease) ||
	    lease->role == GLK_ROLE_OWNER)
		return NULL;
	return lease_role_name(lease->role);
}
