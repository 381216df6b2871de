/* mqtt_interest.c - which other workers have subscribers to a topic; pure */
#include "mqtt_interest.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "mqtt_codec.h"

/* A node's value: bit i: worker i has subscribers; as its life before said. */
struct wanted {
	uint64_t workers;
	uint64_t doubted;
};

void
mqtt_interest_init(struct mqtt_interest *n)
{
	*n = (struct mqtt_interest){ .count = 0 };
	mqtt_tree_init(&n->tree);
}

void
mqtt_interest_fini(struct mqtt_interest *n)
{
	for (unsigned i = 0; i < MQTT_INTEREST_WORKERS_MAX; i++)
		mqtt_interest_clear(n, i);
	mqtt_tree_fini(&n->tree);
	free(n->groups);
}

static struct mqtt_interest_group **
group_at(struct mqtt_node *node, struct bytes key)
{
	struct mqtt_interest_group **at = (struct mqtt_interest_group **)(void *)&node->shared;

	while (*at && !bytes_equal(bytes_of((*at)->key, (*at)->key_len), key))
		at = &(*at)->next;
	return at;
}

static bool
is_empty(const struct mqtt_interest_group *g)
{
	for (unsigned i = 0; i < MQTT_INTEREST_WORKERS_MAX; i++)
		if (g->members[i])
			return false;
	return true;
}

static void
set_group(struct mqtt_interest *n, struct mqtt_node *node, unsigned worker, struct bytes key,
    uint32_t members)
{
	struct mqtt_interest_group **at = group_at(node, key);
	struct mqtt_interest_group *g = *at;

	if (!g && members == 0)
		return;
	if (!g) {
		g = xcalloc(1, sizeof(*g) + key.len);
		g->key_len = (uint16_t)key.len;
		memcpy(g->key, key.data, key.len);
		*at = g;
		n->count++;
	}
	g->members[worker] = members;
	g->doubted &= ~(1ull << worker);
	if (!is_empty(g))
		return;
	*at = g->next;
	n->count--;
	free(g);
}

static void
set_plain(struct mqtt_interest *n, struct mqtt_node *node, unsigned worker, bool wants)
{
	struct wanted *w = node->value;

	if (!w && !wants)
		return;
	if (!w) {
		w = xcalloc(1, sizeof(*w));
		node->value = w;
		n->count++;
	}
	w->doubted &= ~(1ull << worker);
	if (wants)
		w->workers |= 1ull << worker;
	else
		w->workers &= ~(1ull << worker);
	if (w->workers)
		return;
	node->value = NULL;
	n->count--;
	free(w);
}

void
mqtt_interest_set(struct mqtt_interest *n, unsigned worker, struct bytes key, uint32_t members)
{
	struct bytes name, filter = key;
	bool shared = mqtt_filter_shared(key, &name, &filter);
	struct mqtt_node *node;

	ASSERT(worker < MQTT_INTEREST_WORKERS_MAX);
	if (!shared)
		filter = key;
	node = members ? mqtt_tree_insert(&n->tree, filter) : mqtt_tree_find(&n->tree, filter);
	if (!node)
		return;
	if (shared)
		set_group(n, node, worker, key, members);
	else
		set_plain(n, node, worker, members > 0);
	mqtt_tree_prune(&n->tree, node);
}

static void
doubt_under(struct mqtt_node *node, unsigned worker)
{
	struct wanted *w = node->value;

	if (w)
		w->doubted |= w->workers & 1ull << worker;
	for (struct mqtt_interest_group *g = node->shared; g; g = g->next)
		if (g->members[worker])
			g->doubted |= 1ull << worker;
	for (struct mqtt_node *child = node->children; child; child = child->next)
		doubt_under(child, worker);
}

void
mqtt_interest_doubt(struct mqtt_interest *n, unsigned worker)
{
	doubt_under(n->tree.root, worker);
}

/* What is in doubt. The last child that goes may take node with it: nothing of node is looked at after that. */
static void
clear_under(struct mqtt_interest *n, struct mqtt_node *node, unsigned worker)
{
	struct mqtt_interest_group *next;
	const struct wanted *w = node->value;

	for (struct mqtt_interest_group *g = node->shared; g; g = next) {
		next = g->next;
		if (g->doubted >> worker & 1)
			set_group(n, node, worker, bytes_of(g->key, g->key_len), 0);
	}
	if (w && w->doubted >> worker & 1)
		set_plain(n, node, worker, false);
	if (!node->children)
		mqtt_tree_prune(&n->tree, node);
	else
		for (struct mqtt_node *child = node->children, *after; child; child = after) {
			after = child->next;
			clear_under(n, child, worker);
		}
}

void
mqtt_interest_settle(struct mqtt_interest *n, unsigned worker)
{
	clear_under(n, n->tree.root, worker);
}

void
mqtt_interest_clear(struct mqtt_interest *n, unsigned worker)
{
	mqtt_interest_doubt(n, worker);
	mqtt_interest_settle(n, worker);
}

/* --- matching, as the router does --- */

static uint64_t
collect(struct mqtt_interest *n, const struct mqtt_node *node)
{
	const struct wanted *w = node->value;

	for (struct mqtt_interest_group *g = node->shared; g; g = g->next) {
		if (n->group_count == n->group_cap) {
			n->group_cap = n->group_cap ? 2 * n->group_cap : 16;
			n->groups = xrealloc(n->groups, n->group_cap * sizeof(n->groups[0]));
		}
		n->groups[n->group_count++] = g;
	}
	return w ? w->workers : 0;
}

static uint64_t
walk(struct mqtt_interest *n, const struct mqtt_node *node, struct bytes rest, bool wildcards)
{
	const struct mqtt_node *child;
	struct bytes level;
	uint64_t found = 0;

	/* "a/#" matches "a" too (4.7.1.2). */
	if (node->hash && wildcards)
		found |= collect(n, node->hash);
	if (!mqtt_level_next(&rest, &level))
		return found | collect(n, node);
	if (node->plus && wildcards)
		found |= walk(n, node->plus, rest, true);
	child = mqtt_tree_child(&n->tree, node, level);
	return child ? found | walk(n, child, rest, true) : found;
}

uint64_t
mqtt_interest_match(struct mqtt_interest *n, struct bytes topic)
{
	n->group_count = 0;
	/* A wildcard as the first level does not match topics that begin with $ (4.7.2). */
	return n->count && topic.len ? walk(n, n->tree.root, topic, topic.data[0] != '$') : 0;
}

const struct mqtt_interest_group *
mqtt_interest_find(const struct mqtt_interest *n, struct bytes key)
{
	struct bytes name, filter;
	struct mqtt_tree tree = n->tree;
	struct mqtt_node *node;

	if (!mqtt_filter_shared(key, &name, &filter))
		return NULL;
	node = mqtt_tree_find(&tree, filter);
	return node ? *group_at(node, key) : NULL;
}
