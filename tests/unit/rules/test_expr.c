/* test_expr.c - expressions: values, kinds, missing, errors with their columns, canonical text */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../unit.h"
#include "err.h"
#include "expr.h"
#include "mem.h"

#define NOW_US 1700000000000000

/* temperature 41.5, humidity 40, flag true, door.open false, mode "auto", zero 0, one 1; the rest is missing */
static struct expr_value
fixture(const char *name)
{
	static const struct {
		const char *name;
		double n;
	} numbers[] = { { "temperature", 41.5 }, { "humidity", 40 }, { "zero", 0 }, { "one", 1 },
		{ "big", 1e308 }, { "weird-name", 7 } };
	struct expr_value v = { .kind = EXPR_MISSING };

	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		if (strcmp(name, numbers[i].name) == 0)
			return (
			    struct expr_value){ .kind = EXPR_NUMBER, .v = { .n = numbers[i].n } };
	}
	if (strcmp(name, "flag") == 0 || strcmp(name, "door.open") == 0)
		v = (struct expr_value){ .kind = EXPR_BOOL, .v = { .b = name[0] == 'f' } };
	if (strcmp(name, "mode") == 0) {
		v.kind = EXPR_STRING;
		v.v.s = bytes_of_str("auto");
	}
	return v;
}

/* Parses, evaluates on the fixture, and writes the result (or the error as column: text) to out. */
static void
run(const char *text, enum expr_want want, char *out, size_t size)
{
	struct expr_slots slots = { .count = 0 };
	struct expr_value values[EXPR_SLOTS_MAX + 1] = { { .kind = EXPR_MISSING } };
	uint16_t columns[EXPR_SLOTS_MAX];
	struct expr_error err;
	struct expr *e = NULL;
	int rc = expr_parse(bytes_of_str(text), want, &slots, &e, &err);

	if (rc != 0) {
		ck_assert(e == NULL);
		snprintf(out, size, "%zu: %s", err.at + 1, err.text);
		expr_slots_fini(&slots);
		return;
	}
	for (uint32_t i = 0; i < slots.count; i++) {
		columns[i] = (uint16_t)(i + 1);
		ck_assert(slots.at[i].trigger);
		if (slots.at[i].source == EXPR_METRIC)
			values[i + 1] = fixture(slots.at[i].name);
		else if (strcmp(slots.at[i].name, "limit") == 0)
			values[i + 1] =
			    (struct expr_value){ .kind = EXPR_NUMBER, .v = { .n = 10 } };
	}
	struct expr_input in = { .values = values,
		.columns = columns,
		.device = bytes_of_str("gh-1"),
		.now_us = NOW_US };
	struct expr_value v = expr_eval(e, &in);
	switch (v.kind) {
	case EXPR_MISSING:
		snprintf(out, size, "missing");
		break;
	case EXPR_NUMBER:
		snprintf(out, size, "%.10g", v.v.n);
		break;
	case EXPR_BOOL:
		snprintf(out, size, "%s", v.v.b ? "true" : "false");
		break;
	case EXPR_STRING:
		snprintf(out, size, "\"%.*s\"", (int)v.v.s.len, (const char *)v.v.s.data);
		break;
	}
	ck_assert_str_eq(expr_text(e), text);
	enum expr_truth t = expr_truth(e, &in);
	ck_assert_int_eq(t, v.kind != EXPR_BOOL ? TRUTH_MISSING : v.v.b ? TRUTH_TRUE : TRUTH_FALSE);
	expr_free(&e);
	ck_assert(e == NULL);
	expr_slots_fini(&slots);
}

struct row {
	const char *text;
	const char *want;
};

static void
run_rows(const struct row *rows, size_t n, enum expr_want want)
{
	char got[400];

	for (size_t i = 0; i < n; i++) {
		run(rows[i].text, want, got, sizeof(got));
		ck_assert_msg(strcmp(got, rows[i].want) == 0, "%s\n  got  %s\n  want %s",
		    rows[i].text, got, rows[i].want);
	}
}

