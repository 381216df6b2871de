/* test_telemetry.c - documents of readings: what each format gives, what is wrong and where, and how samples become readings */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "support_telemetry.h"
#include "../unit.h"

struct text_case {
	const char *label;
	const char *body;
	const char *want;
};

static void
check(enum telemetry_format format, const struct text_case *t, const struct telemetry_options *o)
{
	struct buf out = { 0 };

	stamps = 0;
	decode(format, bytes_of_str(t->body), o, &out);
	ck_assert_msg(strcmp(buf_str(&out), t->want) == 0, "%s: got  %s\nwant %s", t->label,
	    buf_str(&out), t->want);
	buf_fini(&out);
}

static void
check_all(enum telemetry_format format, const struct text_case *cases, size_t count,
    const struct telemetry_options *o)
{
	for (size_t i = 0; i < count; i++) {
		check(format, &cases[i], o);
		check_prefixes(format, bytes_of_str(cases[i].body), o);
	}
}

static const struct text_case json_cases[] = {
	{ "one", "{\"device\":\"gh-1\",\"ts\":1732233600001,\"values\":{\"t\":21.5,\"on\":true}}",
	    "gh-1: t=21.5d@1000 on=true@1000" },
	{ "device and ts from elsewhere", "{\"values\":{\"t\":1}}", "me: t=1" },
	{ "metrics beside", "{\"t\":1,\"device\":\"a\"}", "a: t=1" },
	{ "device within values is a metric", "{\"values\":{\"device\":\"x\",\"ts\":4}}",
	    "me: device=\"x\" ts=4" },
	{ "an array", "[{\"device\":\"a\",\"t\":1},{\"device\":\"b\",\"t\":2}]",
	    "a: t=1 | b: t=2@1" },
	{ "an empty array", " [ ] ", "" },
	{ "spaces", "\n[ {\"t\":1} ,\r\n\t{\"t\":2} ]\n", "me: t=1 t=2@1" },
	{ "neighbours are one reading",
	    "[{\"device\":\"a\",\"ts\":1732233601,\"t\":1},{\"ts\":1732233602,\"t\":2,\"device\":"
	    "\"a\"},"
	    "{\"device\":\"b\",\"t\":3},{\"device\":\"b\",\"u\":\"x\\ny\"},{\"device\":\"b\",\"u\":"
	    "\"z\"}]",
	    "a: t=1@1000000 t=2@2000000 | b: t=3 u=\"x\ny\"@1 u=\"z\"@2" },
	{ "timed and untimed are two", "[{\"ts\":1732233601,\"t\":1},{\"t\":2}]",
	    "me: t=1@1000000 | me: t=2" },
	{ "lines",
	    "{\"t\":1}\n{\"device\":\"b\",\"t\":2}\r\n\n{\"device\":\"b\",\"v\":{\"w\":3}}\n",
	    "me: t=1 | b: t=2@1 v.w=3@2" },
	{ "arrays behind each other", "[{\"t\":1}]\n[{\"t\":2}]", "me: t=1 t=2@1" },
	{ "no value", "{\"device\":\"a\"}", "a:" },
	{ "escapes in the device", "{\"device\":\"g\\u0068\",\"t\":1}", "gh: t=1" },
	{ "impossible", "{\"temperature\":-300}", "me: temperature=-300!physically-impossible" },
	{ "empty", "", "malformed: the document is empty (line 1, byte 0)" },
	{ "spaces only", " \n", "malformed: the document is empty (line 2, byte 2)" },
	{ "a number", "5",
	    "malformed: not JSON: neither an object nor an array begins here (line 1, byte 0)" },
	{ "an array of numbers", "[5]",
	    "malformed: an element of the outermost array is not an object (line 1, byte 1)" },
	{ "no comma", "[{\"t\":1} {\"t\":2}]",
	    "me: t=1 | malformed: not JSON: a comma or bracket is missing (line 1, byte 9)" },
	{ "a comma too many", "[{\"t\":1},]",
	    "me: t=1 | malformed: an element of the outermost array is not an object (line 1, byte "
	    "9)" },
	{ "not closed", "[{\"t\":1}",
	    "me: t=1 | malformed: not JSON: it ends too early (line 1, byte 8)" },
	{ "something behind", "{\"t\":1}x",
	    "me: t=1 | malformed: not JSON: something follows the value (line 1, byte 7)" },
	{ "without a space", "{\"t\":1}{\"t\":2}",
	    "me: t=1 | malformed: not JSON: something follows the value (line 1, byte 7)" },
	{ "device is a number", "{\"t\":1}\n{\"device\":5,\"t\":1}",
	    "me: t=1 | malformed: device is not a text (field device, line 2, byte 18)" },
	{ "device is an object", "{\"device\":{\"t\":1}}",
	    "malformed: device is not a text (field device, line 1, byte 10)" },
	{ "device twice", "{\"device\":\"a\",\"device\":\"b\"}",
	    "malformed: device is given twice (field device, line 1, byte 26)" },
	{ "device with a slash", "{\"device\":\"a/b\"}",
	    "malformed: the device id contains + # or / (field device, line 1, byte 0)" },
	{ "ts is a word", "{\"a\":{\"b\":1},\"ts\":\"soon\"}",
	    "malformed: ts is not an ISO 8601 date and time (field ts, line 1, byte 24)" },
	{ "a number within", "{\"a\":{\"b\":{\"c\":1x}}}",
	    "malformed: not JSON: a number is malformed (field a.b.c, line 1, byte 15)" },
};

