/* mqtt_copy_message.c - messages, wills and filters, between memory and their copy */
#include <stdlib.h>

#include "mem.h"
#include "mqtt_copy_impl.h"

/* In the copy a message expires at a time of the wall clock, which outlives a restart; here on the monotonic clock. A will's
 * interval counts from when it is published: there and here it is no time but a length. */
void
copy_message_put(
    struct buf *out, const struct mqtt_message *m, bool retain, int64_t wall_ms, int64_t now_us)
{
	struct msg_mqtt_message msg = {
		.topic = m->topic,
		.payload = m->payload,
		.props = m->props,
		.qos = m->qos,
		.retain = retain,
		.expires = m->has_expiry ? wall_ms + (m->expires_us - now_us) / 1000 : 0,
		.publisher = m->source,
	};

	/* 0 would be never. */
	if (m->has_expiry && msg.expires < 1)
		msg.expires = 1;
	codec_encode(MSG_MQTT_MESSAGE, &msg, out);
}

struct mqtt_message *
copy_message_get(const struct msg_mqtt_message *m, int64_t wall_ms, int64_t now_us)
{
	int64_t left_ms = m->expires - wall_ms;
	struct mqtt_message view = {
		.topic = m->topic,
		.payload = m->payload,
		.props = m->props,
		.source = m->publisher,
		.qos = (uint8_t)m->qos,
		.has_expiry = m->expires != 0,
	};

	if (left_ms > (int64_t)UINT32_MAX * 1000)
		left_ms = (int64_t)UINT32_MAX * 1000;
	view.expires_us = view.has_expiry ? now_us + (left_ms < 0 ? 0 : left_ms) * 1000 : 0;
	return mqtt_message_new(&view);
}

struct mqtt_will *
copy_will_get(const struct msg_mqtt_will *w, const struct msg_mqtt_message *m)
{
	struct mqtt_will *will = xcalloc(1, sizeof(*will));

	will->message = copy_message_get(m, 0, 0);
	will->retain = m->retain;
	will->delay_s = (uint32_t)w->delay;
	will->any_device = w->any_device;
	return will;
}

void
copy_will_put(struct mqtt_copy *k, struct bytes id, uint64_t epoch, const struct mqtt_will *will,
    int64_t since_ms)
{
	struct msg_mqtt_will w = {
		.delay = will->delay_s, .since = since_ms, .any_device = will->any_device
	};

	buf_clear(&k->scratch);
	copy_message_put(&k->scratch, will->message, will->retain, 0, 0);
	w.message = buf_bytes(&k->scratch);
	session_state_will(k->ss, id, epoch, &w);
}
