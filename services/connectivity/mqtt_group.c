/* mqtt_group.c - who shares a filter under one name, and whose turn is next (section 4.8.2); pure */
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "mqtt_router_impl.h"

struct bytes
mqtt_group_take_name(struct bytes *filter)
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

struct mqtt_group *
mqtt_group_find(const struct mqtt_node *node, struct bytes name)
{
	struct mqtt_group *g = node->shared;

	while (g && !bytes_equal(bytes_of(g->name, g->name_len), name))
		g = g->next;
	return g;
}

struct mqtt_group *
mqtt_group_add(struct mqtt_node *node, struct bytes name)
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

void
mqtt_group_join(struct mqtt_sub *sub)
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

void
mqtt_group_leave(struct mqtt_sub *sub)
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
	if (g->refs > 1)
		mqtt_router_key(&g->key, g->node, g);
	g->node = NULL;
	mqtt_group_unref(&g);
}

void
mqtt_group_turn(struct mqtt_sub *sub)
{
	group_part(sub);
	mqtt_group_join(sub);
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
	if (!g || --g->refs > 0)
		return;
	buf_fini(&g->key);
	free(g);
}
