/* mqtt_cluster_custody.c - messages for sessions that are not where they were thought to be
 *
 * A message of QoS 1 or 2 for a session that another worker has, or whose write Redis refused because another one claimed it, is
 * in the custody of the worker that noticed: it tells nobody that it took the message (publisher, or worker that passed it on)
 * until whoever has the session says that it is in its queue, in Redis. So no PUBREC is on its way to a publisher, and none of its
 * releases, while the message still looks for the session. The session may move on meanwhile, as often as it likes.
 *
 *	there is					what waits here			what has been queued here
 *	session loaded here				queued				-
 *	TAKEOVER, or DIRECT for one that has gone	DIRECT to where it went		-
 *	write refused					-			waits; DIRECT to where it went, if that is known
 *	write done					-			gone; if it is another's: PLACED to that worker
 *	PLACED						gone				gone
 *	the session has ended				gone; PLACED			gone; PLACED
 *	a second without that				DIRECT to all			-
 *	it takes too long				gone, and counted as lost	-
 *
 * What waits is the custodian's own or, between a DIRECT and the session's arrival, another one's; that needs not outlive
 * this worker, for the custodian says DIRECT again. Neither DIRECT nor PLACED is part of the numbered stream between two workers:
 * what that acknowledges waits for what is in custody here, and would wait for itself. What comes twice is noticed where it is queued
 * (mqtt_cluster_origin.c; QoS 1 may come twice). */
#include <stdlib.h>

#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "mqtt_cluster_impl.h"
#include "mqtt_copy_impl.h"

#define OWN_US 15000000 /* whoever has it may have died, and begins anew */
#define OTHERS_US 5000000
#define AGAIN_US 1000000

static struct cluster_custody *
add(struct mqtt_cluster *k, const struct msg_forward *f, uint64_t number)
{
	struct cluster_custody *c = xcalloc(1, sizeof(*c));

	c->item = mqtt_peer_item_new(f);
	c->item->msg.seq = 0;
	c->number = number;
	c->until_us = k->broker->now_us + (number ? OWN_US : OTHERS_US);
	c->said_us = k->broker->now_us;
	if (!k->custody_end)
		k->custody_end = &k->custody;
	*k->custody_end = c;
	k->custody_end = &c->next;
	k->custody_count++;
	k->custody_bytes += c->item->bytes;
	return c;
}

static void
drop(struct mqtt_cluster *k, struct cluster_custody **at)
{
	struct cluster_custody *c = *at;

	*at = c->next;
	if (!c->next)
		k->custody_end = at;
	k->custody_count--;
	k->custody_bytes -= c->item->bytes;
	free(c->item);
	free(c);
}

static struct cluster_custody **
find(struct mqtt_cluster *k, uint64_t id)
{
	struct cluster_custody **at = &k->custody;

	while (*at && (*at)->item->msg.custody != id)
		at = &(*at)->next;
	return at;
}

static bool
is_for(const struct cluster_custody *c, struct bytes client)
{
	return bytes_equal(c->item->msg.key, client);
}

static unsigned
custodian_of(uint64_t id)
{
	return (unsigned)(id >> MQTT_ROUTE_WORKER_SHIFT) - 1;
}

static void
say_placed(struct mqtt_cluster *k, uint64_t id)
{
	unsigned worker = custodian_of(id);

	if (worker < k->peers.count && worker != k->peers.self)
		mqtt_peers_aside(&k->peers, worker,
		    &(struct msg_forward){ .kind = MQTT_PEER_PLACED, .number = id });
}

static void
pass_on(struct mqtt_cluster *k, struct cluster_custody *c, unsigned peer)
{
	mqtt_peers_aside(&k->peers, peer, &c->item->msg);
	c->said_us = k->broker->now_us;
}

/* The session is here, and loaded. */
static void
queue(struct mqtt_cluster *k, struct cluster_custody *c, struct mqtt_session *s)
{
	uint64_t n = s->n;

	cluster_deliver(k, s, &c->item->msg);
	c->queued = mqtt_copy_number(k->copy);
	c->n = s->n > n ? s->n : 0;
}

void
cluster_custody_begin(struct mqtt_cluster *k, const struct msg_forward *f, uint64_t number)
{
	struct msg_forward mine = *f;
	struct cluster_custody *c;
	unsigned peer;

	mine.custody = ++k->custody_last;
	c = add(k, &mine, number);
	mqtt_unit_needs(k->broker, number);
	metric_add(M_MQTT_FORWARDED, 1);
	if (cluster_place_of(k, f->key, &peer) == CLUSTER_ELSEWHERE)
		pass_on(k, c, peer);
}

void
cluster_custody_hold(struct mqtt_cluster *k, const struct msg_forward *f, uint64_t number)
{
	if (number)
		add(k, f, number)->queued = mqtt_copy_number(k->copy);
}

/* Of those that were queued here nothing was written: what was queued as n, and what was taken for a repeat of something. */
bool
cluster_custody_refused(struct mqtt_cluster *k, struct bytes client, uint64_t n, uint64_t number)
{
	bool found = false;

	for (struct cluster_custody **at = &k->custody; *at;) {
		struct cluster_custody *c = *at;
		unsigned peer;

		if (!c->queued || c->queued < number || (c->n != n && c->n != 0) ||
		    !is_for(c, client)) {
			at = &c->next;
			continue;
		}
		if (c->n == n) {
			found = true;
			cluster_forget(k, client, c->item->msg.number);
		}
		c->queued = c->n = 0;
		if (cluster_place_of(k, client, &peer) == CLUSTER_ELSEWHERE)
			pass_on(k, c, peer);
		else
			peer = k->peers.self;
		if (peer != k->peers.self && !c->number)
			drop(k, at);
		else
			at = &c->next;
	}
	return found;
}

