/* mqtt_codec_props.c - MQTT 5 properties; pure */
#include "mqtt_codec_reader.h"

#include <stddef.h>

#include "err.h"
#include "utf8.h"

enum prop_kind {
	PROP_NONE,
	PROP_BOOL,
	PROP_U16,
	PROP_U32,
	PROP_VARINT,
	PROP_TEXT,
	PROP_BINARY,
	PROP_PAIR
};

#define P(type) MQTT_PROPS_OF(MQTT_##type)
#define ACKS (P(PUBACK) | P(PUBREC) | P(PUBREL) | P(PUBCOMP))
#define AT(field) offsetof(struct mqtt_props, field)

/* Section 2.2.2.2, table 2-4. Those of CONNACK have no field: clients do not send them. */
static const struct prop_info {
	enum prop_kind kind;
	bool not_zero;
	unsigned where;
	size_t at;
} infos[MQTT_PROPS_MAX] = {
	[MQTT_PROP_PAYLOAD_FORMAT] = { PROP_BOOL, false, P(PUBLISH) | MQTT_PROPS_WILL,
	    AT(payload_format) },
	[MQTT_PROP_MESSAGE_EXPIRY] = { PROP_U32, false, P(PUBLISH) | MQTT_PROPS_WILL,
	    AT(message_expiry) },
	[MQTT_PROP_CONTENT_TYPE] = { PROP_TEXT, false, P(PUBLISH) | MQTT_PROPS_WILL,
	    AT(content_type) },
	[MQTT_PROP_RESPONSE_TOPIC] = { PROP_TEXT, false, P(PUBLISH) | MQTT_PROPS_WILL,
	    AT(response_topic) },
	[MQTT_PROP_CORRELATION] = { PROP_BINARY, false, P(PUBLISH) | MQTT_PROPS_WILL,
	    AT(correlation) },
	[MQTT_PROP_SUBSCRIPTION_ID] = { PROP_VARINT, true, P(SUBSCRIBE) | P(PUBLISH),
	    AT(subscription_id) },
	[MQTT_PROP_SESSION_EXPIRY] = { PROP_U32, false, P(CONNECT) | P(DISCONNECT),
	    AT(session_expiry) },
	[MQTT_PROP_AUTH_METHOD] = { PROP_TEXT, false, P(CONNECT) | P(AUTH), AT(auth_method) },
	[MQTT_PROP_AUTH_DATA] = { PROP_BINARY, false, P(CONNECT) | P(AUTH), AT(auth_data) },
	[MQTT_PROP_PROBLEM_INFO] = { PROP_BOOL, false, P(CONNECT), AT(problem_info) },
	[MQTT_PROP_WILL_DELAY] = { PROP_U32, false, MQTT_PROPS_WILL, AT(will_delay) },
	[MQTT_PROP_RESPONSE_INFO] = { PROP_BOOL, false, P(CONNECT), AT(response_info) },
	[MQTT_PROP_REASON_STRING] = { PROP_TEXT, false, ACKS | P(DISCONNECT) | P(AUTH),
	    AT(reason_string) },
	[MQTT_PROP_RECEIVE_MAXIMUM] = { PROP_U16, true, P(CONNECT), AT(receive_maximum) },
	[MQTT_PROP_ALIAS_MAXIMUM] = { PROP_U16, false, P(CONNECT), AT(alias_maximum) },
	[MQTT_PROP_ALIAS] = { PROP_U16, false, P(PUBLISH), AT(alias) },
	[MQTT_PROP_USER] = { PROP_PAIR, false,
	    P(CONNECT) | P(PUBLISH) | MQTT_PROPS_WILL | ACKS | P(SUBSCRIBE) | P(UNSUBSCRIBE) |
		P(DISCONNECT) | P(AUTH),
	    0 },
	[MQTT_PROP_PACKET_MAX] = { PROP_U32, true, P(CONNECT), AT(packet_max) },
	[MQTT_PROP_SERVER_REFERENCE] = { PROP_TEXT, false, P(DISCONNECT), AT(server_reference) },
	[MQTT_PROP_ASSIGNED_ID] = { PROP_TEXT, false, P(CONNACK), 0 },
	[MQTT_PROP_SERVER_KEEP_ALIVE] = { PROP_U16, false, P(CONNACK), 0 },
	[MQTT_PROP_RESPONSE_INFORMATION] = { PROP_TEXT, false, P(CONNACK), 0 },
	[MQTT_PROP_MAXIMUM_QOS] = { PROP_BOOL, false, P(CONNACK), 0 },
	[MQTT_PROP_RETAIN_AVAILABLE] = { PROP_BOOL, false, P(CONNACK), 0 },
	[MQTT_PROP_WILDCARD_AVAILABLE] = { PROP_BOOL, false, P(CONNACK), 0 },
	[MQTT_PROP_SUBSCRIPTION_ID_AVAILABLE] = { PROP_BOOL, false, P(CONNACK), 0 },
	[MQTT_PROP_SHARED_AVAILABLE] = { PROP_BOOL, false, P(CONNACK), 0 },
};

