/* mqtt_router.c - subscriptions: filters -> who gets a message; pure */
#include "mqtt_router.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

#define TABLE_MIN 64

void
mqtt_router_init(struct mqtt_router *r)
{
	*r = (struct mqtt_router){ .version = 1 };
	mqtt_tree_init(&r->tree);
	r->cache = xcalloc(MQTT_CACHE_SIZE, sizeof(r->cache[0]));
}

void
mqtt_router_fini(struct mqtt_router *r)
{
	mqtt_tree_fini(&r->tree);
	free(r->cache);
	free(r->table);
	free(r->matches);
	free(r->groups);
	free(r->steps);
	free(r->ends);
	*r = (struct mqtt_router){ .sub_count = 0 };
}

/* --- one subscription by session, node and group --- */

static uint64_t
mix(uint64_t h, const void *p)
{
	h ^= (uint64_t)(uintptr_t)p;
	h *= 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}

static struct mqtt_sub **
slot_of(const struct mqtt_router *r, const struct mqtt_session *session,
    const struct mqtt_node *node, const struct mqtt_group *group)
{
	return &r->table[mix(mix(mix(0, session), node), group) & (r->table_size - 1)];
}

static void
resize(struct mqtt_router *r, size_t size)
{
	struct mqtt_sub **old = r->table;
	size_t old_size = r->table_size;

	r->table = xcalloc(size, sizeof(struct mqtt_sub *));
	r->table_size = size;
	for (size_t i = 0; i < old_size; i++) {
		for (struct mqtt_sub *sub = old[i], *next; sub; sub = next) {
			struct mqtt_sub **slot = slot_of(r, sub->session, sub->node, sub->group);

			next = sub->hash_next;
			sub->hash_next = *slot;
			*slot = sub;
		}
	}
	free(old);
}

/* --- groups --- */

/* Takes $share/{name}/ off; the name is empty if it is not there. */
static struct bytes
take_share(struct bytes *filter)
{
	const char prefix[] = "$share/";
	const size_t len = sizeof(prefix) - 1;
	struct bytes name, rest;

	if (filter->len <= len || memcmp(filter->data, prefix, len) != 0)
		return bytes_of(NULL, 0);
	rest = bytes_of(filter->data + len, filter->len - len);
	if (!mqtt_level_next(&rest, &name) || !rest.data)
		return bytes_of(NULL, 0);
	*filter = rest;
	return name;
}

static struct mqtt_group *
group_find(const struct mqtt_node *node, struct bytes name)
{
	struct mqtt_group *g = node->shared;

	while (g && !bytes_equal(bytes_of(g->name, g->name_len), name))
		g = g->next;
	return g;
}

static struct mqtt_group *
group_add(struct mqtt_node *node, struct bytes name)
{
	struct mqtt_group *g = xmalloc(sizeof(*g) + name.len + 1);

	*g = (struct mqtt_group){
		.node = node, .next = node->shared, .name_len = (uint16_t)name.len, .refs = 1
	};
	g->members_end = &g->members;
	memcpy(g->name, name.data, name.len);
	g->name[name.len] = 0;
	node->shared = g;
	return g;
}

static void
group_join(struct mqtt_sub *sub)
{
	struct mqtt_group *g = sub->group;

	sub->next = NULL;
	sub->link = g->members_end;
	*g->members_end = sub;
	g->members_end = &sub->next;
}

static void
group_part(struct mqtt_sub *sub)
{
	*sub->link = sub->next;
	if (sub->next)
		sub->next->link = sub->link;
	else
		sub->group->members_end = sub->link;
}

static void
group_leave(struct mqtt_sub *sub)
{
	struct mqtt_group *g = sub->group;
	struct mqtt_group *at = sub->node->shared;

	group_part(sub);
	if (--g->count > 0)
		return;
	if (at == g) {
		sub->node->shared = g->next;
	} else {
		while (at->next != g)
			at = at->next;
		at->next = g->next;
	}
	g->node = NULL;
	mqtt_group_unref(&g);
}

