/* mqtt_cluster_move.c - sessions that come from another worker, and that go to one
 *
 *	here				there (had it until now)
 *	claim in Redis, load		writes are refused from then on: what they were about is in custody (mqtt_cluster_custody.c)
 *	TAKEOVER ->			closes the connection (0x8E), passes on what is in custody ...
 *			<- DIRECT	... and what still comes for it, for some seconds
 *	queue it, PLACED ->		is in custody no longer */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "mqtt_cluster_impl.h"
#include "mqtt_copy_impl.h"

#define ARRIVING_US 8000000 /* longer than DIRECT goes on there */

static struct cluster_arrival *
arrival_of(const struct mqtt_cluster *k, struct bytes id)
{
	struct cluster_arrival *a = k->arrivals;

	while (a && !bytes_equal(bytes_of(a->id, a->id_len), id))
		a = a->next;
	return a;
}

enum cluster_place
cluster_place_of(struct mqtt_cluster *k, struct bytes client, unsigned *ret_peer)
{
	const struct mqtt_session *s = mqtt_store_find(k->broker, client);
	const struct cluster_arrival *a = arrival_of(k, client);

	if (a && a->anew && !a->gone_to && (!s || !s->moved_to))
		return CLUSTER_OVER;
	if (s && !s->moved_to)
		return mqtt_copy_is_fenced(k->copy, client) ? CLUSTER_SOON : CLUSTER_HERE;
	if (s ? s->moved_to == k->peers.self + 1 : a && !a->gone_to && !a->loaded)
		return CLUSTER_SOON;
	if (!s && a && !a->gone_to)
		return CLUSTER_OVER;
	if (!s && !a)
		return CLUSTER_UNKNOWN;
	*ret_peer = (s ? s->moved_to : a->gone_to) - 1u;
	return CLUSTER_ELSEWHERE;
}

void
cluster_forget(struct mqtt_cluster *k, struct bytes client, uint64_t route)
{
	struct cluster_arrival *a = arrival_of(k, client);

	for (uint32_t i = 0; a && a->seen && i < CLUSTER_SEEN_MAX; i++)
		if (a->seen[i] == route)
			a->seen[i] = 0;
	cluster_origin_forget(k, client, route);
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
	if (how->qos > 0)
		cluster_custody_begin(k, &f, mqtt_copy_number(k->copy));
	else if (s->moved_to != k->peers.self + 1)
		mqtt_peers_aside(&k->peers, (unsigned)s->moved_to - 1, &f);
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

	/* Its number will be another message's with the new owner: the client must not see it from us (MQTT-4.3.3-5). */
	if (d)
		d->write = UINT64_MAX;
	if (cluster_custody_refused(k, client, n, number) || !d)
		return;
	how = (struct mqtt_how){
		.qos = d->qos, .retain = d->retain, .ids = d->ids, .id_count = d->id_count
	};
	f = direct_of(k, s, d->message, &how, d->route);
	if (d->qos == 2)
		cluster_origin_put(k, s, d->route, &f, text);
	/* It may come back to us, with the session. */
	cluster_forget(k, client, d->route);
	cluster_custody_begin(k, &f, number);
}

/* --- here: a session arrives --- */

static struct cluster_arrival *
arrive(struct mqtt_cluster *k, struct bytes client, uint64_t epoch)
{
	struct cluster_arrival *a = arrival_of(k, client);

	if (!a) {
		a = xcalloc(1, sizeof(*a) + client.len);
		a->id_len = (uint16_t)client.len;
		memcpy(a->id, client.data, client.len);
		a->next = k->arrivals;
		k->arrivals = a;
	}
	a->until_us = k->broker->now_us + ARRIVING_US;
	a->epoch = epoch;
	return a;
}

static void
say_takeover(struct mqtt_cluster *k, unsigned peer, struct bytes client, uint64_t epoch, bool anew)
{
	mqtt_peers_push(&k->peers, peer,
	    &(struct msg_forward){
		.kind = MQTT_PEER_TAKEOVER, .key = client, .number = epoch, .repeat = anew },
	    0);
}

