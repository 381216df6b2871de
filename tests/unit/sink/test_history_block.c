/* test_history_block.c - what goes into a block comes out of it, bit for bit, and nothing else does */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "../unit.h"
#include "err.h"
#include "history_block.h"
#include "mem.h"

static uint64_t seed_state;

static uint64_t
rnd(void)
{
	seed_state ^= seed_state << 13;
	seed_state ^= seed_state >> 7;
	seed_state ^= seed_state << 17;
	return seed_state;
}

static void
add_double(struct history_points *p, int64_t t, double f)
{
	struct value v = { .kind = VALUE_DOUBLE, .v = { .f = f } };
	history_points_add(p, t, &v, false);
}

static void
add_int(struct history_points *p, int64_t t, int64_t i)
{
	struct value v = { .kind = VALUE_INT, .v = { .i = i } };
	history_points_add(p, t, &v, false);
}

static void
add_bool(struct history_points *p, int64_t t, bool b)
{
	struct value v = { .kind = VALUE_BOOL, .v = { .b = b } };
	history_points_add(p, t, &v, false);
}

static void
add_str(struct history_points *p, int64_t t, const char *s)
{
	struct value v = { .kind = VALUE_STRING, .v = { .s = bytes_of_str(s) } };
	history_points_add(p, t, &v, false);
}

static void
assert_equal(const struct history_points *a, size_t from, const struct history_points *b)
{
	for (size_t i = 0; i < b->n; i++) {
		struct value x = history_points_value(a, from + i), y = history_points_value(b, i);

		ck_assert_int_eq(a->at[from + i].time, b->at[i].time);
		ck_assert_int_eq(x.kind, y.kind);
		switch (x.kind) {
		case VALUE_DOUBLE:
			ck_assert_mem_eq(&x.v.f, &y.v.f, sizeof(double));
			break;
		case VALUE_INT:
			ck_assert_int_eq(x.v.i, y.v.i);
			break;
		case VALUE_BOOL:
			ck_assert(x.v.b == y.v.b);
			break;
		case VALUE_STRING:
			ck_assert(bytes_equal(x.v.s, y.v.s));
			break;
		}
	}
}

/* Returns the block's size. */
static size_t
round_trip(struct history_codec *c, const struct history_points *p)
{
	struct history_points back = { 0 };
	struct buf block = { 0 };
	size_t size;

	history_block_encode(c, p, 0, p->n, &block);
	ck_assert_int_eq(history_block_decode(c, buf_bytes(&block), &back), 0);
	ck_assert_uint_eq(back.n, p->n);
	assert_equal(p, 0, &back);
	size = block.len;
	buf_fini(&block);
	history_points_fini(&back);
	return size;
}

START_TEST(single_values)
{
	static const double doubles[] = { 0.0, -0.0, 1.0, -1.5, 41.5, 0.1, 1e-300, 1e300, DBL_MAX,
		DBL_MIN, 4.9e-324, 74.93588199999998, 9007199254740992.0, 9007199254740993.0,
		-9007199254740992.0, 1e15, 1e22, 123456789.123456 };
	static const int64_t ints[] = { 0, 1, -1, INT64_MAX, INT64_MIN, 1ll << 53 };
	struct history_codec *c = history_codec_new();
	struct history_points p = { 0 };

	for (size_t i = 0; i < COUNT_OF(doubles); i++) {
		history_points_clear(&p);
		add_double(&p, 1700000000000000, doubles[i]);
		round_trip(c, &p);
	}
	history_points_clear(&p);
	add_double(&p, 5, NAN);
	add_double(&p, 5, INFINITY);
	round_trip(c, &p);
	for (size_t i = 0; i < COUNT_OF(ints); i++) {
		history_points_clear(&p);
		add_int(&p, INT64_MIN, ints[i]);
		add_int(&p, INT64_MAX, ints[COUNT_OF(ints) - 1 - i]);
		round_trip(c, &p);
	}
	history_points_clear(&p);
	for (size_t i = 0; i < COUNT_OF(doubles); i++)
		add_double(&p, (int64_t)i, doubles[i]);
	round_trip(c, &p);
	history_points_fini(&p);
	history_codec_free(&c);
}
END_TEST

