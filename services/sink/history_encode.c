/* history_encode.c - points -> a block; pure */
#include "history_block.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "err.h"
#include "history_bytes.h"
#include "history_codec.h"

#define ZSTD_LEVEL 3
#define ZSTD_POINTS_MIN 64 /* smaller blocks will be merged: not worth the time */

static uint64_t
zigzag(uint64_t v)
{
	return (v << 1) ^ (0 - (v >> 63));
}

static size_t
varint_size(uint64_t v)
{
	size_t n = 1;

	while (v >= 0x80) {
		v >>= 7;
		n++;
	}
	return n;
}

static uint64_t
double_bits(double f)
{
	uint64_t u;

	memcpy(&u, &f, sizeof(u));
	return u;
}

static bool
scales_exactly(double f, unsigned scale, int64_t *ret_mantissa)
{
	double x = f * history_power10[scale];
	int64_t m;

	if (!(fabs(x) <= (double)MANTISSA_MAX))
		return false;
	m = llrint(x);
	if (double_bits((double)m / history_power10[scale]) != double_bits(f))
		return false;
	*ret_mantissa = m;
	return true;
}

/* hint: the scale of the value before, most often this one's too. */
static unsigned
find_scale(double f, unsigned hint, int64_t *ret_mantissa)
{
	unsigned scale = hint;
	int64_t m;

	if (scales_exactly(f, scale, &m)) {
		while (scale > 0 && m % 10 == 0) {
			m /= 10;
			scale--;
		}
		*ret_mantissa = m;
		return scale;
	}
	for (scale = 0; scale < SCALE_COUNT; scale++)
		if (scales_exactly(f, scale, ret_mantissa))
			return scale;
	return SCALE_NONE;
}

/* The value as a whole multiple of 10^-scale; false if it is none, or too large for the place. */
static bool
at_scale(const struct history_codec *c, size_t i, unsigned scale, int64_t *ret_mantissa)
{
	int64_t factor;

	if (c->scale[i] > scale)
		return false;
	factor = history_ipower10[scale - c->scale[i]];
	if (c->mantissa[i] > MANTISSA_MAX / factor || c->mantissa[i] < -(MANTISSA_MAX / factor))
		return false;
	*ret_mantissa = c->mantissa[i] * factor;
	return true;
}

static size_t
decimal_cost(const struct history_codec *c, size_t n, unsigned scale)
{
	size_t cost = 0;
	int64_t m, last = 0;

	for (size_t i = 0; i < n; i++) {
		if (!at_scale(c, i, scale, &m)) {
			cost += 10;
			continue;
		}
		cost += varint_size(zigzag((uint64_t)m - (uint64_t)last));
		last = m;
	}
	return cost;
}

/* The cheapest scale of those that occur, or SCALE_NONE if XOR is likely cheaper than all. */
static unsigned
choose_scale(const struct history_codec *c, size_t n)
{
	bool occurs[SCALE_COUNT] = { false };
	size_t best_cost = n * 8, cost;
	unsigned best = SCALE_NONE;

	for (size_t i = 0; i < n; i++)
		if (c->scale[i] != SCALE_NONE)
			occurs[c->scale[i]] = true;
	for (unsigned s = 0; s < SCALE_COUNT; s++) {
		if (!occurs[s])
			continue;
		cost = decimal_cost(c, n, s);
		if (cost < best_cost) {
			best_cost = cost;
			best = s;
		}
	}
	return best;
}

static void
put_decimals(struct history_codec *c, const double *f, size_t n, unsigned scale, struct buf *b)
{
	int64_t m, last = 0;
	size_t exceptions = 0, after = 0;

	for (size_t i = 0; i < n; i++)
		exceptions += !at_scale(c, i, scale, &m);
	buf_add_u8(b, (uint8_t)scale);
	put_varint(b, exceptions);
	for (size_t i = 0; i < n; i++) {
		if (at_scale(c, i, scale, &m))
			continue;
		put_varint(b, i - after);
		put_u64(b, double_bits(f[i]));
		after = i;
	}
	for (size_t i = 0; i < n; i++) {
		if (!at_scale(c, i, scale, &m))
			continue;
		put_varint(b, zigzag((uint64_t)m - (uint64_t)last));
		last = m;
	}
}

static void
put_xors(const double *f, size_t n, struct buf *b)
{
	buf_add_u8(b, SCALE_NONE);
	for (unsigned plane = 0; plane < 8; plane++) {
		uint64_t last = 0;

		for (size_t i = 0; i < n; i++) {
			buf_add_u8(b, (uint8_t)((double_bits(f[i]) ^ last) >> (8 * plane)));
			last = double_bits(f[i]);
		}
	}
}

/* Fills mantissa and scale for the points that go into the doubles column: all numbers, or the doubles alone. */
static size_t
scale_numbers(
    struct history_codec *c, const struct history_point *p, size_t n, double *f, bool ints_too)
{
	unsigned hint = 0;
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i].kind == VALUE_DOUBLE) {
			f[count] = p[i].v.f;
			c->scale[count] = (uint8_t)find_scale(p[i].v.f, hint, &c->mantissa[count]);
			if (c->scale[count] != SCALE_NONE && c->scale[count] > hint)
				hint = c->scale[count];
			count++;
		} else if (p[i].kind == VALUE_INT && ints_too) {
			f[count] = 0;
			c->scale[count] = 0;
			c->mantissa[count] = p[i].v.i;
			count++;
		}
	}
	return count;
}

