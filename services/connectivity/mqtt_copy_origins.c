/* mqtt_copy_origins.c - what several workers write and ask of each other in Redis, besides sessions */
#include <string.h>

#include "mqtt_copy_impl.h"

void
mqtt_copy_taken(struct mqtt_copy *k, struct bytes peer, uint64_t life, uint64_t seq)
{
	if (k->open)
		session_state_forward_taken(k->ss, peer, life, seq);
}

void
mqtt_copy_origin(struct mqtt_copy *k, struct bytes session, struct bytes origin)
{
	const struct copy_client *c = copy_find(k, session);

	if (c && c->epoch && !c->fresh && copy_unit(k))
		session_state_session_origin(k->ss, session, c->epoch, origin, copy_wall_ms());
}

void
mqtt_copy_origin_released(struct mqtt_copy *k, struct bytes origin)
{
	if (copy_unit(k))
		session_state_origin_released(k->ss, origin);
}

void
mqtt_copy_list_origins(struct mqtt_copy *k, struct bytes worker)
{
	char name[SESSION_STATE_WORKER_MAX + 1];

	memcpy(name, worker.data, worker.len);
	name[worker.len] = 0;
	copy_unit_end(k);
	/* If Redis goes away, so does the load that follows. */
	(void)session_state_list(k->ss, SESSION_STATE_ORIGIN, name, COPY_SWEEP);
}

void
mqtt_copy_moved(struct mqtt_copy *k, struct bytes client)
{
	struct copy_client *c = copy_find(k, client);

	if (!c)
		return;
	/* It may be on its way back: what is asked about it holds. */
	copy_unfence(k, c);
	c->epoch = 0;
	c->has_will = false;
	if (!c->asked && !c->requests)
		copy_client_free(k, c);
}

uint64_t
mqtt_copy_epoch(const struct mqtt_copy *k, struct bytes client)
{
	const struct copy_client *c = copy_find(k, client);

	return c ? c->epoch : 0;
}