START_TEST(test_json)
{
	struct telemetry_options o = options_of("me");

	check_all(TELEMETRY_JSON, json_cases, COUNT_OF(json_cases), &o);
}
END_TEST

START_TEST(test_who)
{
	struct telemetry_options o = options_of("");
	static const struct text_case cases[] = {
		{ "nobody says", "{\"t\":1}",
		    "malformed: the device is missing, and the sender has no identity of its own "
		    "(field device, line 1, byte 0)" },
		{ "empty", "{\"device\":\"\"}",
		    "malformed: the device id is empty (field device, line 1, byte 0)" },
		{ "the second", "[{\"device\":\"a\",\"t\":1},{\"t\":1}]",
		    "a: t=1 | malformed: the device is missing, and the sender has no identity of "
		    "its own (field device, line 1, byte 22)" },
	};

	check_all(TELEMETRY_JSON, cases, COUNT_OF(cases), &o);
}
END_TEST

static const struct text_case csv_cases[] = {
	{ "all columns",
	    "device,ts,t,on,s\r\na,1732233600001,21.5,true,x y\r\nb,,-3,FALSE,\"q\"\"r\"\r\n",
	    "a: t=21.5d@1000 on=true@1000 s=\"x y\"@1000 | b: t=-3@1 on=false@1 s=\"q\"r\"@1" },
	{ "metrics only", "t,u\n1,2\n3,4\n", "me: t=1 u=2 t=3@1 u=4@1" },
	{ "no line feed at the end", "t\n1", "me: t=1" },
	{ "empty fields and lines", "t,u\n\n1,\n\r\n,2\n", "me: t=1 u=2@1" },
	{ "quoted", "\"t, of the \"\"room\"\"\",u\n\"21.5\",\"a,b\nc\"\n",
	    "me: t, of the \"room\"=21.5d u=\"a,b\nc\"" },
	{ "spaces", " t , u\n 1 ,\ttwo words \n", "me: t=1 u=\"two words\"" },
	{ "a mark at the beginning",
	    "\xef\xbb\xbf"
	    "device,t\na,1\n",
	    "a: t=1" },
	{ "numbers", "a,b,c,d,e,f\n+5,.5,5.,1e3,007,0x10\n",
	    "me: a=5 b=0.5d c=5d d=1000d e=7 f=\"0x10\"" },
	{ "not finite", "a,b,c\nNaN,-inf,1e999\n",
	    "me: a=nand!not-finite b=-infd!not-finite c=infd!not-finite" },
	{ "large", "a,b\n9223372036854775807,9223372036854775808\n",
	    "me: a=9223372036854775807 b=9.22337203685478e+18d" },
	{ "a device that looks like a number", "device,t\n17,1\n", "17: t=1" },
	{ "ISO", "ts,t\n2024-11-22T00:00:01Z,1\n", "me: t=1@1000000" },
	{ "header only", "device,t\n", "" },
	{ "empty", "", "malformed: the document is empty (line 1, byte 0)" },
	{ "semicolons", "device;t\na;1\n",
	    "malformed: columns are separated by commas only (line 1, byte 0)" },
	{ "no metric", "device,ts\na,1\n", "malformed: no column is a metric (line 1, byte 7)" },
	{ "a column twice", "t,device,device\n",
	    "malformed: a column is there twice (field device, line 1, byte 9)" },
	{ "a column without a name", "t,,u\n", "malformed: a column has no name (line 1, byte 2)" },
	{ "more fields", "t,u\n1,2\n1,2,3\n",
	    "me: t=1 u=2 | malformed: the row has more fields than the header has columns (line 3, "
	    "byte 12)" },
	{ "fewer fields", "t,u\n1\n",
	    "malformed: the row has fewer fields than the header has columns (line 2, byte 4)" },
	{ "a quote within", "t\n1\"2\n",
	    "malformed: a quote within a field that does not begin with one (line 2, byte 3)" },
	{ "behind a quote", "t\n\"1\"2\n",
	    "malformed: something follows a closing quote (line 2, byte 5)" },
	{ "not closed", "t\n\"1\n2\n", "malformed: a quote is not closed (line 2, byte 2)" },
	{ "a carriage return alone", "t\r1\n",
	    "malformed: a carriage return without a line feed behind it (line 1, byte 1)" },
	{ "not UTF-8", "t\n\xff\n", "malformed: a field is not UTF-8 (field t, line 2, byte 2)" },
	{ "ts", "ts,t\nlater,1\n",
	    "malformed: ts is not an ISO 8601 date and time (field ts, line 2, byte 5)" },
	{ "a device that cannot be", "device,t\na#,1\n",
	    "malformed: the device id contains + # or / (field device, line 2, byte 9)" },
};