/* Do whole and broken numbers tell ints and doubles apart at this scale? */
static bool
kinds_follow(const struct history_codec *c, const struct history_point *p, size_t n, unsigned scale)
{
	int64_t m;

	if (scale == SCALE_NONE)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool fits = at_scale(c, i, scale, &m);

		if (p[i].kind == VALUE_INT ? !fits : fits && m % history_ipower10[scale] == 0)
			return false;
	}
	return true;
}

static void
put_times(const struct history_point *p, size_t n, struct buf *b)
{
	unsigned unit = 2;
	uint64_t last = 0, delta = 0;

	for (size_t i = 0; i < n; i++)
		while (p[i].time % history_units[unit] != 0)
			unit--;
	buf_add_u8(b, (uint8_t)unit);
	buf_add_u8(b, 0); /* kinds: set by the caller */
	for (size_t i = 0; i < n; i++) {
		uint64_t t = (uint64_t)(p[i].time / history_units[unit]);
		uint64_t d = t - last;

		put_varint(b, zigzag(i < 2 ? d : d - delta));
		last = t;
		delta = d;
	}
}

static void
put_ints(const struct history_point *p, size_t n, struct buf *b)
{
	uint64_t last = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i].kind != VALUE_INT)
			continue;
		put_varint(b, zigzag((uint64_t)p[i].v.i - last));
		last = (uint64_t)p[i].v.i;
	}
}

static void
put_bools(const struct history_point *p, size_t n, struct buf *b)
{
	uint8_t byte = 0;
	unsigned bit = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i].kind != VALUE_BOOL)
			continue;
		byte |= (uint8_t)(p[i].v.b << bit);
		if (++bit < 8)
			continue;
		buf_add_u8(b, byte);
		byte = 0;
		bit = 0;
	}
	if (bit != 0)
		buf_add_u8(b, byte);
}

static void
put_strings(const struct history_points *p, size_t from, size_t n, struct buf *b)
{
	struct bytes last = bytes_of("", 0);

	for (size_t i = from; i < from + n; i++) {
		struct bytes s;

		if (p->at[i].kind != VALUE_STRING)
			continue;
		s = history_points_value(p, i).v.s;
		if (bytes_equal(s, last)) {
			put_varint(b, 0);
			continue;
		}
		put_varint(b, s.len + 1);
		buf_add(b, s.data, s.len);
		last = s;
	}
}

static void
put_kinds(const struct history_point *p, size_t n, struct buf *b)
{
	for (size_t i = 0; i < n; i += 4) {
		uint8_t byte = 0;

		for (size_t j = i; j < n && j < i + 4; j++)
			byte |= (uint8_t)(p[j].kind << (2 * (j - i)));
		buf_add_u8(b, byte);
	}
}

static void
put_body(struct history_codec *c, const struct history_points *list, size_t from, size_t n,
    struct buf *b)
{
	const struct history_point *p = list->at + from;
	double f[HISTORY_BLOCK_POINTS_MAX];
	size_t count[4] = { 0 }, doubles;
	unsigned kinds = KINDS_EACH, scale;

	put_times(p, n, b);
	for (size_t i = 0; i < n; i++)
		count[p[i].kind]++;
	for (unsigned k = 0; k < 4; k++)
		if (count[k] == n)
			kinds = k;
	if (count[VALUE_DOUBLE] > 0 && count[VALUE_INT] > 0 &&
	    count[VALUE_DOUBLE] + count[VALUE_INT] == n) {
		scale_numbers(c, p, n, f, true);
		scale = choose_scale(c, n);
		if (kinds_follow(c, p, n, scale)) {
			b->data[1] = KINDS_NUMBERS;
			put_decimals(c, f, n, scale, b);
			return;
		}
	}
	b->data[1] = (uint8_t)kinds;
	if (kinds == KINDS_EACH)
		put_kinds(p, n, b);
	if (count[VALUE_DOUBLE] > 0) {
		doubles = scale_numbers(c, p, n, f, false);
		scale = choose_scale(c, doubles);
		if (scale == SCALE_NONE)
			put_xors(f, doubles, b);
		else
			put_decimals(c, f, doubles, scale, b);
	}
	put_ints(p, n, b);
	put_bools(p, n, b);
	put_strings(list, from, n, b);
}

void
history_block_encode(
    struct history_codec *c, const struct history_points *p, size_t from, size_t n, struct buf *out)
{
	size_t start = out->len, packed = 0;
	uint64_t check;

	ASSERT(n > 0 && n <= HISTORY_BLOCK_POINTS_MAX && from <= p->n && n <= p->n - from);
	buf_clear(&c->body);
	put_body(c, p, from, n, &c->body);
	if (n >= ZSTD_POINTS_MIN) {
		size_t room = ZSTD_compressBound(c->body.len);

		buf_clear(&c->packed);
		packed = ZSTD_compressCCtx(c->cctx, buf_reserve(&c->packed, room), room,
		    c->body.data, c->body.len, ZSTD_LEVEL);
		if (ZSTD_isError(packed) || packed + 2 >= c->body.len)
			packed = 0;
	}
	buf_add_u8(out, BLOCK_VERSION);
	buf_add_u8(out, packed > 0 ? BLOCK_ZSTD : 0);
	put_varint(out, n);
	if (packed > 0) {
		put_varint(out, c->body.len);
		buf_add(out, c->packed.data, packed);
	} else {
		buf_add(out, c->body.data, c->body.len);
	}
	check = XXH3_64bits(out->data + start, out->len - start);
	for (unsigned i = 0; i < BLOCK_CHECK_SIZE; i++)
		buf_add_u8(out, (uint8_t)(check >> (8 * i)));
}
