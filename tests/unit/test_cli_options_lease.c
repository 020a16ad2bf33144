/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/util.h"
#include "core/cli/options.h"
#include "tests/lib/test.h"

#define UPPER "67073EED-F57D-56D9-8782-704CD33325EA"
#define LOWER "67073eed-f57d-56d9-8782-704cd33325ea"

static const struct syntax syntax = {
	.name = "run",
	.options = OPTION_UUID | OPTION_DISK | OPTION_DISKS_FROM |
		   OPTION_LEASE | OPTION_LOCKSPACE | OPTION_VM,
	.max_args = ARGS_MANY,
	.command = true,
};

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

static void refuse(const char *const *words, const char *complaint)
{
	struct options o;

	assert_int_equal(parse(&o, words), -EINVAL);
	assert_non_null(o.complaint);
	assert_string_equal(o.complaint, complaint);
	options_done(&o);
}

static void a_lease_is_a_file_of_its_lockspace(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&o,
			       WORDS("--lease", "a", "--disk", "d",
				     "--lockspace", "/ls,1", "--lease", "b,c")),
			 0);
	assert_int_equal(o.disks.n, 3);
	assert_string_equal(o.disks.items[0].path, "d");
	assert_int_equal(o.disks.items[0].flags, 0);
	assert_string_equal(o.disks.items[1].path, "/ls,1/a");
	assert_int_equal(o.disks.items[1].flags, GLK_DISK_LEASE);
	assert_string_equal(o.disks.items[2].path, "/ls,1/b,c");
	assert_int_equal(o.disks.items[2].flags, GLK_DISK_LEASE);
	options_done(&o);
}

static void a_key_cannot_lead_out_of_its_lockspace(void **state)
{
	(void)state;
	refuse(WORDS("--lockspace", "/l", "--lease", ""),
	       "--lease '' is not a file's name");
	refuse(WORDS("--lockspace", "/l", "--lease", "."),
	       "--lease '.' is not a file's name");
	refuse(WORDS("--lockspace", "/l", "--lease", ".."),
	       "--lease '..' is not a file's name");
	refuse(WORDS("--lockspace", "/l", "--lease", "../x"),
	       "--lease '../x' holds a slash");
	refuse(WORDS("--lockspace", "/l", "--lease", "a/"),
	       "--lease 'a/' holds a slash");
}

static void a_key_and_its_lockspace_need_each_other(void **state)
{
	(void)state;
	refuse(WORDS("--lease", "a"), "--lease needs --lockspace");
	refuse(WORDS("--lockspace", "/l"), "--lockspace needs --lease");
	refuse(WORDS("--lockspace", "", "--lease", "a"),
	       "--lockspace is empty");
	refuse(WORDS("--lockspace", "/l", "--lockspace", "/m", "--lease", "a"),
	       "--lockspace is given twice");
}

static void a_disk_may_be_a_lease(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&o, WORDS("--disk", "/l/k,lease")), 0);
	assert_string_equal(o.disks.items[0].path, "/l/k");
	assert_int_equal(o.disks.items[0].flags, GLK_DISK_LEASE);
	options_done(&o);
}

static void a_whole_guest_has_one_lease_and_no_disk(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&o, WORDS("--disk", "d", "--vm", "--uuid", UPPER,
					 "--lockspace", "/l", "--lease", "a",
					 "--disks-from", "/no/such/file")),
			 0);
	assert_int_equal(options_read_disks(&o), 0);
	assert_int_equal(o.disks.n, 1);
	assert_string_equal(o.disks.items[0].path, "/l/" LOWER);
	assert_int_equal(o.disks.items[0].flags, GLK_DISK_LEASE);
	options_done(&o);
}

static void a_whole_guests_lease_needs_a_place_and_a_name(void **state)
{
	(void)state;
	refuse(WORDS("--vm", "--uuid", LOWER),
	       "--vm needs --lockspace and --uuid");
	refuse(WORDS("--vm", "--lockspace", "/l"),
	       "--vm needs --lockspace and --uuid");
	refuse(WORDS("--vm", "--lockspace", "/l", "--uuid", "x"),
	       "--uuid 'x' is not a uuid");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_lease_is_a_file_of_its_lockspace),
	cmocka_unit_test(a_key_cannot_lead_out_of_its_lockspace),
	cmocka_unit_test(a_key_and_its_lockspace_need_each_other),
	cmocka_unit_test(a_disk_may_be_a_lease),
	cmocka_unit_test(a_whole_guest_has_one_lease_and_no_disk),
	cmocka_unit_test(a_whole_guests_lease_needs_a_place_and_a_name),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
