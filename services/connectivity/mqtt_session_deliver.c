/* mqtt_session_deliver.c - messages to one client: sending, queueing, acknowledgement
 *
 *	QUEUED	-sent-> SENT	-PUBACK (QoS 1), PUBREC with an error-> gone
 *				-PUBREC (QoS 2)-> RELEASED -PUBCOMP-> gone
 *
 * Queued are those for which the client's receive maximum has no room (MQTT-3.3.4-9), whose connection is away, whose output
 * is full, or, at QoS 2, whose number is not written yet. The queue is bounded by count and bytes: what does not fit is
 * dropped, the newest first, and counted. QoS 0 is never queued. On a new connection all that is in flight is sent again, in
 * its order, as the client's receive maximum allows, before anything else is (MQTT-4.4.0-1, MQTT-4.6.0-1).
 *
 * The packet id follows from n, which counts what was for this session: so it is the same after a restart of everything. Of a
 * message that is in flight a copy is kept only if it may have to be sent again. */
#include "mqtt_session_impl.h"

#include <stdlib.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

void
mqtt_delivery_append(struct mqtt_deliveries *list, struct mqtt_delivery *d)
{
	d->next = NULL;
	d->prev = list->tail;
	if (list->tail)
		list->tail->next = d;
	else
		list->head = d;
	list->tail = d;
	list->count++;
}

void
mqtt_delivery_take_out(struct mqtt_deliveries *list, struct mqtt_delivery *d)
{
	if (d->prev)
		d->prev->next = d->next;
	else
		list->head = d->next;
	if (d->next)
		d->next->prev = d->prev;
	else
		list->tail = d->prev;
	list->count--;
}

void
mqtt_delivery_forget(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_delivery *d)
{
	size_t bytes = d->message ? mqtt_message_bytes(d->message) : 0;

	s->queued_bytes -= bytes;
	b->queued_bytes -= bytes;
	b->queued_count -= d->message != NULL;
	mqtt_message_unref(&d->message);
}

void
mqtt_delivery_free(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_delivery *d)
{
	mqtt_delivery_forget(b, s, d);
	mqtt_group_unref(&d->group);
	if (d->id_count || b->spare_count >= MQTT_SPARE_MAX) {
		free(d);
		return;
	}
	d->next = b->spare;
	b->spare = d;
	b->spare_count++;
}

struct mqtt_delivery *
mqtt_delivery_new(struct mqtt_broker *b, const uint32_t *ids, size_t id_count)
{
	struct mqtt_delivery *d = b->spare;

	if (d && !id_count) {
		b->spare = d->next;
		b->spare_count--;
		*d = (struct mqtt_delivery){ .id_count = 0 };
		return d;
	}
	d = xcalloc(1, sizeof(*d) + id_count * sizeof(ids[0]));
	d->id_count = (uint8_t)id_count;
	for (size_t i = 0; i < id_count; i++)
		d->ids[i] = ids[i];
	return d;
}

/* Beyond its connection, or it was until it came back to end with this one. */
static bool
is_kept(const struct mqtt_session *s)
{
	return s->expiry_s || s->shared;
}

uint32_t
mqtt_in_flight(const struct mqtt_session *s)
{
	return s->in_flight.count + s->window.count;
}

/* Numbers are in the order of each list: only what is a whole round behind n can have its packet id. In the queue of a session that
 * is not kept none has a number yet. */
static bool
has_id(const struct mqtt_deliveries *list, uint64_t n)
{
	const struct mqtt_delivery *d = list->head;

	for (; d && d->n && n - d->n >= UINT16_MAX; d = d->next)
		if (d->packet_id == mqtt_packet_id_of(n))
			return true;
	return false;
}

/* The next number whose packet id is free; there always is one, for what is numbered is bounded. */
static uint64_t
next_number(struct mqtt_session *s)
{
	uint64_t n;

	do {
		n = ++s->n;
	} while ((s->window.count && n - s->window.first >= UINT16_MAX &&
		     mqtt_window_has(&s->window, mqtt_packet_id_of(n))) ||
		 has_id(&s->in_flight, n) || has_id(&s->queue, n));
	return n;
}

static void
count_in(struct mqtt_session *s, struct mqtt_delivery *d)
{
	d->n = next_number(s);
	d->packet_id = mqtt_packet_id_of(d->n);
}

/* Nothing but its number is needed until its PUBACK comes. */
static bool
is_light(const struct mqtt_session *s, unsigned qos, const struct mqtt_group *group)
{
	return qos == 1 && !group && !is_kept(s);
}

