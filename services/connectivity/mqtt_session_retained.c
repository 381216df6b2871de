/* mqtt_session_retained.c - a new subscription is sent what is retained, as fast as its client takes it
 *
 * Retained messages may be many more than a queue or an output holds. So a subscription walks through the store, and waits where
 * there is no room: at QoS 0 in the output, at QoS 1 and 2 until the session's queue is empty. What is set meanwhile comes twice at
 * most, as it comes to every subscriber and as the walk finds it; never something older behind something newer.
 *
 * A walk belongs to the session: it goes on when a client comes back to it, and ends with the subscription. It does not survive its
 * process. */
#include "mqtt_session_impl.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "metrics.h"

#define VISITS_MAX 20000 /* nodes looked at for one session before others have their turn */
#define HEADER_ROOM 64	 /* of a PUBLISH besides topic, payload and properties */

struct mqtt_owed {
	struct mqtt_owed *next;		 /* of the session, in the order of its SUBSCRIBEs */
	struct mqtt_owed *looking_next;	 /* of those that only wait for their turn */
	struct mqtt_owed **looking_link; /* NULL: not one of them */
	struct mqtt_session *session;
	uint32_t id;
	uint8_t qos;
	struct mqtt_retained_walk walk; /* its filter follows */
	uint8_t filter[];
};

enum step { STEP_OVER, STEP_NO_ROOM, STEP_LATER };

/* Of a session that is kept, until it is acknowledged. What nothing would make room for is dropped, as any message is. */
static bool
may_be_kept(const struct mqtt_broker *b, const struct mqtt_session *s, const struct mqtt_message *m)
{
	size_t bytes = mqtt_message_bytes(m);

	if ((!s->expiry_s && !s->shared) || s->queued_bytes == 0)
		return true;
	return bytes <= b->config.queue_bytes_max &&
	       s->queued_bytes <= b->config.queue_bytes_max - bytes &&
	       b->queued_bytes + bytes <= b->config.offline_bytes_max;
}

/* It would be sent at once, or as soon as what it changed is written; nothing is dropped that could be sent later. */
static bool
has_room(struct mqtt_broker *b, struct mqtt_session *s, const struct mqtt_message *m, unsigned qos)
{
	struct mqtt_conn *c = s->conn;
	size_t size = m->topic.len + m->payload.len + m->props.len + HEADER_ROOM;

	if (!c || c->state != MQTT_UP)
		return false;
	if (qos > 0 && (s->queue.head || s->resend || c->out_unacked >= c->out_receive_max ||
			   s->in_flight.count >= MQTT_IN_FLIGHT_MAX || !may_be_kept(b, s, m)))
		return false;
	if (mqtt_out_has_room(b, c, size))
		return true;
	c->io.hungry = true;
	return false;
}

static void
send_retained(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_message *m, unsigned qos,
    uint32_t id)
{
	struct mqtt_arrival a = { .view = *m, .kept = mqtt_message_ref(m) };
	const struct mqtt_how how = {
		.qos = qos, .retain = true, .ids = &id, .id_count = id ? 1 : 0
	};

	mqtt_deliver(b, s, &a, &how);
	mqtt_arrival_fini(&a);
}

static enum step
step(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_retained_walk *w, unsigned qos,
    uint32_t id)
{
	/* Room may come while another message is routed. */
	const struct mqtt_arrival *origin = b->origin;
	uint64_t route = b->route;
	size_t visits = VISITS_MAX;
	struct mqtt_message *m;
	bool room = true;

	b->origin = NULL;
	b->route = 0;
	s->owing = true;
	while ((m = mqtt_retained_walk_at(&b->retained, w, b->now_us, &visits))) {
		unsigned lower = m->qos < qos ? m->qos : qos;

		room = has_room(b, s, m, lower);
		if (!room)
			break;
		mqtt_retained_walk_on(&b->retained, w);
		send_retained(b, s, m, lower, id);
	}
	s->owing = false;
	b->origin = origin;
	b->route = route;
	b->work += VISITS_MAX - visits;
	return !room ? STEP_NO_ROOM : w->node ? STEP_LATER : STEP_OVER;
}

