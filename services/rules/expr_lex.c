/* expr_lex.c - text of an expression -> tokens; pure */
#include "expr_lex.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

int
expr_vfail(struct expr_error *err, int code, size_t at, const char *fmt, va_list args)
{
	err->at = at;
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	return code;
}

int
expr_fail(struct expr_error *err, int code, size_t at, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	expr_vfail(err, code, at, fmt, args);
	va_end(args);
	return code;
}

static bool
is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool
is_name_start(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool
is_name(int c)
{
	return is_name_start(c) || is_digit(c) || c == '.';
}

static int
peek(const struct lexer *lex, size_t ahead)
{
	return ahead < lex->text.len - lex->at ? lex->text.data[lex->at + ahead] : -1;
}

static const struct {
	const char *name;
	double seconds;
} units[] = { { "ms", 0.001 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 },
	{ "w", 604800 } };

/* The unit letters at the cursor; 0 if they are no unit. */
static double
unit_at(const struct lexer *lex, size_t len)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strlen(units[i].name) == len &&
		    memcmp(units[i].name, lex->text.data + lex->at, len) == 0)
			return units[i].seconds;
	}
	return 0;
}

static int
lex_digits(struct lexer *lex, double *ret_n)
{
	char digits[64];
	size_t start = lex->at, len;
	char *end;

	while (is_digit(peek(lex, 0)))
		lex->at++;
	if (peek(lex, 0) == '.' && is_digit(peek(lex, 1))) {
		lex->at++;
		while (is_digit(peek(lex, 0)))
			lex->at++;
	}
	int sign = peek(lex, 1) == '+' || peek(lex, 1) == '-';
	if ((peek(lex, 0) == 'e' || peek(lex, 0) == 'E') && is_digit(peek(lex, (size_t)sign + 1))) {
		lex->at += (size_t)sign + 2;
		while (is_digit(peek(lex, 0)))
			lex->at++;
	}
	len = lex->at - start;
	if (len >= sizeof(digits))
		return expr_fail(lex->err, ERR_MALFORMED, start, "this number has too many digits");
	memcpy(digits, lex->text.data + start, len);
	digits[len] = '\0';
	*ret_n = strtod(digits, &end);
	if (*end != '\0' || !isfinite(*ret_n))
		return expr_fail(lex->err, ERR_MALFORMED, start, "%s is no usable number", digits);
	return 0;
}

/* A number, or a duration as a number of seconds: 90s, 1h30m. */
static int
lex_number(struct lexer *lex, struct token *t)
{
	double total = 0, part = 0;
	bool duration = false;

	do {
		int err = lex_digits(lex, &part);
		if (err)
			return err;
		size_t letters = 0;
		while (is_name_start(peek(lex, letters)))
			letters++;
		if (letters == 0 && !duration) {
			total = part;
			break;
		}
		double unit = unit_at(lex, letters);
		if (letters == 0)
			return expr_fail(lex->err, ERR_MALFORMED, lex->at,
			    "a unit is missing here; durations are written like 1h30m");
		if (unit <= 0)
			return expr_fail(lex->err, ERR_MALFORMED, lex->at,
			    "\"%.*s\" is no unit of time; durations are written like 90s, 10m, 2h "
			    "or 7d",
			    (int)(letters < 32 ? letters : 32),
			    (const char *)lex->text.data + lex->at);
		total += part * unit;
		lex->at += letters;
		duration = true;
	} while (is_digit(peek(lex, 0)));
	t->kind = TOKEN_NUMBER;
	t->n = total;
	return 0;
}

static int
lex_quoted(struct lexer *lex, struct token *t, int quote)
{
	struct ast *ast = lex->ast;
	size_t start = ast->strings_len;

	for (lex->at++;; lex->at++) {
		int c = peek(lex, 0);
		if (c < 0)
			return expr_fail(lex->err, ERR_MALFORMED, t->at,
			    "this %s has no closing %c", quote == '`' ? "name" : "string", quote);
		if (c == quote)
			break;
		if (c == '\\' && quote != '`') {
			lex->at++;
			c = peek(lex, 0);
			if (c == 'n')
				c = '\n';
			else if (c == 't')
				c = '\t';
			else if (c != '\\' && c != '"' && c != '\'')
				return expr_fail(lex->err, ERR_MALFORMED, lex->at - 1,
				    "unknown escape; \\\\ \\\" \\' \\n and \\t are known");
		}
		ast->strings[ast->strings_len++] = (uint8_t)c; /* never longer than the text */
	}
	lex->at++;
	t->kind = quote == '`' ? TOKEN_QUOTED_NAME : TOKEN_STRING;
	t->text = bytes_of(ast->strings + start, ast->strings_len - start);
	return 0;
}

