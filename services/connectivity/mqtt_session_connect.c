/* mqtt_session_connect.c - CONNECT: version, identity, session, will (MQTT 5 section 3.1) */
#include "mqtt_session_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define ASSIGNED_ID_MAX 32

static void
put_refusal(struct mqtt_conn *c, uint8_t reason, const char *why)
{
	struct mqtt_connack ack = {
		.reason = reason, .reason_string = bytes_of_str(why), .size_max = c->out_packet_max
	};
	char peer[PEER_TEXT_MAX];

	log_warn("mqtt.connect_refused", LS("peer", peer_text(&c->io.peer, peer)), LS("why", why),
	    LU("reason", reason));
	metric_add(M_MQTT_CONNECT_REFUSED, 1);
	(void)mqtt_put_connack(conn_out(&c->io), c->version, &ack);
}

static void
refuse(struct mqtt_conn *c, uint8_t reason, const char *why)
{
	put_refusal(c, reason, why);
	mqtt_conn_end(c, MQTT_END_ABRUPT);
}

/* The form in which a CONNECT that cannot be accepted is answered; 0: not at all. */
static uint8_t
answer_version(int level)
{
	if (level < 0)
		return 0;
	/* Bridges set the highest bit, and try again without it when they are told 1. */
	return level >= MQTT_V5 && level < 0x80 ? MQTT_V5 : MQTT_V311;
}

static struct bytes
assign_id(struct mqtt_broker *b, char out[ASSIGNED_ID_MAX])
{
	uint64_t n = ++b->ids_assigned;
	uint64_t h = XXH3_64bits_withSeed(&n, sizeof(n), b->config.id_seed);

	snprintf(out, ASSIGNED_ID_MAX, "roost-%016" PRIx64, h);
	return bytes_of_str(out);
}

/* NULL, or why this CONNECT cannot be accepted; ret_reason: the code for it. */
static const char *
unacceptable(const struct mqtt_broker *b, const struct mqtt_connect *q, uint8_t *ret_reason)
{
	*ret_reason = MQTT_BAD_CLIENT_ID;
	if (q->client_id.len > AUTH_NAME_MAX)
		return "client id is longer than 256 bytes";
	if (q->client_id.len == 0 && q->version < MQTT_V5 && !q->clean)
		return "a session that is kept needs a client id";
	if (q->client_id.len == 0 && q->version == MQTT_V31)
		return "3.1 knows no empty client id";
	*ret_reason = MQTT_BAD_AUTH_METHOD;
	if (mqtt_has(&q->props, MQTT_PROP_AUTH_METHOD))
		return "no extended authentication is offered";
	*ret_reason = MQTT_BAD_TOPIC;
	if (q->has_will && mqtt_levels(q->will_topic) > MQTT_LEVELS_MAX)
		return "will topic of more than 128 levels";
	*ret_reason = MQTT_QUOTA_EXCEEDED;
	if (q->has_will &&
	    b->will_bytes + q->will_topic.len + q->will_payload.len > b->config.wills_bytes_max)
		return "the wills of all clients take as much as they may (mqtt.wills_mib)";
	return NULL;
}

/* The session of this id: taken from a connection that still has it, resumed or new. */
static struct mqtt_session *
take_session(struct mqtt_broker *b, struct bytes id, bool clean, bool *ret_present)
{
	struct mqtt_session *s;

	mqtt_broker_arrived(b, id);
	s = mqtt_store_find(b, id);
	/* MQTT-3.1.4-3 */
	if (s && s->conn) {
		struct mqtt_conn *old = s->conn;
		char peer[PEER_TEXT_MAX];

		/* Two devices of one id take it from each other without end. */
		log_warn("mqtt.taken_over", LB("client", id),
		    LS("from", peer_text(&old->io.peer, peer)));
		mqtt_conn_bye(old, MQTT_TAKEN_OVER);
		mqtt_conn_end(old, MQTT_END_ABRUPT);
		s = mqtt_store_find(b, id);
	}
	if (s && clean) {
		mqtt_store_remove(b, s);
		s = NULL;
	}
	*ret_present = s != NULL;
	if (!s)
		return mqtt_store_add(b, id);
	mqtt_store_back(b, s);
	mqtt_will_free(&s->will);
	return s;
}

