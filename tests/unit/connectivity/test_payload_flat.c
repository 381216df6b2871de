/* test_payload_flat.c - what the fast reader takes is, value by value, what payload_json makes of it */
#include "payload_flat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"

#define NOW 1732233600000000
#define ROUNDS 200000

static struct payload_flat flat;
static struct payload_build fast, slow;
static struct payload_json *json;
static unsigned taken;

static void
reset(struct payload_build *b)
{
	b->count = b->quarantined = 0;
	b->now_us = b->time = NOW;
	b->device_time = false;
	b->names_len = 0;
	b->fault_placed = false;
}

static void
same_point(const struct point *a, const struct point *b, const char *text)
{
	ck_assert_msg(bytes_equal(a->name, b->name), "name in %s", text);
	ck_assert_msg(a->value.kind == b->value.kind, "kind in %s", text);
	ck_assert_msg(a->reason == b->reason && a->time == b->time, "reason, time in %s", text);
	switch (a->value.kind) {
	case VALUE_DOUBLE: /* to the bit: -0.0 is not 0.0 */
		ck_assert_msg(memcmp(&a->value.v.f, &b->value.v.f, sizeof(double)) == 0,
		    "%.17g, %.17g in %s", a->value.v.f, b->value.v.f, text);
		break;
	case VALUE_INT:
		ck_assert_msg(a->value.v.i == b->value.v.i, "int in %s", text);
		break;
	case VALUE_BOOL:
		ck_assert_msg(a->value.v.b == b->value.v.b, "bool in %s", text);
		break;
	case VALUE_STRING:
		ck_assert_msg(bytes_equal(a->value.v.s, b->value.v.s), "string in %s", text);
		break;
	}
}

/* Both readers; true if the fast one took it. */
static bool
compare(const char *text, size_t len)
{
	uint8_t *copy = xmemdup(text, len);
	bool took;

	reset(&fast);
	took = payload_flat_decode(&flat, &fast, bytes_of(copy, len));
	taken += took;
	if (took) {
		reset(&slow);
		ck_assert_msg(payload_json_decode(
				  json, &slow, bytes_of(copy, len), bytes_of_str("metric")) == 0,
		    "refused: %.*s", (int)len, text);
		ck_assert_msg(fast.count == slow.count && fast.quarantined == slow.quarantined &&
				  fast.time == slow.time && fast.device_time == slow.device_time,
		    "counts of %.*s", (int)len, text);
		for (uint32_t i = 0; i < fast.count; i++)
			same_point(&fast.points[i], &slow.points[i], text);
	}
	free(copy);
	return took;
}

static void
start(void)
{
	if (!json)
		json = payload_json_new();
}

START_TEST(takes_what_devices_send)
{
	static const char *const usual[] = {
		"{}",
		"{\"temperature\":21.5,\"humidity\":40}",
		"{\"temperature\":21.5,\"humidity\":40.2,\"ts\":1732233600123}",
		"{\"ts\":1732233600123,\"values\":{\"temperature\":-3.25,\"open\":true}}",
		"{ \"a\" : 1 ,\t\"b\":\n{\"c\" : [ ] , \"d\":null}\r\n}",
		"{\"state\":\"running\",\"n\":-12345678,\"big\":123456789012345678,\"f\":false}",
		"{\"ts\":\"2024-11-22T00:00:00Z\",\"t\":0.1}",
		"{\"a\":{\"b\":{\"c\":1.5}}}",
		"{\"temperature\":-300.0,\"humidity\":140,\"ts\":1}",
		"{\"x\":-0.0,\"y\":0.0,\"z\":900719925474099.2,\"w\":0.00000000000000001}",
	};

	start();
	for (int again = 0; again < 2; again++)
		for (size_t i = 0; i < COUNT_OF(usual); i++)
			ck_assert_msg(compare(usual[i], strlen(usual[i])) == (i != 4), "%s",
			    usual[i]); /* that one has an array */
}
END_TEST

/* Right or wrong, these are not for the fast reader. */
START_TEST(leaves_the_rest)
{
	static const char *const rest[] = { "", "[]", "1", " {}", "{", "{}}", "{} x", "{\"a\":1,}",
		"{,}", "{\"a\"}", "{\"a\":}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{\"a\":01}",
		"{\"a\":-}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":+1}", "{\"a\":1e3}", "{\"a\":-0}",
		"{\"a\":1234567890123456789}", "{\"a\":0.1234567890123456789}",
		"{\"a\":9007199254740993.0}", "{\"a\":tru}", "{\"a\":truex}", "{\"a\":nulL}",
		"{\"a\":\"\\n\"}", "{\"a\":\"\x80\"}", "{\"\\u0061\":1}", "{\"a\":\"x}", "{\"a:1}",
		"{\"\":1}", "{\"ts\":true}", "{\"ts\":1,\"ts\":2}", "{\"ts\":{}}", "{\"a\":[1]}",
		"{\"a\":\"\x01\"}", "{\"a\":1,\"b\":NaN}" };
	char nested[100] = "", longer[PAYLOAD_FLAT_MAX + 20];

	start();
	for (size_t i = 0; i < COUNT_OF(rest); i++)
		ck_assert_msg(!compare(rest[i], strlen(rest[i])), "%s", rest[i]);
	ck_assert(!compare("{\"a\":1}\0", 8));
	for (int i = 0; i < PAYLOAD_DEPTH_MAX + 2; i++)
		strcat(nested, "{\"a\":");
	strcat(nested, "1}}}}}}}}}}");
	ck_assert(!compare(nested, strlen(nested)));
	for (size_t len = PAYLOAD_FLAT_MAX - 1; len <= PAYLOAD_FLAT_MAX + 1; len++) {
		memset(longer, ' ', len);
		memcpy(longer, "{\"a\":1}", 7);
		ck_assert(compare(longer, len) == (len <= PAYLOAD_FLAT_MAX));
	}
}
END_TEST

