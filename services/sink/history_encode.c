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
#define FEW_MAX 64	   /* different numbers in a column that zstd may do better with */
/* A decimal of 15 digits is the only one next to its double (DBL_DIG): with more, some other of more places may be taken. */
#define DECIMAL_MAX 1e15
#define BESIDE_MAX 8191 /* two bytes */

/* What zstd may gain. */
enum gain { GAIN_NONE, GAIN_BODY, GAIN_DELTAS };

enum fit { FIT_EXACT, FIT_BESIDE, FIT_NOT };

/* What becomes of one block's body. */
struct body {
	struct history_codec *c;
	struct buf *b;
	bool for_zstd;	/* numbers as deltas, whatever else is shorter */
	enum gain gain; /* by zstd */
};

static uint64_t
zigzag(uint64_t v)
{
	return (v << 1) ^ (0 - (v >> 63));
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

	if (!(fabs(x) <= DECIMAL_MAX))
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
		if (scale != hint && scales_exactly(f, scale, ret_mantissa))
			return scale;
	return SCALE_NONE;
}

/* The value as a whole multiple of 10^-scale, or how many doubles beside one, or neither. */
static enum fit
at_scale(const struct history_codec *c, size_t i, unsigned scale, int64_t *ret_mantissa,
    int64_t *ret_beside)
{
	int64_t factor, m, beside;
	double x;

	if (c->scale[i] <= scale) {
		factor = history_ipower10[scale - c->scale[i]];
		if (c->mantissa[i] > MANTISSA_MAX / factor ||
		    c->mantissa[i] < -(MANTISSA_MAX / factor))
			return FIT_NOT;
		*ret_mantissa = c->mantissa[i] * factor;
		return FIT_EXACT;
	}
	x = c->f[i] * history_power10[scale];
	if (!(fabs(x) <= DECIMAL_MAX))
		return FIT_NOT;
	m = llrint(x);
	beside = (int64_t)(double_bits(c->f[i]) - double_bits((double)m / history_power10[scale]));
	if (beside > BESIDE_MAX || beside < -BESIDE_MAX || beside == 0)
		return FIT_NOT;
	*ret_mantissa = m;
	*ret_beside = beside;
	return FIT_BESIDE;
}

/* About how many bits, for a comparison of scales. */
static size_t
decimal_cost(const struct history_codec *c, size_t n, unsigned scale)
{
	size_t cost = 0;
	int64_t m, beside, last = 0;

	for (size_t i = 0; i < n; i++) {
		enum fit fit = at_scale(c, i, scale, &m, &beside);
		uint64_t delta;

		if (fit == FIT_NOT) {
			cost += 80;
			continue;
		}
		delta = zigzag((uint64_t)m - (uint64_t)last);
		cost += (delta == 0 ? 1 : 65 - (size_t)__builtin_clzll(delta)) +
			(fit == FIT_BESIDE ? 16 : 0);
		last = m;
	}
	return cost;
}

/* The cheapest of the scales that half of the values have or fall short of, or SCALE_NONE if XOR is likely cheaper. */
static unsigned
choose_scale(const struct history_codec *c, size_t n)
{
	size_t counts[SCALE_COUNT] = { 0 }, upto = 0;
	size_t best_cost = n * 64, cost;
	unsigned best = SCALE_NONE;

	for (size_t i = 0; i < n; i++)
		if (c->scale[i] != SCALE_NONE)
			counts[c->scale[i]]++;
	for (unsigned s = 0; s < SCALE_COUNT; s++) {
		upto += counts[s];
		if (counts[s] == 0 || upto < n - n / 2)
			continue;
		if (upto == n && best == SCALE_NONE)
			return s; /* all of them, and there is no other */
		cost = decimal_cost(c, n, s);
		if (cost < best_cost) {
			best_cost = cost;
			best = s;
		}
	}
	return best;
}

/* Have these numbers few values, and far between, so that bits cost more than the values' own numbers would? */
static bool
zstd_may_pay(const uint64_t *v, size_t n, size_t bits)
{
	uint64_t seen[16] = { 0 };
	size_t few = 0;

	if (n < ZSTD_POINTS_MIN || bits <= n)
		return false;
	for (size_t i = 0; i < n && few <= FEW_MAX; i++) {
		uint64_t h = (v[i] * 0x9e3779b97f4a7c15ull) >> 54, bit = 1ull << (h & 63);

		few += (seen[h >> 6] & bit) == 0;
		seen[h >> 6] |= bit;
	}
	return few <= FEW_MAX && bits > n * (64 - (size_t)__builtin_clzll(few));
}