START_TEST(test_csv)
{
	struct telemetry_options o = options_of("me");

	check_all(TELEMETRY_CSV, csv_cases, COUNT_OF(csv_cases), &o);
}
END_TEST

static const struct text_case line_cases[] = {
	{ "simple", "weather,device=a temperature=82,humidity=71i 1732233600000001000\n",
	    "a: temperature=82d@1 humidity=71@1" },
	{ "no tags, no time", "weather t=1", "me: t=1d" },
	{ "kinds", "m a=1.5,b=-1e3,c=5i,d=7u,e=t,f=FALSE,g=\"x\",h=18446744073709551615u",
	    "me: a=1.5d b=-1000d c=5 d=7 e=true f=false g=\"x\" h=1.84467440737096e+19d" },
	{ "a field named value", "temperature,device=a value=21\nhumidity,device=a value=40i",
	    "a: temperature=21d humidity=40@1" },
	{ "escapes",
	    "my\\ m\\,x,de\\ vice=1,device=a\\ b,k\\=k=v\\,v f\\ \\=\\,g=1,s=\"a\\\"b\\\\c\\d, =\"",
	    "a b: f =,g=1d s=\"a\"b\\c\\d, =\"" },
	{ "a backslash is one", "m,device=a\\b f\\x=1", "a\\b: f\\x=1d" },
	{ "a text over lines", "m s=\"a\nb\" 1732233600000000000\nm t=1",
	    "me: s=\"a\nb\" | me: t=1d" },
	{ "comments and empty lines", "# c\n\nm a=1\r\n  \n#d", "me: a=1d" },
	{ "spaces before the time", "m a=1  1732233600000002000 \n", "me: a=1d@2" },
	{ "nothing", "", "" },
	{ "no fields", "m,device=a\n", "malformed: the fields are missing (line 1, byte 10)" },
	{ "no fields, a space", "m \n", "malformed: a field is not name=value (line 1, byte 2)" },
	{ "no measurement", ",device=a f=1",
	    "malformed: the measurement is missing (line 1, byte 0)" },
	{ "an empty tag", "m,device= f=1",
	    "malformed: a tag is not name=value (field device, line 1, byte 2)" },
	{ "a tag without a value", "m,device f=1",
	    "malformed: a tag is not name=value (field device, line 1, byte 2)" },
	{ "a tag twice", "m,device=a,device=b f=1",
	    "malformed: a tag is given twice (field device, line 1, byte 11)" },
	{ "a word", "m a=1\nm b=yes\n",
	    "me: a=1d | malformed: a value is neither a number, a boolean nor a text in quotes "
	    "(field b, line 2, byte 10)" },
	{ "a number and more", "m b=1x",
	    "malformed: a value is neither a number, a boolean nor a text in quotes (field b, line "
	    "1, byte 4)" },
	{ "beyond 64 bits", "m b=9223372036854775808i",
	    "malformed: a value is neither a number, a boolean nor a text in quotes (field b, line "
	    "1, byte 4)" },
	{ "negative and unsigned", "m b=-1u",
	    "malformed: a value is neither a number, a boolean nor a text in quotes (field b, line "
	    "1, byte 4)" },
	{ "not a number", "m b=NaN",
	    "malformed: a value is neither a number, a boolean nor a text in quotes (field b, line "
	    "1, byte 4)" },
	{ "an open quote", "m b=\"x",
	    "malformed: a quote is not closed (field b, line 1, byte 4)" },
	{ "behind a quote", "m b=\"x\"y",
	    "malformed: something follows a value (field b, line 1, byte 7)" },
	{ "a time that is none", "m b=1 soon",
	    "malformed: the time is not a whole number (field time, line 1, byte 6)" },
	{ "behind the time", "m b=1 1 2",
	    "malformed: something follows the time (line 1, byte 8)" },
	{ "not UTF-8", "m\xff b=1",
	    "malformed: a name or tag is not UTF-8 without control characters (line 1, byte 0)" },
	{ "a device that cannot be", "m,device=a/b c=1",
	    "malformed: the device id contains + # or / (field device, line 1, byte 0)" },
};

