/* expr_parse.c - tokens of an expression -> typed tree; pure
 *
 * Recursive descent through the levels of the grammar in expr.h. Types are checked as the tree grows: a metric may be
 * anything (TYPE_ANY), everything else is known, and what cannot fit is an error at its operator. A function returns the
 * tree that it read, or NULL with the error in p->failed and p->err. */
#include "expr_lex.h"

#include <stdarg.h>
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
	int failed;
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

static bool
advance(struct parser *p)
{
	p->failed = lex_next(&p->lex, &p->token);
	return p->failed == 0;
}

static struct node *fail(struct parser *p, int code, size_t at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static struct node *
fail(struct parser *p, int code, size_t at, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	p->failed = expr_vfail(p->err, code, at, fmt, args);
	va_end(args);
	return NULL;
}

static struct node *
unexpected(struct parser *p, const char *wanted)
{
	const struct token *t = &p->token;
	int len = (int)(t->text.len < 40 ? t->text.len : 40);

	if (t->kind == TOKEN_END)
		return fail(
		    p, ERR_MALFORMED, t->at, "the expression ends where %s is expected", wanted);
	return fail(p, ERR_MALFORMED, t->at, "unexpected \"%.*s\", %s is expected", len,
	    (const char *)t->text.data, wanted);
}

static struct node *
new_node(struct parser *p, enum node_kind kind, enum node_type type, size_t at)
{
	struct node *n;

	if (p->ast->count == EXPR_NODES_MAX)
		return fail(p, ERR_TOO_BIG, at,
		    "the expression has more than %d parts; split the rule", EXPR_NODES_MAX);
	n = &p->ast->nodes[p->ast->count++];
	*n = (struct node){ .kind = kind, .type = type, .at = at };
	return n;
}

static struct node *
new_operation(struct parser *p, enum node_kind kind, enum node_type type, size_t at,
    struct node *left, struct node *right)
{
	struct node *n = new_node(p, kind, type, at);

	if (n) {
		n->left = left;
		n->right = right;
	}
	return n;
}

static bool
is_of(struct parser *p, const struct node *n, enum node_type type, const struct token *op)
{
	if (n->type == type || n->type == TYPE_ANY)
		return true;
	fail(p, ERR_MALFORMED, op->at, "\"%.*s\" needs %s, this is %s", (int)op->text.len,
	    (const char *)op->text.data, type_name(type), type_name(n->type));
	return false;
}

static bool
deeper(struct parser *p, size_t at)
{
	if (++p->depth <= EXPR_DEPTH_MAX)
		return true;
	fail(p, ERR_TOO_BIG, at, "nested too deeply");
	return false;
}

/* From the weakest binding to the strongest. */
enum level {
	LEVEL_OR,
	LEVEL_AND,
	LEVEL_NOT,
	LEVEL_COMPARISON,
	LEVEL_COALESCE,
	LEVEL_SUM,
	LEVEL_PRODUCT,
	LEVEL_UNARY,
};

static struct node *parse_level(struct parser *p, enum level level);

static struct node *
parse_function(struct parser *p, const struct token *name)
{
	const char *near = expr_function_near(name->text);
	int len = (int)name->text.len;
	const char *text = (const char *)name->text.data;

	if (near && bytes_equal_str(name->text, near))
		return fail(p, ERR_UNSUPPORTED, name->at,
		    "%s() is not supported by this version: rules see the latest "
		    "value of a metric",
		    near);
	if (near)
		return fail(p, ERR_MALFORMED, name->at,
		    "unknown function \"%.*s\", did you mean \"%s\"?", len, text, near);
	return fail(p, ERR_MALFORMED, name->at, "unknown function \"%.*s\"", len, text);
}

static struct node *
parse_slot(struct parser *p, const struct token *name)
{
	static const struct {
		const char *prefix;
		enum expr_source source;
	} spaces[] = { { "attr.", EXPR_ATTR }, { "tags.", EXPR_TAG } };
	enum expr_source source = EXPR_METRIC;
	struct bytes text = name->text;
	struct node *n;

	for (size_t i = 0; i < COUNT_OF(spaces) && name->kind == TOKEN_NAME; i++) {
		size_t len = strlen(spaces[i].prefix);
		if (text.len > len && memcmp(text.data, spaces[i].prefix, len) == 0) {
			source = spaces[i].source;
			text = bytes_of(text.data + len, text.len - len);
			break;
		}
	}
	if (bytes_equal_str(text, "attr") || bytes_equal_str(text, "tags"))
		return fail(p, ERR_MALFORMED, name->at, "write which one: %.*s.name", (int)text.len,
		    (const char *)text.data);
	if (text.len == 0 || text.len > EXPR_NAME_MAX)
		return fail(p, ERR_MALFORMED, name->at, "a name has 1 to %d bytes", EXPR_NAME_MAX);
	n = new_node(p, NODE_SLOT, source == EXPR_TAG ? TYPE_STRING : TYPE_ANY, name->at);
	if (n && expr_slots_add(p->slots, source, text, true, &n->slot) != 0)
		return fail(p, ERR_TOO_BIG, name->at,
		    "a rule may name %d metrics, this is one more", EXPR_SLOTS_MAX);
	return n;
}

static struct node *
parse_name(struct parser *p)
{
	struct token name = p->token;

	if (!advance(p))
		return NULL;
	if (name.kind == TOKEN_NAME && p->token.kind == TOKEN_OPEN)
		return parse_function(p, &name);
	if (name.kind == TOKEN_NAME && bytes_equal_str(name.text, "device"))
		return new_node(p, NODE_DEVICE, TYPE_STRING, name.at);
	if (name.kind == TOKEN_NAME && bytes_equal_str(name.text, "now"))
		return new_node(p, NODE_NOW, TYPE_NUMBER, name.at);
	return parse_slot(p, &name);
}

/* number, string, true, false */
static struct node *
parse_literal(struct parser *p)
{
	struct token t = p->token;
	struct node *n;

	if (t.kind == TOKEN_NUMBER)
		n = new_node(p, NODE_NUMBER, TYPE_NUMBER, t.at);
	else if (t.kind == TOKEN_STRING)
		n = new_node(p, NODE_STRING, TYPE_STRING, t.at);
	else if (t.kind == TOKEN_TRUE || t.kind == TOKEN_FALSE)
		n = new_node(p, NODE_BOOL, TYPE_BOOL, t.at);
	else
		return unexpected(p, "a number, a string, true or false");
	if (!n)
		return NULL;
	n->n = t.n;
	n->s = t.text;
	n->b = t.kind == TOKEN_TRUE;
	return advance(p) ? n : NULL;
}

static struct node *
parse_group(struct parser *p)
{
	struct node *n = advance(p) ? parse_level(p, LEVEL_OR) : NULL;

	if (!n)
		return NULL;
	if (p->token.kind != TOKEN_CLOSE)
		return unexpected(p, "\")\"");
	return advance(p) ? n : NULL;
}

static struct node *
parse_primary(struct parser *p)
{
	switch (p->token.kind) {
	case TOKEN_NUMBER:
	case TOKEN_STRING:
	case TOKEN_TRUE:
	case TOKEN_FALSE:
		return parse_literal(p);
	case TOKEN_NAME:
	case TOKEN_QUOTED_NAME:
		return parse_name(p);
	case TOKEN_OPEN:
		return parse_group(p);
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

static struct node *
parse_unary(struct parser *p)
{
	struct token op = p->token;
	struct node *n;

	if (op.kind != TOKEN_MINUS)
		return parse_primary(p);
	if (!deeper(p, op.at) || !advance(p))
		return NULL;
	n = parse_unary(p);
	p->depth--;
	if (!n || !is_of(p, n, TYPE_NUMBER, &op))
		return NULL;
	if (n->kind == NODE_NUMBER) {
		n->n = -n->n;
		n->at = op.at;
		return n;
	}
	return new_operation(p, NODE_NEGATE, TYPE_NUMBER, op.at, n, NULL);
}

static struct node *
parse_coalesce(struct parser *p)
{
	struct node *left = parse_level(p, LEVEL_SUM), *right;
	struct token op = p->token;

	if (!left || op.kind != TOKEN_COALESCE)
		return left;
	if (!deeper(p, op.at) || !advance(p))
		return NULL;
	right = parse_coalesce(p);
	p->depth--;
	if (!right)
		return NULL;
	if (left->type != TYPE_ANY && right->type != TYPE_ANY && left->type != right->type)
		return fail(p, ERR_MALFORMED, op.at,
		    "\"??\" needs two values of one kind, these are %s and %s",
		    type_name(left->type), type_name(right->type));
	return new_operation(p, NODE_COALESCE, left->type == right->type ? left->type : TYPE_ANY,
	    op.at, left, right);
}

static bool
are_comparable(
    struct parser *p, const struct token *op, const struct node *left, const struct node *right)
{
	bool order = op->mask != CMP_EQ && op->mask != CMP_NE;

	if (order && (left->type == TYPE_BOOL || right->type == TYPE_BOOL)) {
		fail(p, ERR_MALFORMED, op->at,
		    "\"%.*s\" needs an order, true and false have none; use == or !=",
		    (int)op->text.len, (const char *)op->text.data);
		return false;
	}
	if (left->type == TYPE_ANY || right->type == TYPE_ANY || left->type == right->type)
		return true;
	fail(p, ERR_MALFORMED, op->at, "%s and %s are never comparable", type_name(left->type),
	    type_name(right->type));
	return false;
}

static struct node *
parse_item(struct parser *p)
{
	bool minus = p->token.kind == TOKEN_MINUS;
	struct node *item;

	if (minus) {
		if (!advance(p))
			return NULL;
		if (p->token.kind != TOKEN_NUMBER)
			return unexpected(p, "a number");
	}
	item = parse_literal(p);
	if (item && minus)
		item->n = -item->n;
	return item;
}

/* After "in": [literal, ...]; returns in. */
static struct node *
parse_list(struct parser *p, struct node *in)
{
	struct node **link = &in->list, *item;

	if (p->token.kind != TOKEN_LIST_OPEN)
		return unexpected(p, "\"[\"");
	do {
		item = advance(p) ? parse_item(p) : NULL;
		if (!item)
			return NULL;
		if (in->left->type != TYPE_ANY && in->left->type != item->type)
			return fail(p, ERR_MALFORMED, item->at, "%s never equals %s",
			    type_name(in->left->type), type_name(item->type));
		*link = item;
		link = &item->next;
	} while (p->token.kind == TOKEN_COMMA);
	if (p->token.kind != TOKEN_LIST_CLOSE)
		return unexpected(p, "\",\" or \"]\"");
	return advance(p) ? in : NULL;
}

static struct node *
parse_in(struct parser *p, struct node *left)
{
	struct token op = p->token;
	bool negate = op.kind == TOKEN_NOT;
	struct node *n;

	if (negate) {
		if (!advance(p))
			return NULL;
		if (p->token.kind != TOKEN_IN)
			return unexpected(p, "\"in\"");
	}
	if (!advance(p))
		return NULL;
	n = new_operation(p, NODE_IN, TYPE_BOOL, op.at, left, NULL);
	n = n ? parse_list(p, n) : NULL;
	if (!n)
		return NULL;
	return negate ? new_operation(p, NODE_NOT, TYPE_BOOL, op.at, n, NULL) : n;
}

static struct node *
parse_comparison(struct parser *p)
{
	struct node *left = parse_level(p, LEVEL_COALESCE), *right, *n;
	struct token op = p->token;

	if (!left)
		return NULL;
	if (op.kind == TOKEN_IN || op.kind == TOKEN_NOT)
		return parse_in(p, left);
	if (op.kind != TOKEN_COMPARE)
		return left;
	right = advance(p) ? parse_level(p, LEVEL_COALESCE) : NULL;
	if (!right || !are_comparable(p, &op, left, right))
		return NULL;
	n = new_operation(p, NODE_COMPARE, TYPE_BOOL, op.at, left, right);
	if (!n)
		return NULL;
	n->mask = op.mask;
	if (p->token.kind == TOKEN_COMPARE)
		return fail(p, ERR_MALFORMED, p->token.at,
		    "comparisons do not chain; write a < b and b < c");
	return n;
}

static struct node *
parse_not(struct parser *p)
{
	struct token op = p->token;
	struct node *n;

	if (op.kind != TOKEN_NOT)
		return parse_level(p, LEVEL_COMPARISON);
	if (!deeper(p, op.at) || !advance(p))
		return NULL;
	n = parse_not(p);
	p->depth--;
	if (!n || !is_of(p, n, TYPE_BOOL, &op))
		return NULL;
	return new_operation(p, NODE_NOT, TYPE_BOOL, op.at, n, NULL);
}

/* A level is a chain of operators that bind from left to right, its operands the next level; or it has a function. */
static const struct {
	struct node *(*parse)(struct parser *p);
	enum node_type type; /* of the operands and of the result */
	struct {
		enum token_kind token; /* TOKEN_END behind the last one */
		enum node_kind node;
	} ops[4];
} levels[] = {
	[LEVEL_OR] = { .type = TYPE_BOOL, .ops = { { TOKEN_OR, NODE_OR } } },
	[LEVEL_AND] = { .type = TYPE_BOOL, .ops = { { TOKEN_AND, NODE_AND } } },
	[LEVEL_NOT] = { .parse = parse_not },
	[LEVEL_COMPARISON] = { .parse = parse_comparison },
	[LEVEL_COALESCE] = { .parse = parse_coalesce },
	[LEVEL_SUM] = { .type = TYPE_NUMBER,
	    .ops = { { TOKEN_PLUS, NODE_ADD }, { TOKEN_MINUS, NODE_SUBTRACT } } },
	[LEVEL_PRODUCT] = { .type = TYPE_NUMBER,
	    .ops = { { TOKEN_STAR, NODE_MULTIPLY }, { TOKEN_SLASH, NODE_DIVIDE },
		{ TOKEN_PERCENT, NODE_MODULO } } },
	[LEVEL_UNARY] = { .parse = parse_unary },
};

static bool
is_operator(const struct parser *p, enum level level, enum node_kind *ret_kind)
{
	for (size_t i = 0; levels[level].ops[i].token != TOKEN_END; i++) {
		if (levels[level].ops[i].token == p->token.kind) {
			*ret_kind = levels[level].ops[i].node;
			return true;
		}
	}
	return false;
}

static struct node *
parse_chain(struct parser *p, enum level level)
{
	enum node_type type = levels[level].type;
	struct node *left = parse_level(p, level + 1), *right;
	enum node_kind kind;

	while (left && is_operator(p, level, &kind)) {
		struct token op = p->token;

		right = advance(p) ? parse_level(p, level + 1) : NULL;
		if (!right || !is_of(p, left, type, &op) || !is_of(p, right, type, &op))
			return NULL;
		left = new_operation(p, kind, type, op.at, left, right);
	}
	return left;
}

static struct node *
parse_level(struct parser *p, enum level level)
{
	struct node *n;

	if (levels[level].parse)
		return levels[level].parse(p);
	if (level != LEVEL_OR)
		return parse_chain(p, level);
	/* Only a parenthesis comes back to here. */
	if (!deeper(p, p->token.at))
		return NULL;
	n = parse_chain(p, level);
	p->depth--;
	return n;
}

int
ast_parse(struct bytes text, enum expr_want want, struct expr_slots *slots, struct ast *ast,
    struct expr_error *err)
{
	struct parser p = { .lex = { .text = text, .ast = ast, .err = err },
		.ast = ast,
		.slots = slots,
		.err = err };

	ast->count = 0;
	ast->strings_len = 0;
	if (text.len > EXPR_TEXT_MAX)
		return expr_fail(
		    err, ERR_TOO_BIG, 0, "the expression is longer than %d bytes", EXPR_TEXT_MAX);
	if (!advance(&p))
		return p.failed;
	if (p.token.kind == TOKEN_END)
		return expr_fail(err, ERR_MALFORMED, 0, "the expression is empty");
	ast->root = parse_level(&p, LEVEL_OR);
	if (!ast->root)
		return p.failed;
	if (p.token.kind != TOKEN_END) {
		unexpected(&p, "an operator or the end");
		return p.failed;
	}
	if (want == EXPR_WANT_CONDITION && ast->root->type != TYPE_BOOL &&
	    ast->root->type != TYPE_ANY)
		return expr_fail(err, ERR_MALFORMED, ast->root->at,
		    "a condition is true or false, this is %s", type_name(ast->root->type));
	return 0;
}
