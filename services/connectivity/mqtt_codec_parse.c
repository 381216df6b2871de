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

/* 3.1 disregards what it has no use for. */
static void
check_connect_flags(struct mqtt_reader *r, unsigned version, unsigned flags)
{
	unsigned will_qos = flags >> CONNECT_WILL_QOS_SHIFT & 3;
	bool strict = version > MQTT_V31;

	if (strict && (flags & CONNECT_RESERVED)) /* MQTT-3.1.2-3 */
		mqtt_fail(r, MQTT_MALFORMED, "reserved connect flag");
	if (will_qos == 3 && (strict || (flags & CONNECT_WILL))) /* MQTT-3.1.2-12; 3.1.1: -14 */
		mqtt_fail(r, MQTT_MALFORMED, "will QoS 3");
	/* MQTT-3.1.2-11, -13; 3.1.1: -11, -13, -15 */
	if (strict && !(flags & CONNECT_WILL) && (will_qos || (flags & CONNECT_WILL_RETAIN)))
		mqtt_fail(r, MQTT_MALFORMED, "will flags without a will");
	/* 3.1.1: MQTT-3.1.2-22 */
	if (version < MQTT_V5 && (flags & CONNECT_PASSWORD) && !(flags & CONNECT_USERNAME))
		mqtt_fail(r, MQTT_MALFORMED, "password without a user name");
}

static void
check_response_topic(struct mqtt_reader *r, const struct mqtt_props *p)
{
	/* MQTT-3.3.2-14 */
	if (mqtt_has(p, MQTT_PROP_RESPONSE_TOPIC) && !mqtt_topic_valid(p->response_topic))
		mqtt_fail(r, MQTT_PROTOCOL_ERROR, "response topic is empty or holds a wildcard");
}

static void
get_will(struct mqtt_reader *r, unsigned flags, struct mqtt_connect *c)
{
	c->will_qos = flags >> CONNECT_WILL_QOS_SHIFT & 3;
	c->will_retain = flags & CONNECT_WILL_RETAIN;
	mqtt_get_props(r, c->version, MQTT_PROPS_WILL, &c->will_props);
	check_response_topic(r, &c->will_props);
	c->will_topic = mqtt_get_text(r);
	c->will_payload = mqtt_get_binary(r);
	if (!mqtt_failed(r) && !mqtt_topic_valid(c->will_topic))
		mqtt_fail(r, MQTT_MALFORMED, "will topic is empty or holds a wildcard");
	if (!mqtt_failed(r) && !mqtt_payload_valid(&c->will_props, c->will_payload))
		mqtt_fail(r, MQTT_BAD_PAYLOAD, "will payload is not the UTF-8 it says it is");
}

/* In 3.1 the remaining length takes precedence over this flag: what it announces may be missing (3.1, section 3.1). */
static bool
has_field(const struct mqtt_reader *r, unsigned version, unsigned flag)
{
	return flag && (version > MQTT_V31 || mqtt_left(r));
}