START_TEST(decimals_take_a_byte)
{
	struct history_codec *c = history_codec_new();
	struct history_points p = { 0 };
	int64_t t = 1763820000000000;
	int m = 215;

	seed_state = 7;
	for (size_t i = 0; i < HISTORY_BLOCK_POINTS_MAX; i++, t += 1000000) {
		m += (int)(rnd() % 5) - 2;
		if (m % 10 == 0)
			add_int(&p, t, m / 10); /* as JSON says 21 */
		else
			add_double(&p, t, m / 10.0);
	}
	ck_assert_uint_lt(round_trip(c, &p), HISTORY_BLOCK_POINTS_MAX / 2);
	history_points_fini(&p);
	history_codec_free(&c);
}
END_TEST

/* A value that is no decimal among many that are does not spoil the block; 40.0 stays a double beside 40. */
START_TEST(mixtures)
{
	struct history_codec *c = history_codec_new();
	struct history_points p = { 0 };

	for (int i = 0; i < 500; i++)
		add_double(&p, i * 60000000ll, i == 250 ? M_PI : 20 + i / 10.0);
	ck_assert_uint_lt(round_trip(c, &p), 1500);
	add_int(&p, 500 * 60000000ll, 40);
	round_trip(c, &p);
	add_double(&p, 501 * 60000000ll, 40.0);
	round_trip(c, &p);
	add_int(&p, 502 * 60000000ll, INT64_MAX);
	add_str(&p, 502 * 60000000ll, "");
	add_str(&p, 502 * 60000000ll, "open");
	add_str(&p, 502 * 60000000ll, "open");
	add_bool(&p, 503 * 60000000ll, true);
	round_trip(c, &p);
	/* an int among doubles that are no decimals */
	history_points_clear(&p);
	for (int i = 1; i < 20; i++)
		add_double(&p, i, M_PI / i);
	add_int(&p, 20, 7);
	round_trip(c, &p);
	history_points_clear(&p);
	for (int i = 0; i < 77; i++)
		add_bool(&p, i, i % 3 == 0);
	round_trip(c, &p);
	history_points_fini(&p);
	history_codec_free(&c);
}
END_TEST

static void
random_point(struct history_points *p, int64_t t, unsigned mode)
{
	static const char *const words[] = { "", "on", "off", "a longer state", "on" };
	uint64_t r = rnd(), bits = rnd();
	double f;

	switch (mode < 5 ? mode : (unsigned)(r % 5)) {
	case 0:
		memcpy(&f, &bits, sizeof(f));
		add_double(p, t, f);
		return;
	case 1:
		f = (double)(int64_t)(bits % 200000 - 100000) / pow(10, (double)(r % 7));
		add_double(p, t, f);
		return;
	case 2:
		add_int(p, t, r % 10 == 0 ? (int64_t)bits : (int64_t)(bits % 1000));
		return;
	case 3:
		add_bool(p, t, bits & 1);
		return;
	default:
		add_str(p, t, words[bits % COUNT_OF(words)]);
		return;
	}
}

START_TEST(random_round_trips)
{
	struct history_codec *c = history_codec_new();
	struct history_points p = { 0 };

	for (uint64_t seed = 1; seed <= 3000; seed++) {
		size_t n;
		int64_t t, step;
		unsigned mode, jitter;

		seed_state = seed * 0x9e3779b97f4a7c15ull;
		n = rnd() % 100 == 0 ? 1 + rnd() % HISTORY_BLOCK_POINTS_MAX : 1 + rnd() % 90;
		mode = (unsigned)(rnd() % 8);
		t = rnd() % 50 == 0 ? (int64_t)rnd() : (int64_t)(rnd() % 2000000000) * 1000000;
		step = (int64_t[]){ 1, 1000, 1000000, 60000000, 0 }[rnd() % 5];
		jitter = (unsigned)(rnd() % 3);
		history_points_clear(&p);
		for (size_t i = 0; i < n; i++) {
			random_point(&p, t, mode);
			t = (int64_t)((uint64_t)t + (uint64_t)step +
				      (jitter == 0 ? 0 : rnd() % (jitter * 1000)));
		}
		round_trip(c, &p);
	}
	history_points_fini(&p);
	history_codec_free(&c);
}
END_TEST

/* What the blocks of version 1 below were made from. */
static void
old_points(struct history_points *p, unsigned mode)
{
	seed_state = mode + 100;
	for (int i = 0; i < (mode == 8 ? 70 : 6); i++) {
		int64_t t = 1763820000000000 + i * (mode % 2 == 0 ? 60000000ll : 12345ll);

		if (mode == 8)
			add_double(p, t, 20.5 + i % 3);
		else if (mode == 7 && i % 3 == 0)
			add_int(p, t, 21);
		else if (mode == 7)
			add_double(p, t, i == 4 ? 74.93588199999998 : 21 + i / 10.0);
		else
			random_point(p, t, mode);
	}
}