/* Numbers of every length before and behind the point, at the borders of what is exact. */
START_TEST(numbers)
{
	char text[100];

	start();
	for (unsigned whole = 1; whole <= 20; whole++)
		for (unsigned fraction = 0; fraction <= 20; fraction++)
			for (int k = 0; k < 40; k++) {
				size_t n = (size_t)sprintf(text, "{\"v\":%s", k & 1 ? "-" : "");

				for (unsigned i = 0; i < whole; i++)
					text[n++] =
					    (char)('0' + (i		  ? rand() % 10
							     : whole == 1 ? rand() % 10
									  : 1 + rand() % 9));
				if (fraction)
					text[n++] = '.';
				for (unsigned i = 0; i < fraction; i++)
					text[n++] = (char)('0' + (k < 4 ? 0 : rand() % 10));
				text[n++] = '}';
				(void)compare(text, n);
			}
	for (int i = -2000; i <= 2000; i++) {
		size_t n = (size_t)sprintf(text, "{\"v\":%lld.0,\"w\":%lld,\"x\":%d.%03d}",
		    (1ll << 53) + i, 999999999999999999 + (long long)i, i, abs(i) % 1000);

		(void)compare(text, n);
	}
	ck_assert_uint_gt(taken, 5000);
}
END_TEST

static size_t put_value(char *at, int depth);

static size_t
put_space(char *at)
{
	static const char space[] = " \t\n\r";
	size_t n = 0;

	while (rand() % 12 == 0)
		at[n++] = space[rand() % 4];
	return n;
}

static size_t
put_object(char *at, int depth)
{
	static const char *const names[] = { "temperature", "humidity", "ts", "values", "a",
		"battery_percent", "n", "co2", "a name of more than thirty-one characters", "state",
		"\\u0061", "t\xc3\xa9" };
	size_t n = 0;

	at[n++] = '{';
	n += put_space(at + n);
	for (int i = rand() % 5; i > 0; i--) {
		n += (size_t)sprintf(
		    at + n, "\"%s\"", names[rand() % (rand() % 20 ? 10 : (int)COUNT_OF(names))]);
		n += put_space(at + n);
		at[n++] = ':';
		n += put_value(at + n, depth);
		if (i > 1)
			at[n++] = ',';
		n += put_space(at + n);
	}
	at[n++] = '}';
	return n;
}

static size_t
put_value(char *at, int depth)
{
	static const char *const odd[] = { "true", "false", "null", "\"on\"", "\"a b\"", "1e3",
		"-0", "-0.0", "1732233600", "1732233600123", "1732233600123456",
		"17322336001234567", "\"2024-11-22T00:00:00Z\"", "[1,2]", "\"\\n\"",
		"99999999999999999", "0.30000000000000004", "\"\"", "-273.16", "101" };
	size_t n = put_space(at);

	if (depth < 3 && rand() % 8 == 0)
		n += put_object(at + n, depth + 1);
	else if (rand() % 2)
		n += (size_t)sprintf(at + n, "%d.%d", rand() % 2000 - 1000, rand() % 1000);
	else if (rand() % 2)
		n += (size_t)sprintf(at + n, "%d", rand() % 2000 - 1000);
	else
		n += (size_t)sprintf(at + n, "%s", odd[rand() % (int)COUNT_OF(odd)]);
	return n + put_space(at + n);
}

START_TEST(random_documents_and_their_mutations)
{
	static const char bytes[] = "{}[]\":,.-+eE0123456789 \\\ttruefalsn\x00\x7f\x80\xc3\xa9";
	char text[PAYLOAD_FLAT_MAX * 4];
	unsigned whole = 0;

	start();
	srand(1);
	for (int i = 0; i < ROUNDS; i++) {
		size_t n = put_object(text, 0);

		if (n > PAYLOAD_FLAT_MAX)
			continue;
		text[n] = '\0';
		if (i % 2) {
			for (int k = 1 + rand() % 3; k > 0; k--)
				text[(size_t)rand() % n] = bytes[rand() % (int)sizeof(bytes)];
			if (rand() % 8 == 0)
				n = (size_t)rand() % n + 1;
			(void)compare(text, n);
		} else {
			whole += compare(text, n);
		}
	}
	/* Of the documents as they were made, most are for the fast reader: this test is about something. */
	ck_assert_uint_gt(whole, ROUNDS / 2 / 2);
	ck_assert_uint_gt(taken, whole + ROUNDS / 2 / 20);
}
END_TEST

UNIT_MAIN("payload_flat", takes_what_devices_send, leaves_the_rest, numbers,
    random_documents_and_their_mutations)
