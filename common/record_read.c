/* record_read.c - the hot record: a bounds-checked cursor for reading; pure
 *
 * Each value is first tried in the forms that record.c writes, where nine bytes are left and so no form of a
 * number can run over the end; any other form, and the last bytes, are mp.c's. So the two agree on every input.
 * It allocates nothing, and what it returns borrows from the batch. */
#include <endian.h>
#include <string.h>

#include "codec.h"
#include "err.h"
#include "record.h"
#include "record_layout.h"

static inline uint32_t
load_be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return be32toh(v);
}

static inline uint64_t
load_be64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return be64toh(v);
}

static inline uint16_t
load_be16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return be16toh(v);
}

/* Each *_any returns where the next value starts, or NULL. */
static __attribute__((noinline)) const uint8_t *
uint_any(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
	struct mp_cursor c = { .at = p, .end = end };

	*ret = mp_get_uint(&c);
	return c.failed ? NULL : c.at;
}

static __attribute__((noinline)) const uint8_t *
int_any(const uint8_t *p, const uint8_t *end, int64_t *ret)
{
	struct mp_cursor c = { .at = p, .end = end };

	*ret = mp_get_int(&c);
	return c.failed ? NULL : c.at;
}

static __attribute__((noinline)) const uint8_t *
str_any(const uint8_t *p, const uint8_t *end, struct bytes *ret)
{
	struct mp_cursor c = { .at = p, .end = end };

	*ret = mp_get_str(&c);
	return c.failed ? NULL : c.at;
}

static __attribute__((noinline)) const uint8_t *
array_any(const uint8_t *p, const uint8_t *end, uint32_t *ret)
{
	struct mp_cursor c = { .at = p, .end = end };

	*ret = mp_get_array(&c);
	return c.failed ? NULL : c.at;
}

static inline bool
take_uint(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
	const uint8_t *p = *at;
	uint64_t v;

	if (end - p > 8) {
		switch (*p) {
		case 0xcf:
			*at = p + 9;
			*ret = load_be64(p + 1);
			return true;
		case 0xcd:
			*at = p + 3;
			*ret = load_be16(p + 1);
			return true;
		default:
			if (*p >= 0x80)
				break;
			*at = p + 1;
			*ret = *p;
			return true;
		}
	}
	p = uint_any(p, end, &v);
	if (!p)
		return false;
	*at = p;
	*ret = v;
	return true;
}

static inline bool
take_int(const uint8_t **at, const uint8_t *end, int64_t *ret)
{
	const uint8_t *p = *at;
	int64_t v;

	if (end - p > 8) {
		if (*p == 0xcf && p[1] < 0x80) {
			*at = p + 9;
			*ret = (int64_t)load_be64(p + 1);
			return true;
		}
		if (*p < 0x80) {
			*at = p + 1;
			*ret = *p;
			return true;
		}
		if (*p == 0xcd) {
			*at = p + 3;
			*ret = load_be16(p + 1);
			return true;
		}
	}
	p = int_any(p, end, &v);
	if (!p)
		return false;
	*at = p;
	*ret = v;
	return true;
}

static inline bool
take_str(const uint8_t **at, const uint8_t *end, struct bytes *ret)
{
	const uint8_t *p = *at;
	struct bytes v;

	if (p < end && (*p & 0xe0) == 0xa0 && (*p & 0x1f) < end - p) {
		v.len = *p & 0x1f;
		v.data = p + 1;
		*at = p + 1 + v.len;
		*ret = v;
		return true;
	}
	p = str_any(p, end, &v);
	if (!p)
		return false;
	*at = p;
	*ret = v;
	return true;
}

static inline bool
take_array(const uint8_t **at, const uint8_t *end, uint32_t *ret)
{
	const uint8_t *p = *at;
	uint32_t v;

	if (p < end && (*p & 0xf0) == 0x90 && (*p & 0x0f) < end - p) {
		*at = p + 1;
		*ret = *p & 0x0f;
		return true;
	}
	/* cppcheck-suppress knownConditionTrueFalse ; the first byte may be any */
	if (end - p > 2 && *p == 0xdc && load_be16(p + 1) <= end - p - 3) {
		*at = p + 3;
		*ret = load_be16(p + 1);
		return true;
	}
	p = array_any(p, end, &v);
	if (!p)
		return false;
	*at = p;
	*ret = v;
	return true;
}

struct record_cursor
record_cursor_of(struct bytes batch)
{
	return (struct record_cursor){ .batch = batch };
}

