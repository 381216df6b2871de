/* mqtt_alias.h - topic aliases that we give to a client (MQTT 5 section 3.3.2.3.4); pure */
#ifndef ROOST_MQTT_ALIAS_H
#define ROOST_MQTT_ALIAS_H

#include <stdint.h>

#include "buf.h"

#define MQTT_ALIAS_TOPIC_MAX 1024	/* longer topics get none */

struct mqtt_alias_out;

/* max: how many, at least 1. */
struct mqtt_alias_out *mqtt_alias_out_new(uint16_t max);
void mqtt_alias_out_free(struct mqtt_alias_out **a);
/* The alias of the topic; 0: it has none and gets none. ret_known: the client has been told it before, so that the topic may
 * be left out. The one not used for longest makes room, for a topic that comes twice running: so many topics in turn do
 * not take it from each other. */
uint16_t mqtt_alias_out_of(struct mqtt_alias_out *a, struct bytes topic, bool *ret_known);

#endif
