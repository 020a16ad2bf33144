/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/test.h"

#include "core/capsule/record.h"

#include <errno.h>
#include <string.h>

static const struct capsule_parcel sample = {
	.fds = { 3, 4 },
	.n_fds = 2,
	.type = RES_TYPE_BLOCK,
	.mode = RES_SHARED,
	.scope = RES_SCOPE_CLUSTER,
	.id = { UINT64_MAX, 0x0123456789abcdef },
	.since = UINT64_MAX - 1,
	.path = "/dev/disk/by-id/a \xff,b",
};

static struct record_cursor cursor_of(const void *body, size_t size,
				      uint32_t n_records, unsigned n_fds)
{
	return (struct record_cursor){
		.at = body,
		.size = size,
		.n_records = n_records,
		.n_fds = n_fds,
	};
}

static void a_head_comes_back(void **state)
{
	struct message in = { .kind = MESSAGE_LEASES,
			      .n_records = 253,
			      .body_size = 100,
			      .id = UINT64_MAX };
	uint8_t buf[MESSAGE_HEAD_SIZE + 100];
	struct message out;

	(void)state;
	message_encode(&in, buf);
	assert_int_equal(message_parse(buf, sizeof(buf), &out), 0);
	assert_int_equal(out.kind, MESSAGE_LEASES);
	assert_false(out.in_memfd);
	assert_int_equal(out.n_records, 253);
	assert_int_equal(out.body_size, 100);
	assert_true(out.id == UINT64_MAX);
	in.in_memfd = true;
	message_encode(&in, buf);
	assert_int_equal(message_parse(buf, MESSAGE_HEAD_SIZE, &out), 0);
	assert_true(out.in_memfd);
}

static int parse(struct message m, size_t size)
{
	static uint8_t buf[1 << 16];
	struct message out;

	message_encode(&m, buf);
	return message_parse(buf, size, &out);
}

static void a_head_must_agree_with_its_payload(void **state)
{
	struct message leases = { .kind = MESSAGE_LEASES,
				  .n_records = 1,
				  .body_size = 40 };
	struct message m;

	(void)state;
	assert_int_equal(parse(leases, MESSAGE_HEAD_SIZE + 40), 0);
	for (size_t size = 0; size < MESSAGE_HEAD_SIZE + 50; size++)
		if (size != MESSAGE_HEAD_SIZE + 40)
			assert_int_equal(parse(leases, size), RECORD_E_GARBLED);
	m = leases;
	m.in_memfd = true;
	assert_int_equal(parse(m, MESSAGE_HEAD_SIZE + 40), RECORD_E_GARBLED);
	assert_int_equal(parse(m, MESSAGE_HEAD_SIZE), 0);
	m.body_size = (uint32_t)MESSAGE_BODY_MAX;
	assert_int_equal(parse(m, MESSAGE_HEAD_SIZE), 0);
	m.body_size++;
	assert_int_equal(parse(m, MESSAGE_HEAD_SIZE), RECORD_E_GARBLED);
	m = leases;
	m.n_records = 0;
	assert_int_equal(parse(m, MESSAGE_HEAD_SIZE + 40), RECORD_E_GARBLED);
	m.n_records = MESSAGE_FDS_MAX;
	assert_int_equal(parse(m, MESSAGE_HEAD_SIZE + 40), 0);
	m.n_records = MESSAGE_FDS_MAX + 1;
	assert_int_equal(parse(m, MESSAGE_HEAD_SIZE + 40), RECORD_E_GARBLED);
}

static void headers_and_bundles_have_no_body(void **state)
{
	(void)state;
	for (int kind = MESSAGE_HEADER; kind <= MESSAGE_BUNDLE; kind += 2) {
		struct message m = { .kind = (enum message_kind)kind };

		assert_int_equal(parse(m, MESSAGE_HEAD_SIZE), 0);
		m.n_records = 1;
		assert_int_equal(parse(m, MESSAGE_HEAD_SIZE), RECORD_E_GARBLED);
		m.n_records = 0;
		m.in_memfd = true;
		assert_int_equal(parse(m, MESSAGE_HEAD_SIZE), RECORD_E_GARBLED);
		m.in_memfd = false;
		m.body_size = 1;
		assert_int_equal(parse(m, MESSAGE_HEAD_SIZE + 1),
				 RECORD_E_GARBLED);
	}
}

