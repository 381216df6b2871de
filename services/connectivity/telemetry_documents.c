/* telemetry_documents.c - JSON, msgpack and CBOR documents, sample by sample; pure */
#include "telemetry_impl.h"

#include <string.h>

#include "codec.h"
#include "err.h"
#include "payload_cbor.h"

/* --- JSON --- */

enum json_state {
	JSON_START, /* nothing was there yet */
	JSON_APART, /* a space is needed before the next value */
	JSON_TOP,
	JSON_FIRST, /* in an array, before its first element */
	JSON_MORE,  /* in an array, behind an element */
};

static bool
is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* At the end of the body and between its values. */
static int
json_top(struct telemetry *t, struct telemetry_cursor *c, bool spaced)
{
	if (c->at == c->body.len && c->state == JSON_START)
		return telemetry_fail(t, ERR_MALFORMED, c->at, "the document is empty");
	if (c->at == c->body.len)
		return ERR_NOT_FOUND;
	if (c->state == JSON_APART && !spaced)
		return telemetry_fail(
		    t, ERR_MALFORMED, c->at, "not JSON: something follows the value");
	if (c->body.data[c->at] == '[') {
		c->at++;
		c->state = JSON_FIRST;
	} else if (c->body.data[c->at] == '{') {
		c->state = JSON_APART;
	} else {
		return telemetry_fail(t, ERR_MALFORMED, c->at,
		    "not JSON: neither an object nor an array begins here");
	}
	return 0;
}

/* In an array. ret_value: an element begins at c->at. */
static int
json_array(struct telemetry *t, struct telemetry_cursor *c, bool *ret_value)
{
	uint8_t first = c->at < c->body.len ? c->body.data[c->at] : 0;

	*ret_value = false;
	if (c->at == c->body.len)
		return telemetry_fail(t, ERR_MALFORMED, c->at, "not JSON: it ends too early");
	if (first == ']') {
		c->at++;
		c->state = JSON_APART;
		return 0;
	}
	if (c->state == JSON_MORE) {
		if (first != ',')
			return telemetry_fail(
			    t, ERR_MALFORMED, c->at, "not JSON: a comma or bracket is missing");
		c->at++;
		while (c->at < c->body.len && is_space(c->body.data[c->at]))
			c->at++;
		first = c->at < c->body.len ? c->body.data[c->at] : 0;
	}
	if (first != '{')
		return telemetry_fail(
		    t, ERR_MALFORMED, c->at, "an element of the outermost array is not an object");
	c->state = JSON_MORE;
	*ret_value = true;
	return 0;
}

int
telemetry_json_seek(struct telemetry *t, struct telemetry_cursor *c)
{
	bool value = false;
	int err = 0;

	while (!err && !value) {
		size_t from = c->at;

		while (c->at < c->body.len && is_space(c->body.data[c->at]))
			c->at++;
		if (c->state == JSON_FIRST || c->state == JSON_MORE) {
			err = json_array(t, c, &value);
		} else {
			err = json_top(t, c, c->at > from);
			value = c->state == JSON_APART;
		}
	}
	return err;
}

struct bytes
telemetry_json_span(const struct telemetry_cursor *c)
{
	const uint8_t *at = c->body.data + c->at, *end = c->body.data + c->body.len;
	const uint8_t *first = at;
	unsigned depth = 0;

	for (; at < end; at++) {
		if (*at == '"') {
			for (at++; at < end && *at != '"'; at++)
				at += *at == '\\';
			if (at >= end)
				break;
		} else if (*at == '{' || *at == '[') {
			depth++;
		} else if ((*at == '}' || *at == ']') && --depth == 0) {
			return bytes_of(first, (size_t)(at + 1 - first));
		}
	}
	return bytes_of(first, (size_t)(end - first));
}

int
telemetry_json_sample(struct telemetry *t, struct telemetry_cursor *c)
{
	struct payload_build *b = &t->build;
	uint32_t count = b->count, quarantined = b->quarantined;
	size_t used, names_len = b->names_len;
	struct bytes text;
	int err = telemetry_json_seek(t, c);

	if (err)
		return err;
	t->sample_at = c->at;
	if (payload_flat_first(
		&t->flat, b, bytes_of(c->body.data + c->at, c->body.len - c->at), &used)) {
		c->at += used;
		return 0;
	}
	b->count = count;
	b->quarantined = quarantined;
	b->names_len = names_len;
	b->device = (struct bytes){ 0 };
	b->time = b->now_us;
	b->device_time = false;
	b->fault_field_len = 0;
	text = telemetry_json_span(c);
	if (text.len > PAYLOAD_BYTES_MAX)
		return telemetry_fail(
		    t, ERR_TOO_BIG, c->at, "a sample is longer than 1000000 bytes");
	err = payload_json_decode(t->json, b, text, (struct bytes){ 0 });
	if (err)
		return telemetry_fail_in(t, c->at, err);
	c->at += text.len;
	return 0;
}

