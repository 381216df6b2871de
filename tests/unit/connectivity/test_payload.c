/* test_payload.c - what devices send -> points: shapes, times, limits and sentences */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "codec.h"
#include "err.h"
#include "mem.h"
#include "payload.h"

#define NOW 1732233600000000 /* 2024-11-22T00:00:00Z */
#define SAME_SECOND "@1732233600000000"

static struct payload_decoder *decoder;

static void
setup(void)
{
	decoder = payload_decoder_new();
}

static void
teardown(void)
{
	payload_decoder_free(&decoder);
	ck_assert_ptr_null(decoder);
	payload_decoder_free(&decoder);
}

/* name=value, with @time when it is not now and !reason when quarantined, separated by spaces. */
static void
render(const struct payload_result *r, struct buf *out)
{
	for (uint32_t i = 0; i < r->count; i++) {
		const struct point *p = &r->points[i];

		if (i)
			buf_add_u8(out, ' ');
		buf_add(out, p->name.data, p->name.len);
		buf_add_u8(out, '=');
		switch (p->value.kind) {
		case VALUE_DOUBLE:
			buf_addf(out, "%.17gd", p->value.v.f);
			break;
		case VALUE_INT:
			buf_addf(out, "%" PRId64, p->value.v.i);
			break;
		case VALUE_BOOL:
			buf_add_str(out, p->value.v.b ? "true" : "false");
			break;
		case VALUE_STRING:
			buf_add_u8(out, '"');
			buf_add(out, p->value.v.s.data, p->value.v.s.len);
			buf_add_u8(out, '"');
			break;
		}
		if (p->time != NOW)
			buf_addf(out, "@%" PRId64, p->time);
		if (p->reason)
			buf_addf(out, "!%s", quarantine_name(p->reason));
	}
}

/* Decodes a copy of exactly that size, so that a sanitizer sees a read beyond it. */
static int
decode(enum payload_format format, struct bytes payload, const char *metric, struct buf *out)
{
	struct payload_result r;
	struct buf reason = { 0 };
	uint8_t *copy = xmemdup(payload.data, payload.len);
	int err = payload_decode(
	    decoder, format, bytes_of(copy, payload.len), bytes_of_str(metric), NOW, &r, &reason);

	if (err)
		buf_addf(out, "%s: %s", err_name(err), buf_str(&reason));
	else
		render(&r, out);
	buf_fini(&reason);
	free(copy);
	return err;
}

