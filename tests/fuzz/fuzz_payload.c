/* fuzz_payload.c - device payloads of any bytes: points that are valid, or a sentence
 *
 * The first byte chooses the format. What is decoded is written as a record, which must read back the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "payload.h"
#include "payload_flat.h"
#include "record.h"
#include "utf8.h"

#define NOW 1732233600000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_points(const struct payload_result *r)
{
	uint32_t quarantined = 0;

	ASSERT(r->count <= RECORD_POINTS_MAX);
	for (uint32_t i = 0; i < r->count; i++) {
		const struct point *p = &r->points[i];

		ASSERT(p->name.len > 0 && p->name.len <= METRIC_NAME_MAX && utf8_valid(p->name));
		if (p->value.kind == VALUE_STRING)
			ASSERT(p->value.v.s.len <= POINT_STRING_MAX && utf8_valid(p->value.v.s));
		quarantined += p->reason != QUARANTINE_NONE;
	}
	ASSERT(quarantined == r->quarantined);
	ASSERT(r->device_time || r->time == NOW);
}

static void
check_record(const struct payload_result *r, struct buf *out)
{
	struct record head = { .time = r->time, .device = bytes_of_str("gh-1") };
	struct record_writer w;
	uint32_t records = 0, points = 0;

	buf_clear(out);
	record_begin(&w, out, &head);
	for (uint32_t i = 0; i < r->count; i++)
		record_add(&w, &r->points[i]);
	record_end(&w);
	ASSERT(record_check_batch(buf_bytes(out), &records, &points) == 0);
	ASSERT(records == 1 && points == r->count);
}

/* What the fast reader takes, the other one takes too, as the same points. */
static void
check_flat(struct bytes payload)
{
	static struct payload_flat flat;
	static struct payload_build a, b;
	static struct payload_json *json;
	int err;

	if (!json)
		json = payload_json_new();
	a.count = a.quarantined = b.count = b.quarantined = 0;
	a.device_time = b.device_time = false;
	a.names_len = b.names_len = 0;
	a.now_us = a.time = b.now_us = b.time = NOW;
	if (!payload_flat_decode(&flat, &a, payload))
		return;
	err = payload_json_decode(json, &b, payload, bytes_of_str("level"));
	ASSERT(err == 0 && a.count == b.count && a.quarantined == b.quarantined);
	ASSERT(a.time == b.time && a.device_time == b.device_time);
	for (uint32_t i = 0; i < a.count; i++) {
		const struct point *p = &a.points[i], *q = &b.points[i];

		ASSERT(bytes_equal(p->name, q->name) && p->time == q->time);
		ASSERT(p->value.kind == q->value.kind && p->reason == q->reason);
		if (p->value.kind == VALUE_STRING)
			ASSERT(bytes_equal(p->value.v.s, q->value.v.s));
		else if (p->value.kind == VALUE_BOOL)
			ASSERT(p->value.v.b == q->value.v.b);
		else
			ASSERT(memcmp(&p->value.v, &q->value.v, 8) == 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct payload_decoder *d;
	static struct buf out, reason;
	struct payload_result r;
	int err;

	if (!d)
		d = payload_decoder_new();
	if (size == 0)
		return 0;
	check_flat(bytes_of(data + 1, size - 1));
	buf_clear(&reason);
	err = payload_decode(d, (enum payload_format)(data[0] % 4), bytes_of(data + 1, size - 1),
	    bytes_of_str("level"), NOW, &r, &reason);
	if (err) {
		ASSERT(err == ERR_MALFORMED || err == ERR_TOO_BIG);
		ASSERT(reason.len > 0 && reason.len < 200);
		return 0;
	}
	check_points(&r);
	check_record(&r, &out);
	return 0;
}