/* --- msgpack and CBOR --- */

enum binary_state { BINARY_START, BINARY_IN, BINARY_DONE };

static int
binary_end(struct telemetry *t, const struct telemetry_cursor *c)
{
	if (c->at != c->body.len)
		return telemetry_fail(t, ERR_MALFORMED, c->at, "something follows the document");
	return ERR_NOT_FOUND;
}

/* ERR_NOT_FOUND: there is no element left. */
static int
binary_take(struct telemetry *t, struct telemetry_cursor *c)
{
	if (c->state == BINARY_IN && c->left == 0)
		c->state = BINARY_DONE;
	if (c->state == BINARY_DONE)
		return binary_end(t, c);
	if (c->left != CBOR_ENDLESS)
		c->left--;
	return 0;
}

static int
binary_sample_end(
    struct telemetry *t, struct telemetry_cursor *c, const uint8_t *at, size_t from, int err)
{
	size_t place = (size_t)(at - c->body.data);

	if (err)
		return telemetry_fail(t, err, place, t->build.fault);
	if (place - from > PAYLOAD_BYTES_MAX)
		return telemetry_fail(
		    t, ERR_TOO_BIG, from, "a sample is longer than 1000000 bytes");
	c->at = place;
	return 0;
}

int
telemetry_msgpack_sample(struct telemetry *t, struct telemetry_cursor *c)
{
	struct mp_cursor mp = mp_cursor_of(bytes_of(c->body.data + c->at, c->body.len - c->at));
	size_t from;
	int err;

	if (c->state == BINARY_START) {
		uint8_t first = mp_peek(&mp);

		if (c->body.len == 0)
			return telemetry_fail(t, ERR_MALFORMED, 0, "the document is empty");
		c->state = BINARY_IN;
		c->left = 1;
		if ((first & 0xf0) == 0x90 || first == 0xdc || first == 0xdd) {
			c->left = mp_get_array(&mp);
			if (mp.failed)
				return telemetry_fail(
				    t, ERR_MALFORMED, c->at, "not msgpack: it ends too early");
			c->at = (size_t)(mp.at - c->body.data);
		} else if ((first & 0xf0) != 0x80 && first != 0xde && first != 0xdf) {
			return telemetry_fail(
			    t, ERR_MALFORMED, 0, "neither a msgpack map nor an array of them");
		}
	}
	err = binary_take(t, c);
	if (err)
		return err;
	from = c->at;
	t->sample_at = from;
	if (mp.at != mp.end && (mp_peek(&mp) & 0xf0) != 0x80 && mp_peek(&mp) != 0xde &&
	    mp_peek(&mp) != 0xdf)
		return telemetry_fail(
		    t, ERR_MALFORMED, from, "an element of the outermost array is not a map");
	err = payload_msgpack_sample(&t->build, &mp);
	return binary_sample_end(t, c, mp.at, from, err);
}

int
telemetry_cbor_seek(struct telemetry *t, struct telemetry_cursor *c)
{
	struct cbor_cursor cbor =
	    cbor_cursor_of(bytes_of(c->body.data + c->at, c->body.len - c->at));
	struct cbor_item item;

	if (c->state == BINARY_START) {
		if (c->body.len == 0)
			return telemetry_fail(t, ERR_MALFORMED, 0, "the document is empty");
		item = cbor_next(&cbor);
		c->state = BINARY_IN;
		c->left = 1;
		if (item.kind == CBOR_WRONG)
			return telemetry_fail(
			    t, ERR_MALFORMED, (size_t)(cbor.at - c->body.data), cbor.fault);
		if (item.kind == CBOR_ARRAY) {
			c->left = item.count;
			c->at = (size_t)(cbor.at - c->body.data);
		} else if (item.kind != CBOR_MAP) {
			return telemetry_fail(
			    t, ERR_MALFORMED, 0, "neither a CBOR map nor an array of them");
		}
	}
	if (c->state == BINARY_IN && c->left == CBOR_ENDLESS && c->at < c->body.len &&
	    c->body.data[c->at] == 0xff) {
		c->at++;
		c->state = BINARY_DONE;
	}
	return binary_take(t, c);
}

int
telemetry_cbor_sample(struct telemetry *t, struct telemetry_cursor *c)
{
	struct cbor_cursor cbor;
	size_t from;
	int err = telemetry_cbor_seek(t, c);

	if (err)
		return err;
	from = c->at;
	t->sample_at = from;
	cbor = cbor_cursor_of(bytes_of(c->body.data + c->at, c->body.len - c->at));
	err = payload_cbor_sample(&t->build, &cbor);
	return binary_sample_end(t, c, cbor.at, from, err);
}
