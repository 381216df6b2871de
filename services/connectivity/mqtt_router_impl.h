/* mqtt_router_impl.h - what the mqtt_router files share */
#ifndef ROOST_MQTT_ROUTER_IMPL_H
#define ROOST_MQTT_ROUTER_IMPL_H

#include "mqtt_router.h"

/* Those of one filter that are not shared, side by side: the value of its node. */
struct mqtt_leaf {
	uint32_t count;
	uint32_t cap;
	struct mqtt_match list[];
};

/* mqtt_group.c */
/* Takes $share/{name}/ off; the name is empty if it is not there. */
struct bytes mqtt_group_take_name(struct bytes *filter);
struct mqtt_group *mqtt_group_find(const struct mqtt_node *node, struct bytes name);	/* NULL: there is none */
struct mqtt_group *mqtt_group_add(struct mqtt_node *node, struct bytes name);
void mqtt_group_join(struct mqtt_sub *sub);	/* its group, as the last */
void mqtt_group_leave(struct mqtt_sub *sub);	/* the last one's group ends */

#endif
