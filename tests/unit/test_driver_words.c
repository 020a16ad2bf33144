/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/driver/ofd.h"
#include "tests/lib/test.h"

#include "core/base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#define UUID "7e57da7a-0001-4000-8000-00000000000a"

static struct glk_context *context;

static int start(void **state)
{
	(void)state;
	return glk_context_new(&context);
}

static int stop(void **state)
{
	(void)state;
	glk_context_free(context);
	return 0;
}

static struct ofd guest(int mode)
{
	struct ofd ofd = { .context = context,
			   .mode = mode,
			   .config = GLK_GUEST_CONFIG_INIT,
			   .list = -1 };

	ofd.config.uuid = UUID;
	ofd.config.tag = 0xabc;
	return ofd;
}

static size_t free_words(char **words)
{
	size_t n = 0;

	for (; words[n]; n++)
		free(words[n]);
	free(words);
	return n;
}

static void assert_words(struct ofd *ofd, const struct glk_resource *resources,
			 size_t n, const char *expected)
{
	char text[4096] = "", **words = NULL;
	size_t len = 0;

	assert_int_equal(ofd_supervisor(ofd, resources, n, &words), 0);
	for (size_t i = 1; words[i]; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
					i > 1 ? " " : "", words[i]);
	assert_string_equal(text, expected);
	free_words(words);
}

static void the_words_say_who_the_guest_is(void **state)
{
	struct ofd ofd = guest(GLK_MANAGER_START);

	(void)state;
	assert_words(&ofd, NULL, 0,
		     "run --uuid " UUID " --tag 0000000000000abc --");
	ofd = guest(GLK_MANAGER_MIGRATE);
	ofd.config.name = "web 1";
	ofd.config.id = 0;
	ofd.config.epoch = 7;
	assert_words(&ofd, NULL, 0,
		     "run --uuid " UUID " --name web 1 --id 0 --epoch 7 "
		     "--tag 0000000000000abc --incoming --");
}

static void each_disk_is_a_specification(void **state)
{
	const struct glk_resource resources[] = {
		{ GLK_RESOURCE_DISK, "/a,b", 0 },
		{ GLK_RESOURCE_DISK, "/s", GLK_DISK_SHARED },
		{ GLK_RESOURCE_DISK, "/r", GLK_DISK_READONLY },
		{ GLK_RESOURCE_LEASE, "/l/k", GLK_DISK_SHARED },
		{ GLK_RESOURCE_DISK, "here", 0 },
	};
	struct ofd ofd = guest(GLK_MANAGER_START);

	(void)state;
	assert_int_equal(chdir("/"), 0);
	assert_words(&ofd, resources, ARRAY_SIZE(resources),
		     "run --uuid " UUID " --tag 0000000000000abc "
		     "--disk /a,,b --disk /s,shared --disk /r,readonly "
		     "--disk /l/k,shared,lease --disk /here --");
	assert_int_equal(chdir("/proc"), 0);
	assert_words(&ofd, resources + 4, 1,
		     "run --uuid " UUID " --tag 0000000000000abc "
		     "--disk /proc/here --");
}

static void a_policy_goes_with_the_disks(void **state)
{
	const struct glk_policy policy = {
		.require_scope = GLK_SCOPE_SERVER,
		.exclusive_open = GLK_OPEN_REFUSE,
		.flags = GLK_POLICY_SKIP_READONLY,
		.wait_ms = 1001,
		.lock_dir = "/a",
		.lvm_lock_dir = "/b c",
		.scsi_lock_dir = "/d",
	};
	const struct glk_policy longest = { .wait_ms = UINT_MAX };
	const struct glk_policy small = { .exclusive_open = GLK_OPEN_WARN };
	struct ofd ofd = guest(GLK_MANAGER_START);

	(void)state;
	assert_int_equal(glk_context_set_policy(context, &policy), 0);
	assert_words(&ofd, NULL, 0,
		     "run --uuid " UUID " --tag 0000000000000abc --wait 2 "
		     "--require-scope server --exclusive-open require "
		     "--readonly skip --lock-dir /a --lvm-lock-dir /b c "
		     "--scsi-lock-dir /d --");
	assert_int_equal(glk_context_set_policy(context, &small), 0);
	assert_words(&ofd, NULL, 0,
		     "run --uuid " UUID " --tag 0000000000000abc "
		     "--exclusive-open warn --");
	/* The longest that `run` can be told. */
	assert_int_equal(glk_context_set_policy(context, &longest), 0);
	assert_words(&ofd, NULL, 0,
		     "run --uuid " UUID " --tag 0000000000000abc "
		     "--wait 4294967 --");
}

