/* mqtt_router.h - subscriptions: filters -> who gets a message; pure
 *
 * A filter may be $share/{name}/{filter} (MQTT 5 section 4.8.2): those who subscribe to it under one name are a group, of
 * which one gets each message. Subscribing and unsubscribing cost O(levels), however many subscriptions there are, or how many a
 * client has; matching costs what there is on the way and at its end. */
#ifndef ROOST_MQTT_ROUTER_H
#define ROOST_MQTT_ROUTER_H

#include "mqtt_codec.h"
#include "mqtt_tree.h"

struct mqtt_session;

struct mqtt_sub_options {
	uint32_t id;			/* subscription identifier; 0: none */
	uint8_t qos;
	bool no_local;
	bool retain_as_published;
};

/* One subscription: with its filter's node, or its group, and in the list of its session. */
struct mqtt_sub {
	struct mqtt_session *session;
	struct mqtt_node *node;
	struct mqtt_group *group;	/* NULL: not shared */
	struct mqtt_sub *next;		/* of the group, whose turn is next first */
	struct mqtt_sub **link;
	struct mqtt_sub *session_next;	/* of the same session */
	struct mqtt_sub **session_link;
	struct mqtt_sub *hash_next;
	uint32_t at;			/* in its filter's list */
	struct mqtt_sub_options options;	/* mqtt_router_set() */
};

/* What a message needs to know of a subscription that is not shared. Those of a filter lie side by side. */
struct mqtt_match {
	struct mqtt_session *session;
	struct mqtt_sub *sub;
	struct mqtt_sub_options options;
	uint32_t next;			/* scratch of whoever asked for the matches */
};

/* Those who share a filter under one name. Lives as long as it has members or references. */
struct mqtt_group {
	struct mqtt_node *node;		/* NULL: it has no members any more */
	struct mqtt_group *next;	/* of the same filter */
	struct mqtt_sub *members;
	struct mqtt_sub **members_end;
	uint32_t count;
	uint32_t refs;
	struct buf key;			/* of one without members: as mqtt_router_key() had it */
	uint16_t name_len;
	char name[];
};

/* How many subscribers a filter (group NULL: some or none) or a group has, when that has changed. */
typedef void (*mqtt_router_fn)(void *arg, const struct mqtt_node *node, const struct mqtt_group *group, uint32_t count);

#define MQTT_CACHE_SIZE 512	/* topics; a power of two */
#define MQTT_CACHE_MATCHES 4
#define MQTT_CACHE_TOPIC 64

/* What a topic matched when it was asked for last, while no subscription has changed since. */
struct mqtt_cached {
	uint64_t hash;
	uint64_t version;		/* 0: free */
	uint16_t topic_len;
	uint8_t count;
	bool distinct;
	struct mqtt_match matches[MQTT_CACHE_MATCHES];
	uint8_t topic[MQTT_CACHE_TOPIC];
};

struct mqtt_router {
	struct mqtt_tree tree;
	struct mqtt_cached *cache;	/* by hash of the topic */
	uint64_t version;		/* counts changes */
	mqtt_router_fn changed;		/* may be NULL */
	void *changed_arg;
	struct mqtt_sub **table;	/* by session, node and group */
	size_t table_size;		/* a power of two, or 0 */
	size_t sub_count;
	size_t shared_count;		/* of these, in groups */
	size_t group_bytes;		/* of the groups themselves */
	struct mqtt_match *matches;	/* of mqtt_router_match(): those that are not shared, ... */
	size_t match_count;
	size_t match_cap;
	bool distinct;			/* ... of which no session has two, as far as is known, ... */
	struct mqtt_step *steps;	/* scratch of mqtt_router_match() */
	size_t step_cap;
	const struct mqtt_node **ends;
	size_t end_count;
	size_t end_cap;
	size_t visits;			/* nodes and subscriptions that mqtt_router_match() looked at, ever */
	struct mqtt_group **groups;	/* ... and the groups */
	size_t group_count;
	size_t group_cap;
};

void mqtt_router_init(struct mqtt_router *r);
void mqtt_router_fini(struct mqtt_router *r);
/* The subscription of the session to the filter; NULL if there is none. */
struct mqtt_sub *mqtt_router_find(const struct mqtt_router *r, const struct mqtt_session *session, struct bytes filter);
/* Adds one (the caller has seen that there is none) to the front of *session_list. filter is valid. */
struct mqtt_sub *mqtt_router_subscribe(struct mqtt_router *r, struct mqtt_session *session, struct mqtt_sub **session_list,
    struct bytes filter);
void mqtt_router_set(struct mqtt_router *r, struct mqtt_sub *sub, const struct mqtt_sub_options *options);
void mqtt_router_unsubscribe(struct mqtt_router *r, struct mqtt_sub *sub);
/* All subscriptions whose filter matches the topic (section 4.7), in ret: good until the next call. Returns how many; r->groups
 * are the groups that match. */
size_t mqtt_router_match(struct mqtt_router *r, struct bytes topic, struct mqtt_match **ret);
/* What the subscriptions take, about. */
size_t mqtt_router_bytes(const struct mqtt_router *r);
/* changed, for all there is. */
void mqtt_router_tell_all(struct mqtt_router *r);
/* The filter as it was subscribed to, with $share/{name}/ if it is a group's. */
void mqtt_router_key(struct buf *out, const struct mqtt_node *node, const struct mqtt_group *group);
/* What changed would say of this key. */
uint32_t mqtt_router_members(const struct mqtt_router *r, struct bytes key);
/* NULL if there is none of this key. */
struct mqtt_group *mqtt_router_group(const struct mqtt_router *r, struct bytes key);
/* Whose turn it was comes last. */
void mqtt_group_turn(struct mqtt_sub *sub);
struct mqtt_group *mqtt_group_ref(struct mqtt_group *g);
void mqtt_group_unref(struct mqtt_group **g);

#endif
