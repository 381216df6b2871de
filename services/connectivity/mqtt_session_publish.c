/* mqtt_session_publish.c - PUBLISH from a client, and its answer in order
 *
 * An entry of the ring is made when a PUBLISH was taken:
 *
 *	reading			WAITING -COMMIT-> READY
 *				WAITING -refused, 5.0-> READY with 0x97
 *				WAITING -refused, 3.1.1-> HELD -offered again when due-> REOFFERED
 *				REOFFERED -COMMIT-> READY, -refused-> HELD
 *	anything else		READY at once
 *
 * and leaves it with its PUBACK when it is READY and the oldest.
 *
 * Each refusal is journalled. So of those held the oldest is offered first and alone, and more at a time only while they
 * are accepted: the journal gets about as many refusals as readings, however many are held. */
#include "mqtt_session_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dialect.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define RING_MIN 8
#define RING_KEEP 16 /* a ring of this size stays though nothing waits */
#define ALIAS_TOPIC_MAX 1024
#define REASON_ROOM 1100 /* an acknowledgement with a reason string is at most this long */
#define REOFFER_MIN_US 10000
/* token: slot 20 bits, generation 27, seq 17: more than one connection can have in its ring. A slot's generation comes again
 * only after more connections than a token can outlive. */
#define GENERATION_BITS 27
#define SEQ_BITS 17
#define GENERATION_MASK ((1u << GENERATION_BITS) - 1)
#define SEQ_MASK ((1u << SEQ_BITS) - 1)

static uint64_t
token_of(const struct mqtt_conn *c, uint32_t seq)
{
	/* Plus one: token 0 is that of messages that nobody waits for. */
	return ((uint64_t)c->slot << (GENERATION_BITS + SEQ_BITS) |
		   (uint64_t)(c->generation & GENERATION_MASK) << SEQ_BITS | (seq & SEQ_MASK)) +
	       1;
}

static struct mqtt_conn *
conn_of(const struct mqtt_broker *b, uint64_t token, uint32_t *ret_seq)
{
	uint64_t v = token - 1;
	uint64_t slot = v >> (GENERATION_BITS + SEQ_BITS);
	struct mqtt_conn *c = slot < b->slot_count ? b->slots[slot] : NULL;
	uint32_t distance;

	if (!c || c->state != MQTT_UP ||
	    (c->generation & GENERATION_MASK) != (v >> SEQ_BITS & GENERATION_MASK))
		return NULL;
	distance = ((uint32_t)v - c->ring_head) & SEQ_MASK;
	if (distance >= c->ring_tail - c->ring_head)
		return NULL;
	*ret_seq = c->ring_head + distance;
	return c;
}

static struct mqtt_pending *
entry(const struct mqtt_conn *c, uint32_t seq)
{
	return &c->ring[seq & (c->ring_size - 1)];
}

static void
grow_ring(struct mqtt_conn *c)
{
	uint32_t size = c->ring_size ? 2 * c->ring_size : RING_MIN;
	struct mqtt_pending *ring = xmalloc(size * sizeof(*ring));

	for (uint32_t seq = c->ring_head; seq != c->ring_tail; seq++)
		ring[seq & (size - 1)] = *entry(c, seq);
	free(c->ring);
	c->ring = ring;
	c->ring_size = size;
}

static struct mqtt_pending *
push(struct mqtt_conn *c, uint16_t packet_id, enum mqtt_pending_state state)
{
	struct mqtt_pending *p;

	if (c->ring_tail - c->ring_head == c->ring_size)
		grow_ring(c);
	p = entry(c, c->ring_tail++);
	*p = (struct mqtt_pending){ .packet_id = packet_id, .state = (uint8_t)state };
	return p;
}

static void
put_refusal(struct mqtt_conn *c, const struct mqtt_pending *p)
{
	char text[64];
	struct bytes why = bytes_of("", 0);

	if (c->problem_info && c->out_packet_max >= REASON_ROOM) {
		if (p->text)
			why = bytes_of_str(p->text);
		else if (p->verdict) {
			snprintf(text, sizeof(text), "%s: retry in %u ms", verdict_name(p->verdict),
			    verdict_retry_ms(p->verdict));
			why = bytes_of_str(text);
		}
	}
	mqtt_put_ack(conn_out(&c->io), c->version, MQTT_PUBACK, p->packet_id, p->reason, why);
}

