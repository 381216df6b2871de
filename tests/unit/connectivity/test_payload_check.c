/* test_payload_check.c - which values are impossible for which names, and which names leave doubt */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "../unit.h"
#include "mem.h"
#include "payload_check.h"

static struct payload_check_cache cache;

/* least and largest value that pass; NAN: no limit on that side */
static const struct {
	const char *name;
	double min;
	double max;
} cases[] = {
	{ "temperature", -273.15, NAN },
	{ "Temperature", -273.15, NAN },
	{ "TEMP", -273.15, NAN },
	{ "temp_c", -273.15, NAN },
	{ "indoor.temperature_celsius", -273.15, NAN },
	{ "airTemperature", -273.15, NAN },
	{ "outdoor-temp-2", -273.15, NAN },
	{ "temperature_min", -273.15, NAN },
	{ "temperature_f", -459.67, NAN },
	{ "tempFahrenheit", -459.67, NAN },
	{ "temperature_kelvin", 0, NAN },
	{ "surface_temp_k", 0, NAN },
	{ "temperature_delta", NAN, NAN },
	{ "delta_temperature", NAN, NAN },
	{ "temperature_offset_c", NAN, NAN },
	{ "temperature_alarm", NAN, NAN },
	{ "temperature.x", NAN, NAN },
	{ "template", NAN, NAN },
	{ "attempts", NAN, NAN },
	{ "humidity", 0, 100 },
	{ "relative_humidity", 0, 100 },
	{ "humidity_percent", 0, 100 },
	{ "rh", 0, 100 },
	{ "absolute_humidity", 0, NAN },
	{ "humidity_raw", NAN, NAN },
	{ "humidity_trend", NAN, NAN },
	{ "battery", NAN, NAN },
	{ "battery_level", NAN, NAN },
	{ "battery_percent", 0, 100 },
	{ "batteryLevelPct", 0, 100 },
	{ "battery_mv", NAN, NAN },
	{ "cpu_percent", NAN, NAN },
	{ "pressure", NAN, NAN },
	{ "air_pressure", 0, NAN },
	{ "gauge_pressure", NAN, NAN },
	{ "co2", 0, NAN },
	{ "co2_ppm", 0, NAN },
	{ "co2_rate", NAN, NAN },
	{ "latitude", -90, 90 },
	{ "gps.lat", -90, 90 },
	{ "lat_ms", NAN, NAN },
	{ "longitude", -180, 360 },
	{ "position.lon", -180, 360 },
	{ "power", NAN, NAN },
	{ "c", NAN, NAN },
	{ "a.", NAN, NAN },
	{ "_", NAN, NAN },
	{ "a-metric-with-a-name-longer-than-a-slot-temperature", -273.15, NAN },
	{ "x", NAN, NAN },
};

static enum quarantine_reason
check(const char *name, double v)
{
	struct value value = { .kind = VALUE_DOUBLE, .v = { .f = v } };

	return payload_check_value(&cache, bytes_of_str(name), &value);
}

START_TEST(limits)
{
	const char *name = cases[_i].name;
	double min = cases[_i].min, max = cases[_i].max;

	for (int round = 0; round < 2; round++) { /* unknown, then remembered */
		ck_assert_msg(check(name, isnan(min) ? -1e9 : min) == QUARANTINE_NONE, "%s", name);
		ck_assert_msg(check(name, isnan(max) ? 1e9 : max) == QUARANTINE_NONE, "%s", name);
		if (!isnan(min))
			ck_assert_msg(check(name, min - 0.01) == QUARANTINE_PHYSICAL, "%s", name);
		if (!isnan(max))
			ck_assert_msg(check(name, max + 0.01) == QUARANTINE_PHYSICAL, "%s", name);
		ck_assert_int_eq(check(name, NAN), QUARANTINE_NOT_FINITE);
		ck_assert_int_eq(check(name, INFINITY), QUARANTINE_NOT_FINITE);
		ck_assert_int_eq(check(name, -INFINITY), QUARANTINE_NOT_FINITE);
	}
}
END_TEST

START_TEST(nul_in_name)
{
	struct value v = { .kind = VALUE_INT, .v = { .i = -300 } };

	ck_assert_int_eq(payload_check_value(&cache, bytes_of("\0", 1), &v), QUARANTINE_NONE);
	ck_assert_int_eq(payload_check_value(&cache, bytes_of("temp\0x", 6), &v), QUARANTINE_NONE);
}
END_TEST

START_TEST(kinds)
{
	struct value v = { .kind = VALUE_INT, .v = { .i = -1 } };

	ck_assert_int_eq(
	    payload_check_value(&cache, bytes_of_str("humidity"), &v), QUARANTINE_PHYSICAL);
	v = (struct value){ .kind = VALUE_BOOL, .v = { .b = true } };
	ck_assert_int_eq(
	    payload_check_value(&cache, bytes_of_str("humidity"), &v), QUARANTINE_NONE);
	v = (struct value){ .kind = VALUE_STRING, .v = { .s = bytes_of_str("140") } };
	ck_assert_int_eq(
	    payload_check_value(&cache, bytes_of_str("humidity"), &v), QUARANTINE_NONE);
}
END_TEST

START_TEST(times)
{
	int64_t now = 1732233600000000;

	ck_assert(payload_check_time(now, now));
	ck_assert(payload_check_time(PAYLOAD_TIME_MIN_US, now));
	ck_assert(!payload_check_time(PAYLOAD_TIME_MIN_US - 1, now));
	ck_assert(payload_check_time(now + PAYLOAD_TIME_AHEAD_US, now));
	ck_assert(!payload_check_time(now + PAYLOAD_TIME_AHEAD_US + 1, now));
	ck_assert(!payload_check_time(INT64_MIN, now));
	ck_assert(!payload_check_time(INT64_MAX, now));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("payload_check");
	TCase *t = tcase_create("payload_check");

	tcase_add_loop_test(t, limits, 0, (int)COUNT_OF(cases));
	tcase_add_test(t, nul_in_name);
	tcase_add_test(t, kinds);
	tcase_add_test(t, times);
	suite_add_tcase(s, t);
	return unit_end(s);
}
