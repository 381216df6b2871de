/* history_decode.c - a block -> points; every read is checked; pure */
#include "history_block.h"

#include <string.h>
#include <xxhash.h>

#include "err.h"
#include "history_bytes.h"
#include "history_codec.h"

static uint64_t
unzigzag(uint64_t v)
{
	return (v >> 1) ^ (0 - (v & 1));
}

static uint64_t
double_bits(double f)
{
	uint64_t u;

	memcpy(&u, &f, sizeof(u));
	return u;
}

static double
bits_double(uint64_t u)
{
	double f;

	memcpy(&f, &u, sizeof(f));
	return f;
}

static void
set_time(struct reader *r, struct history_point *p, uint64_t time, unsigned unit)
{
	int64_t t = (int64_t)time;

	if (t > INT64_MAX / history_units[unit] || t < INT64_MIN / history_units[unit]) {
		r->failed = true;
		t = 0;
	}
	*p = (struct history_point){ .time = t * history_units[unit] };
}

static void
get_times_1(struct reader *r, struct history_points *out, size_t n, unsigned unit)
{
	uint64_t last = 0, delta = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t d = unzigzag(get_varint(r));

		if (i >= 2)
			d += delta;
		delta = d;
		last += d;
		set_time(r, &out->at[i], last, unit);
	}
}

static void
get_times(struct history_codec *c, struct reader *r, size_t n, unsigned unit)
{
	uint64_t t = unzigzag(get_varint(r)), step;

	set_time(r, &c->out.at[0], t, unit);
	if (n == 1)
		return;
	step = get_varint(r);
	history_numbers_get(r, get_u8(r), c->numbers, n - 1);
	for (size_t i = 1; i < n && !r->failed; i++)
		set_time(r, &c->out.at[i], t += c->numbers[i - 1] * step, unit);
}

static void
set_number(struct history_point *p, int64_t m, unsigned scale, bool whole_is_int)
{
	if (whole_is_int && m % history_ipower10[scale] == 0) {
		p->kind = VALUE_INT;
		p->v.i = m / history_ipower10[scale];
		return;
	}
	p->kind = VALUE_DOUBLE;
	p->v.f = (double)m / history_power10[scale];
}

/* A column of doubles on its way out of a block. */
struct column {
	struct history_codec *c;
	struct history_point **which; /* the points of the column, n of them */
	size_t n;
	unsigned version;
	unsigned scale;
	bool whole_is_int;
	int64_t *beside; /* 0: none */
	bool *is_set;	 /* an exception with bytes of its own */
};

static bool
get_exceptions(struct reader *r, struct column *col)
{
	uint64_t exceptions = get_varint(r), at = 0;

	if (exceptions > col->n)
		return false;
	memset(col->beside, 0, col->n * sizeof(col->beside[0]));
	memset(col->is_set, 0, col->n * sizeof(col->is_set[0]));
	for (uint64_t i = 0; i < exceptions; i++) {
		uint64_t delta = get_varint(r),
			 beside = col->version == BLOCK_VERSION_1 ? 0 : get_varint(r);
		const uint8_t *raw;

		if (r->failed || delta >= col->n - at || (i > 0 && delta == 0))
			return false;
		at += delta;
		if (beside != 0) {
			col->beside[at] = (int64_t)unzigzag(beside);
			continue;
		}
		if ((raw = get_bytes(r, 8)) == NULL)
			return false;
		col->is_set[at] = true;
		col->which[at]->kind = VALUE_DOUBLE;
		col->which[at]->v.f = bits_double(u64_at(raw));
	}
	return !r->failed;
}

static void
get_decimals(struct reader *r, struct column *col, unsigned coding)
{
	uint64_t *numbers = col->c->numbers;
	size_t count = 0, next = 0;

	if (!get_exceptions(r, col)) {
		r->failed = true;
		return;
	}
	for (size_t i = 0; i < col->n; i++)
		count += !col->is_set[i];
	if (count > 0)
		history_numbers_get(r, coding, numbers, count);
	for (size_t i = 0; i < col->n && !r->failed; i++) {
		int64_t m;

		if (col->is_set[i])
			continue;
		m = (int64_t)numbers[next++];
		if (m > MANTISSA_MAX || m < -MANTISSA_MAX) {
			r->failed = true;
			return;
		}
		set_number(col->which[i], m, col->scale, col->whole_is_int && col->beside[i] == 0);
		if (col->beside[i] != 0)
			col->which[i]->v.f =
			    bits_double(double_bits(col->which[i]->v.f) + (uint64_t)col->beside[i]);
	}
}

