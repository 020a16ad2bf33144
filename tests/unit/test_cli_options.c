/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/options.h"
#include "core/base/util.h"
#include "tests/lib/test.h"

#include <string.h>

static const struct syntax run_like = {
	.name = "run",
	.options = OPTION_ID | OPTION_UUID | OPTION_NAME | OPTION_DISK |
		   OPTION_DISKS_FROM | OPTION_NUL | OPTION_LEASE |
		   OPTION_LOCKSPACE | OPTIONS_OF_POLICY | OPTION_JSON |
		   OPTION_QUIET | OPTION_INCOMING | OPTION_EPOCH | OPTION_TAG |
		   OPTION_VM,
	.min_args = 1,
	.max_args = ARGS_MANY,
	.command = true,
};

static const struct syntax ls_like = {
	.name = "ls",
	.options = OPTION_JSON | OPTION_QUIET,
	.max_args = 1,
};

static const struct syntax cancel_like = {
	.name = "cancel",
	.options = OPTION_SIDE | OPTION_TIMEOUT,
	.max_args = 1,
};

static int parse(const struct syntax *syntax, struct options *options,
		 const char *const *words)
{
	static char *argv[32];
	int argc = 0;

	*options = OPTIONS_NULL;
	argv[argc++] = (char *)syntax->name;
	while (*words)
		argv[argc++] = (char *)*words++;
	argv[argc] = NULL;
	return options_parse(syntax, argc, argv, options);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void refuse(const struct syntax *syntax, const char *const *words,
		   int err, const char *complaint)
{
	struct options options;

	assert_int_equal(parse(syntax, &options, words), err);
	assert_non_null(options.complaint);
	assert_string_equal(options.complaint, complaint);
	options_done(&options);
}

static void run_takes_all_that_it_knows(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&run_like, &o,
			       WORDS("--id", "7", "--uuid",
				     "67073eed-f57d-56d9-8782-704cd33325ea",
				     "--name", "web1", "--disk", "a,,b,shared",
				     "--disk=c", "--disks-from", "-", "-0",
				     "-j", "-q", "--", "cmd", "-x")),
			 0);
	assert_int_equal(o.id, 7);
	assert_string_equal(o.uuid, "67073eed-f57d-56d9-8782-704cd33325ea");
	assert_string_equal(o.name, "web1");
	assert_int_equal(o.disks.n, 2);
	assert_string_equal(o.disks.items[0].path, "a,b");
	assert_int_equal(o.disks.items[0].flags, GLK_DISK_SHARED);
	assert_string_equal(o.disks.items[1].path, "c");
	assert_string_equal(o.disks_from, "-");
	assert_true(o.nul && o.json && o.quiet);
	assert_int_equal(o.n_args, 2);
	assert_string_equal(o.args[0], "cmd");
	assert_string_equal(o.args[1], "-x");
	options_done(&o);
}

static void how_disks_are_taken(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&run_like, &o,
			       WORDS("--wait=5", "--require-scope=server",
				     "--exclusive-open=warn", "--readonly=skip",
				     "--lock-dir=/a", "--lvm-lock-dir", "/b",
				     "--scsi-lock-dir=/c", "--disk",
				     "/dev/sda,claim", "x")),
			 0);
	assert_int_equal(o.policy.wait_ms, 5000);
	assert_int_equal(o.policy.require_scope, GLK_SCOPE_SERVER);
	assert_int_equal(o.policy.exclusive_open, GLK_OPEN_WARN);
	assert_int_equal(o.policy.flags, GLK_POLICY_SKIP_READONLY);
	assert_string_equal(o.policy.lock_dir, "/a");
	assert_string_equal(o.policy.lvm_lock_dir, "/b");
	assert_string_equal(o.policy.scsi_lock_dir, "/c");
	assert_int_equal(o.disks.items[0].flags, GLK_DISK_CLAIM);
	options_done(&o);
}

static void a_command_begins_at_the_first_word_that_is_no_option(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&run_like, &o,
			       WORDS("--name", "a", "sh", "--name", "b", "--",
				     "--bogus")),
			 0);
	assert_string_equal(o.name, "a");
	assert_int_equal(o.n_args, 5);
	assert_string_equal(o.args[0], "sh");
	assert_string_equal(o.args[3], "--");
	assert_string_equal(o.args[4], "--bogus");
	options_done(&o);
}

