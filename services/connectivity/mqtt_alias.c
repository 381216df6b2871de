/* mqtt_alias.c - topic aliases that we give to a client (MQTT 5 section 3.3.2.3.4); pure */
#include "mqtt_alias.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "mem.h"

#define TOPIC_MIN 4 /* an alias takes 3 bytes itself */

struct alias {
	uint64_t hash;
	char *topic;
	uint16_t len;
	uint16_t newer; /* by use; 0: none; aliases count from 1 */
	uint16_t older;
};

struct mqtt_alias_out {
	uint16_t max;
	uint16_t count;
	uint16_t newest;
	uint16_t oldest;
	uint64_t missed;     /* hash of the topic that found no alias last */
	struct alias list[]; /* of alias i at i - 1 */
};

struct mqtt_alias_out *
mqtt_alias_out_new(uint16_t max)
{
	struct mqtt_alias_out *a =
	    xcalloc(1, sizeof(struct mqtt_alias_out) + max * sizeof(struct alias));

	ASSERT(max > 0);
	a->max = max;
	return a;
}

void
mqtt_alias_out_free(struct mqtt_alias_out **p_a)
{
	struct mqtt_alias_out *a = *p_a;

	*p_a = NULL;
	if (!a)
		return;
	for (unsigned i = 0; i < a->count; i++)
		free(a->list[i].topic);
	free(a);
}

static void
take_out(struct mqtt_alias_out *a, uint16_t i)
{
	struct alias *e = &a->list[i - 1];

	if (e->newer)
		a->list[e->newer - 1].older = e->older;
	else
		a->newest = e->older;
	if (e->older)
		a->list[e->older - 1].newer = e->newer;
	else
		a->oldest = e->newer;
}

static void
put_newest(struct mqtt_alias_out *a, uint16_t i)
{
	struct alias *e = &a->list[i - 1];

	e->newer = 0;
	e->older = a->newest;
	if (a->newest)
		a->list[a->newest - 1].newer = i;
	else
		a->oldest = i;
	a->newest = i;
}

uint16_t
mqtt_alias_out_of(struct mqtt_alias_out *a, struct bytes topic, bool *ret_known)
{
	uint64_t hash = XXH3_64bits(topic.data, topic.len);
	struct alias *e;
	uint16_t i;

	*ret_known = false;
	if (topic.len < TOPIC_MIN || topic.len > MQTT_ALIAS_TOPIC_MAX)
		return 0;
	for (i = a->newest; i; i = e->older) {
		e = &a->list[i - 1];
		if (e->hash != hash || e->len != topic.len ||
		    memcmp(e->topic, topic.data, topic.len) != 0)
			continue;
		*ret_known = true;
		if (i != a->newest) {
			take_out(a, i);
			put_newest(a, i);
		}
		return i;
	}
	if (a->count < a->max) {
		i = ++a->count;
	} else if (a->missed != hash) {
		a->missed = hash;
		return 0;
	} else {
		i = a->oldest;
		take_out(a, i);
	}
	e = &a->list[i - 1];
	free(e->topic);
	e->topic = xmemdup(topic.data, topic.len);
	e->len = (uint16_t)topic.len;
	e->hash = hash;
	put_newest(a, i);
	return i;
}
