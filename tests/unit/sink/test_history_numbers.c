/* test_history_numbers.c - a column of whole numbers comes back from its bits, in every coding; what is cut off is noticed */
#include "history_numbers.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "mem.h"

static const uint64_t edges[] = { 0, 1, 2, 7, 64, 1000003, UINT64_MAX, UINT64_MAX - 4, INT64_MAX,
	(uint64_t)INT64_MAX + 1, 0x5555555555555555ull };

/* Writes and reads v; every shorter piece of it, and one byte more, is refused or leaves bytes over. */
static size_t
round_trip(const uint64_t *v, size_t n, const struct numbers_plan *plan, bool prefixes)
{
	uint64_t back[NUMBERS_MAX];
	struct buf b = { 0 };
	struct reader r;
	size_t len;

	history_numbers_put(v, n, plan, &b);
	len = b.len;
	r = (struct reader){ b.data, b.data + len, false };
	history_numbers_get(&r, plan->coding, back, n);
	ck_assert_msg(!r.failed && r.at == r.end, "coding %d, k %u", (int)plan->coding, plan->k);
	ck_assert_mem_eq(v, back, n * sizeof(v[0]));
	for (size_t cut = 0; prefixes && cut < len; cut++) {
		uint8_t *copy = xmalloc(cut + 1);

		memcpy(copy, b.data, cut);
		r = (struct reader){ copy, copy + cut, false };
		history_numbers_get(&r, plan->coding, back, n);
		ck_assert(r.failed);
		free(copy);
	}
	buf_fini(&b);
	return len;
}

static void
every_coding(const uint64_t *v, size_t n, unsigned k_step, bool prefixes)
{
	struct numbers_plan plan = history_numbers_plan(v, n);
	size_t len = round_trip(v, n, &plan, prefixes);

	ck_assert_uint_le(len, plan.bits / 8 + 12);
	for (unsigned coding = 0; coding < NUMBERS_CODING_COUNT; coding++)
		for (unsigned k = 0; k < 64; k += coding < NUMBERS_RICE_0 ? 64 : k_step) {
			plan = (struct numbers_plan){ (enum numbers_coding)coding, k, 0 };
			round_trip(v, n, &plan, prefixes);
		}
}

/* All columns of one to three of the edges, in every coding with every k. */
START_TEST(all_short_columns)
{
	uint64_t v[3];

	for (size_t i = 0; i < COUNT_OF(edges); i++) {
		v[0] = edges[i];
		every_coding(v, 1, 1, true);
		for (size_t j = 0; j < COUNT_OF(edges); j++) {
			v[1] = edges[j];
			every_coding(v, 2, 1, true);
			for (size_t k = 0; k < COUNT_OF(edges); k++) {
				v[2] = edges[k];
				every_coding(v, 3, 9, false);
			}
		}
	}
}
END_TEST

START_TEST(long_columns)
{
	uint64_t v[NUMBERS_MAX], x = 88172645463325252ull;

	for (unsigned round = 0; round < 200; round++) {
		size_t n = round % 4 == 0 ? NUMBERS_MAX : 1 + round * 37 % 300;
		unsigned wide = round % 64;

		for (size_t i = 0; i < n; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			v[i] = (round % 3 == 0 && i > 0 ? v[i - 1] : 0) + (x >> wide);
			if (round % 5 == 0 && x % 4 != 0 && i > 0)
				v[i] = v[i - 1];
			if (x % 97 == 0)
				v[i] = edges[x % COUNT_OF(edges)];
		}
		every_coding(v, n, 7, false);
	}
}
END_TEST

/* What the plan is for: about as many bits as there is news. */
START_TEST(plans)
{
	uint64_t v[NUMBERS_MAX], x = 5;
	struct numbers_plan plan;

	for (size_t i = 0; i < NUMBERS_MAX; i++)
		v[i] = 60;
	plan = history_numbers_plan(v, NUMBERS_MAX);
	ck_assert_uint_le(round_trip(v, NUMBERS_MAX, &plan, true), 4);
	for (size_t i = 0; i < NUMBERS_MAX; i++)
		v[i] = 100000 + 977 * i;
	plan = history_numbers_plan(v, NUMBERS_MAX);
	ck_assert_int_eq(plan.coding, NUMBERS_RICE_2);
	ck_assert_uint_le(round_trip(v, NUMBERS_MAX, &plan, true), NUMBERS_MAX / 8 + 16);
	for (size_t i = 0; i < NUMBERS_MAX; i++) { /* 20 bits of noise, 8 of them to be had */
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		v[i] = 5000000 + (x >> 56);
	}
	plan = history_numbers_plan(v, NUMBERS_MAX);
	ck_assert_int_eq(plan.coding, NUMBERS_RICE_0);
	ck_assert_uint_le(round_trip(v, NUMBERS_MAX, &plan, false), NUMBERS_MAX * 9 / 8 + 60);
}
END_TEST

START_TEST(hostile)
{
	static const struct {
		const char *label;
		unsigned coding;
		uint8_t bytes[16];
		size_t len;
	} cases[] = {
		{ "no such coding", NUMBERS_CODING_COUNT, { 0 }, 4 },
		{ "a coding far off", 255, { 0 }, 4 },
		{ "more of a run than numbers", NUMBERS_RUNS, { 2, 4 }, 2 },
		{ "an endless run", NUMBERS_RUNS,
		    { 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1 }, 11 },
		{ "k of 64", NUMBERS_RICE_1, { 2, 64, 0, 0, 0, 0 }, 6 },
		{ "an escape without its number", NUMBERS_RICE_1, { 2, 0, 255, 255, 255, 1 }, 6 },
		{ "bits left over", NUMBERS_RICE_1, { 2, 0, 0xf0 }, 3 },
	};
	uint64_t v[4];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct reader r = { cases[i].bytes, cases[i].bytes + cases[i].len, false };

		history_numbers_get(&r, cases[i].coding, v, COUNT_OF(v));
		ck_assert_msg(r.failed, "%s", cases[i].label);
	}
}
END_TEST

UNIT_MAIN("history_numbers", all_short_columns, long_columns, plans, hostile)
