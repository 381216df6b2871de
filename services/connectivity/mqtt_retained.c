/* mqtt_retained.c - the last retained message of each topic; bounded; pure */
#include "mqtt_retained.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

static struct bytes
copy_to(uint8_t **at, struct bytes b)
{
	struct bytes copy = bytes_of(*at, b.len);

	if (b.len)
		memcpy(*at, b.data, b.len);
	*at += b.len;
	return copy;
}

struct mqtt_message *
mqtt_message_new(const struct mqtt_message *m)
{
	struct mqtt_message *copy = xmalloc(mqtt_message_bytes(m));
	uint8_t *at = (uint8_t *)(copy + 1);

	*copy = *m;
	copy->refs = 1;
	copy->topic = copy_to(&at, m->topic);
	copy->payload = copy_to(&at, m->payload);
	copy->props = copy_to(&at, m->props);
	copy->source = copy_to(&at, m->source);
	return copy;
}

struct mqtt_message *
mqtt_message_ref(struct mqtt_message *m)
{
	m->refs++;
	return m;
}

void
mqtt_message_unref(struct mqtt_message **p_m)
{
	struct mqtt_message *m = *p_m;

	*p_m = NULL;
	if (m && --m->refs == 0)
		free(m);
}

size_t
mqtt_message_bytes(const struct mqtt_message *m)
{
	return sizeof(*m) + m->topic.len + m->payload.len + m->props.len + m->source.len;
}

bool
mqtt_message_expired(const struct mqtt_message *m, int64_t now_us)
{
	return m->has_expiry && m->expires_us <= now_us;
}

void
mqtt_retained_init(struct mqtt_retained *r, size_t count_max, size_t bytes_max)
{
	*r = (struct mqtt_retained){ .count_max = count_max, .bytes_max = bytes_max };
	mqtt_tree_init(&r->tree);
}

static void
count_off(struct mqtt_retained *r, const struct mqtt_message *m)
{
	if (!m || m->own)
		return;
	r->count--;
	r->bytes -= mqtt_message_bytes(m);
}

static void
drop(struct mqtt_retained *r, struct mqtt_node *node)
{
	struct mqtt_message *m = node->value;

	count_off(r, m);
	node->value = NULL;
	mqtt_message_unref(&m);
	mqtt_retained_walks_leave(r, node);
	mqtt_tree_prune(&r->tree, node);
}

void
mqtt_retained_fini(struct mqtt_retained *r)
{
	while (r->tree.root->children) {
		struct mqtt_node *node = r->tree.root->children;

		while (!node->value)
			node = node->children;
		drop(r, node);
	}
	mqtt_tree_fini(&r->tree);
}

/* Beside all but the older message of its topic, whose levels are in the tree. */
static bool
has_room(
    const struct mqtt_retained *r, const struct mqtt_message *m, const struct mqtt_message *old)
{
	bool counts = old && !old->own;
	size_t bytes = r->bytes + r->tree.bytes - (counts ? mqtt_message_bytes(old) : 0);

	return m->own || (r->count - counts < r->count_max && bytes <= r->bytes_max &&
			     mqtt_message_bytes(m) <= r->bytes_max - bytes);
}

int
mqtt_retained_set(struct mqtt_retained *r, struct mqtt_message *m)
{
	struct mqtt_node *node = mqtt_tree_find(&r->tree, m->topic);
	struct mqtt_message *old = node ? node->value : NULL;

	if (m->payload.len == 0) {
		if (old)
			drop(r, node);
		return 0;
	}
	if (!node)
		node = mqtt_tree_insert(&r->tree, m->topic);
	if (!has_room(r, m, old)) {
		mqtt_tree_prune(&r->tree, node);
		return ERR_FULL;
	}
	count_off(r, old);
	if (!m->own) {
		r->count++;
		r->bytes += mqtt_message_bytes(m);
	}
	node->value = mqtt_message_ref(m);
	mqtt_message_unref(&old);
	return 0;
}

bool
mqtt_retained_has(struct mqtt_retained *r, struct bytes topic)
{
	const struct mqtt_node *node = mqtt_tree_find(&r->tree, topic);

	return node && node->value;
}

uint64_t
mqtt_retained_seq(struct mqtt_retained *r, struct bytes topic)
{
	const struct mqtt_node *node = mqtt_tree_find(&r->tree, topic);
	const struct mqtt_message *m = node ? node->value : NULL;

	return m ? m->seq : 0;
}

int
mqtt_retained_match(struct mqtt_retained *r, struct bytes filter, int64_t now_us, size_t *visits,
    mqtt_retained_fn fn, void *arg)
{
	struct mqtt_retained_walk walk;
	struct mqtt_message *m;

	mqtt_retained_walk_begin(r, &walk, filter);
	while ((m = mqtt_retained_walk_at(r, &walk, now_us, visits))) {
		fn(arg, m);
		mqtt_retained_walk_on(r, &walk);
	}
	return walk.node ? ERR_FULL : 0;
}

static void
expire_under(struct mqtt_retained *r, struct mqtt_node *node, int64_t now_us)
{
	struct mqtt_node *child = node->children;

	/* Without children the node itself goes; with them it goes with the last of these, which is visited last. */
	if (node->value && mqtt_message_expired(node->value, now_us))
		drop(r, node);
	while (child) {
		struct mqtt_node *next = child->next;

		expire_under(r, child, now_us);
		child = next;
	}
}

void
mqtt_retained_expire(struct mqtt_retained *r, int64_t now_us)
{
	expire_under(r, r->tree.root, now_us);
}
