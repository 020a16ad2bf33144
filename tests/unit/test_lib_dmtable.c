/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/dmtable.h"

#include "core/base/util.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

/*
 * The linker sends the file's calls here (--wrap): they play the kernel's
 * device-mapper. The real one is asked in the lab (tests/lab/test_scsi.c).
 */

static struct {
	int open_error, ioctl_error;
	uint32_t count;
	const char *kind;
	struct dm_ioctl asked;
} kernel;

int __wrap_open64(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	assert_string_equal(path, "/dev/mapper/control");
	errno = kernel.open_error;
	return errno ? -1 : openat(AT_FDCWD, "/dev/null", flags);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct dm_target_spec *spec;
	struct dm_ioctl *head;
	va_list args;

	va_start(args, request);
	head = va_arg(args, struct dm_ioctl *);
	va_end(args);
	assert_true(fd >= 0 && request == DM_TABLE_STATUS);
	kernel.asked = *head;
	errno = kernel.ioctl_error;
	if (errno)
		return -1;
	spec = (void *)((char *)head + head->data_start);
	assert_true(head->data_start + sizeof(*spec) <= head->data_size);
	head->target_count = kernel.count;
	if (kernel.count)
		strncpy(spec->target_type, kernel.kind,
			sizeof(spec->target_type) - 1);
	return 0;
}

static int ask(uint32_t count, const char *kind)
{
	kernel.count = count;
	kernel.kind = kind;
	return dmtable_passes(254, 300);
}

static void one_line_of_some_kinds_passes(void **state)
{
	(void)state;
	assert_int_equal(ask(1, "linear"), 1);
	assert_int_equal(ask(1, "multipath"), 1);
	assert_int_equal(ask(1, "crypt"), 0);
	assert_int_equal(ask(1, "snapshot-origin"), 0);
	assert_int_equal(ask(1, "linear-like"), 0);
	assert_int_equal(ask(1, ""), 0);
	assert_int_equal(ask(2, "linear"), 0);
	assert_int_equal(ask(0, ""), 0);
}

static void the_device_is_asked_about_by_number_and_writes_nothing(void **state)
{
	(void)state;
	assert_int_equal(ask(1, "linear"), 1);
	assert_true(kernel.asked.dev == makedev(254, 300));
	assert_int_equal(kernel.asked.version[0], DM_VERSION_MAJOR);
	assert_int_equal(kernel.asked.flags, DM_NOFLUSH_FLAG);
	assert_string_equal(kernel.asked.name, "");
	assert_string_equal(kernel.asked.uuid, "");
}

static void a_kernel_that_does_not_tell_is_an_error(void **state)
{
	unsigned fds = test_open_fds();

	(void)state;
	kernel.ioctl_error = ENXIO;
	assert_int_equal(ask(1, "linear"), -ENXIO);
	kernel.open_error = EACCES;
	assert_int_equal(ask(1, "linear"), -EACCES);
	kernel.open_error = kernel.ioctl_error = 0;
	assert_int_equal(test_open_fds(), fds);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(one_line_of_some_kinds_passes),
	cmocka_unit_test(
		the_device_is_asked_about_by_number_and_writes_nothing),
	cmocka_unit_test(a_kernel_that_does_not_tell_is_an_error),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
