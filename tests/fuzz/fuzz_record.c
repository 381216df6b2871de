/* fuzz_record.c - batches of any bytes through the record cursor, and through the limiter, which writes into them */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "admit.h"
#include "codec.h"
#include "err.h"
#include "mem.h"
#include "record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The same record by the general cursor of mp.c alone: the hot one must agree with it, on what it refuses too. */
static int
reference_next(struct record_cursor *c, struct record *ret)
{
	struct bytes rest = bytes_of(c->batch.data + c->at, c->batch.len - c->at);
	struct mp_cursor in = mp_cursor_of(rest);
	struct record r = { .at = c->at };
	struct bytes body;

	if (rest.len == 0)
		return ERR_NOT_FOUND;
	if (rest.data[0] != 0xc6)
		return ERR_MALFORMED;
	body = mp_get_bin(&in);
	if (in.failed || body.len < 6 || body.data[0] != 0x98 || body.data[1] != 0xce)
		return ERR_MALFORMED;
	c->at += (size_t)(in.at - rest.data);
	in = mp_cursor_of(bytes_of(body.data + 1, body.len - 1));
	r.verdict = (uint32_t)mp_get_uint(&in);
	r.flags = (uint32_t)mp_get_uint(&in);
	r.time = mp_get_int(&in);
	r.device = mp_get_str(&in);
	r.client = mp_get_uint(&in);
	r.packet_id = (uint16_t)mp_get_uint(&in);
	r.hash = mp_get_uint(&in);
	r.point_count = mp_get_array(&in);
	if (in.failed)
		return ERR_MALFORMED;
	if (r.device.len == 0 || r.device.len > DEVICE_ID_MAX || r.point_count > RECORD_POINTS_MAX)
		return ERR_TOO_BIG;
	r.points = bytes_of(in.at, (size_t)(in.end - in.at));
	*ret = r;
	return 0;
}

static void
reference_value(struct mp_cursor *in, struct value *v)
{
	uint8_t tag = mp_peek(in);

	v->kind = VALUE_INT;
	if (tag == 0xcb || tag == 0xca) {
		v->kind = VALUE_DOUBLE;
		v->v.f = mp_get_double(in);
	} else if (tag == 0xc2 || tag == 0xc3) {
		v->kind = VALUE_BOOL;
		v->v.b = mp_get_bool(in);
	} else if ((tag >= 0xa0 && tag <= 0xbf) || (tag >= 0xd9 && tag <= 0xdb)) {
		v->kind = VALUE_STRING;
		v->v.s = mp_get_str(in);
	} else {
		v->v.i = mp_get_int(in);
	}
}

static int
reference_point(struct point_cursor *c, struct point *ret)
{
	struct mp_cursor in = mp_cursor_of(c->rest);
	struct point p = { .time = c->time };
	uint32_t n;

	if (c->left == 0)
		return c->rest.len ? ERR_MALFORMED : ERR_NOT_FOUND;
	n = mp_get_array(&in);
	p.name = mp_get_str(&in);
	reference_value(&in, &p.value);
	if (n > 2 && mp_peek(&in) == 0xc0)
		mp_skip(&in);
	else if (n > 2)
		p.time = mp_get_int(&in);
	if (n > 3)
		p.reason = (unsigned)mp_get_uint(&in);
	if (in.failed || n < 2 || n > 4)
		return ERR_MALFORMED;
	if (p.name.len > METRIC_NAME_MAX ||
	    (p.value.kind == VALUE_STRING && p.value.v.s.len > POINT_STRING_MAX))
		return ERR_TOO_BIG;
	c->rest = bytes_of(in.at, (size_t)(in.end - in.at));
	c->left--;
	*ret = p;
	return 0;
}

static bool
same_bytes(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || a.data == b.data);
}

static bool
same_value(const struct value *a, const struct value *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case VALUE_DOUBLE:
		return memcmp(&a->v.f, &b->v.f, sizeof(double)) == 0;
	case VALUE_INT:
		return a->v.i == b->v.i;
	case VALUE_BOOL:
		return a->v.b == b->v.b;
	case VALUE_STRING:
		return same_bytes(a->v.s, b->v.s);
	}
	return false;
}

