/* mqtt_router.c - subscriptions: who has which, and what others are told of them; pure */
#include "mqtt_router.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "mqtt_router_impl.h"

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

/* --- those of one filter that are not shared, side by side --- */

static void
leaf_resize(struct mqtt_node *node, struct mqtt_leaf *leaf, uint32_t cap)
{
	leaf = xrealloc(leaf, sizeof(*leaf) + cap * sizeof(leaf->list[0]));
	leaf->cap = cap;
	node->value = leaf;
}

static void
leaf_add(struct mqtt_sub *sub)
{
	struct mqtt_leaf *leaf = sub->node->value;

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
	struct mqtt_leaf *leaf = sub->node->value;

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
	struct bytes name = mqtt_group_take_name(&filter);
	const struct mqtt_node *node = mqtt_tree_find(&r->tree, filter);
	const struct mqtt_group *group = node && name.len ? mqtt_group_find(node, name) : NULL;
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
	struct bytes name = mqtt_group_take_name(&filter);
	struct mqtt_node *node = mqtt_tree_insert(&r->tree, filter);
	struct mqtt_sub *sub = xmalloc(sizeof(*sub));
	struct mqtt_sub **slot;

	*sub = (struct mqtt_sub){ .session = session,
		.node = node,
		.session_next = *session_list,
		.session_link = session_list };
	if (name.len) {
		sub->group = mqtt_group_find(node, name);
		if (!sub->group) {
			sub->group = mqtt_group_add(node, name);
			r->group_bytes += sizeof(struct mqtt_group) + name.len;
		}
		sub->group->count++;
		mqtt_group_join(sub);
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
		((struct mqtt_leaf *)sub->node->value)->list[sub->at].options = *options;
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
		mqtt_group_leave(sub);
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

/* --- what it is called --- */

struct mqtt_group *
mqtt_router_group(const struct mqtt_router *r, struct bytes key)
{
	struct bytes name = mqtt_group_take_name(&key);
	const struct mqtt_node *node = mqtt_tree_find(&r->tree, key);

	return node && name.len ? mqtt_group_find(node, name) : NULL;
}

uint32_t
mqtt_router_members(const struct mqtt_router *r, struct bytes key)
{
	struct bytes name = mqtt_group_take_name(&key);
	const struct mqtt_node *node = mqtt_tree_find(&r->tree, key);
	const struct mqtt_group *group = node && name.len ? mqtt_group_find(node, name) : NULL;

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
