/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/test.h"

#include "core/base/clock.h"
#include "core/base/compat.h"
#include "core/base/feature.h"
#include "core/base/util.h"
#include "core/capsule/identity.h"
#include "core/capsule/mutex.h"
#include "core/capsule/sealed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

static struct capsule_identity sample(void)
{
	struct capsule_identity who = {
		.uuid = { { 1, 2, 3 } },
		.name = "d\xc3\xa9j\xc3\xa0 vu",
		.id = INT64_MAX,
		.holder = CAPSULE_KEEPER,
		.maker_pid = 4711,
		.maker_start = UINT64_MAX,
		.created = 42,
		.epoch = UINT64_MAX - 1,
		.nonce = 99,
	};

	return who;
}

static struct identity_bond bond_of(const struct capsule_identity *who)
{
	return (struct identity_bond){ geteuid(), who->uuid, 99 };
}

static void an_identity_comes_back(void **state)
{
	struct capsule_identity in = sample(), out;
	uint8_t buf[IDENTITY_SIZE_MAX];
	size_t size;

	(void)state;
	in.nonce = 1234567890123;
	size = identity_encode(&in, buf);
	assert_int_equal(size, IDENTITY_SIZE_MIN + strlen(in.name));
	assert_int_equal(identity_parse(buf, size, &out), 0);
	assert_true(out.nonce == 1234567890123);
	assert_true(out.epoch == UINT64_MAX - 1);
	assert_memory_equal(&in.uuid, &out.uuid, sizeof(in.uuid));
	assert_string_equal(in.name, out.name);
	assert_true(in.id == out.id);
	assert_int_equal(in.holder, out.holder);
	assert_int_equal(in.maker_pid, out.maker_pid);
	assert_true(in.maker_start == out.maker_start);
	assert_true(in.created == out.created);
}

static void the_longest_name_fits(void **state)
{
	struct capsule_identity in = sample(), out;
	uint8_t buf[IDENTITY_SIZE_MAX];

	(void)state;
	memset(in.name, 'x', CAPSULE_NAME_MAX);
	in.name[CAPSULE_NAME_MAX] = 0;
	assert_int_equal(identity_check(&in), 0);
	assert_int_equal(identity_encode(&in, buf), sizeof(buf));
	assert_int_equal(identity_parse(buf, sizeof(buf), &out), 0);
	assert_string_equal(in.name, out.name);
	in.name[CAPSULE_NAME_MAX] = 'x';
	assert_int_equal(identity_check(&in), -EINVAL);
}

static void senseless_identities_are_refused(void **state)
{
	struct capsule_identity who;

	(void)state;
	for (int c = 1; c < 256; c++) {
		who = sample();
		who.name[3] = (char)c;
		assert_int_equal(identity_check(&who),
				 c < ' ' || c == 0x7f ? -EINVAL : 0);
	}
	who = sample();
	memset(&who.uuid, 0, sizeof(who.uuid));
	assert_int_equal(identity_check(&who), -EINVAL);
	who = sample();
	who.id = -1;
	assert_int_equal(identity_check(&who), 0);
	who.id = -2;
	assert_int_equal(identity_check(&who), -EINVAL);
	who = sample();
	who.holder = CAPSULE_KEEPER + 1;
	assert_int_equal(identity_check(&who), -EINVAL);
}

static void a_cut_or_changed_identity_is_forged(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} changes[] = {
		{ 0, 0xff },  { 4, 2 },	 { 5, CAPSULE_KEEPER + 1 },
		{ 6, 3 },     { 7, 1 },	 { 68, 1 },
		{ 72, '\n' }, { 74, 0 }, { 39, 0x80 },
	};
	struct capsule_identity in = sample(), out;
	uint8_t good[IDENTITY_SIZE_MAX + 1], buf[sizeof(good)];
	size_t size = identity_encode(&in, good);

	(void)state;
	for (size_t cut = 0; cut <= size + 1; cut++)
		assert_int_equal(identity_parse(good, cut, &out),
				 cut == size ? 0 : IDENTITY_E_FORGED);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, sizeof(buf));
		buf[changes[i].at] = changes[i].value;
		assert_int_equal(identity_parse(buf, size, &out),
				 IDENTITY_E_FORGED);
	}
}

static void nobody_can_change_it_any_more(void **state)
{
	struct capsule_identity who = sample();
	char path[64];
	int fd, again, seals;

	(void)state;
	assert_int_equal(identity_new(&who, &fd), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	assert_true(again >= 0);
	assert_int_equal(pwrite(again, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(again, 0), -1);
	assert_int_equal(ftruncate(again, 1000), -1);
	assert_true(mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, again,
			 0) == MAP_FAILED);
	seals = fcntl(again, F_GET_SEALS);
	assert_true(seals & F_SEAL_SEAL);
	/* Sealed against being executed, where the kernel can. */
	if (!feature_allowed(FEATURE_MEMFD_NOEXEC))
		assert_false(seals & F_SEAL_EXEC);
	fd_close(again);
	fd_close(fd);
}

static void it_is_believed_only_with_its_bond(void **state)
{
	struct capsule_identity who = sample(), out = { .id = 5 };
	struct identity_bond good = bond_of(&who), bond;
	int fd;

	(void)state;
	assert_int_equal(identity_new(&who, &fd), 0);
	bond = good;
	bond.nonce++;
	assert_int_equal(identity_read(fd, &bond, &out), IDENTITY_E_FORGED);
	bond = good;
	bond.uuid.b[15]++;
	assert_int_equal(identity_read(fd, &bond, &out), IDENTITY_E_FORGED);
	bond = good;
	bond.uid++;
	assert_int_equal(identity_read(fd, &bond, &out), IDENTITY_E_FORGED);
	assert_int_equal(out.id, 5);
	assert_int_equal(identity_read(fd, &good, &out), 0);
	assert_string_equal(out.name, who.name);
	fd_close(fd);
}

/* Whoever could still change it could do so after we have read it. */
static void every_seal_is_needed(void **state)
{
	static const int seals[] = { F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW,
				     F_SEAL_WRITE };
	struct capsule_identity who = sample(), out;
	struct identity_bond bond = bond_of(&who);
	uint8_t buf[IDENTITY_SIZE_MAX];
	size_t size = identity_encode(&who, buf);

	(void)state;
	for (unsigned mask = 0; mask < 16; mask++) {
		int fd = memfd_create("seals", MFD_CLOEXEC | MFD_ALLOW_SEALING);

		assert_int_equal(write(fd, buf, size), size);
		for (unsigned i = 0; i < 4; i++)
			if (i && mask & 1U << i)
				fcntl(fd, F_ADD_SEALS, seals[i]);
		if (mask & 1)
			fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL);
		assert_int_equal(identity_read(fd, &bond, &out),
				 mask == 15 ? 0 : IDENTITY_E_FORGED);
		fd_close(fd);
	}
}

