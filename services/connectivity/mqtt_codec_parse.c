/* mqtt_codec_parse.c - the packets that clients send; pure */
#include "mqtt_codec_reader.h"

#include <string.h>

#include "err.h"

enum connect_flag {
	CONNECT_RESERVED = 1,
	CONNECT_CLEAN = 2,
	CONNECT_WILL = 4,
	CONNECT_WILL_QOS_SHIFT = 3,
	CONNECT_WILL_RETAIN = 32,
	CONNECT_PASSWORD = 64,
	CONNECT_USERNAME = 128,
};

/* Protocol name and level (section 3.1.2.1); 0 if it is none of ours. */
static unsigned
get_version(struct mqtt_reader *r)
{
	struct bytes name = mqtt_get_binary(r);
	unsigned level = mqtt_get_u8(r);

	if (mqtt_failed(r))
		return 0;
	if (bytes_equal_str(name, "MQTT")) {
		if (level == MQTT_V311 || level == MQTT_V5)
			return level;
	} else if (bytes_equal_str(name, "MQIsdp")) {
		if (level == MQTT_V31)
			return level;
	} else {
		mqtt_fail(r, MQTT_BAD_VERSION, "protocol name is not MQTT");
		return 0;
	}
	mqtt_fail(r, MQTT_BAD_VERSION, "protocol level is not 3.1, 3.1.1 or 5");
	return 0;
}

static void
check_connect_flags(struct mqtt_reader *r, unsigned version, unsigned flags)
{
	unsigned will_qos = flags >> CONNECT_WILL_QOS_SHIFT & 3;

	if (flags & CONNECT_RESERVED)
		mqtt_fail(r, MQTT_MALFORMED, "reserved connect flag");
	if (will_qos == 3)
		mqtt_fail(r, MQTT_MALFORMED, "will QoS 3");
	if (!(flags & CONNECT_WILL) && (will_qos || (flags & CONNECT_WILL_RETAIN)))
		mqtt_fail(r, MQTT_MALFORMED, "will flags without a will");
	if (version < MQTT_V5 && (flags & CONNECT_PASSWORD) && !(flags & CONNECT_USERNAME))
		mqtt_fail(r, MQTT_MALFORMED, "password without a user name");
}

int
mqtt_parse_connect(
    const struct mqtt_frame *f, struct mqtt_connect *ret, struct mqtt_fault *ret_fault)
{
	struct mqtt_reader r = mqtt_reader_of(f->body);
	struct mqtt_connect c = { .version = get_version(&r) };
	unsigned flags = mqtt_get_u8(&r);

	check_connect_flags(&r, c.version, flags);
	c.clean = flags & CONNECT_CLEAN;
	c.keep_alive_s = mqtt_get_u16(&r);
	mqtt_get_props(&r, c.version, MQTT_PROPS_OF(MQTT_CONNECT), &c.props);
	c.client_id = mqtt_get_text(&r);
	c.has_will = flags & CONNECT_WILL;
	if (c.has_will) {
		c.will_qos = flags >> CONNECT_WILL_QOS_SHIFT & 3;
		c.will_retain = flags & CONNECT_WILL_RETAIN;
		mqtt_get_props(&r, c.version, MQTT_PROPS_WILL, &c.will_props);
		c.will_topic = mqtt_get_text(&r);
		c.will_payload = mqtt_get_binary(&r);
		if (!mqtt_failed(&r) && !mqtt_topic_valid(c.will_topic))
			mqtt_fail(&r, MQTT_BAD_TOPIC, "will topic is empty or holds a wildcard");
	}
	c.has_username = flags & CONNECT_USERNAME;
	if (c.has_username)
		c.username = mqtt_get_text(&r);
	c.has_password = flags & CONNECT_PASSWORD;
	if (c.has_password)
		c.password = mqtt_get_binary(&r);
	if (mqtt_has(&c.props, MQTT_PROP_AUTH_DATA) && !mqtt_has(&c.props, MQTT_PROP_AUTH_METHOD))
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "authentication data without a method");
	/* The version is told even so: the answer to a bad CONNECT depends on it. */
	ret->version = c.version;
	if (mqtt_reader_end(&r, ret_fault) != 0)
		return ERR_MALFORMED;
	*ret = c;
	return 0;
}

