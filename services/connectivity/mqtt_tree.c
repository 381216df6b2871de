/* mqtt_tree.c - a tree of topic levels; pure */
#include "mqtt_tree.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "mem.h"

#define TABLE_MIN 16

void
mqtt_tree_init(struct mqtt_tree *t)
{
	*t = (struct mqtt_tree){ .root = xcalloc(1, sizeof(struct mqtt_node)) };
}

void
mqtt_tree_fini(struct mqtt_tree *t)
{
	ASSERT(t->count == 0);
	free(t->table);
	free(t->root);
	*t = (struct mqtt_tree){ .table_size = 0 };
}

bool
mqtt_level_next(struct bytes *rest, struct bytes *ret_level)
{
	const uint8_t *slash;

	if (!rest->data)
		return false;
	slash = rest->len ? memchr(rest->data, '/', rest->len) : NULL;
	if (!slash) {
		*ret_level = *rest;
		*rest = bytes_of(NULL, 0);
		return true;
	}
	*ret_level = bytes_of(rest->data, (size_t)(slash - rest->data));
	*rest = bytes_of(slash + 1, rest->len - ret_level->len - 1);
	return true;
}

static uint64_t
key_of(const struct mqtt_node *parent, struct bytes level)
{
	return XXH3_64bits_withSeed(level.data, level.len, (uint64_t)(uintptr_t)parent);
}

struct mqtt_node *
mqtt_tree_child(const struct mqtt_tree *t, const struct mqtt_node *parent, struct bytes level)
{
	uint64_t key;
	struct mqtt_node *n;

	if (!parent->children)
		return NULL;
	key = key_of(parent, level);
	for (n = t->table[key & (t->table_size - 1)]; n; n = n->hash_next) {
		if (n->key == key && n->parent == parent && n->len == level.len &&
		    memcmp(n->level, level.data, level.len) == 0)
			return n;
	}
	return NULL;
}

struct mqtt_node *
mqtt_tree_find(const struct mqtt_tree *t, struct bytes topic)
{
	struct mqtt_node *n = t->root;
	struct bytes level;

	while (n && mqtt_level_next(&topic, &level))
		n = mqtt_tree_child(t, n, level);
	return n;
}

static void
resize(struct mqtt_tree *t, size_t size)
{
	struct mqtt_node **table = xcalloc(size, sizeof(struct mqtt_node *));

	for (size_t i = 0; i < t->table_size; i++) {
		for (struct mqtt_node *n = t->table[i], *next; n; n = next) {
			struct mqtt_node **slot = &table[n->key & (size - 1)];

			next = n->hash_next;
			n->hash_next = *slot;
			*slot = n;
		}
	}
	free(t->table);
	t->table = table;
	t->table_size = size;
}

static bool
is(const struct mqtt_node *n, char c)
{
	return n->len == 1 && n->level[0] == (uint8_t)c;
}

static struct mqtt_node *
add_child(struct mqtt_tree *t, struct mqtt_node *parent, struct bytes level)
{
	struct mqtt_node *n = xmalloc(sizeof(struct mqtt_node) + level.len);
	struct mqtt_node **slot;

	if (t->count >= t->table_size)
		resize(t, t->table_size ? 2 * t->table_size : TABLE_MIN);
	*n = (struct mqtt_node){ .parent = parent,
		.next = parent->children,
		.link = &parent->children,
		.key = key_of(parent, level),
		.len = (uint16_t)level.len };
	memcpy(n->level, level.data, level.len);
	if (n->next)
		n->next->link = &n->next;
	parent->children = n;
	if (is(n, '+'))
		parent->plus = n;
	if (is(n, '#'))
		parent->hash = n;
	slot = &t->table[n->key & (t->table_size - 1)];
	n->hash_next = *slot;
	*slot = n;
	t->count++;
	return n;
}

struct mqtt_node *
mqtt_tree_insert(struct mqtt_tree *t, struct bytes topic)
{
	struct mqtt_node *n = t->root;
	struct bytes level;

	while (mqtt_level_next(&topic, &level)) {
		struct mqtt_node *child = mqtt_tree_child(t, n, level);

		n = child ? child : add_child(t, n, level);
	}
	return n;
}

static void
remove_node(struct mqtt_tree *t, struct mqtt_node *n)
{
	struct mqtt_node **slot = &t->table[n->key & (t->table_size - 1)];

	while (*slot != n)
		slot = &(*slot)->hash_next;
	*slot = n->hash_next;
	*n->link = n->next;
	if (n->next)
		n->next->link = n->link;
	if (n->parent->plus == n)
		n->parent->plus = NULL;
	if (n->parent->hash == n)
		n->parent->hash = NULL;
	t->count--;
	free(n);
}

void
mqtt_tree_prune(struct mqtt_tree *t, struct mqtt_node *node)
{
	while (node != t->root && !node->value && !node->shared && !node->children) {
		struct mqtt_node *parent = node->parent;

		remove_node(t, node);
		node = parent;
	}
	if (t->table_size > TABLE_MIN && t->count < t->table_size / 8)
		resize(t, t->table_size / 4);
}
