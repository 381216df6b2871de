/* mqtt_cluster_shared.c - shared subscriptions: one member of all workers' gets a message
 *
 * The publisher's worker chooses a worker by how many members it has, and that one a member (mqtt_session_route.c). If there is no
 * member when the message comes (it has left, or it ended with the life of that worker before), that worker says NOBODY before it
 * says that it took the message, and the publisher's worker, which still keeps it, chooses again. What the last member of a
 * worker leaves unacknowledged goes to another worker's. */
#include "metrics.h"
#include "mqtt_cluster_impl.h"
#include "mqtt_copy_impl.h"

#define TRIES_MAX 4
#define NONE UINT32_MAX

static uint32_t
members(const struct mqtt_cluster *k, const struct mqtt_interest_group *g, unsigned worker)
{
	return worker != k->peers.self && g ? g->members[worker] : 0;
}

static unsigned
choose_of(struct mqtt_cluster *k, const uint32_t count[MQTT_PEERS_MAX])
{
	uint32_t total = 0, at;
	unsigned i = 0;

	for (unsigned n = 0; n < k->peers.count; n++)
		total += count[n];
	if (total == 0)
		return NONE;
	for (at = k->turn++ % total; at >= count[i]; i++)
		at -= count[i];
	return i;
}

/* Whose turn it is: a worker by how many members it has, one that is there rather than one that is not; our own number if it is here.
 * NONE: nobody's. */
static unsigned
choose(struct mqtt_cluster *k, const struct mqtt_interest_group *g, uint32_t here, unsigned but)
{
	uint32_t up[MQTT_PEERS_MAX] = { 0 }, all[MQTT_PEERS_MAX] = { 0 };
	unsigned worker;

	for (unsigned i = 0; i < k->peers.count; i++) {
		all[i] = i == but ? 0 : members(k, g, i);
		up[i] = k->peers.peer[i].up ? all[i] : 0;
	}
	up[k->peers.self] = all[k->peers.self] = here;
	worker = choose_of(k, up);
	return worker != NONE ? worker : choose_of(k, all);
}

static void
pass_to_group(
    struct mqtt_cluster *k, struct msg_forward f, struct bytes key, unsigned peer, unsigned qos)
{
	f.kind = MQTT_PEER_SHARED;
	f.key = key;
	f.packet_id = 0;
	f.epoch = 0;
	cluster_pass_on(k, peer, &f, qos);
}

uint64_t
cluster_forward_groups(struct mqtt_cluster *k, const struct msg_forward *f, unsigned qos,
    struct mqtt_group *const *groups, size_t count)
{
	uint64_t elsewhere = 0;

	for (size_t i = 0; i < count && i < MQTT_GROUPS_ELSEWHERE; i++) {
		const struct mqtt_interest_group *g;
		unsigned worker;

		buf_clear(&k->scratch);
		mqtt_router_key(&k->scratch, groups[i]->node, groups[i]);
		g = mqtt_interest_find(&k->interest, buf_bytes(&k->scratch));
		worker = g ? choose(k, g, groups[i]->count, NONE) : k->peers.self;
		if (worker == k->peers.self)
			continue;
		elsewhere |= 1ull << i;
		pass_to_group(k, *f, buf_bytes(&k->scratch), worker, qos);
	}
	/* And those without members here. */
	for (size_t i = 0; i < k->interest.group_count; i++) {
		const struct mqtt_interest_group *g = k->interest.groups[i];
		struct bytes key = bytes_of(g->key, g->key_len);
		unsigned worker;

		if (mqtt_router_group(&k->broker->router, key))
			continue;
		worker = choose(k, g, 0, NONE);
		if (worker == NONE)
			continue;
		elsewhere |= MQTT_ELSEWHERE;
		pass_to_group(k, *f, key, worker, qos);
	}
	return elsewhere;
}

/* To a member here. */
static void
route(struct mqtt_cluster *k, struct mqtt_group *g, const struct msg_forward *f)
{
	struct mqtt_arrival a = { .route = f->number ? f->number : UINT64_MAX };

	if (!cluster_message_of(k, f, &a))
		return;
	k->broker->route = a.route;
	if (!mqtt_route_shared(k->broker, g, &a))
		metric_add(M_MQTT_DROPPED, 1);
	k->broker->route = 0;
	mqtt_arrival_fini(&a);
}

void
cluster_on_shared(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f)
{
	struct mqtt_group *g = mqtt_router_group(&k->broker->router, f->key);

	if (g)
		route(k, g, f);
	else if (f->seq)
		mqtt_peers_aside(&k->peers, peer,
		    &(struct msg_forward){
			.kind = MQTT_PEER_NOBODY, .number = f->seq, .epoch = f->life });
	else
		metric_add(M_MQTT_DROPPED, 1);
}

void
cluster_on_nobody(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f)
{
	const struct mqtt_peer_item *item = k->peers.peer[peer].head;
	struct mqtt_group *here;
	struct msg_forward again;
	uint64_t number;
	unsigned worker;

	while (item && item->seq < f->number)
		item = item->next;
	if (f->epoch != k->peers.life || !item || item->seq != f->number ||
	    item->msg.kind != MQTT_PEER_SHARED)
		return;
	again = item->msg;
	number = mqtt_peers_number_of(&k->peers, peer, f->number);
	here = mqtt_router_group(&k->broker->router, again.key);
	worker = ++again.packet_id > TRIES_MAX
		     ? NONE
		     : choose(k, mqtt_interest_find(&k->interest, again.key),
			   here ? here->count : 0, peer);
	if (worker == NONE) {
		metric_add(M_MQTT_DROPPED, 1);
	} else if (worker == k->peers.self) {
		route(k, here, &again);
		cluster_custody_hold(k, &again, number);
	} else {
		mqtt_peers_push(&k->peers, worker, &again, number);
	}
}

bool
mqtt_cluster_share(void *arg, const struct mqtt_arrival *a, struct bytes group)
{
	struct mqtt_cluster *k = arg;
	const struct mqtt_interest_group *g = mqtt_interest_find(&k->interest, group);
	unsigned worker = g ? choose(k, g, 0, NONE) : NONE;
	struct msg_forward f = { .number = ++k->broker->routed };

	if (worker == NONE)
		return false;
	f.message = cluster_encoded(k, &a->view, a->retain);
	pass_to_group(k, f, group, worker, a->view.qos);
	return true;
}
