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

	build(&steps);
	c = record_cursor_of(buf_bytes(&steps));
	while (record_next(&c, &r) == 0) {
		uint32_t n = 0;

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

START_TEST(test_no_room)
{
	struct point p = point_double("t", 1);
	struct record_writer w;
	struct buf batch;

	buf_init(&batch, 10);
	record_begin(&w, &batch, &head);
	record_add(&w, &p);
	record_end(&w);
	ck_assert(batch.failed && batch.len == 0);
	buf_fini(&batch);
}
END_TEST

START_TEST(test_names)
{
	static const char *const verdicts[] = { "accepted", "device-limit", "global-limit",
		"group-limit", "copy" };
	static const enum verdict_code codes[] = { VERDICT_ACCEPTED, VERDICT_DEVICE_LIMIT,
		VERDICT_GLOBAL_LIMIT, VERDICT_GROUP_LIMIT, VERDICT_COPY };
	static const char *const reasons[] = { "none", "not-finite", "physically-impossible",
		"outside-profile", "undecodable", "impossible-time" };
	static const unsigned numbers[] = { QUARANTINE_NONE, QUARANTINE_NOT_FINITE,
		QUARANTINE_PHYSICAL, QUARANTINE_PROFILE, QUARANTINE_UNDECODABLE, QUARANTINE_TIME };

	for (size_t i = 0; i < COUNT_OF(codes); i++)
		ck_assert_str_eq(verdict_name(verdict_make(codes[i], 5)), verdicts[i]);
	/* of a newer release */
	ck_assert_str_eq(verdict_name(0xff000000), "refused");
	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		ck_assert_str_eq(quarantine_name(numbers[i]), reasons[i]);
	ck_assert_str_eq(quarantine_name(1000), "unknown");
}
END_TEST

START_TEST(test_every_size_of_value)
{
	static const int64_t ints[] = { 0, 127, 128, 255, 256, 65535, 65536, UINT32_MAX,
		(int64_t)UINT32_MAX + 1, INT64_MAX, -1, -32, -33, INT8_MIN, INT8_MIN - 1, INT16_MIN,
		INT16_MIN - 1, INT32_MIN, (int64_t)INT32_MIN - 1, INT64_MIN };
	static const size_t texts[] = { 0, 31, 32, 255, 256, POINT_STRING_MAX };
	uint8_t *text = xcalloc(1, POINT_STRING_MAX);
	struct buf batch = { 0 };
	struct record_cursor c;
	struct point_cursor pc;
	struct record_writer w;
	struct record r;
	struct point p = { .name = { text, METRIC_NAME_MAX }, .time = head.time };

	record_begin(&w, &batch, &head);
	p.value.kind = VALUE_INT;
	for (size_t i = 0; i < COUNT_OF(ints); i++) {
		p.value.v.i = ints[i];
		record_add(&w, &p);
	}
	p.value.kind = VALUE_STRING;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		p.value.v.s = bytes_of(text, texts[i]);
		record_add(&w, &p);
	}
	p.value = (struct value){ .kind = VALUE_BOOL };
	record_add(&w, &p);
	record_end(&w);
	c = record_cursor_of(buf_bytes(&batch));
	ck_assert_int_eq(record_next(&c, &r), 0);
	pc = point_cursor_of(&r);
	for (size_t i = 0; i < COUNT_OF(ints); i++) {
		ck_assert_int_eq(point_next(&pc, &p), 0);
		ck_assert_int_eq(p.value.kind, VALUE_INT);
		ck_assert_int_eq(p.value.v.i, ints[i]);
		ck_assert_uint_eq(p.name.len, METRIC_NAME_MAX);
	}
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		ck_assert_int_eq(point_next(&pc, &p), 0);
		ck_assert_int_eq(p.value.kind, VALUE_STRING);
		ck_assert_uint_eq(p.value.v.s.len, texts[i]);
	}
	ck_assert_int_eq(point_next(&pc, &p), 0);
	ck_assert(p.value.kind == VALUE_BOOL && !p.value.v.b);
	ck_assert_int_eq(point_next(&pc, &p), ERR_NOT_FOUND);
	buf_fini(&batch);
	free(text);
}
END_TEST

