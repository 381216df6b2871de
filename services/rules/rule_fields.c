/* rule_fields.c - the values of a rules file: texts, durations, names, lists, expressions; pure */
#include "rule_fields.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "err.h"
#include "mem.h"
#include "suggest.h"

#define LIST_MAX 64
#define MATCH_MAX 8192 /* bytes of the patterns in match:, joined */

bool
text_error(struct problems *p, const struct yaml_node *n, const char *text)
{
	problem_add(p, false, n->line, n->column, "%s", text);
	return false;
}

bool
text_error_key(struct problems *p, const struct yaml_node *n, const char *text)
{
	problem_add(p, false, n->key_line, n->key_column, "%s", text);
	return false;
}

bool
text_error_in(struct problems *p, const struct yaml_node *n, const struct expr_error *err)
{
	uint32_t line, column;

	yaml_place(n, err->at, &line, &column);
	problem_add(p, false, line, column, "%s", err->text);
	return false;
}

bool
text_is(const struct yaml_node *n, enum yaml_kind kind, const char *what, struct problems *p)
{
	if (n->kind == kind)
		return true;
	problem_add(p, false, n->line, n->column, "%s", what);
	return false;
}

bool
text_string(const struct yaml_node *n, struct problems *p, struct bytes *ret_text)
{
	static const char *const surprising[] = { "yes", "no", "on", "off", "true", "false",
		"null" };
	const char *s = (const char *)n->text.data;

	if (!text_is(n, YAML_SCALAR, "a text is expected here", p))
		return false;
	for (size_t i = 0; i < COUNT_OF(surprising) && !n->quoted; i++) {
		if (strcasecmp(s, surprising[i]) != 0)
			continue;
		problem_add(p, false, n->line, n->column,
		    "write \"%s\" in quotes: without them YAML does not read it as a text", s);
		return false;
	}
	if (!n->quoted && (n->text.len == 0 || strcmp(s, "~") == 0))
		return text_error(p, n, "a text is expected here, nothing is given");
	*ret_text = n->text;
	return true;
}

bool
text_duration(const struct yaml_node *n, struct problems *p, int64_t *ret_us)
{
	int64_t us;

	if (!text_is(n, YAML_SCALAR, "a duration is expected here, like 90s, 10m, 2h or 7d", p))
		return false;
	if (clock_parse_duration(n->text, &us) != 0 || us < 0) {
		bool digits = n->text.len > 0 &&
			      strspn((const char *)n->text.data, "0123456789.") == n->text.len;
		problem_add(p, false, n->line, n->column,
		    digits
			? "duration \"%s\" has no unit, write %ss, %sm or %sh"
			: "\"%.40s\" is no duration; durations are written like 90s, 10m, 2h or 7d",
		    (const char *)n->text.data, (const char *)n->text.data,
		    (const char *)n->text.data, (const char *)n->text.data);
		return false;
	}
	if (us > RULE_DURATION_MAX_US)
		return text_error(p, n, "a duration may be 366d at most");
	*ret_us = us;
	return true;
}

bool
text_keys(const struct yaml_node *map, const char *const *known, size_t n, const char *where,
    struct problems *p)
{
	bool ok = true;

	for (const struct yaml_node *c = map->first; c; c = c->next) {
		const char *key = (const char *)c->key.data;
		const char *near = suggest(c->key, known, n);
		bool found = false;

		for (size_t i = 0; i < n; i++)
			found |= strcmp(known[i], key) == 0;
		if (found)
			continue;
		ok = false;
		if (near)
			problem_add(p, false, c->key_line, c->key_column,
			    "unknown key \"%.60s\" in %s, did you mean \"%s\"?", key, where, near);
		else
			problem_add(p, false, c->key_line, c->key_column,
			    "unknown key \"%.60s\" in %s", key, where);
	}
	return ok;
}

bool
text_is_printable(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < 0x20 || text.data[i] == 0x7f)
			return false;
	}
	return true;
}

