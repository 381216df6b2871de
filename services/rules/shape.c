/* shape.c - what devices of one make share: the rules that mean them and the columns of their values; pure */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "err.h"
#include "glob.h"
#include "mem.h"
#include "rule_index_impl.h"

static size_t
pattern_words(const struct rule_index *x)
{
	return (x->pattern_count + 63) / 64 + 1;
}

static bool
has_bit(const uint64_t *bits, uint32_t i)
{
	return i == PATTERN_ALL || (bits[i / 64] >> (i % 64) & 1);
}

static bool
is_shape(const struct shape *s, uint64_t hash, const uint64_t *patterns, size_t words,
    const uint32_t *operands, size_t n)
{
	if (s->hash != hash || s->column_count != n + 1 ||
	    memcmp(s->patterns, patterns, words * sizeof(patterns[0])) != 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s->columns[i + 1].operand != operands[i])
			return false;
	}
	return true;
}

static int
by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The rules that mean the device and that one of its operands triggers, ascending; malloc'd. */
static uint32_t *
collect(struct rule_index *x, const uint64_t *patterns, const uint32_t *operands, size_t n,
    uint32_t *ret_count, size_t *ret_triggers, size_t *ret_slots)
{
	size_t cap = 0, triggers = 0, slots = 0;
	uint32_t *rules, count = 0;

	for (size_t i = 0; i < n; i++)
		cap += x->operands[operands[i]].rule_count;
	rules = xmalloc((cap ? cap : 1) * sizeof(rules[0]));
	for (size_t i = 0; i < n; i++) {
		const struct operand *o = &x->operands[operands[i]];
		for (uint32_t k = 0; k < o->rule_count; k++) {
			uint32_t r = o->rules[k];
			if (!has_bit(patterns, x->rules[r].pattern) ||
			    !has_bit(patterns, x->rules[r].own_pattern))
				continue;
			triggers++;
			if (x->seen[r])
				continue;
			x->seen[r] = 1;
			slots += x->rules[r].rule->slots.count;
			rules[count++] = r;
		}
	}
	qsort(rules, count, sizeof(rules[0]), by_number);
	*ret_count = count;
	*ret_triggers = triggers;
	*ret_slots = slots;
	return rules;
}

static void
fill_rules(struct rule_index *x, struct shape *s, const uint32_t *rules)
{
	uint16_t *columns = s->column_pool;

	for (uint32_t i = 0; i < s->rule_count; i++) {
		const struct indexed_rule *r = &x->rules[rules[i]];

		x->seen[rules[i]] = i + 1;
		s->rules[i] = (struct shape_rule){ .rule = rules[i], .columns = columns };
		for (uint32_t k = 0; k < r->rule->slots.count; k++)
			*columns++ = shape_column(s, r->operands[k]);
	}
}

static struct shape_trigger
trigger_of(const struct rule_index *x, const struct shape *s, uint32_t position)
{
	const struct shape_rule *sr = &s->rules[position];
	const struct rule *r = x->rules[sr->rule].rule;
	struct shape_trigger t = { .rule = sr->rule, .position = position };
	struct expr_compare filter;

	if (r->kind == RULE_THRESHOLD && expr_filter(r->when, &filter)) {
		t.number = filter.number;
		t.column = sr->columns[filter.slot];
		t.mask = filter.mask;
	}
	return t;
}

static void
fill_triggers(struct rule_index *x, struct shape *s)
{
	struct shape_trigger *at = s->trigger_pool;

	for (uint32_t c = 1; c < s->column_count; c++) {
		const struct operand *o = &x->operands[s->columns[c].operand];

		s->columns[c].triggers = at;
		for (uint32_t k = 0; k < o->rule_count; k++) {
			if (x->seen[o->rules[k]])
				*at++ = trigger_of(x, s, x->seen[o->rules[k]] - 1);
		}
		s->columns[c].trigger_count = (uint32_t)(at - s->columns[c].triggers);
	}
}