START_TEST(values)
{
	static const struct row rows[] = {
		{ "1", "1" },
		{ "1.5e3", "1500" },
		{ "2e-1", "0.2" },
		{ "-3", "-3" },
		{ "--3", "3" },
		{ "1 + 2 * 3", "7" },
		{ "(1 + 2) * 3", "9" },
		{ "10 - 4 - 3", "3" },
		{ "12 / 4 / 3", "1" },
		{ "7 % 4", "3" },
		{ "-7 % 4", "-3" },
		{ "-temperature", "-41.5" },
		{ "2 - -2", "4" },
		{ "1 / zero", "missing" },
		{ "1 % zero", "missing" },
		{ "big * 10", "missing" },
		{ "90s", "90" },
		{ "1h30m", "5400" },
		{ "250ms", "0.25" },
		{ "2w", "1209600" },
		{ "1.5d", "129600" },
		{ "now", "1700000000" },
		{ "now - 1d", "1699913600" },
		{ "device", "\"gh-1\"" },
		{ "temperature", "41.5" },
		{ "`weird-name` + 1", "8" },
		{ "flag", "true" },
		{ "mode", "\"auto\"" },
		{ "'it\\'s'", "\"it's\"" },
		{ "\"a\\n\\t\\\\\\\"\"", "\"a\n\t\\\"\"" },
		{ "nothing", "missing" },
		{ "attr.limit", "10" },
		{ "attr.other", "missing" },
		{ "tags.site", "missing" },
		{ "nothing + 1", "missing" },
		{ "mode + 1", "missing" },
		{ "-mode", "missing" },
		{ "-flag", "missing" },
		{ "nothing ?? 5", "5" },
		{ "temperature ?? 5", "41.5" },
		{ "nothing ?? attr.other ?? 3", "3" },
		{ "nothing ?? 4 - 2", "2" },
		{ "(nothing ?? 4) - 2", "2" },
		{ "nothing ?? nothing", "missing" },
		{ "\xc3\xa9t\xc3\xa9 ?? 1", "1" },
	};

	run_rows(rows, COUNT_OF(rows), EXPR_WANT_VALUE);
}
END_TEST

START_TEST(conditions)
{
	static const struct row rows[] = {
		{ "temperature > 35", "true" },
		{ "temperature < 35", "false" },
		{ "35 < temperature", "true" },
		{ "41.5 >= temperature", "true" },
		{ "41.5 <= temperature", "true" },
		{ "41.5 > temperature", "false" },
		{ "41.5 == temperature", "true" },
		{ "41.5 != temperature", "false" },
		{ "temperature == 41.5", "true" },
		{ "temperature != 41.5", "false" },
		{ "temperature >= 41.5", "true" },
		{ "temperature <= 41.4", "false" },
		{ "temperature > humidity", "true" },
		{ "temperature + 0 > humidity * 2", "false" },
		{ "temperature > attr.limit ?? 35", "true" },
		{ "temperature > attr.other ?? 50", "false" },
		{ "nothing > 1", "missing" },
		{ "1 > nothing", "missing" },
		{ "not nothing > 1", "missing" },
		{ "mode > 1", "missing" },
		{ "mode == 1", "missing" },
		{ "mode == \"auto\"", "true" },
		{ "mode != \"auto\"", "false" },
		{ "mode < \"b\"", "true" },
		{ "mode < \"aut\"", "false" },
		{ "mode > \"\"", "true" },
		{ "\"auto\" == mode", "true" },
		{ "mode == flag", "missing" },
		{ "device == \"gh-1\"", "true" },
		{ "flag == true", "true" },
		{ "flag != true", "false" },
		{ "door.open == true", "false" },
		{ "one == true", "true" },
		{ "flag == 1", "true" },
		{ "zero == false", "true" },
		{ "flag", "true" },
		{ "not flag", "false" },
		{ "not door.open", "true" },
		{ "not not flag", "true" },
		{ "one", "1" },
		{ "not one", "missing" },
		{ "one and flag", "missing" },
		{ "mode in [\"auto\", \"manual\"]", "true" },
		{ "mode not in [\"auto\"]", "false" },
		{ "mode in [1, 2]", "false" },
		{ "humidity in [-40, 40]", "true" },
		{ "nothing in [1]", "missing" },
		{ "nothing not in [1]", "missing" },
		{ "flag in [true]", "true" },
		{ "zero in [1, 2, 3]", "false" },
		{ "(temperature > 35)", "true" },
		{ "not (temperature > 35)", "false" },
		{ "not temperature > 35", "false" },
		{ "1 < 2 == true", NULL },
	};

	run_rows(rows, COUNT_OF(rows) - 1, EXPR_WANT_CONDITION);
}
END_TEST