/* Written by the encoder of version 1: doubles as XOR and as decimals, ints, bools, strings, each of its own, numbers with an
 * exception, and zstd. */
START_TEST(version_1_is_read)
{
	static const char *const blocks[] = {
		"0100060200c0878e920d7800000000ff56b454471bd0c9a553fc882207fe8e6f0191b0914cfa0ccb5a"
		"caf56ac442654764bb3a571979c16509d240735890c40b0a2a3067",
		"010006000080e0e188eb8ba206f2c001000000000600f8d1ce05a9fcd8058dd49c9c23c0c4d0b953ff"
		"ecb8e730a6d3964adb4a84d5",
		"0100060201c0878e920d7800000000ea0cf90395038703ec03e102c5c7a874",
		"010006000280e0e188eb8ba206f2c00100000000321997ccc9",
		"0100060203c0878e920d7800000000036f6e046f66660f61206c6f6e676572207374617465036f6e00"
		"0090cbfbbc",
		"010006000580e0e188eb8ba206f2c0010000000048090401017fe7c1de7abdf78d85d806fe06fe0701"
		"829a267e",
		"0100060205c0878e920d7800000000020b0402002cfdd1886fcc075002f284953535debeacc58f0603"
		"036f6ea7c7ef26",
		"010006000480e0e188eb8ba206f2c001000000000101048fba9d7de5bb5240a4030202030a0fd0860"
		"6",
		"010146950128b52ffd2095cd0000800200c0878e920d780001009a031414270200d7490650700497aa"
		"d940",
	};
	struct history_codec *c = history_codec_new();
	struct history_points p = { 0 }, back = { 0 };
	uint8_t bytes[128];

	for (unsigned mode = 0; mode < COUNT_OF(blocks); mode++) {
		size_t len = strlen(blocks[mode]) / 2;

		for (size_t i = 0; i < len; i++) {
			char digits[3] = { blocks[mode][2 * i], blocks[mode][2 * i + 1], 0 };

			bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
		}
		history_points_clear(&p);
		history_points_clear(&back);
		old_points(&p, mode);
		ck_assert_int_eq(history_block_decode(c, bytes_of(bytes, len), &back), 0);
		ck_assert_uint_eq(back.n, p.n);
		assert_equal(&p, 0, &back);
	}
	history_points_fini(&p);
	history_points_fini(&back);
	history_codec_free(&c);
}
END_TEST

/* What arithmetic leaves of a decimal lies next to it, and costs little; regular times cost nothing each. */
START_TEST(neighbours_of_decimals)
{
	struct history_codec *c = history_codec_new();
	struct history_points p = { 0 };
	int64_t m = 749358820;

	seed_state = 3;
	for (int i = 0; i < 300; i++) {
		double f = (double)(m += (int64_t)(rnd() % 2000000) - 1000000) / 1e7;

		add_double(
		    &p, i * 300000000ll, i % 10 == 0 ? nextafter(f, i % 20 == 0 ? 0 : 1e3) : f);
	}
	ck_assert_uint_lt(round_trip(c, &p), 300 * 23 / 8 + 2 * 30 + 30);
	history_points_clear(&p);
	for (int i = 0; i < 300; i++)
		add_int(&p, i * 60000000ll, 7);
	ck_assert_uint_lt(round_trip(c, &p), 24);
	/* few values, far apart: zstd is better at them */
	history_points_clear(&p);
	for (int i = 0; i < 1000; i++)
		add_int(&p, i * 60000000ll, (int64_t)(rnd() % 4) * 1000000007);
	ck_assert_uint_lt(round_trip(c, &p), 1000);
	/* times that go back */
	history_points_clear(&p);
	for (int i = 0; i < 300; i++)
		add_int(&p, (1000 - i) * 420000000ll, 7);
	ck_assert_uint_lt(round_trip(c, &p), 24);
	history_points_fini(&p);
	history_codec_free(&c);
}
END_TEST

static void
fix_check(uint8_t *block, size_t len)
{
	uint64_t check = XXH3_64bits(block, len - 4);

	for (unsigned i = 0; i < 4; i++)
		block[len - 4 + i] = (uint8_t)(check >> (8 * i));
}

