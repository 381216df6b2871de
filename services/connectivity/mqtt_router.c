/* mqtt_router.c - subscriptions: filters -> who gets a message; pure */
#include "mqtt_router.h"

#include <stdlib.h>

#include "err.h"
#include "mem.h"

void
mqtt_router_init(struct mqtt_router *r)
{
	*r = (struct mqtt_router){ .sub_count = 0 };
	mqtt_tree_init(&r->tree);
}

void
mqtt_router_fini(struct mqtt_router *r)
{
	mqtt_tree_fini(&r->tree);
	free(r->matches);
	*r = (struct mqtt_router){ .sub_count = 0 };
}

struct mqtt_sub *
mqtt_router_find(struct mqtt_router *r, struct mqtt_sub *of_session, struct bytes filter)
{
	const struct mqtt_node *node = mqtt_tree_find(&r->tree, filter);
	struct mqtt_sub *sub = node ? node->value : NULL;

	/* Both lists hold it: a filter may be many clients', a client may have many filters; walk them in step. */
	while (sub && of_session) {
		if (sub->session == of_session->session)
			return sub;
		if (of_session->node == node)
			return of_session;
		sub = sub->next;
		of_session = of_session->session_next;
	}
	return NULL;
}

struct mqtt_sub *
mqtt_router_subscribe(struct mqtt_router *r, struct mqtt_session *session,
    struct mqtt_sub **session_list, struct bytes filter)
{
	struct mqtt_node *node = mqtt_tree_insert(&r->tree, filter);
	struct mqtt_sub *sub = xmalloc(sizeof(*sub));

	*sub = (struct mqtt_sub){ .session = session,
		.node = node,
		.next = node->value,
		.session_next = *session_list,
		.session_link = session_list };
	/* The head's link is NULL: the node's value points to it. */
	if (sub->next)
		sub->next->link = &sub->next;
	node->value = sub;
	if (sub->session_next)
		sub->session_next->session_link = &sub->session_next;
	*session_list = sub;
	r->sub_count++;
	return sub;
}

void
mqtt_router_unsubscribe(struct mqtt_router *r, struct mqtt_sub *sub)
{
	if (sub->link)
		*sub->link = sub->next;
	else
		sub->node->value = sub->next;
	if (sub->next)
		sub->next->link = sub->link;
	*sub->session_link = sub->session_next;
	if (sub->session_next)
		sub->session_next->session_link = sub->session_link;
	mqtt_tree_prune(&r->tree, sub->node);
	r->sub_count--;
	free(sub);
}

static void
collect(struct mqtt_router *r, const struct mqtt_node *node)
{
	for (struct mqtt_sub *sub = node->value; sub; sub = sub->next) {
		if (r->match_count == r->match_cap) {
			r->match_cap = r->match_cap ? 2 * r->match_cap : 64;
			r->matches = xrealloc(r->matches, r->match_cap * sizeof(r->matches[0]));
		}
		r->matches[r->match_count++] = sub;
	}
}

static void
walk(struct mqtt_router *r, const struct mqtt_node *node, struct bytes rest, bool wildcards)
{
	struct bytes level;
	const struct mqtt_node *child;

	if (!node->children) {
		if (!rest.data)
			collect(r, node);
		return;
	}
	/* "a/#" matches "a" too (4.7.1.2). */
	if (node->hash && wildcards)
		collect(r, node->hash);
	if (!mqtt_level_next(&rest, &level)) {
		collect(r, node);
		return;
	}
	if (node->plus && wildcards)
		walk(r, node->plus, rest, true);
	child = mqtt_tree_child(&r->tree, node, level);
	if (child)
		walk(r, child, rest, true);
}

size_t
mqtt_router_match(struct mqtt_router *r, struct bytes topic, struct mqtt_sub *const **ret)
{
	r->match_count = 0;
	/* A wildcard as the first level does not match topics that begin with $ (4.7.2). */
	if (r->sub_count && topic.len)
		walk(r, r->tree.root, topic, topic.data[0] != '$');
	*ret = r->matches;
	return r->match_count;
}
