/* mqtt_cluster_move.c - sessions that come from another worker, and that go to one
 *
 *	here				there (had it until now)
 *	claim in Redis, load		writes are refused from then on: what they were about is kept aside
 *	TAKEOVER ->			closes the connection (0x8E), passes on what was kept aside ...
 *			<- DIRECT	... and what still comes for it, for some seconds */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "mqtt_cluster_impl.h"
#include "mqtt_copy_impl.h"

#define ARRIVING_US 8000000 /* longer than DIRECT goes on there */
#define LIMBO_US 5000000

static struct cluster_arrival *
arrival_of(const struct mqtt_cluster *k, struct bytes id)
{
	struct cluster_arrival *a = k->arrivals;

	while (a && !bytes_equal(bytes_of(a->id, a->id_len), id))
		a = a->next;
	return a;
}

static void
unsee(struct mqtt_cluster *k, const struct mqtt_session *s, uint64_t route)
{
	struct cluster_arrival *a = arrival_of(k, bytes_of(s->id, s->id_len));

	for (uint32_t i = 0; a && a->seen && i < CLUSTER_SEEN_MAX; i++)
		if (a->seen[i] == route)
			a->seen[i] = 0;
}

/* --- there: it goes --- */

/* Good until the next call. */
static struct msg_forward
direct_of(struct mqtt_cluster *k, const struct mqtt_session *s, const struct mqtt_message *m,
    const struct mqtt_how *how, uint64_t route)
{
	struct buf ids = { 0 };
	struct msg_mqtt_delivery delivery = { .qos = how->qos, .retain = how->retain };
	struct msg_forward f = {
		.kind = MQTT_PEER_DIRECT, .key = mqtt_session_id(s), .number = route
	};

	for (size_t i = 0; i < how->id_count; i++)
		u64s_add(&ids, how->ids[i]);
	delivery.ids = buf_bytes(&ids);
	buf_clear(&k->frame);
	copy_message_put(&k->frame, m, how->retain, copy_wall_ms(), k->broker->now_us);
	f.message = buf_bytes(&k->frame);
	buf_clear(&k->scratch);
	codec_encode(MSG_MQTT_DELIVERY, &delivery, &k->scratch);
	f.delivery = buf_bytes(&k->scratch);
	buf_fini(&ids);
	return f;
}

/* It waits for whoever has the session to say so, or for the session to be loaded. */
static void
limbo_add(struct mqtt_cluster *k, const struct msg_forward *f, uint64_t number)
{
	struct cluster_limbo *l = xcalloc(1, sizeof(*l));

	l->item = mqtt_peer_item_new(f);
	l->number = number;
	l->until_us = k->broker->now_us + LIMBO_US;
	l->next = k->limbo;
	k->limbo = l;
	mqtt_unit_needs(k->broker, number);
}

void
mqtt_cluster_direct(
    void *arg, const struct mqtt_session *s, struct mqtt_arrival *a, const struct mqtt_how *how)
{
	struct mqtt_cluster *k = arg;
	const struct mqtt_arrival *origin = how->qos == 2 ? k->broker->origin : NULL;
	char text[CLUSTER_ORIGIN_SIZE];
	struct msg_forward f;

	if (origin && cluster_origin_has(k, origin, s)) {
		metric_add(M_MQTT_REPEATED, 1);
		return;
	}
	f = direct_of(k, s, &a->view, how, k->broker->route);
	if (origin)
		cluster_origin_make(k, origin, &f, text);
	if (s->moved_to == k->peers.self + 1)
		limbo_add(k, &f, mqtt_copy_number(k->copy));
	else if (how->qos == 0)
		mqtt_peers_aside(&k->peers, (unsigned)s->moved_to - 1, &f);
	else
		cluster_push(k, (unsigned)s->moved_to - 1, &f);
}

static struct mqtt_delivery *
delivery_of(const struct mqtt_session *s, uint64_t n)
{
	const struct mqtt_deliveries *const lists[] = { &s->in_flight, &s->queue };

	for (size_t i = 0; i < COUNT_OF(lists); i++)
		for (struct mqtt_delivery *d = lists[i]->head; d; d = d->next)
			if (d->n == n && d->message)
				return d;
	return NULL;
}