/* Every prefix is refused, with its check as found and with one made to fit; so is every flipped bit. */
START_TEST(every_prefix_and_every_flip)
{
	struct history_codec *c = history_codec_new();
	struct history_points p = { 0 }, back = { 0 };
	struct buf block = { 0 };

	for (unsigned mode = 0; mode < 8; mode++) {
		seed_state = mode + 11;
		history_points_clear(&p);
		for (int i = 0; i < (mode == 7 ? 200 : 30); i++)
			random_point(&p, i * 1000000ll, mode);
		buf_clear(&block);
		history_block_encode(c, &p, 0, p.n, &block);
		for (size_t len = 0; len < block.len; len++) {
			uint8_t *cut = xmalloc(len + 1);

			memcpy(cut, block.data, len);
			ck_assert_int_ne(history_block_decode(c, bytes_of(cut, len), &back), 0);
			if (len >= 4) {
				fix_check(cut, len);
				ck_assert_int_ne(
				    history_block_decode(c, bytes_of(cut, len), &back), 0);
			}
			free(cut);
		}
		for (size_t i = 0; i < block.len * 8; i++) {
			block.data[i / 8] ^= (uint8_t)(1u << (i % 8));
			ck_assert_int_eq(
			    history_block_decode(c, buf_bytes(&block), &back), ERR_DAMAGED);
			block.data[i / 8] ^= (uint8_t)(1u << (i % 8));
		}
		ck_assert_uint_eq(back.n, 0);
	}
	buf_fini(&block);
	history_points_fini(&p);
	history_points_fini(&back);
	history_codec_free(&c);
}
END_TEST

