/* payload_cbor.c - a bounded reader of CBOR (RFC 8949), and its maps as samples; pure */
#include "payload_cbor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "payload_build.h"
#include "utf8.h"

enum major {
	MAJOR_UINT,
	MAJOR_NEGATIVE,
	MAJOR_BYTES,
	MAJOR_TEXT,
	MAJOR_ARRAY,
	MAJOR_MAP,
	MAJOR_TAG,
	MAJOR_SIMPLE
};
enum {
	INFO_8 = 24, /* the argument follows: one byte, two, four, eight */
	INFO_16 = 25,
	INFO_32 = 26,
	INFO_64 = 27,
	INFO_ENDLESS = 31,
	SIMPLE_FALSE = 20,
	SIMPLE_TRUE = 21,
	SIMPLE_NULL = 22,
	SIMPLE_UNDEFINED = 23,
	TAG_DECIMAL = 4,
	TAG_BIGFLOAT = 5
};

struct head {
	unsigned major;
	unsigned info;
	uint64_t argument;
};

struct cbor_cursor
cbor_cursor_of(struct bytes b)
{
	return (struct cbor_cursor){ .at = b.data, .end = b.data + b.len };
}

static struct cbor_item
wrong(struct cbor_cursor *c, const char *fault)
{
	if (!c->fault)
		c->fault = fault;
	return (struct cbor_item){ .kind = CBOR_WRONG };
}

static bool
head(struct cbor_cursor *c, struct head *ret)
{
	size_t n;

	if (c->fault)
		return false;
	if (c->at == c->end) {
		wrong(c, "not CBOR: it ends too early");
		return false;
	}
	ret->major = *c->at >> 5;
	ret->info = *c->at & 0x1f;
	ret->argument = ret->info;
	n = ret->info >= INFO_8 && ret->info <= INFO_64 ? (size_t)1 << (ret->info - INFO_8) : 0;
	if (ret->info > INFO_64 && ret->info < INFO_ENDLESS) {
		wrong(c, "not CBOR: a reserved length");
		return false;
	}
	if (n > (size_t)(c->end - c->at) - 1) {
		wrong(c, "not CBOR: it ends too early");
		return false;
	}
	c->at++;
	if (n)
		ret->argument = 0;
	for (; n; n--)
		ret->argument = ret->argument << 8 | *c->at++;
	return true;
}

static struct cbor_item
number(double f)
{
	return (struct cbor_item){ .kind = CBOR_VALUE,
		.value = { .kind = VALUE_DOUBLE, .v = { .f = f } } };
}

static struct cbor_item
integer(const struct head *h)
{
	struct cbor_item item = { .kind = CBOR_VALUE, .value = { .kind = VALUE_INT } };

	if (h->argument > INT64_MAX)
		return number(
		    h->major == MAJOR_UINT ? (double)h->argument : -1.0 - (double)h->argument);
	item.value.v.i = h->major == MAJOR_UINT ? (int64_t)h->argument : -1 - (int64_t)h->argument;
	return item;
}

/* RFC 8949 appendix D. */
static double
half(unsigned bits)
{
	int exponent = (int)(bits >> 10 & 0x1f);
	double mantissa = bits & 0x3ff, v;

	if (exponent == 0)
		v = ldexp(mantissa, -24);
	else if (exponent < 31)
		v = ldexp(mantissa + 1024, exponent - 25);
	else
		v = mantissa > 0 ? (double)NAN : (double)INFINITY;
	return bits & 0x8000 ? -v : v;
}

static struct cbor_item
simple(struct cbor_cursor *c, const struct head *h)
{
	uint32_t bits = (uint32_t)h->argument;
	float f;
	double d;

	switch (h->info) {
	case SIMPLE_FALSE:
	case SIMPLE_TRUE:
		return (struct cbor_item){ .kind = CBOR_VALUE,
			.value = { .kind = VALUE_BOOL, .v = { .b = h->info == SIMPLE_TRUE } } };
	case SIMPLE_NULL:
	case SIMPLE_UNDEFINED:
		return (struct cbor_item){ .kind = CBOR_NULL };
	case INFO_16:
		return number(half((unsigned)h->argument));
	case INFO_32:
		memcpy(&f, &bits, sizeof(f));
		return number((double)f);
	case INFO_64:
		memcpy(&d, &h->argument, sizeof(d));
		return number(d);
	case INFO_ENDLESS:
		return (struct cbor_item){ .kind = CBOR_BREAK };
	default:
		return wrong(
		    c, "a CBOR value is neither null, boolean, number, text, array nor map");
	}
}

static struct cbor_item
text(struct cbor_cursor *c, const struct head *h)
{
	struct cbor_item item = { .kind = h->major == MAJOR_TEXT ? CBOR_VALUE : CBOR_BINARY,
		.value = { .kind = VALUE_STRING } };

	if (h->info == INFO_ENDLESS)
		return wrong(c, "a CBOR text has no length of its own");
	if (h->argument > (size_t)(c->end - c->at))
		return wrong(c, "not CBOR: it ends too early");
	item.value.v.s = bytes_of(c->at, (size_t)h->argument);
	if (h->major == MAJOR_TEXT && !utf8_valid(item.value.v.s))
		return wrong(c, "a text is not UTF-8");
	c->at += h->argument;
	return item;
}

