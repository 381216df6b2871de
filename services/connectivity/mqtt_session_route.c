/* mqtt_session_route.c - which sessions get a message, and how; retained messages; shared subscriptions
 *
 * Of a shared subscription's group one member gets a message: one that is connected rather than one that is away, then the
 * one with the fewest unacknowledged messages, then the one whose turn it is. A QoS 1 or 2 message that the chosen member's
 * session ends with goes to another one, but a QoS 2 message of which the sending has begun does not (MQTT-4.8.2-5), nor does one
 * that the member has refused (MQTT-4.8.2-6). */
#include "mqtt_session_impl.h"

#include "log.h"
#include "metrics.h"

#define SUBSCRIPTION_IDS_MAX 64 /* with one message, where a client's subscriptions overlap */
#define LOOKS_MAX 64 /* members whose turn is next; more only to find one that is there */
#define NO_MATCH UINT32_MAX
#define LOAD_BEHIND                                                                                \
	1000000u /* of a member whose output is full, or which is away: after all others */

struct mqtt_message *
mqtt_arrival_keep(struct mqtt_arrival *a)
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

static bool
is_own(const struct mqtt_match *m, const struct mqtt_arrival *a)
{
	return m->options.no_local && m->session == a->from;
}

/* One message to a session of whose subscriptions several may match: once, at the highest QoS, with all identifiers
 * (MQTT-3.3.4-2, MQTT-3.3.4-3). */
static bool
deliver_match(struct mqtt_broker *b, struct mqtt_arrival *a, const struct mqtt_match *matches,
    struct mqtt_session *s)
{
	uint32_t ids[SUBSCRIPTION_IDS_MAX];
	struct mqtt_how how = {
		.qos = s->match_qos < a->view.qos ? s->match_qos : a->view.qos,
		.retain = a->retain && s->match_retain,
		.ids = ids,
	};

	for (uint32_t i = s->match_last; i != NO_MATCH; i = matches[i].next)
		if (matches[i].options.id && how.id_count < SUBSCRIPTION_IDS_MAX)
			ids[how.id_count++] = matches[i].options.id;
	s->match_stamp = 0;
	return mqtt_deliver(b, s, a, &how);
}

static void
stamp(struct mqtt_broker *b, struct mqtt_match *matches, uint32_t i)
{
	const struct mqtt_sub_options *o = &matches[i].options;
	struct mqtt_session *s = matches[i].session;

	if (s->match_stamp != b->match_serial) {
		s->match_stamp = b->match_serial;
		s->match_last = NO_MATCH;
		s->match_qos = 0;
		s->match_retain = false;
	}
	matches[i].next = s->match_last;
	s->match_last = i;
	if (o->qos > s->match_qos)
		s->match_qos = o->qos;
	if (o->retain_as_published)
		s->match_retain = true;
}

static uint32_t
load_of(const struct mqtt_broker *b, const struct mqtt_session *s)
{
	uint32_t load = mqtt_in_flight(s) + s->queue.count;

	if (!s->conn)
		return load + 2 * LOAD_BEHIND;
	if (conn_out_len(&s->conn->io) > b->config.outbound_max / 2)
		load += LOAD_BEHIND;
	return load;
}

static struct mqtt_sub *
choose(const struct mqtt_broker *b, const struct mqtt_group *g, struct bytes topic)
{
	struct mqtt_sub *best = NULL;
	uint32_t least = UINT32_MAX;
	unsigned looks = 0;

	for (struct mqtt_sub *sub = g->members; sub && least > 0; sub = sub->next) {
		uint32_t load = load_of(b, sub->session);

		if (looks++ >= LOOKS_MAX && least < LOAD_BEHIND)
			break;

		if (load < least && mqtt_may_receive(sub->session, topic)) {
			least = load;
			best = sub;
		}
	}
	return best;
}

bool
mqtt_route_shared(struct mqtt_broker *b, struct mqtt_group *g, struct mqtt_arrival *a)
{
	struct mqtt_sub *sub = choose(b, g, a->view.topic);
	struct mqtt_how how = { .group = g };

	if (!sub)
		return false;
	how.qos = sub->options.qos < a->view.qos ? sub->options.qos : a->view.qos;
	how.retain = a->retain && sub->options.retain_as_published;
	how.ids = &sub->options.id;
	how.id_count = sub->options.id ? 1 : 0;
	mqtt_group_turn(sub);
	return mqtt_deliver(b, sub->session, a, &how);
}

