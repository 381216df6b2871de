/* test_rule_text.c - definitions: what they become, and every mistake with its place */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"
#include "rule_test.h"
#include "rule_text.h"

#define HEAD "version: 1\nrules:\n"

/* Everything that is wrong with text, a line each: "3:5: sentence", warnings with a "w " before. */
static char *
problems_of(const char *text, size_t len, int *ret_err, struct rule_file *ret_file)
{
	struct problems *problems = xcalloc(1, sizeof(*problems));
	struct rule_file file = { 0 };
	struct buf out = { 0 };
	char *copy = xmemdup(
	    text, len ? len : 1); /* no terminator: the sanitizers see a read past the end */

	*ret_err = rule_file_parse("dir/greenhouse.yaml", bytes_of(copy, len), &file, problems);
	free(copy);
	for (uint32_t i = 0; i < problems->count; i++)
		buf_addf(&out, "%s%s%u:%u: %s", i ? "\n" : "", problems->at[i].warning ? "w " : "",
		    problems->at[i].line, problems->at[i].column, problems->at[i].text);
	char *result = xstrdup(buf_str(&out));
	if (ret_file)
		*ret_file = file;
	else
		rule_file_fini(&file);
	buf_fini(&out);
	problems_fini(problems);
	free(problems);
	return result;
}