static void what_is_not_ours_is_told_from_what_is_newer(void **state)
{
	struct message m = { .kind = MESSAGE_HEADER }, out = { .id = 5 };
	uint8_t good[MESSAGE_HEAD_SIZE], buf[MESSAGE_HEAD_SIZE];

	(void)state;
	message_encode(&m, good);
	for (unsigned i = 0; i < 4; i++) {
		memcpy(buf, good, sizeof(buf));
		buf[i] ^= 1;
		assert_int_equal(message_parse(buf, sizeof(buf), &out),
				 RECORD_E_GARBLED);
	}
	/* Version, kind, each byte of the flags. */
	for (unsigned i = 4; i < 8; i++) {
		memcpy(buf, good, sizeof(buf));
		buf[i] ^= 0x80;
		assert_int_equal(message_parse(buf, sizeof(buf), &out),
				 RECORD_E_FOREIGN);
	}
	memcpy(buf, good, sizeof(buf));
	buf[5] = 0;
	assert_int_equal(message_parse(buf, sizeof(buf), &out),
			 RECORD_E_FOREIGN);
	assert_int_equal(out.id, 5);
}

static void a_record_comes_back(void **state)
{
	uint8_t buf[RECORD_SIZE_MAX];
	struct record_cursor c;
	struct record r;

	(void)state;
	assert_int_equal(record_check(&sample), 0);
	assert_int_equal(record_size(&sample),
			 RECORD_SIZE_MIN + strlen(sample.path));
	record_encode(&sample, buf);
	c = cursor_of(buf, record_size(&sample), 1, 2);
	assert_int_equal(record_next(&c, &r), 0);
	assert_int_equal(r.n_fds, 2);
	assert_int_equal(r.type, sample.type);
	assert_int_equal(r.mode, sample.mode);
	assert_int_equal(r.scope, sample.scope);
	assert_true(res_id_equal(r.id, sample.id));
	assert_true(r.since == sample.since);
	assert_int_equal(r.path_size, strlen(sample.path));
	assert_memory_equal(r.path, sample.path, r.path_size);
	assert_ptr_equal(r.raw, buf);
	assert_int_equal(r.raw_size, record_size(&sample));
	assert_int_equal(c.fd, 2);
	assert_int_equal(c.size, 0);
	assert_int_equal(record_next(&c, &r), RECORD_E_END);
}

static void records_share_the_descriptors_in_order(void **state)
{
	uint8_t buf[4 * RECORD_SIZE_MAX];
	struct capsule_parcel p = sample;
	struct record_cursor c;
	struct record r;
	size_t size = 0;

	(void)state;
	for (uint8_t i = 1; i <= CAPSULE_POINTS_MAX; i++) {
		p.n_fds = i;
		record_encode(&p, buf + size);
		size += record_size(&p);
	}
	c = cursor_of(buf, size, CAPSULE_POINTS_MAX, 11);
	c.fd = 1;
	for (unsigned i = 1; i <= CAPSULE_POINTS_MAX; i++) {
		assert_int_equal(record_next(&c, &r), 0);
		assert_int_equal(r.n_fds, i);
		assert_int_equal(c.fd, 1 + i * (i + 1) / 2);
	}
	/* One less, and the last one has to do without. */
	c = cursor_of(buf, size, CAPSULE_POINTS_MAX, 10);
	c.fd = 1;
	for (unsigned i = 1; i < CAPSULE_POINTS_MAX; i++)
		assert_int_equal(record_next(&c, &r), 0);
	assert_int_equal(record_next(&c, &r), RECORD_E_GARBLED);
	assert_int_equal(record_next(&c, &r), RECORD_E_END);
	assert_int_equal(c.fd, 7);
}

/* Encode @p, spoil the byte @at, and read it and a good one behind it. */
static void check_spoilt(const struct capsule_parcel *p, size_t at,
			 uint8_t value, bool framed)
{
	uint8_t buf[2 * RECORD_SIZE_MAX];
	size_t size = record_size(p);
	struct record_cursor c;
	struct record r = { .since = 77 };

	record_encode(p, buf);
	record_encode(&sample, buf + size);
	buf[at] = value;
	c = cursor_of(buf, size + record_size(&sample), 2, 8);
	assert_int_equal(record_next(&c, &r), RECORD_E_GARBLED);
	assert_int_equal(r.since, 77);
	if (framed) {
		assert_int_equal(record_next(&c, &r), 0);
		assert_int_equal(c.size, 0);
	}
	assert_int_equal(record_next(&c, &r), RECORD_E_END);
}

static void a_garbled_record_does_not_hide_the_next_one(void **state)
{
	(void)state;
	check_spoilt(&sample, 5, 0, true); /* type */
	check_spoilt(&sample, 5, 4, true);
	check_spoilt(&sample, 6, 2, true); /* mode */
	check_spoilt(&sample, 7, 0, true); /* scope */
	check_spoilt(&sample, 7, 5, true);
	check_spoilt(&sample, 2, 0, true);  /* length of the path */
	check_spoilt(&sample, 40, 0, true); /* a NUL in the path */
}

