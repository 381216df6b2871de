/* mqtt_shared.c - changes of sessions that are told, and what waits until they are written */
#include "mqtt_session_impl.h"

#include <stdlib.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define WAITERS_MIN 64

void
mqtt_unit_begin(struct mqtt_broker *b)
{
	b->writes.unit = 0;
}

bool
mqtt_unit_is_written(const struct mqtt_broker *b)
{
	return b->writes.unit <= b->writes.written;
}

void
mqtt_unit_needs(struct mqtt_broker *b, uint64_t write)
{
	if (write > b->writes.issued)
		b->writes.issued = write;
	if (write > b->writes.unit)
		b->writes.unit = write;
}

static uint64_t
tell(struct mqtt_broker *b, const struct mqtt_change *change)
{
	uint64_t write = b->ops.change(b->ops.arg, change);

	mqtt_unit_needs(b, write);
	return write;
}

void
mqtt_change(struct mqtt_broker *b, const struct mqtt_change *change)
{
	/* Of those that are not kept it is told that they begin and end: their wills are kept. */
	if (b->ops.change &&
	    (!change->session || change->session->shared || change->kind == MQTT_CHANGE_SESSION ||
		change->kind == MQTT_CHANGE_END))
		tell(b, change);
}

void
mqtt_change_session(struct mqtt_broker *b, const struct mqtt_session *s, enum mqtt_change_kind kind)
{
	mqtt_change(b, &(struct mqtt_change){ .kind = kind, .session = s });
}

uint64_t
mqtt_change_delivery(struct mqtt_broker *b, const struct mqtt_session *s,
    enum mqtt_change_kind kind, const struct mqtt_delivery *d)
{
	if (!b->ops.change || !s->shared)
		return 0;
	return tell(b, &(struct mqtt_change){
			   .kind = kind, .session = s, .delivery = d, .message = d->message });
}

/* --- what waits --- */

static struct mqtt_write_waiter *
waiter(const struct mqtt_writes *w, uint32_t at)
{
	return &w->ring[at & (w->size - 1)];
}

static void
grow(struct mqtt_writes *w)
{
	uint32_t size = w->size ? 2 * w->size : WAITERS_MIN;
	struct mqtt_write_waiter *ring = xmalloc(size * sizeof(*ring));

	for (uint32_t at = w->head; at != w->tail; at++)
		ring[at & (size - 1)] = *waiter(w, at);
	free(w->ring);
	w->ring = ring;
	w->size = size;
}

/* Bounded by what the connections may have in their rings, and by SUBSCRIBEs, which pause theirs. */
void
mqtt_wait_written(struct mqtt_broker *b, uint64_t token, struct mqtt_write_packet *packet)
{
	struct mqtt_writes *w = &b->writes;

	if (w->tail - w->head == w->size)
		grow(w);
	/* In the order of writes, though a unit may hold less than was issued meanwhile: waiting a little longer is right too. */
	*waiter(w, w->tail++) = (struct mqtt_write_waiter){
		.write = w->issued, .token = token, .since_us = b->now_us, .packet = packet
	};
	metric_set(M_MQTT_WRITE_WAITS, w->tail - w->head);
}

void
mqtt_write_packet_free(struct mqtt_write_packet **p_packet)
{
	struct mqtt_write_packet *packet = *p_packet;

	*p_packet = NULL;
	if (!packet)
		return;
	buf_fini(&packet->bytes);
	buf_fini(&packet->undo);
	free(packet);
}

static void
go_on(struct mqtt_broker *b, struct mqtt_write_waiter *w)
{
	struct mqtt_conn *c = mqtt_conn_of(b, w->token);

	if (c && c->state == MQTT_UP) {
		if (c->greeting) {
			mqtt_greeted(c, w->packet);
		} else if (w->packet) {
			buf_add(conn_out(&c->io), w->packet->bytes.data, w->packet->bytes.len);
			conn_resume(&c->io, MQTT_PAUSED_SHARED);
		} else {
			mqtt_pending_ready(c, w->token);
		}
	}
	mqtt_write_packet_free(&w->packet);
}

void
mqtt_broker_written(struct mqtt_broker *b, uint64_t upto)
{
	struct mqtt_writes *w = &b->writes;

	if (upto > w->written)
		w->written = upto;
	while (w->head != w->tail && waiter(w, w->head)->write <= w->written) {
		struct mqtt_write_waiter one = *waiter(w, w->head++);

		go_on(b, &one);
	}
	mqtt_stalled_pump(b);
	metric_set(M_MQTT_WRITE_WAITS, w->tail - w->head);
}

void
mqtt_writes_overdue(struct mqtt_broker *b)
{
	struct mqtt_writes *w = &b->writes;

	if (w->told - w->head > w->tail - w->head)
		w->told = w->head;
	while (w->told != w->tail &&
	       b->now_us - waiter(w, w->told)->since_us >= b->config.shared_wait_us) {
		struct mqtt_write_waiter *one = waiter(w, w->told++);
		struct mqtt_conn *c = mqtt_conn_of(b, one->token);

		if (!c || c->state != MQTT_UP || !mqtt_away_overdue(c, one->token, one->packet))
			continue;
		/* Its place in the ring may be another one's by the time this is written. */
		one->token = 0;
		mqtt_write_packet_free(&one->packet);
	}
}

void
mqtt_writes_fini(struct mqtt_writes *w)
{
	while (w->head != w->tail)
		mqtt_write_packet_free(&waiter(w, w->head++)->packet);
	free(w->ring);
	*w = (struct mqtt_writes){ .size = 0 };
}

/* --- claims --- */