int
mqtt_parse_connect(
    const struct mqtt_frame *f, struct mqtt_connect *ret, struct mqtt_fault *ret_fault)
{
	struct mqtt_reader r = mqtt_reader_of(f->body);
	struct mqtt_connect c = { .version = get_version(&r) };
	unsigned flags = mqtt_get_u8(&r);
	int err;

	check_connect_flags(&r, c.version, flags);
	c.clean = flags & CONNECT_CLEAN;
	c.keep_alive_s = mqtt_get_u16(&r);
	mqtt_get_props(&r, c.version, MQTT_PROPS_OF(MQTT_CONNECT), &c.props);
	c.client_id = mqtt_get_text(&r);
	c.has_will = flags & CONNECT_WILL;
	if (c.has_will)
		get_will(&r, flags, &c);
	c.has_username = has_field(&r, c.version, flags & CONNECT_USERNAME);
	if (c.has_username)
		c.username = mqtt_get_text(&r);
	c.has_password = has_field(&r, c.version, flags & CONNECT_PASSWORD);
	if (c.has_password)
		c.password = mqtt_get_binary(&r);
	if (mqtt_has(&c.props, MQTT_PROP_AUTH_DATA) && !mqtt_has(&c.props, MQTT_PROP_AUTH_METHOD))
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "authentication data without a method");
	err = mqtt_reader_end(&r, ret_fault);
	if (err)
		c = (struct mqtt_connect){ .version = c.version,
			.props.packet_max = c.props.packet_max };
	*ret = c;
	return err;
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
	if (ret->dup && ret->qos == 0) {
		if (version > MQTT_V31) /* MQTT-3.3.1-2; 3.1 has no such rule */
			mqtt_fail(&r, MQTT_MALFORMED, "DUP at QoS 0");
		ret->dup = false;
	}
	if (!mqtt_failed(&r) && ret->qos &&
	    ret->packet_id == 0) /* MQTT-2.2.1-3; 3.1.1: MQTT-2.3.1-1 */
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "packet id 0");
	mqtt_get_props(&r, version, MQTT_PROPS_OF(MQTT_PUBLISH), &ret->props);
	if (mqtt_has(&ret->props, MQTT_PROP_ALIAS) && ret->props.alias == 0) /* MQTT-3.3.2-8 */
		mqtt_fail(&r, MQTT_BAD_ALIAS, "topic alias 0");
	if (mqtt_has(&ret->props, MQTT_PROP_SUBSCRIPTION_ID)) /* MQTT-3.3.4-6 */
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "subscription identifier from a client");
	check_response_topic(&r, &ret->props);
	if (ret->topic.len == 0 && !mqtt_has(&ret->props, MQTT_PROP_ALIAS))
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "empty topic");
	if (ret->topic.len > 0 && !mqtt_topic_valid(ret->topic)) {
		if (mqtt_utf8_valid(ret->topic)) /* MQTT-3.3.2-2 */
			mqtt_fail(&r, MQTT_MALFORMED, "topic holds a wildcard");
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

/* Tables 3-4 to 3-7: what a client may say about a message. */
static bool
ack_reason_known(enum mqtt_type type, uint8_t reason)
{
	bool release = type == MQTT_PUBREL || type == MQTT_PUBCOMP;

	switch (reason) {
	case MQTT_SUCCESS:
		return true;
	case MQTT_ID_NOT_FOUND:
		return release;
	case MQTT_NO_SUBSCRIBERS:
	case MQTT_UNSPECIFIED:
	case MQTT_IMPLEMENTATION:
	case MQTT_NOT_AUTHORIZED:
	case MQTT_BAD_TOPIC:
	case MQTT_ID_IN_USE:
	case MQTT_QUOTA_EXCEEDED:
	case MQTT_BAD_PAYLOAD:
		return !release;
	default:
		return false;
	}
}

int
mqtt_parse_ack(const struct mqtt_frame *f, unsigned version, struct mqtt_ack *ret,
    struct mqtt_fault *ret_fault)
{
	struct mqtt_reader r;

	ret->reason = MQTT_SUCCESS;
	ret->props.present = 0;
	ret->props.raw = bytes_of(NULL, 0);
	/* Nearly all of them. */
	if (f->body.len == 2) {
		ret->packet_id = (uint16_t)(f->body.data[0] << 8 | f->body.data[1]);
		if (ret->packet_id)
			return 0;
	}
	r = mqtt_reader_of(f->body);
	ret->packet_id = mqtt_get_u16(&r);
	if (!mqtt_failed(&r) && ret->packet_id == 0)
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "packet id 0");
	/* Reason and properties may be left out (section 3.4.2.1). */
	if (version == MQTT_V5 && mqtt_left(&r))
		ret->reason = mqtt_get_u8(&r);
	if (version == MQTT_V5 && mqtt_left(&r))
		mqtt_get_props(&r, version, MQTT_PROPS_OF(f->type), &ret->props);
	if (!ack_reason_known(f->type, ret->reason))
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "reason code that this packet does not have");
	return mqtt_reader_end(&r, ret_fault);
}

enum option {
	OPTION_QOS = 3,
	OPTION_NO_LOCAL = 4,
	OPTION_RETAIN_AS_PUBLISHED = 8,
	OPTION_RETAIN_HANDLING_SHIFT = 4,
	OPTION_RESERVED = 0xc0,
	OPTION_RESERVED_311 = 0xfc,
};

/* The reserved ones among them too; 3.1 disregards these. */
static void
check_options(struct mqtt_reader *r, unsigned version, unsigned o, struct bytes filter)
{
	if ((o & OPTION_QOS) == 3)
		mqtt_fail(r, version == MQTT_V5 ? MQTT_PROTOCOL_ERROR : MQTT_MALFORMED,
		    "requested QoS 3");
	if (version == MQTT_V311 && (o & OPTION_RESERVED_311)) /* MQTT-3-8.3-4 */
		mqtt_fail(r, MQTT_MALFORMED, "reserved bits beside the requested QoS");
	if (version < MQTT_V5)
		return;
	if (o & OPTION_RESERVED) /* MQTT-3.8.3-5 */
		mqtt_fail(r, MQTT_MALFORMED, "reserved subscription options");
	if ((o >> OPTION_RETAIN_HANDLING_SHIFT & 3) == 3)
		mqtt_fail(r, MQTT_PROTOCOL_ERROR, "retain handling 3");
	if ((o & OPTION_NO_LOCAL) && mqtt_filter_says_shared(filter)) /* MQTT-3.8.3-4 */
		mqtt_fail(r, MQTT_PROTOCOL_ERROR, "no local of a shared subscription");
}

