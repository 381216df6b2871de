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
	case VERDICT_UNRELEASED_LIMIT:
		return "unreleased-limit";
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

/* What most numbers are is inline. */
static __attribute__((noinline)) uint8_t *
put_uint_middle(uint8_t *p, uint64_t v)
{
	if (v <= UINT8_MAX)
		return put_tag_be(p, 0xcc, v, 1);
	if (v <= UINT16_MAX)
		return put_tag_be(p, 0xcd, v, 2);
	if (v <= UINT32_MAX)
		return put_tag_be(p, 0xce, v, 4);
	return put_be64(p, 0xcf, v);
}

static inline uint8_t *
put_uint(uint8_t *p, uint64_t v)
{
	if (v < 0x80) {
		*p = (uint8_t)v;
		return p + 1;
	}
	return v > UINT32_MAX ? put_be64(p, 0xcf, v) : put_uint_middle(p, v);
}

static __attribute__((noinline)) uint8_t *
put_negative(uint8_t *p, int64_t v)
{
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

static inline uint8_t *
put_int(uint8_t *p, int64_t v)
{
	return v >= 0 ? put_uint(p, (uint64_t)v) : put_negative(p, v);
}

/* Of 4 to 16 bytes, which most names have: two words that overlap. */
static inline void
copy_text(uint8_t *to, struct bytes s)
{
	if (s.len >= 8 && s.len <= 16) {
		memcpy(to, s.data, 8);
		memcpy(to + s.len - 8, s.data + s.len - 8, 8);
	} else if (s.len >= 4 && s.len < 8) {
		memcpy(to, s.data, 4);
		memcpy(to + s.len - 4, s.data + s.len - 4, 4);
	} else if (s.len) {
		memcpy(to, s.data, s.len);
	}
}

static inline uint8_t *
put_str(uint8_t *p, struct bytes s)
{
	if (s.len < 32)
		*p++ = (uint8_t)(0xa0 | s.len);
	else if (s.len <= UINT8_MAX)
		p = put_tag_be(p, 0xd9, s.len, 1);
	else
		p = put_tag_be(p, 0xda, s.len, 2);
	copy_text(p, s);
	return p + s.len;
}

#define HEAD_MAX (RECORD_MIN + 64 + DEVICE_ID_MAX)
#define POINT_MAX 48 /* without its name and text */

/* Everything but the record's length and the number of its points, which are put in when they are known. */
static inline uint8_t *
put_head(uint8_t *p, const struct record *head)
{
	p[RECORD_HEAD] = RECORD_ARRAY;
	p[RECORD_HEAD + 1] = VERDICT_TAG;
	store_be32(p + VERDICT_AT, head->verdict);
	p += RECORD_MIN;
	p = put_uint(p, head->flags);
	p = put_int(p, head->time);
	p = put_str(p, head->device);
	p = put_uint(p, head->client);
	p = put_uint(p, head->packet_id);
	return put_be64(p, 0xcf, head->hash);
}

static inline uint8_t *
put_count(uint8_t *p, uint32_t points)
{
	return put_tag_be(p, 0xdc, points, 2); /* array16 */
}

static inline void
set_length(uint8_t *record, size_t len)
{
	record[0] = RECORD_TAG;
	store_be32(record + 1, (uint32_t)(len - RECORD_HEAD));
}

void
record_begin(struct record_writer *w, struct buf *out, const struct record *head)
{
	uint8_t *base, *p;

	ASSERT(head->device.len > 0 && head->device.len <= DEVICE_ID_MAX);
	*w = (struct record_writer){ .out = out, .start = out->len, .time = head->time };
	base = buf_reserve(out, HEAD_MAX);
	if (!base)
		return;
	p = put_head(base, head);
	w->count_at = out->len + (size_t)(p - base);
	p = put_count(p, 0);
	out->len += (size_t)(p - base);
}

static inline size_t
text_len(const struct point *pt)
{
	return pt->value.kind == VALUE_STRING ? pt->value.v.s.len : 0;
}

static inline uint8_t *
put_point(uint8_t *p, const struct point *pt, int64_t record_time)
{
	bool has_time = pt->time != record_time;
	uint64_t bits;

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
	return p;
}

void
record_add(struct record_writer *w, const struct point *pt)
{
	uint8_t *base;

	ASSERT(pt->name.len <= METRIC_NAME_MAX && text_len(pt) <= POINT_STRING_MAX &&
	       w->points < RECORD_POINTS_MAX);
	base = buf_reserve(w->out, POINT_MAX + METRIC_NAME_MAX + text_len(pt));
	if (!base)
		return;
	w->out->len += (size_t)(put_point(base, pt, w->time) - base);
	w->points++;
}

void
record_end(struct record_writer *w)
{
	if (w->out->failed)
		return;
	set_length(w->out->data + w->start, w->out->len - w->start);
	(void)put_count(w->out->data + w->count_at, w->points);
}

void
record_put(struct buf *out, const struct record *head, const struct point *points, uint32_t count)
{
	size_t room = HEAD_MAX;
	uint8_t *base, *p;

	ASSERT(head->device.len > 0 && head->device.len <= DEVICE_ID_MAX &&
	       count <= RECORD_POINTS_MAX);
	for (uint32_t i = 0; i < count; i++) {
		ASSERT(points[i].name.len <= METRIC_NAME_MAX &&
		       text_len(&points[i]) <= POINT_STRING_MAX);
		room += POINT_MAX + points[i].name.len + text_len(&points[i]);
	}
	base = buf_reserve(out, room);
	if (!base)
		return;
	p = put_count(put_head(base, head), count);
	for (uint32_t i = 0; i < count; i++)
		p = put_point(p, &points[i], head->time);
	set_length(base, (size_t)(p - base));
	out->len += (size_t)(p - base);
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