static const struct {
	const char *text;
	const char *want;
	int err;
} mistakes[] = {
	{ "", "1:1: the file is empty: it begins with version: 1", ERR_CONFIG },
	{ "- a\n", "1:1: a rules file begins with version: 1", ERR_CONFIG },
	{ "rules: []\n",
	    "1:1: the file does not say which version of the language it is in: write version: 1",
	    ERR_CONFIG },
	{ "version: 2\nrules: []\n",
	    "1:10: this version of the language is unknown here; there is 1", ERR_CONFIG },
	{ "version: 1\n", "1:1: the file has no \"rules\"", ERR_CONFIG },
	{ "version: 1\nrules: x\n",
	    "2:8: a list of rules is expected here, each with \"- alert: Name\"", ERR_CONFIG },
	{ "version: 1\nrule: []\nrules: []\n",
	    "2:1: unknown key \"rule\" in a rules file, did you mean \"rules\"?", ERR_CONFIG },
	{ "version: 1\nfrobnicate: []\nrules: []\n",
	    "2:1: unknown key \"frobnicate\" in a rules file", ERR_CONFIG },
	{ "version: 1\nversion: 1\nrules: []\n",
	    "2:1: key \"version\" is here twice, first in line 1", ERR_CONFIG },
	{ "version: 1\nquality: {}\nrules: []\n",
	    "2:1: \"quality\" is not supported by this version: remove it, or what it says would "
	    "be silently ignored",
	    ERR_CONFIG },
	{ "version: 1\ngroup: on\nrules: []\n",
	    "2:8: write \"on\" in quotes: without them YAML does not read it as a text",
	    ERR_CONFIG },
	{ "version: 1\ngroup: [a]\nrules: []\n", "2:8: a text is expected here", ERR_CONFIG },
	{ "version: 1\nmatch: x\nrules: []\n",
	    "2:8: what devices it is about is expected here: { device: \"gh-*\" }", ERR_CONFIG },
	{ "version: 1\nmatch: { profile: gh }\nrules: []\n",
	    "2:10: devices have no profile in this version: match by device id, like { device: "
	    "\"gh-*\" }",
	    ERR_CONFIG },
	{ "version: 1\nmatch: { device: a, tags: { site: '*' } }\nrules: []\n",
	    "2:21: devices have no tags in this version: match by device id, like { device: "
	    "\"gh-*\" }",
	    ERR_CONFIG },
	{ "version: 1\nmatch: {}\nrules: []\n",
	    "2:8: no device is named; write { device: \"gh-*\" } or leave match out", ERR_CONFIG },
	{ "version: 1\nmatch: { device: [] }\nrules: []\n", "2:18: the list is empty", ERR_CONFIG },
	{ "version: 1\nmatch: { device: { a: b } }\nrules: []\n",
	    "2:18: a text or a list of texts is expected here", ERR_CONFIG },
	{ "version: 1\nmatch: { devise: a }\nrules: []\n",
	    "2:10: unknown key \"devise\" in match, did you mean \"device\"?", ERR_CONFIG },
	{ "version: 1\ndefaults: { severity: criticl }\nrules: []\n",
	    "2:23: unknown severity \"criticl\", did you mean \"critical\"?", ERR_CONFIG },
	{ "version: 1\ndefaults: { severity: bad }\nrules: []\n",
	    "2:23: unknown severity \"bad\"; there are info, warning and critical", ERR_CONFIG },
	{ "version: 1\ndefaults: { notify: yes }\nrules: []\n",
	    "2:21: write \"yes\" in quotes: without them YAML does not read it as a text",
	    ERR_CONFIG },
	{ "version: 1\ndefaults: 5\nrules: []\n",
	    "2:11: what rules inherit is expected here: { severity: warning, notify: [ops] }",
	    ERR_CONFIG },
	{ "a: [1\n",
	    "2:1: not YAML: did not find expected ',' or ']', while parsing a flow sequence",
	    ERR_CONFIG },
	{ "version: 1\n\tx: 1\n",
	    "2:1: not YAML: found a tab character that violates indentation, while scanning a "
	    "plain scalar",
	    ERR_CONFIG },
	{ "version: &a 1\nrules: *a\n",
	    "1:10: anchors are not supported: write the value where it is needed", ERR_CONFIG },
	{ "version: !!int 1\nrules: []\n",
	    "1:10: tags are not supported: write the value without it", ERR_CONFIG },
	{ "version: 1\nrules: []\n---\nx: 1\n",
	    "3:1: a second document begins here; a file holds one", ERR_CONFIG },
	{ "? [a]\n: b\n", "1:3: a key must be a word", ERR_CONFIG },
	{ "a: \"x\\0y\"\n", "1:4: a NUL character is not allowed", ERR_CONFIG },
	{ "a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n", "1:20: nested too deeply", ERR_CONFIG },

	{ HEAD "  - x\n", "3:5: a rule is expected here, beginning with alert: Name", 0 },
	{ HEAD "  - { when: t > 1 }\n", "3:5: the rule has no name: write alert: Name", 0 },
	{ HEAD "  - { alert: no, when: t > 1 }\n",
	    "3:14: write \"no\" in quotes: without them YAML does not read it as a text", 0 },
	{ HEAD "  - { alert: , when: t > 1 }\n", "3:14: a text is expected here, nothing is given",
	    0 },
	{ HEAD "  - { alert: \"a\\nb\", when: t > 1 }\n",
	    "3:14: a name has 1 to 128 bytes and no control characters", 0 },
	{ HEAD "  - { alert: A }\n",
	    "3:5: the rule has neither \"when\" nor \"missing\": write its condition, like when: "
	    "temperature > 35",
	    0 },
	{ HEAD "  - { alert: A, when: t > 1 }\n  - { alert: A, when: t > 2 }\n",
	    "4:14: alert \"A\" is in this file twice", 0 },
	{ HEAD "  - { alert: A, when: on }\n",
	    "3:23: yes, no, on and off are no conditions; write true or false, or a comparison",
	    0 },
	{ HEAD "  - { alert: A, when: 1 > 2 }\n",
	    "3:5: no condition of this rule names a metric: it would never be looked at", 0 },
	{ HEAD "  - { alert: A, when: [t] }\n", "3:23: an expression is expected here", 0 },
	{ HEAD "  - { alert: A, when: t > 1, fro: 10m }\n",
	    "3:30: unknown key \"fro\" in a rule, did you mean \"for\"?", 0 },
	{ HEAD "  - { alert: A, when: t > 1, for: 10 }\n",
	    "3:35: duration \"10\" has no unit, write 10s, 10m or 10h", 0 },
	{ HEAD "  - { alert: A, when: t > 1, for: 10x }\n",
	    "3:35: \"10x\" is no duration; durations are written like 90s, 10m, 2h or 7d", 0 },
	{ HEAD "  - { alert: A, when: t > 1, for: [] }\n",
	    "3:35: a duration is expected here, like 90s, 10m, 2h or 7d", 0 },
	{ HEAD "  - { alert: A, when: t > 1, for: 400d }\n", "3:35: a duration may be 366d at most",
	    0 },
	{ HEAD "  - { alert: A, when: t > 1, repeat: 5ms }\n", "3:38: write 1s or more", 0 },
	{ HEAD "  - { alert: A, when: t > 1, during: { days: mon } }\n",
	    "3:30: \"during\" is not supported by this version: the rule would be in force at all "
	    "hours",
	    0 },
	{ HEAD "  - { alert: A, when: t > 1, by: all }\n",
	    "3:30: \"by\" is not supported by this version: a rule looks at one device", 0 },
	{ HEAD "  - { alert: A, when: t > 1, after: 1m }\n",
	    "3:30: this key goes with \"missing\" only", 0 },
	{ HEAD "  - { alert: A, when: t > 1, severity: { high: t > 2 } }\n",
	    "3:42: unknown key \"high\" in severity", 0 },
	{ HEAD "  - { alert: A, when: t > 1, severity: [a] }\n",
	    "3:40: a severity, or a map of severity: condition, is expected here", 0 },
	{ HEAD "  - { alert: A, when: t > 1, severity: { critical: t >> 2 } }\n",
	    "3:55: unexpected \">\", a metric or a value is expected", 0 },
	{ HEAD "  - { alert: A, when: t > 1, runbook: \"a\\nb\" }\n",
	    "3:39: a runbook is one line of at most 1024 bytes", 0 },
	{ HEAD "  - { alert: A, when: t > 1, notify: [\"a,b\"] }\n",
	    "3:39: this text is empty, too long, one too many or has characters that do not belong "
	    "here",
	    0 },
	{ HEAD "  - alert: A\n    when: temperature > averge(t, 1m)\n",
	    "4:25: unknown function \"averge\", did you mean \"avg\"?", 0 },
	{ HEAD "  - alert: A\n    when: \"temperature > agv(t, 1m)\"\n",
	    "4:26: unknown function \"agv\", did you mean \"avg\"?", 0 },
	{ HEAD "  - alert: A\n    when: '\xc3\xa4\xc3\xb6 > & 1'\n",
	    "4:17: unexpected character \"&\"", 0 },
	/* folded over lines: the place of the whole is what can be said */
	{ HEAD "  - alert: A\n    when: t > 1 and\n      u > > 2\n",
	    "4:11: unexpected \">\", a metric or a value is expected", 0 },
	{ HEAD "  - alert: A\n    when: t > 1\n    clear: t + 1\n",
	    "5:14: a condition is true or false, this is a number", 0 },
	{ HEAD "  - alert: A\n    when: t > 1\n    summary: \"{device}: {temprature|x}\"\n",
	    "5:37: after \"|\" stands the number of decimals, 0 to 9", 0 },
	{ HEAD "  - alert: A\n    when: temperature > 1\n    summary: \"{temprature} {duraton}\"\n",
	    "5:16: unknown name \"temprature\", did you mean \"temperature\"?", 0 },
	{ HEAD "  - alert: A\n    when: t > 1\n    summary: \"{duraton}\"\n",
	    "5:16: unknown name \"duraton\", did you mean \"duration\"?", 0 },
	{ HEAD "  - alert: A\n    when: t > 1\n    summary: \"a } b\"\n",
	    "5:17: this brace closes nothing; write }} for a brace", 0 },
	{ HEAD "  - alert: A\n    when: t > 1\n    summary: \"a {t\"\n",
	    "5:17: this brace is not closed; write {{ for a brace", 0 },
	{ HEAD "  - alert: A\n    when: t > 1\n    summary: \"a {}\"\n",
	    "5:18: between braces stands a name, like {device} or {temperature|1}; write {{ for a "
	    "brace",
	    0 },
	{ HEAD "  - { alert: A, missing: t }\n",
	    "3:5: \"missing\" needs \"after\": for how long, like after: 3m", 0 },
	{ HEAD "  - { alert: A, missing: t, after: 100ms }\n",
	    "3:36: absence is seen once a second: write 1s or more", 0 },
	{ HEAD "  - { alert: A, missing: t, after: 3 intervals }\n",
	    "3:36: how long an interval is must be said: expect: every 60s", 0 },
	{ HEAD "  - { alert: A, missing: t, expect: 60s, after: 3 intervals }\n",
	    "3:37: an interval is expected here, like every 60s", 0 },
	{ HEAD "  - { alert: A, missing: t, expect: every 60, after: 3 intervals }\n",
	    "3:43: duration \"60\" has no unit, write 60s, 60m or 60h", 0 },
	{ HEAD "  - { alert: A, missing: t, after: 1m, for: 1m }\n",
	    "3:40: \"for\" does not go with \"missing\": an absence begins by \"after\" and ends "
	    "with the next reading",
	    0 },
	{ HEAD "  - { alert: A, missing: a b, after: 1m }\n",
	    "3:26: the name of one metric is expected here", 0 },
	{ HEAD "  - { alert: A, when: t > attr.max ?? 5 }\n",
	    "w 3:5: devices have no attributes in this version: attr.max of rule \"A\" is always "
	    "missing",
	    0 },
	{ HEAD "  - { alert: A, when: 't > 1 and tags.site == \"x\"' }\n",
	    "w 3:5: devices have no tags in this version: tags.site of rule \"A\" is always "
	    "missing",
	    0 },
	/* several at once, in the order of the text's keys */
	{ HEAD "  - { alert: A, wen: t > 1, for: 5 }\n",
	    "3:17: unknown key \"wen\" in a rule, did you mean \"when\"?\n"
	    "3:5: the rule has neither \"when\" nor \"missing\": write its condition, like when: "
	    "temperature > 35\n"
	    "3:34: duration \"5\" has no unit, write 5s, 5m or 5h",
	    0 },
};

