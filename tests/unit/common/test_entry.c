/* test_entry.c - entries and block views round trip; every prefix is refused */
#include "entry.h"

#include <stdlib.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"

static void
build(struct buf *out)
{
	entry_put(out, &(struct entry){ .kind = ENTRY_READINGS,
			   .partition = 7,
			   .stream = 1ull << 48,
			   .seq = 9,
			   .body = bytes_of_str("body") });
	entry_put(out, &(struct entry){ .kind = ENTRY_TICK, .partition = ENTRY_ALL_PARTITIONS });
}

START_TEST(test_entries)
{
	struct buf out = { 0 };
	struct bytes rest;
	struct entry e;

	build(&out);
	rest = buf_bytes(&out);
	ck_assert_int_eq(entry_next(&rest, &e), 0);
	ck_assert(
	    e.kind == ENTRY_READINGS && e.partition == 7 && e.stream == 1ull << 48 && e.seq == 9);
	ck_assert(bytes_equal_str(e.body, "body"));
	ck_assert_int_eq(entry_next(&rest, &e), 0);
	ck_assert(e.kind == ENTRY_TICK && e.partition == ENTRY_ALL_PARTITIONS && e.body.len == 0);
	ck_assert_int_eq(entry_next(&rest, &e), ERR_NOT_FOUND);
	for (size_t n = 1; n < ENTRY_HEADER_SIZE + 4; n++) {
		uint8_t *copy = xmemdup(out.data, n);

		rest = bytes_of(copy, n);
		ck_assert_msg(entry_next(&rest, &e) == ERR_MALFORMED, "prefix of %zu bytes", n);
		free(copy);
	}
	out.data[7] = 0xff; /* length of the body: 4 GiB */
	rest = buf_bytes(&out);
	ck_assert_int_eq(entry_next(&rest, &e), ERR_TOO_BIG);
	buf_fini(&out);
}
END_TEST

START_TEST(test_views)
{
	struct block_view in = {
		.offset = 4096, .next = 8192, .time = -1, .entries = bytes_of_str("entries")
	};
	struct buf out = { 0 };
	struct block_view v;
	struct bytes rest;

	view_put(&out, &in);
	rest = buf_bytes(&out);
	ck_assert_int_eq(view_next(&rest, &v), 0);
	ck_assert(v.offset == 4096 && v.next == 8192 && v.time == -1 &&
		  bytes_equal(v.entries, in.entries));
	ck_assert_int_eq(view_next(&rest, &v), ERR_NOT_FOUND);
	for (size_t n = 1; n < out.len; n++) {
		uint8_t *copy = xmemdup(out.data, n);

		rest = bytes_of(copy, n);
		ck_assert_msg(view_next(&rest, &v) == ERR_MALFORMED, "prefix of %zu bytes", n);
		free(copy);
	}
	out.data[9] = 0x10; /* next is offset: a follower would stand still, or go back */
	rest = buf_bytes(&out);
	ck_assert_int_eq(view_next(&rest, &v), ERR_MALFORMED);
	buf_fini(&out);
}
END_TEST

START_TEST(test_pubrels)
{
	struct buf out = { 0 };
	struct pubrel p = { 0 };
	struct bytes rest;

	pubrel_put(&out, (struct pubrel){ .client = 1ull << 63, .packet_id = 65535 });
	pubrel_put(&out, (struct pubrel){ .client = 2, .packet_id = 3 });
	ck_assert_uint_eq(out.len, 2 * PUBREL_SIZE);
	for (size_t n = 0; n <= out.len; n++) {
		size_t got = 0;

		for (rest = bytes_of(out.data, n); pubrel_next(&rest, &p); got++)
			ck_assert_uint_eq(p.packet_id, got == 0 ? 65535 : 3);
		ck_assert_uint_eq(got, n / PUBREL_SIZE);
	}
	ck_assert_uint_eq(p.client, 2);
	buf_fini(&out);
}
END_TEST

UNIT_MAIN("entry", test_entries, test_views, test_pubrels)
