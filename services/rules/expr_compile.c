/* expr_compile.c - typed tree -> program, and the operands of a rule; pure
 *
 * A stack program. A comparison of an operand with a number is one instruction; in a chain of and (or) it also combines
 * with the result so far and jumps to the chain's end when that is false (true), so that most rules are one or two
 * instructions for most readings. */
#include "expr_program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "expr_lex.h"
#include "mem.h"

struct compiler {
	struct insn insns[EXPR_NODES_MAX * 2 + 1];
	uint32_t count;
	struct expr_value consts[EXPR_NODES_MAX];
	uint32_t const_count;
	unsigned depth; /* of the stack, here */
	unsigned depth_max;
};

void
expr_slots_fini(struct expr_slots *slots)
{
	for (uint32_t i = 0; i < slots->count; i++)
		free(slots->at[i].name);
	free(slots->at);
	*slots = (struct expr_slots){ 0 };
}

int
expr_slots_add(struct expr_slots *slots, enum expr_source source, struct bytes name, bool trigger,
    uint32_t *ret_slot)
{
	struct expr_slot *s;

	for (uint32_t i = 0; i < slots->count; i++) {
		s = &slots->at[i];
		if (s->source == source && bytes_equal_str(name, s->name)) {
			s->trigger |= trigger;
			*ret_slot = i;
			return 0;
		}
	}
	if (slots->count == EXPR_SLOTS_MAX)
		return ERR_FULL;
	slots->at = xrealloc(slots->at, (slots->count + 1) * sizeof(slots->at[0]));
	s = &slots->at[slots->count];
	*s = (struct expr_slot){ .source = source, .trigger = trigger };
	s->name = xstrndup((const char *)name.data, name.len);
	*ret_slot = slots->count++;
	return 0;
}

static struct insn *
emit(struct compiler *c, enum op op, int grows)
{
	struct insn *i = &c->insns[c->count++];

	*i = (struct insn){ .op = (uint8_t)op };
	c->depth = (unsigned)((int)c->depth + grows);
	if (c->depth > c->depth_max)
		c->depth_max = c->depth;
	return i;
}

static uint32_t
add_const(struct compiler *c, const struct node *n)
{
	struct expr_value *v = &c->consts[c->const_count];

	if (n->kind == NODE_NUMBER)
		*v = (struct expr_value){ .kind = EXPR_NUMBER, .v = { .n = n->n } };
	else if (n->kind == NODE_BOOL)
		*v = (struct expr_value){ .kind = EXPR_BOOL, .v = { .b = n->b } };
	else
		*v = (struct expr_value){ .kind = EXPR_STRING, .v = { .s = n->s } };
	return c->const_count++;
}

/* operand < number, and number > operand, are one instruction. */
static bool
is_fused(const struct node *n, struct insn *ret_insn)
{
	const struct node *slot = n->left, *number = n->right;
	uint8_t mask = n->mask;

	if (n->kind != NODE_COMPARE)
		return false;
	if (slot->kind == NODE_NUMBER && number->kind == NODE_SLOT) {
		slot = n->right;
		number = n->left;
		mask = (uint8_t)((mask & CMP_EQ) | ((mask & CMP_LT) ? CMP_GT : 0) |
				 ((mask & CMP_GT) ? CMP_LT : 0));
	}
	if (slot->kind != NODE_SLOT || number->kind != NODE_NUMBER)
		return false;
	ret_insn->mask = mask;
	ret_insn->slot = (uint16_t)slot->slot;
	ret_insn->number = number->n;
	return true;
}

static void compile(struct compiler *c, const struct node *n);

/* left and/or right. The first operand may leave the chain early; the second combines with it. */
static void
compile_logic(struct compiler *c, const struct node *n)
{
	bool is_and = n->kind == NODE_AND;
	struct insn fused = { .op = 0 };
	uint32_t jump;

	if (is_fused(n->left, &fused)) {
		fused.op = is_and ? OP_COMPARE_JUMP_FALSE : OP_COMPARE_JUMP_TRUE;
		*emit(c, OP_END, 1) = fused;
	} else {
		compile(c, n->left);
		emit(c, is_and ? OP_JUMP_FALSE : OP_JUMP_TRUE, 0);
	}
	jump = c->count - 1;
	if (is_fused(n->right, &fused)) {
		fused.op = is_and ? OP_COMPARE_AND : OP_COMPARE_OR;
		*emit(c, OP_END, 0) = fused;
	} else {
		compile(c, n->right);
		emit(c, is_and ? OP_AND : OP_OR, -1);
	}
	c->insns[jump].arg = c->count;
}

