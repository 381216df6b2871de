/* expr_parse.c - tokens of an expression -> typed tree; pure
 *
 * Recursive descent, one function a level of the grammar in expr.h. Types are checked as the tree grows: a metric may
 * be anything (TYPE_ANY), everything else is known, and what cannot fit is an error at its operator. */
#include "expr_lex.h"

#include <stdio.h>
#include <string.h>

#include "err.h"
#include "expr_functions.h"
#include "mem.h"

struct parser {
	struct lexer lex;
	struct token token; /* the one that is looked at */
	struct ast *ast;
	struct expr_slots *slots;
	struct expr_error *err;
	unsigned depth;
};

static const char *
type_name(enum node_type type)
{
	switch (type) {
	case TYPE_ANY:
		return "a value";
	case TYPE_NUMBER:
		return "a number";
	case TYPE_BOOL:
		return "true or false";
	case TYPE_STRING:
		return "a string";
	}
	return "?";
}

static int
advance(struct parser *p)
{
	return lex_next(&p->lex, &p->token);
}

static int
unexpected(struct parser *p, const char *wanted)
{
	const struct token *t = &p->token;
	int len = (int)(t->text.len < 40 ? t->text.len : 40);

	if (t->kind == TOKEN_END)
		return expr_fail(p->err, ERR_MALFORMED, t->at,
		    "the expression ends where %s is expected", wanted);
	return expr_fail(p->err, ERR_MALFORMED, t->at, "unexpected \"%.*s\", %s is expected", len,
	    (const char *)t->text.data, wanted);
}

static int
new_node(
    struct parser *p, enum node_kind kind, enum node_type type, size_t at, struct node **ret_node)
{
	struct node *n;

	if (p->ast->count == EXPR_NODES_MAX)
		return expr_fail(p->err, ERR_TOO_BIG, at,
		    "the expression has more than %d parts; split the rule", EXPR_NODES_MAX);
	n = &p->ast->nodes[p->ast->count++];
	*n = (struct node){ .kind = kind, .type = type, .at = at };
	*ret_node = n;
	return 0;
}

static int
need(struct parser *p, const struct node *n, enum node_type type, size_t at, struct bytes op)
{
	if (n->type == type || n->type == TYPE_ANY)
		return 0;
	return expr_fail(p->err, ERR_MALFORMED, at, "\"%.*s\" needs %s, this is %s", (int)op.len,
	    (const char *)op.data, type_name(type), type_name(n->type));
}

static int parse_or(struct parser *p, struct node **ret_node);

static int
parse_function(struct parser *p, const struct token *name)
{
	const char *near = expr_function_near(name->text);
	int len = (int)name->text.len;

	if (near && bytes_equal_str(name->text, near))
		return expr_fail(p->err, ERR_UNSUPPORTED, name->at,
		    "%s() is not supported by this version: rules see the latest value of a metric",
		    near);
	if (near)
		return expr_fail(p->err, ERR_MALFORMED, name->at,
		    "unknown function \"%.*s\", did you mean \"%s\"?", len,
		    (const char *)name->text.data, near);
	return expr_fail(p->err, ERR_MALFORMED, name->at, "unknown function \"%.*s\"", len,
	    (const char *)name->text.data);
}

static int
parse_slot(struct parser *p, const struct token *name, struct node **ret_node)
{
	static const struct {
		const char *prefix;
		enum expr_source source;
	} spaces[] = { { "attr.", EXPR_ATTR }, { "tags.", EXPR_TAG } };
	enum expr_source source = EXPR_METRIC;
	struct bytes text = name->text;
	int err;

	for (size_t i = 0; i < COUNT_OF(spaces) && name->kind == TOKEN_NAME; i++) {
		size_t len = strlen(spaces[i].prefix);
		if (text.len > len && memcmp(text.data, spaces[i].prefix, len) == 0) {
			source = spaces[i].source;
			text = bytes_of(text.data + len, text.len - len);
			break;
		}
	}
	if (bytes_equal_str(text, "attr") || bytes_equal_str(text, "tags"))
		return expr_fail(p->err, ERR_MALFORMED, name->at, "write which one: %.*s.name",
		    (int)text.len, (const char *)text.data);
	if (text.len == 0 || text.len > EXPR_NAME_MAX)
		return expr_fail(
		    p->err, ERR_MALFORMED, name->at, "a name has 1 to %d bytes", EXPR_NAME_MAX);
	err =
	    new_node(p, NODE_SLOT, source == EXPR_TAG ? TYPE_STRING : TYPE_ANY, name->at, ret_node);
	if (err)
		return err;
	if (expr_slots_add(p->slots, source, text, true, &(*ret_node)->slot) != 0)
		return expr_fail(p->err, ERR_TOO_BIG, name->at,
		    "a rule may name %d metrics, this is one more", EXPR_SLOTS_MAX);
	return 0;
}

