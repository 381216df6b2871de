/* mqtt_codec.c - frames, and the sticky cursor over a body; pure */
#include "mqtt_codec_reader.h"

#include <string.h>

#include "err.h"

/* Flags that each packet type must carry (section 2.1.3, MQTT-2.1.3-1; 3.1.1: MQTT-2.2.2-1); PUBLISH carries its own. */
static const uint8_t type_flags[16] = {
	[MQTT_PUBREL] = 2,
	[MQTT_SUBSCRIBE] = 2,
	[MQTT_UNSUBSCRIBE] = 2,
};

static int
bad_frame(struct mqtt_fault *ret_fault, uint8_t reason, const char *what)
{
	*ret_fault = (struct mqtt_fault){ .reason = reason, .what = what };
	return reason == MQTT_PACKET_TOO_LARGE ? ERR_TOO_BIG : ERR_MALFORMED;
}

/* Flags other than the type's: MQTT-2.2.2-2 of 3.1.1. In 3.1 they are "not used", DUP of PUBREL, SUBSCRIBE and UNSUBSCRIBE
 * says that these come again; but whether a CONNECT is one of 3.1 stands in its body. */
static bool
flags_matter(enum mqtt_type type, unsigned version)
{
	return version != MQTT_V31 && (type != MQTT_CONNECT || version != 0);
}

static bool
is_connect_31(struct bytes body)
{
	return body.len >= 9 && memcmp(body.data, "\0\6MQIsdp\3", 9) == 0;
}

int
mqtt_frame_next(struct bytes in, unsigned version, size_t packet_max, struct mqtt_frame *ret_frame,
    size_t *ret_need, struct mqtt_fault *ret_fault)
{
	static const char flags_fault[] = "reserved flags of the fixed header";
	size_t length = 0;
	size_t header = 1;
	unsigned type, flags;

	*ret_need = 0;
	if (in.len == 0)
		return ERR_SHORT;
	type = in.data[0] >> 4;
	flags = in.data[0] & 15;
	if (type == 0)
		return bad_frame(ret_fault, MQTT_MALFORMED, "packet type 0");
	if (type == MQTT_PUBLISH) {
		if ((flags & 6) == 6)
			return bad_frame(ret_fault, MQTT_MALFORMED, "QoS 3");
	} else if (flags != type_flags[type] && flags_matter((enum mqtt_type)type, version)) {
		return bad_frame(ret_fault, MQTT_MALFORMED, flags_fault);
	}
	for (unsigned shift = 0;; shift += 7) {
		if (shift == 28)
			return bad_frame(
			    ret_fault, MQTT_MALFORMED, "remaining length of more than 4 bytes");
		if (header == in.len)
			return ERR_SHORT;
		length |= (size_t)(in.data[header] & 127) << shift;
		if (in.data[header++] < 128)
			break;
	}
	/* MQTT-1.5.5-1; earlier versions do not ask for it. */
	if (header > 2 && in.data[header - 1] == 0 &&
	    (version == MQTT_V5 || (version == 0 && mqtt_peek_level(in) == MQTT_V5)))
		return bad_frame(
		    ret_fault, MQTT_MALFORMED, "remaining length not in its shortest form");
	if (length > packet_max || header > packet_max - length)
		return bad_frame(
		    ret_fault, MQTT_PACKET_TOO_LARGE, "packet larger than mqtt.packet_max");
	if (length > in.len - header) {
		*ret_need = header + length;
		return ERR_SHORT;
	}
	if (type == MQTT_CONNECT && flags != 0 &&
	    !is_connect_31(bytes_of(in.data + header, length)))
		return bad_frame(ret_fault, MQTT_MALFORMED, flags_fault);
	*ret_frame = (struct mqtt_frame){
		.type = (enum mqtt_type)type,
		.flags = (uint8_t)flags,
		.body = bytes_of(in.data + header, length),
		.whole = bytes_of(in.data, header + length),
	};
	return 0;
}