START_TEST(every_mistake_has_its_place)
{
	for (size_t i = 0; i < COUNT_OF(mistakes); i++) {
		int err;
		char *got = problems_of(mistakes[i].text, strlen(mistakes[i].text), &err, NULL);
		ck_assert_msg(strcmp(got, mistakes[i].want) == 0, "%s\n  got  %s\n  want %s",
		    mistakes[i].text, got, mistakes[i].want);
		ck_assert_int_eq(err, mistakes[i].err);
		free(got);
	}
}
END_TEST

START_TEST(a_bad_rule_disables_itself_only)
{
	struct rule_file file;
	int err;
	static const char text[] =
	    HEAD "  - { alert: A, when: t > }\n  - { alert: B, when: t > 1 }\n"
		 "  - { when: t > 1 }\n";
	char *got = problems_of(text, strlen(text), &err, &file);

	ck_assert_int_eq(err, 0);
	ck_assert_uint_eq(file.count, 3);
	ck_assert_str_eq(file.group, "greenhouse");
	ck_assert_str_eq(file.entries[0].alert, "A");
	ck_assert_ptr_null(file.entries[0].rule);
	ck_assert_str_eq(file.entries[1].rule->alert, "B");
	ck_assert_ptr_null(file.entries[2].alert);
	rule_file_fini(&file);
	free(got);
}
END_TEST