void
mqtt_group_turn(struct mqtt_sub *sub)
{
	group_part(sub);
	group_join(sub);
}

struct mqtt_group *
mqtt_group_ref(struct mqtt_group *g)
{
	g->refs++;
	return g;
}

void
mqtt_group_unref(struct mqtt_group **p_g)
{
	struct mqtt_group *g = *p_g;

	*p_g = NULL;
	if (g && --g->refs == 0)
		free(g);
}

/* --- those of one filter that are not shared, side by side --- */

struct leaf {
	uint32_t count;
	uint32_t cap;
	struct mqtt_match list[];
};

static void
leaf_resize(struct mqtt_node *node, struct leaf *leaf, uint32_t cap)
{
	leaf = xrealloc(leaf, sizeof(*leaf) + cap * sizeof(leaf->list[0]));
	leaf->cap = cap;
	node->value = leaf;
}

static void
leaf_add(struct mqtt_sub *sub)
{
	struct leaf *leaf = sub->node->value;

	if (!leaf) {
		leaf_resize(sub->node, NULL, 1);
		leaf = sub->node->value;
		leaf->count = 0;
	} else if (leaf->count == leaf->cap) {
		leaf_resize(sub->node, leaf, leaf->cap < 4 ? 4 : 2 * leaf->cap);
		leaf = sub->node->value;
	}
	sub->at = leaf->count++;
	leaf->list[sub->at] = (struct mqtt_match){ .session = sub->session, .sub = sub };
}

/* The last one takes its place. */
static void
leaf_remove(struct mqtt_sub *sub)
{
	struct leaf *leaf = sub->node->value;

	leaf->list[sub->at] = leaf->list[--leaf->count];
	leaf->list[sub->at].sub->at = sub->at;
	if (leaf->count == 0) {
		free(leaf);
		sub->node->value = NULL;
	} else if (leaf->cap > 4 && leaf->count < leaf->cap / 4) {
		leaf_resize(sub->node, leaf, leaf->cap / 2);
	}
}

/* --- subscriptions --- */

static void
tell(struct mqtt_router *r, const struct mqtt_node *node, const struct mqtt_group *group,
    uint32_t count)
{
	if (r->changed)
		r->changed(r->changed_arg, node, group, count);
}

struct mqtt_sub *
mqtt_router_find(
    const struct mqtt_router *r, const struct mqtt_session *session, struct bytes filter)
{
	struct bytes name = take_share(&filter);
	const struct mqtt_node *node = mqtt_tree_find(&r->tree, filter);
	const struct mqtt_group *group = node && name.len ? group_find(node, name) : NULL;
	struct mqtt_sub *sub;

	if (!node || (name.len && !group) || r->table_size == 0)
		return NULL;
	sub = *slot_of(r, session, node, group);
	while (sub && (sub->session != session || sub->node != node || sub->group != group))
		sub = sub->hash_next;
	return sub;
}

struct mqtt_sub *
mqtt_router_subscribe(struct mqtt_router *r, struct mqtt_session *session,
    struct mqtt_sub **session_list, struct bytes filter)
{
	struct bytes name = take_share(&filter);
	struct mqtt_node *node = mqtt_tree_insert(&r->tree, filter);
	struct mqtt_sub *sub = xmalloc(sizeof(*sub));
	struct mqtt_sub **slot;

	*sub = (struct mqtt_sub){ .session = session,
		.node = node,
		.session_next = *session_list,
		.session_link = session_list };
	if (name.len) {
		sub->group = group_find(node, name);
		if (!sub->group) {
			sub->group = group_add(node, name);
			r->group_bytes += sizeof(struct mqtt_group) + name.len;
		}
		sub->group->count++;
		group_join(sub);
		r->shared_count++;
		tell(r, node, sub->group, sub->group->count);
	} else {
		if (!node->value)
			tell(r, node, NULL, 1);
		leaf_add(sub);
	}
	if (sub->session_next)
		sub->session_next->session_link = &sub->session_next;
	*session_list = sub;
	if (r->sub_count++ >= r->table_size)
		resize(r, r->table_size ? 2 * r->table_size : TABLE_MIN);
	slot = slot_of(r, session, node, sub->group);
	sub->hash_next = *slot;
	*slot = sub;
	r->version++;
	return sub;
}

