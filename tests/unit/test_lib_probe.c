/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/lib_kit.h"

#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static struct glk_host_info describe(const char *engine)
{
	struct glk_context *context = NULL;
	struct glk_host_info info;

	if (engine)
		setenv("GUESTLOCK_ENGINE", engine, 1);
	else
		unsetenv("GUESTLOCK_ENGINE");
	assert_int_equal(glk_context_new(&context), 0);
	memset(&info, 0xff, sizeof(info));
	assert_int_equal(glk_host_describe(context, &info), 0);
	glk_context_free(context);
	unsetenv("GUESTLOCK_ENGINE");
	return info;
}

static bool uring_is_there(void)
{
	long fd = syscall(SYS_io_uring_setup, 0, NULL);

	return feature_allowed(FEATURE_URING) && fd < 0 && errno != ENOSYS &&
	       errno != EPERM;
}

static void the_engine_is_the_one_that_runs(void **state)
{
	struct glk_host_info info = describe(NULL);

	(void)state;
	assert_string_equal(info.engine,
			    uring_is_there() ? "uring" : "syscall");
	assert_int_equal(!*info.engine_reason, uring_is_there());
	assert_true(*info.ring_flags && *info.completion);
	for (size_t i = 0; i < ARRAY_SIZE(info.reserved); i++)
		assert_int_equal(info.reserved[i], 0);
}

static void an_engine_that_was_asked_for_says_why(void **state)
{
	struct glk_host_info info = describe("syscall");

	(void)state;
	assert_string_equal(info.engine, "syscall");
	assert_string_equal(info.engine_reason,
			    "plain system calls were asked for");
	assert_int_equal(info.lock_opcode, 0);
}

static void an_engine_that_is_none_opens_no_library(void **state)
{
	struct glk_context *context = NULL;

	(void)state;
	setenv("GUESTLOCK_ENGINE", "steam", 1);
	assert_int_equal(glk_context_new(&context), -EINVAL);
	unsetenv("GUESTLOCK_ENGINE");
	assert_null(context);
}

/* Asked in another way than the library does. */
static bool kernel_answers_unlck(void)
{
	struct flock lock = { .l_type = F_UNLCK, .l_len = 1 };
	int fd = memfd_create("probe", MFD_CLOEXEC);
	bool answers = fcntl(fd, F_OFD_GETLK, &lock) == 0;

	close(fd);
	return answers;
}

static bool kernel_has_noexec(void)
{
	int fd = memfd_create("probe", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	fd_close(fd);
	return fd >= 0;
}

static void what_is_disabled_or_lacking_is_said_to_be(void **state)
{
	struct glk_host_info info = describe(NULL);

	(void)state;
	assert_int_equal(info.getlk_unlck,
			 kernel_answers_unlck() &&
				 feature_allowed(FEATURE_GETLK_UNLCK));
	assert_int_equal(info.memfd_noexec,
			 kernel_has_noexec() &&
				 feature_allowed(FEATURE_MEMFD_NOEXEC));
	assert_int_equal(info.udiag, feature_allowed(FEATURE_UNIX_DIAG));
	assert_int_equal(info.pidfd_getfd, 1);
}

static void looking_leaves_nothing_open(void **state)
{
	unsigned before;

	(void)state;
	describe(NULL);
	before = test_open_fds();
	describe(NULL);
	describe("syscall");
	assert_int_equal(test_open_fds(), before);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_engine_is_the_one_that_runs),
	cmocka_unit_test(an_engine_that_was_asked_for_says_why),
	cmocka_unit_test(an_engine_that_is_none_opens_no_library),
	cmocka_unit_test(what_is_disabled_or_lacking_is_said_to_be),
	cmocka_unit_test(looking_leaves_nothing_open),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
