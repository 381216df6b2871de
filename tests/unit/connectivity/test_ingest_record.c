/* test_ingest_record.c - what ingest makes of a message: its record, or why there is none */
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "ingest_batch.h"
#include "mem.h"
#include "support_ingest.h"

static struct record
record_of(int seen)
{
	struct record_cursor c = record_cursor_of(buf_bytes(&x.seen[seen].bytes));
	struct record r;

	ck_assert_int_eq(record_next(&c, &r), 0);
	return r;
}

static struct point
first_point(const struct record *r)
{
	struct point_cursor c = point_cursor_of(r);
	struct point p;

	ck_assert_int_eq(point_next(&c, &p), 0);
	return p;
}

START_TEST(record_fields)
{
	struct ingest_message m = message("{\"temperature\":21.5,\"ts\":1732233600123}");
	struct record r, again;
	struct point p;

	m.dup = true;
	m.qos = 2;
	ck_assert_int_eq(ingest_offer(x.in, &m, 1, NULL), 0);
	wait_for(&x.seen_count, 1);
	r = record_of(0);
	ck_assert_uint_eq(r.verdict, VERDICT_ACCEPTED);
	ck_assert_uint_eq(r.flags, RECORD_DUP | 2u << RECORD_QOS_SHIFT | RECORD_DEVICE_TIME);
	ck_assert_int_eq(r.time, 1732233600123000);
	ck_assert(bytes_equal_str(r.device, "gh-1"));
	ck_assert_uint_eq(r.packet_id, 9);
	ck_assert_uint_ne(r.client, 0);
	ck_assert_uint_ne(r.hash, 0);
	ck_assert_uint_eq(r.point_count, 1);
	p = first_point(&r);
	ck_assert(bytes_equal_str(p.name, "temperature"));
	ck_assert_double_eq(p.value.v.f, 21.5);
	ck_assert_int_eq(p.time, 1732233600123000);
	/* the same message again is recognised, another is not; without a client none can be */
	ck_assert_int_eq(ingest_offer(x.in, &m, 2, NULL), 0);
	wait_for(&x.seen_count, 2);
	again = record_of(1);
	ck_assert_uint_eq(again.client, r.client);
	ck_assert_uint_eq(again.hash, r.hash);
	commit(2, (struct bytes){ 0 });
	wait_for(&x.answers, 2);
	m.topic = bytes_of_str("v2/t");
	m.client = (struct bytes){ 0 };
	ck_assert_int_eq(ingest_offer(x.in, &m, 3, NULL), 0);
	wait_for(&x.seen_count, 3);
	again = record_of(2);
	ck_assert_uint_ne(again.hash, r.hash);
	ck_assert_uint_eq(again.client, 0);
}
END_TEST

/* Roost's clock was put back by years; the journal knows better, and what devices say of now is not of the future. */
START_TEST(the_future_begins_behind_the_journal)
{
	struct ingest_message m = message("{\"temperature\":21.5,\"ts\":\"2124-11-22T00:00:00Z\"}");
	struct record r;

	ck_assert_int_eq(ingest_offer(x.in, &m, 1, NULL), 0);
	wait_for(&x.seen_count, 1);
	r = record_of(0);
	ck_assert_uint_eq(first_point(&r).reason, QUARANTINE_TIME);
	commit(1, (struct bytes){ 0 });
	wait_for(&x.answers, 1);
	x.time = 4889030400000000; /* 2124-12-05 */
	bus_free(&x.shard_bus);
	turn(20000);
	open_shard();
	wait_for(&x.hellos, x.hellos + 1);
	turn(20000);
	ck_assert_int_eq(ingest_offer(x.in, &m, 2, NULL), 0);
	wait_for(&x.seen_count, 2);
	r = record_of(1);
	ck_assert_uint_eq(first_point(&r).reason, QUARANTINE_NONE);
	ck_assert_uint_eq(r.flags & RECORD_DEVICE_TIME, RECORD_DEVICE_TIME);
}
END_TEST

START_TEST(server_times_differ)
{
	struct record_cursor c;
	struct record r;
	int64_t last = 0;

	for (uint64_t i = 0; i < 100; i++)
		offer(i);
	wait_for(&x.seen_count, 1);
	c = record_cursor_of(buf_bytes(&x.seen[0].bytes));
	while (record_next(&c, &r) == 0) {
		ck_assert_int_gt(r.time, last);
		ck_assert_uint_eq(r.flags & RECORD_DEVICE_TIME, 0);
		last = r.time;
	}
}
END_TEST

