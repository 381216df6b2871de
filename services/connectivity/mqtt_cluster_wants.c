/* mqtt_cluster_wants.c - what the subscribers of this worker want, told to the others */
#include <string.h>

#include "mqtt_cluster_impl.h"

static void
tell(struct mqtt_cluster *k, struct bytes key, uint32_t members)
{
	const struct msg_forward f = { .kind = members ? MQTT_PEER_WANTS : MQTT_PEER_WANTS_NOT,
		.key = key,
		.number = members };

	for (unsigned i = 0; i < k->peers.count; i++) {
		if (i == k->peers.self)
			continue;
		/* One that is dead learns it when it begins, one that cannot load its sessions may be slow: SUBACK
		 * does not wait for them. */
		if (k->peers.peer[i].up && mqtt_copy_is_up(k->copy))
			cluster_push(k, i, &f);
		else
			mqtt_peers_push(&k->peers, i, &f, 0);
	}
}

/* Subscribers here, of a filter or a group, came or went. */
void
cluster_on_changed(
    void *arg, const struct mqtt_node *node, const struct mqtt_group *group, uint32_t members)
{
	struct mqtt_cluster *k = arg;
	uint16_t len;

	buf_clear(&k->scratch);
	mqtt_router_key(&k->scratch, node, group);
	if (members || !k->holds) {
		tell(k, buf_bytes(&k->scratch), members);
		return;
	}
	len = (uint16_t)k->scratch.len;
	buf_add(&k->held, &len, sizeof(len));
	buf_add(&k->held, k->scratch.data, len);
}

/* A session is loaded: the one that was here before it moved, and still stands for it, ends first. Between not wanted and wanted again
 * a message would go past. */
void
cluster_on_arrives(void *arg)
{
	struct mqtt_cluster *k = arg;

	k->holds = true;
}

void
cluster_hold_is_over(struct mqtt_cluster *k)
{
	struct bytes key;
	uint16_t len;

	k->holds = false;
	for (size_t at = 0; at < k->held.len; at += sizeof(len) + len) {
		memcpy(&len, k->held.data + at, sizeof(len));
		key = bytes_of(k->held.data + at + sizeof(len), len);
		if (mqtt_router_members(&k->broker->router, key) == 0)
			tell(k, key, 0);
	}
	buf_clear(&k->held);
}

struct telling {
	struct mqtt_cluster *cluster;
	unsigned peer;
};

static void
tell_one(void *arg, const struct mqtt_node *node, const struct mqtt_group *group, uint32_t members)
{
	const struct telling *to = arg;
	struct mqtt_cluster *k = to->cluster;

	buf_clear(&k->scratch);
	mqtt_router_key(&k->scratch, node, group);
	mqtt_peers_push(&k->peers, to->peer,
	    &(struct msg_forward){
		.kind = MQTT_PEER_WANTS, .key = buf_bytes(&k->scratch), .number = members },
	    0);
}

static void
say_known(struct mqtt_cluster *k, unsigned peer)
{
	mqtt_peers_push(&k->peers, peer,
	    &(struct msg_forward){ .kind = MQTT_PEER_KNOWN, .number = k->peers.peer[peer].life },
	    0);
	/* That one stands behind what the peer's life before did not take, and this one takes that only then. */
	mqtt_peers_aside(&k->peers, peer,
	    &(struct msg_forward){ .kind = MQTT_PEER_CLEAR, .number = k->peers.peer[peer].life });
}

void
cluster_tell_all(struct mqtt_cluster *k, unsigned peer)
{
	struct mqtt_router *r = &k->broker->router;
	struct telling to = { .cluster = k, .peer = peer };

	r->changed = tell_one;
	r->changed_arg = &to;
	mqtt_router_tell_all(r);
	r->changed = cluster_on_changed;
	r->changed_arg = k;
	k->untold |= 1ull << peer;
	mqtt_copy_mark(k->copy);
}

/* All sessions are loaded, and what they want has been said; so have those been that had been claimed elsewhere. Until then what
 * our life before wanted holds there. */
void
cluster_say_all_known(struct mqtt_cluster *k)
{
	if (!k->untold || !mqtt_copy_has_loaded(k->copy) || mqtt_copy_is_marked(k->copy))
		return;
	for (unsigned i = 0; i < k->peers.count; i++)
		if (k->untold >> i & 1)
			say_known(k, i);
	k->untold = 0;
}