static int
parse_name(struct parser *p, struct node **ret_node)
{
	struct token name = p->token;
	int err = advance(p);

	if (err)
		return err;
	if (name.kind == TOKEN_NAME && p->token.kind == TOKEN_OPEN)
		return parse_function(p, &name);
	if (name.kind == TOKEN_NAME && bytes_equal_str(name.text, "device"))
		return new_node(p, NODE_DEVICE, TYPE_STRING, name.at, ret_node);
	if (name.kind == TOKEN_NAME && bytes_equal_str(name.text, "now"))
		return new_node(p, NODE_NOW, TYPE_NUMBER, name.at, ret_node);
	return parse_slot(p, &name, ret_node);
}

/* number, string, true, false */
static int
parse_literal(struct parser *p, struct node **ret_node)
{
	struct token t = p->token;
	struct node *n;
	int err;

	if (t.kind == TOKEN_NUMBER)
		err = new_node(p, NODE_NUMBER, TYPE_NUMBER, t.at, &n);
	else if (t.kind == TOKEN_STRING)
		err = new_node(p, NODE_STRING, TYPE_STRING, t.at, &n);
	else if (t.kind == TOKEN_TRUE || t.kind == TOKEN_FALSE)
		err = new_node(p, NODE_BOOL, TYPE_BOOL, t.at, &n);
	else
		return unexpected(p, "a number, a string, true or false");
	if (err)
		return err;
	n->n = t.n;
	n->s = t.text;
	n->b = t.kind == TOKEN_TRUE;
	*ret_node = n;
	return advance(p);
}

static int
parse_primary(struct parser *p, struct node **ret_node)
{
	int err;

	switch (p->token.kind) {
	case TOKEN_NUMBER:
	case TOKEN_STRING:
	case TOKEN_TRUE:
	case TOKEN_FALSE:
		return parse_literal(p, ret_node);
	case TOKEN_NAME:
	case TOKEN_QUOTED_NAME:
		return parse_name(p, ret_node);
	case TOKEN_OPEN:
		err = advance(p);
		if (err == 0)
			err = parse_or(p, ret_node);
		if (err)
			return err;
		if (p->token.kind != TOKEN_CLOSE)
			return unexpected(p, "\")\"");
		return advance(p);
	case TOKEN_END:
	case TOKEN_AND:
	case TOKEN_OR:
	case TOKEN_NOT:
	case TOKEN_IN:
	case TOKEN_PLUS:
	case TOKEN_MINUS:
	case TOKEN_STAR:
	case TOKEN_SLASH:
	case TOKEN_PERCENT:
	case TOKEN_COMPARE:
	case TOKEN_COALESCE:
	case TOKEN_CLOSE:
	case TOKEN_LIST_OPEN:
	case TOKEN_LIST_CLOSE:
	case TOKEN_COMMA:
		break;
	}
	return unexpected(p, "a metric or a value");
}

static int
parse_unary(struct parser *p, struct node **ret_node)
{
	struct token op = p->token;
	struct node *n;
	int err;

	if (op.kind != TOKEN_MINUS)
		return parse_primary(p, ret_node);
	if (++p->depth > EXPR_DEPTH_MAX)
		return expr_fail(p->err, ERR_TOO_BIG, op.at, "nested too deeply");
	err = advance(p);
	if (err == 0)
		err = parse_unary(p, &n);
	p->depth--;
	if (err == 0)
		err = need(p, n, TYPE_NUMBER, op.at, op.text);
	if (err)
		return err;
	if (n->kind == NODE_NUMBER) {
		n->n = -n->n;
		n->at = op.at;
		*ret_node = n;
		return 0;
	}
	err = new_node(p, NODE_NEGATE, TYPE_NUMBER, op.at, ret_node);
	if (err == 0)
		(*ret_node)->left = n;
	return err;
}

static bool
arithmetic(enum token_kind kind, bool product, enum node_kind *ret_kind)
{
	if (product && kind == TOKEN_STAR)
		*ret_kind = NODE_MULTIPLY;
	else if (product && kind == TOKEN_SLASH)
		*ret_kind = NODE_DIVIDE;
	else if (product && kind == TOKEN_PERCENT)
		*ret_kind = NODE_MODULO;
	else if (!product && kind == TOKEN_PLUS)
		*ret_kind = NODE_ADD;
	else if (!product && kind == TOKEN_MINUS)
		*ret_kind = NODE_SUBTRACT;
	else
		return false;
	return true;
}