static void
take_limits(struct mqtt_conn *c, const struct mqtt_connect *q)
{
	const struct mqtt_props *p = &q->props;

	c->keep_alive_s = q->keep_alive_s;
	c->out_receive_max = UINT16_MAX;
	if (mqtt_has(p, MQTT_PROP_RECEIVE_MAXIMUM) && p->receive_maximum < UINT16_MAX)
		c->out_receive_max = (uint16_t)p->receive_maximum;
	c->problem_info = !mqtt_has(p, MQTT_PROP_PROBLEM_INFO) || p->problem_info;
}

static uint32_t
expiry_of(const struct mqtt_connect *q)
{
	if (q->version < MQTT_V5)
		return q->clean ? 0 : UINT32_MAX;
	return mqtt_has(&q->props, MQTT_PROP_SESSION_EXPIRY) ? q->props.session_expiry : 0;
}

/* MQTT-3.1.2-21: the server's keep alive goes before the client's. 3.1.1 cannot be told. */
static void
take_keep_alive(struct mqtt_conn *c, struct mqtt_connack *ack)
{
	uint16_t max = c->broker->config.keep_alive_max_s;

	if (!mqtt_is_v5(c) || max == 0 || (c->keep_alive_s && c->keep_alive_s <= max))
		return;
	c->keep_alive_s = max;
	ack->has_server_keep_alive = true;
	ack->server_keep_alive_s = max;
}

/* 3.1.2.11.6: only if it asks, and if a topic can be made of its id. */
static void
put_response_information(
    const struct mqtt_broker *b, const struct mqtt_connect *q, struct bytes id, struct buf *out)
{
	const char *prefix = b->config.response_information;

	buf_clear(out);
	if (!mqtt_has(&q->props, MQTT_PROP_RESPONSE_INFO) || !q->props.response_info || !prefix ||
	    !prefix[0] || !mqtt_topic_valid(id))
		return;
	buf_add_str(out, prefix);
	buf_add(out, id.data, id.len);
}

static void
take_expiry(struct mqtt_broker *b, struct mqtt_session *s, const struct mqtt_connect *q,
    struct mqtt_connack *ack)
{
	s->expiry_s = s->conn->grant->guest ? 0 : expiry_of(q);
	if (s->expiry_s > b->config.session_expiry_max_s) {
		s->expiry_s = (uint32_t)b->config.session_expiry_max_s;
		ack->has_session_expiry = true;
		ack->session_expiry = s->expiry_s;
	}
	if (s->expiry_s)
		s->shared = true;
}

static void
take_who(struct mqtt_conn *c, const struct mqtt_connect *q)
{
	uint32_t aliases =
	    mqtt_has(&q->props, MQTT_PROP_ALIAS_MAXIMUM) ? q->props.alias_maximum : 0;
	uint16_t most = c->broker->config.aliases_max;

	/* Without a password it may be a token, which goes no further. */
	if (q->username.len && (q->has_password || !c->grant->kind))
		c->username = xstrndup((const char *)q->username.data, q->username.len);
	c->will = mqtt_will_new(c, q);
	if (aliases)
		c->alias_out = mqtt_alias_out_new(aliases < most ? (uint16_t)aliases : most);
}

/* The CONNACK that stands in `out` leaves, or waits until the will is written: who has it counts on the will. */
static void
greet(struct mqtt_conn *c, struct buf *out, size_t from, bool present)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_write_packet *packet;

	mqtt_unit_begin(b);
	mqtt_change_session(b, c->session, MQTT_CHANGE_SESSION);
	if (!c->will || mqtt_unit_is_written(b)) {
		mqtt_deliver_resume(c->session);
		return;
	}
	packet = xcalloc(1, sizeof(*packet));
	buf_add(&packet->bytes, out->data + from, out->len - from);
	out->len = from;
	c->greeting = true;
	c->resumed = present;
	mqtt_wait_written(b, mqtt_token_of(c, 0), packet);
	conn_pause(&c->io, MQTT_PAUSED_SHARED);
}

void
mqtt_greeted(struct mqtt_conn *c, const struct mqtt_write_packet *connack)
{
	buf_add(conn_out(&c->io), connack->bytes.data, connack->bytes.len);
	c->greeting = false;
	conn_resume(&c->io, MQTT_PAUSED_SHARED);
	mqtt_deliver_resume(c->session);
}

