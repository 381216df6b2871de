/* test_value_text.c - values as people and JSON read them */
#include <check.h>
#include <math.h>
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

UNIT_MAIN("value_text", doubles_are_short_and_exact, json_strings, values)
