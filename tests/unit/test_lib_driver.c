/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/driver.h"
#include "tests/lib/test.h"

#include "core/base/util.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void assert_message(const char *text)
{
	if (!strstr(glk_driver_message(), text))
		fail_msg("'%s' is not in '%s'", text, glk_driver_message());
}

/* Nothing is loaded. */
static void refuse(const char *name, int error, const char *text)
{
	struct glk_driver *driver = (struct glk_driver *)&name;

	assert_int_equal(glk_driver_load(name, &driver), error);
	assert_ptr_equal(driver, &name);
	assert_message(text);
}

/* A file of this name beside the tests' drivers. */
static const char *beside(const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s.so", BAD_DRIVERS, name);
	return path;
}

static bool is_mapped(const char *path)
{
	bool found = false;
	char line[8192];
	FILE *maps = fopen("/proc/self/maps", "re");

	assert_non_null(maps);
	while (!found && fgets(line, sizeof(line), maps))
		found = strstr(line, path);
	fclose(maps);
	return found;
}

static void the_built_in_drivers_are_known_by_name(void **state)
{
	static const char *const names[] = { "ofd", "vm", "nop" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct glk_driver *driver = NULL;

		assert_int_equal(glk_driver_load(names[i], &driver), 0);
		assert_string_equal(glk_driver_name(driver), names[i]);
		assert_string_equal(glk_driver_message(), "");
		glk_driver_unload(driver);
	}
	glk_driver_unload(NULL);
}

static void the_built_in_tables_pass_their_own_check(void **state)
{
	static const struct glk_driver_table *const tables[] = {
		&driver_ofd,
		&driver_vm,
		&driver_nop,
	};
	const char *why = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		assert_int_equal(driver_table_check(tables[i],
						    sizeof(*tables[i]), &why),
				 0);
}

static void a_driver_is_loaded_by_its_path_and_unmapped_again(void **state)
{
	struct glk_driver *driver = NULL, *again = NULL;

	(void)state;
	assert_int_equal(glk_driver_load(SAMPLE_DRIVER, &driver), 0);
	assert_string_equal(glk_driver_name(driver), "sample");
	assert_int_equal(glk_driver_load(SAMPLE_DRIVER, &again), 0);
	glk_driver_unload(driver);
	assert_true(is_mapped("sample_driver"));
	assert_string_equal(glk_driver_name(again), "sample");
	glk_driver_unload(again);
	assert_false(is_mapped("sample_driver"));
}

static void a_driver_is_loaded_by_name_from_the_folder_of_drivers(void **state)
{
	_cleanup_(freep) char *folder = strdup(SAMPLE_DRIVER);
	struct glk_driver *driver = NULL;

	(void)state;
	assert_non_null(folder);
	*strrchr(folder, '/') = '\0';
	refuse("sample_driver", -ENOENT, "guestlock/drivers/sample_driver.so");
	setenv("GUESTLOCK_DRIVER_DIR", "", 1);
	refuse("sample_driver", -ENOENT, "guestlock/drivers/sample_driver.so");
	setenv("GUESTLOCK_DRIVER_DIR", folder, 1);
	assert_int_equal(glk_driver_load("sample_driver", &driver), 0);
	assert_string_equal(glk_driver_name(driver), "sample");
	glk_driver_unload(driver);
	refuse("nobodys", -ENOENT, "nobodys.so: there is no such driver");
	unsetenv("GUESTLOCK_DRIVER_DIR");
}