void
mqtt_greet_overdue(struct mqtt_conn *c, const struct mqtt_write_packet *connack)
{
	struct mqtt_session *s = c->session;

	if (!s->expiry_s) {
		mqtt_greeted(c, connack);
		return;
	}
	/* It must not find later what it was never told of (MQTT-3.2.2-4). */
	if (!c->resumed)
		s->expiry_s = 0;
	put_refusal(c, MQTT_SERVER_UNAVAILABLE, c->broker->away_why);
	mqtt_conn_end(c, MQTT_END_SHUTDOWN);
}

static void
accept(struct mqtt_conn *c, const struct mqtt_connect *q, struct bytes id)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_connack ack = {
		.receive_maximum = (uint16_t)b->config.receive_maximum,
		.alias_maximum = b->config.aliases_max,
		.packet_max = (uint32_t)b->config.packet_max,
		.assigned_id = q->client_id.len ? bytes_of("", 0) : id,
		.size_max = c->out_packet_max,
	};
	struct mqtt_session *s = take_session(b, id, q->clean, &ack.session_present);
	struct buf *out = conn_out(&c->io);
	size_t from = out->len;

	s->conn = c;
	take_expiry(b, s, q, &ack);
	take_keep_alive(c, &ack);
	c->session = s;
	c->state = MQTT_UP;
	if (++b->connected_count > b->connected_max)
		b->connected_max = b->connected_count;
	take_who(c, q);
	mqtt_conn_arm(c);
	put_response_information(b, q, id, &b->scratch);
	ack.response_information = buf_bytes(&b->scratch);
	if (mqtt_put_connack(out, c->version, &ack) != 0) {
		log_warn("mqtt.connack_too_large", LB("client", id), LU("most", ack.size_max));
		metric_add(M_MQTT_CONNECT_REFUSED, 1);
		mqtt_conn_end(c, MQTT_END_NORMAL);
		return;
	}
	metric_add(M_MQTT_CONNECTS, 1);
	b->passed.connects++;
	b->passed.packets_out++;
	log_debug("mqtt.connect", LB("client", id), LU("version", c->version),
	    LU("session", ack.session_present));
	if (ack.session_present)
		mqtt_rights_look(c);
	greet(c, out, from, ack.session_present);
}

/* Whose session is it, and what is there of it? LATER: that is being asked. */
static enum mqtt_done
claim(struct mqtt_conn *c, const struct mqtt_connect *q)
{
	const struct mqtt_ops *ops = &c->broker->ops;
	struct mqtt_claim what = {
		.client = q->client_id, .clean = q->clean, .keep = expiry_of(q) != 0
	};

	const struct mqtt_session *s = mqtt_store_find(c->broker, q->client_id);

	/* It may have gone since the answer came. */
	if (s && s->moved_to && c->claim_reason == MQTT_SUCCESS)
		c->claimed = false;
	/* An id that we made is nobody else's. */
	if (c->claimed || !ops->claim || q->client_id.len == 0)
		return MQTT_TAKEN;
	if (ops->claim(ops->arg, &what, mqtt_token_of(c, 0)))
		return MQTT_TAKEN;
	conn_pause(&c->io, MQTT_PAUSED_SHARED);
	return MQTT_LATER;
}

/* --- who is it --- */

#define WHY_MAX 160

static void
on_verdict(struct mqtt_conn *c, enum auth_verdict verdict, const struct auth_answer *answer)
{
	static const uint8_t reasons[] = {
		[AUTH_BAD_CREDENTIALS] = MQTT_BAD_CREDENTIALS,
		[AUTH_NOT_AUTHORIZED] = MQTT_NOT_AUTHORIZED,
		[AUTH_UNAVAILABLE] = MQTT_SERVER_UNAVAILABLE,
		[AUTH_BUSY] = MQTT_CONNECTION_RATE,
	};
	char why[WHY_MAX];

	if (verdict == AUTH_GRANTED) {
		c->grant = answer->grant;
		return;
	}
	snprintf(why, sizeof(why), "%s", answer->why);
	if (verdict == AUTH_BUSY)
		snprintf(
		    why, sizeof(why), "%s: retry in %" PRIu32 " ms", answer->why, answer->retry_ms);
	refuse(c, reasons[verdict], why);
}

static void
on_checked(void *arg, enum auth_verdict verdict, const struct auth_answer *answer)
{
	struct mqtt_conn *c = arg;

	c->checking = false;
	on_verdict(c, verdict, answer);
	/* CONNECT is looked at again. */
	conn_resume(&c->io, MQTT_PAUSED_AUTH);
}