static struct numbers_plan
plan_numbers(struct body *to, const uint64_t *v, size_t n)
{
	struct numbers_plan plan = { NUMBERS_DELTAS, 0, 0 };

	if (to->for_zstd)
		return plan;
	plan = history_numbers_plan(v, n);
	if (to->gain == GAIN_NONE && zstd_may_pay(v, n, plan.bits))
		to->gain = GAIN_DELTAS;
	return plan;
}

static void
put_exceptions(struct history_codec *c, size_t n, unsigned scale, size_t count, struct buf *b)
{
	int64_t m, beside;
	size_t after = 0;

	put_varint(b, count);
	for (size_t i = 0; i < n && count > 0; i++) {
		enum fit fit = at_scale(c, i, scale, &m, &beside);

		if (fit == FIT_EXACT)
			continue;
		put_varint(b, i - after);
		put_varint(b, fit == FIT_BESIDE ? zigzag((uint64_t)beside) : 0);
		if (fit == FIT_NOT)
			put_u64(b, double_bits(c->f[i]));
		after = i;
	}
}

static void
put_decimals(struct body *to, size_t n, unsigned scale)
{
	struct history_codec *c = to->c;
	struct numbers_plan plan;
	size_t exceptions = 0, count = 0;
	int64_t m, beside;

	for (size_t i = 0; i < n; i++) {
		enum fit fit = at_scale(c, i, scale, &m, &beside);

		exceptions += fit != FIT_EXACT;
		if (fit != FIT_NOT)
			c->numbers[count++] = (uint64_t)m;
	}
	ASSERT(count > 0); /* choose_scale() takes a scale that is a value's own */
	plan = plan_numbers(to, c->numbers, count);
	buf_add_u8(to->b, (uint8_t)(scale | (unsigned)plan.coding << 4));
	put_exceptions(c, n, scale, exceptions, to->b);
	history_numbers_put(c->numbers, count, &plan, to->b);
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
scale_numbers(struct history_codec *c, const struct history_point *p, size_t n, bool ints_too)
{
	unsigned hint = 0;
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i].kind == VALUE_DOUBLE) {
			c->f[count] = p[i].v.f;
			c->scale[count] = (uint8_t)find_scale(p[i].v.f, hint, &c->mantissa[count]);
			if (c->scale[count] != SCALE_NONE && c->scale[count] > hint)
				hint = c->scale[count];
			count++;
		} else if (p[i].kind == VALUE_INT && ints_too) {
			c->f[count] = 0;
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
	int64_t m, beside;

	if (scale == SCALE_NONE)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool fits = at_scale(c, i, scale, &m, &beside) == FIT_EXACT;

		if (p[i].kind == VALUE_INT ? !fits : fits && m % history_ipower10[scale] == 0)
			return false;
	}
	return true;
}

static uint64_t
magnitude(uint64_t v)
{
	return v >> 63 ? 0 - v : v;
}

