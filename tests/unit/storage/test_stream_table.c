/* test_stream_table.c - the stream table, and that a snapshot of it gives the same table back */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "le.h"
#include "mem.h"
#include "record.h"
#include "stream_table.h"

static struct stream_table s;

static void
setup(void)
{
	stream_table_init(&s, 3, 8);
}

static void
teardown(void)
{
	stream_table_fini(&s);
}

static struct stream *
issue(const char *name, uint64_t life, uint32_t partition, uint64_t epoch)
{
	struct stream *st = NULL;

	ck_assert_int_eq(stream_table_issue(&s, name, life, partition, epoch, 1000, &st), 0);
	return st;
}

static void
collect(void *arg, const struct entry *e)
{
	entry_put(arg, e);
}

static void
replay_into(struct stream_table *to, struct bytes rest)
{
	struct entry e;

	while (entry_next(&rest, &e) == 0)
		ck_assert_int_eq(stream_table_replay(to, &e, 2000), 0);
}

START_TEST(test_ids_and_lookups)
{
	struct stream *a = issue("connectivity-0", 5, 0, 0), *b = issue("connectivity-0", 5, 1, 0);
	uint64_t a_id = a->rx.id, b_id = b->rx.id;

	ck_assert_uint_eq(a_id >> 48, 3);
	ck_assert_uint_gt(b_id, a_id);
	ck_assert(stream_table_find(&s, a_id) == a);
	ck_assert(stream_table_find(&s, a_id + 100) == NULL);
	ck_assert(stream_table_of(&s, "connectivity-0", 5, 1, 0) == b);
	ck_assert(stream_table_of(&s, "connectivity-0", 6, 1, 0) == NULL);
	ck_assert(stream_table_of(&s, "connectivity-0", 5, 1, 9) == NULL);
	ck_assert(stream_table_of(&s, "connectivity-1", 5, 1, 0) == NULL);
	ck_assert(stream_table_of(&s, "connectivity-0", 5, 8, 0) == NULL);
	/* Another assignment of the same partition ends the stream of the earlier one. */
	ck_assert_uint_gt(issue("connectivity-0", 5, 1, 9)->rx.id, b_id);
	ck_assert(stream_table_find(&s, b_id) == NULL);
	/* A newer life ends all, an older one gets nothing. */
	issue("connectivity-0", 6, 2, 0);
	ck_assert(stream_table_find(&s, a_id) == NULL);
	ck_assert_uint_eq(s.count, 1);
	ck_assert_int_eq(stream_table_issue(&s, "connectivity-0", 5, 0, 0, 1000, &a), ERR_FENCED);
	ck_assert_int_eq(
	    stream_table_issue(&s, "connectivity-0", 6, 8, 0, 1000, &a), ERR_MALFORMED);
}
END_TEST

START_TEST(test_many)
{
	char name[BUS_NAME_MAX];
	uint64_t ids[100][8];

	for (unsigned k = 0; k < 100; k++) {
		snprintf(name, sizeof(name), "connectivity-%u", k);
		for (uint32_t p = 0; p < 8; p++)
			ids[k][p] = issue(name, 1, p, 0)->rx.id;
	}
	for (unsigned k = 0; k < 100; k++)
		for (uint32_t p = 0; p < 8; p++)
			ck_assert(stream_table_find(&s, ids[k][p]) != NULL);
	stream_table_drop_owner(&s, stream_table_owner(&s, "connectivity-50"));
	ck_assert_uint_eq(s.count, 99 * 8);
	ck_assert(stream_table_find(&s, ids[50][3]) == NULL);
	ck_assert(stream_table_find(&s, ids[99][3]) != NULL);
}
END_TEST

START_TEST(test_snapshot_round_trip)
{
	struct stream_table copy;
	struct stream *a = issue("connectivity-0", 5, 0, 0), *b = issue("rules-0", 7, 3, 77), *got;
	struct buf entries = { 0 }, again = { 0 };

	for (uint64_t seq = 1; seq <= 10; seq++) {
		ck_assert_int_eq(stream_rx_offer(&a->rx, seq), STREAM_NEXT);
		for (uint32_t i = 0; i < 1000; i++)
			stream_rx_refused(&a->rx, seq, i, verdict_make(VERDICT_DEVICE_LIMIT, i));
	}
	stream_rx_synced(&a->rx);
	ck_assert_int_eq(stream_rx_acked(&a->rx, 2), 0);
	stream_table_put_all(&s, collect, &entries);
	ck_assert_uint_ge(stream_table_put_bytes(&s), entries.len);
	stream_table_init(&copy, 3, 8);
	replay_into(&copy, buf_bytes(&entries));
	replay_into(&copy, buf_bytes(&entries)); /* twice is the same as once */
	ck_assert_uint_eq(copy.count, 2);
	ck_assert_uint_eq(copy.issued, s.issued);
	got = stream_table_of(&copy, "connectivity-0", 5, 0, 0);
	ck_assert(got != NULL);
	ck_assert_uint_eq(got->rx.committed, 10);
	ck_assert_uint_eq(got->rx.acked, 2);
	ck_assert(bytes_equal(stream_rx_refusals(&got->rx), stream_rx_refusals(&a->rx)));
	got = stream_table_of(&copy, "rules-0", 7, 3, 77);
	ck_assert(got != NULL && got->rx.id == b->rx.id);
	stream_table_put_all(&copy, collect, &again);
	ck_assert(bytes_equal(buf_bytes(&entries), buf_bytes(&again)));
	stream_table_fini(&copy);
	buf_fini(&entries);
	buf_fini(&again);
}
END_TEST