static void
compile_in(struct compiler *c, const struct node *n)
{
	uint32_t first, count = 0;

	compile(c, n->left);
	first = c->const_count;
	for (const struct node *item = n->list; item; item = item->next) {
		add_const(c, item);
		count++;
	}
	struct insn *i = emit(c, OP_IN, 0);
	i->arg = first;
	i->slot = (uint16_t)count;
}

static const enum op binary_ops[] = {
	[NODE_ADD] = OP_ADD,
	[NODE_SUBTRACT] = OP_SUBTRACT,
	[NODE_MULTIPLY] = OP_MULTIPLY,
	[NODE_DIVIDE] = OP_DIVIDE,
	[NODE_MODULO] = OP_MODULO,
	[NODE_COMPARE] = OP_COMPARE,
};

static void
compile(struct compiler *c, const struct node *n)
{
	struct insn fused = { .op = OP_COMPARE_NUMBER };
	uint32_t jump;

	switch (n->kind) {
	case NODE_NUMBER:
	case NODE_STRING:
	case NODE_BOOL:
		emit(c, OP_CONST, 1)->arg = add_const(c, n);
		break;
	case NODE_SLOT:
		emit(c, OP_SLOT, 1)->slot = (uint16_t)n->slot;
		break;
	case NODE_DEVICE:
		emit(c, OP_DEVICE, 1);
		break;
	case NODE_NOW:
		emit(c, OP_NOW, 1);
		break;
	case NODE_NEGATE:
		compile(c, n->left);
		emit(c, OP_NEGATE, 0);
		break;
	case NODE_NOT:
		compile(c, n->left);
		emit(c, OP_NOT, 0);
		break;
	case NODE_COMPARE:
		if (is_fused(n, &fused)) {
			*emit(c, OP_END, 1) = fused;
			break;
		}
		__attribute__((fallthrough));
	case NODE_ADD:
	case NODE_SUBTRACT:
	case NODE_MULTIPLY:
	case NODE_DIVIDE:
	case NODE_MODULO:
		compile(c, n->left);
		compile(c, n->right);
		emit(c, binary_ops[n->kind], -1)->mask = n->mask;
		break;
	case NODE_IN:
		compile_in(c, n);
		break;
	case NODE_AND:
	case NODE_OR:
		compile_logic(c, n);
		break;
	case NODE_COALESCE:
		compile(c, n->left);
		jump = c->count;
		emit(c, OP_JUMP_KNOWN, -1);
		compile(c, n->right);
		c->insns[jump].arg = c->count;
		break;
	}
}

/* The comparisons of a chain of n's kind; false if there is anything else in it. */
static bool
collect_chain(
    const struct node *n, enum node_kind kind, struct expr_compare *chain, uint32_t *count)
{
	struct insn fused = { .op = 0 };

	if (n->kind == kind)
		return collect_chain(n->left, kind, chain, count) &&
		       collect_chain(n->right, kind, chain, count);
	if (!is_fused(n, &fused))
		return false;
	chain[(*count)++] = (struct expr_compare){ fused.number, fused.slot, fused.mask };
	return true;
}

static void
find_chain(struct expr *e, const struct node *root)
{
	struct expr_compare chain[EXPR_NODES_MAX];
	enum node_kind kind = root->kind == NODE_OR ? NODE_OR : NODE_AND;
	const struct node *n = root;
	struct insn fused = { .op = 0 };
	uint32_t count = 0;

	if (collect_chain(root, kind, chain, &count)) {
		e->chain = xmemdup(chain, count * sizeof(chain[0]));
		e->chain_count = count;
		e->chain_is_or = kind == NODE_OR;
	}
	for (; n->kind == NODE_AND && !e->filtered; n = n->left) {
		if (is_fused(n->right, &fused))
			e->filtered = true;
	}
	/* the first of a chain filters as well as any */
	e->filtered |= is_fused(n, &fused);
	e->filter = (struct expr_compare){ fused.number, fused.slot, fused.mask };
}

bool
expr_filter(const struct expr *e, struct expr_compare *ret_compare)
{
	if (e->filtered)
		*ret_compare = e->filter;
	return e->filtered;
}

/* A jump that lands on a jump of the same kind goes on to where that one goes: the value on the stack is the same. */
static void
thread_jumps(struct compiler *c)
{
	for (uint32_t i = c->count; i-- > 0;) {
		struct insn *in = &c->insns[i];
		enum op op = (enum op)in->op;

		if (op == OP_COMPARE_JUMP_FALSE)
			op = OP_JUMP_FALSE;
		else if (op == OP_COMPARE_JUMP_TRUE)
			op = OP_JUMP_TRUE;
		if ((op == OP_JUMP_FALSE || op == OP_JUMP_TRUE) && c->insns[in->arg].op == op)
			in->arg = c->insns[in->arg].arg;
	}
}

