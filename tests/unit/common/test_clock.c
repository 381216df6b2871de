/* test_clock.c - times and durations as text, both ways */
#include "clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"

START_TEST(test_iso)
{
	static const struct {
		const char *text;
		int err;
		int64_t us;
	} cases[] = {
		{ "1970-01-01T00:00:00Z", 0, 0 },
		{ "2024-11-22T00:00:00.123456Z", 0, 1732233600123456 },
		{ "2024-11-22T02:00:00.123456+02:00", 0, 1732233600123456 },
		{ "2024-11-21T19:00:00-0500", 0, 1732233600000000 },
		{ "2024-11-22 00:00:00", 0, 1732233600000000 },
		{ "2024-11-22", 0, 1732233600000000 },
		{ "2024-02-30T00:00:00Z", ERR_MALFORMED, 0 },
		{ "2023-02-29T00:00:00Z", ERR_MALFORMED, 0 },
		{ "2024-13-01T00:00:00Z", ERR_MALFORMED, 0 },
		{ "2024-11-22T25:00:00Z", ERR_MALFORMED, 0 },
		{ "2024-11-22T00:00:00.Z", ERR_MALFORMED, 0 },
		{ "2024-11-22T00:00:00+99:00", ERR_MALFORMED, 0 },
		{ "2024-11-22T00:00:00Zx", ERR_MALFORMED, 0 },
		{ "yesterday", ERR_MALFORMED, 0 },
		{ "", ERR_MALFORMED, 0 },
	};
	char out[CLOCK_ISO_MAX];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int64_t us = 0;
		int err = clock_parse_iso(bytes_of_str(cases[i].text), &us);

		ck_assert_msg(err == cases[i].err, "%s: %d", cases[i].text, err);
		ck_assert_msg(us == cases[i].us, "%s: %lld", cases[i].text, (long long)us);
	}
	ck_assert_str_eq(clock_iso(1732233600123456, out), "2024-11-22T00:00:00.123456Z");
	ck_assert_str_eq(clock_iso(-1, out), "1969-12-31T23:59:59.999999Z");
	clock_iso(INT64_MAX, out);
	clock_iso(INT64_MIN, out);
}
END_TEST

/* Every day of the years 1970 to 2370, every thirteenth of the years 0 to 9999, at another time of day each. */
START_TEST(test_iso_of_every_day)
{
	char out[CLOCK_ISO_MAX], want[CLOCK_ISO_MAX];

	for (int64_t day = -719528, i = 0; day <= 2932896;
	     day += day >= 0 && day < 146097 ? 1 : 13, i++) {
		time_t s = (time_t)(day * 86400 + i * 37 % 86400);
		struct tm tm = { 0 };

		ck_assert_ptr_nonnull(gmtime_r(&s, &tm));
		snprintf(want, sizeof(want), "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
		    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		    (int)(i % 1000000));
		if (strcmp(clock_iso(s * 1000000ll + i % 1000000, out), want) != 0)
			ck_abort_msg("%s, not %s", out, want);
	}
	ck_assert_str_eq(clock_iso(-62167219200000001, out), "-62167219200000001us");
	ck_assert_str_eq(clock_iso(253402300800000000, out), "253402300800000000us");
}
END_TEST

START_TEST(test_durations)
{
	static const struct {
		const char *text;
		int err;
		int64_t us;
	} cases[] = {
		{ "0", 0, 0 },
		{ "250ms", 0, 250000 },
		{ "90s", 0, 90000000 },
		{ "1h30m", 0, 5400000000 },
		{ "7d", 0, 604800000000 },
		{ "5", ERR_MALFORMED, 0 },
		{ "m", ERR_MALFORMED, 0 },
		{ "5 m", ERR_MALFORMED, 0 },
		{ "-5m", ERR_MALFORMED, 0 },
		{ "", ERR_MALFORMED, 0 },
		{ "99999999999999999999d", ERR_TOO_BIG, 0 },
		{ "2147483647d2147483647d2147483647d2147483647d2147483647d", ERR_TOO_BIG, 0 },
	};
	char out[CLOCK_DURATION_MAX];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int64_t us = 0;

		ck_assert_msg(
		    clock_parse_duration(bytes_of_str(cases[i].text), &us) == cases[i].err, "%s",
		    cases[i].text);
		ck_assert_msg(us == cases[i].us, "%s", cases[i].text);
	}
	ck_assert_str_eq(clock_duration(5400000000, out), "1h30m");
	ck_assert_str_eq(clock_duration(0, out), "0s");
	ck_assert_str_eq(clock_duration(250000, out), "250ms");
	ck_assert_str_eq(clock_duration(-1000000, out), "-1s");
	clock_duration(INT64_MAX, out);
	clock_duration(INT64_MIN, out);
}
END_TEST

UNIT_MAIN("clock", test_iso, test_iso_of_every_day, test_durations)