START_TEST(test_every_cut_entry_is_refused)
{
	struct stream *a = issue("connectivity-0", 5, 0, 0);
	struct buf entries = { 0 };
	struct bytes rest;
	struct entry e;
	struct stream_table copy;

	stream_rx_offer(&a->rx, 1);
	stream_rx_refused(&a->rx, 1, 0, verdict_make(VERDICT_DEVICE_LIMIT, 1));
	stream_rx_synced(&a->rx);
	stream_table_put(a, collect, &entries);
	rest = buf_bytes(&entries);
	ck_assert_int_eq(entry_next(&rest, &e), 0);
	for (size_t n = 0; n < e.body.len; n++) {
		struct entry cut = e;
		int r;

		stream_table_init(&copy, 3, 8);
		cut.body.len = n;
		r = stream_table_replay(&copy, &cut, 1);
		/* Without its refusals the entry is still whole. */
		ck_assert(r == (n == e.body.len - 16 ? 0 : ERR_MALFORMED));
		stream_table_fini(&copy);
	}
	stream_table_init(&copy, 4, 8);
	ck_assert_int_eq(stream_table_replay(&copy, &e, 1), ERR_MALFORMED); /* another shard's */
	stream_table_fini(&copy);
	stream_table_init(&copy, 3, 8);
	e.partition = 8;
	ck_assert_int_eq(stream_table_replay(&copy, &e, 1), ERR_MALFORMED);
	stream_table_fini(&copy);
	buf_fini(&entries);
}
END_TEST

START_TEST(test_lost_ids_are_not_issued_again)
{
	uint64_t before = issue("connectivity-0", 5, 0, 0)->rx.id;

	/* At most so many ids can have been issued in that many bytes. */
	stream_table_lost(&s, 10 * ENTRY_HEADER_SIZE);
	ck_assert_uint_gt(issue("connectivity-0", 5, 1, 0)->rx.id, before + 10);
}
END_TEST

START_TEST(test_ids_that_senders_name_are_not_issued)
{
	uint64_t id = issue("connectivity-0", 5, 0, 0)->rx.id;

	stream_table_seen(&s, id + 40);
	stream_table_seen(&s, id + 20);
	stream_table_seen(&s, 7ull << 48 | 9999); /* another shard's */
	ck_assert_uint_eq(issue("connectivity-0", 5, 1, 0)->rx.id, id + 41);
	/* A liar does not use the numbers up. */
	stream_table_seen(&s, 3ull << 48 | ((1ull << 48) - 1));
	ck_assert_uint_eq(issue("connectivity-0", 5, 2, 0)->rx.id, id + 42);
}
END_TEST

START_TEST(test_owners_are_bounded)
{
	struct stream *st;
	char name[BUS_NAME_MAX];

	for (unsigned k = 0; k < STREAM_OWNERS_MAX; k++) {
		snprintf(name, sizeof(name), "connectivity-%u", k);
		issue(name, 1, 0, 0);
	}
	ck_assert_int_eq(stream_table_issue(&s, "one-more", 1, 0, 0, 1, &st), ERR_FULL);
	stream_table_clear(&s);
	ck_assert_uint_eq(s.count, 0);
	ck_assert_uint_eq(s.issued, STREAM_OWNERS_MAX);
}
END_TEST

/* An ENTRY_STREAM as any journal may hold it. */
static int
replay_made(uint64_t n, uint64_t seq, uint64_t partition, const char *name, size_t name_len,
    const uint64_t *pairs, size_t count)
{
	struct buf body = { 0 };
	int r;

	le_add64(&body, 5);
	le_add64(&body, 0);
	le_add64(&body, 0);
	buf_add_u8(&body, (uint8_t)name_len);
	buf_add_str(&body, name);
	for (size_t i = 0; i < count; i++)
		le_add64(&body, pairs[i]);
	r = stream_table_replay(&s,
	    &(struct entry){ .kind = ENTRY_STREAM,
		.partition = (uint32_t)partition,
		.stream = 3ull << 48 | n,
		.seq = seq,
		.body = buf_bytes(&body) },
	    1);
	buf_fini(&body);
	return r;
}

