/* payload_msgpack.c - msgpack payloads, shaped as the JSON ones; pure */
#include "payload_build.h"

#include <string.h>

#include "codec.h"
#include "err.h"
#include "utf8.h"

enum kind {
	KIND_MAP,
	KIND_ARRAY,
	KIND_STRING,
	KIND_NIL,
	KIND_BOOL,
	KIND_UINT,
	KIND_INT,
	KIND_DOUBLE,
	KIND_OTHER
};

static enum kind
kind_of(uint8_t first)
{
	if (first <= 0x7f)
		return KIND_UINT;
	if (first <= 0x8f)
		return KIND_MAP;
	if (first <= 0x9f)
		return KIND_ARRAY;
	if (first <= 0xbf)
		return KIND_STRING;
	if (first >= 0xe0)
		return KIND_INT;
	switch (first) {
	case 0xc0:
		return KIND_NIL;
	case 0xc2:
	case 0xc3:
		return KIND_BOOL;
	case 0xca:
	case 0xcb:
		return KIND_DOUBLE;
	case 0xcc:
	case 0xcd:
	case 0xce:
	case 0xcf:
		return KIND_UINT;
	case 0xd0:
	case 0xd1:
	case 0xd2:
	case 0xd3:
		return KIND_INT;
	case 0xd9:
	case 0xda:
	case 0xdb:
		return KIND_STRING;
	case 0xdc:
	case 0xdd:
		return KIND_ARRAY;
	case 0xde:
	case 0xdf:
		return KIND_MAP;
	default:
		return KIND_OTHER;
	}
}

static int
fail_short(struct payload_build *b)
{
	return payload_fail(b, ERR_MALFORMED, "not msgpack: it ends too early");
}

static int
scalar(
    struct payload_build *b, struct mp_cursor *c, enum kind kind, struct value *ret, bool *ret_null)
{
	uint64_t u;

	*ret_null = false;
	switch (kind) {
	case KIND_STRING:
		ret->kind = VALUE_STRING;
		ret->v.s = mp_get_str(c);
		if (!utf8_valid(ret->v.s))
			return payload_fail(b, ERR_MALFORMED, "a text is not UTF-8");
		break;
	case KIND_NIL:
		*ret_null = true;
		mp_skip(c);
		break;
	case KIND_BOOL:
		ret->kind = VALUE_BOOL;
		ret->v.b = mp_get_bool(c);
		break;
	case KIND_UINT:
		u = mp_get_uint(c);
		if (u > INT64_MAX) {
			ret->kind = VALUE_DOUBLE;
			ret->v.f = (double)u;
		} else {
			ret->kind = VALUE_INT;
			ret->v.i = (int64_t)u;
		}
		break;
	case KIND_INT:
		ret->kind = VALUE_INT;
		ret->v.i = mp_get_int(c);
		break;
	case KIND_DOUBLE:
		ret->kind = VALUE_DOUBLE;
		ret->v.f = mp_get_double(c);
		break;
	case KIND_MAP:
	case KIND_ARRAY:
	case KIND_OTHER:
		return payload_fail(b, ERR_MALFORMED,
		    "a msgpack value is neither nil, boolean, number, text, array nor map");
	}
	return c->failed ? fail_short(b) : 0;
}

static int object(struct payload_build *b, struct mp_cursor *c);
static int array(struct payload_build *b, struct mp_cursor *c);

/* Recursion ends at PAYLOAD_DEPTH_MAX: payload_enter() refuses. */
static int
member(struct payload_build *b, struct mp_cursor *c, struct bytes name)
{
	enum kind kind = kind_of(mp_peek(c));
	struct value v;
	size_t mark;
	bool null;
	int err;

	if (kind != KIND_MAP && kind != KIND_ARRAY) {
		err = c->at == c->end ? fail_short(b) : scalar(b, c, kind, &v, &null);
		if (!err && !null)
			err = payload_value(b, name, &v);
	} else {
		err = payload_enter(
		    b, kind == KIND_MAP ? PAYLOAD_OBJECT : PAYLOAD_ARRAY, name, &mark);
		if (!err)
			err = kind == KIND_MAP ? object(b, c) : array(b, c);
		if (!err)
			payload_leave(b, mark);
	}
	if (err)
		payload_fault_field(b, name);
	return err;
}

static int
object(struct payload_build *b, struct mp_cursor *c)
{
	uint32_t n = mp_get_map(c);
	struct bytes name;
	int err = 0;

	for (uint32_t i = 0; i < n && !err && !c->failed; i++) {
		if (c->at != c->end && kind_of(mp_peek(c)) != KIND_STRING)
			return payload_fail(b, ERR_MALFORMED, "a msgpack map's key is not a text");
		name = mp_get_str(c);
		if (c->failed)
			break;
		if (!utf8_valid(name))
			return payload_fail(b, ERR_MALFORMED, "a name is not UTF-8");
		err = member(b, c, name);
	}
	return err || !c->failed ? err : fail_short(b);
}

static int
array(struct payload_build *b, struct mp_cursor *c)
{
	uint32_t n = mp_get_array(c);
	char text[PAYLOAD_INDEX_MAX];
	int err = 0;

	for (uint32_t i = 0; i < n && !err && !c->failed; i++)
		err = member(b, c, payload_index(text, i));
	return err || !c->failed ? err : fail_short(b);
}

int
payload_msgpack_sample(struct payload_build *b, struct mp_cursor *c)
{
	int err;

	payload_sample_begin(b);
	err = object(b, c);
	return err ? err : payload_sample_end(b);
}

static int
samples(struct payload_build *b, struct mp_cursor *c)
{
	uint32_t n = mp_get_array(c);
	int err = 0;

	for (uint32_t i = 0; i < n && !err && !c->failed; i++) {
		if (c->at != c->end && kind_of(mp_peek(c)) != KIND_MAP)
			return payload_fail(
			    b, ERR_MALFORMED, "an element of the outermost array is not a map");
		err = payload_msgpack_sample(b, c);
	}
	return err || !c->failed ? err : fail_short(b);
}

int
payload_msgpack_decode(struct payload_build *b, struct bytes payload, struct bytes metric)
{
	struct mp_cursor c = mp_cursor_of(payload);
	struct value v;
	bool null = false;
	int err = 0;

	if (payload.len == 0)
		return payload_fail(b, ERR_MALFORMED, "the payload is empty");
	switch (kind_of(mp_peek(&c))) {
	case KIND_MAP:
		err = payload_msgpack_sample(b, &c);
		break;
	case KIND_ARRAY:
		err = samples(b, &c);
		break;
	case KIND_STRING:
	case KIND_NIL:
	case KIND_BOOL:
	case KIND_UINT:
	case KIND_INT:
	case KIND_DOUBLE:
	case KIND_OTHER:
		err = scalar(b, &c, kind_of(mp_peek(&c)), &v, &null);
		if (!err && !null)
			err = payload_bare(b, metric, &v);
		break;
	}
	if (!err && c.at != c.end)
		err = payload_fail(b, ERR_MALFORMED, "not msgpack: something follows the value");
	if (err && c.at && c.at <= c.end) {
		b->fault_at = (size_t)(c.at - payload.data);
		b->fault_placed = true;
	}
	return err;
}
