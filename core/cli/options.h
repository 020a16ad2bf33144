/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/cli/disks.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum option_bit {
	OPTION_JSON = 1 << 0,
	OPTION_QUIET = 1 << 1,
	OPTION_ID = 1 << 2,
	OPTION_UUID = 1 << 3,
	OPTION_NAME = 1 << 4,
	OPTION_DISK = 1 << 5,
	OPTION_DISKS_FROM = 1 << 6,
	OPTION_NUL = 1 << 7,
	OPTION_LEASE = 1 << 8,
	OPTION_LOCKSPACE = 1 << 9,
	OPTION_WAIT = 1 << 10,
	OPTION_HELP = 1 << 11, /* every verb has it */
	OPTION_INCOMING = 1 << 12,
	OPTION_EPOCH = 1 << 13,
	OPTION_TAG = 1 << 14,
	OPTION_VM = 1 << 15,
	OPTION_ARGS_FROM = 1 << 16,
	OPTION_SIDE = 1 << 17,
	OPTION_TIMEOUT = 1 << 18,
	OPTION_LOCK_DIR = 1 << 19,
	OPTION_LVM_LOCK_DIR = 1 << 20,
	OPTION_SCSI_LOCK_DIR = 1 << 21,
	OPTION_REQUIRE_SCOPE = 1 << 22,
	OPTION_EXCLUSIVE_OPEN = 1 << 23,
	OPTION_READONLY = 1 << 24,
};

#define OPTIONS_OF_DIRS                                                        \
	(OPTION_LOCK_DIR | OPTION_LVM_LOCK_DIR | OPTION_SCSI_LOCK_DIR)

/* Of whatever takes disks: the library's policy. */
#define OPTIONS_OF_POLICY                                                      \
	(OPTIONS_OF_DIRS | OPTION_REQUIRE_SCOPE | OPTION_EXCLUSIVE_OPEN |      \
	 OPTION_READONLY | OPTION_WAIT)

/* Of whatever starts a guest. */
#define OPTIONS_OF_RUN                                                         \
	(OPTION_ID | OPTION_UUID | OPTION_NAME | OPTION_DISK |                 \
	 OPTION_DISKS_FROM | OPTION_NUL | OPTION_LEASE | OPTION_LOCKSPACE |    \
	 OPTION_VM | OPTION_INCOMING | OPTION_EPOCH | OPTION_TAG |             \
	 OPTION_ARGS_FROM | OPTIONS_OF_POLICY | OPTION_JSON | OPTION_QUIET)

/* What a verb accepts. */
struct syntax {
	const char *name;
	const char *arguments; /* for the usage line */
	unsigned options;      /* enum option_bit */
	unsigned min_args, max_args;
	bool command; /* the arguments are another program's: they begin at the
			 first word that is no option of ours, or after -- */
};

#define ARGS_MANY UINT32_MAX

enum side { SIDE_ANY, SIDE_SOURCE, SIDE_DESTINATION };

struct options {
	bool help, json, quiet, nul, incoming, vm;
	int64_t id;	 /* -1: none */
	int64_t timeout; /* seconds; -1: none */
	uint64_t epoch, tag;
	enum side side;
	struct glk_policy policy; /* borrows its strings */
	const char *uuid, *name, *disks_from, *lockspace, *args_from;
	struct disks disks; /* with the leases, once options_parse() is done */
	struct disks keys;  /* of --lease */
	char *words_data;   /* what --args-from has read, and its words, */
	char **words;	    /* which others point to; words[0] is none */
	char **args;
	size_t n_args;
	char *complaint; /* what is wrong, once options_parse() has failed */
};

#define OPTIONS_NULL ((struct options){ .id = -1, .timeout = -1 })

/**
 * options_parse() - read a verb's command line
 * @argv:	from the verb's name on, NULL-terminated; may be permuted
 * @options:	OPTIONS_NULL before; to be freed with options_done(), also
 *		after a failure
 *
 * Goes on after the first mistake, so that --json counts wherever it stands.
 * May be called again for the words that an earlier call has left over; what
 * that has found stays.
 *
 * Return: 0; -EINVAL, -EOPNOTSUPP for what a later version will do, with
 * @options->complaint, whose strings are escaped; -ENOMEM.
 */
int options_parse(const struct syntax *syntax, int argc, char **argv,
		  struct options *options);

/* Add what --disks-from names to the disks. Return: as options_parse(), or
   negative errno of open(2) and read(2), with a complaint. */
int options_read_disks(struct options *options);

/* Add PATH[,shared][,readonly][,claim][,lease]. Return: as options_parse(). */
int options_add_disk(struct options *options, const char *spec);

/**
 * options_read_args() - the words of --args-from
 * @ret_argc:	how many, with words[0], which is @name
 *
 * Sets @options->words, NULL-terminated. Return: as options_read_disks().
 */
int options_read_args(struct options *options, const char *name,
		      const char *file, int *ret_argc);

/* Keep KEY of --lease. Return: as options_parse(). */
int options_add_key(struct options *options, const char *key);

/* Once all options are known: make disks of the leases; with --vm, leave no
   other. Return: as options_parse(). */
int options_add_leases(struct options *options);

/* One for each option with a value of its own. Return: as options_parse(). */
int options_set_id(struct options *options, const char *value);
int options_set_uuid(struct options *options, const char *value);
int options_set_name(struct options *options, const char *value);
int options_set_epoch(struct options *options, const char *value);
int options_set_tag(struct options *options, const char *value);
int options_set_side(struct options *options, const char *value);
int options_set_timeout(struct options *options, const char *value);
int options_set_disks_from(struct options *options, const char *value);
int options_set_lockspace(struct options *options, const char *value);
int options_set_wait(struct options *options, const char *value);
int options_set_require_scope(struct options *options, const char *value);
int options_set_exclusive_open(struct options *options, const char *value);
int options_set_readonly(struct options *options, const char *value);
int options_set_lock_dir(struct options *options, const char *value);
int options_set_lvm_lock_dir(struct options *options, const char *value);
int options_set_scsi_lock_dir(struct options *options, const char *value);

/* Decimal digits and nothing else. Return: 0 or -EINVAL. */
int options_parse_decimal(const char *s, uint64_t max, uint64_t *ret);

/* Keep the first complaint: "@before'subject'@after", the subject escaped;
   NULL for none. Return: @err, or -ENOMEM. */
int options_complain(struct options *options, int err, const char *before,
		     const char *subject, const char *after);

/* "@before'file': @err in words". Return: as options_complain(). */
int options_complain_file(struct options *options, int err, const char *before,
			  const char *file);

void options_done(struct options *options);

/* "usage: guestlock NAME ..." and a line for each option. */
void options_help(const struct syntax *syntax, FILE *f);
