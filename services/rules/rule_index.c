/* rule_index.c - the rules in force, found by what a reading brings; pure */
#include "rule_index.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "err.h"
#include "mem.h"
#include "rule_index_impl.h"

struct rule_index *
rule_index_new(struct rule *const *rules, size_t n)
{
	struct rule_index *x = xcalloc(1, sizeof(*x));

	x->rule_count = (uint32_t)n;
	x->rules = xcalloc(n ? n : 1, sizeof(x->rules[0]));
	x->seen = xcalloc(n ? n : 1, sizeof(x->seen[0]));
	x->identity_mask = x->operand_mask = x->pattern_mask = 15;
	while (x->identity_mask < n * 2)
		x->identity_mask = x->identity_mask * 2 + 1;
	x->identities = xcalloc(x->identity_mask + 1, sizeof(x->identities[0]));
	x->operand_table = xcalloc(x->operand_mask + 1, sizeof(x->operand_table[0]));
	x->pattern_table = xcalloc(x->pattern_mask + 1, sizeof(x->pattern_table[0]));
	for (size_t i = 0; i < n; i++)
		rule_index_add(x, (uint32_t)i, rule_ref(rules[i]));
	x->shape_mask = 255;
	x->shapes = xcalloc(x->shape_mask + 1, sizeof(struct shape *));
	return x;
}

void
rule_index_free(struct rule_index **index)
{
	struct rule_index *x = *index;

	*index = NULL;
	if (x == NULL)
		return;
	ASSERT(x->shape_count == 0);
	for (uint32_t i = 0; i < x->rule_count; i++) {
		rule_unref(&x->rules[i].rule);
		free(x->rules[i].operands);
	}
	for (uint32_t i = 0; i < x->operand_count; i++)
		free(x->operands[i].rules);
	free(x->rules);
	free(x->seen);
	free(x->identities);
	free(x->operands);
	free(x->operand_table);
	free(x->patterns);
	free(x->pattern_table);
	free(x->shapes);
	free(x);
}

uint32_t
rule_index_count(const struct rule_index *x)
{
	return x->rule_count;
}

const struct rule *
rule_index_at(const struct rule_index *x, uint32_t rule)
{
	return x->rules[rule].rule;
}

uint64_t
rule_index_round(struct rule_index *x)
{
	return ++x->round;
}

int
rule_index_find(const struct rule_index *x, uint64_t identity, uint32_t *ret_rule)
{
	for (size_t i = identity & x->identity_mask; x->identities[i];
	     i = (i + 1) & x->identity_mask) {
		uint32_t rule = x->identities[i] - 1;
		if (x->rules[rule].rule->identity == identity) {
			*ret_rule = rule;
			return 0;
		}
	}
	return ERR_NOT_FOUND;
}

static uint64_t
operand_hash(enum expr_source source, struct bytes name)
{
	return XXH3_64bits_withSeed(name.data, name.len, (uint64_t)source);
}

uint32_t
rule_index_operand(const struct rule_index *x, enum expr_source source, struct bytes name)
{
	uint64_t hash = operand_hash(source, name);

	for (size_t i = hash & x->operand_mask; x->operand_table[i];
	     i = (i + 1) & x->operand_mask) {
		const struct operand *o = &x->operands[x->operand_table[i] - 1];
		if (o->hash == hash && o->slot->source == source &&
		    bytes_equal_str(name, o->slot->name))
			return x->operand_table[i] - 1;
	}
	return OPERAND_NONE;
}

const struct expr_slot *
rule_index_operand_name(const struct rule_index *x, uint32_t operand)
{
	return x->operands[operand].slot;
}

