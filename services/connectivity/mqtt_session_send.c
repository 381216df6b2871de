/* mqtt_session_send.c - a message as its PUBLISH to one client
 *
 * Subscribers of one version get the same bytes, but for the packet id: they are made once for each of the ways in which a message
 * is sent, and appended to the output of whoever is to have them. Where its own PUBLISH says the same these are its bytes, as
 * they came. */
#include "mqtt_session_impl.h"

#include <string.h>

#include "metrics.h"

#define ALIAS_ROOM 8

struct mqtt_outgoing
mqtt_outgoing_of(const struct mqtt_broker *b, const struct mqtt_message *m, unsigned qos,
    bool retain, const uint32_t *ids, size_t id_count)
{
	struct mqtt_outgoing o = {
		.topic = m->topic,
		.payload = m->payload,
		.props = m->props,
		.qos = qos,
		.retain = retain,
		.has_expiry = m->has_expiry,
		.subscription_ids = ids,
		.subscription_id_count = id_count,
	};

	/* What is left of it (MQTT-3.3.2-6). */
	if (m->has_expiry && m->expires_us > b->now_us)
		o.expiry_s = (uint32_t)((m->expires_us - b->now_us + 999999) / 1000000);
	return o;
}

static void
count_sent(struct mqtt_broker *b, size_t payload)
{
	metric_add(M_MQTT_SENT, 1);
	b->passed.packets_out++;
	b->passed.publish_out++;
	b->passed.publish_bytes_out += payload;
}

void
mqtt_put_message(struct mqtt_broker *b, struct mqtt_conn *c, struct mqtt_outgoing *o)
{
	bool known;

	/* The first use of an alias makes the packet longer. */
	if (c->alias_out &&
	    (c->out_packet_max == UINT32_MAX ||
		mqtt_publish_size(c->version, o) + ALIAS_ROOM <= c->out_packet_max)) {
		o->alias = mqtt_alias_out_of(c->alias_out, o->topic, &known);
		if (known)
			o->topic = bytes_of("", 0);
	}
	mqtt_put_publish(conn_out(&c->io), c->version, o);
	b->set.put += o->topic.len + o->payload.len + o->props.len;
	count_sent(b, o->payload.len);
}

/* What the two PUBLISHes have in common is all but the first byte and the packet id. */
static bool
may_pass_on(const struct mqtt_arrival *a, const struct mqtt_conn *c, unsigned qos)
{
	return a->wire.whole.len && mqtt_is_v5(c) == a->wire_v5 &&
	       (qos > 0) == ((a->wire.flags & 6) != 0);
}

void
mqtt_encode(struct mqtt_broker *b, struct mqtt_arrival *a, const struct mqtt_conn *c,
    const struct mqtt_how *how, uint32_t key)
{
	struct mqtt_encoded *e = &b->encoded;
	size_t header = MQTT_HEADER_MAX;
	struct mqtt_outgoing o;

	e->of = a;
	a->encoded_as = key;
	if (may_pass_on(a, c, how->qos)) {
		e->packet = a->wire.whole;
		header = (size_t)(a->wire.body.data - a->wire.whole.data);
		e->first = (uint8_t)(MQTT_PUBLISH << 4 | how->qos << 1 | (how->retain ? 1u : 0u));
	} else {
		o = mqtt_outgoing_of(b, &a->view, how->qos, how->retain, NULL, 0);
		buf_clear(&e->made);
		mqtt_put_publish(&e->made, c->version, &o);
		e->packet = buf_bytes(&e->made);
		e->first = e->packet.data[0];
		/* The length ends with the first byte below 128. */
		for (header = 2; e->packet.data[header - 1] >= 128; header++)
			;
	}
	e->id_at = header + 2 + a->view.topic.len;
}

void
mqtt_put_encoded(struct mqtt_broker *b, struct mqtt_conn *c, size_t payload, uint16_t packet_id)
{
	const struct mqtt_encoded *e = &b->encoded;
	struct buf *out = conn_out(&c->io);
	uint8_t *at = buf_reserve(out, e->packet.len);

	memcpy(at, e->packet.data, e->packet.len);
	at[0] = e->first;
	if (packet_id) {
		at[e->id_at] = (uint8_t)(packet_id >> 8);
		at[e->id_at + 1] = (uint8_t)packet_id;
	}
	out->len += e->packet.len;
	b->set.put += e->packet.len;
	count_sent(b, payload);
}
