/* rule_index.h - the rules in force, found by what a reading brings; pure
 *
 * Names of metrics (and attributes and tags) that some rule uses are numbered: operands. An operand knows the rules
 * that a new value of it triggers, so a reading never meets a rule that does not name one of its metrics.
 *
 * Which of these mean a device, and where its values stand, is the same for all devices of one make: a shape is shared by the
 * devices that match the same patterns and have sent the same operands. A device keeps its values in the columns of its
 * shape; column 0 is always missing. Matching is done once per device, not per reading. */
#ifndef ROOST_RULE_INDEX_H
#define ROOST_RULE_INDEX_H

#include "rule.h"

#define OPERAND_NONE UINT32_MAX
#define SHAPE_COLUMNS_MAX 4096
#define SHAPE_RULES_MAX 4000000	/* of all shapes together: a bound of memory */

struct shape_rule {
	uint32_t rule;		/* number in the index */
	uint64_t mark;		/* the round in which it was looked at last */
	uint16_t *columns;	/* slot -> column */
};

/* A rule that a new value triggers. What filters it stands here, so that a reading that cannot make it true does not touch
 * the rule at all. */
struct shape_trigger {
	double number;
	uint32_t rule;		/* number in the index */
	uint32_t position;	/* in shape.rules */
	uint16_t column;	/* of the operand that filters */
	uint8_t mask;		/* 0: nothing filters */
};

struct shape_column {
	uint32_t operand;
	uint32_t trigger_count;
	struct shape_trigger *triggers;
};

struct shape {
	struct shape *next;		/* in its hash chain */
	uint64_t hash;
	unsigned refs;
	uint64_t *patterns;		/* bit set of those that match */
	uint32_t column_count;
	uint32_t rule_count;
	struct shape_column *columns;	/* 1.. by operand; 0 is nobody's */
	struct shape_rule *rules;	/* by number */
	uint16_t *column_pool;		/* behind shape_rule.columns */
	struct shape_trigger *trigger_pool;
};

struct rule_index;

/* Keeps references to the rules; no two may have one identity. */
struct rule_index *rule_index_new(struct rule *const *rules, size_t n);
void rule_index_free(struct rule_index **index);	/* after all its shapes were let go */
uint32_t rule_index_count(const struct rule_index *index);
const struct rule *rule_index_at(const struct rule_index *index, uint32_t rule);
/* Number of the rule with this identity; ERR_NOT_FOUND. */
int rule_index_find(const struct rule_index *index, uint64_t identity, uint32_t *ret_rule);

/* A number that no round of looking at rules had before, in any engine that uses this index. */
uint64_t rule_index_round(struct rule_index *index);

/* OPERAND_NONE: no rule names it. */
uint32_t rule_index_operand(const struct rule_index *index, enum expr_source source, struct bytes name);
const struct expr_slot *rule_index_operand_name(const struct rule_index *index, uint32_t operand);

/* The shape of a device that has sent these operands (ascending, no repeats); a reference the caller lets go. ERR_FULL. */
int shape_get(struct rule_index *index, struct bytes device, const uint32_t *operands, size_t n, struct shape **ret_shape);
void shape_put(struct rule_index *index, struct shape **shape);
/* 0 if the shape has no such column. */
uint16_t shape_column(const struct shape *s, uint32_t operand);
/* NULL if the rule is not in this shape. */
struct shape_rule *shape_find(const struct shape *s, uint32_t rule);

#endif