int
mqtt_peek_level(struct bytes in)
{
	size_t at = 1;

	if (in.len < 2 || in.data[0] >> 4 != MQTT_CONNECT)
		return -1;
	while (at < in.len && at < MQTT_HEADER_MAX && in.data[at] >= 128)
		at++;
	at++;
	if (at < in.len && in.len - at >= 7 && memcmp(in.data + at, "\0\4MQTT", 6) == 0)
		return in.data[at + 6];
	if (at < in.len && in.len - at >= 9 && memcmp(in.data + at, "\0\6MQIsdp", 8) == 0)
		return in.data[at + 8];
	return -1;
}

struct mqtt_reader
mqtt_reader_of(struct bytes body)
{
	return (struct mqtt_reader){ .at = body.data,
		.end = body.len ? body.data + body.len : body.data };
}

void
mqtt_fail(struct mqtt_reader *r, uint8_t reason, const char *what)
{
	if (!r->fault.what)
		r->fault = (struct mqtt_fault){ .reason = reason, .what = what };
	r->at = r->end;
}

bool
mqtt_failed(const struct mqtt_reader *r)
{
	return r->fault.what != NULL;
}

size_t
mqtt_left(const struct mqtt_reader *r)
{
	return (size_t)(r->end - r->at);
}

/* Room for n more bytes, or the fault is set. */
static bool
want(struct mqtt_reader *r, size_t n)
{
	if (n <= mqtt_left(r))
		return true;
	mqtt_fail(r, MQTT_MALFORMED, "packet ends within a field");
	return false;
}

uint8_t
mqtt_get_u8(struct mqtt_reader *r)
{
	return want(r, 1) ? *r->at++ : 0;
}

uint16_t
mqtt_get_u16(struct mqtt_reader *r)
{
	uint16_t v;

	if (!want(r, 2))
		return 0;
	v = (uint16_t)(r->at[0] << 8 | r->at[1]);
	r->at += 2;
	return v;
}

uint32_t
mqtt_get_u32(struct mqtt_reader *r)
{
	uint32_t high = mqtt_get_u16(r);
	uint32_t low = mqtt_get_u16(r);

	return mqtt_failed(r) ? 0 : high << 16 | low;
}

uint32_t
mqtt_get_varint(struct mqtt_reader *r)
{
	uint32_t v = 0;

	for (unsigned shift = 0; shift < 28; shift += 7) {
		uint8_t b = mqtt_get_u8(r);

		v |= (uint32_t)(b & 127) << shift;
		if (b >= 128)
			continue;
		if (b == 0 && shift > 0)
			mqtt_fail(
			    r, MQTT_MALFORMED, "variable byte integer not in its shortest form");
		return mqtt_failed(r) ? 0 : v;
	}
	mqtt_fail(r, MQTT_MALFORMED, "variable byte integer of more than 4 bytes");
	return 0;
}

struct bytes
mqtt_get_binary(struct mqtt_reader *r)
{
	size_t n = mqtt_get_u16(r);
	struct bytes b;

	if (!want(r, n))
		return bytes_of(NULL, 0);
	b = bytes_of(r->at, n);
	r->at += n;
	return b;
}

struct bytes
mqtt_get_text(struct mqtt_reader *r)
{
	struct bytes b = mqtt_get_binary(r);

	if (mqtt_utf8_valid(b))
		return b;
	mqtt_fail(r, MQTT_MALFORMED, "text is not UTF-8, or holds NUL");
	return bytes_of(NULL, 0);
}

struct bytes
mqtt_get_rest(struct mqtt_reader *r)
{
	struct bytes b = bytes_of(r->at, mqtt_left(r));

	r->at = r->end;
	return b;
}

int
mqtt_reader_end(struct mqtt_reader *r, struct mqtt_fault *ret_fault)
{
	if (mqtt_left(r))
		mqtt_fail(r, MQTT_MALFORMED, "bytes left over at the end of the packet");
	if (!mqtt_failed(r))
		return 0;
	*ret_fault = r->fault;
	return ERR_MALFORMED;
}
