/* fuzz_mqtt_codec.c - any bytes as a client's packets: first byte is the version, the rest what it sends */
#include <stdlib.h>

#include "err.h"
#include "mqtt_codec.h"

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

static void
parse(const struct mqtt_frame *f, unsigned version)
{
	struct mqtt_fault fault;
	struct mqtt_connect connect;
	struct mqtt_publish publish;
	struct mqtt_ack ack;
	struct mqtt_disconnect disconnect;
	struct mqtt_subscribe subscribe;
	struct mqtt_filter filter;
	struct buf out = { 0 };

	(void)mqtt_parse_connect(f, &connect, &fault);
	if (mqtt_parse_publish(f, version, &publish, &fault) == 0) {
		struct mqtt_outgoing o = { .topic = publish.topic,
			.payload = publish.payload,
			.props = mqtt_props_forward(&publish.props, &out) };
		struct buf packet = { 0 };

		mqtt_put_publish(&packet, version, &o);
		ASSERT(packet.len == mqtt_publish_size(version, &o));
		buf_fini(&packet);
	}
	(void)mqtt_parse_ack(f, version, &ack, &fault);
	(void)mqtt_parse_disconnect(f, version, &disconnect, &fault);
	if (mqtt_parse_subscribe(f, version, &subscribe, &fault) == 0) {
		uint32_t n = 0;

		while (mqtt_filter_next(&subscribe, &filter)) {
			(void)mqtt_filter_valid(filter.filter);
			n++;
		}
		ASSERT(n == subscribe.count);
	}
	buf_fini(&out);
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
	version = data[0] % 4 ? data[0] % 4 + 2 : 0;
	in = bytes_of(data + 1, size - 1);
	(void)mqtt_peek_level(in);
	while (mqtt_frame_next(in, version, PACKET_MAX, &f, &need, &fault) == 0) {
		parse(&f, version ? version : MQTT_V5);
		parse_short(&f, version ? version : MQTT_V5);
		in = bytes_of(in.data + f.whole.len, in.len - f.whole.len);
	}
	return 0;
}
