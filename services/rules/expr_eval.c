/* expr_eval.c - program x values -> value; pure */
#include <math.h>
#include <string.h>

#include "expr_program.h"

static const struct expr_value missing = { .kind = EXPR_MISSING };

static struct expr_value
number(double n)
{
	/* Infinities and NaN come from overflow and x / 0: there is no such measurement. */
	if (!isfinite(n))
		return missing;
	return (struct expr_value){ .kind = EXPR_NUMBER, .v = { .n = n } };
}

static struct expr_value
boolean(bool b)
{
	return (struct expr_value){ .kind = EXPR_BOOL, .v = { .b = b } };
}

/* The mask bit of where x stands to y: less 1, equal 2, greater 4. Neither is NaN. */
static unsigned
relation(double x, double y)
{
	return 1u << ((x > y) + (x >= y));
}

/* NOLINTBEGIN(clang-analyzer-core.UndefinedBinaryOperatorResult): expr_compile.c wrote the program, and counted that each
 * operation finds its operands on the stack. Clearing the stack first would cost more than most programs. */
static bool
as_number(const struct expr_value *v, double *ret_n)
{
	/* Many devices send a relay as 1 and its rule says == true, or the other way round. */
	if (v->kind == EXPR_NUMBER)
		*ret_n = v->v.n;
	else if (v->kind == EXPR_BOOL)
		*ret_n = v->v.b ? 1 : 0;
	else
		return false;
	return true;
}

static struct expr_value
compare(const struct expr_value *a, const struct expr_value *b, unsigned mask)
{
	double x, y;

	if (as_number(a, &x) && as_number(b, &y))
		return boolean((relation(x, y) & mask) != 0);
	if (a->kind == EXPR_STRING && b->kind == EXPR_STRING) {
		size_t n = a->v.s.len < b->v.s.len ? a->v.s.len : b->v.s.len;
		int order = n ? memcmp(a->v.s.data, b->v.s.data, n) : 0;

		x = order ? order : (double)a->v.s.len - (double)b->v.s.len;
		return boolean((relation(x, 0) & mask) != 0);
	}
	return missing;
}

static struct expr_value
compare_number(const struct expr_value *a, const struct insn *in)
{
	double x;

	if (a->kind == EXPR_NUMBER)
		return boolean((relation(a->v.n, in->number) & in->mask) != 0);
	if (as_number(a, &x))
		return boolean((relation(x, in->number) & in->mask) != 0);
	return missing;
}

static struct expr_value
arithmetic(enum op op, const struct expr_value *a, const struct expr_value *b)
{
	double x, y;

	if (a->kind != EXPR_NUMBER || b->kind != EXPR_NUMBER)
		return missing;
	x = a->v.n;
	y = b->v.n;
	if (op == OP_ADD)
		return number(x + y);
	if (op == OP_SUBTRACT)
		return number(x - y);
	if (op == OP_MULTIPLY)
		return number(x * y);
	if (y == 0)
		return missing;
	return number(op == OP_DIVIDE ? x / y : fmod(x, y));
}

static bool
is(const struct expr_value *v, bool b)
{
	return v->kind == EXPR_BOOL && v->v.b == b;
}

/* Kleene: decides is the value that decides alone, false for and, true for or. */
static struct expr_value
combine(const struct expr_value *a, const struct expr_value *b, bool decides)
{
	if (is(a, decides) || is(b, decides))
		return boolean(decides);
	if (a->kind != EXPR_BOOL || b->kind != EXPR_BOOL)
		return missing;
	return boolean(!decides);
}

static struct expr_value
one_of(const struct expr_value *a, const struct expr_value *list, unsigned n)
{
	struct expr_value equal;

	if (a->kind == EXPR_MISSING)
		return missing;
	for (unsigned i = 0; i < n; i++) {
		equal = compare(a, &list[i], CMP_EQ);
		if (is(&equal, true))
			return equal;
	}
	return boolean(false);
}

