/* test_budgets.c - budgets of devices and of all; the table's bounds; charged streams; verdicts of a batch */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "admit.h"
#include "budgets.h"
#include "err.h"
#include "mem.h"
#include "charged.h"

#define S 1000000

static uint32_t
charge(struct budgets *b, const char *device, int64_t now)
{
	return budgets_charge(b, bytes_of_str(device), now);
}

START_TEST(no_limits)
{
	struct budgets *b = budgets_new(&(struct budgets_limits){ .devices_max = 1000 }, 0);

	for (int i = 0; i < 10000; i++)
		ck_assert_uint_eq(charge(b, "a", 0), VERDICT_ACCEPTED);
	ck_assert_uint_eq(budgets_devices(b), 0);
	ck_assert_uint_eq(budgets_expire(b, S, 10), 0);
	budgets_free(&b);
	ck_assert_ptr_null(b);
	budgets_free(&b);
}
END_TEST

START_TEST(each_device_has_its_own)
{
	struct budgets *b =
	    budgets_new(&(struct budgets_limits){ .device_rate = 2, .devices_max = 1000 }, 0);

	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(charge(b, "a", 0), VERDICT_ACCEPTED);
		ck_assert_uint_eq(charge(b, "b", 0), VERDICT_ACCEPTED);
	}
	ck_assert_uint_eq(charge(b, "a", 0), verdict_make(VERDICT_DEVICE_LIMIT, 500));
	ck_assert_uint_eq(charge(b, "b", S / 2), VERDICT_ACCEPTED);
	ck_assert_uint_eq(budgets_devices(b), 2);
	budgets_free(&b);
}
END_TEST

/* What the global budget refuses is not charged to the device. */
START_TEST(global)
{
	struct budgets_limits limits = { .device_rate = 1,
		.device_burst = 2,
		.global_rate = 1,
		.global_burst = 3,
		.devices_max = 1000 };
	struct budgets *b = budgets_new(&limits, 0);

	ck_assert_uint_eq(charge(b, "a", 0), VERDICT_ACCEPTED);
	ck_assert_uint_eq(charge(b, "b", 0), VERDICT_ACCEPTED);
	ck_assert_uint_eq(charge(b, "c", 0), VERDICT_ACCEPTED);
	for (int i = 0; i < 5; i++)
		ck_assert_uint_eq(charge(b, "a", 0), verdict_make(VERDICT_GLOBAL_LIMIT, 1000));
	ck_assert_uint_eq(charge(b, "a", S), VERDICT_ACCEPTED);
	ck_assert_int_eq(verdict_code(charge(b, "b", S)), VERDICT_GLOBAL_LIMIT);
	budgets_free(&b);
}
END_TEST

START_TEST(longest_idle_is_forgotten)
{
	struct budgets *b =
	    budgets_new(&(struct budgets_limits){ .device_rate = 1, .devices_max = 3 }, 0);

	charge(b, "a", 1);
	charge(b, "b", 2);
	charge(b, "c", 3);
	charge(b, "a", 4); /* refused, but not idle */
	charge(b, "d", 5); /* in place of b */
	ck_assert_uint_eq(budgets_devices(b), 3);
	ck_assert_int_eq(verdict_code(charge(b, "a", 6)), VERDICT_DEVICE_LIMIT);
	ck_assert_int_eq(verdict_code(charge(b, "c", 7)), VERDICT_DEVICE_LIMIT);
	ck_assert_int_eq(verdict_code(charge(b, "d", 8)), VERDICT_DEVICE_LIMIT);
	ck_assert_int_eq(verdict_code(charge(b, "b", 9)), VERDICT_ACCEPTED);
	ck_assert_uint_eq(budgets_devices(b), 3);
	budgets_free(&b);
}
END_TEST

START_TEST(expiry)
{
	struct budgets *b = budgets_new(
	    &(struct budgets_limits){ .device_rate = 1, .device_burst = 10, .devices_max = 1000 },
	    0);
	char name[16];

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		charge(b, name, i);
	}
	ck_assert_uint_eq(budgets_expire(b, 10 * S, 1000), 0);
	ck_assert_uint_eq(budgets_expire(b, 10 * S + 50, 1000), 49);
	ck_assert_uint_eq(budgets_expire(b, 11 * S, 7), 7);
	ck_assert_uint_eq(budgets_expire(b, 11 * S, 1000), 44);
	ck_assert_uint_eq(budgets_devices(b), 0);
	ck_assert_uint_eq(charge(b, "d1", 11 * S), VERDICT_ACCEPTED);
	ck_assert_uint_eq(budgets_devices(b), 1);
	budgets_free(&b);
}
END_TEST