bool
mqtt_has(const struct mqtt_props *p, enum mqtt_prop prop)
{
	return p->present >> prop & 1;
}

static void
get_value(struct mqtt_reader *r, const struct prop_info *info, struct mqtt_props *p)
{
	uint8_t *field = (uint8_t *)p + info->at;
	uint32_t *number = (uint32_t *)(void *)field;
	struct bytes *text = (struct bytes *)(void *)field;

	switch (info->kind) {
	case PROP_NONE:
		break;
	case PROP_BOOL:
		*number = mqtt_get_u8(r);
		if (*number > 1)
			mqtt_fail(r, MQTT_PROTOCOL_ERROR, "property is neither 0 nor 1");
		break;
	case PROP_U16:
		*number = mqtt_get_u16(r);
		break;
	case PROP_U32:
		*number = mqtt_get_u32(r);
		break;
	case PROP_VARINT:
		*number = mqtt_get_varint(r);
		break;
	case PROP_TEXT:
		*text = mqtt_get_text(r);
		break;
	case PROP_BINARY:
		*text = mqtt_get_binary(r);
		break;
	case PROP_PAIR:
		mqtt_get_text(r);
		mqtt_get_text(r);
		break;
	}
	if (info->not_zero && !mqtt_failed(r) && *number == 0)
		mqtt_fail(r, MQTT_PROTOCOL_ERROR, "property must not be 0");
}

void
mqtt_get_props(struct mqtt_reader *r, unsigned version, unsigned where, struct mqtt_props *ret)
{
	size_t length;
	const uint8_t *end;

	ret->present = 0;
	ret->packet_max = 0;
	ret->raw = bytes_of(NULL, 0);
	if (version < MQTT_V5)
		return;
	length = mqtt_get_varint(r);
	if (length == 0)
		return;
	if (length > mqtt_left(r)) {
		mqtt_fail(r, MQTT_MALFORMED, "properties are longer than the packet");
		return;
	}
	ret->raw = bytes_of(r->at, length);
	/* A value that is longer than what is left of the properties does not go on behind them. */
	end = r->end;
	r->end = r->at + length;
	while (mqtt_left(r)) {
		uint32_t id = mqtt_get_varint(r);
		const struct prop_info *info = id < MQTT_PROPS_MAX ? &infos[id] : &infos[0];

		if (mqtt_failed(r))
			break;
		if (info->kind == PROP_NONE) {
			mqtt_fail(r, MQTT_MALFORMED, "unknown property");
		} else if (!(info->where & where)) {
			/* Section 2.2.2.2 calls this malformed. */
			mqtt_fail(r, MQTT_MALFORMED, "property does not belong in this packet");
		} else if (info->kind != PROP_PAIR && ret->present >> id & 1) {
			mqtt_fail(r, MQTT_PROTOCOL_ERROR, "property given twice");
		} else {
			ret->present |= 1ull << id;
			get_value(r, info, ret);
		}
	}
	r->end = end;
	if (mqtt_failed(r))
		r->at = end;
}

bool
mqtt_payload_valid(const struct mqtt_props *p, struct bytes payload)
{
	return !mqtt_has(p, MQTT_PROP_PAYLOAD_FORMAT) || !p->payload_format || utf8_valid(payload);
}

struct bytes
mqtt_props_forward(const struct mqtt_props *p, struct buf *out)
{
	const uint64_t changed = 1ull << MQTT_PROP_ALIAS | 1ull << MQTT_PROP_MESSAGE_EXPIRY |
				 1ull << MQTT_PROP_WILL_DELAY;
	struct mqtt_reader r = mqtt_reader_of(p->raw);
	struct mqtt_props scratch;

	if (!(p->present & changed))
		return p->raw;
	buf_clear(out);
	while (mqtt_left(&r)) {
		const uint8_t *start = r.at;
		uint32_t id = mqtt_get_varint(&r);

		ASSERT(id < MQTT_PROPS_MAX); /* the parser has seen it */
		get_value(&r, &infos[id], &scratch);
		if (!(changed >> id & 1))
			buf_add(out, start, (size_t)(r.at - start));
	}
	return buf_bytes(out);
}