static void
get_xors(struct reader *r, struct history_point **which, size_t n)
{
	const uint8_t *planes = get_bytes(r, 8 * n);
	uint64_t last = 0;

	if (planes == NULL)
		return;
	for (size_t i = 0; i < n; i++) {
		uint64_t x = 0;

		for (unsigned plane = 0; plane < 8; plane++)
			x |= (uint64_t)planes[plane * n + i] << (8 * plane);
		last ^= x;
		which[i]->v.f = bits_double(last);
	}
}

static void
get_doubles(struct history_codec *c, struct reader *r, struct history_point **which, size_t n,
    unsigned kinds, unsigned version)
{
	struct column col = { .c = c,
		.which = which,
		.n = n,
		.version = version,
		.beside = c->beside,
		.is_set = c->is_set };
	unsigned head = get_u8(r), coding = NUMBERS_DELTAS;

	col.scale = head;
	col.whole_is_int = kinds == KINDS_NUMBERS;
	if (version != BLOCK_VERSION_1 && head != SCALE_NONE) {
		col.scale = head & 15;
		coding = head >> 4;
	}
	if (col.scale <= SCALE_MAX)
		get_decimals(r, &col, coding);
	else if (head == SCALE_NONE && kinds != KINDS_NUMBERS)
		get_xors(r, which, n);
	else
		r->failed = true;
}

static void
get_ints(struct history_codec *c, struct reader *r, struct history_point **which, size_t n,
    unsigned version)
{
	history_numbers_get(
	    r, version == BLOCK_VERSION_1 ? NUMBERS_DELTAS : get_u8(r), c->numbers, n);
	for (size_t i = 0; i < n && !r->failed; i++)
		which[i]->v.i = (int64_t)c->numbers[i];
}

static void
get_bools(struct reader *r, struct history_point **which, size_t n)
{
	const uint8_t *bits = get_bytes(r, (n + 7) / 8);

	for (size_t i = 0; bits != NULL && i < n; i++)
		which[i]->v.b = (bits[i / 8] >> (i % 8)) & 1;
}

static void
get_strings(struct reader *r, struct history_points *out, struct history_point **which, size_t n)
{
	uint32_t at = 0, len = 0;

	for (size_t i = 0; i < n && !r->failed; i++) {
		uint64_t code = get_varint(r);
		const uint8_t *s;

		if (code > 0) {
			if (code - 1 > POINT_STRING_MAX ||
			    (s = get_bytes(r, (size_t)(code - 1))) == NULL) {
				r->failed = true;
				return;
			}
			at = (uint32_t)out->strings.len;
			len = (uint32_t)(code - 1);
			buf_add(&out->strings, s, len);
		}
		which[i]->v.s.at = at;
		which[i]->v.s.len = len;
	}
}

static size_t
pick(struct history_points *out, size_t n, unsigned kind, struct history_point **which)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		if (out->at[i].kind == kind)
			which[count++] = &out->at[i];
	return count;
}

/* Units, kinds and times; false if they are none. */
static bool
get_head(struct history_codec *c, struct reader *r, size_t n, unsigned version, unsigned *ret_kinds)
{
	unsigned first = get_u8(r), unit = first >> 4, kinds = first & 15;

	if (version == BLOCK_VERSION_1) {
		unit = first;
		kinds = get_u8(r);
		if (unit >= UNIT_COUNT_1 || n > (size_t)(r->end - r->at))
			return false;
	}
	if (unit >= UNIT_COUNT || kinds > KINDS_EACH)
		return false;
	if (version == BLOCK_VERSION_1)
		get_times_1(r, &c->out, n, unit);
	else
		get_times(c, r, n, unit);
	*ret_kinds = kinds;
	return !r->failed;
}

