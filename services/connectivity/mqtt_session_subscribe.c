/* mqtt_session_subscribe.c - SUBSCRIBE, UNSUBSCRIBE (MQTT 5 sections 3.8, 3.10) */
#include "mqtt_session_impl.h"

#include "err.h"
#include "log.h"
#include "metrics.h"

#define RETAINED_VISITS_MAX 4000000 /* nodes of the retained store that one SUBSCRIBE may look at */
#define REASON_NEW 0x40 /* in the scratch list only: this filter was not subscribed to before */

/* The reason code of one filter. */
static uint8_t
subscribe_one(struct mqtt_conn *c, const struct mqtt_filter *f, uint32_t id)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_session *s = c->session;
	struct mqtt_sub *sub;
	uint8_t is_new = 0;

	if (!mqtt_filter_valid(f->filter) || mqtt_levels(f->filter) > MQTT_LEVELS_MAX)
		return MQTT_BAD_FILTER;
	if (f->filter.len >= 7 && bytes_equal_str(bytes_of(f->filter.data, 7), "$share/"))
		return MQTT_NO_SHARED;
	sub = mqtt_router_find(&b->router, s->subs, f->filter);
	if (!sub) {
		if (s->sub_count >= b->config.subscriptions_max)
			return MQTT_QUOTA_EXCEEDED;
		sub = mqtt_router_subscribe(&b->router, s, &s->subs, f->filter);
		s->sub_count++;
		is_new = REASON_NEW;
	}
	sub->id = id;
	sub->qos = f->qos ? 1 : 0;
	sub->no_local = f->no_local;
	sub->retain_as_published = f->retain_as_published;
	return sub->qos | is_new;
}

struct retained_to {
	struct mqtt_broker *broker;
	struct mqtt_session *session;
	unsigned qos;
	uint32_t id;
};

static void
send_retained(void *arg, struct mqtt_message *m)
{
	const struct retained_to *to = arg;
	struct mqtt_arrival a = { .view = *m, .kept = mqtt_message_ref(m) };
	unsigned qos = m->qos < to->qos ? m->qos : to->qos;

	mqtt_deliver(to->broker, to->session, &a, qos, true, &to->id, to->id ? 1 : 0);
	mqtt_arrival_fini(&a);
}

/* From the scratch list, without our own mark. */
static void
put_suback(struct mqtt_conn *c, uint16_t packet_id)
{
	struct bytes marked = buf_bytes(&c->broker->scratch);
	struct buf *codes = &c->broker->props;

	buf_clear(codes);
	for (size_t i = 0; i < marked.len; i++)
		buf_add_u8(codes, (uint8_t)(marked.data[i] & ~REASON_NEW));
	mqtt_put_suback(conn_out(&c->io), c->version, MQTT_SUBACK, packet_id, buf_bytes(codes));
}

void
mqtt_on_subscribe(struct mqtt_conn *c, const struct mqtt_frame *frame)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_subscribe s, again;
	struct mqtt_filter f;
	struct mqtt_fault fault;
	size_t visits = RETAINED_VISITS_MAX;
	uint32_t id;

	if (mqtt_parse_subscribe(frame, c->version, &s, &fault) != 0) {
		mqtt_conn_fail(c, fault.reason, fault.what);
		return;
	}
	id = mqtt_has(&s.props, MQTT_PROP_SUBSCRIPTION_ID) ? s.props.subscription_id : 0;
	buf_clear(&b->scratch);
	for (again = s; mqtt_filter_next(&again, &f);)
		buf_add_u8(&b->scratch, subscribe_one(c, &f, id));
	put_suback(c, s.packet_id);
	/* Retained messages follow the SUBACK; nothing below writes to scratch. */
	for (size_t i = 0; mqtt_filter_next(&s, &f); i++) {
		uint8_t reason = b->scratch.data[i];
		struct retained_to to = {
			.broker = b, .session = c->session, .qos = reason & 1, .id = id
		};

		if (reason >= MQTT_UNSPECIFIED || f.retain_handling == MQTT_RETAIN_NOT)
			continue;
		if (f.retain_handling == MQTT_RETAIN_SEND_IF_NEW && !(reason & REASON_NEW))
			continue;
		if (mqtt_retained_match(
			&b->retained, f.filter, b->now_us, &visits, send_retained, &to) != 0) {
			log_warn("mqtt.retained_cut", LB("client", mqtt_session_id(c->session)),
			    LS("why", "one SUBSCRIBE asks for too much of the retained store"));
			metric_add(M_MQTT_DROPPED, 1);
			break;
		}
	}
	b->work += RETAINED_VISITS_MAX - visits;
}

void
mqtt_on_unsubscribe(struct mqtt_conn *c, const struct mqtt_frame *frame)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_subscribe s;
	struct mqtt_filter f;
	struct mqtt_fault fault;

	if (mqtt_parse_subscribe(frame, c->version, &s, &fault) != 0) {
		mqtt_conn_fail(c, fault.reason, fault.what);
		return;
	}
	buf_clear(&b->scratch);
	while (mqtt_filter_next(&s, &f)) {
		struct mqtt_sub *sub = mqtt_router_find(&b->router, c->session->subs, f.filter);

		buf_add_u8(&b->scratch, sub ? MQTT_SUCCESS : MQTT_NO_SUBSCRIPTION);
		if (sub) {
			mqtt_router_unsubscribe(&b->router, sub);
			c->session->sub_count--;
		}
	}
	mqtt_put_suback(
	    conn_out(&c->io), c->version, MQTT_UNSUBACK, s.packet_id, buf_bytes(&b->scratch));
}
