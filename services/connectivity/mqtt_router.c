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
	*r = (struct mqtt_router){ .sub_count = 0 };
	mqtt_tree_init(&r->tree);
}

void
mqtt_router_fini(struct mqtt_router *r)
{
	mqtt_tree_fini(&r->tree);
	free(r->table);
	free(r->matches);
	free(r->groups);
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

/* --- subscriptions --- */

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
		if (!sub->group)
			sub->group = group_add(node, name);
		sub->group->count++;
		group_join(sub);
		r->shared_count++;
	} else {
		/* The head's link is NULL: the node's value points to it. */
		sub->next = node->value;
		if (sub->next)
			sub->next->link = &sub->next;
		node->value = sub;
	}
	if (sub->session_next)
		sub->session_next->session_link = &sub->session_next;
	*session_list = sub;
	if (r->sub_count++ >= r->table_size)
		resize(r, r->table_size ? 2 * r->table_size : TABLE_MIN);
	slot = slot_of(r, session, node, sub->group);
	sub->hash_next = *slot;
	*slot = sub;
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
mqtt_router_unsubscribe(struct mqtt_router *r, struct mqtt_sub *sub)
{
	leave_table(r, sub);
	if (sub->group) {
		group_leave(sub);
		r->shared_count--;
	} else {
		if (sub->link)
			*sub->link = sub->next;
		else
			sub->node->value = sub->next;
		if (sub->next)
			sub->next->link = sub->link;
	}
	*sub->session_link = sub->session_next;
	if (sub->session_next)
		sub->session_next->session_link = sub->session_link;
	mqtt_tree_prune(&r->tree, sub->node);
	free(sub);
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
	for (struct mqtt_sub *sub = node->value; sub; sub = sub->next) {
		if (r->match_count == r->match_cap) {
			r->match_cap = r->match_cap ? 2 * r->match_cap : 64;
			r->matches = xrealloc(r->matches, r->match_cap * sizeof(r->matches[0]));
		}
		r->matches[r->match_count++] = sub;
	}
	for (struct mqtt_group *g = node->shared; g; g = g->next)
		collect_group(r, g);
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
	r->group_count = 0;
	/* A wildcard as the first level does not match topics that begin with $ (4.7.2). */
	if (r->sub_count && topic.len)
		walk(r, r->tree.root, topic, topic.data[0] != '$');
	*ret = r->matches;
	return r->match_count;
}
