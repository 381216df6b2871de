/* mqtt_tree.h - a tree of topic levels, for subscriptions and for retained messages; pure
 *
 * A node is found by (parent, level) in one hash table, so that adding, finding and removing a topic costs O(levels)
 * however many siblings there are. A node lives as long as it has a value or children. */
#ifndef ROOST_MQTT_TREE_H
#define ROOST_MQTT_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

#define MQTT_LEVELS_MAX 128	/* levels of a topic or filter; what walks the tree recurses this deep at most */

struct mqtt_node {
	struct mqtt_node *next;		/* siblings */
	struct mqtt_node **link;	/* what points to this one among them */
	struct mqtt_node *parent;	/* from here on: what matching looks at */
	struct mqtt_node *children;	/* all of them, + and # too */
	struct mqtt_node *plus;		/* the child named +, # */
	struct mqtt_node *hash;
	void *value;			/* the owner's; without any: only on the way to others */
	void *shared;			/* as well */
	uint16_t len;
	uint8_t level[];
};

/* Keys lie in the table itself, so that most of what is not there is found not to be there by one look at memory. */
struct mqtt_slot {
	uint64_t key;
	struct mqtt_node *node;		/* NULL: free */
};

struct mqtt_tree {
	struct mqtt_node *root;		/* of no level */
	struct mqtt_slot *table;
	size_t table_size;		/* a power of two, or 0 */
	size_t count;
	size_t bytes;			/* of the nodes and their share of the table: no more than that is in use */
};

void mqtt_tree_init(struct mqtt_tree *t);
/* Values must be gone. */
void mqtt_tree_fini(struct mqtt_tree *t);
/* The next level off the front of rest; false at the end. Start with rest.data not NULL. */
bool mqtt_level_next(struct bytes *rest, struct bytes *ret_level);
struct mqtt_node *mqtt_tree_child(const struct mqtt_tree *t, const struct mqtt_node *parent, struct bytes level);
/* The same in parts, for whoever looks for one level below several nodes at once and lets memory fetch what each needs
 * meanwhile: the hash of a level, with it the key of each child, then the slot, then the node. */
uint64_t mqtt_tree_hash(const struct mqtt_tree *t, struct bytes level);
uint64_t mqtt_tree_key(const struct mqtt_node *parent, uint64_t hash);
void mqtt_tree_fetch(const struct mqtt_tree *t, uint64_t key);
/* NULL: there is no such child. Else it is, unless 64 bits of two are the same: mqtt_node_is() tells. */
struct mqtt_node *mqtt_tree_guess(const struct mqtt_tree *t, uint64_t key);
bool mqtt_node_is(const struct mqtt_node *n, const struct mqtt_node *parent, struct bytes level);
/* NULL if there is none. */
struct mqtt_node *mqtt_tree_find(const struct mqtt_tree *t, struct bytes topic);
/* Made if it is not there; the caller gives it a value at once. */
struct mqtt_node *mqtt_tree_insert(struct mqtt_tree *t, struct bytes topic);
/* The value is gone: removes the node, and those above it, that nothing needs any more. */
void mqtt_tree_prune(struct mqtt_tree *t, struct mqtt_node *node);

#endif