/* and, or and not over every pair of true, false and missing, fused and not, in chains of three too. */
START_TEST(logic)
{
	static const char *const fused[] = { "temperature < 1", "temperature > 1", "nothing > 1" };
	static const char *const plain[] = { "door.open", "flag", "nothing" };
	static const char *const names[] = { "false", "true", "missing" };
	char text[200], got[400];

	for (int i = 0; i < 27 * 4; i++) {
		const int v[3] = { i / 4 % 3, i / 12 % 3, i / 36 % 3 };
		const char *const *a = (i & 1) ? fused : plain, *const *b = (i & 2) ? fused : plain;
		bool f = v[0] == 0 || v[1] == 0 || v[2] == 0,
		     t = v[0] == 1 || v[1] == 1 || v[2] == 1;
		bool m = v[0] == 2 || v[1] == 2 || v[2] == 2;

		snprintf(text, sizeof(text), "%s and %s and %s", a[v[0]], b[v[1]], a[v[2]]);
		run(text, EXPR_WANT_CONDITION, got, sizeof(got));
		ck_assert_msg(strcmp(got, f   ? "false"
					  : m ? "missing"
					      : "true") == 0,
		    "%s: %s", text, got);
		snprintf(text, sizeof(text), "%s or %s or %s", a[v[0]], b[v[1]], a[v[2]]);
		run(text, EXPR_WANT_CONDITION, got, sizeof(got));
		ck_assert_msg(strcmp(got, t   ? "true"
					  : m ? "missing"
					      : "false") == 0,
		    "%s: %s", text, got);

		/* (x and y) or z, and the same with and and or exchanged */
		int both = v[0] == 0 || v[1] == 0 ? 0 : v[0] == 2 || v[1] == 2 ? 2 : 1;
		int either = v[0] == 1 || v[1] == 1 ? 1 : v[0] == 2 || v[1] == 2 ? 2 : 0;
		int r = both == 1 || v[2] == 1 ? 1 : both == 2 || v[2] == 2 ? 2 : 0;
		snprintf(text, sizeof(text), "%s and %s or %s", a[v[0]], b[v[1]], a[v[2]]);
		run(text, EXPR_WANT_CONDITION, got, sizeof(got));
		ck_assert_msg(strcmp(got, names[r]) == 0, "%s: %s", text, got);
		r = either == 0 || v[2] == 0 ? 0 : either == 2 || v[2] == 2 ? 2 : 1;
		snprintf(text, sizeof(text), "(%s or %s) and %s", a[v[0]], b[v[1]], a[v[2]]);
		run(text, EXPR_WANT_CONDITION, got, sizeof(got));
		ck_assert_msg(strcmp(got, names[r]) == 0, "%s: %s", text, got);
		r = either == 2 ? 2 : !either;
		snprintf(text, sizeof(text), "not (%s or %s)", a[v[0]], b[v[1]]);
		run(text, EXPR_WANT_CONDITION, got, sizeof(got));
		ck_assert_msg(strcmp(got, names[r]) == 0, "%s: %s", text, got);
	}
}
END_TEST

