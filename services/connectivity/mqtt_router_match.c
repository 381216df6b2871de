/* mqtt_router_match.c - a topic -> the subscriptions whose filters match it (section 4.7); pure */
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "mqtt_router_impl.h"

static void
collect_group(struct mqtt_router *r, struct mqtt_group *g)
{
	if (r->group_count == r->group_cap) {
		r->group_cap = r->group_cap ? 2 * r->group_cap : 16;
		r->groups = xrealloc(r->groups, r->group_cap * sizeof(r->groups[0]));
	}
	r->groups[r->group_count++] = g;
}

static void
collect(struct mqtt_router *r, const struct mqtt_node *node)
{
	const struct mqtt_leaf *leaf = node->value;

	if (leaf) {
		size_t sum = r->match_count + leaf->count;

		/* A session subscribes to a filter once. */
		r->distinct = r->match_count == 0;
		if (sum > r->match_cap) {
			r->match_cap = sum > 2 * r->match_cap ? sum : 2 * r->match_cap;
			r->matches = xrealloc(r->matches, r->match_cap * sizeof(r->matches[0]));
		}
		memcpy(
		    r->matches + r->match_count, leaf->list, leaf->count * sizeof(leaf->list[0]));
		r->match_count = sum;
	}
	for (struct mqtt_group *g = node->shared; g; g = g->next)
		collect_group(r, g);
}

/* A node that a level leads to, and below it, the key of its child of the next level. */
struct mqtt_step {
	struct mqtt_node *node;
	const struct mqtt_node
	    *parent; /* of which it is said to be the child of the last level; NULL: it is there */
	uint64_t key;
};

static void
add_end(struct mqtt_router *r, const struct mqtt_node *node)
{
	if (r->end_count == r->end_cap) {
		r->end_cap = r->end_cap ? 2 * r->end_cap : 64;
		r->ends = xrealloc(r->ends, r->end_cap * sizeof(r->ends[0]));
	}
	__builtin_prefetch(node);
	r->ends[r->end_count++] = node;
}

/* Each node leads to two at most. */
static void
make_room(struct mqtt_router *r, size_t count)
{
	if (count * 3 <= r->step_cap)
		return;
	r->step_cap = count * 6 > 64 ? count * 6 : 64;
	r->steps = xrealloc(r->steps, r->step_cap * sizeof(r->steps[0]));
}

/* The nodes at steps[0, count) are what they are said to be; those that are not, or have no children, are left out. */
static size_t
arrive(struct mqtt_router *r, size_t count, struct bytes level)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		struct mqtt_step step = r->steps[i];

		if (step.parent && !mqtt_node_is(step.node, step.parent, level))
			step.node = mqtt_tree_child(&r->tree, step.parent, level);
		if (step.node)
			r->steps[n++] = step;
	}
	return n;
}

/* From the nodes at steps[0, count) one level on; returns how many are there then. What memory has to fetch for one is fetched
 * while the others are looked at. */
static size_t
go_on(struct mqtt_router *r, size_t count, struct bytes level, bool wildcards)
{
	uint64_t hash = mqtt_tree_hash(&r->tree, level);
	size_t n = count;

	r->visits += count;
	make_room(r, count);
	for (size_t i = 0; i < count; i++) {
		struct mqtt_step *step = &r->steps[i];

		step->key = mqtt_tree_key(step->node, hash);
		mqtt_tree_fetch(&r->tree, step->key);
	}
	for (size_t i = 0; i < count; i++) {
		struct mqtt_node *node = r->steps[i].node;
		struct mqtt_node *child = mqtt_tree_guess(&r->tree, r->steps[i].key);

		/* "a/#" matches "a" too (4.7.1.2). */
		if (node->hash && wildcards)
			add_end(r, node->hash);
		if (node->plus && wildcards) {
			__builtin_prefetch(node->plus);
			r->steps[n++] = (struct mqtt_step){ .node = node->plus };
		}
		if (child) {
			__builtin_prefetch(child);
			r->steps[n++] = (struct mqtt_step){ .node = child, .parent = node };
		}
	}
	memmove(r->steps, r->steps + count, (n - count) * sizeof(r->steps[0]));
	return arrive(r, n - count, level);
}

static void
walk(struct mqtt_router *r, struct bytes topic)
{
	/* A wildcard as the first level does not match topics that begin with $ (4.7.2). */
	bool wildcards = topic.data[0] != '$';
	struct bytes level;
	size_t count = 1;

	make_room(r, 1);
	r->steps[0] = (struct mqtt_step){ .node = r->tree.root };
	while (count && mqtt_level_next(&topic, &level)) {
		count = go_on(r, count, level, wildcards);
		wildcards = true;
	}
	for (size_t i = 0; i < count; i++) {
		const struct mqtt_node *node = r->steps[i].node;

		add_end(r, node);
		if (node->hash)
			add_end(r, node->hash);
	}
}

static void
match(struct mqtt_router *r, struct bytes topic)
{
	r->match_count = 0;
	r->group_count = 0;
	r->end_count = 0;
	walk(r, topic);
	for (size_t i = 0; i < r->end_count; i++)
		if (r->ends[i]->value)
			__builtin_prefetch(r->ends[i]->value);
	for (size_t i = 0; i < r->end_count; i++)
		collect(r, r->ends[i]);
	r->visits += r->end_count + r->match_count + r->group_count;
}

/* Few matches of a short topic. */
static void
remember(struct mqtt_router *r, struct mqtt_cached *e, uint64_t hash, struct bytes topic)
{
	if (topic.len > MQTT_CACHE_TOPIC || r->match_count > MQTT_CACHE_MATCHES || r->group_count)
		return;
	e->hash = hash;
	e->version = r->version;
	e->topic_len = (uint16_t)topic.len;
	e->count = (uint8_t)r->match_count;
	e->distinct = r->distinct;
	memcpy(e->topic, topic.data, topic.len);
	if (r->match_count)
		memcpy(e->matches, r->matches, r->match_count * sizeof(e->matches[0]));
}

size_t
mqtt_router_match(struct mqtt_router *r, struct bytes topic, struct mqtt_match **ret)
{
	struct mqtt_cached *e;
	uint64_t hash;

	r->group_count = 0;
	r->distinct = true;
	*ret = r->matches;
	if (r->sub_count == 0 || topic.len == 0)
		return 0;
	hash = mqtt_tree_hash(&r->tree, topic);
	e = &r->cache[hash & (MQTT_CACHE_SIZE - 1)];
	if (e->hash == hash && e->version == r->version && e->topic_len == topic.len &&
	    memcmp(e->topic, topic.data, topic.len) == 0) {
		*ret = e->matches;
		r->visits += e->count;
		r->distinct = e->distinct;
		return e->count;
	}
	match(r, topic);
	remember(r, e, hash, topic);
	*ret = r->matches;
	return r->match_count;
}
