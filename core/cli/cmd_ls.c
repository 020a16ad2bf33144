/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/cli.h"

#include "core/cli/text.h"

#include <string.h>

static const char *held_text(const struct glk_lease_info *lease)
{
	if (cli_is_unknown(lease))
		return "?";
	return lease->held ? "yes" : "no";
}

/* "3", "3 (1 lost)", "3 (1 unverifiable)" or "3 (2 incoming)", whichever
   matters most. */
static void put_state(const struct glk_guest_info *g, char *buf, size_t size)
{
	const char *word = NULL;
	size_t lost = 0, unknown = 0, moving = 0;

	for (size_t i = 0; i < g->n_leases; i++) {
		const char *role = cli_role(&g->leases[i]);

		lost += cli_is_lost(&g->leases[i]);
		unknown += cli_is_unknown(&g->leases[i]);
		moving += !!role;
		word = role ? role : word;
	}
	if (g->error)
		snprintf(buf, size, "?");
	else if (lost)
		snprintf(buf, size, "%zu (%zu lost)", g->n_leases, lost);
	else if (unknown)
		snprintf(buf, size, "%zu (%zu unverifiable)", g->n_leases,
			 unknown);
	else if (word)
		snprintf(buf, size, "%zu (%zu %s)", g->n_leases, moving, word);
	else
		snprintf(buf, size, "%zu", g->n_leases);
}

/* The name comes last: it may hold spaces. */
static void print_row(const struct glk_guest_info *g)
{
	char started[TEXT_TIME_MAX], leases[64];

	put_state(g, leases, sizeof(leases));
	printf("%-36s %8d %6u %-20s %8s  ", g->uuid, (int)g->pid,
	       (unsigned)g->uid, text_time(g->started, TEXT_SECONDS, started),
	       leases);
	text_put(stdout, *g->name ? g->name : "-", 0);
	putchar('\n');
}

static void print_guest(const struct glk_guest_info *g)
{
	char at[TEXT_TIME_MAX];

	printf("uuid     %s\nname     ", g->uuid);
	text_put(stdout, *g->name ? g->name : "-", 0);
	if (g->id < 0)
		printf("\nid       -\n");
	else
		printf("\nid       %lld\n", (long long)g->id);
	printf("pid      %d\nuid      %u\nholder   %s\nstarted  %s\n",
	       (int)g->pid, (unsigned)g->uid, guest_holder_name(g->holder),
	       text_time(g->started, TEXT_SECONDS, at));
	if (g->epoch)
		printf("epoch    %llu\n", (unsigned long long)g->epoch);
	printf("leases   %zu\n", g->n_leases);
	if (!g->n_leases)
		return;
	printf("\n%-9s  %-7s  %-4s  %-20s  PATH\n", "MODE", "SCOPE", "HELD",
	       "SINCE");
	for (size_t i = 0; i < g->n_leases; i++) {
		const struct glk_lease_info *l = &g->leases[i];
		const char *role = cli_role(l);

		printf("%-9s  %-7s  %-4s  %-20s  ", lease_mode_name(l->mode),
		       lease_scope_name(l->scope), held_text(l),
		       text_time(l->since, TEXT_SECONDS, at));
		text_put(stdout, l->path, 0);
		if (role)
			printf(" (%s)", role);
		puts(l->same_file ? "" : " (replaced)");
	}
}

static void note_guest(const struct cli *cli, const struct glk_guest_info *g)
{
	char text[120];

	if (g->error) {
		snprintf(text, sizeof(text), "its leases cannot be read: %s",
			 strerror(-g->error));
		cli_note(cli, g->uuid, text);
	}
	if (g->n_garbled) {
		snprintf(text, sizeof(text), "%zu records make no sense",
			 g->n_garbled);
		cli_note(cli, g->uuid, text);
	}
}

static int ls_one(struct cli *cli)
{
	_cleanup_(glk_guest_freep) struct glk_guest *guest = NULL;
	const struct glk_guest_info *info;
	int r;

	r = glk_guest_adopt(cli->context, cli->options.args[0], &guest);
	if (r == 0)
		r = glk_guest_info(guest, &info);
	if (r < 0)
		return cli_fail_context(cli, r);
	note_guest(cli, info);
	if (cli->options.json)
		return cli_print_json(
			json_pack("{s:[o]}", "guests", json_guest(info)));
	print_guest(info);
	return info->error ? (int)status_of(info->error) : STATUS_OK;
}

static json_t *list_object(const struct glk_guest_list *list)
{
	json_t *guests = json_array();
	size_t denied = glk_guest_list_denied(list);
	int e = 0;

	for (size_t i = 0; i < glk_guest_list_count(list); i++)
		e |= json_array_append_new(guests,
					   json_guest(glk_guest_list_get(list,
									 i)));
	if (e) {
		json_decref(guests);
		return NULL;
	}
	if (!denied)
		return json_pack("{s:o}", "guests", guests);
	return json_pack("{s:o,s:I}", "guests", guests, "denied",
			 (json_int_t)denied);
}

static int ls_all(struct cli *cli)
{
	_cleanup_(glk_guest_list_freep) struct glk_guest_list *list = NULL;
	int r = glk_guest_list_new(cli->context, 0, &list);

	if (r < 0)
		return cli_fail_context(cli, r);
	cli_note_denied(cli, glk_guest_list_denied(list));
	for (size_t i = 0; i < glk_guest_list_count(list); i++)
		note_guest(cli, glk_guest_list_get(list, i));
	if (cli->options.json)
		return cli_print_json(list_object(list));
	printf("%-36s %8s %6s %-20s %8s  %s\n", "UUID", "PID", "UID", "STARTED",
	       "LEASES", "NAME");
	for (size_t i = 0; i < glk_guest_list_count(list); i++)
		print_row(glk_guest_list_get(list, i));
	return STATUS_OK;
}

static int run(struct cli *cli)
{
	return cli->options.n_args ? ls_one(cli) : ls_all(cli);
}

const struct verb verb_ls = {
	.syntax = {
		.name = "ls",
		.arguments = "[OPTION]... [GUEST]",
		.options = OPTION_JSON | OPTION_QUIET,
		.max_args = 1,
	},
	.summary = "List the guests of this host and what they hold",
	.details = "GUEST is a uuid, a name or a pid. Read from the kernel at "
		   "that moment; times are\nUTC. Guests of processes that this "
		   "user may not look into are counted on stderr.",
	.run = run,
};
