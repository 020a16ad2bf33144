/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* cmocka wants these before its own header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <sys/types.h>

/*
 * Every test program ends with `TEST_MAIN(tests, needs)`. cmocka's exit status
 * is the number of failures, so 256 reads as success and 77 as skipped: here it
 * is 0 or 1. A missing privilege or kernel feature exits 77 before the group
 * runs, and says what is missing.
 */
enum test_needs {
	TEST_NEEDS_NOTHING = 0,
	TEST_NEEDS_ROOT = 1 << 0,
	TEST_NEEDS_URING = 1 << 1,
	TEST_NEEDS_KVM_OR_QEMU = 1 << 2,
	TEST_NEEDS_LOOP = 1 << 3,
	TEST_NEEDS_FUSE = 1 << 4, /* and root, to mount: tests/lib/slowfs.h */
};

int test_run(const char *name, const struct CMUnitTest *tests, size_t n,
	     unsigned needs);

/* What test_run() does at first: exit 77 if something is missing. */
void test_require(unsigned needs);

#define TEST_MAIN(_tests, _needs)                                              \
	int main(void)                                                         \
	{                                                                      \
		return test_run(__FILE__, _tests,                              \
				sizeof(_tests) / sizeof((_tests)[0]), _needs); \
	}

/* Exit 77 from main() before any test: "skipped: @why". */
_Noreturn void test_skip(const char *why);

/*
 * A fresh directory, removed with everything in it when the program ends.
 * Static; the same one for the whole program. On ext4 or tmpfs, never /dev/shm.
 */
const char *test_dir(void);

/* DIR/@name (static ring of 16 buffers); created with @size bytes if >= 0. */
const char *test_file(const char *name, off_t size);

/*
 * An independent look at the kernel: may a stranger lock byte 0 of @path in
 * @type (F_RDLCK, F_WRLCK)? Takes none, so it is in nobody's way.
 */
bool test_lockable(const char *path, short type);
bool test_byte_lockable(const char *path, long byte, short type);

/* Retry until @path is lockable exclusively, at most @ms. */
bool test_becomes_free(const char *path, unsigned ms);

/* How many descriptors this process has open. */
unsigned test_open_fds(void);
