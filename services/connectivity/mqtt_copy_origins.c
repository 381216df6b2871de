/* mqtt_copy_origins.c - what several workers write and ask of each other in Redis, besides sessions */
#include "mqtt_copy_impl.h"

void
mqtt_copy_taken(struct mqtt_copy *k, struct bytes peer, uint64_t life, uint64_t seq)
{
	if (k->open)
		session_state_forward_taken(k->ss, peer, life, seq);
}

void
mqtt_copy_origin(struct mqtt_copy *k, struct bytes session, struct bytes origin, int64_t since_ms)
{
	const struct copy_client *c = copy_find(k, session);

	if (c && c->epoch && !c->fresh && copy_unit(k))
		session_state_session_origin(k->ss, session, c->epoch, origin, since_ms);
}

void
mqtt_copy_origin_released(struct mqtt_copy *k, struct bytes session, struct bytes origin)
{
	const struct copy_client *c = copy_find(k, session);

	if (c && c->epoch && !c->fresh && copy_unit(k))
		session_state_origin_released(k->ss, session, c->epoch, origin);
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

void
mqtt_copy_overtaken(struct mqtt_copy *k, struct bytes client, uint64_t epoch)
{
	struct copy_client *c = copy_find(k, client);

	/* The client of a life before is back, elsewhere. */
	copy_will_drop(k, client);
	if (c && epoch > c->overtaken)
		c->overtaken = epoch;
}

uint64_t
mqtt_copy_epoch(const struct mqtt_copy *k, struct bytes client)
{
	const struct copy_client *c = copy_find(k, client);

	return c ? c->epoch : 0;
}

bool
mqtt_copy_is_fenced(const struct mqtt_copy *k, struct bytes client)
{
	const struct copy_client *c = copy_find(k, client);

	return c && c->fenced;
}

bool
mqtt_copy_has_moved(const struct mqtt_copy *k, struct bytes client)
{
	const struct copy_client *c = copy_find(k, client);

	return c && c->moved;
}