static void
shape_free(struct shape *s)
{
	free(s->patterns);
	free(s->columns);
	free(s->rules);
	free(s->column_pool);
	free(s->trigger_pool);
	free(s);
}

static int
make(struct rule_index *x, const uint64_t *patterns, const uint32_t *operands, size_t n,
    struct shape **ret_shape)
{
	size_t triggers, slots;
	uint32_t count, *rules = collect(x, patterns, operands, n, &count, &triggers, &slots);
	struct shape *s = NULL;
	int err = ERR_FULL;

	if (count <= SHAPE_RULES_MAX - x->shape_rules) {
		s = xcalloc(1, sizeof(*s));
		s->patterns = xmemdup(patterns, pattern_words(x) * sizeof(patterns[0]));
		s->column_count = (uint32_t)n + 1;
		s->rule_count = count;
		s->columns = xcalloc(n + 1, sizeof(s->columns[0]));
		s->columns[0].operand = OPERAND_NONE;
		for (size_t i = 0; i < n; i++)
			s->columns[i + 1].operand = operands[i];
		s->rules = xcalloc(count ? count : 1, sizeof(s->rules[0]));
		s->column_pool = xcalloc(slots ? slots : 1, sizeof(s->column_pool[0]));
		s->trigger_pool = xcalloc(triggers ? triggers : 1, sizeof(s->trigger_pool[0]));
		fill_rules(x, s, rules);
		fill_triggers(x, s);
		x->shape_rules += count;
		x->shape_count++;
		*ret_shape = s;
		err = 0;
	}
	for (uint32_t i = 0; i < count; i++)
		x->seen[rules[i]] = 0;
	free(rules);
	return err;
}

int
shape_get(struct rule_index *x, struct bytes device, const uint32_t *operands, size_t n,
    struct shape **ret_shape)
{
	size_t words = pattern_words(x);
	uint64_t *patterns, hash;
	struct shape *s;
	int err = 0;

	if (n >= SHAPE_COLUMNS_MAX)
		return ERR_FULL;
	patterns = xcalloc(words, sizeof(patterns[0]));
	for (uint32_t i = 0; i < x->pattern_count; i++) {
		if (glob_match_any(x->patterns[i].list, device))
			patterns[i / 64] |= 1ull << (i % 64);
	}
	hash = XXH3_64bits(patterns, words * sizeof(patterns[0]));
	hash = XXH3_64bits_withSeed(operands, n * sizeof(operands[0]), hash);
	for (s = x->shapes[hash & x->shape_mask]; s; s = s->next) {
		if (is_shape(s, hash, patterns, words, operands, n))
			break;
	}
	if (s == NULL && (err = make(x, patterns, operands, n, &s)) == 0) {
		s->hash = hash;
		s->next = x->shapes[hash & x->shape_mask];
		x->shapes[hash & x->shape_mask] = s;
	}
	if (err == 0) {
		s->refs++;
		*ret_shape = s;
	}
	free(patterns);
	return err;
}

void
shape_put(struct rule_index *x, struct shape **shape)
{
	struct shape *s = *shape, **link;

	*shape = NULL;
	if (s == NULL || --s->refs > 0)
		return;
	for (link = &x->shapes[s->hash & x->shape_mask]; *link != s;)
		link = &(*link)->next;
	*link = s->next;
	x->shape_count--;
	x->shape_rules -= s->rule_count;
	shape_free(s);
}

uint16_t
shape_column(const struct shape *s, uint32_t operand)
{
	uint32_t low = 1, high = s->column_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (s->columns[middle].operand < operand)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->column_count && s->columns[low].operand == operand ? (uint16_t)low : 0;
}

struct shape_rule *
shape_find(const struct shape *s, uint32_t rule)
{
	uint32_t low = 0, high = s->rule_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (s->rules[middle].rule < rule)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->rule_count && s->rules[low].rule == rule ? &s->rules[low] : NULL;
}
