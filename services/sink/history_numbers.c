/* history_numbers.c - whole numbers of one column <-> bits; pure */
#include "history_numbers.h"

#include "err.h"

#define ESCAPE 24  /* ones that say: 64 bits follow */
#define SMALL 64   /* columns that will be merged: deltas, and no search for the best k */
#define SAMPLE 128 /* numbers from which the order is chosen */

static uint64_t
zigzag(uint64_t v)
{
	return (v << 1) ^ (0 - (v >> 63));
}

static uint64_t
unzigzag(uint64_t v)
{
	return (v >> 1) ^ (0 - (v & 1));
}

static unsigned
bit_length(uint64_t v)
{
	return v == 0 ? 0 : 64 - (unsigned)__builtin_clzll(v);
}

/* --- choosing --- */

static uint64_t
least_of(const uint64_t *v, size_t n)
{
	int64_t least = (int64_t)v[0];

	for (size_t i = 1; i < n; i++)
		least = (int64_t)v[i] < least ? (int64_t)v[i] : least;
	return (uint64_t)least;
}

/* What order 0, 1 or 2 has to write of number i. */
static uint64_t
rest_of(const uint64_t *v, size_t i, unsigned order, uint64_t least)
{
	uint64_t delta;

	if (order == 0)
		return v[i] - least;
	delta = v[i] - v[i - 1];
	return zigzag(order == 1 || i == 1 ? delta : delta - (v[i - 1] - v[i - 2]));
}

static size_t
rice_cost(const uint64_t *rests, size_t n, unsigned k)
{
	size_t bits = n * (k + 1);

	for (size_t i = 0; i < n; i++) {
		uint64_t q = rests[i] >> k;

		bits += q < ESCAPE ? (size_t)q : ESCAPE + 64 - (k + 1);
	}
	return bits;
}

static size_t
runs_cost(const uint64_t *v, size_t n)
{
	size_t bits = 16;
	unsigned length;

	for (size_t i = 1; i < n; i++) {
		if (v[i] == v[i - 1])
			continue;
		length = bit_length(zigzag(v[i] - v[i - 1]));
		bits += 8 + (length < 8 ? 8 : (length + 6) / 7 * 8);
	}
	return bits;
}

/* The order whose rests are shortest, by their lengths in bits. */
static unsigned
choose_order(const uint64_t *v, size_t n, uint64_t least)
{
	size_t sums[3] = { 0 };

	if (n < SMALL)
		return 1;
	for (size_t i = 1; i < n && i < SAMPLE; i++)
		for (unsigned o = 0; o < 3; o++)
			sums[o] += bit_length(rest_of(v, i, o, least));
	return sums[0] < sums[1] && sums[0] <= sums[2] ? 0 : sums[2] < sums[1] ? 2 : 1;
}

/* The length of the middle one of the rests: where they fall off as they mostly do, k is best near it. */
static unsigned
median_length(const uint64_t *rests, size_t n)
{
	uint16_t counts[65] = { 0 };
	size_t upto = 0;
	unsigned length = 0;

	for (size_t i = 0; i < n; i++)
		counts[bit_length(rests[i])]++;
	for (upto = counts[0]; 2 * upto < n; upto += counts[++length])
		;
	return length;
}

struct numbers_plan
history_numbers_plan(const uint64_t *v, size_t n)
{
	struct numbers_plan best = { NUMBERS_RUNS, 0, runs_cost(v, n) };
	uint64_t rests[NUMBERS_MAX], least;
	unsigned order, median, k, end;
	size_t count = 0;

	ASSERT(n > 0 && n <= NUMBERS_MAX);
	if (n < 2)
		return (struct numbers_plan){ NUMBERS_DELTAS, 0, 8 * sizeof(v[0]) };
	if (best.bits <= n) /* each number takes a bit at least otherwise */
		return best;
	least = least_of(v, n);
	order = choose_order(v, n, least);
	for (size_t i = order > 0; i < n; i++)
		rests[count++] = rest_of(v, i, order, least);
	median = median_length(rests, count);
	k = median > 0 ? median - 1 : 0;
	end = n < SMALL || k == 63 ? k : k + 1;
	if (n >= SMALL && k > 0)
		k--;
	for (; k <= end; k++) {
		size_t bits = 8 + rice_cost(rests, count, k);

		if (bits < best.bits)
			best = (struct numbers_plan){ NUMBERS_RICE_0 + order, k, bits };
	}
	return best;
}

/* --- writing --- */

struct bit_writer {
	uint8_t *at;
	uint64_t bits;
	unsigned n; /* of bits that wait, < 8 between calls */
};

/* The low n bits of v, which has no others; n <= 56 */
static void
put_bits(struct bit_writer *w, uint64_t v, unsigned n)
{
	w->bits |= v << w->n;
	w->n += n;
	for (; w->n >= 8; w->n -= 8, w->bits >>= 8)
		*w->at++ = (uint8_t)w->bits;
}

static void
put_long(struct bit_writer *w, uint64_t v, unsigned n)
{
	if (n > 32) {
		put_bits(w, v & UINT32_MAX, 32);
		v >>= 32;
		n -= 32;
	}
	put_bits(w, v, n);
}