void
cluster_on_refused(void *arg, struct bytes client, uint64_t n, uint64_t number)
{
	struct mqtt_cluster *k = arg;
	struct mqtt_session *s = mqtt_store_find(k->broker, client);
	struct mqtt_delivery *d = s ? delivery_of(s, n) : NULL;
	char text[CLUSTER_ORIGIN_SIZE];
	struct msg_forward f;
	struct mqtt_how how;

	if (!d)
		return;
	how = (struct mqtt_how){
		.qos = d->qos, .retain = d->retain, .ids = d->ids, .id_count = d->id_count
	};
	f = direct_of(k, s, d->message, &how, d->route);
	if (d->qos == 2)
		cluster_origin_put(k, s, d->route, &f, text);
	/* Its number will be another message's with the new owner: the client must not see it from us (MQTT-4.3.3-5). */
	d->write = UINT64_MAX;
	/* It may come back to us, with the session. */
	cluster_origin_forget(k, s, d->route);
	unsee(k, s, d->route);
	if (s->moved_to && s->moved_to != k->peers.self + 1) {
		mqtt_peers_push(&k->peers, (unsigned)s->moved_to - 1, &f, number);
		return;
	}
	limbo_add(k, &f, number);
}

/* What is for this session, oldest first, is taken out. */
static struct cluster_limbo *
take_limbo(struct mqtt_cluster *k, struct bytes client)
{
	struct cluster_limbo *taken = NULL;

	for (struct cluster_limbo **at = &k->limbo; *at;) {
		struct cluster_limbo *l = *at;

		if (!bytes_equal(l->item->msg.key, client)) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		l->next = taken;
		taken = l;
	}
	return taken;
}

static struct cluster_limbo *
limbo_free(struct cluster_limbo *l)
{
	struct cluster_limbo *next = l->next;

	free(l->item);
	free(l);
	return next;
}

/* --- here: a session arrives --- */

void
cluster_on_claimed(void *arg, struct bytes client, struct bytes owner, uint64_t epoch)
{
	struct mqtt_cluster *k = arg;
	struct cluster_arrival *a = arrival_of(k, client);
	struct mqtt_session *s = mqtt_store_find(k->broker, client);
	unsigned worker;

	/* What comes for the one that was here waits until it is loaded. */
	if (s)
		mqtt_broker_moved(k->broker, s, k->peers.self);
	if (!cluster_worker(k, owner, &worker))
		return;
	if (!a) {
		a = xcalloc(1, sizeof(*a) + client.len);
		a->id_len = (uint16_t)client.len;
		memcpy(a->id, client.data, client.len);
		a->next = k->arrivals;
		k->arrivals = a;
	}
	a->until_us = k->broker->now_us + ARRIVING_US;
	a->owner = worker;
	a->epoch = epoch;
	a->gone_to = 0;
	/* What we had for it before may not have been written; of what was, it is loaded that it had it. */
	free(a->seen);
	a->seen = NULL;
	a->seen_count = 0;
	metric_add(M_MQTT_TAKEOVERS, 1);
	mqtt_peers_push(&k->peers, worker,
	    &(struct msg_forward){ .kind = MQTT_PEER_TAKEOVER, .key = client, .number = epoch }, 0);
}

static void
deliver(struct mqtt_cluster *k, struct mqtt_session *s, const struct msg_forward *f)
{
	union msg_any message, delivery;
	uint32_t ids[64];
	enum msg_type type;
	struct mqtt_arrival a = { .route = f->number };
	struct mqtt_how how = { .ids = ids };

	if (codec_decode(f->message, &type, &message) != 0 || type != MSG_MQTT_MESSAGE ||
	    codec_decode(f->delivery, &type, &delivery) != 0 || type != MSG_MQTT_DELIVERY)
		return;
	a.kept = copy_message_get(&message.mqtt_message, copy_wall_ms(), k->broker->now_us);
	a.view = *a.kept;
	how.qos = (unsigned)delivery.mqtt_delivery.qos;
	how.retain = delivery.mqtt_delivery.retain;
	for (size_t i = 0; i < u64s_count(delivery.mqtt_delivery.ids) && i < COUNT_OF(ids); i++)
		ids[how.id_count++] = (uint32_t)u64s_at(delivery.mqtt_delivery.ids, i);
	k->broker->route = f->number;
	if (f->origin.len && cluster_origin_had_direct(k, f))
		metric_add(M_MQTT_REPEATED, 1);
	else if (!mqtt_deliver(k->broker, s, &a, &how))
		metric_add(M_MQTT_DROPPED, 1);
	k->broker->route = 0;
	mqtt_arrival_fini(&a);
}