START_TEST(test_line)
{
	struct telemetry_options o = options_of("me");

	check_all(TELEMETRY_LINE, line_cases, COUNT_OF(line_cases), &o);
}
END_TEST

START_TEST(test_line_names)
{
	static const char body[] =
	    "cpu,cpu=cpu0,host=a,room=r usage=5,value=6 1732233600\nd,host=a value=1 1732233600";
	static const struct {
		enum telemetry_metric metric;
		const char *want;
	} cases[] = {
		{ TELEMETRY_FIELD, "a: usage=5d cpu=6d d=1d" },
		{ TELEMETRY_MEASUREMENT, "a: cpu.usage=5d cpu=6d d=1d" },
		{ TELEMETRY_SERIES, "a: cpu.cpu0.r.usage=5d cpu.cpu0.r=6d d=1d" },
	};
	struct telemetry_options o = options_of("");

	o.device_tag = bytes_of_str("host");
	o.unit_ns = 1000000000;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct text_case t = { "names", body, cases[i].want };

		o.metric = cases[i].metric;
		check(TELEMETRY_LINE, &t, &o);
		check_prefixes(TELEMETRY_LINE, bytes_of_str(body), &o);
	}
}
END_TEST

START_TEST(test_line_limits)
{
	struct telemetry_options o = options_of("");
	struct text_case t = { "no device", "m a=1",
		"malformed: the device is missing, and the sender has no identity of its own "
		"(field host, line 1, byte 0)" };
	struct text_case overflow = { "time", "m,host=a a=1 9223372036854775807",
		"malformed: the time is out of range (field time, line 1, byte 13)" };
	char name[200];
	struct buf out = { 0 }, body = { 0 };

	o.device_tag = bytes_of_str("host");
	check(TELEMETRY_LINE, &t, &o);
	o.unit_ns = 1000000000;
	check(TELEMETRY_LINE, &overflow, &o);
	o.metric = TELEMETRY_SERIES;
	memset(name, 'x', sizeof(name));
	for (int n = 118; n < 130; n++) {
		buf_clear(&body);
		buf_clear(&out);
		buf_addf(&body, "%.*s,host=a,t=yyyy f=1", n, name);
		ck_assert_int_eq(decode(TELEMETRY_LINE, buf_bytes(&body), &o, &out),
		    n + 5 + 2 <= METRIC_NAME_MAX ? ERR_NOT_FOUND : ERR_TOO_BIG);
	}
	buf_fini(&body);
	buf_fini(&out);
}
END_TEST