static const struct {
	const char *label;
	enum payload_format format;
	const char *payload;
	const char *want;
} cases[] = {
	{ "object", PAYLOAD_ANY, "{\"temperature\":21.5,\"humidity\":40}",
	    "temperature=21.5d humidity=40" },
	{ "spaces", PAYLOAD_ANY, " \n{ \"a\" : 1 , \"b\":\ttrue }\r\n", "a=1 b=true" },
	{ "empty object", PAYLOAD_ANY, "{}", "" },
	{ "empty array", PAYLOAD_ANY, "[]", "" },
	{ "null is skipped", PAYLOAD_ANY, "{\"a\":null,\"b\":2}", "b=2" },
	{ "strings", PAYLOAD_ANY, "{\"s\":\"a\\u00e9\\n\\\"\",\"\\u0061b\":\"\"}",
	    "s=\"a\xc3\xa9\n\"\" ab=\"\"" },
	{ "a name twice", PAYLOAD_ANY, "{\"a\":1,\"a\":2}", "a=1 a=2" },
	{ "nested", PAYLOAD_ANY, "{\"a\":{\"b\":{\"c\":1},\"d\":2},\"e\":3}", "a.b.c=1 a.d=2 e=3" },
	{ "array inside", PAYLOAD_ANY, "{\"a\":[1,{\"b\":2},[3]]}", "a.0=1 a.1.b=2 a.2.0=3" },
	{ "empty inside", PAYLOAD_ANY, "{\"a\":{},\"b\":[],\"c\":1}", "c=1" },
	{ "ts ms", PAYLOAD_ANY, "{\"a\":1,\"ts\":1732233600123}", "a=1@1732233600123000" },
	{ "ts first", PAYLOAD_ANY, "{\"ts\":1732233600123,\"a\":1}", "a=1@1732233600123000" },
	{ "ts s", PAYLOAD_ANY, "{\"a\":1,\"ts\":1732233601}", "a=1@1732233601000000" },
	{ "ts s, fraction", PAYLOAD_ANY, "{\"a\":1,\"ts\":1732233601.25}", "a=1@1732233601250000" },
	{ "ts us", PAYLOAD_ANY, "{\"a\":1,\"ts\":1732233600123456}", "a=1@1732233600123456" },
	{ "ts ns", PAYLOAD_ANY, "{\"a\":1,\"ts\":1732233600123456789}", "a=1@1732233600123456" },
	{ "ts ISO", PAYLOAD_ANY, "{\"a\":1,\"ts\":\"2024-11-22T01:00:00.5+01:00\"}",
	    "a=1@1732233600500000" },
	{ "ts null", PAYLOAD_ANY, "{\"a\":1,\"ts\":null}", "a=1" },
	{ "ts in a nested object is a metric", PAYLOAD_ANY, "{\"a\":{\"ts\":5}}", "a.ts=5" },
	{ "ts and values", PAYLOAD_ANY,
	    "{\"ts\":1732233601000,\"values\":{\"a\":1,\"b\":{\"c\":2},\"ts\":3}}",
	    "a=1@1732233601000000 b.c=2@1732233601000000 ts=3@1732233601000000" },
	{ "values first", PAYLOAD_ANY, "{\"values\":{\"a\":1},\"ts\":1732233601}",
	    "a=1@1732233601000000" },
	{ "values without ts, and more", PAYLOAD_ANY, "{\"values\":{\"a\":1},\"b\":2}", "a=1 b=2" },
	{ "values within values", PAYLOAD_ANY, "{\"values\":{\"values\":{\"a\":1}}}",
	    "values.a=1" },
	{ "values as array", PAYLOAD_ANY, "{\"values\":[7]}", "values.0=7" },
	{ "values as a metric", PAYLOAD_ANY, "{\"values\":7}", "values=7" },
	{ "array of samples", PAYLOAD_ANY,
	    "[{\"ts\":1732233601,\"values\":{\"a\":1}},{\"a\":2},{\"ts\":1732233602,\"a\":3}]",
	    "a=1@1732233601000000 a=2 a=3@1732233602000000" },
	{ "bare number", PAYLOAD_ANY, " 21.5 ", "level=21.5d" },
	{ "bare string", PAYLOAD_ANY, "\"on\"", "level=\"on\"" },
	{ "bare boolean", PAYLOAD_ANY, "true", "level=true" },
	{ "bare null", PAYLOAD_ANY, "null", "" },
	{ "bare negative", PAYLOAD_JSON, "-7", "level=-7" },
	{ "text", PAYLOAD_TEXT, " ON\n", "level=\"ON\"" },
	{ "text that is JSON", PAYLOAD_TEXT, "{\"a\":1}", "a=1" },
	{ "text, utf-8", PAYLOAD_TEXT,
	    "\xc3\x96"
	    "ffnen",
	    "level=\"\xc3\x96"
	    "ffnen\"" },
	{ "text true", PAYLOAD_TEXT, "true", "level=true" },
	{ "text number", PAYLOAD_TEXT, "5", "level=5" },
	{ "largest int64", PAYLOAD_ANY, "{\"a\":9223372036854775807,\"b\":-9223372036854775808}",
	    "a=9223372036854775807 b=-9223372036854775808" },
	{ "beyond int64", PAYLOAD_ANY,
	    "{\"a\":9223372036854775808,\"b\":18446744073709551616,\"c\":-9223372036854775809}",
	    "a=9.2233720368547758e+18d b=1.8446744073709552e+19d c=-9.2233720368547758e+18d" },
	{ "bare beyond 64 bits", PAYLOAD_ANY, "18446744073709551616",
	    "level=1.8446744073709552e+19d" },
	{ "beyond a double", PAYLOAD_ANY, "{\"a\":1e400,\"b\":1}", "a=infd!not-finite b=1" },
	{ "exponent", PAYLOAD_ANY, "{\"a\":1e3,\"b\":-0.0}", "a=1000d b=-0d" },
	{ "impossible", PAYLOAD_ANY, "{\"temperature\":-300,\"humidity\":140,\"x\":-300}",
	    "temperature=-300!physically-impossible humidity=140!physically-impossible x=-300" },
	{ "clock never set", PAYLOAD_ANY, "{\"a\":1,\"ts\":12345}",
	    "a=1@12345000000!impossible-time" },
	{ "clock ahead", PAYLOAD_ANY, "{\"a\":1,\"ts\":1732320001}",
	    "a=1@1732320001000000!impossible-time" },
	{ "one day ahead", PAYLOAD_ANY, "{\"a\":1,\"ts\":1732320000}", "a=1@1732320000000000" },
	{ "before 1970", PAYLOAD_ANY, "{\"a\":1,\"ts\":-5}", "a=1@-5000000!impossible-time" },

	{ "empty", PAYLOAD_ANY, "", "malformed: the payload is empty" },
	{ "spaces only", PAYLOAD_ANY, "  ", "malformed: the payload is empty" },
	{ "word", PAYLOAD_ANY, "not json",
	    "malformed: not JSON: true, false and null are the only words without quotes, at byte "
	    "0" },
	{ "truncated", PAYLOAD_ANY, "{\"a\":1",
	    "malformed: not JSON: it ends too early, at byte 6" },
	{ "truncated in a string", PAYLOAD_ANY, "{\"a",
	    "malformed: not JSON: a quote is not closed" },
	{ "missing colon", PAYLOAD_ANY, "{\"a\" 1}",
	    "malformed: not JSON: a value, comma, colon, quote or bracket is missing, or one too "
	    "many, at byte 5" },
	{ "bad number", PAYLOAD_ANY, "{\"a\":01}",
	    "malformed: not JSON: a number is malformed, at byte 5" },
	{ "bad number, bare", PAYLOAD_ANY, "1.",
	    "malformed: not JSON: a number is malformed, at byte 0" },
	{ "NaN", PAYLOAD_ANY, "{\"a\":NaN}",
	    "malformed: not JSON: a value, comma, colon, quote or bracket is missing, or one too "
	    "many, at byte 5" },
	{ "misspelt", PAYLOAD_ANY, "{\"a\":trux}",
	    "malformed: not JSON: true, false and null are the only words without quotes, at byte "
	    "5" },
	{ "nul", PAYLOAD_ANY, "{\"a\":nul}",
	    "malformed: not JSON: true, false and null are the only words without quotes, at byte "
	    "5" },
	{ "two objects", PAYLOAD_ANY, "{\"a\":1}{}",
	    "malformed: not JSON: something follows the value, at byte 7" },
	{ "one bracket too many", PAYLOAD_ANY, "{\"a\":1}}",
	    "malformed: not JSON: something follows the value, at byte 7" },
	{ "two values", PAYLOAD_ANY, "1 2",
	    "malformed: not JSON: something follows the value, at byte 0" },
	{ "bad escape", PAYLOAD_ANY, "{\"a\":\"\\x\"}",
	    "malformed: not JSON: a text has a bad escape, at byte 9" },
	{ "lone surrogate", PAYLOAD_ANY, "{\"a\":\"\\ud800\"}",
	    "malformed: not JSON: a text has a bad escape, at byte 13" },
	{ "raw newline", PAYLOAD_ANY, "{\"a\":\"\n\"}",
	    "malformed: not JSON: a control character in a text is not escaped" },
	{ "not utf-8", PAYLOAD_ANY, "{\"a\":\"\xff\"}", "malformed: the payload is not UTF-8" },
	{ "element", PAYLOAD_ANY, "[1]",
	    "malformed: an element of the outermost array is not an object, at byte 1" },
	{ "ts twice", PAYLOAD_ANY, "{\"ts\":1,\"ts\":2}", "malformed: ts is given twice" },
	{ "ts bool", PAYLOAD_ANY, "{\"ts\":true}", "malformed: ts is neither a number nor a text" },
	{ "ts object", PAYLOAD_ANY, "{\"ts\":{\"a\":1}}",
	    "malformed: ts is neither a number nor a text" },
	{ "ts text", PAYLOAD_ANY, "{\"ts\":\"soon\"}",
	    "malformed: ts is not an ISO 8601 date and time" },
	{ "ts huge", PAYLOAD_ANY, "{\"ts\":1e30}", "malformed: ts is out of range" },
	{ "empty name", PAYLOAD_ANY, "{\"\":1}", "malformed: a name is empty" },
	{ "empty name of an object", PAYLOAD_ANY, "{\"\":{\"a\":1}}",
	    "malformed: a name is empty" },
	{ "text with control", PAYLOAD_TEXT, "a\x01", NULL },
};