static struct cbor_item
container(struct cbor_cursor *c, const struct head *h)
{
	size_t least = h->major == MAJOR_MAP ? 2 : 1;
	struct cbor_item item = { .kind = h->major == MAJOR_MAP ? CBOR_MAP : CBOR_ARRAY,
		.count = CBOR_ENDLESS };

	if (h->info == INFO_ENDLESS)
		return item;
	if (h->argument > (size_t)(c->end - c->at) / least || h->argument >= CBOR_ENDLESS)
		return wrong(c, "not CBOR: it ends too early");
	item.count = (uint32_t)h->argument;
	return item;
}

/* [exponent, mantissa], both integers of 64 bits. */
static struct cbor_item
scaled(struct cbor_cursor *c, uint64_t tag)
{
	struct head h;
	int64_t part[2];
	char digits[48];

	if (!head(c, &h))
		return wrong(c, "");
	if (h.major != MAJOR_ARRAY || h.info != 2)
		return wrong(c, "a decimal fraction is not an array of two integers");
	for (int i = 0; i < 2; i++) {
		if (!head(c, &h))
			return wrong(c, "");
		if (h.major > MAJOR_NEGATIVE || h.argument > INT64_MAX || h.info == INFO_ENDLESS)
			return wrong(c, "a decimal fraction is not an array of two integers");
		part[i] = h.major == MAJOR_UINT ? (int64_t)h.argument : -1 - (int64_t)h.argument;
	}
	if (part[0] < -100000 || part[0] > 100000)
		return wrong(c, "the exponent of a decimal fraction is out of range");
	if (tag == TAG_BIGFLOAT)
		return number(ldexp((double)part[1], (int)part[0]));
	snprintf(digits, sizeof(digits), "%llde%d", (long long)part[1], (int)part[0]);
	return number(strtod(digits, NULL));
}

struct cbor_item
cbor_next(struct cbor_cursor *c)
{
	struct head h;

	while (head(c, &h)) {
		switch ((enum major)h.major) {
		case MAJOR_UINT:
		case MAJOR_NEGATIVE:
			if (h.info == INFO_ENDLESS)
				return wrong(c, "not CBOR: a reserved length");
			return integer(&h);
		case MAJOR_BYTES:
		case MAJOR_TEXT:
			return text(c, &h);
		case MAJOR_ARRAY:
		case MAJOR_MAP:
			return container(c, &h);
		case MAJOR_SIMPLE:
			return simple(c, &h);
		case MAJOR_TAG:
			if (h.info == INFO_ENDLESS)
				return wrong(c, "not CBOR: a reserved length");
			if (h.argument == TAG_DECIMAL || h.argument == TAG_BIGFLOAT)
				return scaled(c, h.argument);
			break;
		}
	}
	return (struct cbor_item){ .kind = CBOR_WRONG };
}

/* --- samples --- */

static int object(struct payload_build *b, struct cbor_cursor *c, uint32_t count);
static int array(struct payload_build *b, struct cbor_cursor *c, uint32_t count);

static int
fail(struct payload_build *b, struct cbor_cursor *c, const char *fault)
{
	if (c->fault)
		fault = c->fault;
	return payload_fail(b, ERR_MALFORMED, fault);
}

/* Recursion ends at PAYLOAD_DEPTH_MAX: payload_enter() refuses. */
static int
member(
    struct payload_build *b, struct cbor_cursor *c, struct bytes name, const struct cbor_item *item)
{
	size_t mark;
	int err = 0;

	switch (item->kind) {
	case CBOR_VALUE:
		err = payload_value(b, name, &item->value);
		break;
	case CBOR_NULL:
		break;
	case CBOR_ARRAY:
	case CBOR_MAP:
		err = payload_enter(
		    b, item->kind == CBOR_MAP ? PAYLOAD_OBJECT : PAYLOAD_ARRAY, name, &mark);
		if (!err)
			err = item->kind == CBOR_MAP ? object(b, c, item->count)
						     : array(b, c, item->count);
		if (!err)
			payload_leave(b, mark);
		break;
	case CBOR_BINARY:
		err = fail(b, c, "a value is a byte string");
		break;
	case CBOR_BREAK:
		err = fail(b, c, "not CBOR: a break where a value should be");
		break;
	case CBOR_WRONG:
		err = fail(b, c, "");
		break;
	}
	if (err)
		payload_fault_field(b, name);
	return err;
}

static int
object(struct payload_build *b, struct cbor_cursor *c, uint32_t count)
{
	int err = 0;

	for (uint32_t i = 0; i < count && !err; i += count != CBOR_ENDLESS) {
		struct cbor_item key = cbor_next(c), item;

		if (key.kind == CBOR_BREAK && count == CBOR_ENDLESS)
			return 0;
		if (key.kind != CBOR_VALUE || key.value.kind != VALUE_STRING)
			return fail(b, c, "a CBOR map's key is not a text");
		item = cbor_next(c);
		err = member(b, c, key.value.v.s, &item);
	}
	return err;
}

static int
array(struct payload_build *b, struct cbor_cursor *c, uint32_t count)
{
	char index[PAYLOAD_INDEX_MAX];
	int err = 0;

	for (uint32_t i = 0; i < count && !err; i++) {
		struct cbor_item item = cbor_next(c);

		if (item.kind == CBOR_BREAK && count == CBOR_ENDLESS)
			return 0;
		err = member(b, c, payload_index(index, i), &item);
	}
	return err;
}

int
payload_cbor_sample(struct payload_build *b, struct cbor_cursor *c)
{
	struct cbor_item item = cbor_next(c);
	int err;

	if (item.kind != CBOR_MAP)
		return fail(b, c, "an element of the outermost array is not a map");
	payload_sample_begin(b);
	err = object(b, c, item.count);
	return err ? err : payload_sample_end(b);
}