/* A record of another writer's bytes: device, then what stands where the points do. */
static int
check_made(size_t device_len, const void *points, size_t len)
{
	static const uint8_t zeros[DEVICE_ID_MAX + 1];
	struct buf in = { 0 }, batch = { 0 };
	int err;

	buf_add(&in, "\x98\xce\0\0\0\0\0\0", 8);
	mp_put_str(&in, bytes_of(zeros, device_len));
	buf_add(&in, "\0\0\0", 3);
	buf_add(&in, points, len);
	buf_add(&batch, "\xc6\0", 2);
	buf_add_u8(&batch, (uint8_t)(in.len >> 16));
	buf_add_u8(&batch, (uint8_t)(in.len >> 8));
	buf_add_u8(&batch, (uint8_t)in.len);
	buf_add(&batch, in.data, in.len);
	err = record_check_batch(buf_bytes(&batch), NULL, NULL);
	buf_fini(&in);
	buf_fini(&batch);
	return err;
}

START_TEST(test_records_in_a_batch)
{
	struct buf batch = { 0 };
	struct record_writer w;
	uint32_t records;

	for (unsigned i = 0; i < BATCH_RECORDS_MAX; i++) {
		record_begin(&w, &batch, &head);
		record_end(&w);
	}
	ck_assert_int_eq(record_check_batch(buf_bytes(&batch), &records, NULL), 0);
	ck_assert_uint_eq(records, BATCH_RECORDS_MAX);
	record_begin(&w, &batch, &head);
	record_end(&w);
	ck_assert_int_eq(record_check_batch(buf_bytes(&batch), NULL, NULL), ERR_TOO_BIG);
	buf_fini(&batch);
}
END_TEST

START_TEST(test_limits)
{
	static const struct {
		const char *label;
		size_t device;
		const char *points;
		size_t len;
		int err;
	} cases[] = {
		{ "no points", 1, "\x90", 1, 0 },
		{ "array32 of one point", 1, "\xdd\0\0\0\1\x92\xa1k\1", 9, 0 },
		{ "float32", 1, "\x91\x92\xa1k\xca\x3f\xc0\0\0", 9, 0 },
		{ "points are no array", 1, "\xc0", 1, ERR_MALFORMED },
		{ "more points than bytes", 1, "\xdc\xff\xff", 3, ERR_MALFORMED },
		{ "a point is no array", 1, "\x91\1", 2, ERR_MALFORMED },
		{ "a point of one element", 1, "\x91\x91\xa1k", 4, ERR_MALFORMED },
		{ "a point of five elements", 1, "\x91\x95\xa1k\1\xc0\1\1", 8, ERR_MALFORMED },
		{ "a point's value is missing", 1, "\x91\x92\xa1k", 4, ERR_MALFORMED },
		{ "a point's value is nil", 1, "\x91\x92\xa1k\xc0", 5, ERR_MALFORMED },
		{ "bytes behind the last point", 1, "\x90\0", 2, ERR_MALFORMED },
		{ "the longest device", DEVICE_ID_MAX, "\x90", 1, 0 },
		{ "no device", 0, "\x90", 1, ERR_TOO_BIG },
		{ "a longer device", DEVICE_ID_MAX + 1, "\x90", 1, ERR_TOO_BIG },
	};
	uint8_t many[3 + 8192] = { 0xdc, (RECORD_POINTS_MAX + 1) >> 8,
		(RECORD_POINTS_MAX + 1) & 255 };
	uint8_t name[4 + METRIC_NAME_MAX + 2] = { 0x91, 0x92, 0xd9, METRIC_NAME_MAX + 1 };
	static uint8_t text[9 + POINT_STRING_MAX + 1] = "\x91\x92\xa1k\xdb\0\1\0\0";

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		ck_assert_msg(
		    check_made(cases[i].device, cases[i].points, cases[i].len) == cases[i].err,
		    "%s", cases[i].label);
	ck_assert_int_eq(check_made(1, many, sizeof(many)), ERR_TOO_BIG);
	ck_assert_int_eq(check_made(1, name, sizeof(name)), ERR_TOO_BIG);
	ck_assert_int_eq(check_made(1, text, sizeof(text)), ERR_TOO_BIG);
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
    test_every_changed_byte, test_is_plain_msgpack, test_abandon_and_maximum, test_no_room,
    test_names, test_every_size_of_value, test_limits, test_records_in_a_batch, test_partition)
