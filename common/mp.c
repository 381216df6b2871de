/* mp.c - msgpack primitives: a bounded, sticky cursor for reading; pure
 *
 * Every declared length and count is checked against the bytes that are left before it is believed, so that no input can
 * make a reader allocate or run past its end (https://github.com/msgpack/msgpack/blob/master/spec.md). */
#include "codec.h"

#include <string.h>

#define MP_DEPTH_MAX 8

static uint64_t
load_be(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* Takes n bytes; NULL and failed if there are not so many. */
static const uint8_t *
take(struct mp_cursor *c, size_t n)
{
	const uint8_t *p = c->at;

	if (c->failed || n > (size_t)(c->end - c->at)) {
		c->failed = true;
		return NULL;
	}
	c->at += n;
	return p;
}

static uint64_t
take_be(struct mp_cursor *c, size_t n)
{
	const uint8_t *p = take(c, n);

	return p ? load_be(p, n) : 0;
}

static uint64_t
fail(struct mp_cursor *c)
{
	c->failed = true;
	return 0;
}

struct mp_cursor
mp_cursor_of(struct bytes b)
{
	return (struct mp_cursor){ .at = b.data, .end = b.len ? b.data + b.len : b.data };
}

uint8_t
mp_peek(const struct mp_cursor *c)
{
	return c->failed || c->at == c->end ? 0xc1 : *c->at;
}

uint64_t
mp_get_uint(struct mp_cursor *c)
{
	const uint8_t *p = take(c, 1);
	uint64_t v;

	if (!p)
		return 0;
	if (*p < 0x80)
		return *p;
	if (*p >= 0xcc && *p <= 0xcf)
		return take_be(c, (size_t)1 << (*p - 0xcc));
	if (*p >= 0xd0 && *p <= 0xd3) {
		size_t n = (size_t)1 << (*p - 0xd0);

		v = take_be(c, n);
		if (v >> (8 * n - 1))
			return fail(c); /* negative */
		return v;
	}
	return fail(c);
}

int64_t
mp_get_int(struct mp_cursor *c)
{
	const uint8_t *p = take(c, 1);
	uint64_t v;

	if (!p)
		return 0;
	if (*p < 0x80)
		return *p;
	if (*p >= 0xe0)
		return (int8_t)*p;
	if (*p >= 0xcc && *p <= 0xcf) {
		v = take_be(c, (size_t)1 << (*p - 0xcc));
		return (int64_t)(v > INT64_MAX ? fail(c) : v);
	}
	if (*p >= 0xd0 && *p <= 0xd3) {
		size_t bits = (size_t)8 << (*p - 0xd0);

		v = take_be(c, bits / 8);
		if (bits < 64 && v >> (bits - 1))
			v |= UINT64_MAX << bits;
		return (int64_t)v;
	}
	return (int64_t)fail(c);
}

double
mp_get_double(struct mp_cursor *c)
{
	uint8_t tag = mp_peek(c);
	double d = 0;

	if (tag == 0xcb) {
		uint64_t v;

		take(c, 1);
		v = take_be(c, 8);
		memcpy(&d, &v, sizeof d);
		return d;
	}
	if (tag == 0xca) {
		uint32_t v;
		float f;

		take(c, 1);
		v = (uint32_t)take_be(c, 4);
		memcpy(&f, &v, sizeof f);
		return (double)f;
	}
	if (tag == 0xcf)
		return (double)mp_get_uint(c);
	return (double)mp_get_int(c);
}

bool
mp_get_bool(struct mp_cursor *c)
{
	const uint8_t *p = take(c, 1);

	if (!p)
		return false;
	if (*p == 0xc2 || *p == 0xc3)
		return *p == 0xc3;
	return fail(c) != 0;
}

static struct bytes
take_bytes(struct mp_cursor *c, size_t len)
{
	const uint8_t *p = take(c, len);

	return p ? bytes_of(p, len) : (struct bytes){ 0 };
}

struct bytes
mp_get_str(struct mp_cursor *c)
{
	const uint8_t *p = take(c, 1);

	if (!p)
		return (struct bytes){ 0 };
	if (*p >= 0xa0 && *p <= 0xbf)
		return take_bytes(c, *p & 0x1f);
	if (*p >= 0xd9 && *p <= 0xdb)
		return take_bytes(c, (size_t)take_be(c, (size_t)1 << (*p - 0xd9)));
	fail(c);
	return (struct bytes){ 0 };
}

struct bytes
mp_get_bin(struct mp_cursor *c)
{
	const uint8_t *p = take(c, 1);

	if (!p)
		return (struct bytes){ 0 };
	if (*p >= 0xc4 && *p <= 0xc6)
		return take_bytes(c, (size_t)take_be(c, (size_t)1 << (*p - 0xc4)));
	fail(c);
	return (struct bytes){ 0 };
}

/* fix: first byte of the short form, which counts to 15; tag16: of the 16-bit form; each element has at least unit bytes. */
static uint32_t
get_count(struct mp_cursor *c, uint8_t fix, uint8_t tag16, size_t unit)
{
	const uint8_t *p = take(c, 1);
	uint64_t n = 0;

	if (!p)
		return 0;
	if ((*p & 0xf0) == fix)
		n = *p & 0x0f;
	else if (*p == tag16)
		n = take_be(c, 2);
	else if (*p == tag16 + 1)
		n = take_be(c, 4);
	else
		c->failed = true;
	if (c->failed || n > (size_t)(c->end - c->at) / unit)
		return (uint32_t)fail(c);
	return (uint32_t)n;
}

uint32_t
mp_get_array(struct mp_cursor *c)
{
	return get_count(c, 0x90, 0xdc, 1);
}

uint32_t
mp_get_map(struct mp_cursor *c)
{
	return get_count(c, 0x80, 0xde, 2);
}

static void
skip_at(struct mp_cursor *c, int depth)
{
	uint8_t tag = mp_peek(c);
	uint64_t values = 0;

	if (depth > MP_DEPTH_MAX || tag == 0xc1) {
		fail(c);
	} else if ((tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd) {
		values = mp_get_array(c);
	} else if ((tag & 0xf0) == 0x80 || tag == 0xde || tag == 0xdf) {
		values = 2 * (uint64_t)mp_get_map(c);
	} else if ((tag & 0xe0) == 0xa0 || (tag >= 0xd9 && tag <= 0xdb)) {
		mp_get_str(c);
	} else if (tag >= 0xc4 && tag <= 0xc6) {
		mp_get_bin(c);
	} else if (tag >= 0xc7 && tag <= 0xc9) { /* ext 8, 16, 32: length, then a type byte */
		take(c, 1);
		take(c, (size_t)take_be(c, (size_t)1 << (tag - 0xc7)));
		take(c, 1);
	} else if (tag >= 0xd4 && tag <= 0xd8) { /* fixext 1..16 */
		take(c, 2 + ((size_t)1 << (tag - 0xd4)));
	} else if (tag == 0xc0 || tag == 0xc2 || tag == 0xc3) {
		take(c, 1);
	} else if (tag == 0xcf) {
		take(c, 9);
	} else {
		mp_get_double(c);
	}
	for (; values && !c->failed; values--)
		skip_at(c, depth + 1);
}

void
mp_skip(struct mp_cursor *c)
{
	skip_at(c, 1);
}