/* The PUBACK of all versions that says nothing but that it is one. */
static void
put_success(struct buf *out, uint16_t packet_id)
{
	uint8_t *at = buf_reserve(out, 4);

	at[0] = MQTT_PUBACK << 4;
	at[1] = 2;
	at[2] = (uint8_t)(packet_id >> 8);
	at[3] = (uint8_t)packet_id;
	out->len += 4;
}

/* Answers what is ready and not behind something that is not. */
static void
answer_ready(struct mqtt_conn *c)
{
	struct buf *out = NULL;

	while (c->ring_head != c->ring_tail) {
		struct mqtt_pending *p = entry(c, c->ring_head);

		if (p->state != MQTT_READY)
			break;
		if (!out)
			out = conn_out(&c->io);
		if (p->reason == MQTT_SUCCESS) {
			put_success(out, p->packet_id);
		} else {
			put_refusal(c, p);
			free(p->text);
		}
		c->ring_head++;
	}
	if (c->ring_tail - c->ring_head <= c->broker->config.receive_maximum / 2)
		conn_resume(&c->io, MQTT_PAUSED_WINDOW);
}

void
mqtt_pending_clear(struct mqtt_conn *c)
{
	for (uint32_t seq = c->ring_head; seq != c->ring_tail; seq++)
		free(entry(c, seq)->text);
	free(c->ring);
	c->ring = NULL;
	c->ring_size = 0;
	c->ring_head = c->ring_tail;
	c->reoffered = 0;
	while (c->held) {
		struct mqtt_held *h = c->held;

		c->held = h->next;
		c->broker->held_bytes -= sizeof(*h) + h->len;
		free(h);
	}
}

void
mqtt_pending_trim(struct mqtt_conn *c)
{
	if (c->ring_head == c->ring_tail && c->ring_size > RING_KEEP)
		mqtt_pending_clear(c);
}

/* Refused for ever. 3.1.1 cannot be told: its connection is closed, for what is acknowledged must be durable. */
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
	pending = push(c, p->packet_id, MQTT_READY);
	pending->reason = reason;
	pending->text = xstrdup(why);
	answer_ready(c);
}

void
mqtt_wait_for_room(struct mqtt_conn *c)
{
	conn_pause(&c->io, MQTT_PAUSED_ROOM);
	if (c->room_link)
		return;
	c->room_next = c->broker->room_first;
	c->room_link = &c->broker->room_first;
	if (c->room_next)
		c->room_next->room_link = &c->room_next;
	c->broker->room_first = c;
}

/* Keeps a refused record, in the place of its PUBLISH. */
static void
hold(struct mqtt_conn *c, uint32_t seq, uint32_t verdict, struct bytes record)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_held *h;
	struct mqtt_held **at = &c->held;

	if (b->held_bytes + sizeof(*h) + record.len > MQTT_HELD_BYTES_MAX) {
		/* Not acknowledged: the client sends it again when it comes back. */
		mqtt_conn_fail(c, MQTT_QUOTA_EXCEEDED, "too many refused messages are held");
		return;
	}
	h = xmalloc(sizeof(*h) + record.len);
	*h = (struct mqtt_held){ .seq = seq,
		.len = record.len,
		.due_us = b->now_us + verdict_retry_ms(verdict) * 1000ll };
	memcpy(h->record, record.data, record.len);
	b->held_bytes += sizeof(*h) + h->len;
	while (*at && (*at)->seq - c->ring_head < seq - c->ring_head)
		at = &(*at)->next;
	h->next = *at;
	*at = h;
	entry(c, seq)->state = MQTT_HELD;
	c->reoffers_max = 1;
	mqtt_conn_arm(c);
}