static const char whole[] =
    "version: 1\n"
    "group: house\n"
    "match: { device: [\"gh-*\", 'x'] }\n"
    "defaults: { severity: info, notify: [ops, \"on\"], repeat: 2h }\n"
    "rules:\n"
    "  - alert: Too hot\n"
    "    when: temperature > attr.max ?? 35\n"
    "    for: 10m\n"
    "    clear: temperature < 30\n"
    "    clear_for: 1h30m\n"
    "    severity: { critical: temperature > 45, warning: temperature > 40 }\n"
    "    summary: \"{device}: {temperature|1} \\u00b0C {{x}} {humidity}\"\n"
    "    runbook: https://example.org/x\n"
    "    match: { device: \"*-1\" }\n"
    "    repeat: 1h\n"
    "    notify: me\n"
    "  - { alert: Silent, missing: temperature, expect: every 60s, after: 3 intervals, severity: "
    "critical }\n";

START_TEST(everything_is_read)
{
	struct rule_file file;
	int err;
	char *got = problems_of(whole, strlen(whole), &err, &file);
	struct rule *r = file.entries[0].rule;

	ck_assert_int_eq(err, 0);
	ck_assert_str_eq(got, "w 6:5: devices have no attributes in this version: attr.max of rule "
			      "\"Too hot\" is always missing");
	free(got);
	ck_assert_uint_eq(file.count, 2);
	ck_assert_str_eq(r->group, "house");
	ck_assert_str_eq(r->alert, "Too hot");
	ck_assert_uint_eq(r->line, 6);
	ck_assert_int_eq(r->kind, RULE_THRESHOLD);
	ck_assert_str_eq(expr_text(r->when), "temperature > attr.max ?? 35");
	ck_assert_str_eq(expr_text(r->clear), "temperature < 30");
	ck_assert_int_eq(r->for_us, 600000000);
	ck_assert_int_eq(r->clear_for_us, 5400000000);
	ck_assert_int_eq(r->repeat_us, 3600000000);
	ck_assert_int_eq(r->severity, SEVERITY_INFO);
	ck_assert_ptr_nonnull(r->levels[SEVERITY_CRITICAL]);
	ck_assert_ptr_nonnull(r->levels[SEVERITY_WARNING]);
	ck_assert_ptr_null(r->levels[SEVERITY_INFO]);
	ck_assert_str_eq(r->receivers, "me");
	ck_assert_str_eq(r->runbook, "https://example.org/x");
	ck_assert_str_eq(r->match, "gh-*\nx");
	ck_assert(rule_matches(r, bytes_of_str("gh-1")) && !rule_matches(r, bytes_of_str("gh-2")));
	ck_assert(!rule_matches(r, bytes_of_str("x")) && !rule_matches(r, bytes_of_str("y-1")));
	/* temperature, attr.max, humidity: the last for the summary only */
	ck_assert_uint_eq(r->slots.count, 3);
	ck_assert(r->slots.at[0].trigger && r->slots.at[1].trigger && !r->slots.at[2].trigger);

	r = file.entries[1].rule;
	ck_assert_int_eq(r->kind, RULE_ABSENCE);
	ck_assert_int_eq(r->after_us, 180000000);
	ck_assert_int_eq(r->severity, SEVERITY_CRITICAL);
	ck_assert_int_eq(r->repeat_us, 7200000000);
	ck_assert_str_eq(r->receivers, "ops,on");
	rule_file_fini(&file);
}
END_TEST