static void
put_rice(const uint64_t *v, size_t n, unsigned order, unsigned k, struct buf *b)
{
	uint64_t least = order == 0 ? least_of(v, n) : v[0];
	struct bit_writer w = { 0 };
	uint8_t *begin;

	put_varint(b, zigzag(least));
	buf_add_u8(b, (uint8_t)k);
	begin = w.at = buf_reserve(b, n * (ESCAPE + 64) / 8 + 1);
	for (size_t i = order > 0; i < n; i++) {
		uint64_t rest = rest_of(v, i, order, least), q = rest >> k;

		if (q >= ESCAPE) {
			put_bits(&w, (1u << ESCAPE) - 1, ESCAPE);
			put_long(&w, rest, 64);
			continue;
		}
		put_bits(&w, (1u << q) - 1, (unsigned)q + 1);
		put_long(&w, rest & ((1ull << k) - 1), k);
	}
	if (w.n > 0)
		*w.at++ = (uint8_t)w.bits;
	b->len += (size_t)(w.at - begin);
}

static void
put_runs(const uint64_t *v, size_t n, struct buf *b)
{
	size_t from = 0, to;

	put_varint(b, zigzag(v[0]));
	for (;; from = to) {
		for (to = from + 1; to < n && v[to] == v[from]; to++)
			;
		put_varint(b, to - from - 1);
		if (to == n)
			return;
		put_varint(b, zigzag(v[to] - v[from]));
	}
}

void
history_numbers_put(const uint64_t *v, size_t n, const struct numbers_plan *plan, struct buf *b)
{
	uint64_t last = 0;

	ASSERT(n > 0 && plan->k < 64);
	switch (plan->coding) {
	case NUMBERS_DELTAS:
		for (size_t i = 0; i < n; last = v[i++])
			put_varint(b, zigzag(v[i] - last));
		return;
	case NUMBERS_RUNS:
		put_runs(v, n, b);
		return;
	case NUMBERS_RICE_0:
	case NUMBERS_RICE_1:
	case NUMBERS_RICE_2:
		put_rice(v, n, plan->coding - NUMBERS_RICE_0, plan->k, b);
		return;
	case NUMBERS_CODING_COUNT:
		break;
	}
	ASSERT(false);
}

/* --- reading --- */

struct bit_reader {
	struct reader *r;
	uint64_t bits;
	unsigned n;
};

/* At least 57 bits, or all there are. */
static void
fill(struct bit_reader *b)
{
	while (b->n <= 56 && b->r->at < b->r->end) {
		b->bits |= (uint64_t)*b->r->at++ << b->n;
		b->n += 8;
	}
}

/* n <= 56, filled before. */
static uint64_t
get_bits(struct bit_reader *b, unsigned n)
{
	uint64_t v = b->bits & ((1ull << n) - 1);

	if (n > b->n) {
		b->r->failed = true;
		b->n = 0;
		return 0;
	}
	b->bits >>= n;
	b->n -= n;
	return v;
}

static uint64_t
get_long(struct bit_reader *b, unsigned n)
{
	uint64_t low = 0;

	fill(b);
	if (n <= 32)
		return get_bits(b, n);
	low = get_bits(b, 32);
	fill(b);
	return low | get_bits(b, n - 32) << 32;
}

static uint64_t
get_rest(struct bit_reader *b, unsigned k)
{
	unsigned ones;

	fill(b);
	ones = (unsigned)__builtin_ctzll(~b->bits | 1ull << 63);
	if (ones >= ESCAPE) {
		get_bits(b, ESCAPE);
		return get_long(b, 64);
	}
	get_bits(b, ones + 1);
	return (uint64_t)ones << k | get_long(b, k);
}

/* What is left over are whole bytes, and bits that must be none. */
static void
end_bits(struct bit_reader *b)
{
	b->r->at -= b->n / 8;
	if ((b->bits & ((1ull << b->n % 8) - 1)) != 0)
		b->r->failed = true;
}

static void
get_rice(struct reader *r, unsigned order, uint64_t *ret, size_t n)
{
	uint64_t last = unzigzag(get_varint(r)), delta = 0, least = last;
	struct bit_reader b = { .r = r };
	unsigned k = get_u8(r);
	size_t i = 0;

	if (k > 63) {
		r->failed = true;
		return;
	}
	if (order > 0)
		ret[i++] = last;
	for (; i < n && !r->failed; i++) {
		uint64_t rest = get_rest(&b, k);

		if (order == 0) {
			ret[i] = least + rest;
			continue;
		}
		delta = order == 1 ? unzigzag(rest) : delta + unzigzag(rest);
		ret[i] = last += delta;
	}
	end_bits(&b);
}

static void
get_runs(struct reader *r, uint64_t *ret, size_t n)
{
	uint64_t v = unzigzag(get_varint(r));
	size_t i = 0;

	for (;;) {
		uint64_t more = get_varint(r);

		if (r->failed || more > n - i - 1) {
			r->failed = true;
			return;
		}
		for (size_t end = i + (size_t)more; i <= end; i++)
			ret[i] = v;
		if (i == n)
			return;
		v += unzigzag(get_varint(r));
	}
}

void
history_numbers_get(struct reader *r, unsigned coding, uint64_t *ret, size_t n)
{
	uint64_t last = 0;

	switch (coding) {
	case NUMBERS_DELTAS:
		for (size_t i = 0; i < n; i++)
			ret[i] = last += unzigzag(get_varint(r));
		return;
	case NUMBERS_RUNS:
		get_runs(r, ret, n);
		return;
	case NUMBERS_RICE_0:
	case NUMBERS_RICE_1:
	case NUMBERS_RICE_2:
		get_rice(r, coding - NUMBERS_RICE_0, ret, n);
		return;
	default: /* from a file */
		r->failed = true;
	}
}
