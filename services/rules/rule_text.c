/* rule_text.c - YAML -> rules, errors with their places; pure */
#include "rule_text.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "err.h"
#include "mem.h"
#include "rule_fields.h"

#define RUNBOOK_MAX 1024

/* What the rules of a file inherit. */
struct inherited {
	const char *file;
	const char *group;
	char *match;
	enum severity severity;
	int64_t repeat_us;
	char *receivers;
};

static bool
read_levels(const struct yaml_node *n, struct problems *p, struct rule *r)
{
	static const char *const names[] = { "info", "warning", "critical" };
	bool ok = true;

	if (n->kind == YAML_SCALAR)
		return text_severity(n, p, &r->severity);
	if (!text_is(
		n, YAML_MAP, "a severity, or a map of severity: condition, is expected here", p) ||
	    !text_keys(n, names, COUNT_OF(names), "severity", p))
		return false;
	for (unsigned i = 0; i < SEVERITY_COUNT; i++) {
		const struct yaml_node *c = yaml_child(n, names[i]);
		if (c && !text_expr(c, p, &r->slots, &r->levels[i]))
			ok = false;
	}
	return ok;
}

static bool
read_summary(const struct yaml_node *n, struct problems *p, struct rule *r)
{
	struct expr_error err;
	struct bytes text;

	if (!text_string(n, p, &text))
		return false;
	if (template_parse(text, &r->slots, &r->summary, &err) != 0)
		return text_error_in(p, n, &err);
	return true;
}

/* "3m", or with `expect: every 60s`: "3 intervals" */
static bool
read_after(const struct yaml_node *map, struct problems *p, struct rule *r)
{
	const struct yaml_node *after = yaml_child(map, "after"),
			       *expect = yaml_child(map, "expect");
	int64_t every = 0;
	long intervals;
	char *end;

	if (expect) {
		struct yaml_node every_node = *expect;
		if (!text_is(
			expect, YAML_SCALAR, "an interval is expected here, like every 60s", p))
			return false;
		if (strncmp((const char *)expect->text.data, "every ", 6) != 0)
			return text_error(
			    p, expect, "an interval is expected here, like every 60s");
		every_node.text = bytes_of(expect->text.data + 6, expect->text.len - 6);
		every_node.column += 6;
		if (!text_duration(&every_node, p, &every))
			return false;
	}
	if (after == NULL) {
		problem_add(p, false, map->line, map->column,
		    "\"missing\" needs \"after\": for how long, like "
		    "after: 3m");
		return false;
	}
	intervals =
	    after->kind == YAML_SCALAR ? strtol((const char *)after->text.data, &end, 10) : 0;
	if (intervals > 0 && (strcmp(end, " intervals") == 0 || strcmp(end, " interval") == 0)) {
		if (expect == NULL)
			return text_error(
			    p, after, "how long an interval is must be said: expect: every 60s");
		if (intervals > 1000000 || every > RULE_DURATION_MAX_US / intervals)
			return text_error(p, after, "a duration may be 366d at most");
		r->after_us = every * intervals;
	} else if (!text_duration(after, p, &r->after_us)) {
		return false;
	}
	if (r->after_us < 1000000)
		return text_error(p, after, "absence is seen once a second: write 1s or more");
	return true;
}

static bool
read_absence(const struct yaml_node *map, const struct yaml_node *missing, struct problems *p,
    struct rule *r)
{
	static const char *const without[] = { "when", "for", "clear", "clear_for" };
	struct bytes name;
	bool ok = true;

	r->kind = RULE_ABSENCE;
	for (size_t i = 0; i < COUNT_OF(without); i++) {
		const struct yaml_node *c = yaml_child(map, without[i]);
		if (c == NULL)
			continue;
		problem_add(p, false, c->key_line, c->key_column,
		    "\"%s\" does not go with \"missing\": an "
		    "absence begins by \"after\" and ends with the next reading",
		    without[i]);
		ok = false;
	}
	if (!text_string(missing, p, &name))
		return false;
	if (name.len == 0 || name.len > EXPR_NAME_MAX || memchr(name.data, ' ', name.len))
		return text_error(p, missing, "the name of one metric is expected here");
	if (expr_slots_add(&r->slots, EXPR_METRIC, name, true, &r->absent) != 0)
		return text_error(p, missing, "the rule names too many metrics");
	return read_after(map, p, r) && ok;
}

