/* fuzz_telemetry.c - documents of readings of any bytes, in every format: readings that are valid, or a problem with its place
 *
 * The first byte chooses the format, the second what is known beside the document. A walk of a copy finds the same; another document
 * between two readings changes nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "device_id.h"
#include "err.h"
#include "ingest_record.h"
#include "telemetry.h"
#include "utf8.h"

#define NOW 1732233600000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t
stamp(void *arg)
{
	return ++*(int64_t *)arg;
}

static void
check_reading(const struct telemetry_reading *r, size_t from, size_t len)
{
	static struct buf out;
	struct ingest_message m = { .device = r->device };
	struct ingest_origin origin = { 0 };
	uint32_t quarantined = 0, records = 0, points = 0;

	ASSERT(device_id_fault(r->device) == NULL && r->samples > 0);
	ASSERT(r->offset >= from && r->end >= r->offset && r->end <= len);
	ASSERT(r->result.count <= RECORD_POINTS_MAX);
	for (uint32_t i = 0; i < r->result.count; i++) {
		const struct point *p = &r->result.points[i];

		ASSERT(p->name.len > 0 && p->name.len <= METRIC_NAME_MAX && utf8_valid(p->name));
		if (p->value.kind == VALUE_STRING)
			ASSERT(p->value.v.s.len <= POINT_STRING_MAX && utf8_valid(p->value.v.s));
		quarantined += p->reason != QUARANTINE_NONE;
	}
	ASSERT(quarantined == r->result.quarantined);
	buf_clear(&out);
	m.origin = &origin;
	ingest_record_points(&out, &m, &r->result);
	ASSERT(record_check_batch(buf_bytes(&out), &records, &points) == 0);
	ASSERT(records == 1 && points == r->result.count);
}

static void
check_problem(const struct telemetry_problem *p, int err, size_t len)
{
	static struct buf text;

	ASSERT((err == ERR_MALFORMED || err == ERR_TOO_BIG) && p->err == err);
	ASSERT(p->offset <= len && p->sentence && p->sentence[0]);
	ASSERT(utf8_valid(bytes_of_str(p->field)));
	buf_clear(&text);
	telemetry_problem_text(p, &text);
	ASSERT(text.len < 400);
}

/* A copy of the document's own size, so that a sanitizer sees a read behind it. */
static void
walk(struct telemetry *t, struct telemetry_cursor c)
{
	struct telemetry_cursor between, copy = c;
	struct telemetry_problem problem, again;
	struct telemetry_reading r;
	uint32_t wanted = 0, n = 0, samples = 0;
	size_t end = 0;
	int err, checked = telemetry_check(t, c, &wanted, &again);

	while ((err = telemetry_next(t, &c, &r, &problem)) == 0) {
		check_reading(&r, end, c.body.len);
		end = r.end;
		samples += r.samples;
		n++;
	}
	if (err == ERR_NOT_FOUND) {
		ASSERT(checked == 0 && wanted == n);
	} else {
		check_problem(&problem, err, c.body.len);
		ASSERT(checked == err && again.offset == problem.offset);
	}
	while (telemetry_next(t, &copy, &r, &problem) == 0) {
		between = copy;
		ASSERT(samples >= r.samples && n-- > 0);
		samples -= r.samples;
		(void)telemetry_next(t, &between, &r, &problem);
	}
	ASSERT(n == 0 && samples == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int64_t units[] = { 1, 1000, 1000000, 1000000000 };
	static struct telemetry *t;
	int64_t now = NOW;
	struct telemetry_options o = {
		.device_tag = bytes_of_str("device"), .stamp = stamp, .arg = &now
	};
	uint8_t *copy;

	if (!t)
		t = telemetry_new();
	if (size < 2)
		return 0;
	if (data[1] & 1)
		o.device = bytes_of_str("gh-1");
	o.one_device = data[1] & 2;
	o.metric = (enum telemetry_metric)((data[1] >> 2) % 3);
	o.unit_ns = units[data[1] >> 4 & 3];
	copy = malloc(size - 2 ? size - 2 : 1);
	ASSERT(copy);
	memcpy(copy, data + 2, size - 2);
	walk(t, telemetry_cursor_of(
		    (enum telemetry_format)(data[0] % 7), bytes_of(copy, size - 2), &o));
	free(copy);
	return 0;
}
