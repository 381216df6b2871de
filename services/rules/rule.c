/* rule.c - one alert definition, checked and compiled; pure */
#include "rule.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "err.h"
#include "glob.h"

static const char *const severities[SEVERITY_COUNT] = { "info", "warning", "critical" };

const char *
severity_name(enum severity s)
{
	return severities[s];
}

int
severity_of(struct bytes name, enum severity *ret_severity)
{
	for (unsigned i = 0; i < SEVERITY_COUNT; i++) {
		if (bytes_equal_str(name, severities[i])) {
			*ret_severity = (enum severity)i;
			return 0;
		}
	}
	return ERR_NOT_FOUND;
}

struct rule *
rule_ref(struct rule *r)
{
	r->refs++;
	return r;
}

void
rule_unref(struct rule **ref)
{
	struct rule *r = *ref;

	*ref = NULL;
	if (r == NULL || --r->refs > 0)
		return;
	free(r->group);
	free(r->alert);
	free(r->file);
	free(r->match);
	free(r->own_match);
	expr_free(&r->when);
	expr_free(&r->clear);
	for (unsigned i = 0; i < SEVERITY_COUNT; i++)
		expr_free(&r->levels[i]);
	template_free(&r->summary);
	free(r->runbook);
	free(r->receivers);
	expr_slots_fini(&r->slots);
	free(r);
}

bool
rule_matches(const struct rule *r, struct bytes device)
{
	return (r->match == NULL || glob_match_any(r->match, device)) &&
	       (r->own_match == NULL || glob_match_any(r->own_match, device));
}

static void
add_expr(struct buf *text, const char *key, const struct expr *e)
{
	if (e == NULL)
		return;
	buf_addf(text, "%s %zu ", key, expr_canonical(e).len);
	buf_add(text, expr_canonical(e).data, expr_canonical(e).len);
}

void
rule_seal(struct rule *r)
{
	struct buf text = { 0 };

	buf_addf(&text, "%s%c%s", r->group, 0, r->alert);
	r->identity = XXH3_64bits(text.data, text.len);
	buf_clear(&text);
	buf_addf(&text, "1 %d for %" PRId64 " clear_for %" PRId64 " ", (int)r->kind, r->for_us,
	    r->clear_for_us);
	buf_addf(&text, "match %s own %s ", r->match ? r->match : "*",
	    r->own_match ? r->own_match : "*");
	add_expr(&text, "when", r->when);
	add_expr(&text, "clear", r->clear);
	if (r->kind == RULE_ABSENCE)
		buf_addf(
		    &text, "missing %s after %" PRId64, r->slots.at[r->absent].name, r->after_us);
	r->meaning = XXH3_64bits(text.data, text.len);
	buf_fini(&text);
}
