/* rule.h - one alert definition, checked and compiled; never changes after it was made */
#ifndef ROOST_RULE_H
#define ROOST_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "expr.h"
#include "template.h"

#define RULE_NAME_MAX 128
#define RULE_DURATION_MAX_US (366ll * 86400 * 1000000)

enum severity { SEVERITY_INFO, SEVERITY_WARNING, SEVERITY_CRITICAL };
#define SEVERITY_COUNT 3

/* "info", "warning", "critical" */
const char *severity_name(enum severity s);
/* 0; ERR_NOT_FOUND. */
int severity_of(struct bytes name, enum severity *ret_severity);

enum rule_kind {
	RULE_THRESHOLD,		/* when: a condition over the latest values */
	RULE_ABSENCE,		/* missing: no reading of a metric for a time */
};

struct rule {
	unsigned refs;
	enum rule_kind kind;
	uint64_t identity;	/* XXH3 of group and alert */
	uint64_t meaning;	/* XXH3 of what decides when it fires: equal meanings keep all state */
	char *group;
	char *alert;
	char *file;
	uint32_t line;

	char *match;		/* glob_match_any() list of the file; NULL: every device */
	char *own_match;	/* narrows it; NULL: does not */

	struct expr *when;	/* THRESHOLD */
	struct expr *clear;	/* NULL: when `when` is false */
	uint32_t absent;	/* ABSENCE: the slot it waits for */
	int64_t after_us;	/* ABSENCE */
	int64_t for_us;
	int64_t clear_for_us;
	int64_t repeat_us;	/* 0: told once */

	enum severity severity;			/* unless a level's condition holds; the highest counts */
	struct expr *levels[SEVERITY_COUNT];

	struct template *summary;	/* may be NULL */
	char *runbook;			/* may be NULL */
	char *receivers;		/* names, comma separated; may be NULL */
	struct expr_slots slots;
};

struct rule *rule_ref(struct rule *r);
void rule_unref(struct rule **r);
bool rule_matches(const struct rule *r, struct bytes device);
/* Fills identity and meaning from the rest. */
void rule_seal(struct rule *r);

#endif
