/* expr_ast.h - the tree between expr_parse.c and expr_compile.c */
#ifndef ROOST_EXPR_AST_H
#define ROOST_EXPR_AST_H

#include "expr.h"

enum node_kind {
	NODE_NUMBER, NODE_STRING, NODE_BOOL, NODE_SLOT, NODE_DEVICE, NODE_NOW,
	NODE_NEGATE, NODE_NOT,
	NODE_ADD, NODE_SUBTRACT, NODE_MULTIPLY, NODE_DIVIDE, NODE_MODULO,
	NODE_COMPARE, NODE_IN, NODE_AND, NODE_OR, NODE_COALESCE,
};

enum node_type { TYPE_ANY, TYPE_NUMBER, TYPE_BOOL, TYPE_STRING };

/* Compare masks: bit 0 accepts less, bit 1 equal, bit 2 greater. */
enum { CMP_LT = 1, CMP_EQ = 2, CMP_LE = 3, CMP_GT = 4, CMP_NE = 5, CMP_GE = 6 };

struct node {
	enum node_kind kind;
	enum node_type type;
	size_t at;		/* byte of the text, for errors */
	uint8_t mask;		/* NODE_COMPARE */
	bool b;
	double n;
	struct bytes s;		/* in ast.strings */
	uint32_t slot;
	struct node *left;	/* the only operand of unary ones */
	struct node *right;
	struct node *list;	/* NODE_IN: literals, linked by next */
	struct node *next;
};

struct ast {
	struct node nodes[EXPR_NODES_MAX];
	uint32_t count;
	struct node *root;
	uint8_t strings[EXPR_TEXT_MAX];	/* contents of string literals, escapes undone */
	size_t strings_len;
};

int ast_parse(struct bytes text, enum expr_want want, struct expr_slots *slots, struct ast *ast, struct expr_error *err);
struct expr *ast_compile(struct bytes text, const struct ast *ast, const struct expr_slots *slots, struct expr_error *err);

#endif
