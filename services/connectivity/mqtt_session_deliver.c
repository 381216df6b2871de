/* mqtt_session_deliver.c - messages to clients: matching, sending, queueing, acknowledgement, wills
 *
 * What is owed to one client is bounded by mqtt.outbound_max bytes, output not yet sent and queue together; what does not
 * fit is dropped for this client and counted. Of a QoS 1 message that is in flight a copy is kept only if the session may
 * outlive its connection. */
#include "mqtt_session_impl.h"

#include <stdlib.h>

#include "dialect.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define SUBSCRIPTION_IDS_MAX 64 /* with one message, where a client's subscriptions overlap */
#define OWED_WILLS_MAX 4096

static void
append(struct mqtt_deliveries *list, struct mqtt_delivery *d)
{
	d->next = NULL;
	if (list->tail)
		list->tail->next = d;
	else
		list->head = d;
	list->tail = d;
	list->count++;
}

static struct mqtt_delivery *
take_first(struct mqtt_deliveries *list)
{
	struct mqtt_delivery *d = list->head;

	list->head = d->next;
	if (!list->head)
		list->tail = NULL;
	list->count--;
	return d;
}

static void
delivery_free(struct mqtt_delivery *d)
{
	mqtt_message_unref(&d->message);
	free(d);
}

static struct mqtt_outgoing
outgoing(const struct mqtt_broker *b, const struct mqtt_message *m, unsigned qos, bool retain,
    const uint32_t *ids, size_t id_count)
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

	if (m->has_expiry && m->expires_us > b->now_us)
		o.expiry_s = (uint32_t)((m->expires_us - b->now_us + 999999) / 1000000);
	return o;
}

static bool
is_in_flight(const struct mqtt_session *s, uint16_t packet_id)
{
	const struct mqtt_delivery *d = s->in_flight.head;

	while (d && d->packet_id != packet_id)
		d = d->next;
	return d != NULL;
}

/* Gives d a packet id that is not in flight; there always is one, for in flight are at most MQTT_IN_FLIGHT_MAX. In flight is
 * in the order of serials: only when its oldest is a whole round behind may an id be taken. */
static void
put_in_flight(struct mqtt_session *s, struct mqtt_delivery *d)
{
	do {
		d->serial = ++s->serial;
		d->packet_id = (uint16_t)((d->serial - 1) % UINT16_MAX + 1);
	} while (s->in_flight.head && d->serial - s->in_flight.head->serial >= UINT16_MAX &&
		 is_in_flight(s, d->packet_id));
	append(&s->in_flight, d);
}

static void
drop(struct mqtt_session *s)
{
	metric_add(M_MQTT_DROPPED, 1);
	if (s->drop_logged)
		return;
	s->drop_logged = true;
	log_warn("mqtt.dropping", LB("client", mqtt_session_id(s)), LU("queued", s->queued_bytes),
	    LS("why", "it takes its messages more slowly than they come"));
}

/* Moves queued messages into flight as far as the client's receive maximum allows. */
static void
pump(struct mqtt_broker *b, struct mqtt_session *s)
{
	struct mqtt_conn *c = s->conn;

	while (s->queue.head && s->in_flight.count < c->out_receive_max) {
		struct mqtt_delivery *d = take_first(&s->queue);
		size_t bytes = mqtt_message_bytes(d->message);
		struct mqtt_outgoing o =
		    outgoing(b, d->message, d->qos, d->retain, d->ids, d->id_count);

		s->queued_bytes -= (uint32_t)bytes;
		b->queued_bytes -= bytes;
		if (mqtt_message_expired(d->message, b->now_us) ||
		    mqtt_publish_size(c->version, &o) > c->out_packet_max) {
			drop(s);
			delivery_free(d);
			continue;
		}
		put_in_flight(s, d);
		o.packet_id = d->packet_id;
		mqtt_put_publish(conn_out(&c->io), c->version, &o);
		metric_add(M_MQTT_SENT, 1);
		if (s->expiry_s == 0)
			mqtt_message_unref(&d->message);
	}
	if (!s->queue.head)
		s->drop_logged = false;
}

static struct mqtt_message *
keep(struct mqtt_arrival *a)
{
	if (!a->kept)
		a->kept = mqtt_message_new(&a->view);
	return a->kept;
}

void
mqtt_arrival_fini(struct mqtt_arrival *a)
{
	mqtt_message_unref(&a->kept);
}

