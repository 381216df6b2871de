/* template.c - the summary of an alert: text with {names} -> text with values; pure */
#include "template.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "expr_lex.h"
#include "mem.h"
#include "suggest.h"

enum part_kind {
	PART_TEXT,
	PART_DEVICE,
	PART_ALERT,
	PART_GROUP,
	PART_SEVERITY,
	PART_DURATION,
	PART_SLOT
};

#define DECIMALS_SHORTEST (-1)
#define DECIMALS_MAX 9

struct part {
	enum part_kind kind;
	int decimals;
	uint32_t slot;
	struct bytes text; /* in template.text */
};

struct template
{
	struct part parts[TEMPLATE_PARTS_MAX];
	size_t count;
	uint8_t text[];
};

static const struct {
	const char *name;
	enum part_kind kind;
} words[] = {
	{ "device", PART_DEVICE },
	{ "alert", PART_ALERT },
	{ "group", PART_GROUP },
	{ "severity", PART_SEVERITY },
	{ "duration", PART_DURATION },
};

static int
add_part(struct template *t, size_t at, struct part part, struct expr_error *err)
{
	if (t->count == TEMPLATE_PARTS_MAX)
		return expr_fail(
		    err, ERR_TOO_BIG, at, "the text has more than %d parts", TEMPLATE_PARTS_MAX);
	t->parts[t->count++] = part;
	return 0;
}

/* A name that no expression of the rule knows but that is nearly one it knows is a slip. */
static const char *
near_slot(const struct expr_slots *slots, struct bytes name)
{
	const char *names[EXPR_SLOTS_MAX + COUNT_OF(words)];
	size_t n = 0;

	for (uint32_t i = 0; i < slots->count; i++) {
		if (slots->at[i].source != EXPR_METRIC)
			continue;
		if (bytes_equal_str(name, slots->at[i].name))
			return NULL;
		names[n++] = slots->at[i].name;
	}
	for (size_t i = 0; i < COUNT_OF(words); i++)
		names[n++] = words[i].name;
	return suggest(name, names, n);
}

/* The inside of {...} */
static int
add_name(struct template *t, struct bytes inside, size_t at, struct expr_slots *slots,
    struct expr_error *err)
{
	struct part part = { .kind = PART_SLOT, .decimals = DECIMALS_SHORTEST };
	const uint8_t *bar = inside.len ? memchr(inside.data, '|', inside.len) : NULL;
	struct bytes name = bytes_of(inside.data, bar ? (size_t)(bar - inside.data) : inside.len);
	enum expr_source source = EXPR_METRIC;
	const char *near;

	if (bar) {
		size_t len = inside.len - name.len - 1;
		if (len != 1 || bar[1] < '0' || bar[1] > '0' + DECIMALS_MAX)
			return expr_fail(err, ERR_MALFORMED, at + name.len + 1,
			    "after \"|\" stands the number of decimals, 0 to %d", DECIMALS_MAX);
		part.decimals = bar[1] - '0';
	}
	if (name.len == 0 || name.len > EXPR_NAME_MAX || memchr(name.data, ' ', name.len))
		return expr_fail(err, ERR_MALFORMED, at,
		    "between braces stands a name, like {device} or "
		    "{temperature|1}; write {{ for a brace");
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (bytes_equal_str(name, words[i].name)) {
			part.kind = words[i].kind;
			return add_part(t, at, part, err);
		}
	}
	if (name.len > 5 && memcmp(name.data, "attr.", 5) == 0)
		source = EXPR_ATTR;
	else if (name.len > 5 && memcmp(name.data, "tags.", 5) == 0)
		source = EXPR_TAG;
	else if ((near = near_slot(slots, name)) != NULL)
		return expr_fail(err, ERR_MALFORMED, at,
		    "unknown name \"%.*s\", did you mean \"%s\"?", (int)name.len,
		    (const char *)name.data, near);
	if (source != EXPR_METRIC)
		name = bytes_of(name.data + 5, name.len - 5);
	if (expr_slots_add(slots, source, name, false, &part.slot) != 0)
		return expr_fail(err, ERR_TOO_BIG, at,
		    "a rule may name %d metrics, this is one more", EXPR_SLOTS_MAX);
	return add_part(t, at, part, err);
}

