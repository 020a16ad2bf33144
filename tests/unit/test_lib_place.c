/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/place.h"
#include "core/base/feature.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* For as many places as any test has. */
static uint64_t memory[10000];

static void disks_of_one_directory_share_a_place(void **state)
{
	struct places places;
	const char *base;

	(void)state;
	places_init(&places, 5, memory);
	assert_int_equal(places_find(&places, "/a/b/one", &base), 0);
	assert_string_equal(base, "one");
	assert_int_equal(places_find(&places, "/a/c/two", &base), 1);
	assert_int_equal(places_find(&places, "/a/b/three", &base), 0);
	assert_string_equal(base, "three");
	assert_int_equal(places_find(&places, "/four", &base), 2);
	assert_string_equal(base, "four");
	assert_int_equal(places.v[0].users, 2);
	places_done(&places);
}

static void what_is_no_plain_name_stands_alone(void **state)
{
	static const char *const paths[] = { "disk", "/a/", "/a/..", "/a/." };
	struct places places;
	const char *base;

	(void)state;
	places_init(&places, 4, memory);
	for (int i = 0; i < 4; i++) {
		uint32_t at = places_find(&places, paths[i], &base);

		assert_string_equal(base, paths[i]);
		assert_int_equal(places.v[at].len, 0);
	}
	places_done(&places);
}

static void many_directories_are_kept_apart(void **state)
{
	static char paths[500][32];
	struct places places;
	const char *base;

	(void)state;
	assert_true(places_size(500) <= sizeof(memory));
	places_init(&places, 500, memory);
	for (int i = 0; i < 500; i++) {
		snprintf(paths[i], sizeof(paths[i]), "/dir%d/disk", i);
		assert_int_equal(places_find(&places, paths[i], &base), i);
	}
	for (int i = 0; i < 500; i++)
		assert_int_equal(places_find(&places, paths[i], &base), i);
	places_done(&places);
}

static bool stamps_are_allowed(void)
{
	return feature_allowed(FEATURE_DIR_CHECK) &&
	       feature_allowed(FEATURE_OPENAT2);
}

/* A place on the test directory, old enough to be believed. */
static struct place armed_place(void)
{
	struct place place = { .dir = test_dir(), .fd = -1 };

	place.len = strlen(place.dir);
	place.fd = open(test_dir(), O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(place.fd >= 0);
	for (int i = 0; i < 1000 && !place.armed && stamps_are_allowed(); i++) {
		usleep(10000);
		place_arm(&place);
	}
	return place;
}

static void change_nothing(void)
{
	int fd = open(test_file("disk", -1), O_WRONLY | O_CLOEXEC);

	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
}

static void change_by_rename(void)
{
	test_file("new", 0);
	assert_int_equal(rename(test_file("new", -1), test_file("disk", -1)),
			 0);
}

static void change_by_unlink(void)
{
	assert_int_equal(unlink(test_file("disk", -1)), 0);
}

static void change_of_the_directory(void)
{
	char away[4096];

	snprintf(away, sizeof(away), "%s.away", test_dir());
	assert_int_equal(rename(test_dir(), away), 0);
	assert_int_equal(mkdir(test_dir(), 0700), 0);
}

static void undo_directory_change(void)
{
	char away[4096];

	snprintf(away, sizeof(away), "%s.away", test_dir());
	assert_int_equal(rmdir(test_dir()), 0);
	assert_int_equal(rename(away, test_dir()), 0);
}

static void a_stamp_notices_whatever_could_replace_a_file(void **state)
{
	static const struct {
		void (*change)(void);
		bool same;
	} cases[] = {
		{ change_nothing, true },
		{ change_by_rename, false },
		{ change_by_unlink, false },
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct place place;

		test_file("disk", 0);
		place = armed_place();
		assert_int_equal(place.armed, stamps_are_allowed());
		assert_int_equal(place_unchanged(&place), place.armed);
		cases[i].change();
		assert_int_equal(place_unchanged(&place),
				 place.armed && cases[i].same);
		close(place.fd);
	}
}

static void a_directory_that_was_moved_away_is_noticed(void **state)
{
	struct place place = armed_place();

	(void)state;
	change_of_the_directory();
	assert_false(place_unchanged(&place));
	undo_directory_change();
	close(place.fd);
}

static void a_directory_that_has_just_changed_is_not_believed(void **state)
{
	struct place place = armed_place();
	int believed = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		test_file("fresh", 0);
		place_arm(&place);
		/* Believed only if the clock has ticked in between. */
		believed += place.armed;
		assert_int_equal(unlink(test_file("fresh", -1)), 0);
		if (place.armed)
			assert_false(place_unchanged(&place));
	}
	assert_true(believed < 20);
	close(place.fd);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(disks_of_one_directory_share_a_place),
	cmocka_unit_test(what_is_no_plain_name_stands_alone),
	cmocka_unit_test(many_directories_are_kept_apart),
	cmocka_unit_test(a_stamp_notices_whatever_could_replace_a_file),
	cmocka_unit_test(a_directory_that_was_moved_away_is_noticed),
	cmocka_unit_test(a_directory_that_has_just_changed_is_not_believed),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