void
mqtt_broker_claimed(struct mqtt_broker *b, uint64_t token, uint8_t reason)
{
	struct mqtt_conn *c = mqtt_conn_of(b, token);

	if (!c || c->state != MQTT_AWAIT_CONNECT)
		return;
	c->claimed = true;
	c->claim_reason = reason;
	/* Its CONNECT is given once more. */
	conn_resume(&c->io, MQTT_PAUSED_SHARED);
}

void
mqtt_broker_fenced(struct mqtt_broker *b, struct bytes client)
{
	struct mqtt_session *s = mqtt_store_find(b, client);

	if (!s)
		return;
	log_debug("mqtt.fenced", LB("client", client));
	s->shared = false;
	if (s->conn) {
		struct mqtt_conn *c = s->conn;

		s->expiry_s = 0;
		mqtt_conn_bye(c, MQTT_TAKEN_OVER);
		/* Its will is the new owner's to publish. */
		mqtt_conn_end(c, MQTT_END_SHUTDOWN);
	} else {
		mqtt_will_free(&s->will);
		mqtt_store_remove(b, s);
	}
}

void
mqtt_broker_overtaken(struct mqtt_broker *b, struct bytes client)
{
	struct mqtt_session *s = mqtt_store_find(b, client);

	if (!s || !s->conn)
		return;
	if (mqtt_is_v5(s->conn))
		mqtt_put_disconnect(conn_out(&s->conn->io), MQTT_TAKEN_OVER, bytes_of("", 0));
	/* It is to be here a little longer. */
	if (s->expiry_s == 0)
		s->expiry_s = 1;
	mqtt_conn_end(s->conn, MQTT_END_ABRUPT);
}

#define MOVED_US 5000000 /* others know by then where it is */

void
mqtt_broker_moved(struct mqtt_broker *b, struct mqtt_session *s, unsigned worker)
{
	struct bytes id = mqtt_session_id(s);
	struct mqtt_conn *c = s->conn;

	s->shared = false;
	log_debug("mqtt.moved", LB("client", id), LU("worker", worker));
	if (c) {
		mqtt_conn_bye(c, MQTT_TAKEN_OVER);
		/* It is to be here a little longer. */
		s->expiry_s = 1;
		mqtt_conn_end(c, MQTT_END_ABRUPT);
	}
	mqtt_will_free(&s->will);
	s->moved_to = (uint8_t)(worker + 1);
	s->expires_us = b->now_us + MOVED_US;
}

void
mqtt_broker_arrived(struct mqtt_broker *b, struct bytes client)
{
	struct mqtt_session *s = mqtt_store_find(b, client);

	if (s && s->moved_to)
		mqtt_store_remove(b, s);
}

/* --- loading --- */

void
mqtt_broker_loading(struct mqtt_broker *b, bool loading)
{
	bool over = b->loading && !loading;

	if (loading && !b->loading)
		mqtt_gather_begin(b);
	b->loading = loading;
	if (!over)
		return;
	mqtt_gather_end(b);
	mqtt_broker_room(b);
}

struct mqtt_session *
mqtt_load_session(
    struct mqtt_broker *b, struct bytes client, uint32_t expiry_s, int64_t expires_us, uint64_t n)
{
	struct mqtt_session *s;

	ASSERT(!mqtt_store_find(b, client));
	s = mqtt_store_add(b, client);
	s->expiry_s = expiry_s;
	s->n = n;
	mqtt_store_away(b, s);
	s->expires_us = expires_us;
	s->shared = true;
	return s;
}

int
mqtt_load_sub(
    struct mqtt_broker *b, struct mqtt_session *s, const struct mqtt_filter *filter, uint32_t id)
{
	struct mqtt_sub *sub;

	if (!mqtt_filter_valid(filter->filter) || mqtt_levels(filter->filter) > MQTT_LEVELS_MAX)
		return ERR_MALFORMED;
	sub = mqtt_router_find(&b->router, s, filter->filter);
	if (!sub) {
		sub = mqtt_router_subscribe(&b->router, s, &s->subs, filter->filter);
		s->sub_count++;
	}
	mqtt_router_set(&b->router, sub,
	    &(struct mqtt_sub_options){ .id = id,
		.qos = (uint8_t)(filter->qos & 3),
		.no_local = filter->no_local,
		.retain_as_published = filter->retain_as_published });
	return 0;
}

int
mqtt_load_delivery(
    struct mqtt_broker *b, struct mqtt_session *s, const struct mqtt_loaded_delivery *l)
{
	struct mqtt_delivery *d;
	size_t bytes = l->message ? mqtt_message_bytes(l->message) : 0;
	uint64_t last = s->queue.tail	    ? s->queue.tail->n
			: s->in_flight.tail ? s->in_flight.tail->n
					    : 0;

	if (l->n <= last || l->qos < 1 || l->qos > 2 || (!l->message && l->qos != 2))
		return ERR_MALFORMED;
	d = mqtt_delivery_new(b, l->ids, l->id_count);
	d->message = l->message ? mqtt_message_ref(l->message) : NULL;
	d->n = l->n;
	d->packet_id = mqtt_packet_id_of(l->n);
	d->state = l->message ? (l->sent ? MQTT_SENT : MQTT_QUEUED) : MQTT_RELEASED;
	d->qos = l->qos;
	d->retain = l->retain;
	d->dup = l->sent;
	if (l->n > s->n)
		s->n = l->n;
	s->queued_bytes += bytes;
	b->queued_bytes += bytes;
	b->queued_count += l->message != NULL;
	mqtt_delivery_append(d->state == MQTT_QUEUED ? &s->queue : &s->in_flight, d);
	return 0;
}
