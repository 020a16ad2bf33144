/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/options.h"

#include "core/base/util.h"
#include "core/base/uuid.h"
#include "core/cli/text.h"

#include <getopt.h>
#include <string.h>

/* In the order of the help text; a short option of 0 is none. */
static const struct known {
	enum option_bit bit;
	char letter;
	const char *name;
	const char *value;
	const char *help;
} known_options[] = {
	{ OPTION_ID, 0, "id", "N", "the guest's number" },
	{ OPTION_UUID, 0, "uuid", "U", "the guest's uuid (default: random)" },
	{ OPTION_NAME, 0, "name", "S", "the guest's name" },
	{ OPTION_DISK, 0, "disk", "PATH[,shared][,readonly]",
	  "lock this image; double a comma in PATH" },
	{ OPTION_DISKS_FROM, 0, "disks-from", "FILE",
	  "lock each path of FILE, one a line; - is stdin" },
	{ OPTION_NUL, '0', "null", NULL,
	  "paths in FILE end with a NUL byte, not with a newline" },
	{ OPTION_LEASE, 0, "lease", "KEY", "not in this version" },
	{ OPTION_LOCKSPACE, 0, "lockspace", "DIR", "not in this version" },
	{ OPTION_WAIT, 0, "wait", "SEC", "not in this version" },
	{ OPTION_JSON, 'j', "json", NULL, "print JSON on standard output" },
	{ OPTION_QUIET, 'q', "quiet", NULL, "print errors only" },
	{ OPTION_HELP, 'h', "help", NULL, "print this help" },
};

#define OPTIONS_LATER (OPTION_LEASE | OPTION_LOCKSPACE | OPTION_WAIT)

/* getopt_long() tables for the options that one verb accepts. */
struct tables {
	char letters[2 * ARRAY_SIZE(known_options) + 3];
	struct option names[ARRAY_SIZE(known_options) + 1];
};

static void build_tables(const struct syntax *syntax, struct tables *tables)
{
	char *letter = tables->letters;
	size_t n = 0;

	*tables = (struct tables){};
	if (syntax->command)
		*letter++ = '+';
	*letter++ = ':';
	for (size_t i = 0; i < ARRAY_SIZE(known_options); i++) {
		const struct known *k = &known_options[i];

		if (!((syntax->options | OPTION_HELP) & k->bit))
			continue;
		if (k->letter)
			*letter++ = k->letter;
		tables->names[n++] = (struct option){
			.name = k->name,
			.has_arg = k->value ? required_argument : no_argument,
			.val = k->letter ? k->letter : 0x100 + (int)i,
		};
	}
}

static const struct known *find_option(int value)
{
	for (size_t i = 0; i < ARRAY_SIZE(known_options); i++) {
		if (value == 0x100 + (int)i ||
		    (known_options[i].letter &&
		     value == known_options[i].letter))
			return &known_options[i];
	}
	return NULL;
}

int options_complain(struct options *options, int err, const char *before,
		     const char *subject, const char *after)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *f;

	if (options->complaint)
		return err;
	f = open_memstream(&text, &size);
	if (!f)
		return -ENOMEM;
	fputs(before, f);
	if (subject) {
		fputc('\'', f);
		text_put(f, subject, TEXT_QUOTED);
		fputc('\'', f);
	}
	fputs(after, f);
	if (fclose(f))
		return -ENOMEM;
	options->complaint = TAKE_PTR(text);
	return err;
}

static int set_id(struct options *options, const char *value)
{
	char *end;

	errno = 0;
	options->id = strtoll(value, &end, 10);
	if (errno || *end || *value < '0' || *value > '9')
		return options_complain(options, -EINVAL, "--id ", value,
					" is not a number from 0 to 2^63 - 1");
	return 0;
}

static int set_uuid(struct options *options, const char *value)
{
	struct uuid uuid;

	options->uuid = value;
	if (uuid_parse(value, &uuid) < 0)
		return options_complain(options, -EINVAL, "--uuid ", value,
					" is not a uuid");
	return 0;
}

int options_add_disk(struct options *options, const char *spec)
{
	_cleanup_(freep) char *after = NULL;
	const char *why;
	int r = disks_add_spec(&options->disks, spec, &why);

	if (r != -EINVAL)
		return r;
	if (asprintf(&after, ": %s", why) < 0)
		return -ENOMEM;
	return options_complain(options, r, "disk ", spec, after);
}

static int set_disks_from(struct options *options, const char *value)
{
	if (options->disks_from)
		return options_complain(options, -EINVAL,
					"--disks-from is given twice", NULL,
					"");
	options->disks_from = value;
	return 0;
}