struct expr_value
expr_eval(const struct expr *e, const struct expr_input *in)
{
	struct expr_value stack[EXPR_STACK_MAX + 1], right;
	struct expr_value *top = stack;
	const struct insn *i = e->insns;

	stack[0] = missing; /* unused: an empty stack has a top */
	for (;; i++) {
		switch ((enum op)i->op) {
		case OP_END:
			return *top;
		case OP_CONST:
			*++top = e->consts[i->arg];
			break;
		case OP_SLOT:
			*++top = in->values[in->columns[i->slot]];
			break;
		case OP_DEVICE:
			*++top =
			    (struct expr_value){ .kind = EXPR_STRING, .v = { .s = in->device } };
			break;
		case OP_NOW:
			*++top = number((double)in->now_us / 1e6);
			break;
		case OP_NEGATE:
			*top = top->kind == EXPR_NUMBER ? number(-top->v.n) : missing;
			break;
		case OP_NOT:
			*top = top->kind == EXPR_BOOL ? boolean(!top->v.b) : missing;
			break;
		case OP_ADD:
		case OP_SUBTRACT:
		case OP_MULTIPLY:
		case OP_DIVIDE:
		case OP_MODULO:
			top--;
			*top = arithmetic((enum op)i->op, top, top + 1);
			break;
		case OP_COMPARE:
			top--;
			*top = compare(top, top + 1, i->mask);
			break;
		case OP_IN:
			*top = one_of(top, e->consts + i->arg, i->slot);
			break;
		case OP_AND:
		case OP_OR:
			top--;
			*top = combine(top, top + 1, i->op == OP_OR);
			break;
		case OP_JUMP_FALSE:
			if (is(top, false))
				i = e->insns + i->arg - 1;
			break;
		case OP_JUMP_TRUE:
			if (is(top, true))
				i = e->insns + i->arg - 1;
			break;
		case OP_JUMP_KNOWN:
			if (top->kind != EXPR_MISSING)
				i = e->insns + i->arg - 1;
			else
				top--;
			break;
		case OP_COMPARE_NUMBER:
			*++top = compare_number(&in->values[in->columns[i->slot]], i);
			break;
		case OP_COMPARE_JUMP_FALSE:
			*++top = compare_number(&in->values[in->columns[i->slot]], i);
			if (is(top, false))
				i = e->insns + i->arg - 1;
			break;
		case OP_COMPARE_JUMP_TRUE:
			*++top = compare_number(&in->values[in->columns[i->slot]], i);
			if (is(top, true))
				i = e->insns + i->arg - 1;
			break;
		case OP_COMPARE_AND:
		case OP_COMPARE_OR:
			right = compare_number(&in->values[in->columns[i->slot]], i);
			*top = combine(top, &right, i->op == OP_COMPARE_OR);
			break;
		}
	}
}

/* NOLINTEND(clang-analyzer-core.UndefinedBinaryOperatorResult) */

static enum expr_truth
chain_truth(const struct expr *e, const struct expr_input *in)
{
	enum expr_truth decides = e->chain_is_or ? TRUTH_TRUE : TRUTH_FALSE;
	enum expr_truth result = e->chain_is_or ? TRUTH_FALSE : TRUTH_TRUE;

	for (uint32_t i = 0; i < e->chain_count; i++) {
		const struct expr_compare *c = &e->chain[i];
		const struct expr_value *v = &in->values[in->columns[c->slot]];

		if (v->kind != EXPR_NUMBER && v->kind != EXPR_BOOL)
			result = TRUTH_MISSING;
		else if (expr_passes(v, c->number, c->mask) == e->chain_is_or)
			return decides;
	}
	return result;
}

enum expr_truth
expr_truth(const struct expr *e, const struct expr_input *in)
{
	struct expr_value v;

	if (e->chain_count)
		return chain_truth(e, in);
	v = expr_eval(e, in);
	if (v.kind != EXPR_BOOL)
		return TRUTH_MISSING;
	return v.v.b ? TRUTH_TRUE : TRUTH_FALSE;
}