static int
parse_product(struct parser *p, struct node **ret_node)
{
	struct node *left, *right, *n;
	enum node_kind kind;
	int err = parse_unary(p, &left);

	while (err == 0 && arithmetic(p->token.kind, true, &kind)) {
		struct token op = p->token;
		if ((err = advance(p)) || (err = parse_unary(p, &right)) ||
		    (err = need(p, left, TYPE_NUMBER, op.at, op.text)) ||
		    (err = need(p, right, TYPE_NUMBER, op.at, op.text)) ||
		    (err = new_node(p, kind, TYPE_NUMBER, op.at, &n)))
			return err;
		n->left = left;
		n->right = right;
		left = n;
	}
	if (err == 0)
		*ret_node = left;
	return err;
}

static int
parse_sum(struct parser *p, struct node **ret_node)
{
	struct node *left, *right, *n;
	enum node_kind kind;
	int err = parse_product(p, &left);

	while (err == 0 && arithmetic(p->token.kind, false, &kind)) {
		struct token op = p->token;
		if ((err = advance(p)) || (err = parse_product(p, &right)) ||
		    (err = need(p, left, TYPE_NUMBER, op.at, op.text)) ||
		    (err = need(p, right, TYPE_NUMBER, op.at, op.text)) ||
		    (err = new_node(p, kind, TYPE_NUMBER, op.at, &n)))
			return err;
		n->left = left;
		n->right = right;
		left = n;
	}
	if (err == 0)
		*ret_node = left;
	return err;
}

static int
parse_coalesce(struct parser *p, struct node **ret_node)
{
	struct node *left, *right, *n;
	struct token op;
	int err = parse_sum(p, &left);

	if (err)
		return err;
	if (p->token.kind != TOKEN_COALESCE) {
		*ret_node = left;
		return 0;
	}
	op = p->token;
	if (++p->depth > EXPR_DEPTH_MAX)
		return expr_fail(p->err, ERR_TOO_BIG, op.at, "nested too deeply");
	if ((err = advance(p)) || (err = parse_coalesce(p, &right)))
		return err;
	p->depth--;
	if (left->type != TYPE_ANY && right->type != TYPE_ANY && left->type != right->type)
		return expr_fail(p->err, ERR_MALFORMED, op.at,
		    "\"??\" needs two values of one kind, these are %s and %s",
		    type_name(left->type), type_name(right->type));
	err = new_node(
	    p, NODE_COALESCE, left->type == right->type ? left->type : TYPE_ANY, op.at, &n);
	if (err)
		return err;
	n->left = left;
	n->right = right;
	*ret_node = n;
	return 0;
}

static int
check_compare(
    struct parser *p, const struct token *op, const struct node *left, const struct node *right)
{
	bool order = op->mask != CMP_EQ && op->mask != CMP_NE;

	if (order && (left->type == TYPE_BOOL || right->type == TYPE_BOOL))
		return expr_fail(p->err, ERR_MALFORMED, op->at,
		    "\"%.*s\" needs an order, true and false have none; use == or !=",
		    (int)op->text.len, (const char *)op->text.data);
	if (left->type == TYPE_ANY || right->type == TYPE_ANY || left->type == right->type)
		return 0;
	return expr_fail(p->err, ERR_MALFORMED, op->at, "%s and %s are never comparable",
	    type_name(left->type), type_name(right->type));
}

/* After "in": [literal, ...] */
static int
parse_list(struct parser *p, struct node *in)
{
	struct node **link = &in->list, *item;
	int err;

	if (p->token.kind != TOKEN_LIST_OPEN)
		return unexpected(p, "\"[\"");
	do {
		bool minus = false;

		if ((err = advance(p)))
			return err;
		if (p->token.kind == TOKEN_MINUS) {
			minus = true;
			if ((err = advance(p)))
				return err;
			if (p->token.kind != TOKEN_NUMBER)
				return unexpected(p, "a number");
		}
		if ((err = parse_literal(p, &item)))
			return err;
		if (minus)
			item->n = -item->n;
		if (in->left->type != TYPE_ANY && in->left->type != item->type)
			return expr_fail(p->err, ERR_MALFORMED, item->at, "%s never equals %s",
			    type_name(in->left->type), type_name(item->type));
		*link = item;
		link = &item->next;
	} while (p->token.kind == TOKEN_COMMA);
	if (p->token.kind != TOKEN_LIST_CLOSE)
		return unexpected(p, "\",\" or \"]\"");
	return advance(p);
}

static int
parse_in(struct parser *p, struct node *left, struct node **ret_node)
{
	struct token op = p->token;
	bool negate = op.kind == TOKEN_NOT;
	struct node *n;
	int err;

	if (negate) {
		if ((err = advance(p)))
			return err;
		if (p->token.kind != TOKEN_IN)
			return unexpected(p, "\"in\"");
	}
	if ((err = advance(p)) || (err = new_node(p, NODE_IN, TYPE_BOOL, op.at, &n)))
		return err;
	n->left = left;
	if ((err = parse_list(p, n)))
		return err;
	*ret_node = n;
	if (!negate)
		return 0;
	err = new_node(p, NODE_NOT, TYPE_BOOL, op.at, ret_node);
	if (err == 0)
		(*ret_node)->left = n;
	return err;
}

