/* payload.c - what devices send -> points; pure */
#include "payload.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "payload_build.h"
#include "payload_flat.h"
#include "utf8.h"

struct payload_decoder {
	struct payload_build build;
	struct payload_flat flat;
	struct payload_json *json;
};

struct payload_decoder *
payload_decoder_new(void)
{
	struct payload_decoder *d = xcalloc(1, sizeof(*d));

	d->json = payload_json_new();
	return d;
}

void
payload_decoder_free(struct payload_decoder **d)
{
	if (!*d)
		return;
	payload_json_free((*d)->json);
	free((*d)->build.points);
	free((*d)->build.names);
	free(*d);
	*d = NULL;
}

/* No JSON text begins with these bytes, and neither does UTF-8 text with the first two ranges. */
static bool
is_msgpack(struct bytes payload)
{
	uint8_t first = payload.data[0];

	return (first >= 0x80 && first <= 0x9f) || (first >= 0xdc && first <= 0xdf);
}

static struct bytes
trimmed(struct bytes text)
{
	while (text.len && strchr(" \t\r\n", text.data[text.len - 1]) && text.data[text.len - 1])
		text.len--;
	while (text.len && strchr(" \t\r\n", text.data[0]) && text.data[0])
		text = bytes_of(text.data + 1, text.len - 1);
	return text;
}

/* ON, open, Tür zu: begins like a word and is none of JSON's three. */
static bool
is_text(struct bytes text)
{
	uint8_t first = text.len ? text.data[0] : 0;

	if (!((first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') || first >= 0x80))
		return false;
	if (bytes_equal_str(text, "true") || bytes_equal_str(text, "false") ||
	    bytes_equal_str(text, "null"))
		return false;
	return utf8_valid(text) && !utf8_has_control(text);
}

static void
reset(struct payload_build *b, int64_t now_us)
{
	b->count = 0;
	b->quarantined = 0;
	b->now_us = now_us;
	b->time = now_us;
	b->device_time = false;
	b->names_len = 0;
	b->fault_placed = false;
	b->fault_field_len = 0;
}

static int
decode(struct payload_decoder *d, enum payload_format format, struct bytes payload,
    struct bytes metric)
{
	struct bytes text;

	if (payload.len == 0)
		return payload_fail(&d->build, ERR_MALFORMED, "the payload is empty");
	if (payload.len > PAYLOAD_BYTES_MAX)
		return payload_fail(
		    &d->build, ERR_TOO_BIG, "the payload is longer than 1000000 bytes");
	switch (format) {
	case PAYLOAD_TEXT:
		text = trimmed(payload);
		if (is_text(text)) {
			struct value v = { .kind = VALUE_STRING, .v = { .s = text } };

			return payload_bare(&d->build, metric, &v);
		}
		break;
	case PAYLOAD_ANY:
		break;
	case PAYLOAD_JSON:
		return payload_json_decode(d->json, &d->build, payload, metric);
	case PAYLOAD_MSGPACK:
		return payload_msgpack_decode(&d->build, payload, metric);
	}
	if (is_msgpack(payload))
		return payload_msgpack_decode(&d->build, payload, metric);
	return payload_json_decode(d->json, &d->build, payload, metric);
}

void
payload_decoder_latest(struct payload_decoder *d, int64_t latest_us)
{
	if (latest_us > d->build.latest_us)
		d->build.latest_us = latest_us;
}

int64_t
payload_decoder_known(const struct payload_decoder *d)
{
	return d->build.latest_us;
}

int
payload_decode(struct payload_decoder *d, enum payload_format format, struct bytes payload,
    struct bytes metric, int64_t now_us, struct payload_result *ret, struct buf *reason)
{
	struct payload_build *b = &d->build;
	int err = 0;

	reset(b, now_us);
	if (format == PAYLOAD_MSGPACK || !payload_flat_decode(&d->flat, b, payload)) {
		reset(b, now_us);
		err = decode(d, format, payload, metric);
	}
	if (err) {
		if (reason && b->fault_placed)
			buf_addf(reason, "%s, at byte %zu", b->fault, b->fault_at);
		else if (reason)
			buf_add_str(reason, b->fault);
		return err;
	}
	*ret = (struct payload_result){
		.points = b->points,
		.count = b->count,
		.quarantined = b->quarantined,
		.time = b->time,
		.device_time = b->device_time,
	};
	return 0;
}