static uint64_t
meaning_of(const char *rule, uint64_t *ret_identity)
{
	char *text = xasprintf("version: 1\ngroup: g\nrules:\n  - %s\n", rule);
	struct rule_file file;
	int err;
	char *got = problems_of(text, strlen(text), &err, &file);
	uint64_t meaning;

	ck_assert_msg(file.count == 1 && file.entries[0].rule != NULL, "%s: %s", rule, got);
	meaning = file.entries[0].rule->meaning;
	*ret_identity = file.entries[0].rule->identity;
	free(got);
	free(text);
	rule_file_fini(&file);
	return meaning;
}

START_TEST(meaning)
{
	static const struct {
		const char *a, *b;
		bool same;
	} rows[] = {
		{ "{ alert: A, when: t > 60 }", "{ alert: A, when: '(t)>1m' }", true },
		{ "{ alert: A, when: t > 60 }",
		    "{ alert: A, when: t > 60, severity: info, summary: x, runbook: y, notify: z, "
		    "repeat: 1h }",
		    true },
		{ "{ alert: A, when: t > 60, for: 60s }", "{ alert: A, when: t > 60, for: 1m }",
		    true },
		{ "{ alert: A, when: t > 60, for: 60s }", "{ alert: A, when: t > 60 }", false },
		{ "{ alert: A, when: t > 60, clear_for: 60s }", "{ alert: A, when: t > 60 }",
		    false },
		{ "{ alert: A, when: t > 60, clear: t < 1 }", "{ alert: A, when: t > 60 }", false },
		{ "{ alert: A, when: t > 60, match: { device: a } }", "{ alert: A, when: t > 60 }",
		    false },
		{ "{ alert: A, when: t > 60 }", "{ alert: A, when: t > 61 }", false },
		{ "{ alert: A, when: t > 60 }", "{ alert: A, missing: t, after: 60s }", false },
		{ "{ alert: A, missing: t, after: 61s }", "{ alert: A, missing: t, after: 60s }",
		    false },
		{ "{ alert: A, missing: u, after: 60s }", "{ alert: A, missing: t, after: 60s }",
		    false },
	};
	uint64_t a, b;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		bool same = meaning_of(rows[i].a, &a) == meaning_of(rows[i].b, &b);
		ck_assert_msg(same == rows[i].same, "%s | %s", rows[i].a, rows[i].b);
		ck_assert_uint_eq(a, b);
	}
	(void)meaning_of("{ alert: B, when: t > 60 }", &b);
	ck_assert_uint_ne(a, b);
}
END_TEST