START_TEST(undecodable)
{
	struct ingest_message m = message("not json");
	struct buf reason = { 0 };
	struct record r;
	struct point p;

	ck_assert_int_eq(ingest_offer(x.in, &m, 1, &reason), ERR_MALFORMED);
	ck_assert_uint_gt(reason.len, 0);
	ck_assert(ingest_idle(x.in));
	m.undecodable = INGEST_QUARANTINE;
	ck_assert_int_eq(ingest_offer(x.in, &m, 2, NULL), 0);
	wait_for(&x.seen_count, 1);
	r = record_of(0);
	ck_assert_uint_eq(r.flags & RECORD_UNDECODABLE, RECORD_UNDECODABLE);
	ck_assert_uint_eq(r.point_count, 1);
	p = first_point(&r);
	ck_assert(bytes_equal_str(p.name, "payload"));
	ck_assert(bytes_equal_str(p.value.v.s, "not json"));
	ck_assert_uint_eq(p.reason, QUARANTINE_UNDECODABLE);
	commit(1, (struct bytes){ 0 });
	wait_for(&x.answers, 1);
	ck_assert_uint_eq(x.verdicts[0], VERDICT_ACCEPTED);
	buf_fini(&reason);
}
END_TEST

START_TEST(undecodable_sizes)
{
	static const size_t sizes[] = { 0, 1, POINT_STRING_MAX, POINT_STRING_MAX + 1,
		PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 1 };
	struct ingest_message m = message("");
	struct record r;
	struct point_cursor c;
	struct point p;
	char *payload;
	size_t at = 0;

	payload = xmalloc(sizes[_i]);
	for (size_t i = 0; i < sizes[_i]; i++)
		payload[i] = (char)('A' + i % 26);
	m.payload = bytes_of(payload, sizes[_i]);
	m.undecodable = INGEST_QUARANTINE;
	offer(0);
	if (sizes[_i] > PAYLOAD_BYTES_MAX) {
		ck_assert_int_eq(ingest_offer(x.in, &m, 1, NULL), ERR_TOO_BIG);
		free(payload);
		return;
	}
	ck_assert_int_eq(ingest_offer(x.in, &m, 1, NULL), 0);
	wait_for(&x.seen_count, 1);
	r = record_of(0);
	if (x.seen[0].records == 2) {
		struct record_cursor rc = record_cursor_of(buf_bytes(&x.seen[0].bytes));

		record_next(&rc, &r);
		ck_assert_int_eq(record_next(&rc, &r), 0);
	} else {
		wait_for(&x.seen_count, 2);
		r = record_of(1);
	}
	c = point_cursor_of(&r);
	while (point_next(&c, &p) == 0) {
		ck_assert_mem_eq(p.value.v.s.data, payload + at, p.value.v.s.len);
		at += p.value.v.s.len;
	}
	ck_assert_uint_eq(at, sizes[_i]);
	free(payload);
}
END_TEST

/* A record of nearly 1 MiB finds no room in a batch that has some: it goes alone, after it. */
START_TEST(large_records)
{
	struct buf json = { 0 };
	struct ingest_message m;

	for (int i = 0; i < 15; i++)
		buf_addf(&json, "%c\"m%d\":\"%064000d\"", i ? ',' : '{', i, 0);
	buf_add_str(&json, "}");
	m = message(buf_str(&json));
	ck_assert_uint_le(m.payload.len, PAYLOAD_BYTES_MAX);
	for (uint64_t i = 0; i < 800; i++)
		offer(i);
	for (int i = 800; i < 803; i++)
		ck_assert_int_eq(ingest_offer(x.in, &m, (uint64_t)i, NULL), 0);
	wait_for(&x.hellos, 1);
	for (int i = 0; x.answers < 803 && i < 1000; i++) {
		turn(1000);
		if (x.seen_count)
			commit(x.seen[x.seen_count - 1].seq, (struct bytes){ 0 });
	}
	ck_assert_int_eq(x.answers, 803);
	for (int i = 0; i < x.seen_count; i++)
		ck_assert_uint_le(x.seen[i].bytes.len, BATCH_BYTES_MAX);
	for (int i = 0; i < 803; i++)
		ck_assert_uint_eq(x.tokens[i], (unsigned)i);
	buf_fini(&json);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("ingest_record");
	TCase *t = tcase_create("ingest_record");

	tcase_set_timeout(t, 30);
	tcase_add_checked_fixture(t, fixture_setup, fixture_teardown);
	tcase_add_test(t, record_fields);
	tcase_add_test(t, the_future_begins_behind_the_journal);
	tcase_add_test(t, server_times_differ);
	tcase_add_test(t, undecodable);
	tcase_add_loop_test(t, undecodable_sizes, 0, 6);
	tcase_add_test(t, large_records);
	suite_add_tcase(s, t);
	return unit_end(s);
}