static int
parse_comparison(struct parser *p, struct node **ret_node)
{
	struct node *left, *right, *n;
	struct token op;
	int err = parse_coalesce(p, &left);

	if (err)
		return err;
	op = p->token;
	if (op.kind == TOKEN_IN || op.kind == TOKEN_NOT)
		return parse_in(p, left, ret_node);
	if (op.kind != TOKEN_COMPARE) {
		*ret_node = left;
		return 0;
	}
	if ((err = advance(p)) || (err = parse_coalesce(p, &right)) ||
	    (err = check_compare(p, &op, left, right)) ||
	    (err = new_node(p, NODE_COMPARE, TYPE_BOOL, op.at, &n)))
		return err;
	n->mask = op.mask;
	n->left = left;
	n->right = right;
	*ret_node = n;
	if (p->token.kind == TOKEN_COMPARE)
		return expr_fail(p->err, ERR_MALFORMED, p->token.at,
		    "comparisons do not chain; write a < b and b < c");
	return 0;
}

static int
parse_not(struct parser *p, struct node **ret_node)
{
	struct token op = p->token;
	struct node *n;
	int err;

	if (op.kind != TOKEN_NOT)
		return parse_comparison(p, ret_node);
	if (++p->depth > EXPR_DEPTH_MAX)
		return expr_fail(p->err, ERR_TOO_BIG, op.at, "nested too deeply");
	if ((err = advance(p)) || (err = parse_not(p, &n)) ||
	    (err = need(p, n, TYPE_BOOL, op.at, op.text)))
		return err;
	p->depth--;
	err = new_node(p, NODE_NOT, TYPE_BOOL, op.at, ret_node);
	if (err == 0)
		(*ret_node)->left = n;
	return err;
}

static int
parse_and(struct parser *p, struct node **ret_node)
{
	struct node *left, *right, *n;
	int err = parse_not(p, &left);

	while (err == 0 && p->token.kind == TOKEN_AND) {
		struct token op = p->token;
		if ((err = advance(p)) || (err = parse_not(p, &right)) ||
		    (err = need(p, left, TYPE_BOOL, op.at, op.text)) ||
		    (err = need(p, right, TYPE_BOOL, op.at, op.text)) ||
		    (err = new_node(p, NODE_AND, TYPE_BOOL, op.at, &n)))
			return err;
		n->left = left;
		n->right = right;
		left = n;
	}
	if (err == 0)
		*ret_node = left;
	return err;
}

static int
parse_or(struct parser *p, struct node **ret_node)
{
	struct node *left, *right, *n;
	int err;

	if (++p->depth > EXPR_DEPTH_MAX)
		return expr_fail(p->err, ERR_TOO_BIG, p->token.at, "nested too deeply");
	err = parse_and(p, &left);
	while (err == 0 && p->token.kind == TOKEN_OR) {
		struct token op = p->token;
		if ((err = advance(p)) || (err = parse_and(p, &right)) ||
		    (err = need(p, left, TYPE_BOOL, op.at, op.text)) ||
		    (err = need(p, right, TYPE_BOOL, op.at, op.text)) ||
		    (err = new_node(p, NODE_OR, TYPE_BOOL, op.at, &n)))
			return err;
		n->left = left;
		n->right = right;
		left = n;
	}
	p->depth--;
	if (err == 0)
		*ret_node = left;
	return err;
}

int
ast_parse(struct bytes text, enum expr_want want, struct expr_slots *slots, struct ast *ast,
    struct expr_error *err)
{
	struct parser p = { .lex = { .text = text, .ast = ast, .err = err },
		.ast = ast,
		.slots = slots,
		.err = err };
	int rc;

	ast->count = 0;
	ast->strings_len = 0;
	if (text.len > EXPR_TEXT_MAX)
		return expr_fail(
		    err, ERR_TOO_BIG, 0, "the expression is longer than %d bytes", EXPR_TEXT_MAX);
	if ((rc = advance(&p)))
		return rc;
	if (p.token.kind == TOKEN_END)
		return expr_fail(err, ERR_MALFORMED, 0, "the expression is empty");
	if ((rc = parse_or(&p, &ast->root)))
		return rc;
	if (p.token.kind != TOKEN_END)
		return unexpected(&p, "an operator or the end");
	if (want == EXPR_WANT_CONDITION && ast->root->type != TYPE_BOOL &&
	    ast->root->type != TYPE_ANY)
		return expr_fail(err, ERR_MALFORMED, ast->root->at,
		    "a condition is true or false, this is %s", type_name(ast->root->type));
	return 0;
}