START_TEST(shapes)
{
	struct buf out = { 0 };

	decode(cases[_i].format, bytes_of_str(cases[_i].payload), "level", &out);
	if (cases[_i].want) {
		/* where a fault's place is not said in the case, any place is right */
		if (strncmp(cases[_i].want, "malformed", 9) == 0 &&
		    strlen(cases[_i].want) < out.len &&
		    strncmp(buf_str(&out) + strlen(cases[_i].want), ", at byte ", 10) == 0)
			out.len = strlen(cases[_i].want);
		ck_assert_msg(strcmp(buf_str(&out), cases[_i].want) == 0, "%s: %s", cases[_i].label,
		    buf_str(&out));
	} else {
		ck_assert_msg(strncmp(buf_str(&out), "malformed", 9) == 0, "%s: %s",
		    cases[_i].label, buf_str(&out));
	}
	buf_fini(&out);
}
END_TEST

/* The decoder is used again after each failure, on every prefix of every payload. */
START_TEST(prefixes)
{
	struct buf out = { 0 };
	size_t len = strlen(cases[_i].payload);

	for (size_t n = 0; n <= len; n++) {
		buf_clear(&out);
		decode(cases[_i].format, bytes_of(cases[_i].payload, n), "level", &out);
		buf_clear(&out);
		decode(PAYLOAD_ANY, bytes_of_str("{\"a\":1}"), "", &out);
		ck_assert_str_eq(buf_str(&out), "a=1");
	}
	buf_fini(&out);
}
END_TEST

