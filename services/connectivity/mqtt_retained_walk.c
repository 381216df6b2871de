/* mqtt_retained_walk.c - retained messages that match a filter, one after the other, while the store changes; pure
 *
 * A walk goes through the tree from the root, each node before its children, below those only that the filter's levels allow. It
 * keeps the node that comes next; when that one goes away, the walk steps over it first. */
#include "mqtt_retained.h"

void
mqtt_retained_walk_begin(struct mqtt_retained *r, struct mqtt_retained_walk *w, struct bytes filter)
{
	struct bytes rest = filter, level;

	w->next = NULL;
	w->link = NULL;
	w->node = r->tree.root;
	w->filter = filter;
	w->depth = w->levels = 0;
	w->all = false;
	while (mqtt_level_next(&rest, &level)) {
		if (bytes_equal_str(level, "#")) {
			w->all = true;
			break;
		}
		if (w->levels == MQTT_LEVELS_MAX) { /* no topic has so many */
			w->node = NULL;
			break;
		}
		w->level[w->levels].at = (uint16_t)(level.data - filter.data);
		w->level[w->levels++].len = (uint16_t)level.len;
	}
}

static struct bytes
level_at(const struct mqtt_retained_walk *w, unsigned int depth)
{
	return bytes_of(w->filter.data + w->level[depth].at, w->level[depth].len);
}

/* Below a node of this depth every child will do. */
static bool
takes_any(const struct mqtt_retained_walk *w, unsigned int depth)
{
	return depth < w->levels ? bytes_equal_str(level_at(w, depth), "+") : w->all;
}

/* Topics that begin with $ are not matched by a wildcard (4.7.2). */
static struct mqtt_node *
not_hidden(const struct mqtt_retained *r, struct mqtt_node *n)
{
	while (n && n->parent == r->tree.root && n->len > 0 && n->level[0] == '$')
		n = n->next;
	return n;
}

static void
step_over(const struct mqtt_retained *r, struct mqtt_retained_walk *w)
{
	struct mqtt_node *n = w->node, *next = NULL;

	while (n != r->tree.root && !next) {
		w->depth--;
		if (takes_any(w, w->depth))
			next = not_hidden(r, n->next);
		n = n->parent;
	}
	w->node = next;
	if (next)
		w->depth++;
}

void
mqtt_retained_walk_on(struct mqtt_retained *r, struct mqtt_retained_walk *w)
{
	struct mqtt_node *child = NULL;

	if (takes_any(w, w->depth))
		child = not_hidden(r, w->node->children);
	else if (w->depth < w->levels)
		child = mqtt_tree_child(&r->tree, w->node, level_at(w, w->depth));
	if (!child) {
		step_over(r, w);
		return;
	}
	w->node = child;
	w->depth++;
}

struct mqtt_message *
mqtt_retained_walk_at(
    struct mqtt_retained *r, struct mqtt_retained_walk *w, int64_t now_us, size_t *visits)
{
	while (w->node && *visits > 0) {
		struct mqtt_message *m = w->node->value;

		--*visits;
		if (m && (w->all ? w->depth >= w->levels : w->depth == w->levels) &&
		    !mqtt_message_expired(m, now_us))
			return m;
		mqtt_retained_walk_on(r, w);
	}
	return NULL;
}

void
mqtt_retained_walk_wait(struct mqtt_retained *r, struct mqtt_retained_walk *w)
{
	w->next = r->walks;
	w->link = &r->walks;
	if (w->next)
		w->next->link = &w->next;
	r->walks = w;
}

void
mqtt_retained_walk_end(struct mqtt_retained_walk *w)
{
	if (!w->link)
		return;
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	w->link = NULL;
}

void
mqtt_retained_walks_leave(struct mqtt_retained *r, struct mqtt_node *node)
{
	struct mqtt_node *top = node;

	if (!r->walks || node->children || node->shared)
		return;
	while (top->parent != r->tree.root && !top->parent->value && !top->parent->shared &&
	       top->parent->children == top && !top->next)
		top = top->parent;
	for (struct mqtt_retained_walk *w = r->walks; w; w = w->next) {
		const struct mqtt_node *n = node;

		while (n != w->node && n != top)
			n = n->parent;
		if (n != w->node)
			continue;
		/* Over all of them: up to the topmost that goes, then on. */
		while (w->node != top) {
			w->node = w->node->parent;
			w->depth--;
		}
		step_over(r, w);
	}
}