static const struct {
	const char *word;
	enum token_kind kind;
} words[] = {
	{ "and", TOKEN_AND },
	{ "or", TOKEN_OR },
	{ "not", TOKEN_NOT },
	{ "in", TOKEN_IN },
	{ "true", TOKEN_TRUE },
	{ "false", TOKEN_FALSE },
};

static int
lex_word(struct lexer *lex, struct token *t)
{
	size_t start = lex->at;

	while (is_name(peek(lex, 0)))
		lex->at++;
	t->kind = TOKEN_NAME;
	t->text = bytes_of(lex->text.data + start, lex->at - start);
	if (t->text.len > EXPR_NAME_MAX)
		return expr_fail(lex->err, ERR_MALFORMED, start,
		    "this name is longer than %d bytes", EXPR_NAME_MAX);
	if (t->text.data[t->text.len - 1] == '.' ||
	    memmem(t->text.data, t->text.len, "..", 2) != NULL)
		return expr_fail(lex->err, ERR_MALFORMED, start, "a part of this name is empty");
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (bytes_equal_str(t->text, words[i].word))
			t->kind = words[i].kind;
		else if (t->text.len == strlen(words[i].word) &&
			 strncasecmp((const char *)t->text.data, words[i].word, t->text.len) == 0)
			return expr_fail(lex->err, ERR_MALFORMED, start,
			    "write \"%s\" in lower case", words[i].word);
	}
	return 0;
}

static const struct {
	const char *text;
	enum token_kind kind;
	uint8_t mask;
	const char *instead; /* what people coming from elsewhere write, and what it is here */
} symbols[] = {
	/* longest first */
	{ "===", TOKEN_END, 0, "==" },
	{ "!==", TOKEN_END, 0, "!=" },
	{ "<=", TOKEN_COMPARE, CMP_LE, NULL },
	{ ">=", TOKEN_COMPARE, CMP_GE, NULL },
	{ "==", TOKEN_COMPARE, CMP_EQ, NULL },
	{ "!=", TOKEN_COMPARE, CMP_NE, NULL },
	{ "??", TOKEN_COALESCE, 0, NULL },
	{ "<>", TOKEN_END, 0, "!=" },
	{ "&&", TOKEN_END, 0, "and" },
	{ "||", TOKEN_END, 0, "or" },
	{ "<", TOKEN_COMPARE, CMP_LT, NULL },
	{ ">", TOKEN_COMPARE, CMP_GT, NULL },
	{ "+", TOKEN_PLUS, 0, NULL },
	{ "-", TOKEN_MINUS, 0, NULL },
	{ "*", TOKEN_STAR, 0, NULL },
	{ "/", TOKEN_SLASH, 0, NULL },
	{ "%", TOKEN_PERCENT, 0, NULL },
	{ "(", TOKEN_OPEN, 0, NULL },
	{ ")", TOKEN_CLOSE, 0, NULL },
	{ "[", TOKEN_LIST_OPEN, 0, NULL },
	{ "]", TOKEN_LIST_CLOSE, 0, NULL },
	{ ",", TOKEN_COMMA, 0, NULL },
	{ "=", TOKEN_END, 0, "==" },
	{ "!", TOKEN_END, 0, "not" },
};

static int
lex_symbol(struct lexer *lex, struct token *t)
{
	size_t left = lex->text.len - lex->at;

	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		size_t len = strlen(symbols[i].text);
		if (len > left || memcmp(symbols[i].text, lex->text.data + lex->at, len) != 0)
			continue;
		if (symbols[i].instead)
			return expr_fail(lex->err, ERR_MALFORMED, t->at,
			    "\"%s\" is not part of this language, did you mean \"%s\"?",
			    symbols[i].text, symbols[i].instead);
		t->kind = symbols[i].kind;
		t->mask = symbols[i].mask;
		lex->at += len;
		return 0;
	}
	int c = peek(lex, 0);
	if (c < 0x20 || c == 0x7f)
		return expr_fail(
		    lex->err, ERR_MALFORMED, t->at, "unexpected byte 0x%02x", (unsigned)c);
	return expr_fail(lex->err, ERR_MALFORMED, t->at, "unexpected character \"%c\"", c);
}

int
lex_next(struct lexer *lex, struct token *ret_token)
{
	struct token t = { .kind = TOKEN_END };
	size_t start;
	int err = 0, c;

	while ((c = peek(lex, 0)) == ' ' || c == '\t' || c == '\n' || c == '\r')
		lex->at++;
	start = t.at = lex->at;
	if (c < 0)
		err = 0;
	else if (is_digit(c))
		err = lex_number(lex, &t);
	else if (c == '"' || c == '\'' || c == '`')
		err = lex_quoted(lex, &t, c);
	else if (is_name_start(c))
		err = lex_word(lex, &t);
	else
		err = lex_symbol(lex, &t);
	if (err)
		return err;
	if (t.text.data == NULL)
		t.text = bytes_of(lex->text.data + start, lex->at - start);
	*ret_token = t;
	return 0;
}
