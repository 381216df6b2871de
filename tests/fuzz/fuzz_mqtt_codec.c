/* fuzz_mqtt_codec.c - any bytes as a client's packets: first byte is the version, the rest what it sends */
#include <stdlib.h>

#include "err.h"
#include "mqtt_again.h"

#define PACKET_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The short way of a connection's usual topic says what the other says, or nothing. */
static void
parse_short(const struct mqtt_frame *f, unsigned version)
{
	struct mqtt_fault fault;
	struct mqtt_publish a, b;
	struct bytes topic;

	if (f->type != MQTT_PUBLISH || f->body.len < 2)
		return;
	topic = bytes_of(f->body.data + 2, (size_t)(f->body.data[0] << 8 | f->body.data[1]));
	if (topic.len > f->body.len - 2 || !mqtt_topic_valid(topic) ||
	    !mqtt_parse_publish_to(f, version, topic, &a))
		return;
	ASSERT(mqtt_parse_publish(f, version, &b, &fault) == 0);
	ASSERT(bytes_equal(a.topic, b.topic) && bytes_equal(a.payload, b.payload));
	ASSERT(a.qos == b.qos && a.retain == b.retain && a.dup == b.dup);
	ASSERT(a.packet_id == b.packet_id && b.props.present == 0 && b.props.raw.len == 0);
}

/* What was accepted is written the same again; a publish is passed on in as many bytes as were said. */
static void
parse(const struct mqtt_frame *f, unsigned version)
{
	struct mqtt_fault fault = { 0, NULL };
	struct mqtt_outgoing o;
	struct buf props = { 0 }, packet = { 0 };
	union again p;
	int err = again_parse(f, version, &p, &fault);

	ASSERT(err == 0 || (err == ERR_MALFORMED && fault.reason >= MQTT_MALFORMED && fault.what));
	if (err)
		return;
	again_check(f, version, &p);
	if (f->type != MQTT_PUBLISH)
		return;
	o = (struct mqtt_outgoing){ .topic = p.publish.topic,
		.payload = p.publish.payload,
		.props = mqtt_props_forward(&p.publish.props, &props),
		.alias = mqtt_has(&p.publish.props, MQTT_PROP_ALIAS) ? 1 : 0 };
	mqtt_put_publish(&packet, version, &o);
	ASSERT(packet.len == mqtt_publish_size(version, &o));
	buf_fini(&packet);
	buf_fini(&props);
}

/* A filter is shared or ordinary, and what it consists of is the whole of it. */
static void
split(struct bytes text)
{
	struct bytes name, filter;

	if (!mqtt_filter_shared(text, &name, &filter))
		return;
	ASSERT(mqtt_filter_says_shared(text) && name.len > 0 && filter.len > 0);
	ASSERT(text.len == 7 + name.len + 1 + filter.len);
	ASSERT(name.data == text.data + 7 && filter.data == name.data + name.len + 1);
	for (size_t i = 0; i < name.len; i++)
		ASSERT(name.data[i] != '/' && name.data[i] != '+' && name.data[i] != '#');
	ASSERT(!mqtt_filter_valid(text) || mqtt_filter_valid(filter));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes in;
	struct mqtt_frame f;
	struct mqtt_fault fault;
	unsigned version;
	size_t need;

	if (size == 0)
		return 0;
	version = data[0] % 4 < 3 ? data[0] % 4 + 3 : 0;
	in = bytes_of(data + 1, size - 1);
	(void)mqtt_peek_level(in);
	split(in);
	while (mqtt_frame_next(in, version, PACKET_MAX, &f, &need, &fault) == 0) {
		parse(&f, version ? version : MQTT_V5);
		parse_short(&f, version ? version : MQTT_V5);
		in = bytes_of(in.data + f.whole.len, in.len - f.whole.len);
	}
	return 0;
}
