/* record.c - the hot record: writing, and a bounds-checked cursor for reading; pure */
#include "record.h"

#include <endian.h>
#include <string.h>
#include <xxhash.h>

#include "codec.h"
#include "err.h"

/* Fixed places in a record: bin32 tag and length, array tag, then the verdict as uint32. */
#define RECORD_TAG 0xc6
#define RECORD_HEAD 5
#define RECORD_ARRAY 0x98 /* array of 8 */
#define VERDICT_TAG 0xce
#define VERDICT_AT (RECORD_HEAD + 2)
#define RECORD_MIN (VERDICT_AT + 4)

uint32_t
verdict_make(enum verdict_code code, uint64_t retry_ms)
{
	if (retry_ms > 0xffffff)
		retry_ms = 0xffffff;
	return (uint32_t)code << 24 | (uint32_t)retry_ms;
}

enum verdict_code
verdict_code(uint32_t verdict)
{
	return (enum verdict_code)(verdict >> 24);
}

uint32_t
verdict_retry_ms(uint32_t verdict)
{
	return verdict & 0xffffff;
}

bool
verdict_is_refusal(uint32_t verdict)
{
	enum verdict_code code = verdict_code(verdict);

	return code != VERDICT_ACCEPTED && code != VERDICT_COPY;
}

const char *
verdict_name(uint32_t verdict)
{
	switch (verdict_code(verdict)) {
	case VERDICT_ACCEPTED:
		return "accepted";
	case VERDICT_DEVICE_LIMIT:
		return "device-limit";
	case VERDICT_GLOBAL_LIMIT:
		return "global-limit";
	case VERDICT_GROUP_LIMIT:
		return "group-limit";
	case VERDICT_COPY:
		return "copy";
	}
	return "refused";
}

const char *
quarantine_name(unsigned reason)
{
	switch ((enum quarantine_reason)reason) {
	case QUARANTINE_NONE:
		return "none";
	case QUARANTINE_NOT_FINITE:
		return "not-finite";
	case QUARANTINE_PHYSICAL:
		return "physically-impossible";
	case QUARANTINE_PROFILE:
		return "outside-profile";
	case QUARANTINE_UNDECODABLE:
		return "undecodable";
	case QUARANTINE_TIME:
		return "impossible-time";
	}
	return "unknown";
}

static uint32_t
load_be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return be32toh(v);
}

static void
store_be32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof v);
}

struct record_cursor
record_cursor_of(struct bytes batch)
{
	return (struct record_cursor){ .batch = batch };
}

int
record_next(struct record_cursor *c, struct record *ret_record)
{
	const uint8_t *p = c->batch.data + c->at;
	size_t left = c->batch.len - c->at;
	struct mp_cursor in;
	struct record r;
	uint32_t len;

	if (left == 0)
		return ERR_NOT_FOUND;
	if (left < RECORD_MIN || p[0] != RECORD_TAG || p[RECORD_HEAD] != RECORD_ARRAY ||
	    p[RECORD_HEAD + 1] != VERDICT_TAG)
		return ERR_MALFORMED;
	len = load_be32(p + 1);
	if (len > left - RECORD_HEAD || len < RECORD_MIN - RECORD_HEAD)
		return ERR_MALFORMED;
	in = mp_cursor_of(bytes_of(p + RECORD_MIN, len - (RECORD_MIN - RECORD_HEAD)));
	r.at = c->at;
	r.verdict = load_be32(p + VERDICT_AT);
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
	c->at += RECORD_HEAD + len;
	*ret_record = r;
	return 0;
}

struct point_cursor
point_cursor_of(const struct record *r)
{
	return (struct point_cursor){ .rest = r->points, .left = r->point_count, .time = r->time };
}