static const struct text_case senml_cases[] = {
	{ "a base name",
	    "[{\"bn\":\"urn:dev:ow:10e2073a01080063:\",\"n\":\"t\",\"u\":\"Cel\",\"v\":23.1}]",
	    "urn:dev:ow:10e2073a01080063: t=23.1d" },
	{ "the sender's own", "[{\"n\":\"t\",\"v\":5}]", "me: t=5" },
	{ "resolution",
	    "[{\"bn\":\"a_\",\"bt\":1732233600,\"bu\":\"A\",\"bver\":5,\"n\":\"v\",\"u\":\"V\","
	    "\"v\":120.1},"
	    "{\"n\":\"i\",\"t\":-5,\"v\":1.2},{\"n\":\"i\",\"t\":-4,\"v\":1}]",
	    "a: v=120.1d i=1.2d@-5000000 i=1@-4000000" },
	{ "base value and sum",
	    "[{\"bv\":10,\"bs\":100,\"n\":\"a\",\"v\":1,\"s\":5},{\"n\":\"b\",\"s\":6}]",
	    "me: a=11d a.sum=105d b.sum=106d" },
	{ "kinds",
	    "[{\"n\":\"s\",\"vs\":\"x\\\"y\"},{\"n\":\"b\",\"vb\":true},{\"n\":\"d\",\"vd\":"
	    "\"aGk\"}]",
	    "me: s=\"x\"y\" b=true d=\"aGk\"" },
	{ "relative", "[{\"n\":\"a\",\"t\":-1.5,\"v\":1},{\"n\":\"a\",\"t\":10,\"v\":2}]",
	    "me: a=1@-1500000 a=2@10000000" },
	{ "one moment", "[{\"n\":\"a\",\"v\":1},{\"n\":\"b\",\"v\":2}]", "me: a=1 b=2" },
	{ "several devices",
	    "[{\"bn\":\"a:\",\"n\":\"x\",\"v\":1},{\"n\":\"y\",\"v\":2},{\"bn\":\"b:\",\"n\":\"x\","
	    "\"v\":3}]",
	    "a: x=1 y=2 | b: x=3@1" },
	{ "base values alone", "[{\"bn\":\"a:\"},{},{\"bv\":1},{\"n\":\"x\",\"v\":2}]", "a: x=3d" },
	{ "no name", "[{\"bn\":\"a\",\"v\":1}]", "a: value=1" },
	{ "impossible in its unit",
	    "[{\"n\":\"x\",\"u\":\"%RH\",\"v\":140},{\"bu\":\"K\",\"n\":\"y\",\"v\":-1},{\"n\":"
	    "\"z\",\"v\":-1,\"u\":\"m\"}]",
	    "me: x=140!physically-impossible y=-1!physically-impossible z=-1" },
	{ "unknown labels", "[{\"n\":\"x\",\"v\":1,\"foo\":7}]", "me: x=1" },
	{ "an empty pack", "[]", "" },
	{ "must be understood", "[{\"n\":\"x\",\"v\":1,\"foo_\":7}]",
	    "malformed: a label that ends with an underscore must be understood, and is not known "
	    "(field foo_, line 1, byte 23)" },
	{ "two values", "[{\"n\":\"x\",\"v\":1,\"vb\":true}]",
	    "malformed: there is another value (field vb, line 1, byte 1)" },
	{ "no value", "[{\"n\":\"x\"}]",
	    "malformed: a record has neither a value nor a sum (field v, line 1, byte 1)" },
	{ "a number as a text", "[{\"n\":\"x\",\"v\":\"1\"}]",
	    "malformed: it is not a number (field v, line 1, byte 17)" },
	{ "a version of the future", "[{\"bver\":11,\"n\":\"x\",\"v\":1}]",
	    "malformed: it is no version from 1 to 10 (field bver, line 1, byte 1)" },
	{ "twice", "[{\"v\":1,\"v\":1}]",
	    "malformed: it is given twice (field v, line 1, byte 12)" },
	{ "null", "[{\"v\":null}]", "malformed: it is null (field v, line 1, byte 10)" },
	{ "nested", "[{\"n\":{}}]",
	    "malformed: a member is an object or an array (field n, line 1, byte 6)" },
	{ "a time that cannot be", "[{\"n\":\"x\",\"v\":1,\"t\":1e300}]",
	    "malformed: the time is out of range (field t, line 1, byte 1)" },
	{ "a base name that cannot be", "[{\"bn\":\"/3303/0/\",\"n\":\"5700\",\"v\":1}]",
	    "malformed: the device id contains + # or / (field bn, line 1, byte 1)" },
};

START_TEST(test_senml_json)
{
	struct telemetry_options o = options_of("me");

	check_all(TELEMETRY_SENML_JSON, senml_cases, COUNT_OF(senml_cases), &o);
}
END_TEST

