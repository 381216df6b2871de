/* mqtt_session_acked.c - what a client says of what was sent to it: PUBACK, PUBREC, PUBCOMP; and PUBREL to it */
#include "mqtt_session_impl.h"

#include "mem.h"

#define STEPS_OF_WORK 8 /* deliveries that are looked at, for one of MQTT_WORK_MAX */

static const char wrong_answer[] = "not the answer that its QoS asks for";

static void
put_pubrel(struct mqtt_conn *c, uint16_t packet_id, uint8_t reason)
{
	mqtt_put_ack(conn_out(&c->io), c->version, MQTT_PUBREL, packet_id, reason, bytes_of("", 0));
	c->broker->passed.packets_out++;
}

/* Not before it is written that PUBREC came: the client forgets the packet id with it, so that a PUBLISH sent again would be a
 * new message. */
void
mqtt_put_pubrel(struct mqtt_conn *c, const struct mqtt_delivery *d)
{
	struct mqtt_write_packet *packet;

	if (d->write <= c->broker->writes.written) {
		put_pubrel(c, d->packet_id, MQTT_SUCCESS);
		return;
	}
	packet = xcalloc(1, sizeof(*packet));
	mqtt_put_ack(
	    &packet->bytes, c->version, MQTT_PUBREL, d->packet_id, MQTT_SUCCESS, bytes_of("", 0));
	mqtt_wait_written(c->broker, mqtt_token_of(c, 0), packet);
}

static struct mqtt_delivery *
in_flight_from(struct mqtt_broker *b, struct mqtt_delivery *d, uint16_t packet_id)
{
	size_t steps = 0;

	for (; d && d->packet_id != packet_id; d = d->next)
		steps++;
	b->work += steps / STEPS_OF_WORK;
	return d;
}

/* PUBRECs come in the order of the PUBLISHes, while those before them wait for PUBCOMP: begin where the last one was. */
static struct mqtt_delivery *
in_flight(struct mqtt_broker *b, struct mqtt_session *s, enum mqtt_type type, uint16_t packet_id)
{
	struct mqtt_delivery *d = NULL;

	if (type == MQTT_PUBREC && s->recent)
		d = in_flight_from(b, s->recent, packet_id);
	return d ? d : in_flight_from(b, s->in_flight.head, packet_id);
}

static void
done(struct mqtt_conn *c, struct mqtt_delivery *d)
{
	struct mqtt_session *s = c->session;

	if (d->counts)
		c->out_unacked--;
	if (s->resend == d)
		s->resend = d->next;
	if (s->recent == d)
		s->recent = d->next;
	mqtt_delivery_take_out(&s->in_flight, d);
	mqtt_change_delivery(c->broker, s, MQTT_CHANGE_DONE, d);
	mqtt_delivery_free(c->broker, s, d);
	mqtt_pump(c->broker, s);
}

static void
on_pubrec(struct mqtt_conn *c, struct mqtt_delivery *d, const struct mqtt_ack *a)
{
	struct mqtt_session *s = c->session;

	/* MQTT-4.3.3-4: PUBREL answers no PUBREC that refuses. */
	if (mqtt_is_v5(c) && a->reason >= MQTT_UNSPECIFIED) {
		if (d)
			done(c, d);
		return;
	}
	if (!d) {
		put_pubrel(c, a->packet_id, mqtt_is_v5(c) ? MQTT_ID_NOT_FOUND : MQTT_SUCCESS);
		return;
	}
	s->recent = d->next;
	/* Said once already; PUBREL follows when that is written. */
	if (d->state == MQTT_RELEASED && d->write > c->broker->writes.written)
		return;
	if (s->resend == d)
		s->resend = d->next;
	if (d->state != MQTT_RELEASED) {
		d->state = MQTT_RELEASED;
		mqtt_delivery_forget(c->broker, s, d);
		d->write = mqtt_change_delivery(c->broker, s, MQTT_CHANGE_RELEASED, d);
	}
	mqtt_put_pubrel(c, d);
}

/* MQTT-4.3.2-3, MQTT-4.3.3-3, -5: PUBACK ends QoS 1, PUBREC and, behind PUBREL, PUBCOMP end QoS 2. */
static bool
belongs(const struct mqtt_delivery *d, enum mqtt_type type)
{
	if (type == MQTT_PUBACK)
		return d->qos == 1;
	return d->qos == 2 && (type == MQTT_PUBREC || d->state == MQTT_RELEASED);
}

static void
window_has_moved(struct mqtt_conn *c)
{
	struct mqtt_session *s = c->session;

	if (s->queue.head || s->resend || s->owed)
		mqtt_pump(c->broker, s);
	else
		s->drop_logged = false;
}

size_t
mqtt_take_pubacks(struct mqtt_conn *c, struct bytes in)
{
	struct mqtt_passed *passed = &c->broker->passed;
	struct mqtt_session *s = c->session;
	size_t at = 0;

	while (in.len - at >= 4 && in.data[at] == MQTT_PUBACK << 4 && in.data[at + 1] == 2 &&
	       mqtt_window_take(&s->window, (uint16_t)(in.data[at + 2] << 8 | in.data[at + 3])))
		at += 4;
	if (at == 0)
		return 0;
	c->out_unacked = (uint16_t)(c->out_unacked - at / 4);
	passed->packets_in += at / 4;
	passed->bytes_in += at;
	window_has_moved(c);
	return at;
}

/* Of one in the window, or for it the wrong answer. */
static bool
on_window(struct mqtt_conn *c, enum mqtt_type type, uint16_t packet_id)
{
	struct mqtt_session *s = c->session;

	if (type != MQTT_PUBACK) {
		if (!mqtt_window_has(&s->window, packet_id))
			return false;
		mqtt_conn_fail(c, MQTT_PROTOCOL_ERROR, wrong_answer);
		return true;
	}
	if (!mqtt_window_take(&s->window, packet_id))
		return false;
	c->out_unacked--;
	window_has_moved(c);
	return true;
}

void
mqtt_on_ack(struct mqtt_conn *c, enum mqtt_type type, const struct mqtt_ack *a)
{
	struct mqtt_delivery *d;

	if (on_window(c, type, a->packet_id))
		return;
	d = in_flight(c->broker, c->session, type, a->packet_id);
	if (d && !belongs(d, type))
		mqtt_conn_fail(c, MQTT_PROTOCOL_ERROR, wrong_answer);
	else if (type == MQTT_PUBREC)
		on_pubrec(c, d, a);
	else if (d)
		done(c, d);
	/* Anything else is acknowledged twice, or of an earlier life. Harmless. */
}
