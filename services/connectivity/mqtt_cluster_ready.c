/* mqtt_cluster_ready.c - whether it is known what the other workers want, and those that are not there */
#include "log.h"
#include "mqtt_cluster_impl.h"
#include "mqtt_copy_impl.h"

#define READY_WAIT_US                                                                              \
	5000000 /* for others, after the start; then Redis is asked whether they have sessions */

static bool
is_missed(const struct mqtt_cluster *k, unsigned peer)
{
	return peer != k->peers.self && !k->peers.peer[peer].known && !(k->idle >> peer & 1);
}

bool
cluster_is_full(const struct mqtt_cluster *k)
{
	return mqtt_peers_is_full(&k->peers) || k->custody_bytes > k->peers.bytes_max;
}

/* What a worker wants that was not heard in our life is not known: what is taken might be lost for its sessions, if it has any.
 * Without Redis nothing is taken that could be. */
bool
cluster_is_ready(void *arg)
{
	const struct mqtt_cluster *k = arg;

	if (cluster_is_full(k))
		return false;
	if (!mqtt_copy_is_up(k->copy) && loop_now_us(k->w->loop) - k->started_us >= READY_WAIT_US)
		return true;
	if (k->untold && mqtt_copy_is_marked(k->copy))
		return false;
	for (unsigned i = 0; i < k->peers.count; i++)
		if (is_missed(k, i))
			return false;
	return true;
}

bool
cluster_may_open(const struct mqtt_cluster *k)
{
	if (loop_now_us(k->w->loop) - k->started_us >= READY_WAIT_US)
		return true;
	for (unsigned i = 0; i < k->peers.count; i++)
		if (i != k->peers.self && k->peers.peer[i].up && !(k->clear >> i & 1))
			return false;
	return true;
}

void
cluster_on_owns(void *arg, unsigned peer, bool some)
{
	struct mqtt_cluster *k = arg;
	uint64_t bit = 1ull << peer;

	if (k->peers.peer[peer].life)
		return;
	if (!some) {
		k->idle |= bit;
		return;
	}
	k->idle &= ~bit;
	if (k->missed & bit)
		return;
	k->missed |= bit;
	log_warn("mqtt.peer_missed", LU("worker", peer),
	    LS("effect", "messages wait, for it has sessions, and what they want is not known"));
}

/* Again and again, for it may be there, and only not be heard. */
void
cluster_ask_for_missed(struct mqtt_cluster *k)
{
	int64_t now_us = k->broker->now_us;

	if (now_us - k->started_us < READY_WAIT_US || now_us - k->asked_us < READY_WAIT_US)
		return;
	k->asked_us = now_us;
	for (unsigned i = 0; i < k->peers.count; i++)
		if (i != k->peers.self && !k->peers.peer[i].life)
			mqtt_copy_ask_owned(k->copy, i, bus_link_endpoint(k->links[i]));
}
