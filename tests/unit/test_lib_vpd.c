/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/lib/vpd.h"

#include "core/base/util.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

/*
 * Every name is compared with what udev's own program prints, if this host has
 * it: a module that is preloaded into it plays the disk.
 */

#define PROGRAM "/lib/udev/scsi_id"

static struct vpd vpd;

static void set(struct vpd_page *page, const void *data, size_t size)
{
	assert_true(size <= sizeof(page->data));
	memcpy(page->data, data, size);
	page->size = size;
}

#define SET(_page, ...)                                                        \
	set(_page, (const uint8_t[]){ __VA_ARGS__ },                           \
	    sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void set_inquiry(const char *vendor_and_model)
{
	struct vpd_page *page = &vpd.inquiry;

	assert_int_equal(strlen(vendor_and_model), 24);
	memset(page->data, 0, 36);
	memcpy(page->data + 8, vendor_and_model, 24);
	memcpy(page->data + 32, "0188", 4);
	page->size = 36;
}

/* As the kernel's scsi_debug and most disks have it. */
static void reset(void)
{
	memset(&vpd, 0, sizeof(vpd));
	set_inquiry("ACME    Big Disk  3000  ");
	SET(&vpd.list, 0, 0, 0, 4, 0x00, 0x80, 0x83, 0xb0);
}

static void begin_ids(void)
{
	SET(&vpd.ids, 0, 0x83, 0, 0);
}

static void add_id(uint8_t code_set, uint8_t kind, const void *data,
		   uint8_t size)
{
	struct vpd_page *page = &vpd.ids;
	uint8_t *at = page->data + page->size;

	at[0] = code_set;
	at[1] = kind;
	at[2] = 0;
	at[3] = size;
	memcpy(at + 4, data, size);
	page->size += 4 + size;
	page->data[2] = (uint8_t)((page->size - 4) >> 8);
	page->data[3] = (uint8_t)(page->size - 4);
}

static void save(const char *dir, const char *name, const struct vpd_page *page)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
	if (!page->size)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, page->data, page->size), page->size);
	close(fd);
}

_Noreturn static void become_program(const char *dir, int out)
{
	char *args[] = {
		(char *)PROGRAM,	 (char *)"--replace-whitespace",
		(char *)"--whitelisted", (char *)"--device",
		(char *)"/dev/null",	 NULL
	};

	dup2(out, STDOUT_FILENO);
	setenv("LD_PRELOAD", SCSI_SHIM, 1);
	setenv("SCSI_PAGES", dir, 1);
	execv(PROGRAM, args);
	_exit(127);
}