static bool
read_threshold(const struct yaml_node *map, struct problems *p, struct rule *r)
{
	static const char *const with_missing[] = { "after", "expect" };
	const struct yaml_node *c = yaml_child(map, "when");
	bool ok = true;

	r->kind = RULE_THRESHOLD;
	if (c == NULL)
		ok = text_error(p, map,
		    "the rule has neither \"when\" nor \"missing\": write its condition, like "
		    "when: temperature > 35");
	else
		ok = text_expr(c, p, &r->slots, &r->when);
	for (size_t i = 0; i < COUNT_OF(with_missing); i++) {
		if ((c = yaml_child(map, with_missing[i])) != NULL)
			ok = text_error_key(p, c, "this key goes with \"missing\" only");
	}
	if ((c = yaml_child(map, "clear")) != NULL)
		ok &= text_expr(c, p, &r->slots, &r->clear);
	if ((c = yaml_child(map, "for")) != NULL)
		ok &= text_duration(c, p, &r->for_us);
	if ((c = yaml_child(map, "clear_for")) != NULL)
		ok &= text_duration(c, p, &r->clear_for_us);
	return ok;
}

/* Part of the language, not of this version. */
static bool
refuse_unsupported(const struct yaml_node *map, struct problems *p)
{
	static const struct {
		const char *key;
		const char *text;
	} keys[] = {
		{ "during", "\"during\" is not supported by this version: the rule would be in "
			    "force at all hours" },
		{ "by", "\"by\" is not supported by this version: a rule looks at one device" },
		{ "quality", "\"quality\" is not supported by this version: remove it, or what it "
			     "says would be "
			     "silently ignored" },
	};
	bool ok = true;

	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		const struct yaml_node *c = yaml_child(map, keys[i].key);
		if (c)
			ok = text_error_key(p, c, keys[i].text);
	}
	return ok;
}

static void
warn_about_context(const struct yaml_node *map, struct problems *p, const struct rule *r)
{
	for (uint32_t i = 0; i < r->slots.count; i++) {
		const struct expr_slot *s = &r->slots.at[i];
		if (s->source == EXPR_METRIC)
			continue;
		problem_add(p, true, map->line, map->column,
		    "devices have no %s in this version: %s.%s of rule "
		    "\"%s\" is always missing",
		    s->source == EXPR_ATTR ? "attributes" : "tags",
		    s->source == EXPR_ATTR ? "attr" : "tags", s->name, r->alert);
	}
}

static bool
read_presentation(const struct yaml_node *map, struct problems *p, struct rule *r)
{
	const struct yaml_node *c;
	struct bytes text;
	bool ok = true;

	if ((c = yaml_child(map, "severity")) != NULL)
		ok &= read_levels(c, p, r);
	if ((c = yaml_child(map, "repeat")) != NULL) {
		ok &= text_duration(c, p, &r->repeat_us);
		if (r->repeat_us > 0 && r->repeat_us < 1000000)
			ok = text_error(p, c, "write 1s or more");
	}
	if ((c = yaml_child(map, "notify")) != NULL) {
		free(r->receivers);
		r->receivers = NULL;
		ok &= text_list(c, p, ',', RECEIVERS_MAX, &r->receivers);
	}
	if ((c = yaml_child(map, "runbook")) != NULL) {
		if (!text_string(c, p, &text))
			ok = false;
		else if (text.len > RUNBOOK_MAX || !text_is_printable(text))
			ok = text_error(p, c, "a runbook is one line of at most 1024 bytes");
		else
			r->runbook = xstrndup((const char *)text.data, text.len);
	}
	/* last: it warns of names that nearly are those of the expressions */
	if ((c = yaml_child(map, "summary")) != NULL)
		ok &= read_summary(c, p, r);
	return ok;
}

