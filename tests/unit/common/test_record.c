/* test_record.c - records round trip; every prefix and every changed byte is survived; verdicts are set in place */
#include "record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "codec.h"
#include "err.h"
#include "mem.h"

static const struct record head = {
	.flags = RECORD_DUP | 1 << RECORD_QOS_SHIFT | RECORD_DEVICE_TIME,
	.time = 1732233600123456,
	.device = { (const uint8_t *)"gh-1", 4 },
	.client = UINT64_MAX,
	.packet_id = 65535,
	.hash = 0x0123456789abcdef,
};

static struct point
point_double(const char *name, double v)
{
	return (struct point){ .name = bytes_of_str(name),
		.value = { .kind = VALUE_DOUBLE, .v = { .f = v } },
		.time = head.time };
}

/* Two records: one with a point of each kind, one without points. */
static void
build(struct buf *batch)
{
	struct point p = point_double("temperature", -41.5);
	struct record_writer w;
	struct record second = head;

	record_begin(&w, batch, &head);
	record_add(&w, &p);
	p = (struct point){ .name = bytes_of_str("count"),
		.value = { .kind = VALUE_INT, .v = { .i = INT64_MIN } },
		.time = head.time - 1000000 };
	record_add(&w, &p);
	p = (struct point){ .name = bytes_of_str("open"),
		.value = { .kind = VALUE_BOOL, .v = { .b = true } },
		.time = head.time,
		.reason = QUARANTINE_PHYSICAL };
	record_add(&w, &p);
	p = (struct point){ .name = bytes_of_str("state"),
		.value = { .kind = VALUE_STRING, .v = { .s = bytes_of_str("running") } },
		.time = head.time + 1,
		.reason = QUARANTINE_TIME };
	record_add(&w, &p);
	record_end(&w);
	second.device = bytes_of_str("x");
	record_begin(&w, batch, &second);
	record_end(&w);
}

/* record_put() writes what the three steps write, and stops at the buffer's maximum. */
START_TEST(test_put)
{
	struct buf steps = { 0 }, batch = { 0 }, small;
	struct point points[20];
	struct record_cursor c;
	struct point_cursor pc;
	struct record r;
	uint32_t n = 0;

	build(&steps);
	c = record_cursor_of(buf_bytes(&steps));
	while (record_next(&c, &r) == 0) {
		n = 0;
		pc = point_cursor_of(&r);
		while (point_next(&pc, &points[n]) == 0)
			n++;
		record_put(&batch, &r, points, n);
	}
	ck_assert(bytes_equal(buf_bytes(&batch), buf_bytes(&steps)));
	buf_init(&small, 100);
	record_put(&small, &head, points, 0);
	ck_assert(small.failed && small.len == 0);
	buf_fini(&small);
	buf_fini(&steps);
	buf_fini(&batch);
}
END_TEST

START_TEST(test_round_trip)
{
	struct buf batch = { 0 };
	struct record_cursor c;
	struct point_cursor pc;
	struct record r;
	struct point p;

	build(&batch);
	c = record_cursor_of(buf_bytes(&batch));
	ck_assert_int_eq(record_next(&c, &r), 0);
	ck_assert_uint_eq(r.verdict, 0);
	ck_assert_uint_eq(r.flags, head.flags);
	ck_assert_int_eq(r.time, head.time);
	ck_assert(bytes_equal_str(r.device, "gh-1"));
	ck_assert_uint_eq(r.client, head.client);
	ck_assert_uint_eq(r.packet_id, head.packet_id);
	ck_assert_uint_eq(r.hash, head.hash);
	ck_assert_uint_eq(r.point_count, 4);
	pc = point_cursor_of(&r);
	ck_assert_int_eq(point_next(&pc, &p), 0);
	ck_assert(bytes_equal_str(p.name, "temperature"));
	ck_assert(p.value.kind == VALUE_DOUBLE && fabs(p.value.v.f + 41.5) < 1e-12 &&
		  p.time == head.time);
	ck_assert_int_eq(point_next(&pc, &p), 0);
	ck_assert(
	    p.value.kind == VALUE_INT && p.value.v.i == INT64_MIN && p.time == head.time - 1000000);
	ck_assert_int_eq(point_next(&pc, &p), 0);
	ck_assert(p.value.kind == VALUE_BOOL && p.value.v.b && p.reason == QUARANTINE_PHYSICAL);
	ck_assert_int_eq(p.time, head.time);
	ck_assert_int_eq(point_next(&pc, &p), 0);
	ck_assert(p.value.kind == VALUE_STRING && bytes_equal_str(p.value.v.s, "running"));
	ck_assert(p.reason == QUARANTINE_TIME && p.time == head.time + 1);
	ck_assert_int_eq(point_next(&pc, &p), ERR_NOT_FOUND);
	ck_assert_int_eq(record_next(&c, &r), 0);
	ck_assert_uint_eq(r.point_count, 0);
	ck_assert_int_eq(record_next(&c, &r), ERR_NOT_FOUND);
	buf_fini(&batch);
}
END_TEST