static void what_is_no_driver_is_refused_and_unmapped(void **state)
{
	static const struct {
		const char *name;
		int error;
		const char *text;
	} cases[] = {
		{ "bad_version", -EPROTONOSUPPORT, "another version" },
		{ "bad_size", -ELIBBAD, "wrong size" },
		{ "bad_object", -ELIBBAD, "wrong size" },
		{ "bad_cut", -ELIBBAD, "cut off" },
		{ "bad_function", -ELIBBAD, "no data glk_driver_table" },
		{ "bad_name", -ELIBBAD, "no data glk_driver_table" },
		{ "bad_lacking", -ELIBBAD, "has no close()" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		refuse(beside(cases[i].name), cases[i].error, cases[i].text);
		assert_message(cases[i].name);
		assert_false(is_mapped(cases[i].name));
	}
}

static void what_is_no_shared_object_or_no_name_is_refused(void **state)
{
	(void)state;
	refuse("", -EINVAL, "no driver is named");
	refuse(NULL, -EINVAL, "no driver is named");
	refuse("/nowhere/driver.so", -ENOENT, "/nowhere/driver.so");
	refuse("/dev/null/driver.so", -ENOENT, "/dev/null/driver.so");
	refuse(test_file("text", 4096), -ELIBBAD, "text");
	refuse(test_file("bad\nname", 0), -ELIBBAD, "bad\\x0aname");
	refuse("/proc/self", -ELIBBAD, "/proc/self");
}

/* Declares everything and has everything, if never the right thing. */
static struct glk_driver_table full_table(void)
{
	struct glk_driver_table table = driver_nop;

	table.abilities = 2 * GLK_IGNORES_DISKS - 1;
	for (void **f = (void **)&table.open; f < (void **)(&table + 1); f++)
		*f = (void *)(uintptr_t)full_table;
	return table;
}

/* Every function that an ability needs, taken away. */
static void a_table_that_lacks_a_function_is_refused(void **state)
{
	struct glk_driver_table table = full_table();
	void **functions = (void **)&table.open;
	size_t n = (sizeof(table) - offsetof(struct glk_driver_table, open)) /
		   sizeof(void *);
	const char *why = NULL;

	(void)state;
	assert_int_equal(n, 16);
	for (size_t i = 0; i < n; i++) {
		void *function = functions[i];

		functions[i] = NULL;
		assert_int_equal(driver_table_check(&table, sizeof(table),
						    &why),
				 -ELIBBAD);
		assert_non_null(strstr(why, "has no "));
		functions[i] = function;
	}
	assert_int_equal(driver_table_check(&table, sizeof(table), &why), 0);
}

static void a_function_of_no_declared_ability_may_be_missing(void **state)
{
	struct glk_driver_table table = full_table();
	const char *why = NULL;

	(void)state;
	table.abilities = GLK_CAN_DISKS;
	table.supervisor = NULL;
	table.supervised = NULL;
	table.attach = NULL;
	table.add = table.remove = NULL;
	table.prepare = NULL;
	table.out = table.in = table.cancel = NULL;
	assert_int_equal(driver_table_check(&table, sizeof(table), &why), 0);
	table.abilities = 1U << 7;
	assert_int_equal(driver_table_check(&table, sizeof(table), &why),
			 -ELIBBAD);
	assert_string_equal(why, "declares an ability that is none");
	table.abilities = 0;
	table.name = "";
	assert_int_equal(driver_table_check(&table, sizeof(table), &why),
			 -ELIBBAD);
	table.name = NULL;
	assert_int_equal(driver_table_check(&table, sizeof(table), &why),
			 -ELIBBAD);
	assert_string_equal(why, "has no name");
}

static void *load_nothing(void *arg)
{
	struct glk_driver *driver = NULL;

	(void)arg;
	if (*glk_driver_message() ||
	    glk_driver_load("/nowhere/theirs", &driver) != -ENOENT ||
	    !strstr(glk_driver_message(), "theirs"))
		return (void *)"another thread's message";
	return NULL;
}

static void every_thread_has_a_message_of_its_own(void **state)
{
	void *failure = NULL;
	pthread_t thread;

	(void)state;
	refuse("/nowhere/ours", -ENOENT, "ours");
	assert_int_equal(pthread_create(&thread, NULL, load_nothing, NULL), 0);
	assert_int_equal(pthread_join(thread, &failure), 0);
	assert_null(failure);
	assert_message("ours");
}

/* The dynamic linker frees under a lock of its own, which ThreadSanitizer does
   not see. */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
	return "race:_dl_close_worker\n";
}

static void *load_and_unload(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++) {
		struct glk_driver *driver = NULL;
		struct glk_manager *manager = NULL;

		if (glk_driver_load(i & 1 ? SAMPLE_DRIVER : "nop", &driver) ||
		    glk_manager_new(driver, 0, GLK_MANAGER_START, &manager))
			return (void *)"not loaded";
		glk_driver_unload(driver);
		glk_manager_free(manager);
	}
	return NULL;
}

static void threads_load_and_unload_one_driver_at_a_time(void **state)
{
	pthread_t threads[4];
	void *failure = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						load_and_unload, NULL),
				 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &failure), 0);
		assert_null(failure);
	}
	assert_false(is_mapped("sample_driver"));
}

static void a_driver_that_is_unloaded_too_early_waits_for_its_manager(
	void **state)
{
	struct glk_manager *manager = NULL;
	struct glk_driver *driver = NULL;

	(void)state;
	assert_int_equal(glk_driver_load(SAMPLE_DRIVER, &driver), 0);
	assert_int_equal(glk_manager_new(driver, 0, GLK_MANAGER_START,
					 &manager),
			 0);
	glk_driver_unload(driver);
	assert_int_equal(
		glk_manager_set(manager, "uuid",
				"7e57da7a-0001-4000-8000-00000000000a"),
		0);
	assert_int_equal(glk_manager_acquire(manager), 0);
	assert_string_equal(glk_manager_state(manager), "held");
	glk_manager_free(manager);
	assert_false(is_mapped("sample_driver"));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_built_in_drivers_are_known_by_name),
	cmocka_unit_test(the_built_in_tables_pass_their_own_check),
	cmocka_unit_test(a_driver_is_loaded_by_its_path_and_unmapped_again),
	cmocka_unit_test(a_driver_is_loaded_by_name_from_the_folder_of_drivers),
	cmocka_unit_test(what_is_no_driver_is_refused_and_unmapped),
	cmocka_unit_test(what_is_no_shared_object_or_no_name_is_refused),
	cmocka_unit_test(a_table_that_lacks_a_function_is_refused),
	cmocka_unit_test(a_function_of_no_declared_ability_may_be_missing),
	cmocka_unit_test(every_thread_has_a_message_of_its_own),
	cmocka_unit_test(threads_load_and_unload_one_driver_at_a_time),
	cmocka_unit_test(
		a_driver_that_is_unloaded_too_early_waits_for_its_manager),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