static struct value
get_value(struct mp_cursor *in)
{
	uint8_t tag = mp_peek(in);
	struct value v = { .kind = VALUE_INT };

	if (tag == 0xcb || tag == 0xca) {
		v.kind = VALUE_DOUBLE;
		v.v.f = mp_get_double(in);
	} else if (tag == 0xc2 || tag == 0xc3) {
		v.kind = VALUE_BOOL;
		v.v.b = mp_get_bool(in);
	} else if ((tag >= 0xa0 && tag <= 0xbf) || (tag >= 0xd9 && tag <= 0xdb)) {
		v.kind = VALUE_STRING;
		v.v.s = mp_get_str(in);
	} else {
		v.v.i = mp_get_int(in);
	}
	return v;
}

int
point_next(struct point_cursor *c, struct point *ret_point)
{
	struct mp_cursor in = mp_cursor_of(c->rest);
	struct point p = { .time = c->time };
	uint32_t n;

	if (c->left == 0)
		return c->rest.len ? ERR_MALFORMED : ERR_NOT_FOUND;
	n = mp_get_array(&in);
	p.name = mp_get_str(&in);
	p.value = get_value(&in);
	if (n > 2) {
		if (mp_peek(&in) == 0xc0)
			mp_skip(&in);
		else
			p.time = mp_get_int(&in);
	}
	if (n > 3)
		p.reason = (unsigned)mp_get_uint(&in);
	if (in.failed || n < 2 || n > 4)
		return ERR_MALFORMED;
	if (p.name.len > METRIC_NAME_MAX ||
	    (p.value.kind == VALUE_STRING && p.value.v.s.len > POINT_STRING_MAX))
		return ERR_TOO_BIG;
	c->rest = bytes_of(in.at, (size_t)(in.end - in.at));
	c->left--;
	*ret_point = p;
	return 0;
}

int
record_check_batch(struct bytes batch, uint32_t *ret_records, uint32_t *ret_points)
{
	struct record_cursor c = record_cursor_of(batch);
	uint32_t records = 0, points = 0;
	struct record r;
	int err;

	while ((err = record_next(&c, &r)) == 0) {
		struct point_cursor pc = point_cursor_of(&r);
		struct point p;

		while ((err = point_next(&pc, &p)) == 0)
			points++;
		if (err != ERR_NOT_FOUND)
			return err;
		if (++records > BATCH_RECORDS_MAX)
			return ERR_TOO_BIG;
	}
	if (err != ERR_NOT_FOUND)
		return err;
	if (ret_records)
		*ret_records = records;
	if (ret_points)
		*ret_points = points;
	return 0;
}

void
record_set_verdict(uint8_t *batch, size_t at, uint32_t verdict)
{
	store_be32(batch + at + VERDICT_AT, verdict);
}

/* Writing builds the bytes directly: msgpack's packer costs a call for each of a record's twenty values. */

static uint8_t *
put_tag_be(uint8_t *p, uint8_t tag, uint64_t v, size_t n)
{
	*p++ = tag;
	for (size_t i = n; i > 0; i--)
		*p++ = (uint8_t)(v >> (8 * (i - 1)));
	return p;
}

static uint8_t *
put_be64(uint8_t *p, uint8_t tag, uint64_t v)
{
	*p++ = tag;
	v = htobe64(v);
	memcpy(p, &v, 8);
	return p + 8;
}

static uint8_t *
put_uint(uint8_t *p, uint64_t v)
{
	if (v < 0x80) {
		*p++ = (uint8_t)v;
		return p;
	}
	if (v <= UINT8_MAX)
		return put_tag_be(p, 0xcc, v, 1);
	if (v <= UINT16_MAX)
		return put_tag_be(p, 0xcd, v, 2);
	if (v <= UINT32_MAX)
		return put_tag_be(p, 0xce, v, 4);
	return put_be64(p, 0xcf, v);
}

static uint8_t *
put_int(uint8_t *p, int64_t v)
{
	if (v >= 0)
		return put_uint(p, (uint64_t)v);
	if (v >= -32) {
		*p++ = (uint8_t)v;
		return p;
	}
	if (v >= INT8_MIN)
		return put_tag_be(p, 0xd0, (uint64_t)v, 1);
	if (v >= INT16_MIN)
		return put_tag_be(p, 0xd1, (uint64_t)v, 2);
	if (v >= INT32_MIN)
		return put_tag_be(p, 0xd2, (uint64_t)v, 4);
	return put_be64(p, 0xd3, (uint64_t)v);
}