static int
get_body(struct history_codec *c, struct bytes body, size_t n, unsigned version)
{
	struct reader r = { body.data, body.data + body.len, false };
	struct history_points *out = &c->out;
	struct history_point *which[HISTORY_BLOCK_POINTS_MAX];
	unsigned kinds;
	size_t count;

	history_points_clear(out);
	history_points_reserve(out, n);
	out->n = n;
	if (!get_head(c, &r, n, version, &kinds))
		return ERR_MALFORMED;
	if (kinds == KINDS_EACH) {
		const uint8_t *bits = get_bytes(&r, (n + 3) / 4);

		for (size_t i = 0; bits != NULL && i < n; i++)
			out->at[i].kind = (bits[i / 4] >> (2 * (i % 4))) & 3;
	} else {
		for (size_t i = 0; i < n; i++)
			out->at[i].kind = kinds == KINDS_NUMBERS ? VALUE_DOUBLE : (uint8_t)kinds;
	}
	if (r.failed)
		return ERR_MALFORMED;
	if ((count = pick(out, n, VALUE_DOUBLE, which)) > 0)
		get_doubles(c, &r, which, count, kinds, version);
	if (kinds != KINDS_NUMBERS && (count = pick(out, n, VALUE_INT, which)) > 0)
		get_ints(c, &r, which, count, version);
	if ((count = pick(out, n, VALUE_BOOL, which)) > 0)
		get_bools(&r, which, count);
	if ((count = pick(out, n, VALUE_STRING, which)) > 0)
		get_strings(&r, out, which, count);
	return r.failed || r.at != r.end ? ERR_MALFORMED : 0;
}

static int
unpack(struct history_codec *c, struct reader *r, struct bytes *ret_body)
{
	uint64_t len = get_varint(r);
	size_t got;

	/* What a writer bounds by HISTORY_BLOCK_BODY_MAX is the points' size, which no body exceeds by more than this. */
	if (r->failed || len > 2 * HISTORY_BLOCK_BODY_MAX)
		return ERR_TOO_BIG;
	buf_clear(&c->body);
	got = ZSTD_decompressDCtx(c->dctx, buf_reserve(&c->body, (size_t)len + 1), (size_t)len,
	    r->at, (size_t)(r->end - r->at));
	if (ZSTD_isError(got) || got != len)
		return ERR_MALFORMED;
	*ret_body = bytes_of(c->body.data, got);
	return 0;
}

int
history_block_decode(struct history_codec *c, struct bytes block, struct history_points *ret_points)
{
	struct reader r = { block.data, block.data, false };
	struct bytes body;
	uint32_t check = 0;
	uint64_t n;
	uint8_t flags, version;
	int err;

	if (block.len < BLOCK_CHECK_SIZE + 3)
		return ERR_MALFORMED;
	r.end = block.data + block.len - BLOCK_CHECK_SIZE;
	for (unsigned i = 0; i < BLOCK_CHECK_SIZE; i++)
		check |= (uint32_t)r.end[i] << (8 * i);
	if ((uint32_t)XXH3_64bits(block.data, block.len - BLOCK_CHECK_SIZE) != check)
		return ERR_DAMAGED;
	version = get_u8(&r);
	if (version != BLOCK_VERSION && version != BLOCK_VERSION_1)
		return ERR_UNSUPPORTED;
	flags = get_u8(&r);
	n = get_varint(&r);
	if (r.failed || flags > BLOCK_ZSTD || n == 0)
		return ERR_MALFORMED;
	if (n > HISTORY_BLOCK_POINTS_MAX)
		return ERR_TOO_BIG;
	body = bytes_of(r.at, (size_t)(r.end - r.at));
	if (flags == BLOCK_ZSTD && (err = unpack(c, &r, &body)) != 0)
		return err;
	if ((err = get_body(c, body, (size_t)n, version)) != 0)
		return err;
	history_points_append(ret_points, &c->out, 0, c->out.n);
	return 0;
}
