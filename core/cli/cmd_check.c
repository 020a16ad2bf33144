/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

#include "core/cli/text.h"

#include <string.h>

/*
 * A record in a capsule is what was taken once; the lock and the inode are what
 * is true now. Drift is where they differ: "lost", the kernel says that the
 * lock is gone; "replaced", the path leads to another file than the locked one;
 * "unlinked", the name of a lock file is gone, so it excludes nobody any more;
 * "unverifiable", the kernel cannot tell whether the lock is there, since a
 * server keeps it; "garbled", records that make no sense; "unreadable", the
 * capsule does not tell. An unreadable guest may be well or not, so it does not
 * pass, nor does a lease that cannot be verified.
 *
 * A lease that a migration has in hand is no drift, whatever it does not hold
 * meanwhile: its role is said, and that is all.
 */
struct tally {
	size_t guests, leases, drift;
	bool quiet;
};

/* What is said of one guest: JSON arrays, or NULL to print it. */
struct lists {
	json_t *drift, *handover;
};

static const char unverifiable[] = "unverifiable";
static const char why_unverifiable[] =
	"the server of its file system keeps the locks, and the kernel cannot "
	"tell whose they are";

static const char *problem_of(const struct glk_lease_info *lease)
{
	if (cli_is_lost(lease))
		return "lost";
	if (!lease->same_file)
		return "replaced";
	if (lease->unlinked)
		return "unlinked";
	return cli_is_unknown(lease) ? unverifiable : NULL;
}

static void say(const struct glk_guest_info *g,
		const struct glk_lease_info *lease, const char *word)
{
	cli_put_guest(stdout, g->uuid, g->name, g->pid);
	if (lease) {
		fputs(": ", stdout);
		text_put(stdout, lease->path, 0);
	}
	printf(": %s", word);
	if (word == unverifiable)
		printf(" (%s)", why_unverifiable);
	putchar('\n');
}

/* {"path","mode",KEY: WORD} Return: 0 or -1. */
static int list(json_t *array, const struct glk_lease_info *lease,
		const char *key, const char *word)
{
	json_t *o = json_object();
	int e = 0;

	if (lease) {
		e |= json_set_bytes(o, "path", lease->path);
		e |= json_object_set_new(o, "mode",
					 json_string(
						 lease_mode_name(lease->mode)));
	}
	e |= json_object_set_new(o, key, json_string(word));
	if (word == unverifiable)
		e |= json_object_set_new(o, "why",
					 json_string(why_unverifiable));
	return e | json_array_append_new(array, o);
}

/* Report one problem in the way that was asked for. Return: 0 or -1. */
static int drift(const struct glk_guest_info *g, struct tally *tally,
		 const struct glk_lease_info *lease, const char *problem,
		 const struct lists *lists)
{
	tally->drift++;
	if (lists->drift)
		return list(lists->drift, lease, "problem", problem);
	say(g, lease, problem);
	return 0;
}

static int handover(const struct glk_guest_info *g, const struct tally *tally,
		    const struct glk_lease_info *lease,
		    const struct lists *lists)
{
	const char *role = cli_role(lease);

	if (!role)
		return 0;
	if (lists->handover)
		return list(lists->handover, lease, "role", role);
	if (!tally->quiet)
		say(g, lease, role);
	return 0;
}

static int check_guest(const struct glk_guest_info *g, struct tally *tally,
		       const struct lists *lists)
{
	int e = 0;

	tally->guests++;
	tally->leases += g->n_leases;
	for (size_t i = 0; i < g->n_leases; i++) {
		const char *problem = problem_of(&g->leases[i]);

		if (problem)
			e |= drift(g, tally, &g->leases[i], problem, lists);
		e |= handover(g, tally, &g->leases[i], lists);
	}
	if (g->n_garbled)
		e |= drift(g, tally, NULL, "garbled", lists);
	if (g->error)
		e |= drift(g, tally, NULL, "unreadable", lists);
	return e;
}

/* Takes @lists over. */
static json_t *guest_object(const struct glk_guest_info *g,
			    const struct lists *lists)
{
	json_t *o = json_object();
	int e = json_set_bytes(o, "uuid", g->uuid);

	e |= json_set_bytes(o, "name", g->name);
	e |= json_object_set_new(o, "pid", json_integer(g->pid));
	e |= json_object_set_new(o, "checked",
				 json_integer((json_int_t)g->n_leases));
	e |= json_object_set_new(o, "drift", lists->drift);
	e |= json_object_set_new(o, "handover", lists->handover);
	if (!e)
		return o;
	json_decref(o);
	return NULL;
}

/* @guests: a JSON array to add to, or NULL to print. */
static int visit(const struct glk_guest_info *g, struct tally *tally,
		 json_t *guests)
{
	struct lists lists = {};
	int e;

	if (guests)
		lists = (struct lists){ json_array(), json_array() };
	e = check_guest(g, tally, &lists);
	if (guests)
		e |= json_array_append_new(guests, guest_object(g, &lists));
	return e;
}

static int visit_all(struct cli *cli, struct tally *tally, json_t *guests,
		     int *failed)
{
	_cleanup_(glk_guest_list_freep) struct glk_guest_list *list = NULL;
	int r = glk_guest_list_new(cli->context, 0, &list);

	if (r < 0)
		return r;
	cli_note_denied(cli, glk_guest_list_denied(list));
	for (size_t i = 0; i < glk_guest_list_count(list); i++)
		*failed |= visit(glk_guest_list_get(list, i), tally, guests);
	return 0;
}

static int visit_one(struct cli *cli, struct tally *tally, json_t *guests,
		     int *failed)
{
	_cleanup_(glk_guest_freep) struct glk_guest *guest = NULL;
	const struct glk_guest_info *info = NULL;
	int r;

	r = glk_guest_adopt(cli->context, cli->options.args[0], &guest);
	if (r == 0)
		r = glk_guest_info(guest, &info);
	if (r == 0)
		*failed = visit(info, tally, guests);
	return r;
}

static int run(struct cli *cli)
{
	_cleanup_(json_decref_p) json_t *guests = NULL;
	struct tally tally = { .quiet = cli->options.quiet };
	int r, failed = 0;

	if (cli->options.json)
		guests = json_array();
	r = (cli->options.n_args ? visit_one : visit_all)(cli, &tally, guests,
							  &failed);
	if (r < 0)
		return cli_fail_context(cli, r);
	if (failed)
		return cli_fail(cli, -ENOMEM, strerror(ENOMEM));
	if (guests)
		r = cli_print_json(json_pack("{s:b,s:O}", "ok", !tally.drift,
					     "guests", guests));
	else if (!cli->options.quiet)
		printf("guests %zu, leases %zu, problems %zu\n", tally.guests,
		       tally.leases, tally.drift);
	if (r)
		return r;
	return tally.drift ? STATUS_DRIFT : STATUS_OK;
}

const struct verb verb_check = {
	.syntax = {
		.name = "check",
		.arguments = "[OPTION]... [GUEST]",
		.options = OPTION_JSON | OPTION_QUIET,
		.max_args = 1,
	},
	.summary = "Check that every recorded lease is really held",
	.details =
		"GUEST is a uuid, a name or a pid. The exit code is 0 if all "
		"is well, and 1 if a lock\nis lost or cannot be verified, a "
		"disk was replaced under it, or records cannot be\nread.",
	.run = run,
};