static void
check_points(const struct record *r)
{
	struct point_cursor c = point_cursor_of(r), other = c;
	struct point p, q;
	int err;

	do {
		err = point_next(&c, &p);
		ASSERT(err == reference_point(&other, &q));
		ASSERT(err || (same_bytes(p.name, q.name) && same_value(&p.value, &q.value) &&
				  p.time == q.time && p.reason == q.reason));
	} while (err == 0);
}

static void
check_reference(struct bytes batch)
{
	struct record_cursor c = record_cursor_of(batch), other = c;
	struct record r, q;
	int err;

	do {
		err = record_next(&c, &r);
		ASSERT(err == reference_next(&other, &q));
		if (err)
			break;
		ASSERT(r.verdict == q.verdict && r.flags == q.flags && r.time == q.time);
		ASSERT(same_bytes(r.device, q.device) && r.client == q.client && r.at == q.at);
		ASSERT(r.packet_id == q.packet_id && r.hash == q.hash && c.at == other.at);
		ASSERT(r.point_count == q.point_count && same_bytes(r.points, q.points));
		check_points(&r);
	} while (err == 0);
}

/* What is read can be written, and reads the same. */
static void
check_again(const struct record *r, struct buf *out)
{
	struct point_cursor c = point_cursor_of(r), again_c;
	struct point p, again_p;
	struct record_cursor again;
	struct record_writer w;
	struct record copy;
	int err;

	buf_clear(out);
	record_begin(&w, out, r);
	while ((err = point_next(&c, &p)) == 0)
		record_add(&w, &p);
	if (err != ERR_NOT_FOUND) {
		record_abandon(&w);
		return;
	}
	record_end(&w);
	again = record_cursor_of(buf_bytes(out));
	ASSERT(record_next(&again, &copy) == 0);
	ASSERT(copy.verdict == r->verdict && copy.flags == r->flags && copy.time == r->time);
	ASSERT(bytes_equal(copy.device, r->device) && copy.client == r->client);
	ASSERT(copy.packet_id == r->packet_id && copy.hash == r->hash);
	ASSERT(copy.point_count == r->point_count);
	c = point_cursor_of(r);
	again_c = point_cursor_of(&copy);
	while (point_next(&c, &p) == 0) {
		ASSERT(point_next(&again_c, &again_p) == 0);
		ASSERT(bytes_equal(p.name, again_p.name) && p.value.kind == again_p.value.kind);
		ASSERT(p.time == again_p.time && p.reason == again_p.reason);
	}
	ASSERT(point_next(&again_c, &again_p) == ERR_NOT_FOUND);
}

static void
check_limiter(const uint8_t *data, size_t size, int whole)
{
	static struct budgets *budgets;
	struct budgets_limits limits = { .device_rate = 1, .global_rate = 1, .devices_max = 1000 };
	struct admit_counts counts;
	uint8_t *batch = xmemdup(data, size);
	uint32_t records = 0;
	int err;

	if (!budgets)
		budgets = budgets_new(&limits, 0);
	err = admit_batch(budgets, batch, size, 0, &counts);
	if (whole == 0) {
		ASSERT(err == 0);
		ASSERT(record_check_batch(bytes_of(batch, size), &records, NULL) == 0);
		ASSERT(records == counts.messages);
	}
	free(batch);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct buf out;
	struct record_cursor c = record_cursor_of(bytes_of(data, size));
	struct record r;
	uint32_t records = 0, points = 0, seen = 0;
	int whole = record_check_batch(bytes_of(data, size), &records, &points);
	int err;

	while ((err = record_next(&c, &r)) == 0) {
		ASSERT(r.device.len > 0 && r.device.len <= DEVICE_ID_MAX);
		check_again(&r, &out);
		seen++;
	}
	if (whole == 0)
		ASSERT(err == ERR_NOT_FOUND && seen == records);
	check_limiter(data, size, whole);
	check_reference(bytes_of(data, size));
	return 0;
}