static uint64_t
common_divisor(uint64_t a, uint64_t b)
{
	while (b != 0) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* The greatest step of which all times are whole numbers apart, and these numbers. */
static uint64_t
divide_times(const struct history_point *p, size_t n, int64_t unit, uint64_t *ret)
{
	uint64_t step = 0, last = (uint64_t)(p[0].time / unit), before = 0;

	for (size_t i = 0; i + 1 < n; i++) {
		uint64_t t = (uint64_t)(p[i + 1].time / unit);

		ret[i] = t - last;
		last = t;
		if (ret[i] != before && step != 1)
			step = common_divisor(magnitude(ret[i]), step);
		before = ret[i];
	}
	if (step <= 1)
		return 1;
	for (size_t i = 0; i + 1 < n; i++) {
		uint64_t quotient = magnitude(ret[i]) / step;

		ret[i] = ret[i] >> 63 ? 0 - quotient : quotient;
	}
	return step;
}

static void
put_times(struct body *to, const struct history_point *p, size_t n)
{
	struct history_codec *c = to->c;
	struct numbers_plan plan;
	unsigned unit = UNIT_COUNT - 1;

	for (size_t i = 0; i < n; i++)
		while (p[i].time % history_units[unit] != 0)
			unit--;
	buf_add_u8(to->b, (uint8_t)(unit << 4)); /* kinds: set by the caller */
	put_varint(to->b, zigzag((uint64_t)(p[0].time / history_units[unit])));
	if (n == 1)
		return;
	put_varint(to->b, divide_times(p, n, history_units[unit], c->numbers));
	plan = plan_numbers(to, c->numbers, n - 1);
	buf_add_u8(to->b, (uint8_t)plan.coding);
	history_numbers_put(c->numbers, n - 1, &plan, to->b);
}

static void
put_ints(struct body *to, const struct history_point *p, size_t n)
{
	struct history_codec *c = to->c;
	struct numbers_plan plan;
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		if (p[i].kind == VALUE_INT)
			c->numbers[count++] = (uint64_t)p[i].v.i;
	if (count == 0)
		return;
	plan = plan_numbers(to, c->numbers, count);
	buf_add_u8(to->b, (uint8_t)plan.coding);
	history_numbers_put(c->numbers, count, &plan, to->b);
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
put_doubles(struct body *to, const struct history_point *p, size_t n)
{
	size_t doubles = scale_numbers(to->c, p, n, false);
	unsigned scale = choose_scale(to->c, doubles);

	if (scale == SCALE_NONE) {
		to->gain = GAIN_BODY;
		put_xors(to->c->f, doubles, to->b);
	} else {
		put_decimals(to, doubles, scale);
	}
}

static void
put_body(struct body *to, const struct history_points *list, size_t from, size_t n)
{
	const struct history_point *p = list->at + from;
	size_t count[4] = { 0 };
	unsigned kinds = KINDS_EACH, scale;

	buf_clear(to->b);
	put_times(to, p, n);
	for (size_t i = 0; i < n; i++)
		count[p[i].kind]++;
	for (unsigned k = 0; k < 4; k++)
		if (count[k] == n)
			kinds = k;
	if (count[VALUE_DOUBLE] > 0 && count[VALUE_INT] > 0 &&
	    count[VALUE_DOUBLE] + count[VALUE_INT] == n) {
		scale_numbers(to->c, p, n, true);
		scale = choose_scale(to->c, n);
		if (kinds_follow(to->c, p, n, scale)) {
			to->b->data[0] |= KINDS_NUMBERS;
			put_decimals(to, n, scale);
			return;
		}
	}
	to->b->data[0] |= (uint8_t)kinds;
	if (kinds > VALUE_INT) /* bools, strings, each of its own */
		to->gain = GAIN_BODY;
	if (kinds == KINDS_EACH)
		put_kinds(p, n, to->b);
	if (count[VALUE_DOUBLE] > 0)
		put_doubles(to, p, n);
	put_ints(to, p, n);
	put_bools(p, n, to->b);
	put_strings(list, from, n, to->b);
}

/* Returns the length of what is in c->packed then, or 0 if it is not shorter than limit. */
static size_t
pack_body(struct history_codec *c, const struct buf *body, size_t limit)
{
	size_t room = ZSTD_compressBound(body->len), packed;

	buf_clear(&c->packed);
	packed = ZSTD_compressCCtx(
	    c->cctx, buf_reserve(&c->packed, room), room, body->data, body->len, ZSTD_LEVEL);
	return ZSTD_isError(packed) || packed + 2 >= limit ? 0 : packed;
}

void
history_block_encode(
    struct history_codec *c, const struct history_points *p, size_t from, size_t n, struct buf *out)
{
	struct body body = { .c = c, .b = &c->body };
	size_t start = out->len, packed = 0;
	uint64_t check;

	ASSERT(n > 0 && n <= HISTORY_BLOCK_POINTS_MAX && from <= p->n && n <= p->n - from);
	put_body(&body, p, from, n);
	if (n >= ZSTD_POINTS_MIN && body.gain != GAIN_NONE) {
		size_t limit = c->body.len;

		if (body.gain == GAIN_DELTAS) {
			body.b = &c->deltas;
			body.for_zstd = true;
			put_body(&body, p, from, n);
		}
		packed = pack_body(c, body.b, limit);
	}
	buf_add_u8(out, BLOCK_VERSION);
	buf_add_u8(out, packed > 0 ? BLOCK_ZSTD : 0);
	put_varint(out, n);
	if (packed > 0) {
		put_varint(out, body.b->len);
		buf_add(out, c->packed.data, packed);
	} else {
		buf_add(out, c->body.data, c->body.len);
	}
	check = XXH3_64bits(out->data + start, out->len - start);
	for (unsigned i = 0; i < BLOCK_CHECK_SIZE; i++)
		buf_add_u8(out, (uint8_t)(check >> (8 * i)));
}