static void
check_filter(struct mqtt_reader *r, unsigned version, struct bytes filter)
{
	struct bytes name, rest;

	if (mqtt_failed(r))
		return;
	/* MQTT-4.7.1-1, -2, MQTT-4.7.3-1; 3.1.1: MQTT-4.7.1-2, -3, MQTT-4.7.3-1 */
	if (!mqtt_filter_valid(filter))
		mqtt_fail(r, MQTT_MALFORMED, "topic filter is empty, or a wildcard is misplaced");
	/* MQTT-4.8.2-1, -2; before 5.0 it is a filter as any other */
	else if (version == MQTT_V5 && mqtt_filter_says_shared(filter) &&
		 !mqtt_filter_shared(filter, &name, &rest))
		mqtt_fail(r, MQTT_PROTOCOL_ERROR, "shared subscription without a name or filter");
}

static void
get_filter(struct mqtt_reader *r, bool options, struct bytes *ret_filter, unsigned *ret_options)
{
	*ret_filter = mqtt_get_text(r);
	*ret_options = options ? mqtt_get_u8(r) : 0;
}

int
mqtt_parse_subscribe(const struct mqtt_frame *f, unsigned version, struct mqtt_subscribe *ret,
    struct mqtt_fault *ret_fault)
{
	struct mqtt_reader r = mqtt_reader_of(f->body);

	*ret = (struct mqtt_subscribe){ .options = f->type == MQTT_SUBSCRIBE,
		.qos_only = version < MQTT_V5 };
	ret->packet_id = mqtt_get_u16(&r);
	/* The standard names no reason; other brokers have this one here, and 0x82 for all other packets. */
	if (!mqtt_failed(&r) && ret->packet_id == 0)
		mqtt_fail(&r, MQTT_MALFORMED, "packet id 0");
	mqtt_get_props(&r, version, MQTT_PROPS_OF(f->type), &ret->props);
	ret->filters = bytes_of(r.at, mqtt_left(&r));
	if (ret->filters.len == 0) /* MQTT-3.8.3-2, MQTT-3.10.3-2; 3.1.1: MQTT-3.8.3-3 */
		mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "no topic filter");
	while (mqtt_left(&r)) {
		struct bytes filter;
		unsigned options;

		get_filter(&r, ret->options, &filter, &options);
		check_filter(&r, version, filter);
		check_options(&r, version, options, filter);
		ret->count++;
	}
	return mqtt_reader_end(&r, ret_fault);
}

bool
mqtt_filter_next(struct mqtt_subscribe *s, struct mqtt_filter *ret_filter)
{
	struct mqtt_reader r = mqtt_reader_of(s->filters);
	struct bytes filter;
	unsigned o;

	if (mqtt_left(&r) == 0)
		return false;
	get_filter(&r, s->options, &filter, &o);
	s->filters = bytes_of(r.at, mqtt_left(&r));
	if (s->qos_only)
		o &= OPTION_QOS;
	*ret_filter = (struct mqtt_filter){
		.filter = filter,
		.qos = o & OPTION_QOS,
		.no_local = o & OPTION_NO_LOCAL,
		.retain_as_published = o & OPTION_RETAIN_AS_PUBLISHED,
		.retain_handling =
		    (enum mqtt_retain_handling)(o >> OPTION_RETAIN_HANDLING_SHIFT & 3),
	};
	return true;
}

int
mqtt_parse_disconnect(const struct mqtt_frame *f, unsigned version, struct mqtt_disconnect *ret,
    struct mqtt_fault *ret_fault)
{
	struct mqtt_reader r = mqtt_reader_of(f->body);

	ret->reason = MQTT_SUCCESS;
	ret->props.present = 0;
	ret->props.raw = bytes_of(NULL, 0);
	if (version == MQTT_V5 && mqtt_left(&r))
		ret->reason = mqtt_get_u8(&r);
	if (version == MQTT_V5 && mqtt_left(&r))
		mqtt_get_props(&r, version, MQTT_PROPS_OF(f->type), &ret->props);
	if (f->type == MQTT_AUTH && !mqtt_failed(&r)) {
		/* MQTT-3.15.2-1: the server alone says Success. */
		if (ret->reason != MQTT_CONTINUE_AUTH && ret->reason != MQTT_RE_AUTH)
			mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "AUTH with a reason of the server's");
		else if (!mqtt_has(&ret->props, MQTT_PROP_AUTH_METHOD))
			mqtt_fail(&r, MQTT_PROTOCOL_ERROR, "AUTH without a method");
	}
	return mqtt_reader_end(&r, ret_fault);
}

int
mqtt_parse_empty(const struct mqtt_frame *f, struct mqtt_fault *ret_fault)
{
	struct mqtt_reader r = mqtt_reader_of(f->body);

	return mqtt_reader_end(&r, ret_fault);
}
