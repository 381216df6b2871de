/* test_state_map.c - the newest value of each metric, in the order of the devices' first touch */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "state_map.h"

static bool
put(struct state_map *m, const char *device, const char *metric, const char *value, int64_t time)
{
	struct value v = { .kind = VALUE_STRING, .v = { .s = bytes_of_str(value) } };

	return state_map_put(
	    m, state_map_device(m, bytes_of_str(device)), bytes_of_str(metric), &v, time);
}

START_TEST(keeps_the_newest)
{
	static const struct {
		const char *label;
		const char *value;
		int64_t time;
		const char *want;
	} cases[] = {
		{ "first", "20", 100, "20" },
		{ "newer, longer", "21.5", 200, "21.5" },
		{ "older is dropped", "99", 150, "21.5" },
		{ "the later of one time", "3", 200, "3" },
		{ "empty text", "", 300, "" },
	};
	struct state_map m;

	state_map_init(&m);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_msg(put(&m, "a", "t", cases[i].value, cases[i].time) == (i > 0), "%s",
		    cases[i].label);
		ck_assert_uint_eq(m.devices, 1);
		ck_assert_msg(bytes_equal_str(m.first->metrics[0].value.v.s, cases[i].want), "%s",
		    cases[i].label);
	}
	state_map_fini(&m);
	state_map_fini(&m);
}
END_TEST

START_TEST(any_kind_replaces_any)
{
	struct value values[] = { { .kind = VALUE_STRING, .v = { .s = bytes_of_str("abc") } },
		{ .kind = VALUE_DOUBLE, .v = { .f = 21.5 } },
		{ .kind = VALUE_STRING, .v = { .s = bytes_of_str("defgh") } },
		{ .kind = VALUE_BOOL, .v = { .b = true } } };
	struct state_map m;
	size_t bytes = 0;

	state_map_init(&m);
	for (int64_t i = 0; i < 8; i++) {
		const struct value *v = &values[i % 4];
		struct state_device *d = state_map_device(&m, bytes_of_str("a"));

		state_map_put(&m, d, bytes_of_str("t"), v, i);
		ck_assert_int_eq(d->metrics[0].value.kind, v->kind);
		if (v->kind == VALUE_STRING)
			ck_assert(bytes_equal(d->metrics[0].value.v.s, v->v.s));
		if (i == 1)
			bytes = m.bytes;
	}
	ck_assert_uint_eq(m.bytes, bytes);
	state_map_fini(&m);
}
END_TEST

START_TEST(many_devices_and_again_after_clear)
{
	struct state_map m;
	char device[32], metric[32];

	state_map_init(&m);
	for (int pass = 0; pass < 2; pass++) {
		size_t n = 0;

		for (int i = 0; i < 6000; i++) {
			snprintf(device, sizeof(device), "device-%d", i % 2000);
			snprintf(metric, sizeof(metric), "m%d", i / 2000);
			ck_assert(!put(&m, device, metric, "1", i));
		}
		ck_assert_uint_eq(m.devices, 2000);
		ck_assert_uint_gt(m.bytes, 2000 * sizeof(struct state_device));
		for (const struct state_device *d = m.first; d != NULL; d = d->next, n++) {
			snprintf(device, sizeof(device), "device-%zu", n);
			ck_assert(bytes_equal_str(bytes_of(d->id, d->id_len), device));
			ck_assert_uint_eq(d->n, 3);
		}
		ck_assert_uint_eq(n, 2000);
		state_map_clear(&m);
		ck_assert_uint_eq(m.devices, 0);
		ck_assert_uint_eq(m.bytes, 0);
	}
	state_map_fini(&m);
}
END_TEST

UNIT_MAIN("state_map", keeps_the_newest, any_kind_replaces_any, many_devices_and_again_after_clear)
