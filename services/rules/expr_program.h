/* expr_program.h - the program of an expression, between expr_compile.c and expr_eval.c */
#ifndef ROOST_EXPR_PROGRAM_H
#define ROOST_EXPR_PROGRAM_H

#include "expr_ast.h"

enum op {
	OP_END,			/* the result is on the stack */
	OP_CONST,		/* push consts[arg] */
	OP_SLOT,		/* push the operand in slot */
	OP_DEVICE,
	OP_NOW,
	OP_NEGATE, OP_NOT,
	OP_ADD, OP_SUBTRACT, OP_MULTIPLY, OP_DIVIDE, OP_MODULO,
	OP_COMPARE,		/* by mask */
	OP_IN,			/* one of consts[arg .. arg + slot)? */
	OP_AND, OP_OR,		/* combine the two on top */
	OP_JUMP_FALSE,		/* to arg if the top is false; it stays */
	OP_JUMP_TRUE,
	OP_JUMP_KNOWN,		/* to arg if the top is not missing; else drop it */
	/* fused: operand in slot against number by mask */
	OP_COMPARE_NUMBER,	/* push */
	OP_COMPARE_JUMP_FALSE,	/* push, and to arg if false */
	OP_COMPARE_JUMP_TRUE,
	OP_COMPARE_AND,		/* combine with the top */
	OP_COMPARE_OR,
};

struct insn {
	uint8_t op;
	uint8_t mask;
	uint16_t slot;
	uint32_t arg;
	double number;
};

struct expr {
	/* A chain of comparisons of operands with numbers, joined by one kind of and/or, needs no machine. */
	struct expr_compare *chain;
	uint32_t chain_count;	/* 0: it is something else */
	bool chain_is_or;
	bool filtered;
	struct expr_compare filter;
	struct insn *insns;
	uint32_t insn_count;
	uint32_t const_count;
	struct expr_value *consts;
	uint8_t *strings;	/* what string constants point into */
	char *text;
	struct buf canonical;
};

#endif