static enum auth_verdict
ask(struct mqtt_conn *c, const struct auth_request *q, struct auth_answer *ret)
{
	const struct mqtt_ops *ops = &c->broker->ops;

	if (ops->identify)
		return ops->identify(ops->arg, q, on_checked, c, ret);
	*ret = (struct auth_answer){ .why = "only who is on this machine is let in" };
	if (q->loopback)
		ret->grant = auth_anyone();
	return q->loopback ? AUTH_GRANTED : AUTH_NOT_AUTHORIZED;
}

static enum mqtt_done
identify(struct mqtt_conn *c, const struct mqtt_connect *q)
{
	const struct auth_request request = {
		.protocol = AUTH_MQTT,
		.peer = &c->io.peer,
		.loopback = c->loopback,
		.client_id = q->client_id,
		.username = q->username,
		.password = q->password,
	};
	struct auth_answer answer;
	enum auth_verdict verdict = ask(c, &request, &answer);

	if (verdict == AUTH_PENDING) {
		c->checking = true;
		conn_pause(&c->io, MQTT_PAUSED_AUTH);
		return MQTT_LATER;
	}
	on_verdict(c, verdict, &answer);
	return MQTT_TAKEN;
}

/* One that has proven to be somebody else is connected by this client id: whoever knows that does not end its connection by it
 * (3.1.4: further restrictions). What waits for a client that is away is looked at by the rights of who resumes its session. */
static bool
is_anothers(const struct mqtt_conn *c, struct bytes id)
{
	const struct mqtt_session *s = mqtt_store_find(c->broker, id);
	const struct auth_grant *had = s && s->conn ? s->conn->grant : NULL;

	return had && had->kind && c->grant->kind &&
	       !bytes_equal(had->identity, c->grant->identity);
}

/* Its session may have been waited for since it was let in. */
static bool
is_still_allowed(struct mqtt_conn *c, const struct mqtt_connect *q, struct bytes id)
{
	const struct mqtt_actor who = { .grant = c->grant, .client = id, .username = q->username };
	const char *why = NULL;

	if (c->grant->cut)
		why = "what let this client in is not valid any more";
	else if (is_anothers(c, id))
		why = "somebody else is connected by this client id";
	else if (q->has_will && c->grant->guest)
		why = "who may do nothing but enrol has no will";
	else if (q->has_will && c->grant->kind)
		why = mqtt_will_fault(c->broker, q->will_topic, &who);
	if (why)
		refuse(c, MQTT_NOT_AUTHORIZED, why);
	return !why;
}

enum mqtt_done
mqtt_on_connect(struct mqtt_conn *c, const struct mqtt_frame *f)
{
	struct mqtt_connect q = { .version = 0 };
	struct mqtt_fault fault;
	struct bytes id;
	char assigned[ASSIGNED_ID_MAX];
	const char *why;
	uint8_t reason;
	int err = mqtt_parse_connect(f, &q, &fault);

	if (q.props.packet_max)
		c->out_packet_max = q.props.packet_max;
	if (err) {
		c->version = answer_version(mqtt_peek_level(f->whole));
		mqtt_conn_fail(c, fault.reason, fault.what);
		return MQTT_TAKEN;
	}
	c->version = (uint8_t)q.version;
	take_limits(c, &q);
	why = unacceptable(c->broker, &q, &reason);
	if (why) {
		refuse(c, reason, why);
		return MQTT_TAKEN;
	}
	id = q.client_id.len ? q.client_id : assign_id(c->broker, assigned);
	if (!c->grant && identify(c, &q) == MQTT_LATER)
		return MQTT_LATER;
	if (c->state == MQTT_ENDED || !is_still_allowed(c, &q, id))
		return MQTT_TAKEN;
	/* A guest takes nobody's session. */
	if (c->grant->guest && q.client_id.len) {
		q.client_id = bytes_of("", 0);
		id = assign_id(c->broker, assigned);
	}
	if (claim(c, &q) == MQTT_LATER)
		return MQTT_LATER;
	if (c->claim_reason != MQTT_SUCCESS)
		refuse(c, c->claim_reason, "the sessions of all workers cannot be reached");
	else
		accept(c, &q, id);
	return MQTT_TAKEN;
}
