/* mqtt_session.c - the life of one connection: packets in, deadline, end
 *
 *	state		CONNECT		other packet	deadline	socket gone
 *	AWAIT_CONNECT	-> UP (or ENDED, or paused until it is known who it is and whose session)	fail	-> ENDED	-> freed
 *	UP		fail		its handler	keep-alive, held -> ENDED if silent	-> ENDED, freed
 *	ENDED		ignored		ignored		ignored		-> freed
 */
#include "mqtt_session_impl.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define SECOND_US 1000000ll
#define DISCONNECT_ROOM 16 /* a DISCONNECT without its reason string is at most this long */

bool
mqtt_is_v5(const struct mqtt_conn *c)
{
	return c->version == MQTT_V5;
}

struct bytes
mqtt_session_id(const struct mqtt_session *s)
{
	return bytes_of(s->id, s->id_len);
}

/* What it calls itself. */
static struct bytes
own_name(const struct mqtt_conn *c)
{
	return c->username ? bytes_of_str(c->username) : mqtt_session_id(c->session);
}

struct bytes
mqtt_conn_identity(const struct mqtt_conn *c)
{
	return auth_identity(c->grant, own_name(c));
}

struct bytes
mqtt_conn_device(const struct mqtt_conn *c)
{
	return auth_device(c->grant, own_name(c));
}

static void
take_slot(struct mqtt_broker *b, struct mqtt_conn *c)
{
	if (b->free_count) {
		c->slot = b->free_slots[--b->free_count];
	} else {
		c->slot = (uint32_t)b->slot_count++;
		/* Grown in steps; the number of connections is bounded by the listener. */
		if ((b->slot_count & 255) == 1) {
			size_t n = b->slot_count + 255;

			b->slots = xrealloc(b->slots, n * sizeof(b->slots[0]));
			b->generations = xrealloc(b->generations, n * sizeof(b->generations[0]));
			b->free_slots = xrealloc(b->free_slots, n * sizeof(b->free_slots[0]));
		}
		b->generations[c->slot] = 0;
	}
	b->slots[c->slot] = c;
	c->generation = ++b->generations[c->slot];
	b->conn_count++;
	metric_set(M_MQTT_CONNECTIONS, b->conn_count);
}

struct mqtt_conn *
mqtt_conn_new(struct mqtt_broker *b, bool loopback)
{
	struct mqtt_conn *c = xcalloc(1, sizeof(*c));

	conn_init(&c->io, &b->set);
	c->broker = b;
	c->loopback = loopback;
	c->state = MQTT_AWAIT_CONNECT;
	c->out_packet_max = UINT32_MAX;
	c->problem_info = true;
	c->last_in_us = b->now_us;
	take_slot(b, c);
	b->passed.sockets++;
	conn_deadline(&c->io, b->now_us + b->config.connect_timeout_us);
	return c;
}

static void
leave_room_list(struct mqtt_conn *c)
{
	if (!c->room_link)
		return;
	*c->room_link = c->room_next;
	if (c->room_next)
		c->room_next->room_link = c->room_link;
	c->room_link = NULL;
}

/* The will is published, delayed (5.0), or forgotten; the session goes away or ends. */
static void
part(struct mqtt_conn *c, enum mqtt_end how)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_session *s = c->session;

	mqtt_received_detach(b, s);
	mqtt_deliver_detach(s);
	c->session = NULL;
	s->conn = NULL;
	b->connected_count--;
	if (how != MQTT_END_ABRUPT) {
		mqtt_will_free(&c->will);
	} else if (c->will && c->will->delay_s && s->expiry_s) {
		s->will = c->will;
		s->will->due_us = b->now_us + s->will->delay_s * SECOND_US;
		c->will = NULL;
	} else {
		mqtt_will_publish(b, &c->will, s);
	}
	if (s->expiry_s) {
		mqtt_store_away(b, s);
		mqtt_change_session(b, s, MQTT_CHANGE_SESSION);
	} else {
		mqtt_store_remove(b, s);
	}
}