int
mqtt_parse_publish(const struct mqtt_frame *f, unsigned version, struct mqtt_publish *ret,
    struct mqtt_fault *ret_fault)
{
	struct mqtt_reader r = mqtt_reader_of(f->body);

	ret->qos = f->flags >> 1 & 3;
	ret->retain = f->flags & 1;
	ret->dup = f->flags & 8;
	ret->topic = mqtt_get_binary(&r);
	ret->packet_id = ret->qos ? mqtt_get_u16(&r) : 0;
	if (ret->dup && ret->qos == 0)
		mqtt_fail(&r, MQTT_MALFORMED, "DUP at QoS 0");
	if (ret->qos && ret->packet_id == 0)
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "packet id 0");
	mqtt_get_props(&r, version, MQTT_PROPS_OF(MQTT_PUBLISH), &ret->props);
	if (mqtt_has(&ret->props, MQTT_PROP_ALIAS) && ret->props.alias == 0)
		mqtt_fail(&r, MQTT_BAD_ALIAS, "topic alias 0");
	if (mqtt_has(&ret->props, MQTT_PROP_RESPONSE_TOPIC) &&
	    !mqtt_topic_valid(ret->props.response_topic))
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "response topic is empty or holds a wildcard");
	if (ret->topic.len == 0 && !mqtt_has(&ret->props, MQTT_PROP_ALIAS))
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "empty topic");
	if (ret->topic.len > 0 && !mqtt_topic_valid(ret->topic)) {
		if (mqtt_utf8_valid(ret->topic))
			mqtt_fail(&r, MQTT_BAD_TOPIC, "topic holds a wildcard");
		else
			mqtt_fail(&r, MQTT_MALFORMED, "topic is not UTF-8, or holds NUL");
	}
	ret->payload = mqtt_get_rest(&r);
	return mqtt_reader_end(&r, ret_fault);
}

bool
mqtt_parse_publish_to(
    const struct mqtt_frame *f, unsigned version, struct bytes topic, struct mqtt_publish *ret)
{
	const uint8_t *at = f->body.data;
	unsigned qos = f->flags >> 1 & 3;
	bool dup = f->flags & 8;
	size_t head = 2 + topic.len + (qos ? 2 : 0) + (version == MQTT_V5 ? 1 : 0);
	uint16_t packet_id = 0;

	if (topic.len == 0 || f->body.len < head || (size_t)(at[0] << 8 | at[1]) != topic.len ||
	    memcmp(at + 2, topic.data, topic.len) != 0 || (dup && !qos))
		return false;
	at += 2 + topic.len;
	if (qos) {
		packet_id = (uint16_t)(at[0] << 8 | at[1]);
		at += 2;
		if (packet_id == 0)
			return false;
	}
	if (version == MQTT_V5 && *at++ != 0)
		return false;
	ret->topic = bytes_of(f->body.data + 2, topic.len);
	ret->payload = bytes_of(at, f->body.len - head);
	ret->qos = qos;
	ret->retain = f->flags & 1;
	ret->dup = dup;
	ret->packet_id = packet_id;
	ret->props.present = 0;
	ret->props.raw = bytes_of(NULL, 0);
	return true;
}

int
mqtt_parse_ack(const struct mqtt_frame *f, unsigned version, struct mqtt_ack *ret,
    struct mqtt_fault *ret_fault)
{
	struct mqtt_reader r = mqtt_reader_of(f->body);