int
record_next(struct record_cursor *c, struct record *ret_record)
{
	const uint8_t *p = c->batch.data + c->at, *at, *end;
	size_t left = c->batch.len - c->at;
	uint64_t flags, client, packet_id, hash;
	uint32_t len, points;
	struct bytes device;
	int64_t time;

	if (left == 0)
		return ERR_NOT_FOUND;
	if (left < RECORD_MIN || p[0] != RECORD_TAG || p[RECORD_HEAD] != RECORD_ARRAY ||
	    p[RECORD_HEAD + 1] != VERDICT_TAG)
		return ERR_MALFORMED;
	len = load_be32(p + 1);
	if (len > left - RECORD_HEAD || len < RECORD_MIN - RECORD_HEAD)
		return ERR_MALFORMED;
	at = p + RECORD_MIN;
	end = p + RECORD_HEAD + len;
	if (!take_uint(&at, end, &flags) || !take_int(&at, end, &time) ||
	    !take_str(&at, end, &device) || !take_uint(&at, end, &client) ||
	    !take_uint(&at, end, &packet_id) || !take_uint(&at, end, &hash) ||
	    !take_array(&at, end, &points))
		return ERR_MALFORMED;
	if (device.len == 0 || device.len > DEVICE_ID_MAX || points > RECORD_POINTS_MAX)
		return ERR_TOO_BIG;
	*ret_record = (struct record){
		.verdict = load_be32(p + VERDICT_AT),
		.flags = (uint32_t)flags,
		.time = time,
		.device = device,
		.client = client,
		.packet_id = (uint16_t)packet_id,
		.hash = hash,
		.point_count = points,
		.points = { at, (size_t)(end - at) },
		.at = c->at,
	};
	c->at += RECORD_HEAD + len;
	return 0;
}

struct point_cursor
point_cursor_of(const struct record *r)
{
	return (struct point_cursor){ .rest = r->points, .left = r->point_count, .time = r->time };
}

static __attribute__((noinline)) const uint8_t *
value_any(const uint8_t *p, const uint8_t *end, struct value *ret)
{
	struct mp_cursor in = { .at = p, .end = end };
	uint8_t tag = mp_peek(&in);

	*ret = (struct value){ .kind = VALUE_INT };
	if (tag == 0xcb || tag == 0xca) {
		ret->kind = VALUE_DOUBLE;
		ret->v.f = mp_get_double(&in);
	} else if (tag == 0xc2 || tag == 0xc3) {
		ret->kind = VALUE_BOOL;
		ret->v.b = mp_get_bool(&in);
	} else if ((tag >= 0xa0 && tag <= 0xbf) || (tag >= 0xd9 && tag <= 0xdb)) {
		ret->kind = VALUE_STRING;
		ret->v.s = mp_get_str(&in);
	} else {
		ret->v.i = mp_get_int(&in);
	}
	return in.failed ? NULL : in.at;
}

/* The third and fourth elements, which few points have. */
static __attribute__((noinline)) const uint8_t *
point_extra(const uint8_t *p, const uint8_t *end, uint32_t n, struct point *ret)
{
	struct mp_cursor in = { .at = p, .end = end };

	if (mp_peek(&in) == 0xc0)
		mp_skip(&in);
	else
		ret->time = mp_get_int(&in);
	if (n > 3)
		ret->reason = (unsigned)mp_get_uint(&in);
	return in.failed || n > 4 ? NULL : in.at;
}

/* A value of any kind, and what may follow it. at: behind the name. */
static __attribute__((noinline)) int
point_rest(
    struct point_cursor *c, const uint8_t *at, uint32_t n, struct bytes name, struct point *ret)
{
	const uint8_t *end = c->rest.data + c->rest.len;
	struct point p = { .name = name, .time = c->time };

	at = value_any(at, end, &p.value);
	if (at && n > 2)
		at = point_extra(at, end, n, &p);
	if (!at)
		return ERR_MALFORMED;
	if (name.len > METRIC_NAME_MAX ||
	    (p.value.kind == VALUE_STRING && p.value.v.s.len > POINT_STRING_MAX))
		return ERR_TOO_BIG;
	c->rest = (struct bytes){ at, (size_t)(end - at) };
	c->left--;
	*ret = p;
	return 0;
}

/* Most points are a name and a double or a small integer. Its fields are stored one by one where they are read: a struct that is built on the
 * stack and copied is read in words wider than it was written in, for which the processor waits until all is in its cache. */
int
point_next(struct point_cursor *c, struct point *ret_point)
{
	const uint8_t *at = c->rest.data, *end = at + c->rest.len;
	struct bytes name;
	uint64_t bits;
	uint32_t n;

	if (c->left == 0)
		return c->rest.len ? ERR_MALFORMED : ERR_NOT_FOUND;
	if (!take_array(&at, end, &n) || n < 2 || !take_str(&at, end, &name))
		return ERR_MALFORMED;
	if (n != 2 || name.len > METRIC_NAME_MAX)
		return point_rest(c, at, n, name, ret_point);
	if (end - at > 8 && *at == 0xcb) {
		bits = load_be64(at + 1);
		at += 9;
		ret_point->value.kind = VALUE_DOUBLE;
		memcpy(&ret_point->value.v.f, &bits, sizeof bits);
	} else if (at < end && *at < 0x80) {
		ret_point->value.kind = VALUE_INT;
		ret_point->value.v.i = *at++;
	} else {
		return point_rest(c, at, n, name, ret_point);
	}
	c->rest.data = at;
	c->rest.len = (size_t)(end - at);
	c->left--;
	ret_point->name.data = name.data;
	ret_point->name.len = name.len;
	ret_point->time = c->time;
	ret_point->reason = QUARANTINE_NONE;
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
