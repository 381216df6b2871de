/* template.h - the summary of an alert: "{device}: {temperature|1} °C for {duration}"
 *
 * {name|decimals}; name is device, alert, group, severity, duration (since the condition began to hold) or a metric.
 * {{ and }} stand for braces. A missing value is written as "missing". */
#ifndef ROOST_TEMPLATE_H
#define ROOST_TEMPLATE_H

#include "expr.h"

#define TEMPLATE_TEXT_MAX 1024	/* bytes of a rendered text; cut there, between characters */
#define TEMPLATE_PARTS_MAX 64

struct template;

/* Metrics are added to slots, not as triggers. 0; ERR_MALFORMED, ERR_TOO_BIG with err filled. */
int template_parse(struct bytes text, struct expr_slots *slots, struct template **ret_template, struct expr_error *err);
void template_free(struct template **t);

struct template_input {
	struct expr_input values;
	const char *alert;
	const char *group;
	const char *severity;
	int64_t duration_us;
};

void template_render(const struct template *t, const struct template_input *in, struct buf *out);

/* "10m", "2h 5m", "3d 4h": the two largest units that count; returns out. */
#define TEMPLATE_DURATION_MAX 48
const char *template_duration(int64_t us, char out[TEMPLATE_DURATION_MAX]);
/* Shortest text that reads back as n. */
#define TEMPLATE_NUMBER_MAX 40
const char *template_number(double n, char out[TEMPLATE_NUMBER_MAX]);

#endif