START_TEST(test_ids_that_share_a_bucket)
{
	for (uint64_t i = 0; i < 4; i++)
		ck_assert_int_eq(replay_made(5 + (i << 20), 1, i, "a", 1, NULL, 0), 0);
	for (uint64_t i = 0; i < 4; i++)
		ck_assert_uint_eq(
		    stream_table_find(&s, 3ull << 48 | (5 + (i << 20)))->rx.partition, i);
	ck_assert(stream_table_find(&s, 3ull << 48 | (5 + (9ull << 20))) == NULL);
	stream_table_drop_owner(&s, stream_table_owner(&s, "a"));
	ck_assert_uint_eq(s.count, 0);
}
END_TEST

START_TEST(test_replayed_again)
{
	ck_assert_int_eq(replay_made(1, 10, 0, "a", 1, NULL, 0), 0);
	ck_assert_int_eq(replay_made(1, 9, 0, "a", 1, NULL, 0), 0);
	ck_assert_uint_eq(stream_table_find(&s, 3ull << 48 | 1)->rx.committed, 10);
	ck_assert_int_eq(replay_made(1, 10, 0, "a", 1, NULL, 0), 0);
	ck_assert_int_eq(replay_made(1, 12, 0, "a", 1, NULL, 0), 0);
	ck_assert_uint_eq(stream_table_find(&s, 3ull << 48 | 1)->rx.committed, 12);
	/* refused before anything is believed */
	ck_assert_int_eq(replay_made(9, 1, 0, "a", 200, NULL, 0), ERR_MALFORMED);
	ck_assert_int_eq(replay_made(9, 1, 0, "a", 2, NULL, 0), ERR_MALFORMED);
	ck_assert_int_eq(replay_made(9, 1, 0, "abc", 1, NULL, 0), ERR_MALFORMED);
	ck_assert_uint_eq(s.issued, 1);
}
END_TEST

START_TEST(test_refusals_that_cannot_be_the_streams)
{
	static const uint64_t pairs[] = { 36, 1, 101, 1, 50, 4096ull << 32, 50, 7ull << 32 | 1, 50,
		7ull << 32 | 2, 49, 1, 50, 6ull << 32, 50, 8ull << 32 | 3, 51, 4 };
	struct stream *st;

	ck_assert_int_eq(
	    replay_made(1, 100, 0, "a", 1, pairs, sizeof(pairs) / sizeof(pairs[0])), 0);
	st = stream_table_find(&s, 3ull << 48 | 1);
	ck_assert_uint_eq(st->rx.refusals.len, 3 * 16);
	ck_assert_uint_eq(le_get64(st->rx.refusals.data), 50);
	ck_assert_uint_eq(le_get64(st->rx.refusals.data + 8), 7ull << 32 | 1);
	ck_assert_uint_eq(le_get64(st->rx.refusals.data + 24), 8ull << 32 | 3);
	ck_assert_uint_eq(le_get64(st->rx.refusals.data + 32), 51);
}
END_TEST

START_TEST(test_streams_are_bounded)
{
	struct stream_table big;
	struct stream *st;
	char name[BUS_NAME_MAX];

	stream_table_init(&big, 0, 1024);
	for (unsigned i = 0; i < STREAMS_MAX; i++) {
		snprintf(name, sizeof(name), "w-%u", i / 1024);
		ck_assert_int_eq(stream_table_issue(&big, name, 1, i % 1024, 0, 1, &st), 0);
	}
	ck_assert_int_eq(stream_table_issue(&big, "one-more", 1, 0, 0, 1, &st), ERR_FULL);
	big.issued = (1ull << 48) - 1;
	stream_table_clear(&big);
	ck_assert_int_eq(stream_table_issue(&big, "w-0", 1, 0, 0, 1, &st), ERR_FULL);
	stream_table_fini(&big);
}
END_TEST

UNIT_MAIN_IN("stream_table", setup, teardown, test_ids_and_lookups, test_many,
    test_snapshot_round_trip, test_every_cut_entry_is_refused, test_lost_ids_are_not_issued_again,
    test_ids_that_senders_name_are_not_issued, test_owners_are_bounded,
    test_ids_that_share_a_bucket, test_replayed_again, test_refusals_that_cannot_be_the_streams,
    test_streams_are_bounded)