static struct rule *
read_rule(const struct yaml_node *map, struct problems *p, const struct inherited *from,
    const char *alert)
{
	static const char *const known[] = {
		"alert",
		"when",
		"for",
		"clear",
		"clear_for",
		"severity",
		"during",
		"repeat",
		"summary",
		"runbook",
		"notify",
		"match",
		"missing",
		"after",
		"expect",
		"by",
	};
	const struct yaml_node *missing = yaml_child(map, "missing"),
			       *match = yaml_child(map, "match");
	struct rule *r = xcalloc(1, sizeof(*r));
	bool ok = text_keys(map, known, COUNT_OF(known), "a rule", p);

	r->refs = 1;
	r->group = xstrdup(from->group);
	r->alert = xstrdup(alert ? alert : "");
	r->file = xstrdup(from->file);
	r->line = map->line;
	r->match = from->match ? xstrdup(from->match) : NULL;
	r->severity = from->severity;
	r->repeat_us = from->repeat_us;
	r->receivers = from->receivers ? xstrdup(from->receivers) : NULL;
	if (alert == NULL && yaml_child(map, "alert") == NULL)
		ok = text_error(p, map, "the rule has no name: write alert: Name");
	ok &= alert != NULL;
	ok &= refuse_unsupported(map, p);
	if (match)
		ok &= text_match(match, p, &r->own_match);
	ok &= missing ? read_absence(map, missing, p, r) : read_threshold(map, p, r);
	ok &= read_presentation(map, p, r);
	if (ok && r->kind == RULE_THRESHOLD && r->slots.count == 0)
		ok = text_error(p, map,
		    "no condition of this rule names a metric: it would never be looked at");
	if (!ok) {
		rule_unref(&r);
		return NULL;
	}
	rule_seal(r);
	warn_about_context(map, p, r);
	return r;
}

static bool
read_defaults(const struct yaml_node *n, struct problems *p, struct inherited *in)
{
	static const char *const known[] = { "severity", "notify", "repeat" };
	const struct yaml_node *c;
	bool ok;

	if (!text_is(n, YAML_MAP,
		"what rules inherit is expected here: { severity: warning, notify: [ops] }", p))
		return false;
	ok = text_keys(n, known, COUNT_OF(known), "defaults", p);
	if ((c = yaml_child(n, "severity")) != NULL)
		ok &= text_severity(c, p, &in->severity);
	if ((c = yaml_child(n, "notify")) != NULL)
		ok &= text_list(c, p, ',', RECEIVERS_MAX, &in->receivers);
	if ((c = yaml_child(n, "repeat")) != NULL)
		ok &= text_duration(c, p, &in->repeat_us);
	return ok;
}

/* Everything but the rules. */
static bool
read_head(
    const struct yaml_node *root, struct problems *p, struct rule_file *file, struct inherited *in)
{
	static const char *const known[] = { "version", "group", "match", "defaults", "rules",
		"quality", "tests" };
	const struct yaml_node *c;
	bool ok = text_keys(root, known, COUNT_OF(known), "a rules file", p);

	ok &= refuse_unsupported(root, p);
	c = yaml_child(root, "version");
	if (c == NULL)
		ok = text_error(p, root,
		    "the file does not say which version of the language it is in: write "
		    "version: 1");
	else if (c->kind != YAML_SCALAR || !bytes_equal_str(c->text, "1"))
		ok = text_error(p, c, "this version of the language is unknown here; there is 1");
	if ((c = yaml_child(root, "group")) != NULL) {
		char *group = NULL;
		if (text_name(c, p, &group)) {
			free(file->group);
			file->group = group;
		} else {
			ok = false;
		}
	}
	if ((c = yaml_child(root, "match")) != NULL)
		ok &= text_match(c, p, &in->match);
	if ((c = yaml_child(root, "defaults")) != NULL)
		ok &= read_defaults(c, p, in);
	in->group = file->group;
	return ok;
}