/* --- those that wait --- */

static void
stop_looking(struct mqtt_owed *o)
{
	if (!o->looking_link)
		return;
	*o->looking_link = o->looking_next;
	if (o->looking_next)
		o->looking_next->looking_link = o->looking_link;
	o->looking_link = NULL;
}

static void
look_on(struct mqtt_broker *b, struct mqtt_owed *o)
{
	if (o->looking_link)
		return;
	o->looking_next = b->looking;
	o->looking_link = &b->looking;
	if (o->looking_next)
		o->looking_next->looking_link = &o->looking_next;
	b->looking = o;
}

static void
owed_free(struct mqtt_owed *o)
{
	stop_looking(o);
	mqtt_retained_walk_end(&o->walk);
	free(o);
}

void
mqtt_owed_clear(struct mqtt_broker *b, struct mqtt_session *s)
{
	(void)b;
	while (s->owed) {
		struct mqtt_owed *o = s->owed;

		s->owed = o->next;
		owed_free(o);
	}
}

void
mqtt_retained_pump(struct mqtt_broker *b, struct mqtt_session *s)
{
	if (s->owing) /* this is what asks */
		return;
	while (s->owed) {
		struct mqtt_owed *o = s->owed;
		enum step how = STEP_OVER;

		/* UNSUBSCRIBE has ended it. */
		if (mqtt_router_find(&b->router, s, o->walk.filter))
			how = step(b, s, &o->walk, o->qos, o->id);
		if (how == STEP_LATER)
			look_on(b, o);
		else
			stop_looking(o);
		if (how != STEP_OVER)
			return;
		s->owed = o->next;
		owed_free(o);
	}
}

bool
mqtt_retained_turn(struct mqtt_broker *b)
{
	struct mqtt_owed *first = b->looking;

	/* Those that have to look on come into the list again. */
	b->looking = NULL;
	first->looking_link = &first;
	do {
		struct mqtt_session *s = first->session;

		stop_looking(first);
		mqtt_retained_pump(b, s);
	} while (first && b->work < MQTT_WORK_MAX);
	while (first) {
		struct mqtt_owed *o = first;

		stop_looking(o);
		look_on(b, o);
	}
	return b->looking != NULL;
}

/* --- a new one --- */

static bool
add(struct mqtt_session *s, struct mqtt_owed *o)
{
	struct mqtt_owed **at = &s->owed;
	size_t count = 0;

	while (*at) {
		struct mqtt_owed *old = *at;

		if (bytes_equal(old->walk.filter, o->walk.filter)) { /* it begins anew */
			*at = old->next;
			owed_free(old);
		} else {
			at = &old->next;
			count++;
		}
	}
	if (count >= MQTT_OWED_MAX)
		return false;
	o->session = s;
	*at = o;
	return true;
}

void
mqtt_retained_owe(
    struct mqtt_broker *b, struct mqtt_session *s, struct bytes filter, unsigned qos, uint32_t id)
{
	struct mqtt_retained_walk walk;
	struct mqtt_owed *o;
	enum step how = STEP_NO_ROOM;

	mqtt_retained_walk_begin(&b->retained, &walk, filter);
	if (!s->owed)
		how = step(b, s, &walk, qos, id);
	if (how == STEP_OVER)
		return;
	o = xcalloc(1, sizeof(*o) + filter.len);
	memcpy(o->filter, filter.data, filter.len);
	o->id = id;
	o->qos = (uint8_t)qos;
	o->walk = walk;
	o->walk.filter = bytes_of(o->filter, filter.len);
	if (!add(s, o)) {
		free(o);
		metric_add(M_MQTT_DROPPED, 1);
		log_warn("mqtt.retained_cut", LB("client", mqtt_session_id(s)),
		    LS("why", "too many subscriptions wait for what is retained"));
		return;
	}
	mqtt_retained_walk_wait(&b->retained, &o->walk);
	if (how == STEP_LATER)
		look_on(b, o);
}
