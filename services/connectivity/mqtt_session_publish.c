/* mqtt_session_publish.c - PUBLISH from a client (MQTT 5 section 3.3)
 *
 * Topics of a dialect are readings and go to ingest; all others are messages between clients. Both reach subscribers. */
#include "mqtt_session_impl.h"

#include <stdlib.h>
#include <string.h>

#include "dialect.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "mqtt_sys.h"

#define SHORT_ANSWER 64 /* bytes of answers that are put before what they are an answer to */

static enum mqtt_pending_kind
answer_to(const struct mqtt_publish *p)
{
	return p->qos == 2 ? MQTT_OWES_PUBREC : MQTT_OWES_PUBACK;
}

/* Refused for ever. 3.1.1 cannot be told: its connection is closed, for what is acknowledged must be durable (its
 * MQTT-3.3.5-2). */
static void
refuse(struct mqtt_conn *c, const struct mqtt_publish *p, uint8_t reason, const char *why)
{
	struct mqtt_pending *pending;

	metric_add(M_MQTT_REFUSED, 1);
	if (p->qos && !mqtt_is_v5(c)) {
		mqtt_conn_fail(c, reason, why);
		return;
	}
	log_warn("mqtt.publish_refused", LB("client", mqtt_session_id(c->session)),
	    LB("topic", p->topic), LS("why", why));
	if (p->qos == 0)
		return;
	pending = mqtt_pending_push(c, p->packet_id, answer_to(p), MQTT_READY);
	pending->reason = reason;
	pending->text = xstrdup(why);
	mqtt_answer_ready(c);
}

/* Topic aliases of 5.0 (3.3.2.3.4); false if the connection failed. */
static bool
resolve_alias(struct mqtt_conn *c, struct mqtt_publish *p)
{
	uint16_t max = c->broker->config.aliases_max;
	char **slot;

	if (!mqtt_has(&p->props, MQTT_PROP_ALIAS))
		return true;
	if (p->props.alias == 0 || p->props.alias > max) {
		mqtt_conn_fail(c, MQTT_BAD_ALIAS, "topic alias above the topic alias maximum");
		return false;
	}
	if (!c->aliases)
		c->aliases = xcalloc(max, sizeof(c->aliases[0]));
	slot = &c->aliases[p->props.alias - 1];
	if (p->topic.len > MQTT_ALIAS_TOPIC_MAX) {
		mqtt_conn_fail(
		    c, MQTT_QUOTA_EXCEEDED, "topic of more than 1024 bytes with an alias");
		return false;
	}
	if (p->topic.len == 0 && !*slot) {
		mqtt_conn_fail(c, MQTT_PROTOCOL_ERROR, "topic alias that stands for nothing");
		return false;
	}
	if (p->topic.len == 0) {
		p->topic = bytes_of_str(*slot);
	} else if (!*slot || !bytes_equal_str(p->topic, *slot)) {
		free(*slot);
		*slot = xstrndup((const char *)p->topic.data, p->topic.len);
	}
	return true;
}

static bool
window_is_full(const struct mqtt_conn *c)
{
	uint32_t owed = c->ring_tail - c->ring_head;

	/* 3.1.1 has no receive maximum, and its PUBRELs must be read: only what waits for us counts. */
	return mqtt_is_v5(c) ? c->unacked >= c->broker->config.receive_maximum
			     : owed >= c->broker->config.receive_maximum;
}

/* Whether there may be one more unacknowledged message (3.3.4, MQTT-3.3.4-7). While some are held only the next PUBLISH
 * waits, not a PINGREQ before it: clients close what does not answer their pings. */
static enum mqtt_done
take_window(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	if (c->held || c->reoffered) {
		if (c->replaying)
			return MQTT_LATER;
		conn_pause(&c->io, MQTT_PAUSED_HELD);
		return MQTT_LATER;
	}
	if (p->qos == 0 || !window_is_full(c))
		return MQTT_TAKEN;
	if (mqtt_is_v5(c)) {
		mqtt_conn_fail(c, MQTT_RECEIVE_MAXIMUM,
		    "more unacknowledged messages than the receive maximum");
		return MQTT_TAKEN;
	}
	conn_pause(&c->io, MQTT_PAUSED_WINDOW);
	return MQTT_LATER;
}