void
mqtt_held_offer(struct mqtt_conn *c)
{
	struct mqtt_broker *b = c->broker;

	while (c->held && c->held->due_us <= b->now_us && c->reoffered < c->reoffers_max) {
		struct mqtt_held *h = c->held;
		int err =
		    b->ops.reoffer(b->ops.arg, bytes_of(h->record, h->len), token_of(c, h->seq));

		if (err) {
			h->due_us = b->now_us + REOFFER_MIN_US;
			break;
		}
		entry(c, h->seq)->state = MQTT_REOFFERED;
		c->reoffered++;
		c->held = h->next;
		b->held_bytes -= sizeof(*h) + h->len;
		free(h);
	}
}

/* A held message is answered: the next ones follow, or reading goes on. */
static void
reoffer_accepted(struct mqtt_conn *c)
{
	if (c->reoffers_max < MQTT_REOFFERS_MAX)
		c->reoffers_max = (uint16_t)(c->reoffers_max * 2);
	if (c->held) {
		if (!c->broker->draining)
			mqtt_held_offer(c);
		mqtt_conn_arm(c);
	} else if (c->reoffered == 0) {
		c->last_in_us = c->broker->now_us;
		conn_resume(&c->io, MQTT_PAUSED_HELD);
	}
}

void
mqtt_broker_answer(
    struct mqtt_broker *b, uint64_t token, uint32_t verdict, const struct bytes *record)
{
	uint32_t seq;
	struct mqtt_conn *c = token ? conn_of(b, token, &seq) : NULL;
	struct mqtt_pending *p;
	bool again;

	if (!c)
		return;
	p = entry(c, seq);
	if (p->state != MQTT_WAITING && p->state != MQTT_REOFFERED)
		return;
	again = p->state == MQTT_REOFFERED;
	c->reoffered = (uint16_t)(c->reoffered - again);
	if (verdict_is_refusal(verdict)) {
		if (!mqtt_is_v5(c)) {
			ASSERT(record);
			hold(c, seq, verdict, *record);
			return;
		}
		p->reason = MQTT_QUOTA_EXCEEDED;
		p->verdict = verdict;
	}
	p->state = MQTT_READY;
	answer_ready(c);
	if (again)
		reoffer_accepted(c);
}