static void
leave_table(struct mqtt_router *r, struct mqtt_sub *sub)
{
	struct mqtt_sub **slot = slot_of(r, sub->session, sub->node, sub->group);

	while (*slot != sub)
		slot = &(*slot)->hash_next;
	*slot = sub->hash_next;
	r->sub_count--;
	if (r->table_size > TABLE_MIN && r->sub_count < r->table_size / 8)
		resize(r, r->table_size / 4);
}

void
mqtt_router_set(struct mqtt_router *r, struct mqtt_sub *sub, const struct mqtt_sub_options *options)
{
	r->version++;
	sub->options = *options;
	if (!sub->group)
		((struct leaf *)sub->node->value)->list[sub->at].options = *options;
}

void
mqtt_router_unsubscribe(struct mqtt_router *r, struct mqtt_sub *sub)
{
	leave_table(r, sub);
	r->version++;
	if (sub->group) {
		tell(r, sub->node, sub->group, sub->group->count - 1);
		if (sub->group->count == 1)
			r->group_bytes -= sizeof(struct mqtt_group) + sub->group->name_len;
		group_leave(sub);
		r->shared_count--;
	} else {
		leaf_remove(sub);
		if (!sub->node->value)
			tell(r, sub->node, NULL, 0);
	}
	*sub->session_link = sub->session_next;
	if (sub->session_next)
		sub->session_next->session_link = sub->session_link;
	mqtt_tree_prune(&r->tree, sub->node);
	free(sub);
}

size_t
mqtt_router_bytes(const struct mqtt_router *r)
{
	/* Beside itself one has a place in the table, and one in its filter's list or in a group. */
	const size_t each =
	    sizeof(struct mqtt_sub) + 2 * sizeof(struct mqtt_match) + 2 * sizeof(struct mqtt_sub *);

	return r->tree.bytes + r->group_bytes + r->sub_count * each;
}

/* --- matching --- */

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
	const struct leaf *leaf = node->value;

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

struct mqtt_group *
mqtt_router_group(const struct mqtt_router *r, struct bytes key)
{
	struct bytes name = take_share(&key);
	const struct mqtt_node *node = mqtt_tree_find(&r->tree, key);

	return node && name.len ? group_find(node, name) : NULL;
}

uint32_t
mqtt_router_members(const struct mqtt_router *r, struct bytes key)
{
	struct bytes name = take_share(&key);
	const struct mqtt_node *node = mqtt_tree_find(&r->tree, key);
	const struct mqtt_group *group = node && name.len ? group_find(node, name) : NULL;

	if (name.len)
		return group ? group->count : 0;
	return node && node->value ? 1 : 0;
}

static void
filter_put(struct buf *out, const struct mqtt_node *node)
{
	if (!node->parent)
		return;
	filter_put(out, node->parent);
	if (node->parent->parent)
		buf_add_u8(out, '/');
	buf_add(out, node->level, node->len);
}

void
mqtt_router_key(struct buf *out, const struct mqtt_node *node, const struct mqtt_group *group)
{
	if (group) {
		buf_add_str(out, "$share/");
		buf_add(out, group->name, group->name_len);
		buf_add_u8(out, '/');
	}
	filter_put(out, node);
}

static void
tell_under(struct mqtt_router *r, const struct mqtt_node *node)
{
	if (node->value)
		tell(r, node, NULL, 1);
	for (const struct mqtt_group *g = node->shared; g; g = g->next)
		tell(r, node, g, g->count);
	for (const struct mqtt_node *child = node->children; child; child = child->next)
		tell_under(r, child);
}

void
mqtt_router_tell_all(struct mqtt_router *r)
{
	tell_under(r, r->tree.root);
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
