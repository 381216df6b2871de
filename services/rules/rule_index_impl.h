/* rule_index_impl.h - what rule_index.c and shape.c share */
#ifndef ROOST_RULE_INDEX_IMPL_H
#define ROOST_RULE_INDEX_IMPL_H

#include "rule_index.h"

#define PATTERN_ALL UINT32_MAX	/* every device */

struct indexed_rule {
	struct rule *rule;
	uint32_t pattern;
	uint32_t own_pattern;
	uint32_t *operands;	/* by slot */
};

struct operand {
	const struct expr_slot *slot;	/* some rule's */
	uint64_t hash;
	uint32_t *rules;		/* triggered by it */
	uint32_t rule_count;
	uint32_t rule_cap;
};

struct pattern {
	const char *list;	/* some rule's */
	uint64_t hash;
};

struct rule_index {
	struct indexed_rule *rules;
	uint32_t rule_count;
	uint32_t *identities;
	size_t identity_mask;
	struct operand *operands;
	uint32_t operand_count;
	uint32_t *operand_table;
	size_t operand_mask;
	struct pattern *patterns;
	uint32_t pattern_count;
	uint32_t *pattern_table;
	size_t pattern_mask;
	uint32_t *seen;		/* while a shape is made: position in it + 1, by rule */

	uint64_t round;

	struct shape **shapes;
	size_t shape_mask;
	size_t shape_count;
	size_t shape_rules;	/* of all shapes */
};

void rule_index_add(struct rule_index *x, uint32_t number, struct rule *rule);

#endif