static void
arrive(struct mqtt_conn *c, const struct mqtt_publish *p, struct mqtt_arrival *ret)
{
	struct mqtt_broker *b = c->broker;

	*ret = (struct mqtt_arrival){
		.view = {
			.qos = (uint8_t)p->qos,
			.topic = p->topic,
			.payload = p->payload,
		},
		.retain = p->retain,
		.from = c->session,
		.client = mqtt_session_id(c->session),
		.packet_id = p->qos == 2 && c->session->shared ? p->packet_id : 0,
		.repeat = p->dup,
	};
	if (p->retain)
		ret->view.source = mqtt_conn_identity(c);
	if (p->props.raw.len == 0)
		return;
	ret->view.props = mqtt_props_forward(&p->props, &b->props);
	ret->view.has_expiry = mqtt_has(&p->props, MQTT_PROP_MESSAGE_EXPIRY);
	if (ret->view.has_expiry)
		ret->view.expires_us = b->now_us + p->props.message_expiry * 1000000ll;
}

/* It may go on as it came: no properties, the topic itself, the remaining length as we write it. */
static void
arrive_as(struct mqtt_conn *c, const struct mqtt_frame *f, struct mqtt_arrival *a)
{
	size_t header = f->whole.len - f->body.len;

	if (header > 2 && f->body.data[-1] == 0)
		return;
	a->wire = *f;
	a->wire_v5 = mqtt_is_v5(c);
}

void
mqtt_publish_again(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_arrival a;

	if (!b->ops.forward)
		return;
	arrive(c, p, &a);
	a.repeat = true;
	(void)mqtt_route(b, &a);
	mqtt_arrival_fini(&a);
}

static unsigned
route(struct mqtt_conn *c, const struct mqtt_publish *p, const struct mqtt_frame *plain)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_arrival a;
	unsigned lost;

	b->passed.publish_in++;
	b->passed.publish_bytes_in += p->payload.len;
	/* The usual case: nobody listens. */
	if (!p->retain && b->router.sub_count == 0 && !b->ops.forward)
		return MQTT_NOBODY;
	arrive(c, p, &a);
	if (plain)
		arrive_as(c, plain, &a);
	lost = mqtt_route(b, &a);
	mqtt_arrival_fini(&a);
	return lost;
}

/* A reading, to whoever listens. */
static void
route_reading(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_arrival a;

	if (b->loading) {
		arrive(c, p, &a);
		if (mqtt_gather(b, &a)) {
			b->passed.publish_in++;
			b->passed.publish_bytes_in += p->payload.len;
			return;
		}
	}
	(void)route(c, p, NULL);
}

static void
reading_is_taken(
    struct mqtt_conn *c, const struct mqtt_publish *p, const struct dialect_target *target)
{
	const struct mqtt_ops *ops = &c->broker->ops;

	if (p->qos == 0)
		return;
	mqtt_pending_push(c, p->packet_id, answer_to(p), MQTT_WAITING);
	if (p->qos == 2)
		mqtt_received_add(c, p->packet_id,
		    MQTT_RECEIVED_WAITS | MQTT_RECEIVED_COUNTS | MQTT_RECEIVED_READING,
		    ops->partition ? ops->partition(ops->arg, target->device) : -1);
}

static enum mqtt_done
on_reading(struct mqtt_conn *c, const struct mqtt_publish *p, const struct dialect_target *target,
    const struct ingest_origin *origin)
{
	struct mqtt_broker *b = c->broker;
	bool can_tell = mqtt_is_v5(c) && p->qos;
	struct ingest_message m = {
		.device = target->device,
		.topic = p->topic,
		.payload = p->payload,
		.format = target->format,
		.metric = target->metric,
		.client = mqtt_session_id(c->session),
		.packet_id = p->packet_id,
		.qos = p->qos,
		.dup = p->dup,
		.undecodable = can_tell ? INGEST_REFUSE : INGEST_QUARANTINE,
		.origin = origin,
	};
	int err;

	buf_clear(&b->scratch);
	err =
	    b->ops.offer(b->ops.arg, &m, p->qos ? mqtt_token_of(c, c->ring_tail) : 0, &b->scratch);
	if (err == ERR_AGAIN) {
		mqtt_wait_for_room(c);
		return MQTT_LATER;
	}
	if (err) {
		refuse(c, p, MQTT_BAD_PAYLOAD, buf_str(&b->scratch));
		return MQTT_TAKEN;
	}
	metric_add(M_MQTT_RECEIVED, 1);
	reading_is_taken(c, p, target);
	/* Whoever listens is none of the device's business: COMMIT alone answers it. */
	route_reading(c, p);
	return MQTT_TAKEN;
}

