/* mqtt_codec_write.c - the packets that servers send; pure */
#include "mqtt_codec.h"

#include <string.h>

#include "err.h"

#define LENGTH_MAX 268435455u

static size_t
varint_size(size_t v)
{
	return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}

static uint8_t *
put_varint(uint8_t *at, size_t v)
{
	ASSERT(v <= LENGTH_MAX);
	while (v >= 128) {
		*at++ = (uint8_t)(v | 128);
		v >>= 7;
	}
	*at++ = (uint8_t)v;
	return at;
}

static uint8_t *
put_u16(uint8_t *at, size_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
	return at + 2;
}

static uint8_t *
put_u32(uint8_t *at, uint32_t v)
{
	return put_u16(put_u16(at, v >> 16), v & 0xffff);
}

static uint8_t *
put_bytes(uint8_t *at, struct bytes b)
{
	if (b.len)
		memcpy(at, b.data, b.len);
	return at + b.len;
}

static uint8_t *
put_text(uint8_t *at, struct bytes b)
{
	return put_bytes(put_u16(at, b.len), b);
}

/* A text we wrote ourselves: never longer than a length field can say. */
static struct bytes
capped(struct bytes text)
{
	return bytes_of(text.data, text.len > 1024 ? 1024 : text.len);
}

/* Opens a packet of that body length; the caller writes the body and calls close_packet(). */
static uint8_t *
open_packet(struct buf *out, unsigned first, size_t length)
{
	uint8_t *at = buf_reserve(out, MQTT_HEADER_MAX + length);

	if (!at)
		return NULL;
	*at++ = (uint8_t)first;
	return put_varint(at, length);
}

static void
close_packet(struct buf *out, const uint8_t *end)
{
	out->len = (size_t)(end - out->data);
	ASSERT(out->len <= out->cap);
}

/* Section 3.2.2.3 of 3.1.1; -1: it has none. */
static int
return_code(uint8_t reason)
{
	switch (reason) {
	case MQTT_SUCCESS:
		return 0;
	case MQTT_BAD_VERSION:
		return 1;
	case MQTT_BAD_CLIENT_ID:
		return 2;
	case MQTT_SERVER_UNAVAILABLE:
	case MQTT_SERVER_BUSY:
	case MQTT_QUOTA_EXCEEDED:
	case MQTT_CONNECTION_RATE:
		return 3;
	case MQTT_BAD_CREDENTIALS:
		return 4;
	case MQTT_NOT_AUTHORIZED:
		return 5;
	default:
		return -1;
	}
}

/* A session is present only where the connection is accepted (MQTT-3.2.2-6; 3.1.1: MQTT-3.2.2-4). */
static bool
session_present(const struct mqtt_connack *c)
{
	return c->session_present && c->reason == MQTT_SUCCESS;
}

static int
put_connack_3(struct buf *out, unsigned version, const struct mqtt_connack *c)
{
	int code = return_code(c->reason);
	uint8_t *at;

	if (code < 0)
		return ERR_UNSUPPORTED;
	at = open_packet(out, MQTT_CONNACK << 4, 2);
	if (!at)
		return 0;
	*at++ = version > MQTT_V31 && session_present(c);
	*at++ = (uint8_t)code;
	close_packet(out, at);
	return 0;
}

/* What the server is able to do, and what it made of the CONNECT; MQTT 5 section 3.2.2.3. */
static uint8_t *
put_connack_props(uint8_t *p, const struct mqtt_connack *c)
{
	if (c->has_session_expiry) {
		*p++ = MQTT_PROP_SESSION_EXPIRY;
		p = put_u32(p, c->session_expiry);
	}
	if (c->packet_max) {
		*p++ = MQTT_PROP_RECEIVE_MAXIMUM;
		p = put_u16(p, c->receive_maximum);
		*p++ = MQTT_PROP_PACKET_MAX;
		p = put_u32(p, c->packet_max);
		*p++ = MQTT_PROP_ALIAS_MAXIMUM;
		p = put_u16(p, c->alias_maximum);
	}
	if (c->has_server_keep_alive) {
		*p++ = MQTT_PROP_SERVER_KEEP_ALIVE;
		p = put_u16(p, c->server_keep_alive_s);
	}
	if (c->assigned_id.len) {
		*p++ = MQTT_PROP_ASSIGNED_ID;
		p = put_text(p, capped(c->assigned_id));
	}
	if (c->response_information.len) {
		*p++ = MQTT_PROP_RESPONSE_INFORMATION;
		p = put_text(p, capped(c->response_information));
	}
	return p;
}

static size_t
connack_size(size_t props)
{
	size_t length = 2 + varint_size(props) + props;

	return 1 + varint_size(length) + length;
}

int
mqtt_put_connack(struct buf *out, unsigned version, const struct mqtt_connack *c)
{
	uint8_t props[4096];
	struct bytes text = capped(c->reason_string);
	uint8_t *p = props;
	uint8_t *at;
	size_t len;

	if (version < MQTT_V5)
		return put_connack_3(out, version, c);
	p = put_connack_props(p, c);
	len = (size_t)(p - props);
	if (c->size_max && connack_size(len) > c->size_max)
		return ERR_TOO_BIG;
	/* MQTT-3.2.2-19 */
	if (text.len && (!c->size_max || connack_size(len + 3 + text.len) <= c->size_max)) {
		*p++ = MQTT_PROP_REASON_STRING;
		p = put_text(p, text);
		len = (size_t)(p - props);
	}
	at = open_packet(out, MQTT_CONNACK << 4, 2 + varint_size(len) + len);
	if (!at)
		return 0;
	*at++ = session_present(c);
	*at++ = c->reason;
	at = put_varint(at, len);
	close_packet(out, put_bytes(at, bytes_of(props, len)));
	return 0;
}