START_TEST(hostile_lengths)
{
	static const struct {
		const char *label;
		uint8_t head[32];
		size_t len;
		int err;
	} cases[] = {
		{ "no points", { 1, 0, 0, 0, 0, 0 }, 6, ERR_MALFORMED },
		{ "later version", { 9, 0, 1, 0, 0, 0 }, 6, ERR_UNSUPPORTED },
		{ "unknown flags", { 1, 2, 1, 0, 0, 0 }, 6, ERR_MALFORMED },
		{ "too many points", { 1, 0, 0xe9, 0x07, 0, 0 }, 6, ERR_TOO_BIG },
		{ "endless varint", { 1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255 },
		    13, ERR_MALFORMED },
		{ "256 MiB of body", { 1, 1, 1, 0x80, 0x80, 0x80, 0x80, 1, 0 }, 9, ERR_TOO_BIG },
		{ "more points than bytes", { 1, 0, 9, 0, 0, 0, 0 }, 7, ERR_MALFORMED },
		{ "no zstd", { 1, 1, 1, 20, 1, 2, 3 }, 7, ERR_MALFORMED },
		{ "unknown unit", { 1, 0, 1, 3, 0, 0, 0 }, 7, ERR_MALFORMED },
		{ "unknown kinds", { 1, 0, 1, 0, 6, 0, 0 }, 7, ERR_MALFORMED },
		{ "unknown scale", { 1, 0, 1, 0, 0, 0, 16, 0 }, 8, ERR_MALFORMED },
		{ "numbers as xor", { 1, 0, 1, 0, 4, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0 }, 15,
		    ERR_MALFORMED },
		{ "more exceptions than points", { 1, 0, 1, 0, 0, 0, 0, 2, 0 }, 9, ERR_MALFORMED },
		{ "exception outside", { 1, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0 }, 17,
		    ERR_MALFORMED },
		{ "exception without its value", { 1, 0, 1, 0, 0, 0, 0, 1, 0, 1, 2 }, 11,
		    ERR_MALFORMED },
		{ "exception twice", { 1, 0, 2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 },
		    27, ERR_MALFORMED },
		{ "mantissa too large",
		    { 1, 0, 1, 0, 0, 0, 0, 0, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20 }, 16,
		    ERR_MALFORMED },
		{ "mantissa too small",
		    { 1, 0, 1, 0, 0, 0, 0, 0, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20 }, 16,
		    ERR_MALFORMED },
		{ "string over its maximum", { 1, 0, 1, 0, 3, 0, 0x81, 0x80, 4, 'a' }, 10,
		    ERR_MALFORMED },
		{ "string past the end", { 1, 0, 1, 0, 3, 0, 9, 'a' }, 8, ERR_MALFORMED },
		{ "bytes left over", { 1, 0, 1, 0, 1, 0, 0, 0 }, 8, ERR_MALFORMED },
		{ "time beyond int64",
		    { 1, 0, 1, 2, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0 },
		    16, ERR_MALFORMED },
		{ "time far beyond int64",
		    { 1, 0, 1, 2, 1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0 },
		    16, ERR_MALFORMED },
		{ "no points, 2", { 2, 0, 0, 0, 0, 0 }, 6, ERR_MALFORMED },
		{ "unknown unit, 2", { 2, 0, 1, 0x40, 0, 0, 0 }, 7, ERR_MALFORMED },
		{ "unknown kinds, 2", { 2, 0, 1, 6, 0, 0, 0 }, 7, ERR_MALFORMED },
		{ "unknown coding of times", { 2, 0, 2, 2, 0, 1, 5, 0, 0, 0 }, 10, ERR_MALFORMED },
		{ "unknown coding of decimals", { 2, 0, 1, 0, 0, 0x50, 0, 0 }, 8, ERR_MALFORMED },
		{ "unknown coding of ints", { 2, 0, 1, 1, 0, 5, 0 }, 7, ERR_MALFORMED },
		{ "numbers as xor, 2", { 2, 0, 1, 4, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0 }, 14,
		    ERR_MALFORMED },
		{ "more exceptions than points, 2", { 2, 0, 1, 0, 0, 0, 2, 0, 2 }, 9,
		    ERR_MALFORMED },
		{ "exception outside, 2", { 2, 0, 1, 0, 0, 0, 1, 1, 2, 0 }, 10, ERR_MALFORMED },
		{ "exception without its value, 2", { 2, 0, 1, 0, 0, 0, 1, 0, 0, 1, 2 }, 11,
		    ERR_MALFORMED },
		{ "exception twice, 2", { 2, 0, 2, 0, 0, 1, 0, 0, 0, 2, 0, 2, 0, 2, 0, 0 }, 16,
		    ERR_MALFORMED },
		{ "mantissa too large, 2",
		    { 2, 0, 1, 0, 0, 0, 0, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20 }, 15,
		    ERR_MALFORMED },
		{ "bytes left over, 2", { 2, 0, 1, 1, 0, 0, 0, 0 }, 8, ERR_MALFORMED },
		{ "time beyond int64, 2",
		    { 2, 0, 1, 0x21, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0,
			0 },
		    16, ERR_MALFORMED },
	};
	static const uint8_t alone[] = { 2, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f };
	struct history_codec *c = history_codec_new();
	struct history_points back = { 0 };
	uint8_t block[36];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		memcpy(block, cases[i].head, cases[i].len);
		fix_check(block, cases[i].len + 4);
		ck_assert_msg(history_block_decode(c, bytes_of(block, cases[i].len + 4), &back) ==
				  cases[i].err,
		    "%s", cases[i].label);
	}
	ck_assert_uint_eq(back.n, 0);
	/* Nothing but an exception, which the encoder never writes, is one point all the same. */
	memcpy(block, alone, sizeof(alone));
	fix_check(block, sizeof(alone) + 4);
	ck_assert_int_eq(history_block_decode(c, bytes_of(block, sizeof(alone) + 4), &back), 0);
	ck_assert_uint_eq(back.n, 1);
	ck_assert(back.at[0].kind == VALUE_DOUBLE);
	history_points_fini(&back);
	history_codec_free(&c);
}
END_TEST

START_TEST(points_sort_and_lose_copies)
{
	struct history_points p = { 0 };
	struct value v = { .kind = VALUE_INT };

	for (int i = 0; i < 100; i++) {
		v.v.i = i;
		history_points_add(&p, (i * 37) % 50, &v, i >= 50);
	}
	history_points_sort(&p);
	for (size_t i = 1; i < p.n; i++) {
		ck_assert(p.at[i - 1].time <= p.at[i].time);
		ck_assert(p.at[i - 1].time < p.at[i].time || p.at[i - 1].v.i < p.at[i].v.i);
	}
	ck_assert_uint_eq(history_points_drop_copies(&p), 50);
	ck_assert_uint_eq(p.n, 50);
	for (size_t i = 0; i < p.n; i++)
		ck_assert_int_lt(p.at[i].v.i, 50);
	history_points_fini(&p);
}
END_TEST

UNIT_MAIN("history_block", single_values, decimals_take_a_byte, mixtures, random_round_trips,
    version_1_is_read, neighbours_of_decimals, every_prefix_and_every_flip, hostile_lengths,
    points_sort_and_lose_copies)
