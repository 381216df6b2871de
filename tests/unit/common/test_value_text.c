/* test_value_text.c - values as people and JSON read them */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "mem.h"
#include "value_text.h"

START_TEST(doubles_are_short_and_exact)
{
	static const struct {
		double f;
		const char *text;
	} cases[] = { { 41.5, "41.5" }, { 40, "40" }, { 0.1, "0.1" }, { -0.0, "-0" },
		{ 1e300, "1e+300" }, { 0.1 + 0.2, "0.30000000000000004" }, { NAN, "nan" },
		{ INFINITY, "inf" }, { 74.93588199999998, "74.93588199999998" } };
	struct buf b = { 0 };

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&b);
		double_put(&b, cases[i].f);
		ck_assert_str_eq(buf_str(&b), cases[i].text);
		if (isfinite(cases[i].f))
			ck_assert(strtod(buf_str(&b), NULL) == cases[i].f);
	}
	buf_fini(&b);
}
END_TEST

/* As printf says it with the least of 15, 16 or 17 digits that suffice. */
static void
assert_as_printf(double f)
{
	struct buf b = { 0 };
	char text[40];

	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, f);
		if (strtod(text, NULL) == f)
			break;
	}
	double_put(&b, f);
	ck_assert_str_eq(buf_str(&b), text);
	buf_fini(&b);
}

START_TEST(doubles_are_what_printf_says)
{
	static const double edges[] = { 0, 1e-4, 9.9999999999999e-5, 0.00010001, 1e15,
		999999999999999, 999999999999998.9, 99999999999999.9, 1e14, 123456789012345,
		1234567890123456, 0.1234567890123, 1e10 + 0.1, 5e-324, 1.7e308, 2.5, 0.5,
		1e9 + 1e-6, 4503599627370496.5 };
	uint64_t r = 88172645463325252ull;

	for (size_t i = 0; i < COUNT_OF(edges); i++) {
		assert_as_printf(edges[i]);
		assert_as_printf(-edges[i]);
	}
	for (int i = 0; i < 40000; i++) {
		double f;

		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		f = (double)(int64_t)(r >> (r % 50)) / pow(10, (double)(r / 64 % 14));
		assert_as_printf(f);
		assert_as_printf(-f);
		assert_as_printf(nextafter(f, INFINITY));
	}
}
END_TEST

START_TEST(whole_numbers)
{
	static const struct {
		int64_t i;
		const char *text;
	} cases[] = { { 0, "0" }, { -1, "-1" }, { 1234567890, "1234567890" },
		{ INT64_MAX, "9223372036854775807" }, { INT64_MIN, "-9223372036854775808" } };
	struct buf b = { 0 };

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct value v = { .kind = VALUE_INT, .v = { .i = cases[i].i } };

		buf_clear(&b);
		value_put_text(&b, &v);
		ck_assert_str_eq(buf_str(&b), cases[i].text);
	}
	buf_fini(&b);
}
END_TEST

START_TEST(json_strings)
{
	static const struct {
		const char *in;
		const char *out;
	} cases[] = {
		{ "", "\"\"" },
		{ "plain", "\"plain\"" },
		{ "q\"b\\", "\"q\\\"b\\\\\"" },
		{ "\n\x01", "\"\\u000a\\u0001\"" },
		{ "21 \xc2\xb0"
		  "C",
		    "\"21 \xc2\xb0"
		    "C\"" },
		{ "\xf0\x9f\x8c\xa1", "\"\xf0\x9f\x8c\xa1\"" },
		{ "\xff"
		  "a",
		    "\"\xef\xbf\xbd"
		    "a\"" },
		{ "\xc2", "\"\xef\xbf\xbd\"" },					/* cut short */
		{ "\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"" },			/* overlong */
		{ "\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" }, /* a surrogate */
		{ "\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
	};
	struct buf b = { 0 };

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&b);
		json_put_string(&b, bytes_of_str(cases[i].in));
		ck_assert_str_eq(buf_str(&b), cases[i].out);
	}
	buf_fini(&b);
}
END_TEST

START_TEST(values)
{
	static const struct {
		struct value v;
		const char *text;
		const char *json;
	} cases[] = {
		{ { .kind = VALUE_INT, .v = { .i = INT64_MIN } }, "-9223372036854775808",
		    "-9223372036854775808" },
		{ { .kind = VALUE_BOOL, .v = { .b = true } }, "true", "true" },
		{ { .kind = VALUE_DOUBLE, .v = { .f = INFINITY } }, "inf", "null" },
		{ { .kind = VALUE_DOUBLE, .v = { .f = 2.5 } }, "2.5", "2.5" },
		{ { .kind = VALUE_STRING, .v = { .s = { (const uint8_t *)"on", 2 } } }, "on",
		    "\"on\"" },
	};
	struct buf b = { 0 };

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&b);
		value_put_text(&b, &cases[i].v);
		ck_assert_str_eq(buf_str(&b), cases[i].text);
		buf_clear(&b);
		value_put_json(&b, &cases[i].v);
		ck_assert_str_eq(buf_str(&b), cases[i].json);
	}
	buf_fini(&b);
}
END_TEST

UNIT_MAIN("value_text", doubles_are_short_and_exact, doubles_are_what_printf_says, whole_numbers,
    json_strings, values)