/* Open addressing tables hold numbers + 1 and stay at most half full. */
static void
grow_operands(struct rule_index *x)
{
	if (x->operand_count % 64 == 0)
		x->operands =
		    xrealloc(x->operands, ((size_t)x->operand_count + 64) * sizeof(x->operands[0]));
	if (x->operand_count <= x->operand_mask / 2)
		return;
	free(x->operand_table);
	x->operand_mask = x->operand_mask * 2 + 1;
	x->operand_table = xcalloc(x->operand_mask + 1, sizeof(x->operand_table[0]));
	for (uint32_t o = 0; o < x->operand_count; o++) {
		size_t i = x->operands[o].hash & x->operand_mask;
		while (x->operand_table[i])
			i = (i + 1) & x->operand_mask;
		x->operand_table[i] = o + 1;
	}
}

static uint32_t
intern_operand(struct rule_index *x, const struct expr_slot *slot)
{
	struct bytes name = bytes_of_str(slot->name);
	uint32_t o = rule_index_operand(x, slot->source, name);
	size_t i;

	if (o != OPERAND_NONE)
		return o;
	grow_operands(x);
	o = x->operand_count++;
	x->operands[o] = (struct operand){ .slot = slot, .hash = operand_hash(slot->source, name) };
	for (i = x->operands[o].hash & x->operand_mask; x->operand_table[i];)
		i = (i + 1) & x->operand_mask;
	x->operand_table[i] = o + 1;
	return o;
}

static void
grow_patterns(struct rule_index *x)
{
	if (x->pattern_count % 64 == 0)
		x->patterns =
		    xrealloc(x->patterns, ((size_t)x->pattern_count + 64) * sizeof(x->patterns[0]));
	if (x->pattern_count <= x->pattern_mask / 2)
		return;
	free(x->pattern_table);
	x->pattern_mask = x->pattern_mask * 2 + 1;
	x->pattern_table = xcalloc(x->pattern_mask + 1, sizeof(x->pattern_table[0]));
	for (uint32_t p = 0; p < x->pattern_count; p++) {
		size_t i = x->patterns[p].hash & x->pattern_mask;
		while (x->pattern_table[i])
			i = (i + 1) & x->pattern_mask;
		x->pattern_table[i] = p + 1;
	}
}

static uint32_t
intern_pattern(struct rule_index *x, const char *list)
{
	uint64_t hash;
	size_t i;

	if (list == NULL)
		return PATTERN_ALL;
	hash = XXH3_64bits(list, strlen(list));
	for (i = hash & x->pattern_mask; x->pattern_table[i]; i = (i + 1) & x->pattern_mask) {
		if (strcmp(x->patterns[x->pattern_table[i] - 1].list, list) == 0)
			return x->pattern_table[i] - 1;
	}
	grow_patterns(x);
	x->patterns[x->pattern_count] = (struct pattern){ .list = list, .hash = hash };
	for (i = hash & x->pattern_mask; x->pattern_table[i];)
		i = (i + 1) & x->pattern_mask;
	x->pattern_table[i] = ++x->pattern_count;
	return x->pattern_count - 1;
}

void
rule_index_add(struct rule_index *x, uint32_t number, struct rule *rule)
{
	struct indexed_rule *r = &x->rules[number];
	size_t i = rule->identity & x->identity_mask;

	r->rule = rule;
	r->pattern = intern_pattern(x, rule->match);
	r->own_pattern = intern_pattern(x, rule->own_match);
	r->operands = xcalloc(rule->slots.count ? rule->slots.count : 1, sizeof(r->operands[0]));
	for (; x->identities[i]; i = (i + 1) & x->identity_mask)
		ASSERT(x->rules[x->identities[i] - 1].rule->identity != rule->identity);
	x->identities[i] = number + 1;
	for (uint32_t s = 0; s < rule->slots.count; s++) {
		struct operand *o;

		r->operands[s] = intern_operand(x, &rule->slots.at[s]);
		o = &x->operands[r->operands[s]];
		if (!rule->slots.at[s].trigger)
			continue;
		if (o->rule_count == o->rule_cap) {
			o->rule_cap = o->rule_cap ? o->rule_cap * 2 : 4;
			o->rules = xrealloc(o->rules, o->rule_cap * sizeof(o->rules[0]));
		}
		o->rules[o->rule_count++] = number;
	}
}