void
cluster_custody_loaded(struct mqtt_cluster *k, struct mqtt_session *s)
{
	for (struct cluster_custody *c = k->custody; c; c = c->next)
		if (!c->queued && is_for(c, mqtt_session_id(s)))
			queue(k, c, s);
}

void
cluster_custody_gone(struct mqtt_cluster *k, struct bytes client, unsigned peer)
{
	for (struct cluster_custody **at = &k->custody; *at;) {
		struct cluster_custody *c = *at;

		if (c->queued || !is_for(c, client)) {
			at = &c->next;
			continue;
		}
		pass_on(k, c, peer);
		if (c->number)
			at = &c->next;
		else
			drop(k, at);
	}
}

void
cluster_custody_over(struct mqtt_cluster *k, struct bytes client)
{
	for (struct cluster_custody **at = &k->custody; *at;) {
		struct cluster_custody *c = *at;

		if (!is_for(c, client)) {
			at = &c->next;
			continue;
		}
		if (!c->number)
			say_placed(k, c->item->msg.custody);
		drop(k, at);
	}
}

void
cluster_custody_written(struct mqtt_cluster *k, uint64_t number)
{
	for (struct cluster_custody **at = &k->custody; *at;) {
		struct cluster_custody *c = *at;

		if (!c->queued || c->queued > number) {
			at = &c->next;
			continue;
		}
		if (!c->number)
			say_placed(k, c->item->msg.custody);
		drop(k, at);
	}
}

void
cluster_on_placed(struct mqtt_cluster *k, const struct msg_forward *f)
{
	struct cluster_custody **at = find(k, f->number);

	if (*at && (*at)->number)
		drop(k, at);
}

/* QoS 0 is for whoever is connected. */
static void
on_unkept(struct mqtt_cluster *k, const struct msg_forward *f)
{
	unsigned peer;

	if (cluster_place_of(k, f->key, &peer) == CLUSTER_HERE)
		cluster_deliver(k, mqtt_store_find(k->broker, f->key), f);
	else
		metric_add(M_MQTT_DROPPED, 1);
}

void
cluster_on_direct(struct mqtt_cluster *k, const struct msg_forward *f)
{
	struct cluster_custody **at, *c;
	struct msg_forward on = *f;
	unsigned peer;

	if (!f->custody) {
		on_unkept(k, f);
		return;
	}
	at = find(k, f->custody);
	c = *at;
	/* Ours, which was placed meanwhile; or it is known, and queued. */
	if (c ? c->queued != 0 : custodian_of(f->custody) == k->peers.self)
		return;
	switch (cluster_place_of(k, f->key, &peer)) {
	case CLUSTER_HERE:
		queue(k, c ? c : add(k, f, 0), mqtt_store_find(k->broker, f->key));
		break;
	case CLUSTER_SOON:
		if (!c)
			add(k, f, 0);
		break;
	case CLUSTER_ELSEWHERE:
		on.seq = 0;
		mqtt_peers_aside(&k->peers, peer, &on);
		break;
	case CLUSTER_OVER:
		metric_add(M_MQTT_DROPPED, 1);
		say_placed(k, f->custody);
		if (c)
			drop(k, at);
		break;
	case CLUSTER_UNKNOWN:
		break;
	}
}

uint64_t
cluster_custody_waits_for(const struct mqtt_cluster *k)
{
	uint64_t least = UINT64_MAX;

	for (const struct cluster_custody *c = k->custody; c; c = c->next)
		if (c->number && c->number < least)
			least = c->number;
	return least;
}

/* Once more, to wherever it may be. */
static void
say_again(struct mqtt_cluster *k, struct cluster_custody *c)
{
	unsigned peer;

	if (cluster_place_of(k, c->item->msg.key, &peer) == CLUSTER_HERE) {
		queue(k, c, mqtt_store_find(k->broker, c->item->msg.key));
		return;
	}
	for (unsigned i = 0; i < k->peers.count; i++)
		if (i != k->peers.self)
			pass_on(k, c, i);
}

void
cluster_custody_tick(struct mqtt_cluster *k)
{
	int64_t now_us = k->broker->now_us;

	for (struct cluster_custody **at = &k->custody; *at;) {
		struct cluster_custody *c = *at;

		/* Without Redis nobody can claim or load it. */
		if (!mqtt_copy_is_up(k->copy))
			c->until_us = now_us + (c->number ? OWN_US : OTHERS_US);
		if (c->queued || c->until_us > now_us) {
			if (!c->queued && c->number && now_us - c->said_us >= AGAIN_US)
				say_again(k, c);
			at = &c->next;
			continue;
		}
		if (c->number) {
			metric_add(M_MQTT_DROPPED, 1);
			log_warn("mqtt.moved_nowhere", LB("client", c->item->msg.key));
		}
		drop(k, at);
	}
	metric_set(M_MQTT_CUSTODY, k->custody_count);
}

void
cluster_custody_fini(struct mqtt_cluster *k)
{
	while (k->custody)
		drop(k, &k->custody);
}
