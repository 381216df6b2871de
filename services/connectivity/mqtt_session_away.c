/* mqtt_session_away.c - while the sessions' shared copy is away: what is not taken, and what 5.0 clients are told
 *
 * What needs the copy waits config.shared_wait_us from when it went away, and is not taken meanwhile:
 *
 *	PUBLISH at QoS 1 or 2 that is retained, or goes to a session that is kept, or (QoS 2) comes from one; with other
 *	workers, who have the same Redis, each PUBLISH at QoS 1 or 2 that is no reading;
 *	SUBSCRIBE and UNSUBSCRIBE of a session that is kept.
 *
 * Then 5.0 is answered 0x83, and nothing of it is done, at once or later; 3.1.1 has no such answer: it is read on when the copy
 * is back. Readings, QoS 0 and all that needs no copy go on, though not behind what waits on the same connection.
 *
 * What had been taken when the copy went away is on its way there, and is carried out once when it is back. Of that, a QoS 1
 * PUBLISH is answered 0x83 too: at least once was promised, and it may still arrive. A QoS 2 PUBLISH gets no answer: the client
 * would begin it anew under another packet id, and it would arrive twice. SUBSCRIBE and UNSUBSCRIBE are undone and answered. */
#include "mqtt_session_impl.h"

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

/* Those that wait look again: what they need may be there, or they are told. */
static void
look_again(struct mqtt_broker *b)
{
	for (size_t i = 0; i < b->slot_count; i++) {
		struct mqtt_conn *c = b->slots[i];

		if (!c || !(c->io.paused & MQTT_PAUSED_AWAY))
			continue;
		c->last_in_us = b->now_us;
		conn_resume(&c->io, MQTT_PAUSED_AWAY);
	}
	mqtt_broker_room(b);
}

void
mqtt_broker_away(struct mqtt_broker *b, int64_t since_us, const char *why)
{
	bool was = b->away_since_us != 0;
	bool over = since_us && b->now_us - since_us >= b->config.shared_wait_us;
	bool changed = was && (!since_us || over != b->away_over);

	if (over && !b->away_over)
		log_warn("mqtt.copy_away", LS("why", why),
		    LS("effect", "what has to be kept there is not taken meanwhile"));
	if (!over && b->away_over)
		log_info("mqtt.copy_back", LI("after_ms", (b->now_us - b->away_since_us) / 1000));
	b->away_since_us = since_us;
	b->away_why = why;
	b->away_over = over;
	if (changed)
		look_again(b);
	if (over)
		mqtt_writes_overdue(b);
	metric_set(M_MQTT_COPY_AWAY, since_us != 0);
}

enum mqtt_away
mqtt_away_of(struct mqtt_conn *c)
{
	const struct mqtt_broker *b = c->broker;

	if (!b->away_since_us)
		return MQTT_AWAY_NOT;
	if (b->away_over && mqtt_is_v5(c))
		return MQTT_AWAY_REFUSE;
	conn_pause(&c->io, MQTT_PAUSED_AWAY);
	return MQTT_AWAY_WAIT;
}

static bool
is_for_kept(struct mqtt_router *r, struct bytes topic)
{
	struct mqtt_match *matches;
	size_t n = mqtt_router_match(r, topic, &matches);

	for (size_t i = 0; i < n; i++)
		if (matches[i].session->shared)
			return true;
	/* Which of its members gets it is not known before it is routed. */
	for (size_t i = 0; i < r->group_count; i++)
		for (const struct mqtt_sub *sub = r->groups[i]->members; sub; sub = sub->next)
			if (sub->session->shared)
				return true;
	return false;
}

bool
mqtt_away_needs(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	struct mqtt_broker *b = c->broker;

	/* Other workers have the same Redis, and sessions that are not known here. */
	return p->retain || (p->qos == 2 && c->session->shared) || b->ops.forward ||
	       is_for_kept(&b->router, p->topic);
}

bool
mqtt_away_overdue(struct mqtt_conn *c, uint64_t token, struct mqtt_write_packet *packet)
{
	if (c->greeting) {
		mqtt_greet_overdue(c, packet);
		return true;
	}
	if (!mqtt_is_v5(c))
		return false;
	if (!packet) {
		if (!mqtt_pending_overdue(c, token))
			return false;
	} else {
		/* PUBREL has no such answer. */
		if (packet->codes == 0)
			return false;
		mqtt_subscribe_undo(c, packet);
		conn_resume(&c->io, MQTT_PAUSED_SHARED);
	}
	metric_add(M_MQTT_UNAVAILABLE, 1);
	return true;
}