START_TEST(bare_value_needs_a_name)
{
	struct buf out = { 0 };

	ck_assert_int_eq(decode(PAYLOAD_ANY, bytes_of_str("5"), "", &out), ERR_MALFORMED);
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "names no metric"));
	buf_fini(&out);
}
END_TEST

START_TEST(result)
{
	struct payload_result r;

	ck_assert_int_eq(
	    payload_decode(decoder, PAYLOAD_ANY, bytes_of_str("{\"a\":1,\"ts\":1732233601}"),
		bytes_of("", 0), NOW, &r, NULL),
	    0);
	ck_assert(r.device_time);
	ck_assert_int_eq(r.time, 1732233601000000);
	ck_assert_int_eq(payload_decode(decoder, PAYLOAD_ANY, bytes_of_str("{\"a\":1}"),
			     bytes_of("", 0), NOW, &r, NULL),
	    0);
	ck_assert(!r.device_time);
	ck_assert_int_eq(r.time, NOW);
	ck_assert_uint_eq(r.quarantined, 0);
	/* a time that cannot be is not the record's */
	ck_assert_int_eq(
	    payload_decode(decoder, PAYLOAD_ANY, bytes_of_str("{\"a\":1,\"humidity\":-1,\"ts\":5}"),
		bytes_of("", 0), NOW, &r, NULL),
	    0);
	ck_assert(!r.device_time);
	ck_assert_int_eq(r.time, NOW);
	ck_assert_uint_eq(r.quarantined, 2);
	/* unless the journal has been there: then it is this clock that is behind */
	payload_decoder_latest(decoder, NOW + 3650 * 86400000000ll);
	payload_decoder_latest(decoder, 1);
	ck_assert_int_eq(payload_decode(decoder, PAYLOAD_ANY,
			     bytes_of_str("{\"a\":1,\"ts\":\"2034-06-01T00:00:00Z\"}"),
			     bytes_of("", 0), NOW, &r, NULL),
	    0);
	ck_assert(r.device_time && r.quarantined == 0);
	ck_assert_int_eq(payload_decode(decoder, PAYLOAD_ANY,
			     bytes_of_str("{\"a\":1,\"ts\":\"2044-06-01T00:00:00Z\",\"b\":2}"),
			     bytes_of("", 0), NOW, &r, NULL),
	    0);
	ck_assert(!r.device_time && r.quarantined == 2);
	/* untouched on failure */
	ck_assert_int_eq(
	    payload_decode(decoder, PAYLOAD_ANY, bytes_of_str("{"), bytes_of("", 0), NOW, &r, NULL),
	    ERR_MALFORMED);
	ck_assert_uint_eq(r.count, 2);
}
END_TEST

static void
add_nested(struct buf *json, unsigned levels)
{
	for (unsigned i = 0; i < levels; i++)
		buf_add_str(json, "{\"a\":");
	buf_add_str(json, "1");
	for (unsigned i = 0; i < levels; i++)
		buf_add_str(json, "}");
}

