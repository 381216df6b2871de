/* test_stream_table.c - the stream table, and that a snapshot of it gives the same table back */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
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

int
main(void)
{
	Suite *suite = suite_create("stream_table");
	TCase *tc = tcase_create("stream_table");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_ids_and_lookups);
	tcase_add_test(tc, test_many);
	tcase_add_test(tc, test_snapshot_round_trip);
	tcase_add_test(tc, test_every_cut_entry_is_refused);
	tcase_add_test(tc, test_lost_ids_are_not_issued_again);
	tcase_add_test(tc, test_ids_that_senders_name_are_not_issued);
	tcase_add_test(tc, test_owners_are_bounded);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