/* The alert names of a file, to find what is there twice: open addressing, empty is NULL. */
struct names {
	const char **slots;
	size_t mask;
};

static bool
names_add(struct names *names, const char *alert)
{
	size_t i = XXH3_64bits(alert, strlen(alert)) & names->mask;

	for (; names->slots[i]; i = (i + 1) & names->mask) {
		if (strcmp(names->slots[i], alert) == 0)
			return false;
	}
	names->slots[i] = alert;
	return true;
}

static bool
read_rules(const struct yaml_node *list, struct problems *p, struct rule_file *file,
    const struct inherited *in)
{
	struct names names = { .mask = 15 };
	size_t count = 0;

	if (!text_is(list, YAML_LIST,
		"a list of rules is expected here, each with \"- alert: Name\"", p))
		return false;
	for (const struct yaml_node *n = list->first; n; n = n->next)
		count++;
	if (count > RULE_FILE_RULES_MAX)
		return text_error(p, list, "the file has more than 100000 rules");
	while (names.mask < count * 2)
		names.mask = names.mask * 2 + 1;
	names.slots = xcalloc(names.mask + 1, sizeof(names.slots[0]));
	file->entries = xcalloc(count ? count : 1, sizeof(file->entries[0]));
	for (const struct yaml_node *n = list->first; n; n = n->next) {
		struct rule_entry entry = { 0 };
		const struct yaml_node *name;

		if (!text_is(n, YAML_MAP, "a rule is expected here, beginning with alert: Name", p))
			continue;
		name = yaml_child(n, "alert");
		if (name && !text_name(name, p, &entry.alert))
			entry.alert = NULL;
		if (entry.alert && !names_add(&names, entry.alert)) {
			problem_add(p, false, name->line, name->column,
			    "alert \"%s\" is in this file twice", entry.alert);
			free(entry.alert);
			continue;
		}
		entry.rule = read_rule(n, p, in, entry.alert);
		file->entries[file->count++] = entry;
	}
	free(names.slots);
	return true;
}

static char *
group_of(const char *name)
{
	const char *base = strrchr(name, '/');
	const char *dot;
	size_t len;

	base = base ? base + 1 : name;
	dot = strrchr(base, '.');
	len = dot && dot > base ? (size_t)(dot - base) : strlen(base);
	return xstrndup(base, len < RULE_NAME_MAX ? len : RULE_NAME_MAX);
}

int
rule_file_parse(
    const char *name, struct bytes text, struct rule_file *ret_file, struct problems *problems)
{
	struct inherited in = { .file = name, .severity = SEVERITY_WARNING };
	struct rule_file file = { .name = xstrdup(name), .group = group_of(name) };
	const struct yaml_node *rules;
	bool ok;

	if (yaml_tree_parse(text, &file.tree, problems) != 0) {
		ok = false;
	} else if (file.tree.root == NULL) {
		problem_add(problems, false, 1, 1, "the file is empty: it begins with version: 1");
		ok = false;
	} else {
		ok = text_is(file.tree.root, YAML_MAP, "a rules file begins with version: 1",
			 problems) &&
		     read_head(file.tree.root, problems, &file, &in);
	}
	if (ok) {
		rules = yaml_child(file.tree.root, "rules");
		file.tests = yaml_child(file.tree.root, "tests");
		ok = rules == NULL
			 ? text_error(problems, file.tree.root, "the file has no \"rules\"")
			 : read_rules(rules, problems, &file, &in);
	}
	free(in.match);
	free(in.receivers);
	if (!ok) {
		rule_file_fini(&file);
		return ERR_CONFIG;
	}
	*ret_file = file;
	return 0;
}

void
rule_file_fini(struct rule_file *file)
{
	for (size_t i = 0; i < file->count; i++) {
		free(file->entries[i].alert);
		rule_unref(&file->entries[i].rule);
	}
	free(file->entries);
	free(file->group);
	free(file->name);
	yaml_tree_fini(&file->tree);
	*file = (struct rule_file){ 0 };
}
