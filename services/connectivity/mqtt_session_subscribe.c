/* mqtt_session_subscribe.c - SUBSCRIBE, UNSUBSCRIBE (MQTT 5 sections 3.8, 3.10) */
#include "mqtt_session_impl.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define REASON_NEW 0x40 /* in the scratch list only: this filter was not subscribed to before */

/* --- how a subscription was before it was changed --- */

struct undo {
	struct mqtt_sub_options options;
	uint32_t filter_len; /* the filter follows */
	bool was;	     /* there was one */
};

static void
undo_add(struct buf *out, const struct mqtt_sub *sub, struct bytes filter)
{
	struct undo u = { .filter_len = (uint32_t)filter.len, .was = sub != NULL };

	if (sub)
		u.options = sub->options;
	buf_add(out, &u, sizeof(u));
	buf_add(out, filter.data, filter.len);
}

static void
undo_one(struct mqtt_conn *c, const struct undo *u, struct bytes filter)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_session *s = c->session;
	struct mqtt_sub *sub = mqtt_router_find(&b->router, s, filter);
	struct mqtt_change change = { .kind = MQTT_CHANGE_SUB, .session = s, .filter = filter };

	if (u->was) {
		if (!sub) {
			sub = mqtt_router_subscribe(&b->router, s, &s->subs, filter);
			s->sub_count++;
		}
		mqtt_router_set(&b->router, sub, &u->options);
		change.sub = sub;
	} else if (sub) {
		mqtt_router_unsubscribe(&b->router, sub);
		s->sub_count--;
		change.kind = MQTT_CHANGE_UNSUB;
	} else {
		return;
	}
	mqtt_change(b, &change);
}

/* One packet may change a filter more than once: the last change first. */
static void
undo_all(struct mqtt_conn *c, struct bytes changes)
{
	size_t *starts = NULL;
	size_t count = 0, cap = 0;
	struct undo u;

	for (size_t at = 0; at < changes.len; at += sizeof(u) + u.filter_len) {
		if (count == cap) {
			cap = cap ? 2 * cap : 8;
			starts = xrealloc(starts, cap * sizeof(starts[0]));
		}
		starts[count++] = at;
		memcpy(&u, changes.data + at, sizeof(u));
	}
	while (count-- > 0) {
		memcpy(&u, changes.data + starts[count], sizeof(u));
		undo_one(c, &u, bytes_of(changes.data + starts[count] + sizeof(u), u.filter_len));
	}
	free(starts);
}

void
mqtt_subscribe_undo(struct mqtt_conn *c, struct mqtt_write_packet *packet)
{
	uint8_t *codes = packet->bytes.data + packet->bytes.len - packet->codes;

	undo_all(c, buf_bytes(&packet->undo));
	for (size_t i = 0; i < packet->codes; i++)
		if (codes[i] < MQTT_UNSPECIFIED)
			codes[i] = MQTT_IMPLEMENTATION;
	buf_add(conn_out(&c->io), packet->bytes.data, packet->bytes.len);
}

/* The reason code of one filter; its syntax was checked by the parser. */
static uint8_t
subscribe_one(struct mqtt_conn *c, const struct mqtt_filter *f, uint32_t id)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_session *s = c->session;
	struct mqtt_sub *sub;
	struct bytes name, filter;
	uint8_t is_new = 0;

	if (mqtt_levels(f->filter) > MQTT_LEVELS_MAX)
		return MQTT_BAD_FILTER;
	if (mqtt_filter_says_shared(f->filter) && !mqtt_filter_shared(f->filter, &name, &filter))
		return MQTT_BAD_FILTER;
	if (!mqtt_may_subscribe(c, f->filter)) {
		log_warn("mqtt.subscribe_refused", LB("client", mqtt_session_id(s)),
		    LB("filter", f->filter));
		metric_add(M_MQTT_SUBSCRIBE_REFUSED, 1);
		return MQTT_NOT_AUTHORIZED;
	}
	sub = mqtt_router_find(&b->router, s, f->filter);
	if (s->shared)
		undo_add(&b->undo, sub, f->filter);
	if (!sub) {
		if (s->sub_count >= b->config.subscriptions_max ||
		    mqtt_router_bytes(&b->router) >= b->config.subscriptions_bytes_max)
			return MQTT_QUOTA_EXCEEDED;
		sub = mqtt_router_subscribe(&b->router, s, &s->subs, f->filter);
		s->sub_count++;
		is_new = REASON_NEW;
	}
	/* An existing one is replaced, nothing of its messages is lost (MQTT-3.8.4-3). */
	mqtt_router_set(&b->router, sub,
	    &(struct mqtt_sub_options){ .id = id,
		.qos = (uint8_t)(f->qos & 3),
		.no_local = f->no_local,
		.retain_as_published = f->retain_as_published });
	mqtt_change(
	    b, &(struct mqtt_change){
		   .kind = MQTT_CHANGE_SUB, .session = s, .sub = sub, .filter = f->filter });
	return sub->options.qos | is_new;
}

