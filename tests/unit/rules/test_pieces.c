/* test_pieces.c - globs, suggestions, summaries, timers */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "glob.h"
#include "mem.h"
#include "suggest.h"
#include "template.h"
#include "timer_heap.h"

START_TEST(globs)
{
	static const struct {
		const char *pattern, *text;
		bool match;
	} rows[] = {
		{ "", "", true },
		{ "", "a", false },
		{ "a", "", false },
		{ "*", "", true },
		{ "*", "abc", true },
		{ "a*", "abc", true },
		{ "a*", "bc", false },
		{ "*c", "abc", true },
		{ "*c", "abcd", false },
		{ "a*c", "abbbc", true },
		{ "a*b*c", "axxbyyc", true },
		{ "a*b*c", "axxcyyb", false },
		{ "**", "x", true },
		{ "?", "a", true },
		{ "?", "", false },
		{ "?", "\xc3\xa4", true },
		{ "??", "\xc3\xa4", false },
		{ "gh-?", "gh-12", false },
		{ "*-1", "a-1-1", true },
		{ "a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false },
		{ "[a]", "a", false },
		{ "[a]", "[a]", true },
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++)
		ck_assert_msg(glob_match(bytes_of_str(rows[i].pattern),
				  bytes_of_str(rows[i].text)) == rows[i].match,
		    "%s %s", rows[i].pattern, rows[i].text);
	ck_assert(glob_match_any("a\nb*\nc", bytes_of_str("bx")));
	ck_assert(glob_match_any("a\nb*\nc", bytes_of_str("c")));
	ck_assert(!glob_match_any("a\nb*\nc", bytes_of_str("cx")));
}
END_TEST

START_TEST(suggestions)
{
	static const char *const words[] = { "when", "for", "severity", "summary", "temperature",
		"avg" };
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "wehn", "when" },
		{ "whn", "when" },
		{ "whenn", "when" },
		{ "xxxx", NULL },
		{ "fro", "for" },
		{ "f", NULL },
		{ "FOR", "for" },
		{ "severty", "severity" },
		{ "svrty", NULL },
		{ "temprture", "temperature" },
		{ "averge", NULL },
		{ "agv", "avg" },
		{ "", NULL },
	};
	char long_text[300];

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *got = suggest(bytes_of_str(rows[i].text), words, COUNT_OF(words));
		ck_assert_msg(
		    got == rows[i].want || (got && rows[i].want && strcmp(got, rows[i].want) == 0),
		    "%s: %s", rows[i].text, got ? got : "nothing");
	}
	memset(long_text, 'a', sizeof(long_text));
	ck_assert_ptr_null(suggest(bytes_of(long_text, sizeof(long_text)), words, COUNT_OF(words)));
}
END_TEST

START_TEST(durations_and_numbers)
{
	static const struct {
		int64_t seconds;
		const char *want;
	} rows[] = { { -5, "0s" }, { 0, "0s" }, { 1, "1s" }, { 59, "59s" }, { 60, "1m" },
		{ 61, "1m 1s" }, { 3600, "1h" }, { 3601, "1h" }, { 3660, "1h 1m" }, { 86400, "1d" },
		{ 90061, "1d 1h" }, { 86400 * 400, "400d" } };
	static const struct {
		double n;
		const char *want;
	} numbers[] = { { 41.5, "41.5" }, { 0.1, "0.1" },
		{ 0.30000000000000004, "0.30000000000000004" }, { -3, "-3" }, { 1e300, "1e+300" },
		{ 123456789, "123456789" } };
	char text[TEMPLATE_DURATION_MAX], number[TEMPLATE_NUMBER_MAX];

	for (size_t i = 0; i < COUNT_OF(rows); i++)
		ck_assert_str_eq(template_duration(rows[i].seconds * 1000000, text), rows[i].want);
	ck_assert_str_eq(template_duration(INT64_MAX, text), "106751991d 4h");
	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		ck_assert_str_eq(template_number(numbers[i].n, number), numbers[i].want);
}
END_TEST

