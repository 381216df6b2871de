/* fuzz_expr.c - expressions and summary templates of any text, evaluated on any values
 *
 * The text up to a NUL, then the values of its operands. In parentheses it means the same, and gives the
 * same value; where its filter does not pass it is not true.
 *
 * fuzz: -max_len=512 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "expr.h"
#include "support.h"
#include "template.h"

#define COLUMNS (EXPR_SLOTS_MAX + 1)

static struct expr_value values[COLUMNS];
static uint16_t columns[EXPR_SLOTS_MAX];

static void
take_values(struct input in)
{
	for (size_t i = 1; i < COLUMNS; i++) {
		unsigned what = input_u8(&in);
		uint64_t bits;

		values[i] = (struct expr_value){ .kind = (enum expr_kind)(what % 4) };
		if (values[i].kind == EXPR_NUMBER && what & 4) {
			bits = input_u64(&in);
			memcpy(&values[i].v.n, &bits, sizeof bits);
			if (!isfinite(values[i].v.n)) /* the engine knows no such value */
				values[i].kind = EXPR_MISSING;
		} else if (values[i].kind == EXPR_NUMBER) {
			values[i].v.n = (double)(what >> 3) - 5;
		} else if (values[i].kind == EXPR_BOOL) {
			values[i].v.b = what & 4;
		} else if (values[i].kind == EXPR_STRING) {
			values[i].v.s = input_bytes(&in, what >> 4);
		}
	}
	for (size_t i = 0; i < EXPR_SLOTS_MAX; i++)
		columns[i] = (uint16_t)(i + 1);
}

static bool
same(struct expr_value a, struct expr_value b)
{
	if (a.kind != b.kind)
		return false;
	switch (a.kind) {
	case EXPR_MISSING:
		return true;
	case EXPR_NUMBER:
		ASSERT(isfinite(a.v.n));
		return a.v.n == b.v.n;
	case EXPR_BOOL:
		return a.v.b == b.v.b;
	case EXPR_STRING:
		return bytes_equal(a.v.s, b.v.s);
	}
	return false;
}

static void
check_expr(struct bytes text, enum expr_want want, const struct expr_input *in)
{
	struct expr_slots slots = { 0 }, again_slots = { 0 };
	struct expr_error err = { 0 };
	struct expr *e = NULL, *again = NULL;
	struct expr_compare compare;
	int rc = expr_parse(text, want, &slots, &e, &err);

	if (rc) {
		ASSERT(rc == ERR_MALFORMED || rc == ERR_UNSUPPORTED || rc == ERR_TOO_BIG ||
		       rc == ERR_FULL);
		ASSERT(err.text[0] && err.at <= text.len);
	} else {
		struct buf text_again = { 0 };

		ASSERT(slots.count <= EXPR_SLOTS_MAX);
		buf_add_str(&text_again, "(");
		buf_add(&text_again, text.data, text.len);
		buf_add_str(&text_again, ")");
		/* It may be too long, or too deep, with the parentheses. */
		if (expr_parse(buf_bytes(&text_again), want, &again_slots, &again, &err) == 0) {
			ASSERT(bytes_equal(expr_canonical(e), expr_canonical(again)));
			ASSERT(same(expr_eval(e, in), expr_eval(again, in)));
			expr_free(&again);
		}
		buf_fini(&text_again);
		if (want == EXPR_WANT_CONDITION && expr_truth(e, in) == TRUTH_TRUE &&
		    expr_filter(e, &compare))
			ASSERT(expr_passes(
			    &values[columns[compare.slot]], compare.number, compare.mask));
		expr_free(&e);
	}
	expr_slots_fini(&slots);
	expr_slots_fini(&again_slots);
}

static void
check_template(struct bytes text, const struct expr_input *values_in)
{
	struct template_input in = { .values = *values_in,
		.alert = "A",
		.group = "g",
		.severity = "critical",
		.duration_us = 90000000 };
	struct expr_slots slots = { 0 };
	struct expr_error err = { 0 };
	struct template *t = NULL;
	struct buf out = { 0 };
	int rc = template_parse(text, &slots, &t, &err);

	if (rc == 0) {
		template_render(t, &in, &out);
		ASSERT(out.len <= TEMPLATE_TEXT_MAX);
	} else {
		ASSERT(err.text[0]);
	}
	template_free(&t);
	expr_slots_fini(&slots);
	buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
	size_t len = nul ? (size_t)(nul - data) : size;
	struct expr_input in = { .values = values,
		.columns = columns,
		.device = bytes_of_str("gh-1"),
		.now_us = 1700000000000000 };

	take_values(input_of(nul ? nul + 1 : data, nul ? size - len - 1 : 0));
	check_expr(bytes_of(data, len), EXPR_WANT_CONDITION, &in);
	check_expr(bytes_of(data, len), EXPR_WANT_VALUE, &in);
	check_template(bytes_of(data, len), &in);
	return 0;
}
