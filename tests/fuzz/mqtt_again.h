/* mqtt_again.h - writes a client's packet once more, from what the codec made of it; shares no code with the codec
 *
 * What was accepted and is canonical comes out as it came in. Not canonical: a reason of 0 that could have been left out, a
 * remaining length with more bytes than it needs (before 5.0), and bits that mean nothing in 3.1. */
#ifndef ROOST_FUZZ_MQTT_AGAIN_H
#define ROOST_FUZZ_MQTT_AGAIN_H

#include "err.h"
#include "mqtt_codec.h"

union again {
	struct mqtt_connect connect;
	struct mqtt_publish publish;
	struct mqtt_ack ack;
	struct mqtt_subscribe subscribe;
	struct mqtt_disconnect disconnect;
};

static inline int
again_parse(const struct mqtt_frame *f, unsigned version, union again *ret, struct mqtt_fault *fault)
{
	switch (f->type) {
	case MQTT_CONNECT:
		return mqtt_parse_connect(f, &ret->connect, fault);
	case MQTT_PUBLISH:
		return mqtt_parse_publish(f, version, &ret->publish, fault);
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		return mqtt_parse_ack(f, version, &ret->ack, fault);
	case MQTT_SUBSCRIBE:
	case MQTT_UNSUBSCRIBE:
		return mqtt_parse_subscribe(f, version, &ret->subscribe, fault);
	case MQTT_DISCONNECT:
	case MQTT_AUTH:
		return mqtt_parse_disconnect(f, version, &ret->disconnect, fault);
	case MQTT_PINGREQ:
	case MQTT_CONNACK:
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
	case MQTT_PINGRESP:
		break;
	}
	return mqtt_parse_empty(f, fault);
}

static inline void
again_number(struct buf *out, uint32_t v, unsigned bytes)
{
	while (bytes--)
		buf_add_u8(out, (uint8_t)(v >> 8 * bytes));
}

static inline void
again_varint(struct buf *out, size_t v)
{
	do {
		buf_add_u8(out, (uint8_t)((v & 127) | (v > 127 ? 128 : 0)));
		v >>= 7;
	} while (v);
}

static inline void
again_text(struct buf *out, struct bytes body)
{
	again_number(out, (uint32_t)body.len, 2);
	buf_add(out, body.data, body.len);
}

static inline size_t
again_text_len(const uint8_t *at)
{
	return 2 + (size_t)(at[0] << 8 | at[1]);
}

/* One property's value from its field; user properties, which have none, from the packet. Returns what is behind it. */
static inline const uint8_t *
again_prop(struct buf *out, unsigned id, const struct mqtt_props *p, const uint8_t *at)
{
	size_t len;

#define BYTE(field) return again_number(out, p->field, 1), at + 1
#define SHORT(field) return again_number(out, p->field, 2), at + 2
#define LONG(field) return again_number(out, p->field, 4), at + 4
#define TEXT(field) return again_text(out, p->field), at + again_text_len(at)
	switch (id) {
	case 0x01:
		BYTE(payload_format);
	case 0x02:
		LONG(message_expiry);
	case 0x03:
		TEXT(content_type);
	case 0x08:
		TEXT(response_topic);
	case 0x09:
		TEXT(correlation);
	case 0x0b:
		again_varint(out, p->subscription_id);
		while (*at++ & 128)
			;
		return at;
	case 0x11:
		LONG(session_expiry);
	case 0x15:
		TEXT(auth_method);
	case 0x16:
		TEXT(auth_data);
	case 0x17:
		BYTE(problem_info);
	case 0x18:
		LONG(will_delay);
	case 0x19:
		BYTE(response_info);
	case 0x1c:
		TEXT(server_reference);
	case 0x1f:
		TEXT(reason_string);
	case 0x21:
		SHORT(receive_maximum);
	case 0x22:
		SHORT(alias_maximum);
	case 0x23:
		SHORT(alias);
	case 0x26:
		len = again_text_len(at);
		len += again_text_len(at + len);
		buf_add(out, at, len);
		return at + len;
	case 0x27:
		LONG(packet_max);
	default:
		ASSERT(id == 0x01); /* those of CONNACK were refused */
	}
#undef BYTE
#undef SHORT
#undef LONG
#undef TEXT
	return at;
}

static inline void
again_props(struct buf *out, unsigned version, const struct mqtt_props *p)
{
	const uint8_t *at = p->raw.data;
	uint64_t seen = 0;

	if (version < 5)
		return;
	again_varint(out, p->raw.len);
	while (at && at < p->raw.data + p->raw.len) {
		unsigned id = *at++;

		ASSERT(mqtt_has(p, (enum mqtt_prop)id));
		seen |= 1ull << id;
		buf_add_u8(out, (uint8_t)id);
		at = again_prop(out, id, p, at);
	}
	ASSERT(seen == p->present);
}

