/* test_clock.c - times and durations as text, both ways */
#include "clock.h"

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

UNIT_MAIN("clock", test_iso, test_durations)
