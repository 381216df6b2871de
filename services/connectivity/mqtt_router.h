/* mqtt_router.h - subscriptions: filters -> who gets a message; pure */
#ifndef ROOST_MQTT_ROUTER_H
#define ROOST_MQTT_ROUTER_H

#include "mqtt_codec.h"
#include "mqtt_tree.h"

struct mqtt_session;

/* One subscription: in the list of its filter's node and in the list of its session. */
struct mqtt_sub {
	struct mqtt_session *session;
	struct mqtt_node *node;
	struct mqtt_sub *next;		/* of the same filter */
	struct mqtt_sub **link;
	struct mqtt_sub *session_next;	/* of the same session */
	struct mqtt_sub **session_link;
	uint32_t id;			/* subscription identifier; 0: none */
	uint8_t qos;
	bool no_local;
	bool retain_as_published;
};

struct mqtt_router {
	struct mqtt_tree tree;
	size_t sub_count;
	struct mqtt_sub **matches;	/* scratch of mqtt_router_match() */
	size_t match_count;
	size_t match_cap;
};

void mqtt_router_init(struct mqtt_router *r);
void mqtt_router_fini(struct mqtt_router *r);
/* The subscription of the session to the filter; NULL if there is none. */
struct mqtt_sub *mqtt_router_find(struct mqtt_router *r, struct mqtt_sub *of_session, struct bytes filter);
/* Adds one (the caller has seen that there is none) to the front of *session_list. filter is valid. */
struct mqtt_sub *mqtt_router_subscribe(struct mqtt_router *r, struct mqtt_session *session, struct mqtt_sub **session_list,
    struct bytes filter);
void mqtt_router_unsubscribe(struct mqtt_router *r, struct mqtt_sub *sub);
/* All subscriptions whose filter matches the topic (section 4.7), in ret: good until the next call. Returns how many. */
size_t mqtt_router_match(struct mqtt_router *r, struct bytes topic, struct mqtt_sub *const **ret);

#endif