void
mqtt_conn_end(struct mqtt_conn *c, enum mqtt_end how)
{
	if (c->state == MQTT_ENDED)
		return;
	c->state = MQTT_ENDED;
	mqtt_pending_clear(c);
	mqtt_parked_free(c);
	leave_room_list(c);
	if (c->checking)
		c->broker->ops.unidentify(c->broker->ops.arg, c);
	c->checking = false;
	c->io.deadline_us = 0;
	if (c->session)
		part(c, how);
	conn_close(&c->io);
}

void
mqtt_conn_bye(struct mqtt_conn *c, uint8_t reason)
{
	/* Nothing may come before CONNACK (MQTT-3.2.0-1). */
	if (mqtt_is_v5(c) && !c->greeting)
		mqtt_put_disconnect(conn_out(&c->io), reason, bytes_of("", 0));
}

void
mqtt_conn_fail(struct mqtt_conn *c, uint8_t reason, const char *what)
{
	struct bytes id = c->session ? mqtt_session_id(c->session) : bytes_of("", 0);
	char peer[PEER_TEXT_MAX];

	if (c->state == MQTT_ENDED)
		return;
	log_warn("mqtt.fault", LB("client", id), LS("peer", peer_text(&c->io.peer, peer)),
	    LU("reason", reason), LS("fault", what));
	metric_add(M_MQTT_PROTOCOL_ERRORS, 1);
	if (c->state == MQTT_AWAIT_CONNECT) {
		struct mqtt_connack ack = { .reason = reason,
			.reason_string = bytes_of_str(what),
			.size_max = c->out_packet_max };

		/* 3.1.1 has a return code for a wrong version only (3.1.4); else the connection just closes. */
		if (mqtt_is_v5(c) || (c->version && reason == MQTT_BAD_VERSION))
			(void)mqtt_put_connack(conn_out(&c->io), c->version, &ack);
	} else if (mqtt_is_v5(c) && !c->greeting) {
		struct bytes text = bytes_of_str(what);

		/* MQTT-3.14.2-3 */
		if (!c->problem_info || c->out_packet_max < text.len + DISCONNECT_ROOM)
			text = bytes_of("", 0);
		mqtt_put_disconnect(conn_out(&c->io), reason, text);
	}
	mqtt_conn_end(c, MQTT_END_ABRUPT);
}

static void
on_disconnect(struct mqtt_conn *c, const struct mqtt_frame *f)
{
	struct mqtt_disconnect d;
	struct mqtt_fault fault;

	if (mqtt_parse_disconnect(f, c->version, &d, &fault) != 0) {
		mqtt_conn_fail(c, fault.reason, fault.what);
		return;
	}
	if (mqtt_has(&d.props, MQTT_PROP_SESSION_EXPIRY)) {
		/* 3.14.2.2.2 */
		if (c->session->expiry_s == 0 && d.props.session_expiry != 0) {
			mqtt_conn_fail(
			    c, MQTT_PROTOCOL_ERROR, "session expiry was 0 and is no longer");
			return;
		}
		/* As at CONNECT: no longer than is promised to anybody. */
		c->session->expiry_s =
		    d.props.session_expiry < c->broker->config.session_expiry_max_s
			? d.props.session_expiry
			: (uint32_t)c->broker->config.session_expiry_max_s;
	}
	/* MQTT-3.1.2-8: any other reason than 0 leaves the will to be published. */
	mqtt_conn_end(c, d.reason == MQTT_SUCCESS ? MQTT_END_NORMAL : MQTT_END_ABRUPT);
}

static enum mqtt_done
on_ack(struct mqtt_conn *c, const struct mqtt_frame *f)
{
	struct mqtt_ack a;
	struct mqtt_fault fault;

	if (mqtt_parse_ack(f, c->version, &a, &fault) != 0) {
		mqtt_conn_fail(c, fault.reason, fault.what);
		return MQTT_TAKEN;
	}
	if (f->type == MQTT_PUBREL)
		return mqtt_on_pubrel(c, &a);
	mqtt_on_ack(c, f->type, &a);
	return MQTT_TAKEN;
}

