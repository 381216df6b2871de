/* mqtt_tree.c - a tree of topic levels; pure */
#include "mqtt_tree.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "mem.h"

#define TABLE_MIN 16
#define SLOTS_OF_NODE 4 /* the table is a quarter full at least while it grows, ... */
#define MALLOC_BYTES 16 /* ... and a node costs a little more than its size */

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

/* Where the tree lies is nobody else's knowledge: nobody can make levels that share a place. */
uint64_t
mqtt_tree_hash(const struct mqtt_tree *t, struct bytes level)
{
	return XXH3_64bits_withSeed(level.data, level.len, (uint64_t)(uintptr_t)t->root);
}

uint64_t
mqtt_tree_key(const struct mqtt_node *parent, uint64_t hash)
{
	uint64_t key = hash ^ (uint64_t)(uintptr_t)parent * 0x9e3779b97f4a7c15u;

	key ^= key >> 32;
	key *= 0xd6e8feb86659fd93u;
	return key ^ key >> 32;
}

void
mqtt_tree_fetch(const struct mqtt_tree *t, uint64_t key)
{
	__builtin_prefetch(&t->table[key & (t->table_size - 1)]);
}

struct mqtt_node *
mqtt_tree_guess(const struct mqtt_tree *t, uint64_t key)
{
	size_t mask = t->table_size - 1;

	for (size_t at = key & mask; t->table[at].node; at = (at + 1) & mask)
		if (t->table[at].key == key)
			return t->table[at].node;
	return NULL;
}

bool
mqtt_node_is(const struct mqtt_node *n, const struct mqtt_node *parent, struct bytes level)
{
	return n->parent == parent && n->len == level.len &&
	       memcmp(n->level, level.data, level.len) == 0;
}

struct mqtt_node *
mqtt_tree_child(const struct mqtt_tree *t, const struct mqtt_node *parent, struct bytes level)
{
	uint64_t key;
	size_t mask = t->table_size - 1;

	if (!parent->children)
		return NULL;
	key = mqtt_tree_key(parent, mqtt_tree_hash(t, level));
	for (size_t at = key & mask; t->table[at].node; at = (at + 1) & mask)
		if (t->table[at].key == key && mqtt_node_is(t->table[at].node, parent, level))
			return t->table[at].node;
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
put(struct mqtt_tree *t, struct mqtt_slot slot)
{
	size_t mask = t->table_size - 1;
	size_t at = slot.key & mask;

	while (t->table[at].node)
		at = (at + 1) & mask;
	t->table[at] = slot;
}

static void
resize(struct mqtt_tree *t, size_t size)
{
	struct mqtt_slot *old = t->table;
	size_t old_size = t->table_size;

	t->table = xcalloc(size, sizeof(t->table[0]));
	t->table_size = size;
	for (size_t i = 0; i < old_size; i++)
		if (old[i].node)
			put(t, old[i]);
	free(old);
}

/* Closes the gap: those behind it that may move up do, so that a search need not look past a free place. */
static void
take_out(struct mqtt_tree *t, const struct mqtt_node *n, uint64_t key)
{
	size_t mask = t->table_size - 1;
	size_t gap = key & mask;

	while (t->table[gap].node != n)
		gap = (gap + 1) & mask;
	for (size_t at = (gap + 1) & mask; t->table[at].node; at = (at + 1) & mask) {
		size_t home = t->table[at].key & mask;

		if (((at - home) & mask) >= ((at - gap) & mask)) {
			t->table[gap] = t->table[at];
			gap = at;
		}
	}
	t->table[gap].node = NULL;
}

static bool
is(const struct mqtt_node *n, char c)
{
	return n->len == 1 && n->level[0] == (uint8_t)c;
}

static size_t
bytes_of_node(size_t level_len)
{
	return sizeof(struct mqtt_node) + level_len + MALLOC_BYTES +
	       SLOTS_OF_NODE * sizeof(struct mqtt_slot);
}

static struct mqtt_node *
add_child(struct mqtt_tree *t, struct mqtt_node *parent, struct bytes level)
{
	struct mqtt_node *n = xmalloc(sizeof(struct mqtt_node) + level.len);

	if (t->count >= t->table_size / 2)
		resize(t, t->table_size ? 2 * t->table_size : TABLE_MIN);
	*n = (struct mqtt_node){ .parent = parent,
		.next = parent->children,
		.link = &parent->children,
		.len = (uint16_t)level.len };
	memcpy(n->level, level.data, level.len);
	if (n->next)
		n->next->link = &n->next;
	parent->children = n;
	if (is(n, '+'))
		parent->plus = n;
	if (is(n, '#'))
		parent->hash = n;
	put(t, (struct mqtt_slot){
		   .key = mqtt_tree_key(parent, mqtt_tree_hash(t, level)), .node = n });
	t->count++;
	t->bytes += bytes_of_node(n->len);
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
	take_out(t, n, mqtt_tree_key(n->parent, mqtt_tree_hash(t, bytes_of(n->level, n->len))));
	*n->link = n->next;
	if (n->next)
		n->next->link = n->link;
	if (n->parent->plus == n)
		n->parent->plus = NULL;
	if (n->parent->hash == n)
		n->parent->hash = NULL;
	t->count--;
	t->bytes -= bytes_of_node(n->len);
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
	if (t->table_size > TABLE_MIN && t->count < t->table_size / 16)
		resize(t, t->table_size / 4);
}