/* What the program prints; "" if it finds none. */
static void ask_program(char *buf, size_t size)
{
	const char *dir = test_dir();
	int status, out[2];
	ssize_t n;
	pid_t pid;

	save(dir, "inquiry", &vpd.inquiry);
	save(dir, "00", &vpd.list);
	save(dir, "80", &vpd.serial);
	save(dir, "83", &vpd.ids);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		become_program(dir, out[1]);
	close(out[1]);
	n = read(out[0], buf, size - 1);
	assert_true(n >= 0);
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	close(out[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 127);
}

static void check(const char *expected)
{
	char wwid[WWID_SIZE] = "", theirs[1024];

	assert_int_equal(vpd_wwid(&vpd, wwid), *expected ? 0 : -ENODATA);
	assert_string_equal(wwid, expected);
	if (access(PROGRAM, X_OK))
		return;
	ask_program(theirs, sizeof(theirs));
	assert_string_equal(theirs, expected);
}

static void the_best_identifier_is_taken(void **state)
{
	(void)state;
	reset();
	begin_ids();
	add_id(2, 0, "serial 7", 8);
	check("0ACME_Big_Disk_3000_serial_7");
	add_id(2, 1, "ACME    disk no 7  ", 19);
	check("1ACME_disk_no_7");
	add_id(1, 2, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	check("20102030405060708");
	add_id(1, 3, "\x30\x11\x22\x33\x44\x55\x66\x77", 8);
	check("33011223344556677");
	add_id(1, 3, "\x50\x11\x22\x33\x44\x55\x66\x77", 8);
	check("35011223344556677");
	add_id(1, 3,
	       "\x60\x11\x22\x33\x44\x55\x66\x77"
	       "89abcdef",
	       16);
	check("360112233445566773839616263646566");
	add_id(1, 3,
	       "\x6f\x11\x22\x33\x44\x55\x66\x77"
	       "89abcdef",
	       16);
	check("360112233445566773839616263646566");
}

static void an_identifier_of_the_port_is_not_the_disks(void **state)
{
	(void)state;
	reset();
	begin_ids();
	add_id(1, 0x93, "\x50\x11\x22\x33\x44\x55\x66\x77", 8);
	add_id(1, 0x94, "\0\0\0\1", 4);
	add_id(1, 0x95, "\0\0\1\1", 4);
	add_id(3, 0xa8, "naa.5011223344556677", 20);
	check("");
	add_id(1, 3, "\x52\x22\x22\x20\x00\x00\x07\xd0", 8);
	check("35222222000"
	      "0007d0");
}

static void text_becomes_a_file_name(void **state)
{
	(void)state;
	reset();
	begin_ids();
	add_id(2, 3, "naa/\\x2f\tü\xff ..  ", 17);
	check("3naa_\\x2f_ü__..");
	begin_ids();
	add_id(2, 1, "ends\0here", 9);
	check("1ends");
	begin_ids();
	add_id(2, 1, "\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xef\xbf\xbe\xe2\x82",
	       14);
	check("1______________");
}

static void an_empty_identifier_is_its_kind(void **state)
{
	(void)state;
	reset();
	begin_ids();
	add_id(1, 2, "", 0);
	check("2");
	begin_ids();
	add_id(1, 3, "", 0);
	add_id(0x61, 1, "x", 1);
	check("3");
}

static void an_old_disk_has_a_bare_number(void **state)
{
	uint8_t page[140] = { 0, 0x83, 0, 16, 0x60, 0x06, 0x04, 0x80 };

	(void)state;
	reset();
	set(&vpd.ids, page, 20);
	check("360060480"
	      "000000000000000000000000");
	page[3] = 136;
	set(&vpd.ids, page, sizeof(page));
	vpd.ids.size = 140;
	{
		char wwid[WWID_SIZE];

		assert_int_equal(vpd_wwid(&vpd, wwid), 0);
		assert_int_equal(strlen(wwid), 253);
		check(wwid);
	}
}

static void the_serial_number_is_the_last_resort(void **state)
{
	(void)state;
	reset();
	set(&vpd.serial,
	    "\0\x80\0\x08"
	    "  s e 1 ",
	    12);
	check("SACME_Big_Disk_3000_s_e_1");
	begin_ids();
	check("SACME_Big_Disk_3000_s_e_1");
	add_id(1, 2, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	check("20102030405060708");
	SET(&vpd.list, 0, 0, 0, 2, 0x00, 0x80); /* 0x83 is not listed */
	check("SACME_Big_Disk_3000_s_e_1");
	SET(&vpd.list, 0, 0, 0, 1, 0x00);
	check("");
}

static void a_page_that_is_none_is_not_believed(void **state)
{
	(void)state;
	reset();
	check("");
	begin_ids();
	add_id(1, 2, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	vpd.ids.data[1] = 0;
	check("");
	vpd.ids.data[1] = 0x83;
	check("20102030405060708");
	vpd.list.size = 0;
	check("");
	/* Standard data, where the list should be. */
	set(&vpd.list, vpd.inquiry.data, vpd.inquiry.size);
	vpd.list.data[3] = 31;
	vpd.list.data[20] = 0x83;
	check("");
	memcpy(vpd.list.data + 8, "EMCA    ", 8);
	check("20102030405060708");
	vpd.list.data[3] = 255;
	check("");
}

static void a_long_identifier_is_too_long(void **state)
{
	char text[240];

	(void)state;
	memset(text, 'y', sizeof(text));
	reset();
	begin_ids();
	add_id(1, 2, text, 128); /* in hex, beyond the buffer */
	check("");
	begin_ids();
	add_id(2, 0, text, 231);
	check("");
	begin_ids();
	add_id(2, 1, text, 240);
	{
		char wwid[WWID_SIZE];

		assert_int_equal(vpd_wwid(&vpd, wwid), 0);
		assert_int_equal(strlen(wwid), 241);
		check(wwid);
	}
	set(&vpd.serial, text, 240);
	vpd.serial.data[1] = 0x80;
	vpd.serial.data[3] = 232;
	begin_ids();
	check("");
}

/* What scsi_id reads beyond its buffer then, nobody knows. */
static void what_was_cut_off_is_passed_over(void **state)
{
	char wwid[WWID_SIZE] = "";

	(void)state;
	reset();
	begin_ids();
	add_id(2, 1, "fine", 4);
	for (unsigned i = 0; i < 6; i++)
		add_id(2, 9, "0123456789012345678901234567890123456789", 40);
	vpd.ids.data[2] = 0xff;
	assert_int_equal(vpd_wwid(&vpd, wwid), 0);
	assert_string_equal(wwid, "1fine");
	begin_ids();
	vpd.ids.data[3] = 0xff;
	for (size_t i = 4; i < 254; i++)
		vpd.ids.data[i] = 0x11; /* but no list begins so */
	vpd.ids.data[6] = 0;
	vpd.ids.size = 254;
	assert_int_equal(vpd_wwid(&vpd, wwid), -ENODATA);
	vpd.ids.size = 3;
	assert_int_equal(vpd_wwid(&vpd, wwid), -ENODATA);
	vpd.inquiry.size = 0;
	begin_ids();
	add_id(2, 0, "no vendor", 9);
	assert_int_equal(vpd_wwid(&vpd, wwid), -ENODATA);
}

static unsigned random_below(unsigned n)
{
	return (unsigned)rand() % n;
}

static uint8_t random_byte(void)
{
	static const char odd[] = "  \t\n/\\x_A\xc3\xbc\xff";

	return random_below(3) ? (uint8_t)random_below(256)
			       : (uint8_t)odd[random_below(sizeof(odd))];
}

static void random_ids(void)
{
	begin_ids();
	for (unsigned n = random_below(6); n; n--) {
		uint8_t data[40], size = (uint8_t)random_below(sizeof(data));

		for (size_t i = 0; i < size; i++)
			data[i] = random_byte();
		add_id((uint8_t)(random_below(4) | random_below(2) << 4),
		       (uint8_t)(random_below(5) | random_below(3) << 4), data,
		       size);
	}
	if (!random_below(10))
		vpd.ids.data[6] = random_byte();
}

static void the_program_says_the_same_of_any_disk(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	const char *known = getenv("GUESTLOCK_TEST_SEED");
	char wwid[WWID_SIZE];

	(void)state;
	if (access(PROGRAM, X_OK))
		skip();
	if (known)
		seed = (unsigned)strtoul(known, NULL, 0);
	printf("seed %u\n", seed);
	srand(seed);
	for (unsigned i = 0; i < 200; i++) {
		reset();
		random_ids();
		if (random_below(2)) {
			set(&vpd.serial, "\0\x80\0\0 12\xff/ 4\0 6 ", 16);
			vpd.serial.data[3] = (uint8_t)random_below(13);
		}
		if (vpd_wwid(&vpd, wwid))
			strcpy(wwid, "");
		check(wwid);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_best_identifier_is_taken),
	cmocka_unit_test(an_identifier_of_the_port_is_not_the_disks),
	cmocka_unit_test(text_becomes_a_file_name),
	cmocka_unit_test(an_empty_identifier_is_its_kind),
	cmocka_unit_test(an_old_disk_has_a_bare_number),
	cmocka_unit_test(the_serial_number_is_the_last_resort),
	cmocka_unit_test(a_page_that_is_none_is_not_believed),
	cmocka_unit_test(a_long_identifier_is_too_long),
	cmocka_unit_test(what_was_cut_off_is_passed_over),
	cmocka_unit_test(the_program_says_the_same_of_any_disk),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