/* Now, or when what was changed is written; meanwhile the client's next packets wait. */
static void
answer(struct mqtt_conn *c, enum mqtt_type type, uint16_t packet_id, struct bytes codes)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_write_packet *packet;

	b->passed.packets_out++;
	if (mqtt_unit_is_written(b)) {
		mqtt_put_suback(conn_out(&c->io), c->version, type, packet_id, codes);
		return;
	}
	packet = xcalloc(1, sizeof(*packet));
	mqtt_put_suback(&packet->bytes, c->version, type, packet_id, codes);
	buf_add(&packet->undo, b->undo.data, b->undo.len);
	packet->codes = codes.len;
	mqtt_wait_written(b, mqtt_token_of(c, 0), packet);
	conn_pause(&c->io, MQTT_PAUSED_SHARED);
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
	answer(c, MQTT_SUBACK, packet_id, buf_bytes(codes));
}

/* Retained messages that a new subscription asks for: never by a shared one (4.8.2), else as its options say. */
static bool
wants_retained(const struct mqtt_filter *f, uint8_t reason)
{
	if (reason >= MQTT_UNSPECIFIED || f->retain_handling == MQTT_RETAIN_NOT ||
	    mqtt_filter_says_shared(f->filter))
		return false;
	return f->retain_handling == MQTT_RETAIN_SEND || reason & REASON_NEW;
}

/* false: the connection failed. */
static bool
parse(struct mqtt_conn *c, const struct mqtt_frame *frame, enum mqtt_type answered_by,
    struct mqtt_subscribe *ret)
{
	struct mqtt_fault fault;

	if (mqtt_parse_subscribe(frame, c->version, ret, &fault) != 0) {
		mqtt_conn_fail(c, fault.reason, fault.what);
		return false;
	}
	/* MQTT-3.1.2-24; and without an answer the client would wait for ever. */
	if (mqtt_suback_size(c->version, answered_by, ret->count) > c->out_packet_max) {
		mqtt_conn_fail(c, MQTT_PACKET_TOO_LARGE, "the answer is larger than you take");
		return false;
	}
	return true;
}

/* The sessions' shared copy cannot be written: later, or 0x83 for each filter. false: it can, or is not needed. */
static bool
is_away(struct mqtt_conn *c, enum mqtt_type type, const struct mqtt_subscribe *s,
    enum mqtt_done *ret_done)
{
	struct mqtt_broker *b = c->broker;

	*ret_done = MQTT_LATER;
	switch (c->session->shared ? mqtt_away_of(c) : MQTT_AWAY_NOT) {
	case MQTT_AWAY_NOT:
		return false;
	case MQTT_AWAY_WAIT:
		return true;
	case MQTT_AWAY_REFUSE:
		break;
	}
	*ret_done = MQTT_TAKEN;
	metric_add(M_MQTT_UNAVAILABLE, 1);
	buf_clear(&b->scratch);
	for (size_t i = 0; i < s->count; i++)
		buf_add_u8(&b->scratch, MQTT_IMPLEMENTATION);
	b->passed.packets_out++;
	mqtt_put_suback(conn_out(&c->io), c->version, type, s->packet_id, buf_bytes(&b->scratch));
	return true;
}

enum mqtt_done
mqtt_on_subscribe(struct mqtt_conn *c, const struct mqtt_frame *frame)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_subscribe s, again;
	struct mqtt_filter f;
	enum mqtt_done done;
	uint32_t id;

	if (!parse(c, frame, MQTT_SUBACK, &s))
		return MQTT_TAKEN;
	if (is_away(c, MQTT_SUBACK, &s, &done))
		return done;
	id = mqtt_has(&s.props, MQTT_PROP_SUBSCRIPTION_ID) ? s.props.subscription_id : 0;
	buf_clear(&b->scratch);
	buf_clear(&b->undo);
	mqtt_unit_begin(b);
	for (again = s; mqtt_filter_next(&again, &f);)
		buf_add_u8(&b->scratch, subscribe_one(c, &f, id));
	put_suback(c, s.packet_id);
	/* Retained messages follow the SUBACK; nothing below writes to scratch. */
	for (size_t i = 0; mqtt_filter_next(&s, &f); i++) {
		uint8_t reason = b->scratch.data[i];

		if (wants_retained(&f, reason))
			mqtt_retained_owe(b, c->session, f.filter, reason & 3, id);
	}
	return MQTT_TAKEN;
}

enum mqtt_done
mqtt_on_unsubscribe(struct mqtt_conn *c, const struct mqtt_frame *frame)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_subscribe s;
	struct mqtt_filter f;
	enum mqtt_done done;

	if (!parse(c, frame, MQTT_UNSUBACK, &s))
		return MQTT_TAKEN;
	if (is_away(c, MQTT_UNSUBACK, &s, &done))
		return done;
	buf_clear(&b->scratch);
	buf_clear(&b->undo);
	mqtt_unit_begin(b);
	while (mqtt_filter_next(&s, &f)) {
		struct mqtt_sub *sub = mqtt_router_find(&b->router, c->session, f.filter);

		buf_add_u8(&b->scratch, sub ? MQTT_SUCCESS : MQTT_NO_SUBSCRIPTION);
		if (sub) {
			if (c->session->shared)
				undo_add(&b->undo, sub, f.filter);
			mqtt_router_unsubscribe(&b->router, sub);
			c->session->sub_count--;
			mqtt_change(b, &(struct mqtt_change){ .kind = MQTT_CHANGE_UNSUB,
					   .session = c->session,
					   .filter = f.filter });
		}
	}
	answer(c, MQTT_UNSUBACK, s.packet_id, buf_bytes(&b->scratch));
	return MQTT_TAKEN;
}
