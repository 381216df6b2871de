/* mqtt_copy_adopt.c - sessions and wills of workers that are no more, for there are fewer now: each has its heir among those that are */
#include <stdio.h>
#include <string.h>

#include "mqtt_copy_impl.h"

#define WORKERS_MAX 64

/* As ours, but for the number. */
static void
name_of(const struct mqtt_copy *k, unsigned worker, char out[SESSION_STATE_WORKER_MAX + 1])
{
	const char *dash = strrchr(k->worker, '-');
	int len = dash ? (int)(dash - k->worker) : 0;

	snprintf(out, SESSION_STATE_WORKER_MAX + 1, "%.*s-%u", len, k->worker, worker);
}

/* The sessions of each before its wills, of which those count whose session it still had. */
void
copy_adopt_list(struct mqtt_copy *k)
{
	char name[SESSION_STATE_WORKER_MAX + 1];
	unsigned count = k->options.workers;

	for (unsigned i = count; count > 0 && i < WORKERS_MAX; i++) {
		name_of(k, i % count, name);
		if (strcmp(name, k->worker) != 0)
			continue;
		name_of(k, i, name);
		k->lists_left +=
		    session_state_list(k->ss, SESSION_STATE_OWNED, name, COPY_ADOPTED + i) == 0;
		k->lists_left += session_state_list(
				     k->ss, SESSION_STATE_WILL, name, COPY_ADOPTED_WILLS + i) == 0;
	}
}

void
copy_adopt_item(struct mqtt_copy *k, unsigned token, const struct session_state_item *item)
{
	struct copy_client *c;

	if (token >= COPY_ADOPTED_WILLS) {
		c = copy_find(k, item->key);
		if (c && c->owned && c->adopted == token - COPY_ADOPTED_WILLS + 1)
			copy_will_add(k, item);
		return;
	}
	c = copy_add_owned(k, item);
	if (c)
		c->adopted = (uint8_t)(token - COPY_ADOPTED + 1);
}

int
copy_claim_owned(struct mqtt_copy *k, struct copy_client *c)
{
	char name[SESSION_STATE_WORKER_MAX + 1];

	if (c->adopted)
		name_of(k, c->adopted - 1u, name);
	else
		snprintf(name, sizeof(name), "%s", k->worker);
	return session_state_claim_from(
	    k->ss, copy_id(c), name, c->expiry_s, copy_wall_ms(), (uint64_t)(uintptr_t)c);
}