static int refuse_later(struct options *options, const struct known *k)
{
	_cleanup_(freep) char *text = NULL;

	if (asprintf(&text, "--%s is not in this version", k->name) < 0)
		return -ENOMEM;
	return options_complain(options, -EOPNOTSUPP, text, NULL, "");
}

static int apply(struct options *options, const struct known *k,
		 const char *value)
{
	switch (k->bit) {
	case OPTION_HELP:
		options->help = true;
		return 0;
	case OPTION_JSON:
		options->json = true;
		return 0;
	case OPTION_QUIET:
		options->quiet = true;
		return 0;
	case OPTION_NUL:
		options->nul = true;
		return 0;
	case OPTION_NAME:
		options->name = value;
		return 0;
	case OPTION_ID:
		return set_id(options, value);
	case OPTION_UUID:
		return set_uuid(options, value);
	case OPTION_DISK:
		return options_add_disk(options, value);
	case OPTION_DISKS_FROM:
		return set_disks_from(options, value);
	default:
		return refuse_later(options, k);
	}
}

/* @word: what getopt_long() looked at; with -abc it says which letter. */
static int complain_option(struct options *options, const char *word,
			   bool missing)
{
	char letter[] = { '-', (char)optopt, '\0' };

	return options_complain(options, -EINVAL,
				missing ? "no value after " : "unknown option ",
				strncmp(word, "--", 2) ? letter : word, "");
}

static int check_args(const struct syntax *syntax, struct options *options)
{
	if (options->n_args < syntax->min_args)
		return options_complain(options, -EINVAL,
					syntax->command
						? "COMMAND is missing"
						: "an argument is missing",
					NULL, "");
	if (options->n_args > syntax->max_args)
		return options_complain(options, -EINVAL,
					"too many arguments, from ",
					options->args[syntax->max_args], " on");
	if (options->nul && !options->disks_from)
		return options_complain(options, -EINVAL,
					"-0 needs --disks-from", NULL, "");
	return 0;
}

int options_parse(const struct syntax *syntax, int argc, char **argv,
		  struct options *options)
{
	struct tables tables;
	int value, r, first = 0;

	build_tables(syntax, &tables);
	optind = 0; /* glibc: forget an earlier run, whose order may differ */
	opterr = 0;
	while ((value = getopt_long(argc, argv, tables.letters, tables.names,
				    NULL)) != -1) {
		if (value == '?' || value == ':')
			r = complain_option(options, argv[optind - 1],
					    value == ':');
		else
			r = apply(options, find_option(value), optarg);
		first = first ? first : r;
	}
	options->args = argv + optind;
	options->n_args = (size_t)(argc - optind);
	if (options->help)
		return 0;
	r = check_args(syntax, options);
	return first ? first : r;
}

static int complain_record(struct options *options, size_t record,
			   const char *why)
{
	_cleanup_(freep) char *after = NULL;
	int r;

	if (record)
		r = asprintf(&after, ": %s %zu %s",
			     options->nul ? "path" : "line", record, why);
	else
		r = asprintf(&after, " %s", why);
	if (r < 0)
		return -ENOMEM;
	return options_complain(options, -EINVAL, "--disks-from ",
				options->disks_from, after);
}

int options_read_disks(struct options *options)
{
	_cleanup_(freep) char *data = NULL, *after = NULL;
	const char *why;
	size_t len, record;
	int r;

	if (!options->disks_from)
		return 0;
	r = disks_read_file(options->disks_from, &data, &len);
	if (r < 0) {
		if (asprintf(&after, ": %s", strerror(-r)) < 0)
			return -ENOMEM;
		return options_complain(options, r, "--disks-from ",
					options->disks_from, after);
	}
	r = disks_add_list(&options->disks, data, len,
			   options->nul ? '\0' : '\n', &record, &why);
	return r == -EINVAL ? complain_record(options, record, why) : r;
}

void options_done(struct options *options)
{
	disks_done(&options->disks);
	free(options->complaint);
	*options = OPTIONS_NULL;
}

void options_help(const struct syntax *syntax, FILE *f)
{
	fprintf(f, "usage: guestlock %s %s\n", syntax->name, syntax->arguments);
	for (size_t i = 0; i < ARRAY_SIZE(known_options); i++) {
		const struct known *k = &known_options[i];
		char left[80];

		if (!((syntax->options | OPTION_HELP) & k->bit) ||
		    (k->bit & OPTIONS_LATER))
			continue;
		snprintf(left, sizeof(left), "%s%c%s--%s%s%s",
			 k->letter ? "-" : "  ", k->letter ? k->letter : ' ',
			 k->letter ? ", " : " ", k->name, k->value ? " " : "",
			 k->value ? k->value : "");
		fprintf(f, "  %-39s %s\n", left, k->help);
	}
}
