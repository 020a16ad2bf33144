/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/base/util.h"
#include "core/cli/json.h"
#include "core/cli/options.h"
#include "core/cli/status.h"
#include "include/guestlock.h"

#include <signal.h>
#include <sys/resource.h>

/* A running command: a verb's options and what it works with. */
struct cli {
	struct options options;
	struct glk_context *context; /* NULL for a verb without one */
	struct rlimit nofile;	     /* as the user set it; ours is raised */
	sigset_t mask;		     /* ditto */
};

struct verb {
	struct syntax syntax;
	const char *summary;
	const char *details; /* for --help; may be NULL */
	bool no_context;     /* run() makes one itself, if it wants one */
	int (*run)(struct cli *cli); /* returns an enum status */
};

extern const struct verb verb_run;
extern const struct verb verb_attach_disk;
extern const struct verb verb_detach_disk;
extern const struct verb verb_ls;
extern const struct verb verb_who;
extern const struct verb verb_check;
extern const struct verb verb_migrate;
extern const struct verb verb_doctor;
extern const struct verb verb_demo;

/**
 * cli_main() - run one verb from its command line to its exit code
 * @argv:	from the verb's name on
 *
 * For the verb's own time, RLIMIT_NOFILE is raised as far as it may be, and
 * descriptors 0 to 2 are open.
 */
int cli_main(const struct verb *verb, int argc, char **argv);

/**
 * cli_run() - read @argv, open a context if @verb wants one, and run it
 * @argv:	from the verb's name on
 *
 * For a verb of verbs: it may call this with what follows it. Return: the exit
 * code.
 */
int cli_run(struct cli *cli, const struct verb *verb, int argc, char **argv);

/* What was printed must have arrived: a full disk is an error. Return: @status,
   or STATUS_INTERNAL. */
int cli_flush(int status);

/*
 * Failures. Each says it on stderr as "guestlock: ...", with --json prints it
 * on stdout, too, and returns the exit code.
 */

/* On stderr only. @message is escaped already. */
void cli_say(const char *message);

/* Ditto. */
int cli_fail(const struct cli *cli, int err, const char *message);

/* @subject is not: "guestlock: SUBJECT: what went wrong". */
int cli_fail_at(const struct cli *cli, int err, const char *subject);

/* The options' complaint. */
int cli_fail_options(const struct cli *cli, int err);

/* The library's call failed: every conflict, or else its message. */
int cli_fail_context(const struct cli *cli, int err);

/* The library's call went well: who else has a disk open, on stderr unless
   --quiet. */
void cli_warn(const struct cli *cli);

/* The same, and with --json as an object, if such warnings are wanted. Return:
   STATUS_OK, or the failure to print. */
int cli_print_warnings(const struct cli *cli);

/* A remark on stderr, unless --quiet. Escapes @subject; NULL for none. */
void cli_note(const struct cli *cli, const char *subject, const char *text);

/* For glk_context_on_wait(): a remark on stderr. */
void cli_note_wait(void *arg, const struct glk_conflict *conflict);

/* A note that @denied guests were left out, if any were. */
void cli_note_denied(const struct cli *cli, size_t denied);

/* Write @value (taken over) to stdout. Return: STATUS_OK, or the failure. */
int cli_print_json(json_t *value);

/* "guest 'web1' (uuid U, pid P)", for a person. */
void cli_put_guest(FILE *f, const char *uuid, const char *name, pid_t pid);

/* "guest 'web1' (uuid U, pid P) since T", "process P (EXE)" ... */
void cli_put_holder(FILE *f, const struct glk_conflict *conflict);

/* Should its lock be there, and is not? Without one, a lease may also be one
   that a migration has in hand. */
bool cli_is_lost(const struct glk_lease_info *lease);

/* Nobody can tell whether its lock is held. */
bool cli_is_unknown(const struct glk_lease_info *lease);

/* The role's name if it is worth saying, as "left" is; else NULL. */
const char *cli_role(const struct glk_lease_info *lease);

static inline void glk_guest_freep(struct glk_guest **guest)
{
	glk_guest_free(*guest);
}

static inline void glk_guest_list_freep(struct glk_guest_list **list)
{
	glk_guest_list_free(*list);
}

static inline void json_decref_p(json_t **value)
{
	json_decref(*value);
}