static void without_options_there_are_defaults(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&run_like, &o, WORDS("cmd")), 0);
	assert_int_equal(o.id, -1);
	assert_null(o.uuid);
	assert_null(o.name);
	assert_null(o.disks_from);
	assert_int_equal(o.disks.n, 0);
	assert_false(o.nul || o.json || o.quiet || o.help);
	options_done(&o);
}

static void other_verbs_take_options_anywhere(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&ls_like, &o, WORDS("web1", "--json")), 0);
	assert_true(o.json);
	assert_int_equal(o.n_args, 1);
	assert_string_equal(o.args[0], "web1");
	options_done(&o);
	assert_int_equal(parse(&ls_like, &o, WORDS("--", "--json")), 0);
	assert_false(o.json);
	assert_string_equal(o.args[0], "--json");
	options_done(&o);
}

static void an_unknown_option_is_named(void **state)
{
	(void)state;
	refuse(&run_like, WORDS("--bogus", "x"), -EINVAL,
	       "unknown option '--bogus'");
	refuse(&run_like, WORDS("-x", "x"), -EINVAL, "unknown option '-x'");
	refuse(&run_like, WORDS("-jx", "x"), -EINVAL, "unknown option '-x'");
	refuse(&run_like, WORDS("--json=1", "x"), -EINVAL,
	       "unknown option '--json=1'");
	refuse(&ls_like, WORDS("--disk", "x"), -EINVAL,
	       "unknown option '--disk'");
	refuse(&ls_like, WORDS("-0"), -EINVAL, "unknown option '-0'");
	refuse(&ls_like, WORDS("--a\nb'"), -EINVAL,
	       "unknown option '--a\\x0ab\\x27'");
}

static void a_missing_value_is_named(void **state)
{
	(void)state;
	refuse(&run_like, WORDS("--name"), -EINVAL, "no value after '--name'");
}

static void a_number_is_a_number(void **state)
{
	static const char *const bad[] = {
		"",	"x",   "1x",
		"-1",	"+1",  " 1",
		"0x10", "1.5", "9223372036854775808",
	};
	struct options o;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(parse(&run_like, &o,
				       WORDS("--id", bad[i], "x")),
				 -EINVAL);
		assert_non_null(strstr(o.complaint, "is not a number"));
		options_done(&o);
	}
	assert_int_equal(parse(&run_like, &o,
			       WORDS("--id", "9223372036854775807", "x")),
			 0);
	assert_true(o.id == INT64_MAX);
	options_done(&o);
	assert_int_equal(parse(&run_like, &o, WORDS("--id", "0", "x")), 0);
	assert_int_equal(o.id, 0);
	options_done(&o);
}

static void a_uuid_is_checked_before_anything_is_locked(void **state)
{
	(void)state;
	refuse(&run_like, WORDS("--uuid", "web1", "x"), -EINVAL,
	       "--uuid 'web1' is not a uuid");
}

static void a_bad_disk_is_quoted_with_the_reason(void **state)
{
	(void)state;
	refuse(&run_like, WORDS("--disk", "a,", "x"), -EINVAL,
	       "disk 'a,': nothing follows the last comma; double a comma "
	       "that belongs to the path");
	refuse(&run_like, WORDS("--disk", "", "x"), -EINVAL,
	       "disk '': the path is empty");
}

static void a_policy_has_words_of_its_own(void **state)
{
	(void)state;
	refuse(&run_like, WORDS("--wait", "soon", "x"), -EINVAL,
	       "--wait 'soon' is not a number of seconds from 0 to 4294967");
	refuse(&run_like, WORDS("--require-scope", "world", "x"), -EINVAL,
	       "--require-scope 'world' is not node, host, server or cluster");
	refuse(&run_like, WORDS("--exclusive-open", "yes", "x"), -EINVAL,
	       "--exclusive-open 'yes' is not off, warn or require");
	refuse(&run_like, WORDS("--readonly", "no", "x"), -EINVAL,
	       "--readonly 'no' is not lock or skip");
	refuse(&run_like, WORDS("--lock-dir", "", "x"), -EINVAL,
	       "--lock-dir is empty");
	refuse(&run_like, WORDS("--lvm-lock-dir", "", "x"), -EINVAL,
	       "--lvm-lock-dir is empty");
	refuse(&run_like, WORDS("--scsi-lock-dir", "", "x"), -EINVAL,
	       "--scsi-lock-dir is empty");
}