static void
drop(struct mqtt_broker *b, struct mqtt_session *s, enum metric_id why)
{
	b->passed.publish_dropped++;
	metric_add(why, 1);
	if (s->drop_logged)
		return;
	s->drop_logged = true;
	log_warn("mqtt.dropping", LB("client", mqtt_session_id(s)), LU("queued", s->queue.count),
	    LU("bytes", s->queued_bytes), LS("counted", metric_infos[why].name));
}

/* --- sending --- */

bool
mqtt_out_has_room(const struct mqtt_broker *b, const struct mqtt_conn *c, size_t size)
{
	size_t len = conn_out_len(&c->io);

	/* One that is larger than the bound must get through as well. Those who read are not held up by those who do not. */
	return len == 0 || (len < b->config.outbound_max && size <= b->config.outbound_max - len &&
			       b->set.unsent + b->set.put < b->config.outbound_bytes_max);
}

/* It is sent when its number is written. */
static void
stall(struct mqtt_broker *b, struct mqtt_session *s)
{
	if (s->stalled_link)
		return;
	s->stalled_next = b->stalled;
	s->stalled_link = &b->stalled;
	if (s->stalled_next)
		s->stalled_next->stalled_link = &s->stalled_next;
	b->stalled = s;
}

static void
unstall(struct mqtt_session *s)
{
	if (!s->stalled_link)
		return;
	*s->stalled_link = s->stalled_next;
	if (s->stalled_next)
		s->stalled_next->stalled_link = s->stalled_link;
	s->stalled_link = NULL;
}

void
mqtt_stalled_pump(struct mqtt_broker *b)
{
	struct mqtt_session *first = b->stalled;

	/* Those that have to wait on come into the list again. */
	b->stalled = NULL;
	if (first)
		first->stalled_link = &first;
	while (first) {
		struct mqtt_session *s = first;

		unstall(s);
		if (s->conn)
			mqtt_pump(b, s);
	}
}

void
mqtt_conn_on_sent(struct mqtt_conn *c)
{
	if (c->session)
		mqtt_pump(c->broker, c->session);
}

enum sending { SENT_NOW, NOT_NOW, NEVER };

/* What is in flight from an earlier connection, once more. */
static enum sending
send_again(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_delivery *d)
{
	struct mqtt_conn *c = s->conn;
	struct mqtt_outgoing o;
	size_t size;

	if (d->state == MQTT_RELEASED) {
		if (d->write > b->writes.written) {
			stall(b, s);
			return NOT_NOW;
		}
		mqtt_put_pubrel(c, d);
		return SENT_NOW;
	}
	if (c->out_unacked >= c->out_receive_max)
		return NOT_NOW;
	if (!mqtt_may_receive(s, d->message->topic)) {
		drop(b, s, M_MQTT_NOT_ALLOWED);
		return NEVER;
	}
	o = mqtt_outgoing_of(b, d->message, d->qos, d->retain, d->ids, d->id_count);
	o.packet_id = d->packet_id;
	o.dup = d->dup;
	size = mqtt_publish_size(c->version, &o);
	if (size > c->out_packet_max) {
		drop(b, s, M_MQTT_TOO_LARGE);
		return NEVER;
	}
	if (!mqtt_out_has_room(b, c, size)) {
		c->io.hungry = true;
		return NOT_NOW;
	}
	d->dup = true;
	d->counts = true;
	c->out_unacked++;
	mqtt_put_message(b, c, &o);
	return SENT_NOW;
}

/* Nothing is sent that is too large for the client: as if it had been acknowledged (MQTT-3.1.2-25). */
static enum sending
send_first(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_delivery *d)
{
	struct mqtt_conn *c = s->conn;
	struct mqtt_outgoing o;
	size_t size;

	if (mqtt_message_expired(d->message, b->now_us)) {
		drop(b, s, M_MQTT_EXPIRED);
		return NEVER;
	}
	if (!mqtt_may_receive(s, d->message->topic)) {
		drop(b, s, M_MQTT_NOT_ALLOWED);
		return NEVER;
	}
	o = mqtt_outgoing_of(b, d->message, d->qos, d->retain, d->ids, d->id_count);
	size = mqtt_publish_size(c->version, &o);
	if (size > c->out_packet_max) {
		drop(b, s, M_MQTT_TOO_LARGE);
		return NEVER;
	}
	if (c->out_unacked >= c->out_receive_max || s->in_flight.count >= MQTT_IN_FLIGHT_MAX)
		return NOT_NOW;
	if (d->write > b->writes.written) {
		stall(b, s);
		return NOT_NOW;
	}
	if (!mqtt_out_has_room(b, c, size)) {
		c->io.hungry = true;
		return NOT_NOW;
	}
	if (!d->n)
		count_in(s, d);
	o.packet_id = d->packet_id;
	mqtt_put_message(b, c, &o);
	return SENT_NOW;
}