static size_t
publish_props_size(unsigned version, const struct mqtt_outgoing *p)
{
	size_t n = p->props.len + (p->has_expiry ? 5 : 0) + (p->alias ? 3 : 0);

	if (version < MQTT_V5)
		return 0;
	for (size_t i = 0; i < p->subscription_id_count; i++)
		n += 1 + varint_size(p->subscription_ids[i]);
	return n;
}

static size_t
publish_length(unsigned version, const struct mqtt_outgoing *p, size_t props)
{
	return 2 + p->topic.len + (p->qos ? 2 : 0) +
	       (version == MQTT_V5 ? varint_size(props) + props : 0) + p->payload.len;
}

size_t
mqtt_publish_size(unsigned version, const struct mqtt_outgoing *p)
{
	size_t length = publish_length(version, p, publish_props_size(version, p));

	return 1 + varint_size(length) + length;
}

void
mqtt_put_publish(struct buf *out, unsigned version, const struct mqtt_outgoing *p)
{
	size_t props = publish_props_size(version, p);
	unsigned first =
	    MQTT_PUBLISH << 4 | (p->dup ? 8u : 0u) | p->qos << 1 | (p->retain ? 1u : 0u);
	uint8_t *at = open_packet(out, first, publish_length(version, p, props));

	if (!at)
		return;
	at = put_text(at, p->topic);
	if (p->qos)
		at = put_u16(at, p->packet_id);
	if (version == MQTT_V5) {
		at = put_varint(at, props);
		if (p->has_expiry) {
			*at++ = MQTT_PROP_MESSAGE_EXPIRY;
			at = put_u32(at, p->expiry_s);
		}
		if (p->alias) {
			*at++ = MQTT_PROP_ALIAS;
			at = put_u16(at, p->alias);
		}
		for (size_t i = 0; i < p->subscription_id_count; i++) {
			*at++ = MQTT_PROP_SUBSCRIPTION_ID;
			at = put_varint(at, p->subscription_ids[i]);
		}
		at = put_bytes(at, p->props);
	}
	close_packet(out, put_bytes(at, p->payload));
}

/* Nothing but a reason string, which PUBREL and PUBCOMP never have, and the caller leaves out where there is no room
 * (MQTT-3.4.2-2, -3, MQTT-3.5.2-2, -3, MQTT-3.6.2-2, -3, MQTT-3.7.2-2, -3). */
void
mqtt_put_ack(struct buf *out, unsigned version, enum mqtt_type type, uint16_t packet_id,
    uint8_t reason, struct bytes reason_string)
{
	unsigned first = (unsigned)type << 4 | (type == MQTT_PUBREL ? 2u : 0u);
	struct bytes text = capped(reason_string);
	size_t props = text.len ? 3 + text.len : 0;
	size_t length = 2;
	uint8_t *at;

	if (version == MQTT_V5 && (reason || props))
		length = 3 + (props ? varint_size(props) + props : 0);
	at = open_packet(out, first, length);
	if (!at)
		return;
	at = put_u16(at, packet_id);
	if (length > 2)
		*at++ = reason;
	if (length > 3) {
		at = put_varint(at, props);
		*at++ = MQTT_PROP_REASON_STRING;
		at = put_text(at, text);
	}
	close_packet(out, at);
}

/* Identifier, reasons; no properties: MQTT-3.9.2-1, -2, MQTT-3.11.2-1, -2. */
static size_t
suback_length(unsigned version, enum mqtt_type type, size_t reasons)
{
	return version == MQTT_V5 ? 3 + reasons : 2 + (type == MQTT_UNSUBACK ? 0 : reasons);
}

size_t
mqtt_suback_size(unsigned version, enum mqtt_type type, size_t reasons)
{
	size_t length = suback_length(version, type, reasons);

	return 1 + varint_size(length) + length;
}

void
mqtt_put_suback(struct buf *out, unsigned version, enum mqtt_type type, uint16_t packet_id,
    struct bytes reasons)
{
	size_t count = version < MQTT_V5 && type == MQTT_UNSUBACK ? 0 : reasons.len;
	uint8_t failure = version == MQTT_V31 ? 0 : MQTT_UNSPECIFIED;
	uint8_t *at =
	    open_packet(out, (unsigned)type << 4, suback_length(version, type, reasons.len));

	if (!at)
		return;
	at = put_u16(at, packet_id);
	if (version == MQTT_V5)
		*at++ = 0;
	for (size_t i = 0; i < count; i++)
		*at++ = version < MQTT_V5 && reasons.data[i] >= MQTT_UNSPECIFIED ? failure
										 : reasons.data[i];
	close_packet(out, at);
}

void
mqtt_put_pingresp(struct buf *out)
{
	const uint8_t packet[2] = { MQTT_PINGRESP << 4, 0 };

	buf_add(out, packet, sizeof(packet));
}

void
mqtt_put_disconnect(struct buf *out, uint8_t reason, struct bytes reason_string)
{
	struct bytes text = capped(reason_string);
	size_t props = text.len ? 3 + text.len : 0;
	size_t length = props ? 1 + varint_size(props) + props : 1;
	uint8_t *at = open_packet(out, MQTT_DISCONNECT << 4, length);

	if (!at)
		return;
	*at++ = reason;
	if (props) {
		at = put_varint(at, props);
		*at++ = MQTT_PROP_REASON_STRING;
		at = put_text(at, text);
	}
	close_packet(out, at);
}