/* What 5.0 is told of a message that did not get everywhere. */
static void
tell_loss(struct mqtt_pending *pending, unsigned lost)
{
	pending->reason = MQTT_QUOTA_EXCEEDED;
	if (lost & MQTT_NOT_RETAINED)
		pending->text = xstrdup("not retained: as many messages as allowed are "
					"(mqtt.retained_max, mqtt.retained_mib)");
	else
		pending->text = xstrdup("the queue of a subscriber is full");
}

/* It needs the sessions' shared copy, which cannot be written: later, or 0x83, and nothing is done about it. */
static enum mqtt_done
on_away(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	struct mqtt_pending *pending;

	if (mqtt_away_of(c) == MQTT_AWAY_WAIT)
		return MQTT_LATER;
	metric_add(M_MQTT_UNAVAILABLE, 1);
	pending = mqtt_pending_push(c, p->packet_id, answer_to(p), MQTT_READY);
	pending->reason = MQTT_IMPLEMENTATION;
	pending->text = xasprintf("%s: it was not taken", c->broker->away_why);
	mqtt_answer_ready(c);
	return MQTT_TAKEN;
}

static size_t
put_so_far(const struct mqtt_conn *c)
{
	return c->io.out ? c->io.out->len : 0;
}

/* A client that hears itself gets its PUBACK or PUBREC before the message, from routed on: some take the other order for an
 * error. */
static void
answer_first(struct mqtt_conn *c, size_t before, size_t routed)
{
	uint8_t answer[SHORT_ANSWER];
	size_t len = put_so_far(c) - routed;

	if (routed == before || len == 0 || len > sizeof(answer))
		return;
	memcpy(answer, c->io.out->data + routed, len);
	memmove(c->io.out->data + before + len, c->io.out->data + before, routed - before);
	memcpy(c->io.out->data + before, answer, len);
}

/* plain: its frame, if there is nothing in it but topic and payload; or NULL. */
static enum mqtt_done
on_message(struct mqtt_conn *c, const struct mqtt_publish *p, const struct mqtt_frame *plain)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_pending *pending;
	size_t before = put_so_far(c), routed;
	unsigned fate, lost;
	bool nobody;

	/* Those who subscribed in an earlier life may not be known yet. */
	if (b->loading && !(b->away_over && p->qos && mqtt_is_v5(c))) {
		mqtt_wait_for_room(c);
		return MQTT_LATER;
	}
	if (mqtt_sys_is_ours(p->topic)) {
		refuse(c, p, MQTT_NOT_AUTHORIZED, "$SYS topics are the server's");
		return MQTT_TAKEN;
	}
	if (b->away_since_us && p->qos && (b->loading || mqtt_away_needs(c, p)))
		return on_away(c, p);
	metric_add(M_MQTT_RECEIVED, 1);
	mqtt_unit_begin(b);
	fate = route(c, p, plain);
	if (p->qos == 0)
		return MQTT_TAKEN;
	routed = put_so_far(c);
	lost = mqtt_is_v5(c) ? fate & (MQTT_NOT_RETAINED | MQTT_NOT_QUEUED) : 0;
	/* 3.4.2.1. PUBREC does without: there are clients to which it is an end. */
	nobody = fate & MQTT_NOBODY && mqtt_is_v5(c) && p->qos == 1;
	if (p->qos == 1 && !lost && !nobody && mqtt_answer_at_once(c, p->packet_id)) {
		answer_first(c, before, routed);
		return MQTT_TAKEN;
	}
	if (p->qos == 2 && !lost)
		mqtt_received_add(c, p->packet_id, MQTT_RECEIVED_COUNTS, -1);
	pending = mqtt_pending_push_written(c, p->packet_id, answer_to(p));
	if (lost)
		tell_loss(pending, lost);
	else if (nobody)
		pending->reason = MQTT_NO_SUBSCRIBERS;
	mqtt_answer_ready(c);
	answer_first(c, before, routed);
	return MQTT_TAKEN;
}