void
cluster_on_late(struct mqtt_cluster *k, const struct msg_forward *f)
{
	union msg_any any;
	enum msg_type type;
	struct mqtt_arrival a = { .route = f->number,
		.client = f->key,
		.packet_id = (uint16_t)f->packet_id,
		.epoch = f->epoch,
		.repeat = true };

	if (codec_decode(f->message, &type, &any) != 0 || type != MSG_MQTT_MESSAGE)
		return;
	a.kept = copy_message_get(&any.mqtt_message, copy_wall_ms(), k->broker->now_us);
	a.view = *a.kept;
	a.retain = any.mqtt_message.retain;
	mqtt_route_arriving(k->broker, &a);
	mqtt_arrival_fini(&a);
}

/* What its worker before has not taken it may never take for this session. */
void
cluster_on_arrived(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f)
{
	const struct mqtt_peer_item *item =
	    f->number < k->peers.count ? k->peers.peer[f->number].head : NULL;

	for (; item; item = item->next) {
		struct msg_forward late = item->msg;

		if (late.kind != MQTT_PEER_MESSAGE)
			continue;
		late.kind = MQTT_PEER_LATE;
		mqtt_peers_push(&k->peers, peer, &late, 0);
	}
}

void
cluster_on_loaded(void *arg, struct mqtt_session *s)
{
	struct mqtt_cluster *k = arg;
	struct cluster_arrival *a = arrival_of(k, mqtt_session_id(s));

	if (!a)
		return;
	s->arriving = true;
	/* It was away for so short a time that nobody asked for these. */
	for (struct cluster_limbo *l = take_limbo(k, mqtt_session_id(s)); l; l = limbo_free(l))
		deliver(k, s, &l->item->msg);
	while (a->waiting) {
		struct mqtt_peer_item *item = a->waiting;

		a->waiting = item->next;
		deliver(k, s, &item->msg);
		free(item);
	}
	for (const struct mqtt_peer_item *item = k->peers.peer[a->owner].head; item;
	     item = item->next)
		if (item->msg.kind == MQTT_PEER_MESSAGE)
			cluster_on_late(k, &item->msg);
	for (unsigned i = 0; i < k->peers.count; i++)
		if (i != k->peers.self && i != a->owner)
			mqtt_peers_push(&k->peers, i,
			    &(struct msg_forward){ .kind = MQTT_PEER_ARRIVED, .number = a->owner },
			    0);
}

static void
keep_waiting(struct cluster_arrival *a, const struct msg_forward *f)
{
	struct mqtt_peer_item **at = &a->waiting;

	while (*at)
		at = &(*at)->next;
	*at = mqtt_peer_item_new(f);
	(*at)->next = NULL;
}

void
cluster_on_direct(struct mqtt_cluster *k, const struct msg_forward *f)
{
	struct mqtt_session *s = mqtt_store_find(k->broker, f->key);
	struct cluster_arrival *a = arrival_of(k, f->key);

	if (s && !s->moved_to)
		deliver(k, s, f);
	else if (s && s->moved_to == k->peers.self + 1)
		limbo_add(k, f, mqtt_copy_number(k->copy));
	else if (s && f->seq)
		mqtt_peers_push(&k->peers, (unsigned)s->moved_to - 1, f, mqtt_copy_number(k->copy));
	else if (a && a->gone_to && f->seq)
		mqtt_peers_push(&k->peers, (unsigned)a->gone_to - 1, f, mqtt_copy_number(k->copy));
	else if (a && !a->gone_to)
		keep_waiting(a, f);
	else
		metric_add(M_MQTT_DROPPED, 1);
}