static void
copy_strings(struct expr *e, const struct ast *ast)
{
	e->strings = xmemdup(ast->strings, ast->strings_len ? ast->strings_len : 1);
	for (uint32_t i = 0; i < e->const_count; i++) {
		struct expr_value *v = &e->consts[i];
		if (v->kind == EXPR_STRING)
			v->v.s.data = e->strings + (v->v.s.data - ast->strings);
	}
}

/* Canonical text: names instead of slots, whose numbers depend on the order of the rule's text. */
static void
write_node(const struct node *n, const struct expr_slots *slots, struct buf *out)
{
	static const char *const ops[] = {
		[NODE_ADD] = "+",
		[NODE_SUBTRACT] = "-",
		[NODE_MULTIPLY] = "*",
		[NODE_DIVIDE] = "/",
		[NODE_MODULO] = "%",
		[NODE_IN] = "in",
		[NODE_AND] = "and",
		[NODE_OR] = "or",
		[NODE_COALESCE] = "??",
		[NODE_NEGATE] = "neg",
		[NODE_NOT] = "not",
	};
	static const char *const compare[] = { "", "<", "==", "<=", ">", "!=", ">=" };

	switch (n->kind) {
	case NODE_NUMBER:
		buf_addf(out, "%.17g", n->n);
		return;
	case NODE_STRING:
		buf_addf(out, "%zu\"", n->s.len);
		buf_add(out, n->s.data, n->s.len);
		return;
	case NODE_BOOL:
		buf_add_str(out, n->b ? "true" : "false");
		return;
	case NODE_SLOT:
		buf_addf(out, "%d:%zu:%s", (int)slots->at[n->slot].source,
		    strlen(slots->at[n->slot].name), slots->at[n->slot].name);
		return;
	case NODE_DEVICE:
		buf_add_str(out, "device");
		return;
	case NODE_NOW:
		buf_add_str(out, "now");
		return;
	case NODE_NEGATE:
	case NODE_NOT:
	case NODE_ADD:
	case NODE_SUBTRACT:
	case NODE_MULTIPLY:
	case NODE_DIVIDE:
	case NODE_MODULO:
	case NODE_COMPARE:
	case NODE_IN:
	case NODE_AND:
	case NODE_OR:
	case NODE_COALESCE:
		break;
	}
	buf_addf(out, "(%s ", n->kind == NODE_COMPARE ? compare[n->mask] : ops[n->kind]);
	write_node(n->left, slots, out);
	if (n->right) {
		buf_add_u8(out, ' ');
		write_node(n->right, slots, out);
	}
	for (const struct node *item = n->list; item; item = item->next) {
		buf_add_u8(out, ' ');
		write_node(item, slots, out);
	}
	buf_add_u8(out, ')');
}

struct expr *
ast_compile(struct bytes text, const struct ast *ast, const struct expr_slots *slots,
    struct expr_error *err)
{
	struct compiler *c = xcalloc(1, sizeof(*c));
	struct expr *e = NULL;

	compile(c, ast->root);
	emit(c, OP_END, 0);
	if (c->depth_max > EXPR_STACK_MAX) {
		expr_fail(err, ERR_TOO_BIG, ast->root->at, "nested too deeply");
		goto out;
	}
	thread_jumps(c);
	e = xcalloc(1, sizeof(*e));
	e->insns = xmemdup(c->insns, c->count * sizeof(c->insns[0]));
	e->insn_count = c->count;
	e->consts =
	    xmemdup(c->consts, (c->const_count ? c->const_count : 1) * sizeof(c->consts[0]));
	e->const_count = c->const_count;
	e->text = xstrndup((const char *)text.data, text.len);
	write_node(ast->root, slots, &e->canonical);
	find_chain(e, ast->root);
	copy_strings(e, ast);
out:
	free(c);
	return e;
}

int
expr_parse(struct bytes text, enum expr_want want, struct expr_slots *slots, struct expr **ret_expr,
    struct expr_error *err)
{
	struct ast *ast = xmalloc(sizeof(*ast));
	struct expr *e = NULL;
	int rc = ast_parse(text, want, slots, ast, err);

	if (rc == 0) {
		e = ast_compile(text, ast, slots, err);
		if (e == NULL)
			rc = ERR_TOO_BIG;
	}
	free(ast);
	if (rc == 0)
		*ret_expr = e;
	return rc;
}

void
expr_free(struct expr **e)
{
	if (*e == NULL)
		return;
	free((*e)->insns);
	free((*e)->chain);
	free((*e)->consts);
	free((*e)->strings);
	free((*e)->text);
	buf_fini(&(*e)->canonical);
	free(*e);
	*e = NULL;
}

struct bytes
expr_canonical(const struct expr *e)
{
	return buf_bytes(&e->canonical);
}

const char *
expr_text(const struct expr *e)
{
	return e->text;
}