/* No method was accepted at CONNECT, so none may come later (MQTT-4.12.0-7). */
static void
on_auth(struct mqtt_conn *c, const struct mqtt_frame *f)
{
	struct mqtt_fault fault = { MQTT_PROTOCOL_ERROR, "AUTH, though CONNECT named no method" };
	struct mqtt_disconnect d;

	if (mqtt_is_v5(c))
		(void)mqtt_parse_disconnect(f, c->version, &d, &fault);
	mqtt_conn_fail(c, fault.reason, fault.what);
}

static void
on_pingreq(struct mqtt_conn *c, const struct mqtt_frame *f)
{
	struct mqtt_fault fault;

	if (mqtt_parse_empty(f, &fault) != 0) {
		mqtt_conn_fail(c, fault.reason, fault.what);
		return;
	}
	mqtt_put_pingresp(conn_out(&c->io));
	c->broker->passed.packets_out++;
}

static enum mqtt_done
dispatch(struct mqtt_conn *c, const struct mqtt_frame *f)
{
	if (c->state == MQTT_AWAIT_CONNECT) {
		if (f->type == MQTT_CONNECT)
			return mqtt_on_connect(c, f);
		mqtt_conn_fail(c, MQTT_PROTOCOL_ERROR, "first packet is not CONNECT");
		return MQTT_TAKEN;
	}
	switch (f->type) {
	case MQTT_PUBLISH:
		return mqtt_on_publish(c, f);
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		return on_ack(c, f);
	case MQTT_SUBSCRIBE:
		return mqtt_on_subscribe(c, f);
	case MQTT_UNSUBSCRIBE:
		return mqtt_on_unsubscribe(c, f);
	case MQTT_PINGREQ:
		on_pingreq(c, f);
		break;
	case MQTT_DISCONNECT:
		if (c->parked) {
			conn_pause(&c->io, MQTT_PAUSED_HELD);
			return MQTT_LATER;
		}
		on_disconnect(c, f);
		break;
	case MQTT_CONNECT:
		mqtt_conn_fail(c, MQTT_PROTOCOL_ERROR, "second CONNECT");
		break;
	case MQTT_AUTH:
		on_auth(c, f);
		break;
	case MQTT_CONNACK:
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
	case MQTT_PINGRESP:
		mqtt_conn_fail(c, MQTT_PROTOCOL_ERROR, "packet that only servers send");
		break;
	}
	return MQTT_TAKEN;
}

/* A CONNECT that is too large is answered if its version can be seen. */
static void
fail_frame(struct mqtt_conn *c, struct bytes in, const struct mqtt_fault *fault)
{
	if (c->state == MQTT_AWAIT_CONNECT && mqtt_peek_level(in) == MQTT_V5)
		c->version = MQTT_V5;
	mqtt_conn_fail(c, fault->reason, fault->what);
}

static size_t
packet_max_of(const struct mqtt_conn *c)
{
	size_t max = c->broker->config.packet_max;

	return c->state == MQTT_UP || max < MQTT_CONNECT_MAX ? max : MQTT_CONNECT_MAX;
}

