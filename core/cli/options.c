/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/options.h"

#include "core/base/util.h"
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
	int (*set)(struct options *options, const char *value);
} known_options[] = {
	{ OPTION_ID, 0, "id", "N", "the guest's number", options_set_id },
	{ OPTION_UUID, 0, "uuid", "U", "the guest's uuid (default: random)",
	  options_set_uuid },
	{ OPTION_NAME, 0, "name", "S", "the guest's name", options_set_name },
	{ OPTION_DISK, 0, "disk", "PATH[,shared][,readonly][,claim][,lease]",
	  "lock this disk; double a comma in PATH", options_add_disk },
	{ OPTION_DISKS_FROM, 0, "disks-from", "FILE",
	  "lock each path of FILE, one a line; - is stdin",
	  options_set_disks_from },
	{ OPTION_NUL, '0', "null", NULL,
	  "paths in FILE end with a NUL byte, not with a newline", NULL },
	{ OPTION_LEASE, 0, "lease", "KEY", "lock the lease DIR/KEY",
	  options_add_key },
	{ OPTION_LOCKSPACE, 0, "lockspace", "DIR",
	  "where leases are; DIR must exist", options_set_lockspace },
	{ OPTION_VM, 0, "vm", NULL, "lock the lease DIR/U, and no disk", NULL },
	{ OPTION_INCOMING, 0, "incoming", NULL,
	  "a migration's destination: claim, do not own yet", NULL },
	{ OPTION_EPOCH, 0, "epoch", "N", "how often it has been handed on",
	  options_set_epoch },
	{ OPTION_TAG, 0, "tag", "HEX", "a number to find it by, for managers",
	  options_set_tag },
	{ OPTION_ARGS_FROM, 0, "args-from", "FILE",
	  "more options, a NUL byte after each word", NULL },
	{ OPTION_WAIT, 0, "wait", "SEC", "wait for disks that others hold",
	  options_set_wait },
	{ OPTION_REQUIRE_SCOPE, 0, "require-scope", "node|host|server|cluster",
	  "refuse locks that reach less far", options_set_require_scope },
	{ OPTION_EXCLUSIVE_OPEN, 0, "exclusive-open", "off|warn|require",
	  "may others have a disk open? (default: off)",
	  options_set_exclusive_open },
	{ OPTION_READONLY, 0, "readonly", "lock|skip",
	  "lock disks that the guest only reads? (default: lock)",
	  options_set_readonly },
	{ OPTION_LOCK_DIR, 0, "lock-dir", "DIR",
	  "lock a file in DIR, too, named by the path", options_set_lock_dir },
	{ OPTION_LVM_LOCK_DIR, 0, "lvm-lock-dir", "DIR",
	  "likewise for logical volumes, by their UUID",
	  options_set_lvm_lock_dir },
	{ OPTION_SCSI_LOCK_DIR, 0, "scsi-lock-dir", "DIR",
	  "likewise for SCSI disks, by their WWID", options_set_scsi_lock_dir },
	{ OPTION_SIDE, 0, "side", "source|destination",
	  "which of two guests of one uuid is meant", options_set_side },
	{ OPTION_TIMEOUT, 0, "timeout", "SEC", "how long to wait (default: 10)",
	  options_set_timeout },
	{ OPTION_JSON, 'j', "json", NULL, "print JSON on standard output",
	  NULL },
	{ OPTION_QUIET, 'q', "quiet", NULL, "print errors only", NULL },
	{ OPTION_HELP, 'h', "help", NULL, "print this help", NULL },
};

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

int options_complain_file(struct options *options, int err, const char *before,
			  const char *file)
{
	_cleanup_(freep) char *after = NULL;

	if (asprintf(&after, ": %s", strerror(-err)) < 0)
		return -ENOMEM;
	return options_complain(options, err, before, file, after);
}

static bool *flag_of(struct options *options, enum option_bit bit)
{
	switch (bit) {
	case OPTION_HELP:
		return &options->help;
	case OPTION_JSON:
		return &options->json;
	case OPTION_QUIET:
		return &options->quiet;
	case OPTION_NUL:
		return &options->nul;
	case OPTION_INCOMING:
		return &options->incoming;
	case OPTION_VM:
		return &options->vm;
	default:
		return NULL;
	}
}