/* Every prefix of a whole file, and every byte of it flipped, is read or refused. */
START_TEST(damaged_text)
{
	int err;

	for (size_t len = 0; len < strlen(whole); len++) {
		char *got = problems_of(whole, len, &err, NULL);
		ck_assert(err == 0 || got[0] != '\0');
		free(got);
	}
	for (size_t i = 0; i < strlen(whole); i++) {
		char *copy = xstrdup(whole);
		copy[i] = (char)(copy[i] ^ (1 << (i % 8)));
		char *got = problems_of(copy, strlen(whole), &err, NULL);
		ck_assert(err == 0 || got[0] != '\0');
		free(got);
		free(copy);
	}
}
END_TEST

START_TEST(many_problems_are_bounded)
{
	struct buf text = { 0 };
	int err;

	buf_add_str(&text, HEAD);
	for (int i = 0; i < 1000; i++)
		buf_addf(&text, "  - { alert: A%d }\n", i);
	char *got = problems_of(buf_str(&text), text.len, &err, NULL);
	size_t lines = 1;
	for (const char *s = got; *s; s++)
		lines += *s == '\n';
	ck_assert_uint_eq(lines, YAML_PROBLEMS_MAX);
	free(got);
	buf_fini(&text);
}
END_TEST

/* --- tests: --- */

struct outcome {
	size_t passed, failed;
	struct buf differences;
};

static void
on_result(void *arg, const char *name, bool passed)
{
	struct outcome *o = arg;

	ck_assert_ptr_nonnull(name);
	o->passed += passed;
	o->failed += !passed;
}

static void
on_difference(void *arg, uint32_t line, uint32_t column, const char *text)
{
	struct outcome *o = arg;

	buf_addf(&o->differences, "%u:%u: %s\n", line, column, text);
}

static int
run_tests(const char *tests, struct outcome *o, char **ret_problems)
{
	char *text = xasprintf("version: 1\nrules:\n  - { alert: Hot, when: t > attr.max ?? 35, "
			       "for: 2m, severity: { critical: t > 60 } }\n"
			       "tests:\n%s",
	    tests);
	struct problems *problems = xcalloc(1, sizeof(*problems));
	struct rule_test_report report = { on_result, on_difference, o };
	struct rule_file file;
	size_t failed = 0;
	int err;

	ck_assert_int_eq(rule_file_parse("x.yaml", bytes_of_str(text), &file, problems), 0);
	struct rule_index *index = rule_index_new(&file.entries[0].rule, 1);
	problems_fini(problems);
	err = rule_test_run(&file, index, problems, &report, &failed);
	ck_assert(err != 0 || failed == o->failed);
	*ret_problems = problems->count ? xasprintf("%u:%u: %s", problems->at[0].line,
					      problems->at[0].column, problems->at[0].text)
					: xstrdup("");
	rule_index_free(&index);
	rule_file_fini(&file);
	problems_fini(problems);
	free(problems);
	free(text);
	return err;
}

START_TEST(tests_pass_and_fail)
{
	struct outcome o = { 0 };
	char *problems;
	int err = run_tests("  - name: a\n    device: { id: d, attr: { max: 50 } }\n    feed: { t: "
			    "\"every 1m: 40x3 _x2 55x4 70 0\" }\n"
			    "    expect:\n      - { at: 6m, alert: Hot, state: pending }\n      - "
			    "{ at: 7m, alert: Hot, state: firing, severity: warning }\n"
			    "      - { at: 9m, alert: Hot, state: firing, severity: critical }\n   "
			    "   - { at: 10m, alert: Hot, state: cleared }\n"
			    "  - name: b\n    feed: { t: \"every 1s: 40\" }\n    expect:\n      - "
			    "{ at: 119s, alert: Hot, state: firing }\n"
			    "      - { at: 30d, alert: Hot, state: firing, severity: critical }\n",
	    &o, &problems);

	ck_assert_str_eq(problems, "");
	ck_assert_int_eq(err, 0);
	ck_assert_uint_eq(o.passed, 1);
	ck_assert_uint_eq(o.failed, 1);
	ck_assert_str_eq(buf_str(&o.differences),
	    "16:9: at 1m59s Hot is pending, expected firing\n"
	    "17:9: at 30d Hot is firing warning, expected firing critical\n");
	buf_fini(&o.differences);
	free(problems);
}
END_TEST