static enum mqtt_done
on_new_message(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	mqtt_source_learn_message(&c->source, p->topic);
	return on_message(c, p, NULL);
}

static bool
too_deep(struct bytes topic)
{
	return topic.len >= MQTT_LEVELS_MAX && mqtt_levels(topic) > MQTT_LEVELS_MAX;
}

/* A topic that the connection did not publish to before, or not lately. */
static enum mqtt_done
on_topic(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	struct dialect_target target;
	struct bytes me = mqtt_conn_device(c);
	int err;

	if (mqtt_enrol_takes(c, p)) {
		mqtt_enrol(c, p);
		return MQTT_TAKEN;
	}
	err = dialect_match(p->topic, me, &target);
	if (err == ERR_NOT_FOUND && too_deep(p->topic))
		refuse(c, p, MQTT_BAD_TOPIC, "topic of more than 128 levels");
	else if (err && err != ERR_NOT_FOUND)
		refuse(
		    c, p, err == ERR_REFUSED ? MQTT_NOT_AUTHORIZED : MQTT_BAD_TOPIC, target.reason);
	else if (!mqtt_sys_is_ours(p->topic) && !mqtt_may(c, MQTT_MAY_PUBLISH, p->topic))
		refuse(c, p, MQTT_NOT_AUTHORIZED, "this client may not publish to that topic");
	else if (err)
		return on_new_message(c, p);
	else if (target.names_device && !mqtt_may_speak(c->broker, c->grant, me, target.device))
		refuse(c, p, MQTT_NOT_AUTHORIZED,
		    "this client may not publish readings of that device");
	else {
		mqtt_source_learn(&c->source, p->topic, me, mqtt_session_id(c->session));
		return on_reading(c, p, &target, NULL);
	}
	return MQTT_TAKEN;
}

/* To the topic of the last one, without properties: most are. */
static enum mqtt_done
on_known(struct mqtt_conn *c, const struct mqtt_frame *f, const struct mqtt_publish *p)
{
	struct mqtt_source *source = c->source;

	if (p->qos == 2 && mqtt_received_early(c, p))
		return MQTT_LATER;
	if (p->qos == 2 && mqtt_received_again(c, p))
		return MQTT_TAKEN;
	if (take_window(c, p) == MQTT_LATER)
		return MQTT_LATER;
	if (c->state != MQTT_UP)
		return MQTT_TAKEN;
	source->used = true;
	return source->is_reading ? on_reading(c, p, &source->target, &source->origin)
				  : on_message(c, p, f);
}

enum mqtt_done
mqtt_on_publish(struct mqtt_conn *c, const struct mqtt_frame *f)
{
	struct mqtt_publish p;
	struct mqtt_fault fault;
	const struct mqtt_source *source;

	if (!c->replaying && (c->parked || (c->awaits_release && (c->held || c->reoffered))))
		return mqtt_park(c, f);
	if (c->source && mqtt_parse_publish_to(f, c->version, mqtt_source_topic(c->source), &p))
		return on_known(c, f, &p);
	if (mqtt_parse_publish(f, c->version, &p, &fault) != 0) {
		mqtt_conn_fail(c, fault.reason, fault.what);
		return MQTT_TAKEN;
	}
	if (!resolve_alias(c, &p))
		return MQTT_TAKEN;
	if (p.qos == 2 && mqtt_received_early(c, &p))
		return MQTT_LATER;
	if (p.qos == 2 && mqtt_received_again(c, &p))
		return MQTT_TAKEN;
	if (take_window(c, &p) == MQTT_LATER)
		return MQTT_LATER;
	if (c->state != MQTT_UP)
		return MQTT_TAKEN;
	if (!mqtt_payload_valid(&p.props, p.payload)) {
		refuse(c, &p, MQTT_BAD_PAYLOAD, "payload is not the UTF-8 it says it is");
		return MQTT_TAKEN;
	}
	source = mqtt_source_of(&c->source, p.topic);
	if (!source)
		return on_topic(c, &p);
	return source->is_reading ? on_reading(c, &p, &source->target, &source->origin)
				  : on_message(c, &p, NULL);
}