static unsigned
retain(struct mqtt_broker *b, struct mqtt_arrival *a)
{
	struct mqtt_message *m = mqtt_arrival_keep(a);

	if (mqtt_retained_set(&b->retained, m) != 0) {
		metric_add(M_MQTT_NOT_RETAINED, 1);
		return MQTT_NOT_RETAINED;
	}
	if (!m->own)
		mqtt_change(b, &(struct mqtt_change){ .kind = MQTT_CHANGE_RETAINED, .message = m });
	return 0;
}

/* What delivering to it will look at is fetched while others are delivered to. */
static void
fetch(const struct mqtt_match *matches, size_t i, size_t n)
{
	const struct mqtt_session *s;

	if (i + 12 >= n)
		return;
	__builtin_prefetch(matches[i + 12].session);
	__builtin_prefetch((const char *)matches[i + 12].session + 64);
	s = matches[i + 8].session;
	if (s->conn) {
		__builtin_prefetch(s->conn);
		__builtin_prefetch(&s->conn->out_packet_max);
	}
	s = matches[i + 5].session;
	if (s->conn && s->conn->io.out)
		__builtin_prefetch(s->conn->io.out);
	s = matches[i + 2].session;
	if (s->conn && s->conn->io.out && s->conn->io.out->data)
		__builtin_prefetch(s->conn->io.out->data + s->conn->io.out->len, 1);
}

/* Each session has one of the matches at most. */
static unsigned
deliver_distinct(
    struct mqtt_broker *b, struct mqtt_arrival *a, const struct mqtt_match *matches, size_t n)
{
	unsigned lost = 0;

	for (size_t i = 0; i < n; i++) {
		const struct mqtt_sub_options *o = &matches[i].options;
		struct mqtt_how how = {
			.qos = o->qos < a->view.qos ? o->qos : a->view.qos,
			.retain = a->retain && o->retain_as_published,
			.ids = &o->id,
			.id_count = o->id ? 1 : 0,
		};

		fetch(matches, i, n);
		if (!is_own(&matches[i], a) && !mqtt_deliver(b, matches[i].session, a, &how))
			lost = MQTT_NOT_QUEUED;
	}
	return lost;
}

static unsigned
deliver_all(struct mqtt_broker *b, struct mqtt_arrival *a, struct mqtt_match *matches, size_t n)
{
	unsigned lost = 0;

	for (size_t i = 0; i < n; i++)
		if (!is_own(&matches[i], a))
			stamp(b, matches, (uint32_t)i);
	for (size_t i = 0; i < n; i++)
		if (matches[i].session->match_stamp == b->match_serial &&
		    !deliver_match(b, a, matches, matches[i].session))
			lost = MQTT_NOT_QUEUED;
	return lost;
}

unsigned
mqtt_route(struct mqtt_broker *b, struct mqtt_arrival *a)
{
	size_t visits = b->router.visits;
	struct mqtt_match *matches;
	size_t n = mqtt_router_match(&b->router, a->view.topic, &matches);
	uint64_t elsewhere = 0;
	unsigned lost = 0;

	b->work += b->router.visits - visits;
	b->match_serial++;
	b->route = a->route ? a->route : ++b->routed;
	b->origin = a->packet_id ? a : NULL;
	if (b->ops.forward && !a->route && !a->view.own)
		elsewhere = b->ops.forward(b->ops.arg, a, b->router.groups, b->router.group_count);
	lost =
	    b->router.distinct ? deliver_distinct(b, a, matches, n) : deliver_all(b, a, matches, n);
	/* A message from another worker names the group that it is for. */
	for (size_t i = 0; i < b->router.group_count && !a->route; i++)
		if (!(i < MQTT_GROUPS_ELSEWHERE && elsewhere >> i & 1) &&
		    !mqtt_route_shared(b, b->router.groups[i], a))
			lost |= MQTT_NOT_QUEUED;
	if (n == 0 && b->router.group_count == 0 && elsewhere == 0)
		lost |= MQTT_NOBODY;
	b->route = 0;
	b->origin = NULL;
	return a->retain && !a->route ? lost | retain(b, a) : lost;
}

void
mqtt_route_arriving(struct mqtt_broker *b, struct mqtt_arrival *a)
{
	struct mqtt_match *matches;
	size_t n = mqtt_router_match(&b->router, a->view.topic, &matches);

	b->match_serial++;
	b->route = a->route;
	b->origin = a->packet_id ? a : NULL;
	for (size_t i = 0; i < n; i++)
		if (matches[i].session->arriving)
			stamp(b, matches, (uint32_t)i);
	for (size_t i = 0; i < n; i++)
		if (matches[i].session->match_stamp == b->match_serial)
			(void)deliver_match(b, a, matches, matches[i].session);
	b->route = 0;
	b->origin = NULL;
}