START_TEST(test_senml_of_one_device)
{
	struct telemetry_options o = options_of("gh-1");
	static const struct text_case cases[] = {
		{ "its own name", "[{\"bn\":\"gh-1/\",\"n\":\"t\",\"v\":1}]", "gh-1: t=1" },
		{ "just so", "[{\"bn\":\"gh-1\",\"n\":\"t\",\"v\":1}]", "gh-1: t=1" },
		{ "another",
		    "[{\"bn\":\"/3303/0/\",\"n\":\"5700\",\"v\":1},{\"bn\":\"/3303/1/"
		    "\",\"n\":\"5700\",\"v\":2}]",
		    "gh-1: /3303/0/5700=1 /3303/1/5700=2" },
		{ "base name alone", "[{\"bn\":\"urn:x\",\"v\":1}]", "gh-1: urn:x=1" },
	};

	o.one_device = true;
	check_all(TELEMETRY_SENML_JSON, cases, COUNT_OF(cases), &o);
}
END_TEST

/* --- readings --- */

START_TEST(test_readings_are_bounded)
{
	struct telemetry_options o = options_of("me");
	struct telemetry_problem problem;
	struct telemetry_reading r;
	struct telemetry_cursor c;
	struct buf body = { 0 };
	uint32_t samples = 0, readings = 0, again = 0;

	buf_add_u8(&body, '[');
	for (int i = 0; i < 5000; i++)
		buf_addf(&body, "%s{\"a\":%d,\"b\":{\"c\":\"\\u00e9\"}}", i ? "," : "", i);
	buf_add_u8(&body, ']');
	c = telemetry_cursor_of(TELEMETRY_JSON, buf_bytes(&body), &o);
	ck_assert_int_eq(telemetry_check(decoder, c, &again, &problem), 0);
	while (telemetry_next(decoder, &c, &r, &problem) == 0) {
		ck_assert_uint_le(r.result.count, TELEMETRY_POINTS + 1);
		for (uint32_t i = 0; i < r.result.count; i += 2) {
			const struct point *p = &r.result.points[i];

			ck_assert(bytes_equal_str(p[0].name, "a"));
			ck_assert_int_eq(p[0].value.v.i, samples + i / 2);
			ck_assert(bytes_equal_str(p[1].name, "b.c"));
			ck_assert(bytes_equal_str(p[1].value.v.s, "\xc3\xa9"));
		}
		samples += r.samples;
		readings++;
	}
	ck_assert_uint_eq(samples, 5000);
	ck_assert_uint_eq(readings, again);
	ck_assert_uint_eq(readings, 10);
	buf_fini(&body);
}
END_TEST

/* A sample of another device that was decoded already is not decoded again, and not lost when another document comes between. */
START_TEST(test_documents_in_turn)
{
	struct telemetry_options o = options_of("me");
	const char *text = "device,t\na,1\nb,2\na,3\nb,4\nb,5\n";
	struct telemetry_cursor one = telemetry_cursor_of(TELEMETRY_CSV, bytes_of_str(text), &o);
	struct telemetry_cursor two = one, other;
	struct telemetry_problem problem;
	struct telemetry_reading r;
	struct buf a = { 0 }, b = { 0 }, c = { 0 };

	while (telemetry_next(decoder, &one, &r, &problem) == 0)
		render(&r, &a);
	ck_assert_str_eq(buf_str(&a), "a: t=1 | b: t=2@1 | a: t=3@2 | b: t=4@3 t=5@4");
	stamps = 0;
	while (telemetry_next(decoder, &two, &r, &problem) == 0) {
		struct telemetry_cursor before = two;

		render(&r, &b);
		other = telemetry_cursor_of(TELEMETRY_JSON, bytes_of_str("{\"x\":1}"), &o);
		ck_assert_int_eq(telemetry_next(decoder, &other, &r, &problem), 0);
		other = before;
		if (telemetry_next(decoder, &other, &r, &problem) == 0)
			render(&r, &c);
	}
	ck_assert_uint_ge(a.len, 20);
	ck_assert_ptr_nonnull(strstr(buf_str(&b), "a: t=1 | b: t=2@"));
	ck_assert_ptr_nonnull(strstr(buf_str(&b), "t=5@"));
	ck_assert_ptr_nonnull(strstr(buf_str(&c), "b: t=2@"));
	buf_fini(&a);
	buf_fini(&b);
	buf_fini(&c);
}
END_TEST