/* Against a plain array: a thousand devices, half of them remembered, random use. */
START_TEST(many)
{
	enum { DEVICES = 1000, KEPT = 500 };
	struct budgets *b = budgets_new(
	    &(struct budgets_limits){ .device_rate = 1, .device_burst = 3, .devices_max = KEPT },
	    0);
	static struct {
		int64_t last;
		int left;
		bool known;
	} model[DEVICES];
	uint64_t seed = 42;
	size_t known = 0;
	char name[16];

	for (int64_t now = 1; now < 200000; now++) {
		int oldest = -1, d;
		uint32_t verdict;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		d = (int)((seed >> 33) % DEVICES);
		if (!model[d].known) {
			if (known == KEPT) {
				for (int i = 0; i < DEVICES; i++) {
					if (model[i].known &&
					    (oldest < 0 || model[i].last < model[oldest].last))
						oldest = i;
				}
				model[oldest].known = false;
				known--;
			}
			model[d].known = true;
			model[d].left = 3;
			known++;
		}
		model[d].last = now;
		snprintf(name, sizeof(name), "device-%d", d);
		verdict = charge(b, name, now / 1000); /* 0.2 s in all: no refill worth a token */
		ck_assert_int_eq(verdict_is_refusal(verdict), model[d].left == 0);
		if (model[d].left)
			model[d].left--;
		ck_assert_uint_eq(budgets_devices(b), known);
	}
	budgets_free(&b);
}
END_TEST

START_TEST(charged_streams)
{
	struct charged *s = charged_new();

	ck_assert(charged_advance(s, 7, 1));
	ck_assert(!charged_advance(s, 7, 1));
	ck_assert(charged_advance(s, 7, 3));
	ck_assert(!charged_advance(s, 7, 2));
	ck_assert(charged_advance(s, 1ull << 48 | 7, 1));
	for (uint64_t id = 100; id < 100 + CHARGED_STREAMS_MAX - 2; id++)
		ck_assert(charged_advance(s, id, 5));
	for (uint64_t id = 100; id < 100 + CHARGED_STREAMS_MAX - 2; id++)
		ck_assert(!charged_advance(s, id, 5));
	ck_assert(!charged_advance(s, 7, 3));
	ck_assert(charged_advance(s, 99, 1)); /* one more than it holds: it starts anew */
	ck_assert(!charged_advance(s, 99, 1));
	ck_assert(charged_advance(s, 7, 3));
	charged_free(&s);
	ck_assert_ptr_null(s);
	charged_free(&s);
}
END_TEST

static void
put_record(struct buf *out, const char *device)
{
	struct record head = { .time = 1732233600000000,
		.device = bytes_of_str(device),
		.client = 5,
		.packet_id = 6,
		.hash = 7 };
	struct point p = { .name = bytes_of_str("t"),
		.value = { .kind = VALUE_INT, .v = { .i = 1 } },
		.time = head.time };
	struct record_writer w;

	record_begin(&w, out, &head);
	record_add(&w, &p);
	record_end(&w);
}

START_TEST(batch)
{
	struct budgets_limits limits = { .device_rate = 1,
		.device_burst = 2,
		.global_rate = 1,
		.global_burst = 4,
		.devices_max = 1000 };
	struct budgets *b = budgets_new(&limits, 0);
	static const char *const devices[] = { "a", "a", "a", "b", "a", "c", "c" };
	static const enum verdict_code want[] = {
		VERDICT_ACCEPTED,
		VERDICT_ACCEPTED,
		VERDICT_DEVICE_LIMIT,
		VERDICT_ACCEPTED,
		VERDICT_DEVICE_LIMIT,
		VERDICT_ACCEPTED,
		VERDICT_GLOBAL_LIMIT,
	};
	struct buf out = { 0 };
	struct admit_counts counts = { 0 };
	struct record_cursor c;
	struct record r;

	for (size_t i = 0; i < COUNT_OF(devices); i++)
		put_record(&out, devices[i]);
	ck_assert_int_eq(admit_batch(b, out.data, out.len, 0, &counts), 0);
	ck_assert_uint_eq(counts.messages, COUNT_OF(devices));
	ck_assert_uint_eq(counts.refused_device, 2);
	ck_assert_uint_eq(counts.refused_global, 1);
	c = record_cursor_of(buf_bytes(&out));
	for (size_t i = 0; i < COUNT_OF(devices); i++) {
		ck_assert_int_eq(record_next(&c, &r), 0);
		ck_assert_int_eq(verdict_code(r.verdict), want[i]);
	}
	ck_assert_int_eq(record_check_batch(buf_bytes(&out), NULL, NULL), 0);
	ck_assert_int_eq(admit_batch(b, out.data, 0, 0, &counts), 0);
	ck_assert_uint_eq(counts.messages, 0);
	buf_fini(&out);
	budgets_free(&b);
}
END_TEST

/* Every prefix, and every byte flipped: refused or walked, never read beyond. */
START_TEST(malformed_batches)
{
	struct budgets *b =
	    budgets_new(&(struct budgets_limits){ .device_rate = 1, .devices_max = 1000 }, 0);
	struct buf out = { 0 };
	struct admit_counts counts;
	size_t one;

	put_record(&out, "device-1");
	one = out.len;
	put_record(&out, "device-2");
	for (size_t n = 0; n <= out.len; n++) {
		uint8_t *copy = xmemdup(out.data, n);
		int err = admit_batch(b, copy, n, 0, &counts);

		ck_assert_int_eq(err == 0, n == 0 || n == one || n == out.len);
		free(copy);
	}
	for (size_t i = 0; i < out.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			uint8_t *copy = xmemdup(out.data, out.len);

			copy[i] ^= (uint8_t)(1u << bit);
			admit_batch(b, copy, out.len, 0, &counts);
			free(copy);
		}
	}
	buf_fini(&out);
	budgets_free(&b);
}
END_TEST

UNIT_MAIN("budgets", no_limits, each_device_has_its_own, global, longest_idle_is_forgotten, expiry,
    many, charged_streams, batch, malformed_batches)
