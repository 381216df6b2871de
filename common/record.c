/* record.c - the hot record: verdicts, and writing; pure */
#include "record.h"

#include <endian.h>
#include <string.h>
#include <xxhash.h>

#include "err.h"
#include "record_layout.h"

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

static void
store_be32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof v);
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