static void a_migrated_guest_has_an_epoch_and_a_tag(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&run_like, &o,
			       WORDS("--incoming", "--epoch",
				     "18446744073709551615", "--tag",
				     "FFffffffffffffff", "x")),
			 0);
	assert_true(o.incoming);
	assert_true(o.epoch == UINT64_MAX && o.tag == UINT64_MAX);
	options_done(&o);
	refuse(&run_like, WORDS("--epoch", "18446744073709551616", "x"),
	       -EINVAL,
	       "--epoch '18446744073709551616' is not a number from 0 to "
	       "2^64 - 1");
	refuse(&run_like, WORDS("--epoch", "-1", "x"), -EINVAL,
	       "--epoch '-1' is not a number from 0 to 2^64 - 1");
}

static void a_tag_is_a_hexadecimal_number(void **state)
{
	static const char *const bad[] = {
		"", "g", "0x1", "-1", " 1", "11111111111111111",
	};
	struct options o;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(parse(&run_like, &o,
				       WORDS("--tag", bad[i], "x")),
				 -EINVAL);
		assert_non_null(strstr(o.complaint, "hexadecimal digits"));
		options_done(&o);
	}
	refuse(&run_like, WORDS("--tag", "000", "x"), -EINVAL, "--tag is 0");
	refuse(&run_like, WORDS("--tag", "1", "--tag", "2", "x"), -EINVAL,
	       "--tag '2' is not the one that was given before");
	assert_int_equal(parse(&run_like, &o,
			       WORDS("--tag", "1aB", "--tag", "1ab", "x")),
			 0);
	assert_int_equal(o.tag, 0x1ab);
	options_done(&o);
}

static void a_side_is_one_of_two(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&cancel_like, &o, WORDS("web1")), 0);
	assert_int_equal(o.side, SIDE_ANY);
	options_done(&o);
	assert_int_equal(parse(&cancel_like, &o, WORDS("--side", "source")), 0);
	assert_int_equal(o.side, SIDE_SOURCE);
	options_done(&o);
	assert_int_equal(parse(&cancel_like, &o,
			       WORDS("--side", "destination")),
			 0);
	assert_int_equal(o.side, SIDE_DESTINATION);
	options_done(&o);
	refuse(&cancel_like, WORDS("--side", "both"), -EINVAL,
	       "--side 'both' is not source or destination");
}

static void a_time_limit_is_in_seconds(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&cancel_like, &o, WORDS("web1")), 0);
	assert_int_equal(o.timeout, -1);
	options_done(&o);
	assert_int_equal(parse(&cancel_like, &o, WORDS("--timeout", "0")), 0);
	assert_int_equal(o.timeout, 0);
	options_done(&o);
	assert_int_equal(parse(&cancel_like, &o, WORDS("--timeout", "4294967")),
			 0);
	assert_int_equal(o.timeout, 4294967);
	options_done(&o);
	refuse(&cancel_like, WORDS("--timeout", "4294968"), -EINVAL,
	       "--timeout '4294968' is not a number of seconds from 0 to "
	       "4294967");
	refuse(&cancel_like, WORDS("--timeout", "1.5"), -EINVAL,
	       "--timeout '1.5' is not a number of seconds from 0 to 4294967");
}

static void the_words_of_a_second_call_add_to_the_first(void **state)
{
	struct options o;
	char *argv[] = { (char *)"cancel", (char *)"--side", (char *)"source",
			 NULL };

	(void)state;
	assert_int_equal(parse(&run_like, &o, WORDS("--json", "x")), 0);
	assert_int_equal(options_parse(&cancel_like, 3, argv, &o), 0);
	assert_true(o.json);
	assert_int_equal(o.side, SIDE_SOURCE);
	assert_int_equal(o.n_args, 0);
	options_done(&o);
}

static void the_number_of_arguments_is_checked(void **state)
{
	(void)state;
	refuse(&run_like, WORDS("--json"), -EINVAL, "COMMAND is missing");
	refuse(&run_like, WORDS("--"), -EINVAL, "COMMAND is missing");
	refuse(&ls_like, WORDS("a", "b"), -EINVAL,
	       "too many arguments, from 'b' on");
	refuse(&run_like, WORDS("-0", "x"), -EINVAL, "-0 needs --disks-from");
	refuse(&run_like, WORDS("--disks-from", "a", "--disks-from", "b", "x"),
	       -EINVAL, "--disks-from is given twice");
}

static void json_counts_even_after_a_mistake(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&run_like, &o,
			       WORDS("--bogus", "--id", "x", "--json", "cmd")),
			 -EINVAL);
	assert_true(o.json);
	assert_string_equal(o.complaint, "unknown option '--bogus'");
	options_done(&o);
}

