/* expr_lex.h - text of an expression -> tokens */
#ifndef ROOST_EXPR_LEX_H
#define ROOST_EXPR_LEX_H

#include <stdarg.h>

#include "expr_ast.h"

enum token_kind {
	TOKEN_END, TOKEN_NUMBER, TOKEN_STRING, TOKEN_NAME, TOKEN_QUOTED_NAME,
	TOKEN_AND, TOKEN_OR, TOKEN_NOT, TOKEN_IN, TOKEN_TRUE, TOKEN_FALSE,
	TOKEN_PLUS, TOKEN_MINUS, TOKEN_STAR, TOKEN_SLASH, TOKEN_PERCENT,
	TOKEN_COMPARE, TOKEN_COALESCE, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_LIST_OPEN, TOKEN_LIST_CLOSE, TOKEN_COMMA,
};

struct token {
	enum token_kind kind;
	size_t at;
	struct bytes text;	/* NAME, QUOTED_NAME, STRING: content; else as written */
	double n;		/* NUMBER; a duration in seconds */
	uint8_t mask;		/* COMPARE */
};

struct lexer {
	struct bytes text;
	size_t at;
	struct ast *ast;	/* holds the contents of string literals */
	struct expr_error *err;
};

/* 0 or ERR_MALFORMED with err filled. */
int lex_next(struct lexer *lex, struct token *ret_token);
int expr_fail(struct expr_error *err, int code, size_t at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
int expr_vfail(struct expr_error *err, int code, size_t at, const char *fmt, va_list args)
    __attribute__((format(printf, 4, 0)));

#endif