START_TEST(mistakes_in_tests)
{
	static const struct {
		const char *text;
		const char *want;
	} rows[] = {
		{ "  a: b\n", "5:3: a list of tests is expected here" },
		{ "  - x\n", "5:5: a test is expected here, beginning with name:" },
		{ "  - { name: a }\n", "5:5: a test needs name, feed and expect" },
		{ "  - { name: a, feeds: x }\n",
		    "5:16: unknown key \"feeds\" in a test, did you mean \"feed\"?" },
		{ "  - { name: a, feed: { t: 5 }, expect: [] }\n",
		    "5:27: samples are expected here, like \"every 1m: 29 31x12 _x3\"" },
		{ "  - { name: a, feed: { t: 'every 5: 1' }, expect: [] }\n",
		    "5:27: samples are expected here, like \"every 1m: 29 31x12 _x3\"" },
		{ "  - { name: a, feed: { t: 'every 5m: 1x9999999' }, expect: [] }\n",
		    "5:27: a feed has 1 to 1000000 samples and lasts 366d at most" },
		{ "  - { name: a, feed: { t: 'every 5d: 1x1000' }, expect: [] }\n",
		    "5:27: a feed has 1 to 1000000 samples and lasts 366d at most" },
		{ "  - { name: a, feed: { t: 'every 5m: 1x0' }, expect: [] }\n",
		    "5:27: a feed has 1 to 1000000 samples and lasts 366d at most" },
		{ "  - { name: a, feed: { t: 'every 5m: 1' }, expect: [] }\n",
		    "5:5: a test without an expectation tests nothing" },
		{ "  - { name: a, feed: {}, expect: [ { at: 1m } ] }\n",
		    "5:36: an expectation needs at, alert and state" },
		{ "  - { name: a, feed: {}, expect: [ { at: 1m, alert: B, state: firing } ] }\n",
		    "5:53: no rule of this file has that name" },
		{ "  - { name: a, feed: {}, expect: [ { at: 1m, alert: Hot, state: fire } ] }\n",
		    "5:65: a state is expected here: inactive, pending, firing, clearing or "
		    "cleared" },
		{ "  - { name: a, feed: {}, expect: [ { at: 1, alert: Hot, state: firing } ] }\n",
		    "5:42: duration \"1\" has no unit, write 1s, 1m or 1h" },
		{ "  - { name: a, device: { id: '' }, feed: {}, expect: [] }\n",
		    "5:24: a device id has 1 to 128 bytes" },
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct outcome o = { 0 };
		char *problems;
		int err = run_tests(rows[i].text, &o, &problems);
		ck_assert_int_eq(err, ERR_CONFIG);
		ck_assert_msg(strcmp(problems, rows[i].want) == 0, "%s\n  got  %s\n  want %s",
		    rows[i].text, problems, rows[i].want);
		free(problems);
		buf_fini(&o.differences);
	}
}
END_TEST

int
main(int argc, char **argv)
{
	Suite *s = suite_create("rule_text");
	TCase *tc = tcase_create("rule_text");

	(void)argc;
	(void)argv;
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, every_mistake_has_its_place);
	tcase_add_test(tc, a_bad_rule_disables_itself_only);
	tcase_add_test(tc, everything_is_read);
	tcase_add_test(tc, meaning);
	tcase_add_test(tc, damaged_text);
	tcase_add_test(tc, many_problems_are_bounded);
	tcase_add_test(tc, tests_pass_and_fail);
	tcase_add_test(tc, mistakes_in_tests);
	suite_add_tcase(s, tc);
	return unit_end(s);
}
