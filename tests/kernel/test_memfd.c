/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memfd that carries a guest's identity and the mutex for compaction. */
#include "tests/kernel/kernel.h"

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020 /* Linux 6.3 */
#endif
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define TEXT "identity"

static int sealed_memfd(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, TEXT, sizeof(TEXT)), sizeof(TEXT));
	assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALS), 0);
	return fd;
}

static void assert_refused(int res, int err)
{
	assert_int_equal(res, -1);
	assert_int_equal(errno, err);
}

static void a_sealed_memfd_never_changes(void **state)
{
	char text[sizeof(TEXT)];
	int fd = sealed_memfd(), again = file_reopen(fd, O_RDWR);

	(void)state;
	assert_refused((int)pwrite(fd, "x", 1, 0), EPERM);
	assert_refused((int)pwrite(again, "x", 1, 0), EPERM);
	assert_refused((int)pwrite(again, "x", 1, 100), EPERM);
	assert_refused(ftruncate(again, 0), EPERM);
	assert_refused(ftruncate(again, 4096), EPERM);
	assert_ptr_equal(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, again, 0),
			 MAP_FAILED);
	assert_refused(fcntl(again, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), EPERM);
	assert_int_equal(fcntl(again, F_GET_SEALS), SEALS);
	assert_int_equal(pread(again, text, sizeof(text), 0), sizeof(text));
	assert_string_equal(text, TEXT);
	close(again);
	close(fd);
}

/* The seals also say that a descriptor is a memfd, and not just any file. */
static void other_files_have_no_such_seals(void **state)
{
	int disk = file_open(test_file("a", 0), O_RDWR), pair[2];
	int shm = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int seals = fcntl(disk, F_GET_SEALS);

	(void)state;
	/* A file on tmpfs is sealed against sealing. */
	assert_true(seals == F_SEAL_SEAL || (seals == -1 && errno == EINVAL));
	assert_true(shm >= 0);
	assert_int_equal(fcntl(shm, F_GET_SEALS), F_SEAL_SEAL);
	pair_open(SOCK_SEQPACKET, pair);
	assert_refused(fcntl(pair[0], F_GET_SEALS), EINVAL);
	close(pair[0]);
	close(pair[1]);
	close(shm);
	close(disk);
}

static void a_writable_mapping_delays_the_write_seal(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *map;

	(void)state;
	assert_int_equal(ftruncate(fd, 4096), 0);
	map = mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_refused(fcntl(fd, F_ADD_SEALS, SEALS), EBUSY);
	munmap(map, 4096);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALS), 0);
	close(fd);
}

/* Linux 6.3 on; before, the flag is unknown and the plain way is left. */
static void noexec_seal_is_known_or_einval(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	struct stat st;

	(void)state;
	printf("MFD_NOEXEC_SEAL: %s\n", fd < 0 ? "unknown" : "known");
	if (fd < 0) {
		assert_int_equal(errno, EINVAL);
		return;
	}
	/* It allows sealing by itself, and has one seal already. */
	assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_EXEC);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALS), 0);
	assert_int_equal(fcntl(fd, F_GET_SEALS), SEALS | F_SEAL_EXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0111, 0);
	assert_refused(fchmod(fd, 0777), EPERM);
	close(fd);
}

static void its_owner_is_its_maker(void **state)
{
	int fd = sealed_memfd();
	struct stat st;

	(void)state;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_uid, geteuid());
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_size, sizeof(TEXT));
	close(fd);
}

static void two_reopened_descriptions_exclude_each_other(void **state)
{
	int fd = sealed_memfd();
	int one = file_reopen(fd, O_RDWR), two = file_reopen(fd, O_RDWR);

	(void)state;
	assert_int_equal(lock_byte(one, F_WRLCK, 0), 0);
	assert_int_equal(lock_byte(two, F_WRLCK, 0), -EAGAIN);
	assert_int_equal(lock_byte(fd, F_WRLCK, 0), -EAGAIN);
	close(one);
	assert_int_equal(lock_byte(two, F_WRLCK, 0), 0);
	close(two);
	close(fd);
}

/* What comes out of a queue is one description: of no use as a mutex. */
static void peeked_duplicates_do_not_exclude_each_other(void **state)
{
	int fd = sealed_memfd(), pair[2], one, two;

	(void)state;
	pair_open(SOCK_SEQPACKET, pair);
	fd_send(pair[0], fd);
	close(fd);
	one = fd_receive(pair[1], MSG_PEEK);
	two = fd_receive(pair[1], MSG_PEEK);
	assert_int_equal(lock_byte(one, F_WRLCK, 0), 0);
	assert_int_equal(lock_byte(two, F_WRLCK, 0), 0);
	close(two);
	two = file_reopen(one, O_RDWR);
	assert_int_equal(lock_byte(two, F_WRLCK, 0), -EAGAIN);
	close(one);
	/* Parked, it would be held for ever: the mutex is never sent locked. */
	assert_int_equal(lock_byte(two, F_WRLCK, 0), -EAGAIN);
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(lock_byte(two, F_WRLCK, 0), 0);
	close(two);
}

static void memfds_have_inodes_of_their_own(void **state)
{
	int one = sealed_memfd(), two = sealed_memfd();
	struct stat first, second;

	(void)state;
	assert_int_equal(fstat(one, &first), 0);
	assert_int_equal(fstat(two, &second), 0);
	assert_true(first.st_ino != second.st_ino);
	assert_int_equal(lock_byte(one, F_WRLCK, 0), 0);
	assert_int_equal(lock_byte(two, F_WRLCK, 0), 0);
	close(one);
	close(two);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_sealed_memfd_never_changes),
	cmocka_unit_test(other_files_have_no_such_seals),
	cmocka_unit_test(a_writable_mapping_delays_the_write_seal),
	cmocka_unit_test(noexec_seal_is_known_or_einval),
	cmocka_unit_test(its_owner_is_its_maker),
	cmocka_unit_test(two_reopened_descriptions_exclude_each_other),
	cmocka_unit_test(peeked_duplicates_do_not_exclude_each_other),
	cmocka_unit_test(memfds_have_inodes_of_their_own),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