START_TEST(depth)
{
	struct buf json = { 0 }, out = { 0 };

	add_nested(&json, PAYLOAD_DEPTH_MAX + 1);
	ck_assert_int_eq(decode(PAYLOAD_ANY, buf_bytes(&json), "", &out), 0);
	ck_assert_str_eq(buf_str(&out), "a.a.a.a.a.a.a.a.a=1");
	buf_clear(&json);
	buf_clear(&out);
	add_nested(&json, PAYLOAD_DEPTH_MAX + 2);
	ck_assert_int_eq(decode(PAYLOAD_ANY, buf_bytes(&json), "", &out), ERR_MALFORMED);
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "nested more than 8 deep"));
	buf_clear(&json);
	add_nested(&json, 100000);
	ck_assert_int_eq(decode(PAYLOAD_ANY, buf_bytes(&json), "", &out), ERR_MALFORMED);
	buf_fini(&json);
	buf_fini(&out);
}
END_TEST

/* label, opening, unit repeated, closing */
static const struct {
	const char *label;
	const char *open;
	const char *unit;
	size_t fits;
	const char *close;
} bounds[] = {
	{ "points", "{\"z\":0", ",\"a\":1", RECORD_POINTS_MAX - 1, "}" },
	{ "nested points", "{\"p\":{\"z\":0", ",\"a\":1", RECORD_POINTS_MAX - 1, "}}" },
	{ "name", "{\"", "n", METRIC_NAME_MAX, "\":1}" },
	{ "name with prefix", "{\"p\":{\"", "n", METRIC_NAME_MAX - 2, "\":1}}" },
	{ "prefix", "{\"", "n", METRIC_NAME_MAX - 2, "\":{\"b\":1}}" },
	{ "prefix of an object", "{\"", "n", METRIC_NAME_MAX - 4, "\":{\"b\":{\"c\":1}}}" },
	{ "prefix of an array", "{\"", "n", METRIC_NAME_MAX - 2, "\":[1]}" },
	{ "text", "{\"a\":\"", "x", POINT_STRING_MAX, "\"}" },
	{ "payload", "{\"a\":1}", " ", PAYLOAD_BYTES_MAX - 7, "" },
};

START_TEST(maxima)
{
	struct buf json = { 0 }, out = { 0 };

	for (size_t over = 0; over < 2; over++) {
		buf_clear(&json);
		buf_clear(&out);
		buf_add_str(&json, bounds[_i].open);
		for (size_t i = 0; i < bounds[_i].fits + over; i++)
			buf_add_str(&json, bounds[_i].unit);
		buf_add_str(&json, bounds[_i].close);
		ck_assert_msg(
		    decode(PAYLOAD_ANY, buf_bytes(&json), "", &out) == (over ? ERR_TOO_BIG : 0),
		    "%s + %zu: %s", bounds[_i].label, over, over ? buf_str(&out) : "");
	}
	buf_fini(&json);
	buf_fini(&out);
}
END_TEST

/* Names of every length around the maximum, with objects below: the prefix never outgrows its room. */
START_TEST(prefix_lengths)
{
	struct buf json = { 0 }, out = { 0 };

	for (int len = METRIC_NAME_MAX - 8; len <= METRIC_NAME_MAX + 2; len++) {
		buf_clear(&json);
		buf_clear(&out);
		buf_addf(&json, "{\"%0*d\":{\"bcdefghi\":{\"c\":{\"d\":1}}}}", len, 0);
		ck_assert_int_eq(decode(PAYLOAD_ANY, buf_bytes(&json), "", &out), ERR_TOO_BIG);
		buf_clear(&json);
		buf_clear(&out);
		buf_addf(&json, "{\"%0*d\":{\"b\":1}}", len, 0);
		ck_assert_int_eq(decode(PAYLOAD_ANY, buf_bytes(&json), "", &out),
		    len + 2 > METRIC_NAME_MAX ? ERR_TOO_BIG : 0);
	}
	buf_fini(&json);
	buf_fini(&out);
}
END_TEST