START_TEST(errors)
{
	static const struct row rows[] = {
		{ "", "1: the expression is empty" },
		{ "   ", "1: the expression is empty" },
		{ "averge(temperature, 10m) > 3",
		    "1: unknown function \"averge\", did you mean \"avg\"?" },
		{ "agv(temperature, 10m) > 3",
		    "1: unknown function \"agv\", did you mean \"avg\"?" },
		{ "1 < avg(temperature, 10m)", "5: avg() is not supported by this version: rules "
					       "see the latest value of a metric" },
		{ "frobnicate(1)", "1: unknown function \"frobnicate\"" },
		{ "temperature >",
		    "14: the expression ends where a metric or a value is expected" },
		{ "temperature > > 3", "15: unexpected \">\", a metric or a value is expected" },
		{ "(temperature > 3", "17: the expression ends where \")\" is expected" },
		{ "temperature > 3)", "16: unexpected \")\", an operator or the end is expected" },
		{ "temperature 3", "13: unexpected \"3\", an operator or the end is expected" },
		{ "temperature = 3",
		    "13: \"=\" is not part of this language, did you mean \"==\"?" },
		{ "a > 1 && b > 2",
		    "7: \"&&\" is not part of this language, did you mean \"and\"?" },
		{ "a > 1 || b > 2",
		    "7: \"||\" is not part of this language, did you mean \"or\"?" },
		{ "!flag", "1: \"!\" is not part of this language, did you mean \"not\"?" },
		{ "a <> 1", "3: \"<>\" is not part of this language, did you mean \"!=\"?" },
		{ "a > 1 AND b > 2", "7: write \"and\" in lower case" },
		{ "a > 1 # b", "7: unexpected character \"#\"" },
		{ "a > \001", "5: unexpected byte 0x01" },
		{ "a < b < c", "7: comparisons do not chain; write a < b and b < c" },
		{ "5", "1: a condition is true or false, this is a number" },
		{ "temperature + 5", "13: a condition is true or false, this is a number" },
		{ "\"x\" > 5", "5: a string and a number are never comparable" },
		{ "device + 1 > 2", "8: \"+\" needs a number, this is a string" },
		{ "1 * device > 2", "3: \"*\" needs a number, this is a string" },
		{ "-\"x\" > 1", "1: \"-\" needs a number, this is a string" },
		{ "not 5", "1: \"not\" needs true or false, this is a number" },
		{ "flag and 5", "6: \"and\" needs true or false, this is a number" },
		{ "\"x\" or flag", "5: \"or\" needs true or false, this is a string" },
		{ "true < flag",
		    "6: \"<\" needs an order, true and false have none; use == or !=" },
		{ "(1 ?? \"x\") == 1",
		    "4: \"??\" needs two values of one kind, these are a number and a string" },
		{ "temperature > 10x",
		    "17: \"x\" is no unit of time; durations are written like 90s, 10m, 2h or 7d" },
		{ "temperature > 1h30",
		    "19: a unit is missing here; durations are written like 1h30m" },
		{ "mode == \"auto", "9: this string has no closing \"" },
		{ "mode == 'a\\q'", "11: unknown escape; \\\\ \\\" \\' \\n and \\t are known" },
		{ "`a > 1", "1: this name has no closing `" },
		{ "`` > 1", "1: a name has 1 to 128 bytes" },
		{ "a..b > 1", "1: a part of this name is empty" },
		{ "a. > 1", "1: a part of this name is empty" },
		{ "attr > 1", "1: write which one: attr.name" },
		{ "a in 5", "6: unexpected \"5\", \"[\" is expected" },
		{ "a in [b]",
		    "7: unexpected \"b\", a number, a string, true or false is expected" },
		{ "a in []", "7: unexpected \"]\", a number, a string, true or false is expected" },
		{ "a in [-\"x\"]", "8: unexpected \"x\", a number is expected" },
		{ "a in [1 2]", "9: unexpected \"2\", \",\" or \"]\" is expected" },
		{ "a not 5", "7: unexpected \"5\", \"in\" is expected" },
		{ "device in [1]", "12: a string never equals a number" },
		{ "1e999 > a", "1: 1e999 is no usable number" },
		{ "a > 1, b", "6: unexpected \",\", an operator or the end is expected" },
	};

	run_rows(rows, COUNT_OF(rows), EXPR_WANT_CONDITION);
}
END_TEST

START_TEST(bounds)
{
	struct buf text;
	char got[400];

	/* deep nesting of every kind ends with an error, not with the stack */
	static const char *const openers[] = { "(", "not ", "-", "1 ?? ", "a and (b or " };
	for (size_t k = 0; k < COUNT_OF(openers); k++) {
		buf_init(&text, 0);
		for (int i = 0; i < 300; i++)
			buf_add_str(&text, openers[k]);
		buf_add_str(&text, "1");
		run(buf_str(&text), EXPR_WANT_VALUE, got, sizeof(got));
		ck_assert_msg(strstr(got, "nested too deeply") != NULL, "%s: %s", openers[k], got);
		buf_fini(&text);
	}

	buf_init(&text, 0);
	for (int i = 0; i < 300; i++)
		buf_addf(&text, "%s1", i ? "+" : "");
	run(buf_str(&text), EXPR_WANT_VALUE, got, sizeof(got));
	ck_assert_str_eq(got, "512: the expression has more than 512 parts; split the rule");
	buf_fini(&text);

	buf_init(&text, 0);
	for (int i = 0; i < 200; i++)
		buf_addf(&text, "%s1", i ? "+" : "");
	run(buf_str(&text), EXPR_WANT_VALUE, got, sizeof(got));
	ck_assert_str_eq(got, "200");
	buf_fini(&text);

	/* right-nested sums need the program's stack; parentheses bound the depth before it is used up */
	buf_init(&text, 0);
	for (int i = 0; i < 40; i++)
		buf_add_str(&text, "1+(");
	buf_add_str(&text, "1");
	for (int i = 0; i < 40; i++)
		buf_add_str(&text, ")");
	run(buf_str(&text), EXPR_WANT_VALUE, got, sizeof(got));
	ck_assert_str_eq(got, "41");
	buf_fini(&text);

	buf_init(&text, 0);
	for (int i = 0; i < EXPR_SLOTS_MAX + 1; i++)
		buf_addf(&text, "%sm%d", i ? "+" : "", i);
	run(buf_str(&text), EXPR_WANT_VALUE, got, sizeof(got));
	ck_assert_msg(strstr(got, "a rule may name 64 metrics") != NULL, "%s", got);
	buf_fini(&text);

	buf_init(&text, 0);
	for (int i = 0; i <= EXPR_TEXT_MAX; i++)
		buf_add_u8(&text, ' ');
	run(buf_str(&text), EXPR_WANT_VALUE, got, sizeof(got));
	ck_assert_msg(strstr(got, "longer than 4096 bytes") != NULL, "%s", got);
	buf_fini(&text);

	buf_init(&text, 0);
	for (int i = 0; i < 100; i++)
		buf_add_u8(&text, '9');
	run(buf_str(&text), EXPR_WANT_VALUE, got, sizeof(got));
	ck_assert_str_eq(got, "1: this number has too many digits");
	buf_fini(&text);

	buf_init(&text, 0);
	for (int i = 0; i < 130; i++)
		buf_add_u8(&text, 'a');
	run(buf_str(&text), EXPR_WANT_VALUE, got, sizeof(got));
	ck_assert_str_eq(got, "1: this name is longer than 128 bytes");
	buf_fini(&text);
}
END_TEST