static int apply(struct options *options, const struct known *k,
		 const char *value)
{
	bool *flag = flag_of(options, k->bit);

	if (k->set)
		return k->set(options, value);
	if (flag)
		*flag = true;
	return 0;
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

struct parser {
	const struct syntax *syntax;
	struct options *options;
	struct tables tables;
	bool in_file;
};

/* Where the options end, and whether "--" ended them. */
struct end {
	int index;
	bool dashes;
};

static int parse_file(struct parser *parser, const char *file);

/* Goes on after --args-from with the words after it as a command line of their
   own: getopt_long() has one state only. */
static int parse_words(struct parser *parser, int argc, char **argv,
		       struct end *end)
{
	const struct tables *t = &parser->tables;
	int base = 0, first = 0;

	optind = 0; /* glibc: forget an earlier run, whose order may differ */
	opterr = 0;
	for (;;) {
		int r, before = base + MAX(optind, 1);
		int value = getopt_long(argc - base, argv + base, t->letters,
					t->names, NULL);
		const struct known *k = find_option(value);

		end->index = base + optind;
		end->dashes = end->index != before;
		if (value == -1)
			return first;
		if (!k) {
			r = complain_option(parser->options,
					    argv[end->index - 1], value == ':');
		} else if (k->bit == OPTION_ARGS_FROM) {
			base = end->index - 1;
			r = parse_file(parser, optarg);
			optind = 0;
		} else {
			r = apply(parser->options, k, optarg);
		}
		first = first ? first : r;
	}
}

static int parse_file(struct parser *parser, const char *file)
{
	struct options *o = parser->options;
	struct end end;
	int r, argc;

	if (o->args_from)
		return options_complain(o, -EINVAL,
					parser->in_file
						? "--args-from stands in the "
						  "FILE of --args-from"
						: "--args-from is given twice",
					NULL, "");
	o->args_from = file;
	r = options_read_args(o, parser->syntax->name, file, &argc);
	if (r < 0)
		return r;
	parser->in_file = true;
	r = parse_words(parser, argc, o->words, &end);
	parser->in_file = false;
	if (r == 0 && (end.dashes || end.index < argc))
		r = options_complain(o, -EINVAL, "--args-from: ",
				     o->words[end.index - end.dashes],
				     " is not an option");
	return r;
}

int options_parse(const struct syntax *syntax, int argc, char **argv,
		  struct options *options)
{
	struct parser parser = { .syntax = syntax, .options = options };
	struct end end;
	int r, first;

	build_tables(syntax, &parser.tables);
	first = parse_words(&parser, argc, argv, &end);
	options->args = argv + end.index;
	options->n_args = (size_t)(argc - end.index);
	if (options->help)
		return 0;
	r = check_args(syntax, options);
	if (!first && !r)
		r = options_add_leases(options);
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
	_cleanup_(freep) char *data = NULL;
	const char *why;
	size_t len, record;
	int r;

	if (!options->disks_from || options->vm)
		return 0;
	r = disks_read_file(options->disks_from, &data, &len);
	if (r < 0)
		return options_complain_file(options, r, "--disks-from ",
					     options->disks_from);
	r = disks_add_list(&options->disks, data, len,
			   options->nul ? '\0' : '\n', &record, &why);
	return r == -EINVAL ? complain_record(options, record, why) : r;
}

void options_done(struct options *options)
{
	disks_done(&options->disks);
	disks_done(&options->keys);
	free(options->words);
	free(options->words_data);
	free(options->complaint);
	*options = OPTIONS_NULL;
}

void options_help(const struct syntax *syntax, FILE *f)
{
	fprintf(f, "usage: guestlock %s %s\n", syntax->name, syntax->arguments);
	for (size_t i = 0; i < ARRAY_SIZE(known_options); i++) {
		const struct known *k = &known_options[i];
		char left[80];

		if (!((syntax->options | OPTION_HELP) & k->bit))
			continue;
		snprintf(left, sizeof(left), "%s%c%s--%s%s%s",
			 k->letter ? "-" : "  ", k->letter ? k->letter : ' ',
			 k->letter ? ", " : " ", k->name, k->value ? " " : "",
			 k->value ? k->value : "");
		fprintf(f, "  %-43s %s\n", left, k->help);
	}
}
