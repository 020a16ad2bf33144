/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/overlay.h"
#include "tests/lib/test.h"

#include "core/base/util.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Layers of a real directory, in an overlay that was never mounted. */

static char options[2000];

static struct mount_place place_of(const char *root)
{
	return (struct mount_place){ .point = "/over",
				     .root = root,
				     .options = options };
}

static void expect(const struct mount_place *place, const char *path,
		   const char *upper, const char *lower)
{
	struct overlay_twins twins = {};

	assert_int_equal(overlay_twins(place, path, &twins), 0);
	if (upper)
		assert_string_equal(twins.upper, test_file(upper, -1));
	else
		assert_null(twins.upper);
	if (lower)
		assert_string_equal(twins.lower, test_file(lower, -1));
	else
		assert_null(twins.lower);
	overlay_twins_done(&twins);
}

static void a_file_is_found_in_the_topmost_layer_that_has_it(void **state)
{
	struct mount_place place = place_of("/");

	(void)state;
	snprintf(options, sizeof(options),
		 "rw,lowerdir=%s/l1:%s/l2::%s/data,upperdir=%s/u,workdir=/w",
		 test_dir(), test_dir(), test_dir(), test_dir());
	expect(&place, "/over/both", "u/both", "l1/both");
	expect(&place, "/over/low", NULL, "l2/low");
	expect(&place, "/over/up", "u/up", NULL);
	expect(&place, "/over/dir", NULL, NULL); /* no file */
	expect(&place, "/over/none", NULL, NULL);
	expect(&place, "/over/dir/deep", NULL, "l1/dir/deep");
}

static void a_part_of_an_overlay_is_mounted_by_its_root(void **state)
{
	struct mount_place place = place_of("/dir");

	(void)state;
	snprintf(options, sizeof(options), "rw,lowerdir=%s/l1", test_dir());
	expect(&place, "/over/deep", NULL, "l1/dir/deep");
	expect(&place, "/over/both", NULL, NULL);
	place.point = "/";
	place.root = "/";
	expect(&place, "/both", NULL, "l1/both");
}

static void layers_that_were_named_one_by_one_are_found(void **state)
{
	struct mount_place place = place_of("/");

	(void)state;
	snprintf(options, sizeof(options),
		 "rw,lowerdir+=%s/l1,lowerdir+=%s/l2,datadir+=%s/data",
		 test_dir(), test_dir(), test_dir());
	expect(&place, "/over/both", NULL, "l1/both");
	expect(&place, "/over/low", NULL, "l2/low");
}

static void odd_names_are_decoded(void **state)
{
	struct mount_place place = place_of("/");

	(void)state;
	snprintf(options, sizeof(options),
		 "rw,lowerdir=%s/l\\134:3\\134\\054\\0404,upperdir=%s/u",
		 test_dir(), test_dir());
	expect(&place, "/over/odd", NULL, "l:3, 4/odd");
}

static void what_cannot_be_reached_is_not_named(void **state)
{
	struct mount_place place = place_of("/");

	(void)state;
	snprintf(options, sizeof(options), "rw,lowerdir=l1:.,upperdir=,x=,=");
	expect(&place, "/over/both", NULL, NULL);
	options[0] = '\0';
	expect(&place, "/over/both", NULL, NULL);
}

static void make_layers(void)
{
	static const char *const dirs[] = { "l1", "l1/dir", "l2",
					    "u",  "data",   "l:3, 4" };
	static const char *const files[] = { "l1/both",	   "l2/both",
					     "u/both",	   "l2/low",
					     "u/up",	   "data/low",
					     "l:3, 4/odd", "l1/dir/deep" };

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		mkdir(test_file(dirs[i], -1), 0700);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		test_file(files[i], 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_file_is_found_in_the_topmost_layer_that_has_it),
	cmocka_unit_test(a_part_of_an_overlay_is_mounted_by_its_root),
	cmocka_unit_test(layers_that_were_named_one_by_one_are_found),
	cmocka_unit_test(odd_names_are_decoded),
	cmocka_unit_test(what_cannot_be_reached_is_not_named),
};

int main(void)
{
	make_layers();
	return test_run(__FILE__, tests, ARRAY_SIZE(tests), TEST_NEEDS_NOTHING);
}