	ret->reason = MQTT_SUCCESS;
	ret->props.present = 0;
	ret->packet_id = mqtt_get_u16(&r);
	if (!mqtt_failed(&r) && ret->packet_id == 0)
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "packet id 0");
	/* Reason and properties may be left out (section 3.4.2.1). */
	if (version == MQTT_V5 && mqtt_left(&r))
		ret->reason = mqtt_get_u8(&r);
	if (version == MQTT_V5 && mqtt_left(&r))
		mqtt_get_props(&r, version, MQTT_PROPS_OF(f->type), &ret->props);
	return mqtt_reader_end(&r, ret_fault);
}

static struct mqtt_filter
get_filter(struct mqtt_reader *r, unsigned version, bool options)
{
	struct mqtt_filter f = { .filter = mqtt_get_text(r) };
	unsigned o;

	if (!mqtt_failed(r) && f.filter.len == 0)
		mqtt_fail(r, MQTT_PROTOCOL_ERROR, "empty topic filter");
	if (!options)
		return f;
	o = mqtt_get_u8(r);
	if ((o & 3) == 3)
		mqtt_fail(r, version == MQTT_V5 ? MQTT_PROTOCOL_ERROR : MQTT_MALFORMED,
		    "requested QoS 3");
	if (o & (version == MQTT_V5 ? 0xc0u : 0xfcu))
		mqtt_fail(r, MQTT_MALFORMED, "reserved subscription options");
	if ((o >> 4 & 3) == 3)
		mqtt_fail(r, MQTT_PROTOCOL_ERROR, "retain handling 3");
	f.qos = o & 3;
	f.no_local = o & 4;
	f.retain_as_published = o & 8;
	f.retain_handling = (enum mqtt_retain_handling)(o >> 4 & 3);
	return f;
}

int
mqtt_parse_subscribe(const struct mqtt_frame *f, unsigned version, struct mqtt_subscribe *ret,
    struct mqtt_fault *ret_fault)
{
	struct mqtt_reader r = mqtt_reader_of(f->body);

	*ret = (struct mqtt_subscribe){ .options = f->type == MQTT_SUBSCRIBE };
	ret->packet_id = mqtt_get_u16(&r);
	if (!mqtt_failed(&r) && ret->packet_id == 0)
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "packet id 0");
	mqtt_get_props(&r, version, MQTT_PROPS_OF(f->type), &ret->props);
	ret->filters = bytes_of(r.at, mqtt_left(&r));
	if (ret->filters.len == 0)
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "no topic filter");
	while (mqtt_left(&r)) {
		get_filter(&r, version, ret->options);
		ret->count++;
	}
	return mqtt_reader_end(&r, ret_fault);
}

bool
mqtt_filter_next(struct mqtt_subscribe *s, struct mqtt_filter *ret_filter)
{
	struct mqtt_reader r = mqtt_reader_of(s->filters);

	if (mqtt_left(&r) == 0)
		return false;
	/* Reserved options were refused by the parser, each version by its own rule; MQTT_V5 reads both. */
	*ret_filter = get_filter(&r, MQTT_V5, s->options);
	s->filters = bytes_of(r.at, mqtt_left(&r));
	return !mqtt_failed(&r);
}

int
mqtt_parse_disconnect(const struct mqtt_frame *f, unsigned version, struct mqtt_disconnect *ret,
    struct mqtt_fault *ret_fault)
{
	struct mqtt_reader r = mqtt_reader_of(f->body);

	ret->reason = MQTT_SUCCESS;
	ret->props.present = 0;
	if (version == MQTT_V5 && mqtt_left(&r))
		ret->reason = mqtt_get_u8(&r);
	if (version == MQTT_V5 && mqtt_left(&r))
		mqtt_get_props(&r, version, MQTT_PROPS_OF(f->type), &ret->props);
	return mqtt_reader_end(&r, ret_fault);
}

int
mqtt_parse_empty(const struct mqtt_frame *f, struct mqtt_fault *ret_fault)
{
	struct mqtt_reader r = mqtt_reader_of(f->body);

	return mqtt_reader_end(&r, ret_fault);
}