/* Topic aliases of 5.0 (3.3.2.3.4); false if the connection failed. */
static bool
resolve_alias(struct mqtt_conn *c, struct mqtt_publish *p)
{
	char **slot;

	if (!mqtt_has(&p->props, MQTT_PROP_ALIAS))
		return true;
	if (p->props.alias > MQTT_ALIASES_MAX) {
		mqtt_conn_fail(c, MQTT_BAD_ALIAS, "topic alias above the topic alias maximum");
		return false;
	}
	if (!c->aliases)
		c->aliases = xcalloc(MQTT_ALIASES_MAX, sizeof(c->aliases[0]));
	slot = &c->aliases[p->props.alias - 1];
	if (p->topic.len > ALIAS_TOPIC_MAX) {
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

/* Whether there may be one more unacknowledged message (3.3.4). While some are held only the next PUBLISH waits, not a
 * PINGREQ before it: clients close what does not answer their pings. */
static enum mqtt_done
take_window(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	if (c->held || c->reoffered) {
		conn_pause(&c->io, MQTT_PAUSED_HELD);
		return MQTT_LATER;
	}
	if (p->qos == 0 || c->ring_tail - c->ring_head < c->broker->config.receive_maximum)
		return MQTT_TAKEN;
	if (mqtt_is_v5(c)) {
		mqtt_conn_fail(c, MQTT_RECEIVE_MAXIMUM,
		    "more unacknowledged messages than the receive maximum");
		return MQTT_TAKEN;
	}
	conn_pause(&c->io, MQTT_PAUSED_WINDOW);
	return MQTT_LATER;
}

static int
route(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	struct mqtt_broker *b = c->broker;
	bool expires = mqtt_has(&p->props, MQTT_PROP_MESSAGE_EXPIRY);
	struct mqtt_arrival a;
	int err;

	/* The usual case: nobody listens. */
	if (!p->retain && b->router.sub_count == 0)
		return 0;
	a = (struct mqtt_arrival){
		.view = {
			.qos = (uint8_t)p->qos,
			.has_expiry = expires,
			.expires_us = expires ? b->now_us + p->props.message_expiry * 1000000ll : 0,
			.topic = p->topic,
			.payload = p->payload,
			.props = mqtt_props_forward(&p->props, &b->props),
		},
		.retain = p->retain,
		.from = c->session,
	};
	err = mqtt_route(b, &a);
	mqtt_arrival_fini(&a);
	return err;
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
	err = b->ops.offer(b->ops.arg, &m, p->qos ? token_of(c, c->ring_tail) : 0, &b->scratch);
	if (err == ERR_AGAIN) {
		mqtt_wait_for_room(c);
		return MQTT_LATER;
	}
	if (err) {
		refuse(c, p, MQTT_BAD_PAYLOAD, buf_str(&b->scratch));
		return MQTT_TAKEN;
	}
	metric_add(M_MQTT_RECEIVED, 1);
	if (p->qos)
		push(c, p->packet_id, MQTT_WAITING);
	route(c, p);
	return MQTT_TAKEN;
}

static void
on_message(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	struct mqtt_pending *pending;
	int err;

	if (p->topic.len >= 4 && memcmp(p->topic.data, "$SYS", 4) == 0) {
		refuse(c, p, MQTT_NOT_AUTHORIZED, "$SYS topics are the server's");
		return;
	}
	metric_add(M_MQTT_RECEIVED, 1);
	err = route(c, p);
	if (p->qos == 0)
		return;
	pending = push(c, p->packet_id, MQTT_READY);
	if (err) {
		pending->reason = MQTT_QUOTA_EXCEEDED;
		pending->text = xstrdup("not retained: as many messages as allowed are "
					"(mqtt.retained_max, mqtt.retained_mib)");
	}
	answer_ready(c);
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
	struct auth_grant grant;
	int err;

	grant = (struct auth_grant){
		.identity = c->username ? bytes_of_str(c->username) : mqtt_session_id(c->session),
		.any_device = c->any_device,
	};
	err = dialect_match(p->topic, grant.identity, &target);
	if (err == ERR_NOT_FOUND && too_deep(p->topic))
		refuse(c, p, MQTT_BAD_TOPIC, "topic of more than 128 levels");
	else if (err == ERR_NOT_FOUND)
		on_message(c, p);
	else if (err)
		refuse(
		    c, p, err == ERR_REFUSED ? MQTT_NOT_AUTHORIZED : MQTT_BAD_TOPIC, target.reason);
	else if (target.names_device && !auth_speaks_for(&grant, target.device))
		refuse(c, p, MQTT_NOT_AUTHORIZED,
		    "this client may not publish readings of that device");
	else {
		mqtt_source_learn(
		    &c->source, p->topic, grant.identity, mqtt_session_id(c->session));
		return on_reading(c, p, &target, NULL);
	}
	return MQTT_TAKEN;
}

enum mqtt_done
mqtt_on_publish(struct mqtt_conn *c, const struct mqtt_frame *f)
{
	struct mqtt_publish p;
	struct mqtt_fault fault;
	const struct mqtt_source *source;

	if (!mqtt_parse_publish_to(f, c->version, mqtt_source_topic(c->source), &p) &&
	    mqtt_parse_publish(f, c->version, &p, &fault) != 0) {
		mqtt_conn_fail(c, fault.reason, fault.what);
		return MQTT_TAKEN;
	}
	if (p.qos == 2) {
		/* An honest close: a PUBREC would promise what is not kept. */
		mqtt_conn_fail(c, MQTT_NO_QOS, "QoS 2 is not offered; publish at QoS 1");
		return MQTT_TAKEN;
	}
	if (take_window(c, &p) == MQTT_LATER)
		return MQTT_LATER;
	if (c->state != MQTT_UP || !resolve_alias(c, &p))
		return MQTT_TAKEN;
	if (!mqtt_payload_valid(&p.props, p.payload)) {
		refuse(c, &p, MQTT_BAD_PAYLOAD, "payload is not the UTF-8 it says it is");
		return MQTT_TAKEN;
	}
	source = mqtt_source_of(&c->source, p.topic);
	return source ? on_reading(c, &p, &source->target, &source->origin) : on_topic(c, &p);
}