void
cluster_on_passed(void *arg, struct bytes client, struct bytes owner, uint64_t epoch, bool anew)
{
	struct mqtt_cluster *k = arg;
	unsigned worker;

	if (cluster_worker(k, owner, &worker))
		say_takeover(k, worker, client, epoch, anew);
}

void
cluster_on_claimed(void *arg, struct bytes client, struct bytes owner, uint64_t epoch, bool anew)
{
	struct mqtt_cluster *k = arg;
	struct mqtt_session *s = mqtt_store_find(k->broker, client);
	struct cluster_arrival *a;
	unsigned worker;

	/* What comes for the one that was here waits until it is loaded. */
	if (s)
		mqtt_broker_moved(k->broker, s, k->peers.self);
	if (!cluster_worker(k, owner, &worker))
		return;
	a = arrive(k, client, epoch);
	a->owner = worker;
	a->gone_to = 0;
	a->loaded = false;
	a->anew = anew;
	if (anew)
		cluster_custody_over(k, client);
	/* What we had for it before may not have been written; of what was, it is loaded that it had it. */
	free(a->seen);
	a->seen = NULL;
	a->seen_count = 0;
	metric_add(M_MQTT_TAKEOVERS, 1);
	say_takeover(k, worker, client, epoch, anew);
}

void
cluster_deliver(struct mqtt_cluster *k, struct mqtt_session *s, const struct msg_forward *f)
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
	struct mqtt_arrival a = { .route = f->number,
		.client = f->key,
		.packet_id = (uint16_t)f->packet_id,
		.epoch = f->epoch,
		.repeat = true };

	if (!cluster_message_of(k, f, &a))
		return;
	k->late_of = (unsigned)f->custody;
	mqtt_route_arriving(k->broker, &a);
	k->late_of = 0;
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
		late.custody = f->number + 1;
		mqtt_peers_push(&k->peers, peer, &late, 0);
	}
}

void
cluster_on_loaded(void *arg, struct mqtt_session *s)
{
	struct mqtt_cluster *k = arg;
	struct cluster_arrival *a = arrival_of(k, mqtt_session_id(s));

	cluster_hold_is_over(k);
	if (!a)
		return;
	s->arriving = true;
	a->loaded = true;
	a->gone_to = 0;
	cluster_custody_loaded(k, s);
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

	/* One that came from somewhere else had it there, or not. */
	if (k->late_of && a && a->owner + 1 != k->late_of)
		return false;
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

void
cluster_on_takeover(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f)
{
	struct mqtt_session *s = mqtt_store_find(k->broker, f->key);
	struct cluster_arrival *a = arrival_of(k, f->key);
	uint64_t epoch = mqtt_copy_epoch(k->copy, f->key);

	/* It may be here again since. */
	if (epoch > f->number || (a && a->epoch > f->number))
		return;
	mqtt_copy_overtaken(k->copy, f->key, f->number);
	/* If not, it was being claimed, or loaded, by us. */
	if (a || !s)
		arrive(k, f->key, f->number)->gone_to = (uint8_t)(peer + 1);
	if (f->repeat)
		cluster_custody_over(k, f->key);
	else
		cluster_custody_gone(k, f->key, peer);
	if (s && s->moved_to)
		s->moved_to = (uint8_t)(peer + 1);
	if (!s || s->moved_to)
		return;
	mqtt_copy_moved(k->copy, f->key);
	/* What its shared subscriptions had for it is another member's. */
	if (f->repeat)
		mqtt_broker_fenced(k->broker, f->key);
	else
		mqtt_broker_moved(k->broker, s, peer);
}

/* --- in time --- */

static void
arrival_free(struct cluster_arrival *a)
{
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
}

void
cluster_move_fini(struct mqtt_cluster *k)
{
	while (k->arrivals) {
		struct cluster_arrival *a = k->arrivals;

		k->arrivals = a->next;
		arrival_free(a);
	}
}