size_t
mqtt_conn_input(struct mqtt_conn *c, struct bytes in, size_t *ret_need)
{
	struct mqtt_broker *b = c->broker;
	size_t at = 0;

	*ret_need = 0;
	c->last_in_us = b->now_us;
	while (c->state != MQTT_ENDED && !c->io.paused) {
		size_t max = packet_max_of(c);
		struct bytes rest;
		struct mqtt_frame f;
		struct mqtt_fault fault;
		int err;

		/* What those who get much send most. */
		if (in.len - at >= 4 && in.data[at] == MQTT_PUBACK << 4 && c->state == MQTT_UP)
			at += mqtt_take_pubacks(c, bytes_of(in.data + at, in.len - at));
		rest = bytes_of(in.data + at, in.len - at);
		err = mqtt_frame_next(rest, c->version, max, &f, ret_need, &fault);
		if (err == ERR_SHORT)
			return at;
		if (err) {
			fail_frame(c, rest, &fault);
			break;
		}
		if (dispatch(c, &f) == MQTT_LATER)
			return at;
		at += f.whole.len;
		b->passed.packets_in++;
		b->passed.bytes_in += f.whole.len;
		/* The others' turn. */
		if (b->work >= MQTT_WORK_MAX && c->state == MQTT_UP)
			mqtt_wait_for_room(c);
	}
	return c->state == MQTT_ENDED ? in.len : at;
}

void
mqtt_conn_arm(struct mqtt_conn *c)
{
	int64_t at_us = 0;

	if (c->keep_alive_s)
		at_us = c->last_in_us + c->keep_alive_s * (SECOND_US * 3 / 2);
	if (c->held && c->reoffered < c->reoffers_max && !c->broker->draining &&
	    (at_us == 0 || c->held->due_us < at_us))
		at_us = c->held->due_us;
	conn_deadline(&c->io, at_us);
}

void
mqtt_conn_on_deadline(struct mqtt_conn *c)
{
	struct mqtt_broker *b = c->broker;

	if (c->state == MQTT_ENDED)
		return;
	if (c->checking) {
		/* It has said what it had to; auth has deadlines of its own. */
		conn_deadline(&c->io, b->now_us + b->config.connect_timeout_us);
		return;
	}
	if (c->state == MQTT_AWAIT_CONNECT) {
		char peer[PEER_TEXT_MAX];

		log_warn("mqtt.connect_timeout", LS("peer", peer_text(&c->io.peer, peer)),
		    LU("received", c->io.in ? c->io.in->len : 0));
		metric_add(M_MQTT_CONNECT_TIMEOUTS, 1);
		mqtt_conn_end(c, MQTT_END_ABRUPT);
		return;
	}
	if (c->held && !b->draining)
		mqtt_held_offer(c);
	if (c->io.paused & MQTT_PAUSED_BY_US)
		c->last_in_us = b->now_us;
	mqtt_pending_trim(c);
	mqtt_window_trim(&c->session->window);
	if (c->keep_alive_s && b->now_us >= c->last_in_us + c->keep_alive_s * (SECOND_US * 3 / 2)) {
		log_info("mqtt.keep_alive", LB("client", mqtt_session_id(c->session)),
		    LU("seconds", c->keep_alive_s));
		mqtt_conn_bye(c, MQTT_KEEP_ALIVE_TIMEOUT);
		mqtt_conn_end(c, MQTT_END_ABRUPT);
		return;
	}
	mqtt_conn_arm(c);
}

void
mqtt_conn_cut(struct mqtt_conn *c)
{
	mqtt_conn_end(c, MQTT_END_ABRUPT);
	conn_close(&c->io);
}

void
mqtt_conn_free(struct mqtt_conn **p_c)
{
	struct mqtt_conn *c = *p_c;
	struct mqtt_broker *b = c->broker;

	*p_c = NULL;
	mqtt_conn_end(c, MQTT_END_ABRUPT);
	mqtt_will_free(&c->will);
	if (c->aliases) {
		for (size_t i = 0; i < b->config.aliases_max; i++)
			free(c->aliases[i]);
		free(c->aliases);
	}
	mqtt_alias_out_free(&c->alias_out);
	auth_grant_unref(&c->grant);
	free(c->username);
	free(c->source);
	conn_fini(&c->io);
	b->slots[c->slot] = NULL;
	b->free_slots[b->free_count++] = c->slot;
	b->conn_count--;
	metric_set(M_MQTT_CONNECTIONS, b->conn_count);
	free(c);
}