/* No route is 0. */
static bool
has_seen(const struct cluster_arrival *a, uint64_t route)
{
	for (uint32_t i = 0; i < CLUSTER_SEEN_MAX; i++)
		if (a->seen[i] == route)
			return true;
	return false;
}

bool
mqtt_cluster_is_new(void *arg, const struct mqtt_session *s, uint64_t route)
{
	struct mqtt_cluster *k = arg;
	struct cluster_arrival *a = s->arriving ? arrival_of(k, mqtt_session_id(s)) : NULL;

	if (k->broker->origin && cluster_origin_had(k, k->broker->origin, s))
		return false;
	if (!a || route == 0 || route == UINT64_MAX)
		return true;
	if (!a->seen)
		a->seen = xcalloc(CLUSTER_SEEN_MAX, sizeof(a->seen[0]));
	if (has_seen(a, route))
		return false;
	a->seen[a->seen_count++ % CLUSTER_SEEN_MAX] = route;
	return true;
}

uint64_t
cluster_limbo_waits_for(const struct mqtt_cluster *k)
{
	uint64_t least = UINT64_MAX;

	for (const struct cluster_limbo *l = k->limbo; l; l = l->next)
		if (l->number < least)
			least = l->number;
	return least;
}

/* It was being claimed, or loaded, by us. */
static void
gone_before(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f)
{
	struct cluster_arrival *a = arrival_of(k, f->key);

	if (a && a->epoch > f->number)
		return;
	if (a)
		a->gone_to = (uint8_t)(peer + 1);
	while (a && a->waiting) {
		struct mqtt_peer_item *item = a->waiting;

		a->waiting = item->next;
		mqtt_peers_push(&k->peers, peer, &item->msg, mqtt_copy_number(k->copy));
		free(item);
	}
	for (struct cluster_limbo *l = take_limbo(k, f->key); l; l = limbo_free(l))
		mqtt_peers_push(&k->peers, peer, &l->item->msg, l->number);
}

void
cluster_on_takeover(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f)
{
	struct mqtt_session *s = mqtt_store_find(k->broker, f->key);
	uint64_t epoch = mqtt_copy_epoch(k->copy, f->key);

	/* It may be here again since. */
	if (epoch > f->number)
		return;
	mqtt_copy_overtaken(k->copy, f->key, f->number);
	if (!s) {
		gone_before(k, peer, f);
		return;
	}
	if (s->moved_to) {
		s->moved_to = (uint8_t)(peer + 1);
		gone_before(k, peer, f);
		return;
	}
	mqtt_copy_moved(k->copy, f->key);
	mqtt_broker_moved(k->broker, s, peer);
	for (struct cluster_limbo *l = take_limbo(k, f->key); l; l = limbo_free(l))
		mqtt_peers_push(&k->peers, peer, &l->item->msg, l->number);
}

/* --- in time --- */

static void
arrival_free(struct cluster_arrival *a)
{
	while (a->waiting) {
		struct mqtt_peer_item *item = a->waiting;

		a->waiting = item->next;
		free(item);
	}
	free(a->seen);
	free(a);
}

void
cluster_move_tick(struct mqtt_cluster *k)
{
	for (struct cluster_arrival **at = &k->arrivals; *at;) {
		struct cluster_arrival *a = *at;
		struct mqtt_session *s;

		if (a->until_us > k->broker->now_us) {
			at = &a->next;
			continue;
		}
		s = mqtt_store_find(k->broker, bytes_of(a->id, a->id_len));
		if (s)
			s->arriving = false;
		*at = a->next;
		arrival_free(a);
	}
	for (struct cluster_limbo **at = &k->limbo; *at;) {
		struct cluster_limbo *l = *at;

		if (l->until_us > k->broker->now_us) {
			at = &l->next;
			continue;
		}
		metric_add(M_MQTT_DROPPED, 1);
		log_warn("mqtt.moved_nowhere", LB("client", l->item->msg.key));
		*at = limbo_free(l);
	}
}

void
cluster_move_fini(struct mqtt_cluster *k)
{
	while (k->arrivals) {
		struct cluster_arrival *a = k->arrivals;

		k->arrivals = a->next;
		arrival_free(a);
	}
	while (k->limbo) {
		struct cluster_limbo *l = k->limbo;

		k->limbo = limbo_free(l);
	}
}