START_TEST(test_verdict_in_place)
{
	uint32_t verdict = verdict_make(VERDICT_DEVICE_LIMIT, 1500);
	struct buf batch = { 0 };
	struct record_cursor c;
	struct record r;
	size_t second;

	build(&batch);
	c = record_cursor_of(buf_bytes(&batch));
	record_next(&c, &r);
	record_next(&c, &r);
	second = r.at;
	record_set_verdict(batch.data, second, verdict);
	c = record_cursor_of(buf_bytes(&batch));
	ck_assert_int_eq(record_next(&c, &r), 0);
	ck_assert_uint_eq(r.verdict, 0);
	ck_assert_int_eq(record_next(&c, &r), 0);
	ck_assert_uint_eq(r.verdict, verdict);
	ck_assert(verdict_is_refusal(r.verdict) && verdict_retry_ms(r.verdict) == 1500);
	ck_assert(!verdict_is_refusal(verdict_make(VERDICT_COPY, 0)));
	ck_assert_uint_eq(
	    verdict_retry_ms(verdict_make(VERDICT_GLOBAL_LIMIT, UINT64_MAX)), 0xffffff);
	buf_fini(&batch);
}
END_TEST

START_TEST(test_every_prefix)
{
	struct buf batch = { 0 };
	size_t boundary;
	struct record_cursor c;
	struct record r;
	uint32_t records, points;

	build(&batch);
	c = record_cursor_of(buf_bytes(&batch));
	record_next(&c, &r);
	boundary = c.at;
	for (size_t n = 0; n < batch.len; n++) {
		uint8_t *copy = xmemdup(batch.data, n);
		int err = record_check_batch(bytes_of(copy, n), &records, &points);

		ck_assert_msg(
		    err == (n == 0 || n == boundary ? 0 : ERR_MALFORMED), "prefix of %zu bytes", n);
		free(copy);
	}
	ck_assert_int_eq(record_check_batch(buf_bytes(&batch), &records, &points), 0);
	ck_assert(records == 2 && points == 4);
	buf_fini(&batch);
}
END_TEST

START_TEST(test_every_changed_byte)
{
	struct buf batch = { 0 };

	build(&batch);
	for (size_t at = 0; at < batch.len; at++) {
		uint8_t *copy = xmemdup(batch.data, batch.len);

		for (unsigned v = 0; v < 256; v++) {
			copy[at] = (uint8_t)v;
			(void)record_check_batch(bytes_of(copy, batch.len), NULL, NULL);
		}
		free(copy);
	}
	buf_fini(&batch);
}
END_TEST

/* The promise that any msgpack tool can read a batch: the generic cursor walks it. */
START_TEST(test_is_plain_msgpack)
{
	struct buf batch = { 0 };
	struct mp_cursor c, in;

	build(&batch);
	c = mp_cursor_of(buf_bytes(&batch));
	in = mp_cursor_of(mp_get_bin(&c));
	ck_assert_uint_eq(mp_get_array(&in), 8);
	for (int i = 0; i < 8; i++)
		mp_skip(&in);
	ck_assert(!in.failed && in.at == in.end);
	mp_get_bin(&c);
	ck_assert(!c.failed && c.at == c.end);
	buf_fini(&batch);
}
END_TEST

START_TEST(test_abandon_and_maximum)
{
	struct point p = point_double("t", 1);
	struct record_writer w;
	struct buf batch;

	buf_init(&batch, 300);
	record_begin(&w, &batch, &head);
	for (int i = 0; i < 50; i++)
		record_add(&w, &p);
	record_end(&w);
	ck_assert(batch.failed);
	record_abandon(&w);
	ck_assert(!batch.failed && batch.len == 0);
	buf_fini(&batch);
}
END_TEST

START_TEST(test_partition)
{
	ck_assert_uint_lt(partition_of(bytes_of_str("gh-1"), 16), 16);
	ck_assert_uint_eq(
	    partition_of(bytes_of_str("gh-1"), 16), partition_of(bytes_of_str("gh-1"), 16));
	ck_assert_uint_eq(partition_of(bytes_of_str("gh-1"), 1), 0);
}
END_TEST

UNIT_MAIN("record", test_round_trip, test_put, test_verdict_in_place, test_every_prefix,
    test_every_changed_byte, test_is_plain_msgpack, test_abandon_and_maximum, test_partition)