START_TEST(test_too_many_values)
{
	struct telemetry_options o = options_of("me");
	struct telemetry_problem problem;
	struct telemetry_reading r;
	struct telemetry_cursor c;
	struct buf body = { 0 };

	buf_add_str(&body, "{\"x\":1}\n{");
	for (int i = 0; i < RECORD_POINTS_MAX; i++)
		buf_addf(&body, "%s\"m%d\":1", i ? "," : "", i);
	buf_add_str(&body, "}\n{");
	for (int i = 0; i <= RECORD_POINTS_MAX; i++)
		buf_addf(&body, "%s\"m%d\":1", i ? "," : "", i);
	buf_add_str(&body, "}");
	c = telemetry_cursor_of(TELEMETRY_JSON, buf_bytes(&body), &o);
	ck_assert_int_eq(telemetry_next(decoder, &c, &r, &problem), 0);
	ck_assert_uint_eq(r.result.count, 1);
	ck_assert_int_eq(telemetry_next(decoder, &c, &r, &problem), 0);
	ck_assert_uint_eq(r.result.count, RECORD_POINTS_MAX);
	ck_assert_int_eq(telemetry_next(decoder, &c, &r, &problem), ERR_TOO_BIG);
	ck_assert_str_eq(problem.field, "m4096");
	ck_assert_uint_eq(problem.line, 3);
	buf_fini(&body);
}
END_TEST

START_TEST(test_long_sample)
{
	struct telemetry_options o = options_of("me");
	struct telemetry_problem problem;
	struct telemetry_reading r;
	struct telemetry_cursor c;
	struct buf body = { 0 };

	for (enum telemetry_format f = TELEMETRY_JSON; f <= TELEMETRY_LINE; f++) {
		if (f == TELEMETRY_MSGPACK || f == TELEMETRY_CBOR)
			continue;
		buf_clear(&body);
		buf_add_str(&body, f == TELEMETRY_JSON	? "{"
				   : f == TELEMETRY_CSV ? "a,b\n1,"
							: "m ");
		for (int i = 0; i < 60; i++)
			for (int n = 0; n < 20000; n++)
				buf_add_u8(&body, f == TELEMETRY_CSV ? 'x' : ' ');
		buf_add_str(&body, f == TELEMETRY_JSON	? "\"a\":1}"
				   : f == TELEMETRY_CSV ? "\n"
							: "a=1");
		c = telemetry_cursor_of(f, buf_bytes(&body), &o);
		ck_assert_int_eq(telemetry_next(decoder, &c, &r, &problem), ERR_TOO_BIG);
	}
	buf_fini(&body);
}
END_TEST

/* The record's time is the last good time of the device; a time that cannot be is quarantined, and the server's counts. */
START_TEST(test_times)
{
	struct telemetry_options o = options_of("me");
	struct telemetry_problem problem;
	struct telemetry_reading r;
	struct telemetry_cursor c = telemetry_cursor_of(TELEMETRY_JSON,
	    bytes_of_str("{\"ts\":1732233601,\"a\":1}\n{\"ts\":5,\"a\":2}\n{\"a\":3}"), &o);

	ck_assert_int_eq(telemetry_next(decoder, &c, &r, &problem), 0);
	ck_assert_uint_eq(r.samples, 2);
	ck_assert_int_eq(r.result.time, NOW + 1000000);
	ck_assert(r.result.device_time);
	ck_assert_uint_eq(r.result.quarantined, 1);
	ck_assert_int_eq(telemetry_next(decoder, &c, &r, &problem), 0);
	ck_assert(!r.result.device_time);
	ck_assert_int_eq(r.result.time, NOW);
	ck_assert_uint_eq(r.result.quarantined, 0);
	telemetry_latest(decoder, NOW * 2);
	c = telemetry_cursor_of(TELEMETRY_JSON, bytes_of_str("{\"ts\":2732233601,\"a\":1}"), &o);
	ck_assert_int_eq(telemetry_next(decoder, &c, &r, &problem), 0);
	ck_assert_uint_eq(r.result.quarantined, 0);
}
END_TEST

UNIT_MAIN_IN("telemetry", telemetry_setup, telemetry_teardown, test_json, test_who, test_csv,
    test_line, test_line_names, test_line_limits, test_senml_json, test_senml_of_one_device,
    test_readings_are_bounded, test_documents_in_turn, test_too_many_values, test_long_sample,
    test_times)
