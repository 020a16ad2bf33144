/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cli/status.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>

static const struct {
	int err;
	int status;
	const char *word;
} contract[] = {
	{ EBUSY, 75, "held" },
	{ EINVAL, 64, "usage" },
	{ EEXIST, 64, "other-mode" },
	{ ENOTUNIQ, 64, "ambiguous" },
	{ EOPNOTSUPP, 64, "unsupported" },
	{ EISDIR, 64, "unsupported" },
	{ EXDEV, 64, "out-of-reach" },
	{ ENODATA, 64, "wrong-state" },
	{ EALREADY, 64, "wrong-state" },
	{ EINPROGRESS, 64, "wrong-state" },
	{ ENOENT, 66, "not-found" },
	{ ENOTDIR, 66, "not-found" },
	{ ELOOP, 66, "not-found" },
	{ ENAMETOOLONG, 66, "not-found" },
	{ ESRCH, 66, "no-such-guest" },
	{ ENOTCONN, 66, "no-destination" },
	{ EACCES, 77, "denied" },
	{ EPERM, 77, "denied" },
	{ EROFS, 77, "denied" },
	{ EMFILE, 70, "limit" },
	{ ENFILE, 70, "limit" },
	{ ETOOMANYREFS, 70, "limit" },
	{ ENOSPC, 70, "limit" },
	{ ETIME, 70, "timeout" },
	{ ESTALE, 70, "replaced" },
	{ ECANCELED, 70, "internal" },
	{ ENOTRECOVERABLE, 70, "internal" },
	{ EIO, 70, "internal" },
};

static void every_errno_has_its_exit_code_and_word(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(contract) / sizeof(contract[0]); i++) {
		if ((int)status_of(-contract[i].err) != contract[i].status)
			fail_msg("errno %d: exit code %d, not %d",
				 contract[i].err, status_of(-contract[i].err),
				 contract[i].status);
		assert_string_equal(status_word(-contract[i].err),
				    contract[i].word);
	}
}

static void no_error_is_success_and_no_error_is_ever_success(void **state)
{
	(void)state;
	assert_int_equal(status_of(0), 0);
	for (int err = 1; err < 4096; err++) {
		int status = (int)status_of(-err);

		assert_true(status == 64 || status == 66 || status == 70 ||
			    status == 75 || status == 77);
	}
}

static void only_busy_means_held_by_another(void **state)
{
	(void)state;
	for (int err = 1; err < 4096; err++)
		assert_int_equal(status_of(-err) == STATUS_HELD, err == EBUSY);
}

static void a_failed_exec_exits_as_a_shell_does(void **state)
{
	(void)state;
	assert_int_equal(status_of_exec(-ENOENT), 127);
	assert_int_equal(status_of_exec(-EACCES), 126);
	assert_int_equal(status_of_exec(-ENOEXEC), 126);
	assert_int_equal(status_of_exec(-E2BIG), 126);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_errno_has_its_exit_code_and_word),
	cmocka_unit_test(no_error_is_success_and_no_error_is_ever_success),
	cmocka_unit_test(only_busy_means_held_by_another),
	cmocka_unit_test(a_failed_exec_exits_as_a_shell_does),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