static void
enqueue(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_arrival *a, bool retain,
    const uint32_t *ids, size_t id_count)
{
	size_t bytes = mqtt_message_bytes(&a->view);
	size_t out = s->conn ? conn_out_len(&s->conn->io) : 0;
	struct mqtt_delivery *d;

	if (bytes > b->config.outbound_max ||
	    s->queued_bytes + out > b->config.outbound_max - bytes ||
	    b->queued_bytes + bytes > b->config.offline_bytes_max) {
		drop(s);
		return;
	}
	d = xmalloc(sizeof(*d) + id_count * sizeof(ids[0]));
	*d = (struct mqtt_delivery){ .message = mqtt_message_ref(keep(a)),
		.qos = 1,
		.retain = retain,
		.id_count = (uint8_t)id_count };
	for (size_t i = 0; i < id_count; i++)
		d->ids[i] = ids[i];
	s->queued_bytes += (uint32_t)bytes;
	b->queued_bytes += bytes;
	append(&s->queue, d);
}

void
mqtt_deliver(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_arrival *a, unsigned qos,
    bool retain, const uint32_t *ids, size_t id_count)
{
	struct mqtt_conn *c = s->conn;
	struct mqtt_outgoing o;
	size_t size;

	if (qos &&
	    (!c || s->expiry_s || s->queue.head || s->in_flight.count >= c->out_receive_max)) {
		enqueue(b, s, a, retain, ids, id_count);
		if (c)
			pump(b, s);
		return;
	}
	if (!c)
		return;
	o = outgoing(b, &a->view, qos, retain, ids, id_count);
	size = mqtt_publish_size(c->version, &o);
	if (size > c->out_packet_max || size > b->config.outbound_max ||
	    s->queued_bytes + conn_out_len(&c->io) > b->config.outbound_max - size) {
		drop(s);
		return;
	}
	if (qos) {
		struct mqtt_delivery *d = xcalloc(1, sizeof(*d));

		put_in_flight(s, d);
		o.packet_id = d->packet_id;
	}
	mqtt_put_publish(conn_out(&c->io), c->version, &o);
	metric_add(M_MQTT_SENT, 1);
}

static bool
is_own(const struct mqtt_sub *sub, const struct mqtt_arrival *a)
{
	return sub->no_local && sub->session == a->from;
}

/* One message to a session of whose subscriptions several may match: once, at the highest QoS, with all identifiers
 * (3.3.4). */
static void
deliver_match(struct mqtt_broker *b, struct mqtt_arrival *a, struct mqtt_sub *const *matches,
    size_t i, size_t n)
{
	struct mqtt_session *s = matches[i]->session;
	uint32_t ids[SUBSCRIPTION_IDS_MAX];
	size_t id_count = 0;
	unsigned qos = s->match_qos < a->view.qos ? s->match_qos : a->view.qos;

	for (; i < n && s->match_subs; i++) {
		if (matches[i]->session != s || is_own(matches[i], a))
			continue;
		s->match_subs--;
		if (matches[i]->id && id_count < SUBSCRIPTION_IDS_MAX)
			ids[id_count++] = matches[i]->id;
	}
	s->match_stamp = 0;
	mqtt_deliver(b, s, a, qos, a->retain && s->match_retain, ids, id_count);
}

static void
stamp(struct mqtt_broker *b, struct mqtt_sub *sub)
{
	struct mqtt_session *s = sub->session;

	if (s->match_stamp != b->match_serial) {
		s->match_stamp = b->match_serial;
		s->match_subs = 0;
		s->match_qos = 0;
		s->match_retain = false;
	}
	s->match_subs++;
	if (sub->qos > s->match_qos)
		s->match_qos = sub->qos;
	if (sub->retain_as_published)
		s->match_retain = true;
}

int
mqtt_route(struct mqtt_broker *b, struct mqtt_arrival *a)
{
	struct mqtt_sub *const *matches;
	size_t n = mqtt_router_match(&b->router, a->view.topic, &matches);
	int err = 0;

	b->match_serial++;
	for (size_t i = 0; i < n; i++)
		if (!is_own(matches[i], a))
			stamp(b, matches[i]);
	for (size_t i = 0; i < n; i++)
		if (matches[i]->session->match_stamp == b->match_serial)
			deliver_match(b, a, matches, i, n);
	if (a->retain) {
		err = mqtt_retained_set(&b->retained, keep(a));
		if (err)
			metric_add(M_MQTT_NOT_RETAINED, 1);
	}
	return err;
}