static inline void
again_connect(struct buf *body, const struct mqtt_connect *c)
{
	again_text(body, bytes_of_str(c->version == 3 ? "MQIsdp" : "MQTT"));
	again_number(body, c->version, 1);
	again_number(body, (c->has_username ? 128u : 0) | (c->has_password ? 64u : 0) | (c->will_retain ? 32u : 0) |
		c->will_qos << 3 | (c->has_will ? 4u : 0) | (c->clean ? 2u : 0), 1);
	again_number(body, c->keep_alive_s, 2);
	again_props(body, c->version, &c->props);
	again_text(body, c->client_id);
	if (c->has_will) {
		again_props(body, c->version, &c->will_props);
		again_text(body, c->will_topic);
		again_text(body, c->will_payload);
	}
	if (c->has_username)
		again_text(body, c->username);
	if (c->has_password)
		again_text(body, c->password);
}

/* Reason and properties of PUBACK to PUBCOMP, DISCONNECT, AUTH: as little as says it. */
static inline void
again_reason(struct buf *body, unsigned version, uint8_t reason, const struct mqtt_props *p)
{
	if (version < 5 || (reason == 0 && p->raw.len == 0))
		return;
	again_number(body, reason, 1);
	if (p->raw.len)
		again_props(body, version, p);
}

static inline void
again_filters(struct buf *body, struct mqtt_subscribe s)
{
	struct mqtt_filter f;
	uint32_t n = 0;

	for (; mqtt_filter_next(&s, &f); n++) {
		ASSERT(mqtt_filter_valid(f.filter));
		again_text(body, f.filter);
		if (s.options)
			again_number(body, f.qos | (f.no_local ? 4u : 0) | (f.retain_as_published ? 8u : 0) |
				(unsigned)f.retain_handling << 4, 1);
	}
	ASSERT(n == s.count && n > 0);
}

static inline void
again_body(struct buf *body, enum mqtt_type type, unsigned version, const union again *p)
{
	switch (type) {
	case MQTT_CONNECT:
		again_connect(body, &p->connect);
		break;
	case MQTT_PUBLISH:
		again_text(body, p->publish.topic);
		if (p->publish.qos)
			again_number(body, p->publish.packet_id, 2);
		again_props(body, version, &p->publish.props);
		buf_add(body, p->publish.payload.data, p->publish.payload.len);
		break;
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		again_number(body, p->ack.packet_id, 2);
		again_reason(body, version, p->ack.reason, &p->ack.props);
		break;
	case MQTT_SUBSCRIBE:
	case MQTT_UNSUBSCRIBE:
		again_number(body, p->subscribe.packet_id, 2);
		again_props(body, version, &p->subscribe.props);
		again_filters(body, p->subscribe);
		break;
	case MQTT_DISCONNECT:
	case MQTT_AUTH:
		again_reason(body, version, p->disconnect.reason, &p->disconnect.props);
		break;
	case MQTT_PINGREQ:
	case MQTT_CONNACK:
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
	case MQTT_PINGRESP:
		break;
	}
}

/* Appends the whole packet. */
static inline void
again_write(struct buf *out, enum mqtt_type type, unsigned version, const union again *p)
{
	unsigned flags = type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE ? 2 : 0;
	struct buf body = { 0 };

	if (type == MQTT_PUBLISH)
		flags = (p->publish.dup ? 8u : 0) | p->publish.qos << 1 | (p->publish.retain ? 1u : 0);
	again_body(&body, type, type == MQTT_CONNECT ? p->connect.version : version, p);
	buf_add_u8(out, (uint8_t)((unsigned)type << 4 | flags));
	again_varint(out, body.len);
	buf_add(out, body.data, body.len);
	buf_fini(&body);
}

/* What the codec accepted as p comes out as it was, or, where that is not canonical, as what is read and written the same. */
static inline void
again_check(const struct mqtt_frame *f, unsigned version, const union again *p)
{
	struct buf once = { 0 }, twice = { 0 };
	struct mqtt_frame g;
	struct mqtt_fault fault;
	union again q;
	size_t need;

	if (f->type == MQTT_CONNECT)
		version = p->connect.version;
	again_write(&once, f->type, version, p);
	if (!bytes_equal(buf_bytes(&once), f->whole)) {
		ASSERT(version == 3 || once.len < f->whole.len);
		ASSERT(mqtt_frame_next(buf_bytes(&once), version, once.len, &g, &need, &fault) == 0);
		ASSERT(again_parse(&g, version, &q, &fault) == 0);
		again_write(&twice, g.type, version, &q);
		ASSERT(bytes_equal(buf_bytes(&once), buf_bytes(&twice)));
	}
	buf_fini(&once);
	buf_fini(&twice);
}

#endif