static int
parse(struct template *t, struct bytes text, struct expr_slots *slots, struct expr_error *err)
{
	size_t start = 0, i = 0;
	int rc;

	while (i <= text.len) {
		int c = i < text.len ? text.data[i] : -1;
		bool twice = c >= 0 && i + 1 < text.len && text.data[i + 1] == c;
		if (c >= 0 && c != '{' && c != '}') {
			i++;
			continue;
		}
		size_t len = i - start + (twice ? 1 : 0); /* of two braces the first is kept */
		struct part part = { .kind = PART_TEXT, .text = bytes_of(t->text + start, len) };
		if (len > 0 && (rc = add_part(t, start, part, err)))
			return rc;
		if (c < 0)
			return 0;
		if (twice) {
			start = i += 2;
			continue;
		}
		const uint8_t *end = memchr(text.data + i, '}', text.len - i);
		if (c == '}' || end == NULL)
			return expr_fail(err, ERR_MALFORMED, i,
			    c == '}' ? "this brace closes nothing; write }} for a brace"
				     : "this brace is not closed; write {{ for a brace");
		len = (size_t)(end - (text.data + i)) - 1;
		if ((rc = add_name(t, bytes_of(t->text + i + 1, len), i + 1, slots, err)))
			return rc;
		start = i += len + 2;
	}
	return 0;
}

int
template_parse(struct bytes text, struct expr_slots *slots, struct template **ret_template,
    struct expr_error *err)
{
	struct template *t;
	int rc;

	if (text.len > TEMPLATE_TEXT_MAX)
		return expr_fail(
		    err, ERR_TOO_BIG, 0, "the text is longer than %d bytes", TEMPLATE_TEXT_MAX);
	t = xcalloc(1, sizeof(*t) + text.len);
	if (text.len)
		memcpy(t->text, text.data, text.len);
	rc = parse(t, text, slots, err);
	if (rc)
		free(t);
	else
		*ret_template = t;
	return rc;
}

void
template_free(struct template **t)
{
	free(*t);
	*t = NULL;
}

const char *
template_number(double n, char out[TEMPLATE_NUMBER_MAX])
{
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(out, TEMPLATE_NUMBER_MAX, "%.*g", digits, n);
		if (strtod(out, NULL) == n)
			break;
	}
	return out;
}

const char *
template_duration(int64_t us, char out[TEMPLATE_DURATION_MAX])
{
	static const struct {
		int64_t seconds;
		const char *name;
	} units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "m" }, { 1, "s" } };
	int64_t s = us / 1000000;

	if (s <= 0) {
		snprintf(out, TEMPLATE_DURATION_MAX, "0s");
		return out;
	}
	for (size_t i = 0; i < COUNT_OF(units); i++) {
		int64_t first = s / units[i].seconds, rest = s % units[i].seconds, second = 0;
		if (first == 0)
			continue;
		if (i + 1 < COUNT_OF(units))
			second = rest / units[i + 1].seconds;
		if (second)
			snprintf(out, TEMPLATE_DURATION_MAX, "%" PRId64 "%s %" PRId64 "%s", first,
			    units[i].name, second, units[i + 1].name);
		else
			snprintf(out, TEMPLATE_DURATION_MAX, "%" PRId64 "%s", first, units[i].name);
		break;
	}
	return out;
}

static void
render_value(const struct expr_value *v, int decimals, struct buf *out)
{
	char number[TEMPLATE_NUMBER_MAX];

	switch (v->kind) {
	case EXPR_MISSING:
		buf_add_str(out, "missing");
		break;
	case EXPR_NUMBER:
		if (decimals == DECIMALS_SHORTEST)
			buf_add_str(out, template_number(v->v.n, number));
		else
			buf_addf(out, "%.*f", decimals, v->v.n);
		break;
	case EXPR_BOOL:
		buf_add_str(out, v->v.b ? "true" : "false");
		break;
	case EXPR_STRING:
		buf_add(out, v->v.s.data, v->v.s.len);
		break;
	}
}

void
template_render(const struct template *t, const struct template_input *in, struct buf *out)
{
	size_t start = out->len;
	char duration[TEMPLATE_DURATION_MAX];

	for (size_t i = 0; i < t->count; i++) {
		const struct part *p = &t->parts[i];
		switch (p->kind) {
		case PART_TEXT:
			buf_add(out, p->text.data, p->text.len);
			break;
		case PART_DEVICE:
			buf_add(out, in->values.device.data, in->values.device.len);
			break;
		case PART_ALERT:
			buf_add_str(out, in->alert);
			break;
		case PART_GROUP:
			buf_add_str(out, in->group);
			break;
		case PART_SEVERITY:
			buf_add_str(out, in->severity);
			break;
		case PART_DURATION:
			buf_add_str(out, template_duration(in->duration_us, duration));
			break;
		case PART_SLOT:
			render_value(
			    &in->values.values[in->values.columns[p->slot]], p->decimals, out);
			break;
		}
	}
	if (out->len - start > TEMPLATE_TEXT_MAX) {
		out->len = start + TEMPLATE_TEXT_MAX;
		while (out->len > start && (out->data[out->len] & 0xc0) == 0x80)
			out->len--;
	}
}
