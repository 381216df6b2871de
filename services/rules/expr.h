/* expr.h - the expressions of rules: text -> program, program x values -> value
 *
 *	or: and ("or" and)*               comparison: coalesce [(< <= > >= == !=) coalesce | ["not"] in "[" literals "]"]
 *	and: not ("and" not)*             coalesce: sum ("??" coalesce)
 *	not: "not" not | comparison       sum: product (("+" | "-") product)*    product: unary (("*" | "/" | "%") unary)*
 *	unary: "-" unary | primary        primary: number | duration | string | true | false | name | "(" or ")"
 *
 * A name is a metric (its latest value for the device), attr.x, tags.x, device or now (seconds since the Unix epoch); a
 * metric whose name is no identifier stands in `backticks`. A duration (90s, 1h30m) is a number of seconds.
 *
 * Missing is missing: an operation on a missing operand, on operands of the wrong kinds, a division by zero and a result
 * that is not finite are missing; missing is not true and never becomes 0 or "". and, or and not are Kleene's: false and
 * missing is false, true or missing is true.
 *
 * Operands live in slots: the program names slot 0..n-1, the rule says what each is, and whoever evaluates says in which
 * column of the device's values it stands. A window or any other computed operand is a further kind of slot. */
#ifndef ROOST_EXPR_H
#define ROOST_EXPR_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

#define EXPR_TEXT_MAX 4096	/* bytes of one expression */
#define EXPR_NODES_MAX 512
#define EXPR_DEPTH_MAX 48	/* nesting of the text */
#define EXPR_STACK_MAX 64	/* values of the program's stack */
#define EXPR_SLOTS_MAX 64	/* operands of one rule */
#define EXPR_STRING_MAX 1024	/* a longer string value is missing to rules */
#define EXPR_NAME_MAX 128

enum expr_kind { EXPR_MISSING, EXPR_NUMBER, EXPR_BOOL, EXPR_STRING };

struct expr_value {
	enum expr_kind kind;
	union {
		double n;
		bool b;
		struct bytes s;		/* borrowed */
	} v;
};

enum expr_source { EXPR_METRIC, EXPR_ATTR, EXPR_TAG };

struct expr_slot {
	enum expr_source source;
	char *name;		/* without "attr." or "tags." */
	bool trigger;		/* a new value of it makes the rule be evaluated */
};

/* The operands of all the expressions of one rule. */
struct expr_slots {
	struct expr_slot *at;
	uint32_t count;		/* at most EXPR_SLOTS_MAX */
};

void expr_slots_fini(struct expr_slots *slots);
/* Finds or adds; trigger is only ever switched on. 0; ERR_FULL. */
int expr_slots_add(struct expr_slots *slots, enum expr_source source, struct bytes name, bool trigger, uint32_t *ret_slot);

struct expr_error {
	size_t at;		/* byte of the text */
	char text[240];		/* a sentence without its place */
};

enum expr_want { EXPR_WANT_CONDITION, EXPR_WANT_VALUE };

struct expr;

/* Adds the names it meets to slots (as triggers). 0; ERR_MALFORMED, ERR_UNSUPPORTED, ERR_TOO_BIG with err filled. */
int expr_parse(struct bytes text, enum expr_want want, struct expr_slots *slots, struct expr **ret_expr, struct expr_error *err);
void expr_free(struct expr **e);

struct expr_input {
	const struct expr_value *values;	/* the device's columns */
	const uint16_t *columns;		/* slot -> column; the column of an unknown operand holds a missing value */
	struct bytes device;
	int64_t now_us;
};

/* A string in the result borrows from the input or from e. */
struct expr_value expr_eval(const struct expr *e, const struct expr_input *in);

enum expr_truth { TRUTH_FALSE, TRUTH_TRUE, TRUTH_MISSING };

enum expr_truth expr_truth(const struct expr *e, const struct expr_input *in);

/* One comparison of an operand with a number. */
struct expr_compare {
	double number;
	uint16_t slot;
	uint8_t mask;	/* bits: 1 less, 2 equal, 4 greater */
};

/* A comparison that is true whenever the whole is: where it is not, the rest need not be looked at. False: there is none. */
bool expr_filter(const struct expr *e, struct expr_compare *ret_compare);

/* True, not missing: the comparison of v with number. */
static inline bool
expr_passes(const struct expr_value *v, double number, unsigned mask)
{
	double x;

	if (v->kind == EXPR_NUMBER)
		x = v->v.n;
	else if (v->kind == EXPR_BOOL)
		x = v->v.b;
	else
		return false;
	return 1u << ((x > number) + (x >= number)) & mask;
}

/* The expression fully parenthesised and spelled one way: equal texts mean the same. Borrowed from e. */
struct bytes expr_canonical(const struct expr *e);
/* The text it was parsed from. */
const char *expr_text(const struct expr *e);

#endif