static void only_memfds_are_read(void **state)
{
	struct capsule_identity out;
	struct identity_bond bond = {};
	int fds[4], ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	fds[0] = ends[0];
	fds[1] = socket(AF_UNIX, SOCK_STREAM, 0);
	fds[2] = open("/dev/zero", O_RDWR);
	fds[3] = open(test_file("plain", 100), O_RDWR);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(fds[i] >= 0);
		assert_int_equal(identity_read(fds[i], &bond, &out),
				 IDENTITY_E_FORGED);
		fd_close(fds[i]);
	}
	assert_int_equal(identity_read(-1, &bond, &out), IDENTITY_E_FORGED);
	fd_close(ends[1]);
}

static void a_sealed_size_out_of_bounds_is_bad(void **state)
{
	struct iovec iov[2] = { { (char[]){ "abc" }, 3 },
				{ (char[]){ "de" }, 2 } };
	void *data = NULL;
	size_t size = 0;
	int fd;

	(void)state;
	assert_int_equal(sealed_new(iov, 2, &fd), 0);
	assert_int_equal(sealed_read(fd, 6, 9, &data, &size), SEALED_E_BAD);
	assert_int_equal(sealed_read(fd, 0, 4, &data, &size), SEALED_E_BAD);
	assert_null(data);
	assert_int_equal(sealed_read(fd, 5, 5, &data, &size), 0);
	assert_int_equal(size, 5);
	assert_memory_equal(data, "abcde", 5);
	free(data);
	fd_close(fd);
}

static void a_full_descriptor_table_is_told(void **state)
{
	struct capsule_identity who = sample();
	struct rlimit limit, none;
	int fd = -1;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(identity_new(&who, &fd), IDENTITY_E_NOFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(fd, -1);
}

static void the_mutex_excludes_and_waits_no_longer_than_told(void **state)
{
	struct capsule_identity who = sample();
	int fd, first, second = -7;
	uint64_t begin;

	(void)state;
	assert_int_equal(identity_new(&who, &fd), 0);
	assert_int_equal(mutex_lock(fd, MUTEX_QUEUE, 0, &first), 0);
	begin = clock_now();
	assert_int_equal(mutex_lock(fd, MUTEX_QUEUE, begin + 20 * NSEC_PER_MSEC,
				    &second),
			 MUTEX_E_BUSY);
	assert_true(clock_now() >= begin + 20 * NSEC_PER_MSEC);
	assert_int_equal(second, -7);
	first = mutex_unlock(first);
	assert_int_equal(mutex_lock(fd, MUTEX_QUEUE, 0, &second), 0);
	mutex_unlock(second);
	assert_int_equal(mutex_unlock(-1), -1);
	assert_int_equal(mutex_lock(-1, MUTEX_QUEUE, 0, &second), MUTEX_E_BUSY);
	fd_close(fd);
}

static void the_mutex_is_free_though_a_copy_of_it_is_open(void **state)
{
	struct capsule_identity who = sample();
	int fd, first, copy, second;

	(void)state;
	assert_int_equal(identity_new(&who, &fd), 0);
	assert_int_equal(mutex_lock(fd, MUTEX_QUEUE, 0, &first), 0);
	copy = fcntl(first, F_DUPFD_CLOEXEC, 0);
	mutex_unlock(first);
	assert_int_equal(mutex_lock(fd, MUTEX_QUEUE, 0, &second), 0);
	mutex_unlock(second);
	fd_close(copy);
	fd_close(fd);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(an_identity_comes_back),
	cmocka_unit_test(the_longest_name_fits),
	cmocka_unit_test(senseless_identities_are_refused),
	cmocka_unit_test(a_cut_or_changed_identity_is_forged),
	cmocka_unit_test(nobody_can_change_it_any_more),
	cmocka_unit_test(it_is_believed_only_with_its_bond),
	cmocka_unit_test(every_seal_is_needed),
	cmocka_unit_test(only_memfds_are_read),
	cmocka_unit_test(a_sealed_size_out_of_bounds_is_bad),
	cmocka_unit_test(a_full_descriptor_table_is_told),
	cmocka_unit_test(the_mutex_excludes_and_waits_no_longer_than_told),
	cmocka_unit_test(the_mutex_is_free_though_a_copy_of_it_is_open),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