/* Moves queued messages into flight as far as the client's receive maximum and its output allow. */
static void
pump_queue(struct mqtt_broker *b, struct mqtt_session *s)
{
	struct mqtt_delivery *d;

	while ((d = s->queue.head)) {
		enum sending how = send_first(b, s, d);

		if (how == NOT_NOW)
			return;
		mqtt_delivery_take_out(&s->queue, d);
		if (how == NEVER) {
			mqtt_change_delivery(b, s, MQTT_CHANGE_DONE, d);
			mqtt_delivery_free(b, s, d);
			continue;
		}
		s->conn->out_unacked++;
		if (is_light(s, d->qos, d->group) && mqtt_window_fits(&s->window, d->n)) {
			mqtt_window_add(&s->window, d->n);
			mqtt_delivery_free(b, s, d);
			continue;
		}
		d->state = MQTT_SENT;
		d->dup = true;
		d->counts = true;
		mqtt_delivery_append(&s->in_flight, d);
		mqtt_change_delivery(b, s, MQTT_CHANGE_SENT, d);
		if (!is_kept(s) && !d->group)
			mqtt_delivery_forget(b, s, d);
	}
	s->drop_logged = false;
}

void
mqtt_pump(struct mqtt_broker *b, struct mqtt_session *s)
{
	if (s->conn->greeting)
		return;
	while (s->resend) {
		struct mqtt_delivery *d = s->resend;
		enum sending how = send_again(b, s, d);

		if (how == NOT_NOW)
			return;
		s->resend = d->next;
		if (how == SENT_NOW)
			continue;
		if (s->recent == d)
			s->recent = d->next;
		mqtt_delivery_take_out(&s->in_flight, d);
		mqtt_change_delivery(b, s, MQTT_CHANGE_DONE, d);
		mqtt_delivery_free(b, s, d);
	}
	pump_queue(b, s);
	if (s->owed)
		mqtt_retained_pump(b, s);
	if (!s->queue.head && !s->owed)
		s->conn->doubted = false;
}

/* --- queueing --- */

/* MQTT 5 section 4.4 lets a queue be bounded; whoever publishes at 5.0 is told. */
static bool
enqueue(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_arrival *a,
    const struct mqtt_how *how)
{
	size_t bytes = mqtt_message_bytes(&a->view);
	struct mqtt_delivery *d;

	if (s->queue.count >= b->config.queue_max || bytes > b->config.queue_bytes_max ||
	    s->queued_bytes > b->config.queue_bytes_max - bytes ||
	    b->queued_bytes + bytes > b->config.offline_bytes_max) {
		drop(b, s, M_MQTT_DROPPED);
		return false;
	}
	d = mqtt_delivery_new(b, how->ids, how->id_count);
	d->message = mqtt_message_ref(mqtt_arrival_keep(a));
	d->group = how->group ? mqtt_group_ref(how->group) : NULL;
	d->qos = (uint8_t)how->qos;
	d->retain = how->retain;
	d->route = b->route;
	s->queued_bytes += bytes;
	b->queued_bytes += bytes;
	b->queued_count++;
	if (is_kept(s)) {
		uint64_t write;

		count_in(s, d);
		write = mqtt_change_delivery(b, s, MQTT_CHANGE_QUEUED, d);
		d->write = d->qos == 2 ? write : 0;
	}
	mqtt_delivery_append(&s->queue, d);
	return true;
}

static bool
must_queue(const struct mqtt_session *s, const struct mqtt_how *how)
{
	const struct mqtt_conn *c = s->conn;

	return !c || c->greeting || is_kept(s) || how->group || s->queue.head || s->resend ||
	       c->out_unacked >= c->out_receive_max || s->in_flight.count >= MQTT_IN_FLIGHT_MAX;
}

/* A message that is sent at once is in flight; its number. */
static uint64_t
fly(struct mqtt_broker *b, struct mqtt_session *s, unsigned qos)
{
	uint64_t n = next_number(s);
	struct mqtt_delivery *d;

	s->conn->out_unacked++;
	if (is_light(s, qos, NULL) && mqtt_window_fits(&s->window, n)) {
		mqtt_window_add(&s->window, n);
		return n;
	}
	d = mqtt_delivery_new(b, NULL, 0);
	d->n = n;
	d->packet_id = mqtt_packet_id_of(n);
	d->qos = (uint8_t)qos;
	d->state = MQTT_SENT;
	d->counts = true;
	mqtt_delivery_append(&s->in_flight, d);
	return n;
}