static void
canonical(const char *text, struct buf *out)
{
	struct expr_slots slots = { .count = 0 };
	struct expr_error err;
	struct expr *e = NULL;

	ck_assert_int_eq(expr_parse(bytes_of_str(text), EXPR_WANT_VALUE, &slots, &e, &err), 0);
	buf_clear(out);
	buf_add(out, expr_canonical(e).data, expr_canonical(e).len);
	expr_free(&e);
	expr_slots_fini(&slots);
}

START_TEST(canonical_text)
{
	static const struct {
		const char *a;
		const char *b;
		bool same;
	} rows[] = {
		{ "a>1", "  a  >  1.0 ", true },
		{ "a > 60", "a > 1m", true },
		{ "a + b * c", "a + (b * c)", true },
		{ "a > 1", "a >= 1", false },
		{ "a > 1", "b > 1", false },
		{ "a > 1", "attr.a > 1", false },
		{ "(a + b) * c", "a + b * c", false },
		{ "`a` > 1", "a > 1", true },
		{ "a == 'x'", "a == \"x\"", true },
		{ "a in [1, 2]", "a in [2, 1]", false },
		{ "-a ?? now", "-a ?? now", true },
		{ "flag == true", "flag == false", false },
		{ "not a and b or c", "((not a) and b) or c", true },
		{ "device == 'a'", "device == 'b'", false },
	};
	struct buf a = { 0 }, b = { 0 };

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		canonical(rows[i].a, &a);
		canonical(rows[i].b, &b);
		ck_assert_msg(bytes_equal(buf_bytes(&a), buf_bytes(&b)) == rows[i].same, "%s | %s",
		    rows[i].a, rows[i].b);
	}
	buf_fini(&a);
	buf_fini(&b);
}
END_TEST

/* Every prefix of valid expressions parses or fails; none reads past its end (the sanitizers look). */
START_TEST(prefixes)
{
	static const char *const texts[] = {
		"temperature > attr.max_temp ?? 35 and not (mode in [\"a\", -1, true] or now - "
		"1h30m < 2e-3)",
		"`weird-name` % 2 == 1 or 'it\\'s' != device",
	};

	for (size_t k = 0; k < COUNT_OF(texts); k++) {
		for (size_t len = 0; len <= strlen(texts[k]); len++) {
			char *copy = xmemdup(texts[k], len ? len : 1);
			struct expr_slots slots = { .count = 0 };
			struct expr_error err = { .text = "" };
			struct expr *e = NULL;
			int rc = expr_parse(bytes_of(copy, len), EXPR_WANT_VALUE, &slots, &e, &err);
			ck_assert(rc == 0 || err.text[0] != '\0');
			ck_assert(rc == 0 || err.at <= len);
			expr_free(&e);
			expr_slots_fini(&slots);
			free(copy);
		}
	}
}
END_TEST

int
main(int argc, char **argv)
{
	Suite *s = suite_create("expr");
	TCase *tc = tcase_create("expr");

	(void)argc;
	(void)argv;
	tcase_add_test(tc, values);
	tcase_add_test(tc, conditions);
	tcase_add_test(tc, logic);
	tcase_add_test(tc, errors);
	tcase_add_test(tc, bounds);
	tcase_add_test(tc, canonical_text);
	tcase_add_test(tc, prefixes);
	suite_add_tcase(s, tc);
	return unit_end(s);
}