bool
text_name(const struct yaml_node *n, struct problems *p, char **ret_name)
{
	struct bytes text;

	if (!text_string(n, p, &text))
		return false;
	if (text.len == 0 || text.len > RULE_NAME_MAX || !text_is_printable(text))
		return text_error(p, n, "a name has 1 to 128 bytes and no control characters");
	*ret_name = xstrndup((const char *)text.data, text.len);
	return true;
}

bool
text_severity(const struct yaml_node *n, struct problems *p, enum severity *ret_severity)
{
	static const char *const names[] = { "info", "warning", "critical" };
	const char *near;

	if (!text_is(n, YAML_SCALAR, "a severity is expected here: info, warning or critical", p))
		return false;
	if (severity_of(n->text, ret_severity) == 0)
		return true;
	near = suggest(n->text, names, COUNT_OF(names));
	if (near)
		problem_add(p, false, n->line, n->column,
		    "unknown severity \"%.40s\", did you mean \"%s\"?", (const char *)n->text.data,
		    near);
	else
		problem_add(p, false, n->line, n->column,
		    "unknown severity \"%.40s\"; there are info, warning and critical",
		    (const char *)n->text.data);
	return false;
}

/* One text or a list of texts -> joined by separator. */
bool
text_list(
    const struct yaml_node *n, struct problems *p, char separator, size_t max, char **ret_joined)
{
	const struct yaml_node *item = n->kind == YAML_LIST ? n->first : n;
	struct buf joined = { 0 };
	struct bytes text;
	size_t count = 0;
	bool ok = true;

	if (n->kind == YAML_MAP)
		return text_error(p, n, "a text or a list of texts is expected here");
	for (; item && ok; item = n->kind == YAML_LIST ? item->next : NULL) {
		ok = text_string(item, p, &text);
		if (!ok)
			break;
		if (text.len == 0 || !text_is_printable(text) ||
		    memchr(text.data, separator, text.len) || ++count > LIST_MAX ||
		    text.len >= max - joined.len) {
			ok = text_error(p, item,
			    "this text is empty, too long, one too many or has characters that "
			    "do not belong here");
			break;
		}
		if (joined.len)
			buf_add_u8(&joined, (uint8_t)separator);
		buf_add(&joined, text.data, text.len);
	}
	if (ok && joined.len == 0)
		ok = text_error(p, n, "the list is empty");
	if (ok)
		*ret_joined = xstrdup(buf_str(&joined));
	buf_fini(&joined);
	return ok;
}

bool
text_match(const struct yaml_node *n, struct problems *p, char **ret_match)
{
	static const char *const known[] = { "device", "profile", "tags" };
	const struct yaml_node *device;
	bool ok = true;

	if (!text_is(n, YAML_MAP, "what devices it is about is expected here: { device: \"gh-*\" }",
		p) ||
	    !text_keys(n, known, COUNT_OF(known), "match", p))
		return false;
	for (size_t i = 1; i < COUNT_OF(known); i++) {
		const struct yaml_node *c = yaml_child(n, known[i]);
		if (c == NULL)
			continue;
		problem_add(p, false, c->key_line, c->key_column,
		    "devices have no %s in this version: match by "
		    "device id, like { device: \"gh-*\" }",
		    i == 1 ? "profile" : "tags");
		ok = false;
	}
	device = yaml_child(n, "device");
	if (ok && device == NULL)
		return text_error(
		    p, n, "no device is named; write { device: \"gh-*\" } or leave match out");
	return ok && text_list(device, p, '\n', MATCH_MAX, ret_match);
}

bool
text_expr(
    const struct yaml_node *n, struct problems *p, struct expr_slots *slots, struct expr **ret_expr)
{
	static const char *const surprising[] = { "yes", "no", "on", "off" };
	struct expr_error err;

	if (!text_is(n, YAML_SCALAR, "an expression is expected here", p))
		return false;
	for (size_t i = 0; i < COUNT_OF(surprising) && !n->quoted; i++) {
		if (strcasecmp((const char *)n->text.data, surprising[i]) == 0)
			return text_error(p, n,
			    "yes, no, on and off are no conditions; write true or false, or a "
			    "comparison");
	}
	if (expr_parse(n->text, EXPR_WANT_CONDITION, slots, ret_expr, &err) != 0)
		return text_error_in(p, n, &err);
	return true;
}