START_TEST(summaries)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "{{}}", "{}" },
		{ "a{{b}}c", "a{b}c" },
		{ "{device}/{alert}/{group}/{severity}/{duration}",
		    "gh-1/Hot/house/critical/1m 30s" },
		{ "{temperature}", "41.25" },
		{ "{temperature|1}", "41.2" },
		{ "{temperature|0} C", "41 C" },
		{ "{open} {mode} {nothing} {attr.x} {tags.y}",
		    "true auto missing missing missing" },
		{ "{mode|2}", "auto" },
		{ "{{{temperature|0}}}", "{41}" },
	};
	struct expr_value values[8] = { { .kind = EXPR_MISSING },
		{ .kind = EXPR_NUMBER, .v = { .n = 41.25 } },
		{ .kind = EXPR_BOOL, .v = { .b = true } },
		{ .kind = EXPR_STRING, .v = { .s = bytes_of_str("auto") } } };

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct expr_slots slots = { 0 };
		struct template *t = NULL;
		struct expr_error err;
		uint16_t columns[EXPR_SLOTS_MAX];
		struct buf out = { 0 };

		ck_assert_msg(template_parse(bytes_of_str(rows[i].text), &slots, &t, &err) == 0,
		    "%s: %s", rows[i].text, err.text);
		for (uint32_t k = 0; k < slots.count; k++) {
			const char *n = slots.at[k].name;
			columns[k] = strcmp(n, "temperature") == 0 ? 1
				     : strcmp(n, "open") == 0	   ? 2
				     : strcmp(n, "mode") == 0	   ? 3
								   : 0;
			ck_assert(!slots.at[k].trigger);
		}
		struct template_input in = { .values = { .values = values,
						 .columns = columns,
						 .device = bytes_of_str("gh-1") },
			.alert = "Hot",
			.group = "house",
			.severity = "critical",
			.duration_us = 90000000 };
		template_render(t, &in, &out);
		ck_assert_str_eq(buf_str(&out), rows[i].want);
		buf_fini(&out);
		template_free(&t);
		expr_slots_fini(&slots);
	}
}
END_TEST

START_TEST(summaries_are_cut_between_characters)
{
	struct expr_value values[2] = { { .kind = EXPR_MISSING } };
	uint16_t columns[1] = { 1 };
	struct expr_slots slots = { 0 };
	struct template *t = NULL;
	struct expr_error err;
	struct buf out = { 0 }, s = { 0 };

	for (int i = 0; i < 500; i++)
		buf_add_str(&s, "\xe2\x82\xac");
	values[1] = (struct expr_value){ .kind = EXPR_STRING, .v = { .s = buf_bytes(&s) } };
	ck_assert_int_eq(template_parse(bytes_of_str("{x}"), &slots, &t, &err), 0);
	struct template_input in = { .values = { .values = values, .columns = columns } };
	template_render(t, &in, &out);
	ck_assert_uint_eq(out.len, 1023);
	template_free(&t);
	expr_slots_fini(&slots);
	buf_fini(&out);
	buf_fini(&s);

	/* and a text of more parts or bytes than there may be is refused */
	for (int i = 0; i < 65; i++)
		buf_add_str(&s, "{x}");
	ck_assert_int_eq(template_parse(buf_bytes(&s), &slots, &t, &err), ERR_TOO_BIG);
	for (int i = 0; i < 1000; i++)
		buf_add_str(&s, "y");
	ck_assert_int_eq(template_parse(buf_bytes(&s), &slots, &t, &err), ERR_TOO_BIG);
	expr_slots_fini(&slots);
	buf_fini(&s);
}
END_TEST

START_TEST(timers)
{
	enum { N = 500 };
	struct heap_timer t[N] = { { 0 } };
	struct timer_heap h = { 0 };
	unsigned x = 1;

	ck_assert_ptr_null(timer_heap_first(&h));
	for (int round = 0; round < 20000; round++) {
		x = x * 1664525u + 1013904223u;
		struct heap_timer *one = &t[x >> 8 & 511 ? (x >> 8 & 511) % N : 0];
		one->order = (uint64_t)(one - t);
		if ((x >> 28) < 4)
			timer_heap_clear(&h, one);
		else
			timer_heap_set(&h, one, (int64_t)(x >> 20 & 63));
		if (round % 97 == 0) {
			const struct heap_timer *least = NULL;
			for (int i = 0; i < N; i++) {
				if (t[i].slot &&
				    (!least || t[i].due < least->due ||
					(t[i].due == least->due && t[i].order < least->order)))
					least = &t[i];
			}
			ck_assert_ptr_eq(timer_heap_first(&h), least);
		}
	}
	int64_t last = -1;
	for (struct heap_timer *one; (one = timer_heap_first(&h)) != NULL;
	     timer_heap_clear(&h, one)) {
		ck_assert_int_ge(one->due, last);
		last = one->due;
	}
	ck_assert_uint_eq(h.count, 0);
	timer_heap_fini(&h);
}
END_TEST

int
main(int argc, char **argv)
{
	Suite *s = suite_create("pieces");
	TCase *tc = tcase_create("pieces");

	(void)argc;
	(void)argv;
	tcase_add_test(tc, globs);
	tcase_add_test(tc, suggestions);
	tcase_add_test(tc, durations_and_numbers);
	tcase_add_test(tc, summaries);
	tcase_add_test(tc, summaries_are_cut_between_characters);
	tcase_add_test(tc, timers);
	suite_add_tcase(s, tc);
	return unit_end(s);
}