static uint8_t *
put_str(uint8_t *p, struct bytes s)
{
	if (s.len < 32)
		*p++ = (uint8_t)(0xa0 | s.len);
	else if (s.len <= UINT8_MAX)
		p = put_tag_be(p, 0xd9, s.len, 1);
	else
		p = put_tag_be(p, 0xda, s.len, 2);
	if (s.len)
		memcpy(p, s.data, s.len);
	return p + s.len;
}

void
record_begin(struct record_writer *w, struct buf *out, const struct record *head)
{
	uint8_t *base, *p;

	ASSERT(head->device.len > 0 && head->device.len <= DEVICE_ID_MAX);
	*w = (struct record_writer){ .out = out, .start = out->len, .time = head->time };
	base = p = buf_reserve(out, RECORD_MIN + 64 + DEVICE_ID_MAX);
	if (!p)
		return;
	p += RECORD_HEAD;
	*p++ = RECORD_ARRAY;
	p = put_tag_be(p, VERDICT_TAG, head->verdict, 4);
	p = put_uint(p, head->flags);
	p = put_int(p, head->time);
	p = put_str(p, head->device);
	p = put_uint(p, head->client);
	p = put_uint(p, head->packet_id);
	p = put_be64(p, 0xcf, head->hash);
	w->count_at = out->len + (size_t)(p - base);
	p = put_tag_be(p, 0xdc, 0, 2); /* array16; its count is set by record_end */
	out->len += (size_t)(p - base);
}

void
record_add(struct record_writer *w, const struct point *pt)
{
	size_t text = pt->value.kind == VALUE_STRING ? pt->value.v.s.len : 0;
	bool has_time = pt->time != w->time;
	uint64_t bits;
	uint8_t *base, *p;

	ASSERT(pt->name.len <= METRIC_NAME_MAX && text <= POINT_STRING_MAX &&
	       w->points < RECORD_POINTS_MAX);
	base = p = buf_reserve(w->out, 48 + METRIC_NAME_MAX + text);
	if (!p)
		return;
	*p++ = (uint8_t)(0x92 + (pt->reason ? 2 : has_time ? 1 : 0));
	p = put_str(p, pt->name);
	switch (pt->value.kind) {
	case VALUE_DOUBLE:
		memcpy(&bits, &pt->value.v.f, sizeof bits);
		p = put_be64(p, 0xcb, bits);
		break;
	case VALUE_INT:
		p = put_int(p, pt->value.v.i);
		break;
	case VALUE_BOOL:
		*p++ = pt->value.v.b ? 0xc3 : 0xc2;
		break;
	case VALUE_STRING:
		p = put_str(p, pt->value.v.s);
		break;
	}
	if (has_time)
		p = put_int(p, pt->time);
	else if (pt->reason)
		*p++ = 0xc0;
	if (pt->reason)
		p = put_uint(p, pt->reason);
	w->out->len += (size_t)(p - base);
	w->points++;
}

void
record_end(struct record_writer *w)
{
	uint8_t *p;

	if (w->out->failed)
		return;
	p = w->out->data + w->start;
	p[0] = RECORD_TAG;
	store_be32(p + 1, (uint32_t)(w->out->len - w->start - RECORD_HEAD));
	p = w->out->data + w->count_at;
	p[1] = (uint8_t)(w->points >> 8);
	p[2] = (uint8_t)w->points;
}

void
record_abandon(struct record_writer *w)
{
	w->out->len = w->start;
	w->out->failed = false;
}

uint32_t
partition_of(struct bytes device, uint32_t partitions)
{
	return (uint32_t)(XXH3_64bits(device.data, device.len) % partitions);
}