static bool
send_encoded(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_arrival *a,
    const struct mqtt_how *how)
{
	struct mqtt_conn *c = s->conn;
	size_t size = mqtt_encoded_size(b, a, c, how);

	if (size > c->out_packet_max) {
		drop(b, s, M_MQTT_TOO_LARGE);
		return true;
	}
	if (!mqtt_out_has_room(b, c, size))
		return false;
	mqtt_put_encoded(
	    b, c, a->view.payload.len, how->qos ? mqtt_packet_id_of(fly(b, s, how->qos)) : 0);
	return true;
}

/* Sent at once, without a copy; false: the output is full. */
static bool
send_direct(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_arrival *a,
    const struct mqtt_how *how)
{
	struct mqtt_conn *c = s->conn;
	struct mqtt_outgoing o;
	size_t size;

	if (mqtt_is_encoded(c, how))
		return send_encoded(b, s, a, how);
	o = mqtt_outgoing_of(b, &a->view, how->qos, how->retain, how->ids, how->id_count);
	size = mqtt_publish_size(c->version, &o);
	if (size > c->out_packet_max) {
		drop(b, s, M_MQTT_TOO_LARGE);
		return true;
	}
	if (!mqtt_out_has_room(b, c, size))
		return false;
	if (how->qos)
		o.packet_id = mqtt_packet_id_of(fly(b, s, how->qos));
	mqtt_put_message(b, c, &o);
	return true;
}

bool
mqtt_deliver(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_arrival *a,
    const struct mqtt_how *how)
{
	if (s->moved_to) {
		b->ops.direct(b->ops.arg, s, a, how);
		return true;
	}
	if ((s->arriving || b->origin) && b->ops.is_new && !b->ops.is_new(b->ops.arg, s, b->route))
		return true;
	if (!mqtt_may_receive(s, a->view.topic))
		return true;
	if (how->qos == 0) {
		if (s->conn && !s->conn->greeting && !send_direct(b, s, a, how))
			drop(b, s, M_MQTT_DROPPED);
		return true;
	}
	if (!must_queue(s, how) && send_direct(b, s, a, how))
		return true;
	if (!enqueue(b, s, a, how))
		return false;
	if (s->conn)
		mqtt_pump(b, s);
	return true;
}

/* --- connections come and go --- */

void
mqtt_deliver_resume(struct mqtt_session *s)
{
	struct mqtt_broker *b = s->conn->broker;
	struct mqtt_delivery *next;

	for (struct mqtt_delivery *d = s->in_flight.head; d; d = next) {
		next = d->next;
		/* Not kept: the session was to end with its connection when this was sent. */
		if (!d->message && d->state == MQTT_SENT) {
			mqtt_delivery_take_out(&s->in_flight, d);
			mqtt_delivery_free(b, s, d);
		}
	}
	s->recent = NULL;
	s->resend = s->in_flight.head;
	mqtt_pump(b, s);
}

void
mqtt_deliver_detach(struct mqtt_session *s)
{
	unstall(s);
	/* They end with the connection. */
	mqtt_window_fini(&s->window);
	s->resend = NULL;
	s->recent = NULL;
	for (struct mqtt_delivery *d = s->in_flight.head; d; d = d->next)
		d->counts = false;
}

/* --- the end of a session --- */

/* To another member of the group, if there is one: what was not sent yet, and QoS 1 that was not acknowledged. What a session
 * that has moved had it has there. */
static void
pass_on(struct mqtt_broker *b, const struct mqtt_session *s, struct mqtt_delivery *d)
{
	struct mqtt_arrival a;

	if (s->moved_to || !d->group || !d->message || (d->state != MQTT_QUEUED && d->qos == 2) ||
	    mqtt_message_expired(d->message, b->now_us))
		return;
	a = (struct mqtt_arrival){
		.view = *d->message, .retain = d->retain, .kept = mqtt_message_ref(d->message)
	};
	if (d->group->members)
		mqtt_route_shared(b, d->group, &a);
	else if (b->ops.share)
		(void)b->ops.share(b->ops.arg, &a, buf_bytes(&d->group->key));
	mqtt_arrival_fini(&a);
}

void
mqtt_deliveries_clear(struct mqtt_broker *b, struct mqtt_session *s)
{
	struct mqtt_deliveries *const lists[] = { &s->in_flight, &s->queue };

	unstall(s);
	mqtt_owed_clear(b, s);
	mqtt_window_fini(&s->window);
	s->resend = s->recent = NULL;
	for (size_t i = 0; i < COUNT_OF(lists); i++) {
		while (lists[i]->head) {
			struct mqtt_delivery *d = lists[i]->head;

			mqtt_delivery_take_out(lists[i], d);
			pass_on(b, s, d);
			mqtt_delivery_free(b, s, d);
		}
	}
}