static void
msgpack_telemetry(struct buf *mp)
{
	mp_put_array(mp, 2);
	mp_put_map(mp, 2);
	mp_put_str(mp, bytes_of_str("ts"));
	mp_put_uint(mp, 1732233601000);
	mp_put_str(mp, bytes_of_str("values"));
	mp_put_map(mp, 6);
	mp_put_str(mp, bytes_of_str("temperature"));
	mp_put_double(mp, 21.5);
	mp_put_str(mp, bytes_of_str("n"));
	mp_put_int(mp, -5);
	mp_put_str(mp, bytes_of_str("on"));
	mp_put_bool(mp, true);
	mp_put_str(mp, bytes_of_str("nil"));
	buf_add_u8(mp, 0xc0);
	mp_put_str(mp, bytes_of_str("list"));
	mp_put_array(mp, 2);
	mp_put_str(mp, bytes_of_str("x"));
	mp_put_uint(mp, UINT64_MAX);
	mp_put_str(mp, bytes_of_str("nan"));
	buf_add(mp, "\xca\x7f\xc0\x00\x00", 5);
	mp_put_map(mp, 1);
	mp_put_str(mp, bytes_of_str("a"));
	mp_put_map(mp, 1);
	mp_put_str(mp, bytes_of_str("b"));
	mp_put_uint(mp, 1);
}

START_TEST(msgpack)
{
	struct buf mp = { 0 }, out = { 0 };

	msgpack_telemetry(&mp);
	ck_assert_int_eq(decode(PAYLOAD_ANY, buf_bytes(&mp), "", &out), 0);
	ck_assert_str_eq(buf_str(&out),
	    "temperature=21.5d@1732233601000000 n=-5@1732233601000000 on=true@1732233601000000 "
	    "list.0=\"x\"@1732233601000000 list.1=1.8446744073709552e+19d@1732233601000000 "
	    "nan=nand@1732233601000000!not-finite a.b=1");
	for (size_t n = 0; n < mp.len; n++)
		ck_assert_int_eq(
		    decode(PAYLOAD_MSGPACK, bytes_of(mp.data, n), "", &out), ERR_MALFORMED);
	buf_add_u8(&mp, 0);
	buf_clear(&out);
	ck_assert_int_eq(decode(PAYLOAD_ANY, buf_bytes(&mp), "", &out), ERR_MALFORMED);
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "something follows"));
	buf_fini(&mp);
	buf_fini(&out);
}
END_TEST

static const struct {
	const char *label;
	const char *payload;
	size_t len;
	const char *want;
} packed[] = {
	{ "bare int", "\x07", 1, "level=7" },
	{ "bare text", "\xa2on", 3, "level=\"on\"" },
	{ "bare nil", "\xc0", 1, "" },
	{ "text not utf-8",
	    "\x81\xa1"
	    "a\xa1\xff",
	    5, "malformed: a text is not UTF-8, at byte 5" },
	{ "name not utf-8", "\x81\xa1\xff\x01", 4, "malformed: a name is not UTF-8, at byte 3" },
	{ "key is a number", "\x81\x01\x01", 3,
	    "malformed: a msgpack map's key is not a text, at byte 1" },
	{ "binary",
	    "\x81\xa1"
	    "a\xc4\x01x",
	    6,
	    "malformed: a msgpack value is neither nil, boolean, number, text, array nor map, at "
	    "byte 3" },
	{ "element", "\x91\x01", 2,
	    "malformed: an element of the outermost array is not a map, at byte 1" },
	{ "bomb", "\xdd\x00\xff\xff\xff", 5, NULL },
	{ "map bomb",
	    "\xdf\xff\xff\xff\xff\xa1"
	    "a\x01",
	    8, NULL },
	{ "nested arrays",
	    "\x81\xa1"
	    "a\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01",
	    14, NULL },
};

START_TEST(msgpack_cases)
{
	struct buf out = { 0 };

	decode(PAYLOAD_MSGPACK, bytes_of(packed[_i].payload, packed[_i].len), "level", &out);
	if (packed[_i].want)
		ck_assert_msg(strcmp(buf_str(&out), packed[_i].want) == 0, "%s: %s",
		    packed[_i].label, buf_str(&out));
	else
		ck_assert_msg(strncmp(buf_str(&out), "malformed", 9) == 0, "%s: %s",
		    packed[_i].label, buf_str(&out));
	buf_fini(&out);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("payload");
	TCase *t = tcase_create("payload");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, shapes, 0, (int)COUNT_OF(cases));
	tcase_add_loop_test(t, prefixes, 0, (int)COUNT_OF(cases));
	tcase_add_test(t, bare_value_needs_a_name);
	tcase_add_test(t, result);
	tcase_add_test(t, depth);
	tcase_add_loop_test(t, maxima, 0, (int)COUNT_OF(bounds));
	tcase_add_test(t, prefix_lengths);
	tcase_add_test(t, msgpack);
	tcase_add_loop_test(t, msgpack_cases, 0, (int)COUNT_OF(packed));
	suite_add_tcase(s, t);
	return unit_end(s);
}