void
mqtt_deliver_resume(struct mqtt_session *s)
{
	struct mqtt_conn *c = s->conn;
	struct mqtt_broker *b = c->broker;

	for (struct mqtt_delivery **at = &s->in_flight.head; *at;) {
		struct mqtt_delivery *d = *at;
		struct mqtt_outgoing o;

		/* Not kept: the session was to end with its connection when this was sent. */
		if (!d->message) {
			*at = d->next;
			s->in_flight.count--;
			delivery_free(d);
			continue;
		}
		o = outgoing(b, d->message, d->qos, d->retain, d->ids, d->id_count);
		o.packet_id = d->packet_id;
		o.dup = true;
		if (mqtt_publish_size(c->version, &o) <= c->out_packet_max)
			mqtt_put_publish(conn_out(&c->io), c->version, &o);
		at = &d->next;
		s->in_flight.tail = d;
	}
	if (!s->in_flight.head)
		s->in_flight.tail = NULL;
	pump(b, s);
}

void
mqtt_deliver_acked(struct mqtt_session *s, uint16_t packet_id)
{
	struct mqtt_delivery *before = NULL;
	struct mqtt_delivery *d = s->in_flight.head;

	while (d && d->packet_id != packet_id) {
		before = d;
		d = d->next;
	}
	/* An id that is not in flight: acknowledged twice, or of an earlier life. Harmless. */
	if (!d)
		return;
	if (before)
		before->next = d->next;
	else
		s->in_flight.head = d->next;
	if (s->in_flight.tail == d)
		s->in_flight.tail = before;
	s->in_flight.count--;
	delivery_free(d);
	pump(s->conn->broker, s);
}

void
mqtt_deliveries_clear(struct mqtt_broker *b, struct mqtt_session *s)
{
	while (s->in_flight.head)
		delivery_free(take_first(&s->in_flight));
	b->queued_bytes -= s->queued_bytes;
	s->queued_bytes = 0;
	while (s->queue.head)
		delivery_free(take_first(&s->queue));
}

void
mqtt_will_free(struct mqtt_will **p_will)
{
	struct mqtt_will *will = *p_will;

	*p_will = NULL;
	if (!will)
		return;
	mqtt_message_unref(&will->message);
	free(will->identity);
	free(will);
}

/* A will on a reading's topic is a reading. false: no room now. */
static bool
will_is_ingested(struct mqtt_broker *b, const struct mqtt_will *will)
{
	struct dialect_target target;
	struct ingest_message m = {
		.topic = will->message->topic,
		.payload = will->message->payload,
		.qos = will->message->qos,
		.undecodable = INGEST_QUARANTINE,
	};
	struct auth_grant grant = { .identity = bytes_of_str(will->identity),
		.any_device = will->any_device };

	if (dialect_match(m.topic, grant.identity, &target) != 0)
		return true;
	if (target.names_device && !auth_speaks_for(&grant, target.device)) {
		metric_add(M_MQTT_REFUSED, 1);
		return true;
	}
	m.device = target.device;
	m.format = target.format;
	m.metric = target.metric;
	return b->ops.offer(b->ops.arg, &m, 0, NULL) != ERR_AGAIN;
}

static void
owe(struct mqtt_broker *b, struct mqtt_will **will)
{
	if (b->owed_will_count == OWED_WILLS_MAX) {
		log_warn("mqtt.will_dropped", LB("topic", (*will)->message->topic));
		metric_add(M_MQTT_DROPPED, 1);
		mqtt_will_free(will);
		return;
	}
	(*will)->next = b->owed_wills;
	b->owed_wills = *will;
	b->owed_will_count++;
	*will = NULL;
}

void
mqtt_will_publish(struct mqtt_broker *b, struct mqtt_will **will, const struct mqtt_session *from)
{
	struct mqtt_arrival a;

	if (!*will)
		return;
	if (!will_is_ingested(b, *will)) {
		owe(b, will);
		return;
	}
	a = (struct mqtt_arrival){
		.view = *(*will)->message, .retain = (*will)->retain, .from = from
	};
	a.view.expires_us += b->now_us;
	(void)mqtt_route(b, &a);
	mqtt_arrival_fini(&a);
	mqtt_will_free(will);
}

void
mqtt_owed_wills(struct mqtt_broker *b)
{
	struct mqtt_will *will = b->owed_wills;

	b->owed_wills = NULL;
	b->owed_will_count = 0;
	while (will) {
		struct mqtt_will *next = will->next;

		mqtt_will_publish(b, &will, NULL);
		will = next;
	}
}
