/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/util.h"
#include "core/cli/options.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <sys/mman.h>

static const struct syntax syntax = {
	.name = "run",
	.options = OPTION_NAME | OPTION_DISK | OPTION_LEASE | OPTION_LOCKSPACE |
		   OPTION_ARGS_FROM | OPTION_JSON | OPTION_QUIET,
	.min_args = 1,
	.max_args = ARGS_MANY,
	.command = true,
};

static char file_path[64];

/* A memory file that this process has, by a name for any other. */
static void write_args(const char *data, size_t len)
{
	static int fd = -1;

	fd_close(fd);
	fd = memfd_create("args", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	snprintf(file_path, sizeof(file_path), "/proc/%d/fd/%d", (int)getpid(),
		 fd);
}

#define ARGS(_literal) write_args(_literal, sizeof(_literal))
#define ARGS_WITHOUT_END(_literal) write_args(_literal, sizeof(_literal) - 1)

static int parse(struct options *options, const char *const *words)
{
	static char *argv[32];
	int argc = 0;

	*options = OPTIONS_NULL;
	argv[argc++] = (char *)"run";
	while (*words)
		argv[argc++] = (char *)*words++;
	argv[argc] = NULL;
	return options_parse(&syntax, argc, argv, options);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void refuse(const char *const *words, int err, const char *complaint)
{
	struct options o;

	assert_int_equal(parse(&o, words), err);
	assert_non_null(o.complaint);
	assert_string_equal(o.complaint, complaint);
	options_done(&o);
}

static void the_words_stand_in_the_place_of_the_option(void **state)
{
	struct options o;

	(void)state;
	ARGS("--disk\0b,shared\0--name=in file\0-jq");
	assert_int_equal(parse(&o,
			       WORDS("--disk", "a", "--args-from", file_path,
				     "--disk", "c", "cmd", "--args-from", "x")),
			 0);
	assert_int_equal(o.disks.n, 3);
	assert_string_equal(o.disks.items[0].path, "a");
	assert_string_equal(o.disks.items[1].path, "b");
	assert_int_equal(o.disks.items[1].flags, GLK_DISK_SHARED);
	assert_string_equal(o.disks.items[2].path, "c");
	assert_string_equal(o.name, "in file");
	assert_true(o.json && o.quiet);
	assert_int_equal(o.n_args, 3);
	assert_string_equal(o.args[0], "cmd");
	options_done(&o);
}

static void the_command_line_goes_on_after_them(void **state)
{
	struct options o;

	(void)state;
	ARGS("--name\0a");
	assert_int_equal(parse(&o, WORDS("--args-from", file_path, "cmd")), 0);
	assert_string_equal(o.args[0], "cmd");
	options_done(&o);
	assert_int_equal(parse(&o, WORDS("--args-from", file_path, "--name",
					 "b", "--", "--cmd")),
			 0);
	assert_string_equal(o.name, "b");
	assert_int_equal(o.n_args, 1);
	assert_string_equal(o.args[0], "--cmd");
	options_done(&o);
	refuse(WORDS("--args-from", file_path), -EINVAL, "COMMAND is missing");
}

static void the_last_nul_byte_may_be_missing(void **state)
{
	struct options o;

	(void)state;
	ARGS_WITHOUT_END("--name\0abc");
	assert_int_equal(parse(&o, WORDS("--args-from", file_path, "x")), 0);
	assert_string_equal(o.name, "abc");
	options_done(&o);
}

/* A guest that takes nothing is hardly what somebody made a list for. */
static void an_empty_list_is_refused(void **state)
{
	struct options o;

	(void)state;
	ARGS_WITHOUT_END("");
	assert_int_equal(parse(&o, WORDS("--args-from", file_path, "x")),
			 -EINVAL);
	assert_non_null(strstr(o.complaint, " is empty"));
	options_done(&o);
}

static void a_value_may_look_like_anything(void **state)
{
	struct options o;

	(void)state;
	ARGS("--name\0\0--disk\0--\0--disk\0--name");
	assert_int_equal(parse(&o, WORDS("--args-from", file_path, "x")), 0);
	assert_string_equal(o.name, "");
	assert_int_equal(o.disks.n, 2);
	assert_string_equal(o.disks.items[0].path, "--");
	assert_string_equal(o.disks.items[1].path, "--name");
	options_done(&o);
}

static void only_options_may_stand_in_the_file(void **state)
{
	(void)state;
	ARGS("--name\0a\0cmd\0--disk\0b");
	refuse(WORDS("--args-from", file_path, "x"), -EINVAL,
	       "--args-from: 'cmd' is not an option");
	ARGS("--name\0a\0");
	refuse(WORDS("--args-from", file_path, "x"), -EINVAL,
	       "--args-from: '' is not an option");
	ARGS("--json\0--");
	refuse(WORDS("--args-from", file_path, "x"), -EINVAL,
	       "--args-from: '--' is not an option");
	ARGS("--\0--json");
	refuse(WORDS("--args-from", file_path, "x"), -EINVAL,
	       "--args-from: '--' is not an option");
	ARGS("--bogus");
	refuse(WORDS("--args-from", file_path, "x"), -EINVAL,
	       "unknown option '--bogus'");
}

static void a_value_is_not_taken_from_beyond_the_file(void **state)
{
	(void)state;
	ARGS("--disk\0a\0--name");
	refuse(WORDS("--args-from", file_path, "--json", "x"), -EINVAL,
	       "no value after '--name'");
}

static void a_file_cannot_name_another(void **state)
{
	(void)state;
	ARGS("--args-from\0/dev/null");
	refuse(WORDS("--args-from", file_path, "x"), -EINVAL,
	       "--args-from stands in the FILE of --args-from");
	ARGS("--json");
	refuse(WORDS("--args-from", file_path, "--args-from", file_path, "x"),
	       -EINVAL, "--args-from is given twice");
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	(void)state;
	refuse(WORDS("--args-from", "/no/such", "x"), -ENOENT,
	       "--args-from '/no/such': No such file or directory");
	refuse(WORDS("--args-from", "/", "x"), -EISDIR,
	       "--args-from '/': Is a directory");
}

static void what_is_wrong_in_the_file_does_not_hide_json(void **state)
{
	struct options o;

	(void)state;
	ARGS("--bogus");
	assert_int_equal(parse(&o,
			       WORDS("--args-from", file_path, "--json", "x")),
			 -EINVAL);
	assert_true(o.json);
	options_done(&o);
}

static void a_file_of_more_than_64_mib_is_refused(void **state)
{
	int fd = memfd_create("big", MFD_CLOEXEC);
	struct options o;
	char path[64];

	(void)state;
	assert_int_equal(ftruncate(fd, (64 << 20) + 1), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(parse(&o, WORDS("--args-from", path, "x")), -EFBIG);
	assert_non_null(strstr(o.complaint, "File too large"));
	options_done(&o);
	fd_close(fd);
}

static void thousands_of_words_are_fine(void **state)
{
	_cleanup_(freep) char *data = NULL;
	struct options o;
	size_t len;
	FILE *f = open_memstream(&data, &len);

	(void)state;
	for (int i = 0; i < 5000; i++)
		fprintf(f, "--disk%c/dir/%0200d%c", 0, i, 0);
	fclose(f);
	write_args(data, len);
	assert_int_equal(parse(&o, WORDS("--args-from", file_path, "x")), 0);
	assert_int_equal(o.disks.n, 5000);
	assert_int_equal(strlen(o.disks.items[4999].path), 205);
	assert_non_null(strstr(o.disks.items[4999].path, "4999"));
	options_done(&o);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_words_stand_in_the_place_of_the_option),
	cmocka_unit_test(the_command_line_goes_on_after_them),
	cmocka_unit_test(the_last_nul_byte_may_be_missing),
	cmocka_unit_test(an_empty_list_is_refused),
	cmocka_unit_test(a_value_may_look_like_anything),
	cmocka_unit_test(only_options_may_stand_in_the_file),
	cmocka_unit_test(a_value_is_not_taken_from_beyond_the_file),
	cmocka_unit_test(a_file_cannot_name_another),
	cmocka_unit_test(a_file_that_cannot_be_read_is_named),
	cmocka_unit_test(what_is_wrong_in_the_file_does_not_hide_json),
	cmocka_unit_test(a_file_of_more_than_64_mib_is_refused),
	cmocka_unit_test(thousands_of_words_are_fine),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