static void a_record_without_an_end_ends_it_all(void **state)
{
	(void)state;
	check_spoilt(&sample, 0, RECORD_SIZE_MIN - 1, false);
	check_spoilt(&sample, 0, 0, false);
	check_spoilt(&sample, 1, 0xff, false);
	check_spoilt(&sample, 3, 0xff, false); /* the path is longer */
	check_spoilt(&sample, 4, 0, false);    /* descriptors */
	check_spoilt(&sample, 4, CAPSULE_POINTS_MAX + 1, false);
}

static void a_record_may_be_cut_anywhere(void **state)
{
	uint8_t buf[RECORD_SIZE_MAX];
	size_t size = record_size(&sample);
	struct record r;

	(void)state;
	record_encode(&sample, buf);
	for (size_t cut = 0; cut < size; cut++) {
		struct record_cursor c = cursor_of(buf, cut, 1, 2);

		assert_int_equal(record_next(&c, &r), RECORD_E_GARBLED);
		assert_int_equal(record_next(&c, &r), RECORD_E_END);
		assert_int_equal(c.fd, 0);
	}
}

static void a_record_can_grow_before_its_path(void **state)
{
	uint8_t buf[RECORD_SIZE_MAX], grown[RECORD_SIZE_MAX + 8];
	size_t size = record_size(&sample);
	uint16_t new_size = (uint16_t)(size + 8);
	struct record_cursor c;
	struct record r;

	(void)state;
	record_encode(&sample, buf);
	memcpy(grown, buf, RECORD_SIZE_MIN);
	memcpy(grown, &new_size, sizeof(new_size));
	memset(grown + RECORD_SIZE_MIN, 0, 8);
	memcpy(grown + RECORD_SIZE_MIN + 8, buf + RECORD_SIZE_MIN,
	       size - RECORD_SIZE_MIN);
	c = cursor_of(grown, new_size, 1, 2);
	assert_int_equal(record_next(&c, &r), 0);
	assert_memory_equal(r.path, sample.path, r.path_size);
	assert_int_equal(r.raw_size, new_size);
	assert_int_equal(c.size, 0);
}

static void paths_have_a_longest_length(void **state)
{
	static char path[CAPSULE_PATH_MAX + 2];
	static uint8_t buf[RECORD_SIZE_MAX];
	struct capsule_parcel p = sample;
	struct record_cursor c;
	struct record r;

	(void)state;
	p.path = path;
	assert_int_equal(record_check(&p), -EINVAL);
	memset(path, 'x', CAPSULE_PATH_MAX);
	assert_int_equal(record_check(&p), 0);
	record_encode(&p, buf);
	assert_int_equal(record_size(&p), RECORD_SIZE_MAX);
	c = cursor_of(buf, sizeof(buf), 1, 2);
	assert_int_equal(record_next(&c, &r), 0);
	assert_int_equal(r.path_size, CAPSULE_PATH_MAX);
	path[CAPSULE_PATH_MAX] = 'x';
	assert_int_equal(record_check(&p), -EINVAL);
}

static void parcels_that_no_reader_accepts_are_refused(void **state)
{
	struct capsule_parcel p;

	(void)state;
	p = sample;
	p.n_fds = 0;
	assert_int_equal(record_check(&p), -EINVAL);
	p.n_fds = CAPSULE_POINTS_MAX + 1;
	assert_int_equal(record_check(&p), -EINVAL);
	p = sample;
	p.type = _RES_TYPE_NONE;
	assert_int_equal(record_check(&p), -EINVAL);
	p.type = RES_TYPE_LEASE + 1;
	assert_int_equal(record_check(&p), -EINVAL);
	p = sample;
	p.mode = RES_SHARED + 1;
	assert_int_equal(record_check(&p), -EINVAL);
	p = sample;
	p.scope = _RES_SCOPE_NONE;
	assert_int_equal(record_check(&p), -EINVAL);
	p.scope = RES_SCOPE_CLUSTER + 1;
	assert_int_equal(record_check(&p), -EINVAL);
	p = sample;
	p.path = NULL;
	assert_int_equal(record_check(&p), -EINVAL);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_head_comes_back),
	cmocka_unit_test(a_head_must_agree_with_its_payload),
	cmocka_unit_test(headers_and_bundles_have_no_body),
	cmocka_unit_test(what_is_not_ours_is_told_from_what_is_newer),
	cmocka_unit_test(a_record_comes_back),
	cmocka_unit_test(records_share_the_descriptors_in_order),
	cmocka_unit_test(a_garbled_record_does_not_hide_the_next_one),
	cmocka_unit_test(a_record_without_an_end_ends_it_all),
	cmocka_unit_test(a_record_may_be_cut_anywhere),
	cmocka_unit_test(a_record_can_grow_before_its_path),
	cmocka_unit_test(paths_have_a_longest_length),
	cmocka_unit_test(parcels_that_no_reader_accepts_are_refused),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