static void a_relative_path_needs_a_folder(void **state)
{
	const struct glk_resource resource = { GLK_RESOURCE_DISK, "here", 0 };
	struct ofd ofd = guest(GLK_MANAGER_START);
	char dir[] = "/tmp/guestlock-words-XXXXXX";
	char **words = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(ofd_supervisor(&ofd, &resource, 1, &words), -ENOENT);
	assert_null(words);
	assert_int_equal(chdir("/"), 0);
}

static void the_command_is_the_installed_one_or_the_one_that_is_set(
	void **state)
{
	struct ofd ofd = guest(GLK_MANAGER_START);
	char **words = NULL;

	(void)state;
	unsetenv("GUESTLOCK_COMMAND");
	assert_int_equal(ofd_supervisor(&ofd, NULL, 0, &words), 0);
	assert_non_null(strstr(words[0], "/bin/guestlock"));
	free_words(words);
	setenv("GUESTLOCK_COMMAND", "/mine", 1);
	assert_int_equal(ofd_supervisor(&ofd, NULL, 0, &words), 0);
	assert_string_equal(words[0], "/mine");
	free_words(words);
}

/* What the named file holds is what would have stood there. */
static void assert_listed(struct ofd *ofd, const struct glk_resource *resource,
			  size_t n)
{
	const size_t size = n * (PATH_MAX + 16) + 64;
	_cleanup_(freep) char *text = malloc(size);
	char **words = NULL, proc[64];
	size_t len = 0, records = 0;
	ssize_t got;
	int fd;

	assert_non_null(text);
	assert_int_equal(ofd_supervisor(ofd, resource, n, &words), 0);
	assert_string_equal(words[6], "--args-from");
	snprintf(proc, sizeof(proc), "/proc/%d/fd/%d", (int)getpid(),
		 ofd->list);
	assert_string_equal(words[7], proc);
	assert_string_equal(words[8], "--");
	assert_int_equal(free_words(words), 9);

	fd = open(proc, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	while ((got = read(fd, text + len, size - len)) > 0)
		len += (size_t)got;
	assert_int_equal(got, 0);
	assert_true(len < size);
	close(fd);
	assert_string_equal(text, "--tag");
	assert_string_equal(text + 6, "0000000000000abc");
	for (size_t at = 6 + 17; at < len; records++) {
		assert_string_equal(text + at, "--disk");
		at += sizeof("--disk");
		assert_string_equal(text + at, resource[records].path);
		at += strlen(text + at) + 1;
	}
	assert_int_equal(records, n);
}

static void many_disks_are_named_in_a_sealed_file(void **state)
{
	struct glk_resource resources[101];
	struct ofd ofd = guest(GLK_MANAGER_START);
	unsigned fds = test_open_fds();
	char **words = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(resources); i++)
		resources[i] =
			(struct glk_resource){ GLK_RESOURCE_DISK, "/d", 0 };
	assert_int_equal(ofd_supervisor(&ofd, resources, 100, &words), 0);
	assert_int_equal(free_words(words), 7 + 200);
	assert_int_equal(ofd.list, -1);
	assert_listed(&ofd, resources, 101);
	assert_listed(&ofd, resources, 101);
	assert_int_equal(test_open_fds(), fds + 1);
	assert_int_equal(fcntl(ofd.list, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(ofd.list, F_GET_SEALS) &
				 (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW |
				  F_SEAL_WRITE),
			 F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW |
				 F_SEAL_WRITE);
	assert_int_equal(write(ofd.list, "x", 1), -1);
	close(ofd.list);
}

static void long_paths_are_named_in_a_sealed_file_too(void **state)
{
	struct glk_resource resources[17];
	struct ofd ofd = guest(GLK_MANAGER_START);
	char path[4000];

	(void)state;
	memset(path, 'p', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(resources); i++)
		resources[i] =
			(struct glk_resource){ GLK_RESOURCE_DISK, path, 0 };
	assert_listed(&ofd, resources, ARRAY_SIZE(resources));
	close(ofd.list);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(the_words_say_who_the_guest_is, start,
					stop),
	cmocka_unit_test_setup_teardown(each_disk_is_a_specification, start,
					stop),
	cmocka_unit_test_setup_teardown(a_policy_goes_with_the_disks, start,
					stop),
	cmocka_unit_test_setup_teardown(a_relative_path_needs_a_folder, start,
					stop),
	cmocka_unit_test_setup_teardown(
		the_command_is_the_installed_one_or_the_one_that_is_set, start,
		stop),
	cmocka_unit_test_setup_teardown(many_disks_are_named_in_a_sealed_file,
					start, stop),
	cmocka_unit_test_setup_teardown(
		long_paths_are_named_in_a_sealed_file_too, start, stop),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