static void help_wins_over_mistakes(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&run_like, &o, WORDS("--bogus", "--help")), 0);
	assert_true(o.help);
	options_done(&o);
}

static void help_lists_what_the_verb_takes_and_no_more(void **state)
{
	_cleanup_(freep) char *text = NULL;
	struct syntax syntax = ls_like;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	syntax.arguments = "[GUEST]";
	options_help(&syntax, f);
	fclose(f);
	assert_non_null(strstr(text, "usage: guestlock ls [GUEST]\n"));
	assert_non_null(strstr(text, "-j, --json "));
	assert_non_null(strstr(text, "-h, --help "));
	assert_null(strstr(text, "--disk"));
}

static void read_from(const char *content, size_t len, bool nul,
		      struct options *o)
{
	const char *path = test_file("disks", 0);
	FILE *f = fopen(path, "we");

	fwrite(content, 1, len, f);
	fclose(f);
	*o = OPTIONS_NULL;
	o->disks_from = path;
	o->nul = nul;
}

static void disks_from_adds_to_the_disks_of_the_command_line(void **state)
{
	struct options o;
	const char *why;

	(void)state;
	read_from("b\nc", 3, false, &o);
	assert_int_equal(disks_add_spec(&o.disks, "a,shared", &why), 0);
	assert_int_equal(options_read_disks(&o), 0);
	assert_int_equal(o.disks.n, 3);
	assert_string_equal(o.disks.items[0].path, "a");
	assert_string_equal(o.disks.items[1].path, "b");
	assert_string_equal(o.disks.items[2].path, "c");
	options_done(&o);
}

static void a_bad_list_names_the_file_and_the_line(void **state)
{
	struct options o;

	(void)state;
	read_from("a\n\nb\n", 5, false, &o);
	assert_int_equal(options_read_disks(&o), -EINVAL);
	assert_non_null(strstr(o.complaint, "/disks': line 2 is empty"));
	options_done(&o);
	read_from("a\0\0", 3, true, &o);
	assert_int_equal(options_read_disks(&o), -EINVAL);
	assert_non_null(strstr(o.complaint, "/disks': path 2 is empty"));
	options_done(&o);
	read_from("", 0, false, &o);
	assert_int_equal(options_read_disks(&o), -EINVAL);
	assert_non_null(strstr(o.complaint, "/disks' names no disk"));
	options_done(&o);
}

static void a_list_that_is_not_there_is_not_found(void **state)
{
	struct options o = OPTIONS_NULL;

	(void)state;
	o.disks_from = test_file("no-list", -1);
	assert_int_equal(options_read_disks(&o), -ENOENT);
	assert_non_null(strstr(o.complaint, "No such file"));
	options_done(&o);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(run_takes_all_that_it_knows),
	cmocka_unit_test(how_disks_are_taken),
	cmocka_unit_test(a_command_begins_at_the_first_word_that_is_no_option),
	cmocka_unit_test(without_options_there_are_defaults),
	cmocka_unit_test(other_verbs_take_options_anywhere),
	cmocka_unit_test(an_unknown_option_is_named),
	cmocka_unit_test(a_missing_value_is_named),
	cmocka_unit_test(a_number_is_a_number),
	cmocka_unit_test(a_uuid_is_checked_before_anything_is_locked),
	cmocka_unit_test(a_bad_disk_is_quoted_with_the_reason),
	cmocka_unit_test(a_policy_has_words_of_its_own),
	cmocka_unit_test(a_migrated_guest_has_an_epoch_and_a_tag),
	cmocka_unit_test(a_tag_is_a_hexadecimal_number),
	cmocka_unit_test(a_side_is_one_of_two),
	cmocka_unit_test(a_time_limit_is_in_seconds),
	cmocka_unit_test(the_words_of_a_second_call_add_to_the_first),
	cmocka_unit_test(the_number_of_arguments_is_checked),
	cmocka_unit_test(json_counts_even_after_a_mistake),
	cmocka_unit_test(help_wins_over_mistakes),
	cmocka_unit_test(help_lists_what_the_verb_takes_and_no_more),
	cmocka_unit_test(disks_from_adds_to_the_disks_of_the_command_line),
	cmocka_unit_test(a_bad_list_names_the_file_and_the_line),
	cmocka_unit_test(a_list_that_is_not_there_is_not_found),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
